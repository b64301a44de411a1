# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Step 3 of encoding: name, year and device, and what it will take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Sequence, Tuple

from qgis.PyQt.QtCore import QObject, Qt, QTimer, pyqtSignal
from qgis.PyQt.QtWidgets import QWidget

from ..errors import TesseraError
from ..tasks import encode_jobs, encode_lookups
from ..tasks.encode_jobs import EncodePlan
from ..tasks.encode_lookups import Estimated
from ..tasks.lookups import Lookup
from ..tasks.session import Session
from . import encode_words, messages

if TYPE_CHECKING:
    from ..engine.worker import Device

SETTLE_MS = 400
"""What is chosen must stand still for so long before a few pixels are tried."""


class StartPart(QObject):
    """Keeps name, year and device, and tries a few pixels when the plan is complete."""

    changed = pyqtSignal()

    def __init__(self, page: QWidget, session: Session) -> None:
        super().__init__(page)
        self._page, self._session = page, session
        self._plan: Optional[EncodePlan] = None
        self._asked: Optional[EncodePlan] = None
        self._is_told = False
        self._own_name = self._own_year = False
        self._lookup = Lookup(self)
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(SETTLE_MS)
        self._settle.timeout.connect(self._ask)
        page.encodePlaceValue.setText(str(encode_jobs.own_root()))
        page.sceneNameEdit.textEdited.connect(self._name_edited)
        page.sceneYearSpin.valueChanged.connect(self._year_edited)
        page.deviceCombo.currentIndexChanged.connect(lambda _: self.changed.emit())
        page.sceneYearSpin.setValue(session.settings.year)
        self._own_year = False
        self.show_devices(())
        self._tell("")

    # --- what others ask

    @property
    def name(self) -> str:
        """What the person calls the scene."""
        return str(self._page.sceneNameEdit.text()).strip()

    @property
    def year(self) -> int:
        """The year it is filed under."""
        return int(self._page.sceneYearSpin.value())

    @property
    def providers(self) -> Tuple[str, ...]:
        """What to compute on; none for the best that works."""
        chosen = self._page.deviceCombo.currentData()
        return (chosen,) if chosen else ()

    @property
    def problem(self) -> str:
        """What is to be done before this step is complete; empty where it is."""
        return "" if self.name else self.tr("Give the scene a name.")

    def propose(self, name: str, year: int) -> None:
        """Take over name and year of the inputs, where the person gave none."""
        page = self._page
        if not self._own_name and name and name != page.sceneNameEdit.text():
            page.sceneNameEdit.setText(name[: page.sceneNameEdit.maxLength()])
        if year and not self._own_year:
            page.sceneYearSpin.blockSignals(True)
            page.sceneYearSpin.setValue(year)
            page.sceneYearSpin.blockSignals(False)
        is_other = bool(year) and self.year != year
        page.sceneYearNote.setText(
            self.tr("most images are of {}").format(year) if is_other else ""
        )

    def show_devices(self, devices: Sequence[Device]) -> None:
        """Show what can be computed on, each with why it can't where it can't."""
        combo, chosen = self._page.deviceCombo, self._page.deviceCombo.currentData()
        combo.blockSignals(True)
        combo.clear()
        works = [each for each in devices if each.works]
        best = self.tr("The best that works")
        if works:
            best = self.tr("The best that works: {}").format(encode_words.device(works[0]))
        combo.addItem(best, "")
        for each in devices:
            if not each.id or (each.works and len(works) == 1):
                continue
            combo.addItem(encode_words.device(each), each.id)
            combo.setItemData(combo.count() - 1, each.reason, Qt.ItemDataRole.ToolTipRole)
            combo.model().item(combo.count() - 1).setEnabled(each.works)
        combo.setCurrentIndex(max(combo.findData(chosen), 0))
        combo.blockSignals(False)
        self.changed.emit()

    def plan_is(self, plan: Optional[EncodePlan], *, can_ask: bool) -> None:
        """Tell what a plan takes; nothing is asked while another job has the worker."""
        self._plan = plan
        if plan is None:
            self._forget(self.tr("Known when model and input are chosen."))
        elif plan != self._asked or not (self._is_told or self._lookup.is_busy):
            self._forget(self.tr("Trying a few pixels…"))
            if can_ask:
                self._settle.start()

    def give_way(self) -> None:
        """Ask nothing any more: a job needs the worker."""
        self._settle.stop()
        self._lookup.cancel()

    def close_down(self) -> None:
        """End what runs."""
        self._settle.stop()
        self._lookup.close()

    # --- inside

    def _name_edited(self, words: str) -> None:
        self._own_name = bool(words.strip())
        self.changed.emit()

    def _year_edited(self, *_: object) -> None:
        self._own_year = True
        self.changed.emit()

    def _forget(self, words: str) -> None:
        self._settle.stop()
        self._lookup.cancel()
        self._asked, self._is_told = None, False
        self._tell(words)

    def _ask(self) -> None:
        plan = self._plan
        if plan is None:
            return
        self._asked = plan
        try:
            task = encode_lookups.estimate(self._session, plan)
        except TesseraError as error:
            self._failed(error)
            return
        self._lookup.ask(task, self._answered, self._failed)

    def _answered(self, found: Estimated) -> None:
        self._is_told = True
        self._tell(encode_words.estimate(found))

    def _failed(self, error: Exception) -> None:
        self._is_told = True
        self._tell(messages.words(error))

    def _tell(self, words: str) -> None:
        self._page.estimateLabel.setText(words)
