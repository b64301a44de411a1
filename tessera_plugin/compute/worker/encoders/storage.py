# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Graphs as files: in one up to 2 GB, above with the weights in a second file beside it.

An ONNX file is one protobuf message, and such a message holds no more than 2 GB.
"""

from __future__ import annotations

from pathlib import Path
from typing import List, Tuple

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, numpy_helper

from ..arrays import draft

ONE_FILE_BYTES = (1 << 31) - (64 << 20)
"""Weights of a graph that goes into one file."""

SUFFIX = ".data"
_SMALL_BYTES = 1024
"""Lists of integers and the like stay in the graph: shapes are worked out from them."""


def is_large(model: onnx.ModelProto) -> bool:
    """Whether a graph's weights have a file of their own."""
    return sum(len(weight.raw_data) for weight in model.graph.initializer) > ONE_FILE_BYTES


def write_model(model: onnx.ModelProto, out: str) -> None:
    """Write a graph, whole or not at all. Raises: NoRoom, OSError."""
    if not is_large(model):
        whole = model.SerializeToString()
        with draft(out, len(whole)) as file:
            file.write(whole)
        return
    beside = out + SUFFIX
    graph, weights = _parted(model, Path(beside).name)
    with draft(beside, sum(len(weight.raw_data) for weight in weights)) as file:
        for weight in weights:
            file.write(weight.raw_data)
    try:
        text = graph.SerializeToString()
        with draft(out, len(text)) as file:
            file.write(text)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def open_graph(model: onnx.ModelProto, options: ort.SessionOptions) -> ort.InferenceSession:
    """Return a session on the processor of a graph in memory, whatever its size."""
    whole = model
    if is_large(model):
        whole, weights = _parted(model, "weights")
        values = [
            ort.OrtValue.ortvalue_from_numpy(numpy_helper.to_array(weight)) for weight in weights
        ]
        options.add_external_initializers([weight.name for weight in weights], values)
    return ort.InferenceSession(
        whole.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _parted(model: onnx.ModelProto, location: str) -> Tuple[onnx.ModelProto, List[TensorProto]]:
    """Return the graph without its large weights, and these in the order of their file."""
    weights = [w for w in model.graph.initializer if len(w.raw_data) >= _SMALL_BYTES]
    names = {weight.name for weight in weights}
    rest = [w for w in model.graph.initializer if w.name not in names]
    ends = np.cumsum([len(weight.raw_data) for weight in weights]).tolist()
    stubs = []
    for weight, end in zip(weights, ends):
        stub = TensorProto(name=weight.name, data_type=weight.data_type, dims=weight.dims)
        stub.data_location = TensorProto.EXTERNAL
        length = len(weight.raw_data)
        for key, value in (("location", location), ("offset", end - length), ("length", length)):
            stub.external_data.add(key=key, value=str(value))
        stubs.append(stub)
    graph = onnx.GraphProto(
        name=model.graph.name,
        node=model.graph.node,
        input=model.graph.input,
        output=model.graph.output,
        value_info=model.graph.value_info,
        initializer=[*rest, *stubs],
    )
    parted = onnx.ModelProto(
        ir_version=model.ir_version,
        opset_import=model.opset_import,
        producer_name=model.producer_name,
        metadata_props=model.metadata_props,
        graph=graph,
    )
    return parted, weights
