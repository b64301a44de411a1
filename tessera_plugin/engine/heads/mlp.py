# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The forward pass of a head in numpy: a chain of linear layers with ReLU between, softmax last.

The instant head is the chain of one layer, so both kinds run through here.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator, List, Mapping, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..products import product

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
    return _filled(layers, mean, std, codes, scales, finish=_softmax)


def logits(
    layers: Sequence[Layer],
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
    codes: NDArray[np.int8],
    scales: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Return what `forward` takes the softmax of: probabilities round to 0 where these don't."""
    return _filled(layers, mean, std, codes, scales, finish=lambda z: z)


def best(
    layers: Sequence[Layer],
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
    codes: NDArray[np.int8],
    scales: NDArray[np.float32],
) -> Tuple[NDArray[np.intp], NDArray[np.uint8]]:
    """Return the index of the most probable class and its probability in percent, both (n,).

    The same as of `forward`, without the probabilities of the others. All pixels are valid.
    """
    index = np.empty(len(codes), np.intp)
    percent = np.empty(len(codes), np.uint8)
    for chunk, z in _outputs(layers, mean, std, codes, scales):
        index[chunk] = _first_largest(z)
        percent[chunk] = np.rint(100 * _softmax(z).max(axis=0))
    return index, percent


def tempered(layers: Sequence[Layer], temperature: float) -> List[Layer]:
    """Return layers whose last outputs are divided by a temperature."""
    *others, (weight, bias) = layers
    if temperature == 1:
        return [*others, (weight, bias)]
    share = 1 / temperature
    return [*others, ((weight * share).astype(np.float32), (bias * share).astype(np.float32))]


def _filled(
    layers: Sequence[Layer],
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
    codes: NDArray[np.int8],
    scales: NDArray[np.float32],
    *,
    finish: Callable[[NDArray[np.float32]], NDArray[np.float32]],
) -> NDArray[np.float32]:
    valid = np.isfinite(scales)
    factors = np.where(valid, scales, 1).astype(np.float32)
    result = np.empty((len(codes), layers[-1][1].size), np.float32)
    for chunk, z in _outputs(layers, mean, std, codes, factors):
        result[chunk] = finish(z).T
    result[~valid] = np.nan
    return result


def _outputs(
    layers: Sequence[Layer],
    mean: NDArray[np.float32],
    std: NDArray[np.float32],
    codes: NDArray[np.int8],
    scales: NDArray[np.float32],
) -> Iterator[Tuple[slice, NDArray[np.float32]]]:
    """Yield the last layer's outputs (k, chunk), chunk by chunk; the array is used again.

    ReLU lets a positive factor pass: relu(s * x) = s * relu(x). So a pixel's scale is multiplied
    once, after the last product, on the fewest numbers, and every bias is a row more of the weights
    whose input is 1 / scale. Classes come first: what goes over them then runs along the pixels.
    """
    chain = _chain(_standardised(layers, mean, std))
    depth = codes.shape[1]
    size = min(CHUNK_PX, len(codes))
    x = np.empty((size, depth + 1), np.float32)
    hidden = [np.empty((size, weight.shape[1]), np.float32) for weight in chain[:-1]]
    last = np.ascontiguousarray(chain[-1].T)
    z = np.empty((len(last), size), np.float32)
    for start in range(0, len(codes), CHUNK_PX):
        chunk = slice(start, min(start + CHUNK_PX, len(codes)))
        count, factors = chunk.stop - start, scales[chunk]
        inputs = x[:count]
        inputs[:, :depth] = codes[chunk]
        np.divide(1, factors, out=inputs[:, depth])
        for weight, whole in zip(chain, hidden):
            outputs = whole[:count]
            product(inputs, weight, out=outputs)
            inputs = np.maximum(outputs, 0, out=outputs)
        found = product(last, inputs.T, out=z[:, :count])
        found *= factors
        yield chunk, found


def _chain(layers: Sequence[Layer]) -> List[NDArray[np.float32]]:
    """Return each layer as one matrix: the bias as its last row, and a column that hands 1 on."""
    *others, (weight, bias) = layers
    carry = [np.vstack([w, b]) for w, b in others]
    ones = [np.eye(len(w))[:, -1:] for w in carry]
    wide = [np.hstack([w, one]).astype(np.float32) for w, one in zip(carry, ones)]
    return [*wide, np.vstack([weight, bias]).astype(np.float32)]


def _first_largest(z: NDArray[np.float32]) -> NDArray[np.unsignedinteger[Any]]:
    """Return the index of the first largest number of each column (n,).

    numpy's argmax along the first axis takes twice as long.
    """
    largest = z.max(axis=0)
    index: NDArray[np.unsignedinteger[Any]] = np.zeros(
        z.shape[1], np.uint8 if len(z) <= 256 else np.uint16
    )
    for number in range(len(z) - 1, -1, -1):
        np.copyto(index, number, where=z[number] >= largest)
    return index


def _standardised(
    layers: Sequence[Layer], mean: NDArray[np.float32], std: NDArray[np.float32]
) -> List[Layer]:
    """Return the layers with the standardisation folded into the first one."""
    weight, bias = layers[0]
    folded = weight / std.astype(np.float64)[:, None]
    offset = bias - mean.astype(np.float64) @ folded
    return [(folded.astype(np.float32), offset.astype(np.float32)), *layers[1:]]


def _softmax(z: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probabilities of outputs (k, n), in their place."""
    z -= z.max(axis=0)
    np.exp(z, out=z)
    z /= z.sum(axis=0)
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
