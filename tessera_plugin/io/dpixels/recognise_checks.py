# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""From drafts to scenes: each is looked at once, what can't be used is refused, copies are left out."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Set, Tuple

from ...errors import SceneUnusable
from ...progress import Report
from ...values import Extent
from .recognise_look import OUTSIDE, Look, Looks
from .recognise_names import NOT_RTC, is_sane, moment
from .recognise_values import ORBIT_WORDS, UNDATED, Finds, S1Draft, S2Draft
from .scenes import ASCENDING, DESCENDING, S2_BANDS, Raster, S1Scene

_DATE_TAGS = (
    "DATATAKE_1_DATATAKE_SENSING_START", "PRODUCT_START_TIME", "SENSING_TIME", "SENSING_START",
    "ACQUISITION_DATETIME", "ACQUISITION_DATE", "DATE_ACQUIRED", "ZERO_DOPPLER_START_TIME",
    "START_TIME", "DATETIME", "DATE",
)  # fmt: skip
"""Metadata that name the acquisition. TIFFTAG_DATETIME is not one: it is mostly of the processing."""
_ORBIT_TAGS = ("ORBIT_PASS_DIRECTION", "ORBITPROPERTIES_PASS", "ORBIT_DIRECTION", "PASS_DIRECTION",
               "SAT:ORBIT_STATE", "PASS")  # fmt: skip
_SHOWN_BANDS = 5
_REPROCESSED = dt.timedelta(days=30)
_PASS_H = {DESCENDING: 6.0, ASCENDING: 18.0}
"""Local solar time at which Sentinel-1 passes the equator."""
_PASS_WITHIN_H = 3.0
_PASS_LAT_DEG = 70.0
"""Further from the equator the local times of both passes draw near to each other."""


def check_optical(finds: Finds, looks: Looks, report: Report) -> Dict[str, Extent]:
    """Look into every Sentinel-2 scene; keep those that can be used, under names of their own.

    Returns their extents by name.
    """
    kept: List[Tuple[S2Draft, Extent]] = []
    for index, draft in enumerate(finds.s2):
        report(index / len(finds.s2), draft.scene.name)
        reason = "" if draft.unnamed else lacks(draft.scene.lacking)
        first = next(iter(draft.scene.bands.values()))
        look = _checked(first, reason, looks, finds)
        if look is None or look.extent is None:
            continue
        if draft.scene.date == UNDATED:
            draft = _dated_optical(draft, look)  # noqa: PLW2901
        kept.append((draft, look.extent))
    newest = _newest([draft for draft, _ in kept], finds)
    kept = [each for each in kept if id(each[0]) in newest]
    names = _own_names([(draft.scene.name, draft.folder) for draft, _ in kept])
    finds.s2[:] = [replace(draft, scene=replace(draft.scene, name=name))
                   for (draft, _), name in zip(kept, names)]  # fmt: skip
    return {name: extent for (_, extent), name in zip(kept, names)}


def check_radar(finds: Finds, looks: Looks, report: Report) -> Dict[str, Extent]:
    """Do the same for Sentinel-1, whose orbit directions are looked for too."""
    kept: List[Tuple[S1Draft, Extent]] = []
    for index, draft in enumerate(finds.s1):
        report(index / len(finds.s1), draft.scene.name)
        scene = draft.scene
        first = scene.vv or scene.vh
        if first is None:
            continue
        reason = ""
        if not draft.unnamed and not (scene.vv and scene.vh):
            reason = "VV without VH" if scene.vv else "VH without VV"
        look = _checked(first, reason, looks, finds)
        if look is None or look.extent is None:
            continue
        if look.is_complex:
            finds.refuse(first.path, NOT_RTC)
            continue
        kept.append((_told_radar(draft, look), look.extent))
    names = _own_names([(draft.scene.name, draft.folder) for draft, _ in kept])
    finds.s1[:] = [replace(draft, scene=replace(draft.scene, name=name))
                   for (draft, _), name in zip(kept, names)]  # fmt: skip
    return {name: extent for (_, extent), name in zip(kept, names)}


def lacks(bands: Sequence[str]) -> str:
    """Return in words which bands a scene does not have; empty if it has all."""
    if not bands:
        return ""
    if len(bands) > _SHOWN_BANDS:
        there = [band for band in S2_BANDS if band not in bands]
        return f"only {', '.join(there) or 'other bands'} of the ten bands that are needed"
    return f"lacks {', '.join(bands)}"


