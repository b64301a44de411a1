# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Labels on the command line: checked, or chosen from a class map."""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter
from typing import Any, Dict, List, Mapping, Tuple

from ..engine import label_export, label_problems, label_sample
from ..engine.label_mapping import Columns, as_labels
from ..engine.label_problems import CheckRequest, Kind
from ..engine.label_sources import gathered
from .network import access_of, dataset_key
from .teller import OK, PARTS_MISSING, Teller
from .words import counted


def _lie(where: str) -> Tuple[str, str]:
    return f"lies {where}", f"lie {where}"


_WORDS: Mapping[str, Tuple[str, str]] = {
    Kind.CONFLICT: _lie("on the same pixels as a label of another class"),
    Kind.WATER: _lie("on water, which has no embeddings"),
    Kind.NODATA: _lie("on pixels without data"),
    Kind.OUTSIDE: _lie("outside of what is published"),
    Kind.OTHER_YEAR: ("is of another year", "are of another year"),
    Kind.SMALL: ("is a polygon smaller than a pixel", "are polygons smaller than a pixel"),
    Kind.DUPLICATE: ("says what a label before it says", "say what a label before them says"),
    Kind.NOT_FETCHED: _lie("where nothing is fetched yet"),
}
"""What is said of one label, and of more."""

_LEFT_OUT: Mapping[str, Tuple[str, str]] = {
    "no_class": (
        "feature is left out: its class field is empty",
        "features are left out: their class field is empty",
    ),
    "no_geometry": (
        "feature is left out: it has no geometry",
        "features are left out: they have no geometry",
    ),
    "unusable": (
        "feature is left out: neither a point nor a polygon with a place on earth",
        "features are left out: neither points nor polygons with a place on earth",
    ),
    "mended": (
        "polygon crosses itself and was mended",
        "polygons cross themselves and were mended",
    ),
}
"""The same of what a file has and is not taken as it is, by the names of `Found`."""

_NOT_COMPARED = (
    "Not all were compared: too many polygons of different classes lie over one another. Mend those "
    "that are told, and check again."
)


def check(options: argparse.Namespace, teller: Teller) -> int:
    """List the labels of a file that need a look."""
    access = access_of(options, teller.report)
    columns = Columns(options.class_field, options.year_field)
    found = gathered(options.samples, columns, options.layer, teller.report)
    labels, classes = as_labels(found, options.year)
    request = CheckRequest(dataset_key(options, access), options.year, access, options.depth)
    checked = label_problems.check_cached(labels, request, teller.report)
    problems, left_out = checked.problems, {name: getattr(found, name) for name in _LEFT_OUT}
    names = {each.id: each.name for each in classes}
    counts = Counter(each.kind for each in problems)
    lines = [f"{counted(len(labels), 'label')} checked."]
    lines += [f"{counted(left_out[e], *words)}." for e, words in _LEFT_OUT.items() if left_out[e]]
    lines += [f"{counted(counts[kind], *words)}." for kind, words in _WORDS.items() if counts[kind]]
    lines += [] if checked.all_compared else [_NOT_COMPARED]
    rows: List[Dict[str, Any]] = [
        {**dataclasses.asdict(each), "class": names[each.class_id]} for each in problems
    ]
    lines += [
        f"  {each.kind}: label {each.key} ({names[each.class_id]}) at {each.lon:.6f}, {each.lat:.6f}"
        for each in problems
        if each.kind != Kind.NOT_FETCHED
    ]
    facts = {"labels": len(labels), **left_out, "all_compared": checked.all_compared}
    teller.result({**facts, "problems": rows}, lines)
    serious = [each for each in problems if each.kind != Kind.NOT_FETCHED]
    is_whole = checked.all_compared and not any(left_out.values())
    return OK if is_whole and not serious else PARTS_MISSING


def sample(options: argparse.Namespace, teller: Teller) -> int:
    """Write points of every class of a class map."""
    request = label_sample.SampleRequest(
        options.raster, options.per_class, options.neighbourhood, options.bbox, options.seed
    )
    made = label_sample.sample(request, teller.report)
    labels, classes = as_labels(made.found(), options.year)
    label_export.export(options.raster, labels, classes, options.out)
    names = {each.value: land_class.name for each, land_class in zip(made.classes, classes)}
    lines = [
        f"{counted(each.points, 'point')} of {names[each.value]} "
        f"({counted(each.inner_px, 'pixel')} inside of it)"
        for each in made.classes
    ]
    facts = {"out": options.out, "classes": [dataclasses.asdict(each) for each in made.classes]}
    teller.result(facts, [*lines, f"Wrote {options.out}"])
    return OK
