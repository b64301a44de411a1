# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Labels from a class raster: a stratified sample of pixels that lie well inside of their class."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..errors import LabelsUnreadable
from ..io.foreign_maps import NOTHING, ForeignMap, MapFacts
from ..io.projection import LONLAT, lonlat_ring, spatial_reference, transform_points
from ..progress import Report, silent
from ..values import Extent
from .label_mapping import Found, Place, ValueFacts
from .samples import scattered

MAX_VALUES = 1000
"""A raster of more values is no class map."""

PART_PX = 1024
"""Edge of what is read at once."""

CELLS = 64
"""The area is divided into so many by so many cells; each keeps one pixel per class to choose from."""

KEPT_PER_WANTED = 20
"""And so many pixels per wanted one, wherever they lie: what a rare class is chosen from."""

_CELL_PX = 64  # of a cell about so many pixels are looked at
_LARGEST = 2**63 - 1
_CLOSER = 0.85  # points may lie so much closer where not enough of them are apart


@dataclass(frozen=True)
class SampleRequest:
    """What is to be sampled, and how."""

    path: str
    per_class: int = 50
    """Points of each class, where it has as many."""
    edge_px: int = 3
    """Pixels are taken whose neighbourhood of this edge (1, 3, 5) has their own class all over."""
    extent: Optional[Extent] = None
    """Where points may lie; None for the whole raster."""
    seed: int = 0
    """The same seed gives the same points."""

    def __post_init__(self) -> None:
        if self.per_class < 1:
            raise ValueError(f"at least one point per class is taken, got {self.per_class}")
        if self.edge_px not in (1, 3, 5):
            raise ValueError(f"a neighbourhood is 1, 3 or 5 pixels wide, got {self.edge_px}")


@dataclass(frozen=True)
class SampledClass:
    """A value of the raster."""

    value: int
    pixels: int
    """In the area."""
    inner_px: int
    """Of them, those whose neighbourhood has the class too."""
    points: int


@dataclass(frozen=True, eq=False)
class Sample:
    """Points at pixel centres."""

    lonlat: NDArray[np.float64]
    """(n, 2)."""
    values: NDArray[np.int64]
    """(n,)."""
    classes: Tuple[SampledClass, ...]
    """By ascending value; also those without a point."""
    facts: MapFacts

    def found(self) -> Found:
        """Return the points as places that labels are made of."""
        names = {each.value: self.facts.names.get(each.value, "") for each in self.classes}
        places = tuple(
            Place(_point(lon, lat), str(value))
            for (lon, lat), value in zip(self.lonlat.tolist(), self.values.tolist())
        )
        values = tuple(
            ValueFacts(
                str(each.value), each.pixels, each.points, self.facts.colors.get(each.value, ""),
                names[each.value],
            )
            for each in self.classes
        )  # fmt: skip
        return Found(self.facts.crs, places, values)


def sample(request: SampleRequest, report: Report = silent) -> Sample:
    """Return points of every class of a raster, spread over the area.

    The raster is read once, in parts; the memory does not grow with it.
    Raises: LabelsUnreadable if it is no class map or can't be read, ExtentInvalid, Cancelled.
    """
    with ForeignMap(request.path) as raster:
        areas = _areas(raster.facts, request.extent)
        chosen: Dict[int, _Chosen] = {}
        parts = [part for each in areas for part in each.parts()]
        for number, part in enumerate(parts):
            report(number / len(parts), "Looking at the map")
            _look(raster, part, request, _around(areas), chosen)
        return _sampled(raster.facts, request, chosen, report)


# --- the area


