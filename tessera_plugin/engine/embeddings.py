# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Embeddings of an extent: opened, fetched into the cache, dequantised."""

from __future__ import annotations

import contextlib
import functools
import math
from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, Iterator, List, Optional, Protocol, Sequence, Tuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..compute.client import WorkerClient
from ..errors import (
    DecoderMissing,
    DiskFull,
    NetworkFailed,
    NothingPublished,
    NotWritable,
    StoreUnusable,
    TesseraError,
)
from ..io.folder import is_folder
from ..io.projection import LONLAT, centre_lonlat, transform_points, zone_crs
from ..io.sources.base import EmbeddingSource, Failure, FetchOptions, FetchSummary
from ..io.sources.choice import Choice, choose, other_form
from ..io.sources.local_store import LocalStore
from ..io.sources.npy_tiles import NpyTiles
from ..io.sources.zarr_store import ZarrStore
from ..io.tiling import rows_to_read
from ..io.zarr.decode import Unpacker
from ..progress import Gate, Report, part, silent
from ..values import BLOCK_PX, LOCAL, PIXEL_M, Access, Dataset, Extent, State, Window
from . import catalog, grid
from .unpack import by_worker

__all__ = [
    "EmbeddingSource",
    "Failure",
    "FetchRequest",
    "FetchResult",
    "FetchSummary",
    "OnBlocks",
    "dequantise",
    "download_bytes",
    "fetch",
    "fetch_years",
    "open_source",
    "over_extent",
    "provenance_tags",
    "valid_mask",
    "with_source",
]

CELL_PX = {4: 128, 16: 64, 128: 32}
"""Edge of a chunk of the published stores by depth: the least that is fetched of them."""

SHARD_PX = 4096

STORE_BYTES = 1_500_000
"""A store's metadata, which the first fetch brings."""

OnBlocks = Callable[[EmbeddingSource, Sequence[Window]], None]
"""Called with an open source and the blocks that it now has, see `FetchOptions.arrived`."""

_Made = TypeVar("_Made")


@dataclass(frozen=True)
class FetchRequest:
    """Which embeddings to bring into the cache."""

    dataset: str
    """Key of the dataset, `1.1-dclimate`."""
    year: int
    extent: Extent
    access: Access
    limit_px: int = 50_000_000
    """Extents of more pixels are refused before anything is asked."""
    depth: int = 0
    """Dimensions, where the dataset is published in several; 0 for all of them."""


@dataclass(frozen=True)
class FetchResult:
    """What is in the cache now."""

    windows: Tuple[Window, ...]
    """One per UTM zone."""
    summary: FetchSummary
    dataset: str
    year: int
    depth: int = 0
    form: str = ""
    """`zarr` or `npy`: read the result with `Access.form` set to it."""
    form_reason: str = ""
    """Why the store was not read but the tiles, as a clause; empty where it was."""
    error: Optional[TesseraError] = None
    """What ended the fetch of this year, where several were asked for."""


# --- sources


def open_source(
    dataset_key: str,
    year: int,
    access: Access,
    depth: int = 0,
    *,
    report: Report = silent,
    unpack: Optional[Unpacker] = None,
) -> EmbeddingSource:
    """Return the source of a dataset, year and depth: its store where it can be read, else tiles.

    `access.form` forces one. Where there are both, the network is asked for what the store says of
    itself, once a session, unless `access` is offline: not to be called in the GUI's thread.
    Close it when done.
    Raises: UnknownDataset, UnknownYear, DepthNotOffered, FormNotOffered, Cancelled, DiskFull,
    NotWritable; LocationUnusable where the folder of a local dataset can't be read.
    """
    wanted = _Wanted.of(dataset_key, year, access, depth, unpack)
    return wanted.open(wanted.choose(report))


@contextlib.contextmanager
def cached_source(
    dataset_key: str, year: int, access: Access, depth: int = 0
) -> Iterator[EmbeddingSource]:
    """Give the source as it is in the cache: nobody is asked for anything. Closed at the end.

    Raises: as `open_source`.
    """
    with contextlib.closing(
        open_source(dataset_key, year, replace(access, offline=True), depth)
    ) as source:
        yield source


def with_source(
    dataset_key: str,
    year: int,
    access: Access,
    work: Callable[[EmbeddingSource, str], _Made],
    *,
    depth: int = 0,
    report: Report = silent,
    unpack: Optional[Unpacker] = None,
) -> _Made:
    """Return what `work` makes of the source, opened as by `open_source`, and the form's reason.

    Where a fetch finds that the store can't be used after all and there are tiles, `work` is done
    anew with those. Raises: as `open_source`; StoreUnusable, DecoderMissing where there are none.
    """
    wanted = _Wanted.of(dataset_key, year, access, depth, unpack)
    choice = wanted.choose(report)
    try:
        with contextlib.closing(wanted.open(choice)) as source:
            return work(source, choice.reason)
    except (StoreUnusable, DecoderMissing) as error:
        other = other_form(access, wanted.dataset, year, wanted.depth, error)
        if other is None or other.form == choice.form:
            raise
    with contextlib.closing(wanted.open(other)) as source:
        return work(source, other.reason)


