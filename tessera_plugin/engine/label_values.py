# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The embeddings of labels' pixels, kept from one training to the next: a new label reads its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..io.sources.base import EmbeddingSource
from ..progress import Report, silent
from .ground import place_numbers
from .samples import LabelPixels, PixelValues, read_pixels

MOST_PX = 400_000
"""Pixels that are kept, 50 MB; beyond that all but those in use are forgotten."""


class KnownPixels:
    """Values of pixels of one source. Shapes: keys (n,), ascending; codes (n, D); others (n,)."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self._keys = np.zeros(0, np.int64)
        self._codes = np.zeros((0, 0), np.int8)
        self._scales = np.zeros(0, np.float32)
        self._arrived = np.zeros(0, np.bool_)

    def forget_missing(self) -> None:
        """Read again what the source did not have."""
        self._keep(self._arrived)

    def values(
        self, pixels: LabelPixels, source: EmbeddingSource, report: Report = silent
    ) -> PixelValues:
        """Return what is known of pixels, as `samples.read_pixels`, reading only new ones.

        Raises: Cancelled.
        """
        keys = place_numbers(pixels.zone, pixels.row, pixels.col)
        at = np.searchsorted(self._keys, keys)
        is_new = np.ones(len(keys), np.bool_)
        if len(self._keys):
            is_new = self._keys[np.minimum(at, len(self._keys) - 1)] != keys
        if is_new.any():
            self._take(keys[is_new], read_pixels(_some(pixels, is_new), source, report))
            if len(self._keys) > MOST_PX:
                self._keep(np.isin(self._keys, keys))
            at = np.searchsorted(self._keys, keys)
        return self._codes[at], self._scales[at], self._arrived[at]

    def _take(self, keys: NDArray[np.int64], values: PixelValues) -> None:
        codes, scales, arrived = values
        if len(self._keys):
            keys = np.concatenate([self._keys, keys])
            codes = np.concatenate([self._codes, codes])
            scales = np.concatenate([self._scales, scales])
            arrived = np.concatenate([self._arrived, arrived])
        order = np.argsort(keys, kind="stable")
        self._keys, self._codes = keys[order], codes[order]
        self._scales, self._arrived = scales[order], arrived[order]

    def _keep(self, kept: NDArray[np.bool_]) -> None:
        self._keys, self._codes = self._keys[kept], self._codes[kept]
        self._scales, self._arrived = self._scales[kept], self._arrived[kept]


def _some(pixels: LabelPixels, chosen: NDArray[np.bool_]) -> LabelPixels:
    return replace(
        pixels,
        zone=pixels.zone[chosen],
        row=pixels.row[chosen],
        col=pixels.col[chosen],
        label=pixels.label[chosen],
    )
