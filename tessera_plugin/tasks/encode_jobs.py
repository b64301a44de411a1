# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A person's own scenes become embeddings, as one task: download, build, encode, preview."""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Iterator, Optional, Sequence, Tuple

from qgis.PyQt.QtCore import QCoreApplication

from .. import paths
from ..errors import NetworkFailed, TesseraError
from ..progress import Report, part
from ..values import PIXEL_M, Access, Dataset, Extent, Window
from .base import EngineTask
from .fetch_jobs import FetchPlan, Growing, YearFetched, make_preview
from .session import Session

if TYPE_CHECKING:
    from ..engine.dpixels import Raster, Scenes
    from ..engine.encode import Encoded, EncodeRequest
    from ..engine.encoders import EncoderFacts
    from ..engine.stac import StacPlan
    from ..engine.worker import WorkerClient

DOWNLOADING, BUILDING, ENCODING = 0.4, 0.3, 0.9
"""Share of the time that is left after what came before."""

translate = QCoreApplication.translate


@dataclass(frozen=True)
class EncodePlan:
    """What is to be encoded; the same plan again goes on where it stopped."""

    encoder: EncoderFacts
    window: Window
    """What is encoded; of a finished tile the whole of it."""
    name: str
    """Of the scene, for people."""
    year: int
    depth: int = 0
    """Numbers that are kept of an embedding; 0 for all."""
    providers: Tuple[str, ...] = ()
    """What to compute on; none for the best that works."""
    scenes: Optional[Scenes] = None
    stac: Optional[StacPlan] = None
    """What is to be downloaded first."""
    tile: str = ""
    """A finished d-pixel folder instead of scenes."""
    keeps_inputs: bool = False
    """Whether the inputs that are built stay."""


@dataclass(frozen=True)
class SceneEncoded:
    """What came of a plan."""

    plan: EncodePlan
    result: Encoded
    preview: YearFetched
    warnings: Tuple[str, ...] = ()
    """What was met when the inputs were made, in a few words each."""
    dropped: Tuple[Tuple[str, str], ...] = ()
    """Scenes that were not used, and why."""
    inputs: str = ""
    """Folder of the inputs that were kept; empty where they are gone, or are the person's own."""

    @property
    def dataset(self) -> Dataset:
        """Where the embeddings are now."""
        return self.result.dataset

    @property
    def extent(self) -> Extent:
        """Where the scene lies, in the CRS of its zone."""
        return extent_of(self.result.window)


def own_root() -> Path:
    """Return the folder of the person's own embeddings."""
    return paths.data_dir() / "embeddings"


def inputs_root() -> Path:
    """Return the folder that inputs are downloaded to and built in."""
    return paths.data_dir() / "inputs"


def extent_of(window: Window) -> Extent:
    """Return a window as an extent in the CRS of its zone."""
    west, _, _, north, _, _ = window.transform
    east, south = west + PIXEL_M * window.width, north - PIXEL_M * window.height
    return Extent(west, south, east, north, f"EPSG:{window.epsg}")


def encode(session: Session, plan: EncodePlan) -> EngineTask:
    """Return the task that makes embeddings of a plan: gives `SceneEncoded`.

    Its `happened` tells `Arriving` as blocks are made.
    """
    from ..engine import encode, explore, live  # noqa: F401, PLC0415 - light plugin load

    job = _Encoding(plan, session.access(), session.compute.client(), session.settings.limit_px)

    def work(report: Report) -> SceneEncoded:
        job.told = task.happened.emit
        return job.run(report)

    task = EngineTask(translate("Jobs", "Encoding “{}”").format(plan.name), work)
    return task


# --- inside


