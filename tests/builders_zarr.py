# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Small Zarr v3 stores, written by hand from the specification; numcodecs packs the chunks.

Made to differ: dimension order, group names, index location, codecs, chunk sizes, depths.
"""

import json
import math
import struct

import numcodecs
import numpy as np

MISSING = (1 << 64) - 1
_BITSHUFFLE = 2


def crc32c(data):
    """The textbook CRC-32C, bit by bit over a table made here."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _entry(value):
    for _ in range(8):
        value = (value >> 1) ^ 0x82F63B78 if value & 1 else value >> 1
    return value


_TABLE = [_entry(value) for value in range(256)]


def embeddings(height, width, depth=128, seed=0):
    """Codes whose largest |code| is 127 in the first four bands too, and ordinary scales."""
    draw = np.random.default_rng(seed)
    codes = np.clip(draw.normal(0, 35, (height, width, depth)), -126, 126).astype(np.int8)
    peak = draw.integers(0, min(depth, 4), (height, width))
    np.put_along_axis(codes, peak[..., None], np.where(draw.random((height, width)) < 0.5, 127, -127)
                      .astype(np.int8)[..., None], axis=2)  # fmt: skip
    return codes, draw.uniform(0.05, 0.08, (height, width)).astype(np.float32)


class Packer:
    """A chain of codecs, and how zarr.json says it."""

    def __init__(self, name="blosc", cname="zstd", crc=False):
        self.name, self.cname, self.crc = name, cname, crc

    def pack(self, raw, itemsize):
        if self.name == "blosc":
            codec = numcodecs.Blosc(self.cname, 3, _BITSHUFFLE)
            data = codec.encode(np.frombuffer(raw, f"V{itemsize}" if itemsize > 1 else "u1"))
        elif self.name == "zstd":
            data = numcodecs.Zstd(3).encode(raw)
        elif self.name == "gzip":
            data = numcodecs.GZip(1).encode(raw)
        else:
            data = raw
        data = bytes(data)
        return data + struct.pack("<I", crc32c(data)) if self.crc else data

    def said(self, itemsize):
        codecs = [{"name": "bytes", "configuration": {"endian": "little"}}]
        if self.name == "blosc":
            codecs.append({"name": "blosc", "configuration": {
                "cname": self.cname, "clevel": 3, "shuffle": "bitshuffle", "typesize": itemsize,
                "blocksize": 0}})  # fmt: skip
        elif self.name:
            codecs.append({"name": self.name, "configuration": {"level": 1}})
        return codecs + ([{"name": "crc32c"}] if self.crc else [])


BLOSC = Packer()
NAMES = {"time": "time", "band": "band", "y": "y", "x": "x"}


def morton(row, col):
    return sum(((row >> b & 1) << (2 * b + 1)) | ((col >> b & 1) << (2 * b)) for b in range(16))


def shard(values, inner, packer, fill, at_end=True, damage=None):
    """One shard: chunks in Morton order of their last two axes, and the index."""
    grid = tuple(whole // part for whole, part in zip(values.shape, inner))
    entries = np.full((*grid, 2), MISSING, dtype="<u8")
    size = 16 * math.prod(grid) + 4
    body = b"" if at_end else bytes(size)
    for at in sorted(np.ndindex(*grid), key=lambda at: morton(*at[-2:])):
        part = values[tuple(slice(i * n, (i + 1) * n) for i, n in zip(at, inner))]
        if ((part == fill) | (np.isnan(part) & np.isnan(fill))).all():
            continue
        data = packer.pack(np.ascontiguousarray(part).tobytes(), values.dtype.itemsize)
        if damage:
            data = damage(at, data)
        entries[at] = len(body), len(data)
        body += data
    if (entries == MISSING).all():
        return None
    index = entries.tobytes()
    index += struct.pack("<I", crc32c(index))
    return body + index if at_end else index + body[size:]


def array_node(shape, outer, inner, dtype, fill, dims, packer, at_end=True, attributes=None):
    itemsize = np.dtype(dtype).itemsize
    codecs = packer.said(itemsize)
    if inner is not None:
        codecs = [{"name": "sharding_indexed", "configuration": {
            "chunk_shape": list(inner), "codecs": codecs,
            "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}},
                             {"name": "crc32c"}],
            "index_location": "end" if at_end else "start"}}]  # fmt: skip
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(outer)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill,
        "codecs": codecs,
        "attributes": attributes or {},
        "dimension_names": list(dims),
    }


