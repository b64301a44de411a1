# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A look into rasters: headers and small samples, in either of GDAL's exception modes."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from osgeo import gdal

from ...errors import ExtentInvalid, SceneUnusable
from ...values import Extent
from ..gdal_errors import collected
from ..projection import LONLAT, transform_points
from .scenes import Raster

Region = Tuple[float, float, float, float]
"""Left, top, right, bottom as shares of a raster's edges."""
Values = NDArray[np.float64]

OUTSIDE = "it has no coordinate system, or no place in one"
"""Why a raster without an extent can't be used."""

_SAMPLE_PX = 256
_WHOLE_PX = 4_000_000
"""What is read whole, by nearest neighbour, where there are no overviews."""
_EDGE_STEPS = 8


@dataclass(frozen=True)
class Look:
    """The header of a raster."""

    names: Tuple[str, ...]
    """Of its bands, "" where one has none."""
    is_float: bool
    is_complex: bool
    tags: Dict[str, str]
    """Of the file and its first band; keys in upper case."""
    extent: Optional[Extent]
    """In EPSG:4326; None where it lies nowhere."""


class Looks:
    """Looks at every raster once."""

    def __init__(self) -> None:
        self._seen: Dict[str, Look] = {}
        self._failed: Dict[str, str] = {}

    def at(self, path: str) -> Look:
        """Return the header of a raster. Raises: SceneUnusable."""
        if path in self._failed:
            raise SceneUnusable(path, self._failed[path])
        if path not in self._seen:
            try:
                self._seen[path] = _look(path)
            except SceneUnusable as error:
                self._failed[path] = error.reason
                raise
        return self._seen[path]


def _look(path: str) -> Look:
    with _opened(path) as dataset:
        bands = [dataset.GetRasterBand(number) for number in range(1, dataset.RasterCount + 1)]
        if not bands:
            raise SceneUnusable(path, "it has no raster bands")
        kind = bands[0].DataType
        tags = {**(bands[0].GetMetadata() or {}), **(dataset.GetMetadata() or {})}
        return Look(
            names=tuple(str(band.GetDescription() or "") for band in bands),
            is_float=kind in (gdal.GDT_Float32, gdal.GDT_Float64),
            is_complex=bool(gdal.DataTypeIsComplex(kind)),
            tags={str(key).upper(): str(value) for key, value in tags.items()},
            extent=_extent(dataset),
        )


def _extent(dataset: Any) -> Optional[Extent]:  # noqa: ANN401 - GDAL has no types
    reference = dataset.GetSpatialRef()
    transform = dataset.GetGeoTransform(can_return_null=True)
    if reference is None or transform is None:
        return None
    steps = np.linspace(0.0, 1.0, _EDGE_STEPS + 1)
    none, full = np.zeros_like(steps), np.ones_like(steps)
    col = np.concatenate([steps, full, steps, none]) * dataset.RasterXSize
    row = np.concatenate([none, steps, full, steps]) * dataset.RasterYSize
    x = transform[0] + col * transform[1] + row * transform[2]
    y = transform[3] + col * transform[4] + row * transform[5]
    try:
        lonlat = transform_points(np.column_stack([x, y]), reference.ExportToWkt(), LONLAT)
    except ExtentInvalid:
        return None
    if not np.isfinite(lonlat).all():
        return None
    return _around(lonlat)


def _around(lonlat: Values) -> Extent:
    lon = lonlat[:, 0]
    if lon.max() - lon.min() > 180:  # over the antimeridian
        lon = np.where(lon < 0, lon + 360, lon)
    south, north = float(lonlat[:, 1].min()), float(lonlat[:, 1].max())
    return Extent(_wrapped(lon.min()), south, _wrapped(lon.max()), north)


def united(extents: Sequence[Extent]) -> Optional[Extent]:
    """Return what several extents in degrees cover together; None of none."""
    if not extents:
        return None
    first = extents[0].west
    spans: List[Tuple[float, float]] = []
    for each in extents:
        west = first + _wrapped(each.west - first)  # the short way round the globe
        spans.append((west, west + (each.east - each.west) % 360))
    return Extent(
        _wrapped(min(west for west, _ in spans)),
        min(each.south for each in extents),
        _wrapped(max(east for _, east in spans)),
        max(each.north for each in extents),
    )


