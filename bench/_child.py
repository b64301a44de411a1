# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""One job in a process of its own, so that its memory and what it has heard before are its own.

Reads what to do as JSON from stdin and prints what it was like.
"""

from __future__ import annotations

import contextlib
import json
import re
import struct
import sys
import time
from pathlib import Path

import numpy as np

from bench._places import DATASET, YEAR, bounds
from tessera_plugin.engine import embeddings, samples
from tessera_plugin.values import Access, Extent, LandClass, Window

LOOKS = 5


class Peak:
    """How much more memory than before was held at most, in MB, and the time it took.

    `cpu_s` is that of all threads of this process: unlike `seconds` it tells the same on a busy machine.
    """

    def __enter__(self):
        Path("/proc/self/clear_refs").write_text("5")  # the peak is that of now
        self._before = _memory("VmRSS")
        self._began, self._cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_):
        self.seconds = time.perf_counter() - self._began
        self.cpu_s = time.process_time() - self._cpu
        self.mb = (_memory("VmHWM") - self._before) / 1024

    def told(self):
        return {"seconds": self.seconds, "cpu_s": self.cpu_s, "mb": self.mb}


def _memory(name):
    return int(re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])


def area(url, form, window, folder, limit_px=50_000_000):
    """Fetch a window into an empty cache, and see that nothing more is fetched."""
    window = Window(*window)
    access = Access(folder, url, form=form)
    extent = Extent(*bounds(window), f"EPSG:{32600 + window.zone}")
    request = embeddings.FetchRequest(DATASET, YEAR, extent, access, limit_px)
    with Peak() as first:
        result = embeddings.fetch(request)
    assert result.windows == (window,), result.windows
    assert result.summary.failed == (), result.summary
    assert result.summary.valid_px == window.pixels
    with Peak() as again:
        told = embeddings.fetch(request).summary
    assert (told.bytes_fetched, told.cached_px) == (0, window.pixels), told
    return {**first.told(), "again_s": again.seconds, "connections": access.network.connections}


def look(url, form, window, folder, some):
    """Read a window that is in the cache, and its files as they are; the fastest of a few."""
    access = Access(folder, url, form=form, offline=True)
    paths = list(Path(folder).rglob("utm*/*.npy"))
    reads, files = [], []
    with contextlib.closing(embeddings.open_source(DATASET, YEAR, access)) as source:
        for _ in range(LOOKS):
            with Peak() as read:
                codes, scales = source.read(Window(*window))
            with Peak() as file:
                size = sum(len(path.read_bytes()) for path in paths)
            reads.append(read.seconds)
            files.append(file.seconds)
    values = embeddings.dequantise(codes[::some, ::some], scales[::some, ::some])
    np.save(Path(folder) / "some.npy", values)
    return {"read_s": min(reads), "files_gb_s": size / min(files) / 1e9}


def points(url, form, lonlat, folder):
    """Bring labelled points as training does: their pixels, the fetch, the matrix."""
    classes = tuple(LandClass(number, f"class {number}", "#808080") for number in (1, 2, 3, 4))
    items = tuple(
        samples.Label(struct.pack("<BIdd", 1, 1, lon, lat), number % 4 + 1, str(number))
        for number, (lon, lat) in enumerate(lonlat)
    )
    labels = samples.Labels("EPSG:4326", classes, items, "bench")
    access = Access(folder, url, form=form)
    with Peak() as whole:
        pixels = samples.label_pixels(labels, samples.SampleParams())
        with contextlib.closing(embeddings.open_source(DATASET, YEAR, access)) as source:
            summary = source.fetch(samples.windows_of_pixels(pixels))
            found = samples.collect(labels, source, samples.SampleParams(), pixels)
    assert summary.failed == ()
    values = np.full((len(lonlat), found.codes.shape[1]), np.nan, np.float32)
    values[found.groups] = embeddings.dequantise(found.codes, found.scales)
    np.save(Path(folder) / "some.npy", values)
    return {**whole.told(), "pixels": len(found)}


def main():
    facts = json.loads(sys.stdin.read())
    job = {"area": area, "look": look, "points": points}[facts.pop("job")]
    print(json.dumps(job(**facts)))


if __name__ == "__main__":
    main()
