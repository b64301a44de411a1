# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The live map: on or off, what it shows, how opaque it is, and what it is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Optional, Tuple

from qgis.core import QgsProject
from qgis.gui import QgisInterface
from qgis.PyQt import sip
from qgis.PyQt.QtCore import Qt, QTimer, pyqtSignal
from qgis.PyQt.QtGui import QColor, QCursor, QHideEvent, QPainter, QPixmap, QShowEvent
from qgis.PyQt.QtWidgets import QGroupBox, QWidget

from ..errors import ExtentInvalid, ExtentTooLarge, NoLabels, NoUsableLabels, TooFewLabels
from ..tasks.canvas_pictures import View
from ..tasks.label_choice import LabelChoice
from ..tasks.live_loop import CLASSES, MODES, NOVELTY, UNCERTAINTY, Frame, LiveLoop
from ..tasks.session import Session
from . import forms, messages, text, view_changes
from .area_page import AreaPage
from .label_signs import LabelSigns
from .legend import SWATCH_PX, Legend, live_rows
from .links import Links
from .overlay import LIVE, remove

if TYPE_CHECKING:
    from ..engine.instant_loop import LiveState

SETTLE_MS = 40
"""The map must stand still for so long before another part of it is classified."""

CLASSES_NEEDED = 2


