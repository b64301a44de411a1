# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Colours of classes that bring none."""

import itertools

import pytest
from osgeo import ogr

from tessera_plugin.engine import label_sources
from tessera_plugin.engine.class_colors import APART, PALETTE, _lab, filled, is_taken
from tessera_plugin.engine.label_mapping import Columns, as_labels, gather
from tessera_plugin.engine.model_forms import facts_of
from tessera_plugin.engine.samples import load_labels
from tests.builders import write_label_store, write_layer


def nearest(colors):
    """Return how far apart the two nearest of the colours are."""
    places = _lab(colors).tolist()
    pairs = itertools.combinations(places, 2)
    return min(sum((p - q) ** 2 for p, q in zip(a, b)) ** 0.5 for a, b in pairs)


def test_the_distance_is_that_of_cielab():
    # L*a*b* of the corners of sRGB as printed in tables (D65, two decimals)
    known = {"#ffffff": (100, 0, 0), "#000000": (0, 0, 0), "#ff0000": (53.24, 80.09, 67.20),
             "#00ff00": (87.73, -86.18, 83.18), "#0000ff": (32.30, 79.19, -107.86)}  # fmt: skip
    for told, place in zip(known.values(), _lab(list(known))):
        assert place == pytest.approx(told, abs=0.02)


def test_forty_classes_and_more_are_told_apart():
    assert filled([""] * 16) == PALETTE
    colors = filled([""] * 100)
    assert nearest(colors) >= APART
    assert len(set(filled([""] * 500))) == 500
    assert len(filled([""] * 2000)) == 2000  # more than there are


def test_those_that_are_given_stay_and_are_kept_clear_of():
    first, second, *rest = PALETTE
    assert filled(["", second, ""], [first.upper()]) == (rest[0], second, rest[1])
    assert filled(["", first], []) == (second, first)
    near = "#1c7938"  # nearly the palette's first
    assert filled([""], [near, "no colour", ""]) == (second,)
    assert is_taken(first, [near])
    assert not is_taken(first, [second, "greenish"])


def test_values_of_a_file_get_colours_that_no_class_has(tmp_path):
    rows = [(f"POINT ({at} 0)", {"c": f"class {at:02}"}) for at in range(40)]
    path = write_layer(tmp_path / "a.gpkg", rows, {"c": ogr.OFTString})
    classes = load_labels(path, "c").classes
    assert nearest([each.color for each in classes]) >= APART
    facts = label_sources.peek(path)
    rows = label_sources.read(path, [each.name for each in facts.layers], Columns("c").names)
    found = gather(rows, {each.name: each.crs for each in facts.layers}, facts.colors)
    _, classes = as_labels(found, 2024)
    assert nearest([each.color for each in classes]) >= APART
    known = [(1, "field", PALETTE[1], 0), (2, "wood", "", 1), (3, "lake", "blue", 2)]
    path = write_label_store(tmp_path / "b.gpkg", known, [("POINT (0 5)", 1, "a")])
    colors = {each.name: each.color for each in load_labels(path, "class_id").classes}
    assert colors == {"field": PALETTE[1], "wood": PALETTE[0], "lake": PALETTE[2]}


def test_a_model_of_many_classes_has_a_colour_for_each():
    told = {
        "patch": [1],
        "outputs": 20,
        "layout": "NC",
        "depth": 128,
        "metadata": {},
        "sha256": "",
        "are_shares": False,
    }
    classes = facts_of("model.onnx", told).form.classes
    assert nearest([each.color for each in classes]) >= APART
