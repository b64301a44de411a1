# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Likely answers to what no file tells, from names and small samples of the pixels."""

from __future__ import annotations

from typing import Dict, List, Optional, Sequence, Set, Tuple, TypeVar, Union

import numpy as np

from ...progress import Report
from .recognise_bands import likely_order
from .recognise_look import sample, sample_pair
from .recognise_values import (
    BANDS,
    BASELINE_DAY,
    DATES,
    MASK,
    OFFSET_BY_DATE,
    ORBIT,
    S1_UNIT,
    S2_UNIT,
    UNDATED,
    S1Draft,
    S2Draft,
)
from .scenes import (
    AMPLITUDE,
    CLEAR,
    CLOUDY,
    CODE,
    DECIBEL,
    DN,
    DN_OFFSET,
    NO_MASK,
    POWER,
    REFLECTANCE,
    SCL,
)

Draft = TypeVar("Draft", S2Draft, S1Draft)
Answer = Tuple[str, str]
"""A likely answer, empty if there is none, and why."""

_SAMPLED = 6
"""Scenes that are sampled, of each kind."""
_DARK_DN = 900.0
"""Surfaces without an offset are darker somewhere; with one nothing is below 1000."""
_MAX_REFLECTANCE = 3.0
_DARK_BANDS = ("B02", "B04", "B12", "1", "3")
_CLASSES = 12
_BRIGHTER = 1.2

_S1_RANGES = (
    (DECIBEL, -40.0, -1.0), (POWER, 0.005, 0.14), (AMPLITUDE, 0.14, 0.8), (CODE, 1000.0, 12_000.0),
)  # fmt: skip
"""Of the median of VV over land: about -11 dB, 0.07, 0.27, 5500."""


def suggestions(
    s2: Sequence[S2Draft], s1: Sequence[S1Draft], questions: Sequence[str], report: Report
) -> Dict[str, str]:
    """Return likely answers to `questions`, the reasons under "<question>.why"."""
    answers: Dict[str, Answer] = {}
    single: Dict[str, str] = {}
    if DATES in questions:
        answers[DATES], single = _dates([*s2, *s1])
    if BANDS in questions:
        answers[BANDS] = _bands(s2, s1)
    if S2_UNIT in questions:
        answers[S2_UNIT] = _s2_unit([draft for draft in s2 if not draft.scene.unit], report)
    if MASK in questions:
        answers[MASK] = _mask([draft for draft in s2 if not draft.scene.mask_kind])
    if S1_UNIT in questions:
        answers[S1_UNIT] = _s1_unit([draft for draft in s1 if not draft.scene.unit], report)
    if ORBIT in questions:
        answers[ORBIT] = "", "no name and no metadata tell; ascending passes are in the evening"
    found = {question: answer for question, (answer, _) in answers.items() if answer}
    found.update({f"{question}.why": why for question, (_, why) in answers.items() if why})
    return {**found, **single}


def _dates(drafts: Sequence[object]) -> Tuple[Answer, Dict[str, str]]:
    single: Dict[str, str] = {}
    several = False
    for draft in drafts:
        if isinstance(draft, (S2Draft, S1Draft)) and draft.scene.date == UNDATED:
            several |= len(draft.maybe_dates) > 1
            if draft.maybe_dates:
                single[f"{DATES}/{draft.scene.name}"] = draft.maybe_dates[0].isoformat()
    answer = "; ".join(f"{key[len(DATES) + 1 :]}={date}" for key, date in single.items())
    why = "neither names nor metadata tell when it was acquired"
    if several:
        why = "of several dates in a name the first is mostly that of the acquisition"
    elif single:
        why = "a date in the file's header, which may be that of the processing"
    return (answer, why), single


def _bands(s2: Sequence[S2Draft], s1: Sequence[S1Draft]) -> Answer:
    counts = {draft.unnamed for draft in s2 if draft.unnamed}
    if len(counts) == 1:
        return likely_order(counts.pop())
    if not counts and any(draft.unnamed for draft in s1):
        return "VV=1 VH=2", "VV is mostly stored before VH"
    return "", ("files with different numbers of bands" if counts else "")


# --- Sentinel-2


def _s2_unit(drafts: Sequence[S2Draft], report: Report) -> Answer:
    before = [draft for draft in drafts if draft.scene.date < BASELINE_DAY]
    after = [draft for draft in drafts if draft.scene.date >= BASELINE_DAY]
    early, late = _unit_of(before, report), _unit_of(after, report)
    if early and late and early[0] != late[0]:
        why = f"before 2022-01-25 {early[1]}, after it {late[1]}"
        answer = OFFSET_BY_DATE if (early[0], late[0]) == (DN, DN_OFFSET) else ""
        return answer, why
    found = late or early
    if found is None:
        return "", "no pixels could be read"
    return found[0], found[1] + _doubt(found[0], drafts)


