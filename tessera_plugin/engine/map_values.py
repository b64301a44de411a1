# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is asked of a map, and what becomes of it: a request, staged files, a result."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Optional, Tuple

from ..errors import LabelsNeeded, TooManyPolygons
from ..io import files
from ..io.raster_classes import ClassCount
from ..io.sources.base import FetchSummary
from ..values import Access
from .label_sets import LabelSet
from .labels import Labels
from .map_cleanup import CleanUp
from .map_ground import Area
from .map_outputs import MARGIN, NOVELTY, PROBABILITIES, check_percent
from .map_polygons import StagedPolygons
from .mapping import NamedRaster, StagedRaster

CLEAN = "clean"


@dataclass(frozen=True)
class ClassifyRequest:
    """What to classify, with what, and where to."""

    head_path: str
    year: int
    extent: Area
    """A rectangle, or polygons: what lies outside of them is nodata and not counted."""
    access: Access
    out: str
    """The map's `.tif`; over a zone seam `MAP_utm30.tif` and so on are written beside it."""
    confidence_out: Optional[str] = None
    """The confidence's `.tif`; none is written without it."""
    limit_px: int = 50_000_000
    """An extent of more pixels is refused."""
    probabilities_out: Optional[str] = None
    """uint8 percent, a band per class named by it, 255 = nodata."""
    margin_out: Optional[str] = None
    """uint8: percent between the two most probable classes, 255 = nodata."""
    novelty_out: Optional[str] = None
    """uint8: distance to the labels in percent of the limit (over 100 is novel), 254 = more."""
    labels: Optional[Labels] = None
    """What the head learnt from: a head doesn't carry them, novelty is measured from them."""
    label_year: int = 0
    """The year whose embeddings the labels are looked up in; 0 for the years of the head that none
    of the further labels are of, each of all where that leaves none."""
    uncertain_below: int = 0
    """Percent: pixels whose best class is less probable are of a class `Uncertain`; 0 for none."""
    clean_up: CleanUp = field(default_factory=CleanUp)
    """What is done to a copy of the map, which stays as it is."""
    clean_out: Optional[str] = None
    """The cleaned map's `.tif`; `MAP_clean.tif` without it."""
    polygons_out: Optional[str] = None
    """A `.gpkg` with the areas of the map as polygons, of the cleaned one if there is one."""
    more_labels: Tuple[LabelSet, ...] = ()
    """Further labels that the head learnt, of other years or files; their year as `label_year`."""

    def __post_init__(self) -> None:
        check_percent(self.uncertain_below)
        if self.novelty_out and self.labels is None:
            raise LabelsNeeded

    @property
    def label_sets(self) -> Tuple[LabelSet, ...]:
        """All labels, each with the year they are looked up in."""
        first = () if self.labels is None else (LabelSet(self.labels, self.label_year),)
        return (*first, *self.more_labels)

    @property
    def clean_path(self) -> Optional[str]:
        """Where the cleaned map goes, if there is to be one."""
        if not self.clean_up:
            return None
        return self.clean_out or beside(self.out, "clean")


@dataclass(frozen=True)
class ClassifyResult:
    """A map and what is to say of it."""

    maps: Tuple[str, ...]
    """One GeoTIFF per zone, by ascending zone."""
    mosaic: Optional[str]
    """The VRT over the zones' maps; none where there is one zone only."""
    confidences: Tuple[str, ...]
    confidence_mosaic: Optional[str]
    classes: Tuple[ClassCount, ...]
    """Every class of the head, in its order."""
    nodata_px: int
    """Pixels of the map that have no class."""
    fetched: FetchSummary
    head_id: str
    dataset: str
    year: int
    trained_years: Tuple[int, ...]
    seconds: float
    probabilities: Optional[NamedRaster] = None
    margin: Optional[NamedRaster] = None
    novelty: Optional[NamedRaster] = None
    uncertain_id: int = 0
    """The id of the class `Uncertain`, the last of `classes`; 0 where there is none."""
    clean: Optional[NamedRaster] = None
    clean_classes: Tuple[ClassCount, ...] = ()
    """As `classes`, of the cleaned map."""
    changed_px: int = 0
    """Pixels that cleaning gave another class."""
    polygons: Optional[str] = None
    polygon_count: int = 0
    polygons_refused: Optional[TooManyPolygons] = None
    """Why there are none although they were asked for."""
    unusable_polygons: int = 0
    """Polygons of the area that are not mapped: broken beyond mending, or without an inside."""


@dataclass(frozen=True)
class StagedMap:
    """A map that is whole but not yet under its name; `publish` or `discard` it."""

    map: StagedRaster
    confidence: Optional[StagedRaster]
    result: ClassifyResult
    """As it will be, still without the files."""
    others: Tuple[Tuple[str, StagedRaster], ...] = ()
    """By the name of their field in the result."""
    polygons: Optional[StagedPolygons] = None

    @property
    def targets(self) -> Tuple[str, ...]:
        """The names that publishing will take: layers that hold them should be released first."""
        found = [str(final) for raster in self._rasters() for _, final in raster.files]
        return (*found, str(self.polygons.final)) if self.polygons else tuple(found)

    def discard(self) -> None:
        """Remove what is staged."""
        for raster in self._rasters():
            files.remove_folder(raster.folder)
        if self.polygons:
            files.remove_folder(self.polygons.folder)

    def _rasters(self) -> Tuple[StagedRaster, ...]:
        first = (self.map,) if self.confidence is None else (self.map, self.confidence)
        return (*first, *(raster for _, raster in self.others))


def publish(staged: StagedMap) -> ClassifyResult:
    """Give a staged map its name, and return it.

    A file that the system still holds stays, and the new one gets a numbered name.
    Raises: NotWritable, DiskFull.
    """
    try:
        maps, mosaic = staged.map.publish()
        confidences, confidence_mosaic = (
            staged.confidence.publish() if staged.confidence else ((), None)
        )
        others = {name: NamedRaster(*raster.publish()) for name, raster in staged.others}
        polygons = staged.polygons.publish() if staged.polygons else None
    finally:
        staged.discard()
    return replace(
        staged.result, maps=maps, mosaic=mosaic, confidences=confidences,
        confidence_mosaic=confidence_mosaic, polygons=polygons, clean=others.get(CLEAN),
        probabilities=others.get(PROBABILITIES), margin=others.get(MARGIN),
        novelty=others.get(NOVELTY),
    )  # fmt: skip


def beside(out: str, word: str, suffix: str = "") -> str:
    """Return the path of something that goes beside a map: `MAP_word.tif`."""
    path = Path(out)
    return str(path.with_name(f"{path.stem}_{word}{suffix or path.suffix}"))
