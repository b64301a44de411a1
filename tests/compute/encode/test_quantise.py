# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Codes and scales: exact."""

import numpy as np
import pytest

from tessera_plugin.compute.worker.encode.quantise import quantise


def test_the_scale_is_the_largest_magnitude_over_127_and_codes_are_rounded_half_to_even():
    x = np.array([[127.0, 0.5, 1.5, -2.5, -127.0], [-12.7, 6.35, 0.0, 3.0, 12.6]], np.float32) / 128
    codes, scales = quantise(x)
    assert scales.tolist() == [1 / 128, np.float32(np.float32(12.7) / 128) / np.float32(127)]
    assert codes.tolist() == [[127, 0, 2, -2, -127], [-127, 64, 0, 30, 126]]
    assert (codes.dtype, scales.dtype) == (np.int8, np.float32)


def test_each_pixel_has_its_own_scale():
    """Trap 21: a small pixel beside a large one comes back as well as alone."""
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
def test_zeros_and_what_is_not_finite_make_no_valid_pixel(bad):
    """Trap 30, the way out."""
    x = np.ones((3, 8), np.float32)
    x[1] = bad if bad == 0 else [1, 2, bad, 3, 4, 5, 6, 7]
    codes, scales = quantise(x)
    assert np.isnan(scales).tolist() == [False, True, False]
    assert not codes[1].any()
    assert (codes[[0, 2]] == 127).all()


@pytest.mark.parametrize("size", [1e-45, 1e-30, 1e-7, 200.0, 3e38])
def test_scales_that_a_reader_would_refuse_are_not_written(size):
    codes, scales = quantise(np.full((1, 4), size, np.float32))
    assert np.isnan(scales).all()
    assert not codes.any()
