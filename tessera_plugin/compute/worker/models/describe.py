# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The job `describe_model`: what somebody's model takes and gives; it is tried on a little noise."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Dict, Mapping, Tuple

import numpy as np
from numpy.typing import NDArray

from ..job import Job
from ..onnx_safety import ModelUnusable
from .opening import Opened, open_model

_MOST_TEXT = 100_000
_TRIED_PX = 64
_TOLERANCE = 1e-3


def run(params: Mapping[str, Any], job: Job) -> Dict[str, object]:
    """Return the model's layout, dimensions, patch and outputs, its metadata and its SHA-256.

    `are_shares` tells whether what it gives lies between 0 and 1, `sum_to_one` whether the outputs
    of a pixel do so together.

    Raises: ModelUnusable.
    """
    path = str(params["model"])
    opened = open_model(path)
    job.check()
    height, width = opened.patch
    if height != width:
        raise ModelUnusable(path, f"its patches are {height} x {width}, not square")
    tried, axis = _tried(opened)
    job.check()
    return {
        "layout": opened.layout,
        "depth": opened.depth,
        "patch": [height, width],
        "outputs": tried.shape[axis],
        "are_shares": bool(tried.min() >= -_TOLERANCE and tried.max() <= 1 + _TOLERANCE),
        "sum_to_one": bool(np.abs(tried.sum(axis=axis) - 1).max() < _TOLERANCE),
        "metadata": {k: v[:_MOST_TEXT] for k, v in opened.metadata.items()},
        "sha256": _sha256(path),
        "bytes": Path(path).stat().st_size,
    }


def _tried(opened: Opened) -> Tuple[NDArray[np.float32], int]:
    """Return what the model makes of noise, and the axis of its outputs. Raises: ModelUnusable."""
    size = opened.patch[0] or _TRIED_PX
    shapes = {
        "NC": (_TRIED_PX, opened.depth),
        "NCHW": (1, opened.depth, size, size),
        "NHWC": (1, size, size, opened.depth),
    }
    noise = np.random.default_rng(0).normal(size=shapes[opened.layout]).astype(opened.dtype)
    try:
        (found,) = opened.session.run([opened.output_name], {opened.input_name: noise})
    except Exception as error:  # onnxruntime has many, all of them mean the same
        raise ModelUnusable(opened.path, f"{error}".splitlines()[0]) from error
    axis = 3 if opened.layout == "NHWC" else 1
    wanted = {
        "NC": (_TRIED_PX, None),
        "NCHW": (1, None, size, size),
        "NHWC": (1, size, size, None),
    }[opened.layout]
    fits = len(found.shape) == len(wanted) and all(
        each in {None, length} for each, length in zip(wanted, found.shape)
    )
    if not fits:
        raise ModelUnusable(
            opened.path, f"of {noise.shape} it makes {found.shape}, not a score per pixel"
        )
    return found.astype(np.float32), axis


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
