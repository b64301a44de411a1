# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Changes of labels and classes as steps: done, taken back, brought back, several as one.

What changes few labels has been done when a call returns. What changes many is done on a thread, in
one transaction; until it is, nothing else can be changed, and all that is asked is as it was before.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Callable, Iterable, Iterator, Optional, Sequence, Tuple

from qgis.PyQt.QtCore import pyqtSignal

from ..errors import LabelsBusy, LabelsChanged, NotWritable
from ..progress import Report, part
from ..values import LabelChange, StoredClass
from .label_core import LabelCore
from .label_history import Step
from .label_rows import LabelRows, Pair
from .label_writing import LabelWriting

MANY = 500
"""Writing more labels than that would be felt, so it is done on the side."""

_PREPARED = 0.2
"""Share of the time of writing labels that it takes to make them."""


@dataclass(frozen=True)
class _Written:
    """A step that is in the file, and what is to be in memory after it."""

    step: Step
    rows: LabelRows
    next_class_id: int
    tables: Tuple[str, ...]


class LabelSteps(LabelCore):
    """Does what changes labels and classes, so that it can be taken back."""

    writing = pyqtSignal(bool)
    """Whether many labels are being written: nothing else can be changed meanwhile."""
    wrote = pyqtSignal(float)
    """Fraction of it that is written."""
    not_written = pyqtSignal(object)
    """The error for which it could not be written; nothing is other than before."""

    @property
    def is_writing(self) -> bool:
        """Whether many labels are being written."""
        return self._writing is not None

    def cancel_writing(self) -> None:
        """Leave nothing of what is being written behind, unless all of it is there already."""
        if self._writing is not None:
            self._writing.cancel()

    # --- undo

    @property
    def can_undo(self) -> bool:
        """Whether there is something to undo."""
        return self._history.last is not None and not self.is_writing

    @property
    def can_redo(self) -> bool:
        """Whether there is something to redo."""
        return self._history.next is not None and not self.is_writing

    @property
    def undo_text(self) -> str:
        """What undo takes back."""
        return self._history.last.text if self._history.last else ""

    @property
    def redo_text(self) -> str:
        """What redo brings back."""
        return self._history.next.text if self._history.next else ""

    def undo(self) -> None:
        """Take back the last step; one of many labels on the side. Raises: NotWritable.

        If somebody else wrote meanwhile, that is shown instead, as a step that can be taken back.
        """
        last = self._history.last
        if last is not None and not self._ready():
            size, done = len(last.change.labels), self._history.went_back
            self._bring(lambda: Step(last.text, last.change.inverse), size, lambda _: done())

    def redo(self) -> None:
        """Bring back the step that was taken back last, as `undo` does. Raises: NotWritable."""
        following = self._history.next
        if following is not None and not self._ready():
            size, done = len(following.change.labels), self._history.went_on
            self._bring(lambda: following, size, lambda _: done())

    @contextlib.contextmanager
    def one_step(self, text: str) -> Iterator[None]:
        """Make one step of undo, called `text`, and one transaction of all that is done inside.

        If it can't be written, or what is done inside raises, nothing is other than before.
        Raises: NotWritable.
        """
        self._ensure_file()
        next_class_id = self._next_class_id
        joined = self._joined = LabelChange(self._classes, self._classes)
        try:
            yield
            joined = self._joined
            if joined:
                try:
                    self._write(joined)
                except LabelsChanged:
                    self._forget_joined(next_class_id)
                    self._put(joined)
                    self._take(joined)
        except BaseException:
            if self._joined:
                self._forget_joined(next_class_id)
            raise
        finally:
            self._joined = None
        if joined:
            self._history.add(Step(text, joined))
            self._tell()

    # --- inside

    def _forget_joined(self, next_class_id: int) -> None:
        """Have in memory what was there before `one_step`."""
        if self._joined is not None:
            self._take(self._joined.inverse)
        self._joined = LabelChange(self._classes, self._classes)
        self._next_class_id = next_class_id

    def _do(
        self,
        text: str,
        labels: Sequence[Pair] = (),
        classes: Optional[Iterable[StoredClass]] = None,
        *,
        at_once: bool = False,
    ) -> None:
        """Make a change that is a step of undo; one that changes nothing is none."""
        after = self._classes if classes is None else tuple(classes)
        pairs = tuple(pair for pair in labels if pair[0] != pair[1])
        change = LabelChange(self._classes, after, pairs)
        if not change:
            return
        if self._joined is not None:
            self._take(change)
            self._joined = self._joined.then(change)
            self._next_class_id = self._free_class_id(change)
            return
        size = 0 if at_once else len(pairs)
        self._bring(lambda: Step(text, change), size, self._note)

    def _bring(self, make: Callable[[], Step], size: int, noted: Callable[[Step], None]) -> None:
        """Have a change of so many labels in the file, in memory, and `noted` in the history."""
        if size > MANY:
            writing = self._on_the_side(lambda _: make(), noted, is_anew=False)
            writing.failed.connect(self.not_written)
            writing.start()
            return
        step = make()
        self._put(step.change)
        self._take(step.change)
        noted(step)
        self._tell()

    def _note(self, step: Step) -> None:
        self._history.add(step)  # a file that is made meanwhile begins a new one

    def _put(self, change: LabelChange) -> None:
        """Bring a change into the file, which was just looked at, of what is in memory.

        Raises: NotWritable; LabelsChanged where somebody else was faster, which is taken over.
        """
        try:
            self._write(change)
        except LabelsChanged:
            if self._look():
                raise
            self._write(change)  # somebody had only brought the log in

    def _write(self, change: LabelChange) -> None:
        if self._file is None:
            raise NotWritable(self._path, "the file is gone")
        next_class_id = self._free_class_id(change)
        self._file.write(change, next_class_id)
        self._next_class_id = next_class_id
        self._rest.start()

    def _free_class_id(self, change: LabelChange) -> int:
        """Return an id greater than every one that was ever given, the change's too."""
        ids = (each.land_class.id for each in change.classes_after)
        return max([self._next_class_id, *(each + 1 for each in ids)])

    # --- many labels

    def _on_the_side(
        self,
        make: Callable[[Report], Step],
        noted: Callable[[Step], None],
        ready: Optional[Callable[[], object]] = None,
        *,
        is_anew: bool,
    ) -> LabelWriting:
        """Return what makes a change off the GUI thread, brings it into the file and into memory.

        `ready` is called before it is begun, and may raise what `_ready` does. Until it answers the
        file and all that is known of it belong to its thread, as nobody else here changes them. What
        somebody else changes before it is in the file is taken over, and the change made once more
        where `make` looks `is_anew` at what there is; else it fails with LabelsChanged.
        """

        def work(report: Report) -> _Written:
            step = make(part(report, 0.0, _PREPARED))
            change, file = step.change, self._file
            if file is None:
                raise NotWritable(self._path, "the file is gone")
            touched = {each.table for pair in change.labels for each in pair if each is not None}
            rows, next_class_id = self._rows.after(change.labels), self._free_class_id(change)
            step.weight_bytes  # noqa: B018 - it is known from now on
            file.write(change, next_class_id, part(report, _PREPARED, 1.0))
            return _Written(step, rows, next_class_id, tuple(sorted(touched)))

        def take(written: Optional[_Written]) -> None:
            self._writing = None
            if written is not None:
                self._next_class_id, self._rows = written.next_class_id, written.rows
                self._classes = written.step.change.classes_after
                self._layers.touch(written.tables)
                self._rest.start()
                noted(written.step)
                self._tell()
            self.writing.emit(False)
            self._catch_up()

        def begin(writing: LabelWriting) -> None:
            if ready is not None:
                ready()
            if self._joined is not None:
                raise LabelsBusy(self._path)
            self._writing = writing
            self.writing.emit(True)

        def again() -> bool:
            return not self._look() or is_anew

        writing = LabelWriting(begin, work, take, again, self)
        writing.told.connect(self.wrote)
        return writing

    def _catch_up(self) -> None:
        """Do what had to wait for the file."""
        self._layers.select(self._selected_ids())
        if self._is_edited:
            self._is_edited = False
            self._edited()
