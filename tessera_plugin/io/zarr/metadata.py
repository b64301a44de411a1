# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a store says of itself: groups, arrays, chunks, codecs, place and years; nothing assumed.

Specification: Zarr v3 core with the codecs bytes, blosc, zstd, gzip, crc32c and sharding_indexed.
What is not understood is refused by its name, never guessed.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ...errors import DepthNotOffered, StoreUnusable
from ...values import PIXEL_M, SOUTH_OFFSET_M

Document = Mapping[str, Any]
Lookup = Callable[[str], Optional[Document]]
"""Gives the metadata of a node by its path, `utm31/scales`; None where there is none."""

Values = Callable[["ArrayMeta", int], NDArray[Any]]
"""Gives up to so many first values of a small one-dimensional array."""

FULL_DEPTH = 128
CODES_DTYPE = "int8"
SCALES_DTYPE = "float32"

_AXES = {"time": "time", "year": "time", "t": "time", "y": "y", "northing": "y", "x": "x",
         "easting": "x", "band": "band", "bands": "band"}  # fmt: skip
_BAND = re.compile(r"band_d\d+")
_EPSG = re.compile(r"EPSG:(32[67])(\d\d)", re.IGNORECASE)
_SINCE = re.compile(r"(years|days|hours|minutes|seconds) since (\d{4})-(\d\d?)-(\d\d?)(?!\d).*")
_ITEM_BYTES = {"int8": 1, "uint8": 1, "int16": 2, "int32": 4, "int64": 8, "float32": 4,
               "float64": 8}  # fmt: skip
_UNITS = {"days": 86_400, "hours": 3600, "minutes": 60, "seconds": 1}
_YEARS = range(1900, 2201)
_GRID_TOLERANCE_M = 1e-3


@dataclass(frozen=True)
class ChunkCodec:
    """How the bytes of a chunk are packed."""

    name: str
    """`blosc`, `zstd`, `gzip`, or empty where they are plain."""
    cname: str = ""
    """Blosc's own compressor."""
    little: bool = True
    crc: bool = False
    """Whether a CRC-32C of four bytes follows."""


