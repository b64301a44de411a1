# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Somebody's model opened with care, and what it says of its input and output."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Tuple, Union

import onnxruntime

from ..onnx_safety import ModelUnusable, check_model

MOST_BYTES = 1_000_000_000
"""Of a head with its files of weights; the largest honest ones have some hundred megabytes."""

LAYOUTS = ("NCHW", "NHWC", "NC")
"""Patches with the dimensions before or after rows and columns, or pixels one by one."""

DEPTHS = (4, 16, 64, 128, 192, 1024)
"""Dimensions that embeddings have; which axis they lie on is told by them."""

_FLOAT = {"tensor(float)": "float32", "tensor(float16)": "float16"}
_MOST_THREADS = 16

Axis = Union[int, str]


@dataclass(frozen=True)
class Opened:
    """A model that may be run."""

    path: str
    session: Any
    input_name: str
    dtype: str
    layout: str
    depth: int
    shape: Tuple[Axis, ...]
    """Of the input; text where any length is taken."""
    output_name: str
    output_shape: Tuple[Axis, ...]
    metadata: Dict[str, str]

    @property
    def patch(self) -> Tuple[int, int]:
        """Rows and columns of a patch; 0 where any number is taken."""
        if self.layout == "NC":
            return 1, 1
        rows = self.shape[2:4] if self.layout == "NCHW" else self.shape[1:3]
        height, width = (each if isinstance(each, int) else 0 for each in rows)
        return height, width

    @property
    def outputs(self) -> int:
        """How many numbers a pixel gets; 0 where the model does not say."""
        at = {"NCHW": 1, "NHWC": 3, "NC": 1}[self.layout]
        found = self.output_shape[at] if len(self.output_shape) > at else 0
        return found if isinstance(found, int) else 0


def open_model(path: str, providers: Sequence[str] = (), threads: int = 0) -> Opened:
    """Open a model that takes embeddings and gives a score per class and pixel.

    Raises: ModelUnusable.
    """
    check_model(path, MOST_BYTES)
    try:
        session = _session(path, providers, threads)
    except Exception as error:  # onnxruntime has many, all of them mean the same
        raise ModelUnusable(path, f"{error}".splitlines()[0] if f"{error}" else "") from error
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1:
        raise ModelUnusable(path, f"it takes {len(inputs)} inputs, not the embeddings alone")
    (entry,), first = inputs, outputs[0]
    if entry.type not in _FLOAT or first.type not in _FLOAT:
        raise ModelUnusable(path, f"it takes {entry.type} and gives {first.type}, not real numbers")
    layout, depth = _layout(path, entry.shape)
    return Opened(
        path, session, entry.name, _FLOAT[entry.type], layout, depth, tuple(entry.shape),
        first.name, tuple(first.shape), dict(session.get_modelmeta().custom_metadata_map),
    )  # fmt: skip


def _session(path: str, providers: Sequence[str], threads: int) -> Any:  # noqa: ANN401
    options = onnxruntime.SessionOptions()
    processors = min(os.cpu_count() or 1, _MOST_THREADS)
    options.intra_op_num_threads = min(threads or processors, processors)
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    there = onnxruntime.get_available_providers()
    chosen = [each for each in providers if each in there] or ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(path, options, providers=chosen)


def _layout(path: str, shape: Sequence[Any]) -> Tuple[str, int]:
    """Return the layout and the dimensions, from where a known number of them stands."""
    axes: List[Axis] = list(shape)
    if len(axes) == 2 and isinstance(axes[1], int):
        return "NC", axes[1]
    if len(axes) == 4:
        first, last = axes[1], axes[3]
        if isinstance(first, int) and (first in DEPTHS or not isinstance(last, int)):
            return "NCHW", first
        if isinstance(last, int) and (last in DEPTHS or not isinstance(first, int)):
            return "NHWC", last
    raise ModelUnusable(
        path, f"its input {list(shape)} is neither pixels nor patches of embeddings"
    )
