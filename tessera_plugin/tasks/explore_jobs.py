# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Exploring as tasks: components of the view, similarity, clusters, a place over the years.

Only the cache is asked, unless it says that it fetches.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Optional, Sequence, Tuple

from qgis.core import QgsProject, QgsRasterLayer
from qgis.PyQt.QtCore import QCoreApplication

from ..progress import Report
from ..values import Extent
from . import layers, map_jobs
from .base import EngineTask
from .session import Session

if TYPE_CHECKING:
    from ..engine.classify import ClassifyResult, StagedMap
    from ..engine.cluster_labels import ClusterPlace
    from ..engine.explore import Basis, PreviewResult
    from ..engine.explore_view import Components, ExploreView
    from ..engine.heads import Head
    from ..engine.point_years import PointYears
    from ..engine.similar_map import SimilarResult
    from ..engine.similar_view import SimilarView

translate = QCoreApplication.translate


def cached_here(session: Session, extent: Extent) -> EngineTask:
    """Return the task that tells whether the cache has something of an extent: gives a bool."""
    from ..engine import cached_here as engine  # noqa: PLC0415 - light plugin load

    request = engine.CachedHereRequest(
        session.dataset.key, session.settings.year, extent, session.access(), session.depth
    )

    def work(report: Report) -> bool:
        return engine.cached_here(request, report)

    return EngineTask(translate("Explore", "Looking what is in the cache"), work)


# --- colours


def components(session: Session, extent: Extent, known: Optional[Components] = None) -> EngineTask:
    """Return the task that reads the components of what the map shows: gives `ExploreView`.

    With `known` components colours stay the same while the map moves.
    """
    from ..engine import explore_view  # noqa: PLC0415 - light plugin load

    request = explore_view.ExploreRequest(
        session.dataset.key, session.settings.year, extent, session.access(), session.depth
    )

    def work(report: Report) -> ExploreView:
        return explore_view.explore_view(request, report, known)

    return EngineTask(translate("Explore", "Looking at the components"), work)


def save_colors(session: Session, extent: Extent, basis: Basis, out: str) -> EngineTask:
    """Return the task that writes the colours of an extent: gives `PreviewResult`."""
    from ..engine import explore  # noqa: PLC0415 - light plugin load

    settings = session.settings
    request = explore.PreviewRequest(
        session.dataset.key, settings.year, extent, session.access(), out, settings.limit_px,
        depth=session.depth, basis=basis,
    )  # fmt: skip

    def work(report: Report) -> PreviewResult:
        return explore.preview(request, report)

    return EngineTask(translate("Explore", "Saving the colours"), work)


def show_colors(project: QgsProject, files: Sequence[str], title: str) -> None:
    """Add pictures to the project."""
    for file in files:
        layer = layers.preview_map(file, layers.free_name(project, title, file))
        layers.add(project, layer, layers.COLORS)


# --- similarity


def save_similarity(session: Session, view: SimilarView, extent: Extent, out: str) -> EngineTask:
    """Return the task that writes how like the places of a look an extent is: `SimilarResult`."""
    from ..engine import similar_map  # noqa: PLC0415 - light plugin load

    was, settings = view.request, session.settings
    request = similar_map.SimilarRequest(
        was.dataset, was.year, extent, replace(was.access, offline=True), was.points, out,
        limit_px=settings.limit_px, depth=was.depth, centre=tuple(view.centre.tolist()),
    )  # fmt: skip

    def work(report: Report) -> SimilarResult:
        return similar_map.similar(request, report)

    return EngineTask(translate("Explore", "Saving the similarity"), work)


def show_similarity(project: QgsProject, result: SimilarResult, title: str) -> None:
    """Add a raster of likeness to the project."""
    if result.raster is None:
        return
    mosaic = result.raster.mosaic
    for file in (mosaic,) if mosaic else result.raster.paths:
        layer: QgsRasterLayer = layers.confidence_map(file, layers.free_name(project, title, file))
        layers.add(project, layer, layers.SIMILARITY)


# --- clusters


def clusters(session: Session, extent: Extent, count: int, seed: int, out: str) -> EngineTask:
    """Return the task that finds clusters: gives `(Head, StagedMap)`."""
    from ..engine import clusters as engine  # noqa: PLC0415 - light plugin load

    settings = session.settings
    request = engine.ClusterRequest(
        session.dataset.key, settings.year, extent, replace(session.access(), offline=True), out,
        clusters=count, limit_px=settings.limit_px, depth=session.depth, seed=seed,
    )  # fmt: skip

    def work(report: Report) -> Tuple[Head, StagedMap]:
        return engine.cluster(request, report)

    return EngineTask(
        translate("Explore", "Finding clusters"), work, discard=lambda made: made[1].discard()
    )


def publish_clusters(staged: StagedMap, project: Optional[QgsProject]) -> ClassifyResult:
    """Give the map of clusters its name and show it. Raises: NotWritable, DiskFull."""
    result = staged.result
    title = translate("Explore", "{} clusters ({})").format(result.year, len(result.classes))
    return map_jobs.publish(staged, project, title)


def cluster_places(
    session: Session, head: Head, extent: Extent, ids: Sequence[int], per_cluster: int
) -> EngineTask:
    """Return the task that finds typical places of clusters: gives a tuple of `ClusterPlace`."""
    from ..engine import cluster_labels  # noqa: PLC0415 - light plugin load

    request = cluster_labels.ClusterLabelRequest(
        head.years[0], extent, session.access(dataset=head.dataset), tuple(ids), per_cluster,
        session.settings.limit_px,
    )  # fmt: skip

    def work(report: Report) -> Tuple[ClusterPlace, ...]:
        return cluster_labels.cluster_labels(head, request, report)

    return EngineTask(translate("Explore", "Looking for typical places"), work)


# --- years


def years(
    session: Session, lon: float, lat: float, only: Sequence[int] = (), *, fetch: bool = False
) -> EngineTask:
    """Return the task that tells the embedding of a place over the years: gives `PointYears`.

    All years of the dataset, or `only` some; with `fetch` what is missing is fetched.
    """
    from ..engine import point_years  # noqa: PLC0415 - light plugin load

    key, access, depth = session.dataset.key, session.access(), session.depth
    worker = session.compute.client() if fetch else None

    def work(report: Report) -> PointYears:
        return point_years.point_years(
            key, lon, lat, access, only, depth=depth, fetch=fetch, report=report, worker=worker
        )

    title = translate("Explore", "Fetching years of a place")
    return EngineTask(title if fetch else translate("Explore", "Looking at a place"), work)


def beside_labels(session: Session, name: str) -> str:
    """Return a file beside the labels."""
    return str(Path(session.labels_path).with_name(name))
