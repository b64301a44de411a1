# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The live map: after every label a head is trained and what the map shows is classified anew.

All that is needed again stays in memory: the embeddings of the view and of the labels' pixels, and
what each cell shows. A new label costs its own pixel, a training and one pass over the view; new
colours cost a look-up.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Callable, FrozenSet, Optional, Tuple, Union

import numpy as np

from ..errors import NoLabels, NoUsableLabels, TesseraError, TooFewLabels
from ..io.sources.base import EmbeddingSource
from ..progress import Report, silent
from ..values import Access
from .embeddings import open_source
from .heads.background import Background
from .heads.base import Head
from .label_pixels import PlacedLabels
from .label_values import KnownPixels
from .labels import Labels
from .live_colors import CLASSES, Argb, painted, palette
from .live_values import Scorer, scorer_of
from .samples import SampleParams, Samples, matrix_of
from .surroundings import Kept, background_of
from .train_params import TrainParams
from .training import fit_at_once
from .view_cells import ScreenView, SomeCells, ViewCells
from .view_reading import ViewReading
from .zone_cells import FIRST

CHUNK_PX = 16_384
"""Cells between two looks at whether something newer is wanted."""

DRAW_EVERY_S = 0.35
"""While embeddings are read, what came is drawn this often."""

_READ_TO_DRAW = 8
"""Reading has so much more time than drawing has."""

_PARAMS = TrainParams(kind="instant", test_share=0.0, calibrate=False)


@dataclass(frozen=True, eq=False)
class LoopRequest:
    """What is to be seen."""

    dataset: str
    """Key of the dataset."""
    depth: int
    year: int
    access: Access
    labels: Labels
    view: Optional[ScreenView]
    """None where the map shows no place."""
    mode: str = CLASSES
    """One of `live_colors.MODES`."""
    hidden: FrozenSet[int] = frozenset()
    """Ids of classes that are not drawn."""
    arrived: int = 0
    """Another number than before: the cache may have more."""
    revision: int = 0
    """Of the labels."""
    sampling: SampleParams = field(default_factory=SampleParams)
    focus: Optional[Tuple[float, float]] = None
    """The place of the view that is read first: from its left and its top, 0 to 1. Else its middle."""

    @property
    def place(self) -> Tuple[object, ...]:
        """What embeddings are read."""
        return self.dataset, self.depth, self.year, self.access


@dataclass(frozen=True, eq=False)
class LiveState:
    """The head that the labels give now, or why there is none."""

    head: Optional[Head]
    samples: Optional[Samples]
    dataset: str
    depth: int
    year: int
    revision: int
    """Of the labels that it is of."""
    labels: int
    """How many there are."""
    lack: Optional[TesseraError] = None
    """Why there is no head."""


@dataclass(frozen=True, eq=False)
class LivePicture:
    """What the map shows of a view."""

    view: ScreenView
    argb: Optional[Argb]
    """None where nothing can be shown."""
    is_whole: bool
    """Whether all of the view was looked at; else more comes."""
    has_gaps: bool
    """Whether embeddings of some of it are not fetched yet."""
    lack: Optional[TesseraError] = None
    """Why nothing can be shown."""


News = Union[LiveState, LivePicture]
Tell = Callable[[News], None]


Opener = Callable[[LoopRequest], EmbeddingSource]
"""Opens the source of a request. Raises: TesseraError."""


def _opened(request: LoopRequest) -> EmbeddingSource:
    """Return the source as it is in the cache: a live map asks nobody."""
    access = replace(request.access, offline=True)
    return open_source(request.dataset, request.year, access, request.depth)


