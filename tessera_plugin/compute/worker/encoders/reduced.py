# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Graphs that compute with fewer bits, and what that costs."""

from __future__ import annotations

from typing import Dict, List, Sequence, Tuple

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from ..encode.prepare import Inputs
from .architectures import Encoder
from .builder import OUTPUT, Graph, HalfGraph
from .calibration import Calibration, saturated
from .graph import ExportRefused, open_session, to_onnx
from .int8 import Int8Graph, Ranges
from .progress import Report, part, silent
from .spec import EncoderSpec, Loss

CLIPPED = (0.0, 1e-4, 1e-3)
"""Shares of the values that may lie beyond a range, at each end; the best is taken."""

WORST_COSINE = 0.9
"""A graph that is further from float32, in the mean, is of no use to anyone."""

_SAMPLE = 1 << 18
"""So many values of a batch are sorted to find where a share of them ends."""

Floats = NDArray[np.float32]


def half(encoder: Encoder) -> onnx.ModelProto:
    """Return the graph with layers in float16. Raises: ExportRefused if a weight is too large."""
    try:
        return to_onnx(encoder, HalfGraph())
    except OverflowError as error:
        raise ExportRefused(str(error)) from error


def int8(encoder: Encoder, data: Calibration, report: Report = silent) -> onnx.ModelProto:
    """Return the graph with layers in int8, with ranges of this data."""
    candidates = _ranges(encoder, data.ranges, part(report, 0.0, 0.3))
    reference = open_session(to_onnx(encoder))
    wanted = _outputs(reference, data.ranges, part(report, 0.3, 0.6))
    models = [to_onnx(encoder, Int8Graph(ranges)) for ranges in candidates]
    nearest = []
    for number, model in enumerate(models):
        step = 0.4 / len(models)
        told = part(report, 0.6 + number * step, 0.6 + (number + 1) * step)
        nearest.append(_cosines(_outputs(open_session(model), data.ranges, told), wanted).min())
    return models[int(np.argmax(nearest))]


def loss_of(
    session: ort.InferenceSession,
    reference: ort.InferenceSession,
    spec: EncoderSpec,
    data: Calibration,
    report: Report = silent,
) -> Loss:
    """Compare a graph with the one in float32, over pixels that it has not seen.

    `spec` is that of float32. Raises: ExportRefused where it is far off, or a result not finite.
    """
    kept = spec.output.kept_dimension
    wanted = _outputs(reference, data.held_out, part(report, 0.0, 0.5))[:, :kept]
    found = _outputs(session, data.held_out, part(report, 0.5, 1.0))[:, :kept]
    cosines = _cosines(found, wanted)
    if not cosines.mean() >= WORST_COSINE:
        raise ExportRefused(f"too far from float32: cosine {cosines.mean():.4f} in the mean")
    return Loss(
        cosine_mean=float(cosines.mean()),
        cosine_min=float(cosines.min()),
        error_of_spread=float(
            np.sqrt(np.square(found - wanted).mean() / wanted.var(axis=0).mean())
        ),
        pixels=len(cosines),
        batch_difference=max(_batch_difference(session, spec, one) for one in data.held_out),
        calibration="",
    )


def _batch_difference(session: ort.InferenceSession, spec: EncoderSpec, inputs: Inputs) -> float:
    """Return how much pixels change when a saturated one is computed with them."""
    few = {name: array[:2] for name, array in inputs.items()}
    alone = {name: np.repeat(array[:1], 2, axis=0) for name, array in few.items()}
    bright = saturated(spec, inputs)
    together = {name: np.concatenate([few[name], bright[name]]) for name in few}
    (first,), (second,) = session.run([OUTPUT], alone), session.run([OUTPUT], together)
    return float(np.abs(first[0] - second[0]).max())


def _ranges(encoder: Encoder, batches: Sequence[Inputs], report: Report) -> List[Ranges]:
    """Return the ranges of what goes into each product, for each share of CLIPPED."""
    graph = Graph()
    model = to_onnx(encoder, graph)
    names = sorted(set(graph.points.values()))
    shown = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
    model.graph.output.extend(shown)
    session = open_session(model)
    found: Dict[str, NDArray[np.float64]] = {}
    for number, inputs in enumerate(batches):
        report(number / len(batches), "taking ranges for int8")
        for name, values in zip(names, session.run(names, inputs)):
            ends = _ends(values)
            known = found.setdefault(name, ends)
            known[:, 0] = np.minimum(known[:, 0], ends[:, 0])
            known[:, 1] = np.maximum(known[:, 1], ends[:, 1])
    return [
        {point: _pair(found[name][share]) for point, name in graph.points.items()}
        for share in range(len(CLIPPED))
    ]


def _ends(values: Floats) -> NDArray[np.float64]:
    """Return the lower and upper end for each share of CLIPPED: (shares, 2)."""
    flat = values.ravel()
    some = flat[:: max(flat.size // _SAMPLE, 1)]
    ends = [
        np.quantile(some, [share, 1 - share]) if share else (flat.min(), flat.max())
        for share in CLIPPED
    ]
    return np.array(ends, np.float64)


def _pair(ends: NDArray[np.float64]) -> Tuple[float, float]:
    return float(ends[0]), float(ends[1])


def _outputs(session: ort.InferenceSession, batches: Sequence[Inputs], report: Report) -> Floats:
    found = []
    for number, inputs in enumerate(batches):
        report(number / len(batches), "measuring what fewer bits cost")
        found.append(session.run([OUTPUT], inputs)[0])
    return np.concatenate(found)


def _cosines(found: Floats, wanted: Floats) -> NDArray[np.float64]:
    a, b = found.astype(np.float64), wanted.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines: NDArray[np.float64] = (a * b).sum(axis=1) / lengths
    return cosines
