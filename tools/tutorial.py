# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The analyst's loop in a real QGIS window: the tutorial's pictures, and what its test judges."""

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
from numpy.typing import NDArray
from osgeo import gdal, osr

from tests.archive import layout
from tests.archive.sample import SampleArchive, window_of
from tests.servers import RangeServer
from tools.desktop import perform

OUT = ROOT / "build" / "tutorial"
PLACE = Path("/var/tmp/tessera-tutorial")  # noqa: S108 - nothing secret, and gone at the end
"""Its files are here while it works: a short path in the pictures, and no folder that QGIS warns of."""

IMAGES = ROOT / "docs" / "images"
BBOX = (0.105, 52.185, 0.145, 52.215)
DATASET, YEAR, OTHER_YEAR = "TESSERA 1.1 (dClimate", 2024, 2023
PER_CLASS, PLACES, ROOMY_PX = 4, 15, 5
NAMES = {
    1: "Cropland",
    2: "Grassland",
    3: "Forest land",
    4: "Settlements",
    5: "Wetlands",
    6: "Bare ground",
}
"""What the sample's classes are called in the IPCC's scheme; the last was renamed by the person."""

SURVEY = {"arable": 1, "meadow": 2, "Forest land": 3, "houses": 4}
"""What another survey calls classes, as the person maps them."""

PICTURES = (
    "area", "fetched", "similar", "live", "uncertainty", "next", "import", "problems", "matrix",
    "compare", "map", "explore",
)  # fmt: skip
MOST_BYTES = 200_000
COLORS = (256, 128, 64, 32)

Box = Tuple[float, float, float, float]
Place = Tuple[float, float]


def run(folder: Path, *, pictures: bool = False) -> Dict[str, Any]:
    """Let the analyst work; return what came out. Pictures of the tutorial go to a folder of it."""
    folder.mkdir(parents=True, exist_ok=True)
    archive = SampleArchive()
    start = time.monotonic()
    plan = plan_of(archive, folder)
    if pictures:
        plan["tutorial"] = str(folder / "tutorial")
    with RangeServer(archive) as server:
        settings = {
            "archive": server.url,
            "cache_dir": folder / "cache",
            "labels_path": plan["labels"],
            "output_path": plan["map"],
        }
        facts = perform(folder, "analyst.analyst", plan, settings)
    facts["seconds"] = round(time.monotonic() - start, 1)
    (folder / "summary.json").write_text(json.dumps(facts, indent=1), "utf-8")
    return facts


def plan_of(archive: SampleArchive, folder: Path) -> Dict[str, Any]:
    """Return what the analyst sets out to do: places, words, files."""
    west, south, east, north = BBOX
    inner = (west + 0.003, south + 0.003, east - 0.003, north - 0.003)
    clicked, seen = archive.label_points(inner, PER_CLASS), archive.label_points(inner, PLACES, 1)
    write_land(archive, folder / "land.tif")
    points = {
        name: [(p.lon, p.lat) for p in clicked if p.class_id == number]
        for number, name in NAMES.items()
    }
    survey = write_survey(archive, inner, points, folder / "survey.geojson")
    return {
        "bbox": BBOX,
        "dataset": DATASET,
        "year": YEAR,
        "other_year": OTHER_YEAR,
        "names": NAMES,
        "land": str(folder / "land.tif"),
        "labels": str(folder / "labels.gpkg"),
        "map": str(folder / "map.tif"),
        "points": points,
        "places": [(p.lon, p.lat, NAMES[p.class_id]) for p in seen],
        "roomy": {name: roomy(archive, inner, number) for number, name in NAMES.items()},
        "least_live": 0.65,
        "least_map": 0.75,
        "kinds": 5,
        **survey,
    }


def write_land(archive: SampleArchive, path: Path) -> None:
    """Write the true classes of somewhat more than the area."""
    west, south, east, north = BBOX
    zone, row, col, height, width = window_of(
        (west - 0.02, south - 0.02, east + 0.02, north + 0.02)
    )
    raster = gdal.GetDriverByName("GTiff").Create(str(path), width, height, 1, gdal.GDT_Byte)
    raster.SetGeoTransform((col * 10.0, 10.0, 0.0, -row * 10.0, 0.0, -10.0))
    utm = osr.SpatialReference()
    utm.ImportFromEPSG(32600 + zone)
    raster.SetProjection(utm.ExportToWkt())
    raster.GetRasterBand(1).WriteArray(archive.truth(zone, row, col, height, width))
    raster = None


def roomy(archive: SampleArchive, box: Box, number: int) -> Place:
    """Return the middle of a square of one class, large enough to draw in."""
    zone, row, col, height, width = window_of(box)
    same = archive.truth(zone, row, col, height, width) == number
    edge = 2 * ROOMY_PX + 1
    windows: NDArray[np.bool_] = np.lib.stride_tricks.sliding_window_view(same, (edge, edge))
    found = np.argwhere(windows.all((2, 3)))
    if not len(found):
        raise ValueError(f"no room for class {number}")
    r, c = found[len(found) // 2] + ROOMY_PX + 0.5
    lon, lat = layout.lonlat(zone, np.array([row + r]), np.array([col + c]))
    return float(lon[0]), float(lat[0])


def write_survey(
    archive: SampleArchive, box: Box, points: Dict[str, List[Place]], path: Path
) -> Dict[str, Any]:
    """Write labels of another survey, with what needs a look; return what the plan says of it.

    One of its places has a label of another class already, one is of another year, and some are of
    clouds, which nobody wants.
    """
    rows = []
    for point in archive.label_points(box, 5, seed=2):
        words = next((w for w, number in SURVEY.items() if number == point.class_id), "cloud")
        rows.append({"cover": words, "seen": YEAR, "at": (point.lon, point.lat)})
    rows[0]["seen"] = OTHER_YEAR
    wrong = points[NAMES[3]][0]
    rows.append({"cover": "houses", "seen": YEAR, "at": wrong})
    features = [
        {
            "type": "Feature",
            "properties": {"cover": each["cover"], "seen": each["seen"]},
            "geometry": {"type": "Point", "coordinates": each["at"]},
        }
        for each in rows
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), "utf-8")
    becomes = {words: NAMES[number] for words, number in SURVEY.items()}
    return {
        "survey": str(path),
        "year_field": "seen",
        "becomes": {**becomes, "cloud": "Leave out"},
        "imported": sum(each["cover"] != "cloud" for each in rows),
        "conflict": "Settlements",
    }


