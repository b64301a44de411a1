# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Another store or archive, by its address or folder; looked at before it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import QDialog, QDialogButtonBox, QFileDialog, QListWidgetItem, QWidget

from ..errors import TesseraError
from ..settings import write_stores
from ..tasks import lookups, snapshot
from ..tasks.session import Session
from ..values import Dataset
from . import forms, messages, note
from .encode_own_scenes import OwnScenesDialog
from .note import Note

if TYPE_CHECKING:
    from ..engine.locations import ArchiveFound, Found


class SourceDialog(QDialog):
    """A place is given, looked at, and then used: a store becomes a dataset, an archive the archive.

    Embeddings that the person made are listed too; taking them off the list deletes nothing.
    """

    def __init__(self, session: Session, parent: Optional[QWidget]) -> None:
        super().__init__(parent)
        forms.load("source_dialog", self)
        self._session = session
        self._found: Optional[Found] = None
        self._lookup = lookups.Lookup(self)
        self._note = Note("sourceNote", self)
        self.foundLayout.addWidget(self._note)
        self._ok = self.sourceButtons.button(QDialogButtonBox.StandardButton.Ok)
        self._ok.setText(self.tr("Use it"))
        self._ok.setAutoDefault(False)
        self.locationEdit.textChanged.connect(self._edited)
        self.folderButton.clicked.connect(self._choose_folder)
        self.checkButton.clicked.connect(self._check)
        self.stopButton.clicked.connect(self._stop)
        self.removeStoreButton.clicked.connect(self._remove)
        self.scenesButton.clicked.connect(self._show_scenes)
        self.storesList.currentRowChanged.connect(lambda _: self._enable())
        self._lookup.busy.connect(lambda _: self._enable())
        self._show_stores()
        self._enable()

    def accept(self) -> None:
        """Use what was found."""
        from ..engine.locations import StoreFound  # noqa: PLC0415 - light plugin load

        if self._found is None:
            return
        if isinstance(self._found, StoreFound):
            self._use_store(self._found.dataset)
        else:
            self._use_archive(self._found)
        self._lookup.close()
        super().accept()

    def reject(self) -> None:
        """Leave everything as it is."""
        self._lookup.close()
        super().reject()

    # --- looking

    def _edited(self) -> None:
        self._lookup.cancel()
        self._found = None
        self._note.say("")
        self._enable()

    def _choose_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(
            self, self.tr("Folder of a store or an archive"), self.locationEdit.text()
        )
        if folder:
            self.locationEdit.setText(folder)
            self._check()

    def _check(self) -> None:
        location = self.locationEdit.text().strip()
        if not location:
            return
        self._found = None
        self._note.say("")
        try:
            task = lookups.look(self._session, location)
        except TesseraError as error:
            self._failed(error)
            return
        self._lookup.ask(task, self._answered, self._failed)

    def _stop(self) -> None:
        self._lookup.cancel()
        self._note.say(self.tr("Stopped."))

    def _answered(self, found: Found) -> None:
        self._found = found
        self._note.say(self._sentence(found), note.SUCCESS)
        self._enable()

    def _failed(self, error: Exception) -> None:
        self._note.say(messages.words(error), note.WARNING)
        self._enable()

    def _sentence(self, found: Found) -> str:
        from ..engine.locations import StoreFound  # noqa: PLC0415 - light plugin load

        if not isinstance(found, StoreFound):
            return self.tr("An archive with {}.").format(", ".join(found.datasets))
        dataset = found.dataset
        told = self.tr("A Zarr store, “{}”: {}, {} numbers per pixel.")
        if dataset.local:
            told = self.tr("Your own embeddings, “{}”: {}, {} numbers per pixel.")
        first, last = dataset.years[0], dataset.years[-1]
        years = str(first) if first == last else self.tr("{} to {}").format(first, last)
        depths = ", ".join(str(each) for each in reversed(dataset.depths))
        return told.format(dataset.title, years, depths)

    def _enable(self) -> None:
        is_busy = self._lookup.is_busy
        self.lookFrame.setVisible(is_busy)
        self.checkButton.setEnabled(not is_busy and bool(self.locationEdit.text().strip()))
        self._ok.setEnabled(self._found is not None and not is_busy)
        chosen = self._chosen()
        self.removeStoreButton.setEnabled(chosen is not None)
        self.scenesButton.setEnabled(chosen is not None and bool(chosen.local))

    # --- using

    def _use_store(self, dataset: Dataset) -> None:
        others = [d for d in self._session.settings.own_stores if d.key != dataset.key]
        self._session.update(stores=write_stores([*others, dataset]), dataset=dataset.key, depth=0)

    def _use_archive(self, found: ArchiveFound) -> None:
        settings = self._session.settings
        known = (settings.dataset, *(d.key for d in snapshot.datasets(settings)))
        dataset = next(key for key in (*known, settings.dataset) if key in found.datasets)
        self._session.update(archive=found.location, dataset=dataset)

    # --- the person's own stores

    def _show_stores(self) -> None:
        stores = self._session.settings.own_stores
        self.storesGroup.setVisible(bool(stores))
        self.storesList.clear()
        for each in stores:
            place = each.local or each.store
            item = QListWidgetItem(self.tr("{}: {}").format(each.title, place))
            item.setData(Qt.ItemDataRole.UserRole, each.key)
            item.setToolTip(place)
            self.storesList.addItem(item)

    def _chosen(self) -> Optional[Dataset]:
        item = self.storesList.currentItem()
        key = item.data(Qt.ItemDataRole.UserRole) if item is not None else ""
        own = self._session.settings.own_stores
        return next((each for each in own if each.key == key), None)

    def _show_scenes(self) -> None:
        chosen = self._chosen()
        if chosen is None:
            return
        dialog = OwnScenesDialog(self._session, chosen, self)
        dialog.exec()
        dialog.deleteLater()
        self._show_stores()
        self._enable()

    def _remove(self) -> None:
        chosen = self._chosen()
        if chosen is None:
            return
        left = [each for each in self._session.settings.own_stores if each.key != chosen.key]
        self._session.update(stores=write_stores(left))
        self._show_stores()
        self._enable()
