# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Which observations make up a sequence."""

from collections import Counter

import numpy as np
import pytest

from tessera_plugin.compute.worker.encode.sampling import (
    choose,
    fill_v2,
    fill_v11,
    keys_of,
    lengths_of,
)
from tests.compute.encode.scenes import EIGHTS, SAMPLINGS


def upto(n, *more):
    return [*range(n), *more]


TABLE = {  # n, length: generation 2, generation 1.1
    (3, 8): (upto(3, 0, 1, 2, 0, 1), upto(3, 0, 1, 1, 1, 2)),
    (5, 8): (upto(5, 1, 3, 4), upto(5, 1, 2, 3)),
    (6, 8): (upto(6, 1, 4), upto(6, 2, 3)),
    (9, 16): (upto(9, 1, 3, 4, 5, 6, 7, 8), upto(9, 1, 2, 3, 4, 5, 6, 7)),
    (10, 16): (upto(10, 1, 3, 5, 7, 8, 9), upto(10, 1, 3, 4, 5, 6, 8)),
    (13, 16): (upto(13, 2, 7, 11), upto(13, 3, 6, 9)),
    (16, 16): (upto(16), upto(16)),
    (1, 8): ([0] * 8, [0] * 8),
}


def ones(n):
    return np.array(n, np.intp)


def keys(n, seed=0):
    return keys_of(seed, np.arange(n), np.zeros(n, int))


@pytest.mark.parametrize(("n", "length"), TABLE)
def test_trap_15_the_index_table(n, length):
    """The two generations fill in different ways."""
    v2, v11 = TABLE[n, length]
    assert fill_v2(n, length).tolist() == v2
    assert fill_v11(n, length).tolist() == v11
    assert choose(ones([n]), length, SAMPLINGS["2.0"], keys(1)).tolist() == [v2]


def test_more_than_the_longest_are_thinned():
    v2, v11 = fill_v2(300, 256), fill_v11(300, 256)
    assert v2[:6].tolist() == [0, 1, 2, 3, 4, 5]
    assert v2[-4:].tolist() == [295, 296, 297, 299]
    assert v11[:6].tolist() == [1, 3, 5, 7, 9, 11]
    assert v11[-4:].tolist() == [296, 297, 298, 299]
    assert len(v2) == len(v11) == 256


def test_lengths_are_the_smallest_that_hold_n():
    counts = ones([0, 1, 8, 9, 40, 255, 256, 257, 1000])
    assert lengths_of(counts, SAMPLINGS["2.0"]).tolist() == [1, 8, 8, 16, 40, 256, 256, 256, 256]
    assert lengths_of(counts, SAMPLINGS["1.1"]).tolist() == [8, 8, 8, 16, 40, 256, 256, 256, 256]
    assert lengths_of(counts, SAMPLINGS["1.0"]).tolist() == [0] + [40] * 8


@pytest.mark.parametrize("generation", ["2.0", "1.1"])
def test_every_observation_takes_part_up_to_the_longest(generation):
    for n in range(1, 257):
        length = int(lengths_of(ones([n]), SAMPLINGS[generation])[0])
        found = choose(ones([n]), length, SAMPLINGS[generation], keys(1))[0]
        assert length in EIGHTS
        assert len(found) == length
        assert set(found) == set(range(n))
        assert found[:n].tolist() == list(range(n))


def test_a_draw_has_no_observation_twice_and_is_in_order():
    counts = ones([40, 41, 60, 200])
    found = choose(counts, 40, SAMPLINGS["1.0"], keys(4))
    for n, row in zip(counts, found):
        assert len(set(row)) == 40
        assert (np.diff(row) > 0).all()
        assert 0 <= row[0] <= row[-1] < n
    assert found[0].tolist() == list(range(40))  # so a self-test of 40 depends on no chance


def test_a_draw_from_few_repeats_some_and_is_in_order():
    found = choose(ones([1, 7, 39]), 40, SAMPLINGS["1.0"], keys(3))
    assert found.shape == (3, 40)
    assert not found[0].any()
    assert (np.diff(found, axis=1) >= 0).all()
    assert 2 <= len(set(found[1])) <= 7
    assert found[2].max() < 39


def test_draws_are_even():
    """Each of 80 is drawn in half of the draws; 6 standard deviations around it."""
    many = 4000
    found = choose(np.full(many, 80), 40, SAMPLINGS["1.0"], keys(many))
    times = np.array([Counter(found.ravel().tolist())[index] for index in range(80)])
    assert np.abs(times - many / 2).max() < 6 * np.sqrt(many / 4)
    few = choose(np.full(many, 10), 40, SAMPLINGS["1.0"], keys(many))
    times = np.bincount(few.ravel(), minlength=10)
    assert np.abs(times - many * 4).max() < 6 * np.sqrt(many * 40 * 0.09)


def test_trap_33_a_draw_depends_on_the_seed_and_the_place_alone():
    rows, cols = np.repeat(np.arange(-20, 20), 30), np.tile(np.arange(30), 40)
    counts = np.random.default_rng(0).integers(1, 90, len(rows))
    every = keys_of(7, rows, cols)
    assert len(set(every.tolist())) == len(rows)
    whole = choose(counts, 40, SAMPLINGS["1.0"], every)
    px = np.random.default_rng(1).permutation(len(rows))[:99]
    assert (choose(counts[px], 40, SAMPLINGS["1.0"], every[px]) == whole[px]).all()
    assert (choose(counts[px[:1]], 40, SAMPLINGS["1.0"], every[px[:1]]) == whole[px[0]]).all()
    other = choose(counts, 40, SAMPLINGS["1.0"], keys_of(8, rows, cols))
    assert (other != whole).any(axis=1).mean() > 0.9


def test_keys_are_those_of_splitmix_on_every_machine():
    def plain(x):
        x = (x + 0x9E3779B97F4A7C15) % 2**64
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
        return x ^ x >> 31

    def key(seed, row, col):
        return plain(plain(plain(seed + 0x9E3779B97F4A7C15) ^ row % 2**64) ^ col % 2**64)

    places = [(0, 0), (1, -5), (-900_000, 123)]
    found = keys_of(3, *(np.array(axis) for axis in zip(*places)))
    assert found.tolist() == [key(3, *place) for place in places]
