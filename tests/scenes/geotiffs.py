# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Images of a landscape as dated GeoTIFFs, under the names that providers give them."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
from osgeo import gdal, osr

from tests.scenes import spectra
from tests.scenes.landscape import Landscape
from tests.scenes.pixels import coarse
from tests.scenes.radar import ORBITS

OFFSET = 1000
_OFFSET_SINCE = dt.date(2022, 1, 25)
"""Images processed from that day on have it, by baseline 04.00 and later."""
_RADAR_NODATA = -32768.0
_ORBIT, _S2_TIME = "R094", "110621"
_S1_TIMES = {"ascending": "173054", "descending": "061128"}
_TYPES = {
    "uint8": gdal.GDT_Byte,
    "uint16": gdal.GDT_UInt16,
    "float32": gdal.GDT_Float32,
}


@dataclass(frozen=True)
class Grid:
    """Where a raster lies: pixels of a UTM zone's grid, counted in 10 m."""

    zone: int
    row: int
    col: int
    height: int
    width: int
    pixel_m: int = 10

    @property
    def transform(self) -> Tuple[float, ...]:
        """GDAL's six numbers."""
        return (10.0 * self.col, self.pixel_m, 0.0, -10.0 * self.row, 0.0, -self.pixel_m)

    @property
    def bounds(self) -> Tuple[float, float, float, float]:
        """West, south, east, north in metres."""
        west, north = 10.0 * self.col, -10.0 * self.row
        return west, north - 10.0 * self.height, west + 10.0 * self.width, north


@dataclass(frozen=True)
class _Image:
    """A Sentinel-2 image and how it was processed."""

    date: dt.date
    bands: np.ndarray
    """(H, W, 10), with the offset where its baseline has one."""
    scl: np.ndarray
    baseline: str
    """"04.00"."""
    processed: dt.date
    satellite: str

    @property
    def name(self) -> str:
        """Of the product, without baseline and tile."""
        return f"{self.satellite}_MSIL2A_{self.date:%Y%m%d}T{_S2_TIME}"


def crs(zone: int) -> osr.SpatialReference:
    """Return the CRS of a northern UTM zone, easting first."""
    utm = osr.SpatialReference()
    utm.ImportFromEPSG(32600 + zone)
    utm.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    return utm


def degrees() -> osr.SpatialReference:
    """Return EPSG:4326, longitude first."""
    found = osr.SpatialReference()
    found.ImportFromEPSG(4326)
    found.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    return found


def save(
    path: Path,
    values: np.ndarray,
    grid: Grid,
    nodata: Optional[float] = None,
    names: Sequence[str] = (),
) -> None:
    """Write (H, W) or (H, W, bands), whole pixels of `grid.pixel_m` from its upper left corner."""
    layers = values[..., None] if values.ndim == 2 else values
    height, width, count = layers.shape
    path.parent.mkdir(parents=True, exist_ok=True)
    predictor = 3 if values.dtype == np.float32 else 2
    options = ["COMPRESS=DEFLATE", f"PREDICTOR={predictor}", "TILED=YES", "INTERLEAVE=BAND"]
    kind = _TYPES[values.dtype.name]
    raster = gdal.GetDriverByName("GTiff").Create(str(path), width, height, count, kind, options)
    raster.SetGeoTransform(grid.transform)
    raster.SetProjection(crs(grid.zone).ExportToWkt())
    for number in range(count):
        band = raster.GetRasterBand(number + 1)
        if nodata is not None:
            band.SetNoDataValue(nodata)
        if names:
            band.SetDescription(names[number])
        band.WriteArray(layers[..., number])
    raster.FlushCache()


def write_items(folder: Path, land: Landscape, grid: Grid, mgrs: str) -> None:
    """Write a STAC item with its images per date, as tools for the Planetary Computer leave them."""
    coarse_grid = replace(grid, pixel_m=20)
    for image in _images(land, has_reprocessed=True):
        item = f"{image.name}_{_ORBIT}_T{mgrs}_{image.processed:%Y%m%d}T191512"
        granule = f"T{mgrs}_{image.date:%Y%m%d}T{_S2_TIME}"
        files: Dict[str, str] = {}
        for number, band in enumerate(spectra.BANDS):
            is_coarse = band in spectra.BANDS_20M
            files[band] = f"{granule}_{band}_{20 if is_coarse else 10}m.tif"
            values = image.bands[..., number]
            values = _at_20m(values) if is_coarse else values
            where = coarse_grid if is_coarse else grid
            save(folder / item / files[band], values, where, nodata=0)
        files["SCL"] = f"{granule}_SCL_20m.tif"
        save(folder / item / files["SCL"], image.scl[::2, ::2], coarse_grid, nodata=0)
        uri = f"{image.name}_N{image.baseline.replace('.', '')}_{_ORBIT}_T{mgrs}"
        facts = {
            "datetime": f"{image.date}T11:06:21.024000Z",
            "platform": f"Sentinel-{image.satellite[1:]}",
            "s2:mgrs_tile": mgrs,
            "s2:processing_baseline": image.baseline,
            "s2:product_uri": f"{uri}_{image.processed:%Y%m%d}T191512.SAFE",
            "s2:generation_time": f"{image.processed}T19:15:12.000Z",
            "s2:datatake_id": f"G{image.satellite}_{image.date:%Y%m%d}T{_S2_TIME}"
            f"_025237_N{image.baseline}",
            "eo:cloud_cover": round(100 * land.cloud_share(image.date), 2),
            "proj:epsg": 32600 + grid.zone,
        }
        _write_item(folder / item, item, "sentinel-2-l2a", facts, files, grid)
    for orbit in ORBITS:
        for date in getattr(land, orbit):
            _radar_item(folder, land, grid, date, orbit)


