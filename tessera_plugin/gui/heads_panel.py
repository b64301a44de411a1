# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The heads that there are: which is in use, what they are, and what can be done with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Optional, Tuple

from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import QPoint, Qt, pyqtSignal
from qgis.PyQt.QtGui import QShowEvent
from qgis.PyQt.QtWidgets import (
    QAction,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QInputDialog,
    QMenu,
    QMessageBox,
    QTextBrowser,
    QVBoxLayout,
    QWidget,
)

from ..errors import TesseraError
from ..tasks import head_jobs
from ..tasks.lookups import Lookup
from ..tasks.session import Session
from . import forms, head_words, messages, note, text
from .heads_list import HeadsList, Listed
from .links import Links
from .note import Note

if TYPE_CHECKING:
    from ..engine.head_library import ListedHead
    from ..engine.head_onnx import ExportCheck

HEADS, MODELS = "*.head", "*.onnx"


class HeadsPanel(QWidget):
    """All heads beside the label file, and those opened from elsewhere."""

    chosen = pyqtSignal(str)
    """The head of this file is to be used; empty: none any more."""

    def __init__(self, iface: QgisInterface, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        forms.load("heads_panel", self)
        self._iface, self._session = iface, session
        self._links, self._lookup, self._bringing = Links(), Lookup(self), Lookup(self)
        self._list = HeadsList(self.headsList, session, session.settings.heads_order)
        self._seen: Tuple[str, ...] = ()
        self._note = Note("headsNote", self)
        self.headsNoteLayout.addWidget(self._note)
        self._actions = self._make_actions()
        self._dress()
        self._links.connect(session.settings_changed, self._settings_changed)
        self._links.connect(session.box.started, self._enable)
        self._links.connect(session.box.ended, self._enable)
        self._links.connect(session.add_on.changed, self._enable)
        self._listed(())

    def refresh(self) -> None:
        """Read the heads again, on the side."""
        self._seen = self._where()
        self._lookup.ask(head_jobs.listing(self._session), self._listed, self._failed)

    def showEvent(self, event: Optional[QShowEvent]) -> None:
        """Catch up with what others did in the folder."""
        super().showEvent(event)
        self.refresh()

    def close_down(self) -> None:
        """Let go of what lives longer than the panel."""
        self._links.close()
        self._lookup.close()
        self._bringing.close()

    # --- dress

    def _make_actions(self) -> Dict[str, QAction]:
        menu, actions = QMenu(self), {}
        for name, words, slot in (
            ("useHeadAction", self.tr("Use"), self._use),
            ("headDetailsAction", self.tr("Details…"), self._details),
            ("compareHeadsAction", self.tr("Compare…"), self._compare),
            ("", "", None),
            ("renameHeadAction", self.tr("Rename…"), self._rename),
            ("exportHeadAction", self.tr("Export as ONNX…"), self._export),
            ("importHeadAction", self.tr("Import…"), self._import),
            ("", "", None),
            ("deleteHeadAction", self.tr("Delete"), self._delete),
        ):
            if slot is None:
                menu.addSeparator()
                continue
            action = actions[name] = QAction(words, self)
            action.setObjectName(name)
            action.triggered.connect(lambda _=False, slot=slot: slot())
            menu.addAction(action)
        menu.setToolTipsVisible(True)
        self._menu = menu
        orders = self._list.menu(menu)
        menu.addSeparator()
        menu.addMenu(orders)
        more = QMenu(self)
        more.setToolTipsVisible(True)
        for name in ("renameHeadAction", "exportHeadAction", "importHeadAction"):
            more.addAction(actions[name])
        more.addMenu(orders)
        more.addSeparator()
        more.addAction(actions["deleteHeadAction"])
        self.headsMenuButton.setMenu(more)
        return actions

    def _dress(self) -> None:
        self._list.marked_changed.connect(self._enable)
        self._list.order_changed.connect(lambda order: self._session.update(heads_order=order))
        self.headsList.itemDoubleClicked.connect(lambda *_: self._use())
        self.headsList.customContextMenuRequested.connect(self._show_menu)
        for button, name in (
            (self.useHeadButton, "useHeadAction"),
            (self.headDetailsButton, "headDetailsAction"),
            (self.compareHeadsButton, "compareHeadsAction"),
        ):
            button.clicked.connect(self._actions[name].trigger)

    def _show_menu(self, place: QPoint) -> None:
        self._menu.popup(self.headsList.viewport().mapToGlobal(place))

    # --- the list

    def _where(self) -> Tuple[str, ...]:
        """Return what decides which heads there are, which is in use, and which fit."""
        settings, folder = self._session.settings, head_jobs.folder(self._session)
        return folder, settings.head_path, settings.opened_heads, self._session.dataset.key

    def _settings_changed(self) -> None:
        if self._where() == self._seen:
            return
        self._note.say("")
        head_jobs.remember(self._session, self._session.settings.head_path)
        self.refresh()

    def _listed(self, heads: Listed) -> None:
        self._list.show(heads)
        count = text.count(len(heads))
        self.headsGroup.setTitle(self.tr("Heads ({})").format(count) if heads else self.tr("Heads"))
        self._hint()
        self._enable()

    def _hint(self) -> None:
        if not self._list.heads:
            told = self.tr("No heads here yet. Train one above, or import one under “More”.")
        elif all(each.name for each in self._list.heads):
            told = self.tr("The one in use is bold; double-click another to use it.")
        else:
            told = self.tr(
                "The one in use is bold; double-click another to use it. Rename a head to keep it: "
                "one without a name of its own is replaced when you train again."
            )
        self.headsHint.setText(told)

    def _enable(self, *_: object) -> None:
        marked, running = self._list.marked(), messages.waits_for(self._session.box.running)
        usable = [each for each in marked if each.head is not None]
        one = self.tr("Mark one head in the list first") if len(marked) != 1 else ""
        good = one or ("" if usable else self.tr("This file can't be used: see its details"))
        two = self.tr("Mark two heads or more: hold Ctrl and click")
        lacking = "" if self._session.compute.can_train else self._lacking()
        for name, problem, told in (
            ("useHeadAction", good or running, self._use_told(usable)),
            ("headDetailsAction", one, self.tr("What it was trained on, and how it was tested")),
            ("compareHeadsAction", "" if len(usable) > 1 else two,
             self.tr("Show the marked heads side by side")),
            ("renameHeadAction", good, self.tr("Give it a name; it is kept in its file")),
            ("exportHeadAction", good or lacking or running,
             self.tr("A file that other programs run, checked to give the same answers")),
            ("importHeadAction", "",
             self.tr("Copy a head to your labels: a head file, or the ONNX file of an export")),
            ("deleteHeadAction", one or running, self.tr("Move its file to the trash")),
        ):  # fmt: skip
            self._actions[name].setEnabled(not problem)
            self._actions[name].setToolTip(problem or told)
        for button, name in (
            (self.useHeadButton, "useHeadAction"),
            (self.headDetailsButton, "headDetailsAction"),
            (self.compareHeadsButton, "compareHeadsAction"),
        ):
            button.setEnabled(self._actions[name].isEnabled())
            button.setToolTip(self._actions[name].toolTip())

    def _use_told(self, usable: List[ListedHead]) -> str:
        head = usable[0].head if usable else None
        if head is None or head.dataset == self._session.dataset.key:
            return str(self.tr("Classify with this head"))
        told = self.tr("It was made {}: choose that dataset on the Area page to classify with it")
        return str(told).format(head_words.other_dataset(head, self._session))

    # --- what a person does

    def _one(self) -> Optional[ListedHead]:
        marked = self._list.marked()
        return marked[0] if len(marked) == 1 else None

    def _use(self) -> None:
        each = self._one()
        if each is not None and self._actions["useHeadAction"].isEnabled():
            self.chosen.emit(each.path)

    def _details(self) -> None:
        each = self._one()
        if each is not None:
            html = head_words.details(each, self._session)
            HeadWindow(head_words.title(each), html, self).open()

    def _compare(self) -> None:
        several = [each for each in self._list.marked() if each.head is not None]
        html = head_words.side_by_side(several, self._session)
        HeadWindow(self.tr("Heads side by side"), html, self).open()

    def _rename(self) -> None:
        each = self._one()
        if each is None:
            return
        name, is_given = QInputDialog.getText(
            self, self.tr("Rename a head"),
            self.tr("Its name. Empty it, and the head is called by its kind and date:"),
            text=each.name or head_words.title(each),
        )  # fmt: skip
        if not is_given or name.strip() == (each.name or head_words.title(each)):
            return
        taken = [other.name for other in self._list.heads if other.path != each.path]
        try:
            head = head_jobs.rename(each.path, name, taken)
        except TesseraError as error:
            self._failed(error)
            return
        self._say(self.tr("It is called “{}” now.").format(head.name) if head.name else "")
        self.refresh()

    def _import(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, self.tr("Import a head"), head_jobs.folder(self._session),
            self.tr("Heads, also as ONNX ({} {})").format(HEADS, MODELS),
        )  # fmt: skip
        if not path:
            return
        task = head_jobs.bring_in(
            self._session, path, [each.name for each in self._list.heads if each.name]
        )
        if not head_jobs.is_onnx(path):
            self._bringing.ask(task, self._brought, self._failed)
            return
        running = messages.waits_for(self._session.box.running)
        if running or not self._session.compute.can_train:
            self._say(running or self._lacking(), note.WARNING)
            return
        task.succeeded.connect(self._brought)
        task.failed.connect(self._failed)
        task.cancelled.connect(lambda: self._say(self.tr("Stopped; no head was imported.")))
        if self._session.box.start(task):
            self._say("")

    def _brought(self, path: str) -> None:
        self._say(self.tr("It is in the list now, as {}.").format(Path(path).name))
        self.refresh()

    def _export(self) -> None:
        each = self._one()
        if each is None or each.head is None:
            return
        proposed = Path(each.path).with_suffix(Path(MODELS).suffix)
        path, _ = QFileDialog.getSaveFileName(
            self, self.tr("Export a head as ONNX"), str(proposed),
            self.tr("ONNX models ({})").format(MODELS),
        )  # fmt: skip
        if not path:
            return
        if not path.lower().endswith(proposed.suffix):
            path += proposed.suffix
        title = head_words.title(each)
        task = head_jobs.export(self._session, each.head, title, path)
        task.succeeded.connect(self._exported)
        task.failed.connect(self._failed)
        task.cancelled.connect(lambda: self._say(self.tr("Stopped; no file was written.")))
        if self._session.box.start(task):
            self._say("")

    def _exported(self, check: ExportCheck) -> None:
        self._say(
            self.tr(
                "Exported to {} and checked: ONNX Runtime gives the same class for {} of {} "
                "embeddings, and probabilities within {}."
            ).format(
                Path(check.path).name, text.count(check.same_class), text.count(check.tried),
                f"{check.worst:.0e}",
            ),
            note.SUCCESS,
        )  # fmt: skip

    def _delete(self) -> None:
        each = self._one()
        if each is None:
            return
        title = head_words.title(each)
        told = self.tr("“{}” is in the system's trash.").format(title)
        if not head_jobs.to_trash(each.path):
            if not self._is_sure(title):
                return
            told = self.tr("“{}” is deleted.").format(title)
            if not head_jobs.remove(each.path):
                self._say(self.tr("“{}” can't be deleted.").format(title), note.WARNING)
                return
        if self._list.is_used(each):
            self.chosen.emit("")
        self._say(told)
        self.refresh()

    def _is_sure(self, title: str) -> bool:
        buttons = QMessageBox.StandardButton
        answer = QMessageBox.question(
            self, self.tr("Delete a head"),
            self.tr("There is no trash for this folder. Delete “{}” for good?").format(title),
            buttons.Yes | buttons.No, buttons.No,
        )  # fmt: skip
        return bool(answer == buttons.Yes)

    def _lacking(self) -> str:
        return str(self.tr("Needs the training part of the add-on: see the dock's menu"))

    def _say(self, words: str, kind: str = note.INFO) -> None:
        self._note.say(words, kind)

    def _failed(self, error: Exception) -> None:
        note.tell(self._note, self._iface.messageBar(), error)


class HeadWindow(QDialog):
    """What is known of heads, to be read and copied."""

    def __init__(self, title: str, html: str, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("headWindow")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(title)
        self.resize(640, 600)
        told = QTextBrowser(self)
        told.setObjectName("headText")
        told.setOpenLinks(False)
        told.setHtml(html)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close, self)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(told)
        layout.addWidget(buttons)
