# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The sample archive: TESSERA embeddings in the published layout, made up when they are asked for.

    archive = SampleArchive()
    with RangeServer(archive) as server:
        ...  # server.url is the root of an archive
    codes, scales = archive.tile_arrays("v1.1-cam", 2024, "grid_0.15_52.15", (400, 420))
    truth = archive.truth(31, -578_800, 30_250, 200, 100)

Full-size tiles around Cambridge (zones 30 and 31) and two over the equator (zone 36), nothing on
disk: a row follows from the seed alone, and the last few are kept. `planted` says what is wrong in
them on purpose. Parts of them are there as Zarr stores too (`zarr_stores`).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from tests.archive import files, layout, planted
from tests.archive import ground as ground_module
from tests.archive.ground import BLOCK_PX, CLASSES, Ground
from tests.archive.layout import DEPTH, Footprint, Tile
from tests.archive.noise import Memo
from tests.archive.planted import Kind
from tests.archive.spectrum import (
    SCALE_LIMITS,
    SCALE_MEAN,
    SCALE_SPREAD,
    Spectrum,
    embed,
    quantise,
    spectrum,
)
from tests.archive.zarr_stores import AREAS, Area, ZarrStores
from tests.servers import Resource, md5_hex

GENERATOR = 1
"""Raised when the numbers change, so that no cache mixes them with earlier ones (in the ETags)."""

CHUNK_ROWS = 16
"""Rows are made that many at a time."""


@dataclass(frozen=True)
class SampleDataset:
    """A dataset of the archive."""

    version: str
    variant: str
    npy_dir: str
    landmask_dir: str
    years: Tuple[int, ...]
    tiles: Tuple[Tile, ...]
    rotation: int
    """Another number is another feature space."""
    water_scale: float
    """Scale of water; 0 where water is all-zero codes with an ordinary scale."""


ALL_TILES = tuple(
    sorted(layout.cambridge_tiles() + layout.equator_tiles(), key=lambda t: (t.lon_i, t.lat_i))
)

DATASETS = (
    SampleDataset("1.1", "cambridge", "v1.1-cam", "v1.1", (2023, 2024), ALL_TILES, 0, float("nan")),
    SampleDataset("1.0", "vultr", "v1", "v1", (2024,), ALL_TILES, 7, 0.0),
)


class LabelPoint(NamedTuple):
    lon: float
    lat: float
    class_id: int


