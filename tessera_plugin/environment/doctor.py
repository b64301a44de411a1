# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is found when it is looked whether all of this works, and the report that can be sent on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, List, Optional

from ..errors import InterpreterUnusable, TesseraError
from . import interpreters, logs, state
from .places import Places
from .state import State

GOOD, BAD, NOTE = "good", "bad", "note"
"""It works, it does not, and it is as it is (such as an add-on that nobody installed)."""

LOG_CHARACTERS = 4000
"""Of each log, the end is in the report."""


@dataclass(frozen=True)
class Finding:
    """What was found of one thing that was looked at."""

    about: str
    """What was looked at; a later finding about the same takes the place of this one."""
    verdict: str
    """GOOD, BAD or NOTE."""
    words: str
    error: Optional[TesseraError] = None
    """Why it does not work."""


@dataclass(frozen=True)
class AddOnHealth:
    """What can be said of the private environment without loading what is in it."""

    state: State
    python: str
    """The Python that the worker runs with."""
    version: str
    """Its version, as it says itself; empty where it does not start."""
    problem: str
    """Why it does not start."""


def examine(places: Places, python: str) -> AddOnHealth:
    """Look at an environment and run its Python, isolated and for a moment."""
    found = state.state(places)
    if not Path(python).exists():
        return AddOnHealth(found, python, "", "")
    try:
        proved = interpreters.prove(python)
    except InterpreterUnusable as error:
        return AddOnHealth(found, python, "", error.reason)
    return AddOnHealth(found, python, ".".join(map(str, proved.version)), "")


def report(version: str, findings: Iterable[Finding], log_files: Iterable[Path]) -> str:
    """Return all that was found as plain text, with the ends of the logs; not scrubbed yet."""
    lines = [f"Tessera for QGIS {version}, {time.strftime('%Y-%m-%d %H:%M')}", ""]
    for each in findings:
        lines.append(f"[{each.verdict}] {each.about}: {each.words}")
        if each.error is not None:
            lines.append(f"    {type(each.error).__name__}: {each.error}")
    return "\n".join([*lines, *_ends(log_files)]) + "\n"


def _ends(log_files: Iterable[Path]) -> List[str]:
    told: List[str] = []
    for path in log_files:
        end = logs.tail(path)[-LOG_CHARACTERS:].strip()
        if end:
            told += ["", f"--- the end of {path.name}", end]
    return told
