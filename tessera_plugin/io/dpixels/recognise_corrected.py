# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is to be asked of recognised scenes, and what the person's answers make of them."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Dict, List, Mapping, Sequence, Set, Tuple, Union

from ...errors import SceneUnusable
from .recognise_look import united
from .recognise_names import is_sane
from .recognise_values import (
    BANDS,
    BASELINE_DAY,
    DATES,
    MASK,
    OFFSET_BY_DATE,
    ORBIT,
    QUESTIONS,
    S1_UNIT,
    S2_UNIT,
    UNDATED,
    Corrections,
    Recognised,
)
from .scenes import (
    DN,
    DN_OFFSET,
    MASKS,
    NO_MASK,
    ORBITS,
    S1_UNITS,
    S2_BANDS,
    S2_UNITS,
    SCL,
    Raster,
    S1Scene,
    S2Scene,
    Scenes,
)

AnyScene = Union[S2Scene, S1Scene]


def corrected(found: Recognised, by: Corrections) -> Recognised:
    """Return what was recognised with the person's corrections in it, and fewer questions.

    Pure: start from the first finding again where the person changes their mind.
    Raises: SceneUnusable where a correction names a scene that is not there, or no date.
    """
    _check(found, by)
    s2 = [_optical(scene, by) for scene in (*found.scenes.s2, *found.waiting.s2)
          if scene.name not in by.left_out]  # fmt: skip
    s1 = [_radar(scene, by) for scene in (*found.scenes.s1, *found.waiting.s1)
          if scene.name not in by.left_out]  # fmt: skip
    ready, waiting = sorted_out(s2, s1)
    questions = questions_of(ready, waiting)
    names = {scene.name for scene in s2} | {scene.name for scene in s1}
    optical = {scene.name for scene in s2}
    extents = {name: extent for name, extent in found.extents.items()
               if name in names or name in found.tiles}  # fmt: skip
    covering = [extent for name, extent in extents.items()
                if name in optical or name in found.tiles]  # fmt: skip
    return replace(
        found, scenes=ready, waiting=waiting, questions=questions, extents=extents,
        suggestions=_still_asked(found.suggestions, questions, names),
        extent=united(covering),
    )  # fmt: skip


def sorted_out(s2: Sequence[S2Scene], s1: Sequence[S1Scene]) -> Tuple[Scenes, Scenes]:
    """Return the scenes that are ready (but for units, masks and orbits) and those that wait.

    Both by full date, not by day of year: a window over New Year stays in order.
    """
    optical = sorted(s2, key=lambda scene: (scene.date, scene.name))
    radar = sorted(s1, key=lambda scene: (scene.date, scene.name))
    return tuple(  # type: ignore[return-value]
        Scenes(
            tuple(scene for scene in optical if _waits(scene) is waits),
            tuple(scene for scene in radar if _waits(scene) is waits),
        )
        for waits in (False, True)
    )


def questions_of(ready: Scenes, waiting: Scenes) -> Tuple[str, ...]:
    """Return which facts no file tells of these scenes."""
    s2, s1 = (*ready.s2, *waiting.s2), (*ready.s1, *waiting.s1)
    scenes: List[AnyScene] = [*s2, *s1]
    asked = {
        DATES: any(scene.date == UNDATED for scene in scenes),
        BANDS: any(_is_unnamed(scene) for scene in scenes),
        S2_UNIT: any(not scene.unit for scene in s2),
        MASK: any(not scene.mask_kind for scene in s2),
        S1_UNIT: any(not scene.unit for scene in s1),
        ORBIT: any(not scene.orbit for scene in s1),
    }
    return tuple(question for question in QUESTIONS if asked[question])


def _waits(scene: AnyScene) -> bool:
    return scene.date == UNDATED or _is_unnamed(scene)


def _is_unnamed(scene: AnyScene) -> bool:
    if isinstance(scene, S2Scene):
        return bool(scene.lacking)
    return scene.vv is None or scene.vh is None


