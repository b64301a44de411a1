# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenes that don't look like what encoders were trained on."""

import numpy as np
import pytest

from tessera_plugin.compute.worker.encode.dpixel import open_tile
from tessera_plugin.compute.worker.encode.looks import Looks
from tests.compute.encode.scenes import MEANS, STDS, scene, spec_of, write


def usual():
    """Return a scene whose numbers are spread as the encoder's description says."""
    arrays = scene(t2=20, ta=15, td=16, height=30, width=31, cloudy=0.3)
    rng = np.random.default_rng(3)
    values = rng.normal(MEANS["s2"], np.array(STDS["s2"]) / 2, arrays["bands"].shape)
    arrays["bands"] = values.clip(1, 65535).astype(np.uint16)
    return arrays


def warnings(folder, arrays):
    looks = Looks(spec_of())
    tile = open_tile(write(folder, arrays))
    for rows in (slice(0, 15), slice(15, 30)):
        looks.add(tile.read(rows, slice(None)))
    return looks.warnings()


def kinds(found):
    return {(each["what"], each["stream"]) for each in found}


def test_a_usual_scene_is_not_warned_of(tmp_path):
    assert warnings(tmp_path, usual()) == []


def test_nothing_seen_is_not_warned_of(tmp_path):
    arrays = usual()
    arrays["masks"][:] = 0
    arrays["sar_ascending"][:] = 0
    arrays["sar_descending"][:] = 0
    assert warnings(tmp_path, arrays) == []


def test_trap_08_an_offset_left_in_is_seen(tmp_path):
    arrays = usual()
    arrays["bands"] += 1000
    assert ("offset", "s2") in kinds(warnings(tmp_path, arrays))


def test_clouds_do_not_count(tmp_path):
    arrays = usual()
    arrays["bands"][arrays["masks"] == 0] = 20000
    assert warnings(tmp_path, arrays) == []


def test_trap_11_bands_in_other_units_are_seen_by_name(tmp_path):
    """A band far from its mean, also because of another order (trap 1)."""
    arrays = usual()
    arrays["bands"][..., 3] = 9000
    (found,) = warnings(tmp_path, arrays)
    z = round((9000 - MEANS["s2"][3]) / STDS["s2"][3], 2)
    assert found == {"what": "mean_z", "stream": "s2", "band": "B08", "value": z}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda codes: (codes - 10000) // 400,  # dB
        lambda codes: codes // 2 + 5000,  # 10 log10
        lambda codes: codes // 1000,  # linear, of some kind
    ],
)
def test_trap_02_radar_in_other_units_is_seen(tmp_path, wrong):
    arrays = usual()
    for name in ("sar_ascending", "sar_descending"):
        codes = arrays[name].astype(int)
        arrays[name] = np.where(codes == 0, 0, wrong(codes)).astype(np.int16)
    found = kinds(warnings(tmp_path, arrays))
    assert {("median", "s1_ascending"), ("median", "s1_descending")} & found


def test_trap_03_swapped_polarisations_are_seen(tmp_path):
    arrays = usual()
    arrays["sar_ascending"] = arrays["sar_ascending"][..., ::-1]
    assert ("swapped", "s1_ascending") in kinds(warnings(tmp_path, arrays))
    assert ("swapped", "s1_descending") not in kinds(warnings(tmp_path, arrays))
