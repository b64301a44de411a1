# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is installed, as the record in the environment says, and whether it can still be used."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Mapping, Optional, Tuple

from . import bundles
from .bundles import BUNDLES, lock_name
from .places import Places, python_in

FORMAT = 1

INCOMPLETE = "incomplete"
"""Files are missing: somebody else removed them, or an installation was cut off."""

PYTHON_GONE = "python_gone"
"""The Python that the environment was made with is no longer there, as after an upgrade of it."""


@dataclass(frozen=True)
class Record:
    """What was installed and how it proved itself."""

    bundle: str
    variant: str
    platform: str
    python: str
    base_python: str
    """Program of the Python that the environment was made with."""
    lock: str
    """Hash of the lock file."""
    versions: Mapping[str, str]
    onnx_providers: Tuple[str, ...]
    torch_devices: Tuple[str, ...]
    notes: Tuple[str, ...]
    size_bytes: int
    made: float
    """Seconds since 1970."""
    installer: str
    """`uv` or `pip`."""


@dataclass(frozen=True)
class State:
    """What is installed now."""

    place: str
    record: Optional[Record] = None
    problem: str = ""
    """INCOMPLETE, PYTHON_GONE, or empty."""
    is_outdated: bool = False
    """Whether this version of the plugin would install other versions."""
    was_interrupted: bool = False
    """Whether the last installation was cut off."""

    @property
    def bundles(self) -> Tuple[str, ...]:
        """The bundles that can be used."""
        if self.record is None or self.problem:
            return ()
        return BUNDLES[: BUNDLES.index(self.record.bundle) + 1]

    @property
    def is_there(self) -> bool:
        """Whether anything is installed, in whatever condition."""
        return self.record is not None or bool(self.problem)


def state(places: Places) -> State:
    """Return what is installed. Quick: reads one small file and looks at two more."""
    interrupted = places.marker.exists()
    place = str(places.environment)
    if not places.environment.is_dir():
        return State(place, was_interrupted=interrupted)
    record = read(places.record)
    python = python_in(places.environment)
    if record is None or not python.exists():
        gone = record is not None and not Path(record.base_python).exists()
        problem = PYTHON_GONE if gone else INCOMPLETE
        return State(place, record, problem, was_interrupted=interrupted)
    if not Path(record.base_python).exists():
        return State(place, record, PYTHON_GONE, was_interrupted=interrupted)
    return State(place, record, "", _is_outdated(record), interrupted)


def write(path: Path, record: Record) -> None:
    """Write the record into an environment."""
    path.write_text(json.dumps({"format": FORMAT, **asdict(record)}, indent=1), "utf-8")


def read(path: Path) -> Optional[Record]:
    """Return a record; None where there is none that can be read."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        told = json.loads(path.read_text("utf-8"))
        if told.pop("format") == FORMAT and told["bundle"] in BUNDLES:
            for name in ("onnx_providers", "torch_devices", "notes"):
                told[name] = tuple(told[name])
            return Record(**told)
    return None


def lock_hash(path: Path) -> str:
    """Return what tells one lock file from another."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _is_outdated(record: Record) -> bool:
    minor = ".".join(record.python.split(".")[:2])
    path = bundles.LOCKS / f"{lock_name(record.bundle, record.platform, minor, record.variant)}.txt"
    return not path.is_file() or lock_hash(path) != record.lock
