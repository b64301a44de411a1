# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the cache holds, as values: blocks, how tiles lie over them, what is known of tiles."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Mapping, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from ..values import State, Window

NO_OWNER = 255
MAX_TILES = 16
"""Bits of the field `consulted`; up to 84° of latitude a block meets fewer tiles."""

META_BYTES = 4096
"""Room in a block's file for what it says of itself."""

Identity = Tuple[str, str]
"""ETags of a tile's codes and scales, or what stands for them."""

_LONG_ETAG = 48

# bits of the tiles before an owner; before NO_OWNER: all
_BEFORE = np.full(256, 0xFFFF, dtype=np.uint16)
_BEFORE[:MAX_TILES] = [(1 << index) - 1 for index in range(MAX_TILES)]


# --- what is known of tiles


@dataclass(frozen=True)
class ObjectInfo:
    """One published object, as it was when it was first asked for."""

    etag: str
    length: int
    last_modified: str
    offset: int
    """Where the array starts, in bytes."""
    head: str
    """The bytes before the array, as Latin-1."""

    @property
    def identity(self) -> str:
        """Tells one upload from another; short."""
        text = self.etag or f"{self.last_modified} {self.length}"
        if len(text) <= _LONG_ETAG:
            return text
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class TileInfo:
    """What is known of a published tile, or that it is not published."""

    name: str
    checked: float
    """When the server was asked, seconds since 1970."""
    shape: Tuple[int, int] = (0, 0)
    """Height and width; zeros where it is not published."""
    codes: Optional[ObjectInfo] = None
    scales: Optional[ObjectInfo] = None
    scale_bands: int = 1
    unusual: bool = False

    @property
    def absent(self) -> bool:
        """Whether the server said that there is no such tile."""
        return self.codes is None or self.scales is None

    @property
    def identity(self) -> Identity:
        """Of its codes and its scales."""
        if self.codes is None or self.scales is None:
            return ("", "")
        return (self.codes.identity, self.scales.identity)


# --- blocks


@dataclass(frozen=True)
class Layout:
    """How tiles lie over a block, in ascending (lon, lat): the order in which they win."""

    block: Window
    names: Tuple[str, ...]
    identities: Tuple[Identity, ...]
    """Empty strings where nothing is known of the tile, or it is not published."""
    parts: Tuple[Optional[Window], ...]
    """What of the block each covers; None where it is not published or does not reach."""

    def cover(self) -> NDArray[np.uint16]:
        """Return the tiles over each pixel as bits (128, 128)."""
        bits = np.zeros(self.block.shape, dtype=np.uint16)
        for index, part in enumerate(self.parts):
            if part is not None:
                bits[part.slices_in(self.block)] |= np.uint16(1 << index)
        return bits


@dataclass(frozen=True)
class Piece:
    """Rows of a tile as they arrived."""

    window: Window
    codes: NDArray[np.int8]
    """(H, W, D)"""
    scales: NDArray[np.float32]
    """(H, W), as published."""
    valid: NDArray[np.bool_]
    outside: Optional[NDArray[np.bool_]] = None
    """Where nothing was ever written, if the source knows that."""


@dataclass(frozen=True)
class Block:
    """A block's arrays: views of its record."""

    codes: NDArray[np.int8]
    """(128, 128, D), 0 where no tile is valid; (0, 0, D) where it was loaded without them."""
    scales: NDArray[np.float32]
    """(128, 128); where no tile is valid NaN for water, +inf for nodata, -inf for outside."""
    owner: NDArray[np.uint8]
    """Index of the tile the data come from, or NO_OWNER."""
    consulted: NDArray[np.uint16]
    """Bits of the tiles that have been looked at."""
    sources: Mapping[str, Identity]
    """What the consulted tiles were when they were looked at."""

    def missing(self, cover: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """Return the tiles that must still be looked at, as bits; 0 where a pixel is resolved."""
        if not self.owner.any():  # the first tile is valid all over: it needs no other
            return np.zeros_like(self.consulted)
        return cover & _BEFORE[self.owner] & ~self.consulted

    def is_valid(self, cover: NDArray[np.uint16]) -> NDArray[np.bool_]:
        """Return which pixels are valid, and resolved: no tile that would win is missing."""
        valid: NDArray[np.bool_] = self.owner != NO_OWNER
        valid &= self.missing(cover) == 0
        return valid

    def states(self, cover: NDArray[np.uint16]) -> NDArray[np.uint8]:
        """Return the `State` of every pixel."""
        states = np.full(self.owner.shape, State.NODATA, dtype=np.uint8)
        states[np.isnan(self.scales)] = State.WATER
        states[np.isneginf(self.scales)] = State.OUTSIDE
        states[cover == 0] = State.OUTSIDE
        states[self.owner != NO_OWNER] = State.VALID
        states[self.missing(cover) != 0] = State.UNKNOWN
        return states

    def consult(self, index: int, block: Window, piece: Piece) -> bool:
        """Take in what a tile says; return whether that was news."""
        part = piece.window.intersection(block)
        if part is None:
            return False
        here, there = part.slices_in(block), part.slices_in(piece.window)
        owner, consulted, scales = self.owner[here], self.consulted[here], self.scales[here]
        bit = np.uint16(1 << index)
        new = (consulted & bit) == 0
        if not new.any():
            return False
        valid, told = piece.valid[there], piece.scales[there]
        blank = new & ~valid & (owner == NO_OWNER)
        if piece.outside is None:
            scales[blank & ~np.isnan(told)] = np.inf
        else:
            outside = piece.outside[there]
            untold = blank & ((consulted == 0) | np.isneginf(scales))  # says more than outside does
            scales[blank & ~outside & ~np.isnan(told)] = np.inf
            scales[untold & ~outside & np.isnan(told)] = np.nan
            scales[untold & outside] = -np.inf
        taken = new & valid & (owner > index)
        if taken.all():
            self.codes[here] = piece.codes[there]
        else:
            self.codes[here][taken] = piece.codes[there][taken]
        scales[taken] = told[taken]
        owner[taken] = index
        consulted |= bit
        return True


@dataclass(frozen=True)
class Origin:
    """What a cache is of: it decides the folder, and each block's record says it again."""

    archive: str
    """Identity of the archive."""
    dataset: str
    depth: int
    form: str
    year: int

    @property
    def parts(self) -> Tuple[str, str, str, str, str]:
        """Return the folders, from the root down."""
        return (self.archive, self.dataset, f"d{self.depth}", self.form, str(self.year))


@dataclass(frozen=True)
class Provenance:
    """Where a block comes from, as its record says."""

    origin: Origin
    location: str
    """Address of the archive; empty in blocks of earlier versions of the plugin."""
    time: float
    """When it was last written, seconds since 1970."""
    sources: Mapping[str, Identity]
    """Tiles or shards that have been looked at, and what each was then (ETags)."""
