# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A graph whose large products are computed in 8 bits, with ranges fixed beforehand.

Ranges that are found while it runs would be those of a batch, and a pixel's embedding would depend
on its neighbours. Only the products with the weights of the layers are in int8: they are nearly all
of the work. Embedding, attention, norms, recurrence, pooling and reducer stay in float32.

Written as ONNX's own QuantizeLinear and DequantizeLinear around Gemm, which ONNX Runtime replaces
by one node of integers. Activations are uint8; weights are int8, per output channel, and use 7 of
their 8 bits: then processors without instructions for this (before 2019, about) can't overflow
their 16-bit sums, and everywhere the same comes out.
"""

from __future__ import annotations

from typing import Dict, Mapping, Tuple

import numpy as np

from .builder import Graph, Lengths, Values, plain

LARGEST_WEIGHT = 63
_LARGEST_BIAS = 1 << 30
_STEPS = 255

Range = Tuple[float, float]
Ranges = Mapping[str, Range]
"""Smallest and largest value that goes into each product, by the name of its weights."""


class Int8Graph(Graph):
    """float32 but for the products of the layers."""

    def __init__(self, ranges: Ranges) -> None:
        super().__init__()
        self._ranges = ranges
        self._lengths: Lengths = ("", "")
        self._shape = ""
        self._flat_codes: Dict[str, str] = {}

    def enter(self, x: str, lengths: Lengths) -> str:
        """Note the lengths of x (B, T, d): the products are of matrices, (B T, d)."""
        self._lengths, self._shape = lengths, self.add("Shape", [x], end=2)
        return x

    def inner(self, x: str, name: str, weight: Values, bias: Values) -> str:  # noqa: D102
        return self._product(self._flat(x, name, weight), name, weight, bias)

    def feedforward(  # noqa: D102
        self, x: str, names: Tuple[str, str], up: Tuple[Values, Values], down: Tuple[Values, Values]
    ) -> str:
        first, second = names
        hidden = self._gemm(self._flat(x, first, up[0]), first, *up)
        # Codes start at 0, which is the ReLU.
        return self._product(self._coded(hidden, second), second, *down)

    def _flat(self, x: str, name: str, weight: Values) -> str:
        """Append the codes of x as a matrix; once, if several products take it."""
        if x not in self._flat_codes:
            matrix = self.add("Reshape", [x, self.integers(-1, int(weight.shape[0]))])
            self._flat_codes[x] = self._coded(matrix, name)
        return self._flat_codes[x]

    def _product(self, x: str, name: str, weight: Values, bias: Values) -> str:
        flat, size = self._gemm(x, name, weight, bias), int(weight.shape[1])
        shape = self.add("Concat", [self._shape, self.integers(size)], axis=0)
        return self.shaped(self.add("Reshape", [flat, shape]), *self._lengths, size)

    def _coded(self, x: str, name: str) -> str:
        """Append uint8 codes of x and their values again."""
        scale, zero = _scale_of(self._ranges[name])
        stored = [
            self.store(f"{name}.input_scale", np.array(scale, np.float32)),
            self.store(f"{name}.input_zero", np.array(zero, np.uint8)),
        ]
        codes = self.add("QuantizeLinear", [x, *stored])
        return self.add("DequantizeLinear", [codes, *stored])

    def _gemm(self, x: str, name: str, weight: Values, bias: Values) -> str:
        w, b = plain(weight).astype(np.float64), plain(bias).astype(np.float64)
        x_scale = np.float64(_scale_of(self._ranges[name])[0])
        scales = np.abs(w).max(axis=0) / LARGEST_WEIGHT
        # The bias is stored in steps of both scales, in 32 bits: with tiny weights it would not fit.
        scales = np.maximum(scales, np.abs(b) / (x_scale * _LARGEST_BIAS))
        scales = np.maximum(scales, np.finfo(np.float32).tiny).astype(np.float32)
        codes = np.clip(np.rint(w / scales), -LARGEST_WEIGHT, LARGEST_WEIGHT).astype(np.int8)
        bias_scales = (np.float32(x_scale) * scales).astype(np.float32)
        bias_codes = np.rint(b / np.maximum(bias_scales, np.finfo(np.float32).tiny))
        parts = [
            (f"{name}.weight", codes, scales, 1),
            (f"{name}.bias", bias_codes.astype(np.int32), bias_scales, 0),
        ]
        values = []
        for stored, array, scale, axis in parts:
            kind = array.dtype
            inputs = [
                self.store(stored, array),
                self.store(f"{stored}_scale", scale),
                self.store(f"zeros_{kind}_{len(scale)}", np.zeros(len(scale), kind)),
            ]
            values.append(self.add("DequantizeLinear", inputs, axis=axis))
        return self.add("Gemm", [x, *values])


def _scale_of(found: Range) -> Tuple[np.float32, int]:
    """Return the step between codes and the code of 0, which is always exact."""
    low, high = min(found[0], 0.0), max(found[1], 0.0)
    scale = np.float32(max((high - low) / _STEPS, 1e-12))
    return scale, int(np.clip(np.rint(-low / float(scale)), 0, _STEPS))
