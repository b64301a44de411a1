# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How good a head is, on labels it has not seen.

The pixels of one label stay on one side of every split: neighbours look alike, and a head that has
seen the one would be praised for the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..values import LandClass
from .trials import Z_95, effective_labels

CLEAR_GAP = 0.05
"""Shares that are further apart than this are told both."""

Share = Optional[float]
"""0 to 1, or None where it is 0 / 0."""


@dataclass(frozen=True)
class Accuracy:
    """A head's answers against reference labels."""

    class_ids: Tuple[int, ...]
    """The order of rows, columns and per-class figures."""
    matrix: Tuple[Tuple[int, ...], ...]
    """Pixels; rows are the reference, columns what was predicted."""
    n: int
    """Pixels that were judged."""
    n_labels: int
    """Labels they come from; equal to `n` where each label is a pixel."""
    n_effective: float
    """Labels of equal size from which `overall` would be as sure; `n_labels` where they are of equal
    size, less where a few of them hold most of the pixels."""
    overall: Share
    """Share of pixels predicted right."""
    interval: Optional[Tuple[float, float]]
    """95 % Wilson interval of `overall` for `n_effective` trials: the pixels of one label are alike
    and count together as one trial, and the larger labels weigh more."""
    by_label: Share
    """Mean over the labels of their share of right pixels: each counts the same, whatever its size.
    None where that is not known."""
    precision: Tuple[Share, ...]
    """Per class: of what was predicted as it, the share that is it (user's accuracy)."""
    recall: Tuple[Share, ...]
    """Per class: of what is it, the share predicted as it (producer's accuracy)."""
    f1: Tuple[Share, ...]
    """Per class: 2 tp / (2 tp + fp + fn); None where the class is in neither."""
    macro_f1: Share
    """Mean of the F1 that are defined."""
    kappa: Share
    """Cohen's kappa."""

    @property
    def untested(self) -> Tuple[int, ...]:
        """Ids of the classes without a reference pixel: nothing is known of their recall."""
        return tuple(number for number, row in zip(self.class_ids, self.matrix) if not sum(row))

    @property
    def rests_on_few(self) -> bool:
        """Whether a few large labels decide the overall accuracy."""
        return self.n_effective < self.n_labels / 2

    @property
    def differs_by_label(self) -> bool:
        """Whether large and small labels are not equally right."""
        known = self.by_label is not None and self.overall is not None
        return known and abs((self.by_label or 0.0) - (self.overall or 0.0)) >= CLEAR_GAP

    def sentence(self) -> str:
        """Return it as English sentences for the log and the command line."""
        if self.overall is None or self.interval is None:
            return "Nothing was tested."
        low, high = self.interval
        told = (
            f"Overall accuracy {self.overall:.1%} (95 % interval {low:.1%} to {high:.1%}, from "
            f"{self.n_labels:,} labels with {self.n:,} pixels that were not trained on)."
        )
        if self.differs_by_label:
            told += f" With each label counted once it is {self.by_label:.1%}."
        if self.rests_on_few:
            told += (
                f" A few large labels, or places labelled several times, hold most of the tested "
                f"pixels: it is only as sure as one from "
                f"{max(round(self.n_effective), 1)} of equal size."
            )
        return told

    def to_json(self) -> Dict[str, object]:
        """Return it as JSON values: what was counted, and what follows of it."""
        return {
            "class_ids": list(self.class_ids),
            "matrix_rows_reference_columns_predicted": [list(row) for row in self.matrix],
            "n": self.n,
            "n_labels": self.n_labels,
            "n_effective_labels": self.n_effective,
            "overall_by_label": self.by_label,
            "overall": self.overall,
            "interval_95": list(self.interval) if self.interval else None,
            "precision": list(self.precision),
            "recall": list(self.recall),
            "f1": list(self.f1),
            "macro_f1": self.macro_f1,
            "kappa": self.kappa,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Accuracy:
        """Return what `to_json` gave; the figures are computed from the matrix again.

        Of before labels were weighed, all count the same.
        Raises: ValueError or TypeError if it is none, KeyError with the name of what is missing.
        """
        if not isinstance(data, Mapping):
            raise TypeError(f"an accuracy is {data!r:.60}")
        ids = _whole_numbers(data["class_ids"])
        rows = data["matrix_rows_reference_columns_predicted"]
        (n_labels,) = _whole_numbers([data["n_labels"]])
        if not isinstance(rows, (list, tuple)):
            raise TypeError(f"a confusion matrix is {rows!r:.60}")
        matrix = [_whole_numbers(row) for row in rows]
        if len(matrix) != len(ids) or any(len(row) != len(ids) for row in matrix):
            raise ValueError(f"a confusion matrix does not fit its {len(ids)} classes")
        counts = np.array(matrix, np.int64).reshape(len(ids), len(ids))
        n_effective = _between(data.get("n_effective_labels"), n_labels)
        by_label = _between(data.get("overall_by_label"), 1)
        return from_matrix(ids, counts, n_labels, n_effective=n_effective, by_label=by_label)


def split(
    y: NDArray[np.int64], groups: NDArray[np.int64], test_share: float, seed: int
) -> Tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of the training rows and of the test rows, both ascending.

    Per class about `test_share` of its groups are drawn for the test, at least one and never all;
    a class with a single group stays in training. A group is never divided.
    Shapes: y, groups (n,). A group that holds several classes counts for its most frequent one.
    """
    if not 0 <= test_share < 1:
        raise ValueError(f"the share of the test part is 0 to below 1, got {test_share}")
    names, inverse = np.unique(groups, return_inverse=True)
    class_of_group = majority(y, inverse, len(names))
    is_test = np.zeros(len(names), bool)
    for index in np.unique(class_of_group):
        members = np.flatnonzero(class_of_group == index)
        # a seed per class: labelling more of one class does not reshuffle the others
        order = np.random.default_rng([seed, int(index)]).permutation(members)
        is_test[order[: _test_count(len(members), test_share)]] = True
    in_test = is_test[inverse]
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)


def assess(
    reference: NDArray[np.int64],
    predicted: NDArray[np.int64],
    classes: Sequence[LandClass],
    groups: Optional[NDArray[np.int64]] = None,
    units: Optional[NDArray[np.int64]] = None,
) -> Accuracy:
    """Return how predicted class ids agree with reference class ids.

    Shapes: reference, predicted, groups, units (n,). Groups say which label a pixel comes from;
    without them each pixel is a label of its own. Units say which labels share ground and err
    together; without them none do.
    Raises: ValueError if an id is not one of the classes'.
    """
    ids = [land_class.id for land_class in classes]
    rows, columns = _positions(reference, ids), _positions(predicted, ids)
    if len(rows) != len(columns):
        raise ValueError(f"{len(rows)} reference pixels but {len(columns)} predicted ones")
    flat = np.bincount(rows * len(ids) + columns, minlength=len(ids) ** 2)
    matrix = flat.reshape(len(ids), len(ids))
    if groups is None or not len(rows):
        return from_matrix(ids, matrix, len(rows))
    _, label, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    right = np.bincount(label[rows == columns], minlength=len(sizes))
    _, unit, extents = np.unique(
        groups if units is None else units, return_inverse=True, return_counts=True
    )
    right_there = np.bincount(unit[rows == columns], minlength=len(extents))
    return from_matrix(
        ids, matrix, len(sizes),
        n_effective=effective_labels(extents, right_there), by_label=float((right / sizes).mean()),
    )  # fmt: skip


def from_matrix(
    class_ids: Sequence[int],
    matrix: NDArray[np.int64],
    n_labels: int,
    *,
    n_effective: Optional[float] = None,
    by_label: Share = None,
) -> Accuracy:
    """Return the figures of a confusion matrix, rows reference and columns predicted.

    Labels are of equal size unless `n_effective` says otherwise. Shapes: matrix (k, k), pixels.
    """
    trials = float(n_labels) if n_effective is None else n_effective
    hits = np.diagonal(matrix)
    in_reference, in_prediction = matrix.sum(axis=1), matrix.sum(axis=0)
    n = int(matrix.sum())
    overall = _share(int(hits.sum()), n)
    f1 = _shares(2 * hits, in_reference + in_prediction)
    defined = [value for value in f1 if value is not None]
    return Accuracy(
        class_ids=tuple(int(number) for number in class_ids),
        matrix=tuple(tuple(int(count) for count in row) for row in matrix),
        n=n,
        n_labels=n_labels,
        n_effective=trials,
        overall=overall,
        interval=None if overall is None or not trials else wilson(overall, trials),
        by_label=by_label,
        precision=_shares(hits, in_prediction),
        recall=_shares(hits, in_reference),
        f1=f1,
        macro_f1=sum(defined) / len(defined) if defined else None,
        kappa=_kappa(overall, in_reference, in_prediction, n),
    )


def wilson(share: float, trials: float) -> Tuple[float, float]:
    """Return the 95 % Wilson score interval of a share that was seen in so many trials.

    Source: Wilson, Probable inference (1927); unlike the normal interval it holds for few trials
    and never leaves 0 to 1. The number of trials may be an effective one, not whole.
    """
    z2 = Z_95 * Z_95
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    spread = math.sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials))
    half = Z_95 / (1 + z2 / trials) * spread
    # the ends are exact at 0 and 1; rounding must not push them a hair outside
    return max(middle - half, 0.0), min(middle + half, 1.0)


def _kappa(
    overall: Share, in_reference: NDArray[np.int64], in_prediction: NDArray[np.int64], n: int
) -> Share:
    if overall is None:
        return None
    by_chance = float(in_reference.astype(float) @ in_prediction.astype(float)) / n**2
    return None if by_chance >= 1 else (overall - by_chance) / (1 - by_chance)


def _share(part: int, whole: int) -> Share:
    return part / whole if whole else None


def _shares(parts: NDArray[np.int64], wholes: NDArray[np.int64]) -> Tuple[Share, ...]:
    return tuple(_share(int(part), int(whole)) for part, whole in zip(parts, wholes))


def _positions(values: NDArray[np.int64], ids: Sequence[int]) -> NDArray[np.int64]:
    """Return where class ids stand in `ids`."""
    order = np.argsort(ids)
    ordered = np.array(ids, np.int64)[order]
    found = np.minimum(np.searchsorted(ordered, values), len(ids) - 1)
    unknown = values[ordered[found] != values]
    if len(unknown):
        raise ValueError(f"class {unknown[0]} is not one of {sorted(ids)}")
    positions: NDArray[np.int64] = order[found]
    return positions


def majority(y: NDArray[np.int64], group: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the most frequent class of each group (count,); the smaller one of equals."""
    values, codes = np.unique(y, return_inverse=True)
    pairs, sizes = np.unique(np.column_stack([group, codes]), axis=0, return_counts=True)
    order = np.lexsort([-pairs[:, 1], sizes])  # the winner of a group is written last
    result = np.zeros(count, np.int64)
    result[pairs[order, 0]] = values[pairs[order, 1]]
    return result


def _test_count(groups: int, share: float) -> int:
    if groups < 2 or share == 0:
        return 0
    return min(max(math.floor(share * groups + 0.5), 1), groups - 1)


def _whole_numbers(values: object) -> List[int]:
    if not isinstance(values, (list, tuple)) or not all(type(v) is int and v >= 0 for v in values):
        raise ValueError(f"whole numbers are {values!r:.60}")
    return list(values)


def _between(value: object, most: float) -> Optional[float]:
    """Return a number that is not below 0; None where there is none."""
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= most:
        raise ValueError(f"a number from 0 to {most} is {value!r:.60}")
    return float(value)
