# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How far an export is; the job's own report, or nobody's."""

from __future__ import annotations

from typing import Callable

Report = Callable[[float, str], None]
"""Told a fraction and what is being done; raises JobCancelled."""


def silent(fraction: float, message: str) -> None:
    """Tell nobody."""


def part(report: Report, start: float, end: float) -> Report:
    """Return a report of a step that is this part of the whole."""

    def told(fraction: float, message: str) -> None:
        report(start + fraction * (end - start), message)

    return told
