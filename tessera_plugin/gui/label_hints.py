# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the Labels page says to do next, from the classes and their labels alone."""

from __future__ import annotations

from typing import Mapping, NamedTuple, Sequence

from qgis.PyQt.QtCore import QCoreApplication

from ..values import LandClass
from . import note, text
from .balance import balance, most_behind, sentence

ENOUGH = 8
"""Labels per class that make a good start."""


class Hint(NamedTuple):
    """A sentence and its kind of note."""

    words: str
    kind: str = note.INFO


def hint(classes: Sequence[LandClass], counts: Mapping[int, int], tool_hint: str) -> Hint:
    """Return what to do next; `tool_hint` says what to do with the active tool, if there is one."""
    if not classes:
        return Hint(
            _tr(
                "Type the name of a class you want to map and press Enter, or take a ready scheme by “⋯”."
            )
        )
    progress = _progress(classes, counts)
    if tool_hint:
        return Hint(f"{tool_hint}\n{progress.words}", progress.kind)
    if progress.kind == note.SUCCESS:
        return progress
    start = _tr("Choose a class, then a tool, and label places of it on the map.")
    return Hint(start if not any(counts.values()) else f"{start}\n{progress.words}", progress.kind)


def not_used(no_class: int, unusable: int) -> str:
    """Return how many labels of the file are left out, and what to do; empty if there are none."""
    lines = []
    if no_class:
        one = _tr(
            "{} label in the file has no class and is not used: type one into class_name, in its "
            "layer's table."
        )
        many = _tr(
            "{} labels in the file have no class and are not used: type one into class_name, in their "
            "layer's table."
        )
        lines.append(text.counted(no_class, one, many))
    if unusable:
        one = _tr(
            "{} label in the file is no point or polygon with a place on earth and is not used: draw "
            "it anew, and delete its row in its layer's table."
        )
        many = _tr(
            "{} labels in the file are no points or polygons with a place on earth and are not used: "
            "draw them anew, and delete their rows in their layer's table."
        )
        lines.append(text.counted(unusable, one, many))
    return "\n".join(lines)


def _progress(classes: Sequence[LandClass], counts: Mapping[int, int]) -> Hint:
    """Return what the labels still lack, the worst first."""
    if len(classes) == 1:
        return Hint(_tr("A map needs two classes or more: add another one."))
    stand = balance([each.id for each in classes], counts)
    behind = most_behind(classes, stand)
    fewest = min(classes, key=lambda each: stand[each.id].count)
    is_start = stand[fewest.id].count >= ENOUGH
    if behind and stand[behind[0].id].others >= ENOUGH:
        lacks = sentence(behind[0].name, stand[behind[0].id])
        if is_start:
            return Hint(_tr("{} Label more of it, or go on to the Map page.").format(lacks))
        return Hint(_tr("{} Label more of it next.").format(lacks))
    if is_start:
        words = _tr("Every class has {} labels or more: go on to the Map page.")
        return Hint(words.format(ENOUGH), note.SUCCESS)
    words = _tr("About {} per class make a good start; “{}” has {}.")
    return Hint(words.format(ENOUGH, fewest.name, text.count(stand[fewest.id].count)))


def _tr(words: str) -> str:
    return str(QCoreApplication.translate("LabelHints", words))
