# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a person who wants to encode asks before: which encoders, devices, images, and how long."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Iterable, List, Optional, Sequence, Tuple

from qgis.core import QgsProject, QgsProviderRegistry, QgsRasterLayer
from qgis.PyQt.QtCore import QCoreApplication

from .. import paths
from ..errors import EncoderUnusable, LocationUnusable
from ..progress import Report
from ..settings import write_stores
from ..values import Dataset, Extent, Window
from . import layers
from .base import EngineTask
from .encode_jobs import EncodePlan, SceneEncoded, inputs_root, own_root, request_of, slug
from .session import Session

if TYPE_CHECKING:
    from ..engine.dpixels import Corrections, Placed, Recognised, Scenes
    from ..engine.encode import Estimate
    from ..engine.encoders import EncoderFacts, Listed
    from ..engine.local import Listing
    from ..engine.stac import StacPlan
    from ..engine.worker import Device, WorkerClient

TWO_SOURCES = re.compile(r"1[._]1")
"""In the name of a checkpoint of the generation that was trained on two kinds of data."""

translate = QCoreApplication.translate


@dataclass(frozen=True)
class Survey:
    """What can be encoded with, and computed on."""

    encoders: Tuple[Listed, ...]
    devices: Tuple[Device, ...]
    """Of ONNX Runtime, the best first."""


@dataclass(frozen=True)
class Estimated:
    """What encoding takes."""

    estimate: Estimate
    inputs_bytes: int
    """Room that the inputs take while they are encoded; 0 where they are there already."""


def encoders_dir() -> Path:
    """Return the folder of encoder files that the plugin made, or that a person put there."""
    return paths.data_dir() / "encoders"


# --- encoders


def survey(session: Session) -> EngineTask:
    """Return the task that looks which encoders there are, and tries the devices: gives `Survey`.

    Its `happened` tells the encoders before the devices are tried.
    """
    from ..engine import encoders  # noqa: PLC0415 - light plugin load

    worker, folder = session.compute.client(), str(encoders_dir())
    remembered = read_paths(session.settings.encoders)

    def work(report: Report) -> Survey:
        listed = list(encoders.list_encoders(folder, worker, report))
        known = {each.path for each in listed}
        listed += [_listed(path, worker, report) for path in remembered if path not in known]
        task.happened.emit(Survey(tuple(listed), ()))
        tried = encoders.devices(worker, report)
        return Survey(tuple(listed), tuple(d for d in tried if d.framework == "onnxruntime"))

    task = EngineTask(translate("Encode", "Looking which encoders there are"), work)
    return task


def _listed(path: str, worker: Optional[WorkerClient], report: Report) -> Listed:
    from ..engine import encoders  # noqa: PLC0415 - light plugin load

    try:
        return encoders.Listed(path, encoders.describe(path, worker, report))
    except EncoderUnusable as error:
        return encoders.Listed(path, None, error.reason)


def describe(session: Session, path: str) -> EngineTask:
    """Return the task that reads what an encoder file says of itself: gives `EncoderFacts`."""
    from ..engine import encoders  # noqa: PLC0415 - light plugin load

    worker = session.compute.client()

    def work(report: Report) -> EncoderFacts:
        return encoders.describe(path, worker, report)

    return EngineTask(translate("Encode", "Reading the encoder"), work)


def export(session: Session, checkpoint: str, source: str, precision: str) -> EngineTask:
    """Return the task that makes an encoder file of a checkpoint: gives `EncoderFacts`."""
    from ..engine import encoders  # noqa: PLC0415 - light plugin load

    worker = session.compute.client()
    parts = [Path(checkpoint).stem, source if source != "unstated" else "", precision]
    out = encoders_dir() / f"{'_'.join(each for each in parts if each)}{encoders.SUFFIX}"
    request = encoders.ExportRequest(checkpoint, str(out), source, precision)

    def work(report: Report) -> EncoderFacts:
        return encoders.export_encoder(request, worker, report)

    return EngineTask(translate("Encode", "Making an encoder of the checkpoint"), work)


def source_of(checkpoint: str) -> str:
    """Return whose data a checkpoint was trained on, as its name tells: empty where it does not."""
    name = Path(checkpoint).stem.lower()
    found = [each for each in ("mpc", "aws") if each in name]
    return found[0] if len(found) == 1 else ""


def has_two_sources(checkpoint: str) -> bool:
    """Whether a checkpoint is, by its name, of the generation that comes in two."""
    return TWO_SOURCES.search(Path(checkpoint).stem) is not None


def read_paths(text: str) -> Tuple[str, ...]:
    """Return remembered paths; what can't be used is left out."""
    try:
        found = json.loads(text or "[]")
    except ValueError:  # edited by hand
        return ()
    return tuple(each for each in found if isinstance(each, str)) if isinstance(found, list) else ()


def write_paths(found: Iterable[str]) -> str:
    """Return paths as the text that is remembered, each once."""
    return json.dumps(list(dict.fromkeys(found)))


# --- images


def recognise(found: Sequence[str]) -> EngineTask:
    """Return the task that tells what folders and files hold: gives `Recognised`."""
    from ..engine import dpixels  # noqa: PLC0415 - light plugin load

    def work(report: Report) -> Recognised:
        return dpixels.recognise(tuple(found), report)

    return EngineTask(translate("Encode", "Looking what the images are"), work)


def corrected(found: Recognised, by: Corrections) -> Recognised:
    """Return what was recognised with what the person says of it."""
    from ..engine import dpixels  # noqa: PLC0415 - light plugin load

    return dpixels.corrected(found, by)


