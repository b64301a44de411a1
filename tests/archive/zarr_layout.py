# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Zone grids and metadata of the published Zarr v3 stores, as the official builder writes them.

Layout A: groups `utmNN`, both hemispheres on EPSG:326NN (northings negative in the south), embeddings
(time, band, y, x). Layout B: groups `NNN` and `NNS`, each on its own EPSG, (time, northing, easting,
band), larger chunks. Metadata was compared with what geotessera 0.11.0 (zarr 3.4.2) writes.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from tests.archive.layout import DEPTH, PIXEL_M, transformer

SOUTH_M = 10_000_000

LATITUDES = {30: (60.9, 4.7), 31: (84.1, 0.0), 36: (62.4, -1.1)}
"""Top and bottom of the tiles of a zone, from which its origin and shape follow as in the builder.

Zone 31: a pixel window that was read from the production store shows Cambridge at row 355104, column
13728; of all tile edges only these (84.1 N for the rows, the equator for the columns) give that.
Zone 36: a corner of four shards falls 100 m north of the equator.
"""
_ELSEWHERE = (84.1, -60.0)


@dataclass(frozen=True)
class Grid:
    """The pixels of a group."""

    group: str
    zone: int
    epsg: int
    row: int
    """Of the zone grid (floor(-N / 10), N in EPSG:326zz): the first row's."""
    col: int
    height: int
    width: int
    rows: Tuple[int, int]
    """First and stop row, of the zone grid, that hold data here: a hemisphere of layout B."""

    @property
    def origin(self) -> Tuple[float, float]:
        """Easting and northing of the upper left corner in the group's CRS."""
        south = self.epsg >= 32700
        return float(self.col * PIXEL_M), float((SOUTH_M if south else 0) - self.row * PIXEL_M)


@dataclass(frozen=True)
class Array:
    """A sharded array; depth 0 is the scales."""

    name: str
    depth: int
    inner: int
    shard: int
    band_last: bool = False

    @property
    def side(self) -> int:
        """Inner chunks along a side of a shard."""
        return self.shard // self.inner


def arrays_a(depths: Sequence[int]) -> Tuple[Array, ...]:
    """Return the sharded arrays of layout A. `depths` are those beside 128."""
    sides = {4: 128, 16: 64}
    nested = [Array(f"embeddings_d{depth}", depth, sides[depth], 4096) for depth in depths]
    return (*nested, Array("embeddings", DEPTH, 32, 4096), Array("scales", 0, 32, 4096))


def arrays_b() -> Tuple[Array, ...]:
    """Return the sharded arrays of layout B."""
    codes = Array("embeddings", DEPTH, 256, 2048, band_last=True)
    return codes, Array("scales", 0, 256, 2048, band_last=True)


# ------------------------------------------------------------------------------------------- grids
def grid_a(zone: int) -> Grid:
    """Return the grid of `utmNN`: the union of its tiles, snapped outward, in whole shards."""
    top, bottom = LATITUDES.get(zone, _ELSEWHERE)
    row, stop_row, col, stop_col = _extent(zone, top, bottom)
    height = _whole(stop_row - row, 4096)
    width = _whole(stop_col - col, 4096)
    return Grid(f"utm{zone:02d}", zone, 32600 + zone, row, col, height, width, (row, row + height))


def grids_b(zone: int) -> Tuple[Grid, ...]:
    """Return the grids of `NNN` and, where there is land south of the equator, `NNS`.

    Both go past the equator (in whole shards, and the southern one by 48 rows at its top); what lies
    beyond belongs to the other.
    """
    top, bottom = LATITUDES.get(zone, _ELSEWHERE)
    row, stop_row, _, _ = _extent(zone, top, bottom)
    col, width = 15_000, 35 * 2048
    height = _whole(min(stop_row, 0) - row, 2048)
    north = Grid(f"{zone:02d}N", zone, 32600 + zone, row, col, height, width, (row, 0))
    if stop_row <= 0:
        return (north,)
    height = _whole(stop_row + 48, 2048)
    south = Grid(f"{zone:02d}S", zone, 32700 + zone, -48, col - 7, height, width, (0, height - 48))
    return north, south


