# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Maps, as tasks on plain values; and what becomes of them in the project."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Iterator, Mapping, Optional, Sequence, Tuple

from qgis.core import QgsProject
from qgis.PyQt.QtCore import QCoreApplication

from ..progress import Report, part
from . import head_labels, layers, map_area, map_choices, map_layers
from .base import EngineTask
from .head_labels import HeadLabels
from .map_area import MapArea
from .map_choices import MapChoices
from .session import Session

if TYPE_CHECKING:
    from ..engine.classify import ClassifyRequest, ClassifyResult, StagedMap
    from ..engine.map_years import YearFailed
    from ..values import Extent

translate = QCoreApplication.translate


def choices(session: Session) -> MapChoices:
    """Return what the person chose."""
    return map_choices.from_text(session.settings.map_choices)


def keep(session: Session, chosen: MapChoices) -> None:
    """Remember what the person chose."""
    session.update(map_choices=map_choices.to_text(chosen))


def keep_years(session: Session, ticked: Sequence[int]) -> None:
    """Remember which years are mapped besides the chosen one."""
    keep(session, replace(choices(session), years=tuple(sorted(ticked))))


def years(session: Session) -> Tuple[int, ...]:
    """Return the years to map, ascending: the chosen one and those that were ticked besides."""
    known = set(session.dataset.years)
    return tuple(sorted({session.settings.year} | (set(choices(session).years) & known)))


@dataclass(frozen=True)
class MapPlan:
    """Which head maps what, when and where to."""

    head: str
    area: MapArea
    out: str
    years: Tuple[int, ...]
    choices: MapChoices
    labels: Optional[HeadLabels] = None
    """What novelty is measured from; None where it is not wanted."""


def plan(session: Session, area: MapArea, out: str) -> MapPlan:
    """Return what the person wants now. Raises: LabelsNeeded."""
    chosen = choices(session)
    labels = head_labels.now(session) if chosen.novelty else None
    return MapPlan(session.settings.head_path, area, out, years(session), chosen, labels)


def classify(session: Session, wanted: MapPlan) -> EngineTask:
    """Return the task that maps an area for one year or several: gives the years that failed.

    Every map is told by `happened` as soon as it is whole, a `StagedMap` still under other names;
    whoever takes it publishes or discards it.
    """
    from ..engine import classify as engine  # noqa: PLC0415 - light plugin load
    from ..engine import map_years  # noqa: PLC0415
    from ..engine.heads import storage as head_storage  # noqa: PLC0415

    request = _request(session, wanted, _bounds(wanted.area))
    worker = session.compute.client() if session.compute.can_train else None

    def work(report: Report) -> Sequence[YearFailed]:
        area = map_area.read(wanted.area, part(report, 0.0, 0.02))
        asked, of_maps = replace(request, extent=area), part(report, 0.02, 1.0)
        if wanted.labels is not None:
            first, *more = wanted.labels.sets(head_storage.load(wanted.head).years)
            asked = replace(asked, labels=first.labels, label_year=first.year,
                            more_labels=tuple(more),
                            novelty_out=engine.beside(wanted.out, "novelty"))  # fmt: skip
        if len(wanted.years) > 1:
            return map_years.classify_years(asked, wanted.years, come, of_maps, worker)
        come(engine.classify(asked, of_maps, worker))
        return ()

    def come(staged: StagedMap) -> None:
        if task.is_silent:
            staged.discard()
        else:
            task.happened.emit(staged)

    task = EngineTask(translate("Jobs", "Classifying"), work)
    return task


def _bounds(area: MapArea) -> Extent:
    return area.around if isinstance(area, map_area.LayerPolygons) else area


def _request(session: Session, wanted: MapPlan, extent: Extent) -> ClassifyRequest:
    from ..engine import classify as engine  # noqa: PLC0415 - light plugin load
    from ..engine.map_cleanup import CleanUp, sieve_px_of  # noqa: PLC0415

    chosen, settings, out = wanted.choices, session.settings, wanted.out
    sieve_px = 0
    if chosen.sieve:
        is_px = chosen.sieve_unit == map_choices.PIXELS
        sieve_px = round(chosen.sieve_size) if is_px else sieve_px_of(chosen.sieve_size)
    return engine.ClassifyRequest(
        head_path=wanted.head,
        year=wanted.years[0],
        extent=extent,
        access=session.access(),
        out=out,
        confidence_out=confidence_path(out) if settings.confidence else None,
        limit_px=settings.limit_px,
        probabilities_out=engine.beside(out, "probabilities") if chosen.probabilities else None,
        margin_out=engine.beside(out, "margin") if chosen.margin else None,
        uncertain_below=chosen.uncertain_below if chosen.uncertain else 0,
        clean_up=CleanUp(chosen.majority, sieve_px, 8 if chosen.corners else 4),
        polygons_out=engine.beside(out, "polygons", ".gpkg") if chosen.polygons else None,
    )


def confidence_path(out: str) -> str:
    """Return where the confidence of a map goes: beside it."""
    from ..engine.classify import beside  # noqa: PLC0415 - light plugin load

    return beside(out, "confidence", ".tif")


# --- results


def publish(staged: StagedMap, project: Optional[QgsProject], title: str = "") -> ClassifyResult:
    """Give a map its name, and show it in a project; a map that was there before is replaced.

    `title` is the name of its layer; empty for that of a map made by a head.
    Raises: NotWritable, DiskFull.
    """
    published = name(staged)
    if project is not None:
        map_layers.show(project, published.result, published.places, title)
    return published.result


@dataclass(frozen=True)
class Published:
    """A map under its name, which no layer shows yet."""

    result: ClassifyResult
    places: Mapping[str, layers.Place]
    """Where the layers were that it replaces, by role."""


def name(staged: StagedMap) -> Published:
    """Give a map its name; layers that showed it are gone. Raises: NotWritable, DiskFull."""
    from ..engine import classify as engine  # noqa: PLC0415 - light plugin load

    places = layers.release(QgsProject.instance(), staged.targets)
    return Published(engine.publish(staged), places)


def shown(published: Published, project: QgsProject) -> Iterator[None]:
    """Show a map in a project, a layer to each step."""
    return map_layers.one_by_one(project, published.result, published.places)


def areas_path(out: str) -> str:
    """Return where the table of hectares goes: beside the map."""
    from ..engine.classify import beside  # noqa: PLC0415 - light plugin load

    return beside(out, "areas", ".csv")


def areas_text(results: Sequence[ClassifyResult]) -> str:
    """Return the table of hectares as text that a spreadsheet takes from the clipboard."""
    from ..engine import map_areas  # noqa: PLC0415 - light plugin load

    return map_areas.text_of(results, delimiter="\t")


def save_areas(path: str, results: Sequence[ClassifyResult]) -> None:
    """Write the table of hectares. Raises: NotWritable, DiskFull."""
    from ..engine import map_areas  # noqa: PLC0415 - light plugin load

    map_areas.write_areas(path, results)
