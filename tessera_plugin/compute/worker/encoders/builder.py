# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""An ONNX graph under construction: its nodes and weights, and how products are computed in it."""

from __future__ import annotations

from typing import Any, Dict, List, Sequence, Tuple, Union

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from .architectures import S1_BANDS, S2_BANDS

INPUTS = ("s2_input", "s1_input")
OUTPUT = "output"

Values = Union[torch.Tensor, NDArray[Any]]
Lengths = Tuple[Union[str, int], Union[str, int]]


class Graph:
    """Nodes and weights of a graph, all in float32.

    Its methods append nodes and return the name of what they compute. Kinds that compute the
    transformer layers with fewer bits override the second half of them.
    """

    def __init__(self) -> None:
        self._nodes: List[onnx.NodeProto] = []
        self._weights: Dict[str, onnx.TensorProto] = {}
        self._shapes: List[onnx.ValueInfoProto] = []
        self.points: Dict[str, str] = {}
        """What goes into each product of the layers, by the name of its weights."""

    def add(self, op: str, inputs: Sequence[str], result: str = "", **attributes: object) -> str:
        """Append a node and return the name of its (first) result."""
        name = result or f"{op.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def weight(self, name: str, values: Values) -> str:
        """Store weights once, in float32, and return their name."""
        return self.store(name, np.ascontiguousarray(plain(values), np.float32))

    def integers(self, *values: int) -> str:
        """Store a list of integers, such as a shape."""
        return self.store(f"integers_{'_'.join(map(str, values))}", np.array(values, np.int64))

    def store(self, name: str, array: NDArray[Any]) -> str:
        """Store an array once, and return its name."""
        if name not in self._weights:
            self._weights[name] = numpy_helper.from_array(array, name)
        return name

    def shaped(self, x: str, *shape: Union[str, int]) -> str:
        """Say which shape x has, where that can't be seen: without it fewer nodes are joined."""
        self._shapes.append(helper.make_tensor_value_info(x, TensorProto.FLOAT, shape))
        return x

    def proto(self, dimension: int) -> onnx.GraphProto:
        """Return the whole, with inputs and output of free lengths."""

        def value(name: str, *shape: Any) -> onnx.ValueInfoProto:  # noqa: ANN401 - names or lengths
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

        inputs = [
            value("s2_input", "batch", "s2_time", S2_BANDS + 1),
            value("s1_input", "batch", "s1_time", S1_BANDS + 1),
        ]
        outputs = [value(OUTPUT, "batch", dimension)]
        weights = list(self._weights.values())
        graph = helper.make_graph(self._nodes, "encoder", inputs, outputs, weights)
        graph.value_info.extend(self._shapes)
        return graph

    def linear(self, x: str, name: str, weight: Values, bias: Values, result: str = "") -> str:
        """Append x @ weight + bias. Shapes: x (..., k), weight (k, n), bias (n,)."""
        product = self.add("MatMul", [x, self.weight(f"{name}.weight", weight)])
        return self.add("Add", [product, self.weight(f"{name}.bias", bias)], result)

    def normalised(  # noqa: PLR0917
        self, x: str, name: str, gain: Values, bias: Values, epsilon: float, result: str = ""
    ) -> str:
        """Append a LayerNormalization over the last axis."""
        weights = [self.weight(f"{name}.weight", gain), self.weight(f"{name}.bias", bias)]
        return self.add("LayerNormalization", [x, *weights], result, axis=-1, epsilon=epsilon)

    # What follows is computed within the layers.

    def enter(self, x: str, lengths: Lengths) -> str:  # noqa: ARG002 - for other kinds
        """Return x (B, T, d) as the layers take it; `lengths` are B and T, by name if free."""
        return x

    def leave(self, x: str) -> str:
        """Return what the layers gave (B, T, d), in float32."""
        return x

    def inner(self, x: str, name: str, weight: Values, bias: Values) -> str:
        """Append x @ weight + bias for x (B, T, k)."""
        self.points[name] = x
        return self.linear(x, name, weight, bias)

    def feedforward(
        self, x: str, names: Tuple[str, str], up: Tuple[Values, Values], down: Tuple[Values, Values]
    ) -> str:
        """Append a product, ReLU and another product; `up` and `down` are weight and bias."""
        hidden = self.add("Relu", [self.inner(x, names[0], *up)])
        return self.inner(hidden, names[1], *down)

    def inner_normalised(
        self, x: str, name: str, gain: Values, bias: Values, epsilon: float
    ) -> str:
        """Append a LayerNormalization within the layers."""
        return self.normalised(x, name, gain, bias, epsilon)

    def rms_normalised(self, x: str, name: str, gain: Values, epsilon: float) -> str:
        """Append x over its root mean square on the last axis, times a gain."""
        squares = self.add("ReduceMean", [self.add("Mul", [x, x]), self.integers(-1)], keepdims=1)
        shifted = self.add("Add", [squares, self.weight("epsilon_rms", np.array(epsilon))])
        ratio = self.add("Div", [x, self.add("Sqrt", [shifted])])
        return self.add("Mul", [ratio, self.weight(f"{name}.weight", gain)])

    def softmax(self, scores: str) -> str:
        """Append a Softmax over the last axis."""
        return self.add("Softmax", [scores], axis=-1)


class HalfGraph(Graph):
    """The same with layers in float16, for GPUs.

    Sums within a LayerNormalization (ONNX says so: `stash_type`) and the Softmax stay in float32,
    as does all that is outside of the layers.
    """

    def enter(self, x: str, lengths: Lengths) -> str:  # noqa: ARG002, D102
        return self._halved(x)

    def leave(self, x: str) -> str:  # noqa: D102
        return self.add("Cast", [x], to=TensorProto.FLOAT)

    def inner(self, x: str, name: str, weight: Values, bias: Values) -> str:  # noqa: D102
        product = self.add("MatMul", [x, self._half(f"{name}.weight", weight)])
        return self.add("Add", [product, self._half(f"{name}.bias", bias)])

    def inner_normalised(  # noqa: D102
        self, x: str, name: str, gain: Values, bias: Values, epsilon: float
    ) -> str:
        weights = [self._half(f"{name}.weight", gain), self._half(f"{name}.bias", bias)]
        attributes = {"axis": -1, "epsilon": epsilon, "stash_type": TensorProto.FLOAT}
        return self.add("LayerNormalization", [x, *weights], **attributes)

    def rms_normalised(  # noqa: D102
        self, x: str, name: str, gain: Values, epsilon: float
    ) -> str:
        return self._halved(super().rms_normalised(self.leave(x), name, gain, epsilon))

    def softmax(self, scores: str) -> str:  # noqa: D102
        return self._halved(super().softmax(self.leave(scores)))

    def _halved(self, x: str) -> str:
        return self.add("Cast", [x], to=TensorProto.FLOAT16)

    def _half(self, name: str, values: Values) -> str:
        array = plain(values)
        if np.abs(array).max() > np.finfo(np.float16).max:
            raise OverflowError(f"{name} does not fit into float16")
        return self.store(name, np.ascontiguousarray(array, np.float16))


def plain(values: Values) -> NDArray[Any]:
    """Return a tensor's or an array's values as an array."""
    if isinstance(values, torch.Tensor):
        array: NDArray[Any] = values.detach().numpy()
        return array
    return values
