# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a fetch of published tiles costs: bytes against the pixels' own, requests, seconds.

The baseline of the bytes is 132 per pixel (128 codes and a scale); that of the seconds is a plain
copy of the same bytes from the same server. The server is a process of its own.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests

from tessera_plugin.engine import catalog
from tessera_plugin.io.sources.npy_tiles import NpyTiles
from tessera_plugin.io.tiling import Tile
from tessera_plugin.values import Access, Window

ROOT = Path(__file__).resolve().parent.parent
AREAS = {
    "1000 x 1000, several tiles": Window(31, -579060, 30000, 1000, 1000),
    "300 x 300, in one tile": Window(31, -578700, 30300, 300, 300),
}


def source(url, folder):
    return NpyTiles(Access(folder, url), catalog.DATASETS[0], 2024)


def seconds(work):
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def plain_copy(url, size):
    """The yardstick: so many bytes of one tile by one connection, kept nowhere."""
    tile = Tile.parse("grid_0.15_52.15").name
    path = f"{url}/npy/{catalog.DATASETS[0].npy_dir}/2024/{tile}/{tile}.npy"
    left = size
    while left > 0:
        last = min(left, 100_000_000) - 1
        left -= len(requests.get(path, headers={"Range": f"bytes=0-{last}"}, timeout=60).content)


def measure(name, window, url):
    with tempfile.TemporaryDirectory() as folder:
        whole = [window]
        took, summary = seconds(lambda: source(url, folder).fetch(whole))
        again, _ = seconds(lambda: source(url, folder).fetch(whole))
        read, _ = seconds(lambda: source(url, folder).read(window))
    plain, _ = seconds(lambda: plain_copy(url, summary.bytes_fetched))
    over = summary.bytes_fetched / (window.pixels * 132)
    megabytes = summary.bytes_fetched / 1e6
    print(
        f"{name:<28}{megabytes:>8.1f}{over:>8.2f}{summary.requests:>9}{took:>8.2f}"
        f"{took / plain:>9.2f}{again:>8.2f}{read:>7.2f}"
    )


def main():
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.archive"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        url = server.stdout.readline().strip()
        print(
            f"{'window':<28}{'MB':>8}{'x least':>8}{'requests':>9}{'fetch s':>8}"
            f"{'x copy':>9}{'again s':>8}{'read s':>7}"
        )
        for name, window in AREAS.items():
            measure(name, window, url)
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
