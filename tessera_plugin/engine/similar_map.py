# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A map of how like some places all others are, and the areas that are like enough."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, field
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..compute.client import WorkerClient
from ..errors import ExtentInvalid, PlaceNotValid
from ..io import outlines, polygons
from ..io.outlines import Outline
from ..io.projection import LONLAT, UTM_NORTH_DEG, UTM_SOUTH_DEG
from ..io.sources.base import EmbeddingSource, FetchSummary
from ..progress import Report, part, silent
from ..values import Access, Extent, State, Window
from .classify import fetch_share, nothing_valid, source_tags
from .embeddings import over_extent, valid_mask
from .explore import sample
from .grid import centre_zone, windows_of
from .percent_maps import NamedRaster, Strip, outs_of, published, write
from .regions import around_all
from .seams import seams_between
from .similarity import References, centre_of, to_percent

LonLat = Tuple[float, float]

_WHY = {
    State.WATER: "water",
    State.NODATA: "without data",
    State.OUTSIDE: "outside of what is published",
    State.UNKNOWN: "not in the cache, or did not arrive",
}


@dataclass(frozen=True)
class SimilarRequest:
    """Which places to compare with, over what, and where to."""

    dataset: str
    year: int
    extent: Extent
    access: Access
    points: Tuple[LonLat, ...]
    """Longitude and latitude of the references; they may lie outside of the extent."""
    out: Optional[str] = None
    """The raster's `.tif`; over a zone seam `FILE_utm30.tif` and so on are written beside it. None is
    written without it."""
    areas_out: Optional[str] = None
    """GeoJSON of the areas that are like enough; none is written without it."""
    threshold_percent: float = 50.0
    """What is like enough."""
    only_connected: bool = False
    """Whether areas must hang together with a reference."""
    limit_px: int = 50_000_000
    depth: int = 0
    seed: int = 0
    """Of the sample that the mean direction is taken from."""
    centre: Optional[Tuple[float, ...]] = None
    """Mean direction to use, as of an earlier look; without it that of a sample of the extent."""


@dataclass(frozen=True)
class SimilarResult:
    """A raster of likeness in percent, and what is like enough."""

    raster: Optional[NamedRaster]
    areas: Optional[str]
    """The GeoJSON's path."""
    similar_px: int
    """Pixels that are like enough (and hang together, where that was asked)."""
    valid_px: int
    fetched: FetchSummary


@dataclass
class _Masks:
    """What is like enough, a bit of each strip at a time; a byte per pixel of the extent."""

    windows: Sequence[Window]
    least: int
    of: Dict[int, NDArray[np.bool_]] = field(default_factory=dict)

    def __call__(self, strip: Strip) -> None:
        """Take a strip."""
        for number, window in enumerate(self.windows):
            if window.zone == strip.window.zone:
                mask = self.of.setdefault(number, np.zeros(window.shape, np.bool_))
                like = strip.valid & (strip.values[0] >= self.least)
                mask[strip.window.slices_in(window)] = like


def similar(
    request: SimilarRequest, report: Report = silent, worker: Optional[WorkerClient] = None
) -> SimilarResult:
    """Write how like the references every pixel of an extent is, uint8 percent, 255 = nodata.

    Embeddings that are missing are fetched first.
    Raises: NoValidEmbeddings also where a point has none; UnknownDataset, UnknownYear,
    DepthNotOffered, FormNotOffered, ExtentInvalid, ExtentTooLarge, StoreUnusable, DecoderMissing,
    NetworkFailed, DiskFull, NotWritable, Cancelled.
    """
    return over_extent(
        request, request.depth, lambda source: similar_from(source, request, report), report, worker
    )


