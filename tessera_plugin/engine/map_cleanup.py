# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A class map made quieter: a majority filter, then a sieve, into a map of its own.

Zone by zone and strip by strip; an area that a zone seam cuts counts as two.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, List, Mapping, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..io import rasters
from ..io.class_rasters import ClassRaster, sieve
from ..io.raster_classes import CLASS_NODATA, HECTARES_PER_PX, ClassCount
from ..io.rasters import Layout, RasterWriter
from ..progress import Report, part
from ..values import LandClass, Window
from .mapping import Counts, Target
from .zones import strips

_CONNECTED = (4, 8)
_WINDOWS = (0, 3, 5)


@dataclass(frozen=True)
class CleanUp:
    """What is done to a map, in this order; all off by default."""

    majority: int = 0
    """Edge of the window (3 or 5 px) whose most frequent class a pixel gets; 0 for none."""
    sieve_px: int = 0
    """Areas of fewer pixels get the class of their largest neighbour; 0 or 1 for none."""
    connected: int = 4
    """Whether areas hang together by edges (4) or by corners too (8)."""

    def __post_init__(self) -> None:
        if self.majority not in _WINDOWS:
            raise ValueError(f"majority can't be {self.majority}, but 3 or 5")
        if self.sieve_px < 0:
            raise ValueError(f"sieve_px can't be {self.sieve_px}")
        if self.connected not in _CONNECTED:
            raise ValueError(f"connected can't be {self.connected}, but 4 or 8")

    def __bool__(self) -> bool:
        return self.majority > 0 or self.sieve_px > 1

    def sentence(self) -> str:
        """Return what is done, for the file."""
        told = [f"majority {self.majority} x {self.majority}"] if self.majority else []
        if self.sieve_px > 1:
            told.append(f"sieve {self.sieve_px} px, {self.connected}-connected")
        return "; ".join(told)


@dataclass(frozen=True)
class Cleaner:
    """Cleans the rasters of a map that are written but not yet published."""

    clean_up: CleanUp
    classes: Sequence[LandClass]
    windows: Sequence[Window]
    tags: Mapping[str, str]

    def clean(self, source: Target, target: Target, report: Report) -> Tuple[Counts, int]:
        """Write every zone's cleaned raster; return pixels per class, and those that changed.

        Raises: NotWritable, DiskFull, Cancelled.
        """
        counts, changed_px = np.zeros(len(self.classes), np.int64), 0
        done_px, pixels = 0, sum(window.pixels for window in self.windows)
        for index, window in enumerate(self.windows):
            share = part(report, done_px / pixels, (done_px + window.pixels) / pixels)
            found, changed = self._zone(source.paths[index], target.paths[index], window, share)
            counts += found
            changed_px += changed
            done_px += window.pixels
        return counts, changed_px

    def _zone(
        self, source: Path, target: Path, window: Window, report: Report
    ) -> Tuple[Counts, int]:
        steps: List[Path] = []
        with contextlib.ExitStack() as undo:
            original = undo.enter_context(ClassRaster(source, window))
            if self.clean_up.majority:
                steps.append(target.with_name("majority.tif"))
                undo.callback(_remove, steps[-1])
                smooth = majority_strips(
                    original, window, self.clean_up.majority, self.classes, part(report, 0.0, 0.4)
                )
                _write(steps[-1], window, original.dtype, smooth)
            if self.clean_up.sieve_px > 1:
                before = steps[-1] if steps else source
                steps.append(target.with_name("sieve.tif"))
                undo.callback(_remove, steps[-1])
                least, connected = self.clean_up.sieve_px, self.clean_up.connected
                sieve(before, steps[-1], least, connected, part(report, 0.4, 0.6))
            with ClassRaster(steps[-1], window) as cleaned:
                return self._copy(original, cleaned, target, window, part(report, 0.6, 1.0))

    def _copy(
        self, original: ClassRaster, cleaned: ClassRaster, target: Path, window: Window,
        report: Report,
    ) -> Tuple[Counts, int]:  # fmt: skip
        """Write what was cleaned as a class map; return pixels per class, and those that changed."""
        ids = [each.id for each in self.classes]
        by_id, changed_px, done_px = np.zeros(max(ids) + 1, np.int64), 0, 0
        with rasters.class_map(target, window, self.classes, self.tags) as writer:
            for strip in strips(window):
                report(0.8 * done_px / window.pixels, "clean")
                values = cleaned.read(strip)
                writer.write(strip, values)
                by_id += np.bincount(values.ravel(), minlength=len(by_id))
                changed_px += int(np.count_nonzero(values != original.read(strip)))
                done_px += strip.pixels
            counts = by_id[ids]
            named = [ClassCount.of(c, int(n)) for c, n in zip(self.classes, counts)]
            writer.finish(named, part(report, 0.8, 1.0))
        return counts, changed_px


