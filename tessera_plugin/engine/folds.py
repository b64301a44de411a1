# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How labels are divided into what is learnt and what is tested, several times over.

Neighbours look alike: a head that has seen the field next door is praised for what it could not do
elsewhere. So labels may be kept apart by blocks of ground, by areas or by years. Labels that stand on
the same ground are one unit (`Samples.units`), which is never learnt and tested at one time; and a
class that can't be tested is a refusal, not a figure that leaves it out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..errors import ValidationImpossible
from ..values import PIXEL_M, LandClass, Window
from .accuracy import Accuracy
from .dealing import Fold, dealt, numbered, untestable, without_tested_ground
from .fitting import present_classes
from .samples import Samples
from .spacing import LabelPlaces, areas_of, blocks_of, label_places, suggested_block

SCHEMES = ("random", "blocks", "areas", "years")
FROM_FILE = "file"

MOST_FOLDS = 100
TRIES = 25
"""So many ways of dealing blocks are tried until one tests every class."""


@dataclass(frozen=True)
class ValidationParams:
    """How a head is to be tested."""

    scheme: str = "random"
    """`random` by label, spatial `blocks`, one of the `areas` left out, one of the `years` against
    the others."""
    folds: int = 5
    """How many parts the labels are dealt to, where they are dealt."""
    block_px: int = 0
    """Edge of a spatial block; 0: as the labels' spacing suggests."""
    seed: int = 0
    """Of what is drawn."""
    skip_untestable: bool = False
    """Whether a class that can't be tested is learnt only and named, where it is a refusal else."""

    def __post_init__(self) -> None:
        checks = {
            "scheme": self.scheme in SCHEMES,
            "folds": 2 <= self.folds <= MOST_FOLDS,
            "block_px": self.block_px >= 0,
            "seed": self.seed >= 0,
        }
        for name, is_good in checks.items():
            if not is_good:
                raise ValueError(f"{name} can't be {getattr(self, name)!r}")


@dataclass(frozen=True)
class Block:
    """A spatial block with labels, for the map."""

    window: Window
    fold: int
    """Index in `Folds.items`, which tests it."""


@dataclass(frozen=True, eq=False)
class Folds:
    """A way to test a head."""

    scheme: str
    """One of `SCHEMES`, or `file`."""
    items: Tuple[Fold, ...]
    sentence: str
    """What is done, for the log and the command line."""
    learnt: NDArray[np.int64]
    """The rows that the final head is trained on: all labels that are not of a file for the test."""
    blocks: Tuple[Block, ...] = ()
    """Of the scheme `blocks`."""
    untestable: Tuple[str, ...] = ()
    """Names of the classes that are learnt but not tested."""
    shared_labels: int = 0
    """Labels that share ground with what was on the other side, and were left out for it: of a file,
    of what is tested; of areas, of what is learnt for the area that holds them too."""
    unknown_labels: int = 0
    """Of a file: labels, on ground that is not learnt, of classes that the head has not."""
    unknown_px: int = 0
    """Their pixels."""
    unknown_classes: Tuple[str, ...] = ()
    """Their names."""

    @property
    def parts(self) -> Tuple[str, ...]:
        """Names of the parts, each once."""
        return tuple(dict.fromkeys(fold.name for fold in self.items))

    @property
    def tested(self) -> NDArray[np.int64]:
        """All rows that are tested, fold by fold."""
        return np.concatenate([fold.test for fold in self.items])

    def tested_labels(self, samples: Samples) -> int:
        """Return how many labels are tested."""
        return len(np.unique(samples.groups[self.tested]))

    def overall_with_unknown(self, accuracy: Accuracy) -> Optional[float]:
        """Return the overall accuracy where the labels of unknown classes count as wrong.

        None where there are none. On a map they are wrong: the head says another class there.
        """
        if accuracy.overall is None or not self.unknown_px:
            return None
        return accuracy.overall * accuracy.n / (accuracy.n + self.unknown_px)


def make_folds(samples: Samples, params: ValidationParams) -> Folds:
    """Return the folds of samples. The same samples and parameters give the same folds.

    Raises: ValidationImpossible with the reason, where a class can't be tested or there is only one
    part.
    """
    classes, y = present_classes(samples)
    plan = _Plan(samples, classes, y, label_places(samples, y), params)
    return _SCHEMES[params.scheme](plan)


