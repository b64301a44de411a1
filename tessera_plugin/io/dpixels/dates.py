# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Which scenes make a tile: those that can be used, once each, by date and orbit direction."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Dict, Generic, List, Sequence, Tuple, TypeVar, Union

from ...errors import SceneUnusable
from ...values import Window
from .scenes import (
    MASKS,
    NO_MASK,
    ORBITS,
    S1_UNITS,
    S2_UNITS,
    S1Scene,
    S2Scene,
    Scenes,
)

AnyScene = TypeVar("AnyScene", S1Scene, S2Scene)


@dataclass(frozen=True)
class Day(Generic[AnyScene]):
    """What was seen on a UTC date; the first scene that sees a pixel counts."""

    date: dt.date
    scenes: Tuple[AnyScene, ...]


@dataclass(frozen=True)
class Dates:
    """All that a tile is made of, each in the order of the dates."""

    s2: Tuple[Day[S2Scene], ...]
    s1: Dict[str, Tuple[Day[S1Scene], ...]]
    """By orbit direction, both."""
    dropped: Tuple[Tuple[str, str], ...]
    """Scenes that are not used, and why in a few words."""


def dates_of(scenes: Scenes, window: Window) -> Dates:
    """Return the scenes by date, each date's in a stable order.

    Dropped and named are scenes without all their bands, and older processings of an acquisition.
    Raises: SceneUnusable where something has to be asked for first.
    """
    dropped: List[Tuple[str, str]] = []
    whole_s2 = []
    for s2 in scenes.s2:
        if s2.lacking:
            dropped.append((s2.name, f"no {', '.join(s2.lacking)}"))
        else:
            whole_s2.append(_checked_s2(s2))
    whole_s1 = []
    for s1 in scenes.s1:
        lacking = [name for name, raster in (("VV", s1.vv), ("VH", s1.vh)) if raster is None]
        if lacking:
            dropped.append((s1.name, f"no {' and '.join(lacking)}"))
        else:
            whole_s1.append(_checked_s1(s1))
    newest = _newest(whole_s2, dropped)
    newest.sort(key=lambda scene: (scene.date, _is_of_other_zone(scene, window), scene.name))
    whole_s1.sort(key=lambda scene: (scene.date, scene.name))
    by_orbit = {
        orbit: _by_date([scene for scene in whole_s1 if scene.orbit == orbit]) for orbit in ORBITS
    }
    return Dates(_by_date(newest), by_orbit, tuple(dropped))


def _by_date(scenes: Sequence[AnyScene]) -> Tuple[Day[AnyScene], ...]:
    days: Dict[dt.date, List[AnyScene]] = {}
    for scene in scenes:
        days.setdefault(scene.date, []).append(scene)
    return tuple(Day(date, tuple(days[date])) for date in sorted(days))


def _newest(scenes: Sequence[S2Scene], dropped: List[Tuple[str, str]]) -> List[S2Scene]:
    """Return scenes without those that were processed again since, by acquisition and MGRS tile.

    Two of the same baseline are kept: they are the parts of one granule.
    """
    newest: Dict[Tuple[str, str, dt.date], Tuple[int, ...]] = {}
    for scene in scenes:
        key = (scene.datatake, scene.tile, scene.date)
        newest[key] = max(newest.get(key, ()), _baseline(scene))
    kept = []
    for scene in scenes:
        known = scene.datatake and scene.tile and scene.baseline
        if known and _baseline(scene) < newest[scene.datatake, scene.tile, scene.date]:
            dropped.append((scene.name, "there is a newer processing of it"))
        else:
            kept.append(scene)
    return kept


def _baseline(scene: S2Scene) -> Tuple[int, ...]:
    """Return "05.11" as numbers; nothing where it is not known."""
    parts = scene.baseline.split(".")
    return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else ()


def _is_of_other_zone(scene: S2Scene, window: Window) -> bool:
    """Return whether a granule is of another UTM zone: its pixels were interpolated once more."""
    zone = scene.tile[:2]
    return zone.isdecimal() and int(zone) != window.zone


def _checked_s2(scene: S2Scene) -> S2Scene:
    _check(scene, scene.date > dt.date.min, "its date is not known")
    _check(scene, scene.unit in S2_UNITS, "the unit of its numbers is not known")
    _check(scene, scene.mask_kind in MASKS, "what its mask means is not known")
    has_mask = scene.mask is not None
    _check(scene, has_mask == (scene.mask_kind != NO_MASK), "its cloud mask is not there")
    return scene


def _checked_s1(scene: S1Scene) -> S1Scene:
    _check(scene, scene.date > dt.date.min, "its date is not known")
    _check(scene, scene.unit in S1_UNITS, "the unit of its numbers is not known")
    _check(scene, scene.orbit in ORBITS, "its orbit direction is not known")
    return scene


def _check(scene: Union[S1Scene, S2Scene], is_so: bool, reason: str) -> None:  # noqa: FBT001
    if not is_so:
        raise SceneUnusable(scene.name, reason)
