# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The sample's Zarr stores, below `zarr/{store}/`: shards are made when they are asked for.

| store | dataset | layout | `time`, the empty year in brackets |
|---|---|---|---|
| v1.1 | 1.1 cambridge | A, groups utm30, utm31, utm36 | (2022), 2023, 2024 |
| v1.1-dclimate | 1.1 dclimate | A, 60 groups, data in the same three | 2023, 2024, (2025) |
| v1.1-dclimate-b | the same numbers | B, groups 30N, 31N, 36N, 36S | 2023, 2024, (2025) |
| v2-2B-L~beta1 | 2.0 2B-L~beta1 | A with embeddings_d4 and _d16 | 2023, 2024, (2025) |

What they hold is what the tiles of the dataset hold where these are merged (the first valid one in
ascending longitude, latitude), but only inside AREAS: elsewhere nothing was ever written. A pixel that
no tile makes valid has scale NaN and, as in the tiles, often ordinary codes.

Shards that were made are kept as files below `build/sample-zarr` (or another folder), under a name in
which all they depend on is hashed, up to LIMIT_BYTES.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from tests.archive import layout, zarr_layout, zarr_shards
from tests.archive.layout import DEPTH
from tests.archive.noise import Memo
from tests.archive.zarr_layout import Array, Grid
from tests.servers import Resource, md5_hex

if TYPE_CHECKING:
    from tests.archive.sample import SampleArchive, SampleDataset

GENERATOR = 1
"""Raised when the bytes change, so that no kept shard is mixed with others."""

LIMIT_BYTES = 768 << 20

FOLDER = Path(__file__).resolve().parents[2] / "build" / "sample-zarr"


class Area(NamedTuple):
    """Pixels that a store holds: a box in degrees, as its bounding rectangle in one zone's grid."""

    zone: int
    west: float
    south: float
    east: float
    north: float


AREAS = (
    Area(31, 0.095, 52.175, 0.155, 52.225),  # the demo area with some more around it
    Area(30, -0.020, 52.056, 0.020, 52.074),  # over the seam, with the river
    Area(31, -0.020, 52.056, 0.020, 52.074),
    Area(31, 0.0690, 52.1140, 0.0735, 52.1170),  # codes all zero with a valid scale
    Area(31, 0.2290, 52.1490, 0.2315, 52.1510),  # the corrupt scales
    Area(31, 0.1450, 52.0985, 0.1560, 52.1015),  # the gap in one tile that another fills
    Area(36, 32.556, -0.008, 32.580, 0.008),  # over the equator and a corner of four shards
)


@dataclass(frozen=True)
class Store:
    """A store: what is in it and how it is laid out."""

    name: str
    dataset: SampleDataset
    times: Tuple[int, ...]
    grids: Tuple[Grid, ...]
    arrays: Tuple[Array, ...]
    depths: Tuple[int, ...] = ()
    landmask: bool = True

    @property
    def band_last(self) -> bool:
        """Whether it is of layout B."""
        return self.arrays[0].band_last


class _Rect(NamedTuple):
    row: int
    col: int
    stop_row: int
    stop_col: int

    def meet(self, row: int, col: int, stop_row: int, stop_col: int) -> Optional[_Rect]:
        both = _Rect(
            max(self.row, row),
            max(self.col, col),
            min(self.stop_row, stop_row),
            min(self.stop_col, stop_col),
        )
        return both if both.row < both.stop_row and both.col < both.stop_col else None


