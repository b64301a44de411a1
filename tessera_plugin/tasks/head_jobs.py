# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Heads as a person keeps them: listed, named, brought in, exported; and kinds of them compared."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Optional, Sequence, Tuple, cast

from qgis.PyQt.QtCore import QCoreApplication, QFile, QStandardPaths

from ..progress import Report, part
from .base import EngineTask
from .session import Session

if TYPE_CHECKING:
    from ..engine.folds import Folds
    from ..engine.head_comparison import KindRow, Reading
    from ..engine.head_library import ListedHead, Tested
    from ..engine.head_onnx import ExportCheck
    from ..engine.heads import Head
    from ..engine.learning_curve import LearningCurve
    from ..engine.samples import Samples
    from ..engine.training import TrainRequest
    from ..engine.worker import WorkerClient

MOST_OPENED = 30
"""So many heads of other folders are remembered."""

REPEATS = 5
"""Of a learning curve: how often labels are drawn anew."""

translate = QCoreApplication.translate


@dataclass(frozen=True, eq=False)
class Compared:
    """Kinds of heads on the same folds."""

    rows: Tuple[KindRow, ...]
    reading: Optional[Reading]
    folds: Folds
    labels: int
    """Labels that were tested."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """A learning curve, and what it was tested on."""

    curve: LearningCurve
    folds: Folds


# --- the list


def folder(session: Session) -> str:
    """Return where heads are kept: beside the labels."""
    return str(Path(session.labels_path).parent)


def opened(session: Session) -> Tuple[str, ...]:
    """Return heads of other folders that were opened, the latest first."""
    try:
        found = json.loads(session.settings.opened_heads or "[]")
    except ValueError:  # edited by hand
        return ()
    return tuple(str(each) for each in found) if isinstance(found, list) else ()


def remember(session: Session, path: str) -> None:
    """Keep a head of another folder in the list."""
    if path and Path(path).parent != Path(folder(session)):
        paths = (path, *(each for each in opened(session) if each != path))[:MOST_OPENED]
        session.update(opened_heads=json.dumps(paths))


def listing(session: Session) -> EngineTask:
    """Return the task that reads all heads there are: gives `ListedHead`s, the newest first."""
    from ..engine import head_library  # noqa: PLC0415 - light plugin load

    where, others = folder(session), opened(session)

    def work(report: Report) -> Tuple[ListedHead, ...]:
        return head_library.list_heads(where, others, report)

    return EngineTask(translate("Jobs", "Looking for heads"), work)


def tested(head: Head) -> Tested:
    """Return how a head was tested."""
    from ..engine import head_library  # noqa: PLC0415 - light plugin load

    return head_library.tested(head)


def labels_per_class(head: Head) -> Tuple[Tuple[int, int, int], ...]:
    """Return id, labels and pixels of each class that a head learnt, where it tells."""
    from ..engine import head_library  # noqa: PLC0415 - light plugin load

    found = head_library.labels_per_class(head)
    return tuple((number, *counts) for number, counts in found.items())


# --- files


def rename(path: str, name: str, taken: Sequence[str]) -> Head:
    """Give a head a name that no other has: `Forest`, else `Forest 2`.

    Raises: HeadUnreadable, NotWritable, DiskFull.
    """
    from ..engine import head_library  # noqa: PLC0415 - light plugin load

    return head_library.rename_head(path, head_library.free_title(name, taken))


def bring_in(session: Session, path: str, taken: Sequence[str]) -> EngineTask:
    """Return the task that copies a head into the folder of the labels: gives its path there.

    Of an ONNX file the head is made again, in the worker. A name that another has gets a number.
    It fails with HeadUnreadable, OnnxNotAHead, OnnxHeadTooOld, NotWritable, DiskFull and what the
    worker meets.
    """
    from ..engine import head_library  # noqa: PLC0415 - light plugin load

    where, names, client = folder(session), tuple(taken), _worker(session)

    def work(report: Report) -> str:
        kept = head_library.import_head(path, where, client, report)
        listed = head_library.look(kept)
        if listed.name in names and kept != path:
            head_library.rename_head(kept, head_library.free_title(listed.name, names))
        return kept

    return EngineTask(translate("Jobs", "Importing a head"), work)


def is_onnx(path: str) -> bool:
    """Whether a file is named as ONNX files are; they are read in the worker."""
    from ..engine import head_library  # noqa: PLC0415 - light plugin load

    return head_library.is_onnx(path)


def to_trash(path: str) -> bool:
    """Move a file to the system's trash; False where there is none for it, or Qt is too old."""
    if not hasattr(QFile, "moveToTrash"):
        return False
    # the trash lies in there; where it is missing, Qt puts the file into the working directory
    data = QStandardPaths.writableLocation(QStandardPaths.StandardLocation.GenericDataLocation)
    try:
        Path(data).mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    answer = QFile.moveToTrash(path)  # older bindings give the path in the trash too
    return bool(answer[0] if isinstance(answer, tuple) else answer)


