# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a long run found, as rows of a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import List, Sequence


@dataclass
class Row:
    """One kind of trial over one form."""

    name: str
    trials: int = 0
    violations: List[str] = field(default_factory=list)
    seconds: float = 0.0
    remarks: str = ""

    def add(self, trial: str, problems: Sequence[str]) -> None:
        """Count a trial, and what was wrong with it."""
        self.trials += 1
        self.violations += [f"{trial}: {problem}" for problem in problems]


def told(rows: Sequence[Row]) -> str:
    """Return the table, and below it every violation."""
    width = max(len(row.name) for row in rows)
    lines = [f"{'':{width}}  trials  violations  seconds"]
    for row in rows:
        count = len(row.violations)
        line = f"{row.name:{width}}  {row.trials:6}  {count:10}  {row.seconds:7.0f}  {row.remarks}"
        lines.append(line.rstrip())
    lines += [f"VIOLATION {row.name}: {text}" for row in rows for text in row.violations]
    return "\n".join(lines)
