# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The images that were recognised, as a table in which a person can say what no file tells."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple, Union

from qgis.PyQt.QtCore import QAbstractTableModel, QModelIndex, QObject, Qt, QTimer, pyqtSignal
from qgis.PyQt.QtGui import QKeySequence
from qgis.PyQt.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHeaderView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

from . import encode_units
from .compat import QShortcut

if TYPE_CHECKING:
    from ..engine.dpixels import Corrections, Recognised, S1Scene, S2Scene

    Scene = Union[S1Scene, S2Scene]

USE, SENSOR, DATE, ORBIT, BANDS, MASK, VALUES, NAME = range(8)

ROW_PADDING_PX = 6

DISPLAY, EDIT = Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole
CHECK = Qt.ItemDataRole.CheckStateRole


class SceneTable(QAbstractTableModel):
    """One row per image, the oldest first; what is edited becomes corrections."""

    edited = pyqtSignal()

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._rows: Tuple[Scene, ...] = ()
        self._left_out: Dict[str, None] = {}
        self._dates: Dict[str, str] = {}
        self._orbits: Dict[str, str] = {}
        self._units: Dict[str, str] = {}
        self._titles = (
            self.tr("Use"), self.tr("Sensor"), self.tr("Date"), self.tr("Orbit"),
            self.tr("Bands"), self.tr("Cloud mask"), self.tr("Values"), self.tr("Name"),
        )  # fmt: skip

    def show(self, found: Optional[Recognised]) -> None:
        """Show what was recognised, corrected by all but what is left out."""
        rows: List[Scene] = []
        for scenes in (found.scenes, found.waiting) if found is not None else ():
            rows += scenes.s2
            rows += scenes.s1
        ordered = tuple(sorted(rows, key=lambda each: (each.date, each.name)))
        if ordered == self._rows:
            return
        if [each.name for each in ordered] == [each.name for each in self._rows]:
            self._rows = ordered
            self.dataChanged.emit(self.index(0, 0), self.index(len(ordered) - 1, NAME))
            return
        self.beginResetModel()
        self._rows = ordered
        self.endResetModel()

    def forget(self) -> None:
        """Forget what was edited: other images are shown."""
        for said in (self._left_out, self._dates, self._orbits, self._units):
            said.clear()

    def corrections(self, others: Corrections) -> Corrections:
        """Return what was said here, added to what was said of all images."""
        return replace(
            others,
            left_out=tuple(self._left_out),
            dates=tuple(self._dates.items()),
            orbits=tuple(self._orbits.items()),
            s2_units=tuple(self._units.items()),
        )

    def toggle(self, rows: List[int]) -> None:
        """Use all of these images, or none where all are used."""
        names = [self._rows[row].name for row in rows]
        is_used = all(name not in self._left_out for name in names)
        for name in names:
            self._use(name, used=not is_used)
        self.edited.emit()

    # --- as Qt asks

    def rowCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008 - Qt's signature
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: QModelIndex = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self._titles)

    def headerData(self, section: int, orientation: object, role: int = DISPLAY) -> Optional[str]:
        if role == DISPLAY and orientation == Qt.Orientation.Horizontal:
            return self._titles[section]
        return None

    def flags(self, index: QModelIndex) -> Any:  # noqa: ANN401 - flags differ in Qt 5 and 6
        scene, flags = (
            self._rows[index.row()],
            Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable,
        )
        if index.column() == USE:
            flags |= Qt.ItemFlag.ItemIsUserCheckable
        own = {DATE, ORBIT} if _is_radar(scene) else {DATE, VALUES}
        if index.column() in own:
            flags |= Qt.ItemFlag.ItemIsEditable
        return flags

    def data(self, index: QModelIndex, role: int = DISPLAY) -> object:
        scene, column = self._rows[index.row()], index.column()
        if role == CHECK and column == USE:
            is_used = scene.name not in self._left_out
            return Qt.CheckState.Checked if is_used else Qt.CheckState.Unchecked
        if role in (DISPLAY, EDIT) and column != USE:
            return self._text(scene, column)
        if role == Qt.ItemDataRole.ToolTipRole:
            return _files(scene) if column in (NAME, USE) else self._text(scene, column)
        if role == Qt.ItemDataRole.AccessibleTextRole and column == USE:
            return scene.name
        return None

    def setData(self, index: QModelIndex, value: object, role: int = EDIT) -> bool:
        name, column = self._rows[index.row()].name, index.column()
        if role == CHECK and column == USE:
            self._use(name, used=_state(value) == Qt.CheckState.Checked)
        elif role == EDIT and column == DATE:
            written = _date(str(value))
            if not written:
                return False
            self._dates[name] = written
        elif role == EDIT and column in (ORBIT, VALUES):
            said = self._orbits if column == ORBIT else self._units
            said[name] = str(value)
        else:
            return False
        self.dataChanged.emit(index, index)
        QTimer.singleShot(0, self.edited.emit)  # the editor closes first
        return True

    # --- inside

    def _use(self, name: str, *, used: bool) -> None:
        if used:
            self._left_out.pop(name, None)
        else:
            self._left_out[name] = None

    def _text(self, scene: Scene, column: int) -> str:
        if column == DATE:
            return encode_units.date(scene.date)
        if column == NAME:
            return scene.name
        if _is_radar(scene):
            return self._of_radar(scene, column)  # type: ignore[arg-type]
        return self._of_optical(scene, column)  # type: ignore[arg-type]

    def _of_optical(self, scene: S2Scene, column: int) -> str:
        texts = {
            SENSOR: "Sentinel-2",
            BANDS: self._bands(scene),
            MASK: encode_units.mask_short(scene.mask_kind),
            VALUES: encode_units.s2_short(scene.unit, scene.baseline),
        }
        return texts.get(column, "")

    def _bands(self, scene: S2Scene) -> str:
        if not scene.lacking:
            return self.tr("all")
        if all(name.isdecimal() for name in scene.bands):
            return self.tr("{} without a name").format(len(scene.bands))
        return self.tr("lacks {}").format(", ".join(scene.lacking))

    def _of_radar(self, scene: S1Scene, column: int) -> str:
        polarisations = [
            name for name, found in (("VV", scene.vv), ("VH", scene.vh)) if found is not None
        ]
        texts = {
            SENSOR: "Sentinel-1",
            ORBIT: encode_units.orbit(scene.orbit),
            BANDS: ", ".join(polarisations),
            VALUES: encode_units.s1_short(scene.unit),
        }
        return texts.get(column, "")


