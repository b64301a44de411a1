# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How labels are divided into what is learnt and what is tested, several times over.

Neighbours look alike: a head that has seen the field next door is praised for what it could not do
elsewhere. So labels may be kept apart by blocks of ground, by areas or by years. A label is never
divided, and a class that can't be tested is a refusal, not a figure that leaves it out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Dict, Iterator, List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..errors import ValidationImpossible
from ..values import PIXEL_M, LandClass, Window
from .accuracy import majority
from .fitting import present_classes
from .label_sets import joined, with_classes_of
from .samples import Samples
from .spacing import LabelPlaces, areas_of, blocks_of, label_places, suggested_block

SCHEMES = ("random", "blocks", "areas", "years")
FROM_FILE = "file"

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
            "folds": 2 <= self.folds <= 100,
            "block_px": self.block_px >= 0,
            "seed": self.seed >= 0,
        }
        for name, is_good in checks.items():
            if not is_good:
                raise ValueError(f"{name} can't be {getattr(self, name)!r}")


@dataclass(frozen=True, eq=False)
class Fold:
    """What is learnt and what is tested at one time; folds of one name count as one part."""

    name: str
    train: NDArray[np.int64]
    """Rows, ascending."""
    test: NDArray[np.int64]


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
    blocks: Tuple[Block, ...] = ()
    """Of the scheme `blocks`."""
    untestable: Tuple[str, ...] = ()
    """Names of the classes that are learnt but not tested."""

    @property
    def parts(self) -> Tuple[str, ...]:
        """Names of the parts, each once."""
        return tuple(dict.fromkeys(fold.name for fold in self.items))

    @property
    def learnt(self) -> NDArray[np.int64]:
        """All rows that are learnt at some time: those that the final head may be trained on."""
        rows: NDArray[np.int64] = np.unique(np.concatenate([fold.train for fold in self.items]))
        return rows


def make_folds(samples: Samples, params: ValidationParams) -> Folds:
    """Return the folds of samples. The same samples and parameters give the same folds.

    Raises: ValidationImpossible with the reason, where a class can't be tested or there is only one
    part.
    """
    classes, y = present_classes(samples)
    plan = _Plan(samples, classes, y, label_places(samples, y), params)
    return _SCHEMES[params.scheme](plan)


def against(samples: Samples, test: Samples) -> Tuple[Samples, Folds]:
    """Return samples of both, and the one fold that learns the first and is tested on the second.

    Classes are matched by name. What is tested on a pixel that is also learnt would flatter and is
    left out. Raises: ValidationImpossible where nothing is left to test.
    """
    both = joined([samples, with_classes_of(test, samples)])
    split = len(samples)
    learnt = set(_places(samples))
    known = set(samples.class_ids.tolist())
    index = np.arange(split, len(both))
    is_new = np.array([place not in learnt for place in _places(test)], bool)
    is_known = np.array([number in known for number in both.class_ids[split:].tolist()], bool)
    rows = index[is_new & is_known]
    if not len(rows):
        reason = "no label of the file has a class of the head on a pixel that is not learnt"
        raise ValidationImpossible(FROM_FILE, reason)
    tested = set(both.class_ids[rows].tolist())
    untested = tuple(c.name for c in both.classes if c.id in known and c.id not in tested)
    told = f"Tested on {len(np.unique(both.groups[rows])):,} labels of another file."
    if not is_new.all():
        told += f" {int((~is_new).sum()):,} pixels that are learnt too are left out."
    if not is_known.all():
        told += f" {int((~is_known).sum()):,} pixels of classes that the head has not are left out."
    fold = Fold("file", np.arange(split), rows)
    return both, Folds(FROM_FILE, (fold,), told, untestable=untested)


def dealt(
    units: NDArray[np.int64], class_index: NDArray[np.int64], folds: int, seed: int
) -> NDArray[np.int64]:
    """Return the fold of each unit (u,), so that every fold has a like share of every class.

    Shapes: units (g,), the unit (0 to u - 1) of each label; class_index (g,). The units with the
    most labels are dealt first, each to the fold that lacks their classes most.
    """
    table = np.zeros((int(units.max()) + 1, int(class_index.max()) + 1))
    np.add.at(table, (units, class_index), 1)
    shares = table / table.sum(axis=0).clip(1)
    draw = np.random.default_rng(seed).random(len(table))
    load = np.zeros((folds, table.shape[1]))
    count = np.zeros(folds)
    result: NDArray[np.int64] = np.zeros(len(table), np.int64)
    for unit in np.lexsort((draw, -shares.max(axis=1))):
        # the squares' sum grows by 2 load * share: least where the fold has least of its classes
        cost = load @ shares[unit]
        result[unit] = best = np.lexsort((count, cost))[0]
        load[best] += shares[unit]
        count[best] += table[unit].sum()
    return result


