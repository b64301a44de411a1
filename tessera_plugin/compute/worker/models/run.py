# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The job `run_model`: embeddings of a rectangle to the scores of somebody's model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..arrays import npy_draft, open_npy
from ..job import Job
from ..onnx_safety import ModelUnusable
from .blend import Blend, Patches
from .opening import Opened, open_model

CHUNK_PX = 65_536
"""Pixels at a time, of models that take pixels."""

ACTIVATIONS = ("none", "sigmoid", "softmax")

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Params:
    """What the client asks for; D dimensions, k outputs. Paths are .npy files."""

    model: str
    codes: str
    """int8 (H, W, D)."""
    scales: str
    """float32 (H, W), NaN where a pixel is not valid."""
    row: int
    """Of the arrays' first pixel on the zone grid."""
    col: int
    rectangle: Tuple[int, int, int, int]
    """Row, column, height and width of what is wanted, on the zone grid."""
    out: str
    """float16 (k, height, width): shares of 1."""
    patch: int = 0
    overlap: int = 0
    mean: Tuple[float, ...] = ()
    """Subtracted per dimension; empty for none."""
    std: Tuple[float, ...] = ()
    activation: str = "none"
    """What makes shares of 1 of the outputs: one of ACTIVATIONS."""
    providers: Tuple[str, ...] = ()
    threads: int = 0


_opened: Dict[Tuple[object, ...], Opened] = {}


def run(params: Mapping[str, Any], job: Job) -> Dict[str, object]:
    """Write the scores of a rectangle, whole or not at all.

    What is not valid is the mean of the training to the model (0 after standardising), and so is
    what lies beyond the arrays. Raises: ModelUnusable, ValueError for shapes that don't fit, NoRoom.
    """
    p = Params(**{**params, "rectangle": tuple(params["rectangle"])})
    if p.activation not in ACTIVATIONS:
        raise ValueError(f"activation {p.activation!r} is unknown")
    opened = _reused(p)
    codes, scales = open_npy(p.codes), open_npy(p.scales)
    if codes.ndim != 3 or codes.shape[2] != opened.depth or scales.shape != codes.shape[:2]:
        raise ValueError(f"codes {codes.shape} don't fit a model of {opened.depth} dimensions")
    scene = _Scene(p, opened, codes, scales)
    scores = scene.by_pixels(job) if opened.layout == "NC" else scene.by_patches(job)
    with npy_draft(p.out, np.float16, scores.shape) as file:
        file.write(scores.astype(np.float16).tobytes())
    return {"out": p.out, "outputs": len(scores)}


def _reused(p: Params) -> Opened:
    """Return the model, opened once for all rectangles of a map."""
    stat = Path(p.model).stat() if Path(p.model).exists() else None
    seen = (stat.st_mtime_ns, stat.st_size) if stat else None
    key = (p.model, seen, tuple(p.providers), p.threads)
    if key not in _opened:
        opened = open_model(p.model, p.providers, p.threads)
        _opened.clear()
        _opened[key] = opened
    return _opened[key]


