# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the private environment can hold: bundles of packages, locked per platform and Python."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, Tuple

from ..errors import PlatformUnsupported

RUNTIME = "runtime"
"""ONNX Runtime, numpy, numcodecs: encoders and unpacking."""

TRAINING = "training"
"""All of that, and PyTorch, scikit-learn, and what makes ONNX files."""

BUNDLES = (RUNTIME, TRAINING)
"""Each holds the ones before it."""

CPU, CUDA, DIRECTML = "cpu", "cuda", "directml"

LOCKS = Path(__file__).with_name("locks")

VENDOR_INDEX = "https://download.pytorch.org/whl/cpu"
"""The only source of PyTorch for Linux without the CUDA libraries (2 GB): the vendor's own index."""

_VENDOR_BUILD = "+cpu"


@dataclass(frozen=True)
class Pin:
    """One package in one version, and the hash of its wheel."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class Recipe:
    """Exactly what is installed for a bundle on a platform."""

    bundle: str
    platform: str
    python: str
    """`3.12`"""
    variant: str
    lock: Path
    pins: Tuple[Pin, ...]
    download_bytes: int
    installed_bytes: int

    @property
    def index(self) -> str:
        """A vendor's index that is needed beside the person's own; empty for none."""
        return VENDOR_INDEX if any(_VENDOR_BUILD in pin.version for pin in self.pins) else ""


def platform_tag(system: str, machine: str) -> str:
    """Return the name of a platform from `sys.platform` and `platform.machine()`."""
    systems = {"win32": "windows", "darwin": "macos", "linux": "linux"}
    machines = {"amd64": "x86_64", "x86_64": "x86_64", "arm64": "arm64", "aarch64": "arm64"}
    kind = machine.lower()
    return f"{systems.get(system, system)}-{machines.get(kind, kind)}"


def recipe(bundle: str, platform: str, python: str, variant: str = CPU) -> Recipe:
    """Return what is installed for a bundle.

    `python` is `3.12` or `3.12.4`. Raises: PlatformUnsupported where there is no lock for it.
    """
    python = ".".join(python.split(".")[:2])
    name = lock_name(bundle, platform, python, variant)
    path = LOCKS / f"{name}.txt"
    sizes = _sizes().get(name)
    if sizes is None or not path.is_file():
        raise PlatformUnsupported(platform, python, bundle, pythons_of(bundle, platform, variant))
    return Recipe(
        bundle=bundle,
        platform=platform,
        python=python,
        variant=variant,
        lock=path,
        pins=tuple(_pins(path.read_text("utf-8"))),
        download_bytes=int(sizes["download"]),
        installed_bytes=int(sizes["installed"]),
    )


def pythons_of(bundle: str, platform: str, variant: str = CPU) -> Tuple[str, ...]:
    """Return the Pythons that a bundle is locked for on a platform, the preferred one first."""
    known = _sizes()
    pythons = ("3.12", "3.11", "3.13", "3.10")
    return tuple(
        python for python in pythons if lock_name(bundle, platform, python, variant) in known
    )


def variants_of(bundle: str, platform: str) -> Tuple[str, ...]:
    """Return the variants of a bundle that are locked for a platform."""
    return tuple(
        variant for variant in (CPU, CUDA, DIRECTML) if pythons_of(bundle, platform, variant)
    )


def lock_name(bundle: str, platform: str, python: str, variant: str) -> str:
    """Return the name of a lock file without its ending."""
    tail = "" if variant == CPU else f"-{variant}"
    return f"{bundle}-{platform}-py{python.replace('.', '')}{tail}"


def _pins(text: str) -> Iterator[Pin]:
    for line in text.splitlines():
        if line and not line.startswith("#"):
            what, _, digest = line.partition(" --hash=sha256:")
            name, _, version = what.partition("==")
            yield Pin(name, version, digest)


@functools.lru_cache(maxsize=1)
def _sizes() -> Dict[str, Any]:
    found: Dict[str, Any] = json.loads((LOCKS / "sizes.json").read_text("utf-8"))
    return found