def pinned_folds(
    y: NDArray[np.int64],
    groups: NDArray[np.int64],
    rows: NDArray[np.int64],
    folds: int,
    seed: int,
) -> List[Fold]:
    """Return folds of rows by label, where a class with a single label is always learnt.

    Shapes: y, groups (n,) of all rows. Empty where no class has two labels.
    """
    names, of_row = np.unique(groups[rows], return_inverse=True)
    class_of = majority(y[rows], of_row, len(names))
    is_lonely = np.bincount(class_of)[class_of] < 2
    fold = dealt(np.arange(len(names)), class_of, min(folds, max(len(names), 1)), seed)
    fold[is_lonely] = -1
    return [
        Fold(each.name, rows[each.train], rows[each.test]) for each in _items(fold[of_row], folds)
    ]


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
        bad = untestable(self.y, items)
        if not bad:
            return Folds(self.params.scheme, tuple(items), sentence, tuple(blocks))
        names = tuple(self.classes[index].name for index in sorted(bad))
        if not self.params.skip_untestable:
            told = f"{', '.join(names)} can't be learnt and tested, which takes labels in {where}"
            raise ValidationImpossible(self.params.scheme, told)
        is_good = ~np.isin(self.y, sorted(bad))
        pinned = np.flatnonzero(~is_good)
        kept = [Fold(f.name, np.union1d(f.train, pinned), f.test[is_good[f.test]]) for f in items]
        kept = [fold for fold in kept if len(fold.test)]
        if not kept:
            raise ValidationImpossible(self.params.scheme, f"no class has labels in {where}")
        told = f"{sentence} Learnt but not tested: {', '.join(names)}."
        return Folds(self.params.scheme, tuple(kept), told, tuple(blocks), names)

    def parts(self, count: int, what: str) -> int:
        """Return into how many parts units can be dealt. Raises: ValidationImpossible for one."""
        if count < 2:
            raise ValidationImpossible(self.params.scheme, f"all labels lie in one {what}")
        return min(self.params.folds, count)


def untestable(y: NDArray[np.int64], folds: Sequence[Fold]) -> Tuple[int, ...]:
    """Return the classes that no fold tests, or that one tests without learning them."""
    everything = {int(index) for index in np.unique(y)}
    tested: Counter[int] = Counter()
    bad = set()
    for fold in folds:
        learnt, asked = set(y[fold.train].tolist()), set(y[fold.test].tolist())
        bad |= asked - learnt
        tested.update(asked)
    return tuple(sorted(bad | {index for index in everything if not tested[index]}))


def _random(plan: _Plan) -> Folds:
    places, params = plan.places, plan.params
    count = plan.parts(len(places.names), "place")
    # no class can be dealt to more folds than it has labels, but every fold has some class
    fold = dealt(np.arange(len(places.names)), places.class_index, count, params.seed)
    items = _items(fold[places.of_row], count)
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
        fold = dealt(unit, places.class_index, count, params.seed + 1000 * number)
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

    The pixels of a learnt label that reach into a tested block are not learnt.
    """
    samples = plan.samples
    of_block: Dict[Tuple[int, ...], int] = {
        tuple(block): int(number) for block, number in zip(blocks.tolist(), fold)
    }
    own = np.column_stack([samples.zone, samples.row // size, samples.col // size])
    lies_in = np.array([of_block.get(tuple(block), -1) for block in own.tolist()])
    of_label = fold[unit][plan.places.of_row]
    for number in range(int(fold.max()) + 1):
        test = np.flatnonzero(of_label == number)
        train = np.flatnonzero((of_label != number) & (lies_in != number))
        if len(test):
            yield Fold(f"part {number + 1}", train, test)


def _areas(plan: _Plan) -> Folds:
    samples = plan.samples
    if samples.row_areas is not None and len(np.unique(samples.row_areas)) > 1:
        area, names = samples.row_areas, samples.areas
    else:
        area = areas_of(plan.places)[plan.places.of_row]
        names = tuple(f"area {number + 1}" for number in range(int(area.max()) + 1))
    plan.parts(len(np.unique(area)), "area")
    items = [
        Fold(names[index], np.flatnonzero(area != index), np.flatnonzero(area == index))
        for index in np.unique(area)
    ]
    sentence = f"Each of {len(items)} areas tested by what the others teach."
    return plan.folds(items, sentence, "two areas or more")


def _years(plan: _Plan) -> Folds:
    """Return the folds that test each year by what the others teach.

    Places labelled in several years are dealt, so that none is tested that was learnt in another
    year.
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
    deal = dealt(np.arange(len(places.names)), places.class_index, count, params.seed)
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


def _items(fold: NDArray[np.int64], count: int) -> List[Fold]:
    return [
        Fold(f"part {n + 1}", np.flatnonzero(fold != n), np.flatnonzero(fold == n))
        for n in range(count)
        if (fold == n).any()
    ]


def _places(samples: Samples) -> Iterator[Tuple[int, int, int]]:
    return zip(samples.zone.tolist(), samples.row.tolist(), samples.col.tolist())