@dataclass(frozen=True)
class ArrayMeta:
    """An array of a store."""

    path: str
    shape: Tuple[int, ...]
    axes: Tuple[str, ...]
    """`time`, `band`, `y`, `x` in the order of the array."""
    dtype: str
    outer: Tuple[int, ...]
    """Shape of an object: a shard, or a chunk where there are no shards."""
    inner: Tuple[int, ...]
    """Shape of a chunk."""
    codec: ChunkCodec
    sharded: bool
    index_at_end: bool
    index_crc: bool
    fill: float
    key_prefix: str
    separator: str

    def key(self, **at: int) -> str:
        """Return the path of an object in the store, by its position along the axes; else 0."""
        numbers = [str(at.get(axis, 0)) for axis in self.axes]
        parts = [self.key_prefix, *numbers] if self.key_prefix else numbers
        return f"{self.path}/{self.separator.join(parts)}"

    def size(self, axis: str) -> int:
        """Return the length along an axis."""
        return self.shape[self.axes.index(axis)]

    def outer_size(self, axis: str) -> int:
        """Return the length of an object along an axis."""
        return self.outer[self.axes.index(axis)]

    def inner_size(self, axis: str) -> int:
        """Return the length of a chunk along an axis."""
        return self.inner[self.axes.index(axis)]

    @functools.cached_property
    def inner_grid(self) -> Tuple[int, ...]:
        """Chunks of a shard along each axis."""
        return tuple(whole // part for whole, part in zip(self.outer, self.inner))

    @functools.cached_property
    def numpy_dtype(self) -> np.dtype[Any]:
        """Type of an item, with its byte order."""
        return np.dtype(self.dtype).newbyteorder("<" if self.codec.little else ">")

    @functools.cached_property
    def chunk_bytes(self) -> int:
        """Bytes of a chunk when unpacked."""
        return math.prod(self.inner) * _ITEM_BYTES[self.dtype]

    @functools.cached_property
    def index_bytes(self) -> int:
        """Bytes of a shard's index."""
        return 16 * math.prod(self.inner_grid) + (4 if self.index_crc else 0)


@dataclass(frozen=True)
class Group:
    """The embeddings of one depth and year in one group of a store."""

    name: str
    zone: int
    row: int
    """Row of the zone grid where the arrays start."""
    col: int
    codes: ArrayMeta
    scales: ArrayMeta
    time: int
    """Position of the year."""
    nan_is_nodata: bool
    """NaN scales are nodata, not water."""
    cell: Tuple[int, int]
    """Height and width of what is fetched at once: a chunk of the codes or of the scales."""
    identity: str
    """Tells this layout from any other."""

    @functools.cached_property
    def shape(self) -> Tuple[int, int]:
        """Height and width of the arrays in pixels."""
        return self.codes.size("y"), self.codes.size("x")

    @functools.cached_property
    def shard(self) -> Tuple[int, int]:
        """Height and width of a shard in pixels."""
        return self.codes.outer_size("y"), self.codes.outer_size("x")


@dataclass(frozen=True)
class Root:
    """The root of a store."""

    store: str
    attributes: Mapping[str, Any]
    nodes: Optional[Mapping[str, Document]]
    """All nodes by their path, where the metadata are consolidated."""

    def group_names(self, zone: int) -> Tuple[str, ...]:
        """Return the names that a zone's groups may have, or have where that is known."""
        names = (f"utm{zone:02d}", f"{zone:02d}N", f"{zone:02d}S")
        if self.nodes is None:
            return names
        return tuple(name for name in names if name in self.nodes)

    def some_zone(self) -> Optional[str]:
        """Return the name of any group of a zone, where it is known."""
        pattern = re.compile(r"utm\d\d|\d\d[NS]")
        return min(filter(pattern.fullmatch, self.nodes or ()), default=None)


def parse_root(store: str, data: bytes) -> Root:
    """Return what the `zarr.json` of a store's root says. Raises: StoreUnusable."""
    node = parse_node(store, "zarr.json", data)
    if node.get("node_type") != "group":
        raise StoreUnusable(store, "its root is not a group")
    attributes = node.get("attributes") or {}
    if not isinstance(attributes, dict):
        raise StoreUnusable(store, "its attributes can't be read")
    method = (attributes.get("geoemb:quantization") or {}).get("method", "per_pixel_scale")
    if method != "per_pixel_scale":
        raise StoreUnusable(store, f"its quantisation {method!r} is not known")
    consolidated = node.get("consolidated_metadata") or {}
    nodes = consolidated.get("metadata") if isinstance(consolidated, dict) else None
    if nodes is not None and not isinstance(nodes, dict):
        raise StoreUnusable(store, "its consolidated metadata can't be read")
    return Root(store, attributes, nodes)


def parse_node(store: str, path: str, data: bytes) -> Dict[str, Any]:
    """Return the metadata of a node. Raises: StoreUnusable."""
    try:
        node = json.loads(data)
    except ValueError as error:
        raise StoreUnusable(store, f"{path} can't be read") from error
    if not isinstance(node, dict) or node.get("zarr_format") != 3:
        raise StoreUnusable(store, f"{path} is not of Zarr version 3")
    return node


# --- arrays


def parse_array(store: str, path: str, node: Document) -> ArrayMeta:
    """Return what the metadata of an array say. Raises: StoreUnusable."""
    try:
        return _array(store, path, node)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise StoreUnusable(store, f"the metadata of {path} can't be read") from error


def _array(store: str, path: str, node: Document) -> ArrayMeta:
    def refuse(reason: str) -> StoreUnusable:
        return StoreUnusable(store, f"{path} {reason}")

    if node.get("node_type") != "array":
        raise refuse("is not an array")
    if node["data_type"] not in _ITEM_BYTES:
        raise refuse(f"has the data type {node['data_type']!r}")
    if node.get("storage_transformers"):
        raise refuse("has storage transformers")
    grid = node["chunk_grid"]
    if grid["name"] != "regular":
        raise refuse(f"has the chunk grid {grid['name']!r}")
    shape = tuple(int(size) for size in node["shape"])
    outer = tuple(int(size) for size in grid["configuration"]["chunk_shape"])
    codecs = node["codecs"]
    sharded = bool(codecs) and codecs[0]["name"] == "sharding_indexed"
    inner, at_end, crc = outer, True, False
    if sharded:
        if len(codecs) > 1:
            raise refuse(f"packs its shards again with {codecs[1]['name']!r}")
        shards = codecs[0]["configuration"]
        inner = tuple(int(size) for size in shards["chunk_shape"])
        codecs = shards["codecs"]
        at_end = _index_at_end(shards.get("index_location", "end"), refuse)
        crc = _index_crc(shards["index_codecs"], refuse)
    if not len(shape) == len(outer) == len(inner) or min(*outer, *inner, 1) < 1:
        raise refuse("has chunks of another shape than its own")
    if any(whole % part for whole, part in zip(outer, inner)):
        raise refuse(f"has chunks {inner} that don't fill its shards {outer}")
    prefix, separator = _key_encoding(node.get("chunk_key_encoding"), refuse)
    return ArrayMeta(
        path=path,
        shape=shape,
        axes=_axes(node.get("dimension_names"), len(shape), refuse),
        dtype=str(node["data_type"]),
        outer=outer,
        inner=inner,
        codec=_chunk_codec(codecs, refuse),
        sharded=sharded,
        index_at_end=at_end,
        index_crc=crc,
        fill=_fill(node["fill_value"], refuse),
        key_prefix=prefix,
        separator=separator,
    )


_Refuse = Callable[[str], StoreUnusable]


def _axes(names: Optional[Sequence[str]], count: int, refuse: _Refuse) -> Tuple[str, ...]:
    if not names or len(names) != count:
        raise refuse("does not name its dimensions")
    axes = tuple("band" if _BAND.fullmatch(str(name)) else _AXES.get(str(name)) for name in names)
    known = tuple(axis for axis in axes if axis is not None)
    if len(known) < count:
        raise refuse(f"has the dimension {names[axes.index(None)]!r}")
    if len(set(known)) < count:
        raise refuse(f"has the dimensions {', '.join(map(str, names))}")
    return known


def _index_at_end(location: object, refuse: _Refuse) -> bool:
    if location not in ("start", "end"):
        raise refuse(f"has its shard index at {location!r}")
    return location == "end"


def _index_crc(codecs: Sequence[Document], refuse: _Refuse) -> bool:
    names = [codec["name"] for codec in codecs]
    if names not in (["bytes"], ["bytes", "crc32c"]):
        raise refuse(f"has a shard index packed with {', '.join(map(str, names))}")
    if (codecs[0].get("configuration") or {}).get("endian", "little") != "little":
        raise refuse("has a shard index in big-endian order")
    return len(names) > 1


def _chunk_codec(codecs: Sequence[Document], refuse: _Refuse) -> ChunkCodec:
    if not codecs or codecs[0]["name"] != "bytes":
        raise refuse(f"has the codec {codecs[0]['name'] if codecs else None!r}")
    little = (codecs[0].get("configuration") or {}).get("endian", "little") == "little"
    rest = list(codecs[1:])
    name = cname = ""
    if rest and rest[0]["name"] in ("blosc", "zstd", "gzip"):
        packer = rest.pop(0)
        name = str(packer["name"])
        cname = str((packer.get("configuration") or {}).get("cname", "")) if name == "blosc" else ""
    crc = bool(rest) and rest[0]["name"] == "crc32c"
    if crc:
        rest.pop(0)
    if rest:
        raise refuse(f"has the codec {rest[0]['name']!r}")
    return ChunkCodec(name, cname, little, crc)


def _fill(value: object, refuse: _Refuse) -> float:
    named = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
    if isinstance(value, (int, float)):
        return float(value)
    if value not in named:
        raise refuse(f"has the fill value {value!r}")
    return named[str(value)]


def _key_encoding(encoding: Optional[Document], refuse: _Refuse) -> Tuple[str, str]:
    found = encoding or {"name": "default"}
    name = found["name"]
    if name not in ("default", "v2"):
        raise refuse(f"names its chunks by {name!r}")
    default = "/" if name == "default" else "."
    separator = (found.get("configuration") or {}).get("separator", default)
    if separator not in ("/", "."):
        raise refuse(f"separates the names of its chunks by {separator!r}")
    return ("c" if name == "default" else ""), str(separator)


# --- groups


def parse_group(
    root: Root, name: str, zone: int, *, depth: int, year: int, lookup: Lookup, values: Values
) -> Optional[Group]:
    """Return a zone's group; None where there is no such group, or it has not got this year.

    Raises: StoreUnusable, DepthNotOffered, and what `lookup` and `values` raise.
    """
    node = lookup(name)
    if node is None:
        return None
    store = root.store
    if node.get("node_type") != "group":
        raise StoreUnusable(store, f"{name} is not a group")
    attributes = {**root.attributes, **(node.get("attributes") or {})}
    years = years_of(root, name, lookup, values)
    if year not in years:
        return None
    path = _codes_path(root, name, depth, lookup)
    codes = _required(store, path, lookup)
    scales = _required(store, f"{name}/scales", lookup)
    _check_codes(store, codes, depth)
    _check_scales(store, scales, codes)
    cell = _cell(store, codes, scales)
    row, col = _origin(store, name, zone, attributes=attributes, lookup=lookup, values=values)
    time = years.index(year)
    nodata = attributes.get("geotessera:mask_source") == "source_nodata"
    told = [_without_time(codes), _without_time(scales), row, col, time, nodata]
    told += [root.attributes.get(f"geoemb:{key}") for key in ("model", "build_version")]
    text = json.dumps(told, sort_keys=True, default=str)
    identity = hashlib.sha256(text.encode()).hexdigest()[:10]
    return Group(name, zone, row, col, codes, scales, time, nodata, cell, identity)


def years_of(root: Root, group: str, lookup: Lookup, values: Values) -> Tuple[int, ...]:
    """Return the years of a group in their order, from its time coordinate.

    Raises: StoreUnusable, and what `lookup` and `values` raise.
    """
    path = f"{group}/time"
    node = lookup(path)
    if node is None:
        raise StoreUnusable(root.store, f"{group} has no time coordinate")
    array = parse_array(root.store, path, node)
    if len(array.shape) != 1 or array.shape[0] > 10_000:
        raise StoreUnusable(root.store, f"{path} has the shape {array.shape}")
    numbers = values(array, array.shape[0])
    units = str((node.get("attributes") or {}).get("units", ""))
    return _years(root.store, path, numbers, units)


def _years(store: str, path: str, numbers: NDArray[Any], units: str) -> Tuple[int, ...]:
    since = _SINCE.fullmatch(units)
    listed = numbers.tolist()
    try:
        if since is None:
            years = [int(number) for number in listed]
        elif since.group(1) == "years":
            years = [int(since.group(2)) + int(number) for number in listed]
        else:
            year, month, day = map(int, since.groups()[1:])
            start = dt.datetime(year, month, day, tzinfo=dt.timezone.utc)
            unit_s = _UNITS[since.group(1)]
            moments = [start + dt.timedelta(seconds=unit_s * n) for n in listed]
            years = [moment.year for moment in moments]
    except (OverflowError, ValueError) as error:
        raise StoreUnusable(store, f"{path} holds no years") from error
    if not all(year in _YEARS for year in years) or len(set(years)) < len(years):
        raise StoreUnusable(store, f"{path} holds no years: {listed[:3]} {units}".rstrip())
    return tuple(years)


def depths_of(root: Root, group: str, lookup: Lookup) -> Dict[int, str]:
    """Return the array of each depth that a group offers, as its path.

    Raises: StoreUnusable, and what `lookup` raises.
    """
    offered: Dict[int, str] = {}
    listed = root.attributes.get("geoemb:depths") or []
    try:
        named = [(int(one["dimensions"]), str(one["array"])) for one in listed]
    except (TypeError, KeyError, ValueError) as error:
        raise StoreUnusable(root.store, "its list of depths can't be read") from error
    for depth, array in [*named, (FULL_DEPTH, "embeddings")]:
        path = f"{group}/{array}"
        if re.fullmatch(r"\w+", array) and lookup(path) is not None:
            offered.setdefault(depth, path)
    return offered


def _codes_path(root: Root, group: str, depth: int, lookup: Lookup) -> str:
    offered = depths_of(root, group, lookup)
    if depth not in offered:
        raise DepthNotOffered(root.store, depth, tuple(sorted(offered)))
    return offered[depth]


def _required(store: str, path: str, lookup: Lookup) -> ArrayMeta:
    node = lookup(path)
    if node is None:
        raise StoreUnusable(store, f"it has no {path}")
    return parse_array(store, path, node)


def _check_codes(store: str, codes: ArrayMeta, depth: int) -> None:
    if codes.dtype != CODES_DTYPE:
        raise StoreUnusable(store, f"{codes.path} has the data type {codes.dtype!r}")
    if sorted(codes.axes) != ["band", "time", "x", "y"]:
        raise StoreUnusable(store, f"{codes.path} has the dimensions {', '.join(codes.axes)}")
    if codes.size("band") != depth:
        raise StoreUnusable(store, f"{codes.path} has {codes.size('band')} bands, not {depth}")
    if codes.inner_size("band") != depth or codes.outer_size("band") != depth:
        raise StoreUnusable(store, f"{codes.path} spreads its bands over several chunks")
    if codes.fill != 0:
        raise StoreUnusable(store, f"{codes.path} has the fill value {codes.fill:g}")


def _check_scales(store: str, scales: ArrayMeta, codes: ArrayMeta) -> None:
    if scales.dtype != SCALES_DTYPE:
        raise StoreUnusable(store, f"{scales.path} has the data type {scales.dtype!r}")
    if sorted(scales.axes) != ["time", "x", "y"]:
        raise StoreUnusable(store, f"{scales.path} has the dimensions {', '.join(scales.axes)}")
    if any(scales.size(axis) != codes.size(axis) for axis in ("time", "y", "x")):
        raise StoreUnusable(store, f"{scales.path} has another shape than {codes.path}")
    for array in (scales, codes):
        if not array.sharded:
            raise StoreUnusable(store, f"{array.path} has no shards")
        if array.inner_size("time") != 1:
            raise StoreUnusable(store, f"{array.path} has several years in a chunk")


def _cell(store: str, codes: ArrayMeta, scales: ArrayMeta) -> Tuple[int, int]:
    """Return the larger of both chunks; it must be made of whole chunks of the other."""
    edges: List[int] = []
    for axis in ("y", "x"):
        if codes.outer_size(axis) != scales.outer_size(axis):
            raise StoreUnusable(store, f"{scales.path} has other shards than {codes.path}")
        one, other = codes.inner_size(axis), scales.inner_size(axis)
        if max(one, other) % min(one, other):
            raise StoreUnusable(store, f"{scales.path} has chunks that don't fit {codes.path}")
        edges.append(max(one, other))
    return edges[0], edges[1]


def _origin(
    store: str, group: str, zone: int, *, attributes: Document, lookup: Lookup, values: Values
) -> Tuple[int, int]:
    """Return the row and column of the zone grid where a group's arrays start."""
    code = str(attributes.get("proj:code") or f"EPSG:{attributes.get('proj:epsg')}")
    match = _EPSG.fullmatch(code)
    if match is None or int(match.group(2)) != zone:
        raise StoreUnusable(store, f"{group} has the CRS {code}, not that of UTM zone {zone}")
    west, north = _corner(store, group, attributes, lookup, values)
    if match.group(1) == "327":
        north -= SOUTH_OFFSET_M
    col, row = round(west / PIXEL_M), round(-north / PIXEL_M)
    off = max(abs(west - col * PIXEL_M), abs(north + row * PIXEL_M))
    if off > _GRID_TOLERANCE_M:
        raise StoreUnusable(
            store, f"{group} starts at {west:.3f}, {north:.3f}, off the 10 m grid of the zone"
        )
    return row, col


def _corner(
    store: str, group: str, attributes: Document, lookup: Lookup, values: Values
) -> Tuple[float, float]:
    """Return easting and northing of the north-west corner, from the transform or coordinates."""
    transform = attributes.get("spatial:transform")
    if transform is not None:
        try:
            width, skew_x, west, skew_y, height, north = (float(n) for n in transform[:6])
        except (TypeError, ValueError) as error:
            raise StoreUnusable(store, f"the transform of {group} can't be read") from error
        if (width, skew_x, skew_y, height) != (PIXEL_M, 0.0, 0.0, -PIXEL_M):
            raise StoreUnusable(store, f"{group} has pixels of {width:g} x {height:g} m")
        if not (math.isfinite(west) and math.isfinite(north)):
            raise StoreUnusable(store, f"the transform of {group} can't be read")
        return west, north
    x = _first_two(store, group, ("x", "easting"), lookup, values)
    y = _first_two(store, group, ("y", "northing"), lookup, values)
    if (x[1] - x[0], y[1] - y[0]) != (PIXEL_M, -PIXEL_M):
        raise StoreUnusable(store, f"{group} has pixels of {x[1] - x[0]:g} x {y[1] - y[0]:g} m")
    return x[0] - PIXEL_M / 2, y[0] + PIXEL_M / 2


def _first_two(
    store: str, group: str, names: Sequence[str], lookup: Lookup, values: Values
) -> Tuple[float, float]:
    for name in names:
        node = lookup(f"{group}/{name}")
        if node is not None:
            array = parse_array(store, f"{group}/{name}", node)
            if len(array.shape) != 1 or array.shape[0] < 2:
                raise StoreUnusable(store, f"{array.path} has the shape {array.shape}")
            first = values(array, 2).tolist()
            return float(first[0]), float(first[1])
    raise StoreUnusable(store, f"{group} has neither a transform nor coordinates")


def _without_time(array: ArrayMeta) -> Dict[str, Any]:
    """Return what identifies an array; years that are added later don't make it another one."""
    told = asdict(array)
    told["shape"] = [size for size, axis in zip(array.shape, array.axes) if axis != "time"]
    return told
