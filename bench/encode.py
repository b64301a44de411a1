# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast scenes are encoded, and in how much memory: `python -m bench.encode [--sizes nano,small]`.

Random weights of the published sizes; the same weights, observations and batches for all ways:

- torch: the network of stock layers, over ready batches (the baseline)
- raw: ONNX Runtime with the exported file, over ready batches
- encode: our job in the worker, from the files of a scene to blocks on the disk

Ways take turns, and of the rounds the fastest counts. `px/cpu s` is per second of processor time,
which tells the same on a machine that others use too.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench.predict import ROOT, WORKER
from tessera_plugin.compute.client import WorkerClient
from tessera_plugin.errors import WorkerFailed

SIZES = {
    "nano": ({"latent": 36, "layers": 2, "heads": 4, "feedforward": 384}, 4096, 64),
    "small": ({"latent": 64, "layers": 4, "heads": 4, "feedforward": 1024}, 1024, 32),
    "medium": ({"latent": 110, "layers": 4, "heads": 4, "feedforward": 1792}, 576, 16),
    "large": ({"latent": 160, "layers": 4, "heads": 4, "feedforward": 2560}, 256, 8),
}
"""Shape of a network, how many pixels are encoded, and how many of them at a time: about as many as
the job chooses by itself. The same for all ways."""

DATES = (73, 30, 30)
"""Of Sentinel-2 and both orbits of Sentinel-1 in a year; of the first about half is clear."""

SCENES = (256, 1024)
"""Rows and columns of the scenes that memory is measured with."""


def scene(folder, edge, rng):
    """Write a d-pixel folder: 33 to 48 clear dates a pixel, three quarters of them up to 40."""
    t2, ta, td = DATES
    clear = np.where(rng.random((edge, edge)) < 0.75, 33, 41) + rng.integers(0, 8, (edge, edge))
    order = rng.random((t2, edge, edge)).argsort(axis=0)
    arrays = {
        "bands": rng.integers(300, 6000, (t2, edge, edge, 10)).astype(np.uint16),
        "masks": (order < clear).astype(np.uint8),
        "doys": np.linspace(1, 365, t2).astype(np.uint16),
    }
    for name, dates in (("sar_ascending", ta), ("sar_descending", td)):
        arrays[name] = rng.integers(2000, 7000, (dates, edge, edge, 2)).astype(np.int16)
        arrays[f"{name}_doy"] = np.linspace(3, 363, dates).astype(np.int16)
    return written(folder, arrays)


def written(folder, arrays):
    folder.mkdir()
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def sparse_scene(folder, edge, some):
    """Write a scene of full size that takes little of the disk: all cloud but for some pixels."""
    t2, ta, td = DATES
    small = {"doys": np.linspace(1, 365, t2).astype(np.uint16)}
    for name, dates in (("sar_ascending", ta), ("sar_descending", td)):
        small[f"{name}_doy"] = np.linspace(3, 363, dates).astype(np.int16)
    written(folder, small)
    rows = np.linspace(0, edge - 1, some).astype(int)
    shapes = {
        "bands": (t2, 10),
        "masks": (t2,),
        "sar_ascending": (ta, 2),
        "sar_descending": (td, 2),
    }
    kinds = {"bands": np.uint16, "masks": np.uint8}
    for name, (dates, *channels) in shapes.items():
        array = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", kinds.get(name, np.int16),
                                          (dates, edge, edge, *channels))  # fmt: skip
        array[:, rows, rows] = 1 if name == "masks" else 3000
    return folder


