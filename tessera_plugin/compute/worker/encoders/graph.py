# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""An encoder as an ONNX graph that takes any number of pixels and observations.

The graph is written node by node, not traced: a tracer unrolls the recurrent cell and fixes its
length, writes paths of the machine into the file, and changes with every version of torch. That
both say the same is measured before a file is written (parity.py).
"""

from __future__ import annotations

from typing import List, Optional, Tuple

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper
from torch import nn

from .architectures import LAST_DAY, Backbone, Encoder, Layer, season_of
from .builder import INPUTS, OUTPUT, Graph, Values
from .pooling import Pooling, ResetFirstGru
from .storage import is_large, open_graph

OPSET = 18
IR_VERSION = 8
"""Old enough for ONNX Runtime of 2022."""


class ExportRefused(ValueError):  # noqa: N818 - not a fault of ours
    """An encoder was not written as ONNX; the message says why."""


def to_onnx(encoder: Encoder, graph: Optional[Graph] = None) -> onnx.ModelProto:
    """Return the graph: inputs (batch, time, bands + 1), output (batch, dimension), float32.

    `graph` is empty, and decides how the layers are computed; without one, in float32.

    Raises: ExportRefused where an axis came out fixed.
    """
    graph = graph or Graph()
    width = encoder.shape.width
    days = torch.arange(LAST_DAY + 1, dtype=torch.float32)[:, None]
    season = graph.weight("season", season_of(days, width))
    sensors = [
        _backbone(graph, name, backbone, season)
        for name, backbone in zip(INPUTS, (encoder.s2_backbone, encoder.s1_backbone))
    ]
    both = _fused(graph, sensors, encoder)
    _sequential(graph, both, "dim_reducer", encoder.dim_reducer, result=OUTPUT)
    model = helper.make_model(
        graph.proto(encoder.shape.output),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    refuse_frozen(model)
    if not is_large(model):  # the checker takes a message, and such a one holds no more than 2 GB
        onnx.checker.check_model(model)
    return model


def open_session(model: onnx.ModelProto) -> ort.InferenceSession:
    """Open a graph on the processor. Raises: ExportRefused if ONNX Runtime does not take it."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # Threads that wait in a loop would take the processors from QGIS.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return open_graph(model, options)
    except Exception as error:
        raise ExportRefused(f"ONNX Runtime does not open the graph: {error}") from error


def refuse_frozen(model: onnx.ModelProto) -> None:
    """Raise ExportRefused unless batch and both times are free, and free of each other."""
    frozen, names = [], []
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        frozen += [
            f"{value.name} axis {axis} = {dims[axis].dim_value}"
            for axis in (0, 1)
            if not dims[axis].dim_param
        ]
        names.append((dims[0].dim_param, dims[1].dim_param))
    if frozen:
        raise ExportRefused(f"the graph takes one length only: {', '.join(frozen)}")
    (batch, s2_time), (same_batch, s1_time) = names
    if batch != same_batch or len({batch, s2_time, s1_time}) != 3:
        raise ExportRefused(f"the axes of the inputs hang together: {names}")


def _linear(graph: Graph, x: str, name: str, layer: nn.Linear, result: str = "") -> str:
    return graph.linear(x, name, layer.weight.T, layer.bias, result)


def _normalised(graph: Graph, x: str, name: str, layer: nn.LayerNorm, result: str = "") -> str:
    return graph.normalised(x, name, *_gain_and_bias(layer), layer.eps, result)


def _gain_and_bias(layer: nn.LayerNorm) -> Tuple[Values, Values]:
    (width,) = layer.normalized_shape
    gain = np.ones(width) if layer.weight is None else layer.weight
    return gain, np.zeros(width) if layer.bias is None else layer.bias


