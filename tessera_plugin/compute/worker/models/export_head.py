# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The job `export_head`: a head as an ONNX file, and what ONNX Runtime then makes of embeddings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from ..arrays import draft
from ..job import Job
from .head_answers import write_answers
from .head_graph import Words, graph_of


@dataclass(frozen=True)
class Params:
    """What the client asks for; D dimensions, k classes, n embeddings. Paths are files."""

    weights: str
    """.npz: mean, std (D,); W, b or W1, b1, W2, b2 [, W3, b3], inputs before outputs."""
    temperature: float
    """What the last layer's outputs are divided by before the softmax."""
    metadata: str
    """.json: what is written on the file, by key."""
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

    Raises: ValueError for weights that are none, ModelUnusable, NoRoom.
    """
    p = Params(**params)
    job.report(0.0)
    metadata = json.loads(Path(p.metadata).read_text("utf-8"))
    model = graph_of(_arrays(p), Words(p.title, p.told, p.version, metadata))
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString()
    with draft(p.model, len(content)) as file:
        file.write(content)
    job.report(0.5)
    write_answers(p.model, p.tried, p.out)
    return {
        "bytes": Path(p.model).stat().st_size,
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def _arrays(p: Params) -> Dict[str, NDArray[np.float32]]:
    with np.load(p.weights, allow_pickle=False) as archive:
        arrays = {name: archive[name].astype(np.float32) for name in archive.files}
    return {**arrays, "temperature": np.array([p.temperature], np.float32)}
