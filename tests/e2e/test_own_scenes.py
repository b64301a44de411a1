# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Own scenes in a real window, from the zip: rasters recognised, encoded, labelled, mapped."""

import shutil

from tools import demo_own_scenes
from tools.qgis_profile import ROOT


def test_two_areas_by_hand():
    folder = ROOT / "build" / "e2e" / "own_scenes"
    shutil.rmtree(folder, ignore_errors=True)
    summary = demo_own_scenes.run(folder)
    assert "error" not in summary, summary["error"]
    assert demo_own_scenes.missing(folder) == []
    fen, wold = summary["areas"]["fen"], summary["areas"]["wold"]
    assert fen["classified_pixels"] == fen["pixels"]
    assert wold["classified_pixels"] == wold["pixels"]
    assert 0.8 < fen["accuracy_against_truth"] < 1
    assert 0.7 < wold["accuracy_against_truth"] < 1, "with the labels of the other area"
    assert not list((folder / "data" / "tessera-qgis" / "inputs").glob("*/bands.npy"))