def similar_from(
    source: EmbeddingSource, request: SimilarRequest, report: Report = silent
) -> SimilarResult:
    """Do `similar` with a source that is open."""
    windows = windows_of(request.extent)
    spots = pixels_of(request.points)
    with contextlib.ExitStack() as undo:
        outs = outs_of([request.out], windows, undo)
        share = 0.9 * fetch_share(source, windows)
        summary = source.fetch([*_beyond(spots, windows), *windows], part(report, 0.0, share))
        if not summary.valid_px:
            raise nothing_valid(request.dataset, request.year, summary)
        if request.centre is None:
            codes, _ = sample(source, windows, part(report, share, share + 0.1), request.seed)
            if not len(codes):
                raise nothing_valid(request.dataset, request.year, summary)
            centre = centre_of(codes)
        else:
            centre = np.array(request.centre, np.float32)
        references = References.of(codes_at(source, spots, request.points), centre)
        tags = {
            **source_tags(source, request.access, summary),
            "TESSERA_SIMILAR_TO": ";".join(f"{lon:.6f},{lat:.6f}" for lon, lat in request.points),
        }
        masks = _Masks(windows, int(np.ceil(request.threshold_percent - 1e-9)))
        valid_px = write(
            source, outs, lambda codes, _: (to_percent(references.likeness(codes)),), tags,
            part(report, share + 0.1, 1.0), names=["similarity, percent"],
            listener=masks if request.areas_out else None,
        )  # fmt: skip
        found, similar_px = _areas(masks, spots, request)
        (staged,) = outs.staged(centre_zone(request.extent), tags)
        if request.areas_out:
            outlines.write_outlines(request.areas_out, found)
        raster = published(staged)
    return SimilarResult(raster, request.areas_out, similar_px, valid_px, summary)


def _areas(
    masks: _Masks, spots: Sequence[Window], request: SimilarRequest
) -> Tuple[List[Outline], int]:
    """Return the polygons of what is like enough, and its pixels."""
    windows = [masks.windows[number] for number in masks.of]
    inside = list(masks.of.values())
    if request.only_connected:
        places = [
            [(s.row - window.row, s.col - window.col) for s in spots if s.intersection(window)]
            for window in windows
        ]
        inside = [each.mask for each in around_all(inside, places, seams_between(windows))]
    found: List[Outline] = []
    for mask, window in zip(inside, windows):
        found += outlines.outlines(mask, window)
    return found, sum(each.pixels for each in found)


def _beyond(spots: Sequence[Window], windows: Sequence[Window]) -> List[Window]:
    """Return the pixels that no window holds."""
    return [spot for spot in spots if not any(spot.intersection(each) for each in windows)]


# --- pixels at points


def pixels_of(points: Sequence[LonLat]) -> Tuple[Window, ...]:
    """Return the pixel that holds each point. Raises: ExtentInvalid where one is on no zone grid."""
    if not points:
        raise ExtentInvalid("a place to compare with is needed")
    for lon, lat in points:
        if not (math.isfinite(lon) and UTM_SOUTH_DEG <= lat <= UTM_NORTH_DEG):
            raise ExtentInvalid(f"the point {lon}, {lat} is not between 80° south and 84° north")
    zones, rows, cols = polygons.pixels_of_points(np.array(points, np.float64), LONLAT)
    return tuple(
        Window(int(zone), int(row), int(col), 1, 1) for zone, row, col in zip(zones, rows, cols)
    )


def codes_at(
    source: EmbeddingSource, spots: Sequence[Window], points: Sequence[LonLat]
) -> NDArray[np.int8]:
    """Return the codes (n, D) of the pixels at points, from the cache.

    Raises: PlaceNotValid where one of them is not valid, saying which and why.
    """
    found = []
    for spot, (lon, lat) in zip(spots, points):
        codes, scales = source.read(spot)
        if not valid_mask(codes, scales).all():
            state = State(int(source.states(spot)[0, 0]))
            reason = f"the point {lon:.6f}, {lat:.6f} is {_WHY.get(state, 'not valid')}"
            raise PlaceNotValid(
                source.dataset.key, source.year, reason, lon=lon, lat=lat, state=state.name
            )
        found.append(codes[0, 0])
    return np.array(found, np.int8)
