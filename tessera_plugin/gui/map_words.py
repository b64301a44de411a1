# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is told of a map that was written, in sentences."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, List, Sequence

from qgis.PyQt.QtCore import QCoreApplication

from . import messages, note, text

if TYPE_CHECKING:
    from ..engine.classify import ClassCount, ClassifyResult
    from ..engine.map_years import YearFailed

NAMED_CLASSES = 6
"""So many classes are told with their areas in a sentence, the largest first."""

translate = QCoreApplication.translate


def kind(result: ClassifyResult) -> str:
    """Return which kind of note tells of a map."""
    is_short = result.fetched.failed or result.polygons_refused is not None
    is_short = is_short or result.unusable_polygons > 0
    return note.WARNING if is_short else note.SUCCESS


def kind_of(results: Sequence[ClassifyResult], failed: Sequence[YearFailed]) -> str:
    """Return which kind of note tells of several maps."""
    is_short = failed or any(kind(each) == note.WARNING for each in results)
    return note.WARNING if is_short else note.SUCCESS


def maps(
    results: Sequence[ClassifyResult], failed: Sequence[YearFailed], out: str, again: str
) -> List[str]:
    """Return what became of the maps of one year or several."""
    if len(results) == 1 and not failed:
        return sentences(results[0], out, again)
    told = [
        translate("Map", "{}: {}").format(each.year, text.join(_facts(each, again)))
        for each in results
    ]
    for year in failed:
        why = text.join(messages.explain(year.error))
        told.append(translate("Map", "No map of {}: {}").format(year.year, why))
    names = [Path(each.mosaic or each.maps[0]).name for each in results]
    saved = translate("Map", "Saved as {}\nin {}").format(", ".join(names), Path(out).parent)
    return [*told, saved]


def listed(years: Sequence[int]) -> str:
    """Return years in a sentence."""
    return ", ".join(str(each) for each in years)


def sentences(result: ClassifyResult, out: str, again: str) -> List[str]:
    """Return what became of a map that was to be written to a file.

    `again` says how parts that did not arrive are filled.
    """
    told = _facts(result, again)
    saved = result.mosaic or result.maps[0]
    told.append(translate("Map", "Saved as {}").format(saved))
    if result.mosaic is None and Path(saved) != Path(out):
        told.append(translate("Map", "The old file is still in use, so this one has a number."))
    return told


def _facts(result: ClassifyResult, again: str) -> List[str]:
    pixels = sum(each.pixels for each in result.classes)
    told = [
        translate("Map", "{} classified in {}.").format(
            text.counted_pixels(pixels), text.seconds(result.seconds)
        )
    ]
    if result.nodata_px:
        told.append(
            translate("Map", "Without embeddings: {}.").format(
                text.counted_pixels(result.nodata_px)
            )
        )
    if result.unusable_polygons:
        told.append(_unusable(result.unusable_polygons))
    told += _uncertain(result) + _cleaned(result)
    if result.fetched.failed:
        first = result.fetched.failed[0]
        missing = text.counted(
            len(result.fetched.failed),
            translate("Map", "Did not arrive: {} part, {} ({})."),
            translate("Map", "Did not arrive: {} parts, such as {} ({})."),
            first.part,
            first.reason,
        )
        told.append(text.join((missing, again)))
    return told


def _unusable(count: int) -> str:
    what = text.counted(
        count,
        translate("Map", "Not mapped: {} polygon that is broken or has no inside."),
        translate("Map", "Not mapped: {} polygons that are broken or have no inside."),
    )
    mend = translate("Map", "Mend the layer (Fix geometries) and classify again.")
    return text.join((what, mend))


def _uncertain(result: ClassifyResult) -> List[str]:
    if not result.uncertain_id:
        return []
    pixels = sum(each.pixels for each in result.classes) or 1
    unsure = next(each for each in result.classes if each.id == result.uncertain_id)
    return [
        translate("Map", "Uncertain: {} ha ({}).").format(
            text.decimal(unsure.hectares, 1), text.percent(unsure.pixels / pixels, 1)
        )
    ]


def _cleaned(result: ClassifyResult) -> List[str]:
    told = []
    if result.clean is not None:
        told.append(
            text.counted(
                result.changed_px,
                translate("Map", "In the cleaned copy {} pixel has another class."),
                translate("Map", "In the cleaned copy {} pixels have another class."),
            )
        )
    if result.polygons is not None:
        told.append(translate("Map", "{}.").format(text.polygons(result.polygon_count)))
    if result.polygons_refused is not None:
        why = text.join(messages.explain(result.polygons_refused))
        told.append(translate("Map", "No polygons: {}").format(why))
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
