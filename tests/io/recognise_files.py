# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Tiny Sentinel files under the names they have in the wild."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
from osgeo import gdal, osr

from tessera_plugin.io.dpixels.scenes import S2_BANDS

TYPES = {
    "uint8": gdal.GDT_Byte, "uint16": gdal.GDT_UInt16, "int16": gdal.GDT_Int16,
    "float32": gdal.GDT_Float32, "complex64": gdal.GDT_CFloat32,
}  # fmt: skip
SIZE = 12
WEST, NORTH = 600_000, 5_700_000  # 51.4° N, 4.4° E
GOT_10_M = ("B02", "B03", "B04", "B08")
BY_WAVELENGTH = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
GEE_BANDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12", "AOT",
             "WVP", "SCL", "QA60")  # fmt: skip
EARTH_SEARCH = {
    "B04": "red", "B02": "blue", "B03": "green", "B08": "nir", "B8A": "nir08", "B05": "rededge1",
    "B06": "rededge2", "B07": "rededge3", "B11": "swir16", "B12": "swir22",
}  # fmt: skip
UPSTREAM = EARTH_SEARCH


def raster(path, values=500, *, names=(), dtype="uint16", epsg=32631, pixel=10, tags=None,
           west=WEST, north=NORTH):  # fmt: skip
    """Write a raster; `values` is a number, or an array of (H, W) or (bands, H, W)."""
    count = max(1, len(names))
    array = np.asarray(values)
    if array.ndim < 2:
        array = np.full((count, SIZE, SIZE), array)
    array = np.ascontiguousarray(array.reshape(-1, *array.shape[-2:]).astype(dtype))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    driver = gdal.GetDriverByName("MEM" if path.suffix == ".jp2" else "GTiff")
    dataset = driver.Create(str(path), array.shape[2], array.shape[1], len(array), TYPES[dtype])
    if epsg:
        reference = osr.SpatialReference()
        reference.ImportFromEPSG(epsg)
        dataset.SetSpatialRef(reference)
        dataset.SetGeoTransform((west, pixel, 0, north, 0, -pixel))
    for number, name in enumerate(names, 1):
        dataset.GetRasterBand(number).SetDescription(name)
    if tags:
        dataset.SetMetadata(tags)
    dataset.WriteRaster(0, 0, array.shape[2], array.shape[1], array.tobytes())
    if path.suffix == ".jp2":
        gdal.GetDriverByName("JP2OpenJPEG").CreateCopy(
            str(path), dataset, options=["QUALITY=100", "REVERSIBLE=YES"]
        )
    dataset = None
    return path


def noisy(low, high, shape=(SIZE, SIZE), seed=0, dtype=float):
    return np.random.default_rng(seed).uniform(low, high, shape).astype(dtype)


# --- layouts


def dpixels(folder, dates=3, height=5, width=4):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, shape, dtype in (
        ("bands", (dates, height, width, 10), "<u2"), ("masks", (dates, height, width), "|u1"),
        ("doys", (dates,), "<u2"), ("sar_ascending", (2, height, width, 2), "<i2"),
        ("sar_ascending_doy", (2,), "<i2"), ("sar_descending", (0, 86, 78, 2), "<i2"),
        ("sar_descending_doy", (0,), "<i2"),
    ):  # fmt: skip
        np.save(folder / f"{name}.npy", np.ones(shape, dtype))
    raster(folder / "roi.tiff", np.ones((height, width)), dtype="uint8")
    return folder


def upstream(folder, days=("2024-06-12",), sar=(("2024-06-10", "ascending"),)):
    for day in days:
        for name in UPSTREAM.values():
            raster(folder / "data_raw" / name / f"{day}_mosaic.tiff")
        raster(folder / "data_raw" / "scl" / f"{day}_mosaic.tiff", 4, dtype="uint8")
    for day, orbit in sar:
        for pol in ("vv", "vh"):
            raster(folder / "data_sar_raw" / f"{day}_{pol}_{orbit}.tiff", 5500, dtype="int16")
    return folder


def safe_name(sensed="20240612T105619", baseline="0510", tile="31UFT", made="20240612T134551",
              satellite="S2B", level="L2A"):  # fmt: skip
    number = f"_N{baseline}" if baseline else ""
    return f"{satellite}_MSI{level}_{sensed}{number}_R094_T{tile}_{made}"


