# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The scenes of a person's own embeddings: what was encoded, and the way to delete it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QHeaderView,
    QMessageBox,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ..errors import TesseraError
from ..tasks import encode_lookups
from ..tasks.session import Session
from ..values import Dataset
from . import messages, note, text
from .note import Note

if TYPE_CHECKING:
    from ..engine.local import Scene

SIZE_PX = (620, 320)


class OwnScenesDialog(QDialog):
    """One row per scene; deleting asks, and can't be undone."""

    def __init__(self, session: Session, dataset: Dataset, parent: Optional[QWidget]) -> None:
        super().__init__(parent)
        self._session, self._dataset = session, dataset
        self.setObjectName("TesseraOwnScenes")
        self.setWindowTitle(self.tr("Scenes of “{}”").format(dataset.title))
        self.resize(*SIZE_PX)
        self._tree = QTreeWidget(self)
        self._tree.setObjectName("ownScenesTree")
        self._tree.setRootIsDecorated(False)
        self._tree.setHeaderLabels(
            [self.tr("Name"), self.tr("Year"), self.tr("Pixels"), self.tr("On disk"), ""]
        )
        header = self._tree.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self._note = Note("ownScenesNote", self)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close, self)
        self._delete = QPushButton(self.tr("Delete…"), self)
        self._delete.setObjectName("deleteSceneButton")
        self._delete.setAutoDefault(False)
        buttons.addButton(self._delete, QDialogButtonBox.ButtonRole.ActionRole)
        buttons.rejected.connect(self.reject)
        self._delete.clicked.connect(self._ask)
        self._tree.currentItemChanged.connect(lambda *_: self._enable())
        layout = QVBoxLayout(self)
        layout.addWidget(self._tree)
        layout.addWidget(self._note)
        layout.addWidget(buttons)
        self._show()

    # --- inside

    def _show(self) -> None:
        self._tree.clear()
        try:
            found = encode_lookups.own_scenes(self._dataset)
        except TesseraError as error:
            self._note.say(text.join(messages.explain(error)), note.WARNING)
            self._enable()
            return
        for scene in found.scenes:
            self._tree.addTopLevelItem(self._item(scene))
        for name, why in found.problems:
            item = QTreeWidgetItem([name, "", "", "", self.tr("can't be used: {}").format(why)])
            item.setFlags(Qt.ItemFlag.NoItemFlags)
            self._tree.addTopLevelItem(item)
        self._enable()

    def _item(self, scene: Scene) -> QTreeWidgetItem:
        state = "" if scene.finished else self.tr("not finished")
        columns = [
            scene.name,
            str(scene.year),
            text.count(scene.window.pixels),
            text.size(encode_lookups.scene_bytes(scene.path)),
            state,
        ]
        item = QTreeWidgetItem(columns)
        item.setData(0, Qt.ItemDataRole.UserRole, scene.path)
        item.setToolTip(0, scene.path)
        return item

    def _path(self) -> str:
        item = self._tree.currentItem()
        return str(item.data(0, Qt.ItemDataRole.UserRole) or "") if item is not None else ""

    def _enable(self) -> None:
        waits = messages.waits_for(self._session.box.running)
        self._delete.setEnabled(bool(self._path()) and not waits)
        self._delete.setToolTip(waits or self.tr("Delete the scene's files from this computer"))

    def _ask(self) -> None:
        item, path = self._tree.currentItem(), self._path()
        if not path:
            return
        answer = QMessageBox.question(
            self,
            self.tr("Delete a scene"),
            self.tr(
                "Delete the embeddings of “{}”, {}? Maps that were made of them stay. To have them "
                "again they must be encoded again."
            ).format(item.text(0), item.text(1)),
        )
        if answer != QMessageBox.StandardButton.Yes:
            return
        try:
            freed = encode_lookups.remove_scene(self._session, self._dataset, path)
        except TesseraError as error:
            messages.log(error)
            self._note.say(text.join(messages.explain(error)), note.WARNING)
            return
        self._note.say(self.tr("Deleted. This frees {}.").format(text.size(freed)), note.SUCCESS)
        self._show()