class OverExtent(Protocol):
    """A request over an extent."""

    @property
    def dataset(self) -> str:
        """Key of the dataset."""

    @property
    def year(self) -> int:
        """Of the embeddings."""

    @property
    def extent(self) -> Extent:
        """What it is about."""

    @property
    def access(self) -> Access:
        """Where embeddings come from."""

    @property
    def limit_px(self) -> int:
        """Extents of more pixels are refused."""


def over_extent(
    request: OverExtent,
    depth: int,
    work: Callable[[EmbeddingSource], _Made],
    report: Report = silent,
    worker: Optional[WorkerClient] = None,
) -> _Made:
    """Return what `work` makes of the source of a request, checked before anybody is asked.

    Raises: as `with_source`, ExtentInvalid, ExtentTooLarge.
    """
    dataset = catalog.dataset(request.dataset, request.access.stores)
    catalog.check_year(dataset, request.year)
    depth = catalog.check_depth(dataset, depth)
    grid.check_size(grid.windows_of(request.extent), request.limit_px, depth)
    return with_source(
        dataset.key, request.year, request.access, lambda source, _: work(source), depth=depth,
        report=report, unpack=by_worker(worker),
    )  # fmt: skip


def provenance_tags(source: EmbeddingSource) -> Dict[str, str]:
    """Return what is written into every file of what embeddings it was made of."""
    return {
        "TESSERA_DATASET_VERSION": source.dataset.version,
        "TESSERA_DATASET_VARIANT": source.dataset.variant,
        "TESSERA_YEAR": str(source.year),
        "TESSERA_DEPTH": str(source.depth),
        "TESSERA_FORM": source.form,
        **(source.provenance() if isinstance(source, LocalStore) else {}),
    }


@dataclass(frozen=True)
class _Wanted:
    """What is to be opened."""

    dataset: Dataset
    year: int
    depth: int
    access: Access
    unpack: Optional[Unpacker]

    @classmethod
    def of(
        cls, key: str, year: int, access: Access, depth: int, unpack: Optional[Unpacker] = None
    ) -> _Wanted:
        """Return it checked.

        Raises: UnknownDataset, UnknownYear, DepthNotOffered, LocationUnusable.
        """
        dataset = catalog.dataset(key, access.stores)
        catalog.check_year(dataset, year)
        if access.offline and is_folder(dataset.store or dataset.local or access.archive):
            access = replace(access, offline=False)  # it is no network that would be asked
        return cls(dataset, year, catalog.check_depth(dataset, depth), access, unpack)

    def choose(self, report: Report) -> Choice:
        """Return the form to read. Raises: as `open_source`."""
        return choose(
            self.access, self.dataset, self.year, self.depth, report=report, unpack=self.unpack
        )

    def open(self, choice: Choice) -> EmbeddingSource:
        """Return the source of a form. Raises: LocationUnusable."""
        if choice.form == LOCAL:
            return LocalStore(self.access, self.dataset, self.year)
        if choice.form == "npy":
            return NpyTiles(self.access, self.dataset, self.year)
        return ZarrStore(self.access, self.dataset, self.year, self.depth, self.unpack)


# --- fetching


def fetch(
    request: FetchRequest,
    report: Report = silent,
    *,
    gate: Optional[Gate] = None,
    on_blocks: Optional[OnBlocks] = None,
    worker: Optional[WorkerClient] = None,
) -> FetchResult:
    """Bring what the cache lacks of an extent, from its centre outwards; what fails is named.

    `gate` holds it back while it is closed; `worker` unpacks what this GDAL can't.
    Raises: UnknownDataset, UnknownYear, DepthNotOffered, FormNotOffered, ExtentInvalid,
    ExtentTooLarge, NothingPublished where the archive has nothing, StoreUnusable, DecoderMissing
    where there is a store only and it can't be read, LocationUnusable where the folder of a local
    dataset can't, NetworkFailed where no server answers and nothing is in the cache, DiskFull,
    NotWritable, Cancelled.
    """
    wanted = _Wanted.of(request.dataset, request.year, request.access, request.depth)
    depth = wanted.depth
    windows = grid.windows_of(request.extent)
    grid.check_size(windows, request.limit_px, depth)
    towards = towards_of(request.extent, windows)

    def work(source: EmbeddingSource, reason: str) -> FetchResult:
        arrived = functools.partial(on_blocks, source) if on_blocks else None
        summary = source.fetch(windows, report, FetchOptions(towards, gate, arrived))
        _check_something(source, windows, summary)
        return FetchResult(
            windows, summary, request.dataset, request.year, depth, source.form, reason
        )  # fmt: skip

    return with_source(
        request.dataset, request.year, request.access, work, depth=depth, report=report,
        unpack=by_worker(worker),
    )  # fmt: skip


