# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Write a small encoder as ONNX: `python make_encoder.py FACTS.json`. Needs the private environment.

x = the mean over time of the sums so far (so that order matters), times weights; both sensors added.
"""

import json
import sys

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save


def main(path):
    with open(path) as file:
        facts = json.load(file)
    kind = facts["kind"]
    nodes, constants = [], [numpy_helper.from_array(np.array(1, np.int64), "time")]
    shapes = {"s2_input": ["batch", "t2", 11], "s1_input": ["batch", "t1", 3]}
    if kind == "frozen":
        shapes["s1_input"] = ["batch", 8, 3]
    for name in shapes:
        constants.append(numpy_helper.from_array(np.array(facts[name], np.float32), f"{name}_w"))
        nodes += [
            helper.make_node("CumSum", [name, "time"], [f"{name}_sum"]),
            helper.make_node("ReduceMean", [f"{name}_sum"], [f"{name}_mean"], axes=[1], keepdims=0),
            helper.make_node("MatMul", [f"{name}_mean", f"{name}_w"], [f"{name}_out"]),
        ]
    added = helper.make_node("Add", ["s2_input_out", "s1_input_out"], ["added"])
    nodes += [added, *last(kind, constants, facts["shift"])]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    ]
    depth = len(facts["s1_input"][0])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", depth])
    graph = helper.make_graph(nodes, "encoder", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, facts["said"])
    save(model, facts["out"])


def last(kind, constants, shift):
    """Return the nodes from `added` to `output`."""
    if kind == "of_its_batch":
        constants.append(numpy_helper.from_array(np.array([0], np.int64), "batch_axis"))
        return [
            helper.make_node("ReduceMax", ["added"], ["most"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["added", "most"], ["output"]),
        ]
    if kind == "frozen_inside":
        constants.append(numpy_helper.from_array(np.array([2, -1], np.int64), "shape"))
        return [helper.make_node("Reshape", ["added", "shape"], ["output"])]
    if kind.startswith("logarithm"):
        sign = -1 if kind.endswith("negative") else 1
        constants.append(numpy_helper.from_array(np.array(shift, np.float32), "shift"))
        constants.append(numpy_helper.from_array(np.array(sign, np.float32), "sign"))
        shifted = helper.make_node("Add", ["added", "shift"], ["shifted"])
        signed = helper.make_node("Mul", ["shifted", "sign"], ["signed"])
        return [shifted, signed, helper.make_node("Log", ["signed"], ["output"])]
    if kind in {"slow", "wide"}:  # the same embeddings, with much time or memory on the way
        rounds = 20 if kind == "slow" else 0
        constants.append(numpy_helper.from_array(np.eye(1500, dtype=np.float32) / 2, "big"))
        wide = [helper.make_node("Tile", ["added", "times"], ["wide0"])]
        constants.append(numpy_helper.from_array(np.array([1, 1500], np.int64), "times"))
        constants.append(numpy_helper.from_array(np.array([0], np.int64), "from"))
        constants.append(numpy_helper.from_array(np.array([1500], np.int64), "to"))
        constants.append(numpy_helper.from_array(np.array([1], np.int64), "axis"))
        wide.append(helper.make_node("Slice", ["wide0", "from", "to", "axis"], ["w0"]))
        wide += [helper.make_node("MatMul", [f"w{i}", "big"], [f"w{i + 1}"]) for i in range(rounds)]
        wide.append(helper.make_node("ReduceMean", [f"w{rounds}"], ["extra"], axes=[1], keepdims=1))
        constants.append(numpy_helper.from_array(np.array(0, np.float32), "nothing"))
        wide.append(helper.make_node("Mul", ["extra", "nothing"], ["none"]))
        return [*wide, helper.make_node("Add", ["added", "none"], ["output"])]
    return [helper.make_node("Identity", ["added"], ["output"])]


if __name__ == "__main__":
    main(sys.argv[1])
