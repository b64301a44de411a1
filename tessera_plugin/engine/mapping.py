# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Class maps written zone by zone and part by part, whoever finds the classes."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Iterator, Mapping, Optional, Protocol, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..errors import NotWritable
from ..io import files, raster_mosaic, rasters
from ..io.raster_classes import CLASS_NODATA, ClassCount
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
    others: Tuple[NDArray[np.uint8], ...] = ()
    """What is written beside, (H, W) or (bands, H, W) each; anything where there is no class."""


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


@dataclass(frozen=True)
class NamedRaster:
    """A raster as it is published."""

    paths: Tuple[str, ...]
    """One GeoTIFF per zone, by ascending zone."""
    mosaic: Optional[str]
    """The VRT over the zones' files; none where there is one zone only."""


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
            all_files += raster_mosaic.mosaic(vrt, self.paths, epsg, counts, tags)
        pairs = tuple((path, self._out.with_name(path.name)) for path in all_files)
        return StagedRaster(self.folder, pairs, len(self._windows))


def targets_of(
    paths: Mapping[str, Optional[str]], windows: Sequence[Window], undo: contextlib.ExitStack
) -> Dict[str, Target]:
    """Make the folders to write rasters in, before anything is fetched; `undo` removes them.

    `paths` are by any name; there is no target for what has no path.
    Raises: NotWritable, DiskFull.
    """
    wanted = {name: path for name, path in paths.items() if path}
    named = [Path(each).absolute() for each in wanted.values()]
    if len(set(named)) < len(named):
        raise NotWritable(str(named[0]), "each raster needs a name of its own")
    targets: Dict[str, Target] = {}
    for name, path in wanted.items():
        targets[name] = Target(path, windows)
        undo.callback(files.remove_folder, targets[name].folder)
    return targets


@dataclass(frozen=True)
class Beside:
    """A raster in percent that is written beside the map."""

    target: Target
    bands: Tuple[str, ...]
    """Their names."""


@dataclass(frozen=True)
class MapWriter:
    """Writes what a mapper finds into the rasters of every zone."""

    classes: Sequence[LandClass]
    windows: Sequence[Window]
    map: Target
    confidence: Optional[Target]
    tags: Mapping[str, str]
    others: Sequence[Beside] = ()
    """In the order of `Mapped.others`."""
    inside: Optional[Callable[[Window], NDArray[np.bool_]]] = None
    """Which pixels of a window count (H, W); others are nodata. None: those of the zone's own."""

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
            others_out = [
                open_files.enter_context(_opened(each, index, window, self.tags))
                for each in self.others
            ]
            for mapped in mapper(window, part(report, 0.0, 0.95)):
                own = self._own(mapped.window)
                has_class = own & (mapped.best != NO_CLASS)
                classes_out.write(mapped.window, self._ids(mapped.best, has_class))
                for out, values in (
                    *([(percent_out, mapped.percent)] if percent_out else []),
                    *zip(others_out, mapped.others),
                ):
                    nothing = np.uint8(rasters.CONFIDENCE_NODATA)
                    out.write(mapped.window, np.where(has_class, values, nothing))
                counts += np.bincount(mapped.best[has_class], minlength=len(counts))
                nodata_px += int(own.sum() - has_class.sum())
            beside = [*([percent_out] if percent_out else []), *others_out]
            for number, out in enumerate(beside):
                start, stop = (0.95 + 0.02 * at / len(beside) for at in (number, number + 1))
                out.finish(report=part(report, start, stop))
            classes_out.finish(class_counts(self.classes, counts), part(report, 0.97, 1.0))
        return counts, nodata_px

    def _own(self, window: Window) -> NDArray[np.bool_]:
        if self.inside is not None:
            return self.inside(window)
        if len(self.windows) > 1:
            return own_pixels(window)
        return np.ones(window.shape, np.bool_)

    def _ids(self, best: NDArray[np.intp], has_class: NDArray[np.bool_]) -> NDArray[np.generic]:
        """Return the values of the raster (H, W)."""
        ids = np.array([each.id for each in self.classes], rasters.class_dtype(self.classes))
        found = np.full(best.shape, CLASS_NODATA, ids.dtype)
        found[has_class] = ids[best[has_class]]
        return found


def _opened(
    beside: Beside, index: int, window: Window, tags: Mapping[str, str]
) -> rasters.RasterWriter:
    path, bands = beside.target.paths[index], beside.bands
    writer = rasters.confidence(path, window, tags, len(bands))
    writer.describe(bands)
    return writer


def class_counts(classes: Sequence[LandClass], counts: Counts) -> Tuple[ClassCount, ...]:
    """Return classes with their pixels."""
    return tuple(ClassCount.of(each, int(count)) for each, count in zip(classes, counts))
