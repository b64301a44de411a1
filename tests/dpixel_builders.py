# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Dated GeoTIFFs as Sentinel scenes, upstream's d-pixel folders, and what a tile says of itself."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

import numpy as np
from numpy.typing import NDArray
from osgeo import gdal, osr

from tessera_plugin.io.dpixels.scenes import (
    DN,
    NO_MASK,
    POWER,
    S2_BANDS,
    SCL,
    Raster,
    S1Scene,
    S2Scene,
)
from tessera_plugin.values import PIXEL_M, Window

BANDS_10_M = ("B02", "B03", "B04", "B08")
NAMES = (
    *("bands", "masks", "doys"),
    *("sar_ascending", "sar_ascending_doy", "sar_descending", "sar_descending_doy"),
)

TYPES = {
    "uint8": gdal.GDT_Byte,
    "uint16": gdal.GDT_UInt16,
    "int16": gdal.GDT_Int16,
    "float32": gdal.GDT_Float32,
}

Transform = Tuple[float, float, float, float, float, float]


def transform_of(window: Window, pixel_m: float = PIXEL_M, shift_m: float = 0.0) -> Transform:
    """GDAL's six numbers of a raster with a window's upper left corner, in the window's own CRS."""
    west, _, _, north, _, _ = window.transform
    return (west + shift_m, pixel_m, 0.0, north - shift_m, 0.0, -pixel_m)


def write_raster(
    path: Path,
    values: NDArray[Any],
    transform: Transform,
    epsg: Optional[int],
    nodata: Optional[float] = None,
    options: Tuple[str, ...] = (),
) -> Raster:
    """Write (H, W), or (bands, H, W), as a GeoTIFF."""
    layers = values if values.ndim == 3 else values[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = gdal.GetDriverByName("GTiff").Create(
        str(path), layers.shape[2], layers.shape[1], len(layers), TYPES[layers.dtype.name],
        list(options),
    )  # fmt: skip
    if epsg is not None:
        reference = osr.SpatialReference()
        reference.ImportFromEPSG(epsg)
        dataset.SetSpatialRef(reference)
        dataset.SetGeoTransform(transform)
    for number, layer in enumerate(layers, 1):
        band = dataset.GetRasterBand(number)
        band.WriteRaster(
            0, 0, layer.shape[1], layer.shape[0], np.ascontiguousarray(layer).tobytes()
        )
        if nodata is not None:
            band.SetNoDataValue(nodata)
    dataset = None
    return Raster(str(path))


def coarse(values: NDArray[Any]) -> NDArray[Any]:
    """Every second pixel of every second row: a 20 m raster of the same place."""
    return np.ascontiguousarray(values[::2, ::2])


def s2_scene(
    folder: Path,
    window: Window,
    date: str,
    bands: NDArray[np.uint16],
    scl: Optional[NDArray[np.uint8]] = None,
    **facts: Any,
) -> S2Scene:
    """A scene of ten 10 m bands (H, W, 10), in the order of S2_BANDS, and a 10 m mask."""
    name = facts.pop("name", f"S2_{date}")
    transform, epsg = transform_of(window), window.epsg
    rasters = {
        band: write_raster(folder / name / f"{band}.tif", bands[..., index], transform, epsg)
        for index, band in enumerate(S2_BANDS)
    }
    mask, kind = None, NO_MASK
    if scl is not None:
        mask = write_raster(folder / name / "SCL.tif", scl, transform, epsg)
        kind = facts.pop("mask_kind", SCL)
    unit = facts.pop("unit", DN)
    return S2Scene(name, dt.date.fromisoformat(date), rasters, unit, mask, kind, **facts)


def s1_scene(
    folder: Path,
    window: Window,
    date: str,
    orbit: str,
    vv: NDArray[np.float32],
    vh: NDArray[np.float32],
    unit: str = POWER,
    name: str = "",
    **facts: Any,
) -> S1Scene:
    name = name or f"S1_{date}_{orbit}"
    rasters = [
        write_raster(folder / name / f"{pol}.tif", values, transform_of(window), window.epsg)
        for pol, values in (("vv", vv), ("vh", vh))
    ]
    return S1Scene(name, dt.date.fromisoformat(date), orbit, *rasters, unit, **facts)


def random_bands(window: Window, seed: int = 0) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(1, 9000, (*window.shape, 10)).astype(np.uint16)


def random_power(window: Window, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(0.01, 0.5, window.shape).astype(np.float32)


def tile(folder: Any) -> Dict[str, NDArray[Any]]:
    """Return the seven arrays of a folder as numpy reads them."""
    return {name: np.load(Path(folder) / f"{name}.npy", allow_pickle=False) for name in NAMES}


def provenance(folder: Any) -> Dict[str, Any]:
    told: Dict[str, Any] = json.loads((Path(folder) / "provenance.json").read_text("utf-8"))
    return told


def upstream_arrays(height: int, width: int, dates: int = 3, seed: int = 0) -> Dict[str, Any]:
    """Arrays as upstream's stackers and retiler write them; no descending image."""
    rng = np.random.default_rng(seed)
    return {
        "bands": rng.integers(0, 9000, (dates, height, width, 10)).astype("<u2"),
        "masks": rng.integers(0, 2, (dates, height, width)).astype("|u1"),
        "doys": np.arange(10, 10 + dates).astype("<u2"),
        "sar_ascending": rng.integers(0, 9000, (2, height, width, 2)).astype("<i2"),
        "sar_ascending_doy": np.array([5, 17], "<i2"),
        # without any SAR file upstream makes up height and width
        "sar_descending": np.zeros((0, 868, 782, 2), "<i2"),
        "sar_descending_doy": np.zeros(0, "<i2"),
    }


def upstream_folder(
    folder: Path, arrays: Mapping[str, NDArray[Any]], transform: Transform, epsg: Optional[int]
) -> Path:
    folder.mkdir(parents=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    roi = np.ones(arrays["bands"].shape[1:3], np.uint8)
    write_raster(folder / "roi.tiff", roi, transform, epsg, options=("COMPRESS=LZW",))
    return folder
