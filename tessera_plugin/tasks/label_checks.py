# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is wrong with the labels, looked up on the side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgis.PyQt.QtCore import QCoreApplication

from ..progress import Report
from .base import EngineTask
from .session import Session

if TYPE_CHECKING:
    from ..engine.label_problems import Checked


def check(session: Session) -> EngineTask:
    """Return the task that checks all labels: gives `Checked`."""
    from ..engine import label_problems as engine  # noqa: PLC0415 - light plugin load

    labels = tuple(session.labels.labels())
    request = engine.CheckRequest(
        session.dataset.key, session.settings.year, session.access(), session.depth
    )

    def work(report: Report) -> Checked:
        return engine.check_cached(labels, request, report)

    return EngineTask(QCoreApplication.translate("LabelChecks", "Checking labels"), work)