class LivePanel(QGroupBox):
    """Shows a map that is made anew after every label, as long as the panel is in sight."""

    switched_off = pyqtSignal()
    """The person wants no live map: nothing is learnt until they want one again."""

    def __init__(
        self, iface: QgisInterface, session: Session, area: AreaPage, parent: QWidget
    ) -> None:
        super().__init__(parent)
        forms.load("live_panel", self)
        self._iface, self._session, self._area = iface, session, area
        self._book = area.pictures.book
        self._links, self._canvas_links = Links(), Links()
        self._is_closed = False
        self._frame: Optional[Frame] = None
        self._legend_of = ""
        self.loop = LiveLoop(session, self)
        self._legend = Legend(iface.mapCanvas(), "TesseraLiveLegend")
        self._signs = LabelSigns(iface.mapCanvas(), session.labels)
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(SETTLE_MS)
        self._dress()
        self._connect()
        self._tell()

    @property
    def mode(self) -> str:
        """What the map shows: `classes`, `uncertainty` or `novelty`."""
        return str(self.liveModeCombo.currentData())

    def close_down(self) -> None:
        """Leave nothing on the map, and nothing running."""
        self._is_closed = True
        self._settle.stop()
        self._links.close()
        if not sip.isdeleted(self._iface.mapCanvas()):
            self._canvas_links.close()
        self.loop.close()
        self._book.clear(LIVE)
        remove(self._signs)
        self._legend.close_down()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._come_or_go()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._come_or_go()

    # --- when it works

    @property
    def _is_wanted(self) -> bool:
        return bool(self.liveCheck.isChecked()) and not self._is_closed

    def _come_or_go(self) -> None:
        """Work while it is in sight: the other pages of the dock have their own pictures."""
        if self._is_closed:
            return
        is_in_sight = self._is_wanted and self.isVisible()
        self._book.set_visible(LIVE, is_in_sight)
        self._legend.setVisible(is_in_sight)
        if not sip.isdeleted(self._signs):
            self._signs.setVisible(is_in_sight)
            self._signs.look()
        if is_in_sight:
            self._look()
        self.loop.set_running(is_in_sight)

    def _look(self) -> None:
        """Tell the loop what the map shows."""
        view, extent = self._book.view(), None
        try:
            extent = self._area.extent()
        except ExtentInvalid:
            view = None
        if view is None:
            self._clear()
        self.loop.set_view(view, extent, None if view is None else self._pointer(view))

    def _pointer(self, view: View) -> Optional[Tuple[float, float]]:
        """Return where in the view the mouse is, from its left and its top, 0 to 1; None outside."""
        canvas, extent = self._iface.mapCanvas(), view.extent
        place = canvas.mapFromGlobal(QCursor.pos())
        if not canvas.rect().contains(place):
            return None
        at = canvas.getCoordinateTransform().toMapCoordinates(place)
        x = (at.x() - extent.west) / (extent.east - extent.west)
        y = (extent.north - at.y()) / (extent.north - extent.south)
        return (x, y) if 0 <= x < 1 and 0 <= y < 1 else None

    def _clear(self) -> None:
        self._frame = None
        self._book.clear(LIVE)

    # --- what the person does

    def _checked(self, checked: bool) -> None:  # noqa: FBT001 - Qt's signal
        self._session.update(live_map=checked)
        self._come_or_go()
        if not checked:
            self.loop.release()
            self._clear()
            self.switched_off.emit()
        self._tell()

    def _mode_chosen(self, *_: object) -> None:
        self._session.update(live_mode=self.mode)
        self.loop.set_mode(self.mode)
        self._show_legend()

    def _opacity_moved(self, percent: int) -> None:
        self._book.set_opacity(LIVE, percent / 100)
        self._session.update(live_opacity=percent)

    # --- what the loop tells

    def _drawn(self, frame: Frame) -> None:
        self._frame = frame
        if frame.image is None:
            self._book.clear(LIVE)
        else:
            self._book.draw(LIVE, frame.image, frame.rectangle)
        self._tell()
        self._show_legend()

    def _failed(self, error: Exception) -> None:
        self._clear()
        self.liveState.setText(self.tr("The live map failed. The next label is a new try."))
        messages.log(error)

    def _outdated(self) -> None:
        """Show nothing rather than the map of another year, while the new one is made."""
        if self._is_closed:
            return
        self._clear()
        self._tell()

    def _labels_changed(self) -> None:
        if not sip.isdeleted(self._signs):
            self._signs.look()

    def _project_cleared(self) -> None:
        self._clear()
        self._settle.start()
        self._tell()

    def _crs_changed(self) -> None:
        self.loop.rest()
        self._settle.start()

    # --- what is told

    def _tell(self, *_: object) -> None:
        """Say what the map is made of, or what it lacks."""
        self.liveState.setText(self._sentence())
        has_gaps = self._frame is not None and self._frame.has_gaps and self._is_wanted
        self.liveGapSwatch.setVisible(has_gaps)
        self.liveGapLabel.setVisible(has_gaps)
        for widget in (self.liveModeCombo, self.liveOpacitySlider, self.liveOpacityLabel):
            widget.setEnabled(self._is_wanted)

    def _sentence(self) -> str:
        state, frame = self.loop.state, self._frame
        if not self._is_wanted:
            return self.tr("Off. Switch it on to see the map grow with every label.")
        if state is None or state.lack is not None:
            return self._lack(state)
        if frame is not None and frame.lack is not None:
            if isinstance(frame.lack, ExtentTooLarge):
                return self.tr("The map shows too much to be classified at once: zoom in.")
            return text.join(messages.explain(frame.lack))
        return "\n".join([self._made_of(state), *self._not_wanted(), *self._left_out(state)])

    def _lack(self, state: Optional[LiveState]) -> str:
        error = state.lack if state is not None else None
        if error is not None and not isinstance(error, (NoLabels, TooFewLabels, NoUsableLabels)):
            return text.join(messages.explain(error))
        learnt, _ = LabelChoice.of(self._session).this_year(self._session.labels.labels())
        if len({each.class_id for each in learnt}) < CLASSES_NEEDED or error is None:
            told = self.tr("Label two classes, and the map appears here.")
        else:
            told = self.tr("Two classes need labels with embeddings: fetch them on the Area page.")
        return "\n".join([told, *self._not_wanted()])

    def _made_of(self, state: LiveState) -> str:
        labels = state.samples.report.labels if state.samples is not None else 0
        made = self.tr("Instant head on {}").format(text.labels(labels))
        frame = self._frame
        if frame is None:
            return made
        told = text.seconds_exactly(frame.seconds) if frame.is_whole else self.tr("reading…")
        return f"{made} · {told}"

    def _not_wanted(self) -> List[str]:
        """Return what of the labels is not learnt because of what was chosen on the Map page."""
        left_out = self.loop.left_out
        facts = (
            (
                left_out.unsure,
                self.tr("Not learnt, you were less sure of them (Map page, Options): {}."),
            ),
            (
                left_out.other_years,
                self.tr("Not learnt, they are of other years (Map page, What is learnt): {}."),
            ),
        )
        return [words.format(text.labels(number)) for number, words in facts if number]

    def _left_out(self, state: LiveState) -> List[str]:
        """Return what of the labels is not in the head."""
        if state.samples is None:
            return []
        report = state.samples.report
        facts = (
            (report.missing_px, self.tr("Labelled pixels without an embedding yet: {}.")),
            (report.invalid_px, self.tr("Labelled pixels on water or nodata: {}.")),
            (report.conflicting_px, self.tr("Pixels labelled as two classes, left out: {}.")),
            (report.unplaced_labels, self.tr("Labels outside of the zones: {}.")),
        )
        return [words.format(text.count(number)) for number, words in facts if number]

    def _show_legend(self) -> None:
        is_seen = self._frame is not None and self._frame.image is not None
        if is_seen and self.mode != CLASSES:
            rows = live_rows(self.mode)
            if self._legend_of != self.mode:
                self._legend.set_rows(self.liveModeCombo.currentText(), rows)
                self._legend.setVisible(self._is_wanted and self.isVisible())
            self._legend_of = self.mode
        elif self._legend_of:
            self._legend.clear()
            self._legend_of = ""

    # --- inside

    def _dress(self) -> None:
        settings = self._session.settings
        titles = {
            CLASSES: self.tr("Classes"),
            UNCERTAINTY: self.tr("Uncertainty"),
            NOVELTY: self.tr("Novelty"),
        }
        for mode in MODES:
            self.liveModeCombo.addItem(titles[mode], mode)
        known = settings.live_mode if settings.live_mode in MODES else CLASSES
        self.liveModeCombo.setCurrentIndex(MODES.index(known))
        self.loop.set_mode(known)
        self.liveCheck.setChecked(settings.live_map)
        self.liveOpacitySlider.setValue(settings.live_opacity)
        self._book.set_opacity(LIVE, settings.live_opacity / 100)
        self.liveGapSwatch.setPixmap(_hatch())

    def _connect(self) -> None:
        canvas = self._iface.mapCanvas()
        self._settle.timeout.connect(self._look)
        view_changes.follow(self._canvas_links, canvas, self._moved)
        view_changes.follow_with_crs(self._canvas_links, canvas, self._signs.look)
        self._canvas_links.connect(canvas.destinationCrsChanged, self._crs_changed)
        self._links.connect(self._session.labels.changed, self._labels_changed)
        self._links.connect(self._session.labels.selection_changed, self._labels_changed)
        self._links.connect(QgsProject.instance().cleared, self._project_cleared)
        self._links.connect(self._session.labels.changed, self._tell)
        self.loop.drawn.connect(self._drawn)
        self.loop.updated.connect(self._tell)
        self.loop.failed.connect(self._failed)
        self.loop.outdated.connect(self._outdated)
        self.liveCheck.toggled.connect(self._checked)
        self.liveModeCombo.activated.connect(self._mode_chosen)
        self.liveOpacitySlider.valueChanged.connect(self._opacity_moved)

    def _moved(self) -> None:
        if self._is_wanted and self.isVisible():
            self._settle.start()


def _hatch() -> QPixmap:
    """Return a sample of how the map shows what is not fetched yet."""
    pixmap = QPixmap(SWATCH_PX + 6, SWATCH_PX - 2)
    pixmap.fill(QColor("#ffffff"))
    painter = QPainter(pixmap)
    painter.fillRect(pixmap.rect(), QColor(40, 40, 40, 48))
    painter.setPen(QColor(115, 115, 115))
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    for x in range(-SWATCH_PX, 2 * SWATCH_PX, 6):
        painter.drawLine(x, SWATCH_PX, x + SWATCH_PX, 0)
    painter.setPen(QColor(0, 0, 0, 120))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.drawRect(pixmap.rect().adjusted(0, 0, -1, -1))
    painter.end()
    return pixmap
