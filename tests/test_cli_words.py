# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the command line says of a number of things: one is told as one."""

import types

from tessera_plugin.cli.commands import fetched_lines
from tessera_plugin.cli.map_commands import map_lines
from tessera_plugin.cli.words import counted
from tessera_plugin.engine.classify import ClassifyResult
from tessera_plugin.io.sources.base import FetchSummary


def test_numbers_of_things():
    assert [counted(number, "label") for number in (0, 1, 2000)] == [
        "0 labels", "1 label", "2,000 labels"]  # fmt: skip
    assert counted(1, "class", "classes") == "1 class"
    assert counted(3, "class", "classes") == "3 classes"


def test_one_request_and_one_polygon():
    fetched = FetchSummary(1, 1, 0, 2_000_000, 1)
    (line,) = fetched_lines(fetched)
    assert line == "1 of 1 pixels are valid; 2.0 MB were fetched in 1 request."
    facts = dict.fromkeys(ClassifyResult.__dataclass_fields__)
    lists = {"classes": (), "clean_classes": (), "maps": (), "confidences": ()}
    clean = types.SimpleNamespace(paths=(), mosaic=None)
    made = {
        "clean": clean,
        "unusable_polygons": 0,
        "changed_px": 1,
        "polygons": "a.gpkg",
        "polygon_count": 1,
    }
    told = map_lines(ClassifyResult(**{**facts, **lists, **made, "fetched": fetched}))
    assert "Cleaning gave 1 pixel another class." in told
    assert "1 polygon was drawn." in told
