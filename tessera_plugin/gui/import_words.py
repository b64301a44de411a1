# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What an import will do, in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, List

from qgis.core import QgsCoordinateReferenceSystem
from qgis.PyQt.QtCore import QCoreApplication

from . import text

if TYPE_CHECKING:
    from ..engine.label_mapping import ImportPlan

LONLAT = "EPSG:4326"


def _tr(words: str) -> str:
    return QCoreApplication.translate("Import", words)


def told(plan: ImportPlan) -> str:
    """Return what will happen: labels, new classes, what is left out and why, where it comes from."""
    parts = [_labels(plan)]
    if plan.new_classes:
        parts.append(text.counted(len(plan.new_classes), _tr("1 new class"), _tr("{} new classes")))
    if plan.left_out:
        parts.append(_tr("{} left out: {}").format(text.count(plan.left_out), _reasons(plan)))
    if plan.without_year and plan.without_year < len(plan.labels):
        parts.append(
            _tr("{} without a year get the one above").format(text.count(plan.without_year))
        )
    if plan.confidence is not None:
        least, most = plan.confidence
        parts.append(
            _tr("confidence {} %").format(least)
            if least == most
            else _tr("confidence {} to {} %").format(least, most)
        )
    if plan.mended:
        parts.append(text.counted(plan.mended, _tr("1 polygon mended"), _tr("{} polygons mended")))
    if plan.crs and plan.crs != LONLAT:
        parts.append(_tr("reprojected from {}").format(crs_name(plan.crs)))
    return "; ".join(parts) + "."


def crs_name(crs: str) -> str:
    """Return what people call a CRS given as text."""
    known = QgsCoordinateReferenceSystem(crs)
    return str(known.authid() or known.description() or _tr("its own coordinate system"))


def button(labels: int) -> str:
    """Return what the button says."""
    if not labels:
        return _tr("Import")
    return text.counted(labels, _tr("Import 1 label"), _tr("Import {} labels"))


def done(labels: int) -> str:
    """Return what was done."""
    return text.counted(labels, _tr("1 label imported."), _tr("{} labels imported."))


def _labels(plan: ImportPlan) -> str:
    if not plan.labels:
        return _tr("Nothing to import")
    return _tr("{} in {}").format(text.labels(len(plan.labels)), text.classes(plan.classes))


def _reasons(plan: ImportPlan) -> str:
    counted = (
        (plan.no_class, _tr("{} without a class")),
        (plan.no_geometry, _tr("{} without geometry")),
        (plan.unusable, _tr("{} that are neither points nor polygons with a place on earth")),
        (plan.not_wanted, _tr("{} by your choice")),
        (plan.there_already, _tr("{} that are there already")),
    )
    found: List[str] = [words.format(text.count(number)) for number, words in counted if number]
    return ", ".join(found)