def _still_asked(
    suggestions: Mapping[str, str], questions: Sequence[str], names: Set[str]
) -> Dict[str, str]:
    kept = {}
    for key, text in suggestions.items():
        question, _, name = key.partition("/")
        if question.replace(".why", "") in questions and (not name or name in names):
            kept[key] = text
    return kept


# --- one scene


def _optical(scene: S2Scene, by: Corrections) -> S2Scene:
    scene = replace(scene, date=_date(scene.name, scene.date, by))
    if _is_unnamed(scene):
        scene = _with_bands(scene, dict(by.bands))
    if not scene.unit:
        scene = replace(scene, unit=_unit_on(scene.date, by.s2_unit))
    scene = replace(scene, unit=dict(by.s2_units).get(scene.name, scene.unit))
    if scene.mask_kind or not by.mask_kind:
        return scene
    if scene.mask is None or by.mask_kind == NO_MASK:
        return replace(scene, mask=None, mask_kind=NO_MASK)
    return replace(scene, mask_kind=by.mask_kind)


def _radar(scene: S1Scene, by: Corrections) -> S1Scene:
    scene = replace(scene, date=_date(scene.name, scene.date, by))
    bands = dict(by.bands)
    if _is_unnamed(scene) and scene.vv and "VV" in bands and "VH" in bands:
        path = scene.vv.path
        scene = replace(scene, vv=Raster(path, bands["VV"]), vh=Raster(path, bands["VH"]))
    orbit = dict(by.orbits).get(scene.name, scene.orbit or by.orbit)
    unit = dict(by.s1_units).get(scene.name, scene.unit or by.s1_unit)
    return replace(scene, unit=unit, orbit=orbit)


def _date(name: str, date: dt.date, by: Corrections) -> dt.date:
    said = dict(by.dates).get(name, "")
    if not said:
        return date
    try:
        found = dt.date.fromisoformat(said)
    except ValueError:
        raise SceneUnusable(name, f"{said!r} is no date, as 2024-06-12 is") from None
    if not is_sane(found):
        raise SceneUnusable(name, f"no Sentinel acquired anything on {said}")
    return found


def _with_bands(scene: S2Scene, numbers: Mapping[str, int]) -> S2Scene:
    """Return a scene whose bands have names, or as it is if not all ten are named."""
    rasters = {name: scene.bands.get(str(number)) for name, number in numbers.items()}
    bands = {band: rasters.get(band) for band in S2_BANDS}
    complete = {band: raster for band, raster in bands.items() if raster is not None}
    if len(complete) < len(S2_BANDS):
        return scene
    mask = rasters.get("SCL")
    if mask is None:
        return replace(scene, bands=complete)
    return replace(scene, bands=complete, mask=mask, mask_kind=SCL)


def _unit_on(date: dt.date, said: str) -> str:
    if said != OFFSET_BY_DATE:
        return said
    if date in (UNDATED, BASELINE_DAY):
        return ""
    return DN_OFFSET if date > BASELINE_DAY else DN


def _check(found: Recognised, by: Corrections) -> None:
    """Refuse what means nothing, instead of passing it on."""
    scenes: List[AnyScene] = []
    for each in (found.scenes, found.waiting):
        scenes += [*each.s2, *each.s1]
    names = {scene.name for scene in scenes}
    single = (*by.dates, *by.orbits, *by.s2_units, *by.s1_units)
    for name in (*by.left_out, *(name for name, _ in single)):
        if name not in names:
            raise SceneUnusable(name, "there is no scene of this name")
    for said, known in (
        (by.s2_unit, (*S2_UNITS, OFFSET_BY_DATE)), (by.s1_unit, S1_UNITS), (by.orbit, ORBITS),
        (by.mask_kind, MASKS), *((orbit, ORBITS) for _, orbit in by.orbits),
        *((unit, S2_UNITS) for _, unit in by.s2_units),
        *((unit, S1_UNITS) for _, unit in by.s1_units),
    ):  # fmt: skip
        if said and said not in known:
            raise ValueError(f"{said!r} is none of {', '.join(known)}")
