# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run the main job in a real QGIS window against the sample archive and say what came out.

Everything goes to build/demo/: maps, labels, head, a picture after each step, summary.json.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Tuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
from osgeo import gdal

from tests.archive.planted import Kind
from tests.archive.sample import SampleArchive
from tests.servers import RangeServer
from tools import demo_own_scenes
from tools.desktop import perform

OUT = ROOT / "build" / "demo"
BBOX = (0.105, 52.185, 0.145, 52.215)
DATASET, DATASET_KEY, YEAR, PER_CLASS = "TESSERA 1.1 (dClimate", "1.1-dclimate", 2024, 8
BYTES_PER_PIXEL = 132
STEPS = ("idle", "open", "look", "fetch", "label", "train", "classify")


def main() -> int:
    """Run it; return 0 when every step worked."""
    shutil.rmtree(OUT, ignore_errors=True)
    os.nice(10)  # the archive stands for a machine elsewhere: it gets what QGIS leaves
    summary = run(OUT)
    if "error" in summary:
        print(summary["error"], file=sys.stderr)
        print(f"The demo failed; see {OUT}", file=sys.stderr)
        return 1
    tell(summary)
    lacking = missing(OUT)
    print("\nOwn scenes, encoded with the demo encoder")
    own = demo_own_scenes.run(OUT / "own_scenes")
    if "error" in own:
        print(own["error"], file=sys.stderr)
        print(f"The demo failed; see {OUT / 'own_scenes'}", file=sys.stderr)
        return 1
    demo_own_scenes.tell(own)
    summary["own_scenes"] = own
    (OUT / "summary.json").write_text(json.dumps(summary, indent=1), "utf-8")
    lacking += demo_own_scenes.missing(OUT / "own_scenes")
    print(f"All of it is in {OUT}")
    if lacking:
        print(f"Missing: {', '.join(lacking)}", file=sys.stderr)
    return 1 if lacking else 0


def run(folder: Path) -> Dict[str, Any]:
    """Let a person do the main job; return what came out, also in summary.json."""
    archive = SampleArchive()
    plan = {
        "pictures": str(folder / "pictures"),
        "bbox": BBOX,
        "dataset": DATASET,
        "year": YEAR,
        "head": "MLP",
        "classes": classes(archive, BBOX),
    }
    start = time.monotonic()
    with RangeServer(archive) as server:
        settings = {
            "archive": server.url,
            "cache_dir": folder / "cache",
            "labels_path": folder / "labels.gpkg",
            "output_path": folder / "map.tif",
        }
        facts = perform(folder, "main_job.main_job", plan, settings)
        sent, requests = server.bytes_sent, len(server.log)
    if "error" in facts:
        return facts
    summary = {
        **judge(archive, folder / "map.tif"),
        "bytes_fetched": sent,
        "requests": requests,
        **facts,
        "seconds": round(time.monotonic() - start, 1),
    }
    summary["bytes_over_minimum"] = round(sent / (summary["pixels"] * BYTES_PER_PIXEL), 2)
    (folder / "summary.json").write_text(json.dumps(summary, indent=1), "utf-8")
    return summary


def classes(
    archive: SampleArchive, bbox: Tuple[float, float, float, float]
) -> List[Dict[str, Any]]:
    """Return the classes with the places a person clicks, all well inside the view."""
    west, south, east, north = bbox
    inner = (west + 0.002, south + 0.002, east - 0.002, north - 0.002)
    points = archive.label_points(inner, PER_CLASS)
    return [
        {
            "name": c.name,
            "color": c.color,
            "points": [(p.lon, p.lat) for p in points if p.class_id == c.id],
        }
        for c in archive.classes
    ]


def judge(archive: SampleArchive, path: Path) -> Dict[str, Any]:
    """Compare a map with the sample's ground truth, pixel by pixel."""
    raster = gdal.Open(str(path))
    band = raster.GetRasterBand(1)
    mapped = band.ReadAsArray()
    west, _, _, north, _, _ = raster.GetGeoTransform()
    names = band.GetCategoryNames()  # GDAL 3.6 has none before it has looked at its side file
    window = (31, round(-north / 10), round(west / 10), *mapped.shape)
    truth = archive.truth(*window)
    ids = {c.name: c.id for c in archive.classes}
    as_truth = np.array([ids.get(name, 0) for name in names], np.uint8)[mapped]
    known = (mapped > 0) & (archive.planted(*window) == Kind.SOUND)
    return {
        "accuracy_against_truth": round(float((as_truth == truth)[known].mean()), 4),
        "pixels": int(mapped.size),
        "classified_pixels": int((mapped > 0).sum()),
    }


def missing(folder: Path) -> List[str]:
    """Return the names of what has to be there and is not."""
    pictures = [f"pictures/{number:02d}-{name}.png" for number, name in enumerate(STEPS, 1)]
    head = f"labels_mlp_{DATASET_KEY}_{YEAR}.head"
    names = ["map.tif", "map_confidence.tif", "labels.gpkg", head, "summary.json", *pictures]
    return [name for name in names if not (folder / name).exists()]


def tell(summary: Dict[str, Any]) -> None:
    """Print what a person wants to know."""
    print(f"\nAccuracy against the ground truth: {100 * summary['accuracy_against_truth']:.1f} %")
    print(
        f"Pixels: {summary['pixels']:,}; fetched {summary['bytes_fetched'] / 1e6:.1f} MB "
        f"({summary['bytes_over_minimum']} x the minimum) in {summary['requests']} requests"
    )
    for name, step in summary["steps"].items():
        print(f"{name:<10} {step['seconds']:6.1f} s   longest gap {step['longest_gap_ms']:6.1f} ms")
    print(f"Peak memory in MB: {summary['memory']}")


if __name__ == "__main__":
    sys.exit(main())