def remove(path: str) -> bool:
    """Delete a file for good; False where that is not allowed."""
    return bool(QFile.remove(path))


def export(session: Session, head: Head, title: str, out: str) -> EngineTask:
    """Return the task that writes a head as an ONNX file and checks it: gives `ExportCheck`."""
    from ..engine import exchange, head_onnx  # noqa: PLC0415 - light plugin load

    client = _worker(session)

    def work(report: Report) -> ExportCheck:
        worker = exchange.needed(client, "ONNX files are made")
        return head_onnx.export_head(head, out, worker, report, title=title)

    return EngineTask(translate("Jobs", "Exporting a head"), work)


# --- comparisons


def compare(session: Session, wanted: TrainRequest) -> EngineTask:
    """Return the task that tests kinds of heads on the same folds: gives `Compared`."""
    from ..engine import head_comparison  # noqa: PLC0415 - light plugin load

    client = _worker(session)

    def work(report: Report) -> Compared:
        samples, folds = _gathered(wanted, part(report, 0.0, 0.2), client)
        rest = part(report, 0.2, 1.0)
        rows = head_comparison.compare_heads(
            samples, wanted.params, folds, report=rest, worker=client
        )
        return Compared(rows, head_comparison.reading(rows), folds, folds.tested_labels(samples))

    return EngineTask(translate("Jobs", "Comparing kinds of heads"), work)


def learning_curve(session: Session, wanted: TrainRequest) -> EngineTask:
    """Return the task that tests heads of fewer labels: gives `Drawn`."""
    from ..engine import learning_curve as engine  # noqa: PLC0415 - light plugin load

    client = _worker(session)

    def work(report: Report) -> Drawn:
        samples, folds = _gathered(wanted, part(report, 0.0, 0.2), client)
        curve = engine.learning_curve(
            samples, wanted.params, folds, repeats=REPEATS, report=part(report, 0.2, 1.0),
            worker=client,
        )  # fmt: skip
        return Drawn(curve, folds)

    return EngineTask(translate("Jobs", "Drawing the learning curve"), work)


# --- inside


def _worker(session: Session) -> Optional[WorkerClient]:
    return session.compute.client() if session.compute.can_train else None


def _gathered(
    wanted: TrainRequest, report: Report, worker: Optional[WorkerClient]
) -> Tuple[Samples, Folds]:
    """Return the rows and the folds: those that are chosen, else dealt at random."""
    from ..engine import training  # noqa: PLC0415 - light plugin load
    from ..engine.folds import ValidationParams  # noqa: PLC0415

    if wanted.validation is None and wanted.test is None:
        wanted = replace(wanted, validation=ValidationParams(seed=wanted.params.seed))
    samples, folds, _, _ = training.gather_request(wanted, report, worker)
    return samples, cast("Folds", folds)  # there are some: they were asked for
