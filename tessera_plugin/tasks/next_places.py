# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Places to label next, as a question on the side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Sequence, Tuple

from qgis.PyQt.QtCore import QCoreApplication

from ..progress import Report
from ..values import Extent
from .base import EngineTask
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

    The state has a head.
    """
    from ..engine.next_places import NextRequest, next_places  # noqa: PLC0415 - light plugin load

    if state.head is None or state.samples is None:
        raise ValueError("there is no head to look for places with")
    request = NextRequest(
        state.head, state.samples, extent, session.access(), state.year, tuple(avoid),
        seed=session.settings.seed,
    )  # fmt: skip

    def work(report: Report) -> Tuple[Place, ...]:
        return next_places(request, cells, report)

    return EngineTask(QCoreApplication.translate("NextPlaces", "Looking for places"), work)
