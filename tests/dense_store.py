# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A store of full shards in the published layout that is never held as a whole.

A shard has 128 x 128 chunks of codes and of scales in Morton order, as zarr-python writes them; their
contents are a few dozen real ones again and again.
"""

import functools
import json
import struct

import numpy as np

from tests import builders_zarr as build
from tests.servers import Resource

SHARD_PX, CHUNK_PX, SIDE = 4096, 32, 128
ROW, COL, ZONE = -586_000, 28_000, 31
"""Of the first pixel; no multiples of the chunks or the blocks."""

KINDS = 24
"""How many different chunks there are."""

NAME = "dense"
MODIFIED = 1_767_225_600.0


def morton_order(side):
    """Return rows and columns of a grid's places in Morton order, row first."""
    rows, cols = np.divmod(np.arange(side * side), side)
    bits = np.arange(side.bit_length())
    keys = ((rows[:, None] >> bits & 1) << (2 * bits + 1)).sum(axis=1)
    keys += ((cols[:, None] >> bits & 1) << (2 * bits)).sum(axis=1)
    order = np.argsort(keys)
    return rows[order], cols[order]


@functools.lru_cache(maxsize=1)
def pixels():
    """Codes (KINDS, 32, 32, 128) and scales (KINDS, 32, 32) of the different chunks."""
    codes, scales = build.embeddings(KINDS * CHUNK_PX, CHUNK_PX)
    shape = (KINDS, CHUNK_PX, CHUNK_PX)
    return codes.reshape(*shape, 128), scales.reshape(shape)


class _Shard:
    def __init__(self, values):
        self.packed = [
            build.BLOSC.pack(np.ascontiguousarray(part).tobytes(), part.itemsize) for part in values
        ]
        rows, cols = morton_order(SIDE)
        self.kinds = (rows * SIDE + cols) % KINDS
        sizes = np.array([len(data) for data in self.packed])[self.kinds]
        self.starts = np.append(0, np.cumsum(sizes))
        entries = np.empty((SIDE, SIDE, 2), "<u8")
        entries[rows, cols] = np.stack([self.starts[:-1], sizes], axis=1)
        self.sizes = entries[..., 1].astype(np.int64)
        """Bytes of each chunk (128, 128)."""
        raw = entries.tobytes()
        self.index = raw + struct.pack("<I", build.crc32c(raw))
        self.length = int(self.starts[-1]) + len(self.index)

    def read(self, start, stop):
        body = int(self.starts[-1])
        at = min(int(np.searchsorted(self.starts, start, "right")) - 1, SIDE * SIDE)
        first = int(self.starts[at])
        parts, here = [], first
        while here < min(stop, body):
            parts.append(self.packed[self.kinds[at]])
            here += len(parts[-1])
            at += 1
        data = b"".join([*parts, self.index if stop > body else b""])
        return data[start - first : stop - first]


class DenseStore:
    """A provider for RangeServer: an archive with one store of 2 x 2 shards, or more."""

    def __init__(self, shards=2):
        codes, scales = pixels()
        self.shards = {"embeddings": _Shard(codes.transpose(0, 3, 1, 2)), "scales": _Shard(scales)}
        edge = shards * SHARD_PX
        nodes = {f"utm{ZONE}": {"zarr_format": 3, "node_type": "group", "attributes": {
            "proj:code": f"EPSG:326{ZONE}",
            "spatial:transform": [10.0, 0.0, 10.0 * COL, 0.0, -10.0, -10.0 * ROW]}}}  # fmt: skip
        for name, dtype, fill in (("embeddings", "int8", 0), ("scales", "float32", "Infinity")):
            axes = ("time", "band", "y", "x") if dtype == "int8" else ("time", "y", "x")
            sizes = [(1,), *([(128,)] if dtype == "int8" else [])]
            shape = [size[0] for size in sizes]
            nodes[f"utm{ZONE}/{name}"] = build.array_node(
                [*shape, edge, edge], [*shape, SHARD_PX, SHARD_PX], [*shape, CHUNK_PX, CHUNK_PX],
                dtype, fill, axes, build.BLOSC)  # fmt: skip
        nodes[f"utm{ZONE}/time"] = build.array_node((1,), (1,), None, "int32", 0, ("time",),
                                                    build.BLOSC)  # fmt: skip
        root = {"zarr_format": 3, "node_type": "group", "attributes": {
            "geoemb:model": "https://example.org/model/2.0", "geoemb:dimensions": 128,
            "geoemb:quantization": {"method": "per_pixel_scale"}},
            "consolidated_metadata": {"kind": "inline", "must_understand": False,
                                      "metadata": nodes}}  # fmt: skip
        self._small = {
            "zarr.json": json.dumps(root).encode(),
            f"utm{ZONE}/time/c/0": build.BLOSC.pack(np.array([2024], np.int32).tobytes(), 4),
        }
        self._count = shards

    def find(self, path):
        key = path[len(f"zarr/{NAME}/") :]
        if key in self._small:
            data = self._small[key]
            return Resource(len(data), f"small-{len(data)}", MODIFIED, lambda a, b: data[a:b])
        parts = key.split("/")
        shard = self.shards.get(parts[1]) if len(parts) > 3 else None
        if shard is None or max(map(int, parts[-2:])) >= self._count:
            return None
        etag = f"{parts[1]}-{'-'.join(parts[-2:])}-9"
        return Resource(shard.length, etag, MODIFIED, shard.read)

    def stored_bytes(self, window):
        """Return what the chunks weigh that a window touches."""
        rows = np.arange(
            (window.row - ROW) // CHUNK_PX, (window.stop_row - ROW - 1) // CHUNK_PX + 1
        )
        cols = np.arange(
            (window.col - COL) // CHUNK_PX, (window.stop_col - COL - 1) // CHUNK_PX + 1
        )
        here = np.ix_(rows % SIDE, cols % SIDE)
        return sum(int(shard.sizes[here].sum()) for shard in self.shards.values())

    def truth(self, window):
        """Return codes (H, W, 128) and scales (H, W) of a window."""
        rows = np.arange(window.row, window.stop_row) - ROW
        cols = np.arange(window.col, window.stop_col) - COL
        kinds = ((rows // CHUNK_PX % SIDE)[:, None] * SIDE + cols // CHUNK_PX % SIDE) % KINDS
        at = kinds, (rows % CHUNK_PX)[:, None], (cols % CHUNK_PX)[None, :]
        codes, scales = pixels()
        return codes[at], scales[at]
