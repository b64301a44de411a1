# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast a window comes out of the cache, in MB of codes and scales per second.

A window of 4000 x 4000 px is read in strips, with the files in the system's memory. The yardsticks
read the same files as they are, and the same pixels from one plain .npy, in the same run.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tessera_plugin.engine.cache import evict_over, usage
from tessera_plugin.engine.zones import strips
from tessera_plugin.io import cache as cache_module
from tessera_plugin.io.cache import BlockCache, Layout, Piece
from tessera_plugin.io.sources.blocks import read_blocks
from tessera_plugin.values import Window

EDGE, DEPTH = int(sys.argv[1]) if len(sys.argv) > 1 else 4000, 128
WINDOW = Window(30, -580_096 + 37, 60_032 + 51, EDGE, EDGE)
REPEATS = 3


def layout_of(block):
    return Layout(block, ("tile",), (("a", "b"),), (block,))


def fill(cache):
    random = np.random.default_rng(0)
    codes = random.integers(-127, 128, (128, 128, DEPTH), np.int8)
    scales = random.uniform(0.04, 0.08, (128, 128)).astype(np.float32)
    for block in WINDOW.whole_blocks():
        piece = Piece(block, codes, scales, np.ones((128, 128), bool))
        cache.add(layout_of(block), 0, [piece])


def read(cache):
    for strip in strips(WINDOW):
        yield read_blocks(cache, strip, DEPTH, layout_of)


def files(cache):
    for block in WINDOW.whole_blocks():
        yield cache.block_path(block).read_bytes()


def mapped(path):
    """The same strips out of one plain array, each copied as a reader has to."""
    codes = np.load(path, mmap_mode="r")
    for strip in strips(WINDOW):
        yield np.array(codes[strip.slices_in(WINDOW)])


def first(cache):
    cache_module._verified.clear()  # noqa: SLF001 - as in a new process
    return read(cache)


def timed(title, steps, size):
    best = float("inf")
    for _ in range(REPEATS):
        began = time.perf_counter()
        for _ in steps():
            pass
        best = min(best, time.perf_counter() - began)
    print(f"{title:<52}{best:>8.2f} s{size / best / 1e6:>9.0f} MB/s", flush=True)


def seconds(title, work):
    began = time.perf_counter()
    work()
    print(f"{title:<52}{time.perf_counter() - began:>8.3f} s", flush=True)


def main():
    folder = tempfile.mkdtemp()
    try:
        cache = BlockCache(folder, "http://bench", dataset="b", depth=DEPTH, form="npy", year=2024)
        seconds("writing the blocks", lambda: fill(cache))
        plain = Path(folder) / "plain.npy"
        np.save(plain, np.ones((*WINDOW.shape, DEPTH), np.int8))
        wanted = WINDOW.pixels * (DEPTH + 4)
        stored = sum(entry.bytes for entry in usage(folder).entries)
        print(f"{WINDOW.height} x {WINDOW.width} px: {wanted / 1e6:,.0f} MB wanted, "
              f"{stored / 1e6:,.0f} MB in the files")  # fmt: skip
        timed("yardstick: the files read as they are", lambda: files(cache), stored)
        timed("yardstick: one plain .npy, mapped and copied", lambda: mapped(plain), wanted)
        timed("first look of a process, every block verified", lambda: first(cache), wanted)
        timed("second look, verified before", lambda: read(cache), wanted)
        seconds("evict_over, never counted", lambda: evict_over(folder, 10**12))
        seconds("evict_over, under the limit", lambda: evict_over(folder, 10**12))
        seconds("usage", lambda: usage(folder))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
