# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""From the click of a label to the redrawn live map, in a real QGIS window, embeddings in the cache.

A map of 1000 x 800 screen pixels in the CRS of a zone, at 10 and at 50 m per screen pixel: a click
adds a point label, the instant head is trained, the view classified and painted. The clock runs from
before the mouse button goes down until the canvas has been painted with the new picture. Gaps are
those between ticks of 10 ms of the interface, the longest around each click, against the same with
nothing to do. 24 million pixels are fetched first (3 GB in a temporary folder).
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench._places import DATASET, SHARD, YEAR, ZONE
from bench._server import Server
from tessera_plugin.engine import embeddings
from tessera_plugin.values import PIXEL_M, Access, Extent, Window
from tools import build_zip, desktop

SIZE = 1000, 800
METRES = 10, 50
SPARE_PX = 150
DISPLAY = ["xvfb-run", "-a", "-s", "-screen 0 1600x1000x24"]


def area():
    """The pixels that the widest view shows, and a few more."""
    width, height = (size * max(METRES) // PIXEL_M + 2 * SPARE_PX for size in SIZE)
    return Window(ZONE, SHARD[0] + 500, SHARD[1] + 3000, height, width)


def fetch(url, folder):
    window = area()
    west, north = window.col * PIXEL_M, -window.row * PIXEL_M
    extent = Extent(west, north - window.height * PIXEL_M, west + window.width * PIXEL_M, north,
                    f"EPSG:{32600 + ZONE}")  # fmt: skip
    access = Access(str(folder), url, form="npy")
    began = time.perf_counter()
    result = embeddings.fetch(embeddings.FetchRequest(DATASET, YEAR, extent, access, 100_000_000))
    assert result.summary.valid_px >= window.pixels, result.summary
    print(f"fetched {window.pixels / 1e6:.0f} million pixels in "
          f"{time.perf_counter() - began:.0f} s", flush=True)  # fmt: skip


def tell(metres, told):
    clicks = sorted(told["click_ms"])
    p95 = clicks[min(len(clicks) - 1, round(0.95 * len(clicks)))]
    idle, busy = max(told["idle_gap_ms"]), max(told["gaps_ms"])
    print(f"{metres} m per screen pixel, {len(clicks)} clicks: median "
          f"{statistics.median(clicks):.0f} ms, 95th percentile {p95} ms, longest {clicks[-1]} ms; "
          f"of the loop {statistics.median(told['of_loop_ms']):.0f} ms, "
          f"of the click itself {statistics.median(told['in_click_ms']):.0f} ms, processor time of all "
          f"threads {statistics.median(told['cpu_ms']):.0f} ms")  # fmt: skip
    print(f"  longest gap {busy} ms (median {statistics.median(told['gaps_ms']):.0f}), idle {idle} ms "
          f"(median {statistics.median(told['idle_gap_ms']):.0f}); "
          f"first map of the view after {told['first_s']} s")  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clicks", type=int, default=40)
    parser.add_argument("--pictures", help="folder for pictures of the window")
    options = parser.parse_args()
    if not os.environ.get("DISPLAY"):
        command = [sys.executable, "-m", "bench.loop", *sys.argv[1:]]
        sys.exit(subprocess.run([*DISPLAY, *command], check=False).returncode)
    build_zip.build(build_zip.ROOT / "build" / "tessera.zip")
    window = area()
    middle = [
        PIXEL_M * (window.col + window.width / 2),
        -PIXEL_M * (window.row + window.height / 2),
    ]
    with tempfile.TemporaryDirectory() as temporary, Server() as server:
        folder = Path(temporary)
        cache = folder / "cache"
        fetch(server.url, cache)
        plan = {"size": SIZE, "metres": METRES, "clicks": options.clicks, "middle": middle,
                "crs": f"EPSG:{32600 + ZONE}", "pictures": options.pictures}  # fmt: skip
        settings = {"archive": server.url, "cache_dir": cache, "dataset": DATASET, "year": YEAR,
                    "form": "npy", "labels_path": folder / "labels.gpkg"}  # fmt: skip
        facts = desktop.perform(folder / "qgis", "loop.clicks", plan, settings)
        if "error" in facts:
            sys.exit(facts["error"])
        print(f"map of {facts['size'][0]} x {facts['size'][1]} screen pixels; {facts['told']}")
        for metres in METRES:
            tell(metres, facts[str(metres)])


if __name__ == "__main__":
    main()
