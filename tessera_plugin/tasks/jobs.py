# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Training and classifying, as tasks on plain values; and what their results become in the project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Optional, Sequence

from qgis.core import QgsProject
from qgis.PyQt.QtCore import QCoreApplication

from ..progress import Report
from ..values import Dataset, Extent, LandClass
from . import layers
from .base import EngineTask
from .session import Session

if TYPE_CHECKING:
    from ..engine.classify import ClassifyResult, StagedMap
    from ..engine.heads import Head
    from ..engine.samples import Labels
    from ..engine.training import TrainResult

translate = QCoreApplication.translate


# --- train


def head_path(labels_path: str, kind: str, dataset: Dataset, depth: int, year: int) -> str:
    """Return where a trained head is kept: beside the labels, under a name that says what it is."""
    labels = Path(labels_path)
    which = dataset.key if depth == dataset.depth else f"{dataset.key}_d{depth}"
    return str(labels.with_name(f"{labels.stem}_{kind}_{which}_{year}.head"))


def train(session: Session, labels: Labels) -> EngineTask:
    """Return the task that trains a head of the kind chosen: gives `TrainResult`.

    Its `happened` tells every epoch.
    """
    from ..engine import training  # noqa: PLC0415 - light plugin load
    from ..engine.samples import SampleParams  # noqa: PLC0415

    settings = session.settings
    kind = settings.head_kind if session.compute.can_train else "instant"  # as the page shows
    dataset, depth = session.dataset, session.depth
    request = training.TrainRequest(
        labels=labels,
        dataset=dataset.key,
        year=settings.year,
        depth=depth,
        access=session.access(),
        params=training.TrainParams(kind=kind, test_share=settings.test_share, seed=settings.seed),
        sampling=SampleParams(settings.max_px_per_polygon, settings.seed),
        out=head_path(session.labels_path, kind, dataset, depth, settings.year),
    )
    worker = session.compute.client() if kind == "mlp" else None

    def work(report: Report) -> TrainResult:
        return training.train(request, report, worker, on_epoch=task.happened.emit)

    task = EngineTask(translate("Jobs", "Training"), work)
    return task


def load_head(path: str) -> Head:
    """Return a saved head. Raises: HeadUnreadable."""
    from ..engine.heads import load  # noqa: PLC0415 - light plugin load

    return load(path)


# --- classify


def classify(session: Session, extent: Extent, head: str, out: str) -> EngineTask:
    """Return the task that writes a map of an extent, still under other names: gives `StagedMap`."""
    from ..engine import classify as engine  # noqa: PLC0415 - light plugin load

    settings = session.settings
    request = engine.ClassifyRequest(
        head_path=head,
        year=settings.year,
        extent=extent,
        access=session.access(),
        out=out,
        confidence_out=confidence_path(out) if settings.confidence else None,
        limit_px=settings.limit_px,
    )
    worker = session.compute.client() if session.compute.can_train else None

    def work(report: Report) -> StagedMap:
        return engine.classify(request, report, worker)

    title = translate("Jobs", "Classifying")
    return EngineTask(title, work, discard=lambda staged: staged.discard())


def confidence_path(out: str) -> str:
    """Return where the confidence of a map goes: beside it."""
    return str(Path(out).with_name(f"{Path(out).stem}_confidence.tif"))


def publish(staged: StagedMap, project: Optional[QgsProject], title: str = "") -> ClassifyResult:
    """Give a map its name, and show it in a project; a map that was there before is replaced.

    `title` is the name of its layer; empty for that of a map made by a head.
    Raises: NotWritable, DiskFull.
    """
    from ..engine import classify as engine  # noqa: PLC0415 - light plugin load

    places = layers.release(QgsProject.instance(), staged.targets)
    result = engine.publish(staged)
    if project is None:
        return result
    name = title or _title(result)
    classes = [LandClass(each.id, each.name, each.color) for each in result.classes]
    for file in _shown(result.maps, result.mosaic):
        layer = layers.class_map(file, layers.free_name(project, name, file), classes)
        layers.add(project, layer, layers.MAP, places.get(layers.MAP))
    name = translate("Jobs", "Confidence {}").format(result.year)
    for file in _shown(result.confidences, result.confidence_mosaic):
        layer = layers.confidence_map(file, layers.free_name(project, name, file))
        layers.add(project, layer, layers.CONFIDENCE, places.get(layers.CONFIDENCE))
    return result


def _title(result: ClassifyResult) -> str:
    """Return what a map made by a head is called; a head of another year is told."""
    if result.trained_years == (result.year,):
        return translate("Jobs", "Land cover {}").format(result.year)
    years = ", ".join(str(year) for year in result.trained_years)
    return translate("Jobs", "Land cover {} (trained on {})").format(result.year, years)


def _shown(files: Sequence[str], mosaic: Optional[str]) -> Sequence[str]:
    return files if mosaic is None else (mosaic,)