class SampleArchive:
    """A provider for RangeServer, and the truth about what it serves. Safe to use from threads."""

    classes = CLASSES

    def __init__(
        self,
        seed: int = 0,
        datasets: Sequence[SampleDataset] = DATASETS,
        zarr_areas: Sequence[Area] = AREAS,
        zarr_folder: Optional[Path] = None,
    ) -> None:
        self.seed = seed
        self.datasets: Dict[str, SampleDataset] = {one.npy_dir: one for one in datasets}
        self._land_seed = 1009 * seed
        self._grounds: Memo[Ground] = Memo(64)
        self._planted: Memo[Optional[NDArray[np.uint8]]] = Memo(2048)
        self._tables: Memo[NDArray[np.float32]] = Memo(256)
        self._spectra: Memo[Spectrum] = Memo(16)
        self._chunks: Memo[NDArray[np.int8]] = Memo(24)
        self._scales: Memo[NDArray[np.float32]] = Memo(8)
        self._scale_etags: Memo[str] = Memo(1024)
        self._small: Memo[bytes] = Memo(256)
        self.zarr = ZarrStores(self, zarr_areas, zarr_folder)

    # ------------------------------------------------------------------------------- what is true
    def truth(self, zone: int, row: int, col: int, height: int, width: int) -> NDArray[np.uint8]:
        """Return the class ids (1 to 6) of a window of a zone's grid, under water too."""
        out = np.empty((height, width), np.uint8)
        for block_row, block_col, there, here in _pieces(row, col, height, width):
            out[here] = self._ground(zone, block_row, block_col).classes[there]
        return out

    def planted(self, zone: int, row: int, col: int, height: int, width: int) -> NDArray[np.uint8]:
        """Return the planted.Kind of each pixel of a window; the gap, in one tile only, is not in it."""
        out = np.zeros((height, width), np.uint8)
        for block_row, block_col, there, here in _pieces(row, col, height, width):
            block = self._planted_block(zone, block_row, block_col)
            if block is not None:
                out[here] = block[there]
        return out

    def label_points(
        self,
        bbox: Tuple[float, float, float, float] = ground_module.DEMO,
        per_class: int = 8,
        seed: int = 0,
    ) -> List[LabelPoint]:
        """Return points as a careful person would click them: well inside parcels, far apart.

        The box (west, south, east, north in degrees) must lie in one zone. Points of a class come
        together, classes in ascending order; fewer of them where there is no room for more.
        """
        zone, row, col, height, width = window_of(bbox)
        classes = self.truth(zone, row, col, height, width)
        sound = self.planted(zone, row, col, height, width) == Kind.SOUND
        draw = np.random.Generator(np.random.PCG64(seed))
        core = _core(classes) & sound & _inside(bbox, zone, row, col, height, width)
        points: List[LabelPoint] = []
        for land_class in CLASSES:
            at = np.argwhere(core & (classes == land_class.id))
            chosen = _far_apart(at[draw.permutation(len(at))], per_class)
            for r, c in chosen:
                lon, lat = layout.lonlat(zone, np.array([row + r + 0.5]), np.array([col + c + 0.5]))
                points.append(LabelPoint(float(lon[0]), float(lat[0]), land_class.id))
        return points

    def tile_arrays(
        self, npy_dir: str, year: int, name: str, rows: Optional[Tuple[int, int]] = None
    ) -> Tuple[NDArray[np.int8], NDArray[np.float32]]:
        """Return exactly what the files hold: codes (rows, W, 128) and scales (rows, W).

        `rows` is (start, stop) within the tile; None for all of it (100 MB).
        """
        dataset, tile = self._published(npy_dir, year, name)
        start, stop = rows or (0, self.footprint(name).height)
        codes = self.tile_codes(dataset, year, tile, (start, stop))
        return codes, self.tile_scales(dataset, year, tile)[start:stop].copy()

    def tile_codes(
        self, dataset: SampleDataset, year: int, tile: Tile, rows: Tuple[int, int]
    ) -> NDArray[np.int8]:
        """Return the codes of rows of a tile, of a dataset that need not be in the archive."""
        place = layout.footprint(tile)
        start, stop = rows
        codes = np.empty((stop - start, place.width, DEPTH), np.int8)
        for chunk in range(start // CHUNK_ROWS, (stop - 1) // CHUNK_ROWS + 1):
            first = chunk * CHUNK_ROWS
            a, b = max(start, first), min(stop, first + CHUNK_ROWS)
            codes[a - start : b - start] = self._chunk(dataset, year, tile, chunk)[
                a - first : b - first
            ]
        return codes

    def is_zero(
        self, dataset: SampleDataset, zone: int, row: int, col: int, height: int, width: int
    ) -> NDArray[np.bool_]:
        """Return where a dataset's codes are all zero, without making them."""
        return self._is_zero(dataset, self.planted(zone, row, col, height, width))

    def zarr_window(
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
        """Return what a Zarr store holds: codes (H, W, D), scales (H, W) with NaN and +inf.

        Row and column are of the zone grid. +inf with codes 0: never written. Raises: KeyError.
        """
        return self.zarr.window(store, year, zone, row, col, height, width, depth)

    def footprint(self, name: str) -> Footprint:
        """Return where a tile's pixels lie on the zone grid."""
        return layout.footprint(Tile.parse(name))

    def tile_names(self, npy_dir: str) -> Tuple[str, ...]:
        """Return the names of the tiles published in a dataset, ascending by longitude, latitude."""
        return tuple(tile.name for tile in self.datasets[npy_dir].tiles)

    # ------------------------------------------------------------------------------- what is served
    def find(self, path: str) -> Optional[Resource]:
        if path.startswith("zarr/"):
            return self.zarr.find(path)
        match = _TILE.fullmatch(path)
        if match:
            return self._tile_file(*match.groups())
        make = self._small_file(path)
        if make is None:
            return None
        data = self._small.get(path, make)
        return Resource(
            len(data), md5_hex(data), layout.PUBLISHED, lambda start, stop: data[start:stop]
        )

    def _small_file(self, path: str) -> Optional[Callable[[], bytes]]:
        """Return what makes a manifest or landmask, or None where nothing is published."""
        parts = path.split("/")
        for dataset in self.datasets.values():
            if parts == ["npy", dataset.npy_dir, "manifest.parquet"]:
                return lambda: self._manifest(dataset)
            if parts[:2] == ["landmasks", dataset.landmask_dir] and len(parts) == 3:
                names = {f"{tile.name}.tiff": tile for tile in dataset.tiles}
                if parts[2] == "landmasks.parquet":
                    return lambda: self._landmask_index(dataset)
                if parts[2] in names:
                    return lambda: self._landmask(dataset, names[parts[2]])
        return None

    def _published(self, npy_dir: str, year: int, name: str) -> Tuple[SampleDataset, Tile]:
        dataset = self.datasets[npy_dir]
        tile = Tile.parse(name)
        if year not in dataset.years or tile not in dataset.tiles:
            raise KeyError(f"{npy_dir}/{year}/{name} is not published")
        return dataset, tile

    def _tile_file(
        self, npy_dir: str, year_text: str, folder: str, name: str, scales: Optional[str]
    ) -> Optional[Resource]:
        try:
            dataset, tile = self._published(npy_dir, int(year_text), name)
        except (KeyError, ValueError):
            return None
        if folder != name or tile.name != name:
            return None
        year = int(year_text)
        return (
            self._scales_file(dataset, year, tile)
            if scales
            else self._codes_file(dataset, year, tile)
        )

    def _codes_file(self, dataset: SampleDataset, year: int, tile: Tile) -> Resource:
        place = layout.footprint(tile)
        header = layout.npy_header((place.height, place.width, DEPTH), "|i1")
        identity = f"{GENERATOR}/{self.seed}/{dataset.npy_dir}/{year}/{tile.name}"

        def read(start: int, stop: int) -> bytes:
            parts = [header[start:stop]] if start < len(header) else []
            first, last = max(start - len(header), 0), stop - len(header)
            chunk_bytes = CHUNK_ROWS * place.width * DEPTH
            while first < last:
                chunk, offset = divmod(first, chunk_bytes)
                size = min(last - first, chunk_bytes - offset)
                flat = self._chunk(dataset, year, tile, chunk).reshape(-1)
                parts.append(flat[offset : offset + size].tobytes())
                first += size
            return b"".join(parts)

        return Resource(
            length=len(header) + place.height * place.width * DEPTH,
            # As of an object uploaded in twelve parts: no digest of the content.
            etag=hashlib.md5(identity.encode(), usedforsecurity=False).hexdigest() + "-12",
            last_modified=layout.PUBLISHED,
            read=read,
        )

    def _scales_file(self, dataset: SampleDataset, year: int, tile: Tile) -> Resource:
        place = layout.footprint(tile)
        header = layout.npy_header((place.height, place.width), "<f4")

        def body() -> bytes:
            return header + self.tile_scales(dataset, year, tile).tobytes()

        def read(start: int, stop: int) -> bytes:
            flat = self.tile_scales(dataset, year, tile).reshape(-1).view(np.uint8)
            first = max(start - len(header), 0)
            return header[start:stop] + flat[first : max(stop - len(header), 0)].tobytes()

        key = (dataset.npy_dir, year, tile)
        return Resource(
            length=len(header) + place.height * place.width * 4,
            etag=self._scale_etags.get(key, lambda: md5_hex(body())),
            last_modified=layout.PUBLISHED,
            read=read,
        )

    def _manifest(self, dataset: SampleDataset) -> bytes:
        rows = []
        for tile in dataset.tiles:
            place = layout.footprint(tile)
            pixels = place.height * place.width
            header = len(layout.npy_header((place.height, place.width, DEPTH), "|i1"))
            sizes = {"grid_size": header + pixels * DEPTH, "scales_size": header + pixels * 4}
            rows += [{"tile": tile, "year": year, **sizes} for year in dataset.years]
        return files.manifest(dataset.version, dataset.variant, dataset.npy_dir, rows)

    def _landmask(self, dataset: SampleDataset, tile: Tile) -> bytes:
        place = layout.footprint(tile)
        mask = np.ones((place.height, place.width), np.uint8)
        # The set of 1.1 is a mere list of cells: ones all over.
        if dataset.landmask_dir == "v1":
            mask[self._tile_planted(tile) == Kind.WATER] = 0
        return files.landmask_tiff(tile, mask)

    def _landmask_index(self, dataset: SampleDataset) -> bytes:
        paths = [f"landmasks/{dataset.landmask_dir}/{tile.name}.tiff" for tile in dataset.tiles]
        found = [self.find(path) for path in paths]
        return files.landmask_index(dataset.tiles, [one.length for one in found if one])

    # ------------------------------------------------------------------------------- how it is made
    def _ground(self, zone: int, block_row: int, block_col: int) -> Ground:
        key = (zone, block_row, block_col)
        return self._grounds.get(key, lambda: ground_module.ground(self._land_seed, *key))

    def _planted_block(
        self, zone: int, block_row: int, block_col: int
    ) -> Optional[NDArray[np.uint8]]:
        key = (zone, block_row, block_col)
        return self._planted.get(key, lambda: planted.planted_block(*key))

    def _tile_planted(self, tile: Tile) -> NDArray[np.uint8]:
        place = layout.footprint(tile)
        kind = self.planted(place.zone, place.row, place.col, place.height, place.width)
        if tile.name == planted.GAP[0]:
            row, col, stop_row, stop_col = planted.gap_window()
            rows = slice(row - place.row, stop_row - place.row)
            kind[rows, col - place.col : stop_col - place.col] = Kind.GAP
        return kind

    def _draw(
        self, dataset: SampleDataset, year: int, tile: Tile, part: int
    ) -> np.random.Generator:
        identity = [
            GENERATOR,
            self.seed,
            dataset.rotation,
            year,
            tile.lon_i + 18000,
            tile.lat_i + 9000,
        ]
        return np.random.Generator(np.random.SFC64([*identity, part]))

    def tile_scales(self, dataset: SampleDataset, year: int, tile: Tile) -> NDArray[np.float32]:
        def make() -> NDArray[np.float32]:
            place = layout.footprint(tile)
            # Drawn by themselves and not as max|x| / 127: then their digest costs no embeddings.
            draw = self._draw(dataset, year, tile, 0)
            scales = draw.standard_normal((place.height, place.width), np.float32)
            scales *= np.float32(SCALE_SPREAD)
            scales += np.float32(SCALE_MEAN)
            np.clip(scales, *SCALE_LIMITS, out=scales)
            planted.put_scales(scales, self._tile_planted(tile), place, dataset.water_scale)
            return scales

        return self._scales.get((dataset.npy_dir, year, tile), make)

    def _chunk(self, dataset: SampleDataset, year: int, tile: Tile, chunk: int) -> NDArray[np.int8]:
        key = (dataset.npy_dir, year, tile, chunk)
        return self._chunks.get(key, lambda: self._make_chunk(dataset, year, tile, chunk))

    def _make_chunk(
        self, dataset: SampleDataset, year: int, tile: Tile, chunk: int
    ) -> NDArray[np.int8]:
        """Return rows chunk * 16 and on of a tile: codes (16 or fewer at the end, W, 128)."""
        place = layout.footprint(tile)
        first = chunk * CHUNK_ROWS
        height = min(CHUNK_ROWS, place.height - first)
        space = self._spectrum(dataset, year)
        noise = self._draw(dataset, year, tile, 1 + chunk).standard_normal(
            (height, place.width, DEPTH), np.float32
        )
        codes = np.empty((height, place.width, DEPTH), np.int8)
        for block_row, block_col, there, here in _pieces(
            place.row + first, place.col, height, place.width
        ):
            land = self._ground(place.zone, block_row, block_col)
            table = self._table(dataset, year, place.zone, block_row, block_col)
            piece = noise[here] * space.noise
            x = np.empty_like(piece)
            embed(table, land, there, piece, x)
            codes[here] = quantise(x)
            kind = self._planted_block(place.zone, block_row, block_col)
            if kind is not None:
                codes[here][self._is_zero(dataset, kind[there])] = 0
        return codes

    @staticmethod
    def _is_zero(dataset: SampleDataset, kind: NDArray[np.uint8]) -> NDArray[np.bool_]:
        zero = (kind == Kind.UNWRITTEN) | (kind == Kind.EMPTY)
        return np.asarray(zero if dataset.water_scale else zero | (kind == Kind.WATER))

    def _spectrum(self, dataset: SampleDataset, year: int) -> Spectrum:
        key = (dataset.rotation, year)
        return self._spectra.get(key, lambda: spectrum(*key))

    def _table(
        self, dataset: SampleDataset, year: int, zone: int, block_row: int, block_col: int
    ) -> NDArray[np.float32]:
        def make() -> NDArray[np.float32]:
            land = self._ground(zone, block_row, block_col)
            return self._spectrum(dataset, year).endmembers(self._land_seed, land)

        return self._tables.get((dataset.npy_dir, year, zone, block_row, block_col), make)


_TILE = re.compile(
    r"npy/([^/]+)/(\d{4})/(grid_[-\d.]+_[-\d.]+)/(grid_[-\d.]+_[-\d.]+?)(_scales)?\.npy"
)

Slices = Tuple[slice, slice]


def _pieces(
    row: int, col: int, height: int, width: int
) -> Iterator[Tuple[int, int, Slices, Slices]]:
    """Cut a window at the blocks: (block row, block column, where in the block, where in the window)."""
    for block_row in range(row // BLOCK_PX, (row + height - 1) // BLOCK_PX + 1):
        rows = _share(row, height, block_row)
        for block_col in range(col // BLOCK_PX, (col + width - 1) // BLOCK_PX + 1):
            cols = _share(col, width, block_col)
            yield block_row, block_col, (rows[0], cols[0]), (rows[1], cols[1])


def _share(start: int, size: int, block: int) -> Slices:
    first = block * BLOCK_PX
    a, b = max(start, first), min(start + size, first + BLOCK_PX)
    return slice(a - first, b - first), slice(a - start, b - start)


def window_of(bbox: Tuple[float, float, float, float]) -> Tuple[int, int, int, int, int]:
    """Return zone, row, col, height, width of the pixels under a box within one zone."""
    west, south, east, north = bbox
    zone = Tile(round(50 * (west + east)), round(50 * (south + north))).zone
    t = np.linspace(0, 1, 21)
    lon = np.concatenate([west + t * (east - west)] * 2 + [np.full(21, west), np.full(21, east)])
    lat = np.concatenate(
        [np.full(21, south), np.full(21, north)] + [south + t * (north - south)] * 2
    )
    e, n = layout.transformer(4326, 32600 + zone).transform(lon, lat)
    row, stop_row = int(np.floor(-max(n) / 10)), int(np.ceil(-min(n) / 10))
    col, stop_col = int(np.floor(min(e) / 10)), int(np.ceil(max(e) / 10))
    return zone, row, col, stop_row - row, stop_col - col


def _inside(
    bbox: Tuple[float, float, float, float], zone: int, row: int, col: int, height: int, width: int
) -> NDArray[np.bool_]:
    rows, cols = np.mgrid[row : row + height, col : col + width] + 0.5
    lon, lat = layout.lonlat(zone, rows.ravel(), cols.ravel())
    west, south, east, north = bbox
    inside = (lon > west) & (lon < east) & (lat > south) & (lat < north)
    return np.asarray(inside.reshape(height, width))


def _core(classes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return where all pixels two steps around are of the same class."""
    core = np.zeros(classes.shape, bool)
    middle = classes[2:-2, 2:-2]
    same = np.ones(middle.shape, bool)
    for i in range(5):
        for j in range(5):
            same &= classes[i : i + middle.shape[0], j : j + middle.shape[1]] == middle
    core[2:-2, 2:-2] = same
    return core


def _far_apart(candidates: NDArray[np.intp], count: int) -> List[Tuple[int, int]]:
    """Return up to `count` of the candidates, at first 400 m from each other, nearer if it must be."""
    for apart in (40, 20, 10, 3):
        chosen: List[Tuple[int, int]] = []
        for r, c in candidates[:20000]:
            if all((r - a) ** 2 + (c - b) ** 2 >= apart**2 for a, b in chosen):
                chosen.append((int(r), int(c)))
            if len(chosen) == count:
                return chosen
    return chosen
