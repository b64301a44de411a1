# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Encoders of every generation at their real size: `python -m bench.parity [--sizes nano,1.1 | all]`.

Random weights, exported by the worker in each precision. Told are the largest difference to torch
over random and edge inputs (of the spread between pixels), what fewer bits cost, and pixels per
second of ONNX Runtime over one ready batch (float16 is for GPUs, and not timed here).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from bench.predict import ROOT, WORKER
from tessera_plugin.compute.client import WorkerClient

ENCODERS = {
    "nano": ("2.0", (36, 2, 4, 384), 512),
    "small": ("2.0", (64, 4, 4, 1024), 256),
    "medium": ("2.0", (110, 4, 4, 1792), 128),
    "large": ("2.0", (160, 4, 4, 2560), 64),
    "1.0": ("1.0", (128, 8, 8, 4096), 32),
    "1.0-qat": ("1.0-qat", (128, 4, 4, 4096), 64),
    "1.1": ("1.1", (192, 4, 4, 2048), 64),
}
"""Generation, latent size, layers, heads and FFN, and how many pixels are timed together."""

LENGTHS = {"1.0": (40, 40), "1.0-qat": (40, 40)}
OFTEN = (40, 64)
PRECISIONS = ("float32", "float16", "int8")


def child(**asked):
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run([WORKER, "-m", "bench._parity_child"], cwd=ROOT, env=environment,
                          input=json.dumps(asked), capture_output=True, text=True, check=False)  # fmt: skip
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="nano,small", help="or all, which takes half an hour")
    parser.add_argument("--precisions", default=",".join(PRECISIONS))
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in ENCODERS if options.sizes == "all" else options.sizes.split(","):
            encoder(name, Path(folder), options)


def encoder(name, folder, options):
    generation, numbers, batch_px = ENCODERS[name]
    size = dict(zip(("latent", "layers", "heads", "feedforward"), numbers))
    weights = folder / "weights.pt"
    child(job="checkpoint", generation=generation, size=size, path=str(weights))
    client = WorkerClient(WORKER)
    files = {}
    for precision in options.precisions.split(","):
        files[precision] = str(folder / f"{precision}.onnx")
        asked = {"checkpoint": str(weights), "out": files[precision], "precision": precision}
        asked["data_source"] = "mpc" if generation == "1.1" else "unstated"
        began = time.perf_counter()
        told = client.call("export_encoder", asked)
        tell(name, told, time.perf_counter() - began)
    client.stop()
    timed = [path for precision, path in files.items() if precision != "float16"]
    lengths = LENGTHS.get(generation, OFTEN)
    speeds = child(job="speed", paths=timed, batch_px=batch_px, lengths=lengths,
                   threads=options.threads)  # fmt: skip
    first = speeds[timed[0]]
    for path, found in speeds.items():
        print(f"{name:<8} {Path(path).stem:<8}  {found[0]:8.1f} px/s, {found[1]:8.1f} px/cpu s  "
              f"x {found[0] / first[0]:.2f}, {found[1] / first[1]:.2f}")  # fmt: skip
    for path in (weights, *files.values()):
        Path(path).unlink()


def tell(name, told, seconds):
    parity, loss = told["parity"], told["loss"]
    work = told["gflop_per_px"]
    gflop = work["constant"] + sum(
        work[f"per_{sensor}"] * n + work[f"per_{sensor}_squared"] * n * n
        for sensor, n in (("s2", 40), ("s1", 40))
    )
    text = (
        f"{name:<8} {told['precision']:<8} {told['bytes'] / 1e6:7.1f} MB  {gflop:.2f} GFLOP/px  "
        f"difference {parity['largest_difference']:.2g} "
        f"({parity['largest_difference'] / parity['output_spread']:.2g} of the spread)"
    )
    if loss:
        text += (
            f"  cosine {loss['cosine_mean']:.6f}, at worst {loss['cosine_min']:.6f}; "
            f"error {loss['error_of_spread']:.2g} of the spread; in another batch "
            f"{loss['batch_difference']:.2g}{'; FAST PREVIEW' * told['is_fast_preview']}"
        )
    print(f"{text}  [{seconds:.0f} s]", flush=True)


if __name__ == "__main__":
    main()
