# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Export a random network of each generation, small, with the tests' networks of the exporter.

`python export_random.py FOLDER`, in the private environment; writes FOLDER/GENERATION.onnx.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parent / "encoders")]

import torch
from networks import SMALL, payload, stock

from tessera_plugin.compute.worker.encoders.export import export_encoder

torch.manual_seed(0)
for generation in ("1.0", "1.0-qat", "1.1", "2.0"):
    checkpoint = Path(sys.argv[1]) / f"{generation}.pt"
    torch.save(payload(generation, stock(generation)), checkpoint)
    data_source = "mpc" if generation == "1.1" else "unstated"
    heads = None if generation == "2.0" else SMALL.heads
    export_encoder(str(checkpoint), str(checkpoint.with_suffix(".onnx")), data_source, heads)
