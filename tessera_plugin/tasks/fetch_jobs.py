# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Fetching as a task: one year or several, with a picture that grows as blocks come."""

from __future__ import annotations

import contextlib
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Iterable, List, Optional, Sequence, Tuple

from qgis.core import QgsMapLayer, QgsProject
from qgis.PyQt.QtCore import QCoreApplication

from .. import paths
from ..errors import (
    AccessRefused,
    DecoderMissing,
    DiskFull,
    NetworkFailed,
    NotWritable,
    TesseraError,
    UnknownDataset,
)
from ..progress import Gate, Report, part
from ..settings import GB
from ..values import PIXEL_M, SOUTH_OFFSET_M, Access, Extent, Window
from . import layers
from .base import EngineTask
from .session import Session

if TYPE_CHECKING:
    from ..engine.embeddings import EmbeddingSource, FetchResult
    from ..engine.live import LivePicture
    from ..engine.picture import Picture
    from ..engine.worker import WorkerClient

PREVIEW_KEPT_S = 30 * 24 * 3600
PREVIEW_OF = "tessera/preview_of"
"""Custom property of a preview layer: dataset, depth and year."""

PICTURE_EVERY_S = 0.2
"""The growing picture is shown this often at most."""

MAKING_PREVIEW = 0.1
"""Share of a year's time that its preview takes."""

HOPELESS = (AccessRefused, DecoderMissing, DiskFull, NetworkFailed, NotWritable, UnknownDataset)
"""What hinders one year hinders the others too."""

translate = QCoreApplication.translate


@dataclass(frozen=True)
class FetchPlan:
    """What is to be fetched; the same plan again brings what was missing."""

    dataset: str
    years: Tuple[int, ...]
    """In the order they are fetched."""
    extent: Extent
    depth: int
    limit_px: int


@dataclass(frozen=True)
class YearFetched:
    """What a fetch brought of a year, and its picture."""

    year: int
    result: Optional[FetchResult]
    """None where nothing could be fetched."""
    error: Optional[TesseraError] = None
    """Why not; None too where it was not tried, as another year had failed for good."""
    previews: Tuple[str, ...] = ()
    """One picture per zone; none where nothing is valid."""
    preview_error: Optional[TesseraError] = None


@dataclass(frozen=True)
class Arriving:
    """What has come of a year, as a picture that grows."""

    year: int
    pictures: Callable[[], Tuple[Picture, ...]]
    """Gives the picture as it is when asked, on any thread."""


@dataclass(frozen=True)
class Fetched:
    """What a fetch brought, year by year."""

    plan: FetchPlan
    years: Tuple[YearFetched, ...]
    evicted_bytes: int = 0
    """What had to leave the cache, as it was over its limit."""


def plan(session: Session, extent: Extent) -> FetchPlan:
    """Return the plan of fetching an extent as it is chosen now."""
    limit_px = session.settings.limit_px
    return FetchPlan(session.dataset.key, session.years, extent, session.depth, limit_px)


def fetch(session: Session, wanted: FetchPlan) -> EngineTask:
    """Return the task that fetches what is planned: gives `Fetched`.

    Its `happened` tells `Arriving` as blocks come, and `YearFetched` after each year. It can be
    paused.
    """
    from ..engine import cache, embeddings, explore, live  # noqa: F401, PLC0415 - light plugin load

    access = session.access(dataset=wanted.dataset, depth=wanted.depth)
    limit_bytes = int(session.settings.cache_limit_gb * GB)
    gate = Gate()
    one = _OneYear(wanted, access, gate, session.compute.client())

    def work(report: Report) -> Fetched:
        one.told = task.happened.emit
        fetched: List[YearFetched] = []
        for number, year in enumerate(wanted.years):
            count = len(wanted.years)
            share = part(report, number / count, (number + 1) / count)
            of_year = one.run(year, share if count == 1 else _naming(share, year, number, count))
            fetched.append(of_year)
            task.happened.emit(of_year)
            if isinstance(of_year.error, HOPELESS):
                break
        fetched += [YearFetched(year, None) for year in wanted.years[len(fetched) :]]
        if fetched[0].error is not None and not any(each.result for each in fetched):
            raise fetched[0].error
        evicted = 0
        if not access.offline:
            evicted = cache.evict_over(access.cache_dir, limit_bytes)
        return Fetched(wanted, tuple(fetched), evicted)

    task = EngineTask(translate("Jobs", "Fetching embeddings"), work, gate=gate)
    return task


