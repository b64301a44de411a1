# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""From labelled points and polygons to a matrix of embeddings with their classes.

Labels become pixels of the zone grids first, so that only those are fetched; then the pixels become
rows. What is left out on the way is counted.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any, Callable, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..errors import NoLabels, NoUsableLabels
from ..io import polygons
from ..io.polygons import ZonePolygon
from ..io.sources.base import EmbeddingSource
from ..io.vectors import Skipped
from ..progress import Report, silent
from ..progress import part as share_of
from ..values import BLOCK_PX, LandClass, State, Window
from .embeddings import valid_mask
from .heads.background import Background
from .labels import Label, Labels, load_labels, palette_color

__all__ = [
    "Label",
    "LabelPixels",
    "Labels",
    "SampleParams",
    "SampleReport",
    "Samples",
    "collect",
    "label_pixels",
    "load_labels",
    "palette_color",
    "windows_of_pixels",
]

SPOT_PX = 8
"""Pixels of a square of this edge are fetched with what lies between them."""

# --- values


@dataclass(frozen=True)
class SampleParams:
    """How labels become pixels."""

    max_px_per_polygon: int = 200
    """Of a larger polygon so many pixels are chosen, evenly over its area."""
    seed: int = 0
    """Of that choice. The same polygon gives the same pixels, whatever other labels there are."""

    def __post_init__(self) -> None:
        if self.max_px_per_polygon < 1:
            raise ValueError(f"a polygon gives at least 1 pixel, got {self.max_px_per_polygon}")


@dataclass(frozen=True, eq=False)
class LabelPixels:
    """The pixels of labels, each once and with one class, before any embedding is known.

    Shapes: all arrays (n,), by ascending label.
    """

    zone: NDArray[np.int64]
    row: NDArray[np.int64]
    col: NDArray[np.int64]
    label: NDArray[np.int64]
    """Index of the label in `Labels.items`."""
    duplicate_px: int
    """Further mentions of a pixel by labels of the same class; it is used once."""
    conflicting_px: int
    """Pixels with labels of several classes; left out."""
    capped_polygons: int
    """Polygons of which only a part of the pixels was chosen."""
    small_polygons: int
    """Polygons that hold no pixel centre; they have the pixel under their inner point."""
    unplaced_labels: int
    """Labels that have no place on the zone grids; left out."""


@dataclass(frozen=True)
class ClassSamples:
    """How much there is of a class."""

    id: int
    name: str
    labels: int
    """Labels with at least one usable pixel."""
    pixels: int


@dataclass(frozen=True)
class SampleReport:
    """What became of the labels."""

    labels: int
    """Labels with at least one usable pixel."""
    pixels: int
    """Rows of the matrix."""
    invalid_px: int
    """Left out: their embedding is not valid (water, nodata, outside of what is published)."""
    missing_px: int
    """Left out: their embedding did not arrive."""
    duplicate_px: int
    conflicting_px: int
    capped_polygons: int
    small_polygons: int
    unplaced_labels: int
    classes: Tuple[ClassSamples, ...]
    """Of all classes of the labels, also those without any."""
    skipped: Skipped
    """What of the file could not be taken."""


@dataclass(frozen=True, eq=False)
class Samples:
    """A matrix of embeddings with their classes.

    Shapes: codes (n, D); all other arrays (n,). Every row is valid.
    """

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    groups: NDArray[np.int64]
    """Which label a row comes from."""
    zone: NDArray[np.int64]
    row: NDArray[np.int64]
    col: NDArray[np.int64]
    classes: Tuple[LandClass, ...]
    """Of the labels; a class may have no row."""
    report: SampleReport
    dataset: str
    """Key of the dataset the embeddings are of."""
    year: int
    """Of the embeddings; of several years the first."""
    keys: Tuple[str, ...] = ()
    """Of the labels: what a number in `groups` stands for."""
    row_years: Optional[NDArray[np.int64]] = None
    """Of each row, where there are several years; None: all are of `year`."""
    row_areas: Optional[NDArray[np.int64]] = None
    """Which of `areas` each row lies in; None: nothing is known of areas."""
    areas: Tuple[str, ...] = ()
    background: Optional[Background] = None
    """Pixels around the labels, without labels."""

    @property
    def year_of(self) -> NDArray[np.int64]:
        """The year of each row (n,)."""
        return np.full(len(self), self.year) if self.row_years is None else self.row_years

    @property
    def years(self) -> Tuple[int, ...]:
        """The years there are rows of, ascending."""
        return tuple(np.unique(self.year_of).tolist())

    def __post_init__(self) -> None:
        arrays: Tuple[NDArray[Any], ...] = (
            self.scales,
            self.class_ids,
            self.groups,
            self.zone,
            self.row,
            self.col,
        )
        arrays += tuple(a for a in (self.row_years, self.row_areas) if a is not None)
        if self.codes.ndim != 2 or any(a.shape != self.codes.shape[:1] for a in arrays):
            raise ValueError(f"samples of {self.codes.shape} need {len(self.codes)} of each value")
        if not np.isfinite(self.scales).all():
            raise ValueError("samples are valid pixels, a scale is not finite")

    def __len__(self) -> int:
        return len(self.codes)


