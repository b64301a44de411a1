# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""When a map shows another part of the earth, or shows it otherwise: by all that QGIS can do to it."""

from __future__ import annotations

from typing import Any, Callable

from qgis.gui import QgsMapCanvas, QgsMapCanvasItem
from qgis.PyQt import sip

from .links import Links


def follow(links: Links, canvas: QgsMapCanvas, slot: Callable[..., Any]) -> None:
    """Call a slot with every change of what a map shows: moved, zoomed, turned or magnified.

    The magnifier changes extent and scale without `extentsChanged`.
    """
    for changed in (canvas.extentsChanged, canvas.rotationChanged, canvas.magnificationChanged):
        links.connect(changed, slot)


def follow_with_crs(links: Links, canvas: QgsMapCanvas, slot: Callable[..., Any]) -> None:
    """Call a slot with every change of what a map shows, and with another CRS of it."""
    follow(links, canvas, slot)
    links.connect(canvas.destinationCrsChanged, slot)


def place_items(canvas: QgsMapCanvas) -> None:
    """Put all that lies over a map where it belongs: the magnifier leaves it where it was."""
    for item in canvas.items():
        if isinstance(item, QgsMapCanvasItem) and not sip.isdeleted(item):
            item.updatePosition()