def _extent(zone: int, top: float, bottom: float) -> Tuple[int, int, int, int]:
    """Return row, stop_row, col, stop_col of all tiles between two latitudes."""
    west, east = 6.0 * zone - 186, 6.0 * zone - 180
    widest = min(max(0.0, bottom), top)
    to_utm = transformer(4326, 32600 + zone)
    lat = [top, top, bottom, bottom, widest, widest]
    # The southernmost point of the lower edge is in its middle where it lies in the south.
    lon = [west, east] * 3
    e, n = to_utm.transform([*lon, (west + east) / 2], [*lat, bottom])
    return (
        -math.ceil(max(n) / PIXEL_M),
        -math.floor(min(n) / PIXEL_M),
        math.floor(min(e) / PIXEL_M),
        math.ceil(max(e) / PIXEL_M),
    )


def _whole(size: int, side: int) -> int:
    return -(-size // side) * side


# ---------------------------------------------------------------------------------------- metadata
def coordinates(
    grid: Grid, arrays: Sequence[Array], years: Sequence[int], *, band_last: bool
) -> Dict[str, NDArray[Any]]:
    """Return the one-dimensional arrays of a group by name."""
    east, north = grid.origin
    x = east + (np.arange(grid.width) + 0.5) * PIXEL_M
    y = north - (np.arange(grid.height) + 0.5) * PIXEL_M
    across, down = ("easting", "northing") if band_last else ("x", "y")
    found: Dict[str, NDArray[Any]] = {across: x, down: y}
    found["time"] = np.asarray(years, np.int64 if band_last else np.int32)
    for array in arrays:
        if array.depth:
            name = "band" if array.depth == DEPTH else f"band_d{array.depth}"
            found[name] = np.arange(array.depth, dtype=np.int32)
    return found


def coordinate_chunk(length: int) -> int:
    """Return how many numbers of a coordinate are in a chunk; it divides the length."""
    if length > 100_000:
        return length // 16
    return length // 2 if length > 10_000 else length


def coordinate_json(name: str, values: NDArray[Any]) -> Dict[str, Any]:
    """Return the metadata of a one-dimensional array."""
    chunk = (coordinate_chunk(len(values)),)
    fill = 0.0 if values.dtype.kind == "f" else 0
    codecs = _plain(values.dtype.itemsize)
    return _array((len(values),), str(values.dtype), chunk, fill, codecs, [name])


def sharded_json(array: Array, grid: Grid, times: int) -> Dict[str, Any]:
    """Return the metadata of a sharded array."""
    down, across = ("northing", "easting") if array.band_last else ("y", "x")
    names = ["time", down, across]
    shapes: List[Tuple[int, ...]] = [
        (times, grid.height, grid.width),
        (1, array.shard, array.shard),
    ]
    shapes.append((1, array.inner, array.inner))
    if array.depth:
        at = 3 if array.band_last else 1
        names.insert(at, "band" if array.depth == DEPTH else f"band_d{array.depth}")
        shapes = [(*one[:at], array.depth, *one[at:]) for one in shapes]
    size = 1 if array.depth else 4
    sharding = {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": list(shapes[2]),
            "codecs": _plain(size),
            "index_codecs": [_bytes(8), {"name": "crc32c"}],
            "index_location": "end",
        },
    }
    dtype, fill = ("int8", 0) if array.depth else ("float32", "Infinity")
    return _array(shapes[0], dtype, shapes[1], fill, [sharding], names)


