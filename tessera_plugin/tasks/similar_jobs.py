# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Similar pixels as tasks: look at the view, grow the set as a slider moves, make labels of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Optional, Sequence, Tuple

from qgis.core import QgsGeometry
from qgis.PyQt.QtCore import QCoreApplication, QObject

from ..progress import Report
from ..values import Extent
from .base import EngineTask
from .lookups import Lookup, Slot
from .session import Session

if TYPE_CHECKING:
    from ..engine.similar_view import GrownSet, Growth, SimilarView

translate = QCoreApplication.translate

LonLat = Tuple[float, float]


def look(
    session: Session,
    extent: Extent,
    points: Sequence[LonLat],
    like: Optional[SimilarView] = None,
) -> EngineTask:
    """Return the task that tells how like some places everything in an extent is: `SimilarView`.

    From the cache only. With `like` the centre is that of an earlier look, so that one more
    reference changes nothing else.
    """
    from ..engine import similar_view  # noqa: PLC0415 - light plugin load

    request = similar_view.SimilarViewRequest(
        session.dataset.key, session.settings.year, extent, session.access(), tuple(points),
        session.depth,
    )  # fmt: skip

    centre = like.centre if like is not None else None

    def work(report: Report) -> SimilarView:
        return similar_view.similar_view(request, report, centre=centre)

    return EngineTask(translate("Lookups", "Looking for similar pixels"), work)


def is_same_place(view: SimilarView, session: Session, extent: Extent) -> bool:
    """Whether a look was at an extent of the embeddings that are chosen now."""
    was = view.request
    now = (session.dataset.key, session.settings.year, session.depth, extent)
    return (was.dataset, was.year, was.depth, was.extent) == now


def grow(view: SimilarView, growth: Growth) -> EngineTask:
    """Return the task that grows a set: gives `GrownSet`."""

    def work(report: Report) -> GrownSet:
        return view.grow(growth, report)

    return EngineTask(translate("Lookups", "Looking for similar pixels"), work)


def polygons(grown: GrownSet) -> EngineTask:
    """Return the task that draws around a set: gives polygons in degrees, a `QgsGeometry` each."""

    def work(report: Report) -> Tuple[QgsGeometry, ...]:
        found = []
        for wkb, _ in grown.outlines(report):
            geometry = QgsGeometry()
            geometry.fromWkb(wkb)
            found.append(geometry)
        return tuple(found)

    return EngineTask(translate("Lookups", "Drawing around similar pixels"), work)


class Following(QObject):
    """Answers a slider: what is being worked out is finished, of what waits the newest is next.

    (A `Lookup` gives up what is running: under a hand that never rests it would not answer at all.)
    """

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._lookup = Lookup(self)
        self._next: Optional[Tuple[Callable[[], EngineTask], Slot, Slot]] = None

    @property
    def is_busy(self) -> bool:
        """Whether an answer is to come."""
        return self._lookup.is_busy or self._next is not None

    def ask(self, make: Callable[[], EngineTask], answered: Slot, failed: Slot) -> None:
        """Ask what the task answers that `make` gives."""
        self._next = make, answered, failed
        if not self._lookup.is_busy:
            self._go_on()

    def cancel(self) -> None:
        """Ask nothing any more."""
        self._next = None
        self._lookup.cancel()

    def close(self) -> None:
        """Give up and wait: after this no code of ours runs."""
        self._next = None
        self._lookup.close()

    # --- inside

    def _go_on(self) -> None:
        if self._next is None:
            return
        (make, answered, failed), self._next = self._next, None
        task = make()
        self._lookup.ask(task, answered, failed)
        task.ended.connect(self._go_on)  # after the lookup has let go of it
