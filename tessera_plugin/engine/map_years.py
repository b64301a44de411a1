# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Maps of several years: each is published when it is whole, whatever becomes of the others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Callable, List, Optional, Sequence, Tuple

from ..compute.client import WorkerClient
from ..errors import DiskFull, NotWritable, TesseraError
from ..progress import Report, part, silent
from . import catalog
from .classify import classify, novelty_from
from .heads.storage import load
from .map_ground import check_area, ground_of
from .map_values import ClassifyRequest, StagedMap, beside

_LABELS_SHARE = 0.05
_POLYGONS_SHARE = 0.02


@dataclass(frozen=True)
class YearFailed:
    """A year without a map, and why."""

    year: int
    error: TesseraError


def classify_years(
    request: ClassifyRequest,
    years: Sequence[int],
    came: Callable[[StagedMap], None],
    report: Report = silent,
    worker: Optional[WorkerClient] = None,
) -> Tuple[YearFailed, ...]:
    """Map an extent for several years, `MAP_2023.tif` and so on; return the years that failed.

    Each map is given to `came` when it is whole, to be published. A year that fails does not stop
    those after it; what would end all of them is raised, and so is the error where all fail.
    Raises: as `classify`.
    """
    head = load(request.head_path)
    dataset = catalog.dataset(head.dataset, request.access.stores)
    of_ground = part(report, 0.0, _POLYGONS_SHARE)
    ground = ground_of(request.extent, part(of_ground, 0.0, 0.5))
    check_area(ground, request.limit_px, head.depth, part(of_ground, 0.5, 1.0))
    for year in years:
        catalog.check_year(dataset, year)
    start, novelty = _POLYGONS_SHARE, None
    if request.novelty_out:
        of_labels = part(report, start, start + _LABELS_SHARE)
        start += _LABELS_SHARE
        novelty = novelty_from(request, head, of_labels, worker)
    failed: List[YearFailed] = []
    for number, year in enumerate(years):
        share = (1.0 - start) / len(years)
        of_year = part(report, start + number * share, start + (number + 1) * share)
        try:
            asked = in_year(request, year)
            came(classify(asked, of_year, worker, ground=ground, novelty=novelty))
        except (DiskFull, NotWritable):
            raise
        except TesseraError as error:
            failed.append(YearFailed(year, error))
    if failed and len(failed) == len(years):
        raise failed[0].error
    return tuple(failed)


def in_year(request: ClassifyRequest, year: int) -> ClassifyRequest:
    """Return a request for one of several years: all its files have the year behind their name."""

    def named(path: Optional[str]) -> Optional[str]:
        return beside(path, str(year)) if path else None

    return replace(
        request, year=year, out=beside(request.out, str(year)),
        confidence_out=named(request.confidence_out),
        probabilities_out=named(request.probabilities_out), margin_out=named(request.margin_out),
        novelty_out=named(request.novelty_out), clean_out=named(request.clean_path),
        polygons_out=named(request.polygons_out),
    )  # fmt: skip
