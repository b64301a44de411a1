# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The zarr library reads from a server and compares with what was expected.

    python zarr_client.py URL FOLDER

Started by check_zarr.py in a Python that has zarr 3; it knows nothing of ours. With geotessera there,
its reader is asked too, and its builder's metadata and shards are compared with those served.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
import zarr  # type: ignore[import-not-found]

try:
    import geotessera  # type: ignore[import-not-found]
    from geotessera import zarr as builder
    from geotessera.store import (  # type: ignore[import-not-found]
        CLIENT_OPTIONS,
        GeoTesseraZarr,
        zarr_store,
    )

    # Read at every opening; without it only https is let through.
    CLIENT_OPTIONS["allow_http"] = True
except ImportError:
    geotessera = None

SIDE, INNER = 16, 8


def run_client(url: str, folder: Path) -> int:
    """Compare everything; 0 when all is as expected."""
    warnings.simplefilter("ignore")
    theirs = f", geotessera {geotessera.__version__}" if geotessera else ""
    print(f"zarr {zarr.__version__}{theirs} on Python {sys.version.split()[0]}")
    windows = json.loads((folder / "windows.json").read_text(encoding="utf-8"))
    problems = compare_shard(folder)
    for store in dict.fromkeys(window["store"] for window in windows):
        mine = [window for window in windows if window["store"] == store]
        location = f"{url}/zarr/{store}"
        problems += compare_windows(location, folder, mine)
        if geotessera and mine[0]["group"].startswith("utm"):
            problems += compare_reader(location, folder, mine)
            problems += compare_metadata(location, mine[0])
    print("\n".join(problems), end="\n" if problems else "")
    return int(bool(problems))


def opened(location: str) -> Any:
    """Open a store over HTTP as this Python can."""
    if geotessera:
        return zarr.open_group(zarr_store(location), mode="r", zarr_format=3)
    from zarr.storage import FsspecStore  # type: ignore[import-not-found]

    return zarr.open_group(FsspecStore.from_url(location), mode="r", zarr_format=3)


# ------------------------------------------------------------------------------------------ arrays
def compare_windows(location: str, folder: Path, windows: List[Dict[str, Any]]) -> List[str]:
    """Read every window in every depth and return what differs."""
    root = opened(location)
    problems: List[str] = []
    pixels = written = 0
    for window in windows:
        group = root[window["group"]]
        codes, scales = expected(folder, window)
        found = [
            f"{window['path']} {name}"
            for name, got, want in read_window(group, window, codes, scales)
            if got.tobytes() != want.tobytes() or got.shape != want.shape
        ]
        problems += found
        pixels += scales.size
        written += window["written"]
    print(
        f"{location.rsplit('/', 1)[1]}: {len(windows)} windows, {pixels} px, {written} written: "
        + ("; ".join(problems) or "as expected, bit for bit")
    )
    return problems


def read_window(group: Any, window: Dict[str, Any], codes: Any, scales: Any) -> Any:
    """Yield (array name, what came, what should come)."""
    time = group["time"][:].tolist().index(window["year"])
    rows, cols = place(group, window["window"])
    yield "scales", group["scales"][time, rows, cols], scales
    for depth in window["depths"]:
        name = "embeddings" if depth == 128 else f"embeddings_d{depth}"
        array = group[name]
        if list(array.metadata.dimension_names)[1] == "northing":
            came = array[time, rows, cols, :]
        else:
            came = array[time, :, rows, cols].transpose(1, 2, 0)
        yield name, np.ascontiguousarray(came), np.ascontiguousarray(codes[..., :depth])


def place(group: Any, window: List[int]) -> Tuple[slice, slice]:
    """Return where a window of the zone grid lies, from the coordinates and not from the transform."""
    x, y = ("easting", "northing") if "easting" in group else ("x", "y")
    epsg = int(group.attrs["proj:code"].split(":")[1])
    top = float(group[y][:1][0]) + 5 - (10_000_000 if epsg >= 32700 else 0)
    left = float(group[x][:1][0]) - 5
    transform = list(group.attrs["spatial:transform"])
    if transform[2] != left or transform[5] != float(group[y][:1][0]) + 5:
        raise ValueError(f"{group.path}: transform {transform} and coordinates differ")
    if group[y][-1:][0] != group[y][:1][0] - 10 * (group[y].shape[0] - 1):
        raise ValueError(f"{group.path}: the last {y} is wrong")
    row, col, height, width = window
    r, c = row + round(top / 10), col - round(left / 10)
    return slice(r, r + height), slice(c, c + width)


def expected(folder: Path, window: Dict[str, Any]) -> Tuple[Any, Any]:
    """Return the codes and scales that should come."""
    path = folder / window["path"]
    return np.load(f"{path}_codes.npy", mmap_mode="r"), np.load(f"{path}_scales.npy")


