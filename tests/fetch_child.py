# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A process that fetches a window into a cache, to be killed or to run beside others.

    python tests/fetch_child.py LOCATION CACHE DATASET YEAR FORM ZONE,ROW,COL,HEIGHT,WIDTH [USER]

It prints a line of JSON when it is done: `digest` of what it then reads from the cache, `failed`
(pairs of part and reason), `error` (what was raised, or empty), `requests`, `bytes`. With USER (a
number) it runs as that user, if it may, so that a folder can be read-only for it.
"""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def start(location, cache, window, *, dataset="1.1-cambridge", year=2024, form="zarr", user=None):
    """Start a process; see `told`."""
    numbers = (window.zone, window.row, window.col, window.height, window.width)
    arguments = [location, cache, dataset, year, form, ",".join(map(str, numbers))]
    arguments += [] if user is None else [user]
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def told(process, timeout=120):
    """Return what a process has said in the end."""
    out, _ = process.communicate(timeout=timeout)
    assert process.returncode == 0, out
    return json.loads(out.strip().splitlines()[-1])


def digest(codes, scales):
    """Return what tells arrays from others."""
    return hashlib.sha256(codes.tobytes() + scales.tobytes()).hexdigest()


def main(location, cache, key, year, form, window, user=None):
    """Do it."""
    sys.path.insert(0, str(ROOT))
    from tessera_plugin.engine import catalog
    from tessera_plugin.errors import TesseraError
    from tessera_plugin.io.sources.npy_tiles import NpyTiles
    from tessera_plugin.io.sources.zarr_store import ZarrStore
    from tessera_plugin.values import Access, NetworkSettings, Window

    if user is not None and hasattr(os, "setuid") and os.getuid() == 0:
        os.setuid(int(user))
    network = NetworkSettings(backoff_s=0.05, read_timeout_s=20)
    access = Access(cache, location, network=network)
    kind = {"zarr": ZarrStore, "npy": NpyTiles}[form]
    place = Window(*map(int, window.split(",")))
    source = kind(access, catalog.dataset(key), int(year))
    result = {"failed": [], "error": "", "requests": 0, "bytes": 0}
    with contextlib.closing(source):
        try:
            summary = source.fetch([place])
            result["failed"] = [[failure.part, failure.reason] for failure in summary.failed]
            result["requests"], result["bytes"] = summary.requests, summary.bytes_fetched
        except TesseraError as error:
            result["error"] = f"{type(error).__name__}: {error}"
        result["digest"] = digest(*source.read(place))
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
