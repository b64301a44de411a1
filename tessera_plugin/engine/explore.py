# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A look at embeddings: their three principal components as red, green and blue."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..errors import NoValidEmbeddings
from ..io import files, rasters
from ..io.sources.base import EmbeddingSource
from ..progress import Report, part, silent
from ..values import BLOCK_PX, Access, Extent, Window
from .embeddings import cached_source, dequantise, provenance_tags, valid_mask
from .grid import check_size, windows_of
from .products import product
from .zones import own_pixels, strips, zone_paths

SAMPLE_PX = 20_000
"""Pixels that the components and their stretch are computed from."""

SAMPLE_BLOCKS = 1_000
"""Blocks they are drawn from; all blocks of an extent of up to 16 million pixels."""

STRETCH_PERCENT = (2.0, 98.0)

_COLORS = 3
_CHUNK_PX = 16_384


@dataclass(frozen=True)
class PreviewRequest:
    """Which embeddings to look at, and where to write the picture."""

    dataset: str
    year: int
    extent: Extent
    access: Access
    out: str
    """The picture's `.tif`; over a zone seam `FILE_utm30.tif` and so on are written beside it."""
    limit_px: int = 50_000_000
    seed: int = 0
    depth: int = 0
    """Dimensions, where the dataset is published in several; 0 for all of them."""
    basis: Optional[Basis] = None
    """Components and stretch to use; without it those of a sample of the extent's pixels."""


@dataclass(frozen=True)
class PreviewResult:
    """The pictures, one per zone."""

    paths: Tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Basis:
    """Three principal components and their stretch, the same for all blocks of an extent."""

    mean: NDArray[np.float32]
    """(D,)."""
    components: NDArray[np.float32]
    """(D, 3), the strongest first; of each the largest number is positive."""
    low: NDArray[np.float32]
    """(3,), shown as 0."""
    high: NDArray[np.float32]
    """(3,), shown as 255."""
    gamma: float = 1.0
    """Over 1 what lies between gets brighter, under 1 darker."""


def preview(request: PreviewRequest, report: Report = silent) -> PreviewResult:
    """Write a picture of the embeddings that are in the cache; nothing is fetched.

    Raises: UnknownDataset, UnknownYear, DepthNotOffered, FormNotOffered, ExtentInvalid,
    ExtentTooLarge, NoValidEmbeddings, DiskFull, NotWritable.
    """
    with cached_source(request.dataset, request.year, request.access, request.depth) as source:
        windows = windows_of(request.extent)
        check_size(windows, request.limit_px, source.depth)
        return preview_from(source, windows, request.out, report, request.seed, basis=request.basis)


def preview_from(
    source: EmbeddingSource,
    windows: Sequence[Window],
    out: str,
    report: Report = silent,
    seed: int = 0,
    *,
    basis: Optional[Basis] = None,
) -> PreviewResult:
    """Do `preview` with a source that is open."""
    final = Path(out).absolute()
    tags = provenance_tags(source)
    with contextlib.ExitStack() as undo:
        folder = files.staging_folder(final)
        undo.callback(files.remove_folder, folder)
        if basis is None:
            basis = find_basis(source, windows, part(report, 0.0, 0.3), seed)
        staged = zone_paths(folder / final.name, windows)
        for index, (window, path) in enumerate(zip(windows, staged)):
            share = [0.3 + 0.7 * number / len(windows) for number in (index, index + 1)]
            of_zone = part(report, *share)
            with rasters.picture(path, window, tags) as writer:
                for place, picture in _pictures(source, basis, window, clip=len(windows) > 1):
                    of_zone(0.9 * (place.row - window.row) / window.height, "preview")
                    writer.write(place, picture)
                writer.finish(report=part(of_zone, 0.9, 1.0))
        pairs = [(path, final.with_name(path.name)) for path in staged]
        return PreviewResult(tuple(str(path) for path in files.publish_all(pairs)))


def find_basis(
    source: EmbeddingSource, windows: Sequence[Window], report: Report = silent, seed: int = 0
) -> Basis:
    """Return the components of a seeded sample of all valid pixels, at most 20 000.

    Raises: NoValidEmbeddings.
    """
    codes, scales = sample(source, windows, report, seed)
    if not len(codes):
        raise nothing_in_cache(source)
    return basis_of(dequantise(codes, scales))


def nothing_in_cache(source: EmbeddingSource) -> NoValidEmbeddings:
    """Return the error to raise where only the cache is asked and has nothing."""
    return NoValidEmbeddings(source.dataset.key, source.year, "nothing of it is in the cache")


def basis_of(embeddings: NDArray[np.float32], like: Optional[Basis] = None) -> Basis:
    """Return the components of a sample. Shape: embeddings (n, D), all valid, n >= 1.

    With `like` they are turned within their space, so that colours change as little as can be.
    """
    mean, components, _ = principal_components(embeddings, _COLORS)
    centred = embeddings - mean
    if like is not None:
        left, _, right = np.linalg.svd(components.T @ like.components)
        components = components @ (left @ right)
    low, high = stretch(centred @ components, STRETCH_PERCENT)
    return Basis(_single(mean), _single(components), _single(low), _single(high))


