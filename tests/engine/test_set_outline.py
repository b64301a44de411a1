# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A set is told from any ground, also one of its own colour."""

import numpy as np
import pytest
from scipy import ndimage

from tessera_plugin.engine.set_outline import outlined

GREEN = (46, 125, 70)
FILL = (*GREEN, 120)


def a_set(mask):
    return np.where(mask[..., None], np.array(FILL, np.uint8), np.uint8(0))


def over(ground, rgba):
    share = rgba[..., 3:] / 255
    return ground * (1 - share) + rgba[..., :3] * share


def luminance(rgb):
    """WCAG's relative luminance."""
    linear = np.where(rgb <= 10.3, rgb / 3294.6, ((rgb / 255 + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(one, other):
    high, low = np.maximum(one, other), np.minimum(one, other)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("ground", [(255, 255, 255), (0, 0, 0), GREEN, (128, 128, 128)])
def test_its_edge_is_seen_on_any_ground(ground):
    rows, cols = np.indices((60, 80))
    mask = (rows - 30) ** 2 + (cols - 40) ** 2 < 400
    mask[5, 5] = True
    shown = luminance(over(np.full((60, 80, 3), ground, float), outlined(a_set(mask))))
    steps = contrast(shown, luminance(np.array(ground, float)))
    around = ndimage.binary_dilation(mask, np.ones((7, 7))) & ~mask
    for row, col in np.argwhere(mask & ~ndimage.binary_erosion(mask)):
        near = (slice(max(row - 3, 0), row + 4), slice(max(col - 3, 0), col + 4))
        assert steps[near][around[near]].max() > 4.5  # as of text that is to be read


def test_the_set_itself_keeps_its_colour_and_nothing_far_away_changes():
    mask = np.zeros((50, 50), bool)
    mask[20:30, 20:30] = mask[40, 15] = True
    found = outlined(a_set(mask))
    assert (found[mask] == FILL).all(axis=1).mean() > 0.7  # the rest is the hatch
    assert (found[40, 15] == FILL).all()
    assert (found[~ndimage.binary_dilation(mask, np.ones((9, 9)))] == 0).all()
    assert (found[19:31, 19:31, 3] > 0).all()


def test_an_edge_of_the_screen_is_no_edge_of_the_set():
    mask = np.zeros((30, 30), bool)
    mask[:, :10] = True
    found = outlined(a_set(mask))
    is_line = (found[..., 3] == 255).all(axis=1)
    assert not is_line.any()
    assert (found[:, :10, 3] < 255).all()
    assert (found[:, 10:12, 3] == 255).all()


def test_lines_are_wider_on_a_dense_screen():
    mask = np.zeros((60, 60), bool)
    mask[:, 30:] = True
    one, two = ((outlined(a_set(mask), px)[20, :, 3] == 255).sum() for px in (1, 2))
    assert two == 2 * one


def test_nothing_stays_nothing():
    nothing = np.zeros((4, 5, 4), np.uint8)
    assert (outlined(nothing) == 0).all()
