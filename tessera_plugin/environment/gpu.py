# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The NVIDIA GPU of this machine, and which build of the bundles it can use.

What is said here is only a proposal: an environment is used on a GPU when a real operation ran
there (see `verify`).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, Optional, Tuple

from .bundles import CPU, CUDA, DIRECTML

MIN_DRIVER = (525, 60)
"""Oldest driver for Linux that runs CUDA 12: NVIDIA's table of minor version compatibility."""

MIN_CAPABILITY = (7, 5)
"""Oldest generation (Turing) of the CUDA 12.8 builds of PyTorch that are locked."""

QUERY = (
    "--query-gpu=name,driver_version,compute_cap,memory.total",
    "--format=csv,noheader,nounits",
)

_TIMEOUT_S = 15


@dataclass(frozen=True)
class Gpu:
    """What the driver says of a GPU."""

    name: str
    driver: Tuple[int, ...]
    capability: Tuple[int, int]
    memory_bytes: int


def find_gpu(ask: Optional[Callable[[], str]] = None) -> Optional[Gpu]:
    """Return the most capable NVIDIA GPU, or None where there is none or no driver answers."""
    found = sorted(parse(ask() if ask else _ask_driver()), key=lambda gpu: gpu.capability)
    return found[-1] if found else None


def parse(told: str) -> Iterator[Gpu]:
    """Yield the GPUs that the driver's tool lists; lines that say something else are skipped."""
    for line in told.splitlines():
        parts = [part.strip() for part in line.split(",")]
        try:
            name, driver, capability, megabytes = parts
            major, minor = (int(number) for number in capability.split("."))
            version = tuple(int(number) for number in driver.split("."))
            yield Gpu(name, version, (major, minor), int(megabytes) << 20)
        except ValueError:
            continue


def variant_for(gpu: Optional[Gpu], platform: str) -> Tuple[str, str]:
    """Return the variant to try first on a platform, and why, in one English sentence."""
    if platform.startswith("windows"):
        return DIRECTML, "On Windows ONNX models run on any GPU through DirectML."
    if platform.startswith("macos"):
        return CPU, "On macOS ONNX models can use CoreML, which needs no other packages."
    if gpu is None:
        return CPU, "No NVIDIA GPU with a working driver was found."
    if gpu.capability < MIN_CAPABILITY:
        return CPU, (
            f"The {gpu.name} is too old: compute capability {gpu.capability[0]}.{gpu.capability[1]}, "
            f"{MIN_CAPABILITY[0]}.{MIN_CAPABILITY[1]} is needed."
        )
    if gpu.driver[:2] < MIN_DRIVER:
        return CPU, (
            f"The driver {'.'.join(map(str, gpu.driver))} of the {gpu.name} is too old: "
            f"{MIN_DRIVER[0]}.{MIN_DRIVER[1]} or newer is needed."
        )
    return CUDA, f"The {gpu.name} can be used."


def _ask_driver() -> str:
    """Return what the driver's own tool says; an empty text where it is not there or fails."""
    tool = _tool()
    if not tool:
        return ""
    try:
        done = subprocess.run(
            [tool, *QUERY],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _tool() -> str:
    if sys.platform == "win32":  # pragma: no cover
        usual = Path("C:/Windows/System32/nvidia-smi.exe")
        if usual.is_file():
            return str(usual)
    return shutil.which("nvidia-smi") or ""
