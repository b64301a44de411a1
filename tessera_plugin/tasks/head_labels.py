# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The labels that a head learnt, as far as they are known here: a head doesn't carry them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Collection, Tuple

from ..errors import LabelsNeeded
from . import snapshot, train_choices
from .label_choice import LabelChoice
from .session import Session
from .train_choices import LabelFile

if TYPE_CHECKING:
    from ..engine.label_sets import LabelSet

_HEADS = 0
"""In place of a year, for those of the head: the year that is chosen may be another one by now."""


@dataclass(frozen=True)
class HeadLabels:
    """Labels of the store and of files, as training would take them now."""

    of_store: Tuple[Tuple[int, snapshot.LabelsNow], ...]
    """With the year in which they are learnt."""
    files: Tuple[LabelFile, ...]

    def sets(self, years: Collection[int]) -> Tuple[LabelSet, ...]:
        """Return them for a head of some years; 0 is the year of what was learnt in no year by name.

        On any thread: files are read. Raises: LabelsUnreadable, FieldMissing, NoLabels.
        """
        from ..engine.label_sets import LabelSet  # noqa: PLC0415 - light plugin load
        from ..engine.labels import load_labels  # noqa: PLC0415

        found = [(year, labels()) for year, labels in self.of_store]
        found += [
            (each.year, load_labels(each.path, each.class_field, each.layer or None))
            for each in self.files
        ]
        return tuple(LabelSet(labels, year if year in years else _HEADS) for year, labels in found)


def now(session: Session) -> HeadLabels:
    """Return the labels that are learnt as things are chosen now. Raises: LabelsNeeded."""
    choice, store = LabelChoice.of(session), session.labels
    by_year = choice.by_year(store.labels())
    of_store = tuple(
        (year if choice.own_years else _HEADS, snapshot.LabelsNow(store, tuple(by_year[year])))
        for year in sorted(by_year)
        if year
    )
    files = train_choices.learnt(session.settings.train_labels).more
    if not of_store and not files:
        raise LabelsNeeded
    return HeadLabels(of_store, files)
