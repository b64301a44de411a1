# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The heads of a folder and those opened from elsewhere: listed, named, imported, kept apart."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from ..compute.client import WorkerClient
from ..errors import HeadUnreadable
from ..io import files
from ..progress import Report, silent
from . import head_from_onnx
from .exchange import needed
from .heads import Head, load, save
from .heads.storage import plain_name

SUFFIX = ".head"
ONNX = ".onnx"

MOST_HEADS = 200
"""Of a folder the newest so many are listed."""


@dataclass(frozen=True, eq=False)
class ListedHead:
    """A head file as it is listed."""

    path: str
    head: Optional[Head]
    """None where the file can't be used."""
    problem: str = ""
    """Why it can't, as a clause."""
    changed_s: float = 0.0
    """When the file was written, in seconds since 1970."""

    @property
    def name(self) -> str:
        """What the person calls it; empty where nobody has named it."""
        return self.head.name if self.head is not None else ""

    @property
    def made_s(self) -> float:
        """When it was trained, in seconds since 1970; of older heads, when the file was written."""
        told = self.head.training.get("made") if self.head is not None else None
        try:
            return datetime.fromisoformat(str(told)).timestamp()
        except (ValueError, OverflowError, OSError):
            return self.changed_s

    @property
    def labels(self) -> int:
        """How many labels it was trained on; 0 where that is not told."""
        told = self.head.training.get("labels") if self.head is not None else None
        return told if isinstance(told, int) else 0


@dataclass(frozen=True)
class Tested:
    """How good a head was on labels it had not seen."""

    scheme: str
    """`share`, one of `folds.SCHEMES`, or `file`; empty where nothing was tested."""
    overall: Optional[float] = None
    """Of folds the mean."""
    spread: Optional[float] = None
    """Standard deviation over the folds, where there are several."""
    parts: int = 1
    labels: int = 0
    """That were tested."""


def tested(head: Head) -> Tested:
    """Return how a head was tested, whatever its version tells."""
    if head.accuracy is None or head.accuracy.overall is None:
        return Tested("")
    labels = head.accuracy.n_labels
    folds = head.training.get("validation")
    if not isinstance(folds, Mapping) or not _is_number(folds.get("mean")):
        return Tested("share", head.accuracy.overall, labels=labels)
    spread = folds.get("spread")
    return Tested(
        scheme=str(folds.get("scheme", "")),
        overall=float(folds["mean"]),
        spread=float(spread) if spread is not None and _is_number(spread) else None,
        parts=len(folds["parts"]) if isinstance(folds.get("parts"), list) else 1,
        labels=labels,
    )


def list_heads(
    folder: str, opened: Sequence[str] = (), report: Report = silent
) -> Tuple[ListedHead, ...]:
    """Return the heads of a folder and others by their paths, the newest first.

    A file that can't be used is listed with the reason; one that is not there is left out.
    Raises: Cancelled.
    """
    paths = _newest(_in_folder(folder))[:MOST_HEADS]
    known = {os.path.realpath(path) for path in paths}
    paths += [path for path in opened if os.path.realpath(path) not in known and _time(path)]
    found = []
    for number, path in enumerate(paths):
        report(number / len(paths), "")
        found.append(look(path))
    return tuple(sorted(found, key=lambda each: -each.made_s))


def look(path: str) -> ListedHead:
    """Return a head file as it is listed."""
    try:
        return ListedHead(path, load(path), changed_s=_time(path))
    except HeadUnreadable as error:
        return ListedHead(path, None, error.reason, _time(path))


def rename_head(path: str, name: str) -> Head:
    """Give the head of a file a name; its id, and what it predicts, stay. An empty one takes it away.

    Raises: HeadUnreadable, NotWritable, DiskFull.
    """
    head = replace(load(path), name=plain_name(name))
    save(head, path)
    return head


def import_head(
    path: str, folder: str, worker: Optional[WorkerClient] = None, report: Report = silent
) -> str:
    """Copy a head into a folder under a name that is free there; return its path.

    A head file that lies there already is left as it is. Of an ONNX file, which needs the worker,
    the head it was exported from is made again.
    Raises: HeadUnreadable, NotWritable, DiskFull; for ONNX files also OnnxNotAHead, OnnxHeadTooOld,
    WorkerUnavailable, WorkerDied, WorkerFailed, Cancelled.
    """
    if is_onnx(path):
        return _from_onnx(path, folder, needed(worker, "ONNX files are read"), report)
    load(path)  # nothing that is no head comes in
    source = Path(path)
    if os.path.realpath(source.parent) == os.path.realpath(folder):
        return path
    target = _free_place(source, folder)
    try:
        content = source.read_bytes()
    except OSError as error:
        raise HeadUnreadable(path, error.strerror or str(error)) from error
    files.write_bytes(target, content)
    _as_old_as(source, target)
    return str(target)


def is_onnx(path: str) -> bool:
    """Whether a file is named as ONNX files are."""
    return path.lower().endswith(ONNX)


def place_for_new(path: str) -> str:
    """Return where a new head is kept instead of `path`, where that holds one with a name.

    A head that somebody has named is never replaced by a training; one without a name is.
    """
    place, number = Path(path), 1
    while place.exists() and look(str(place)).name:
        number += 1
        place = Path(path).with_name(f"{Path(path).stem}_{number}{SUFFIX}")
    return str(place)


def free_title(name: str, taken: Iterable[str]) -> str:
    """Return a name that no other head has: `Forest`, `Forest 2`."""
    wanted, others = plain_name(name), set(taken)
    title, number = wanted, 1
    while title and title in others:
        number += 1
        title = f"{wanted} {number}"
    return title


def labels_per_class(head: Head) -> Dict[int, Tuple[int, int]]:
    """Return labels and pixels of each class by its id; empty where an older head does not tell."""
    told = head.training.get("classes")
    found = {}
    for row in told if isinstance(told, (list, tuple)) else ():
        if isinstance(row, Mapping):
            values = [row.get(key) for key in ("id", "labels", "pixels")]
            if all(isinstance(value, int) for value in values):
                number, labels, pixels = (int(str(value)) for value in values)
                found[number] = labels, pixels
    return found


# --- inside


def _from_onnx(path: str, folder: str, worker: WorkerClient, report: Report) -> str:
    source = Path(path)
    if not source.is_file():
        raise HeadUnreadable(path, "there is no such file")
    head = head_from_onnx.read_head(path, worker, report)
    target = _free_place(source, folder)
    save(head, str(target))
    _as_old_as(source, target)
    return str(target)


def _free_place(source: Path, folder: str) -> Path:
    """Return the path in a folder of a head that comes from a file of any name."""
    target = Path(folder) / f"{source.stem}{SUFFIX}"
    return files.free_name(target) if target.exists() else target


def _as_old_as(source: Path, target: Path) -> None:
    """Give a file the times of another; it is no harm where that can't be."""
    with contextlib.suppress(OSError):
        times = source.stat()
        os.utime(target, (times.st_atime, times.st_mtime))


def _in_folder(folder: str) -> List[str]:
    try:
        with os.scandir(folder) as entries:
            return [e.path for e in entries if e.name.lower().endswith(SUFFIX) and e.is_file()]
    except OSError:  # there is no such folder yet
        return []


def _newest(paths: Sequence[str]) -> List[str]:
    return sorted(paths, key=_time, reverse=True)


def _time(path: str) -> float:
    try:
        return Path(path).stat().st_mtime
    except OSError:
        return 0.0


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
