# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Pythons that the private environment can be made with: looked for, and proved by running them.

`sys.executable` is not asked: within QGIS it is QGIS itself (Windows, macOS) or whatever Python
comes first on PATH.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Iterator, List, Mapping, Optional, Sequence, Tuple

from ..children import clean_environment, qgis_folders
from ..errors import InterpreterUnusable
from .bundles import platform_tag

VERSIONS = ((3, 12), (3, 11), (3, 13), (3, 10))
"""Pythons that there are locks for, the best one first."""

SENTINEL = "tessera-python:"

_PROOF = (
    "import json,platform,struct,sys,sysconfig;"
    f"print('{SENTINEL}'+json.dumps([list(sys.version_info[:3]),sys.executable,"
    "sys.implementation.name,8*struct.calcsize('P'),platform.machine(),sys.platform,"
    "bool(getattr(sys,'_is_gil_enabled',lambda:True)())]))"
)
_PROOF_S = 20.0


@dataclass(frozen=True)
class Interpreter:
    """A Python that was run and said what it is."""

    path: str
    version: Tuple[int, int, int]
    platform: str
    """As `bundles.platform_tag` names it: an x86-64 Python may run on another processor."""

    @property
    def minor(self) -> str:
        """Version without its last part: `3.12`."""
        return f"{self.version[0]}.{self.version[1]}"


def prove(path: str, environ: Optional[Mapping[str, str]] = None) -> Interpreter:
    """Run a program and return what Python it is. Raises: InterpreterUnusable."""
    file = Path(path)
    if not file.is_file():
        raise InterpreterUnusable(path, "there is no such file")
    said = _said_by(path, dict(os.environ if environ is None else environ))
    try:
        version, _, kind, bits, machine, system, has_gil = said
        interpreter = Interpreter(path, tuple(version), platform_tag(system, machine))
    except (TypeError, ValueError):
        raise InterpreterUnusable(path, "it is not Python") from None
    if kind != "cpython":
        raise InterpreterUnusable(path, f"it is {kind}; CPython is needed")
    if bits != 64:
        raise InterpreterUnusable(path, f"it is a {bits}-bit program; 64 bits are needed")
    if not has_gil:
        raise InterpreterUnusable(path, "it is the free-threaded build of Python")
    return interpreter


def usable(path: str, pythons: Sequence[str]) -> Interpreter:
    """Return a Python that is of one of these versions (`3.12`). Raises: InterpreterUnusable."""
    found = prove(path)
    if found.minor not in pythons:
        raise InterpreterUnusable(
            path, f"it is Python {found.minor}; {' or '.join(pythons) or 'another'} is needed"
        )
    return found


def find(pythons: Sequence[str], tried: Optional[List[str]] = None) -> Optional[Interpreter]:
    """Return the first Python of this computer that will do; None where there is none.

    `tried` gets a line on each that was looked at.
    """
    notes = tried if tried is not None else []
    for path in candidates(sys.platform, os.environ, sys.base_prefix, _minor_here()):
        try:
            found = usable(path, pythons)
        except InterpreterUnusable as error:
            notes.append(str(error))
            continue
        notes.append(f"{path} is Python {found.minor}")
        return found
    return None


def candidates(system: str, environ: Mapping[str, str], prefix: str, minor: str) -> Iterator[str]:
    """Yield files that may be a Python, each once: the one QGIS embeds, then those on PATH.

    `prefix` is `sys.base_prefix` and `minor` the version of the Python that runs here.
    """
    seen = set()
    for path in [*embedded(system, environ, prefix, minor), *_on_path(system, environ)]:
        key = path.lower() if system == "win32" else path
        if key not in seen:
            seen.add(key)
            yield path


def embedded(system: str, environ: Mapping[str, str], prefix: str, minor: str) -> List[str]:
    """Return where the Python that QGIS embeds keeps its program, by platform."""
    if system == "win32":
        roots = [PureWindowsPath(prefix)]
        root = environ.get("OSGEO4W_ROOT", "")
        if root:
            roots.append(PureWindowsPath(root) / "apps" / f"Python{minor.replace('.', '')}")
        return [str(each / name) for each in roots for name in ("python.exe", "python3.exe")]
    home = PurePosixPath(prefix)
    if system == "darwin":
        names = (f"bin/python{minor}", "bin/python3", "MacOS/bin/python3", "MacOS/python")
        contents = [parent for parent in (home, *home.parents) if parent.name == "Contents"]
        return [str(base / name) for base in (home, *contents) for name in names]
    return [str(home / "bin" / f"python{minor}"), str(home / "bin" / "python3")]


def _on_path(system: str, environ: Mapping[str, str]) -> Iterator[str]:
    names = [f"python{major}.{minor}" for major, minor in VERSIONS] + ["python3", "python"]
    for name in names:
        found = shutil.which(name, path=environ.get("PATH", os.defpath))
        if found and not _is_store_alias(system, found):
            yield found


def _is_store_alias(system: str, path: str) -> bool:
    """Whether it is the file that opens Windows's app store where no Python is installed."""
    return system == "win32" and "windowsapps" in path.lower()


def _said_by(path: str, environ: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON
    """Return what a program says of itself as Python; None where it says nothing of the kind."""
    try:
        done = subprocess.run(
            [path, "-I", "-c", _PROOF],
            capture_output=True,
            text=True,
            timeout=_PROOF_S,
            check=False,
            stdin=subprocess.DEVNULL,
            env=clean_environment(environ, sys.platform, qgis_folders()),
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    for line in done.stdout.splitlines():
        if line.startswith(SENTINEL):
            try:
                return json.loads(line[len(SENTINEL) :])
            except ValueError:
                return None
    return None


def _minor_here() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"
