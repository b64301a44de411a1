# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The official client does the same job; runs in the Python that has geotessera and knows nothing of ours.

Reads what to do as JSON from stdin and prints what it was like.
"""

import json
import logging
import re
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from geotessera.store import CLIENT_OPTIONS, GeoTesseraZarr  # type: ignore[import-not-found]

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
CLIENT_OPTIONS["allow_http"] = True  # without it only https is let through


def memory(name):
    return int(re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024


def area(client, facts):
    """read_region of a zone's own accessor: exactly the pixels within bounds in the zone's CRS."""
    zone = client.open_zone(zone=facts["zone"])
    mosaic, _ = zone.tessera.read_region(facts["bounds"], facts["year"])
    return mosaic[:: facts["some"], :: facts["some"]]


def points(client, facts):
    return client.sample_points(facts["lonlat"], facts["year"])


def main():
    facts = json.loads(sys.stdin.read())
    job = {"area": area, "points": points}[facts["job"]]
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that of now
    before, began, cpu = memory("VmRSS"), time.perf_counter(), time.process_time()
    values = job(GeoTesseraZarr(facts["url"]), facts)
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    peak = memory("VmHWM") - before
    np.save(Path(facts["folder"]) / "some.npy", values)
    print(json.dumps({"seconds": seconds, "cpu_s": cpu_s, "mb": peak}))


if __name__ == "__main__":
    main()
