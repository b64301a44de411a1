# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""About how much fetching windows takes: the directory of one file of each kind is looked at."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence

from ...errors import AccessRefused, NetworkFailed
from ..objects import NotFound, ObjectChanged
from .catalogues import SCL_ASSET, VH, VV
from .cog import Asker, missing_ranges, needed_blocks, read_front
from .plan import Piece, StacRequest
from .tiff import NotUsable, small_tiff
from .windows import grid_of, rectangle_of

ASSUMED_BYTES_PER_S = 3e6
ASSUMED_LATENCY_S = 0.2
ASSUMED_TILE_PX = 512
TRIES = 3
"""So many files of a kind are looked at, if the first ones don't meet the window."""

_MASK, _FINE, _COARSE, _RADAR = "mask", "10 m", "20 m", "radar"
_KINDS = {SCL_ASSET: _MASK, **dict.fromkeys(("B02", "B03", "B04", "B08"), _FINE),
          VV: _RADAR, VH: _RADAR}  # fmt: skip
_ASSUMED_BYTES_PER_PX = {_MASK: 0.06, _FINE: 1.5, _COARSE: 1.8, _RADAR: 3.2}
_PX_M = {_MASK: 20, _FINE: 10, _COARSE: 20, _RADAR: 10}


@dataclass(frozen=True)
class Costs:
    """What fetching takes, at most and about."""

    bytes: int
    seconds: float
    requests: int
    files_here: int
    files: int

    @property
    def sentence(self) -> str:
        """All that for people."""
        if self.files_here == self.files:
            return "Everything is here already."
        here = (
            f" {self.files_here} of {self.files} files are here already." if self.files_here else ""
        )
        return (f"To fetch: about {_size(self.bytes)} in about {self.requests:,} requests, "
                f"{_time(self.seconds)}; less where it is cloudy.{here}")  # fmt: skip


@dataclass(frozen=True)
class _File:
    """What a window of one file takes."""

    bytes: float
    requests: int
    latency_s: float = ASSUMED_LATENCY_S


def costs_of(request: StacRequest, pieces: Sequence[Piece], asker: Asker) -> Costs:
    """Return what fetching the windows of files takes that are not here. Raises: Cancelled."""
    lacking: Dict[str, List[Piece]] = defaultdict(list)
    for piece in pieces:
        if not piece.path(request).exists():
            lacking[_KINDS.get(piece.asset, _COARSE)].append(piece)
    each = {kind: _file(request, kind, found, asker) for kind, found in lacking.items()}
    total = sum(each[kind].bytes * len(found) for kind, found in lacking.items())
    requests = sum(each[kind].requests * len(found) for kind, found in lacking.items())
    latency = max((one.latency_s for one in each.values()), default=0.0)
    speed = min(ASSUMED_BYTES_PER_S, request.network.bytes_per_s or ASSUMED_BYTES_PER_S)
    seconds = total / speed + requests * latency / max(request.network.connections, 1)
    here = len(pieces) - sum(map(len, lacking.values()))
    return Costs(int(total), seconds, requests, here, len(pieces))


def _file(request: StacRequest, kind: str, pieces: Sequence[Piece], asker: Asker) -> _File:
    """Return what one file of a kind takes: one from the middle, else what is usual."""
    middle = len(pieces) // 2
    for piece in pieces[middle : middle + TRIES]:
        with contextlib.suppress(NetworkFailed, AccessRefused, NotFound, ObjectChanged, NotUsable):
            found = _looked_at(request, piece, asker)
            if found is not None:
                return found
    width, height = (
        edge * 10 / _PX_M[kind] + ASSUMED_TILE_PX for edge in request.window.shape
    )  # as many tiles as an edge meets on average
    return _File(width * height * _ASSUMED_BYTES_PER_PX[kind] + pieces[0].front_bytes, 2)


def _looked_at(request: StacRequest, piece: Piece, asker: Asker) -> Optional[_File]:
    began = time.monotonic()
    front = read_front(asker, piece.url, piece.front_bytes)
    latency = time.monotonic() - began
    rectangle = rectangle_of(request.window, grid_of(small_tiff(front.data, front.directory, {})))
    if rectangle is None:
        return None
    ranges = missing_ranges(front, needed_blocks(front, rectangle))
    size = len(front.data) + sum(stop - start for start, stop in ranges)
    return _File(size, 1 + len(ranges), latency)


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(count / 1e6, 0.1):,.1f} MB"


def _time(seconds: float) -> str:
    if seconds < 90:
        return "a minute or less" if seconds <= 60 else "about a minute"
    return f"about {seconds / 60:,.0f} minutes"
