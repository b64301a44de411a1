# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The job `read_head`: the weights of a head out of its ONNX file, and what is written on it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping

import numpy as np
import onnx

from ..arrays import draft
from ..job import Job
from ..onnx_safety import ModelUnusable, check_model
from .head_graph import ForeignGraph, arrays_of, metadata_of

MOST_BYTES = 300_000_000
"""Of a file: the weights that a head's own file may have, and room for what is told of it."""


@dataclass(frozen=True)
class Params:
    """What the client asks for. Paths are files."""

    model: str
    weights: str
    """.npz that is written: the arrays of the graph, with `temperature` (1,)."""
    metadata: str
    """.json that is written: what is written on the model, by key."""


def run(params: Mapping[str, Any], job: Job) -> Dict[str, object]:
    """Write the metadata of any model, and the weights where its graph is exactly that of a head.

    No session is opened, nothing of the model is run. `foreign` says why its graph is not a head's;
    where it is empty, the weights are there.
    Raises: ModelUnusable for what is no ONNX model or asks for more than itself, NoRoom.
    """
    p = Params(**params)
    check_model(p.model, MOST_BYTES)
    job.check()
    content = Path(p.model).read_bytes()
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # the parser has its own kinds, all of them mean the same
        raise ModelUnusable(p.model, "it is no ONNX model, or damaged") from error
    job.check()
    text = json.dumps(metadata_of(model)).encode()
    with draft(p.metadata, len(text)) as file:
        file.write(text)
    try:
        arrays = arrays_of(model)
    except ForeignGraph as error:
        return {"foreign": f"{error}"}
    with draft(p.weights, sum(each.nbytes for each in arrays.values())) as file:
        np.savez(file, **arrays)
    return {"foreign": ""}
