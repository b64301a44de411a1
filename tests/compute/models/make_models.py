# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Write small ONNX models over embeddings, each a known sum.

`python make_models.py FOLDER WEIGHTS.npz`, in the private environment. The weights are (k, D),
(1, D, 3, 3) and (2, D).
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FOLDER = Path(sys.argv[1])
WEIGHTS = dict(np.load(sys.argv[2], allow_pickle=False))


def save(name, nodes, weights, given, gives, **metadata):
    graph = helper.make_graph(
        nodes, name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, given)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, gives)],
        [numpy_helper.from_array(value, key) for key, value in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    onnx.save(model, FOLDER / f"{name}.onnx")


linear = WEIGHTS["linear"]
depth = linear.shape[1]
save(
    "pixels",
    [helper.make_node("MatMul", ["x", "w"], ["y"])],
    {"w": linear.T.copy()},
    ["n", depth], ["n", len(linear)],
    class_names='{"0": "low", "1": "middle", "2": "high"}',
)  # fmt: skip
save(
    "patches",
    [helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[1, 1])],
    {"w": linear[:, :, None, None].copy()},
    ["n", depth, "h", "w"], ["n", len(linear), "h", "w"],
)  # fmt: skip
save(
    "around",
    [
        helper.make_node("Conv", ["x", "w"], ["s"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["s"], ["y"]),
    ],
    {"w": WEIGHTS["around"]},
    [1, depth, 32, 32], [1, 1, 32, 32],
)  # fmt: skip
save(
    "last",
    [helper.make_node("MatMul", ["x", "w"], ["y"])],
    {"w": WEIGHTS["last"].T.copy()},
    [1, "h", "w", depth], [1, "h", "w", 2],
    tessera_head='{"patch_px": 40, "overlap_px": 8, "classes": ["land", "water"]}',
)  # fmt: skip
save(
    "mean",
    [helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)],
    {},
    ["n", depth, "h", "w"], ["n", depth],
)  # fmt: skip
