# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast a map is made, and what memory it takes: `python -m bench.classify [--worker PYTHON]`.

Every case runs in a process of its own, so that its peak memory is its own. The baseline is what one
would write without thinking of memory: the whole window as float32, then the matrix products.
"""

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from tessera_plugin.compute.client import WorkerClient
from tessera_plugin.engine import catalog, classify, explore, export
from tessera_plugin.engine.heads import Head
from tessera_plugin.engine.map_cleanup import CleanUp
from tessera_plugin.engine.predict import InProcess, InWorker
from tessera_plugin.engine.zones import strips
from tessera_plugin.io.sources.base import FetchSummary
from tessera_plugin.progress import silent
from tessera_plugin.values import PIXEL_M, Access, Extent, LandClass, State, Window

BASELINE = "baseline: whole window as float32"
HIDDEN, CLASSES, DEPTH = 64, 6, 128
WORKER = (
    Path(__file__).resolve().parent.parent / "build" / "private" / "environment" / "bin" / "python"
)
CASES = {}


def case(title):
    def add(run):
        CASES[title] = run
        return run

    return add


class Repeated:
    """A source that repeats a strip of random embeddings: reading it costs a copy, no more."""

    def __init__(self):
        random = np.random.default_rng(0)
        self.dataset, self.year, self.depth = catalog.DATASETS[0], 2024, DEPTH
        self.form = "zarr"
        self._codes = random.integers(-127, 128, (256, 2048, DEPTH), np.int8)
        self._scales = random.uniform(0.01, 0.1, (256, 2048)).astype(np.float32)

    def fetch(self, windows, _report):
        pixels = sum(window.pixels for window in windows)
        return FetchSummary(pixels, pixels, pixels, 0, 0)

    def read(self, window):
        height, width = window.shape
        across = -(-width // 2048)
        codes = np.tile(self._codes[:height], (1, across, 1))[:, :width]
        return codes, np.tile(self._scales[:height], (1, across))[:, :width].copy()

    def states(self, window):
        return np.full(window.shape, State.VALID, np.uint8)

    def close(self):
        pass


class Fields(Repeated):
    """The same in fields of 16 x 16 pixels, where one in thirty is another: a map as they are."""

    def __init__(self):
        super().__init__()
        random = np.random.default_rng(2)
        fields = self._codes[::16, ::16].repeat(16, axis=0).repeat(16, axis=1)
        is_other = random.random(fields.shape[:2]) < 1 / 30
        self._codes = np.where(is_other[..., None], self._codes, fields)


def head():
    random = np.random.default_rng(1)

    def weights(*shape):
        return (random.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)

    classes = tuple(LandClass(i + 1, f"class {i}", "#%06x" % (i * 999_999)) for i in range(CLASSES))
    arrays = {"W1": weights(DEPTH, HIDDEN), "b1": weights(HIDDEN),
              "W2": weights(HIDDEN, CLASSES), "b2": weights(CLASSES)}  # fmt: skip
    return Head("bench", "mlp", classes, catalog.DATASETS[0].key, DEPTH, (2024,),
                weights(DEPTH), np.ones(DEPTH, np.float32), arrays)  # fmt: skip


def window_of(edge):
    return Window(30, -580_096, 60_032, edge, edge)


def request_of(edge, folder):
    window = window_of(edge)
    west, north = window.col * PIXEL_M, -window.row * PIXEL_M
    size = edge * PIXEL_M
    extent = Extent(west, north - size, west + size, north, "EPSG:32630")
    return classify.ClassifyRequest(
        head_path="", year=2024, extent=extent, access=Access(folder),
        out=f"{folder}/map.tif", confidence_out=f"{folder}/confidence.tif")  # fmt: skip


def predict_all(predict, edge):
    source = Repeated()
    for strip in strips(window_of(edge)):
        codes, scales = source.read(strip)
        predict(codes.reshape(-1, DEPTH), scales.reshape(-1), silent)


@case(BASELINE)
def baseline(edge, _worker):
    codes, scales = Repeated().read(Window(30, 0, 0, 250, edge * edge // 250))
    yield
    model = head()
    x = (codes * scales[..., None] - model.mean) / model.std
    z = np.maximum(x @ model.weights["W1"] + model.weights["b1"], 0)
    z = z @ model.weights["W2"] + model.weights["b2"]
    p = np.exp(z - z.max(axis=2, keepdims=True))
    p /= p.sum(axis=2, keepdims=True)
    return p.argmax(axis=2), p.max(axis=2)


@case("predict with numpy")
def predict_here(edge, _worker):
    predict = InProcess(head())
    yield
    predict_all(predict, edge)


@case("predict in the worker")
def predict_in_worker(edge, worker):
    if not worker.exists():
        return
    client = WorkerClient(str(worker))
    with contextlib.closing(InWorker(head(), client)) as predict:
        predict_all(predict, 128)  # starts it
        yield
        predict_all(predict, edge)
    client.stop()


@case("classify with numpy, map and confidence written")
def whole_job(edge, _worker):
    source = Repeated()
    with tempfile.TemporaryDirectory() as folder:
        yield
        staged = classify.classify_from(source, head(), request_of(edge, folder))
        classify.publish(staged)


@case("classify with the worker's help, its start too")
def whole_job_with_worker(edge, worker):
    if not worker.exists():
        return
    source, client = Repeated(), WorkerClient(str(worker))
    with tempfile.TemporaryDirectory() as folder:
        yield
        request = request_of(edge, folder)
        classify.publish(classify.classify_from(source, head(), request, worker=client))
    client.stop()


@case("the same of fields, cleaned (majority, sieve) too")
def cleaned(edge, _worker):
    clean_up = CleanUp(majority=3, sieve_px=5)
    yield from _whole_job(edge, lambda _: {"clean_up": clean_up})


@case("the same of fields, cleaned, and drawn as polygons")
def drawn(edge, _worker):
    clean_up = CleanUp(majority=3, sieve_px=5)
    yield from _whole_job(
        edge, lambda folder: {"clean_up": clean_up, "polygons_out": f"{folder}/map.gpkg"}
    )


@case("the same of fields, probabilities and margin written too")
def all_outputs(edge, _worker):
    yield from _whole_job(edge, lambda folder: {
        "probabilities_out": f"{folder}/p.tif", "margin_out": f"{folder}/m.tif",
    })  # fmt: skip


def _whole_job(edge, changes):
    source = Fields()
    with tempfile.TemporaryDirectory() as folder:
        request = replace(request_of(edge, folder), **changes(folder))
        yield
        result = classify.publish(classify.classify_from(source, head(), request))
        print(f"{result.changed_px} changed, {result.polygon_count} polygons", file=sys.stderr)


@case("preview written")
def preview(edge, _worker):
    source = Repeated()
    with tempfile.TemporaryDirectory() as folder:
        yield
        explore.preview_from(source, [window_of(edge)], f"{folder}/preview.tif")


@case("export .npz")
def export_npz(edge, _worker):
    yield from _export(edge, "npz")


@case("export .tif")
def export_tif(edge, _worker):
    yield from _export(edge, "tif")


def _export(edge, suffix):
    source = Repeated()
    with tempfile.TemporaryDirectory() as folder:
        yield
        export.export_from(source, [window_of(edge)], f"{folder}/e.{suffix}")


def measure(title, edge, worker):
    """Run one case in this process; what is before its `yield` is not timed."""
    steps = CASES[title](edge, worker)
    if next(steps, StopIteration) is StopIteration:
        return None
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    next(steps, None)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "peak_mb": peak / 1024, "more_mb": (peak - before) / 1024}


def measured_apart(title, edge, worker, rounds):
    command = [sys.executable, "-m", "bench.classify", "--case", title, "--edge", str(edge),
               "--worker", str(worker)]  # fmt: skip
    results = []
    for _ in range(rounds):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        results.append(json.loads(done.stdout))
    return None if None in results else min(results, key=lambda result: result["seconds"])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edge", type=int, default=1000, help="pixels of the window's edge")
    parser.add_argument("--rounds", type=int, default=3, help="the fastest of so many is told")
    parser.add_argument("--worker", type=Path, default=WORKER, help="Python of the worker")
    parser.add_argument("--case", help="run this one here and print JSON")
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(options.case, options.edge, options.worker)))
        return
    print(f"mlp {DEPTH}-{HIDDEN}-{CLASSES}, {options.edge} x {options.edge} px, "
          f"fastest of {options.rounds}")  # fmt: skip
    print(f"{'case':<50}{'s':>8}{'Mpx/s':>8}{'x base':>8}{'peak MB':>9}{'more MB':>9}")
    base = None
    for title in CASES:
        told = measured_apart(title, options.edge, options.worker, options.rounds)
        if told is None:
            print(f"{title:<50}{'not there':>8}")
            continue
        base = base or told["seconds"]
        speed = options.edge**2 / 1e6 / told["seconds"]
        print(f"{title:<50}{told['seconds']:>8.2f}{speed:>8.2f}{base / told['seconds']:>8.2f}"
              f"{told['peak_mb']:>9.0f}{told['more_mb']:>9.0f}")  # fmt: skip


if __name__ == "__main__":
    main()