def _wrapped(lon: float) -> float:
    return float(lon) if -180 <= lon <= 180 else float((lon + 180) % 360 - 180)


# --- samples


def sample(raster: Raster) -> Values:
    """Return some values of a band for statistics, 0 and nodata left out.

    Shape: (n,); empty where it can't be read. Of a large raster an overview or a few small windows.
    """
    for values, nodata in _read((raster,)):
        return values[_is_value(values, nodata)]
    return np.empty(0)


def sample_pair(ground: Raster, mask: Raster) -> Tuple[Values, Values]:
    """Return some values of a band and a mask of one extent at the same places.

    Shapes: (n,) and (n,); 0 and nodata of the band are left out. Empty where they can't be read.
    """
    found = _read((ground, mask))
    if not found:
        return np.empty(0), np.empty(0)
    (values, nodata), (masked, _) = found
    keep = _is_value(values, nodata)
    return values[keep], masked[keep]


def _is_value(values: Values, nodata: Optional[float]) -> NDArray[np.bool_]:
    is_value: NDArray[np.bool_] = np.isfinite(values) & (values != 0)
    return is_value if nodata is None else is_value & (values != nodata)


def _read(rasters: Sequence[Raster]) -> List[Tuple[Values, Optional[float]]]:
    """Read the same regions of rasters, with the value of nodata; empty if one can't be read."""
    regions: Sequence[Region] = ()
    read: List[Tuple[Values, Optional[float]]] = []
    try:
        for raster in rasters:
            with _opened(raster.path) as dataset:
                if not 1 <= raster.band <= dataset.RasterCount:
                    return []
                band = dataset.GetRasterBand(raster.band)
                regions = regions or _regions(band)
                parts = [_read_region(band, raster.path, region) for region in regions]
                read.append((np.concatenate(parts), band.GetNoDataValue()))
    except SceneUnusable:
        return []
    return read


def _regions(band: Any) -> Sequence[Region]:  # noqa: ANN401
    width, height = band.XSize, band.YSize
    if width * height <= _WHOLE_PX or band.GetOverviewCount():
        return ((0.0, 0.0, 1.0, 1.0),)
    half_x, half_y = (min(_SAMPLE_PX / edge / 2, 0.1) for edge in (width, height))
    centres = [(0.5, 0.5), (0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)]
    return [(x - half_x, y - half_y, x + half_x, y + half_y) for x, y in centres]


def _read_region(band: Any, path: str, region: Region) -> Values:  # noqa: ANN401
    width, height = band.XSize, band.YSize
    left, top = int(region[0] * width), int(region[1] * height)
    cols = max(1, min(width, round(region[2] * width)) - left)
    rows = max(1, min(height, round(region[3] * height)) - top)
    data = band.ReadRaster(left, top, cols, rows, _SAMPLE_PX, _SAMPLE_PX, buf_type=gdal.GDT_Float64)
    if data is None:
        raise SceneUnusable(path, "its pixels can't be read")
    return np.frombuffer(data, np.float64)


# --- GDAL, checked


@contextlib.contextmanager
def _opened(path: str) -> Iterator[Any]:
    """Open a raster. Raises SceneUnusable for whatever GDAL complains of, in both of its modes."""
    problems: List[str] = []
    with collected(problems):
        dataset = gdal.OpenEx(path, gdal.OF_RASTER | gdal.OF_READONLY)
        if dataset is None:
            raise SceneUnusable(path, _reason(path, problems))
        yield dataset
        dataset = None
    if problems:
        raise SceneUnusable(path, _reason(path, problems))


def _reason(path: str, problems: Sequence[str]) -> str:
    if not path.startswith("/vsi") and not Path(path).exists():
        return "there is no such file"
    said = " ".join("; ".join(dict.fromkeys(problems)).split()).rstrip(".")
    if "not recognized as" in said or not said:
        return "GDAL can't open it: it is no raster, or damaged"
    said = said.replace(f"{path}: ", "").replace(path, Path(path).name)
    return f"GDAL can't read it: {said}"