def _single(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(values, np.float32)


def principal_components(
    embeddings: NDArray[np.float32], count: int
) -> Tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return mean (D,), the strongest components (D, count) and their shares of the variance (count,).

    Shape: embeddings (n, D), all valid, n >= 1. Of each component the largest number is positive.
    """
    mean = embeddings.mean(axis=0, dtype=np.float64)
    centred = embeddings - mean
    variances, vectors = np.linalg.eigh(centred.T @ centred)  # ascending
    components = vectors[:, : -count - 1 : -1]
    largest = np.abs(components).argmax(axis=0)
    components = components * np.where(components[largest, range(count)] < 0, -1.0, 1.0)
    total = max(float(variances.sum()), 1e-12)
    return mean, components, np.maximum(variances[: -count - 1 : -1], 0) / total


def stretch(
    scores: NDArray[np.floating[Any]], percent: Tuple[float, float]
) -> Tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the values shown as 0 and as 255, by the percent of the scores (n, k) that lie below."""
    low, high = np.percentile(scores, percent, axis=0)
    return low, np.where(high > low, high, low + 1.0)  # one colour, where all pixels are alike


def levels(share: NDArray[np.floating[Any]], gamma: float) -> NDArray[np.uint8]:
    """Return 0 to 255 for shares of the stretch, cut at its ends."""
    inside = np.clip(share, 0, 1)
    bright = inside if gamma == 1 else inside ** (1 / gamma)
    found: NDArray[np.uint8] = np.rint(255 * bright).astype(np.uint8)
    return found


def colors(basis: Basis, codes: NDArray[np.int8], scales: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return pixels as red, green and blue.

    Shapes: codes (n, D); scales (n,), all valid; result (n, 3).
    """
    result = np.empty((len(codes), _COLORS), np.uint8)
    offset = basis.mean @ basis.components + basis.low
    for start in range(0, len(codes), _CHUNK_PX):
        chunk = slice(start, start + _CHUNK_PX)
        # (codes * scale - mean) @ components, the scale after the product on far fewer numbers
        projected = product(codes[chunk].astype(np.float32), basis.components)
        share = (projected * scales[chunk, None] - offset) / (basis.high - basis.low)
        result[chunk] = levels(share, basis.gamma)
    return result


def sample(
    source: EmbeddingSource, windows: Sequence[Window], report: Report, seed: int
) -> Tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return valid pixels, each as likely as any other: those that drew the smallest numbers.

    At most SAMPLE_PX. Shapes: codes (n, D); scales (n,); n may be 0.
    """
    codes: NDArray[np.int8] = np.empty((0, source.depth), np.int8)
    scales: NDArray[np.float32] = np.empty(0, np.float32)
    draws = np.empty(0)
    blocks = _some_blocks(windows, seed)
    for number, block in enumerate(blocks):
        report(number / len(blocks), "preview")
        block_codes, block_scales = source.read(block)
        valid = valid_mask(block_codes, block_scales)
        drawn = _draws(block, seed)[valid]
        limit = draws.max() if len(draws) == SAMPLE_PX else np.inf
        kept = drawn < limit
        codes = np.concatenate([codes, block_codes[valid][kept]])
        scales = np.concatenate([scales, block_scales[valid][kept]])
        draws = np.concatenate([draws, drawn[kept]])
        first = np.argsort(draws)[:SAMPLE_PX]
        codes, scales, draws = codes[first], scales[first], draws[first]
    return codes, scales


def _some_blocks(windows: Sequence[Window], seed: int) -> List[Window]:
    blocks = [block for window in windows for block in window.blocks()]
    if len(blocks) <= SAMPLE_BLOCKS:
        return blocks
    chosen = np.random.default_rng(seed).choice(len(blocks), SAMPLE_BLOCKS, replace=False)
    return [blocks[index] for index in np.sort(chosen)]


def _draws(block: Window, seed: int) -> NDArray[np.float64]:
    """Return a number per pixel that depends on its place only, not on the extent."""
    row, col = block.row // BLOCK_PX, block.col // BLOCK_PX
    whole = Window(block.zone, row * BLOCK_PX, col * BLOCK_PX, BLOCK_PX, BLOCK_PX)
    # seeds may not be negative; a shift of all rows keeps northern ones apart from southern
    random = np.random.default_rng([seed, block.zone, row + 2**20, col + 2**20])
    draws: NDArray[np.float64] = random.random(whole.shape)[block.slices_in(whole)]
    return draws


def _pictures(
    source: EmbeddingSource, basis: Basis, window: Window, *, clip: bool
) -> Iterator[Tuple[Window, NDArray[np.uint8]]]:
    """Yield a window strip by strip as red, green, blue and alpha (4, H, W)."""
    for strip in strips(window):
        codes, scales = source.read(strip)
        valid = valid_mask(codes, scales)
        if clip:
            valid &= own_pixels(strip)
        picture = np.zeros((_COLORS + 1, *strip.shape), np.uint8)
        picture[:_COLORS, valid] = colors(basis, codes[valid], scales[valid]).T
        picture[_COLORS, valid] = 255
        yield strip, picture
