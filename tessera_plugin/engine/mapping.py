# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Class maps written zone by zone and part by part, whoever finds the classes."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Mapping, Optional, Protocol, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..io import files, rasters
from ..io.rasters import ClassCount
from ..progress import Report, part
from ..values import LandClass, Window
from .zones import own_pixels, zone_paths

Counts = NDArray[np.int64]

NO_CLASS = -1
"""In place of the index of a class, where a pixel has none."""


@dataclass(frozen=True)
class Mapped:
    """What was found of a part of a zone."""

    window: Window
    best: NDArray[np.intp]
    """Index of the class (H, W), NO_CLASS where there is none."""
    percent: NDArray[np.uint8]
    """Its probability (H, W); anything where there is none."""


class Mapper(Protocol):
    """Finds the classes of a window, part by part; the parts cover it once."""

    def __call__(self, window: Window, report: Report) -> Iterator[Mapped]:
        """Yield the parts, in an order that suits it."""
        ...


@dataclass(frozen=True)
class StagedRaster:
    """A raster that is whole but not yet under its name."""

    folder: Path
    files: Tuple[Tuple[Path, Path], ...]
    """Staged and final, in the order they are published: zones, helper VRTs, the mosaic."""
    zones: int

    def publish(self) -> Tuple[Tuple[str, ...], Optional[str]]:
        """Rename the files; return the zones' and the mosaic's. Raises: NotWritable, DiskFull."""
        published = [str(path) for path in files.publish_all(self.files)]
        mosaic = published[-1] if self.zones > 1 else None
        return tuple(published[: self.zones]), mosaic


class Target:
    """Where one raster goes: a staged and a final file per zone, and the mosaic's."""

    def __init__(self, out: str, windows: Sequence[Window]) -> None:
        self._out = Path(out).absolute()
        self._windows = windows
        self.folder = files.staging_folder(out)
        self.paths = zone_paths(self.folder / self._out.name, windows)

    def staged(
        self, zone: int, counts: Sequence[ClassCount], tags: Mapping[str, str]
    ) -> StagedRaster:
        """Return the files in the order to publish them, over a seam with the mosaic in `zone`."""
        all_files = list(self.paths)
        if len(self._windows) > 1:
            south = all(window.is_south for window in self._windows)
            vrt = self.folder / f"{self._out.stem}.vrt"
            epsg = (32700 if south else 32600) + zone
            all_files += rasters.mosaic(vrt, self.paths, epsg, counts, tags)
        pairs = tuple((path, self._out.with_name(path.name)) for path in all_files)
        return StagedRaster(self.folder, pairs, len(self._windows))


@dataclass(frozen=True)
class MapWriter:
    """Writes what a mapper finds into the rasters of every zone."""

    classes: Sequence[LandClass]
    windows: Sequence[Window]
    map: Target
    confidence: Optional[Target]
    tags: Mapping[str, str]

    def write(self, mapper: Mapper, report: Report) -> Tuple[Counts, int]:
        """Write every zone's rasters; return pixels per class, in their order, and nodata."""
        counts = np.zeros(len(self.classes), np.int64)
        pixels = sum(window.pixels for window in self.windows)
        done_px = nodata_px = 0
        for index, window in enumerate(self.windows):
            after_px = done_px + window.pixels
            of_zone = part(report, done_px / pixels, after_px / pixels)
            found, nodata = self._write_zone(index, mapper, of_zone)
            counts += found
            nodata_px += nodata
            done_px = after_px
        return counts, nodata_px

    def _write_zone(self, index: int, mapper: Mapper, report: Report) -> Tuple[Counts, int]:
        window = self.windows[index]
        counts = np.zeros(len(self.classes), np.int64)
        nodata_px = 0
        with contextlib.ExitStack() as open_files:
            classes_out = open_files.enter_context(
                rasters.class_map(self.map.paths[index], window, self.classes, self.tags)
            )
            percent_out = self.confidence and open_files.enter_context(
                rasters.confidence(self.confidence.paths[index], window, self.tags)
            )
            for mapped in mapper(window, part(report, 0.0, 0.95)):
                own = self._own(mapped.window)
                has_class = own & (mapped.best != NO_CLASS)
                classes_out.write(mapped.window, self._ids(mapped.best, has_class))
                if percent_out:
                    nothing = np.uint8(rasters.CONFIDENCE_NODATA)
                    percent = np.where(has_class, mapped.percent, nothing)
                    percent_out.write(mapped.window, percent)
                counts += np.bincount(mapped.best[has_class], minlength=len(counts))
                nodata_px += int(own.sum() - has_class.sum())
            if percent_out:
                percent_out.finish(report=part(report, 0.95, 0.97))
            classes_out.finish(class_counts(self.classes, counts), part(report, 0.97, 1.0))
        return counts, nodata_px

    def _own(self, window: Window) -> NDArray[np.bool_]:
        if len(self.windows) > 1:
            return own_pixels(window)
        return np.ones(window.shape, np.bool_)

    def _ids(self, best: NDArray[np.intp], has_class: NDArray[np.bool_]) -> NDArray[np.generic]:
        """Return the values of the raster (H, W)."""
        ids = np.array([each.id for each in self.classes], rasters.class_dtype(self.classes))
        found = np.full(best.shape, rasters.CLASS_NODATA, ids.dtype)
        found[has_class] = ids[best[has_class]]
        return found


def class_counts(classes: Sequence[LandClass], counts: Counts) -> Tuple[ClassCount, ...]:
    """Return classes with their pixels."""
    return tuple(ClassCount.of(each, int(count)) for each, count in zip(classes, counts))
