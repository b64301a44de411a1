# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Hectares per class and year as a table. They are counted pixels: no estimate of area.

A map's errors are not the same in both directions, so its counted pixels are biased; an estimate
needs a sample of the map that somebody has looked at (Olofsson et al. 2014).
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Iterator, List, Sequence, Tuple

from ..io import files
from ..io.raster_classes import ClassCount
from .map_values import ClassifyResult

HEAD = (
    "year",
    "map",
    "class_id",
    "class",
    "pixels",
    "hectares (counted pixels, not an estimate of area)",
    "percent of the map",
)
AS_CLASSIFIED, CLEANED = "as classified", "cleaned"


@dataclass(frozen=True)
class AreaRow:
    """How much of a map is of a class."""

    year: int
    map: str
    """`AS_CLASSIFIED` or `CLEANED`."""
    count: ClassCount
    share: float
    """Of the map's pixels that have a class."""


def area_rows(results: Sequence[ClassifyResult]) -> Tuple[AreaRow, ...]:
    """Return the rows of maps, in the order of their years."""
    ordered = sorted(results, key=lambda each: each.year)
    return tuple(row for result in ordered for row in _rows(result))


def text_of(results: Sequence[ClassifyResult], delimiter: str = ",") -> str:
    """Return the table as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(HEAD)
    for row in area_rows(results):
        count = row.count
        writer.writerow(
            [row.year, row.map, count.id, count.name, count.pixels, f"{count.hectares:.2f}",
             f"{100 * row.share:.2f}"]
        )  # fmt: skip
    return text.getvalue()


def write_areas(path: str, results: Sequence[ClassifyResult]) -> None:
    """Write the table as CSV. Raises: NotWritable, DiskFull."""
    files.write_bytes(path, text_of(results).encode("utf-8-sig"))  # so that Excel reads names


def _rows(result: ClassifyResult) -> Iterator[AreaRow]:
    maps: List[Tuple[str, Sequence[ClassCount]]] = [(AS_CLASSIFIED, result.classes)]
    if result.clean_classes:
        maps.append((CLEANED, result.clean_classes))
    for name, counts in maps:
        total = sum(each.pixels for each in counts) or 1
        for each in counts:
            yield AreaRow(result.year, name, each, each.pixels / total)
