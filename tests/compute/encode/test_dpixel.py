# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Tile folders of the upstream pipeline: what is read, and what is refused."""

import numpy as np
import pytest

from tessera_plugin.compute.worker.encode.dpixel import BANDS, open_tile
from tessera_plugin.compute.worker.encode.errors import InputUnusable
from tests.compute.encode.scenes import scene, write

EVERYTHING = (slice(None), slice(None))
FILES = tuple(scene())


def test_trap_31_pixels_are_read_row_by_row_as_they_lie_on_disk(tmp_path):
    arrays = scene()  # trap 31: T, H, W and the bands all differ
    tile = open_tile(write(tmp_path, arrays))
    assert (tile.height, tile.width, tile.most_s1) == (6, 7, 7)
    pixels = tile.read(slice(1, 4), slice(2, 7))
    assert pixels.count == 15
    assert (pixels.bands == arrays["bands"][:, 1:4, 2:7].reshape(5, 15, 10)).all()
    assert (pixels.is_clear == arrays["masks"][:, 1:4, 2:7].reshape(5, 15)).all()
    assert (pixels.descending == arrays["sar_descending"][:, 1:4, 2:7].reshape(4, 15, 2)).all()
    assert pixels.bands.dtype == np.uint16  # trap 32: no half floats on the way
    assert pixels.ascending.dtype == np.int16


def test_trap_01_band_k_is_channel_k_of_the_documented_order(tmp_path):
    arrays = scene()
    arrays["bands"][:] = np.arange(10)
    pixels = open_tile(write(tmp_path, arrays)).read(*EVERYTHING)
    documented = ["B04", "B02", "B03", "B08", "B8A", "B05", "B06", "B07", "B11", "B12"]
    assert dict(zip(BANDS, pixels.bands[0, 0])) == {name: k for k, name in enumerate(documented)}


@pytest.mark.parametrize("name", FILES)
def test_trap_07_a_missing_file_is_named_and_never_taken_for_zeros(tmp_path, name):
    write(tmp_path, scene())
    (tmp_path / f"{name}.npy").unlink()
    with pytest.raises(InputUnusable) as caught:
        open_tile(tmp_path)
    assert caught.value.path == str(tmp_path / f"{name}.npy")
    assert caught.value.found == "none"


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_short_is_named(tmp_path, name):
    path = write(tmp_path, scene()) / f"{name}.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputUnusable, match=name):
        open_tile(tmp_path)


def test_trap_34_a_mask_of_255_is_one_of_1(tmp_path):
    arrays = scene()
    wanted = open_tile(write(tmp_path / "ones", arrays)).read(*EVERYTHING).is_clear
    arrays["masks"] *= 255
    got = open_tile(write(tmp_path / "bytes", arrays)).read(*EVERYTHING).is_clear
    assert (got == wanted).all()
    assert 0 < wanted.sum() < wanted.size


def test_trap_35_dates_over_new_year_stay_in_their_order(tmp_path):
    """November to February, the days of year fall in the middle."""
    arrays = scene()
    arrays["doys"] = np.array([310, 340, 366, 1, 45], np.uint16)
    tile = open_tile(write(tmp_path, arrays))
    assert tile.s2_doys.tolist() == [310, 340, 366, 1, 45]
    assert (tile.read(*EVERYTHING).bands[3] == arrays["bands"][3].reshape(-1, 10)).all()


@pytest.mark.parametrize("name", ["doys", "sar_ascending_doy", "sar_descending_doy"])
@pytest.mark.parametrize("day", [0, 367])
def test_trap_10_a_day_outside_the_year_is_refused(tmp_path, name, day):
    """Days that begin at 0."""
    arrays = scene()
    arrays[name][0] = day
    with pytest.raises(InputUnusable, match="1 to 366"):
        open_tile(write(tmp_path, arrays))


def test_trap_10_days_as_fractions_of_the_year_are_refused(tmp_path):
    arrays = scene()
    arrays["doys"] = arrays["doys"] / np.float32(365)
    with pytest.raises(InputUnusable, match="float32"):
        open_tile(write(tmp_path, arrays))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("bands", lambda a: a.transpose(1, 2, 0, 3)),  # trap 31: (H, W, T, bands)
        ("bands", lambda a: a[..., :9]),
        ("bands", lambda a: a.astype(np.float16)),  # trap 32
        ("bands", lambda a: a[:0]),
        ("masks", lambda a: a[:, :-1]),
        ("masks", lambda a: a[..., None]),
        ("doys", lambda a: a[1:]),
        ("sar_ascending", lambda a: a.astype(np.float32) / 1000),
        ("sar_ascending", lambda a: a[:, :, 1:]),
        ("sar_descending", lambda a: a[1:]),
        ("sar_descending", lambda a: a[..., :1]),
        ("sar_descending_doy", lambda a: a[1:]),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, name, wrong):
    arrays = scene()
    arrays[name] = wrong(arrays[name])
    with pytest.raises(InputUnusable):
        open_tile(write(tmp_path, arrays))


def test_an_orbit_without_a_date_may_have_any_size(tmp_path):
    arrays = scene(ta=0)
    arrays["sar_ascending"] = np.zeros((0, 868, 782, 2), np.int16)
    pixels = open_tile(write(tmp_path, arrays)).read(slice(0, 2), slice(0, 3))
    assert pixels.ascending.shape == (0, 6, 2)
    assert pixels.descending.shape == (4, 6, 2)


def test_pickles_are_not_opened(tmp_path):
    write(tmp_path, scene())
    np.save(tmp_path / "doys.npy", np.array([1, "x", None, 2, 3], object), allow_pickle=True)
    with pytest.raises(InputUnusable, match="doys"):
        open_tile(tmp_path)


def test_the_fingerprint_changes_with_a_file(tmp_path):
    arrays = scene()
    tile = open_tile(write(tmp_path, arrays))
    before = tile.fingerprint()
    assert before == open_tile(tmp_path).fingerprint()
    np.save(tmp_path / "masks.npy", arrays["masks"])
    assert tile.fingerprint() != before