@dataclass(frozen=True)
class _Area:
    """Rows and columns of the raster that are looked at."""

    row: int
    col: int
    stop_row: int
    stop_col: int

    @property
    def enough(self) -> int:
        """The scattered number below which pixels are looked at for their cells.

        In a large area each cell has so many pixels that a share of them will do.
        """
        pixels_of_cell = max(self.cell_px**2 // _CELL_PX, 1)
        return _LARGEST // pixels_of_cell

    @property
    def cell_px(self) -> int:
        return max(-(-max(self.stop_row - self.row, self.stop_col - self.col) // CELLS), 1)

    def parts(self) -> Iterator[_Area]:
        for row in range(self.row, self.stop_row, PART_PX):
            for col in range(self.col, self.stop_col, PART_PX):
                stop_row = min(row + PART_PX, self.stop_row)
                yield _Area(row, col, stop_row, min(col + PART_PX, self.stop_col))


def _areas(facts: MapFacts, extent: Optional[Extent]) -> List[_Area]:
    """Return the parts of a raster that an extent touches.

    They are two where the extent lies over 180° and the raster is a map of the world in degrees.
    """
    if extent is None:
        return [_Area(0, 0, facts.height, facts.width)]
    edge = transform_points(lonlat_ring(extent), LONLAT, facts.crs)
    edge = edge[np.isfinite(edge).all(axis=1)]
    if not len(edge):
        return []
    turns = (-360.0, 0.0, 360.0) if spatial_reference(facts.crs).IsGeographic() else (0.0,)
    found = [_touched(facts, np.add(edge, (turn, 0.0))) for turn in turns]
    return [each for each in found if each.stop_row > each.row and each.stop_col > each.col]


def _touched(facts: MapFacts, edge: NDArray[np.float64]) -> _Area:
    """Return what of a raster an outline in its CRS touches; it may be empty."""
    cols, rows = _to_pixels(facts, edge).T
    return _Area(
        max(math.floor(rows.min()), 0), max(math.floor(cols.min()), 0),
        min(math.ceil(rows.max()), facts.height), min(math.ceil(cols.max()), facts.width),
    )  # fmt: skip


def _around(areas: Sequence[_Area]) -> _Area:
    return _Area(
        min(each.row for each in areas), min(each.col for each in areas),
        max(each.stop_row for each in areas), max(each.stop_col for each in areas),
    )  # fmt: skip


def _to_pixels(facts: MapFacts, xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return column and row (n, 2) of places in the raster's CRS."""
    west, a, b, north, c, d = facts.transform
    found = np.linalg.solve(np.array([[a, b], [c, d]]), (xy - (west, north)).T)
    return np.asarray(found.T, np.float64)


def _centres(
    facts: MapFacts, rows: NDArray[np.int64], cols: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the centres of pixels (n, 2) in the raster's CRS."""
    west, a, b, north, c, d = facts.transform
    col, row = cols + 0.5, rows + 0.5
    return np.column_stack([west + a * col + b * row, north + c * col + d * row])


# --- candidates


def _nothing() -> NDArray[np.int64]:
    return np.empty((0, 3), np.int64)


@dataclass
class _Chosen:
    """What is known of a class so far: pixels to choose from, by row of (row, col, scattered)."""

    pixels: int = 0
    inner_px: int = 0
    spread: NDArray[np.int64] = field(default_factory=_nothing)
    """One per cell."""
    any: NDArray[np.int64] = field(default_factory=_nothing)
    """The first ones in scattered order."""

    def worst(self, wanted: int) -> int:
        """Return the scattered number that a pixel must be below to be among the first ones."""
        is_full = len(self.any) >= KEPT_PER_WANTED * wanted
        return int(self.any[-1, 2]) if is_full else _LARGEST

    def add_any(self, found: NDArray[np.int64], wanted: int) -> None:
        """Take in inner pixels (n, 3), wherever they lie."""
        together = np.concatenate([self.any, found])
        self.any = together[np.argsort(together[:, 2], kind="stable")[: KEPT_PER_WANTED * wanted]]

    def add_spread(self, found: NDArray[np.int64], area: _Area) -> None:
        """Take in inner pixels (n, 3) for their cells."""
        together = np.concatenate([self.spread, found])
        together = together[np.argsort(together[:, 2], kind="stable")]
        cell = (together[:, 0] - area.row) // area.cell_px * CELLS
        cell += (together[:, 1] - area.col) // area.cell_px
        self.spread = together[np.unique(cell, return_index=True)[1]]

    def candidates(self) -> NDArray[np.int64]:
        """Return all of them (n, 2), each once, in scattered order."""
        together = np.unique(np.concatenate([self.spread, self.any]), axis=0)
        ordered = together[np.argsort(together[:, 2], kind="stable")]
        return np.ascontiguousarray(ordered[:, :2])


def _look(
    raster: ForeignMap, part: _Area, request: SampleRequest, area: _Area,
    chosen: Dict[int, _Chosen],
) -> None:  # fmt: skip
    """Take in the pixels of a part."""
    halo = request.edge_px // 2
    height, width = part.stop_row - part.row, part.stop_col - part.col
    values = raster.read(part.row - halo, part.col - halo, height + 2 * halo, width + 2 * halo)
    own = values[halo : halo + height, halo : halo + width]
    present, index, counts = np.unique(own, return_inverse=True, return_counts=True)
    index = index.reshape(own.shape)
    for value, count in zip(present.tolist(), counts.tolist()):
        if value != NOTHING:
            chosen.setdefault(value, _Chosen()).pixels += count
    if len(chosen) > MAX_VALUES:
        reason = f"it has more than {MAX_VALUES:,} different values, so no classes"
        raise LabelsUnreadable(request.path, reason)
    rows, cols = np.nonzero(_is_inner(values, halo) & (own != NOTHING))
    which = index[rows, cols]
    places = np.column_stack([present[which].astype(np.int64), rows + part.row, cols + part.col])
    order = (scattered(places, request.seed) >> np.uint64(1)).astype(np.int64)
    places = np.column_stack([places[:, 1:], order])
    inner = np.bincount(which, minlength=len(present))
    first = [chosen[v].worst(request.per_class) if v != NOTHING else -1 for v in present.tolist()]
    for number, found in _by_class(places, which, order < np.array(first)[which]):
        chosen[int(present[number])].add_any(found, request.per_class)
    for number, found in _by_class(places, which, order < area.enough):
        chosen[int(present[number])].add_spread(found, area)
    for number in np.flatnonzero(inner).tolist():
        chosen[int(present[number])].inner_px += int(inner[number])


def _by_class(
    places: NDArray[np.int64], which: NDArray[np.int64], taken: NDArray[np.bool_]
) -> Iterator[Tuple[int, NDArray[np.int64]]]:
    """Yield the places that are taken, class by class."""
    places, which = places[taken], which[taken]
    by_class = np.argsort(which, kind="stable")
    there, starts = np.unique(which[by_class], return_index=True)
    for number, rows in zip(there.tolist(), np.split(by_class, starts[1:])):
        yield number, places[rows]


def _is_inner(values: NDArray[np.int32], halo: int) -> NDArray[np.bool_]:
    """Return which pixels, without the halo around them, have equal ones all around (H, W)."""
    height, width = (edge - 2 * halo for edge in values.shape)
    middle = values[:, halo : halo + width]
    in_row = np.ones(middle.shape, bool)
    for shift in range(2 * halo + 1):
        in_row &= values[:, shift : shift + width] == middle
    own = middle[halo : halo + height]
    inner = np.ones(own.shape, bool)
    for shift in range(2 * halo + 1):
        rows = slice(shift, shift + height)
        inner &= in_row[rows] & (middle[rows] == own)
    return inner


# --- the choice


def _sampled(
    facts: MapFacts, request: SampleRequest, chosen: Dict[int, _Chosen], report: Report
) -> Sample:
    lonlats: List[NDArray[np.float64]] = [np.empty((0, 2))]
    values: List[int] = []
    classes = []
    for value in sorted(chosen):
        report(1.0, "Choosing points")
        pixels = chosen[value].candidates()
        lonlat = transform_points(_centres(facts, pixels[:, 0], pixels[:, 1]), facts.crs, LONLAT)
        usable = np.isfinite(lonlat).all(axis=1) & _is_within(lonlat, request.extent)
        pixels, lonlat = pixels[usable], lonlat[usable]
        picked = _spread(_metres(facts, pixels), request.per_class, report)
        lonlats.append(lonlat[picked])
        values += [value] * len(picked)
        known = chosen[value]
        classes.append(SampledClass(value, known.pixels, known.inner_px, len(picked)))
    return Sample(np.concatenate(lonlats), np.array(values, np.int64), tuple(classes), facts)


def _spread(xy: NDArray[np.float64], wanted: int, report: Report) -> List[int]:
    """Return the indices of points (n, 2) that lie apart, the first of them first.

    As many as wanted are thrown like darts, none closer to another than a distance, which shrinks
    when no more fit: even over the area, without a pattern and without a pull to its edges.
    """
    if len(xy) <= wanted:
        return list(range(len(xy)))
    sides = np.maximum(np.ptp(xy, axis=0), 1.0)
    apart = math.sqrt(float(sides[0] * sides[1]) / wanted)
    nearest = np.full(len(xy), np.inf)
    picked: List[int] = []
    while len(picked) < wanted:
        free = np.flatnonzero(nearest >= apart)
        if not len(free):
            apart *= _CLOSER
            continue
        report(1.0, "Choosing points")
        picked.append(int(free[0]))
        np.minimum(nearest, np.hypot(*(xy - xy[free[0]]).T), out=nearest)
        nearest[free[0]] = -1.0  # it is taken
    return picked


def _metres(facts: MapFacts, pixels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return where pixels lie (n, 2), in units that are alike in both directions."""
    xy = _centres(facts, pixels[:, 0], pixels[:, 1])
    if len(xy) and spatial_reference(facts.crs).IsGeographic():
        xy = xy * (111_320 * math.cos(math.radians(float(xy[:, 1].mean()))), 110_570)
    return xy


def _is_within(lonlat: NDArray[np.float64], extent: Optional[Extent]) -> NDArray[np.bool_]:
    """Return which places lie in an extent (n,)."""
    if extent is None or not len(lonlat):
        return np.ones(len(lonlat), bool)
    x, y = transform_points(lonlat, LONLAT, extent.crs).T
    east = extent.east
    if east < extent.west:  # over the antimeridian
        east, x = east + 360, np.where(x < extent.west, x + 360, x)
    within = (x >= extent.west) & (x <= east) & (y >= extent.south) & (y <= extent.north)
    return np.asarray(within, bool)


def _point(lon: float, lat: float) -> bytes:
    """Return a point as WKB, little endian."""
    header: Sequence[int] = (1, 1, 0, 0, 0)
    return bytes(header) + np.array([lon, lat], "<f8").tobytes()
