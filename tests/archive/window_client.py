# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The official client writes a store, and reads the windows that the engine has read.

    python window_client.py write FOLDER      FOLDER/official.zarr from FOLDER/write.json
    python window_client.py compare FOLDER    what the engine made of the windows of windows.json

Started by check_windows.py in the Python that has geotessera; it knows nothing of ours.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List

import geotessera  # type: ignore[import-not-found]
import numpy as np
import zarr  # type: ignore[import-not-found]
from geotessera import zarr as builder
from geotessera.store import CLIENT_OPTIONS, GeoTesseraZarr  # type: ignore[import-not-found]

# Read at every opening; without it only https is let through.
CLIENT_OPTIONS["allow_http"] = True

PIXEL_M = 10


def write(folder: Path) -> int:
    """Let geotessera's builder make a store, and zarr put the windows into it."""
    wanted = json.loads((folder / "write.json").read_text(encoding="utf-8"))
    path = folder / "official.zarr"
    landmasks = SimpleNamespace(available_landmasks=[tuple(one) for one in wanted["tiles"]])
    builder.init_store(
        landmasks,
        path,
        wanted["years"],
        geotessera_version=geotessera.__version__,
        model_version="2.0",
        matryoshka_depths=wanted["depths"],
    )
    root = zarr.open_group(path, mode="r+", zarr_format=3)
    for window in wanted["windows"]:
        group = root[f"utm{window['zone']:02d}"]
        rows, cols = place(group, window)
        codes = np.load(folder / f"{window['path']}_codes.npy")
        for depth in (*wanted["depths"], 128):
            name = "embeddings" if depth == 128 else f"embeddings_d{depth}"
            prefix = codes[..., :depth].transpose(2, 0, 1)
            group[name][window["time"], :, rows, cols] = prefix
        group["scales"][window["time"], rows, cols] = np.load(
            folder / f"{window['path']}_scales.npy"
        )
    builder.consolidate_store(path, merge_registry=False)
    shards = [one for one in path.rglob("c/*/**/*") if one.is_file()]
    print(f"geotessera {geotessera.__version__} wrote a store of {len(shards)} shards")
    return 0


def place(group: Any, window: Dict[str, Any]) -> Any:
    """Return where a window lies in the arrays of a group."""
    transform = group.attrs["spatial:transform"]
    row = window["row"] + round(transform[5] / PIXEL_M)
    col = window["col"] - round(transform[2] / PIXEL_M)
    return slice(row, row + window["height"]), slice(col, col + window["width"])


def compare(folder: Path) -> int:
    """Compare every window, as floats, bit for bit; 0 when all are the same."""
    print(f"geotessera {geotessera.__version__} on Python {sys.version.split()[0]}")
    problems: List[str] = []
    for window in json.loads((folder / "windows.json").read_text(encoding="utf-8")):
        theirs = read(window)
        ours = np.load(folder / f"{window['path']}.npy")
        told = different(ours, theirs)
        valid = int(np.isfinite(ours[..., 0]).sum())
        print(
            f"{window['title']}: {ours.shape[0]} x {ours.shape[1]} x {ours.shape[2]}, {valid} valid: "
            f"{told or 'the same'}"
        )
        problems += [told] if told else []
    return int(bool(problems))


def read(window: Dict[str, Any]) -> Any:
    """Return a window as geotessera reads it, (H, W, D) float32, NaN where it has nothing."""
    zone = GeoTesseraZarr(window["location"]).open_zone(zone=window["zone"])
    west, north = window["col"] * PIXEL_M, -window["row"] * PIXEL_M
    east, south = west + window["width"] * PIXEL_M, north - window["height"] * PIXEL_M
    # from the first pixel's centre to the last one's: neither more nor fewer pixels
    bounds = (west + 5, south + 5, east - 5, north - 5)
    name = "embeddings" if window["depth"] == 128 else f"embeddings_d{window['depth']}"
    values, transform = zone.tessera.read_region(bounds, window["year"], array=name)
    if (transform.c, transform.f) != (west, north):
        raise ValueError(f"{window['title']}: {transform} is elsewhere")
    return values


def different(ours: Any, theirs: Any) -> str:
    """Return what differs, in words; a vector of zeros is a number to them and nodata to us."""
    if ours.shape != theirs.shape:
        return f"{theirs.shape} instead of {ours.shape}"
    theirs = theirs.copy()
    theirs[~theirs.any(axis=-1)] = np.nan
    same = (ours.view(np.uint32) == theirs.view(np.uint32)) | (np.isnan(ours) & np.isnan(theirs))
    wrong = int((~same.all(axis=-1)).sum())
    return f"{wrong} pixels differ" if wrong else ""


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit({"write": write, "compare": compare}[sys.argv[1]](Path(sys.argv[2])))
