# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""From a part of a scene to the records of its pixels."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Callable, Iterator, Tuple

import numpy as np
from numpy.typing import NDArray

from ..encoders.spec import EncoderSpec
from ..job import Job
from .ahead import one_ahead
from .blocks import Place
from .dpixel import Tile
from .looks import Looks
from .pace import Pace
from .prepare import Inputs, Prepared
from .quantise import quantise
from .sampling import Ints, Keys, keys_of


class NotFinite(Exception):  # noqa: N818
    """An embedding holds a NaN or an infinity; where, in words."""


@dataclass(frozen=True)
class Ready:
    """A part that was read."""

    prepared: Prepared
    looks: Looks
    """What its raw numbers look like."""
    rows: Ints
    """Of its pixels, on the zone grid; one axis after the other makes them all."""
    cols: Ints


@dataclass(frozen=True)
class Work:
    """What every part needs."""

    tile: Tile
    spec: EncoderSpec
    pace: Pace
    record: Any
    """The type of a pixel's record."""
    row: int
    """Of the tile's first pixel on the zone grid."""
    col: int
    seed: int
    job: Job
    making: Executor
    """Makes the inputs of a batch."""

    def read(self, place: Place) -> Ready:
        """Read a part, and find what is valid in it; on any thread.

        Raises: InputUnusable, JobCancelled.
        """
        pixels = self.tile.read(*place, self.job.stop_if_cancelled)
        rows = np.arange(self.tile.height)[place[0]] + self.row
        cols = np.arange(self.tile.width)[place[1]] + self.col
        looks = Looks(self.spec)
        looks.add(pixels)
        return Ready(Prepared(pixels, self.spec, self._keys(rows, cols)), looks, rows, cols)

    def _keys(self, rows: Ints, cols: Ints) -> Keys:
        return keys_of(self.seed, np.repeat(rows, len(cols)), np.tile(cols, len(rows)))

    def records(self, ready: Ready, done: Callable[[int], None]) -> NDArray[Any]:
        """Return the records of a part, (rows, columns); `done` is told how many pixels are.

        Raises: NotFinite, JobCancelled, and what the encoder raises.
        """
        found = np.zeros(len(ready.rows) * len(ready.cols), self.record)
        found["scale"] = np.nan
        found["seen"] = ready.prepared.counts
        depth = found["codes"].shape[1]
        done(int((~ready.prepared.is_encoded).sum()))
        for px, embeddings in self._embedded(ready.prepared):
            self._expect_finite(embeddings, px, ready)
            codes, scales = quantise(embeddings[:, :depth], self.spec.quantisation)
            found["codes"][px], found["scale"][px] = codes, scales
            done(len(px))
        return found.reshape(len(ready.rows), len(ready.cols))

    def _embedded(self, prepared: Prepared) -> Iterator[Tuple[Ints, NDArray[np.float32]]]:
        """Yield pixels and their embeddings; the next inputs are made on another thread."""
        draws = self.spec.sampling.draws
        batches = prepared.batches(lambda: self.pace.batch_px)
        wanted = ((px, draw) for px in batches for draw in range(draws))

        def make(asked: Tuple[Ints, int]) -> Inputs:
            return prepared.inputs(*asked)

        total: Any = 0
        for (px, draw), inputs in one_ahead(self.making, make, wanted):
            self.job.check()
            total = self.pace.run(inputs) + (total if draw else 0)
            if draw == draws - 1:
                yield px, total / np.float32(draws)

    def _expect_finite(self, embeddings: NDArray[np.float32], px: Ints, ready: Ready) -> None:
        is_finite = np.isfinite(embeddings).all(axis=1)
        if is_finite.all():
            return
        row, col = divmod(int(px[~is_finite].min()), len(ready.cols))
        raise NotFinite(
            f"{int((~is_finite).sum())} of {len(px)} pixels became no numbers in "
            f"{self.spec.precision} on {self.pace.provider}, the first of them in row "
            f"{ready.rows[row]}, column {ready.cols[col]}"
        )
