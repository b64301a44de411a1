# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""An MLP whose first layer is a product of integers; runs in the private environment.

    python _integer_child.py FOLDER    (codes.npy, scales.npy, weights.npz in, one JSON line out)

The codes are integers already; the weights become integers, per hidden unit: `one` keeps 8 bits of
them, `two` adds a second product with the 8 bits below. Everything after it is float32.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

CHUNK_PX = 16_384


def integers(weight):
    """Return 8-bit integers of weights (D, h) and what one of them stands for (h,)."""
    unit = np.abs(weight).max(axis=0) / 127
    return np.rint(weight / unit).astype(np.int8), unit.astype(np.float32)


class Network:
    def __init__(self, weights, terms):
        high, unit = integers(weights["W1"])
        low, fine = integers(weights["W1"] - high * unit)
        parts, units = ([high], [unit]) if terms == 1 else ([high, low], [unit, fine])
        self.first = torch.from_numpy(np.concatenate(parts, axis=1))
        self.units = [torch.from_numpy(each) for each in units]
        self.width = len(unit)
        self.b1, self.b2 = (torch.from_numpy(weights[name]) for name in ("b1", "b2"))
        self.last = torch.from_numpy(np.ascontiguousarray(weights["W2"].T))

    def classes(self, codes, scales):
        found = []
        with torch.inference_mode():
            for start in range(0, len(codes), CHUNK_PX):
                some, factor = (each[start : start + CHUNK_PX] for each in (codes, scales))
                product = torch._int_mm(some, self.first)  # noqa: SLF001 - the only one there is
                z = product[:, : self.width] * self.units[0]
                if len(self.units) > 1:
                    z.addcmul_(product[:, self.width :], self.units[1])
                z.add_(self.b1 / factor[:, None]).relu_()
                out = (self.last @ z.t()) * factor + self.b2[:, None]
                found.append(out.argmax(0))
        return torch.cat(found).numpy()


def main():
    folder = Path(sys.argv[1])
    codes, scales = (torch.from_numpy(np.load(folder / f"{n}.npy")) for n in ("codes", "scales"))
    with np.load(folder / "weights.npz", allow_pickle=False) as stored:
        weights = {name: stored[name] for name in stored.files}
    expected, told = np.load(folder / "expected.npy"), {}
    for name, terms in (("one", 1), ("two", 2)):
        network, seconds = Network(weights, terms), []
        for _ in range(5):
            began = time.perf_counter()
            found = network.classes(codes, scales)
            seconds.append(time.perf_counter() - began)
        told[name] = {
            "seconds": float(np.median(seconds)),
            "agreement": float((found == expected).mean()),
        }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