class _Scene:
    """Embeddings as a model wants them."""

    def __init__(self, p: Params, opened: Opened, codes: NDArray[np.int8], scales: Floats) -> None:
        self._p, self._opened, self._codes, self._scales = p, opened, codes, scales
        self._mean = _per_dimension(p.mean, opened.depth, 0.0)
        self._std = _per_dimension(p.std, opened.depth, 1.0)
        if (self._std <= 0).any():
            raise ValueError("std must be positive")

    def by_pixels(self, job: Job) -> Floats:
        """Return the scores (k, height, width) of a model that takes pixels."""
        row, col, height, width = self._p.rectangle
        found: Optional[Floats] = None
        step = max(CHUNK_PX // width, 1)
        for top in range(0, height, step):
            rows = min(step, height - top)
            job.report(top / height)
            part = self._embedded(row + top, col, rows, width)
            scores = self._scores(part.reshape(-1, self._opened.depth), rows * width)
            if found is None:
                found = np.empty((scores.shape[1], height, width), np.float32)
            found[:, top : top + rows] = scores.T.reshape(-1, rows, width)
        if found is None:
            raise ValueError("the rectangle is empty")
        return found

    def by_patches(self, job: Job) -> Floats:
        """Return the blended scores (k, height, width) of a model that takes patches."""
        size, overlap = self._p.patch, self._p.overlap
        fixed = {each for each in self._opened.patch if each}
        if fixed and fixed != {size}:
            raise ValueError(f"the model takes patches of {self._opened.patch}, not {size}")
        patches = Patches(size, overlap)
        weights, blend = patches.weights(), None
        every = patches.touching(*self._p.rectangle)
        for number, (top, left) in enumerate(every):
            job.report(number / len(every))
            embedded = self._embedded(top, left, size, size)
            scores = self._patch_scores(embedded)
            if blend is None:
                blend = Blend(*self._p.rectangle, len(scores))
            blend.add(top, left, scores, weights)
        if blend is None:
            raise ValueError("the rectangle is empty")
        return blend.mean()

    def _patch_scores(self, embedded: Floats) -> Floats:
        """Return (k, size, size) of a patch (size, size, D)."""
        is_first = self._opened.layout == "NCHW"
        given = embedded.transpose(2, 0, 1) if is_first else embedded
        scores = self._scores(given[None], 1)[0]
        found: Floats = scores if is_first else scores.transpose(2, 0, 1)
        if found.ndim != 3 or found.shape[1:] != embedded.shape[:2]:
            raise ModelUnusable(
                self._p.model, f"of a patch {embedded.shape[:2]} it makes {tuple(found.shape)}"
            )
        return found

    def _scores(self, given: Floats, count: int) -> Floats:
        """Return what the model makes of its input, as shares of 1."""
        opened = self._opened
        array = np.ascontiguousarray(given, opened.dtype)
        (raw,) = opened.session.run([opened.output_name], {opened.input_name: array})
        raw = np.asarray(raw, np.float32)
        if raw.ndim < 2 or len(raw) != count:
            raise ModelUnusable(self._p.model, f"of {count} inputs it makes {raw.shape}")
        if not np.isfinite(raw).all():
            raise ModelUnusable(self._p.model, "some of what it gives is no number")
        axis = 3 if opened.layout == "NHWC" else 1
        return activated(raw, self._p.activation, axis)

    def _embedded(self, row: int, col: int, height: int, width: int) -> Floats:
        """Return standardised embeddings (height, width, D); 0 where nothing is valid."""
        found = np.zeros((height, width, self._opened.depth), np.float32)
        first_row, first_col = row - self._p.row, col - self._p.col
        rows = slice(max(first_row, 0), max(min(first_row + height, len(self._codes)), 0))
        cols = slice(max(first_col, 0), max(min(first_col + width, self._codes.shape[1]), 0))
        scales = self._scales[rows, cols]
        if not scales.size:
            return found
        values = self._codes[rows, cols].astype(np.float32) * scales[..., None]
        values = (values - self._mean) / self._std
        values[~np.isfinite(scales)] = 0.0
        at_row, at_col = rows.start - first_row, cols.start - first_col
        found[at_row : at_row + len(values), at_col : at_col + values.shape[1]] = values
        return found


def activated(raw: Floats, activation: str, axis: int) -> Floats:
    """Return shares of 1 of a model's raw outputs."""
    if activation == "sigmoid":
        shares: Floats = 1 / (1 + np.exp(-np.clip(raw, -60, 60)))
    elif activation == "softmax":
        grown = np.exp(raw - raw.max(axis=axis, keepdims=True))
        shares = grown / grown.sum(axis=axis, keepdims=True)
    else:
        shares = raw
    return shares


def _per_dimension(values: Sequence[float], depth: int, otherwise: float) -> Floats:
    if not values:
        return np.full(depth, otherwise, np.float32)
    if len(values) != depth:
        raise ValueError(f"{len(values)} numbers for {depth} dimensions")
    found: List[float] = [float(each) for each in values]
    return np.array(found, np.float32)