def stretch_jsons(grid: Grid, times: int) -> Dict[str, Dict[str, Any]]:
    """Return the metadata of the statistics that a group of layout A has (here all fill)."""
    shards = (grid.height // 4096, grid.width // 4096)
    inf = "Infinity"
    table = {
        "stretch_stats_count": ((), "int64", 0, []),
        "stretch_stats_sum": ((DEPTH,), "float64", 0.0, ["band"]),
        "stretch_stats_prod": ((DEPTH, DEPTH), "float64", 0.0, ["band", "band2"]),
        "stretch_sample": ((20_000, DEPTH), "int8", 0, ["sample", "band"]),
        "stretch_sample_scales": ((20_000,), "float32", inf, ["sample"]),
        "stretch_sample_count": ((), "int64", 0, []),
        "stretch_stats_shards": (shards, "uint8", 0, ["shard_row", "shard_col"]),
    }
    return {
        name: _array(
            (times, *shape),
            dtype,
            (1, *shape),
            fill,
            _plain(np.dtype(dtype).itemsize),
            ["time", *names],
        )
        for name, (shape, dtype, fill, names) in table.items()
    }


def group_json(grid: Grid, extra: Mapping[str, Any], *, band_last: bool) -> Dict[str, Any]:
    """Return the metadata of a group."""
    east, north = grid.origin
    low, right = north - grid.height * PIXEL_M, east + grid.width * PIXEL_M
    attributes = {
        "spatial:dimensions": ["northing", "easting"] if band_last else ["y", "x"],
        "spatial:bbox": [east, low, right, north],
        "spatial:transform_type": "affine",
        "spatial:transform": [float(PIXEL_M), 0.0, east, 0.0, -float(PIXEL_M), north],
        "spatial:shape": [grid.height, grid.width],
        "spatial:registration": "pixel",
        "proj:code": f"EPSG:{grid.epsg}",
        **extra,
    }
    return {"attributes": attributes, "zarr_format": 3, "node_type": "group"}


def root_json(
    version: str, depths: Sequence[int], nodes: Mapping[str, Any], *, landmask: bool
) -> bytes:
    """Return the consolidated root zarr.json."""
    attributes: Dict[str, Any] = {
        "geoemb:type": "pixel",
        "geoemb:dimensions": DEPTH,
        "geoemb:model": f"https://geotessera.org/model/{version}",
        "geoemb:source_data": [
            "https://sentinel.esa.int/web/sentinel/missions/sentinel-1",
            "https://sentinel.esa.int/web/sentinel/missions/sentinel-2",
        ],
        "geoemb:data_type": "int8",
        "geoemb:gsd": 10.0,
        "geoemb:spatial_layout": "utm_zones",
        "geoemb:build_version": "0.11.0",
        "geoemb:quantization": {
            "method": "per_pixel_scale",
            "original_dtype": "float32",
            "quantized_dtype": "int8",
            "scale": {"type": "array", "array_name": "scales", "nodata": "+inf"},
        },
    }
    if depths:
        attributes["geoemb:depths"] = [
            *({"dimensions": depth, "array": f"embeddings_d{depth}"} for depth in depths),
            {"dimensions": DEPTH, "array": "embeddings"},
        ]
    if not landmask:
        attributes["geoemb:landmask"] = False
    consolidated = {"kind": "inline", "must_understand": False, "metadata": dict(nodes)}
    return encode(
        {
            "attributes": attributes,
            "zarr_format": 3,
            "consolidated_metadata": consolidated,
            "node_type": "group",
        }
    )


def encode(node: Any) -> bytes:
    """Return the JSON as it lies in the store."""
    return json.dumps(node, indent=2).encode()


def _array(
    shape: Sequence[int],
    dtype: str,
    chunk: Sequence[int],
    fill: Any,
    codecs: List[Any],
    names: Sequence[str],
) -> Dict[str, Any]:
    return {
        "shape": list(shape),
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunk)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill,
        "codecs": codecs,
        "attributes": {},
        "dimension_names": list(names),
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }


def _bytes(itemsize: int) -> Dict[str, Any]:
    """Return the codec `bytes`; one byte has no order, so none is named."""
    endian = {"configuration": {"endian": "little"}}
    return {"name": "bytes", **(endian if itemsize > 1 else {})}


def _plain(itemsize: int) -> List[Dict[str, Any]]:
    """Return the codecs of unsharded chunks and of inner ones; single bytes are shuffled by bits."""
    shuffle = "bitshuffle" if itemsize == 1 else "shuffle"
    settings = {"typesize": itemsize, "cname": "zstd", "clevel": 3, "shuffle": shuffle}
    return [_bytes(itemsize), {"name": "blosc", "configuration": {**settings, "blocksize": 0}}]
