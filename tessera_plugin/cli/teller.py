# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the command line says, and the exit status it ends with."""

from __future__ import annotations

import dataclasses
import json
import time
from types import FrameType
from typing import Any, Dict, Optional, Sequence, TextIO

from .. import errors
from ..progress import Cancelled

OK, FAILED, BAD_ARGUMENTS, PARTS_MISSING = 0, 1, 2, 3

_PROGRESS_STEP_S = 0.5


class BadArguments(Exception):  # noqa: N818 - it is said, not raised any further
    """Arguments that are each right but don't go together."""


class Teller:
    """Says progress and results, as text for people or as JSON lines for programs."""

    def __init__(self, *, as_json: bool, out: TextIO, err: TextIO) -> None:
        self.as_json, self._out, self._err = as_json, out, err
        self._stopped = False
        self._last = 0.0

    def stop(self, _signal: int, _frame: Optional[FrameType]) -> None:
        """Ask the work to end; it does so at its next report."""
        self._stopped = True

    def report(self, fraction: float, message: str = "") -> None:
        """Say how far the work is, not more than twice a second."""
        if self._stopped:
            raise Cancelled
        now = time.monotonic()
        if now - self._last < _PROGRESS_STEP_S and fraction < 1:
            return
        self._last = now
        if self.as_json:
            self._line({"type": "progress", "fraction": round(fraction, 4), "message": message})
        elif self._err.isatty():
            self._err.write(f"\r{100 * fraction:3.0f} %  {message:<60.60}")
            self._err.flush()

    def result(self, facts: Dict[str, Any], sentences: Sequence[str]) -> None:
        """Say what came out."""
        if self.as_json:
            self._line({"type": "result", **facts})
            return
        if self._err.isatty():
            self._err.write("\r" + " " * 70 + "\r")
        self._out.write("".join(f"{sentence}\n" for sentence in sentences))

    def listed(self, rows: Sequence[Dict[str, Any]], sentences: Sequence[str]) -> None:
        """Say a list that needed no work: as one JSON array, or as sentences."""
        if self.as_json:
            self._out.write(json.dumps(rows) + "\n")
        else:
            self.result({}, sentences)

    def error(self, error: BaseException) -> None:
        """Say what went wrong, with its facts."""
        if self.as_json:
            self._line({"type": "error", **error_facts(error)})
        else:
            self._err.write(f"{error or type(error).__name__}\n")

    def _line(self, facts: Dict[str, Any]) -> None:
        self._out.write(json.dumps(facts, default=str) + "\n")
        self._out.flush()


def error_facts(error: BaseException) -> Dict[str, Any]:
    """Return an error as JSON values."""
    facts = dataclasses.asdict(error) if isinstance(error, errors.TesseraError) else {}
    return {"error": type(error).__name__, "message": str(error), "facts": facts}
