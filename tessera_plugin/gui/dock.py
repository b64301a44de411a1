# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The dock: three pages in the order of the work, and what runs, at its foot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterator

from qgis.core import QgsApplication
from qgis.gui import QgisInterface, QgsDockWidget
from qgis.PyQt.QtCore import Qt, QTimer
from qgis.PyQt.QtGui import QIcon, QShowEvent
from qgis.PyQt.QtWidgets import QFrame, QMainWindow, QMenu, QScrollArea, QToolButton, QWidget

from ..tasks import garbage
from ..tasks.session import Session
from . import forms, letters, messages, tab_order
from .add_on import AddOnWindows
from .area_page import AreaPage
from .cache_dialog import CacheDialog
from .dialogs import AboutDialog, SettingsDialog
from .encode_window import EncodeWindow
from .explore_window import ExploreWindow
from .links import Links
from .model_window import ModelWindow
from .pieces import LatePage, Pieces

if TYPE_CHECKING:
    from .labels_page import LabelsPage
    from .map_page import MapPage

AREA, LABELS, MAP = range(3)
READY = 2
"""Classes with so many labels each make the Labels page done."""

WIDTH_PX = 380


class TesseraDock(QgsDockWidget):
    """Area, Labels, Map.

    It opens with the Area page; the others are made right after that, in pieces between events.
    """

    def __init__(self, iface: QgisInterface, session: Session, version: str) -> None:
        super().__init__(iface.mainWindow())
        self.setObjectName("TesseraDock")
        self.setWindowTitle(self.tr("Tessera"))
        self._iface, self._session, self._version = iface, session, version
        self._links = Links()
        self._is_open = False
        contents = QWidget(self)
        forms.load("dock", contents)
        self.setWidget(contents)
        self._contents = contents
        self.area = AreaPage(iface, session, contents)
        self._labels = LatePage(self._begin_labels, WIDTH_PX, contents)
        self._map = LatePage(self._begin_map, WIDTH_PX, contents)
        self._is_store_open = self._is_restored = False
        for place, title in (
            (self._scrolling(self.area), self.tr("1  Area")),
            (self._labels, self.tr("2  Labels")),
            (self._map, self.tr("3  Map")),
        ):
            contents.pages.addTab(place, title)
            place.setAccessibleName(title)
        self._later = Pieces(self)
        self.windows = AddOnWindows(iface, session, version, self)
        self.encode = EncodeWindow(
            iface, session, self.area.pictures, self.windows.show_add_on, self
        )
        self.models = ModelWindow(iface, session, self.area, self.windows.show_add_on, self)
        self.explore = ExploreWindow(iface, session, self.area, self)
        self._add_menu()
        contents.jobFrame.hide()
        self._connect()

    @property
    def labels(self) -> LabelsPage:
        """The Labels page, made now if it has not been."""
        return self._labels.page  # type: ignore[no-any-return]

    @property
    def map(self) -> MapPage:
        """The Map page, made now if it has not been."""
        return self._map.page  # type: ignore[no-any-return]

    def finish(self) -> None:
        """Do at once what has time after the dock was opened."""
        self._later.finish()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if not self._is_open:
            self._is_open = True
            letters.fit_page(self._contents.pages.widget(AREA), WIDTH_PX)
            QTimer.singleShot(0, self._first_shown)

    def focusNextPrevChild(self, is_next: bool) -> bool:  # noqa: FBT001 - Qt's
        """Go on to the next widget, or back: what has been made meanwhile has its place by now."""
        tab_order.arrange(self._contents)
        return bool(super().focusNextPrevChild(is_next))

    def close_down(self) -> None:
        """Let go of what lives longer than the dock."""
        self._later.stop()
        self._links.close()
        self.explore.close_down()
        self.encode.close_down()
        self.models.close_down()
        self.windows.close_down()
        for page in (self.area, self._labels, self._map):
            page.close_down()

    def show_settings(self, *_: object) -> None:
        """Open the settings."""
        SettingsDialog(self._session, self._iface.mainWindow()).exec()

    def show_cache(self, *_: object) -> None:
        """Show what the cache holds."""
        CacheDialog(self._session, self._iface.mainWindow()).exec()

    def show_about(self, *_: object) -> None:
        """Say what the plugin and its data are."""
        AboutDialog(self._session, self._version, self._iface.mainWindow()).exec()

    # --- inside

    def _first_shown(self) -> None:
        self._is_open = bool(self.isVisible())
        if self._is_open:
            self._later.add(self._rest())

    def _rest(self) -> Iterator[None]:
        """Make the other pages, and go on with the labels and the head of the last time.

        The engine is imported after the pages: both at once get in each other's way.
        """
        yield from self._labels.pieces()
        self._open_store()
        yield
        yield from self._map.pieces()
        self._session.warm_up()
        self._restore()

    def _open_store(self) -> None:
        if not self._is_store_open:
            self._is_store_open = True
            self.labels.open_store()

    def _restore(self) -> None:
        """Take the head of the last time; to read it needs the engine."""
        if self._session.is_warm and self._map.is_made and not self._is_restored:
            self._is_restored = True
            self.map.restore()

    def _engine_came(self) -> None:
        self._restore()
        self._later.add(_collected())

    def _begin_labels(self) -> LabelsPage:
        from .labels_page import LabelsPage  # noqa: PLC0415 - the dock opens sooner

        return LabelsPage(self._iface, self._session, self.area, self._contents)

    def _begin_map(self) -> MapPage:
        from .map_page import MapPage  # noqa: PLC0415 - the dock opens sooner

        return MapPage(self._iface, self._session, self.area, self._contents)

    def _scrolling(self, page: QWidget) -> QScrollArea:
        area = QScrollArea(self._contents)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setWidgetResizable(True)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        area.setWidget(page)
        return area

    def _add_menu(self) -> None:
        menu = QMenu(self._contents)
        menu.setObjectName("tesseraMenu")
        options = QgsApplication.getThemeIcon("/mActionOptions.svg")
        entries = (
            (QIcon(), self.tr("Explore…"), self.explore.show),
            (QIcon(), self.tr("Encode own scenes…"), self.encode.show),
            (QIcon(), self.tr("Run an ONNX model…"), self.models.show),
            (options, self.tr("Settings…"), self.show_settings),
            (QIcon(), self.tr("Cache…"), self.show_cache),
            (QIcon(), self.tr("Add-on…"), self.windows.show_add_on),
            (QIcon(), self.tr("Diagnostics…"), self.windows.show_diagnostics),
            (forms.icon("tessera"), self.tr("About Tessera…"), self.show_about),
        )
        for icon, name, slot in entries:
            menu.addAction(icon, name).triggered.connect(slot)
        button = QToolButton(self._contents)
        button.setObjectName("menuButton")
        button.setAccessibleName(self.tr("Menu"))
        button.setToolTip(
            self.tr("Explore, encode own scenes, run a model, settings, cache, add-on and about")
        )
        button.setIcon(options)
        button.setAutoRaise(True)
        button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        button.setMenu(menu)
        self._contents.pages.setCornerWidget(button)

    def _connect(self) -> None:
        box = self._session.box
        self.area.encode_wanted.connect(self.encode.show)
        self.area.explore_wanted.connect(self.explore.show)
        self.explore.opened.connect(self._show_coverage)
        self._links.connect(self._session.warm, self._engine_came)
        self._links.connect(box.started, self._job_started)
        self._links.connect(box.told, self._job_told)
        self._links.connect(box.paused, self._job_paused)
        self._links.connect(box.ended, self._job_ended)
        self._contents.cancelButton.clicked.connect(self._cancel)
        self._contents.pauseButton.toggled.connect(box.pause)
        self._links.connect(self.visibilityChanged, self._show_coverage)
        self._contents.pages.currentChanged.connect(self._page_changed)
        self.area.fetched.connect(lambda: self._mark(AREA, is_done=True))
        self.models.running.mapped.connect(lambda: self._mark(MAP, is_done=True))
        self._labels.made.connect(self._connect_labels)
        self._map.made.connect(self._connect_map)

    def _connect_labels(self) -> None:
        page = self.labels
        page.add_shortcuts(self._contents)
        page.changed.connect(self._mark_labels)
        self._mark_labels()

    def _connect_map(self) -> None:
        page = self.map
        page.mapped.connect(lambda: self._mark(MAP, is_done=True))
        page.model_wanted.connect(self.models.open_model)
        page.news.connect(self._scroll_to)
        page.add_on_wanted.connect(self.windows.show_add_on)

    def _page_changed(self, index: int) -> None:
        self._show_coverage()
        if index == LABELS:
            self._open_store()
            self.labels.show_layers()
        elif index == MAP:
            self.map.refresh()

    def _show_coverage(self, *_: object) -> None:
        """Let coverage be looked up and drawn only while one looks at the Area page.

        It would tint what the Explore window shows.
        """
        is_area = self._contents.pages.currentIndex() == AREA
        is_wanted = is_area and not self.explore.is_open
        self.area.show_coverage(shown=is_wanted and self.isUserVisible())

    def _scroll_to(self, widget: QWidget) -> None:
        """Bring news on the Map page into sight, once its layout is settled."""
        area = self._contents.pages.widget(MAP)
        timer = QTimer(area)
        timer.setSingleShot(True)
        timer.timeout.connect(lambda: area.ensureWidgetVisible(widget, 0, 20))
        timer.timeout.connect(timer.deleteLater)
        timer.start(50)

    def _mark_labels(self) -> None:
        counts = self._session.labels.counts.values()
        self._mark(LABELS, is_done=sum(count >= READY for count in counts) >= READY)

    def _mark(self, page: int, *, is_done: bool) -> None:
        self._contents.pages.setTabIcon(page, forms.icon("done") if is_done else QIcon())

    # --- what runs

    def _job_started(self, title: str) -> None:
        contents = self._contents
        contents.jobLabel.setText(self.tr("{}…").format(title))
        contents.jobBar.setValue(0)
        contents.cancelButton.setEnabled(True)
        contents.pauseButton.setVisible(self._session.box.can_pause)
        contents.pauseButton.setEnabled(True)
        contents.pauseButton.setChecked(False)
        contents.jobFrame.show()

    def _job_told(self, fraction: float, message: str) -> None:
        if not self._session.box.running or not self._contents.cancelButton.isEnabled():
            return
        self._contents.jobBar.setValue(round(1000 * fraction))
        if message and not self._contents.pauseButton.isChecked():
            self._contents.jobLabel.setText(messages.phase(message))

    def _job_paused(self, paused: bool) -> None:  # noqa: FBT001 - a signal's
        contents = self._contents
        contents.pauseButton.setText(self.tr("Resume") if paused else self.tr("Pause"))
        contents.jobLabel.setText(
            self.tr("Paused. “Resume” goes on where it was.") if paused else self.tr("Going on…")
        )

    def _job_ended(self, *_: object) -> None:
        self._contents.jobFrame.hide()

    def _cancel(self) -> None:
        self._contents.cancelButton.setEnabled(False)
        self._contents.pauseButton.setEnabled(False)
        self._contents.jobLabel.setText(self.tr("Stopping…"))
        self._session.box.cancel()


def _collected() -> Iterator[None]:
    """Search for Python's garbage, apart from all else that is due now."""
    yield
    garbage.collect_if_due()


def add_to(iface: QgisInterface, dock: TesseraDock) -> None:
    """Put the dock where it was, else to the right, wide enough for its pages; still hidden."""
    window: QMainWindow = iface.mainWindow()
    if window.restoreDockWidget(dock):  # QGIS would put it elsewhere: only its menu is to know it
        panels = window.findChild(QMenu, "mPanelMenu")
        if panels is not None:
            panels.addAction(dock.toggleViewAction())
    else:
        iface.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, dock)
        window.resizeDocks([dock], [WIDTH_PX], Qt.Orientation.Horizontal)
    dock.hide()
