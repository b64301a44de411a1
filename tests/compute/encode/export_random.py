# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Export a random network of each generation, small, with the tests' networks of the exporter.

`python export_random.py FOLDER`, in the private environment; writes FOLDER/GENERATION[-PRECISION].onnx.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parent / "encoders")]

import torch
from networks import SMALL, payload, stock

from tessera_plugin.compute.worker.encoders.export import export_encoder

# Two threads that wait for each other at every step of a recurrence are slow on a busy machine.
torch.set_num_threads(1)
torch.manual_seed(0)
for generation in ("1.0", "1.0-qat", "1.1", "2.0"):
    checkpoint = Path(sys.argv[1]) / f"{generation}.pt"
    torch.save(payload(generation, stock(generation)), checkpoint)
    data_source = "mpc" if generation == "1.1" else "unstated"
    heads = None if generation == "2.0" else SMALL.heads
    precisions = ("float32", "float16", "int8") if generation == "2.0" else ("float32",)
    for precision in precisions:
        name = generation if precision == "float32" else f"{generation}-{precision}"
        out = str(checkpoint.with_name(f"{name}.onnx"))
        export_encoder(str(checkpoint), out, data_source, heads, precision=precision)