class ChoiceDelegate(QStyledItemDelegate):
    """Lets orbits and units be chosen rather than typed."""

    def createEditor(
        self, parent: QWidget, option: QStyleOptionViewItem, index: QModelIndex
    ) -> QWidget:
        if index.column() not in (ORBIT, VALUES):
            return super().createEditor(parent, option, index)
        combo = QComboBox(parent)
        is_orbit = index.column() == ORBIT
        choices = encode_units.orbits() if is_orbit else encode_units.s2_units_of_one()
        for key, words in choices.items():
            combo.addItem(words, key)
        combo.activated.connect(lambda _: self.commitData.emit(combo))
        return combo

    def setEditorData(self, editor: QWidget, index: QModelIndex) -> None:
        if isinstance(editor, QComboBox):
            editor.setCurrentIndex(max(editor.findText(str(index.data())), 0))
        else:
            super().setEditorData(editor, index)

    def setModelData(self, editor: QWidget, model: QAbstractTableModel, index: QModelIndex) -> None:
        if isinstance(editor, QComboBox):
            model.setData(index, editor.currentData())
        else:
            super().setModelData(editor, model, index)


def set_up(view: QTableView, table: SceneTable) -> None:
    """Let a view show the table: its columns, its keys."""
    view.setModel(table)
    view.setItemDelegate(ChoiceDelegate(view))
    view.verticalHeader().hide()
    view.verticalHeader().setDefaultSectionSize(view.fontMetrics().height() + ROW_PADDING_PX)
    view.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
    view.setWordWrap(False)
    header = view.horizontalHeader()
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
    header.setHighlightSections(False)
    keys = QShortcut(QKeySequence(Qt.Key.Key_Space), view)
    keys.setContext(Qt.ShortcutContext.WidgetShortcut)
    keys.activated.connect(
        lambda: table.toggle([each.row() for each in view.selectionModel().selectedRows()])
    )


def _state(value: object) -> object:
    """Return what a view hands over for a tick, a number or the state itself."""
    return type(Qt.CheckState.Checked)(value)


def _is_radar(scene: Scene) -> bool:
    return hasattr(scene, "orbit")


def _date(written: str) -> str:
    """Return a date as ISO writes it; empty where it is none."""
    try:
        return dt.date.fromisoformat(written.strip()).isoformat()
    except ValueError:
        return ""


def _files(scene: Scene) -> str:
    """Return the files of an image, for its tip."""
    bands, masks = getattr(scene, "bands", {}), ("mask", "vv", "vh")
    found = [*bands.values(), *(getattr(scene, each, None) for each in masks)]
    every = dict.fromkeys(each.path for each in found if each is not None)
    return "\n".join([scene.name, *list(every)[:12]])
