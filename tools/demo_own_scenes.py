# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo's second part: simulated scenes of two areas, encoded and mapped in a real QGIS window."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, Dict, List

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
from osgeo import gdal

from tests.scenes import spectra
from tests.scenes.areas import AREAS, Area, Written, label_points, lonlat, write_area
from tools.desktop import perform

ENCODER = ROOT / "tools" / "demo_encoder" / "demo.onnx"
PER_CLASS = 8


def run(folder: Path) -> Dict[str, Any]:
    """Let a person encode and map two areas; return what came out, also in summary.json."""
    start = time.monotonic()
    written = [write_area(folder / "scenes", area) for area in AREAS]
    plan = {
        "pictures": str(folder / "pictures"),
        "encoder": str(ENCODER),
        "areas": [
            {"name": each.area.name, "images": str(each.images), "bbox": bbox(each.area),
             "map": str(map_of(folder, each))}
            for each in written
        ],
        "classes": classes(written[0].area),
        "head": "Instant",
    }  # fmt: skip
    settings = {
        "archive": "http://127.0.0.1:9",  # nobody: all is the person's own
        "cache_dir": folder / "cache",
        "labels_path": folder / "labels.gpkg",
        "output_path": map_of(folder, written[0]),
    }
    home = {"XDG_DATA_HOME": str(folder / "data")}
    facts = perform(folder, "own_scenes.own_scenes", plan, settings, **home)
    if "error" in facts:
        return facts
    judged = {each.area.name: judge(each, map_of(folder, each)) for each in written}
    summary = {"areas": judged, **facts, "seconds": round(time.monotonic() - start, 1)}
    (folder / "summary.json").write_text(json.dumps(summary, indent=1), "utf-8")
    return summary


def map_of(folder: Path, written: Written) -> Path:
    """Return where an area's map goes."""
    return folder / f"map_{written.area.name}.tif"


def bbox(area: Area) -> List[float]:
    """Return west, south, east, north of an area in degrees."""
    corners = [
        lonlat(area, row, col)
        for row in (area.row, area.row + area.height)
        for col in (area.col, area.col + area.width)
    ]
    lons, lats = zip(*corners)
    return [min(lons), min(lats), max(lons), max(lats)]


def classes(area: Area) -> List[Dict[str, Any]]:
    """Return the classes that an area has, with the places a person clicks."""
    points = label_points(area, PER_CLASS)
    return [
        {
            "name": each.name,
            "color": each.color,
            "points": [(p.lon, p.lat) for p in points if p.class_id == each.id],
        }
        for each in spectra.CLASSES
        if any(point.class_id == each.id for point in points)
    ]


def judge(written: Written, path: Path) -> Dict[str, Any]:
    """Compare a map with the area's truth, pixel by pixel."""
    raster, truth = gdal.Open(str(path)), gdal.Open(str(written.truth))
    here, there = raster.GetGeoTransform(), truth.GetGeoTransform()
    band = raster.GetRasterBand(1)
    mapped, wanted = band.ReadAsArray(), truth.ReadAsArray()
    names = band.GetCategoryNames()  # GDAL 3.6 has none before it has looked at its side file
    ids = {each.name: each.id for each in spectra.CLASSES}
    found = np.array([ids.get(name, 0) for name in names], np.uint8)[mapped]
    row, col = round((there[3] - here[3]) / -10), round((there[0] - here[0]) / 10)
    height, width = wanted.shape
    rows = slice(max(row, 0), min(row + height, found.shape[0]))
    cols = slice(max(col, 0), min(col + width, found.shape[1]))
    part = wanted[rows.start - row : rows.stop - row, cols.start - col : cols.stop - col]
    known = (found[rows, cols] > 0) & np.isin(part, [ids.get(name, 0) for name in names])
    return {
        "accuracy_against_truth": round(float((found[rows, cols] == part)[known].mean()), 4),
        "pixels": int(part.size),
        "classified_pixels": int((found[rows, cols] > 0).sum()),
    }


def missing(folder: Path) -> List[str]:
    """Return the names of what has to be there and is not."""
    names = [f"map_{area.name}.tif" for area in AREAS] + ["labels.gpkg", "summary.json"]
    return [name for name in names if not (folder / name).exists()]


def tell(summary: Dict[str, Any]) -> None:
    """Print what a person wants to know."""
    for name, facts in summary["areas"].items():
        print(
            f"{name}: {100 * facts['accuracy_against_truth']:.1f} % of "
            f"{facts['classified_pixels']:,} pixels are right"
        )
    for name, step in summary["steps"].items():
        print(f"{name:<16} {step['seconds']:6.1f} s   longest gap {step['longest_gap_ms']:6.1f} ms")
    print(f"Peak memory in MB: {summary['memory']}")
