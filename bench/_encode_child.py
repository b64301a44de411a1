# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the encoders' speed is compared with, in the private environment: torch and ONNX Runtime.

Reads a line of JSON per job from stdin, and answers each with one.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from tessera_plugin.compute.worker.encode.dpixel import open_tile
from tessera_plugin.compute.worker.encode.prepare import Prepared
from tessera_plugin.compute.worker.encode.sampling import keys_of
from tessera_plugin.compute.worker.encode.session import open_encoder
from tests.compute.encoders import networks


class PlainHalf(networks.Half):
    """As upstream's: stock layers, and the season written into zeros by two strided assignments."""

    def forward(self, x):
        x, days = x[..., :-1], x[..., -1:]
        x = self.embedding(x)
        d = x.shape[-1]
        angles = days * torch.exp(torch.arange(0, d, 2) * (-math.log(10000.0) / d))
        season = torch.zeros_like(x)
        season[..., 0::2], season[..., 1::2] = angles.sin(), angles.cos()
        return self.attn_pool(self.transformer_encoder(x + season))


def checkpoint(size, path):
    """Write random weights of a size as the official file of one would hold them."""
    of = SimpleNamespace(**size)
    torch.save(networks.payload("2.0", networks.stock("2.0", of), of), path)
    return {}


class Ready:
    """The batches of a scene, ready to be run; the same for all."""

    def __init__(self, size, weights, encoder, tile, batch_px):
        networks.Half = PlainHalf
        self.network = networks.stock("2.0", SimpleNamespace(**size))
        self.network.load_state_dict(torch.load(weights, weights_only=True)["model"])
        self.encoder = open_encoder(encoder, ("CPUExecutionProvider",))
        scene = open_tile(Path(tile))
        pixels = scene.read(slice(0, scene.height), slice(0, scene.width))
        zero = np.zeros(pixels.count, np.intp)
        prepared = Prepared(pixels, self.encoder.spec, keys_of(0, zero, zero))
        self.batches = [prepared.inputs(px) for px in prepared.batches(lambda: batch_px)]
        self.pixels = int(prepared.is_encoded.sum())

    def torch(self):
        """Run the network over the batches."""
        with torch.inference_mode():
            return [
                self.network(*(torch.from_numpy(batch[name]) for name in ("s2_input", "s1_input")))
                for batch in self.batches
            ]

    def raw(self):
        """Run the session over the batches."""
        return [self.encoder.session.run(None, batch)[0] for batch in self.batches]

    def timed(self, way):
        run = {"torch": self.torch, "raw": self.raw}[way]
        began, cpu = time.perf_counter(), time.process_time()
        run()
        return {"seconds": time.perf_counter() - began, "cpu_s": time.process_time() - cpu,
                "pixels": self.pixels}  # fmt: skip

    def difference(self):
        """Return the largest difference between the two, so that both do the same work."""
        pairs = zip(self.torch(), self.raw())
        return {"difference": max(float(np.abs(a.numpy() - b).max()) for a, b in pairs)}


def main():
    ready = None
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        for line in sys.stdin:
            facts = json.loads(line)
            job = facts.pop("job")
            if job == "checkpoint":
                told = checkpoint(**facts)
            elif job == "open":
                ready = Ready(**facts)
                told = ready.difference()
            else:
                told = ready.timed(job)
            print(json.dumps(told), file=answers, flush=True)


if __name__ == "__main__":
    main()
