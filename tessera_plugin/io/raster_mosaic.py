# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Mosaics over rasters of several zones, as VRTs that can be moved with them.

As in `rasters`, GDAL's exception mode is left as it is and every call checked.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from osgeo import gdal

from ..values import PIXEL_M, SOUTH_OFFSET_M, Window
from . import files
from .gdal_errors import collected as _errors
from .projection import strip_limits
from .raster_classes import ClassCount, add_classes
from .rasters import TILE_PX


def mosaic(
    out: Path,
    sources: Sequence[Path],
    epsg: int,
    counts: Sequence[ClassCount] = (),
    tags: Optional[Mapping[str, str]] = None,
) -> Tuple[Path, ...]:
    """Write a VRT over rasters of several zones, in the CRS of `epsg`.

    Sources in another CRS are warped by nearest neighbour in VRTs of their own, in the folder of
    `out`, which must be that of the sources; all name each other without a folder, so that they can
    be moved together. Colours, nodata and the bands' names are those of the sources, the names of
    values and areas those of `counts`.
    Returns the VRTs in the order they build on each other, `out` last.
    Raises: DiskFull, NotWritable.
    """
    problems: List[str] = []
    helpers: List[Path] = []
    beyond: List[Path] = []
    own: List[Path] = []
    with _errors(problems):
        for source in sources:
            is_own = _epsg_of(source) % 100 == epsg % 100
            layer = source
            if not is_own:
                layer = _with_fringe(source, out)
                helpers.append(layer)
            if _epsg_of(source) != epsg:
                layer = _warp(layer, source.stem, epsg, out, counts)
                helpers.append(layer)
            (own if is_own else beyond).append(layer)
        # the last lies on top: where fringes reach over the seam, the zone's own pixels count
        layers = [*beyond, *own]
        dataset = gdal.BuildVRT(str(out), [str(layer) for layer in layers])
        if dataset is not None:
            add_classes(dataset.GetRasterBand(1), counts)
            _name_bands(dataset, sources[0])
            dataset.SetMetadata(dict(tags or {}))
        dataset = None
    if problems:
        raise files.write_failure(out, problems, 0)
    _name_beside(out)
    _check_readable(out)
    return (*helpers, out)


def _name_bands(dataset: gdal.Dataset, source: Path) -> None:
    """Name the bands as those of a source are named."""
    known = gdal.OpenEx(str(source), gdal.OF_RASTER)
    for number in range(1, dataset.RasterCount + 1):
        dataset.GetRasterBand(number).SetDescription(known.GetRasterBand(number).GetDescription())


def _epsg_of(path: Path) -> int:
    dataset = gdal.OpenEx(str(path), gdal.OF_RASTER)
    if dataset is None:
        raise RuntimeError(f"{path.name} can't be read")
    return int(dataset.GetSpatialRef().GetAuthorityCode(None))


def _with_fringe(source: Path, out: Path) -> Path:
    """Write a VRT of a raster whose pixels at a seam are repeated once beyond it.

    The nearest pixel of a place just inside a strip may have its own centre just outside, where the
    raster is clipped: without the fringe a mosaic has holes along the seam.
    """
    target = out.with_name(f"{source.stem}_seam.vrt")
    window = _window_of(source)
    dataset = gdal.Translate(
        str(target), str(source), format="VRT",
        srcWin=[-1, 0, window.width + 2, window.height],
    )  # fmt: skip
    if dataset is not None:
        name = html.escape(source.name, quote=False)
        for index in range(1, dataset.RasterCount + 1):
            band = dataset.GetRasterBand(index)
            for number, (col, beyond, row, rows) in enumerate(_fringe(window)):
                xml = (
                    f'<SimpleSource><SourceFilename relativeToVRT="1">{name}'
                    f"</SourceFilename><SourceBand>{index}</SourceBand>"
                    f'<SrcRect xOff="{col}" yOff="{row}" xSize="1" ySize="{rows}"/>'
                    f'<DstRect xOff="{beyond + 1}" yOff="{row}" xSize="1" ySize="{rows}"/>'
                    "</SimpleSource>"
                )
                band.SetMetadataItem(f"source_{number}", xml, "new_vrt_sources")
    dataset = None
    _name_beside(target)
    return target


def _fringe(window: Window) -> Iterator[Tuple[int, int, int, int]]:
    """Yield the column at the seam, the one beyond it, first row and rows, all from the window's."""
    wide = Window(window.zone, window.row, window.col - 2, window.height, window.width + 4)
    first, stop = (limit - window.col for limit in strip_limits(wide))
    for limit, inside, is_here in (
        (first, first, (first >= 0) & (first < window.width)),
        (stop, stop - 1, (stop > 0) & (stop <= window.width)),
    ):
        edges = np.flatnonzero(np.diff(np.where(is_here, limit, -9), prepend=-8, append=-8))
        for row, end in zip(edges[:-1].tolist(), edges[1:].tolist()):
            if is_here[row]:
                col = int(inside[row])
                yield col, (col - 1 if limit is first else col + 1), row, end - row


def _window_of(path: Path) -> Window:
    """Return the window of a raster on a zone's grid."""
    dataset = gdal.OpenEx(str(path), gdal.OF_RASTER)
    west, _, _, north, _, _ = dataset.GetGeoTransform()
    epsg = _epsg_of(path)
    north -= SOUTH_OFFSET_M if epsg >= 32700 else 0
    row, col = round(-north / PIXEL_M), round(west / PIXEL_M)
    return Window(epsg % 100, row, col, dataset.RasterYSize, dataset.RasterXSize)


def _warp(source: Path, stem: str, epsg: int, out: Path, counts: Sequence[ClassCount]) -> Path:
    """Write a VRT of a raster in another zone's CRS, on that zone's pixel grid."""
    target = out.with_name(f"{stem}_in_{_zone_name(epsg)}.vrt")
    dataset = gdal.Warp(
        str(target), str(source), format="VRT", dstSRS=f"EPSG:{epsg}", xRes=PIXEL_M, yRes=PIXEL_M,
        targetAlignedPixels=True, resampleAlg="near",
    )  # fmt: skip
    if dataset is not None:
        add_classes(dataset.GetRasterBand(1), counts)
    dataset = None
    _name_beside(target)
    return target


def _zone_name(epsg: int) -> str:
    return f"utm{epsg % 100:02d}"


def _name_beside(vrt: Path) -> None:
    """Let a VRT name its sources without their folder."""
    try:
        text = vrt.read_text("utf-8")
        vrt.write_text(_SOURCE.sub(r'relativeToVRT="1"\1>\2</\3>', text), "utf-8")
    except OSError as error:
        raise files.write_error(vrt, error) from error


_SOURCE = re.compile(
    r'relativeToVRT="[01]"([^>]*)>[^<]*?([^<>/\\]+)</(SourceFilename|SourceDataset)>'
)


def _check_readable(path: Path) -> None:
    problems: List[str] = []
    with _errors(problems):
        dataset = gdal.OpenEx(str(path), gdal.OF_RASTER)
        size = (dataset.RasterXSize, dataset.RasterYSize) if dataset else (1, 1)
        small = tuple(min(edge, TILE_PX) for edge in size)
        if dataset is None or dataset.ReadRaster(0, 0, *size, *small) is None:
            problems.append("what was written can't be read back")
        dataset = None
    if problems:
        raise files.write_failure(path, problems, 0)