@dataclass
class _OneYear:
    """Fetches a year of the plan, in the working thread."""

    plan: FetchPlan
    access: Access
    gate: Gate
    worker: Optional[WorkerClient]
    told: Callable[[object], None] = lambda _: None

    def run(self, year: int, report: Report) -> YearFetched:
        from ..engine import embeddings, grid  # noqa: PLC0415 - light plugin load

        plan = self.plan
        request = embeddings.FetchRequest(
            plan.dataset, year, plan.extent, self.access, plan.limit_px, depth=plan.depth
        )
        growing = Growing(year, lambda: grid.windows_of(plan.extent), self.told)
        try:
            result = embeddings.fetch(
                request,
                part(report, 0.0, 1.0 - MAKING_PREVIEW),
                gate=self.gate,
                on_blocks=growing.add,
                worker=self.worker,
            )
        except TesseraError as error:
            return YearFetched(year, None, error)
        try:
            share = part(report, 1.0 - MAKING_PREVIEW, 1.0)
            previews = make_preview(plan, year, self.access, share)
        except TesseraError as error:  # the embeddings are there all the same
            return YearFetched(year, result, preview_error=error)
        return YearFetched(year, result, previews=previews)


def make_preview(plan: FetchPlan, year: int, access: Access, report: Report) -> Tuple[str, ...]:
    """Write a picture of embeddings that are there, one file per zone; remove old pictures."""
    from ..engine import explore  # noqa: PLC0415 - light plugin load

    folder = paths.preview_dir()
    folder.mkdir(parents=True, exist_ok=True)
    _remove_old(folder.glob("preview_*.tif*"))
    out = folder / f"preview_{plan.dataset}_{year}_{uuid.uuid4().hex[:8]}.tif"
    request = explore.PreviewRequest(
        plan.dataset, year, plan.extent, access, str(out), plan.limit_px, depth=plan.depth
    )
    return explore.preview(request, report).paths


class Growing:
    """Tells the picture of what has come, now and then."""

    def __init__(
        self,
        year: int,
        windows: Callable[[], Sequence[Window]],
        told: Callable[[object], None],
    ) -> None:
        """`windows` gives the parts of the zone grids that the picture is of."""
        self._year, self._windows, self._told = year, windows, told
        self._picture: Optional[LivePicture] = None
        self._coarse: Tuple[Picture, ...] = ()
        self._last_s = 0.0

    def look(self, coarse: Picture) -> None:
        """Show a coarse picture of the whole, under what comes after it."""
        self._coarse = (coarse,)
        self._told(Arriving(self._year, self._pictures))

    def add(self, source: EmbeddingSource, blocks: Sequence[Window]) -> None:
        """Take blocks in that are there now."""
        from ..engine import live  # noqa: PLC0415 - light plugin load

        if self._picture is None:
            self._picture = live.LivePicture(self._windows())
        self._picture.add(source, blocks)
        now_s = time.monotonic()
        if now_s - self._last_s >= PICTURE_EVERY_S:
            self._last_s = now_s
            self._told(Arriving(self._year, self._pictures))

    def _pictures(self) -> Tuple[Picture, ...]:
        fine = self._picture.pictures() if self._picture is not None else ()
        return (*self._coarse, *fine)


def _naming(report: Report, year: int, number: int, count: int) -> Report:
    """Return a report that says which of several years it is about."""
    which = translate("Jobs", "{} ({} of {})").format(year, number + 1, count)

    def told(fraction: float, message: str = "") -> None:
        report(fraction, f"{which}: {message}" if message else which)

    return told


# --- pictures


def show_preview(project: QgsProject, wanted: FetchPlan, fetched: YearFetched) -> None:
    """Show the picture of a year, in the place of an earlier one of the same embeddings."""
    if not fetched.previews:
        return
    of = preview_of(wanted.dataset, wanted.depth, fetched.year)
    earlier = [
        layers.file_of(each)
        for each in layers.with_role(project, layers.PREVIEW)
        if each.customProperty(PREVIEW_OF) == of
    ]
    place = layers.release(project, earlier).get(layers.PREVIEW)
    _remove(earlier)
    name = translate("Jobs", "{} embeddings (preview)").format(fetched.year)
    for file in fetched.previews:
        layer = layers.preview_map(file, name)
        layer.setCustomProperty(PREVIEW_OF, of)
        layers.add(project, layer, layers.PREVIEW, place)


def preview_of(dataset: str, depth: int, year: int) -> str:
    """Return what tells the previews of some embeddings from others."""
    return f"{dataset} {depth} {year}"


def preview_windows(shown: Iterable[QgsMapLayer], of: str) -> Tuple[Window, ...]:
    """Return what the previews among layers show, on the zone grids."""
    return tuple(_window(each) for each in shown if each.customProperty(PREVIEW_OF) == of)


def _window(preview: QgsMapLayer) -> Window:
    """Return the window of a preview, which is in the CRS of its zone."""
    epsg, extent = int(preview.crs().authid().rpartition(":")[2]), preview.extent()
    south_m = SOUTH_OFFSET_M if epsg >= 32700 else 0
    row, stop_row = (round((south_m - edge) / PIXEL_M) for edge in
                     (extent.yMaximum(), extent.yMinimum()))  # fmt: skip
    col, stop_col = (round(edge / PIXEL_M) for edge in (extent.xMinimum(), extent.xMaximum()))
    return Window.between(epsg % 100, row, col, stop_row, stop_col)


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
