# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Class probabilities of many pixels under a trained network."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Tuple

import numpy as np
import torch
from numpy.typing import NDArray

from .arrays import npy_draft, open_npy
from .job import Job

CHUNK_PX = 8192
"""Pixels at a time: 4 MB as float32, so a chunk stays in a processor's cache and a cancel is quick."""

Layer = Tuple[torch.Tensor, torch.Tensor]
"""Weights (inputs, outputs) and bias (outputs,)."""


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
    """float32 (n, k), rows of NaN where a pixel is not valid."""


def run(params: Mapping[str, Any], job: Job) -> Dict[str, object]:
    """Write the probabilities, whole or not at all.

    Raises: ValueError for shapes that don't fit, NoRoom.
    """
    p = Params(**params)
    torch.set_num_threads(_threads())
    codes, scales = open_npy(p.codes), open_npy(p.scales)
    layers = _load_layers(p.weights, open_npy(p.mean), open_npy(p.std))
    n, depth, classes = len(codes), layers[0][0].shape[0], layers[-1][1].shape[0]
    if codes.shape != (n, depth) or scales.shape != (n,):
        raise ValueError(
            f"codes {codes.shape} and scales {scales.shape} don't fit weights of depth {depth}"
        )
    with npy_draft(p.out, np.float32, (n, classes)) as file, torch.inference_mode():
        for start in range(0, n, CHUNK_PX):
            job.report(start / n)
            chunk = slice(start, start + CHUNK_PX)
            file.write(_probabilities(layers, codes[chunk], scales[chunk]).tobytes())
    return {"out": p.out}


def _probabilities(
    layers: List[Layer], codes: NDArray[np.int8], scales: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return (n, k), rows of NaN where a scale is not finite."""
    scale = torch.from_numpy(scales.astype(np.float32))
    (first, bias), *others = layers
    # The scale is a number per pixel: it may wait until D dimensions have become h.
    x = torch.from_numpy(codes.astype(np.float32)) @ first  # (n, D) -> (n, h)
    x.mul_(scale[:, None]).add_(bias)
    for weight, bias in others:
        x = torch.addmm(bias, x.relu_(), weight)  # (n, h) -> (n, k)
    x = x.softmax(dim=1)
    x[~scale.isfinite()] = torch.nan
    probabilities: NDArray[np.float32] = x.numpy()
    return probabilities


def _load_layers(path: str, mean: NDArray[np.float32], std: NDArray[np.float32]) -> List[Layer]:
    """Read the layers, with the standardisation worked into the first one.

    ((e - mean) / std) @ W + b  =  e @ (W / std) + (b - (mean / std) @ W)
    """
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name].astype(np.float64) for name in archive.files}
    first = arrays["W1"] / std[:, None]
    arrays["b1"] = arrays["b1"] - (mean / std.astype(np.float64)) @ arrays["W1"]
    arrays["W1"] = first
    numbers = range(1, len(arrays) // 2 + 1)
    return [(_tensor(arrays[f"W{number}"]), _tensor(arrays[f"b{number}"])) for number in numbers]


def _tensor(array: NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(array.astype(np.float32))


def _threads() -> int:
    """Return how many threads to use: all but one, which is for QGIS to draw."""
    return max(1, (os.cpu_count() or 2) - 1)
