# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How a head is tested, in a sentence each; spatial blocks are drawn on the map beforehand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Optional, Tuple

from qgis.gui import QgsMapCanvas
from qgis.PyQt.QtCore import QTimer, pyqtSignal
from qgis.PyQt.QtGui import QHideEvent, QShowEvent
from qgis.PyQt.QtWidgets import QSpinBox, QWidget

from ..errors import NetworkFailed, NoUsableLabels, TesseraError
from ..tasks import train_choices, train_jobs
from ..tasks.label_files import LabelFiles
from ..tasks.lookups import Lookup
from ..tasks.session import Session
from ..tasks.train_choices import FILE, SHARE, TestPlan
from ..tasks.train_jobs import BlockPlan
from ..values import PIXEL_M
from . import forms, label_file_dialog, messages, text
from .block_bands import BlockBands
from .form_rows import FormRows
from .learnt_panel import LearntPanel
from .links import Links

if TYPE_CHECKING:
    from ..engine.folds import Block

NOT_HERE = (NoUsableLabels, NetworkFailed)
"""Said of labels whose embeddings are not in the cache."""

SETTLE_MS = 400
"""Labels and options must stay as they are for so long before blocks are laid."""

ROWS = {
    SHARE: ("testShareSpin",),
    "random": ("foldsSpin",),
    "blocks": ("foldsSpin", "blockSpin"),
}
"""What can be set of a way to test."""

STEP_M = 100
MOST_M = 500_000


