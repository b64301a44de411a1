# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""An MLP whose first layer is a product of integers; runs in the private environment.

    python _integer_child.py FOLDER  (codes, scales, probabilities .npy, weights.npz in, one JSON line out)

The codes are integers already; the weights become integers, per hidden unit. `one` keeps 8 bits of
them, `two` another 8 below. `one, rechecked` lets float32 decide where the two best classes are
closer than six standard deviations of what the rounding of the weights can do to them. All else is
float32 and as the worker does it, without the files; `float32` is that, for comparison.
"""

import itertools
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

CHUNK_PX, ROUNDS = 2048, 7
SIGMAS = 6
node = helper.make_node


def integers(weight, terms):
    """Return 8-bit integers (D, terms * h) of weights (D, h) and what one of each stands for."""
    parts, units, rest = [], [], weight.astype(np.float64)
    for _ in range(terms):
        unit = np.abs(rest).max(axis=0) / 127
        parts.append(np.rint(rest / unit).astype(np.int8))
        units.append(unit.astype(np.float32))
        rest = rest - parts[-1] * units[-1]
    return np.concatenate(parts, axis=1), np.concatenate(units)


def first_layer(weights, terms):
    """Return the nodes from codes to the first hidden units, and their constants."""
    b1 = weights["b1"]
    if not terms:
        nodes = [node("DequantizeLinear", ["codes", "scales"], ["x"], axis=0),
                 node("Gemm", ["x", "W1", "b1"], ["sums"])]  # fmt: skip
        return nodes, {"W1": weights["W1"], "b1": b1}
    whole, units = integers(weights["W1"], terms)
    given = ["codes", "whole", "one", "units", "zero"]
    nodes = [node("MatMulIntegerToFloat", given, ["products"], domain="com.microsoft")]
    if terms == 2:
        nodes += [node("Split", ["products"], ["high", "low"], axis=1),
                  node("Add", ["high", "low"], ["products2"])]  # fmt: skip
    nodes += [node("Unsqueeze", ["scales", "axis"], ["factors"]),
              node("Mul", ["products2" if terms == 2 else "products", "factors"], ["scaled"]),
              node("Add", ["scaled", "b1"], ["sums"])]  # fmt: skip
    return nodes, {"whole": whole, "units": units, "b1": b1, "one": np.float32(1),
                   "zero": np.uint8(128), "axis": np.array([1])}  # fmt: skip


def session(weights, terms):
    """Return the session of codes (plus 128 where there are `terms`) and scales to probabilities."""
    nodes, constants = first_layer(weights, terms)
    nodes += [node("Relu", ["sums"], ["hidden"]), node("Gemm", ["hidden", "W2", "b2"], ["scores"]),
              node("Softmax", ["scores"], ["probabilities"], axis=1)]  # fmt: skip
    constants |= {"W2": weights["W2"], "b2": weights["b2"]}
    kind, depth = TensorProto.UINT8 if terms else TensorProto.INT8, len(weights["W1"])
    graph = helper.make_graph(
        nodes, "network",
        [helper.make_tensor_value_info("codes", kind, ["n", depth]),
         helper.make_tensor_value_info("scales", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(each), name) for name, each in constants.items()],
    )  # fmt: skip
    sets = [helper.make_opsetid("", 13), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=sets, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


class Network:
    def __init__(self, weights, terms, *, is_rechecked=False):
        self.session, self.is_whole = session(weights, terms), terms > 0
        self.exact = session(weights, 0) if is_rechecked else None
        self.doubt = self.rechecked = 0.0
        if is_rechecked:
            _, units = integers(weights["W1"], 1)
            pairs = itertools.combinations(weights["W2"].T, 2)
            self.doubt = SIGMAS * max(np.linalg.norm((a - b) * units) for a, b in pairs) / 12**0.5

    def answer(self, codes, scales):
        given = codes.view(np.uint8) ^ np.uint8(128) if self.is_whole else codes
        found = self.session.run(None, {"codes": given, "scales": scales})[0]
        if self.exact is not None:
            length = np.sqrt(np.einsum("nd,nd->n", codes, codes, dtype=np.float32)) * scales
            highest = np.partition(found, -2, axis=1)[:, -2:]
            # the logarithm of the ratio of two probabilities is the difference of their scores
            close = highest[:, 1] <= highest[:, 0] * np.exp(self.doubt * length)
            self.rechecked += close.sum()
            asked = {"codes": codes[close], "scales": scales[close]}
            found[close] = self.exact.run(None, asked)[0]
        return found

    def probabilities(self, pool, codes, scales):
        def answer(start):
            return self.answer(codes[start : start + CHUNK_PX], scales[start : start + CHUNK_PX])

        self.rechecked = 0
        return np.concatenate(list(pool.map(answer, range(0, len(codes), CHUNK_PX))))


def main():
    folder = Path(sys.argv[1])
    codes, scales, expected = (
        np.load(folder / f"{name}.npy") for name in ("codes", "scales", "probabilities")
    )
    with np.load(folder / "weights.npz", allow_pickle=False) as stored:
        weights = {name: stored[name] for name in stored.files}
    networks = {
        "float32": Network(weights, 0),
        "one": Network(weights, 1),
        "one, rechecked": Network(weights, 1, is_rechecked=True),
        "two": Network(weights, 2),
    }
    seconds, told = {name: [] for name in networks}, {}
    with ThreadPoolExecutor(max(2, (os.cpu_count() or 2) - 1)) as pool:
        for _ in range(ROUNDS):
            for name, network in networks.items():
                began = time.perf_counter()
                found = network.probabilities(pool, codes, scales)
                seconds[name].append(time.perf_counter() - began)
                told[name] = {
                    "agreement": float((found.argmax(axis=1) == expected.argmax(axis=1)).mean()),
                    "difference": float(np.abs(found - expected).max()),
                    "rechecked": float(network.rechecked / len(codes)),
                }
    for name, each in seconds.items():
        told[name]["seconds"] = float(np.median(each))
    print(json.dumps(told))


if __name__ == "__main__":
    main()
