# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What was recognised on disk, what was not and why, and what a person has to say about it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Dict, List, Optional, Set, Tuple

from ...values import Extent
from .scenes import ASCENDING, DESCENDING, S1Scene, S2Scene, Scenes

UNDATED = dt.date.min
"""The date of a scene that waits for one."""

OFFSET_BY_DATE = "dn, from 2022-01-26 dn+1000"
"""An answer to "s2_unit": what was acquired after the day on which baseline 04.00 came in holds the
offset, what was acquired before does not. A scene of the day itself is asked about on its own."""
BASELINE_DAY = dt.date(2022, 1, 25)

TILE, UPSTREAM, SAFE, STAC, RASTERS = "tile", "upstream", "safe", "stac", "rasters"
MIXED, NOTHING = "mixed", "nothing"

DATES, BANDS, S2_UNIT, MASK, S1_UNIT, ORBIT = (
    "dates", "bands", "s2_unit", "mask", "s1_unit", "orbit",
)  # fmt: skip
QUESTIONS = (DATES, BANDS, S2_UNIT, MASK, S1_UNIT, ORBIT)
"""In the order in which they are asked."""


@dataclass(frozen=True)
class Unrecognised:
    """A file or folder that is not used."""

    path: str
    reason: str
    """In a few words."""


@dataclass(frozen=True)
class Recognised:
    """What folders and files hold."""

    kind: str
    """"tile" (finished d-pixel folders), "upstream", "safe", "stac", "rasters", "mixed", "nothing"."""
    scenes: Scenes
    """By date. Units, orbits and masks that have to be asked for are empty."""
    unrecognised: Tuple[Unrecognised, ...]
    questions: Tuple[str, ...]
    """Of QUESTIONS: the facts that no file tells. Nothing may be built before all are answered."""
    suggestions: Dict[str, str]
    """By question a likely answer, under "<question>.why" the reason; under "<question>/<scene>" one
    for a single scene."""
    extent: Optional[Extent]
    """What all Sentinel-2 scenes together cover, in EPSG:4326; of the tile, where it is one."""
    tiles: Tuple[str, ...] = ()
    """Finished d-pixel folders."""
    waiting: Scenes = field(default_factory=Scenes)
    """Scenes that can't be used before something is said: dated UNDATED, or with bands "1", "2", …
    of a file that does not name them (Sentinel-1: vv is band 1 of the file, vh is None)."""
    extents: Dict[str, Extent] = field(default_factory=dict)
    """In EPSG:4326, by the name of a scene."""


@dataclass(frozen=True)
class Corrections:
    """What the person says; empty strings change nothing.

    What files tell is not overruled by the first four, only by what names a scene.
    """

    s2_unit: str = ""
    """One of S2_UNITS, or OFFSET_BY_DATE."""
    s1_unit: str = ""
    orbit: str = ""
    mask_kind: str = ""
    """One of MASKS; whatever is said, scenes without any mask stay without."""
    left_out: Tuple[str, ...] = ()
    """Names of scenes."""
    dates: Tuple[Tuple[str, str], ...] = ()
    """Scene and ISO date."""
    bands: Tuple[Tuple[str, int], ...] = ()
    """("B02", 1) for files that do not name their bands; also ("SCL", n), ("VV", n), ("VH", n)."""
    orbits: Tuple[Tuple[str, str], ...] = ()
    """Scene and orbit."""
    s2_units: Tuple[Tuple[str, str], ...] = ()
    """Scene and unit."""
    s1_units: Tuple[Tuple[str, str], ...] = ()
    """Scene and unit."""


@dataclass(frozen=True)
class S2Draft:
    """A Sentinel-2 scene, and what is known of it only while recognising."""

    scene: S2Scene
    source: str
    folder: str
    processed: Optional[dt.datetime] = None
    hint: str = ""
    """The unit that its name suggests."""
    mask_name: str = ""
    maybe_dates: Tuple[dt.date, ...] = ()
    """Several in its name, or one that may be that of the processing."""
    unnamed: int = 0
    """How many bands the file has, where it does not name them."""


@dataclass(frozen=True)
class S1Draft:
    """A Sentinel-1 scene, and what is known of it only while recognising."""

    scene: S1Scene
    source: str
    folder: str
    sensed: Optional[dt.datetime] = None
    """UTC."""
    hint: str = ""
    maybe_dates: Tuple[dt.date, ...] = ()
    unnamed: int = 0


@dataclass
class Finds:
    """Collects what the layouts recognise; a file belongs to the first that claims it."""

    s2: List[S2Draft] = field(default_factory=list)
    s1: List[S1Draft] = field(default_factory=list)
    tiles: List[str] = field(default_factory=list)
    unrecognised: List[Unrecognised] = field(default_factory=list)
    claimed: Set[str] = field(default_factory=set)

    def refuse(self, path: str, reason: str) -> None:
        """Name what is not used."""
        self.unrecognised.append(Unrecognised(path, reason))


ORBIT_WORDS = {
    "asc": ASCENDING, "ascending": ASCENDING,
    "desc": DESCENDING, "descending": DESCENDING, "dsc": DESCENDING,
}  # fmt: skip
"""As names and metadata write them, in lower case."""
