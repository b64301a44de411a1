# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Places to label next, as a question on the side."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Optional, Sequence, Tuple

from qgis.PyQt.QtCore import QCoreApplication

from ..progress import Report
from ..values import Extent
from . import snapshot
from .base import EngineTask
from .label_choice import LabelChoice
from .session import Session

if TYPE_CHECKING:
    from ..engine.instant_loop import LiveState
    from ..engine.places import Place
    from ..engine.view_cells import SomeCells


def find(
    session: Session,
    state: LiveState,
    extent: Extent,
    cells: Optional[SomeCells],
    avoid: Sequence[Tuple[float, float]],
) -> EngineTask:
    """Return the task that looks for places with the head of the live map: gives a tuple of `Place`.

    The state has a head. Near labels that are of its year none is looked for, learnt or not.
    """
    from ..engine.next_places import NextRequest, next_places  # noqa: PLC0415 - light plugin load

    if state.head is None or state.samples is None:
        raise ValueError("there is no head to look for places with")
    choice, store = LabelChoice.of(session), session.labels
    there = tuple(each for each in store.labels() if choice.year_of(each) == state.year)
    labels = snapshot.LabelsNow(store, there)
    request = NextRequest(
        state.head, state.samples, extent, session.access(), state.year, avoid=tuple(avoid),
        seed=session.settings.seed,
    )  # fmt: skip

    def work(report: Report) -> Tuple[Place, ...]:
        return next_places(replace(request, labels=labels()), cells, report)

    return EngineTask(QCoreApplication.translate("NextPlaces", "Looking for places"), work)
