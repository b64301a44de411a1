# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""From raw observations to the inputs of an encoder, against the plain way, pixel by pixel."""

from dataclasses import replace

import numpy as np
import pytest

from tessera_plugin.compute.worker.encode.dpixel import open_tile
from tessera_plugin.compute.worker.encode.prepare import Prepared
from tessera_plugin.compute.worker.encode.sampling import keys_of
from tests.compute.encode.scenes import plainly, scene, spec_of, write, z


def opened(folder, arrays):
    tile = open_tile(write(folder, arrays))
    return tile.read(slice(None), slice(None))


def keys(pixels, seed=0):
    return keys_of(seed, np.arange(pixels.count), np.zeros(pixels.count, int))


def prepared(folder, arrays, spec):
    pixels = opened(folder, arrays)
    return Prepared(pixels, spec, keys(pixels))


def inputs_of(prep, most_px=5, order=None):
    """Return {pixel: (s2, s1)} by batches."""
    found = {}
    for px in prep.batches(lambda: most_px):
        inputs = prep.inputs(px)
        for place, pixel in enumerate(px):
            found[int(pixel)] = (inputs["s2_input"][place], inputs["s1_input"][place])
    return found


@pytest.mark.parametrize("generation", ["2.0", "1.1"])
@pytest.mark.parametrize("dates", [(5, 3, 4), (40, 9, 23), (1, 1, 0), (9, 0, 0), (3, 0, 7)])
def test_inputs_are_those_of_the_plain_way(tmp_path, generation, dates):
    """Traps 5, 11, 12, 13, 15, 16: mask, statistics per orbit, validity, filling, orbits in turn."""
    arrays = scene(*dates)
    found = inputs_of(prepared(tmp_path, arrays, spec_of(generation)))
    assert sorted(found) == np.flatnonzero(arrays["masks"].any(axis=0)).tolist()
    for pixel, got in found.items():
        wanted = plainly(arrays, *divmod(pixel, 7), generation)
        for mine, plain in zip(got, wanted):
            assert mine.dtype == np.float32
            assert mine.shape == plain.shape
            assert (mine == plain.astype(np.float32)).all()


def test_a_pixel_does_not_depend_on_its_batch(tmp_path):
    arrays = scene(40, 9, 23)
    for generation in ("2.0", "1.1", "1.0"):
        prep = prepared(tmp_path, arrays, spec_of(generation))
        alone, together = inputs_of(prep, 1), inputs_of(prep, 1000)
        assert alone.keys() == together.keys()
        for pixel, (s2, s1) in alone.items():
            assert (s2 == together[pixel][0]).all()
            assert (s1 == together[pixel][1]).all()


def test_batches_hold_every_pixel_once_and_equally_long(tmp_path):
    prep = prepared(tmp_path, scene(20, 9, 14, height=20, width=21), spec_of())
    batches = list(prep.batches(lambda: 16))
    every = np.concatenate(batches)
    assert sorted(every) == np.flatnonzero(prep.is_encoded).tolist()
    assert max(len(batch) for batch in batches) == 16
    lengths = [tuple(sequence.shape[1] for sequence in prep.inputs(px).values()) for px in batches]
    assert lengths == sorted(lengths)
    assert len(set(lengths)) > 3


def test_trap_05_what_lies_under_cloud_does_not_matter(tmp_path):
    arrays = scene()
    before = inputs_of(prepared(tmp_path / "a", arrays, spec_of()))
    arrays["bands"][arrays["masks"] == 0] = 10000
    after = inputs_of(prepared(tmp_path / "b", arrays, spec_of()))
    assert all((before[pixel][0] == after[pixel][0]).all() for pixel in before)


