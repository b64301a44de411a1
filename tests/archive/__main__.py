# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Serve the sample archive until killed: `python -m tests.archive --port 8765`.

The first line printed is the root of the archive. Options write what is true of a box beside it: its
class map as GeoTIFF, and points as a person would label them as GeoJSON.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from pathlib import Path
from typing import List, Sequence, Tuple

from osgeo import gdal, osr

from tests.archive.ground import CLASSES, DEMO
from tests.archive.sample import SampleArchive, window_of
from tests.servers import RangeServer

Box = Tuple[float, float, float, float]


def main(arguments: Sequence[str]) -> int:
    """Write what is asked for, then serve until SIGTERM or Ctrl-C."""
    options = _options(arguments)
    archive = SampleArchive(options.seed)
    if options.truth:
        write_truth(archive, options.bbox, options.truth)
    if options.labels:
        write_labels(archive, options.bbox, options.per_class, options.labels)
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: end.set())
    with RangeServer(archive, options.port, bandwidth=options.bandwidth) as server:
        print(server.url, flush=True)
        end.wait()
    return 0


def write_truth(archive: SampleArchive, bbox: Box, path: str) -> None:
    """Write the true classes of the pixels under a box, in the zone of its middle, as GeoTIFF."""
    zone, row, col, height, width = window_of(bbox)
    south = row >= 0
    crs = osr.SpatialReference()
    crs.ImportFromEPSG((32700 if south else 32600) + zone)
    raster = gdal.GetDriverByName("GTiff").Create(
        path, width, height, 1, gdal.GDT_Byte, ["COMPRESS=DEFLATE", "TILED=YES"]
    )
    if raster is None:
        raise OSError(f"{path} can't be written: {gdal.GetLastErrorMsg()}")
    raster.SetProjection(crs.ExportToWkt())
    raster.SetGeoTransform((col * 10, 10, 0, (10_000_000 if south else 0) - row * 10, 0, -10))
    band = raster.GetRasterBand(1)
    band.SetNoDataValue(0)
    colors = gdal.ColorTable()
    for one in CLASSES:
        colors.SetColorEntry(one.id, (*bytes.fromhex(one.color[1:]), 255))
    band.SetColorTable(colors)
    band.SetCategoryNames(["", *(one.name for one in CLASSES)])
    band.WriteArray(archive.truth(zone, row, col, height, width))


def write_labels(archive: SampleArchive, bbox: Box, per_class: int, path: str) -> None:
    """Write points with the fields `class` (name) and `class_id`, as GeoJSON."""
    names = {one.id: one.name for one in CLASSES}
    features = [
        {
            "type": "Feature",
            "properties": {"class": names[point.class_id], "class_id": point.class_id},
            "geometry": {"type": "Point", "coordinates": [point.lon, point.lat]},
        }
        for point in archive.label_points(bbox, per_class)
    ]
    text = json.dumps({"type": "FeatureCollection", "features": features}, indent=1)
    Path(path).write_text(text + "\n", encoding="utf-8")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.archive", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bandwidth", type=float, help="bytes per second, of all bodies together")
    parser.add_argument("--bbox", type=_box, default=DEMO, metavar="W,S,E,N")
    parser.add_argument("--truth", metavar="FILE.tif", help="write the class map of the box")
    parser.add_argument("--labels", metavar="FILE.geojson", help="write label points of the box")
    parser.add_argument("--per-class", type=int, default=8)
    return parser.parse_args(_joined(arguments))


def _joined(arguments: Sequence[str]) -> List[str]:
    """Return the arguments with `--bbox -0.2,…` as `--bbox=-0.2,…`, which argparse understands."""
    joined: List[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--bbox":
            joined[-1] += "=" + argument
        else:
            joined.append(argument)
    return joined


def _box(text: str) -> Box:
    numbers = [float(part) for part in text.split(",")]
    if len(numbers) != 4 or numbers[0] >= numbers[2] or numbers[1] >= numbers[3]:
        raise argparse.ArgumentTypeError("W,S,E,N with W < E and S < N is wanted")
    return numbers[0], numbers[1], numbers[2], numbers[3]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
