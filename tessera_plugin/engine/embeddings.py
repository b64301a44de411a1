# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Embeddings of an extent: opened, fetched into the cache, dequantised."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..errors import NetworkFailed, NothingPublished
from ..io.sources.base import EmbeddingSource, Failure, FetchSummary
from ..io.sources.npy_tiles import NpyTiles
from ..io.sources.zarr_store import ZarrStore
from ..io.tiling import rows_to_read
from ..progress import Report, silent
from ..values import BLOCK_PX, Access, Extent, State, Window
from . import catalog, grid

__all__ = [
    "EmbeddingSource",
    "Failure",
    "FetchRequest",
    "FetchResult",
    "FetchSummary",
    "dequantise",
    "download_bytes",
    "fetch",
    "open_source",
    "valid_mask",
]

CHUNK_PX = 32
"""Edge of a chunk of the published stores: the least that is fetched of them."""

STORE_BYTES = 1_500_000
"""A store's metadata and a few indexes, which the first fetch brings."""


@dataclass(frozen=True)
class FetchRequest:
    """Which embeddings to bring into the cache."""

    dataset: str
    """Key of the dataset, `1.1-cambridge`."""
    year: int
    extent: Extent
    access: Access
    limit_px: int = 50_000_000
    """Extents of more pixels are refused before anything is asked."""


@dataclass(frozen=True)
class FetchResult:
    """What is in the cache now."""

    windows: Tuple[Window, ...]
    """One per UTM zone."""
    summary: FetchSummary
    dataset: str
    year: int


def open_source(dataset_key: str, year: int, access: Access) -> EmbeddingSource:
    """Return the source of a dataset and year: its tiles, or its store where it has none.

    Close it when done. Raises: UnknownDataset, UnknownYear.
    """
    dataset = catalog.dataset(dataset_key)
    catalog.check_year(dataset, year)
    if dataset.npy_dir:
        return NpyTiles(access, dataset, year)
    return ZarrStore(access, dataset, year)


def fetch(request: FetchRequest, report: Report = silent) -> FetchResult:
    """Bring what the cache lacks of an extent; parts that fail are named in the summary.

    Raises: UnknownDataset, UnknownYear, ExtentInvalid, ExtentTooLarge, NothingPublished where the
    archive has nothing, NetworkFailed where no server answers and nothing is in the cache,
    DiskFull, NotWritable, Cancelled.
    """
    with contextlib.closing(open_source(request.dataset, request.year, request.access)) as source:
        windows = grid.windows_of(request.extent)
        grid.check_size(windows, request.limit_px, source.depth)
        summary = source.fetch(windows, report)
        _check_something(source, windows, summary)
        return FetchResult(windows, summary, request.dataset, request.year)


def download_bytes(dataset_key: str, windows: Sequence[Window]) -> int:
    """Return about how many bytes a fetch takes with an empty cache, without asking anybody.

    Published tiles come in whole rows and stores in chunks, so this is more than the pixels
    themselves weigh. Raises: UnknownDataset.
    """
    dataset = catalog.dataset(dataset_key)
    pixels = map(_tile_pixels if dataset.npy_dir else _chunk_pixels, windows)
    more = 0 if dataset.npy_dir else STORE_BYTES
    return sum(pixels) * (dataset.depth + grid.SCALE_BYTES) + more


def _tile_pixels(window: Window) -> int:
    return sum(rows * tile.footprint().width for tile, rows in rows_to_read(window).items())


def _chunk_pixels(window: Window) -> int:
    height, width = (-(-size // CHUNK_PX) + 1 for size in window.shape)  # one more, cut by edges
    return height * width * CHUNK_PX * CHUNK_PX


def dequantise(codes: NDArray[np.int8], scales: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return embeddings (…, D) from codes (…, D) and scales (…); NaN where a pixel is not valid."""
    factors = np.where(valid_mask(codes, scales), scales, np.nan).astype(np.float32)
    return np.multiply(codes, factors[..., None], dtype=np.float32)


def valid_mask(codes: NDArray[np.int8], scales: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Return which pixels (…) are valid: 0 < scale < 1, and codes that are not all zero."""
    is_scaled: NDArray[np.bool_] = (scales > 0) & (scales < 1)  # NaN is neither
    return np.asarray(is_scaled & codes.any(axis=-1))


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