# --- the schemes


@dataclass(frozen=True, eq=False)
class _Plan:
    """What the schemes need."""

    samples: Samples
    classes: Sequence[LandClass]
    y: NDArray[np.int64]
    places: LabelPlaces
    params: ValidationParams

    def folds(
        self, items: Sequence[Fold], sentence: str, where: str, blocks: Sequence[Block] = ()
    ) -> Folds:
        """Return folds that test every class, or as many as can be.

        `where` says of what a class would need two. Raises: ValidationImpossible.
        """
        scheme, everything = self.params.scheme, np.arange(len(self.y))
        given, items = items, [without_tested_ground(self.samples, each) for each in items]
        together = len(np.unique(self.samples.groups)) - len(self.places.names)
        if together:
            sentence += f" {together:,} labels stay with another one on the same ground."
        shared = self._held_back(given, items) if scheme == "areas" else 0
        if shared:
            sentence += f" {shared:,} labels on ground of the tested area are not learnt for it."
        bad = untestable(self.y, items)
        if not bad:
            return Folds(
                scheme, tuple(items), sentence, everything, tuple(blocks), shared_labels=shared
            )
        names = tuple(self.classes[index].name for index in sorted(bad))
        if not self.params.skip_untestable:
            told = f"{', '.join(names)} can't be learnt and tested, which takes labels in {where}"
            raise ValidationImpossible(scheme, told)
        kept = [self._without(each, bad) for each in items]
        kept = [fold for fold in kept if len(fold.test)]
        if not kept:
            raise ValidationImpossible(scheme, f"no class has labels in {where}")
        told = f"{sentence} Learnt but not tested: {', '.join(names)}."
        return Folds(
            scheme, tuple(kept), told, everything, tuple(blocks), names, shared_labels=shared
        )

    def _without(self, fold: Fold, bad: Sequence[int]) -> Fold:
        """Return a fold that does not test some classes.

        Dealt by label, they are always learnt: the head is to tell the others from them. What lies
        on ground that is held out stays unlearnt.
        """
        is_bad = np.isin(self.y, bad)
        train, test = fold.train, fold.test[~is_bad[fold.test]]
        if self.params.scheme == "random":
            train = np.union1d(train, np.flatnonzero(is_bad))
        return without_tested_ground(self.samples, Fold(fold.name, train, test))

    def _held_back(self, given: Sequence[Fold], strict: Sequence[Fold]) -> int:
        """Return how many labels are not learnt for a part whose ground they share.

        Raises: ValidationImpossible where nothing is left to learn.
        """
        dropped = [np.setdiff1d(a.train, b.train) for a, b in zip(given, strict)]
        for each in strict:
            if not len(each.train):
                told = f"the other areas' labels stand on the ground of those of {each.name}"
                raise ValidationImpossible(self.params.scheme, told)
        return len(np.unique(self.samples.groups[np.concatenate(dropped)]))

    def dealt(self, units: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
        """Return `dealing.dealt` of what the places (g,) lie in, by all classes they have."""
        place, of_class = np.unique(np.column_stack([self.places.of_row, self.y]), axis=0).T
        return dealt(units[place], of_class, folds, seed)

    def parts(self, count: int, what: str) -> int:
        """Return into how many parts units can be dealt. Raises: ValidationImpossible for one."""
        if count < 2:
            raise ValidationImpossible(self.params.scheme, f"all labels lie in one {what}")
        return min(self.params.folds, count)


def _random(plan: _Plan) -> Folds:
    places, params = plan.places, plan.params
    count = plan.parts(len(places.names), "place")
    # no class can be dealt to more folds than it has labels, but every fold has some class
    fold = plan.dealt(np.arange(len(places.names)), count, params.seed)
    items = numbered(fold[places.of_row], count)
    return plan.folds(items, f"Tested in {len(items)} parts, dealt by label.", "two places or more")


def _blocks(plan: _Plan) -> Folds:
    samples, places, params = plan.samples, plan.places, plan.params
    told = ""
    size = params.block_px
    if not size:
        suggestion = suggested_block(samples, places, params.folds)
        size, told = suggestion.block_px, f" {suggestion.sentence()}"
    blocks, unit = np.unique(blocks_of(places, size), axis=0, return_inverse=True)
    unit = unit.reshape(-1)
    count = plan.parts(len(blocks), f"block of {size * PIXEL_M:,} m")
    best: Sequence[Fold] = ()
    fold = np.zeros(len(blocks), np.int64)
    for number in range(TRIES):
        fold = plan.dealt(unit, count, params.seed + 1000 * number)
        best = tuple(_apart(plan, blocks, fold, unit, size))
        if not untestable(plan.y, best):
            break
    windows = [
        Block(Window(int(zone), int(down) * size, int(across) * size, size, size), int(number))
        for (zone, down, across), number in zip(blocks, fold)
    ]
    sentence = f"Tested in {len(best)} parts of {len(blocks)} blocks of {size * PIXEL_M:,} m.{told}"
    return plan.folds(best, sentence, "two blocks or more", windows)


def _apart(
    plan: _Plan,
    blocks: NDArray[np.int64],
    fold: NDArray[np.int64],
    unit: NDArray[np.int64],
    size: int,
) -> Iterator[Fold]:
    """Yield the folds of blocks, by their numbers.

    The pixels of a learnt label that reach into a tested block are not learnt, and those of a tested
    one that reach out of its block are not tested: they may lie beside what is learnt.
    """
    samples = plan.samples
    of_block: Dict[Tuple[int, ...], int] = {
        tuple(block): int(number) for block, number in zip(blocks.tolist(), fold)
    }
    own = np.column_stack([samples.zone, samples.row // size, samples.col // size])
    lies_in = np.array([of_block.get(tuple(block), -1) for block in own.tolist()])
    of_label = fold[unit][plan.places.of_row]
    for number in range(int(fold.max()) + 1):
        test = np.flatnonzero((of_label == number) & (lies_in == number))
        train = np.flatnonzero((of_label != number) & (lies_in != number))
        if len(test):
            yield Fold(f"part {number + 1}", train, test)


def _areas(plan: _Plan) -> Folds:
    samples = plan.samples
    given = samples.row_areas
    if given is not None and len(np.unique(given)) > 1:
        area, names = given, samples.areas
    else:
        area = areas_of(plan.places)[plan.places.of_row]
        names = tuple(f"area {number + 1}" for number in range(int(area.max()) + 1))
    if not area.any():
        told = "all labels lie in one area"
        if given is not None and len(samples.areas) > 1:
            told += (
                f", {samples.areas[given[0]]}: those of the others are on its ground or unusable"
            )
        raise ValidationImpossible(plan.params.scheme, told)
    items = [
        Fold(names[index], np.flatnonzero(area != index), np.flatnonzero(area == index))
        for index in np.unique(area)
    ]
    sentence = f"Each of {len(items)} areas tested by what the others teach."
    return plan.folds(items, sentence, "two areas or more")


def _years(plan: _Plan) -> Folds:
    """Return the folds that test each year by what the others teach.

    Units with labels of several years are dealt, so that no place is tested that was learnt in
    another year.
    """
    samples, places, params = plan.samples, plan.places, plan.params
    year = samples.year_of
    years = np.unique(year)
    if len(years) < 2:
        reason = f"all labels are of {years[0]}; train with labels of two years or more"
        raise ValidationImpossible(params.scheme, reason)
    pairs = np.unique(np.column_stack([places.of_row, year]), axis=0)
    is_shared = bool((np.bincount(pairs[:, 0]) > 1).any())
    count = min(params.folds, len(places.names)) if is_shared else 1
    deal = plan.dealt(np.arange(len(places.names)), count, params.seed)
    part = deal[places.of_row]
    items: List[Fold] = []
    for one in years:
        for number in range(count):
            test = (year == one) & (part == number)
            train = (year != one) & ((part != number) if is_shared else True)
            if test.any() and train.any():
                items.append(Fold(str(one), np.flatnonzero(train), np.flatnonzero(test)))
    sentence = f"Each of {', '.join(map(str, years))} tested by what the other years teach."
    if is_shared:
        sentence += " No place is tested that was learnt in another year."
    return plan.folds(items, sentence, "two years or more")


_SCHEMES = {"random": _random, "blocks": _blocks, "areas": _areas, "years": _years}