def _sequential(graph: Graph, x: str, name: str, parts: nn.Sequential, result: str = "") -> str:
    last = len(parts) - 1
    for number, part in enumerate(parts):
        at, to = f"{name}.{number}", result if number == last else ""
        if isinstance(part, nn.Linear):
            x = _linear(graph, x, at, part, to)
        elif isinstance(part, nn.LayerNorm):
            x = _normalised(graph, x, at, part, to)
        elif isinstance(part, nn.ReLU):
            x = graph.add("Relu", [x], to)
        elif not isinstance(part, nn.Identity):
            raise ExportRefused(f"{at} is a {type(part).__name__}")
    return x


def _backbone(graph: Graph, x: str, backbone: Backbone, season: str) -> str:
    """Append a sensor's half. `season` holds a row for each day of year, 0 too."""
    name = x.replace("input", "backbone")
    bands = int(backbone.embedding[0].in_features)
    axis = graph.integers(2)
    observed = graph.add("Slice", [x, graph.integers(0), graph.integers(bands), axis])
    days = graph.add("Slice", [x, graph.integers(bands), graph.integers(bands + 1), axis])
    embedded = _sequential(graph, observed, f"{name}.embedding", backbone.embedding)
    # Looked up, not computed for each observation: there are but 367 days.
    row = graph.add("Cast", [graph.add("Squeeze", [days, axis])], to=TensorProto.INT32)
    dated = graph.add("Add", [embedded, graph.add("Gather", [season, row], axis=0)])
    x = graph.enter(dated, ("batch", x.replace("input", "time")))
    for at, layer in backbone.layers():
        x = _layer(graph, x, f"{name}.{at}", layer)
    return _pooled(graph, graph.leave(x), f"{name}.attn_pool", backbone.attn_pool)


def _fused(graph: Graph, sensors: List[str], encoder: Encoder) -> str:
    """Append what makes one vector (B, 2 d) of both sensors'."""
    if not encoder.shape.fusion_layers:
        return graph.add("Concat", sensors, axis=1)
    tokens = [graph.add("Unsqueeze", [sensor, graph.integers(1)]) for sensor in sensors]
    which = graph.weight("fusion_modality_embed", encoder.fusion_modality_embed)
    x = graph.add("Add", [graph.add("Concat", tokens, axis=1), which])
    x = graph.enter(x, ("batch", 2))
    for number, layer in enumerate(encoder.fusion_transformer.layers):
        x = _layer(graph, x, f"fusion_transformer.layers.{number}", layer)
    return graph.add("Flatten", [graph.leave(x)], axis=1)


def _layer(graph: Graph, x: str, name: str, layer: nn.Module) -> str:
    if not isinstance(layer, Layer):
        raise ExportRefused(f"{name} is a {type(layer).__name__}")

    def norm(x: str, number: int) -> str:
        norms = (layer.norm1, layer.norm2)
        at = f"{name}.norm{number}"
        return graph.inner_normalised(x, at, *_gain_and_bias(norms[number - 1]), layer.norm1.eps)

    def feedforward(x: str) -> str:
        names = (f"{name}.linear1", f"{name}.linear2")
        up, down = ((part.weight.T, part.bias) for part in (layer.linear1, layer.linear2))
        return graph.feedforward(x, names, up, down)

    if layer.is_norm_first:
        x = graph.add("Add", [x, _attention(graph, norm(x, 1), name, layer)])
        return graph.add("Add", [x, feedforward(norm(x, 2))])
    x = norm(graph.add("Add", [x, _attention(graph, x, name, layer)]), 1)
    return norm(graph.add("Add", [x, feedforward(x)]), 2)