class InstantLoop:
    """Keeps a live map up to date. For one thread; `some_cells` may be called from any."""

    def __init__(self, opener: Optional[Opener] = None) -> None:
        self._opener: Opener = opener or _opened
        self._place: Tuple[object, ...] = ()
        self._arrived = 0
        self._source: Optional[EmbeddingSource] = None
        self._cells = ViewCells(0)
        self._view: Optional[ScreenView] = None
        self._view_lack: Optional[TesseraError] = None
        self._placed = PlacedLabels()
        self._known = KnownPixels()
        self._around: Kept = {}
        """What was read of the blocks around labels."""
        self._ground: Optional[Tuple[bytes, Optional[Background]]] = None
        """Those blocks, and what they tell."""
        self._labels: Optional[Labels] = None
        self._sampling = SampleParams()
        self._state: Optional[LiveState] = None
        self._is_told = False
        self._scorer: Optional[Scorer] = None
        self._is_scored = False
        """Whether all cells that are read show what the scorer says."""

    def update(self, request: LoopRequest, tell: Tell, report: Report = silent) -> None:
        """Do what a request needs and tell of it: pictures, and once for each training a state.

        `report` is called often; what it raises ends the work, and the next request does what was
        not done. Raises: Cancelled.
        """
        self._open(request)
        state = self._learnt(request, report)
        self._look(request.view)
        scorer = self._chosen(state, request.mode)
        if scorer is None or request.view is None or self._view_lack is not None:
            self._draw_nothing(request, tell)
        else:
            self._score_all(scorer, report)
            self._draw(request, state, tell, is_whole=self._cells.is_read())
        if not self._is_told:
            tell(state)  # may raise: then it is told with the next request
            self._is_told = True
        if request.labels.classes and self._view_lack is None and self._source is not None:
            self._read(self._source, request, state, tell, report)

    def some_cells(self, count: int, seed: int = 0) -> Optional[SomeCells]:
        """Return a seeded choice of the view's valid embeddings that are in memory."""
        return self._cells.some(count, seed)

    def close(self) -> None:
        """Let go of everything."""
        source, self._source = self._source, None
        if source is not None:
            source.close()
        self._place, self._view, self._labels = (), None, None
        self._placed = PlacedLabels()
        self._cells.look(None)

    # --- the source

    def _open(self, request: LoopRequest) -> None:
        """Open the source of a request, anew where the cache may have more."""
        is_same = self._place == request.place
        if is_same and self._arrived == request.arrived:
            return
        before, self._source = self._source, None
        if before is not None:
            before.close()
        lack: Optional[TesseraError] = None
        try:
            self._source = self._opener(request)
        except TesseraError as error:
            lack = error
        after = self._source
        forms = (each.form if each else "" for each in (before, after))
        if not is_same or len(set(forms)) > 1:
            self._cells.look(None)
            self._cells, self._view = ViewCells(request.depth), None
            self._known.clear()
        self._cells.ask_again()
        self._known.forget_missing()
        self._around.clear()
        self._ground = None
        self._labels, self._state = None, _state(request, lack=lack)
        self._place, self._arrived = request.place, request.arrived

    # --- the head

    def _learnt(self, request: LoopRequest, report: Report) -> LiveState:
        """Return the state that the labels give, trained anew where they are others than before."""
        labels, before, state = request.labels, self._labels, self._state
        is_same = self._sampling == request.sampling
        if is_same and before is not None and state is not None and before.items == labels.items:
            if before.classes != labels.classes or state.revision != request.revision:
                self._labels, self._state = labels, _renamed(state, request)
                self._is_told = False
            return self._state or state
        if self._source is None:
            lack = state.lack if state else None
            self._state = _state(request, lack=lack)
        else:
            self._state = self._trained(self._source, request, report)
        self._labels, self._sampling, self._is_told = labels, request.sampling, False
        return self._state

    def _trained(self, source: EmbeddingSource, request: LoopRequest, report: Report) -> LiveState:
        samples: Optional[Samples] = None
        try:
            pixels = self._placed.pixels(request.labels, request.sampling, report)
            values = self._known.values(pixels, source, report)
            samples = matrix_of(request.labels, pixels, values, request.dataset, request.year)
            samples = replace(samples, background=self._background(source, samples, report))
            head = fit_at_once(samples, _PARAMS, report)
        except (NoLabels, NoUsableLabels, TooFewLabels) as error:
            return _state(request, samples=samples, lack=error)
        return _state(request, head, samples)

    def _background(
        self, source: EmbeddingSource, samples: Samples, report: Report
    ) -> Optional[Background]:
        """Return what `background_of` gives: the same as long as labels lie in the same blocks."""
        key = np.unique(samples.blocks).tobytes()
        if self._ground is None or self._ground[0] != key:
            self._ground = key, background_of(source, samples, report, kept=self._around)
        return self._ground[1]

    def _chosen(self, state: LiveState, mode: str) -> Optional[Scorer]:
        """Return what gives cells their values, the same one as long as nothing changes."""
        if state.head is None or state.samples is None:
            self._scorer = None
        elif self._scorer is None or not self._scorer.is_of(state.head, mode):
            self._scorer = scorer_of(state.head, state.samples, mode)
            self._is_scored = False
        return self._scorer

    # --- the cells

    def _look(self, view: Optional[ScreenView]) -> None:
        if view == self._view:
            return
        self._view, self._view_lack = None, None
        try:
            self._cells.look(view)
        except TesseraError as error:
            self._cells.look(None)
            self._view_lack = error
        self._view = view

    def _score_all(self, scorer: Scorer, report: Report) -> None:
        """Give all cells their values, where that was not done by this scorer."""
        if self._is_scored:
            return
        for cells in self._cells.zones.values():
            codes = cells.codes.reshape(-1, self._cells.depth)
            scales, shown = cells.scales.reshape(-1), cells.shown.reshape(-1)
            valid = cells.valid.reshape(-1)
            for start in range(0, len(codes), CHUNK_PX):
                report(start / len(codes), "classify")
                chunk = slice(start, start + CHUNK_PX)
                if valid[chunk].any():
                    values = scorer(codes[chunk], scales[chunk])
                    np.copyto(shown[chunk], values + np.uint16(FIRST), where=valid[chunk])
        self._cells.forget_guesses()
        self._cells.guess()
        self._is_scored = True

    def _read(
        self,
        source: EmbeddingSource,
        request: LoopRequest,
        state: LiveState,
        tell: Tell,
        report: Report,
    ) -> None:
        """Read what is missing of the view and draw as it comes: first a few cells of all of it."""
        reading = ViewReading(source, self._cells, self._scorer)
        due_s = time.monotonic() + DRAW_EVERY_S

        def draw(*, is_whole: bool = False) -> None:
            nonlocal due_s
            began_s = time.monotonic()
            if not is_whole:
                self._cells.guess()
            self._draw(request, state, tell, is_whole=is_whole)
            now_s = time.monotonic()
            due_s = now_s + max(DRAW_EVERY_S, _READ_TO_DRAW * (now_s - began_s))

        def tick() -> None:
            report(0.0, "read")
            if time.monotonic() > due_s:
                draw()

        some = self._cells.unread_some(request.focus)
        if some:
            reading.read(some, tick)
            draw()
        wanted = self._cells.unread(request.focus)
        if wanted:
            reading.read(wanted, tick)
            draw(is_whole=True)

    # --- the picture

    def _draw(
        self, request: LoopRequest, state: LiveState, tell: Tell, *, is_whole: bool = True
    ) -> None:
        if state.head is None or request.view is None:
            return
        shown = self._cells.on_screen()
        colors = palette(request.mode, state.head.classes, request.labels.classes, request.hidden)
        argb, has_gaps = painted(shown, colors)
        tell(LivePicture(request.view, argb, is_whole, has_gaps))

    def _draw_nothing(self, request: LoopRequest, tell: Tell) -> None:
        if request.view is not None:
            tell(LivePicture(request.view, None, True, False, self._view_lack))


def _state(
    request: LoopRequest,
    head: Optional[Head] = None,
    samples: Optional[Samples] = None,
    lack: Optional[TesseraError] = None,
) -> LiveState:
    return LiveState(head, samples, request.dataset, request.depth, request.year,
                     request.revision, len(request.labels.items), lack)  # fmt: skip


def _renamed(state: LiveState, request: LoopRequest) -> LiveState:
    """Return the state with the classes' names and colours as they are now."""
    now = {each.id: each for each in request.labels.classes}
    head, samples = state.head, state.samples
    if head is not None:
        head = replace(head, classes=tuple(now.get(each.id, each) for each in head.classes))
    if samples is not None:
        samples = replace(samples, classes=request.labels.classes)
    return replace(state, head=head, samples=samples, revision=request.revision)