def fetch_years(
    request: FetchRequest,
    years: Sequence[int],
    report: Report = silent,
    *,
    gate: Optional[Gate] = None,
    on_blocks: Optional[OnBlocks] = None,
    worker: Optional[WorkerClient] = None,
) -> Tuple[FetchResult, ...]:
    """Do `fetch` for several years in their order, and return a result for each.

    A year that fails does not stop those after it: its result has the `error`. What would end all
    of them is raised: DiskFull, NotWritable, Cancelled, and what is wrong with the request itself
    (UnknownDataset, DepthNotOffered, FormNotOffered, ExtentInvalid, ExtentTooLarge).
    """
    dataset = catalog.dataset(request.dataset, request.access.stores)
    depth = catalog.check_depth(dataset, request.depth)
    windows = grid.windows_of(request.extent)
    grid.check_size(windows, request.limit_px, depth)
    results: List[FetchResult] = []
    for number, year in enumerate(years):
        share = part(report, number / len(years), (number + 1) / len(years))
        one = replace(request, year=year)
        try:
            results.append(fetch(one, share, gate=gate, on_blocks=on_blocks, worker=worker))
        except (DiskFull, NotWritable):
            raise
        except TesseraError as error:
            pixels = sum(window.pixels for window in windows)
            nothing = FetchSummary(pixels, 0, 0, 0, 0)
            results.append(FetchResult(windows, nothing, dataset.key, year, depth, error=error))
    return tuple(results)


def download_bytes(
    dataset_key: str,
    windows: Sequence[Window],
    depth: int = 0,
    form: str = "",
    stores: Sequence[Dataset] = (),
) -> int:
    """Return about how many bytes a fetch takes with an empty cache, without asking anybody.

    Published tiles come in whole rows and stores in chunks, so this is more than the pixels
    themselves weigh. Raises: UnknownDataset.
    """
    dataset = catalog.dataset(dataset_key, stores)
    if dataset.local:
        return 0
    depth = depth or dataset.depth
    if (form or dataset.forms(depth)[0]) == "npy":
        return sum(map(_tile_pixels, windows)) * (depth + grid.SCALE_BYTES)
    return STORE_BYTES + sum(_store_bytes(window, depth) for window in windows)


def _tile_pixels(window: Window) -> int:
    return sum(rows * tile.footprint().width for tile, rows in rows_to_read(window).items())


def _store_bytes(window: Window, depth: int) -> int:
    """Return the bytes of the chunks and the shards' indexes for a window."""
    cell = CELL_PX.get(depth, CELL_PX[128])
    height, width = (-(-size // cell) + 1 for size in window.shape)  # one more, cut by edges
    shards = math.prod(size // SHARD_PX + 1 for size in window.shape)
    entries = (SHARD_PX // cell) ** 2 + (SHARD_PX // CELL_PX[128]) ** 2  # of codes and of scales
    chunks = height * width * cell * cell * (depth + grid.SCALE_BYTES)
    return chunks + shards * entries * 16


def towards_of(extent: Extent, windows: Sequence[Window]) -> Tuple[Tuple[int, int, int], ...]:
    """Return zone, row and column of the extent's centre in the grid of each window's zone."""
    centre = np.array([centre_lonlat(extent)])
    spots = []
    for zone in sorted({window.zone for window in windows}):
        ((east, north),) = transform_points(centre, LONLAT, zone_crs(zone))
        if math.isfinite(east) and math.isfinite(north):
            spots.append((zone, math.floor(-north / PIXEL_M), math.floor(east / PIXEL_M)))
    return tuple(spots)


def _check_something(
    source: EmbeddingSource, windows: Sequence[Window], summary: FetchSummary
) -> None:
    """Raise where there is nothing to work with and a reason for it."""
    if summary.valid_px:
        return
    if summary.unreachable and not summary.cached_px:
        reasons = {failure.reason for failure in summary.failed}
        raise NetworkFailed(summary.unreachable, min(reasons, default="no connection"))
    if not summary.failed and all(map(_is_outside, [source] * len(windows), windows)):
        raise NothingPublished(source.dataset.key, source.year)


def _is_outside(source: EmbeddingSource, window: Window) -> bool:
    """Whether nothing is published in a window; looks at it in strips to need little memory."""
    rows = range(window.row, window.stop_row, BLOCK_PX)
    strips = (
        Window(window.zone, row, window.col, min(BLOCK_PX, window.stop_row - row), window.width)
        for row in rows
    )
    return all(bool((source.states(strip) == State.OUTSIDE).all()) for strip in strips)


# --- pixels


def dequantise(codes: NDArray[np.int8], scales: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return embeddings (…, D) from codes (…, D) and scales (…); NaN where a pixel is not valid."""
    factors = np.where(valid_mask(codes, scales), scales, np.nan).astype(np.float32)
    return np.multiply(codes, factors[..., None], dtype=np.float32)


def valid_mask(codes: NDArray[np.int8], scales: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Return which pixels (…) are valid: 0 < scale < 1, and codes that are not all zero."""
    is_scaled: NDArray[np.bool_] = (scales > 0) & (scales < 1)  # NaN is neither
    return np.asarray(is_scaled & codes.any(axis=-1))
