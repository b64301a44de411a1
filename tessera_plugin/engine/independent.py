# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A head tested on labels of its own file, none of which stands on what is learnt."""

from __future__ import annotations

from dataclasses import replace
from typing import Tuple

import numpy as np
from numpy.typing import NDArray

from ..errors import ValidationImpossible
from .dealing import Fold
from .folds import FROM_FILE, Folds
from .ground import standing_on
from .label_sets import concatenated, taken, with_classes_of
from .samples import Samples


def against(samples: Samples, test: Samples) -> Tuple[Samples, Folds]:
    """Return the rows of both, and the one fold that learns the first and is tested on the second.

    Classes are matched by name. A label that shares ground with a learnt one would flatter and is
    left out whole; one of a class that is not learnt can't be asked for. Neither has a row in what
    is returned. Raises: ValidationImpossible where nothing is left to test.
    """
    renamed = with_classes_of(test, samples)
    shares = np.isin(test.groups, standing_on(test.present_ground, samples.present_ground))
    is_unknown = ~np.isin(renamed.class_ids, np.unique(samples.class_ids))
    kept = np.flatnonzero(~shares & ~is_unknown)
    unknown = np.flatnonzero(~shares & is_unknown)
    if not len(kept):
        reason = "no label of the file has a class of the head on ground that is not learnt"
        raise ValidationImpossible(FROM_FILE, reason)
    both = _joined(samples, taken(renamed, kept))
    split = len(samples)
    learnt, rows = np.arange(split), np.arange(split, len(both))
    untested = _names(samples, np.setdiff1d(samples.class_ids, both.class_ids[rows]))
    folds = Folds(
        FROM_FILE,
        (Fold("file", learnt, rows),),
        f"Tested on {len(np.unique(both.groups[rows])):,} labels of another file.",
        learnt=learnt,
        untestable=untested,
        shared_labels=_labels(test.groups[shares]),
        unknown_labels=_labels(test.groups[unknown]),
        unknown_px=len(unknown),
        unknown_classes=_names(renamed, np.unique(renamed.class_ids[unknown])),
    )
    return both, replace(folds, sentence=" ".join([folds.sentence, *_left_out(folds)]))


def _joined(samples: Samples, test: Samples) -> Samples:
    """Return the rows of both; what else there is to know is that of the first."""
    both = concatenated([samples, test])
    areas = None
    if samples.row_areas is not None:
        areas = np.concatenate([samples.row_areas, np.full(len(test), -1)])
    return replace(both, classes=samples.classes, row_areas=areas, areas=samples.areas)


def _left_out(folds: Folds) -> Tuple[str, ...]:
    told = []
    if folds.shared_labels:
        told.append(f"{folds.shared_labels:,} labels on ground that is learnt are left out.")
    if folds.unknown_labels:
        names = ", ".join(folds.unknown_classes)
        told.append(
            f"{folds.unknown_labels:,} labels of classes that the head has not are left out: {names}."
        )
    return tuple(told)


def _labels(groups: NDArray[np.int64]) -> int:
    return len(np.unique(groups))


def _names(samples: Samples, ids: NDArray[np.int64]) -> Tuple[str, ...]:
    wanted = set(ids.tolist())
    return tuple(known.name for known in samples.classes if known.id in wanted)