def project_rasters(project: QgsProject) -> Tuple[str, ...]:
    """Return the files of a project's raster layers, each once; our own results are no images."""
    files: List[str] = []
    for layer in project.mapLayers().values():
        if isinstance(layer, QgsRasterLayer) and not layer.customProperty("tessera/role"):
            parts = QgsProviderRegistry.instance().decodeUri(layer.providerType(), layer.source())
            if parts.get("path"):
                files.append(str(parts["path"]))
    return tuple(dict.fromkeys(files))


def place(folder: str) -> EngineTask:
    """Return the task that tells where a d-pixel folder lies: gives `Placed`."""
    from ..engine import dpixels, encode  # noqa: PLC0415 - light plugin load

    moved_to = encode.moved_to(str(own_root()), folder)  # encoding finds it there

    def work(report: Report) -> Placed:
        return dpixels.place(folder, moved_to, report)

    return EngineTask(translate("Encode", "Looking where the inputs lie"), work)


def window_of(extent: Extent) -> Window:
    """Return the window of an extent on the grid of the zone most of it lies in.

    Raises: ExtentInvalid.
    """
    from ..engine import dpixels  # noqa: PLC0415 - light plugin load

    return dpixels.window_of(extent)


def check_size(window: Window, limit_px: int) -> None:
    """Raise ExtentTooLarge where a window has more pixels than the settings allow."""
    from ..engine import grid  # noqa: PLC0415 - light plugin load

    grid.check_size((window,), limit_px)


def using_all(said: Corrections) -> Corrections:
    """Return corrections that leave no image out, as the table shows also what is not used."""
    return replace(said, left_out=())


def year_of(scenes: Scenes) -> int:
    """Return the year that most Sentinel-2 dates lie in; 0 where there is none."""
    years = Counter(each.year for each in {scene.date for scene in scenes.s2})
    return years.most_common(1)[0][0] if years else 0


# --- catalogues


@dataclass(frozen=True)
class Query:
    """What is to be searched in catalogues."""

    window: Window
    first: dt.date
    last: dt.date
    s2: str
    s1: str
    """Names of catalogues; empty for none."""
    max_cloud: float = 100.0


def search(session: Session, query: Query) -> EngineTask:
    """Return the task that searches catalogues: gives `StacPlan`."""
    from ..engine import stac  # noqa: PLC0415 - light plugin load

    request = stac.StacRequest(
        window=query.window,
        first=query.first,
        last=query.last,
        s2=query.s2,
        s1=query.s1,
        max_cloud=query.max_cloud,
        network=session.access(*stac.addresses()).network,
        folder=str(inputs_root() / "downloads"),
    )

    def work(report: Report) -> StacPlan:
        return stac.search(request, report)

    return EngineTask(translate("Encode", "Searching images"), work)


# --- what was encoded


def own_scenes(dataset: Dataset) -> Listing:
    """Return the scenes of the person's own dataset. Raises: LocationUnusable."""
    from ..engine import local  # noqa: PLC0415 - light plugin load

    return local.look_into(dataset.local)


def scene_bytes(path: str) -> int:
    """Return what a scene takes on the disk."""
    from ..engine import local  # noqa: PLC0415 - light plugin load

    return local.scene_bytes(path)


def remove_scene(session: Session, dataset: Dataset, path: str) -> int:
    """Delete a scene and return the bytes that this frees.

    The dataset leaves the list with its last scene. Raises: LocationUnusable, NotWritable.
    """
    from ..engine import local  # noqa: PLC0415 - light plugin load

    freed = local.remove_scene(path)
    left = [each for each in session.settings.own_stores if each.key != dataset.key]
    with contextlib.suppress(LocationUnusable):
        left.append(local.dataset_of(dataset.local))
    session.update(stores=write_stores(left))
    return freed


# --- observations


def observations(session: Session, done: SceneEncoded) -> EngineTask:
    """Return the task that writes how often each pixel was seen: gives the raster's file."""
    from ..engine import observations as engine  # noqa: PLC0415 - light plugin load

    plan = done.plan
    out = own_root() / "observations" / f"{slug(plan.name)}_{plan.year}.tif"
    request = engine.ObservationsRequest(
        done.dataset, plan.year, done.result.window, session.access(), str(out)
    )

    def work(report: Report) -> str:
        return engine.write_observations(request, report)

    return EngineTask(translate("Encode", "Counting observations"), work)


def show_observations(project: QgsProject, file: str, name: str) -> None:
    """Show the raster of observations, in the place of an earlier one of the same file."""
    place = layers.release(project, [file]).get(layers.OBSERVATIONS)
    layers.add(project, layers.observations_map(file, name), layers.OBSERVATIONS, place)


# --- how long


def estimate(session: Session, plan: EncodePlan) -> EngineTask:
    """Return the task that tells what encoding takes, by trying a few pixels: gives `Estimated`."""
    from ..engine import encode as engine  # noqa: PLC0415 - light plugin load

    worker = session.compute.client()
    request, window = request_of(plan, plan.tile), plan.window
    s2_dates, s1_dates = dates_of(plan)
    size = None if plan.tile else engine.SceneSize(window.pixels, s2_dates, s1_dates)
    inputs = 0 if plan.tile else window.pixels * (s2_dates * (10 * 2 + 1) + s1_dates * 2 * 2)

    def work(report: Report) -> Estimated:
        return Estimated(engine.estimate(request, report, worker, size), inputs)

    return EngineTask(translate("Encode", "Estimating"), work)


def dates_of(plan: EncodePlan) -> Tuple[int, int]:
    """Return how many dates of Sentinel-2 and of Sentinel-1 a plan has; 0 where a tile knows."""
    if plan.stac is not None:
        return plan.stac.s2_dates, plan.stac.s1_dates
    if plan.scenes is None:
        return 0, 0
    optical = {each.date for each in plan.scenes.s2}
    return len(optical), len({(each.date, each.orbit) for each in plan.scenes.s1})
