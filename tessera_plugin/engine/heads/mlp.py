# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The forward pass of a head in numpy: a chain of linear layers with ReLU between, softmax last.

The instant head is the chain of one layer, so both kinds run through here.
"""

from __future__ import annotations

from typing import Callable, Dict, List, Mapping, Sequence, Tuple

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
    return _through(layers, mean, std, codes, scales, finish=_softmax)


def logits(
    layers: Sequence[Layer],
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
    codes: NDArray[np.int8],
    scales: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return what `forward` takes the softmax of: probabilities round to 0 where these don't."""
    return _through(layers, mean, std, codes, scales, finish=lambda z: z)


def tempered(layers: Sequence[Layer], temperature: float) -> List[Layer]:
    """Return layers whose last outputs are divided by a temperature."""
    *others, (weight, bias) = layers
    if temperature == 1:
        return [*others, (weight, bias)]
    share = 1 / temperature
    return [*others, ((weight * share).astype(np.float32), (bias * share).astype(np.float32))]


def _through(
    layers: Sequence[Layer],
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
    codes: NDArray[np.int8],
    scales: NDArray[np.float32],
    *,
    finish: Callable[[NDArray[np.float32]], NDArray[np.float32]],
) -> NDArray[np.float32]:
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
        result[chunk] = finish(z)
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


def averaged(
    networks: Sequence[Mapping[str, NDArray[np.float32]]],
) -> Dict[str, NDArray[np.float32]]:
    """Return one network whose outputs before the softmax are the mean of several networks'.

    Their hidden units stand side by side, so it is a network as any other and its prediction costs
    what theirs do. All have the same number of layers. The mean of such outputs is the geometric
    mean of the probabilities.
    """
    if len(networks) == 1:
        return dict(networks[0])
    chains = [layers_of(weights) for weights in networks]
    joined: Dict[str, NDArray[np.float32]] = {}
    last = len(chains[0])
    for number, layers in enumerate(zip(*chains), 1):
        blocks, biases = [weight for weight, _ in layers], [bias for _, bias in layers]
        if number == 1:
            weight, bias = np.hstack(blocks), np.concatenate(biases)
        elif number < last:
            weight, bias = _diagonal(blocks), np.concatenate(biases)
        else:
            weight, bias = np.vstack(blocks) / len(networks), np.mean(biases, axis=0)
        joined[f"W{number}"] = weight.astype(np.float32)
        joined[f"b{number}"] = bias.astype(np.float32)
    return joined


def _diagonal(blocks: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return blocks along the diagonal, zeros elsewhere."""
    rows, cols = np.sum([block.shape for block in blocks], axis=0)
    result = np.zeros((rows, cols), np.float32)
    row = col = 0
    for block in blocks:
        height, width = block.shape
        result[row : row + height, col : col + width] = block
        row, col = row + height, col + width
    return result


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
