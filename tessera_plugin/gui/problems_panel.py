# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Labels that need a look: how many, which, why, and what to do about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Dict, List, Optional, Sequence, Set, Tuple

from qgis.core import QgsApplication
from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import Qt, QTimer
from qgis.PyQt.QtGui import QHideEvent, QShowEvent
from qgis.PyQt.QtWidgets import QTreeWidgetItem, QWidget

from ..tasks import label_checks
from ..tasks.lookups import Lookup
from ..tasks.session import Session
from . import forms, messages, note, problem_words, sight, text, view
from .area_page import AreaPage
from .links import Links
from .problem_marks import ProblemMarks

if TYPE_CHECKING:
    from ..engine.label_problems import Checked, Problem

SETTLE_MS = 1000
"""The labels must stay as they are for so long before they are checked."""

MOST_ROWS = 100
"""So many labels of a kind are listed; of more, the first ones."""

ROW_PX = 20
_ROWS_SEEN = 3, 9

WAITING = "not_fetched"
"""The kind that is no mistake."""

_PROBLEM = Qt.ItemDataRole.UserRole
_KIND = Qt.ItemDataRole.UserRole + 1


class ProblemsPanel(QWidget):
    """Hidden while there is nothing to tell."""

    def __init__(
        self, iface: QgisInterface, session: Session, _area: AreaPage, parent: QWidget
    ) -> None:
        super().__init__(parent)
        forms.load("problems_panel", self)
        self._iface, self._session = iface, session
        self._problems: Tuple[Problem, ...] = ()
        self._all_compared, self._has_failed = True, False
        self._ignored: Set[Tuple[str, str]] = set()
        self._is_selecting = False
        self._links, self._lookup = Links(), Lookup(self)
        self._marks = ProblemMarks(iface.mapCanvas())
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(SETTLE_MS)
        self._settle.timeout.connect(self._check)
        self._following: Optional[Problem] = None
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(0)
        self._soon.timeout.connect(self._choose_following)
        self._checked_for = self._question()
        self._dress()
        self._connect()
        self.hide()

    @property
    def problems(self) -> Tuple[Problem, ...]:
        """What needs a look, without what is ignored."""
        return self._problems

    def close_down(self) -> None:
        """Let go of everything, and take the signs off the map."""
        self._links.close()
        self._settle.stop()
        self._soon.stop()
        self._lookup.close()
        self._marks.close_down()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._show_marks()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._show_marks()

    # --- making it

    def _dress(self) -> None:
        self.problemsPrevious.setArrowType(Qt.ArrowType.LeftArrow)
        self.problemsNext.setArrowType(Qt.ArrowType.RightArrow)
        self.problemsToggle.setArrowType(Qt.ArrowType.RightArrow)
        self.problemsDetails.hide()
        self.problemsTree.setHeaderHidden(True)
        self.problemsTree.setIndentation(14)
        self.problemDeleteButton.setIcon(QgsApplication.getThemeIcon("/mActionDeleteSelected.svg"))

    def _connect(self) -> None:
        store = self._session.labels
        self._links.connect(store.changed, self._settle.start)
        self._links.connect(self._session.settings_changed, self._settings_changed)
        self._links.connect(self._session.warm, self._settle.start)
        self._links.connect(self._session.box.ended, self._settle.start)  # much may be known now
        self.problemsToggle.toggled.connect(self._expand)
        self.problemsPrevious.clicked.connect(lambda _: self._step(-1))
        self.problemsNext.clicked.connect(lambda _: self._step(1))
        self.problemsTree.currentItemChanged.connect(lambda *_: self._chosen())
        self.problemDeleteButton.clicked.connect(lambda _: self._delete())
        self.problemYearButton.clicked.connect(lambda _: self._set_year())
        self.problemIgnoreButton.clicked.connect(lambda _: self._ignore())

    # --- checking

    def _question(self) -> Tuple[object, ...]:
        settings = self._session.settings
        return settings.dataset, settings.year, settings.depth, settings.archive, settings.cache_dir

    def _settings_changed(self) -> None:
        if self._question() != self._checked_for:
            self._checked_for = self._question()
            self._settle.start()

    def _check(self) -> None:
        if not self._session.is_warm:
            return  # it is checked when the engine is there
        if not self._session.labels.counts:
            self._lookup.cancel()
            self._all_compared, self._has_failed = True, False
            self._take(())
        else:
            self._lookup.ask(label_checks.check(self._session), self._checked, self._failed)

    def _checked(self, checked: Checked) -> None:
        problems = checked.problems
        self._all_compared, self._has_failed = checked.all_compared, False
        known = {(each.kind, each.key) for each in problems}
        self._ignored &= known  # a label that is mended and spoilt again is told again
        ignored = self._ignored
        self._take([e for e in problems if not ignored or (e.kind, e.key) not in ignored])

    def _failed(self, error: Exception) -> None:
        messages.log(error)
        self._all_compared, self._has_failed = True, True
        self._take(())

    def _take(self, problems: Sequence[Problem]) -> None:
        current, kind = self._current(), self._chosen_kind()
        self._problems = tuple(problems)
        self._fill(current, kind)
        serious = {each.key for each in problems if each.kind != WAITING}
        waiting = {each.key for each in problems if each.kind == WAITING}
        said = problem_words.headline(len(serious), len(waiting), all_compared=self._all_compared)
        self.problemsToggle.setText(problem_words.not_checked() if self._has_failed else said)
        is_whole = self._all_compared and not self._has_failed
        icon = note.WARNING if serious or not is_whole else note.INFO
        self.problemsIcon.setPixmap(
            QgsApplication.getThemeIcon(f"/{icon}").pixmap(note.ICON_PX, note.ICON_PX)
        )
        self.setVisible(bool(problems) or not is_whole)
        self._show_marks()
        self._enable()

    # --- what is seen

    def _fill(self, current: Optional[Problem], chosen_kind: str) -> None:
        """List the problems by kind; the one that was chosen, or the kind, stays chosen."""
        tree, year = self.problemsTree, self._session.settings.year
        names = {each.id: each.name for each in self._session.labels.classes}
        tree.blockSignals(True)
        tree.clear()
        groups: Dict[str, List[Problem]] = {}
        for each in self._problems:
            groups.setdefault(each.kind, []).append(each)
        for kind, found in groups.items():
            title = f"{problem_words.group(kind, year)} ({text.count(len(found))})"
            top = QTreeWidgetItem(tree, [title])
            top.setData(0, _KIND, kind)
            top.setToolTip(0, problem_words.advice(kind, year))
            if current is None and kind == chosen_kind:
                tree.setCurrentItem(top)
            for each in found[:MOST_ROWS]:
                row = QTreeWidgetItem(top, [problem_words.entry(each, names)])
                row.setData(0, _KIND, kind)
                row.setData(0, _PROBLEM, each)
                if current is not None and (each.kind, each.key) == (current.kind, current.key):
                    tree.setCurrentItem(row)
            if len(found) > MOST_ROWS:
                rest = self.tr("… and {} more").format(text.count(len(found) - MOST_ROWS))
                QTreeWidgetItem(top, [rest]).setFlags(Qt.ItemFlag.NoItemFlags)
            top.setExpanded(kind != WAITING)
        tree.blockSignals(False)
        rows = len(groups) + sum(len(found) for kind, found in groups.items() if kind != WAITING)
        seen = min(max(rows, _ROWS_SEEN[0]), _ROWS_SEEN[1])
        tree.setFixedHeight(seen * ROW_PX + 6)

    def _show_marks(self) -> None:
        shown: List[Problem] = []
        if self.isVisible():
            shown = [each for each in self._problems if each.kind != WAITING]
        places = list(dict.fromkeys((each.lon, each.lat) for each in shown))
        current = self._current()
        at = (current.lon, current.lat) if current is not None else None
        self._marks.show_at(places, places.index(at) if at in places else None)

    def _expand(self, on: bool) -> None:  # noqa: FBT001 - a Qt slot
        arrow = Qt.ArrowType.DownArrow if on else Qt.ArrowType.RightArrow
        self.problemsToggle.setArrowType(arrow)
        self.problemsDetails.setVisible(on)
        self._enable()
        if on:
            sight.bring(self)

    def _enable(self) -> None:
        chosen, kind = self._chosen_problems(), self._chosen_kind()
        many = len(chosen) > 1
        year = self._session.settings.year
        self.problemDeleteButton.setEnabled(bool(chosen))
        self.problemIgnoreButton.setEnabled(bool(chosen))
        self.problemDeleteButton.setText(
            self.tr("Delete {}").format(text.count(len(chosen))) if many else self.tr("Delete")
        )
        self.problemYearButton.setVisible(kind == "other_year")
        words = self.tr("Set {} to {}").format(text.count(len(chosen)), year) if many else ""
        self.problemYearButton.setText(words or self.tr("Set year to {}").format(year))
        advice = problem_words.advice(kind, year) if kind else ""
        self.problemsAdvice.setText(advice or self._general_advice())

    def _general_advice(self) -> str:
        if self._has_failed:
            return problem_words.not_checked_advice()
        lines = [] if self._all_compared else [problem_words.not_compared()]
        if self._problems:
            lines.append(self.tr("Choose a label of the list to see it on the map."))
        return "\n".join(lines)

    # --- what is chosen

    def _current(self) -> Optional[Problem]:
        item = self.problemsTree.currentItem()
        return item.data(0, _PROBLEM) if item is not None else None

    def _chosen_kind(self) -> str:
        item = self.problemsTree.currentItem()
        return (item.data(0, _KIND) or "") if item is not None else ""

    def _chosen_problems(self) -> List[Problem]:
        """Return the chosen problem, or all of the chosen kind."""
        current, kind = self._current(), self._chosen_kind()
        if current is not None:
            return [current]
        return [each for each in self._problems if each.kind == kind]

    def _chosen(self) -> None:
        """Select what was chosen, and bring it into view."""
        self._soon.stop()
        self._enable()
        sight.bring(self)  # the advice may have grown
        self._show_marks()
        current = self._current()
        store = self._session.labels
        if current is not None:
            store.select((current.key, *current.others))
            view.show_place(self._iface.mapCanvas(), store.geometry(current.key))
        else:
            store.select(tuple(each.key for each in self._chosen_problems()))

    def _step(self, by: int) -> None:
        """Choose the next problem, or the one before; mere waiting is passed over if it can be."""
        tree = self.problemsTree
        rows = [
            group.child(number)
            for group in (tree.topLevelItem(i) for i in range(tree.topLevelItemCount()))
            for number in range(group.childCount())
            if group.child(number).data(0, _PROBLEM) is not None
        ]
        rows = [each for each in rows if each.data(0, _KIND) != WAITING] or rows
        if not rows:
            return
        self.problemsToggle.setChecked(True)
        here = tree.currentItem()
        at = rows.index(here) + by if here in rows else (0 if by > 0 else -1)
        tree.setCurrentItem(rows[at % len(rows)])

    # --- what a person does

    def _delete(self) -> None:
        keys = [each.key for each in self._chosen_problems()]
        self._attempt(lambda: self._session.labels.remove_labels(keys))

    def _set_year(self) -> None:
        keys, year = [each.key for each in self._chosen_problems()], self._session.settings.year
        self._attempt(lambda: self._session.labels.edit_labels(keys, year=year))

    def _ignore(self) -> None:
        chosen = self._chosen_problems()
        self._ignored |= {(each.kind, each.key) for each in chosen}
        self._go_on(chosen)

    def _attempt(self, change: Callable[[], object]) -> None:
        chosen = self._chosen_problems()
        if messages.attempt(self._iface.messageBar(), lambda: (change(), True)):
            self._go_on(chosen)

    def _go_on(self, done: Sequence[Problem]) -> None:
        """Take what was dealt with off the list at once, and go to the next."""
        gone = {(each.kind, each.key) for each in done}
        order = [(each.kind, each.key) for each in self._problems]
        at = min((order.index(each) for each in gone if each in order), default=0)
        self._take([each for each in self._problems if (each.kind, each.key) not in gone])
        if self._problems and len(done) == 1:
            self._following = self._problems[min(at, len(self._problems) - 1)]
            self._soon.start()

    def _choose_following(self) -> None:
        """Go to the next problem, when the window has shown what became of the one before."""
        problem, tree = self._following, self.problemsTree
        for group in (tree.topLevelItem(i) for i in range(tree.topLevelItemCount())):
            for row in (group.child(number) for number in range(group.childCount())):
                if row.data(0, _PROBLEM) == problem:
                    tree.setCurrentItem(row)