class StoreBuilder:
    """Collects the objects of a store by their path below the archive."""

    def __init__(self, name="tiny", attributes=None, consolidated=True):
        self.prefix = f"zarr/{name}"
        self.files = {}
        self.nodes = {}
        self.consolidated = consolidated
        self.attributes = {
            "geoemb:model": "https://example.org/model/2.0",
            "geoemb:dimensions": 128,
            "geoemb:quantization": {"method": "per_pixel_scale"},
            **(attributes or {}),
        }

    def group(self, name, codes, scales, *, row, col, epsg, time=0, years=(2024,), shard_px=128,
              inner=32, scales_inner=32, order=("time", "band", "y", "x"), names=NAMES, packer=BLOSC,
              at_end=True, depths=(), attributes=None, transform=True, damage=None):  # fmt: skip
        """Add a group whose first pixel lies at (row, col) of the zone grid of its EPSG code.

        codes (H, W, 128), scales (H, W) with NaN for water and inf for what was never written.
        """
        north = -10.0 * row + (10_000_000 if epsg // 100 == 327 else 0)
        west = 10.0 * col
        said = {"proj:code": f"EPSG:{epsg}", **(attributes or {})}
        if transform:
            said.setdefault("spatial:transform", [10.0, 0.0, west, 0.0, -10.0, north])
        self.nodes[name] = {"zarr_format": 3, "node_type": "group", "attributes": said}
        for depth in (128, *depths):
            array = "embeddings" if depth == 128 else f"embeddings_d{depth}"
            edge = inner if depth == 128 else min(inner * 2, shard_px)
            dims = {**names, "band": names["band"] if depth == 128 else f"band_d{depth}"}
            self._sharded(f"{name}/{array}", codes[..., :depth], ("y", "x", "band"), order, dims,
                          time, len(years), shard_px, edge, packer, 0, at_end, damage)  # fmt: skip
        self._sharded(f"{name}/scales", scales, ("y", "x"), [a for a in order if a != "band"],
                      names, time, len(years), shard_px, scales_inner, packer, np.inf, at_end,
                      damage)  # fmt: skip
        self._small(f"{name}/{names['time']}", np.array(years, np.int32), names["time"])
        if not transform:
            height, width = scales.shape
            self._small(f"{name}/{names['x']}", west + 10.0 * np.arange(width) + 5, names["x"])
            self._small(f"{name}/{names['y']}", north - 10.0 * np.arange(height) - 5, names["y"])
        return self

    def _small(self, path, values, dim):
        size = len(values)
        dtype = str(values.dtype)
        self.nodes[path] = array_node((size,), (size,), None, dtype, 0, (dim,), BLOSC)
        self.files[f"{self.prefix}/{path}/c/0"] = BLOSC.pack(values.tobytes(), values.itemsize)

    def _sharded(self, path, values, axes, order, names, time, times, shard_px, inner, packer, fill,
                 at_end, damage):  # fmt: skip
        sizes = dict(zip(axes, values.shape), time=times)
        outer = {"time": 1, "band": sizes.get("band"), "y": shard_px, "x": shard_px}
        chunk = {**outer, "y": inner, "x": inner}
        dtype = "int8" if fill == 0 else "float32"
        self.nodes[path] = array_node(
            [sizes[a] for a in order], [outer[a] for a in order], [chunk[a] for a in order], dtype,
            fill if fill == 0 else "Infinity", [names[a] for a in order], packer, at_end)  # fmt: skip
        height, width = values.shape[:2]
        for row in range(-(-height // shard_px)):
            for col in range(-(-width // shard_px)):
                whole = np.full((shard_px, shard_px, *values.shape[2:]), fill, dtype)
                part = values[row * shard_px :, col * shard_px :][:shard_px, :shard_px]
                whole[: part.shape[0], : part.shape[1]] = part
                whole = whole[None].transpose([("time", *axes).index(a) for a in order])
                data = shard(whole, [chunk[a] for a in order], packer, fill, at_end,
                             damage and (lambda at, d: damage(path, (row, col), at, d)))  # noqa: B023  # fmt: skip
                if data is not None:
                    place = {"time": time, "band": 0, "y": row, "x": col}
                    key = "/".join(str(place[a]) for a in order)
                    self.files[f"{self.prefix}/{path}/c/{key}"] = data

    def build(self):
        """Return all objects by their path."""
        root = {"zarr_format": 3, "node_type": "group", "attributes": self.attributes}
        files = dict(self.files)
        if self.consolidated:
            root["consolidated_metadata"] = {
                "kind": "inline", "must_understand": False, "metadata": self.nodes}  # fmt: skip
        for path, node in self.nodes.items():
            files[f"{self.prefix}/{path}/zarr.json"] = json.dumps(node).encode()
        files[f"{self.prefix}/zarr.json"] = json.dumps(root).encode()
        return files
