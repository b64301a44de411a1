# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""An archive as large as one likes that costs its server nothing: the same 256 x 256 px again and again.

Its store and its tiles have the published layout, everywhere in zone 31. The pixels are real ones of
the sample archive, so chunks are as large as the sample's, and take as long to unpack.
"""

from __future__ import annotations

import numpy as np

from bench._places import NPY_DIR, SHARD, STORE, YEAR, ZONE
from tests.archive import layout, zarr_shards
from tests.archive.sample import SampleArchive
from tests.archive.zarr_stores import ZarrStores
from tests.servers import Resource

EDGE, CHUNK = 256, 32
TILE, ROWS, COL = "grid_0.15_52.15", (400, 400 + EDGE), 100
SIDE = 4096 // CHUNK


class BenchArchive(SampleArchive):
    """A provider for RangeServer."""

    def __init__(self):
        super().__init__()
        codes, scales = self.tile_arrays(NPY_DIR, YEAR, TILE, ROWS)
        here = np.s_[:, COL : COL + EDGE]
        self.codes, self.scales = np.ascontiguousarray(codes[here]), scales[here].copy()
        assert ((self.scales > 0) & (self.scales < 1) & self.codes.any(axis=-1)).all()
        self.zarr = _Stores(self)
        (grid,) = (one for one in self.zarr.stores[STORE].grids if one.zone == ZONE)
        self.corner = grid.row, grid.col
        assert not (SHARD[0] - grid.row) % 4096
        assert not (SHARD[1] - grid.col) % 4096

    def _tile_file(self, npy_dir, year, folder, name, scales):
        tile = layout.Tile.parse(name)
        if (npy_dir, int(year), folder) != (NPY_DIR, YEAR, name) or tile.zone != ZONE:
            return None
        place = layout.footprint(tile)
        values = self.scales if scales else self.codes
        shape = (place.height, place.width, *values.shape[2:])
        header = layout.npy_header(shape, "<f4" if scales else "|i1")
        data = _Endless(header, values.tobytes())
        length = len(header) + int(np.prod(shape)) * values.itemsize
        return Resource(length, f"{name}{scales or ''}-9", layout.PUBLISHED, data.read)


class _Endless:
    """A head, and then a body that repeats."""

    def __init__(self, head, body):
        self._head, self._body = head, body

    def read(self, start, stop):
        parts = [self._head[start:stop]]
        at, end = max(start - len(self._head), 0), stop - len(self._head)
        while at < end:
            offset = at % len(self._body)
            part = self._body[offset : offset + end - at]
            parts.append(part)
            at += len(part)
        return b"".join(parts)


class _Stores(ZarrStores):
    """The sample's stores, with shards that are full and never held as a whole."""

    def __init__(self, archive):
        super().__init__(archive)
        self._shards = {
            "embeddings": _Shard(archive.codes.transpose(2, 0, 1), bits=True),
            "scales": _Shard(archive.scales[None], bits=False),
        }

    def sizes(self):
        """Bytes of the chunks of a shard (128, 128), of codes and of scales."""
        return [shard.sizes for shard in self._shards.values()]

    def _shard_file(self, store, grid, array, numbers):
        shard = self._shards.get(array.name)
        is_here = (store.name, grid.zone) == (STORE, ZONE) and store.times[numbers[0]] == YEAR
        if shard is None or not is_here:
            return None
        etag = f"{array.name}-{'-'.join(map(str, numbers))}-9"
        return Resource(shard.length, etag, layout.PUBLISHED, shard.read)


class _Shard:
    """128 x 128 chunks in Morton order, of 8 x 8 different ones, and their index."""

    def __init__(self, values, *, bits):
        per = EDGE // CHUNK
        self._chunks = [
            zarr_shards.compress(
                values[:, i * CHUNK : (i + 1) * CHUNK, j * CHUNK : (j + 1) * CHUNK].squeeze(
                    axis=() if bits else 0
                ),
                bits=bits,
            )
            for i in range(per)
            for j in range(per)
        ]
        order = sorted(np.ndindex(SIDE, SIDE), key=zarr_shards.morton)
        self._which = [row % per * per + col % per for row, col in order]
        sizes = np.array([len(self._chunks[number]) for number in self._which])
        self._starts = np.append(0, np.cumsum(sizes))
        table = np.empty((SIDE, SIDE, 2), "<u8")
        rows, cols = np.array(order).T
        table[rows, cols] = np.stack([self._starts[:-1], sizes], axis=1)
        self.sizes = table[..., 1]
        index = table.tobytes()
        self._index = index + zarr_shards.crc32c(index).to_bytes(4, "little")
        self.length = int(self._starts[-1]) + len(self._index)

    def read(self, start, stop):
        body = int(self._starts[-1])
        number = int(np.searchsorted(self._starts, start, "right")) - 1
        at = int(self._starts[number])
        skip, parts, here = start - at, [], at
        while here < min(stop, body):
            parts.append(self._chunks[self._which[number]])
            here += len(parts[-1])
            number += 1
        if stop > body:
            parts.append(self._index)
            skip = skip if parts[:-1] else start - body
        return b"".join(parts)[skip : skip + stop - start]


def stored_bytes(archive, form, windows):
    """Return the bytes of all chunks that windows touch, codes and scales; of tiles their rows."""
    return sum(_chunks(archive, windows) if form == "zarr" else _rows(windows))


def _chunks(archive, windows):
    top, left = archive.corner
    found = {
        (row % SIDE, col % SIDE, row // SIDE, col // SIDE)
        for window in windows
        for row in _numbers(window.row - top, window.height)
        for col in _numbers(window.col - left, window.width)
    }
    for sizes in archive.zarr.sizes():
        yield from (int(sizes[row, col]) for row, col, _, _ in found)


def _numbers(start, size):
    return range(start // CHUNK, (start + size - 1) // CHUNK + 1)


def _rows(windows):
    """Yield the bytes of the rows of each tile that windows touch, each row once."""
    touched = {}
    for window in windows:
        for tile in tiles_near(window):
            place = layout.footprint(tile)
            row, stop = max(window.row, place.row), min(window.stop_row, place.row + place.height)
            is_beside = window.col < place.col + place.width and place.col < window.stop_col
            if is_beside and row < stop:
                touched.setdefault(tile, set()).update(range(row, stop))
    for tile, rows in touched.items():
        yield len(rows) * layout.footprint(tile).width * 132


def tiles_near(window):
    """Return the tiles of the zone that may touch a window."""
    rows, cols = np.array([window.row, window.stop_row]), np.array([window.col, window.stop_col])
    lon, lat = layout.lonlat(ZONE, np.repeat(rows, 2), np.tile(cols, 2))
    across = range(int(np.floor(lon.min() * 10)) - 1, int(np.floor(lon.max() * 10)) + 2)
    down = range(int(np.floor(lat.min() * 10)) - 1, int(np.floor(lat.max() * 10)) + 2)
    tiles = [layout.Tile(10 * i + 5, 10 * j + 5) for i in across for j in down]
    return [tile for tile in tiles if tile.zone == ZONE]