# --- pixels


@dataclass(frozen=True, eq=False)
class _Area:
    """The pixels chosen of a polygon."""

    label: int
    parts: Tuple[ZonePolygon, ...]
    pixels: NDArray[np.int64]
    """(n, 3): zone, row, column."""
    total: int
    """How many there were to choose from."""

    @property
    def is_capped(self) -> bool:
        return self.total > len(self.pixels)


def label_pixels(labels: Labels, params: SampleParams, report: Report = silent) -> LabelPixels:
    """Return the pixels of labels on the zone grids.

    A point gives the pixel that holds it. A polygon gives the pixels whose centre is inside, at
    most `params.max_px_per_polygon`; where it holds no centre, the pixel under its inner point.
    Raises: NoLabels if there is none.
    """
    if not labels.items:
        raise NoLabels(labels.source)
    points: List[Tuple[int, Optional[NDArray[np.float64]]]] = []
    areas: List[_Area] = []
    small = 0
    for index, label in enumerate(labels.items):
        tick = functools.partial(report, 0.9 * index / len(labels.items), "Placing labels")
        tick()
        if polygons.is_point(label.wkb):
            points.append((index, polygons.points_of(label.wkb)))
            continue
        area = _area(index, polygons.zone_polygons(label.wkb, labels.crs), params, tick)
        if area.total:
            areas.append(area)
        elif area.parts:
            small += 1
            points.append((index, polygons.inner_point(label.wkb)))
    claims = np.concatenate([_claims(points, labels.crs), *map(_claims_of_area, areas)])
    return _settled(labels, claims, areas, small)


def _area(
    label: int, parts: Tuple[ZonePolygon, ...], params: SampleParams, tick: Callable[[], None]
) -> _Area:
    """Choose the pixels of a polygon: those with the smallest scattered numbers."""
    kept = np.empty((0, 3), np.int64)
    total = 0
    for part in parts:
        for window in part.windows():
            tick()
            rows, cols = np.nonzero(part.mask(window))
            total += len(rows)
            zones = np.full(len(rows), part.zone)
            found = np.column_stack([zones, rows + window.row, cols + window.col])
            kept = _fewest(np.concatenate([kept, found]), params)
    return _Area(label, parts, kept, total)


def _fewest(pixels: NDArray[np.int64], params: SampleParams) -> NDArray[np.int64]:
    limit = params.max_px_per_polygon
    if len(pixels) <= limit:
        return pixels
    chosen = np.argpartition(scattered(pixels, params.seed), limit)[:limit]
    fewest: NDArray[np.int64] = pixels[chosen]
    return fewest


