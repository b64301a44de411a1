# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The archive's server as a process of its own, whose line can be made slow between two measurements.

It is told what to do by lines of JSON; what it was asked for since the last time it tells the same way.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple, Optional

from bench._archive import BenchArchive
from tests.servers import RangeServer

ROOT = Path(__file__).resolve().parent.parent
CAPPED = 100e6 / 8
"""100 Mbit/s in bytes per second."""


class Line(NamedTuple):
    """What lies between the server and its clients."""

    latency_ms: int
    bandwidth: Optional[float]

    @property
    def title(self):
        speed = f"{self.bandwidth * 8 / 1e6:.0f} Mbit/s" if self.bandwidth else "no limit"
        return f"{self.latency_ms} ms, {speed}"


LINES = (Line(0, None), Line(50, CAPPED), Line(200, CAPPED))


class Request(NamedTuple):
    method: str
    path: str
    range: Optional[str]
    status: int
    bytes: int


class Server:
    """The process, seen from here."""

    def __enter__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench._server"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip
        self.url = json.loads(self._process.stdout.readline())
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait()

    def be(self, line):
        """Be behind such a line from now on, and forget what was asked."""
        self._ask({"latency_s": line.latency_ms / 1000, "bandwidth": line.bandwidth})
        self.taken()

    def taken(self):
        """Return what it was asked for since the last time."""
        return [Request(*one) for one in self._ask({})]

    def _ask(self, settings):
        self._process.stdin.write(json.dumps(settings) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def main():
    def say(what):
        print(json.dumps(what), flush=True)

    with RangeServer(BenchArchive()) as server:
        say(server.url)
        for line in sys.stdin:
            for name, value in json.loads(line).items():
                setattr(server, name, value)
            say([[e.method, e.path, e.range, e.status, e.bytes] for e in server.requests()])
            server.clear()


if __name__ == "__main__":
    main()
