# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How like some reference pixels all others are, and the sets of similar pixels that grow from them.

Likeness is the cosine to the nearest reference, of directions taken from the mean direction of the
place: all embeddings share most of their direction, which says nothing of what is there. A pixel's
scale does not matter to a direction, so likeness is computed from the codes alone.

Measured on the sample archive, mean average precision of finding the pixels of the reference's class
(one reference | five; bench/explore.py): cosine as it is 0.65 | 0.79; about the mean direction
0.67 | 0.82; about the mean and divided by the covariance, shrunk half way, 0.48 | 0.69: the covariance
of unlabelled pixels is mostly what tells classes apart, and that is what the division takes away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..io.outlines import Outline, outlines
from ..progress import Report, silent
from ..values import Window
from .products import product
from .regions import connected

STEPS = 10_000
"""Likeness is kept in whole hundredths of a percent: 10 000 is the same direction, 0 is none or less."""

NODATA = 65_535

CHUNK_PX = 16_384
"""Pixels between two looks at whether the work is to stop."""

STEP_PX = 1024
"""Pixels multiplied at once: so few stay in the processor's cache, and a product with few columns is
done in one thread; to share it out takes ten times as long where the processor is busy."""


@dataclass(frozen=True, eq=False)
class References:
    """The pixels that others are compared with."""

    directions: NDArray[np.float32]
    """(n, D), from the centre, of length 1."""
    centre: NDArray[np.float32]
    """(D,), the mean direction of the place."""

    @classmethod
    def of(cls, codes: NDArray[np.int8], centre: NDArray[np.float32]) -> References:
        """Return references. Shapes: codes (n, D), n >= 1, all of valid pixels; centre (D,).

        The centre comes of `centre_of`, or is zeros: then likeness is the cosine as it is.
        """
        if not len(codes) or not codes.any(axis=1).all():
            raise ValueError("a reference is a valid pixel")
        around = unit(codes) - centre
        length = np.sqrt(np.einsum("nd,nd->n", around, around))
        # a pixel that is the mean itself is like nothing more than like the rest
        return cls(around / np.maximum(length, 1e-6)[:, None], centre.astype(np.float32))

    def likeness(self, codes: NDArray[np.int8], report: Report = silent) -> NDArray[np.uint16]:
        """Return how like the nearest reference pixels are, in hundredths of a percent.

        Shapes: codes (n, D); result (n,). Nodata (65535) where all codes are 0.
        """
        columns = np.ascontiguousarray(np.vstack([self.directions, self.centre]).T)  # (D, n + 1)
        offsets = self.directions @ self.centre
        square = float(self.centre @ self.centre)
        result = np.empty(len(codes), np.uint16)
        for start in range(0, len(codes), CHUNK_PX):
            report(start / len(codes), "similarity")
            chunk = slice(start, start + CHUNK_PX)
            products, norms = products_of(codes[chunk], columns)
            is_zero = norms == 0
            norms[is_zero] = 1
            # |u - m|² = 1 - 2 u·m + |m|² for a direction u and the centre m
            length = np.sqrt(np.maximum(1 + square - 2 * products[:, -1] / norms, 1e-12))
            cosine = _largest(products[:, :-1], norms, offsets) / length
            found = np.rint(STEPS * np.clip(cosine, 0, 1)).astype(np.uint16)
            found[is_zero] = NODATA
            result[chunk] = found
        return result


def products_of(
    codes: NDArray[np.int8], columns: NDArray[np.float32]
) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return codes @ columns (n, k) and the lengths of codes (n,)."""
    products = np.empty((len(codes), columns.shape[1]), np.float32)
    squares = np.empty(len(codes), np.float32)
    buffer = np.empty((min(STEP_PX, len(codes)), columns.shape[0]), np.float32)
    for start in range(0, len(codes), STEP_PX):
        step = codes[start : start + STEP_PX]
        values = buffer[: len(step)]
        np.copyto(values, step)
        product(values, columns, out=products[start : start + len(step)])
        np.einsum("nd,nd->n", values, values, out=squares[start : start + len(step)])
    return products, np.sqrt(squares)


def _largest(
    products: NDArray[np.float32], norms: NDArray[np.float32], offsets: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the largest of products / norms - offsets in each row: column by column, rows are short."""
    largest = products[:, 0] / norms - offsets[0]
    for column, offset in zip(products.T[1:], offsets[1:]):
        np.maximum(largest, column / norms - offset, out=largest)
    return np.asarray(largest, np.float32)


def unit(codes: NDArray[np.int8]) -> NDArray[np.float32]:
    """Return directions (n, D) of length 1; zeros where all codes are 0."""
    values = codes.astype(np.float32)
    norms = np.sqrt(np.einsum("nd,nd->n", values, values))
    directions: NDArray[np.float32] = values / np.maximum(norms, 1)[:, None]
    return directions


def centre_of(codes: NDArray[np.int8]) -> NDArray[np.float32]:
    """Return the mean direction (D,) of pixels of a place. Shape: codes (n, D), all valid."""
    if not len(codes):
        raise ValueError("there is no pixel to take the mean of")
    return np.asarray(unit(codes).mean(axis=0, dtype=np.float64), np.float32)


def to_percent(likeness: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return likeness as uint8 percent, 255 = nodata."""
    percent = (likeness + np.uint16(STEPS // 200)) // np.uint16(STEPS // 100)
    return np.where(likeness == NODATA, np.uint16(255), percent).astype(np.uint8)


# --- the set that grows


@dataclass(frozen=True, eq=False)
class SimilarPixels:
    """Likeness of every pixel of a window, computed once: a slider asks it again and again."""

    window: Window
    likeness: NDArray[np.uint16]
    """(H, W), hundredths of a percent, 65535 = nodata."""
    seeds: Tuple[Tuple[int, int], ...]
    """Row and column on the zone grid of the references that lie in the window."""

    @classmethod
    def of(
        cls,
        window: Window,
        codes: NDArray[np.int8],
        scales: NDArray[np.floating[Any]],
        references: References,
        *,
        seeds: Sequence[Tuple[int, int]] = (),
        report: Report = silent,
    ) -> SimilarPixels:
        """Return it of a window's embeddings as a source reads them. Raises: Cancelled.

        Shapes: codes (H, W, D); scales (H, W); seeds are rows and columns on the zone grid.
        """
        found = references.likeness(codes.reshape(-1, codes.shape[2]), report)
        likeness = found.reshape(window.shape)
        likeness[~((scales > 0) & (scales < 1))] = NODATA
        return cls(window, likeness, tuple(seeds))

    def grow(self, threshold_percent: float, *, only_connected: bool = True) -> NDArray[np.bool_]:
        """Return the pixels (H, W) at least so like, all or those that hang together with a seed."""
        least = np.uint16(np.clip(np.ceil(threshold_percent * STEPS / 100 - 1e-9), 0, STEPS))
        mask: NDArray[np.bool_] = (self.likeness >= least) & (self.likeness != NODATA)
        if not only_connected:
            return mask
        return connected(mask, self.places)

    @property
    def places(self) -> Tuple[Tuple[int, int], ...]:
        """Row and column of the seeds within the window; those outside of it are left out."""
        top, left = self.window.row, self.window.col
        height, width = self.window.shape
        moved = ((row - top, col - left) for row, col in self.seeds)
        return tuple((r, c) for r, c in moved if 0 <= r < height and 0 <= c < width)

    def outlines(self, mask: NDArray[np.bool_]) -> Tuple[Outline, ...]:
        """Return the polygons of a set that was grown, in the metres of the zone."""
        return outlines(mask, self.window)
