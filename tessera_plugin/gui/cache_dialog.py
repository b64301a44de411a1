# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the cache holds, how large it may be, and how to make room or move it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Dict, List, Optional, Tuple

from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QFileDialog,
    QHeaderView,
    QMessageBox,
    QTableWidgetItem,
    QWidget,
)

from .. import paths
from ..settings import GB, LIMITS
from ..tasks import cache_jobs
from ..tasks.base import EngineTask
from ..tasks.cache_jobs import CacheState
from ..tasks.lookups import Lookup
from ..tasks.session import Session
from . import forms, messages, note, text
from .links import Links
from .note import Note

if TYPE_CHECKING:
    from ..engine.cache import CacheEntry, CacheUsage, MoveResult

Origin = Tuple[str, str, int]
"""Archive, dataset, year: what can be cleared by itself."""

DATASET, YEAR, KIND, SIZE, USED = range(5)


class CacheDialog(QDialog):
    """Shows the cache in use. What takes long runs as a job, and the dialog may be closed."""

    def __init__(self, session: Session, parent: Optional[QWidget]) -> None:
        super().__init__(parent)
        forms.load("cache_dialog", self)
        self._session = session
        self._state: Optional[CacheState] = None
        self._is_mine = False
        self._links = Links()
        self._lookup = Lookup(self)
        self._note = Note("cacheNote", self)
        self.noteLayout.addWidget(self._note)
        self.workFrame.hide()
        self._set_up_table()
        low, high = LIMITS["cache_limit_gb"]
        self.limitSpin.setRange(low, high)
        self.limitSpin.setValue(session.settings.cache_limit_gb)
        self._connect()
        self._measure()

    def done(self, result: int) -> None:
        """Close; a job that was started here goes on in the dock."""
        self._links.close()
        self._lookup.close()
        super().done(result)

    # --- inside

    def _set_up_table(self) -> None:
        table = self.entriesTable
        names = (
            self.tr("Dataset"),
            self.tr("Year"),
            self.tr("Depth and form"),
            self.tr("Size"),
            self.tr("Last used"),
        )
        table.setColumnCount(len(names))
        table.setHorizontalHeaderLabels(names)
        header = table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(KIND, QHeaderView.ResizeMode.Stretch)
        header.setHighlightSections(False)
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)

    def _connect(self) -> None:
        box = self._session.box
        self._links.connect(box.told, self._told)
        self._links.connect(box.started, self._enable)
        self._links.connect(box.ended, self._ended)
        self._lookup.busy.connect(self._enable)
        self.limitSpin.valueChanged.connect(self._limit_changed)
        self.entriesTable.itemSelectionChanged.connect(self._enable)
        self.stopButton.clicked.connect(self._stop)
        self.moveButton.clicked.connect(self._move)
        self.evictButton.clicked.connect(self._evict)
        self.clearSelectedButton.clicked.connect(self._clear_selected)
        self.clearAllButton.clicked.connect(self._clear_all)

    def _measure(self) -> None:
        folder = self._session.settings.cache_folder
        self.folderEdit.setText(folder)
        self.folderEdit.setToolTip(folder)
        self.sizeLabel.setText(self.tr("Measuring…"))
        self._lookup.ask(cache_jobs.state(folder), self._measured, self._failed)

    def _measured(self, state: CacheState) -> None:
        self._state = state
        self.sizeLabel.setText(self.tr("{} in use").format(text.size(state.usage.bytes)))
        self._fill(state.usage)
        if not state.is_writable:
            self._note.say(
                self.tr(
                    "This folder can't be written: what is in it is used, nothing is added or "
                    "removed."
                )
            )
        self._enable()

    def _fill(self, usage: CacheUsage) -> None:
        rows: Dict[Origin, List[CacheEntry]] = {}
        for entry in filter(lambda each: each.blocks, usage.entries):
            rows.setdefault((entry.archive, entry.dataset, entry.year), []).append(entry)
        table = self.entriesTable
        table.setRowCount(len(rows))
        for row, (origin, entries) in enumerate(rows.items()):
            cells = (
                origin[1],
                str(origin[2]),
                " · ".join(dict.fromkeys(self._kind(each) for each in entries)),
                text.size(sum(each.bytes for each in entries)),
                text.moment(max(each.last_used for each in entries)),
            )
            for column, words in enumerate(cells):
                item = QTableWidgetItem(words)
                item.setData(Qt.ItemDataRole.UserRole, origin)
                item.setToolTip(entries[0].location or origin[0])
                if column == SIZE:
                    item.setTextAlignment(
                        Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    )
                table.setItem(row, column, item)

    def _kind(self, entry: CacheEntry) -> str:
        return self.tr("{}, {}").format(entry.depth, text.form(entry.form))

    def _selected(self) -> List[Origin]:
        rows = sorted({each.row() for each in self.entriesTable.selectedIndexes()})
        items = (self.entriesTable.item(row, DATASET) for row in rows)
        return [tuple(item.data(Qt.ItemDataRole.UserRole)) for item in items if item is not None]

    def _enable(self, *_: object) -> None:
        running = self._session.box.running
        self.workFrame.setVisible(self._is_mine or self._lookup.is_busy)
        self.workBar.setMaximum(1000 if self._is_mine else 0)
        state = self._state
        can = not running and state is not None and state.is_writable
        has = state is not None and state.usage.bytes > 0
        self.clearSelectedButton.setEnabled(can and bool(self._selected()))
        self.clearAllButton.setEnabled(can and has)
        self.evictButton.setEnabled(can and has and self.limitSpin.value() > 0)
        self.moveButton.setEnabled(not running and not self._lookup.is_busy)
        self.moveButton.setToolTip(messages.waits_for(running) or self._move_tip())

    def _move_tip(self) -> str:
        return self.tr("Bring all of it to another folder, and use that one from then on")

    # --- what a person does

    def _limit_changed(self, value: float) -> None:
        self._session.update(cache_limit_gb=value)
        self._enable()

    def _stop(self) -> None:
        if self._is_mine:
            self.workLabel.setText(self.tr("Stopping…"))
            self._session.box.cancel()
        else:
            self._lookup.cancel()
            self.sizeLabel.setText(self.tr("Not measured"))

    def _evict(self) -> None:
        limit = int(self.limitSpin.value() * GB)
        self._start(cache_jobs.evict(self._session.settings.cache_folder, limit), self._evicted)

    def _clear_selected(self) -> None:
        self._start(
            cache_jobs.clear_origins(self._session.settings.cache_folder, self._selected()),
            self._freed,
        )

    def _clear_all(self) -> None:
        size = text.size(self._state.usage.bytes) if self._state is not None else ""
        answer = QMessageBox.question(
            self,
            self.tr("Clear all"),
            self.tr("Remove all {} from the cache? What is needed again is fetched again.").format(
                size
            ),
        )
        if answer == QMessageBox.StandardButton.Yes:
            self._start(cache_jobs.clear(self._session.settings.cache_folder), self._freed)

    def _move(self) -> None:
        folder = self._session.settings.cache_folder
        target = QFileDialog.getExistingDirectory(self, self.tr("New folder of the cache"), folder)
        if target:
            self._start(cache_jobs.move(folder, target), self._moved)

    # --- work

    def _start(self, task: EngineTask, succeeded: Callable[..., None]) -> None:
        task.succeeded.connect(succeeded)
        task.failed.connect(self._failed)
        task.cancelled.connect(lambda: self._note.say(self.tr("Stopped.")))
        self._lookup.cancel()
        self._is_mine = True
        self.workLabel.setText(self.tr("{}…").format(task.description()))
        self.workBar.setValue(0)
        if self._session.box.start(task):
            self._note.say("")
        else:
            self._is_mine = False
        self._enable()

    def _told(self, fraction: float, message: str) -> None:
        if self._is_mine:
            self.workBar.setValue(round(1000 * fraction))
            if message:
                self.workLabel.setText(messages.phase(message))

    def _ended(self) -> None:
        self._is_mine = False
        self._measure()

    def _freed(self, freed: int) -> None:
        self._note.say(self.tr("{} were removed.").format(text.size(freed)), note.SUCCESS)

    def _evicted(self, freed: int) -> None:
        if freed:
            self._freed(freed)
        else:
            self._note.say(
                self.tr("There was nothing to remove: what was used just now stays."), note.INFO
            )

    def _moved(self, result: MoveResult) -> None:
        default = str(paths.cache_dir())
        self._session.update(cache_dir="" if result.target == default else result.target)
        told = [
            self.tr("{} were moved to {}.").format(text.size(result.bytes), result.target),
        ]
        if result.damaged:
            told.append(
                text.counted(
                    result.damaged,
                    self.tr("{} damaged part was left out; it is fetched again."),
                    self.tr("{} damaged parts were left out; they are fetched again."),
                )
            )
        if result.left:
            told.append(
                text.counted(
                    len(result.left),
                    self.tr("{} file is still in the old folder, as it is in use."),
                    self.tr("{} files are still in the old folder, as they are in use."),
                )
            )
        self._note.say(text.join(told), note.WARNING if result.left else note.SUCCESS)

    def _failed(self, error: Exception) -> None:
        self._note.say(messages.words(error), note.WARNING)
