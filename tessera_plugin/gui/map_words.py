# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is told of a map that was written, in sentences."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, List, Sequence

from qgis.PyQt.QtCore import QCoreApplication

from . import note, text

if TYPE_CHECKING:
    from ..engine.classify import ClassCount, ClassifyResult

NAMED_CLASSES = 6
"""So many classes are told with their areas in a sentence, the largest first."""

translate = QCoreApplication.translate


def kind(result: ClassifyResult) -> str:
    """Return which kind of note tells of a map."""
    return note.WARNING if result.fetched.failed else note.SUCCESS


def sentences(result: ClassifyResult, out: str, again: str) -> List[str]:
    """Return what became of a map that was to be written to a file.

    `again` says how parts that did not arrive are filled.
    """
    pixels = sum(each.pixels for each in result.classes)
    told = [
        translate("Map", "{} pixels classified in {}.").format(
            text.count(pixels), text.seconds(result.seconds)
        )
    ]
    if result.nodata_px:
        told.append(
            translate("Map", "Without embeddings: {} pixels.").format(text.count(result.nodata_px))
        )
    if result.fetched.failed:
        first = result.fetched.failed[0]
        missing = translate("Map", "Did not arrive: {} parts, such as {} ({}).").format(
            len(result.fetched.failed), first.part, first.reason
        )
        told.append(text.join((missing, again)))
    saved = result.mosaic or result.maps[0]
    told.append(translate("Map", "Saved as {}").format(saved))
    if result.mosaic is None and Path(saved) != Path(out):
        told.append(translate("Map", "The old file is still in use, so this one has a number."))
    return told


def areas(classes: Sequence[ClassCount]) -> str:
    """Return how much of a map is of which class, as one line."""
    total = sum(each.pixels for each in classes) or 1
    largest = sorted(classes, key=lambda each: -each.pixels)
    told = [
        translate("Map", "{}: {} ha ({})").format(
            each.name, text.decimal(each.hectares, 1), text.percent(each.pixels / total, 1)
        )
        for each in largest[:NAMED_CLASSES]
    ]
    return " · ".join(told + (["…"] if len(largest) > NAMED_CLASSES else []))
