# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Labels: the classes, the tools that make and remove labels, and the file that keeps them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional, TypeVar

from qgis.core import QgsProject
from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import Qt, QTimer, pyqtSignal
from qgis.PyQt.QtGui import QKeySequence
from qgis.PyQt.QtWidgets import QFileDialog, QLayout, QWidget

from ..tasks.session import Session
from . import forms, label_hints, messages, note, view
from .area_page import AreaPage
from .classes_panel import ClassesPanel
from .compat import QShortcut
from .label_exchange import LabelExchangeMenu
from .links import Links
from .live_panel import LivePanel
from .next_panel import NextPanel
from .note import Note
from .problems_panel import ProblemsPanel
from .similar_panel import SimilarPanel
from .tools.base import ToolBase
from .tools.toolbar import LabelTools
from .undo_keys import MapUndoKeys, UndoKeys
from .writing_bar import WritingBar

Panel = TypeVar("Panel", bound=QWidget)
"""A part of the page with a `close_down`."""


class LabelsPage(QWidget):
    """What the analyst knows of the place; it is whole when `pieces` has come to its end."""

    changed = pyqtSignal()

    def __init__(
        self, iface: QgisInterface, session: Session, area: AreaPage, parent: QWidget
    ) -> None:
        super().__init__(parent)
        forms.load("labels_page", self)
        self._iface, self._session, self._store = iface, session, session.labels
        self._area = area
        self._links = Links()
        self._shown = False
        self._hint = Note("labelsHint", self)
        self.hintLayout.addWidget(self._hint)
        self._panels: List[Any] = []
        self._map_keys: Optional[MapUndoKeys] = None
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self.show_layers)

    def pieces(self) -> Iterator[None]:
        """Make the page whole, panel by panel."""
        yield from self._make_panels()
        self._undo_keys = UndoKeys(self)
        self._map_keys = MapUndoKeys(self._iface.mapCanvas(), self._has_our_tool, self)
        self._connect()
        self.refresh()

    def _make_panels(self) -> Iterator[None]:
        """Make the panels: a line each, `self.name = self._place(self.layout, Panel(...))`."""
        shared = self._iface, self._session, self._area, self
        self.tools = self._place(self.toolsLayout, LabelTools(*shared))
        self._place(self.toolsLayout, WritingBar(*shared))
        yield
        with_tools = self._iface, self._session, self._area, self.tools, self
        self.similar = self._place(self.similarLayout, SimilarPanel(*with_tools))
        yield
        self.classes = self._place(
            self.classesLayout, ClassesPanel(self._iface, self._session, self)
        )
        yield
        self.live = self._place(self.liveLayout, LivePanel(*shared))
        yield
        self.next = self._place(
            self.nextLayout,
            NextPanel(
                self._iface,
                self._session,
                self._area,
                tools=self.tools,
                live=self.live,
                parent=self,
            ),
        )
        yield
        self.problems = self._place(self.problemsLayout, ProblemsPanel(*shared))
        yield
        self.exchange = self._place(self.exchangeLayout, LabelExchangeMenu(*shared))
        yield

    def _place(self, layout: QLayout, panel: Panel) -> Panel:
        """Put a panel on the page; it is closed down with the page."""
        layout.addWidget(panel)
        self._panels.append(panel)
        return panel

    # --- what the dock asks

    def open_store(self) -> None:
        """Open the label file in use, and show the labels."""
        self._shown = True
        self._attempt(lambda: self._store.open(self._session.labels_path))
        if not self._store.path:  # it can't be read: start with one that can be made
            path = Path(self._session.labels_path)
            fresh = _free(path.with_name(f"{path.stem}_new.gpkg"))
            self._attempt(lambda: self._store.open(str(fresh)))
        self.show_layers()
        self.refresh()

    def show_layers(self) -> None:
        """Have the project show the labels, if there is a map: not behind QGIS's welcome page."""
        if self._shown and self._iface.mapCanvas().isVisible():
            with view.kept(self._iface.mapCanvas()):
                self._store.show_in(QgsProject.instance())

    def _follow(self) -> None:
        """Have the project show the labels as they are now.

        Layers that are still to be made are made in a moment: with the file of the first label
        they would be felt.
        """
        if self._store.is_shown_in(QgsProject.instance()):
            self.show_layers()
        else:
            self._soon.start()

    def close_down(self) -> None:
        """Let go of what lives longer than the page."""
        self._soon.stop()
        self._links.close()
        if self._map_keys is not None:
            with contextlib.suppress(RuntimeError):  # when QGIS ends, the canvas may be gone first
                self._map_keys.close()
        for panel in reversed(self._panels):
            panel.close_down()

    # --- what is seen

    def refresh(self) -> None:
        """Show classes, counts and what to do next as they are now."""
        self.classes.refresh()
        path = self._store.path or self._session.labels_path
        self.labelsPath.setText(path)
        self.labelsPath.setToolTip(path)
        self._class_changed()
        self.changed.emit()

    def _class_changed(self) -> None:
        self.tools.set_class(self.classes.active())
        self._say_hint()

    def _say_hint(self) -> None:
        store = self._store
        said = label_hints.hint(store.classes, store.counts, self.tools.hint())
        not_used = label_hints.not_used(store.no_class, store.unusable)
        if not_used:
            said = label_hints.Hint(f"{said.words}\n{not_used}", note.WARNING)
        self._hint.say(said.words, said.kind)

    def _digit(self, number: int) -> None:
        """Keys 1 to 9 choose a class, or say what is at the place that is asked about."""
        if self.next.is_asking:
            self.next.answer(number)
        else:
            self.classes.choose_number(number)

    def _undo(self) -> None:
        self._attempt(self._store.undo)

    def _redo(self) -> None:
        self._attempt(self._store.redo)

    # --- the file

    def _change_file(self) -> None:
        path, _ = QFileDialog.getSaveFileName(
            self,
            self.tr("Open a label file, or name a new one"),
            self._store.path,
            self.tr("Label file (*.gpkg)"),
            options=QFileDialog.Option.DontConfirmOverwrite,
        )
        if path:
            self.use_file(path if path.lower().endswith(".gpkg") else f"{path}.gpkg")

    def use_file(self, path: str) -> None:
        """Use another label file; it is made with its first class if it is not there."""
        if self._attempt(lambda: self._opened(path)):
            self._session.update(labels_path=path, active_class=0)
            self.refresh()
            self.show_layers()

    def _opened(self, path: str) -> bool:
        self._store.open(path)
        return True

    # --- inside

    def _attempt(self, change: Callable[[], Any]) -> Any:  # noqa: ANN401 - what the call gives
        return messages.attempt(self._iface.messageBar(), change)

    def _connect(self) -> None:
        self.changeFileButton.clicked.connect(self._change_file)
        self.tools.digit.connect(self._digit)
        self.tools.next_wanted.connect(self.next.go_on)
        self.tools.undo.connect(self._undo)
        self.tools.redo.connect(self._redo)
        self.tools.problem.connect(lambda sentence: self._hint.say(sentence, note.WARNING))
        self.tools.changed.connect(self._say_hint)
        self._undo_keys.undo.connect(self._undo)
        self._undo_keys.redo.connect(self._redo)
        self.classes.active_changed.connect(self._class_changed)
        self.classes.said.connect(self._hint.say)
        self._links.connect(self._store.changed, self.refresh)
        self._links.connect(self._store.changed, self._follow)
        project = QgsProject.instance()
        self._links.connect(project.cleared, self._project_changed)
        self._links.connect(project.readProject, self._project_changed)

    def add_shortcuts(self, window: QWidget) -> None:
        """Have keys choose a class (1 to 9), undo and redo while the focus is in the dock."""
        for number in range(1, 10):
            shortcut = QShortcut(QKeySequence(str(number)), window)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(lambda number=number: self._digit(number))
        further = QShortcut(QKeySequence("N"), self)
        further.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        further.activated.connect(self.next.go_on)
        self._undo_keys.watch(window, self.classes.classNameEdit)

    def _has_our_tool(self) -> bool:
        return isinstance(self._iface.mapCanvas().mapTool(), ToolBase)

    def _project_changed(self, *_: object) -> None:
        # Not at once: the project is still being emptied or filled.
        QTimer.singleShot(0, self.show_layers)


def _free(path: Path) -> Path:
    """Return a path that is not taken."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}_{number}{path.suffix}")
    return free