def safe(folder, name=None, *, suffix=".tif", offset=-1000, metadata=True, values=1500, without=()):
    """Write a SAFE folder of Level 2A with its 20 m copies of the 10 m bands."""
    name = name or safe_name()
    parts = name.split("_")
    tile, sensed = parts[-2], parts[2]
    root = Path(folder) / f"{name}.SAFE"
    images = root / "GRANULE" / f"L2A_{tile}_A037952_{sensed}" / "IMG_DATA"
    for band in S2_BANDS:
        if band in without:
            continue
        for resolution in (10, 20) if band in GOT_10_M else (20,):
            raster(images / f"R{resolution}m" / f"{tile}_{sensed}_{band}_{resolution}m{suffix}",
                   values, pixel=resolution)  # fmt: skip
    raster(images / "R20m" / f"{tile}_{sensed}_SCL_20m{suffix}", 4, dtype="uint8", pixel=20)
    raster(images / "R10m" / f"{tile}_{sensed}_TCI_10m{suffix}", 4, dtype="uint8")
    if metadata:
        offsets = "".join(
            f'<BOA_ADD_OFFSET band_id="{i}">{offset}</BOA_ADD_OFFSET>' for i in range(13)
        )
        listed = f"<BOA_ADD_OFFSET_VALUES_LIST>{offsets}</BOA_ADD_OFFSET_VALUES_LIST>"
        baseline = next((p[1:3] + "." + p[3:] for p in parts if p[:1] == "N" and len(p) == 5), "")
        (root / "MTD_MSIL2A.xml").write_text(
            f"<n1:P><PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE><Q>"
            '<BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE></Q>'
            f"{listed if offset is not None else ''}</n1:P>"
        )
    return root


def zipped(folder):
    """Put a folder into a zip beside it, and the folder away."""
    target = folder.with_name(folder.name + ".zip")
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder.parent).as_posix())
                path.unlink()
    return target


def item(path, number, *, when, collection, assets, links=(), **properties):
    """Write a STAC item. `assets` are hrefs by key; colons of properties are written `__`."""
    content = {
        "type": "Feature", "stac_version": "1.0.0", "id": number, "collection": collection,
        "properties": {"datetime": when, **{k.replace("__", ":"): v for k, v in properties.items()}},
        "assets": {key: {"href": href} for key, href in assets.items()},
        "links": [{"rel": "self", "href": href} for href in links],
    }  # fmt: skip
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(content))


PC_BLOB = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/31/U/FT/2024/06/12"
PC_RTC = "https://sentinel1euwestrtc.blob.core.windows.net/sentinel1-grd-rtc/GRD/2024/6/1/IW/DV"
COGS = "https://sentinel-cogs.s3.us-west-2.amazonaws.com/sentinel-s2-l2a-cogs/31/U/FT/2024/6"


def pc_item(folder, number="S2B_MSIL2A_20240612T105619_R094_T31UFT_20240612T134551",
            baseline="05.10", when="2024-06-12T10:56:19.024000Z"):  # fmt: skip
    """Files and item of Planetary Computer, flat in one folder."""
    stem = "T31UFT_" + number.split("_")[2]
    names = {band: f"{stem}_{band}_{10 if band in GOT_10_M else 20}m.tif" for band in S2_BANDS}
    names["SCL"] = f"{stem}_SCL_20m.tif"
    for band, name in names.items():
        raster(folder / name, 4 if band == "SCL" else 1500, dtype="uint16")
    item(
        folder / f"{number}.json", number, when=when, collection="sentinel-2-l2a",
        assets={band: f"{PC_BLOB}/X.SAFE/GRANULE/IMG_DATA/{name}?sig=a%2Fb" for band, name in names.items()},
        s2__processing_baseline=baseline, s2__mgrs_tile="31UFT",
        s2__datatake_id=f"GS2B_{number.split('_')[2]}_037952_N{baseline}",
        s2__generation_time="2024-06-12T13:45:51.0Z",
    )  # fmt: skip


def cogs_item(folder, number="S2B_31UFT_20240612_0_L2A", host=COGS, suffix="tif", **properties):
    """Files and item of Earth Search in a folder of their own."""
    for band, key in EARTH_SEARCH.items():
        raster(folder / number / f"{band}.{suffix}", 500)
        _ = key
    raster(folder / number / f"SCL.{suffix}", 4, dtype="uint8")
    names = {**EARTH_SEARCH, "SCL": "scl"}
    told = {"s2__processing_baseline": "05.10", "grid__code": "MGRS-31UFT",
            "s2__datatake_id": "GS2B_20240612T105619_037952_N05.10", **properties}  # fmt: skip
    item(
        folder / number / f"{number}.json", number, when="2024-06-12T10:58:51.9Z",
        collection="sentinel-2-l2a",
        assets={key: f"{host}/{number}/{band}.{suffix}" for band, key in names.items()}, **told,
    )  # fmt: skip


def loose(folder, stem, values=500, *, dtype="uint16", without=(), scl=True, suffix=".tif"):
    """One file per band: `{}` in `stem` is the band."""
    for band in S2_BANDS:
        if band not in without:
            raster(folder / (stem.format(band) + suffix), values, dtype=dtype)
    if scl:
        raster(folder / (stem.format("SCL") + suffix), 4, dtype="uint8")


def pair(folder, stem, values=(0.07, 0.015), *, tags=None, dtype="float32", suffix=".tif", **more):
    """Both polarisations in files of their own: `{}` in `stem` is the polarisation."""
    for pol, value in zip(("VV", "VH"), values):
        array = noisy(value * 0.8, value * 1.2) if value > 0 else noisy(value * 1.2, value * 0.8)
        raster(folder / (stem.format(pol) + suffix), array, dtype=dtype, tags=tags, **more)
