# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The buttons that bring labels in from other layers and take them out to other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Tuple

from qgis.core import Qgis
from qgis.gui import QgisInterface
from qgis.PyQt import sip
from qgis.PyQt.QtWidgets import QFileDialog, QHBoxLayout, QPushButton, QWidget

from ..tasks import label_exchange
from ..tasks.lookups import Lookup
from ..tasks.session import Session
from . import import_words, messages, text
from .area_page import AreaPage
from .import_dialog import ImportDialog
from .links import Links


class LabelExchangeMenu(QWidget):
    """The buttons Import and Export, side by side."""

    def __init__(
        self, iface: QgisInterface, session: Session, area: AreaPage, parent: QWidget
    ) -> None:
        super().__init__(parent)
        self._iface, self._session, self._area = iface, session, area
        self._dialog: Optional[ImportDialog] = None
        self._links, self._lookup = Links(), Lookup(self)
        self._import = QPushButton(self.tr("Import…"), self)
        self._import.setObjectName("importButton")
        self._import.setToolTip(
            self.tr("Labels from a layer or file with a class field, or points of a class map")
        )
        self._export = QPushButton(self.tr("Export…"), self)
        self._export.setObjectName("exportButton")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self._import)
        row.addWidget(self._export)
        row.addStretch(1)
        self._import.clicked.connect(lambda _: self.show_import())
        self._export.clicked.connect(lambda _: self._choose_file())
        self._links.connect(session.labels.changed, self._enable)
        self._lookup.busy.connect(lambda _: self._enable())
        self._enable()

    def show_import(self, path: str = "") -> None:
        """Open the import dialog, with a file if one is told."""
        self._drop_dialog()
        dialog = ImportDialog(self._iface, self._session, self._area)
        dialog.imported.connect(self._imported)
        dialog.finished.connect(lambda _: self._drop_dialog())
        self._dialog = dialog
        dialog.open()
        if path:
            dialog.source.open_file(path)

    def export(self, path: str) -> None:
        """Write all labels to a file; its ending says the format."""
        if Path(path).suffix.lower() not in _formats():
            path = f"{path}.gpkg"
        task = label_exchange.export(self._session.labels, path)
        self._lookup.ask(task, lambda count: self._exported(count, path), self._failed)

    def close_down(self) -> None:
        """Let go of everything."""
        self._links.close()
        self._lookup.close()
        self._drop_dialog()

    # --- inside

    def _drop_dialog(self) -> None:
        dialog, self._dialog = self._dialog, None
        if dialog is not None and not sip.isdeleted(dialog):
            dialog.close_down()
            dialog.hide()
            dialog.deleteLater()

    def _enable(self) -> None:
        is_empty, is_busy = not self._session.labels.counts, self._lookup.is_busy
        self._export.setEnabled(not is_empty and not is_busy)
        if is_empty:
            self._export.setToolTip(self.tr("There are no labels to export yet"))
        else:
            self._export.setToolTip(
                self.tr("Write all labels to a GeoPackage, GeoJSON or CSV file")
            )

    def _choose_file(self) -> None:
        store = Path(self._session.labels.path)
        proposed = str(store.with_name(f"{store.stem}_export.gpkg"))
        filters = {
            self.tr("GeoPackage (*.gpkg)"): ".gpkg",
            self.tr("GeoJSON (*.geojson)"): ".geojson",
            self.tr("Table, CSV (*.csv)"): ".csv",
        }
        path, chosen = QFileDialog.getSaveFileName(
            self, self.tr("Export labels"), proposed, ";;".join(filters)
        )
        ending = filters.get(chosen, ".gpkg")
        if path:
            has_one = Path(path).suffix.lower() in _formats()
            self.export(path if has_one else f"{path}{ending}")

    def _imported(self, labels: int) -> None:
        self._tell(import_words.done(labels))

    def _exported(self, labels: int, path: str) -> None:
        one, many = self.tr("{} label written to {}."), self.tr("{} labels written to {}.")
        self._tell(text.counted(labels, one, many, path))

    def _failed(self, error: Exception) -> None:
        messages.show_error(self._iface.messageBar(), error)

    def _tell(self, words: str) -> None:
        bar = self._iface.messageBar()
        bar.pushMessage(self.tr("Tessera"), words, Qgis.MessageLevel.Success, 6)


def _formats() -> Tuple[str, ...]:
    from ..engine.label_export import FORMATS  # noqa: PLC0415 - light plugin load

    return FORMATS