def sieve_px_of(hectares: float) -> int:
    """Return the pixels that a minimum mapping unit in hectares has at least."""
    return math.ceil(round(hectares / HECTARES_PER_PX, 6))


def majority(values: NDArray[Any], edge: int, ids: Sequence[int]) -> NDArray[Any]:
    """Return the most frequent class of the window around each pixel, itself with it.

    Nodata (0) stays and does not count; where several classes are as frequent the pixel stays.
    Shapes: values and result (H, W).
    """
    present = [number for number in ids if (values == number).any()]
    most = np.zeros(values.shape, np.uint8)
    best, is_tied = values.copy(), np.zeros(values.shape, np.bool_)
    for number in present:
        count = _in_window(values == number, edge)
        more = count > most
        is_tied = np.where(more, False, is_tied | ((count == most) & (count > 0)))
        best[more] = number
        np.maximum(most, count, out=most)
    stays = is_tied | (values == CLASS_NODATA)
    best[stays] = values[stays]
    return best


def majority_strips(
    source: ClassRaster, window: Window, edge: int, classes: Sequence[LandClass], report: Report
) -> Iterator[Tuple[Window, NDArray[Any]]]:
    """Yield a map strip by strip after `majority`. Raises: NotWritable, Cancelled."""
    reach, done_px = edge // 2, 0
    ids = [each.id for each in classes]
    for strip in strips(window):
        report(done_px / window.pixels, "majority")
        around = Window.between(
            strip.zone, strip.row - reach, strip.col - reach, strip.stop_row + reach,
            strip.stop_col + reach,
        ).intersection(window)  # fmt: skip
        if around is None:
            raise ValueError(f"{strip} is not inside {window}")
        filtered = majority(source.read(around), edge, ids)
        yield strip, filtered[strip.slices_in(around)]
        done_px += strip.pixels


def _in_window(mask: NDArray[np.bool_], edge: int) -> NDArray[np.uint8]:
    """Return how many pixels of the window around each are in a mask; none lie beyond the edges."""
    sums = mask.astype(np.uint8)
    for axis in (0, 1):
        one_way = sums.copy()
        for step in range(1, edge // 2 + 1):
            ahead, behind = [slice(None)] * 2, [slice(None)] * 2
            ahead[axis], behind[axis] = slice(step, None), slice(None, -step)
            one_way[tuple(behind)] += sums[tuple(ahead)]
            one_way[tuple(ahead)] += sums[tuple(behind)]
        sums = one_way
    return sums


def _write(
    path: Path, window: Window, dtype: np.dtype[Any],
    parts: Iterator[Tuple[Window, NDArray[Any]]],
) -> None:  # fmt: skip
    """Write a map that only the next step reads."""
    layout = Layout(dtype, nodata=CLASS_NODATA, resampling="")
    with RasterWriter(path, window, layout, {}) as writer:
        for place, values in parts:
            writer.write(place, np.ascontiguousarray(values))
        writer.finish()


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
