# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""From labelled points and polygons to a matrix of embeddings with their classes.

Labels become pixels of the zone grids first, so that only those are fetched; then the pixels become
rows. What is left out on the way is counted.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any, Iterator, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from ..errors import NoUsableLabels
from ..io.sources.base import EmbeddingSource
from ..io.vectors import Skipped
from ..progress import Report, silent
from ..progress import part as share_of
from ..values import BLOCK_PX, LandClass, State, Window
from .embeddings import valid_mask
from .ground import Ground, place_numbers, units_of
from .heads.background import Background
from .label_pixels import LabelPixels, SampleParams, label_pixels, scattered
from .labels import Label, Labels, load_labels

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
    "scattered",
    "windows_of_pixels",
]

SPOT_PX = 8
"""Pixels of a square of this edge are fetched with what lies between them."""

# --- values


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
    """Which of `areas` each row lies in, -1 for none; None: nothing is known of areas."""
    areas: Tuple[str, ...] = ()
    background: Optional[Background] = None
    """Pixels around the labels, without labels."""
    ground: Optional[Ground] = None
    """What the labels cover, by their numbers in `groups`; None: the pixels of the rows."""

    @property
    def year_of(self) -> NDArray[np.int64]:
        """The year of each row (n,)."""
        return np.full(len(self), self.year) if self.row_years is None else self.row_years

    @property
    def years(self) -> Tuple[int, ...]:
        """The years there are rows of, ascending."""
        return tuple(np.unique(self.year_of).tolist())

    @functools.cached_property
    def units(self) -> NDArray[np.int64]:
        """What a row must not be parted from by a test (n,): its label and those on its ground.

        Of any year, for a place changes little. A unit has the number of its first label.
        """
        return units_of(self.present_ground, int(self.groups.max(initial=-1)) + 1)[self.groups]

    @property
    def present_ground(self) -> Ground:
        """What the labels cover that have rows."""
        if self.ground is None:
            return Ground.of(np.column_stack([self.zone, self.row, self.col, self.groups]))
        labels = int(max(self.groups.max(initial=-1), self.ground.claims[:, 3].max(initial=-1))) + 1
        return self.ground.among(np.bincount(self.groups, minlength=labels) > 0)

    @property
    def places(self) -> NDArray[np.int64]:
        """A number for the place of each row (n,), whatever its year."""
        return place_numbers(self.zone, self.row, self.col)

    @property
    def blocks(self) -> NDArray[np.int64]:
        """A number for the block of the cache that each row lies in (n,)."""
        return place_numbers(self.zone, self.row // BLOCK_PX, self.col // BLOCK_PX)

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
        ground=pixels.ground,
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
