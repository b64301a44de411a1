# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Rasters of a number per pixel, uint8 with 255 = nodata: several at once, in one pass."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Iterator, Mapping, Optional, Protocol, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..io import files, rasters
from ..io.sources.base import EmbeddingSource
from ..progress import Report, part, silent
from ..values import Window
from .embeddings import valid_mask
from .mapping import NamedRaster, StagedRaster, Target, targets_of
from .zones import own_pixels, strips

__all__ = [
    "Finder",
    "Listener",
    "NamedRaster",
    "Outs",
    "Strip",
    "outs_of",
    "published",
    "scan",
    "write",
]

CHUNK_PX = 16_384
"""Pixels looked at at once, and between two looks at whether the work is to stop."""


class Finder(Protocol):
    """Finds the numbers of valid pixels."""

    def __call__(
        self, codes: NDArray[np.int8], scales: NDArray[np.float32]
    ) -> Sequence[NDArray[np.uint8]]:
        """Return an array (n,) per raster. Shapes: codes (n, D); scales (n,)."""
        ...


@dataclass(frozen=True, eq=False)
class Strip:
    """What was found of a part of a zone."""

    window: Window
    codes: NDArray[np.int8]
    """(H, W, D)."""
    scales: NDArray[np.float32]
    """(H, W)."""
    valid: NDArray[np.bool_]
    """(H, W): valid and of the zone's own."""
    values: Tuple[NDArray[np.uint8], ...]
    """One (H, W) per raster, 255 where not valid."""


class Listener(Protocol):
    """Looks at what was found while it is there."""

    def __call__(self, strip: Strip) -> None:
        """Take what is wanted of it."""
        ...


@dataclass(frozen=True)
class Outs:
    """Rasters to be written together; what is None is found but not written."""

    windows: Sequence[Window]
    targets: Tuple[Optional[Target], ...]

    def staged(self, zone: int, tags: Mapping[str, str]) -> Tuple[Optional[StagedRaster], ...]:
        """Return them whole, over a seam with mosaics in `zone`."""
        return tuple(each.staged(zone, (), tags) if each else None for each in self.targets)


def outs_of(
    paths: Sequence[Optional[str]], windows: Sequence[Window], undo: contextlib.ExitStack
) -> Outs:
    """Make the folders to write rasters in, before anything is fetched; `undo` removes them.

    Raises: NotWritable, DiskFull.
    """
    names = [str(number) for number in range(len(paths))]
    targets = targets_of(dict(zip(names, paths)), windows, undo)
    return Outs(windows, tuple(targets.get(name) for name in names))


def published(staged: Optional[StagedRaster]) -> Optional[NamedRaster]:
    """Give a staged raster its name. Raises: NotWritable, DiskFull."""
    if staged is None:
        return None
    try:
        return NamedRaster(*staged.publish())
    finally:
        files.remove_folder(staged.folder)


def write(
    source: EmbeddingSource,
    outs: Outs,
    finder: Finder,
    tags: Mapping[str, str],
    report: Report = silent,
    *,
    names: Sequence[str] = (),
    listener: Optional[Listener] = None,
) -> int:
    """Find the numbers of every pixel of the windows from the cache and write them.

    `names` are the bands'. Returns the valid pixels, each counted in its own zone.
    Raises: NotWritable, DiskFull, Cancelled.
    """
    pixels = sum(window.pixels for window in outs.windows)
    done_px = valid_px = 0
    for index, window in enumerate(outs.windows):
        of_zone = part(report, done_px / pixels, (done_px + window.pixels) / pixels)
        with contextlib.ExitStack() as open_files:
            writers = {
                number: open_files.enter_context(
                    rasters.confidence(target.paths[index], window, tags)
                )
                for number, target in enumerate(outs.targets)
                if target
            }
            _describe(writers, names)
            shares = part(of_zone, 0.0, 0.95)
            for strip in scan(source, window, finder, shares, clip=len(outs.windows) > 1):
                for number, writer in writers.items():
                    writer.write(strip.window, strip.values[number])
                if listener:
                    listener(strip)
                valid_px += int(strip.valid.sum())
            for writer in writers.values():
                writer.finish(report=part(of_zone, 0.95, 1.0))
        done_px += window.pixels
    return valid_px


def _describe(writers: Mapping[int, rasters.RasterWriter], names: Sequence[str]) -> None:
    for number, name in enumerate(names):
        if number in writers:
            writers[number].describe([name])


def scan(
    source: EmbeddingSource, window: Window, finder: Finder, report: Report, *, clip: bool = False
) -> Iterator[Strip]:
    """Yield a window strip by strip with what the finder makes of its valid pixels, from the cache.

    With `clip` only pixels in the zone's own 6° strip count. Raises: Cancelled.
    """
    done_px = 0
    for place in strips(window):
        of_strip = part(report, done_px / window.pixels, (done_px + place.pixels) / window.pixels)
        of_strip(0.0, "looking at pixels")
        codes, scales = source.read(place)
        valid = valid_mask(codes, scales)
        if clip:
            valid &= own_pixels(place)
        yield Strip(place, codes, scales, valid, _found(codes, scales, valid, finder, of_strip))
        done_px += place.pixels


def _found(
    codes: NDArray[np.int8],
    scales: NDArray[np.float32],
    valid: NDArray[np.bool_],
    finder: Finder,
    report: Report,
) -> Tuple[NDArray[np.uint8], ...]:
    """Return the finder's rasters (H, W) of a strip, chunk by chunk."""
    # where all are valid, the usual case, nothing is copied
    pixels = codes.reshape(-1, codes.shape[2]) if valid.all() else codes[valid]
    factors = scales[valid]
    chunks = []
    for start in range(0, max(len(pixels), 1), CHUNK_PX):
        report(start / max(len(pixels), 1), "looking at pixels")
        chunk = slice(start, start + CHUNK_PX)
        chunks.append(finder(pixels[chunk], factors[chunk]))
    rasters_of = []
    for values in zip(*chunks):
        raster = np.full(valid.shape, rasters.CONFIDENCE_NODATA, np.uint8)
        raster[valid] = np.concatenate(values)
        rasters_of.append(raster)
    return tuple(rasters_of)
