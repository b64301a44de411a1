# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Images over the map: coverage, and what a fetch brings while it brings it."""

from __future__ import annotations

import time
from typing import Dict, Optional, Set, Tuple

from qgis.core import QgsProject, QgsRectangle
from qgis.gui import QgsMapCanvas, QgsMapCanvasItem
from qgis.PyQt import sip
from qgis.PyQt.QtCore import QObject, QRectF, QTimer, pyqtSignal
from qgis.PyQt.QtGui import QImage, QPainter
from qgis.PyQt.QtWidgets import QStyleOptionGraphicsItem, QWidget

from ..errors import TesseraError
from ..tasks import snapshot
from ..tasks.canvas_pictures import CanvasPictures, Finish, Supply, View
from ..values import Extent
from . import messages, view_changes
from .links import Links

COVERAGE, FETCH = "coverage", "fetch"
LIVE, EXPLORE, BLOCKS, SIMILAR = "live", "explore", "blocks", "similar"

Z_VALUES = {COVERAGE: -6.0, FETCH: -5.0, EXPLORE: -4.5, LIVE: -4.0, BLOCKS: -3.5, SIMILAR: -3.0}
"""Above the map (-10), below rubber bands and markers (0 and more)."""

SETTLE_MS = 80
"""The map must stand still for so long before the images are made anew."""

UPDATE_MS = 200
"""Pictures that change all the time are drawn this often."""


class CanvasOverlay(QgsMapCanvasItem):
    """An image at its place on the map, also while the map moves under it."""

    def __init__(self, canvas: QgsMapCanvas, role: str, z: float = -5.0) -> None:
        super().__init__(canvas)
        self.role = role
        self._image: Optional[QImage] = None
        self._rectangle = QgsRectangle()
        self._canvas = canvas
        self.setZValue(z)

    def set_image(self, image: QImage, rectangle: QgsRectangle) -> None:
        """Show an image of a rectangle of the map, in its CRS."""
        self._image, self._rectangle = image, QgsRectangle(rectangle)
        self.updatePosition()
        self.update()

    def clear(self) -> None:
        """Show nothing."""
        self._image, self._rectangle = None, QgsRectangle()
        self.updatePosition()
        self.update()

    def is_empty(self) -> bool:
        """Whether there is no image."""
        return self._image is None

    def set_opacity(self, share: float) -> None:
        """Let the map be seen through it: 1 hides the map, 0 the image."""
        self.setOpacity(share)

    def updatePosition(self) -> None:
        """Follow the map. QGIS calls it when its extent or size has changed."""
        self.setRect(self._rectangle)
        self.setRotation(self._canvas.rotation())

    def paint(
        self,
        painter: QPainter,
        option: Optional[QStyleOptionGraphicsItem] = None,  # noqa: ARG002
        widget: Optional[QWidget] = None,  # noqa: ARG002
    ) -> None:
        if self._image is None:
            return
        target = self._target()
        seen = self.mapRectFromScene(self._canvas.sceneRect()).intersected(target)
        if seen.isEmpty():
            return
        # only what is seen: zoomed in, the whole would be larger than painters can count
        scale_x = self._image.width() / target.width()
        scale_y = self._image.height() / target.height()
        source = QRectF(seen.left() * scale_x, seen.top() * scale_y,
                        seen.width() * scale_x, seen.height() * scale_y)  # fmt: skip
        painter.drawImage(seen, self._image, source)

    def _target(self) -> QRectF:
        """Return where the image goes, from the item's corner."""
        unit = self._canvas.mapUnitsPerPixel()
        return QRectF(0, 0, self._rectangle.width() / unit, self._rectangle.height() / unit)


def remove(overlay: QgsMapCanvasItem) -> None:
    """Take an overlay off its map for good, wherever the map may be by now."""
    if not sip.isdeleted(overlay):
        scene = overlay.scene()
        if scene is not None:
            scene.removeItem(overlay)
        sip.delete(overlay)


