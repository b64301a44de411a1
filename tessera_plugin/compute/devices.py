# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a worker can compute on, as it has tried it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Sequence, Tuple


@dataclass(frozen=True)
class Device:
    """A processor or GPU as one of the frameworks sees it."""

    framework: str
    """`torch` or `onnxruntime`."""
    id: str
    """`cpu`, `cuda:0`, `mps`; of onnxruntime the name of the provider. Empty: nothing loads."""
    name: str
    """As the maker calls it, where it is known."""
    memory_bytes: int
    """Of a GPU; 0 where it is not known."""
    works: bool
    """Whether a real operation gave the right result on it."""
    reason: str
    """Why it does not work."""


def read_devices(told: Mapping[str, Any]) -> Tuple[Device, ...]:
    """Return the devices of a worker's answer, each framework's best first."""
    entries: Sequence[Mapping[str, Any]] = told["devices"]
    return tuple(Device(**entry) for entry in entries)


def best(devices: Sequence[Device], framework: str) -> str:
    """Return the id of the device a framework does best with; empty where none works."""
    works = [each.id for each in devices if each.framework == framework and each.works]
    return works[0] if works else ""