class BlockSpin(QSpinBox):
    """Metres; 0 is the size that is suggested, and the arrows start from there."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.suggested_m = 0
        self.setObjectName("blockSpin")
        self.setRange(0, MOST_M)
        self.setSingleStep(STEP_M)
        self.setSuffix(" m")
        self.setKeyboardTracking(False)
        self.suggest(0)

    def suggest(self, size_m: int) -> None:
        """Say which size is suggested; 0 where nobody knows yet."""
        self.suggested_m = size_m
        self.setSpecialValueText(
            self.tr("Suggested: {} m").format(text.count(size_m))
            if size_m
            else self.tr("Suggested")
        )

    def stepBy(self, steps: int) -> None:
        """Go up or down from the size that is in use."""
        if not self.value() and self.suggested_m:
            self.setValue(max(STEP_M, self.suggested_m + steps * STEP_M))
        else:
            super().stepBy(steps)


class ValidationPanel(QWidget):
    """Every change is remembered at once."""

    changed = pyqtSignal()

    def __init__(
        self,
        canvas: QgsMapCanvas,
        session: Session,
        files: LabelFiles,
        learnt: LearntPanel,
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        forms.load("validation_panel", self)
        self._session, self._files, self._learnt = session, files, learnt
        self._links = Links()
        self._lookup = Lookup(self)
        self._bands = BlockBands(canvas)
        self._plan: Optional[BlockPlan] = None
        self._put_away: Tuple[Block, ...] = ()
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(SETTLE_MS)
        self._settle.timeout.connect(self._lay)
        self.blockSpin = BlockSpin(self)
        self.blockSpin.setToolTip(self.tr("Edge of a block; 0 is the size that is suggested"))
        self.validationForm.addRow(self.tr("Block"), self.blockSpin)
        self._rows = FormRows(self.validationForm)
        self._dress()
        self._fill()
        self._connect()
        self._show()

    @property
    def problem(self) -> str:
        """Why a test of this kind is not possible, as far as that is known beforehand; or empty."""
        plan = train_jobs.test_plan(self._session)
        if plan.scheme == FILE and plan.file is None:
            return self.tr("Choose a file with labels for the test first.")
        if plan.scheme == "years" and len(self._learnt.years) < 2:
            return self.tr(
                "All labels are learnt in one year. Under “What is learnt”, take each label in its "
                "own year, or add labels of another year."
            )
        return ""

    def refresh(self) -> None:
        """Show it as things are now."""
        self._show()

    def put_blocks_away(self) -> None:
        """Take the blocks off a map that is finished; they come back as the test is changed.

        They belong to training, and would be taken for a part of the map.
        """
        self._put_away = self._plan.blocks if self._plan is not None else ()
        self._show_blocks()

    def bring_blocks_back(self) -> None:
        """Draw the blocks again: the person trains, or changes the test."""
        self._put_away = ()
        self._show_blocks()

    def close_down(self) -> None:
        """Let go of what lives longer than the panel."""
        self._links.close()
        self._settle.stop()
        self._lookup.close()
        self._bands.close_down()

    def showEvent(self, event: Optional[QShowEvent]) -> None:
        """Draw the blocks while one looks at the page."""
        super().showEvent(event)
        self._show()

    def hideEvent(self, event: Optional[QHideEvent]) -> None:
        """Take the blocks off the map while one does something else."""
        super().hideEvent(event)
        self._bands.show(())

    # --- choices

    def _dress(self) -> None:
        for scheme, name in (
            (SHARE, self.tr("Random: a share held out")),
            ("random", self.tr("Random: k-fold")),
            ("blocks", self.tr("Spatial blocks")),
            ("areas", self.tr("Leave one area out")),
            ("years", self.tr("One year against another")),
            (FILE, self.tr("Independent labels")),
        ):
            self.testCombo.addItem(name, scheme)

    def _fill(self) -> None:
        plan = train_jobs.test_plan(self._session)
        self.testCombo.setCurrentIndex(self.testCombo.findData(plan.scheme))
        self.testShareSpin.setValue(round(100 * self._session.settings.test_share))
        self.foldsSpin.setValue(plan.folds)
        self.blockSpin.setValue(plan.block_m)
        self.skipCheck.setChecked(plan.skip_untestable)

    def _connect(self) -> None:
        session = self._session
        self._links.connect(session.labels.changed, self._show)
        self._links.connect(session.settings_changed, self._show)
        self._links.connect(session.box.ended, self._show)  # a fetch may have ended
        self.testCombo.currentIndexChanged.connect(self._keep)
        self.foldsSpin.valueChanged.connect(self._keep)
        self.blockSpin.valueChanged.connect(self._keep)
        self.testShareSpin.valueChanged.connect(
            lambda value: session.update(test_share=value / 100)
        )
        self.skipCheck.toggled.connect(self._keep)
        self.showBlocksCheck.toggled.connect(lambda _: self.bring_blocks_back())
        self.testFileButton.clicked.connect(self._choose_file)

    def _keep(self, *_: object) -> None:
        size_m = self.blockSpin.value()
        plan = TestPlan(
            scheme=self.testCombo.currentData(),
            folds=self.foldsSpin.value(),
            block_m=max(STEP_M, size_m // PIXEL_M * PIXEL_M) if size_m else 0,
            skip_untestable=self.skipCheck.isChecked(),
            file=train_jobs.test_plan(self._session).file,
        )
        self._keep_plan(plan)

    def _keep_plan(self, plan: TestPlan) -> None:
        self._put_away = ()
        self._session.update(train_test=train_choices.to_text(plan))
        self._show()
        self.changed.emit()

    def _choose_file(self) -> None:
        intro = self.tr("Labels that are used for the test alone; they are never learnt.")
        file = label_file_dialog.ask(self._session, intro, self, has_area=False)
        if file is not None:
            self._keep_plan(replace(train_jobs.test_plan(self._session), file=file))
            self._files.want(train_jobs.files(self._session))

    # --- what is shown

    def _show(self) -> None:
        plan = train_jobs.test_plan(self._session)
        scheme = plan.scheme
        self._rows.show(("testCombo", *ROWS.get(scheme, ())))
        self.showBlocksCheck.setVisible(scheme == "blocks")
        self.skipCheck.setVisible(scheme not in (SHARE, FILE))
        self.testFilePath.setVisible(scheme == FILE)
        self.testFileButton.setVisible(scheme == FILE)
        if plan.file is not None:
            self.testFilePath.setText(Path(plan.file.path).name)
            self.testFilePath.setToolTip(plan.file.path)
        self.testNote.setText(self._answers()[scheme])
        if scheme == "blocks" and self.isVisible():
            self._settle.start()
            if self._plan is None:
                self.blockNote.setText(self.blockNote.text() or self.tr("Laying the blocks…"))
        else:
            self._settle.stop()
            self._lookup.cancel()
        self._show_blocks()

    def _answers(self) -> Dict[str, str]:
        """Return, by scheme, which question a test answers."""
        return {
            SHARE: self.tr(
                "How good is it close to my labels? Some are drawn and asked once. Quick, and too "
                "kind: neighbours look alike."
            ),
            "random": self.tr(
                "How good is it close to my labels, and how sure is that? Each label is asked once "
                "by a head that has not seen it. Still too kind: neighbours look alike."
            ),
            "blocks": self.tr(
                "How good is it between my labels? Whole blocks of ground are held out, so "
                "neighbours hardly help."
            ),
            "areas": self.tr(
                "How good is it in an area without labels? Each area is asked by what the others "
                "teach. Files under “What is learnt” are areas; else gaps of 10 km part them."
            ),
            "years": self.tr(
                "How good is it in a year without labels? Each year is asked by what the others "
                "teach."
            ),
            FILE: self.tr(
                "How good is it on labels that were made to test it? They are never learnt."
            ),
        }

    # --- blocks

    def _lay(self) -> None:
        """Lay blocks over the labels whose embeddings are here, on the side."""
        try:
            wanted = train_jobs.request(self._session, self._files)
        except TesseraError as error:
            self._not_laid(error)
            return
        self._lookup.ask(train_jobs.block_plan(wanted), self._laid, self._not_laid)

    def _laid(self, plan: BlockPlan) -> None:
        self._plan = plan
        self.blockSpin.suggest(plan.suggested_m)
        self._show_blocks()
        self.changed.emit()

    def _not_laid(self, error: Exception) -> None:
        self._plan = None
        self.blockSpin.suggest(0)
        self._show_blocks()
        if isinstance(error, NOT_HERE):
            told = self.tr("Blocks are laid once the embeddings of the labels are fetched.")
        elif isinstance(error, TesseraError):
            told = text.join(messages.explain(error))
        else:
            told = messages.words(error)
        self.blockNote.setText(told)
        self.changed.emit()

    def _show_blocks(self) -> None:
        is_wanted = self.testCombo.currentData() == "blocks"
        plan = self._plan if is_wanted else None
        blocks = plan.blocks if plan is not None and self.showBlocksCheck.isChecked() else ()
        is_away = bool(blocks) and blocks == self._put_away
        if plan is not None:
            self.blockNote.setText(self._told(plan, is_away=is_away))
        self.blockNote.setVisible(is_wanted)
        self._bands.show(blocks if self.isVisible() and not is_away else ())

    def _told(self, plan: BlockPlan, *, is_away: bool) -> str:
        if plan.problem is not None:  # of the labels that are in the cache: training may know more
            return text.join(messages.explain(plan.problem))
        told = self.tr("{} blocks of {} m in {} parts, a colour each.").format(
            text.count(len(plan.blocks)), text.count(plan.block_m), plan.parts
        )
        if plan.reach_m:
            why = self.tr("Labels are alike up to about {} m.").format(
                text.count(round(plan.reach_m))
            )
        else:
            why = self.tr("The nearest label is about {} m away.").format(
                text.count(round(plan.spacing_m))
            )
        away = self.tr("They are not drawn over the finished map: train again to see them.")
        return text.join((told, why, away if is_away else ""))
