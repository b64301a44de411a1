# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether another kind of head would do better, and whether more labels would help."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Callable, Optional

from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import QHeaderView, QSizePolicy, QTableWidgetItem, QWidget

from ..errors import TesseraError
from ..tasks import head_jobs, train_jobs
from ..tasks.base import EngineTask
from ..tasks.head_jobs import Compared, Drawn
from ..tasks.session import Session
from . import add_on, forms, head_words, messages, note, text
from .accuracy_plot import AccuracyPlot
from .cell_keys import CellKeys
from .links import Links
from .matrix import SPARE_PX
from .note import Note
from .train_panel import TrainPanel

if TYPE_CHECKING:
    from ..engine.head_comparison import KindRow
    from ..engine.training import TrainRequest

SMALLER = 0.92
"""Five columns fit into a dock so."""

ACCURACY = 1
"""Column that takes the room that is left, and begins the reason why a kind was not tried."""

OURS = (train_jobs.INSTANT, train_jobs.MLP)


class ComparePanel(QWidget):
    """Asks for what the train panel has chosen, and tells what came of it."""

    def __init__(
        self, iface: QgisInterface, session: Session, train: TrainPanel, parent: QWidget
    ) -> None:
        super().__init__(parent)
        forms.load("compare_panel", self)
        self._iface, self._session, self._train = iface, session, train
        self._links = Links()
        self._found: Optional[Compared] = None
        self._could_train = False
        """Whether the add-on was there for the comparison that is shown."""
        self._note = Note("compareNote", self)
        self.compareNoteLayout.addWidget(self._note)
        self._note.acted.connect(train.add_on_wanted)
        self._plot = AccuracyPlot(self)
        self.plotLayout.addWidget(self._plot)
        table = self.kindsTable
        self._keys = CellKeys(table)
        table.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        font = table.font()
        font.setPointSizeF(SMALLER * font.pointSizeF())
        table.setFont(font)
        table.horizontalHeader().setFont(font)
        table.setWordWrap(False)  # why a kind was not tried is in the tool tip as well
        header = table.horizontalHeader()
        header.setMinimumSectionSize(24)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(ACCURACY, QHeaderView.ResizeMode.Stretch)
        for widget in (table, self.kindsSentence, self.curveSentence):
            widget.hide()
        table.cellClicked.connect(lambda row, _: self._row_clicked(row))
        self.kindsSentence.linkActivated.connect(lambda _: train.add_on_wanted.emit())
        self._links.connect(session.add_on.changed, self._tell_kinds)
        self.compareKindsButton.clicked.connect(lambda: self._prepare(self._compare))
        self.moreLabelsHelpButton.clicked.connect(lambda: self._prepare(self._draw))
        for signal in (session.box.started, session.box.ended, session.settings_changed):
            self._links.connect(signal, self._enable)
        self._enable()

    def close_down(self) -> None:
        """Let go of what lives longer than the panel."""
        self._links.close()

    # --- inside

    def _enable(self, *_: object) -> None:
        waits = messages.waits_for(self._session.box.running)
        kind = head_words.kind(train_jobs.kind(self._session))
        for button, told in (
            (
                self.compareKindsButton,
                self.tr(
                    "Test Instant, MLP, logistic regression, nearest neighbours and random forest "
                    "on the same parts of your labels"
                ),
            ),
            (
                self.moreLabelsHelpButton,
                self.tr(
                    "Train {} heads with fewer labels, several times each, and see where the "
                    "accuracy levels off"
                ).format(kind),
            ),
        ):
            button.setEnabled(not waits)
            button.setToolTip(waits or told)

    def _prepare(self, then: Callable[[TrainRequest], None]) -> None:
        self._note.say("")
        self._train.prepare(lambda: self._ask(then))

    def _ask(self, then: Callable[[TrainRequest], None]) -> None:
        try:
            then(self._train.request())
        except TesseraError as error:
            self._failed(error)

    def _start(self, task: EngineTask, done: Callable[..., None]) -> None:
        task.succeeded.connect(done)
        task.failed.connect(self._failed)
        task.cancelled.connect(lambda: self._note.say(self.tr("Stopped.")))
        self._session.box.start(task)

    def _failed(self, error: Exception) -> None:
        note.tell(self._note, self._iface.messageBar(), error)

    # --- kinds

    def _compare(self, wanted: TrainRequest) -> None:
        self._start(head_jobs.compare(self._session, wanted), self._compared)

    def _compared(self, found: Compared) -> None:
        self._found, self._could_train = found, self._session.compute.can_train
        table = self.kindsTable
        table.clearSpans()
        table.setRowCount(len(found.rows))
        best = found.reading.best if found.reading is not None else ""
        for index, row in enumerate(found.rows):
            self._fill(index, row, is_best=row.kind == best)
        table.resizeRowsToContents()
        height = table.horizontalHeader().sizeHint().height()
        height += sum(table.rowHeight(row) for row in range(table.rowCount()))
        table.setFixedHeight(height + SPARE_PX)
        table.show()
        self._tell_kinds()
        self.kindsSentence.show()

    def _tell_kinds(self) -> None:
        """Say what the table says, and what can be done now."""
        found = self._found
        if found is None:
            return
        tested = self.tr("Tested by {}, {}, {}.").format(
            head_words.scheme(found.folds.scheme),
            text.parts(len(found.folds.parts)),
            text.labels(found.labels),
        )
        told = escape(text.join((head_words.comparison(found.reading), tested)))
        self.kindsSentence.setText(text.join((told, self._hint(found))))

    def _hint(self, found: Compared) -> str:
        """Return what to do next, as HTML."""
        if not self._session.compute.can_train:
            return add_on.line(self._session.add_on)
        if not self._could_train:
            return escape(self.tr("The add-on is there now: compare again to try all kinds."))
        tried = [row.kind for row in found.rows if row.kind in OURS and row.validation is not None]
        if not tried:
            return ""
        names = self.tr(" or ").join(map(head_words.kind, tried))
        return escape(self.tr("Click {} to choose it.").format(names))

    def _fill(self, index: int, row: KindRow, *, is_best: bool) -> None:
        done = row.validation
        values = [head_words.short_kind(row.kind)]
        if done is None:
            values.append(self._missing(row))
            span = self.kindsTable.columnCount() - ACCURACY
            self.kindsTable.setSpan(index, ACCURACY, 1, span)
        else:
            values += [
                _spread(done.mean, done.spread),
                text.NONE if done.mean_f1 is None else text.decimal(done.mean_f1),
                text.NONE if done.calibration.ece_after is None
                else text.decimal(done.calibration.ece_after),
                text.seconds(done.seconds) if done.seconds >= 0.1 else text.seconds_exactly(done.seconds),
            ]  # fmt: skip
        for column, words in enumerate(values):
            item = QTableWidgetItem(words)
            item.setData(Qt.ItemDataRole.UserRole, row.kind)
            item.setToolTip(self._tip(row))
            if column and done is not None:
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            if done is None:
                item.setForeground(self.palette().placeholderText())
            font = self.kindsTable.font()
            font.setBold(is_best)
            item.setFont(font)
            self.kindsTable.setItem(index, column, item)

    def _tip(self, row: KindRow) -> str:
        if row.validation is None:
            return self._missing(row)
        return self._why_not(row.kind) or self.tr("Click to train heads of this kind")

    def _missing(self, row: KindRow) -> str:
        """Return why a kind was not tried."""
        if not self._session.compute.available():
            return self.tr("not tried: needs the add-on")
        if not self._session.compute.can_train:
            return self.tr("not tried: needs the training part of the add-on")
        return self.tr("not tried: {}").format(row.missing)

    def _row_clicked(self, row: int) -> None:
        item: Optional[QTableWidgetItem] = self.kindsTable.item(row, 0)
        kind = item.data(Qt.ItemDataRole.UserRole) if item is not None else ""
        problem = self._why_not(kind) if kind else ""
        if problem:
            action = self.tr("Add-on…") if kind in OURS else ""
            self._note.say(problem, note.WARNING, action)
        elif kind:
            self._session.update(head_kind=kind)
            self._note.say(self.tr("{} is chosen: click Train.").format(head_words.kind(kind)))

    def _why_not(self, kind: str) -> str:
        """Return why heads of a kind can't be trained; empty where they can."""
        if kind not in OURS:
            told = self.tr(
                "{} can't be chosen: it is for comparison only, to see what is possible."
            )
        elif kind == train_jobs.INSTANT or self._session.compute.can_train:
            return ""
        elif self._session.compute.available():
            told = self.tr("{} can't be chosen: it needs the training part of the add-on.")
        else:
            told = self.tr("{} can't be chosen: it needs the add-on.")
        return told.format(head_words.kind(kind))

    # --- labels

    def _draw(self, wanted: TrainRequest) -> None:
        self._start(head_jobs.learning_curve(self._session, wanted), self._drawn)

    def _drawn(self, found: Drawn) -> None:
        self._plot.show_curve(found.curve)
        tested = self.tr(
            "{} heads, tested by {}, all parts together; the band is the spread over {} draws."
        ).format(
            head_words.kind(found.curve.kind),
            head_words.scheme(found.folds.scheme),
            len(found.curve.points[-1].overall),
        )
        self.curveSentence.setText(f"{head_words.verdict(found.curve)} {tested}")
        self.curveSentence.show()


def _spread(mean: Optional[float], spread: Optional[float]) -> str:
    """Return an accuracy in percent, without the sign: five columns have little room."""
    if mean is None:
        return text.NONE
    told = text.decimal(100 * mean, 1)
    return told if spread is None else f"{told} ± {text.decimal(100 * spread, 1)}"