# -------------------------------------------------------------------------------------- geotessera
def compare_reader(location: str, folder: Path, windows: List[Dict[str, Any]]) -> List[str]:
    """Let geotessera read the middle of every area that has data, in every depth."""
    client = GeoTesseraZarr(location)
    problems, count = [], 0
    if list(client.years) != sorted({window["year"] for window in windows}):
        problems.append(f"{location}: years {client.years}")
    for window in windows:
        west, south, east, north = window["box"]
        # Within one zone, as this reader serves the zone of the middle alone.
        zone = int(window["group"][3:])
        west, east = max(west, 6 * zone - 186 + 1e-6), min(east, 6 * zone - 180 - 1e-6)
        codes, scales = expected(folder, window)
        for depth in window["depths"]:
            box = (west, south, east, north)
            got, got_scales, transform, crs = client.read_region_quantized(
                box, window["year"], depth=depth
            )
            row = round(-transform.f / 10) - window["window"][0]
            col = round(transform.c / 10) - window["window"][1]
            here = np.s_[row : row + got.shape[0], col : col + got.shape[1]]
            same = np.array_equal(got, codes[here][..., :depth]) and (
                got_scales.tobytes() == scales[here].tobytes()
            )
            count += 1
            if not same or crs != f"EPSG:{32600 + zone}":
                problems.append(f"geotessera {window['path']} depth {depth}")
    print(f"  geotessera reads {count} regions: {'; '.join(problems) or 'as expected'}")
    return problems


def compare_metadata(location: str, window: Dict[str, Any]) -> List[str]:
    """Compare a group's zarr.json files with those that geotessera's builder writes."""
    root = opened(location)
    served = root[window["group"]]
    transform, shape = served.attrs["spatial:transform"], served.attrs["spatial:shape"]
    zone, years = int(window["group"][3:]), served["time"][:].tolist()
    grid = builder.UnifiedZoneGrid(
        zone, years, 32600 + zone, transform[2], transform[5], shape[1], shape[0]
    )
    depths = tuple(depth for depth in window["depths"] if depth < 128)
    with tempfile.TemporaryDirectory() as folder:
        zarr.open_group(folder, mode="w", zarr_format=3)
        store = builder.StoreLocation.resolve(folder)
        theirs = builder._create_zone_group(grid, store, 20_000, depths)
        problems = compare_nodes(served, theirs)
    print(f"  metadata of {window['group']}: {'; '.join(problems) or 'as geotessera writes them'}")
    return problems


def compare_nodes(served: Any, theirs: Any) -> List[str]:
    """Return the arrays and attributes that differ; chunking of coordinates is left to the writer."""
    problems = []
    names = sorted(theirs.array_keys())
    if sorted(served.array_keys()) != names:
        problems.append(f"arrays {sorted(served.array_keys())} instead of {names}")
    for name in names:
        one, other = (group[name].metadata.to_dict() for group in (served, theirs))
        if len(one["shape"]) == 1:
            one.pop("chunk_grid"), other.pop("chunk_grid")
        if repr(one) != repr(other):
            problems.append(f"{name}: {one} instead of {other}")
    attributes = dict(theirs.attrs)
    attributes.pop("zarr_conventions")
    if dict(served.attrs) != attributes:
        problems.append(f"attributes {dict(served.attrs)} instead of {attributes}")
    return problems


# ------------------------------------------------------------------------------------------ shards
def compare_shard(folder: Path) -> List[str]:
    """Let zarr write the shard that we wrote: order, index and checksum should be the same."""
    from zarr.codecs import BloscCodec  # type: ignore[import-not-found]

    values = np.load(folder / "shard_values.npy")
    ours = (folder / "shard.bin").read_bytes()
    with tempfile.TemporaryDirectory() as place:
        array = zarr.create_array(
            place,
            shape=values.shape,
            chunks=(4, INNER, INNER),
            shards=values.shape,
            dtype=np.int8,
            fill_value=0,
            compressors=BloscCodec(cname="zstd", clevel=3),
        )
        array[:] = values
        theirs = (Path(place) / "c/0/0/0").read_bytes()
    orders = [layout_of(data) for data in (ours, theirs)]
    same = "bytes too" if ours == theirs else "compressed bytes differ"
    print(f"order of {len(orders[0])} chunks in a shard: {orders[0] == orders[1]}, {same}")
    return [] if orders[0] == orders[1] else ["the order of chunks in a shard"]


def layout_of(data: bytes) -> List[int]:
    """Return the inner chunks that are there, in the order they lie in the file."""
    index = np.frombuffer(data[-SIDE * SIDE * 16 - 4 : -4], "<u8").reshape(-1, 2)
    there = np.flatnonzero(index[:, 0] != 2**64 - 1)
    return [int(one) for one in there[np.argsort(index[there, 0])]]


if __name__ == "__main__":
    sys.exit(run_client(sys.argv[1], Path(sys.argv[2])))
