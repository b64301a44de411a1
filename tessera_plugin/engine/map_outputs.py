# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is written beside a class map, of the same look at every pixel: probabilities, margin, novelty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..errors import LabelsNeeded
from ..io.rasters import CONFIDENCE_NODATA
from ..progress import Report
from ..values import LandClass, Window
from .novelty import Novelty
from .predict import PREDICT_PX, chosen

UNCERTAIN, UNCERTAIN_COLOR = "Uncertain", "#9e9e9e"

PROBABILITIES, MARGIN, NOVELTY = "probabilities", "margin", "novelty"
KINDS = (PROBABILITIES, MARGIN, NOVELTY)


def uncertain_class(classes: Sequence[LandClass]) -> LandClass:
    """Return the class of pixels whose best class is not probable enough: the next free id."""
    taken = {each.id for each in classes}
    after = max(taken) + 1
    is_free = after <= 255 or (after <= 65_535 and len(taken) >= 255)
    number = after if is_free else next(n for n in range(1, 65_536) if n not in taken)
    return LandClass(number, UNCERTAIN, UNCERTAIN_COLOR)


def margin(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how far the best class is from the second one (n,). Shape: (n, k), k >= 2."""
    highest = np.partition(probabilities, -2, axis=1)[:, -2:]
    return np.asarray(highest[:, 1] - highest[:, 0], np.float32)


@dataclass(frozen=True, eq=False)
class Outputs:
    """What is kept of each pixel."""

    classes: Tuple[LandClass, ...]
    """Of the head."""
    uncertain_below: int = 0
    """Percent: where the best class is less probable, the class is the one after the head's."""
    kinds: Tuple[str, ...] = ()
    """Of `KINDS`, what is written beside the map, in that order."""
    novelty: Optional[Novelty] = None
    """Needed where it is one of the kinds."""

    def __post_init__(self) -> None:
        if NOVELTY in self.kinds and self.novelty is None:
            raise LabelsNeeded

    @property
    def map_classes(self) -> Tuple[LandClass, ...]:
        """The classes of the map: the head's, and perhaps the uncertain one."""
        if not self.uncertain_below:
            return self.classes
        return (*self.classes, uncertain_class(self.classes))

    def bands(self, kind: str) -> Tuple[str, ...]:
        """Return the names of the bands of a raster."""
        if kind == PROBABILITIES:
            return tuple(each.name for each in self.classes)
        return ("margin, percent" if kind == MARGIN else "novelty, percent of the limit",)

    def nothing(self, kind: str, place: Window) -> NDArray[np.uint8]:
        """Return the raster of a place without a valid pixel."""
        count = len(self.bands(kind))
        shape = place.shape if count == 1 else (count, *place.shape)
        return np.full(shape, CONFIDENCE_NODATA, np.uint8)

    def reduce(self, probabilities: NDArray[np.float32]) -> Tuple[NDArray[Any], ...]:
        """Return class, percent and what else is asked for of probabilities (n, k)."""
        best, percent = chosen(probabilities)
        if self.uncertain_below:
            best[percent < self.uncertain_below] = len(self.classes)
        kept: List[NDArray[Any]] = [best, percent]
        if PROBABILITIES in self.kinds:
            kept.append(np.rint(100 * probabilities).astype(np.uint8))
        if MARGIN in self.kinds:
            kept.append(np.rint(100 * margin(probabilities)).astype(np.uint8))
        return tuple(kept)

    def novel(self, codes: NDArray[np.int8], report: Report) -> Tuple[NDArray[np.uint8], ...]:
        """Return the novelty of pixels (n,) in percent of the limit, if it is asked for."""
        if NOVELTY not in self.kinds or self.novelty is None:
            return ()
        found = np.empty(len(codes), np.uint8)
        for start in range(0, len(codes), PREDICT_PX):
            report(start / len(codes), "classify")
            chunk = slice(start, start + PREDICT_PX)
            found[chunk] = self.novelty.percent(codes[chunk])
        return (found,)


def placed(values: NDArray[np.uint8], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return values of the valid pixels as a raster, 255 elsewhere.

    Shapes: values (n,) or (n, bands); valid (H, W); result (H, W) or (bands, H, W).
    """
    raster = np.full((*values.shape[1:], *valid.shape), CONFIDENCE_NODATA, np.uint8)
    raster[..., valid] = values.T
    return raster


def check_percent(value: int) -> None:
    """Raise ValueError unless it is a percentage from 0 to 100."""
    if not 0 <= value <= 100:
        raise ValueError(f"uncertain_below can't be {value}, but 0 to 100 percent")