class OverlayBook(QObject):
    """The overlays of a canvas, kept up to date while it is moved; each is known by its role."""

    drawn = pyqtSignal(str)
    """The image of a role is on the map."""

    def __init__(self, canvas: QgsMapCanvas, parent: Optional[QObject] = None) -> None:
        super().__init__(parent)
        self._canvas = canvas
        self._overlays: Dict[str, CanvasOverlay] = {}
        self._waiting: Dict[str, Tuple[Supply, Optional[Finish]]] = {}
        self._hidden: Set[str] = set()
        self._updated_s = 0.0
        self._links, self._canvas_links = Links(), Links()
        self._pictures = CanvasPictures(self)
        self._pictures.rendered.connect(self._draw)
        self._pictures.failed.connect(self._failed)
        self._settle = self._timer(SETTLE_MS, self._look)
        self._pace = self._timer(UPDATE_MS, self._update)
        view_changes.follow(self._canvas_links, canvas, self._settle.start)
        self._canvas_links.connect(canvas.magnificationChanged, self._magnified)
        self._canvas_links.connect(canvas.destinationCrsChanged, self._crs_changed)
        self._links.connect(QgsProject.instance().cleared, self.clear)

    def show(
        self,
        role: str,
        supply: Supply,
        *,
        at_once: bool = False,
        finish: Optional[Finish] = None,
    ) -> None:
        """Show pictures, or what a function gives when asked on another thread.

        May be called as often as they change: the latest are drawn a few times a second, or
        `at_once` where they follow somebody's hand. `finish` is done to the pixels of the screen.
        """
        self._waiting[role] = supply, finish
        since_ms = 1000 * (time.monotonic() - self._updated_s)
        if at_once or since_ms >= UPDATE_MS:
            self._update()
        elif not self._pace.isActive():
            self._pace.start()

    def draw(self, role: str, image: QImage, rectangle: QgsRectangle) -> None:
        """Show an image of a rectangle of the map that somebody else made, at once."""
        self._draw(role, image, rectangle)

    def view(self) -> Optional[View]:
        """Return what the map shows, or None where it shows no place on earth."""
        return self._view()

    def clear(self, role: str = "") -> None:
        """Show nothing in a role, or in none."""
        for each in (role,) if role else tuple({*self._overlays, *self._waiting}):
            self._waiting.pop(each, None)
            self._pictures.drop(each)
            overlay = self._overlay(each)
            if overlay is not None:
                overlay.clear()

    def set_visible(self, role: str, visible: bool) -> None:  # noqa: FBT001 - the state of a button
        """Hide a role's image, or show it again."""
        (self._hidden.discard if visible else self._hidden.add)(role)
        overlay = self._overlay(role)
        if overlay is not None:
            overlay.setVisible(visible)

    def set_opacity(self, role: str, share: float) -> None:
        """Let the map be seen through a role's image."""
        self._made(role).set_opacity(share)

    def close_down(self) -> None:
        """Take everything off the map; nothing of ours is called after this."""
        self._links.close()
        if not sip.isdeleted(self._canvas):  # its signals went with it; asking for them is a crash
            self._canvas_links.close()
        self._settle.stop()
        self._pace.stop()
        self._waiting.clear()
        self._pictures.close()
        overlays, self._overlays = self._overlays, {}
        for overlay in overlays.values():
            remove(overlay)

    # --- inside

    def _timer(self, interval_ms: int, slot: object) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(interval_ms)
        timer.timeout.connect(slot)
        return timer

    def _overlay(self, role: str) -> Optional[CanvasOverlay]:
        """Return a role's overlay if there is one, and its map is there."""
        overlay = self._overlays.get(role)
        return None if overlay is None or sip.isdeleted(overlay) else overlay

    def _made(self, role: str) -> CanvasOverlay:
        overlay = self._overlay(role)
        if overlay is None:
            overlay = CanvasOverlay(self._canvas, role, Z_VALUES.get(role, -5.0))
            overlay.setVisible(role not in self._hidden)
            self._overlays[role] = overlay
        return overlay

    def _update(self) -> None:
        self._pace.stop()
        self._updated_s = time.monotonic()
        waiting, self._waiting = self._waiting, {}
        if waiting and not self._settle.isActive():
            self._pictures.set_view(self._view())
        for role, (supply, finish) in waiting.items():
            self._pictures.show(role, supply, finish)

    def _look(self) -> None:
        self._pictures.look(self._view())

    def _view(self) -> Optional[View]:
        """Return what the map shows, or None where it shows no place on earth."""
        if sip.isdeleted(self._canvas):
            return None
        shown = self._canvas.mapSettings()
        rectangle, unit = shown.visibleExtent(), self._canvas.mapUnitsPerPixel()
        if not shown.destinationCrs().isValid() or rectangle.isEmpty() or not unit > 0:
            return None
        ratio = self._canvas.devicePixelRatioF()
        width, height = (
            max(round(size / unit * ratio), 1) for size in (rectangle.width(), rectangle.height())
        )
        extent = Extent(rectangle.xMinimum(), rectangle.yMinimum(), rectangle.xMaximum(),
                        rectangle.yMaximum(), snapshot.crs_text(shown.destinationCrs()))  # fmt: skip
        return View(extent, width, height)

    def _magnified(self, *_: object) -> None:
        """Do at once what QGIS does itself with any other change of the view."""
        view_changes.place_items(self._canvas)

    def _crs_changed(self) -> None:
        """Show nothing until the images are made in the new CRS."""
        for role in self._overlays:
            overlay = self._overlay(role)
            if overlay is not None:
                overlay.clear()
        self._pictures.set_view(None)
        self._settle.start()

    def _draw(self, role: str, image: QImage, rectangle: QgsRectangle) -> None:
        if not sip.isdeleted(self._canvas):
            self._made(role).set_image(image, rectangle)
            self.drawn.emit(role)

    def _failed(self, role: str, error: Exception) -> None:
        """Show nothing rather than something that is not there; a bug goes to the log."""
        overlay = self._overlay(role)
        if overlay is not None:
            overlay.clear()
        if not isinstance(error, TesseraError):
            messages.log(error)
