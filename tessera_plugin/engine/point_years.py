# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The embedding of one place over the years: what changed there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..compute.client import WorkerClient
from ..errors import TesseraError
from ..progress import Report, part, silent
from ..values import Access, State, Window
from . import catalog
from .embeddings import cached_source, dequantise, with_source
from .similar_map import pixels_of
from .similarity import unit
from .unpack import by_worker


@dataclass(frozen=True)
class YearState:
    """What is known of a year."""

    year: int
    state: State
    """VALID where there is an embedding; UNKNOWN where it is not in the cache, or did not arrive."""
    error: Optional[TesseraError] = None
    """What kept the year from being read."""


@dataclass(frozen=True, eq=False)
class PointYears:
    """A pixel's embeddings, year by year."""

    pixel: Window
    years: Tuple[YearState, ...]
    embeddings: NDArray[np.float32]
    """(years, D), NaN where there is none."""
    cosine: NDArray[np.float32]
    """(years, years): of the directions of two years, NaN where one has none."""

    @property
    def valid_years(self) -> Tuple[int, ...]:
        """The years that have an embedding."""
        return tuple(each.year for each in self.years if each.state == State.VALID)

    def changes(self) -> Tuple[Tuple[int, int, float], ...]:
        """Return pairs of years that follow each other among the valid ones, and their cosine."""
        at = [number for number, each in enumerate(self.years) if each.state == State.VALID]
        return tuple(
            (self.years[a].year, self.years[b].year, float(self.cosine[a, b]))
            for a, b in zip(at[:-1], at[1:])
        )


def point_years(
    dataset_key: str,
    lon: float,
    lat: float,
    access: Access,
    years: Sequence[int] = (),
    *,
    depth: int = 0,
    fetch: bool = False,
    report: Report = silent,
    worker: Optional[WorkerClient] = None,
) -> PointYears:
    """Return the embedding of the pixel at a point for years, all of the dataset where none is given.

    What is in the cache; with `fetch` what is missing is fetched first. A year that can't be had
    does not stop the others: its `error` says why.
    Raises: UnknownDataset, UnknownYear, DepthNotOffered, ExtentInvalid, Cancelled.
    """
    dataset = catalog.dataset(dataset_key, access.stores)
    wanted = tuple(years) or dataset.years
    for year in wanted:
        catalog.check_year(dataset, year)
    depth = catalog.check_depth(dataset, depth)
    (pixel,) = pixels_of([(lon, lat)])
    codes = np.zeros((len(wanted), depth), np.int8)
    scales = np.full(len(wanted), np.nan, np.float32)
    states = []
    for number, year in enumerate(wanted):
        share = part(report, number / len(wanted), (number + 1) / len(wanted))
        share(0.0, f"{year}")
        try:
            reader = _Reader(dataset.key, year, access, depth, worker)
            codes[number], scales[number], state = reader.read(pixel, share, fetch=fetch)
            states.append(YearState(year, state))
        except TesseraError as error:
            states.append(YearState(year, State.UNKNOWN, error))
    return PointYears(pixel, tuple(states), dequantise(codes, scales), _cosine(codes, scales))


@dataclass(frozen=True)
class _Reader:
    """Reads one year of a pixel."""

    dataset: str
    year: int
    access: Access
    depth: int
    worker: Optional[WorkerClient]

    def read(
        self, pixel: Window, report: Report, *, fetch: bool
    ) -> Tuple[NDArray[np.int8], np.float32, State]:
        """Return codes (D,), scale and state."""
        if fetch:
            with_source(
                self.dataset, self.year, self.access,
                lambda source, _: source.fetch([pixel], report),
                depth=self.depth, report=report, unpack=by_worker(self.worker),
            )  # fmt: skip
        with cached_source(self.dataset, self.year, self.access, self.depth) as source:
            codes, scales = source.read(pixel)
            return codes[0, 0], np.float32(scales[0, 0]), State(int(source.states(pixel)[0, 0]))


def _cosine(codes: NDArray[np.int8], scales: NDArray[np.float32]) -> NDArray[np.float32]:
    directions = unit(codes)
    cosine = np.clip(directions @ directions.T, -1, 1)
    missing = ~np.isfinite(scales)
    cosine[missing] = np.nan
    cosine[:, missing] = np.nan
    return np.asarray(cosine, np.float32)
