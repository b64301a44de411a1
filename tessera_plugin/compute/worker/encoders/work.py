# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How much an encoder has to multiply and add for a pixel."""

from __future__ import annotations

from .architectures import S1_BANDS, S2_BANDS, Shape
from .pooling import ATTENTION
from .spec import Work

_GIGA = 1e9


def work_of(shape: Shape) -> Work:
    """Return the work of all products of matrices: two operations for each weight and use of it."""
    quadratic = _quadratic(shape)
    return Work(
        constant=2 * _reducer(shape) / _GIGA,
        per_s2=2 * _per_observation(shape, S2_BANDS) / _GIGA,
        per_s2_squared=2 * quadratic / _GIGA,
        per_s1=2 * _per_observation(shape, S1_BANDS) / _GIGA,
        per_s1_squared=2 * quadratic / _GIGA,
    )


def _per_observation(shape: Shape, bands: int) -> int:
    d = shape.width
    embedding = bands * d + d * d
    recurrence = 0 if shape.pooling == ATTENTION else 6 * d * d
    score = d
    return embedding + shape.layers * _layer(shape) + recurrence + score


def _layer(shape: Shape) -> int:
    """Return what a layer does with each observation."""
    return 4 * shape.width**2 + 2 * shape.width * shape.feedforward


def _quadratic(shape: Shape) -> int:
    """Return what each pair of observations costs: scores, and the mix they give."""
    return shape.layers * 2 * shape.width


def _reducer(shape: Shape) -> int:
    d = shape.width
    fusion = shape.fusion_layers * (2 * _layer(shape.fusion()) + 4 * 2 * d)
    if shape.is_reducer_mlp:
        return fusion + 2 * d * 4 * d + 4 * d * shape.output
    return fusion + 2 * d * shape.output
