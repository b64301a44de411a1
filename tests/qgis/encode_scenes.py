# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A person's small folder of dated Sentinel images, and an encoder file."""

from pathlib import Path

import numpy as np
from osgeo import gdal, osr

from tests.compute.encode import models
from tests.scenes.landscape import Landscape
from tests.scenes.spectra import BANDS

EPSG = 32631
LEFT, TOP = 300_000, 5_790_000
"""Of the first pixel's corner, on the 10 m grid."""
HEIGHT, WIDTH = 40, 52


def write(path, bands, descriptions, left=LEFT, top=TOP, epsg=EPSG):
    """Write bands (B, H, W) as a GeoTIFF whose bands are named."""
    count, height, width = bands.shape
    kind = {"u1": gdal.GDT_Byte, "u2": gdal.GDT_UInt16, "f4": gdal.GDT_Float32}[bands.dtype.str[1:]]
    target = gdal.GetDriverByName("GTiff").Create(str(path), width, height, count, kind)
    target.SetGeoTransform((left, 10, 0, top, 0, -10))
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(epsg)
    target.SetProjection(reference.ExportToWkt())
    for number, (band, name) in enumerate(zip(bands, descriptions), 1):
        target.GetRasterBand(number).WriteRaster(0, 0, width, height, band.tobytes())
        target.GetRasterBand(number).SetDescription(name)
    target = None


def images(folder, s2_count=6, s1_count=3, height=HEIGHT, width=WIDTH):
    """Write a year of images, one file per date; nothing tells the units. Returns the folder."""
    folder = Path(folder)
    folder.mkdir(parents=True)
    land = Landscape(3, height, width, s2_count=s2_count, s1_count=s1_count, cloudiness=0.2)
    for date in land.s2_dates:
        numbers, classes = land.optical(date)
        bands = np.concatenate([np.moveaxis(numbers, -1, 0), classes[None].astype(np.uint16)])
        write(folder / f"S2_{date:%Y%m%d}.tif", bands, (*BANDS, "SCL"))
    for orbit in ("ascending", "descending"):
        for date in getattr(land, orbit):
            power = np.moveaxis(land.radar(date, orbit), -1, 0).astype(np.float32)
            write(folder / f"S1_{date:%Y%m%d}_{orbit}.tif", power, ("VV", "VH"))
    (folder / "readme.txt").write_text("not an image")
    write(folder / "heights.tif", np.ones((1, height, width), np.float32), ("height",))
    return folder


def encoder(path, **facts):
    """Write a small encoder of 16 numbers per pixel; needs the private environment."""
    return models.make(Path(path), **{"depth": 16, **facts})
