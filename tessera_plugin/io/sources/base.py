# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What every source of embeddings can do, and what it tells of a fetch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, NamedTuple, Optional, Protocol, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ...progress import Gate, Report
from ...values import Dataset, Window


@dataclass(frozen=True)
class Failure:
    """A part that did not arrive."""

    part: str
    """Name of the tile."""
    reason: str
    """A few words, no sentence."""


@dataclass(frozen=True)
class FetchSummary:
    """What a fetch found; every pixel of the windows is either known now or in a failed part."""

    pixels: int
    valid_px: int
    cached_px: int
    """Known from what was kept before anything was asked, also that a tile or shard that would
    cover it is not published. A pixel that none would cover is not counted: of it nothing is kept."""
    bytes_fetched: int
    """Bodies received, probes and discarded ones included."""
    requests: int
    absent: Tuple[str, ...] = ()
    """Tiles that are not published."""
    failed: Tuple[Failure, ...] = ()
    unusual: Tuple[str, ...] = ()
    """Tiles whose data were kept although they are not as published data usually are."""
    seconds: float = 0.0
    unreachable: str = ""
    """Address of the object that was asked for last when no server answered any more."""

    def merged(self, other: FetchSummary) -> FetchSummary:
        """Return the sum of both."""
        return FetchSummary(
            pixels=self.pixels + other.pixels,
            valid_px=self.valid_px + other.valid_px,
            cached_px=self.cached_px + other.cached_px,
            bytes_fetched=self.bytes_fetched + other.bytes_fetched,
            requests=self.requests + other.requests,
            absent=_joined(self.absent, other.absent),
            failed=tuple(dict.fromkeys((*self.failed, *other.failed))),
            unusual=_joined(self.unusual, other.unusual),
            seconds=self.seconds + other.seconds,
            unreachable=self.unreachable or other.unreachable,
        )


@dataclass(frozen=True)
class FetchOptions:
    """How a fetch goes about it; none of it changes what comes."""

    towards: Tuple[Tuple[int, int, int], ...] = ()
    """Zone, row and column of the pixels to begin near, one per zone at most; where a zone has
    none the middle of its windows is taken."""
    gate: Optional[Gate] = None
    """Holds the fetch back while it is closed: nothing is received and nothing fails meanwhile."""
    arrived: Optional[Callable[[Sequence[Window]], None]] = None
    """Called with the blocks (whole, 128 x 128 px) that were just written to the cache or were
    there when the fetch began, each at least once; in the thread that called `fetch`, between two
    reports. What it raises ends the fetch."""


NO_OPTIONS = FetchOptions()


class Picked(NamedTuple):
    """Pixels that lie in some rows and columns of a block."""

    codes: NDArray[np.int8]
    """(n, m, D), 0 where not valid."""
    scales: NDArray[np.float32]
    """(n, m), NaN where not valid."""
    states: NDArray[np.uint8]
    """(n, m), `State`."""


class Picker(Protocol):
    """Reads every so many pixels of blocks from the cache; asks nobody."""

    def __call__(self, block: Window, rows: NDArray[np.intp], cols: NDArray[np.intp]) -> Picked:
        """Return a whole block's pixels in some of its rows and columns (0 to 127, ascending)."""
        ...


class EmbeddingSource(Protocol):
    """Embeddings of one dataset and year, kept in the cache."""

    dataset: Dataset
    year: int
    depth: int
    form: str
    """`zarr` or `npy`."""

    def fetch(
        self, windows: Sequence[Window], report: Report, options: FetchOptions = ...
    ) -> FetchSummary:
        """Bring what the cache lacks of the windows; parts that fail are named, not raised.

        Raises: Cancelled, DiskFull, NotWritable; what had arrived is kept.
        """

    def read(self, window: Window) -> Tuple[NDArray[np.int8], NDArray[np.float32]]:
        """Return codes (H, W, D) and scales (H, W) from the cache; asks nobody.

        Nodata: codes 0 and scale NaN, also where nothing is known.
        """

    def states(self, window: Window) -> NDArray[np.uint8]:
        """Return the `State` of every pixel (H, W), from the cache."""

    def picker(self, window: Window) -> Picker:
        """Return what reads single rows and columns of the blocks that a window touches."""

    def close(self) -> None:
        """Let go of everything."""


def _joined(first: Tuple[str, ...], second: Tuple[str, ...]) -> Tuple[str, ...]:
    return tuple(sorted({*first, *second}))