def keep(picture: Path, out: Path) -> int:
    """Write a picture with as many colours as make a small file; return its size in bytes.

    Colours that are frequent (of the interface) stay as they are.
    """
    rgb = np.ascontiguousarray(np.moveaxis(gdal.Open(str(picture)).ReadAsArray()[:3], 0, -1))
    whole = rgb.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    found, where, counts = np.unique(whole, return_inverse=True, return_counts=True)
    for number in COLORS:
        palette = colors_of(found, counts, number)
        index = nearest(found, palette)[where].reshape(whole.shape)
        write_png(index, palette, out)
        if out.stat().st_size < MOST_BYTES:
            break
    return out.stat().st_size


def parts(colors: NDArray[np.uint32]) -> NDArray[np.int32]:
    """Return red, green and blue of colours as numbers. Shapes: (n,) to (n, 3)."""
    return np.stack([colors >> shift & 255 for shift in (16, 8, 0)], -1).astype(np.int32)


def colors_of(
    found: NDArray[np.uint32], counts: NDArray[np.intp], number: int
) -> NDArray[np.int32]:
    """Return the most frequent colours, and as many more by halving the boxes of the others."""
    order = np.argsort(-counts, kind="stable")
    frequent = min(number // 2, len(order))
    boxes = [parts(found[order[frequent:]])] if len(order) > frequent else []
    weights = [counts[order[frequent:]].astype(np.float64)] if boxes else []
    while boxes and len(boxes) < number - frequent:
        spans = [np.ptp(box, axis=0).max() * weight.sum() for box, weight in zip(boxes, weights)]
        largest = int(np.argmax(spans))
        box, weight = boxes[largest], weights[largest]
        if len(box) < 2:
            break
        rows = np.argsort(box[:, int(np.argmax(np.ptp(box, axis=0)))], kind="stable")
        middle = int(np.searchsorted(np.cumsum(weight[rows]), weight.sum() / 2))
        middle = min(max(middle, 1), len(rows) - 1)
        halves = rows[:middle], rows[middle:]
        boxes[largest], weights[largest] = box[halves[0]], weight[halves[0]]
        boxes.append(box[halves[1]])
        weights.append(weight[halves[1]])
    means = [np.average(box, axis=0, weights=weight) for box, weight in zip(boxes, weights)]
    return (
        np.concatenate([parts(found[order[:frequent]]), *(mean[None] for mean in means)])
        .round()
        .astype(np.int32)
    )


def nearest(found: NDArray[np.uint32], palette: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Return the index of the palette's nearest colour."""
    result = np.empty(len(found), np.uint8)
    for start in range(0, len(found), 4096):
        piece = parts(found[start : start + 4096])
        apart = ((piece[:, None] - palette[None]) ** 2).sum(-1)
        result[start : start + 4096] = apart.argmin(1)
    return result


def write_png(index: NDArray[np.uint8], palette: NDArray[np.int32], out: Path) -> None:
    """Write a picture of at most 256 colours."""
    picture = gdal.GetDriverByName("MEM").Create("", *index.shape[::-1], 1, gdal.GDT_Byte)
    table = gdal.ColorTable()
    for number, color in enumerate(palette.tolist()):
        table.SetColorEntry(number, (*color, 255))
    picture.GetRasterBand(1).SetRasterColorTable(table)
    picture.GetRasterBand(1).WriteArray(index)
    gdal.GetDriverByName("PNG").CreateCopy(str(out), picture, options=["ZLEVEL=9"])
    Path(f"{out}.aux.xml").unlink(missing_ok=True)


def main() -> int:
    """Run it and put the pictures into the docs; return 0 when every step worked."""
    os.nice(10)  # the archive stands for a machine elsewhere: it gets what QGIS leaves
    shutil.rmtree(PLACE, ignore_errors=True)
    facts = run(PLACE, pictures=True)
    shutil.rmtree(OUT, ignore_errors=True)
    shutil.copytree(PLACE, OUT, ignore=shutil.ignore_patterns("cache", "profile"))
    shutil.rmtree(PLACE)
    if "error" in facts:
        print(facts["error"], file=sys.stderr)
        print(f"The tutorial failed; see {OUT}", file=sys.stderr)
        return 1
    for name, step in facts["steps"].items():
        print(f"{name:<16} {step['seconds']:6.1f} s   longest gap {step['longest_gap_ms']:6.1f} ms")
    for name in PICTURES:
        size = keep(OUT / "tutorial" / f"{name}.png", IMAGES / f"tutorial-{name}.png")
        print(f"tutorial-{name}.png  {size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