def scattered(pixels: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """Return a number per pixel that looks random and is the same on every machine, (n,).

    Choosing by it needs neither all pixels at once nor a fixed order of them.
    Source: the finaliser of splitmix64 (Steele, Lea and Flood, 2014), a bijection of 64 bits.
    """
    zone, row, col = pixels.astype(np.uint64).T  # negative rows wrap around
    word = np.uint64(0xFFFFFFFF)
    mixed = _mixed((row & word) << np.uint64(32) | (col & word))
    result: NDArray[np.uint64] = _mixed(mixed ^ _mixed(zone + np.uint64(seed % 2**58 * 64)))
    return result


def _mixed(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = z + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _claims(
    points: Sequence[Tuple[int, Optional[NDArray[np.float64]]]], crs: str
) -> NDArray[np.int64]:
    """Return the pixels under points (n, 4): zone, row, column, label."""
    known = [(index, xy) for index, xy in points if xy is not None and len(xy)]
    if not known:
        return np.empty((0, 4), np.int64)
    label = np.repeat([index for index, _ in known], [len(xy) for _, xy in known])
    zone, row, col = polygons.pixels_of_points(np.concatenate([xy for _, xy in known]), crs)
    return np.column_stack([zone, row, col, label])[zone > 0]


def _claims_of_area(area: _Area) -> NDArray[np.int64]:
    return np.column_stack([area.pixels, np.full(len(area.pixels), area.label)])


def _settled(
    labels: Labels, claims: NDArray[np.int64], areas: Sequence[_Area], small: int
) -> LabelPixels:
    """Return each pixel once, without those that labels of several classes claim."""
    claims = claims[np.lexsort(claims.T[::-1])]  # by zone, row, column, label
    class_of = np.array([label.class_id for label in labels.items])
    classes = class_of[claims[:, 3]]
    changes = np.any(np.diff(claims[:, :3], axis=0) != 0, axis=1)
    is_first = np.concatenate([np.ones(min(len(claims), 1), bool), changes])
    pixel = np.cumsum(is_first) - 1
    # class of a pixel's first claim against that of every further one
    conflicting = _marked(pixel, classes != classes[is_first][pixel])
    conflicting |= _marked(pixel, _contested(claims, classes, areas, class_of))
    kept = claims[is_first & ~conflicting]
    kept = kept[np.argsort(kept[:, 3], kind="stable")]
    zone, row, col, label = np.ascontiguousarray(kept.T)
    return LabelPixels(
        zone, row, col, label,
        duplicate_px=int(np.sum(~is_first & ~conflicting)),
        conflicting_px=int(np.sum(is_first & conflicting)),
        capped_polygons=sum(area.is_capped for area in areas),
        small_polygons=small,
        unplaced_labels=len(labels.items) - len(np.unique(claims[:, 3])),
    )  # fmt: skip


def _marked(pixel: NDArray[np.int64], bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return for each claim whether any claim on the same pixel is bad."""
    return np.bincount(pixel, weights=bad)[pixel] > 0 if len(pixel) else bad


def _contested(
    claims: NDArray[np.int64],
    classes: NDArray[np.int64],
    areas: Sequence[_Area],
    class_of: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Return which claims lie in a polygon of another class that did not choose that pixel.

    The claims are in the order of zone and row.
    """
    bad = np.zeros(len(claims), bool)
    places = _place(claims[:, 0], claims[:, 1])
    for area in areas:
        if not area.is_capped:
            continue  # it claims every pixel of its own
        for zone_polygon in area.parts:
            for window in zone_polygon.windows():
                ends = _place(np.array(window.zone), np.array([window.row, window.stop_row]))
                first, stop = np.searchsorted(places, ends)
                row, col = claims[first:stop, 1] - window.row, claims[first:stop, 2] - window.col
                rivals = classes[first:stop] != class_of[area.label]
                near = np.flatnonzero(rivals & (col >= 0) & (col < window.width))
                if len(near):
                    bad[first + near] |= zone_polygon.mask(window)[row[near], col[near]]
    return bad


def _place(zone: NDArray[np.int64], row: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return one number that orders by zone, then row; rows are a few million at most."""
    return zone * 2**32 + row


# --- windows and the matrix


def windows_of_pixels(pixels: LabelPixels) -> Tuple[Window, ...]:
    """Return the windows to fetch for pixels: small boxes around those that lie together.

    Of a store its chunks are fetched and of tiles whole rows, so that boxes as large as a block of
    the cache would bring much that nobody asked for.
    """
    return tuple(window for window, _ in _boxes(pixels, SPOT_PX))


def _by_block(pixels: LabelPixels) -> Iterator[Tuple[Window, NDArray[np.int64]]]:
    """Yield the box around the pixels of each block of the cache, and their indices."""
    return _boxes(pixels, BLOCK_PX)


def _boxes(pixels: LabelPixels, edge_px: int) -> Iterator[Tuple[Window, NDArray[np.int64]]]:
    """Yield the box around the pixels in each square of the zone grid, and their indices."""
    square = np.column_stack([pixels.zone, pixels.row // edge_px, pixels.col // edge_px])
    order = np.lexsort(square.T[::-1])
    starts = np.flatnonzero(np.any(np.diff(square[order], axis=0) != 0, axis=1)) + 1
    for index in np.split(order, starts):
        if len(index):
            row, col = pixels.row[index], pixels.col[index]
            yield Window.between(
                int(pixels.zone[index[0]]), int(row.min()), int(col.min()),
                int(row.max()) + 1, int(col.max()) + 1,
            ), index  # fmt: skip


def collect(
    labels: Labels,
    source: EmbeddingSource,
    params: SampleParams,
    pixels: Optional[LabelPixels] = None,
    report: Report = silent,
) -> Samples:
    """Return the matrix of the labels' valid pixels, from what the source has in its cache.

    `pixels` are those of `label_pixels`, computed where they are not given.
    Raises: NoLabels, NoUsableLabels.
    """
    found = label_pixels(labels, params, share_of(report, 0, 0.5)) if pixels is None else pixels
    values = read_pixels(found, source, share_of(report, 0.5, 1))
    return matrix_of(labels, found, values, source.dataset.key, source.year)


PixelValues = Tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.bool_]]
"""Codes (n, D) and scales (n,) of pixels, and whether anything is known of them (n,)."""


def matrix_of(
    labels: Labels, pixels: LabelPixels, values: PixelValues, dataset: str, year: int
) -> Samples:
    """Return the matrix of the labels' valid pixels. Raises: NoUsableLabels."""
    codes, scales, arrived = values
    valid = valid_mask(codes, scales)
    class_of = np.array([label.class_id for label in labels.items])
    class_ids, groups = class_of[pixels.label][valid], pixels.label[valid]
    told = _told(labels, pixels, class_ids, groups)
    told = replace(
        told, invalid_px=int(np.sum(~valid & arrived)), missing_px=int(np.sum(~valid & ~arrived))
    )
    if not told.pixels:
        raise NoUsableLabels(len(labels.items), _why_none(told))
    return Samples(
        codes[valid], scales[valid], class_ids, groups,
        pixels.zone[valid], pixels.row[valid], pixels.col[valid],
        labels.classes, told, dataset, year,
        keys=tuple(label.key for label in labels.items),
    )  # fmt: skip


def read_pixels(
    pixels: LabelPixels, source: EmbeddingSource, report: Report = silent
) -> PixelValues:
    """Return what a source has of pixels in its cache. Raises: Cancelled."""
    count = len(pixels.row)
    codes = np.zeros((count, source.depth), np.int8)
    scales = np.full(count, np.nan, np.float32)
    arrived = np.zeros(count, bool)
    done = 0
    for window, index in _by_block(pixels):
        report(done / count, "Reading embeddings")
        at = pixels.row[index] - window.row, pixels.col[index] - window.col
        block_codes, block_scales = source.read(window)
        codes[index], scales[index] = block_codes[at], block_scales[at]
        arrived[index] = np.isfinite(scales[index])
        if not arrived[index].all():
            arrived[index] = source.states(window)[at] != State.UNKNOWN
        done += len(index)
    return codes, scales, arrived


def _told(
    labels: Labels, pixels: LabelPixels, class_ids: NDArray[np.int64], groups: NDArray[np.int64]
) -> SampleReport:
    classes = tuple(
        ClassSamples(
            land_class.id,
            land_class.name,
            labels=len(np.unique(groups[class_ids == land_class.id])),
            pixels=int(np.sum(class_ids == land_class.id)),
        )
        for land_class in labels.classes
    )
    return SampleReport(
        labels=len(np.unique(groups)),
        pixels=len(groups),
        invalid_px=0,
        missing_px=0,
        duplicate_px=pixels.duplicate_px,
        conflicting_px=pixels.conflicting_px,
        capped_polygons=pixels.capped_polygons,
        small_polygons=pixels.small_polygons,
        unplaced_labels=pixels.unplaced_labels,
        classes=classes,
        skipped=labels.skipped,
    )


def _why_none(told: SampleReport) -> str:
    reasons = {
        "pixels without a valid embedding": told.invalid_px,
        "pixels that could not be fetched": told.missing_px,
        "pixels labelled as several classes": told.conflicting_px,
        "labels outside of the zone grids": told.unplaced_labels,
    }
    return ", ".join(f"{count} {what}" for what, count in reasons.items() if count)
