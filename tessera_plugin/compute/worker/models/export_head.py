# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The job `export_head`: a head as an ONNX file, and what ONNX Runtime then makes of embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ..arrays import draft, npy_draft, open_npy
from ..job import Job
from .opening import open_model

OPSET, IR_VERSION = 13, 8
"""Old enough for what others still run."""

INPUT, OUTPUT = "embedding", "probabilities"


@dataclass(frozen=True)
class Params:
    """What the client asks for; D dimensions, k classes, n embeddings. Paths are files."""

    weights: str
    """.npz: mean, std (D,); W, b or W1, b1, W2, b2 [, W3, b3], inputs before outputs."""
    temperature: float
    """What the last layer's outputs are divided by before the softmax."""
    metadata: Mapping[str, str]
    title: str
    told: str
    """What it is, for people."""
    version: str
    """Of the plugin."""
    tried: str
    """.npy, float32 (n, D): embeddings that the file is tried on."""
    model: str
    """The ONNX file that is written."""
    out: str
    """.npy, float32 (n, k): the probabilities that ONNX Runtime gives."""


def run(params: Mapping[str, Any], job: Job) -> Dict[str, object]:
    """Write the file, open it as anybody's model is opened, and write what it makes of embeddings.

    The graph takes dequantised embeddings (any number, D) and gives probabilities (the same, k).
    Raises: ValueError for weights that are none, ModelUnusable, NoRoom.
    """
    p = Params(**params)
    job.report(0.0)
    model = _model(p)
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString()
    with draft(p.model, len(content)) as file:
        file.write(content)
    job.report(0.5)
    opened = open_model(p.model)
    (found,) = opened.session.run([OUTPUT], {INPUT: open_npy(p.tried).astype(np.float32)})
    with npy_draft(p.out, np.float32, found.shape) as file:
        file.write(np.ascontiguousarray(found, np.float32).tobytes())
    return {
        "bytes": Path(p.model).stat().st_size,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def _model(p: Params) -> onnx.ModelProto:
    with np.load(p.weights, allow_pickle=False) as archive:
        arrays = {name: archive[name].astype(np.float32) for name in archive.files}
    tail = "" if "W" in arrays else str(max(int(n[1:]) for n in arrays if n[0] == "W"))
    depth, classes = arrays["mean"].size, arrays[f"b{tail}"].size
    arrays["temperature"] = np.array([p.temperature], np.float32)
    graph = helper.make_graph(
        _nodes(arrays, tail), "head",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["pixels", depth])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["pixels", classes])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )  # fmt: skip
    graph.doc_string = p.title
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
        producer_name="Tessera for QGIS", producer_version=p.version, doc_string=p.told,
    )  # fmt: skip
    helper.set_model_props(model, dict(p.metadata))
    return model


def _nodes(arrays: Mapping[str, NDArray[np.float32]], tail: str) -> List[onnx.NodeProto]:
    """Return the standardisation, the layers with ReLU between, the temperature and the softmax."""
    node = helper.make_node
    nodes = [
        node("Sub", [INPUT, "mean"], ["centred"]),
        node("Div", ["centred", "std"], ["standardised"]),
    ]
    given = "standardised"
    for name in [""] if not tail else [str(number) for number in range(1, int(tail) + 1)]:
        is_last = name == tail
        sums, outputs = f"layer{name}", "scores" if is_last else f"hidden{name}"
        if arrays[f"W{name}"].ndim != 2:
            raise ValueError(f"W{name} is no matrix")
        nodes.append(node("Gemm", [given, f"W{name}", f"b{name}"], [outputs if is_last else sums]))
        if not is_last:
            nodes.append(node("Relu", [sums], [outputs]))
        given = outputs
    return [
        *nodes,
        node("Div", ["scores", "temperature"], ["tempered"]),
        node("Softmax", ["tempered"], [OUTPUT], axis=1),
    ]
