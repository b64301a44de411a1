# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What people call the problems of labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Mapping

from qgis.PyQt.QtCore import QCoreApplication

from . import text

if TYPE_CHECKING:
    from ..engine.label_problems import Problem


def _tr(words: str) -> str:
    return QCoreApplication.translate("Problems", words)


def headline(labels: int, waiting: int, *, all_compared: bool) -> str:
    """Return how many labels need a look, or else how many wait for their embeddings.

    Also that not all were compared with one another, where that is so.
    """
    if all_compared:
        return _headline(labels, waiting)
    if labels:  # short, as there is little room
        return _tr("{} found, not all compared").format(text.count(labels))
    return _tr("Not all labels compared")


def not_compared() -> str:
    """Return why not all labels were compared, and what to do."""
    return _tr(
        "So many polygons of different classes lie over one another that only some of them were "
        "compared. Mend what is told: the others are compared then."
    )


def not_checked() -> str:
    """Return that the labels could not be checked."""
    return _tr("Labels not checked")


def not_checked_advice() -> str:
    """Return what to do where they could not be checked."""
    return _tr(
        "Something went wrong while the labels were checked; the reason is in QGIS's log messages, "
        "under Tessera. All else works as before. They are checked again after their next change."
    )


def _headline(labels: int, waiting: int) -> str:
    if labels:
        return text.counted(labels, _tr("{} label needs a look"), _tr("{} labels need a look"))
    one, many = _tr("{} label is not fetched yet"), _tr("{} labels are not fetched yet")
    return text.counted(waiting, one, many)


def group(kind: str, year: int) -> str:
    """Return the title of all problems of a kind."""
    return {
        "conflict": _tr("Two classes in one place"),
        "water": _tr("On water, which has no embeddings"),
        "nodata": _tr("On pixels without data"),
        "outside": _tr("Outside of what is published"),
        "other_year": _tr("Of another year than {}").format(year),
        "small": _tr("Smaller than a pixel"),
        "duplicate": _tr("Said twice"),
        "not_fetched": _tr("Not fetched yet"),
    }[kind]


def advice(kind: str, year: int) -> str:
    """Return what it means and what can be done."""
    return {
        "conflict": _tr(
            "Labels of different classes lie on the same pixels. Training leaves these pixels out: "
            "delete the wrong label."
        ),
        "water": _tr("No class can be learnt there. Delete the label or put it on land."),
        "nodata": _tr("No class can be learnt there. Delete the label or move it."),
        "outside": _tr("No embeddings are published there. Delete the label, or choose another "
                       "dataset on the Area page."),
        "other_year": _tr("The map is made for {}. If the place has not changed since, set the "
                          "label's year.").format(year),
        "small": _tr("No pixel has its centre in the polygon; the pixel under it is used."),
        "duplicate": _tr("A label before it says the same. Deleting it loses nothing."),
        "not_fetched": _tr("No mistake: training fetches what it needs. The live map uses these "
                           "labels once the place is fetched on the Area page."),
    }[kind]  # fmt: skip


def entry(problem: Problem, names: Mapping[int, str]) -> str:
    """Return a problem's line in the list."""
    name = names.get(problem.class_id, str(problem.class_id))
    kind = problem.kind
    if kind == "conflict":
        other = names.get(problem.other_class, str(problem.other_class))
        return _tr("{}, also labelled {}").format(name, other)
    if kind == "other_year":
        return _tr("{}, {}").format(name, problem.year or _tr("no year"))
    return name
