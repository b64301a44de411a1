# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Make the lock files of the private environment: exact versions, each with the hash of its wheel.

    build/venv/bin/python tools/make_locks.py [NAME ...]

uv resolves for each platform and Python; pip then names the one wheel that this platform takes, so
a lock holds one hash per package and nothing is ever built from source. The index is the one that
uv and pip are set up for. A combination that can't be resolved is written to `refused.json` with
the reason, and the plugin refuses it by name.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "tessera_plugin" / "environment" / "locks"
HEAD = """\
# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
# Made by tools/make_locks.py; the reasons for the versions are in README.md.
"""

UV = "0.13.9"

PYTHONS = ("3.10", "3.11", "3.12", "3.13")


@dataclass(frozen=True)
class Platform:
    """A platform as uv and as pip name it."""

    uv: str
    pip: Tuple[str, ...]


PLATFORMS = {
    "linux-x86_64": Platform(
        "x86_64-manylinux_2_28",
        (
            *(f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 26, 24, 17, 12, 5)),
            *("manylinux2014_x86_64", "manylinux1_x86_64"),
        ),
    ),
    "windows-x86_64": Platform("x86_64-pc-windows-msvc", ("win_amd64",)),
    "macos-arm64": Platform(
        "aarch64-apple-darwin",
        tuple(f"macosx_{major}_0_{kind}" for major in (13, 12, 11) for kind in ("arm64", "universal2")),
    ),
    "macos-x86_64": Platform(
        "x86_64-apple-darwin",
        tuple(f"macosx_{major}_0_{kind}" for major in (13, 12, 11) for kind in ("x86_64", "universal2"))
        + tuple(f"macosx_10_{minor}_{kind}" for minor in range(15, 8, -1) for kind in ("x86_64", "universal2")),
    ),
}  # fmt: skip


def requirements(bundle: str, platform: str, variant: str) -> List[str]:
    """Return what is asked for by name; the reasons are in locks/README.md."""
    wanted = ["numpy==2.2.6", "numcodecs>=0.13.1,<0.17"]
    if platform == "windows-x86_64":
        wanted += [
            "msvc-runtime",
            f"onnxruntime{'-directml' if variant == 'directml' else ''}==1.20.1",
        ]
    elif variant == "cuda":
        wanted += ["onnxruntime-gpu[cuda,cudnn]==1.23.2"]
    else:
        wanted += ["onnxruntime==1.23.2"]
    if bundle == "training":
        wanted += ["scikit-learn>=1.6,<1.8", "onnx>=1.17,<1.20", "onnxscript>=0.3,<0.6"]
        wanted += [_torch(platform, variant)]
        if platform == "macos-x86_64":
            wanted[0] = "numpy==1.26.4"
    return wanted


def _torch(platform: str, variant: str) -> str:
    if platform == "macos-x86_64":
        return "torch==2.2.2"
    if platform == "linux-x86_64" and variant == "cpu":
        return "torch==2.13.0+cpu"
    return "torch==2.8.0"


def combinations() -> Iterator[Tuple[str, str, str, str]]:
    """Yield bundle, platform, Python and variant of every lock that is tried."""
    variants = {"linux-x86_64": ("cpu", "cuda"), "windows-x86_64": ("cpu", "directml")}
    for platform in PLATFORMS:
        for variant in variants.get(platform, ("cpu",)):
            for bundle in ("runtime", "training"):
                for python in PYTHONS:
                    yield bundle, platform, python, variant


def name_of(bundle: str, platform: str, python: str, variant: str) -> str:
    """Return a lock's file name without its ending."""
    tail = "" if variant == "cpu" else f"-{variant}"
    return f"{bundle}-{platform}-py{python.replace('.', '')}{tail}"


class Unresolvable(Exception):  # noqa: N818 - an answer
    """There is no set of wheels for a combination."""


def resolve(bundle: str, platform: str, python: str, variant: str) -> List[str]:
    """Return exact versions, `name==version` each."""
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "in.txt"
        asked.write_text("\n".join(requirements(bundle, platform, variant)) + "\n", "utf-8")
        command = [sys.executable, "-m", "uv", "pip", "compile", str(asked), "--quiet",
                   "--python-version", python, "--python-platform", PLATFORMS[platform].uv,
                   "--only-binary", ":all:", "--no-annotate", "--no-header",
                   "--index-strategy", "unsafe-best-match", *_found_wheels()]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unresolvable(_short(done.stderr))
    return [line for line in done.stdout.splitlines() if "==" in line]


def wheels(pins: List[str], platform: str, python: str) -> List[Dict[str, Any]]:
    """Return name, version, hash and address of the wheel that each pin becomes."""
    with tempfile.TemporaryDirectory() as folder:
        listed, report = Path(folder) / "pins.txt", Path(folder) / "report.json"
        listed.write_text("\n".join(pins) + "\n", "utf-8")
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed",
                   "--no-deps", "--only-binary=:all:", "--implementation", "cp",
                   "--python-version", python, "--target", str(Path(folder) / "target"),
                   "--report", str(report), "--quiet", "-r", str(listed)]  # fmt: skip
        for tag in PLATFORMS[platform].pip:
            command += ["--platform", tag]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unresolvable(_short(done.stderr))
        found = json.loads(report.read_text("utf-8"))["install"]
    return [
        {
            "name": each["metadata"]["name"],
            "version": each["metadata"]["version"],
            "sha256": each["download_info"]["archive_info"]["hashes"]["sha256"],
            "url": each["download_info"]["url"],
        }
        for each in found
    ]


