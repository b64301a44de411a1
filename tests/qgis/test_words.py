# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Sentences on a number of things: one is told as one."""

import ast
import re
import types

from tessera_plugin import paths
from tessera_plugin.gui import import_words, map_words, problem_words, text
from tessera_plugin.io.raster_classes import ClassCount
from tessera_plugin.io.sources.base import Failure, FetchSummary

SOURCES = sorted((paths.ROOT / "tessera_plugin" / "gui").rglob("*.py"))
THINGS = ("labels", "pixels", "polygons", "classes", "parts", "files", "dates", "points", "rows",
          "columns", "tiles", "dimensions")  # fmt: skip
PLURAL = re.compile(rf"(?<!of )\{{\}} (\w+ )?({'|'.join(THINGS)})\b")
NEVER_ONE = {  # limits, dimensions, whole areas, and what is said of two or more
    "{} does not offer embeddings of {} dimensions.",
    "{} with {} dimensions is not published as {}.",
    "{}, {} dimensions",
    "The area is too large: {} pixels ({}), the limit is {}.",
    "The head was trained on {} with {} dimensions, not on {} with {}.",
    (
        "The map shows {} pixels of 10 m, too many to look at for a click. Zoom in until it shows "
        "less than {}."
    ),
    "The polygons lie too far apart: a raster around them would have {} pixels, the limit is {}.",
    "The Zarr store and the NPY tiles agree on all {} pixels.",
    "Two classes or more need at least {} labels each.",
    "Every class has {} labels or more: go on to the Map page.",
    "All {} pixels were in the cache: nothing to fetch.",
    "{} pixels: too large to fetch, the limit is {}. Zoom in.",
    "{} pixels: too large to map at once, the limit is {}.",
    "{} blocks of {} m in {} parts, a colour each.",
    "Overall accuracy {} ± {} over {} parts",
}


def plurals_alone(path):
    """Yield texts for people that say a number of things with no words for one of them beside."""
    tree = ast.parse(path.read_text("utf-8"))
    paired = {
        id(word)
        for node in ast.walk(tree)
        if isinstance(node, ast.IfExp)
        or (isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "many")
        or (isinstance(node, ast.Tuple) and len(node.elts) == 2 and all(map(is_told, node.elts)))
        or (isinstance(node, ast.Call) and called(node) == "counted")
        for word in ast.walk(node)
        if isinstance(word, ast.Constant)
    }
    for node in ast.walk(tree):
        words = node.args[-1] if is_told(node) else None
        is_alone = isinstance(words, ast.Constant) and id(words) not in paired
        if is_alone and PLURAL.search(str(words.value)) and words.value not in NEVER_ONE:
            yield f"{path.name}: {words.value}"


def is_told(node):
    return isinstance(node, ast.Call) and called(node) in ("tr", "translate", "_tr")


def called(call):
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def test_one_thing_is_not_told_as_many():
    assert [told for path in SOURCES for told in plurals_alone(path)] == []


def test_a_map_of_one_pixel(qgis_app):
    failed = Failure("tile", "gone")
    result = types.SimpleNamespace(
        classes=(ClassCount(1, "Water", "#0000ff", 1, 0.01),), seconds=2.0, nodata_px=1,
        uncertain_id=0, clean="clean.tif", changed_px=1, polygons="polygons.gpkg",
        polygon_count=1, polygons_refused=None, fetched=FetchSummary(1, 1, 0, 9, 1, (), (failed,)),
        mosaic=None, unusable_polygons=0, maps=("map.tif",),
    )  # fmt: skip
    assert map_words.sentences(result, "map.tif", "Fetch again.") == [
        "1 pixel classified in 2.0 s.",
        "Without embeddings: 1 pixel.",
        "In the cleaned copy 1 pixel has another class.",
        "1 polygon.",
        "Did not arrive: 1 part, tile (gone). Fetch again.",
        "Saved as map.tif",
    ]


def test_numbers_of_things(qgis_app):
    assert text.counted(1, "{} cat of {}", "{} cats of {}", "Ann") == "1 cat of Ann"
    assert text.counted(2000, "{} cat of {}", "{} cats of {}", "Ann") == "2,000 cats of Ann"
    assert [text.classes(1), text.polygons(1), text.counted_pixels(1)] == [
        "1 class", "1 polygon", "1 pixel"]  # fmt: skip
    assert [text.parts(number) for number in (0, 1, 2)] == ["0 parts", "1 part", "2 parts"]
    assert import_words.button(1) == "Import 1 label"
    assert problem_words.headline(1, 0, all_compared=True) == "1 label needs a look"
    assert problem_words.headline(0, 1_200, all_compared=True) == "1,200 labels are not fetched yet"
