# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The one graph that heads are exported as: written, and read again where it is exactly that."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Dict, List, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 13, 8
"""Old enough for what others still run."""

INPUT, SCORES, OUTPUT = "embedding", "scores", "probabilities"

PRODUCER = "Tessera for QGIS"

MOST_UNITS = 65_536
"""Along any side of an array that is read: ids of classes end there, and no layer is that wide."""

MOST_LAYERS = 3

_LAYER = re.compile(r"[Wb]([1-9]?)")

Arrays = Mapping[str, NDArray[np.float32]]
"""mean, std (D,); W, b or W1, b1, W2, b2 [, W3, b3], inputs before outputs; temperature (1,)."""


@dataclass(frozen=True)
class Words:
    """What is written on the file beside the graph."""

    title: str = ""
    told: str = ""
    """What it is, for people."""
    version: str = ""
    """Of the plugin."""
    metadata: Mapping[str, str] = field(default_factory=dict)


class ForeignGraph(Exception):  # noqa: N818 - named as the errors of the plugin are
    """A graph that is not the one that heads are exported as."""


def graph_of(arrays: Arrays, words: Words) -> onnx.ModelProto:
    """Return the model: dequantised embeddings (any number, D) to probabilities (the same, k).

    Raises: ValueError for weights that are none.
    """
    tail = _tail(arrays)
    depth, classes = arrays["mean"].size, arrays[f"b{tail}"].size
    graph = helper.make_graph(
        _nodes(arrays, tail), "head",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["pixels", depth])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["pixels", classes])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )  # fmt: skip
    graph.doc_string = words.title
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
        producer_name=PRODUCER, producer_version=words.version, doc_string=words.told,
    )  # fmt: skip
    helper.set_model_props(model, dict(words.metadata))
    return model


def arrays_of(model: onnx.ModelProto) -> Dict[str, NDArray[np.float32]]:
    """Return the arrays of a model if it is, part for part, what `graph_of` makes of them.

    So nothing is believed of its nodes: the same graph is made anew and has to be equal.
    Raises: ForeignGraph.
    """
    names = [each.name for each in model.graph.initializer]
    _check_names(names)
    try:
        arrays = {each.name: _array(each) for each in model.graph.initializer}
        words = Words(
            model.graph.doc_string, model.doc_string, model.producer_version, metadata_of(model)
        )
        anew = graph_of(arrays, words)
    except ValueError as error:
        raise ForeignGraph(f"{error}") from error
    if anew != model:
        raise ForeignGraph("its graph is not the one that heads are written as")
    return arrays


def metadata_of(model: onnx.ModelProto) -> Dict[str, str]:
    """Return what is written on a model; of a key that is there twice the last."""
    return {each.key: each.value for each in model.metadata_props}


def _check_names(names: List[str]) -> None:
    numbers = {match[1] for match in map(_LAYER.fullmatch, names) if match}
    layers = [""] if numbers == {""} else [str(n) for n in range(1, len(numbers) + 1)]
    wanted = ["mean", "std", *(f"{letter}{n}" for n in layers for letter in "Wb"), "temperature"]
    if sorted(names) != sorted(wanted) or len(layers) > MOST_LAYERS:
        raise ForeignGraph("its weights are not those of a head")


def _array(tensor: onnx.TensorProto) -> NDArray[np.float32]:
    """Return the array of a tensor that lies in the file itself. Raises: ValueError."""
    dims, name = list(tensor.dims), tensor.name
    if tensor.data_type != TensorProto.FLOAT or not tensor.HasField("raw_data"):
        raise ValueError(f"{name} is not kept as float32 in the file")
    if not 1 <= len(dims) <= 2 or not all(1 <= each <= MOST_UNITS for each in dims):
        raise ValueError(f"{name} has the shape {dims}")
    if 4 * int(np.prod(dims)) != len(tensor.raw_data):
        raise ValueError(f"{name} has {len(tensor.raw_data)} bytes for the shape {dims}")
    return np.frombuffer(tensor.raw_data, "<f4").reshape(dims).astype(np.float32)


def _tail(arrays: Arrays) -> str:
    """Return the number of the last layer as it stands in the names; empty where there is but one."""
    return "" if "W" in arrays else str(max(int(n[1:]) for n in arrays if n[0] == "W"))


def _nodes(arrays: Arrays, tail: str) -> List[onnx.NodeProto]:
    """Return the standardisation, the layers, the temperature and the softmax."""
    node = helper.make_node
    return [
        node("Sub", [INPUT, "mean"], ["centred"]),
        node("Div", ["centred", "std"], ["standardised"]),
        *layer_nodes(arrays, tail, "standardised"),
        node("Div", [SCORES, "temperature"], ["tempered"]),
        node("Softmax", ["tempered"], [OUTPUT], axis=1),
    ]


def layer_nodes(arrays: Arrays, tail: str, given: str) -> List[onnx.NodeProto]:
    """Return the layers with ReLU between, from what is called `given` to the scores.

    `tail` is the number of the last layer, empty where there is but one: `W`, `b`.
    Raises: ValueError for weights that are no matrix.
    """
    node, nodes = helper.make_node, []
    for name in [""] if not tail else [str(number) for number in range(1, int(tail) + 1)]:
        is_last = name == tail
        sums, outputs = f"layer{name}", SCORES if is_last else f"hidden{name}"
        if arrays[f"W{name}"].ndim != 2:
            raise ValueError(f"W{name} is no matrix")
        nodes.append(node("Gemm", [given, f"W{name}", f"b{name}"], [outputs if is_last else sums]))
        if not is_last:
            nodes.append(node("Relu", [sums], [outputs]))
        given = outputs
    return nodes
