# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The live map in a real QGIS window, embeddings in the cache: from a click, and from a new view.

A map of 1000 x 800 screen pixels in the CRS of a zone. A click adds a point label, the instant head
is trained, the view classified and painted: at 10 and at 50 m per screen pixel, from before the mouse
button goes down until the canvas has been painted with the new picture; with `--polygons 400` beside so
many labels that are squares of 20 x 20 pixels. A new view is zoomed out
tenfold to, or panned by half a screen, at 10, 50 and 100 m: until 95 % of the screen show something
(the coarse picture), and until all of it is as fine as it gets. Gaps are those between ticks of 10 ms
of the interface, the longest around each click or view, against the same with nothing to do. What is
fetched first takes 11 GB in a temporary folder (`--metres 10 50`: 3 GB), or one that is kept.
"""

import argparse
import json
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
"""Per screen pixel, where clicks are measured."""
VIEW_METRES = 10, 50, 100
SPARE_PX = 150
DISPLAY = ["xvfb-run", "-a", "-s", "-screen 0 1600x1000x24"]


def area(metres):
    """The pixels that a view shows, and a few more."""
    width, height = (size * metres // PIXEL_M + 2 * SPARE_PX for size in SIZE)
    return Window(ZONE, SHARD[0] + 500, SHARD[1] + 3000, height, width)


def bounds(window):
    """West, south, east and north in the CRS of the zone."""
    west, north = window.col * PIXEL_M, -window.row * PIXEL_M
    return west, north - window.height * PIXEL_M, west + window.width * PIXEL_M, north


def fetch(url, folder, window):
    extent = Extent(*bounds(window), f"EPSG:{32600 + ZONE}")
    access = Access(str(folder), url, form="npy")
    began = time.perf_counter()
    result = embeddings.fetch(embeddings.FetchRequest(DATASET, YEAR, extent, access, 100_000_000))
    assert result.summary.valid_px >= 0.999 * window.pixels, result.summary
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


def tell_views(metres, told):
    idle = told["idle_gap_ms"]
    for title, views in (("zoomed out to", told["zooms"]), ("panned by half at", told["pans"])):
        if views:
            first = views[0]
            seen, whole, gap = (_median(views, each) for each in ("seen_s", "whole_s", "gap_ms"))
            print(f"{title} {metres} m per screen pixel, {len(views)} views: coarse picture after "
                  f"{1000 * seen:.0f} ms, complete after {1000 * whole:.0f} ms (medians), at the latest "
                  f"{1000 * max(each['whole_s'] for each in views):.0f} ms; the first one "
                  f"{1000 * first['seen_s']:.0f} and {1000 * first['whole_s']:.0f} ms")  # fmt: skip
            print(f"  longest gap {max(each['gap_ms'] for each in views):.0f} ms (median {gap:.0f}), "
                  f"idle {max(idle)} ms (median {statistics.median(idle):.0f})")  # fmt: skip


def _median(views, name):
    return statistics.median(each[name] for each in views)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clicks", type=int, default=40)
    parser.add_argument("--polygons", type=int, default=0, help="labels that are there already")
    parser.add_argument("--views", type=int, default=20)
    parser.add_argument("--metres", type=int, nargs="+", default=VIEW_METRES)
    parser.add_argument("--pictures", help="folder for pictures of the window")
    parser.add_argument("--keep", help="folder of what is fetched; fetched once if it is there")
    options = parser.parse_args()
    if not os.environ.get("DISPLAY"):
        command = [sys.executable, "-m", "bench.loop", *sys.argv[1:]]
        sys.exit(subprocess.run([*DISPLAY, *command], check=False).returncode)
    build_zip.build(build_zip.ROOT / "build" / "tessera.zip")
    with tempfile.TemporaryDirectory() as temporary, Server() as server:
        measure(options, Path(temporary), server.url)


def measure(options, folder, url):
    cache = Path(options.keep or folder / "cache")
    kept = cache / "fetched.json"  # the server's address decides the folder in the cache
    if kept.exists():
        url, metres = json.loads(kept.read_text("utf-8"))
        window = area(metres)
    else:
        metres = max(options.metres)
        window = area(metres)
        fetch(url, cache, window)
        kept.write_text(json.dumps([url, metres]), "utf-8")
    west, south, east, north = bounds(window)
    plan = {"size": SIZE, "metres": METRES, "clicks": options.clicks, "views": options.views,
            "polygons": options.polygons,
            "middle": [(west + east) / 2, (south + north) / 2], "pictures": options.pictures,
            "fetched": [west, south, east, north], "crs": f"EPSG:{32600 + ZONE}"}  # fmt: skip
    settings = {"archive": url, "cache_dir": cache, "dataset": DATASET, "year": YEAR, "form": "npy"}
    if options.clicks:
        facts = performed(folder / "clicks", "loop.clicks", plan, settings)
        print(f"map of {facts['size'][0]} x {facts['size'][1]} screen pixels; {facts['told']}")
        for metres in METRES:
            tell(metres, facts[str(metres)])
    for metres in options.metres if options.views else ():
        plan["views_at"] = metres
        tell_views(metres, performed(folder / str(metres), "loop.views", plan, settings))


def performed(folder, scenario, plan, settings):
    labels = {"labels_path": folder / "labels.gpkg"}
    facts = desktop.perform(folder, scenario, plan, {**settings, **labels})
    if "error" in facts:
        sys.exit(facts["error"])
    return facts


if __name__ == "__main__":
    main()
