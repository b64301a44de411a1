# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast chunks are unpacked: by this GDAL, and by the worker where GDAL can't (MB/s of pixels)."""

import os
import time
from pathlib import Path

import numpy as np

from bench._archive import BenchArchive
from tessera_plugin.compute.client import WorkerClient
from tessera_plugin.engine.unpack import by_worker
from tessera_plugin.io.zarr.decode import decode
from tessera_plugin.io.zarr.metadata import ChunkCodec
from tests.archive import zarr_shards

ROOT = Path(__file__).resolve().parent.parent
WORKER = os.environ.get(
    "TESSERA_WORKER_PYTHON", str(ROOT / "build" / "private" / "environment" / "bin" / "python")
)
CODEC = ChunkCodec("blosc", "zstd")
CHUNKS, ROUNDS = 256, 3


def chunks_of(values, edge, *, bits):
    """Pack CHUNKS chunks of so many pixels' edge, each another part of the values."""
    found = []
    for row in range(0, len(values) - edge + 1, edge):
        for col in range(0, len(values) - edge + 1, edge):
            part = values[row : row + edge, col : col + edge]
            found.append(zarr_shards.compress(part.transpose(2, 0, 1) if bits else part, bits=bits))
    size = edge * edge * values.dtype.itemsize * (values.shape[2] if bits else 1)
    times = max(CHUNKS * 32 * 32 // (len(found) * edge * edge), 1)
    return found * times, size


def rate(work, total):
    def once():
        began = time.perf_counter()
        _, damaged = work()
        assert not damaged.any()
        return total / (time.perf_counter() - began) / 1e6

    once()
    return float(np.median([once() for _ in range(ROUNDS)]))


def main():
    archive = BenchArchive()
    cases = {
        "embeddings, 32 x 32 px": chunks_of(archive.codes, 32, bits=True),
        "embeddings, 256 x 256 px": chunks_of(archive.codes, 256, bits=True),
        "scales, 32 x 32 px": chunks_of(archive.scales, 32, bits=False),
    }
    client = WorkerClient(WORKER)
    ask = by_worker(client)
    print(f"{'chunks':<28}{'packed to':>10}{'GDAL':>8}{'worker':>8}")
    for title, (chunks, size) in cases.items():
        total = len(chunks) * size
        share = sum(map(len, chunks)) / total
        here = rate(lambda: decode(chunks, CODEC, size), total)  # noqa: B023
        there = rate(lambda: ask(chunks, CODEC, size), total)  # noqa: B023
        print(f"{title:<28}{share:>10.2f}{here:>8.0f}{there:>8.0f}")
    client.stop()


if __name__ == "__main__":
    main()