def test_trap_13_observations_of_radar_count_by_their_raw_numbers(tmp_path):
    """Half of a pixel's radar is zeros; z of zero is not."""
    arrays = scene(ta=6, td=8)
    arrays["sar_ascending"][:] = (5000, 2500)
    arrays["sar_descending"][:] = (0, 2500)  # one of the two polarisations is enough
    arrays["sar_ascending"][::2, 2, 3] = 0
    arrays["sar_descending"][::2, 2, 3] = 0
    prep = prepared(tmp_path, arrays, spec_of())
    counts = prep.counts.reshape(6, 7, 3)
    assert counts[2, 3, 1:].tolist() == [3, 4]
    assert counts[0, 0, 1:].tolist() == [6, 8]
    assert (counts[..., 0] == arrays["masks"].sum(axis=0)).all()


def test_trap_14_a_code_of_zero_is_missing_only_where_both_are(tmp_path):
    """What is darker than -25 dB is stored as 0: it counts as long as the other says something."""
    arrays = scene(ta=4, td=2)
    arrays["sar_ascending"][:] = (4000, 2000)
    arrays["sar_ascending"][0, 2, 3] = (4000, 0)
    arrays["sar_ascending"][1, 2, 3] = (0, 2000)
    arrays["sar_ascending"][2, 2, 3] = (0, 0)
    prep = prepared(tmp_path, arrays, spec_of())
    assert prep.counts.reshape(6, 7, 3)[2, 3, 1] == 3
    assert prep.counts.reshape(6, 7, 3)[0, 0, 1] == 4


@pytest.mark.parametrize("generation", ["2.0", "1.1"])
def test_trap_16_orbits_stand_one_after_the_other_not_by_date(tmp_path, generation):
    arrays = scene(ta=4, td=4)
    arrays["sar_ascending"][:] = arrays["sar_descending"][:] = 5000
    arrays["sar_ascending_doy"] = np.array([10, 100, 200, 300], np.int16)
    arrays["sar_descending_doy"] = np.array([5, 105, 205, 305], np.int16)
    for _, s1 in inputs_of(prepared(tmp_path, arrays, spec_of(generation))).values():
        assert s1[:, 2].tolist() == [10, 100, 200, 300, 5, 105, 205, 305]


def test_trap_12_swapped_orbits_give_other_inputs(tmp_path):
    """Each orbit direction has its own statistics."""
    arrays = scene(ta=4, td=4)
    swapped = dict(arrays)
    for end in ("", "_doy"):
        swapped[f"sar_ascending{end}"] = arrays[f"sar_descending{end}"]
        swapped[f"sar_descending{end}"] = arrays[f"sar_ascending{end}"]
    first = inputs_of(prepared(tmp_path / "a", arrays, spec_of()))
    second = inputs_of(prepared(tmp_path / "b", swapped, spec_of()))
    for pixel in first:
        values = [np.sort(found[pixel][1][:, 0]) for found in (first, second)]
        assert values[0].shape != values[1].shape or (values[0] != values[1]).any()


@pytest.mark.parametrize("generation", ["2.0", "1.1", "1.0"])
def test_trap_17_a_pixel_without_a_clear_date_is_not_encoded(tmp_path, generation):
    """Nothing at all; only radar; clear, but all zeros; in every generation."""
    arrays = scene(cloudy=0)
    for name in ("bands", "masks", "sar_ascending", "sar_descending"):
        arrays[name][:, 0, 0] = 0
    arrays["masks"][:, 1, 1] = 0
    arrays["bands"][:, 2, 2] = 0
    prep = prepared(tmp_path, arrays, spec_of(generation))
    wanted = np.ones((6, 7), bool)
    wanted[[0, 1, 2], [0, 1, 2]] = False
    assert (prep.is_encoded.reshape(6, 7) == wanted).all()


