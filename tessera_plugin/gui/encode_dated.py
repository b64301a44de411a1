# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Images on this computer: what was recognised in folders and files, and what a person says of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Optional, Sequence, Tuple

from qgis.core import QgsProject
from qgis.PyQt.QtCore import QObject, Qt, pyqtSignal
from qgis.PyQt.QtWidgets import QComboBox, QFileDialog, QTreeWidgetItem, QWidget

from ..errors import TesseraError
from ..tasks import encode_lookups
from ..tasks.lookups import Lookup
from ..tasks.session import Session
from ..values import Extent
from . import encode_units, encode_words, messages
from .encode_scenes import SceneTable, set_up

if TYPE_CHECKING:
    from ..engine.dpixels import Recognised, Scenes

ROW_PX = 22
MOST_ROWS = 3

MARK = " \u2014 "
"""Between an answer and what speaks for it."""


class DatedPart(QObject):
    """Keeps the folders and files, what they hold, and what was said of it."""

    changed = pyqtSignal()
    is_tile = pyqtSignal(str)
    """A folder that was added is a finished d-pixel folder."""

    def __init__(self, page: QWidget, session: Session) -> None:
        super().__init__(page)
        self._page, self._session = page, session
        self._paths: Tuple[str, ...] = ()
        self._found: Optional[Recognised] = None
        self._used: Optional[Recognised] = None
        self._error = ""
        self._lookup = Lookup(self)
        self._table = SceneTable(self)
        set_up(page.scenesTable, self._table)
        page.unrecognisedTree.setColumnWidth(0, 360)
        self._questions = self._fill_questions()
        self._connect()
        self._show()

    # --- what others ask

    @property
    def scenes(self) -> Optional[Scenes]:
        """The images that are used; None where there are none."""
        return self._used.scenes if self._used is not None and self._used.scenes.s2 else None

    @property
    def extent(self) -> Optional[Extent]:
        """What the images cover together."""
        return self._used.extent if self._used is not None else None

    @property
    def year(self) -> int:
        """The year that most images are of; 0 where there are none."""
        return encode_lookups.year_of(self.scenes) if self.scenes is not None else 0

    @property
    def name(self) -> str:
        """The folder's name, as a name for the scene."""
        return Path(self._paths[0]).stem if self._paths else ""

    @property
    def problem(self) -> str:
        """What is to be done before this is complete; empty where it is."""
        if self._lookup.is_busy:
            return self.tr("Looking what the images are…")
        if not self._paths:
            return self.tr("Add the folder of your Sentinel images.")
        if self._error:
            return self._error
        if self.scenes is None:
            return self.tr("No usable Sentinel-2 image was recognised: add other folders or files.")
        return self._unanswered()

    def restore(self) -> None:
        """Look at what was encoded last, where it is still there."""
        if self._paths:
            return
        remembered = encode_lookups.read_paths(self._session.settings.encode_inputs)
        found = tuple(each for each in remembered if Path(each).exists())
        if found and found == remembered:
            self.add(found)

    def add(self, paths: Sequence[str]) -> None:
        """Look what these folders and files hold, together with those before."""
        self._paths = tuple(dict.fromkeys((*self._paths, *paths)))
        self._session.update(encode_inputs=encode_lookups.write_paths(self._paths))
        self._look()

    def close_down(self) -> None:
        """End what runs."""
        self._lookup.close()

    # --- inside

    def _fill_questions(self) -> Dict[str, Tuple[QWidget, QComboBox]]:
        page = self._page
        choices = (
            ("s2_unit", page.s2UnitLabel, page.s2UnitCombo, encode_units.s2_units()),
            ("s1_unit", page.s1UnitLabel, page.s1UnitCombo, encode_units.s1_units()),
            ("orbit", page.orbitLabel, page.orbitCombo, encode_units.orbits()),
            ("mask", page.maskLabel, page.maskCombo, encode_units.masks()),
        )
        for _, _, combo, answers in choices:
            combo.addItem(self.tr("Please choose…"), "")
            for key, words in answers.items():
                combo.addItem(words, key)
            combo.currentIndexChanged.connect(self._correct)
        return {name: (label, combo) for name, label, combo, _ in choices}

    def _connect(self) -> None:
        page = self._page
        page.addFolderButton.clicked.connect(self._add_folder)
        page.addFilesButton.clicked.connect(self._add_files)
        page.addLayersButton.clicked.connect(self._add_layers)
        page.clearInputsButton.clicked.connect(self._clear)
        page.recogniseStopButton.clicked.connect(self._stop)
        page.bandsEdit.editingFinished.connect(self._correct)
        self._table.edited.connect(self._correct)
        self._lookup.busy.connect(lambda _: self._show())

    def _add_folder(self) -> None:
        before = self._paths[-1] if self._paths else ""
        folder = QFileDialog.getExistingDirectory(
            self._page, self.tr("Folder with Sentinel images"), before
        )
        if folder:
            self.add([folder])

    def _add_files(self) -> None:
        before = self._paths[-1] if self._paths else ""
        files, _ = QFileDialog.getOpenFileNames(self._page, self.tr("Sentinel images"), before)
        if files:
            self.add(files)

    def _add_layers(self) -> None:
        files = encode_lookups.project_rasters(QgsProject.instance())
        if files:
            self.add(files)
        else:
            self._error = self.tr("The project has no raster layers of files.")
            self._show()

    def _clear(self) -> None:
        self._lookup.cancel()
        self._paths, self._found, self._used, self._error = (), None, None, ""
        self._session.update(encode_inputs="")
        self._table.forget()
        self._show()

    def _stop(self) -> None:
        self._lookup.cancel()
        self._error = self.tr("Stopped. Add the folder again to go on.")
        self._paths = ()
        self._show()

    def _look(self) -> None:
        self._error, self._found, self._used = "", None, None
        self._table.forget()
        for _, combo in self._questions.values():
            combo.blockSignals(True)
            combo.setCurrentIndex(0)
            combo.blockSignals(False)
        self._page.bandsEdit.clear()
        self._lookup.ask(encode_lookups.recognise(self._paths), self._recognised, self._failed)
        self._show()

    def _recognised(self, found: Recognised) -> None:
        if found.kind == "tile" and len(self._paths) == 1:
            folder = self._paths[0]
            self._clear()
            self.is_tile.emit(folder)
            return
        self._found = found
        self._suggest(found)
        self._correct()

    def _failed(self, error: Exception) -> None:
        self._error = messages.words(error)
        self._show()

    def _suggest(self, found: Recognised) -> None:
        """Mark the answers that the numbers in the files speak for; the person decides."""
        for name, (_, combo) in self._questions.items():
            answer = found.suggestions.get(name, "")
            why = found.suggestions.get(f"{name}.why", "").rstrip(".")
            for index in range(combo.count()):
                words = combo.itemText(index).split(MARK)[0]
                if combo.itemData(index) == answer and why:
                    words += MARK + (self.tr("suggested: {}").format(why) if answer else why)
                combo.setItemText(index, words)
        self._page.bandsEdit.setText(found.suggestions.get("bands", ""))
        self._page.bandsEdit.setToolTip(found.suggestions.get("bands.why", ""))

    def _correct(self, *_: object) -> None:
        """Take in what was said, of all images or of single ones."""
        from ..engine.dpixels import Corrections  # noqa: PLC0415 - light plugin load

        if self._found is None:
            return
        answers = {name: combo.currentData() for name, (_, combo) in self._questions.items()}
        said = self._table.corrections(
            Corrections(
                s2_unit=answers["s2_unit"], s1_unit=answers["s1_unit"],
                orbit=answers["orbit"], mask_kind=answers["mask"],
                bands=_bands(self._page.bandsEdit.text()),
            )
        )  # fmt: skip
        try:
            self._used = encode_lookups.corrected(self._found, said)
            self._table.show(encode_lookups.corrected(self._found, encode_lookups.using_all(said)))
        except TesseraError as error:
            self._failed(error)
            return
        self._error = ""
        self._show()

    # --- what is shown

    def _show(self) -> None:
        page, found = self._page, self._found
        page.recogniseFrame.setVisible(self._lookup.is_busy)
        page.clearInputsButton.setEnabled(bool(self._paths))
        page.scenesTable.setEnabled(found is not None)
        if found is None:
            self._table.show(None)
        used = self._used.scenes if self._used is not None else None
        told = encode_words.scenes(used) if used is not None else ""
        page.datedSummary.setText(told or self._hint())
        self._show_questions()
        self._show_unrecognised()
        self.changed.emit()

    def _hint(self) -> str:
        if self._paths:
            return "\n".join(self._paths[:2])
        return self.tr(
            "Sentinel-2 L2A and terrain-corrected Sentinel-1 images of about a year: SAFE folders, "
            "downloads of a catalogue, or one file per date. Several folders can be added."
        )

    def _show_questions(self) -> None:
        found = self._found
        asked = found.questions if found is not None else ()
        for name, (label, combo) in self._questions.items():
            label.setVisible(name in asked)
            combo.setVisible(name in asked)
        page = self._page
        for widget in (page.bandsLabel, page.bandsEdit):
            widget.setVisible("bands" in asked)
        is_asked = any(name == "bands" or name in self._questions for name in asked)
        page.questionsFrame.setVisible(is_asked)

    def _show_unrecognised(self) -> None:
        tree = self._page.unrecognisedTree
        found = self._found.unrecognised if self._found is not None else ()
        tree.setVisible(bool(found))
        tree.clear()
        for each in found:
            item = QTreeWidgetItem([each.path, each.reason])
            item.setToolTip(0, each.path)
            item.setToolTip(1, each.reason)
            item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
            tree.addTopLevelItem(item)
        rows = min(len(found), MOST_ROWS)
        tree.setFixedHeight(tree.header().sizeHint().height() + rows * ROW_PX + 4)

    def _unanswered(self) -> str:
        """Return which question is still open; empty where none is."""
        open_ones = self._used.questions if self._used is not None else ()
        for name in open_ones:
            if name in self._questions:
                label = self._questions[name][0]
                return self.tr("Say what no file tells: “{}”").format(label.text())
            if name == "bands":
                return self.tr("Say which band of a file is which, or untick files without names.")
            if name == "dates":
                return self.tr("Give the missing dates in the table (YYYY-MM-DD), or untick them.")
        return ""


def _bands(written: str) -> Tuple[Tuple[str, int], ...]:
    """Return band names and numbers as they were written, `B02=1 B03=2`."""
    found = re.findall(r"(\w+)\s*[=:]\s*(\d+)", written)
    return tuple((name.upper(), int(number)) for name, number in found)