class Child:
    """The other ways, in a process of their own."""

    def __init__(self):
        # spinning threads are slow on a machine that others use too
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
        self._process = subprocess.Popen([WORKER, "-m", "bench._encode_child"], cwd=ROOT, text=True,
                                         env=environment,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip

    def do(self, job, **facts):
        self._process.stdin.write(json.dumps({"job": job, **facts}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self):
        self._process.stdin.close()
        self._process.wait()


def of_process(pid, name):
    """Return a value of /proc/PID/status in MB."""
    return int(re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def cpu_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


class Encoding:
    """Our job, over and over."""

    def __init__(self, client, folder):
        self._client, self._folder, self._number = client, folder, 0

    def run(self, encoder, tile, **more):
        self._number += 1
        self.out = self._folder / f"out{self._number}"
        asked = {
            "encoder": str(encoder),
            "tile": str(tile),
            "out": str(self.out),
            "row": 0,
            "col": 0,
        }
        times = []
        told = self._client.call("encode", {**asked, **more},
                                 on_event=lambda _facts: times.append(cpu_s(self._client.pid)))  # fmt: skip
        return {**told, "cpu_s": times[-1] - times[0], "pixels": told["pixels_encoded"]}

    def embeddings(self):
        blocks = [np.load(path) for path in sorted(self.out.glob("*.npy"))]
        found = np.concatenate([block[np.isfinite(block["scale"])] for block in blocks])
        return found["codes"] * found["scale"][:, None]


def speed(size, child, folder, options):
    """Measure a size, and print a line for each way."""
    shape, pixels, batch_px = SIZES[size]
    edge = max(int((pixels / (4 if options.quick else 1)) ** 0.5), 8)
    weights, tile = folder / "weights.pt", scene(folder / "tile", edge, np.random.default_rng(0))
    child.do("checkpoint", size=shape, path=str(weights))
    client = WorkerClient(WORKER)
    encoding = Encoding(client, folder)
    files = exported(client, weights, folder, options.precisions.split(","))
    told = child.do("open", size=shape, weights=str(weights), encoder=str(files["float32"]),
                    tile=str(tile), batch_px=batch_px)  # fmt: skip
    ways = {
        "torch": lambda: child.do("torch"),
        "raw": lambda: child.do("raw"),
        "encode": lambda: encoding.run(files["float32"], tile, batch_px=batch_px),
    }
    if "int8" in files:
        ways["encode int8"] = lambda: encoding.run(files["int8"], tile, batch_px=batch_px)
    rounds = {way: [] for way in ways}
    for _ in range(1 if options.quick else options.rounds):
        for way, once in ways.items():
            rounds[way].append(once())
    rates = {
        way: max(each["pixels"] / each["seconds"] for each in of) for way, of in rounds.items()
    }
    per_cpu = {
        way: max(each["pixels"] / each["cpu_s"] for each in of) for way, of in rounds.items()
    }
    print(f"{size}: {edge * edge} pixels, {batch_px} at a time; torch and raw differ by "
          f"{told['difference']:.1e}")  # fmt: skip
    for way in ways:
        print(f"  {way:<14}{rates[way]:>9.1f}{per_cpu[way]:>11.1f}{rates[way] / rates['torch']:>9.2f}"
              f"{per_cpu[way] / per_cpu['torch']:>11.2f}{rates[way] / rates['raw']:>9.2f}"
              f"{per_cpu[way] / per_cpu['raw']:>9.2f}")  # fmt: skip
    if "int8" in files:
        print(f"  int8: cosine to float32 {cosines(encoding, files, tile, batch_px)}")
    client.stop()
    return files["float32"]


def cosines(encoding, files, tile, batch_px):
    found = []
    for precision in ("float32", "int8"):
        encoding.run(files[precision], tile, batch_px=batch_px)
        found.append(encoding.embeddings())
    a, b = found
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return f"{cosine.mean():.5f} in the mean, {cosine.min():.5f} at worst"


def exported(client, weights, folder, precisions):
    """Export the weights in each precision that can be had."""
    files = {}
    for precision in precisions:
        out = folder / f"{precision}.onnx"
        asked = {"checkpoint": str(weights), "out": str(out), "data_source": "unstated",
                 "precision": precision}  # fmt: skip
        try:
            began = time.perf_counter()
            client.call("export_encoder", asked)
        except WorkerFailed as error:
            print(f"  no {precision}: {error}", file=sys.stderr)
            continue
        files[precision] = out
        print(f"  exported {precision} in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return files


def memory(size, encoder, folder):
    """Print the worker's peak with a scene of a few blocks and with one of many."""
    told = []
    for edge in SCENES:
        tile = sparse_scene(folder / f"sparse{edge}", edge, 64)
        client = WorkerClient(WORKER)  # whose peak nothing else has raised
        encoding = Encoding(client, folder / f"memory{edge}")
        result = encoding.run(encoder, tile)
        told.append(f"{of_process(client.pid, 'VmHWM'):>9.0f}")
        client.stop()
        shutil.rmtree(tile)
        shutil.rmtree(encoding.out)
    print(f"  {size:<14}{''.join(told)}   {result['batch_px']} pixels at a time")


def main():
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--sizes", default=",".join(SIZES))
    asked.add_argument("--precisions", default="float32,int8", help="float32 is always needed")
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--quick", action="store_true", help="a quarter of the pixels, one round")
    options = asked.parse_args()
    sizes = options.sizes.split(",")
    child = Child()
    print(f"{'':<16}{'px/s':>9}{'px/cpu s':>11}{'x torch':>9}{'(per cpu)':>11}{'x raw':>9}"
          f"{'(cpu)':>9}")  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        encoders = {}
        for size in sizes:
            folder = Path(place) / size
            folder.mkdir()
            encoders[size] = speed(size, child, folder, options)
        child.close()
        title = "".join(f"{f'{edge} x {edge}':>11}" for edge in SCENES)
        print(f"\nThe worker's peak, MB, scenes of so many pixels\n{'':<12}{title}")
        for size, encoder in encoders.items():
            memory(size, encoder, Path(place) / size)


if __name__ == "__main__":
    main()
