# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of the person's labels are learnt, and in which year: for the live map as for training."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Dict, List, Sequence, Tuple

from ..values import StoredLabel
from . import train_choices

if TYPE_CHECKING:
    from .session import Session


@dataclass(frozen=True)
class LeftOut:
    """How many labels are not learnt, and why."""

    unsure: int = 0
    """The person was less sure of them than is wanted."""
    other_years: int = 0
    """Each label is learnt in its own year, and theirs is another one."""


@dataclass(frozen=True)
class LabelChoice:
    """What decides it."""

    year: int
    """That is chosen."""
    years: Tuple[int, ...]
    """Of the dataset."""
    min_confidence: int
    """Labels that the person is less sure of, in percent, are not learnt."""
    own_years: bool
    """Whether each label is learnt in its own year, rather than all in the year that is chosen."""

    @classmethod
    def of(cls, session: Session) -> LabelChoice:
        """Return what is chosen now."""
        settings = session.settings
        options = train_choices.options(settings.train_options)
        learnt = train_choices.learnt(settings.train_labels)
        years = tuple(session.dataset.years)
        return cls(settings.year, years, options.min_confidence, learnt.own_years)

    def is_sure(self, label: StoredLabel) -> bool:
        """Whether the person is sure enough of a label."""
        return label.confidence >= self.min_confidence

    def year_of(self, label: StoredLabel) -> int:
        """Return the year in which a label is learnt; 0 where the dataset has none for it."""
        if not self.own_years or not label.year:
            return self.year
        return label.year if label.year in self.years else 0

    def by_year(self, labels: Sequence[StoredLabel]) -> Dict[int, List[StoredLabel]]:
        """Return the labels that the person is sure of by the year in which they are learnt."""
        found: Dict[int, List[StoredLabel]] = {}
        for each in labels:
            if self.is_sure(each):
                found.setdefault(self.year_of(each), []).append(each)
        return found

    def this_year(self, labels: Sequence[StoredLabel]) -> Tuple[Tuple[StoredLabel, ...], LeftOut]:
        """Return the labels that are learnt in the year that is chosen, and what of them is not."""
        by_year = self.by_year(labels)
        kept = tuple(by_year.get(self.year, ()))
        sure = sum(map(len, by_year.values()))
        return kept, LeftOut(len(labels) - sure, sure - len(kept))

    def lost_years(self, labels: Sequence[StoredLabel]) -> Counter[int]:
        """Return how many labels are not learnt, by year, because the dataset lacks their year."""
        return Counter(each.year for each in self.by_year(labels).get(0, ()))
