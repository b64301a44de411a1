# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is asked of catalogues, what was found, and what came of fetching it: plain values."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Mapping, Tuple, Union

from ...values import NetworkSettings, Window
from ..dpixels.scenes import ORBITS, S2_BANDS, Scenes
from .catalogues import (
    CATALOGUES,
    PLANETARY_COMPUTER,
    SCL_ASSET,
    VH,
    VV,
    Catalogue,
)
from .items import S1Item, S2Item

_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,120}")

Item = Union[S2Item, S1Item]


@dataclass(frozen=True)
class StacRequest:
    """Which images of an area are wanted, and from whom."""

    window: Window
    first: dt.date
    last: dt.date
    """Both days included, UTC."""
    folder: str
    """Where windows of images are kept."""
    s2: str = PLANETARY_COMPUTER
    """A key of `catalogues`."""
    s1: str = PLANETARY_COMPUTER
    """A key of `catalogues`; empty for no Sentinel-1."""
    max_cloud: float = 100.0
    """Percent of a whole granule; cloudier ones are left out."""
    orbits: Tuple[str, ...] = ORBITS
    """Of Sentinel-1."""
    catalogues: Mapping[str, Catalogue] = field(default_factory=lambda: dict(CATALOGUES))
    network: NetworkSettings = field(default_factory=NetworkSettings)

    @property
    def asked(self) -> Tuple[Catalogue, ...]:
        """The catalogues that it is about."""
        return tuple(self.catalogues[key] for key in dict.fromkeys((self.s2, self.s1)) if key)

    @property
    def kept_in(self) -> Path:
        """Folder of this window's files."""
        window = self.window
        place = f"{window.zone}_{window.row}_{window.col}_{window.height}x{window.width}"
        return Path(self.folder) / place


@dataclass(frozen=True)
class StacPlan:
    """What was found, and what fetching it takes at most."""

    request: StacRequest
    s2: Tuple[S2Item, ...]
    """In the order of their time."""
    s1: Tuple[S1Item, ...]
    skipped: Tuple[Tuple[str, str], ...]
    """Items that can't be used, and why in a few words."""
    bytes: int
    """About, and at most: bands are fetched only of images in which something is clear."""
    seconds: float
    requests: int
    files_here: int
    """Windows that are there already, of `files` in all."""
    files: int
    sentences: Tuple[str, ...]
    """All that for people."""

    @property
    def s2_dates(self) -> int:
        """How many days have a Sentinel-2 image."""
        return len({item.moment.date() for item in self.s2})

    @property
    def s1_dates(self) -> int:
        """How many days have a Sentinel-1 image, each orbit direction by itself."""
        return len({(item.moment.date(), item.orbit) for item in self.s1})


@dataclass(frozen=True)
class Fetched:
    """What came of a plan."""

    scenes: Scenes
    failures: Tuple[Tuple[str, str], ...]
    """Images left out since a file of theirs could not be had, and why."""
    cloudy: Tuple[str, ...]
    """Images in whose window nothing is usable: their bands were not asked for."""
    bytes_fetched: int
    requests: int
    unreachable: str
    """Address of what was asked for last where no server answers any more; else empty."""
    sentences: Tuple[str, ...]
    provenance: Dict[str, object]
    """Items, baselines and what was decided about offsets; plain values for JSON."""


@dataclass(frozen=True)
class Piece:
    """A file of an item, of which a window is wanted."""

    item: Item
    asset: str
    """Our name: of S2_BANDS, SCL, vv, vh."""

    @property
    def url(self) -> str:
        """Where the file lies; without a token."""
        return self.item.files[self.asset]

    @property
    def front_bytes(self) -> int:
        """How much of such a file usually holds its directory: radar images have more tiles."""
        return 64 << 10 if self.asset in (VV, VH) else 16 << 10

    @property
    def tags(self) -> Dict[str, str]:
        """What its window says of itself."""
        return {"TESSERA_ITEM": self.item.id, "TESSERA_ASSET": self.asset}

    def path(self, request: StacRequest) -> Path:
        """Return where its window is kept."""
        return request.kept_in / self.item.catalogue / _plain(self.item.id) / f"{self.asset}.tif"


def mask_of(item: S2Item) -> Piece:
    """Return the file of the scene classes."""
    return Piece(item, SCL_ASSET)


def bands_of(item: Item) -> Tuple[Piece, ...]:
    """Return all other files of an item that are needed."""
    names = S2_BANDS if isinstance(item, S2Item) else (VV, VH)
    return tuple(Piece(item, name) for name in names)


def _plain(name: str) -> str:
    """Return a name that no folder can be left with; others of the same letters stay apart."""
    if _PLAIN.fullmatch(name) and name.strip("."):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:12]
    return f"{re.sub(r'[^A-Za-z0-9-]+', '_', name)[:60]}-{digest}"
