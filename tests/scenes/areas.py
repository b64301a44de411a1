# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Two simulated areas as a person has them on disk: dated GeoTIFFs of both Sentinels in 2022.

    written = write_area(folder, FEN)
    written.images  # to be recognised: S2 with SCL, clouds, a change of baseline; S1 of both orbits
    written.truth   # GeoTIFF of class ids, not among the images
    label_points(FEN, per_class=8)

FEN is a folder of STAC items as from the Planetary Computer, each with its single-band images at 10
and 20 m. WOLD is loose files: one with ten bands per date of Sentinel-2, its SCL beside it, and
radar under the names of HyP3. Nothing is on a border of 128 px blocks, nor all on one MGRS tile.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import List, NamedTuple, Tuple

import numpy as np
from osgeo import osr

from tests.scenes import geotiffs, spectra
from tests.scenes.landscape import Landscape

ITEMS, FILES = "items", "files"
_MARGIN_PX = 4
"""Images reach at least that much further than an area, to even rows and columns: 20 m pixels."""
_INSIDE_PX = 2
"""A clicked point is so far from where its parcel ends."""


@dataclass(frozen=True)
class Area:
    """A rectangle of the 10 m grid of a UTM zone, as in values.Window, and its simulated land."""

    name: str
    seed: int
    zone: int
    row: int
    col: int
    height: int
    width: int
    mgrs: str
    layout: str
    """ITEMS or FILES."""
    year: int = 2022
    s2_count: int = 34
    s1_count: int = 16
    cloudiness: float = 0.38


FEN = Area("fen", 65, 31, -578_333, 30_317, 150, 154, "31UCT", ITEMS)
WOLD = Area("wold", 29, 31, -579_405, 45_211, 156, 150, "31UDT", FILES)
AREAS = (FEN, WOLD)


class LabelPoint(NamedTuple):
    lon: float
    lat: float
    class_id: int


@dataclass(frozen=True)
class Written:
    """Where an area lies on disk."""

    area: Area
    images: Path
    """Folder of everything a person has."""
    truth: Path
    """uint8 GeoTIFF of the area, ids of spectra.CLASSES."""
    s2_dates: Tuple[dt.date, ...]
    ascending: Tuple[dt.date, ...]
    descending: Tuple[dt.date, ...]


def write_area(folder: Path, area: Area) -> Written:
    """Write the images of an area, and the truth, into a folder of its name."""
    images, truth = folder / area.name / "images", folder / area.name / "truth.tif"
    land = landscape(area)
    grid = geotiffs.Grid(area.zone, *_origin(area), *land.shape)
    write = geotiffs.write_items if area.layout == ITEMS else geotiffs.write_files
    write(images, land, grid, area.mgrs)
    exact = geotiffs.Grid(area.zone, area.row, area.col, area.height, area.width)
    geotiffs.save(truth, true_classes(area), exact, nodata=0)
    return Written(area, images, truth, land.s2_dates, land.ascending, land.descending)


def true_classes(area: Area) -> np.ndarray:
    """Return class ids (height, width) uint8 of an area."""
    return _inner(area, landscape(area).classes)


def label_points(area: Area, per_class: int = 8, seed: int = 0) -> List[LabelPoint]:
    """Return points as a careful person would click them: inside parcels, one in each as long as
    there are parcels. Classes ascend; fewer points where a class has no room for more.
    """
    classes, parcels = true_classes(area), _inner(area, landscape(area).ground.parcel)
    core = _core(parcels)
    draw = np.random.default_rng(seed)
    points: List[LabelPoint] = []
    for land_class in spectra.CLASSES:
        at = draw.permutation(np.argwhere(core & (classes == land_class.id)))
        for row, col in _spread(at, parcels, per_class):
            lon, lat = lonlat(area, area.row + row + 0.5, area.col + col + 0.5)
            points.append(LabelPoint(lon, lat, land_class.id))
    return points


def lonlat(area: Area, row: float, col: float) -> Tuple[float, float]:
    """Return longitude and latitude of a place on the grid; pixel centres are at halves."""
    lon, lat, _ = _to_degrees(area.zone).TransformPoint(10.0 * col, -10.0 * row)
    return lon, lat


@lru_cache(maxsize=4)
def landscape(area: Area) -> Landscape:
    """Return the land that images of an area show: the area and a margin."""
    row, col = _origin(area)
    height = _even_up(area.row + area.height + _MARGIN_PX) - row
    width = _even_up(area.col + area.width + _MARGIN_PX) - col
    return Landscape(
        area.seed, height, width, area.year, area.s2_count, area.s1_count, area.cloudiness
    )


def _origin(area: Area) -> Tuple[int, int]:
    row, col = area.row - _MARGIN_PX, area.col - _MARGIN_PX
    return row - row % 2, col - col % 2


def _even_up(number: int) -> int:
    return number + number % 2


def _inner(area: Area, whole: np.ndarray) -> np.ndarray:
    row, col = _origin(area)
    top, left = area.row - row, area.col - col
    return whole[top : top + area.height, left : left + area.width]


def _core(parcels: np.ndarray) -> np.ndarray:
    """Return which pixels have only their own parcel around them."""
    height, width = parcels.shape
    wide = np.pad(parcels, _INSIDE_PX, constant_values=-1)
    steps = range(2 * _INSIDE_PX + 1)
    same = [wide[r : r + height, c : c + width] == parcels for r in steps for c in steps]
    core: np.ndarray = np.logical_and.reduce(same)
    return core


def _spread(at: np.ndarray, parcels: np.ndarray, count: int) -> np.ndarray:
    """Return `count` of the places, from as many parcels as there are."""
    own = parcels[at[:, 0], at[:, 1]]
    turn = np.zeros(len(at), np.intp)  # how many of its parcel come before
    for parcel in np.unique(own):
        turn[own == parcel] = np.arange((own == parcel).sum())
    chosen: np.ndarray = at[np.argsort(turn, kind="stable")[:count]]
    return chosen


def to_utm(area: Area) -> osr.CoordinateTransformation:
    """Return what brings longitude and latitude to the metres of an area's zone."""
    return osr.CoordinateTransformation(geotiffs.degrees(), geotiffs.crs(area.zone))


@lru_cache(maxsize=4)
def _to_degrees(zone: int) -> osr.CoordinateTransformation:
    return osr.CoordinateTransformation(geotiffs.crs(zone), geotiffs.degrees())