def _radar_item(folder: Path, land: Landscape, grid: Grid, date: dt.date, orbit: str) -> None:
    satellite, time = _satellite(date, "S1"), _S1_TIMES[orbit]
    stamp = f"{date:%Y%m%d}T{time}"
    item = f"{satellite}_IW_GRDH_1SDV_{stamp}_{stamp}_041823_04FA2E_rtc"
    power, files = land.radar(date, orbit), {"vv": "iw-vv.rtc.tiff", "vh": "iw-vh.rtc.tiff"}
    for number, name in enumerate(files.values()):
        save(folder / item / name, power[..., number], grid, nodata=_RADAR_NODATA)
    facts = {
        "datetime": f"{date}T{time[:2]}:{time[2:4]}:{time[4:]}.000000Z",
        "platform": f"SENTINEL-{satellite[1:]}",
        "sat:orbit_state": orbit,
        "sar:polarizations": ["VV", "VH"],
        "sar:instrument_mode": "IW",
        "proj:epsg": 32600 + grid.zone,
    }
    _write_item(folder / item, item, "sentinel-1-rtc", facts, files, grid)


def write_files(folder: Path, land: Landscape, grid: Grid, mgrs: str) -> None:
    """Write one file with ten bands at 10 m per date, its SCL, and radar as HyP3 calls it."""
    # Without an item only the date tells whether there is an offset: none was processed again.
    for image in _images(land, has_reprocessed=False):
        baseline = image.baseline.replace(".", "")
        name = f"{image.name}_N{baseline}_{_ORBIT}_T{mgrs}_{image.processed:%Y%m%d}T191512"
        bands = image.bands.copy()
        for number, band in enumerate(spectra.BANDS):
            if band in spectra.BANDS_20M:
                bands[..., number] = _at_20m(bands[..., number]).repeat(2, 0).repeat(2, 1)
        save(folder / "S2" / f"{name}.tif", bands, grid, nodata=0, names=spectra.BANDS)
        twenty = replace(grid, pixel_m=20)
        save(folder / "S2" / f"{name}_SCL.tif", image.scl[::2, ::2], twenty, nodata=0)
    for orbit in ORBITS:
        for date in getattr(land, orbit):
            stamp = f"{date:%Y%m%d}T{_S1_TIMES[orbit]}"
            name = f"{_satellite(date, 'S1')}_IW_{stamp}_DVP_RTC10_G_gpuned_5A3F"
            power = land.radar(date, orbit)
            for number, polarisation in enumerate(("VV", "VH")):
                path = folder / "S1" / orbit / f"{name}_{polarisation}.tif"
                save(path, power[..., number], grid, nodata=0)


def _images(land: Landscape, *, has_reprocessed: bool) -> List[_Image]:
    """Return the images of Sentinel-2; one from before the offset came may be processed again."""
    early = [date for date in land.s2_dates if date < _OFFSET_SINCE]
    again = early[-1] if has_reprocessed and early else None
    return [_image(land, date, is_again=date == again) for date in land.s2_dates]


def _image(land: Landscape, date: dt.date, *, is_again: bool) -> _Image:
    bands, scl = land.optical(date)
    processed = dt.date(2023, 2, 11) if is_again else date
    is_late = processed >= _OFFSET_SINCE
    baseline = "05.10" if is_again else "04.00" if is_late else "03.01"
    if is_late:
        bands = np.where(bands > 0, bands + OFFSET, 0).astype(np.uint16)
    return _Image(date, bands, scl, baseline, processed, _satellite(date, "S2"))


def _satellite(date: dt.date, family: str) -> str:
    return family + "AB"[date.toordinal() // 5 % 2]


def _at_20m(values: np.ndarray) -> np.ndarray:
    """Return the means of 2 x 2 pixels, 0 where one of them was not seen."""
    means = np.rint(coarse(values[..., None].astype(np.float64)))[..., 0]
    whole = values.reshape(values.shape[0] // 2, 2, values.shape[1] // 2, 2).min(axis=(1, 3)) > 0
    return np.where(whole, means, 0).astype(np.uint16)


def _write_item(
    folder: Path,
    name: str,
    collection: str,
    facts: Dict[str, Any],
    files: Dict[str, str],
    grid: Grid,
) -> None:
    west, south, east, north = grid.bounds
    to_degrees = osr.CoordinateTransformation(crs(grid.zone), degrees())
    ring = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    corners = [list(to_degrees.TransformPoint(*corner)[:2]) for corner in ring]
    lons, lats = zip(*corners)
    root = "https://planetarycomputer.microsoft.com/api/stac/v1"
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": collection,
        "bbox": [min(lons), min(lats), max(lons), max(lats)],
        "geometry": {"type": "Polygon", "coordinates": [corners]},
        "properties": facts,
        "links": [{"rel": "collection", "href": f"{root}/collections/{collection}"}],
        "assets": {
            key: {"href": f"./{file}", "type": "image/tiff; application=geotiff"}
            for key, file in files.items()
        },
    }
    (folder / "item.json").write_text(json.dumps(item, indent=1), "utf-8")