def sizes_of(wheel: Dict[str, Any], known: Dict[str, List[int]]) -> List[int]:
    """Return the bytes of a wheel, packed and unpacked."""
    digest = wheel["sha256"]
    if digest not in known:
        with _opened(wheel["url"]) as stream:
            with zipfile.ZipFile(stream) as archive:
                unpacked = sum(each.file_size for each in archive.infolist())
            known[digest] = [stream.seek(0, 2), unpacked]
    return known[digest]


def make_uv_lock() -> None:
    """Write the lock of uv itself: one version, the wheels of all platforms."""
    pins = [f"uv=={UV}"]
    found = {wheels(pins, platform, "3.12")[0]["sha256"] for platform in PLATFORMS}
    hashes = " ".join(f"--hash=sha256:{digest}" for digest in sorted(found))
    (LOCKS / "uv.txt").write_text(f"{HEAD}{pins[0]} {hashes}\n", "utf-8")


def main(names: List[str]) -> int:
    """Make the locks of these names, or all."""
    LOCKS.mkdir(parents=True, exist_ok=True)
    make_uv_lock()
    sizes = _json(LOCKS / "sizes.json")
    refused = _json(LOCKS / "refused.json")
    wheel_sizes: Dict[str, List[int]] = {}
    for combination in combinations():
        name = name_of(*combination)
        if names and name not in names:
            continue
        bundle, platform, python, variant = combination
        path = LOCKS / f"{name}.txt"
        try:
            found = wheels(resolve(bundle, platform, python, variant), platform, python)
        except Unresolvable as error:
            refused[name] = str(error)
            sizes.pop(name, None)
            path.unlink(missing_ok=True)
            print(f"{name}: {error}")
            continue
        refused.pop(name, None)
        lines = [
            f"{w['name'].lower().replace('_', '-')}=={w['version']} --hash=sha256:{w['sha256']}"
            for w in sorted(found, key=lambda w: w["name"].lower())
        ]
        path.write_text(HEAD + "\n".join(lines) + "\n", "utf-8")
        both = [sizes_of(wheel, wheel_sizes) for wheel in found]
        sizes[name] = {"download": sum(s[0] for s in both), "installed": sum(s[1] for s in both)}
        print(f"{name}: {len(found)} packages, {sizes[name]['download'] / 1e6:.0f} MB")
    for file, content in ((LOCKS / "sizes.json", sizes), (LOCKS / "refused.json", refused)):
        file.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", "utf-8")
    return 0


class _Remote:
    """A file on a server, read by ranges: the directory of a wheel is at its end."""

    def __init__(self, url: str) -> None:
        self._url, self._at = url, 0
        with urllib.request.urlopen(
            urllib.request.Request(url, method="HEAD"), timeout=60
        ) as answer:
            self._size = int(answer.headers["Content-Length"])

    def __enter__(self) -> _Remote:
        return self

    def __exit__(self, *_error: object) -> None:
        """Nothing is held open."""

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        stop = self._size if size < 0 else min(self._at + size, self._size)
        if stop <= self._at:
            return b""
        asked = urllib.request.Request(self._url, headers={"Range": f"bytes={self._at}-{stop - 1}"})
        with urllib.request.urlopen(asked, timeout=120) as answer:
            data: bytes = answer.read()
        if len(data) != stop - self._at:
            raise OSError(f"{self._url} does not answer ranges")
        self._at = stop
        return data


def _opened(url: str) -> Any:  # noqa: ANN401 - a file or something like one
    if url.startswith("file://"):
        return Path(urllib.request.url2pathname(url[len("file://") :])).open("rb")
    return _Remote(url)


def _found_wheels() -> List[str]:
    """Return uv's options for the wheel folders that pip is set up for: uv does not read those."""
    asked = [sys.executable, "-m", "pip", "config", "list"]
    told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    found = re.findall(r"find-links='([^']+)'", told)
    return [part for each in found for folder in each.split() for part in ("--find-links", folder)]


def _short(text: str) -> str:
    """Return what a resolver says, without addresses and in one line."""
    lines = [
        line.strip(" \t\u00d7\u2570\u2500\u25b6\u2502\u251c\u2192") for line in text.splitlines()
    ]
    told = " ".join(
        line for line in lines if line and not line.startswith(("WARNING", "hint", "Looking"))
    )
    return re.sub(r"\S+://\S+", "…", told)[:300]


def _json(path: Path) -> Dict[str, Any]:
    try:
        found: Dict[str, Any] = json.loads(path.read_text("utf-8"))
    except OSError:
        return {}
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
