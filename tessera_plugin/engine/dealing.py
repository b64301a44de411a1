# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How units of labels are dealt to what is learnt and what is tested; a unit is never divided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from .accuracy import majority, split
from .samples import Samples


@dataclass(frozen=True, eq=False)
class Fold:
    """What is learnt and what is tested at one time; folds of one name count as one part."""

    name: str
    train: NDArray[np.int64]
    """Rows, ascending."""
    test: NDArray[np.int64]


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


def divided(
    y: NDArray[np.int64], units: NDArray[np.int64], share: float, seed: int
) -> Tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return `split` by unit, where every class is learnt.

    Shapes: y, units (n,). A class may only occur where another one has more rows in the unit.
    """
    train, test = split(y, units, share, seed)
    lost = np.setdiff1d(y[test], y[train])
    if not len(lost):
        return train, test
    is_tested = np.zeros(len(y), bool)
    is_tested[test] = True
    is_tested &= ~np.isin(units, units[np.isin(y, lost)])
    return np.flatnonzero(~is_tested), np.flatnonzero(is_tested)


def pinned_folds(
    y: NDArray[np.int64],
    units: NDArray[np.int64],
    rows: NDArray[np.int64],
    folds: int,
    seed: int,
) -> List[Fold]:
    """Return folds of rows by unit, where a class with a single unit is always learnt.

    Shapes: y, units (n,) of all rows. Rows of a class that a fold does not learn are not tested.
    Empty where no class has two units.
    """
    names, of_row = np.unique(units[rows], return_inverse=True)
    class_of = majority(y[rows], of_row, len(names))
    is_lonely = np.bincount(class_of)[class_of] < 2
    fold = dealt(np.arange(len(names)), class_of, min(folds, max(len(names), 1)), seed)
    fold[is_lonely] = -1
    found = []
    for each in numbered(fold[of_row], folds):
        train, test = rows[each.train], rows[each.test]
        found.append(Fold(each.name, train, test[np.isin(y[test], y[train])]))
    return [each for each in found if len(each.test)]


def numbered(fold: NDArray[np.int64], count: int) -> List[Fold]:
    """Return the folds of rows by the number (n,) of the one that tests them."""
    return [
        Fold(f"part {n + 1}", np.flatnonzero(fold != n), np.flatnonzero(fold == n))
        for n in range(count)
        if (fold == n).any()
    ]


def without_tested_ground(samples: Samples, fold: Fold) -> Fold:
    """Return a fold that learns nothing of the units that it tests, and of no place that it tests.

    Units may have a sliver in common, and an area may hold what another one holds too.
    """
    units, places = samples.units, samples.places
    is_tested = np.isin(units[fold.train], units[fold.test])
    is_tested |= np.isin(places[fold.train], places[fold.test])
    return Fold(fold.name, fold.train[~is_tested], fold.test) if is_tested.any() else fold


def untestable(y: NDArray[np.int64], folds: Sequence[Fold]) -> Tuple[int, ...]:
    """Return the classes that no fold tests, or that one tests without learning them."""
    everything = {int(index) for index in np.unique(y)}
    tested = set()
    bad = set()
    for fold in folds:
        learnt, asked = set(y[fold.train].tolist()), set(y[fold.test].tolist())
        bad |= asked - learnt
        tested |= asked
    return tuple(sorted(bad | (everything - tested)))