class ZarrStores:
    """Finds the objects of the stores and knows what they hold. Safe to use from threads."""

    def __init__(
        self,
        archive: SampleArchive,
        areas: Sequence[Area] = AREAS,
        folder: Optional[Path] = None,
    ) -> None:
        self._archive = archive
        self._folder = folder or FOLDER
        self._areas = tuple(areas)
        self._rects: Dict[int, List[_Rect]] = {}
        for area in areas:
            self._rects.setdefault(area.zone, []).append(_rect(area))
        self.stores: Dict[str, Store] = {one.name: one for one in _stores(archive)}
        self._metadata: Memo[Dict[str, bytes]] = Memo(8)
        self._coordinates: Memo[Dict[str, NDArray[Any]]] = Memo(8)
        self._sizes: Memo[int] = Memo(4096)
        self._pruning = threading.Lock()

    # ------------------------------------------------------------------------------ what is true
    def window(
        self,
        store: str,
        year: int,
        zone: int,
        row: int,
        col: int,
        height: int,
        width: int,
        depth: int = DEPTH,
    ) -> Tuple[NDArray[np.int8], NDArray[np.float32]]:
        """Return codes (H, W, D) and scales (H, W) as the store holds them.

        Row and column are of the zone grid (floor(-N / 10), floor(E / 10)). Scale NaN: written but
        not valid; +inf with codes 0: never written. Raises: KeyError (store), ValueError (depth).
        """
        one = self.stores[store]
        if depth not in (*one.depths, DEPTH):
            raise ValueError(f"{store} has no depth {depth}")
        codes, scales = self._window(one, year, zone, _Rect(row, col, row + height, col + width))
        return codes[..., :depth].copy(), scales

    def _window(
        self, store: Store, year: int, zone: int, want: _Rect, *, with_codes: bool = True
    ) -> Tuple[NDArray[np.int8], NDArray[np.float32]]:
        shape = want.stop_row - want.row, want.stop_col - want.col
        codes = np.zeros((*shape, DEPTH) if with_codes else (0, 0, DEPTH), np.int8)
        scales = np.full(shape, np.inf, np.float32)
        if year not in store.dataset.years:
            return codes, scales
        for area in self._rects.get(zone, []):
            part = area.meet(*want)
            if part is None:
                continue
            here = _within(part, want.row, want.col)
            found = self._merged(store.dataset, year, zone, part, with_codes=with_codes)
            scales[here] = found[1]
            if with_codes:
                codes[here] = found[0]
        return codes, scales

    def _merged(
        self, dataset: SampleDataset, year: int, zone: int, want: _Rect, *, with_codes: bool
    ) -> Tuple[NDArray[np.int8], NDArray[np.float32]]:
        """Return a window as the tiles have it, the first valid one first."""
        shape = want.stop_row - want.row, want.stop_col - want.col
        codes = np.zeros((*shape, DEPTH) if with_codes else (0, 0, DEPTH), np.int8)
        scales = np.full(shape, np.inf, np.float32)
        seen, settled = np.zeros(shape, bool), np.zeros(shape, bool)
        for tile in sorted(dataset.tiles, key=lambda one: (one.lon_i, one.lat_i)):
            place = layout.footprint(tile)
            frame = _Rect(place.row, place.col, place.row + place.height, place.col + place.width)
            part = frame.meet(*want) if place.zone == zone else None
            if part is None:
                continue
            here, there = _within(part, want.row, want.col), _within(part, place.row, place.col)
            own = self._archive.tile_scales(dataset, year, tile)[there].copy()
            # As the builder does: whatever is no scale of a valid pixel becomes NaN.
            with np.errstate(invalid="ignore"):
                own[~(np.isfinite(own) & (own > 0) & (own < 1))] = np.nan
            empty = self._archive.is_zero(dataset, zone, *_size(part))
            valid = np.isfinite(own) & ~empty
            take = ~settled[here] & (valid | ~seen[here])
            scales[here][take] = own[take]
            if with_codes:
                rows = self._archive.tile_codes(
                    dataset, year, tile, (there[0].start, there[0].stop)
                )
                codes[here][take] = rows[:, there[1]][take]
            seen[here] = True
            settled[here] |= valid
        return codes, scales

    def rectangle(self, area: Area) -> Tuple[int, int, int, int]:
        """Return row, col, height, width of an area on its zone's grid."""
        return _size(_rect(area))

    # ----------------------------------------------------------------------------- what is served
    def find(self, path: str) -> Optional[Resource]:
        """Return the object at `zarr/{store}/…`, or None."""
        parts = path.split("/")
        store = self.stores.get(parts[1]) if len(parts) > 2 and parts[0] == "zarr" else None
        if store is None:
            return None
        key = "/".join(parts[2:])
        if parts[-1] == "zarr.json":
            return _small(self._nodes(store).get(key))
        match = _CHUNK.fullmatch(key)
        grid = next((one for one in store.grids if match and one.group == match[1]), None)
        if match is None or grid is None:
            return None
        numbers = [int(number) for number in match[3].split("/")]
        array = next((one for one in store.arrays if one.name == match[2]), None)
        if array is None:
            return _small(self._coordinate(store, grid, match[2], numbers))
        return self._shard_file(store, grid, array, numbers)

    def _nodes(self, store: Store) -> Dict[str, bytes]:
        return self._metadata.get(store.name, lambda: _nodes(store))

    def _coordinate(
        self, store: Store, grid: Grid, name: str, numbers: List[int]
    ) -> Optional[bytes]:
        known = self._coordinates.get(
            (store.name, grid.group),
            lambda: zarr_layout.coordinates(
                grid, store.arrays, store.times, band_last=store.band_last
            ),
        )
        if name not in known or len(numbers) != 1:
            return None
        size = zarr_layout.coordinate_chunk(len(known[name]))
        piece = known[name][numbers[0] * size : (numbers[0] + 1) * size]
        return zarr_shards.compress(piece, bits=False) if len(piece) else None

    def _shard_file(
        self, store: Store, grid: Grid, array: Array, numbers: List[int]
    ) -> Optional[Resource]:
        place = _place(store, array, numbers)
        if place is None:
            return None
        year, row, col = place
        identity = self._identity(store, grid, array, year, row, col)
        path = self._folder / f"{identity}.shard"

        def make() -> int:
            if path.exists():
                return path.stat().st_size
            data = self._make_shard(store, grid, array, year, row, col)
            if data:
                self._keep(path, data)
            return len(data)

        def read(start: int, stop: int) -> bytes:
            try:
                return _read(path, start, stop)
            except FileNotFoundError:  # made room for others meanwhile
                data = self._make_shard(store, grid, array, year, row, col)
                self._keep(path, data)
                return data[start:stop]

        length = self._sizes.get(identity, make)
        return Resource(length, f"{identity}-9", layout.PUBLISHED, read) if length else None

    def _identity(
        self, store: Store, grid: Grid, array: Array, year: int, row: int, col: int
    ) -> str:
        from tests.archive.sample import GENERATOR as TILES

        what = (GENERATOR, TILES, self._archive.seed, store.dataset, self._areas, grid, array)
        text = repr((*what, year, row, col))
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    def _make_shard(
        self, store: Store, grid: Grid, array: Array, year: int, shard_row: int, shard_col: int
    ) -> bytes:
        """Return the bytes of a shard, none where nothing in it was written."""
        row = grid.row + shard_row * array.shard
        col = grid.col + shard_col * array.shard
        size, places = array.inner, self._touched(grid, array, row, col)
        chunks: Dict[Tuple[int, int], bytes] = {}
        for i, start, stop in zarr_shards.runs(places):
            want = _Rect(
                row + i * size, col + start * size, row + (i + 1) * size, col + stop * size
            )
            codes, scales = self._window(store, year, grid.zone, want, with_codes=array.depth > 0)
            rows = np.arange(want.row, want.stop_row)
            beyond = (rows < grid.rows[0]) | (rows >= grid.rows[1])
            scales[beyond] = np.inf
            codes[beyond[: len(codes)]] = 0
            for j in range(start, stop):
                columns = slice((j - start) * size, (j - start + 1) * size)
                chunk = _chunk(array, codes, scales, columns)
                if chunk is not None:
                    chunks[i, j] = zarr_shards.compress(chunk, bits=array.depth > 0)
        return zarr_shards.shard(chunks, array.side) if chunks else b""

    def _touched(self, grid: Grid, array: Array, row: int, col: int) -> Dict[int, List[int]]:
        """Return the inner chunks of the shard at a pixel that areas meet: {row: columns}."""
        places: Dict[int, List[int]] = {}
        for area in self._rects.get(grid.zone, []):
            part = area.meet(row, col, row + array.shard, col + array.shard)
            if part is None:
                continue
            size = array.inner
            for i in range((part.row - row) // size, (part.stop_row - 1 - row) // size + 1):
                columns = range((part.col - col) // size, (part.stop_col - 1 - col) // size + 1)
                places.setdefault(i, []).extend(columns)
        return places

    def _keep(self, path: Path, data: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._folder, suffix=".part")
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        os.replace(name, path)
        with self._pruning:
            _prune(self._folder, path)


_CHUNK = re.compile(r"([^/]+)/([^/]+)/c/((?:0|[1-9]\d*)(?:/(?:0|[1-9]\d*))*)")


def _stores(archive: SampleArchive) -> List[Store]:
    """Return the stores. Each dataset's numbers are a feature space of its own."""
    cambridge = archive.datasets.get("v1.1-cam")
    if cambridge is None:
        return []
    years = (2023, 2024)
    dclimate = replace(
        cambridge, variant="dclimate", npy_dir="v1.1-dclimate", rotation=11, years=years
    )
    second = replace(
        cambridge,
        version="2.0",
        variant="2B-L~beta1",
        npy_dir="v2-2B-L~beta1",
        rotation=13,
        years=years,
    )
    three = tuple(zarr_layout.grid_a(zone) for zone in (30, 31, 36))
    sixty = tuple(zarr_layout.grid_a(zone) for zone in range(1, 61))
    split = tuple(grid for zone in (30, 31, 36) for grid in zarr_layout.grids_b(zone))
    plain, nested = zarr_layout.arrays_a(()), zarr_layout.arrays_a((4, 16))
    times = (2023, 2024, 2025)
    return [
        Store("v1.1", cambridge, (2022, 2023, 2024), three, plain),
        Store("v1.1-dclimate", dclimate, times, sixty, plain),
        Store("v1.1-dclimate-b", dclimate, times, split, zarr_layout.arrays_b()),
        Store("v2-2B-L~beta1", second, times, three, nested, (4, 16), landmask=False),
    ]


def _nodes(store: Store) -> Dict[str, bytes]:
    """Return every zarr.json of a store by its key."""
    nodes: Dict[str, Any] = {}
    extra: Dict[str, Any] = {}
    if store.band_last:
        years = [year for year in store.times if year in store.dataset.years]
        extra = {"years_complete": years, "geotessera:mask_source": "source_nodata"}
    for grid in store.grids:
        nodes[grid.group] = zarr_layout.group_json(grid, extra, band_last=store.band_last)
        for array in store.arrays:
            name = f"{grid.group}/{array.name}"
            nodes[name] = zarr_layout.sharded_json(array, grid, len(store.times))
        known = zarr_layout.coordinates(grid, store.arrays, store.times, band_last=store.band_last)
        for name, values in known.items():
            nodes[f"{grid.group}/{name}"] = zarr_layout.coordinate_json(name, values)
        if not store.band_last:
            for name, node in zarr_layout.stretch_jsons(grid, len(store.times)).items():
                nodes[f"{grid.group}/{name}"] = node
    found = {f"{name}/zarr.json": zarr_layout.encode(node) for name, node in nodes.items()}
    found["zarr.json"] = zarr_layout.root_json(
        store.dataset.version, store.depths, nodes, landmask=store.landmask
    )
    return found


def _place(store: Store, array: Array, numbers: List[int]) -> Optional[Tuple[int, int, int]]:
    """Return the year and the shard's row and column of a chunk key, or None where there is none."""
    if array.depth and (len(numbers) != 4 or numbers.pop(3 if array.band_last else 1)):
        return None
    if len(numbers) != 3 or numbers[0] >= len(store.times):
        return None
    return store.times[numbers[0]], numbers[1], numbers[2]


def _chunk(
    array: Array, codes: NDArray[np.int8], scales: NDArray[np.float32], columns: slice
) -> Optional[NDArray[Any]]:
    """Return an inner chunk as it is compressed, None where it is all fill."""
    if not array.depth:
        part = scales[:, columns]
        return None if np.all(np.isposinf(part)) else part
    piece = codes[:, columns, : array.depth]
    if not piece.any():
        return None
    return piece if array.band_last else piece.transpose(2, 0, 1)


def _rect(area: Area) -> _Rect:
    west, south, east, north = area[1:]
    to_zone = layout.transformer(4326, 32600 + area.zone)
    e, n = to_zone.transform([west, east, west, east], [south, south, north, north])
    return _Rect(
        int(np.floor(-max(n) / 10)),
        int(np.floor(min(e) / 10)),
        int(np.ceil(-min(n) / 10)),
        int(np.ceil(max(e) / 10)),
    )


def _size(rect: _Rect) -> Tuple[int, int, int, int]:
    return rect.row, rect.col, rect.stop_row - rect.row, rect.stop_col - rect.col


def _within(part: _Rect, row: int, col: int) -> Tuple[slice, slice]:
    return slice(part.row - row, part.stop_row - row), slice(part.col - col, part.stop_col - col)


def _small(data: Optional[bytes]) -> Optional[Resource]:
    if data is None:
        return None
    whole = data
    return Resource(
        len(whole), md5_hex(whole), layout.PUBLISHED, lambda start, stop: whole[start:stop]
    )


def _read(path: Path, start: int, stop: int) -> bytes:
    with path.open("rb") as stream:
        stream.seek(start)
        return stream.read(stop - start)


def _prune(folder: Path, newest: Path) -> None:
    """Remove the oldest shards while there are more than LIMIT_BYTES of them."""
    found = []
    for path in folder.glob("*.shard"):
        with suppress(FileNotFoundError):  # another process was faster
            found.append((path.stat().st_mtime, path.stat().st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= LIMIT_BYTES:
            return
        if path != newest:
            path.unlink(missing_ok=True)
            total -= size
