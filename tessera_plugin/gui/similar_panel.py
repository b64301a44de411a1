# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Pick similar: from a clicked pixel a set of similar ones grows, and becomes labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Optional, Tuple

from qgis.core import QgsGeometry, QgsProject
from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtGui import QColor, QKeySequence
from qgis.PyQt.QtWidgets import QWidget

from ..errors import TesseraError
from ..tasks import similar_jobs
from ..tasks.lookups import Lookup
from ..tasks.session import Session
from ..values import Extent
from . import forms, note, similar_words, text
from .area_page import AreaPage
from .compat import QShortcut
from .links import Links
from .note import Note
from .overlay import SIMILAR
from .tools.similar import SimilarTool
from .tools.toolbar import LabelTools

if TYPE_CHECKING:
    from ..engine.similar_view import GrownSet, Growth, SimilarView

FILL_ALPHA = 120
PIXELS_PER_HA = 100


class SimilarPanel(QWidget):
    """Threshold, what it takes, accept and cancel; seen while the tool is active."""

    def __init__(
        self,
        iface: QgisInterface,
        session: Session,
        area: AreaPage,
        tools: LabelTools,
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        forms.load("similar_panel", self)
        self._iface, self._session, self._area, self._tools = iface, session, area, tools
        self._book = area.pictures.book
        self._links = Links()
        self._note = Note("similarNote", self)
        self.similarNoteLayout.addWidget(self._note)
        self._lookup = Lookup(self)
        self._following = similar_jobs.Following(self)
        self._points: List[Tuple[float, float]] = []
        self._view: Optional[SimilarView] = None
        self._grown: Optional[GrownSet] = None
        self._accepts = False
        self.tool = SimilarTool(iface.mapCanvas())
        self._add_tool()
        self._connect()
        self.similarControls.hide()
        self.hide()

    def close_down(self) -> None:
        """Let go of what lives longer than the page."""
        self._links.close()
        self._lookup.close()
        self._following.close()
        self._book.clear(SIMILAR)

    # --- what a person does

    def _picked(self, lon: float, lat: float, is_more: bool) -> None:  # noqa: FBT001 - a signal's
        before = self._points if is_more else []
        self._points = [*before, (lon, lat)]
        try:
            extent = self._area.extent()
            task = similar_jobs.look(self._session, extent, self._points, self._view_of(extent))
        except TesseraError as error:
            self._look_failed(error)
            return
        self._note.say(self.tr("Looking at what the map shows…"))
        self._lookup.ask(task, self._looked, self._look_failed)

    def _looked(self, view: SimilarView) -> None:
        is_first = self._view is None
        self._view, self.tool.has_picked = view, True
        if is_first:
            self.similarSlider.blockSignals(True)
            self.similarSlider.setValue(round(view.start_percent()))
            self.similarSlider.blockSignals(False)
        self.similarControls.show()
        self._note.say(
            self.tr(
                "Move the slider until the set fits, then accept it. Shift and click adds a pixel "
                "that others may be like, too."
            )
        )
        self._grow()

    def _look_failed(self, error: Exception) -> None:
        self._points = self._points[:-1]
        if not self._points:
            self._forget()
        else:
            self.tool.unmark_last()
        similar_words.tell(self._note, self._iface.messageBar(), error)

    def _accept(self) -> None:
        """Make labels of the set, once it is the one that the slider stands for."""
        self._accepts = True
        self._enable()
        if not self._following.is_busy:
            self._draw_around()

    def _drop(self, *_: object) -> None:
        self._forget()
        self._note.say(self.tr("Click a pixel of the class: those that are like it are found."))

    # --- the set

    def _grow(self, *_: object) -> None:
        from ..engine.similar_view import Growth  # noqa: PLC0415 - light plugin load

        view = self._view
        if view is None:
            return
        self._enable()
        growth = Growth(
            threshold_percent=float(self.similarSlider.value()),
            only_connected=self.connectedCheck.isChecked(),
            least_px=self.leastPatchSpin.value(),
        )
        self._following.ask(
            lambda: similar_jobs.grow(view, growth),
            lambda grown: self._came(grown, growth),
            self._broke,
        )

    def _came(self, grown: GrownSet, growth: Growth) -> None:
        self._grown = grown
        self.similarCountLabel.setText(self._words(grown, growth))
        self._draw()
        self._enable()
        if self._accepts and not self._following.is_busy:
            self._draw_around()

    def _broke(self, error: Exception) -> None:
        self._accepts = False
        self._enable()
        note.tell(self._note, self._iface.messageBar(), error)

    def _draw(self) -> None:
        from ..engine.set_outline import outlined  # noqa: PLC0415 - light plugin load

        grown, fill = self._grown, _rgba(self.tool.color, FILL_ALPHA)
        if grown is not None:
            line_px = max(round(self._iface.mapCanvas().devicePixelRatioF()), 1)
            self._book.show(
                SIMILAR,
                lambda: grown.pictures(fill),
                at_once=True,
                finish=lambda pixels: outlined(pixels, line_px),
            )

    def _words(self, grown: GrownSet, growth: Growth) -> str:
        threshold = self.tr("At least {} alike").format(
            text.percent(growth.threshold_percent / 100)
        )
        if not grown.pixels:
            return self.tr("{}: none. Move the slider to the right.").format(threshold)
        words = self.tr("{}: {}, {} ha counted.").format(
            threshold,
            text.counted_pixels(grown.pixels),
            text.decimal(grown.pixels / PIXELS_PER_HA, 1),
        )
        if not growth.only_connected:
            patches = self.tr("Patches: {}.").format(text.count(grown.patches))
            words = text.join((words, patches))
        if grown.left_out:
            one = self.tr("{} more is left out, the largest are taken.")
            many = self.tr("{} more are left out, the largest are taken.")
            words = text.join((words, text.counted(grown.left_out, one, many)))
        return words

    # --- labels

    def _draw_around(self) -> None:
        grown, view = self._grown, self._view
        active = self._session.labels.land_class(self._session.settings.active_class)
        self._accepts = False
        if grown is not None and grown.pixels and view is not None and active is not None:
            self._accepts = True
            class_id, year = active.id, view.request.year
            self._lookup.ask(
                similar_jobs.polygons(grown),
                lambda found: self._label(found, class_id, year),
                self._broke,
            )
        self._enable()

    def _label(self, found: Tuple[QgsGeometry, ...], class_id: int, year: int) -> None:
        self._accepts = False
        store = self._session.labels
        active = store.land_class(class_id)
        if active is None:  # removed meanwhile
            self._drop()
            return
        labels = self._tools.new_labels.of(found, class_id, year)
        if self._tools.attempt(lambda: store.add_labels(labels)):
            words = self.tr("Added to “{}”: {}. Click another pixel, or take up another tool.")
            self._forget()
            self._note.say(words.format(active.name, text.labels(len(labels))), note.SUCCESS)
        self._enable()

    # --- inside

    def _view_of(self, extent: Extent) -> Optional[SimilarView]:
        """Return the last look, if it was at the same place."""
        view = self._view
        is_same = view is not None and similar_jobs.is_same_place(view, self._session, extent)
        return view if is_same else None

    def _forget(self) -> None:
        self._lookup.cancel()
        self._following.cancel()
        self._points, self._view, self._grown, self._accepts = [], None, None, False
        self.tool.has_picked = False
        self.tool.reset()
        self._book.clear(SIMILAR)
        self.similarControls.hide()

    def _enable(self) -> None:
        is_free = not self._accepts
        has_some = self._grown is not None and self._grown.pixels > 0
        self.acceptSimilarButton.setEnabled(is_free and has_some)
        self.acceptSimilarButton.setToolTip(
            self.tr("Make labels of the active class from this set (Enter)")
            if has_some
            else self.tr("There is no pixel in the set: move the slider to the right")
        )
        for each in (self.similarSlider, self.connectedCheck):
            each.setEnabled(is_free)
        is_connected = self.connectedCheck.isChecked()
        self.leastPatchSpin.setEnabled(is_free and not is_connected)
        self.leastPatchSpin.setToolTip(
            self.tr("Asked only of patches that do not hang together with a clicked pixel")
            if is_connected
            else self.tr("Patches of fewer pixels are left out")
        )

    def _activated(self) -> None:
        self._drop()
        self.show()

    def _deactivated(self) -> None:
        self._forget()
        self.hide()

    def _settings_changed(self) -> None:
        view = self._view
        if view is not None and not similar_jobs.is_same_place(
            view, self._session, view.request.extent
        ):
            self._forget()
            self._note.say(self.tr("Other embeddings are chosen now: click a pixel again."))

    def _add_tool(self) -> None:
        self._tools.add(
            "similarToolButton",
            self.tool,
            forms.icon("similar"),
            self.tr("Pick similar"),
            self.tr("Click a pixel: those that are like it are found, as many as you want."),
            lambda name: self.tr(
                "Labelling “{}”: click a pixel, then choose how many like it."
            ).format(name),
        )

    def _connect(self) -> None:
        self._links.connect(self.tool.picked, self._picked)
        self._links.connect(self.tool.accepted, self._accept)
        self._links.connect(self.tool.dropped, self._drop)
        self._links.connect(self.tool.recolored, self._draw)
        self._links.connect(self.tool.activated, self._activated)
        self._links.connect(self.tool.deactivated, self._deactivated)
        self._links.connect(self._session.settings_changed, self._settings_changed)
        self._links.connect(QgsProject.instance().cleared, self._drop)
        self.similarSlider.valueChanged.connect(self._grow)
        self.connectedCheck.toggled.connect(self._grow)
        self.leastPatchSpin.valueChanged.connect(self._grow)
        self.acceptSimilarButton.clicked.connect(self._accept)
        self.dropSimilarButton.clicked.connect(self._drop)
        for widget in (self.similarSlider, self.connectedCheck):
            for key, slot in (
                (Qt.Key.Key_Return, self._accept),
                (Qt.Key.Key_Enter, self._accept),
                (Qt.Key.Key_Escape, self._drop),
            ):
                shortcut = QShortcut(QKeySequence(key), widget)
                shortcut.setContext(Qt.ShortcutContext.WidgetShortcut)
                shortcut.activated.connect(slot)


def _rgba(color: QColor, alpha: int) -> Tuple[int, int, int, int]:
    return color.red(), color.green(), color.blue(), alpha
