# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Where to label next: one key goes to the most useful place and asks what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, Optional, Set, Tuple

from qgis.core import QgsGeometry, QgsPointXY, QgsProject
from qgis.gui import QgisInterface
from qgis.PyQt.QtWidgets import QGroupBox, QListWidgetItem, QWidget

from ..errors import TesseraError
from ..tasks import next_places
from ..tasks.lookups import Lookup
from ..tasks.session import Session
from . import forms, messages, sight, text, view_changes
from .answers import Answers
from .area_page import AreaPage
from .links import Links
from .live_panel import CLASSES_NEEDED, LivePanel
from .matrix import swatch
from .place_marker import PlaceMarker, bring_into_sight
from .tools.toolbar import LabelTools

if TYPE_CHECKING:
    from ..engine.instant_loop import LiveState
    from ..engine.places import Place
    from ..tasks.live_loop import Frame

CELLS = 20_000
"""Of a large view so many places in memory are looked at."""

TOOL = "labelToolButton"
ROWS_SHOWN = 4


class NextPanel(QGroupBox):
    """Suggests places, goes to one, asks for its class, and makes it a label."""

    def __init__(
        self,
        iface: QgisInterface,
        session: Session,
        area: AreaPage,
        *,
        tools: LabelTools,
        live: LivePanel,
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        forms.load("next_panel", self)
        self._iface, self._session, self._area, self._tools = iface, session, area, tools
        self._loop = live.loop
        self._lookup = Lookup(self)
        self._marker = PlaceMarker(iface.mapCanvas(), self)
        self._links = Links()
        self._places: Tuple[Place, ...] = ()
        self._asked: Optional[Place] = None
        self._skipped: Dict[Tuple[str, int], Set[Tuple[float, float]]] = {}
        """By dataset and year: what can't be told of one may be seen of another."""
        self._is_going_on = False
        self._answered_at = 0  # revision of the labels with the last answer
        self._is_stale = True
        self._is_map_read = True
        self._waits_for_map = False
        self._said = ""
        self._answers = Answers(self)
        self.answersLayout.addWidget(self._answers)
        row = self.nextList.fontMetrics().height() + 8
        self.nextList.setFixedHeight(ROWS_SHOWN * row)
        self._connect()
        live.switched_off.connect(self._stop_waiting)
        self._rest()

    @property
    def is_asking(self) -> bool:
        """Whether a place waits for its class: keys 1 to 9 are the answer."""
        return self._asked is not None

    def close_down(self) -> None:
        """Leave nothing on the map, and nothing running."""
        self._links.close()
        self._lookup.close()
        self._marker.close_down()

    # --- what the person does

    def go_on(self) -> None:
        """Go to the next place; one that was asked about without an answer is skipped."""
        if not self.nextPlaceButton.isEnabled():
            return
        if self._asked is not None:
            self._forget(self._asked)
        if self._is_stale or not self._places:
            self._look(at_once=self._waits_for_map)
        else:
            self._ask(self._places[0])

    def answer(self, number: int) -> None:
        """Label the place as the class with a number, 1 to 9."""
        classes = self._session.labels.classes
        if number <= len(classes):
            self._label(classes[number - 1].id)

    def _label(self, class_id: int) -> None:
        place, store = self._asked, self._session.labels
        if place is None:
            return
        point = QgsGeometry.fromPointXY(QgsPointXY(place.lon, place.lat))
        year = self._session.settings.year
        self._is_going_on = bool(self.nextGoOnCheck.isChecked())
        bar = self._iface.messageBar()
        if messages.attempt(bar, lambda: store.add_label(point, class_id, year)) is None:
            self._is_going_on = False
            return
        self._answered_at = store.revision
        self._drop(place)  # near a label nothing is suggested, as long as it is there
        self._rest()
        if not self._is_going_on:
            return
        if self._loop.is_running:
            self.nextState.setText(self.tr("Learning from it…"))
        else:
            self._stop_waiting()

    def _stop_waiting(self) -> None:
        """Go on without what the live map would tell: it is off, or has failed."""
        is_waiting = self._is_going_on or self._waits_for_map
        self._is_going_on = self._waits_for_map = False
        if not is_waiting or self._lookup.is_busy:
            return
        if self._places:
            self._ask(self._places[0])
        else:
            self._rest()

    def _clicked(self, item: QListWidgetItem) -> None:
        self._ask(self._places[self.nextList.row(item)])

    # --- looking

    def _look(self, *, at_once: bool = False) -> None:
        """Look for places, once the live map has read what is in sight; or without waiting for it."""
        state = self._loop.current
        if state is None or state.head is None:
            self._rest()
            return
        reads_map = self._loop.is_running and not self._is_map_read
        self._waits_for_map = reads_map and not at_once
        if self._waits_for_map:
            self.nextState.setText(self.tr("Reading what the map shows…"))
            return
        try:
            task = next_places.find(
                self._session,
                state,
                self._area.extent(),
                self._loop.view_cells(CELLS),
                sorted(self._skipped_here),
            )
        except TesseraError as error:
            self._failed(error)
            return
        self.nextState.setText(self.tr("Looking for places…"))
        self._lookup.ask(task, self._found, self._failed)

    def _found(self, places: Tuple[Place, ...]) -> None:
        self._is_stale = False
        self._show(places)
        if places:
            self._ask(places[0])
        else:
            self._rest(self.tr("There is no other place here that would help. Move the map."))

    def _failed(self, error: Exception) -> None:
        self._show(())
        if isinstance(error, TesseraError):
            self._rest(text.join(messages.explain(error)))
        else:
            self._rest()
            messages.show_error(self._iface.messageBar(), error)

    def _show(self, places: Tuple[Place, ...]) -> None:
        self._places = places
        self.nextList.clear()
        for number, place in enumerate(places, 1):
            item = QListWidgetItem(f"{number}  {self._title(place)}")
            item.setIcon(swatch(place.best.color))
            item.setToolTip(self._why(place))
            self.nextList.addItem(item)
        self.nextList.setVisible(bool(places))

    # --- asking

    def _ask(self, place: Place) -> None:
        self._asked = place
        canvas = self._iface.mapCanvas()
        bring_into_sight(canvas, place.lon, place.lat)
        self._marker.show(place.zone, place.row, place.col)
        self._tools.use(TOOL)
        canvas.setFocus()
        self.nextState.setText(
            text.join([self.tr("What is in the marked pixel?"), self._why(place)])
        )
        self._show_answers()
        self.nextList.setCurrentRow(self._places.index(place))
        sight.bring(self)

    def _forget(self, place: Place) -> None:
        """Don't suggest a place again."""
        self._skipped_here.add((place.lon, place.lat))
        self._drop(place)

    @property
    def _skipped_here(self) -> Set[Tuple[float, float]]:
        """The places of this dataset and year that the person has skipped."""
        here = self._session.dataset.key, self._session.settings.year
        return self._skipped.setdefault(here, set())

    def _drop(self, place: Place) -> None:
        self._show(tuple(each for each in self._places if each is not place))

    def _rest(self, told: str = "") -> None:
        """Ask nothing."""
        self._asked = None
        self._said = told
        self._marker.clear()
        self._show_answers()
        self.nextList.setVisible(bool(self._places))
        self._enable()

    def _show_answers(self) -> None:
        if self._asked is None:
            self._answers.withdraw()
        else:
            self._answers.offer(self._session.labels.classes)

    # --- words

    def _title(self, place: Place) -> str:
        if place.is_uncertain:
            told = self.tr("{} or {}?").format(place.best.name, place.second.name)
            return self.tr("{} · unlike any label").format(told) if place.is_novel else told
        if place.is_novel:
            return self.tr("unlike any label")
        return self.tr("{}, to be sure").format(place.best.name)

    def _why(self, place: Place) -> str:
        best, second = (
            text.percent(each) for each in (place.best_probability, place.second_probability)
        )
        told = []
        if place.is_uncertain:
            told.append(
                self.tr("It could be {} ({}) or {} ({}).").format(
                    place.best.name, best, place.second.name, second
                )
            )
        if place.is_novel:
            told.append(self.tr("It is unlike every label so far."))
        if not told:
            told.append(
                self.tr("The head holds it for {} ({}); it is far from all labels.").format(
                    place.best.name, best
                )
            )
        return text.join(told)

    # --- as things change

    def _connect(self) -> None:
        self.nextPlaceButton.clicked.connect(self.go_on)
        self.nextList.itemClicked.connect(self._clicked)
        self._answers.answered.connect(self._label)
        self._answers.skipped.connect(self.go_on)
        self._loop.updated.connect(self._learnt)
        self._loop.failed.connect(lambda _: self._stop_waiting())
        self._loop.drawn.connect(self._drawn)
        self._links.connect(self._session.labels.changed, self._labels_changed)
        self._links.connect(self._session.settings_changed, self._look_back)
        view_changes.follow(self._links, self._iface.mapCanvas(), self._moved)
        self._links.connect(QgsProject.instance().cleared, self._leave)
        self._tools.changed.connect(self._tool_changed)

    def _learnt(self, state: LiveState) -> None:
        self._is_stale = True
        self._enable()
        has_learnt = state.revision >= self._answered_at
        if self._is_going_on and has_learnt:
            self._is_going_on = False
            if state.head is None:  # the labels it had learnt from have gone meanwhile
                self._rest()
            else:
                self._look()

    def _labels_changed(self) -> None:
        self._is_stale = True
        self._look_back()
        if self._asked is not None:
            self._show_answers()

    def _look_back(self) -> None:
        """Ask no more about what is of another year, dataset or classes than there are now."""
        if self._loop.current is None:
            self._leave()
        else:
            self._enable()

    def _drawn(self, frame: Frame) -> None:
        self._is_map_read = frame.is_whole or frame.image is None
        if self._is_map_read and self._waits_for_map:
            self._look()

    def _moved(self) -> None:
        self._is_map_read = False
        # places are those of what the map shows; a move to one of them is no reason to look again
        if self._asked is None:
            self._is_stale = True

    def _tool_changed(self) -> None:
        """Esc, or another tool of QGIS: the person is done with it."""
        if self._asked is not None and not self._tools.is_active():
            self._leave()

    def _leave(self) -> None:
        self._is_going_on = self._waits_for_map = False
        self._lookup.cancel()
        self._show(())
        self._rest()

    def _enable(self) -> None:
        lack = self._lack()
        self.nextPlaceButton.setEnabled(not lack)
        about = self.tr("Go to the place where a label helps most, and say what is there")
        self.nextPlaceButton.setToolTip(lack or about)
        if self._asked is None and not self._is_going_on:
            intro = self.tr(
                "Goes to what is uncertain or unlike any label, and asks for its class."
            )
            self.nextState.setText(lack or self._said or intro)

    def _lack(self) -> str:
        """Return what is missing; empty where there is a head."""
        state = self._loop.current
        if state is not None:
            return "" if state.head is not None else self.tr("It needs labels of two classes.")
        if self._session.settings.live_map:
            return self.tr("It needs the live map: label two classes and show it.")
        if sum(1 for count in self._session.labels.counts.values() if count) < CLASSES_NEEDED:
            return self.tr("It needs the live map: label two classes and switch it on.")
        return self.tr(
            "The live map is off and has not learnt these labels in {}: switch it on."
        ).format(self._session.settings.year)