def _attention(graph: Graph, x: str, name: str, layer: Layer) -> str:
    of = layer.projections()
    width = int(of.out.in_features)
    size = width // layer.heads
    # The scale of the scores is worked into the queries' weights, or the gain of their norm.
    scales = (size**-0.5, 1.0, 1.0)
    parts = []
    for number, (letter, scale) in enumerate(zip("qkv", scales)):
        factor = 1.0 if of.norms else scale
        weight, bias = of.weights[number].T * factor, of.biases[number] * factor
        projected = graph.inner(x, f"{name}.{letter}_proj", weight, bias)
        by_head = graph.integers(0, 0, layer.heads, size)
        parts.append(graph.add("Reshape", [projected, by_head]))  # (B, T, heads, size)
    for number, (letter, norm) in enumerate(zip("qk", of.norms)):
        gain, at = norm.weight * scales[number], f"{name}.{letter}_norm"
        parts[number] = graph.rms_normalised(parts[number], at, gain, norm.epsilon)
    orders = ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
    q, k, v = (graph.add("Transpose", [part], perm=order) for part, order in zip(parts, orders))
    mixed = graph.add("MatMul", [graph.softmax(graph.add("MatMul", [q, k])), v])
    by_time = graph.add("Transpose", [mixed], perm=[0, 2, 1, 3])
    together = graph.add("Reshape", [by_time, graph.integers(0, 0, width)])
    return graph.inner(together, f"{name}.out_proj", of.out.weight.T, of.out.bias)


def _pooled(graph: Graph, x: str, name: str, pooling: Pooling) -> str:
    context = x
    if pooling.temporal_context is not None:
        context = _recurrent(graph, x, f"{name}.temporal_context", pooling.temporal_context)
    if pooling.layer_norm is not None:
        context = _normalised(graph, context, f"{name}.layer_norm", pooling.layer_norm)
    scores = _linear(graph, context, f"{name}.query", pooling.query)
    weighted = graph.add("Mul", [graph.add("Softmax", [scores], axis=1), x])
    return graph.add("ReduceSum", [weighted, graph.integers(1)], keepdims=0)


def _recurrent(graph: Graph, x: str, name: str, gru: nn.Module) -> str:
    """Append either GRU as one node; they differ in where the reset gate works."""
    if isinstance(gru, ResetFirstGru):
        weights, linear_before_reset = _reset_first_weights(gru), 0
    elif isinstance(gru, nn.GRU):
        weights, linear_before_reset = _gru_weights(gru), 1
    else:
        raise ExportRefused(f"{name} is a {type(gru).__name__}")
    stored = [graph.weight(f"{name}.{part}", w[None]) for part, w in zip("WRB", weights)]
    states = graph.add(
        "GRU",
        [graph.add("Transpose", [x], perm=[1, 0, 2]), *stored],
        hidden_size=int(weights[1].shape[1]),
        linear_before_reset=linear_before_reset,
    )  # (T, 1, B, d)
    flat = graph.add("Squeeze", [states, graph.integers(1)])
    return graph.add("Transpose", [flat], perm=[1, 0, 2])


def _reset_first_weights(gru: ResetFirstGru) -> List[torch.Tensor]:
    """Return W, R (3d, d) and B (6d,) in ONNX's order z, r, h.

    ONNX keeps the old state by z, the cell by 1 - z = sigmoid(-a): so the update gate is negated.
    """
    cell = gru.gru_cell
    w = torch.cat([-cell.W_iz.weight, cell.W_ir.weight, cell.W_ih.weight])
    r = torch.cat([-cell.W_hz.weight, cell.W_hr.weight, cell.W_hh.weight])
    bias = torch.cat([-cell.b_z, cell.b_r, cell.b_h])
    return [w, r, torch.cat([bias, torch.zeros_like(bias)])]


def _gru_weights(gru: nn.GRU) -> List[torch.Tensor]:
    """Return the same of PyTorch's order r, z, n."""

    def reordered(stacked: torch.Tensor) -> torch.Tensor:
        r, z, n = stacked.chunk(3)
        return torch.cat([z, r, n])

    biases = torch.cat([reordered(gru.bias_ih_l0), reordered(gru.bias_hh_l0)])
    return [reordered(gru.weight_ih_l0), reordered(gru.weight_hh_l0), biases]