def _checked(first: Raster, reason: str, looks: Looks, finds: Finds) -> Optional[Look]:
    """Return the header of a scene's first raster; None if the scene is refused."""
    try:
        look = None if reason else looks.at(first.path)
    except SceneUnusable as error:
        reason = error.reason
        look = None
    if look is not None and look.extent is None:
        reason = OUTSIDE
    if reason:
        finds.refuse(first.path, reason)
        return None
    return look


def _dated_optical(draft: S2Draft, look: Look) -> S2Draft:
    date, maybe = _date_of(look, draft.maybe_dates)
    return replace(draft, scene=replace(draft.scene, date=date), maybe_dates=maybe)


def _date_of(look: Look, maybe: Tuple[dt.date, ...]) -> Tuple[dt.date, Tuple[dt.date, ...]]:
    """Return the date that metadata tell, else UNDATED and the dates that may be it."""
    for tag in _DATE_TAGS:
        found = moment(look.tags.get(tag, ""))
        if found and is_sane(found.date()):
            return found.date(), ()
    written = look.tags.get("TIFFTAG_DATETIME", "")
    found = moment(written[:10].replace(":", "-") + written[10:])
    if not maybe and found and is_sane(found.date()):
        maybe = (found.date(),)
    return UNDATED, maybe


def _told_radar(draft: S1Draft, look: Look) -> S1Draft:
    """Return a radar scene with what its metadata and the time of its pass tell."""
    if draft.scene.date == UNDATED:
        date, maybe = _date_of(look, draft.maybe_dates)
        draft = replace(draft, scene=replace(draft.scene, date=date), maybe_dates=maybe)
    orbit = draft.scene.orbit or _orbit_tag(look.tags)
    if not orbit and look.extent is not None and draft.sensed is not None:
        orbit = orbit_of_pass(draft.sensed, look.extent)
    scene: S1Scene = replace(draft.scene, orbit=orbit)
    return replace(draft, scene=scene)


def _orbit_tag(tags: Mapping[str, str]) -> str:
    said = (tags.get(tag, "").strip().lower() for tag in _ORBIT_TAGS)
    return next((ORBIT_WORDS[text] for text in said if text in ORBIT_WORDS), "")


def orbit_of_pass(sensed: dt.datetime, extent: Extent) -> str:
    """Return the orbit direction in which Sentinel-1 passes a place at a time (UTC).

    Its orbit follows the sun: descending in the morning, ascending in the evening. Empty where
    that does not tell, near the poles or if the time is no likely one.
    """
    if max(abs(extent.south), abs(extent.north)) > _PASS_LAT_DEG:
        return ""
    lon = extent.west + ((extent.east - extent.west) % 360) / 2
    local_h = (sensed.hour + sensed.minute / 60 + lon / 15) % 24
    for orbit, passing_h in _PASS_H.items():
        if abs(local_h - passing_h) <= _PASS_WITHIN_H:
            return orbit
    return ""


# --- copies


def _newest(drafts: Sequence[S2Draft], finds: Finds) -> Set[int]:
    """Return the ids of the drafts that stay: of one datatake and tile only the highest baseline.

    Where no baseline is known, a processing months after another one is a newer one. Two granules
    of the same processing complement each other and stay both.
    """
    groups: Dict[Tuple[str, str], List[S2Draft]] = defaultdict(list)
    for draft in drafts:
        if draft.scene.datatake and draft.scene.tile:
            groups[draft.scene.datatake, draft.scene.tile].append(draft)
    left_out: Set[int] = set()
    for group in groups.values():
        for draft in group:
            better = next((other for other in group if _is_newer(other, draft)), None)
            if better is None:
                continue
            left_out.add(id(draft))
            what = better.scene.baseline or "of a later day"
            finds.refuse(
                next(iter(draft.scene.bands.values())).path if draft.source != "safe" else draft.folder,
                f"the same acquisition is there in a newer processing ({what})",
            )  # fmt: skip
    return {id(draft) for draft in drafts} - left_out


def _is_newer(one: S2Draft, other: S2Draft) -> bool:
    first, second = one.scene.baseline, other.scene.baseline
    if first and second:
        return first > second
    if one.processed and other.processed:
        return one.processed - other.processed > _REPROCESSED
    return False


def _own_names(names: Sequence[Tuple[str, str]]) -> List[str]:
    """Return names, of which each is there once: with the folder's or a number where needed."""
    counts = Counter(name for name, _ in names)
    longer = [name if counts[name] == 1 else f"{Path(folder).name}/{name}"
              for name, folder in names]  # fmt: skip
    seen: Counter[str] = Counter()
    own = []
    for name in longer:
        seen[name] += 1
        own.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return own
