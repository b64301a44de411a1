# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The small files of an archive: landmasks, their list, and a dataset's manifest."""

from __future__ import annotations

import io
import threading
from datetime import datetime, timezone
from typing import Any, Dict, Sequence

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from numpy.typing import NDArray
from osgeo import gdal, osr

from tests.archive.layout import PIXEL_M, PUBLISHED, Tile, footprint, tile_paths

BUCKET = "s3://us-west-2.opendata.source.coop/tessera/tessera"


def landmask_tiff(tile: Tile, mask: NDArray[np.uint8]) -> bytes:
    """Return the landmask of a tile: uint8, 1 = land, with the transform that is not snapped."""
    place = footprint(tile)
    crs = osr.SpatialReference()
    crs.ImportFromEPSG(tile.epsg)
    path = f"/vsimem/landmask-{threading.get_ident()}.tiff"
    driver = gdal.GetDriverByName("GTiff")
    # Packbits keeps them at the tens of kilobytes that the published ones have.
    options = ["COMPRESS=PACKBITS"]
    raster = driver.Create(path, place.width, place.height, 1, gdal.GDT_Byte, options)
    raster.SetGeoTransform((place.origin[0], PIXEL_M, 0, place.origin[1], 0, -PIXEL_M))
    raster.SetProjection(crs.ExportToWkt())
    raster.GetRasterBand(1).WriteArray(mask)
    del raster
    stream = gdal.VSIFOpenL(path, "rb")
    size = gdal.VSIStatL(path).size
    data = bytes(gdal.VSIFReadL(1, size, stream))
    gdal.VSIFCloseL(stream)
    gdal.Unlink(path)
    return data


def manifest(version: str, variant: str, npy_dir: str, rows: Sequence[Dict[str, Any]]) -> bytes:
    """Return manifest.parquet. A row has tile, year, grid_size, scales_size."""
    rows = sorted(rows, key=lambda row: (row["year"], row["tile"].lon_i, row["tile"].lat_i))
    paths = [tile_paths(npy_dir, row["year"], row["tile"].name) for row in rows]
    stamp = [datetime.fromtimestamp(PUBLISHED, timezone.utc)] * len(rows)
    when = pa.timestamp("us", tz="UTC")
    table = pa.table(
        {
            "version": pa.array([version] * len(rows)),
            "variant": pa.array([variant] * len(rows)),
            "year": pa.array([row["year"] for row in rows], pa.int64()),
            **_centres([row["tile"] for row in rows], "degrees"),
            "grid_path": pa.array([f"{BUCKET}/{grid}" for grid, _ in paths]),
            "grid_mtime": pa.array(stamp, when),
            "grid_size": pa.array([row["grid_size"] for row in rows], pa.int64()),
            "scales_path": pa.array([f"{BUCKET}/{scales}" for _, scales in paths]),
            "scales_mtime": pa.array(stamp, when),
            "scales_size": pa.array([row["scales_size"] for row in rows], pa.int64()),
            **_centres([row["tile"] for row in rows], "hundredths"),
        }
    )
    return _parquet(table)


def landmask_index(tiles: Sequence[Tile], sizes: Sequence[int]) -> bytes:
    """Return landmasks.parquet."""
    stamp = [datetime.fromtimestamp(PUBLISHED, timezone.utc)] * len(tiles)
    table = pa.table(
        {
            **_centres(tiles, "degrees"),
            "file_size": pa.array(sizes, pa.int64()),
            "mtime": pa.array(stamp, pa.timestamp("us", tz="UTC")),
            **_centres(tiles, "hundredths"),
        }
    )
    return _parquet(table)


def _centres(tiles: Sequence[Tile], unit: str) -> Dict[str, Any]:
    if unit == "degrees":
        return {
            "lon": pa.array([tile.lon_i / 100 for tile in tiles], pa.float64()),
            "lat": pa.array([tile.lat_i / 100 for tile in tiles], pa.float64()),
        }
    return {
        "lon_i": pa.array([tile.lon_i for tile in tiles], pa.int32()),
        "lat_i": pa.array([tile.lat_i for tile in tiles], pa.int32()),
    }


def _parquet(table: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()