@pytest.mark.parametrize(("generation", "length"), [("2.0", 1), ("1.1", 8)])
@pytest.mark.parametrize("dates", [0, 3])
def test_trap_18_no_radar_is_zeros_with_a_day_of_zero(tmp_path, generation, length, dates):
    """No date in the tile, and dates without a value."""
    arrays = scene(ta=dates, td=dates)
    arrays["sar_ascending"][:] = 0
    arrays["sar_descending"][:] = 0
    found = inputs_of(prepared(tmp_path, arrays, spec_of(generation)))
    assert found
    for _, s1 in found.values():
        assert s1.shape == (length, 3)
        assert not s1.any()


def test_generation_10_takes_all_radar_where_none_is_valid(tmp_path):
    arrays = scene(t2=50, ta=3, td=4)
    arrays["sar_ascending"][:] = 0
    arrays["sar_descending"][:] = 0
    prep = prepared(tmp_path, arrays, spec_of("1.0"))
    days = {*arrays["sar_ascending_doy"].tolist(), *arrays["sar_descending_doy"].tolist()}
    for _, s1 in inputs_of(prep).values():
        assert s1.shape == (40, 3)
        assert set(s1[:, 2].tolist()) <= days
        assert (s1[:, :2] < -1.9).all()  # zeros in z-space would be the other rule
    assert not prep.counts[:, 1:].any()


def test_draws_differ_among_themselves_and_between_the_sensors(tmp_path):
    arrays = scene(t2=90, ta=45, td=45, cloudy=0)
    arrays["doys"] = np.arange(1, 91, dtype=np.uint16)
    arrays["sar_ascending_doy"] = np.arange(1, 46, dtype=np.int16)
    arrays["sar_descending_doy"] = np.arange(46, 91, dtype=np.int16)
    arrays["sar_ascending"][:] = arrays["sar_descending"][:] = 5000
    prep = prepared(tmp_path, arrays, spec_of("1.0"))
    (px,) = prep.batches(lambda: 1000)
    first, second = (prep.inputs(px, draw) for draw in range(2))
    days = first["s2_input"][..., -1]
    assert (days != second["s2_input"][..., -1]).any(axis=1).all()
    assert (days != first["s1_input"][..., -1]).any(axis=1).all()
    again = prep.inputs(px, 1)
    assert all((second[name] == again[name]).all() for name in again)  # trap 33


def test_trap_35_days_go_in_unscaled_and_in_the_order_of_dates(tmp_path):
    """Over New Year, and the 366th day of a leap year (trap 10)."""
    arrays = scene(t2=5, cloudy=0)
    arrays["doys"] = np.array([310, 340, 366, 1, 45], np.uint16)
    (s2, _) = inputs_of(prepared(tmp_path, arrays, spec_of()))[0]
    assert s2[:, 10].tolist() == [310, 340, 366, 1, 45, 340, 1, 45]


def test_trap_11_statistics_come_from_the_description_alone(tmp_path):
    """Another table of the same shape gives other inputs, by what it says."""
    arrays = scene(cloudy=0)
    spec = spec_of()
    (stream,) = spec.s2.streams
    other = replace(stream, mean=(0.0,) * 10, std=(2.0,) * 10)
    changed = replace(spec, s2=replace(spec.s2, streams=(other,)))
    (s2, _) = inputs_of(prepared(tmp_path, arrays, changed))[0]
    assert (s2[:5, :10] == arrays["bands"][:, 0, 0].astype(np.float32) / 2).all()


def test_trap_32_large_numbers_are_not_rounded(tmp_path):
    """65535 and 32767 survive on the way to z."""
    arrays = scene(cloudy=0)
    arrays["bands"][:, 0, 0] = [65535, 65534, 40001, 2049, 2051, 4097, 8193, 16385, 32769, 65533]
    arrays["sar_ascending"][:, 0, 0] = (32767, 32765)
    s2, s1 = inputs_of(prepared(tmp_path, arrays, spec_of()))[0]
    assert (s2[0, :10] == z(arrays["bands"][0, 0, 0], "s2")).all()
    assert (s1[0, :2] == z(np.array([32767, 32765]), "s1_ascending")).all()