def _doubt(unit: str, drafts: Union[Sequence[S2Draft], Sequence[S1Draft]]) -> str:
    hints = {draft.hint for draft in drafts if draft.hint}
    if len(hints) != 1 or hints == {unit}:
        return ""
    return f"; but the names are those of {hints.pop()} data"


def _unit_of(drafts: Sequence[S2Draft], report: Report) -> Optional[Answer]:
    """Return the likely unit of scenes, from the darkest of what is sampled."""
    ranges = []
    for draft in _spread(drafts):
        report(1.0, draft.scene.name)
        bands = [draft.scene.bands[band] for band in _DARK_BANDS if band in draft.scene.bands]
        values = [each for each in map(sample, bands) if each.size]
        if values:
            ranges.append((min(float(np.percentile(each, 1)) for each in values),
                           max(float(np.percentile(each, 99)) for each in values)))  # fmt: skip
    if not ranges:
        return None
    darkest, brightest = min(low for low, _ in ranges), max(high for _, high in ranges)
    if brightest <= _MAX_REFLECTANCE:
        return REFLECTANCE, f"99 % of values are below {brightest:.2f}"
    if any(high <= _MAX_REFLECTANCE for _, high in ranges):
        return "", "some are reflectances of 0 to 1, others digital numbers"
    if darkest > _DARK_DN:
        return DN_OFFSET, f"99 % of values are above {darkest:.0f}"
    return DN, f"values go down to {darkest:.0f}"


def _mask(drafts: Sequence[S2Draft]) -> Answer:
    masked = [draft for draft in drafts if draft.scene.mask is not None]
    without = len(drafts) - len(masked)
    if not masked:
        return NO_MASK, f"{without} scenes have no cloud mask: clouds would be taken for ground"
    found = _mask_meaning(masked)
    if without:
        return found[0], f"{found[1]}; {without} scenes have no mask at all"
    return found


def _mask_meaning(drafts: Sequence[S2Draft]) -> Answer:
    names = " ".join(draft.mask_name for draft in drafts)
    values, where_set, where_0 = _brightness(drafts)
    if len(values) > 3 and values <= set(range(_CLASSES)):
        return SCL, "its values are those of Sen2Cor's scene classes"
    if "qa60" in names:
        return CLOUDY, "in QA60 0 is free of cloud"
    if where_set > _BRIGHTER * where_0:
        return CLOUDY, "where it is not 0 the ground is brighter, as clouds are"
    if where_0 > _BRIGHTER * where_set:
        return CLEAR, "where it is 0 the ground is brighter, as clouds are"
    if {"clear", "valid", "usable", "cloudfree"} & set(names.split()):
        return CLEAR, "by its name"
    return (CLOUDY, "by its name") if "cloud" in names else ("", "its values do not tell")


def _brightness(drafts: Sequence[S2Draft]) -> Tuple[Set[float], float, float]:
    """Return the values of masks, and the median of blue where they are set and where they are 0.

    The medians are NaN where one of them is not to be had.
    """
    values: Set[float] = set()
    medians: List[Tuple[float, float]] = []
    for draft in _spread(drafts):
        blue = draft.scene.bands.get("B02")
        if draft.scene.mask is None or blue is None:
            continue
        ground, mask = sample_pair(blue, draft.scene.mask)
        values.update(np.unique(mask[np.isfinite(mask)]).tolist())
        parts = (ground[mask != 0], ground[mask == 0])
        if all(part.size for part in parts):
            medians.append((float(np.median(parts[0])), float(np.median(parts[1]))))
    if not medians:
        return values, float("nan"), float("nan")
    where_set, where_0 = np.mean(medians, axis=0)
    return values, float(where_set), float(where_0)


# --- Sentinel-1


def _s1_unit(drafts: Sequence[S1Draft], report: Report) -> Answer:
    medians = []
    for draft in _spread(drafts):
        report(1.0, draft.scene.name)
        values = sample(draft.scene.vv) if draft.scene.vv else np.empty(0)
        if values.size:
            medians.append(float(np.median(values)))
    if not medians:
        return "", "no pixels could be read"
    units = {_unit_of_median(median) for median in medians}
    if len(units) > 1:
        return "", f"medians of VV from {min(medians):.3g} to {max(medians):.3g}: several units?"
    unit, said = units.pop(), f"the median of VV is {np.median(medians):.3g}"
    return unit, said + (_doubt(unit, drafts) if unit else ", none of the known units: calibrated?")


def _unit_of_median(median: float) -> str:
    return next((unit for unit, low, high in _S1_RANGES if low <= median < high), "")


def _spread(drafts: Sequence[Draft]) -> Sequence[Draft]:
    """Return some of them, from the first to the last."""
    step = max(1, -(-len(drafts) // _SAMPLED))
    return drafts[::step]
