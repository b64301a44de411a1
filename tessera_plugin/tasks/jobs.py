# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The three jobs, as tasks on plain values; and what their results become in the project."""

from __future__ import annotations

import contextlib
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Iterable, Optional, Sequence, Tuple

from qgis.core import QgsProject
from qgis.PyQt.QtCore import QCoreApplication

from .. import paths
from ..errors import TesseraError
from ..progress import Report, part
from ..values import Extent, LandClass
from . import layers
from .base import EngineTask
from .session import Session

if TYPE_CHECKING:
    from ..engine.classify import ClassifyResult, StagedMap
    from ..engine.embeddings import FetchResult
    from ..engine.heads import Head
    from ..engine.samples import Labels
    from ..engine.training import TrainResult

PREVIEW_KEPT_S = 30 * 24 * 3600
PREVIEW_OF = "tessera/preview_of"
"""Custom property of a preview layer: dataset and year."""

translate = QCoreApplication.translate


@dataclass(frozen=True)
class Fetched:
    """What a fetch brought, and its picture."""

    result: FetchResult
    previews: Tuple[str, ...]
    """One picture per zone; none where nothing is valid."""
    preview_error: Optional[TesseraError]


# --- fetch


def fetch(session: Session, extent: Extent) -> EngineTask:
    """Return the task that fetches an extent and then makes its picture: gives `Fetched`."""
    from ..engine import embeddings, explore  # noqa: PLC0415 - light plugin load

    settings, access = session.settings, session.access()
    dataset, year, limit_px = settings.dataset, settings.year, settings.limit_px
    folder = paths.preview_dir()
    request = embeddings.FetchRequest(dataset, year, extent, access, limit_px)
    out = str(folder / f"preview_{dataset}_{year}_{uuid.uuid4().hex[:8]}.tif")
    picture = explore.PreviewRequest(dataset, year, extent, access, out, limit_px)

    def work(report: Report) -> Fetched:
        result = embeddings.fetch(request, part(report, 0.0, 0.9))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _remove_old(folder.glob("preview_*.tif*"))
            previews = explore.preview(picture, part(report, 0.9, 1.0)).paths
        except TesseraError as error:  # the embeddings are there all the same
            return Fetched(result, (), error)
        return Fetched(result, previews, None)

    return EngineTask(translate("Jobs", "Fetching embeddings"), work)


def show_preview(project: QgsProject, fetched: Fetched) -> None:
    """Show the picture of a fetch, in the place of an earlier one of the same dataset and year."""
    if not fetched.previews:
        return
    result = fetched.result
    of = f"{result.dataset} {result.year}"
    earlier = [
        layers.file_of(each)
        for each in layers.with_role(project, layers.PREVIEW)
        if each.customProperty(PREVIEW_OF) == of
    ]
    place = layers.release(project, earlier).get(layers.PREVIEW)
    _remove(earlier)
    name = translate("Jobs", "Embeddings {} (preview)").format(result.year)
    for file in fetched.previews:
        layer = layers.preview_map(file, name)
        layer.setCustomProperty(PREVIEW_OF, of)
        layers.add(project, layer, layers.PREVIEW, place)


# --- train


def head_path(labels_path: str, kind: str, dataset: str, year: int) -> str:
    """Return where a trained head is kept: beside the labels, under a name that says what it is."""
    labels = Path(labels_path)
    return str(labels.with_name(f"{labels.stem}_{kind}_{dataset}_{year}.head"))


def train(session: Session, labels: Labels) -> EngineTask:
    """Return the task that trains a head of the kind chosen: gives `TrainResult`.

    Its `happened` tells every epoch.
    """
    from ..engine import training  # noqa: PLC0415 - light plugin load
    from ..engine.samples import SampleParams  # noqa: PLC0415

    settings = session.settings
    kind = settings.head_kind
    request = training.TrainRequest(
        labels=labels,
        dataset=settings.dataset,
        year=settings.year,
        access=session.access(),
        params=training.TrainParams(kind=kind, test_share=settings.test_share, seed=settings.seed),
        sampling=SampleParams(settings.max_px_per_polygon, settings.seed),
        out=head_path(session.labels_path, kind, settings.dataset, settings.year),
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
    worker = session.compute.client()

    def work(report: Report) -> StagedMap:
        return engine.classify(request, report, worker)

    title = translate("Jobs", "Classifying")
    return EngineTask(title, work, discard=lambda staged: staged.discard())


def confidence_path(out: str) -> str:
    """Return where the confidence of a map goes: beside it."""
    return str(Path(out).with_name(f"{Path(out).stem}_confidence.tif"))


def publish(staged: StagedMap, project: Optional[QgsProject]) -> ClassifyResult:
    """Give a map its name, and show it in a project; a map that was there before is replaced.

    Raises: NotWritable, DiskFull.
    """
    from ..engine import classify as engine  # noqa: PLC0415 - light plugin load

    places = layers.release(QgsProject.instance(), staged.targets)
    result = engine.publish(staged)
    if project is None:
        return result
    years = ", ".join(str(year) for year in result.trained_years)
    if result.trained_years == (result.year,):
        name = translate("Jobs", "Land cover {}").format(result.year)
    else:
        name = translate("Jobs", "Land cover {} (trained on {})").format(result.year, years)
    classes = [LandClass(each.id, each.name, each.color) for each in result.classes]
    for file in _shown(result.maps, result.mosaic):
        layer = layers.class_map(file, layers.free_name(project, name, file), classes)
        layers.add(project, layer, layers.MAP, places.get(layers.MAP))
    name = translate("Jobs", "Confidence {}").format(result.year)
    for file in _shown(result.confidences, result.confidence_mosaic):
        layer = layers.confidence_map(file, layers.free_name(project, name, file))
        layers.add(project, layer, layers.CONFIDENCE, places.get(layers.CONFIDENCE))
    return result


def _shown(files: Sequence[str], mosaic: Optional[str]) -> Sequence[str]:
    return files if mosaic is None else (mosaic,)


def _remove_old(files: Iterable[Path]) -> None:
    """Remove pictures nobody looked at for long, as those of projects that were never saved."""
    before_s = time.time() - PREVIEW_KEPT_S
    for file in files:
        with contextlib.suppress(OSError):
            if file.stat().st_atime < before_s:
                file.unlink()


def _remove(files: Iterable[str]) -> None:
    for file in files:
        with contextlib.suppress(OSError):  # on some systems it is still held
            Path(file).unlink()
