# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Likeness of all that a map shows, kept so that a slider can ask it again and again.

From the cache only, strip by strip: two bytes per pixel are held, never the embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..io.outlines import Outline, in_degrees, outlines
from ..io.sources.base import EmbeddingSource
from ..progress import Report, part, silent
from ..values import Access, Extent, Window
from .embeddings import cached_source, valid_mask
from .explore import nothing_in_cache
from .grid import check_size, windows_of
from .picture import Color, Picture
from .regions import around_all, patches
from .seams import Seam, seams_between
from .similar_map import LonLat, codes_at, pixels_of
from .similarity import NODATA, STEPS, References, SimilarPixels, centre_of
from .zones import own_pixels, strips

MOST_PX = 4_000_000
"""More is not looked at for a click: it would take seconds."""

CENTRE_BLOCKS = 48
"""Blocks that the mean direction of a place is taken from."""

CENTRE_STEP = 5
"""Of their valid pixels one in so many is taken."""

AROUND_PX = 50
"""So far around a reference the first threshold is looked for."""

LEAST_START, MOST_START = 5.0, 95.0
_USUAL_START = 50.0


@dataclass(frozen=True)
class SimilarViewRequest:
    """Which places to compare with, over what."""

    dataset: str
    year: int
    extent: Extent
    access: Access
    points: Tuple[LonLat, ...]
    """Longitude and latitude of the references; they may lie outside of the extent."""
    depth: int = 0
    limit_px: int = MOST_PX


@dataclass(frozen=True)
class Growth:
    """What belongs to a set of similar pixels."""

    threshold_percent: float
    only_connected: bool = True
    """Whether pixels must hang together with a reference."""
    least_px: int = 1
    """Smaller patches are left out; not asked of those that hang together with a reference."""
    most_patches: int = 200
    """Of more patches in a zone the largest are taken."""


