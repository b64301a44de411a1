# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The forward pass of a head in numpy: a chain of linear layers with ReLU between, softmax last.

The instant head is the chain of one layer, so both kinds run through here.
"""

from __future__ import annotations

from typing import List, Mapping, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

CHUNK_PX = 16_384
"""Pixels per step: small enough for the processor's cache, large enough for the matrix product."""

Layer = Tuple[NDArray[np.float32], NDArray[np.float32]]
"""Weights (inputs, outputs) and bias (outputs,)."""


def layers_of(weights: Mapping[str, NDArray[np.float32]]) -> List[Layer]:
    """Return the layers of an MLP's weights W1, b1, W2, b2 [, W3, b3] in their order.

    Raises: ValueError if the names are not these.
    """
    count = len(weights) // 2
    names = [f"{letter}{number}" for number in range(1, count + 1) for letter in "Wb"]
    if count not in (2, 3) or set(names) != set(weights):
        raise ValueError(f"an MLP has W1, b1, W2, b2 and at most W3, b3, got {sorted(weights)}")
    return [(weights[f"W{number}"], weights[f"b{number}"]) for number in range(1, count + 1)]


def forward(
    layers: Sequence[Layer],
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
    codes: NDArray[np.int8],
    scales: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return class probabilities of embeddings, x = (codes * scale - mean) / std.

    Shapes: mean, std (D,); codes (n, D); scales (n,); result (n, k).
    Nodata: a pixel whose scale is not finite gives a row of NaN.
    """
    (first, bias), *rest = _standardised(layers, mean, std)
    valid = np.isfinite(scales)
    factors = np.where(valid, scales, 0).astype(np.float32)[:, None]
    result = np.empty((len(codes), layers[-1][1].size), np.float32)
    for start in range(0, len(codes), CHUNK_PX):
        chunk = slice(start, start + CHUNK_PX)
        # one factor per pixel: it may be multiplied after the product, on far fewer numbers
        z = codes[chunk].astype(np.float32) @ first  # (chunk, h)
        z *= factors[chunk]
        z += bias
        for weight, bias_next in rest:
            np.maximum(z, 0, out=z)
            z = z @ weight + bias_next
        result[chunk] = _softmax(z)
    result[~valid] = np.nan
    return result


def _standardised(
    layers: Sequence[Layer], mean: NDArray[np.float32], std: NDArray[np.float32]
) -> List[Layer]:
    """Return the layers with the standardisation folded into the first one."""
    weight, bias = layers[0]
    folded = weight / std.astype(np.float64)[:, None]
    offset = bias - mean.astype(np.float64) @ folded
    return [(folded.astype(np.float32), offset.astype(np.float32)), *layers[1:]]


def _softmax(z: NDArray[np.float32]) -> NDArray[np.float32]:
    z -= z.max(axis=1, keepdims=True)
    np.exp(z, out=z)
    z /= z.sum(axis=1, keepdims=True)
    return z


def check_layers(layers: Sequence[Layer], depth: int, classes: int) -> None:
    """Raise ValueError unless the layers lead from `depth` inputs to `classes` outputs."""
    width = depth
    for number, (weight, bias) in enumerate(layers, 1):
        if weight.ndim != 2 or weight.shape[0] != width or bias.shape != weight.shape[1:]:
            raise ValueError(
                f"layer {number} has weights {weight.shape} and bias {bias.shape} for {width} inputs"
            )
        width = weight.shape[1]
    if width != classes:
        raise ValueError(f"the last layer has {width} outputs for {classes} classes")
