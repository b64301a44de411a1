# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The job `head_answers`: what ONNX Runtime makes of embeddings with a head's ONNX file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Mapping

import numpy as np
import onnxruntime

from ..arrays import npy_draft, open_npy
from ..job import Job
from .head_graph import INPUT, OUTPUT
from .opening import open_model


@dataclass(frozen=True)
class Params:
    """What the client asks for; D dimensions, k classes, n embeddings. Paths are files."""

    model: str
    tried: str
    """.npy, float32 (n, D): dequantised embeddings."""
    out: str
    """.npy, float32 (n, k): the probabilities."""


def run(params: Mapping[str, Any], job: Job) -> Dict[str, object]:
    """Write the probabilities, whole or not at all. Raises: ModelUnusable, NoRoom."""
    p = Params(**params)
    job.check()
    write_answers(p.model, p.tried, p.out)
    return {"onnxruntime": onnxruntime.__version__}


def write_answers(model: str, tried: str, out: str) -> None:
    """Write what a model, opened as anybody's is, gives for embeddings."""
    opened = open_model(model)
    (found,) = opened.session.run([OUTPUT], {INPUT: open_npy(tried).astype(np.float32)})
    with npy_draft(out, np.float32, found.shape) as file:
        file.write(np.ascontiguousarray(found, np.float32).tobytes())
