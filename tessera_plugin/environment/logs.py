# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The installation's log: bounded, and fit to be shown to others."""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path
from typing import Sequence

LIMIT_BYTES = 2_000_000
TAIL_BYTES = 64_000

_CREDENTIALS = re.compile(r"(\w[\w+.-]*://)[^/\s@]+@")


def heading(command: Sequence[str]) -> str:
    """Return the line that starts a program's part of the log; credentials are blanked."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"\n--- {stamp} {without_credentials(' '.join(command))}\n"


def note(log: Path, text: str) -> None:
    """Add a line of our own; a log that can't be written is no reason to stop."""
    with contextlib.suppress(OSError):
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as stream:
            stream.write(f"\n--- {time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")


def shorten(log: Path) -> None:
    """Keep only the last part of a log that has grown too long."""
    with contextlib.suppress(OSError):
        if log.stat().st_size > LIMIT_BYTES:
            log.write_bytes(log.read_bytes()[-LIMIT_BYTES // 2 :])


def tail(log: Path, start: int = 0) -> str:
    """Return what a log says from a position on, at most its last 64 KB."""
    try:
        with log.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(start, size - TAIL_BYTES))
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return ""


def without_credentials(text: str) -> str:
    """Return a text with the names and passwords in its addresses blanked."""
    return _CREDENTIALS.sub(r"\1…@", text)


def scrubbed(text: str, home: str, secrets: Sequence[str] = ()) -> str:
    """Return a text that can be shown to others: no home folder, no user name in it, no password."""
    told = without_credentials(text)
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        told = told.replace(secret, "…")
    if len(home.rstrip("/\\")) > 1:
        for spelling in {home, home.replace("\\", "/"), home.replace("\\", "\\\\")}:
            told = re.sub(re.escape(spelling.rstrip("/\\")), "~", told, flags=re.IGNORECASE)
    return told
