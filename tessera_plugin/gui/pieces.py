# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What has time is done in pieces between events, and at once where somebody wants it now."""

from __future__ import annotations

from typing import Any, Callable, Iterator, List, Optional

from qgis.PyQt.QtCore import QObject, Qt, QTimer, pyqtSignal
from qgis.PyQt.QtGui import QShowEvent
from qgis.PyQt.QtWidgets import QFrame, QScrollArea, QWidget

from . import letters

BETWEEN_MS = 5
"""So long, at least, other events have their turn."""


class Pieces(QObject):
    """Does works on the GUI thread, from one `yield` to the next at each turn of the event loop."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._works: List[Iterator[None]] = []
        self._is_at_it = False
        self._timer = QTimer(self)
        self._timer.setInterval(BETWEEN_MS)
        self._timer.timeout.connect(self._go_on)

    @property
    def is_busy(self) -> bool:
        """Whether something is left."""
        return bool(self._works)

    def add(self, work: Iterator[None]) -> None:
        """Do a work after those before it."""
        self._works.append(work)
        self._timer.start()

    def finish(self) -> None:
        """Do what is left, now; within a piece that lets events in, nothing."""
        while self._works and not self._is_at_it:
            self._go_on()

    def stop(self) -> None:
        """Leave what is not done."""
        self._works = []
        self._timer.stop()

    def _go_on(self) -> None:
        if self._is_at_it:  # a piece that opens a window lets events in
            return
        if not self._works:
            self._timer.stop()
            return
        work, is_left = self._works[0], False
        self._is_at_it = True
        try:
            is_left = next(work, self) is None
        finally:
            self._is_at_it = False
            if not is_left and self._works[:1] == [work]:  # done, or failed
                del self._works[0]


class LatePage(QScrollArea):
    """The place of a page that is made in pieces, or at once when it is asked for."""

    made = pyqtSignal()
    """The page is whole."""

    def __init__(self, begin: Callable[[], Any], wide_px: int, parent: QWidget) -> None:
        """`begin` gives a widget with `pieces`, the work that makes it whole, and `close_down`.

        It needs no more than `wide_px`.
        """
        super().__init__(parent)
        self._begin, self._wide_px = begin, wide_px
        self._page: Optional[Any] = None
        self._left: Iterator[None] = iter(())
        self.is_made = False
        """Whether the page is whole."""
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)

    @property
    def page(self) -> Any:  # noqa: ANN401 - whatever `begin` gives
        """The page, made now if it has not been."""
        for _ in self.pieces():
            pass
        return self._page

    def pieces(self) -> Iterator[None]:
        """Make what the page still lacks; whoever does it elsewhere meanwhile helps."""
        while not self.is_made:
            self._go_on()
            yield

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if self.is_made:  # groups fold when they are first seen: it needs less from now on
            letters.fit_page(self, self._wide_px)

    def close_down(self) -> None:
        """Close the page, as far as it was made."""
        if self._page is not None:
            self._page.close_down()

    def _go_on(self) -> None:
        if self._page is None:
            self._page = self._begin()
            self._left = self._page.pieces()
            return
        try:
            next(self._left)
        except StopIteration:
            self._put()

    def _put(self) -> None:
        self.is_made = True
        page: QWidget = self._page
        self.setWidget(page)
        page.show()
        letters.fit_page(self, self._wide_px)
        self.made.emit()
