# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Settings, and what to say of the plugin and its data."""

from __future__ import annotations

from html import escape
from typing import Optional

from qgis.gui import QgsFileWidget
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtWidgets import QDialog, QDialogButtonBox, QWidget

from .. import paths
from ..settings import LIMITS, Settings
from ..tasks import snapshot
from ..tasks.session import Session
from ..values import FORMS, PIXEL_M, PUBLIC_ARCHIVE
from . import forms, text
from .cache_dialog import CacheDialog

MILLION = 1e6
PAPER = "https://arxiv.org/abs/2506.20380"


class SettingsDialog(QDialog):
    """The few things that are not part of a day's work."""

    def __init__(self, session: Session, parent: Optional[QWidget]) -> None:
        super().__init__(parent)
        forms.load("settings_dialog", self)
        self._session = session
        self.cacheFolder.setStorageMode(QgsFileWidget.StorageMode.GetDirectory)
        self.cacheFolder.lineEdit().setPlaceholderText(str(paths.cache_dir()))
        self.archiveEdit.setPlaceholderText(PUBLIC_ARCHIVE)
        low, high = LIMITS["limit_px"]
        self.limitSpin.setRange(low / MILLION, high / MILLION)
        low, high = LIMITS["connections"]
        self.connectionsSpin.setRange(int(low), int(high))
        self.bandwidthSpin.setRange(*LIMITS["max_mb_per_s"])
        low, high = LIMITS["min_observations"]
        self.observationsSpin.setRange(int(low), int(high))
        self.bandwidthSpin.setClearValue(0.0)
        zarr, npy = FORMS
        self.formCombo.addItem(self.tr("The best form there is"), "")
        self.formCombo.addItem(self.tr("Zarr store, where there is one"), zarr)
        self.formCombo.addItem(self.tr("NPY tiles, where there are any"), npy)
        self.cacheButton.clicked.connect(self._show_cache)
        self.limitSpin.valueChanged.connect(self._say_limit)
        defaults = self.settingsButtons.button(QDialogButtonBox.StandardButton.RestoreDefaults)
        defaults.clicked.connect(lambda: self._show(Settings()))
        self._show(session.settings)

    def accept(self) -> None:
        """Remember what was chosen."""
        self._session.update(
            cache_dir=self.cacheFolder.filePath().strip(),
            archive=self.archiveEdit.text().strip().rstrip("/") or PUBLIC_ARCHIVE,
            limit_px=round(self.limitSpin.value() * MILLION),
            connections=self.connectionsSpin.value(),
            max_mb_per_s=self.bandwidthSpin.value(),
            offline=self.offlineCheck.isChecked(),
            form=self.formCombo.currentData(),
            min_observations=self.observationsSpin.value(),
        )
        super().accept()

    def _show(self, settings: Settings) -> None:
        self.cacheFolder.setFilePath(settings.cache_dir)
        self.archiveEdit.setText("" if settings.archive == PUBLIC_ARCHIVE else settings.archive)
        self.limitSpin.setValue(settings.limit_px / MILLION)
        self.connectionsSpin.setValue(settings.connections)
        self.bandwidthSpin.setValue(settings.max_mb_per_s)
        self.offlineCheck.setChecked(settings.offline)
        self.formCombo.setCurrentIndex(max(self.formCombo.findData(settings.form), 0))
        self.observationsSpin.setValue(settings.min_observations)
        self._say_limit()

    def _show_cache(self) -> None:
        dialog = CacheDialog(self._session, self)
        dialog.exec()
        dialog.deleteLater()
        self.cacheFolder.setFilePath(self._session.settings.cache_dir)  # it may have moved

    def _say_limit(self) -> None:
        pixels = self.limitSpin.value() * MILLION
        self.limitNote.setText(
            self.tr("{}, up to {} of embeddings").format(
                text.area_km2(pixels * PIXEL_M * PIXEL_M / 1e6), text.size(int(pixels * 132))
            )
        )


class AboutDialog(QDialog):
    """Licence, citation, and who is contacted."""

    def __init__(self, session: Session, version: str, parent: Optional[QWidget]) -> None:
        super().__init__(parent)
        forms.load("about_dialog", self)
        self.iconLabel.setPixmap(forms.icon("tessera").pixmap(QSize(48, 48)))
        title = self.tr("Tessera for QGIS {}").format(version)
        self.titleLabel.setText(f"<h2>{escape(title)}</h2>")
        self.aboutText.setHtml(self._html(session))

    def _html(self, session: Session) -> str:
        settings = session.settings
        stores = (each.store for each in settings.own_stores if each.store)
        asked = (settings.archive, *stores)
        roots = (text.place(each) for each in snapshot.addresses(*asked))
        hosts = ", ".join(f"<b>{escape(each)}</b>" for each in dict.fromkeys(roots))
        parts = [
            (
                self.tr("The data"),
                self.tr(
                    "TESSERA embeddings are published by the University of Cambridge under CC0 1.0: "
                    "free for any use."
                ),
            ),
            (
                self.tr("How to cite it"),
                self.tr(
                    "Feng, Z. et al. (2025): TESSERA: Temporal Embeddings of Surface Spectra for "
                    "Earth Representation and Analysis. arXiv:2506.20380."
                )
                + f' <a href="{PAPER}">{PAPER}</a>',
            ),
            (
                self.tr("Who is contacted"),
                self.tr(
                    "Only {}: when you fetch embeddings, train or classify, and, while “Show what is "
                    "there” is ticked, when the map comes to rest. What is asked for tells which "
                    "area you look at; nothing about you, your labels or your maps is sent."
                ).format(hosts),
            ),
            (
                self.tr("The plugin"),
                self.tr(
                    "Free software under the GNU General Public License, version 2 or later. It comes "
                    "without any warranty."
                ),
            ),
        ]
        return "".join(f"<h3>{escape(head)}</h3><p>{body}</p>" for head, body in parts)
