# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Inputs that are finished: a d-pixel folder, where it lies and what is known of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Optional

from qgis.gui import QgsFileWidget
from qgis.PyQt.QtCore import QObject, pyqtSignal
from qgis.PyQt.QtWidgets import QWidget

from ..tasks import encode_lookups
from ..tasks.lookups import Lookup
from . import encode_words, messages, note
from .note import Note

if TYPE_CHECKING:
    from ..engine.dpixels import Placed


class TilePart(QObject):
    """Keeps the folder and where it lies."""

    changed = pyqtSignal()

    def __init__(self, page: QWidget) -> None:
        super().__init__(page)
        self._page = page
        self._placed: Optional[Placed] = None
        self._lookup = Lookup(self)
        self._note = Note("tileNote", page)
        page.tileNoteLayout.addWidget(self._note)
        page.tileFolder.setStorageMode(QgsFileWidget.StorageMode.GetDirectory)
        page.tileFolder.setDialogTitle(self.tr("d-pixel folder"))
        page.tileFolder.fileChanged.connect(self._look)
        self._lookup.busy.connect(lambda _: self.changed.emit())

    @property
    def folder(self) -> str:
        """The folder that was chosen; empty where none was."""
        return str(self._page.tileFolder.filePath()).strip()

    @property
    def placed(self) -> Optional[Placed]:
        """Where it lies; None where that is not known."""
        return self._placed

    @property
    def problem(self) -> str:
        """What is to be done before this is complete; empty where it is."""
        if self._lookup.is_busy:
            return self.tr("Looking where the inputs lie…")
        if not self.folder:
            return self.tr("Choose the folder.")
        if self._placed is None:
            return self.tr("Choose another folder: this one can't be used.")
        return ""

    @property
    def year(self) -> int:
        """The year it is of; 0 where nothing tells."""
        return self._placed.year if self._placed is not None else 0

    @property
    def name(self) -> str:
        """The folder's name, as a name for the scene."""
        return Path(self.folder).name if self.folder else ""

    def choose(self, folder: str) -> None:
        """Take a folder."""
        self._page.tileFolder.setFilePath(folder)

    def close_down(self) -> None:
        """End what runs."""
        self._lookup.close()

    # --- inside

    def _look(self, *_: object) -> None:
        self._placed = None
        self._note.say("")
        if self.folder:
            self._lookup.ask(encode_lookups.place(self.folder), self._found, self._failed)
        else:
            self._lookup.cancel()
        self.changed.emit()

    def _found(self, placed: Placed) -> None:
        self._placed = placed
        self._note.say(encode_words.placed(placed), note.SUCCESS)
        self.changed.emit()

    def _failed(self, error: Exception) -> None:
        self._note.say(messages.words(error), note.WARNING)
        self.changed.emit()