@dataclass(frozen=True, eq=False)
class SimilarView:
    """How like the references everything in view is."""

    request: SimilarViewRequest
    parts: Tuple[SimilarPixels, ...]
    """One per zone; over a zone seam each pixel is in its own zone's only."""
    centre: NDArray[np.float32]
    """(D,), the mean direction of the place: with more references it is to stay the same."""
    valid_px: int
    pixels: int
    seams: Tuple[Seam, ...] = ()
    """Where the parts meet: what hangs together goes on there."""

    def start_percent(self) -> float:
        """Return a threshold to begin with: what parts the pixels around the references best."""
        near = [found for each in self.parts for found in _near(each)]
        if not near:
            return _USUAL_START
        return float(np.clip(_parting(np.concatenate(near)), LEAST_START, MOST_START))

    def grow(self, growth: Growth, report: Report = silent) -> GrownSet:
        """Return the set of similar pixels. Raises: Cancelled."""
        masks = []
        for number, each in enumerate(self.parts):
            report(0.5 * number / len(self.parts), "similarity")
            masks.append(each.grow(growth.threshold_percent, only_connected=False))
        report(0.5, "similarity")
        if growth.only_connected:
            found = around_all(masks, [each.places for each in self.parts], self.seams)
        else:
            found = tuple(patches(mask, growth.least_px, growth.most_patches) for mask in masks)
        return GrownSet(
            tuple((each.window, one.mask) for each, one in zip(self.parts, found)),
            pixels=sum(int(each.sizes.sum()) for each in found),
            patches=sum(len(each.sizes) for each in found),
            left_out=sum(each.left_out for each in found),
        )

    def heat(self, stops: Sequence[Tuple[float, str]]) -> Tuple[Picture, ...]:
        """Return likeness in colours; `stops` are percents, ascending, and colours (`#rrggbb`)."""
        colors = np.zeros((STEPS // 100 + 2, 4), np.uint8)
        colors[:-1] = _ramp(stops)
        result = []
        for each in self.parts:
            percent = np.minimum((each.likeness + np.uint16(50)) // np.uint16(100), 101)
            percent[each.likeness == NODATA] = 101
            rgba = colors.view(np.uint32)[:, 0].take(percent).view(np.uint8)
            shape = (*each.window.shape, 4)
            window = each.window
            result.append(Picture(window.zone, window.row, window.col, 1, rgba.reshape(shape)))
        return tuple(result)


@dataclass(frozen=True, eq=False)
class GrownSet:
    """A set of similar pixels."""

    masks: Tuple[Tuple[Window, NDArray[np.bool_]], ...]
    """One per zone, (H, W) of its window."""
    pixels: int
    patches: int
    left_out: int
    """Patches that are large enough but more than are taken."""

    def pictures(self, fill: Color) -> Tuple[Picture, ...]:
        """Return the set in a colour."""
        found = (_painted(window, mask, fill) for window, mask in self.masks)
        return tuple(each for each in found if each is not None)

    def outlines(self, report: Report = silent) -> Tuple[Tuple[bytes, int], ...]:
        """Return polygons, with their holes, as WKB in degrees, and the pixels of each.

        The largest first within a zone. Raises: Cancelled.
        """
        found: List[Outline] = []
        for window, mask in self.masks:
            box = _box(mask)
            if box is not None:
                inside, shown = box
                found += outlines(shown, _moved(window, inside))
        result = []
        for number, each in enumerate(found):
            report(number / len(found), "polygons")
            result.append((in_degrees(each), each.pixels))
        return tuple(result)


def similar_view(
    request: SimilarViewRequest,
    report: Report = silent,
    *,
    centre: Optional[NDArray[np.float32]] = None,
) -> SimilarView:
    """Return how like some places everything in view is; nothing is fetched.

    `centre` is that of an earlier look at the same place, so that more references change nothing
    else. Raises: PlaceNotValid where a point has no embedding, NoValidEmbeddings, ExtentTooLarge,
    ExtentInvalid, UnknownDataset, UnknownYear, DepthNotOffered, FormNotOffered, Cancelled.
    """
    windows = windows_of(request.extent)
    with cached_source(request.dataset, request.year, request.access, request.depth) as source:
        check_size(windows, request.limit_px, source.depth)
        return similar_view_from(source, windows, request, report, centre=centre)


def similar_view_from(
    source: EmbeddingSource,
    windows: Sequence[Window],
    request: SimilarViewRequest,
    report: Report = silent,
    *,
    centre: Optional[NDArray[np.float32]] = None,
) -> SimilarView:
    """Do `similar_view` with a source that is open."""
    spots = pixels_of(request.points)
    codes = codes_at(source, spots, request.points)
    if centre is None:
        centre = centre_in(source, windows, part(report, 0.0, 0.3))
    references = References.of(codes, centre)
    seeds = {(each.zone, each.row, each.col) for each in spots}
    parts, valid_px = [], 0
    for number, window in enumerate(windows):
        share = [0.3 + 0.7 * each / len(windows) for each in (number, number + 1)]
        likeness = _likeness(
            source, references, window, part(report, *share), clip=len(windows) > 1
        )
        valid_px += int((likeness != NODATA).sum())
        mine = sorted((row, col) for zone, row, col in seeds if zone == window.zone)
        parts.append(SimilarPixels(window, likeness, tuple(mine)))
    pixels, seams = sum(window.pixels for window in windows), seams_between(windows)
    return SimilarView(request, tuple(parts), centre, valid_px, pixels, seams)


def centre_in(
    source: EmbeddingSource, windows: Sequence[Window], report: Report = silent
) -> NDArray[np.float32]:
    """Return the mean direction (D,) of pixels here and there in windows, from the cache.

    Raises: NoValidEmbeddings.
    """
    blocks = [block for window in windows for block in window.blocks()]
    chosen = blocks[:: len(blocks) // CENTRE_BLOCKS + 1]
    total, count = np.zeros(source.depth), 0
    for number, block in enumerate(chosen):
        report(number / len(chosen), "similarity")
        codes, scales = source.read(block)
        some = codes[valid_mask(codes, scales)][::CENTRE_STEP]
        if len(some):
            total += len(some) * centre_of(some).astype(np.float64)
            count += len(some)
    if not count:
        raise nothing_in_cache(source)
    return np.asarray(total / count, np.float32)


def _likeness(
    source: EmbeddingSource, references: References, window: Window, report: Report, *, clip: bool
) -> NDArray[np.uint16]:
    result = np.empty(window.shape, np.uint16)
    for strip in strips(window):
        share = (strip.row - window.row) / window.height
        codes, scales = source.read(strip)
        found = SimilarPixels.of(
            strip, codes, scales, references,
            report=part(report, share, share + strip.height / window.height),
        ).likeness  # fmt: skip
        if clip:
            found[~own_pixels(strip)] = NODATA
        result[strip.slices_in(window)] = found
    return result


# --- the first threshold


def _near(pixels: SimilarPixels) -> List[NDArray[np.uint16]]:
    """Return the likeness of valid pixels around each reference that lies in the window."""
    found = []
    for top, left in pixels.places:
        rows = slice(max(top - AROUND_PX, 0), top + AROUND_PX + 1)
        cols = slice(max(left - AROUND_PX, 0), left + AROUND_PX + 1)
        near = pixels.likeness[rows, cols]
        near = near[near != NODATA]
        if near.size:
            found.append(near)
    return found


def _parting(likeness: NDArray[np.uint16]) -> float:
    """Return the percent that parts values in two such that each varies least (Otsu 1979)."""
    counts = np.bincount(likeness // np.uint16(100), minlength=101).astype(np.float64)
    values = np.arange(len(counts))
    below, total = np.cumsum(counts)[:-1], counts.sum()
    above, weighted = total - below, np.cumsum(counts * values)[:-1]
    is_split = (below > 0) & (above > 0)
    if not is_split.any():
        return _USUAL_START
    below, above = np.maximum(below, 1), np.maximum(above, 1)
    apart = weighted / below - ((counts * values).sum() - weighted) / above
    between = np.where(is_split, below * above * apart**2, -1.0)
    return float(between.argmax() + 1)


# --- pictures


def _ramp(stops: Sequence[Tuple[float, str]]) -> NDArray[np.uint8]:
    """Return the colour of each percent (101, 4)."""
    percents = [percent for percent, _ in stops]
    colors = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for _, color in stops])
    bands = [np.interp(np.arange(101), percents, colors[:, band]) for band in range(3)]
    opaque = np.full(101, 255.0)
    table: NDArray[np.uint8] = np.rint(np.stack([*bands, opaque], axis=1)).astype(np.uint8)
    return table


def _box(mask: NDArray[np.bool_]) -> Optional[Tuple[Tuple[int, int, int, int], NDArray[np.bool_]]]:
    """Return top, left, bottom, right of what is in a mask, and that part of it; None if nothing."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    box = int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1
    return box, mask[box[0] : box[2], box[1] : box[3]]


def _moved(window: Window, box: Tuple[int, int, int, int]) -> Window:
    top, left, bottom, right = box
    return Window(window.zone, window.row + top, window.col + left, bottom - top, right - left)


def _painted(window: Window, mask: NDArray[np.bool_], fill: Color) -> Optional[Picture]:
    box = _box(mask)
    if box is None:
        return None
    place, shown = box
    table = np.array([(0, 0, 0, 0), fill], np.uint8).view(np.uint32)[:, 0]
    rgba = table.take(shown).view(np.uint8).reshape(*shown.shape, 4)
    at = _moved(window, place)
    return Picture(at.zone, at.row, at.col, 1, rgba)
