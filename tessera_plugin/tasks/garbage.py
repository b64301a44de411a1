# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Python's search for garbage, held back where it would be felt or do harm.

Of all that QGIS and its plugins hold it takes 50 to 100 ms, in which no other Python code runs.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import Iterator

DUE = 1.1
"""Python searches all when there is a quarter more than at the last time: this is on the way there."""

_known = 0


@contextmanager
def held_back() -> Iterator[None]:
    """Search for no garbage meanwhile, on no thread.

    Imports set a search off as a rule. On a thread that is not the GUI's it would delete there what
    others left: their widgets too.
    """
    is_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_on:
            gc.enable()


def collect() -> None:
    """Search now, as nobody is in the middle of anything: that puts off the next search of all."""
    global _known  # noqa: PLW0603 - of the whole process, as what it counts
    if gc.isenabled():
        gc.collect()
        _known = len(gc.get_objects())


def collect_if_due() -> None:
    """Search now, if Python would do so soon by itself, as after many imports."""
    if _known and len(gc.get_objects()) > DUE * _known:
        collect()
