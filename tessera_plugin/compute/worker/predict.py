# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Classes of many pixels, or their probabilities, under a trained network.

ONNX Runtime computes. Each thread takes a chunk all the way from codes to classes, which so stays in
its processor's cache; nothing waits for another thread between two layers.
"""

from __future__ import annotations

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Tuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from .arrays import npy_draft, open_npy
from .job import Job
from .models.head_graph import IR_VERSION, OPSET, OUTPUT, SCORES, layer_nodes

CHUNK_PX = 2048
"""Pixels at a time: with their hidden units 1 to 2 MB as float32, as much as one processor keeps."""

_CHUNKS_A_REPORT = 8
_MOST_THREADS = 16
"""More would wait for the interpreter between two chunks."""

CODES, SCALES, BEST, PERCENT = "codes", "scales", "best", "percent"

Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Params:
    """What the client asks for; D dimensions, n pixels, k classes. Paths are .npy files, or .npz."""

    weights: str
    """.npz as train_mlp writes it."""
    mean: str
    """float32 (D,) of the embeddings the network was trained with."""
    std: str
    """float32 (D,)."""
    codes: str
    """int8 (n, D)."""
    scales: str
    """float32 (n,), NaN where a pixel is not valid."""
    out: str
    """float32 (n, k), rows of NaN where a pixel is not valid. With `best` unsigned (n, 2): the index
    of the most probable class and its probability in percent, rounded; anything if not valid."""
    best: bool = False


def run(params: Mapping[str, Any], job: Job) -> Dict[str, object]:
    """Write the answer, whole or not at all.

    Raises: ValueError for shapes that don't fit, NoRoom.
    """
    p = Params(**params)
    codes, scales = open_npy(p.codes), open_npy(p.scales)
    paths = p.weights, p.mean, p.std
    written = tuple(Path(each).stat().st_mtime_ns for each in paths)
    network = _opened(*paths, written, is_best=p.best)
    n = len(codes)
    if codes.shape != (n, network.depth) or scales.shape != (n,):
        raise ValueError(
            f"codes {codes.shape} and scales {scales.shape} don't fit weights of depth {network.depth}"
        )
    with npy_draft(p.out, network.kind, (n, network.columns)) as file:
        for number, found in enumerate(_parts(network, codes, scales, job)):
            if number % _CHUNKS_A_REPORT == 0:
                job.report(min(number * CHUNK_PX / n, 1.0))
            file.write(found.tobytes())
    return {"out": p.out}


@dataclass(frozen=True)
class _Network:
    """A network that may be run, by several threads at once."""

    session: Any
    depth: int
    columns: int
    kind: np.dtype[Any]
    """Of what it gives for each pixel: that many numbers of this type."""
    is_best: bool

    def answer(self, codes: NDArray[np.int8], scales: NDArray[np.float32]) -> NDArray[Any]:
        """Return (n, columns) of pixels."""
        found = self.session.run(None, {CODES: codes, SCALES: scales})
        if self.is_best:
            return np.stack(found, axis=1)
        probabilities: NDArray[np.float32] = found[0]
        probabilities[~np.isfinite(scales)] = np.nan
        return probabilities


def _parts(
    network: _Network, codes: NDArray[np.int8], scales: NDArray[np.float32], job: Job
) -> Iterator[NDArray[Any]]:
    """Yield the answers chunk by chunk, in order. Raises: JobCancelled."""

    def answer(start: int) -> NDArray[Any]:
        job.check()
        chunk = slice(start, start + CHUNK_PX)
        return network.answer(codes[chunk], scales[chunk])

    pool = ThreadPoolExecutor(_threads())
    try:
        yield from pool.map(answer, range(0, len(codes), CHUNK_PX))
    finally:
        pool.shutdown(cancel_futures=True)


@functools.lru_cache(maxsize=2)
def _opened(
    weights: str, mean: str, std: str, _written_ns: Tuple[int, ...], *, is_best: bool
) -> _Network:
    """Return a network, opened once for all blocks of a map."""
    arrays = _load_arrays(weights, open_npy(mean), open_npy(std))
    last = str(len(arrays) // 2)
    depth, classes = len(arrays["W1"]), arrays[f"b{last}"].size
    narrow = np.dtype(np.uint8 if classes <= 256 else np.uint16)
    nodes, results = _best(narrow) if is_best else _probabilities()
    graph = helper.make_graph(
        [helper.make_node("DequantizeLinear", [CODES, SCALES], ["embedding"], axis=0),
         *layer_nodes(arrays, last, "embedding"), *nodes],
        "network",
        [helper.make_tensor_value_info(CODES, TensorProto.INT8, ["pixels", depth]),
         helper.make_tensor_value_info(SCALES, TensorProto.FLOAT, ["pixels"])],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in results.items()],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )  # fmt: skip
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
    session = _session(model.SerializeToString())
    if is_best:
        return _Network(session, depth, 2, narrow, is_best)
    return _Network(session, depth, classes, np.dtype(np.float32), is_best)


def _probabilities() -> Tuple[List[NodeProto], Dict[str, int]]:
    """Return what makes probabilities of scores, and the results by name."""
    return [helper.make_node("Softmax", [SCORES], [OUTPUT], axis=1)], {OUTPUT: TensorProto.FLOAT}


def _best(narrow: np.dtype[Any]) -> Tuple[List[NodeProto], Dict[str, int]]:
    """Return what makes class and percent of scores, and the results by name."""
    node, kind = helper.make_node, helper.np_dtype_to_tensor_dtype(narrow)
    nodes = [
        node("ArgMax", [SCORES], ["index"], axis=1, keepdims=0),
        node("Cast", ["index"], [BEST], to=kind),
        node("Softmax", [SCORES], ["shares"], axis=1),
        node("ReduceMax", ["shares"], ["largest"], axes=[1], keepdims=0),
        node("Constant", [], ["hundred"], value_float=100.0),
        node("Mul", ["largest", "hundred"], ["percents"]),
        node("Round", ["percents"], ["rounded"]),
        node("Cast", ["rounded"], [PERCENT], to=kind),
    ]
    return nodes, {BEST: kind, PERCENT: kind}


def _session(model: bytes) -> Any:  # noqa: ANN401 - it has no types
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # the threads are ours
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _load_arrays(path: str, mean: NDArray[np.float32], std: NDArray[np.float32]) -> Arrays:
    """Read the layers, with the standardisation worked into the first one.

    ((e - mean) / std) @ W + b  =  e @ (W / std) + (b - (mean / std) @ W)
    """
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name].astype(np.float64) for name in archive.files}
    first = arrays["W1"] / std[:, None]
    arrays["b1"] = arrays["b1"] - (mean / std.astype(np.float64)) @ arrays["W1"]
    arrays["W1"] = first
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def _threads() -> int:
    """Return how many threads to use: all but one, which is for QGIS to draw; of two, both."""
    there = os.cpu_count() or 1
    return max(min(there, 2), min(there - 1, _MOST_THREADS))
