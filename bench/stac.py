# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What it costs to fetch windows of Sentinel images from a catalogue: bytes, requests, seconds.

2 x 2 km, ten days of Sentinel-2 and ten of Sentinel-1, from files of the real size and tiling whose
other tiles are empty. `x tiles`: bytes against those of the tiles that the window touches.
"""

import tempfile
import time
import uuid

import numpy as np
from osgeo import gdal, osr

from tessera_plugin.io.dpixels.scenes import S2_BANDS
from tessera_plugin.io.stac.catalogues import PLANETARY_COMPUTER
from tessera_plugin.io.stac.fetch import fetch
from tessera_plugin.io.stac.search import search
from tessera_plugin.values import NetworkSettings, Window
from tests.stac_server import NORTH, WEST, World, size_of

DAYS = 10
TILE_PX = 512
EDGE_PX = {10.0: 10980, 20.0: 5490}
RADAR_PX = (21_000, 28_000)
WINDOW = Window(31, -(int(NORTH) // 10) + 250, int(WEST) // 10 + 400, 200, 200)
"""Over a border of tiles in one direction, as windows of this size usually are."""

LINES = ((0.0, None), (0.05, 100e6 / 8))
"""Latency in seconds and bandwidth in bytes per second."""


class RealSizes(World):
    """Images as large as they are published; only the tiles near their corner hold something."""

    def _image(self, name, asset, made, _clear):
        size_m = size_of(asset)
        is_radar = asset in ("vv", "vh")
        height, width = RADAR_PX if is_radar else (EDGE_PX[size_m],) * 2
        kind = gdal.GDT_Float32 if is_radar else gdal.GDT_UInt16
        kind = gdal.GDT_Byte if asset == "SCL" else kind
        options = ["TILED=YES", f"BLOCKXSIZE={TILE_PX}", f"BLOCKYSIZE={TILE_PX}", "SPARSE_OK=TRUE",
                   "COMPRESS=DEFLATE", "BIGTIFF=IF_SAFER"]  # fmt: skip
        path = f"/vsimem/bench-{uuid.uuid4().hex}.tif"
        there = gdal.GetDriverByName("GTiff").Create(path, width, height, 1, kind, options)
        reference = osr.SpatialReference()
        reference.ImportFromEPSG(made.epsg)
        there.SetSpatialRef(reference)
        there.SetGeoTransform((made.west, size_m, 0, made.north, 0, -size_m))
        draw = np.random.default_rng(len(name) + len(asset))
        edge = 4 * TILE_PX
        if asset == "SCL":
            pixels = np.repeat(np.repeat(draw.choice([4, 5, 9], (64, 64)), 32, 0), 32, 1)
        elif is_radar:
            pixels = draw.gamma(2.0, 0.05, (edge, edge))
        else:
            pixels = 1500 + np.cumsum(draw.normal(0, 30, (edge, edge)), axis=1) % 2000
        dtype = {gdal.GDT_Byte: np.uint8, gdal.GDT_UInt16: np.uint16}.get(kind, np.float32)
        there.GetRasterBand(1).WriteRaster(0, 0, edge, edge, pixels.astype(dtype).tobytes())
        there = None
        file = gdal.VSIFOpenL(path, "rb")
        data = bytes(gdal.VSIFReadL(1, gdal.VSIStatL(path).size, file))
        gdal.VSIFCloseL(file)
        gdal.Unlink(path)
        return data


def touched_bytes(world, prefix, assets):
    """Return the bytes of the tiles that the window and a pixel around it touch, of these files."""
    total = 0
    for asset in assets:
        path = f"/vsimem/look-{uuid.uuid4().hex}.tif"
        found = world.files.find(prefix.format(asset))
        gdal.FileFromMemBuffer(path, found.read(0, found.length))
        there = gdal.Open(path)
        band = there.GetRasterBand(1)
        scale = size_of(asset) / 10
        col, row = WINDOW.col - int(WEST) // 10, WINDOW.row + int(NORTH) // 10
        spans = [
            range(
                int((start / scale - 1) // TILE_PX), int((start + 200) / scale + 1) // TILE_PX + 1
            )
            for start in (col, row)
        ]
        for x in spans[0]:
            for y in spans[1]:
                total += int(band.GetMetadataItem(f"BLOCK_SIZE_{x}_{y}", "TIFF"))
        band = there = None
        gdal.Unlink(path)
    return total


def main():
    world = RealSizes()
    world.s2("day0", "2023-05-01T10:50:31Z")
    world.s1("pass0", "2023-05-01T05:00:00Z")
    for number in range(1, DAYS):
        world.s2(f"day{number}", f"2023-05-{number + 1:02}T10:50:31Z", like="day0")
        world.s1(f"pass{number}", f"2023-05-{number + 1:02}T05:00:00Z", like="pass0")
    least = DAYS * (
        touched_bytes(world, "sentinel2-l2/day0/{}.tif", ("SCL", *S2_BANDS))
        + touched_bytes(world, "sentinel1-grd-rtc/pass0/iw-{}.rtc.tiff", ("vv", "vh"))
    )
    print(f"tiles touched: {least / 1e6:.1f} MB in {DAYS * 13} files")
    print("  ms   Mbit/s   told MB   told req   MB   x tiles   requests   seconds")
    for latency_s, bandwidth in LINES:
        with world.serving() as service, tempfile.TemporaryDirectory() as folder:
            request = service.request(
                WINDOW, folder, s1=PLANETARY_COMPUTER, network=NetworkSettings()
            )
            service.store.latency_s = service.api.latency_s = latency_s
            service.store.bandwidth = bandwidth
            plan = search(request)
            began = time.perf_counter()
            fetched = fetch(plan)
            seconds = time.perf_counter() - began
            assert not fetched.failures
            assert len(fetched.scenes.s2) == len(fetched.scenes.s1) == DAYS
        print(f"{latency_s * 1000:4.0f} {(bandwidth or 0) * 8 / 1e6:8.0f} {plan.bytes / 1e6:9.1f} "
              f"{plan.requests:10d} {fetched.bytes_fetched / 1e6:6.1f} "
              f"{fetched.bytes_fetched / least:7.3f} {fetched.requests:10d} {seconds:9.1f}")  # fmt: skip


if __name__ == "__main__":
    main()
