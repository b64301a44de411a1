# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Codes and scales: exact."""

import numpy as np
import pytest

from tessera_plugin.compute.worker.encode.quantise import quantise as quantise_by
from tessera_plugin.compute.worker.encoders.releases import RULES

V2, V11 = RULES["2.0"].quantisation, RULES["1.1"].quantisation


def quantise(x, rule=V2):
    return quantise_by(x, rule)


def test_the_scale_is_the_largest_magnitude_over_127_and_codes_are_rounded_half_to_even():
    x = np.array([[127.0, 0.5, 1.5, -2.5, -127.0], [-12.7, 6.35, 0.0, 3.0, 12.6]], np.float32) / 128
    codes, scales = quantise(x)
    assert scales.tolist() == [1 / 128, np.float32(np.float32(12.7) / 128) / np.float32(127)]
    assert codes.tolist() == [[127, 0, 2, -2, -127], [-127, 64, 0, 30, 126]]
    assert (codes.dtype, scales.dtype) == (np.int8, np.float32)


def test_trap_21_each_pixel_has_its_own_scale():
    """A small pixel beside a large one comes back as well as alone."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 128)).astype(np.float32)
    x *= np.geomspace(1e-4, 20, 500, dtype=np.float32)[:, None]
    codes, scales = quantise(x)
    back = codes * scales[:, None]
    cosine = (x * back).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(back, axis=1)
    assert cosine.min() > 0.9998
    assert (np.abs(back - x) <= scales[:, None] * 0.5001).all()
    for pixel in range(0, 500, 50):
        alone, scale = quantise(x[pixel : pixel + 1])
        assert (alone[0] == codes[pixel]).all()
        assert scale[0] == scales[pixel]


def test_minus_128_never_occurs_and_every_valid_pixel_reaches_127():
    x = np.random.default_rng(1).standard_normal((20_000, 16)).astype(np.float32)
    codes, scales = quantise(x)
    assert np.isfinite(scales).all()
    assert codes.min() == -127
    assert (np.abs(codes.astype(int)).max(axis=1) == 127).all()


@pytest.mark.parametrize("bad", [0.0, -0.0, np.nan, np.inf, -np.inf])
def test_trap_30_zeros_and_what_is_not_finite_make_no_valid_pixel(bad):
    """The last barrier: a run ends before."""
    x = np.ones((3, 8), np.float32)
    x[1] = bad if bad == 0 else [1, 2, bad, 3, 4, 5, 6, 7]
    codes, scales = quantise(x)
    assert np.isnan(scales).tolist() == [False, True, False]
    assert not codes[1].any()
    assert (codes[[0, 2]] == 127).all()


@pytest.mark.parametrize("size", [127.0, 200.0, 3e38])
def test_scales_that_a_reader_would_refuse_are_not_written(size):
    for rule in (V2, V11):
        codes, scales = quantise(np.full((1, 4), size, np.float32), rule)
        assert np.isnan(scales).all()
        assert not codes.any()


def test_the_smallest_scale_is_that_of_the_generation():
    """Published: v1 max(max / 127, 1e-8); v2 max(max, 1e-12) / 127."""
    x = np.array([[3e-8, -6e-8, 0, 1.27e-7]], np.float32)
    codes, scales = quantise(x, V11)
    assert scales.tolist() == [np.float32(1e-8)]
    assert codes.tolist() == [[3, -6, 0, 13]]
    codes, scales = quantise(x, V2)
    assert codes.tolist() == [[30, -60, 0, 127]]
    assert scales[0] == np.float32(1.27e-7) / np.float32(127)
    for rule, nothing in ((V11, 4e-9), (V2, 3e-15)):
        codes, scales = quantise(np.full((1, 4), nothing, np.float32), rule)
        assert np.isnan(scales).all(), "all codes are zero"
        assert not codes.any()