@dataclass
class _Encoding:
    """Carries a plan out, in the working thread."""

    plan: EncodePlan
    access: Access
    worker: Optional[WorkerClient]
    limit_px: int
    told: Callable[[object], None] = lambda _: None
    _warnings: Tuple[str, ...] = field(default=(), init=False)
    _dropped: Tuple[Tuple[str, str], ...] = field(default=(), init=False)

    def run(self, report: Report) -> SceneEncoded:
        from ..engine import encode as engine  # noqa: PLC0415 - light plugin load

        tile, report = self._tile(report)
        growing = Growing(self.plan.year, lambda: (self.plan.window,), self.told)
        result = engine.encode(
            request_of(self.plan, tile), part(report, 0.0, ENCODING), self.worker,
            on_blocks=growing.add, on_look=growing.look,
        )  # fmt: skip
        preview = self._preview(result, part(report, ENCODING, 1.0))
        return SceneEncoded(
            self.plan, result, preview, self._warnings, self._dropped, self._cleared(tile)
        )

    def _tile(self, report: Report) -> Tuple[str, Report]:
        """Return the d-pixel folder, and the report of what is left."""
        plan = self.plan
        if plan.tile:
            return plan.tile, report
        scenes = plan.scenes
        if plan.stac is not None:
            scenes = self._download(plan.stac, part(report, 0.0, DOWNLOADING))
            report = part(report, DOWNLOADING, 1.0)
        tile = self._build(scenes, part(report, 0.0, BUILDING))
        return tile, part(report, BUILDING, 1.0)

    def _download(self, wanted: StacPlan, report: Report) -> Scenes:
        from ..engine import stac  # noqa: PLC0415 - light plugin load

        fetched = stac.fetch(wanted, report)
        if fetched.unreachable:  # half of the images are no year: trying again brings the rest
            raise NetworkFailed(fetched.unreachable, "no connection")
        self._dropped += fetched.failures
        return fetched.scenes

    def _build(self, scenes: Optional[Scenes], report: Report) -> str:
        """Build the inputs, unless they were built before and are whole."""
        from ..engine import dpixels  # noqa: PLC0415 - light plugin load

        window = self.plan.window
        used = scenes or dpixels.Scenes()
        out = inputs_root() / f"{slug(self.plan.name)}-{_fingerprint(used, window)}"
        if not out.is_dir():
            out.parent.mkdir(parents=True, exist_ok=True)
            saying = _saying(report, "building the inputs")
            dpixels.build(dpixels.BuildPlan(used, window, str(out)), saying)
        facts = dpixels.place(str(out), "").provenance
        self._warnings += tuple(str(each) for each in _listed(facts.get("warnings")))
        for each in _listed(facts.get("dropped")):
            name, why = _listed(each)
            self._dropped += ((str(name), str(why)),)
        return str(out)

    def _preview(self, result: Encoded, report: Report) -> YearFetched:
        """Draw what was made; the embeddings are there also where that fails."""
        others = (each for each in self.access.stores if each.key != result.dataset.key)
        access = replace(self.access, stores=(*others, result.dataset))
        wanted = preview_plan(
            result.dataset, self.plan.year, extent_of(result.window), self.limit_px
        )
        try:
            previews = make_preview(wanted, self.plan.year, access, report)
        except TesseraError as error:
            return YearFetched(self.plan.year, None, preview_error=error)
        return YearFetched(self.plan.year, None, previews=previews)

    def _cleared(self, tile: str) -> str:
        """Remove inputs that are not to stay; return where they are otherwise."""
        if self.plan.tile:
            return ""
        if self.plan.keeps_inputs:
            return tile
        shutil.rmtree(tile, ignore_errors=True)
        return ""


def preview_plan(dataset: Dataset, year: int, extent: Extent, limit_px: int) -> FetchPlan:
    """Return the plan whose preview shows a scene."""
    return FetchPlan(dataset.key, (year,), extent, dataset.depth, limit_px)


def slug(name: str) -> str:
    """Return a name as part of a folder's name, on any system."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:24] or "scene"


def request_of(plan: EncodePlan, tile: str) -> EncodeRequest:
    """Return what the engine is asked, once there is a tile."""
    from ..engine import encode as engine  # noqa: PLC0415 - light plugin load

    return engine.EncodeRequest(
        encoder=plan.encoder.path, tile=tile, year=plan.year, name=plan.name,
        root=str(own_root()), depth=plan.depth, providers=plan.providers,
    )  # fmt: skip


def _saying(report: Report, words: str) -> Report:
    """Return a report that says what is done, before what it is done to."""

    def told(fraction: float, message: str = "") -> None:
        report(fraction, f"{words}: {message}" if message else words)

    return told


def _listed(found: object) -> Sequence[object]:
    return found if isinstance(found, (list, tuple)) else ()


def _fingerprint(scenes: Scenes, window: Window) -> str:
    """Return what tells inputs of other files, or of another place, apart."""
    digest = hashlib.sha256(repr((scenes, window)).encode())
    for path in sorted({each.path for each in _rasters(scenes)}):
        with_size = Path(path)
        if with_size.is_file():
            found = with_size.stat()
            digest.update(f"{path} {found.st_size} {found.st_mtime_ns}".encode())
    return digest.hexdigest()[:8]


def _rasters(scenes: Scenes) -> Iterator[Raster]:
    for optical in scenes.s2:
        yield from optical.bands.values()
        if optical.mask is not None:
            yield optical.mask
    for radar in scenes.s1:
        yield from (each for each in (radar.vv, radar.vh) if each is not None)
