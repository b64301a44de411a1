# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a person has on disk: folders and files of Sentinel images become dated scenes.

Facts come from names and metadata only. What neither tells is a question: it stays empty until the
person answers, with a suggestion from statistics beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Dict, List, Sequence, Set, Tuple

from ...errors import SceneUnusable
from ...progress import Report, part, silent
from ...values import Extent
from .recognise_checks import check_optical, check_radar
from .recognise_corrected import corrected, questions_of, sorted_out
from .recognise_folders import take_safe, take_tiles, take_upstream
from .recognise_items import take_items
from .recognise_look import Looks, united
from .recognise_rasters import take_rasters
from .recognise_suggest import suggestions
from .recognise_values import (
    MIXED,
    NOTHING,
    OFFSET_BY_DATE,
    TILE,
    Corrections,
    Finds,
    Recognised,
    Unrecognised,
)
from .recognise_walk import listed

__all__ = ["OFFSET_BY_DATE", "Corrections", "Recognised", "Unrecognised", "corrected", "recognise"]


def recognise(paths: Sequence[str], report: Report = silent) -> Recognised:
    """Return what folders (searched recursively) and files hold.

    Never fails because of what they hold: what can't be used is named with a reason.
    Raises: Cancelled.
    """
    finds, looks = Finds(), Looks()
    files = listed(paths, finds, part(report, 0.0, 0.1))
    take_tiles(files, finds)
    take_upstream(files, finds)
    take_items(files, finds)
    take_safe(files, finds)
    take_rasters(files, looks, finds, part(report, 0.1, 0.4))
    optical = check_optical(finds, looks, part(report, 0.4, 0.7))
    radar = check_radar(finds, looks, part(report, 0.7, 0.95))
    ready, waiting = sorted_out([d.scene for d in finds.s2], [d.scene for d in finds.s1])
    questions = questions_of(ready, waiting)
    tiles = _tile_extents(finds.tiles, looks)
    return Recognised(
        kind=_kind(finds),
        scenes=ready,
        unrecognised=_in_order(finds.unrecognised),
        questions=questions,
        suggestions=suggestions(finds.s2, finds.s1, questions, part(report, 0.95, 1.0)),
        extent=united([*optical.values(), *tiles.values()]),
        tiles=tuple(finds.tiles),
        waiting=waiting,
        extents={**optical, **radar, **tiles},
    )


def _kind(finds: Finds) -> str:
    kinds: Set[str] = {draft.source for draft in finds.s2} | {draft.source for draft in finds.s1}
    if finds.tiles:
        kinds.add(TILE)
    if not kinds:
        return NOTHING
    return kinds.pop() if len(kinds) == 1 else MIXED


def _tile_extents(tiles: Sequence[str], looks: Looks) -> Dict[str, Extent]:
    found = {}
    for folder in tiles:
        try:
            extent = looks.at(str(Path(folder) / "roi.tiff")).extent
        except SceneUnusable:
            continue  # whoever places the tile says what is wrong with it
        if extent is not None:
            found[folder] = extent
    return found


def _in_order(unrecognised: Sequence[Unrecognised]) -> Tuple[Unrecognised, ...]:
    unique: List[Unrecognised] = list(dict.fromkeys(unrecognised))
    return tuple(sorted(unique, key=lambda each: each.path))
