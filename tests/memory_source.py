# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A source of embeddings that are computed from their place: no archive, no cache, no network."""

import functools

import numpy as np

from tessera_plugin.engine import catalog
from tessera_plugin.io.projection import LONLAT, transform_points, zone_crs
from tessera_plugin.io.sources.base import Failure, FetchOptions, FetchSummary
from tessera_plugin.io.sources.blocks import thinning_picker
from tessera_plugin.values import BLOCK_PX, State, Window

CLASSES = 4
SHARE_INVALID = 0.05


class MemorySource:
    """Embeddings of four classes in patches of some hundred metres, a twentieth of them invalid."""

    def __init__(self, *, missing=(), fails=False, water=()):
        self.dataset = catalog.DATASETS[0]
        self.year = 2024
        self.depth = self.dataset.depth
        self.form = "zarr"
        self.missing = list(missing)
        """Windows that have to be fetched first; where fetches fail they stay unknown."""
        self.fails = fails
        self.water = list(water)
        """Windows without a valid pixel."""
        self.largest_read_px = 0
        self.is_closed = False

    def fetch(self, windows, report, options=FetchOptions()):  # noqa: B008 - frozen
        before = sum(int((self.states(w) == State.UNKNOWN).sum()) for w in windows)
        for index in range(10):
            report(index / 10, "fetch")
        failed = ()
        if self.fails and before:
            failed = (Failure("grid_0.05_52.05", "the server broke off"),)
        else:
            self.missing = []
            if options.arrived is not None:
                options.arrived([block for w in windows for block in w.whole_blocks()])
        pixels = sum(w.pixels for w in windows)
        valid = sum(int((self.states(w) == State.VALID).sum()) for w in windows)
        return FetchSummary(pixels=pixels, valid_px=valid, cached_px=pixels - before,
                            bytes_fetched=before * 132, requests=int(before > 0),
                            failed=failed)  # fmt: skip

    def read(self, window):
        self.largest_read_px = max(self.largest_read_px, window.pixels)
        return self._values(window)

    def _values(self, window):
        codes = np.zeros((*window.shape, self.depth), np.int8)
        scales = np.full(window.shape, np.nan, np.float32)
        for part in window.blocks():
            block = next(part.whole_blocks())
            whole_codes, whole_scales, _ = block_values(block)
            codes[part.slices_in(window)] = whole_codes[part.slices_in(block)]
            scales[part.slices_in(window)] = whole_scales[part.slices_in(block)]
        for hole in (*self.missing, *self.water):
            inside = hole.intersection(window)
            if inside:
                codes[inside.slices_in(window)] = 0
                scales[inside.slices_in(window)] = np.nan
        return codes, scales

    def states(self, window):
        _, scales = self._values(window)
        states = np.where(np.isnan(scales), State.WATER, State.VALID).astype(np.uint8)
        for hole in self.missing:
            inside = hole.intersection(window)
            if inside:
                states[inside.slices_in(window)] = State.UNKNOWN
        return states

    def picker(self, window):
        return thinning_picker(self)

    def close(self):
        self.is_closed = True


def longitudes(window):
    """Return the longitude of every pixel's centre. Shape (H, W)."""
    rows, cols = np.indices(window.shape)
    centres = np.column_stack([10 * (window.col + cols + 0.5).ravel(),
                               -10 * (window.row + rows + 0.5).ravel()])  # fmt: skip
    return transform_points(centres, zone_crs(window.zone), LONLAT)[:, 0].reshape(window.shape)


def true_classes(window):
    """Return the class (0 to 3) that the embeddings of every pixel were drawn from. Shape (H, W)."""
    classes = np.empty(window.shape, int)
    for part in window.blocks():
        block = next(part.whole_blocks())
        classes[part.slices_in(window)] = block_values(block)[2][part.slices_in(block)]
    return classes


@functools.lru_cache(maxsize=256)
def block_values(block):
    random = np.random.default_rng([block.zone, block.row + 2**24, block.col])
    patches = random.integers(0, CLASSES, (8, 8))
    classes = patches.repeat(BLOCK_PX // 8, axis=0).repeat(BLOCK_PX // 8, axis=1)
    turn = int(random.integers(1 << 20))  # noise is slow to draw: every block turns the same
    vectors = prototypes()[classes] + np.roll(noise(), turn, axis=0).reshape(*classes.shape, 128)
    largest = np.abs(vectors).max(axis=2)
    codes = np.rint(127 * vectors / largest[..., None]).astype(np.int8)
    scales = (largest / 127).astype(np.float32)
    invalid = random.random(classes.shape) < SHARE_INVALID
    codes[invalid], scales[invalid] = 0, np.nan
    return codes, scales, classes


@functools.lru_cache(maxsize=1)
def prototypes():
    return np.random.default_rng(0).normal(0, 1.5, (CLASSES, 128)).astype(np.float32)


@functools.lru_cache(maxsize=1)
def noise():
    return np.random.default_rng(1).normal(0, 2.0, (BLOCK_PX**2, 128)).astype(np.float32)


def sample(n=400):
    """Return embeddings (n, 128) and their classes (n,), for training."""
    window = Window(30, -580_096, 70_016, 128, 128)
    codes, scales, classes = block_values(window)
    valid = np.flatnonzero(np.isfinite(scales))
    chosen = np.random.default_rng(1).choice(valid, n, replace=False)
    x = codes.reshape(-1, 128)[chosen] * scales.reshape(-1)[chosen, None]
    return x.astype(np.float32), classes.reshape(-1)[chosen]
