# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""In the private environment: write checkpoints of random weights, and time the files made of them.

Reads one job as JSON from stdin, and answers with one line.
"""

from __future__ import annotations

import json
import sys
import time
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import torch

from tests.compute.encoders import networks

ROUNDS = 5


def checkpoint(generation, size, path):
    """Write random weights as the official file of such an encoder would hold them."""
    of = SimpleNamespace(**size)
    torch.save(networks.payload(generation, networks.stock(generation, of), of), path)
    return {}


def speed(paths, batch_px, lengths, threads):
    """Return pixels per second of wall clock and of processor time; files take turns."""
    rng = np.random.default_rng(0)
    inputs = {}
    for name, time_, bands in zip(("s2_input", "s1_input"), lengths, (10, 2)):
        values = rng.standard_normal((batch_px, time_, bands + 1)).astype(np.float32)
        values[..., -1] = np.sort(rng.integers(1, 367, (batch_px, time_)), axis=1)
        inputs[name] = values
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    sessions = {path: ort.InferenceSession(path, options) for path in paths}
    best = {path: [float("inf")] * 2 for path in paths}
    for round_ in range(ROUNDS + 1):
        for path, session in sessions.items():
            wall, cpu = time.perf_counter(), time.process_time()
            session.run(None, inputs)
            took = [time.perf_counter() - wall, time.process_time() - cpu]
            if round_:  # the first makes room
                best[path] = [min(pair) for pair in zip(best[path], took)]
    return {path: [batch_px / seconds for seconds in times] for path, times in best.items()}


if __name__ == "__main__":
    asked = json.loads(sys.stdin.read())
    print(json.dumps({"checkpoint": checkpoint, "speed": speed}[asked.pop("job")](**asked)))
