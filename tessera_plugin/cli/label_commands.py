# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Labels on the command line: checked, or chosen from a class map."""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter
from typing import Any, Dict, List

from ..engine import label_export, label_problems, label_sample
from ..engine.label_mapping import Columns, as_labels
from ..engine.label_problems import CheckRequest, Kind
from ..engine.label_sources import gathered
from .network import access_of, dataset_key
from .teller import OK, PARTS_MISSING, Teller

_WORDS = {
    Kind.CONFLICT: "lie on the same pixels as a label of another class",
    Kind.WATER: "lie on water, which has no embeddings",
    Kind.NODATA: "lie on pixels without data",
    Kind.OUTSIDE: "lie outside of what is published",
    Kind.OTHER_YEAR: "are of another year",
    Kind.SMALL: "are polygons smaller than a pixel",
    Kind.DUPLICATE: "say what a label before them says",
    Kind.NOT_FETCHED: "lie where nothing is fetched yet",
}


def check(options: argparse.Namespace, teller: Teller) -> int:
    """List the labels of a file that need a look."""
    access = access_of(options, teller.report)
    columns = Columns(options.class_field, options.year_field)
    found = gathered(options.samples, columns, options.layer, teller.report)
    labels, classes = as_labels(found, options.year)
    request = CheckRequest(dataset_key(options, access), options.year, access, options.depth)
    problems = label_problems.check_cached(labels, request, teller.report)
    names = {each.id: each.name for each in classes}
    counts = Counter(each.kind for each in problems)
    lines = [f"{len(labels):,} labels checked."]
    lines += [f"{counts[kind]:,} {words}." for kind, words in _WORDS.items() if counts[kind]]
    rows: List[Dict[str, Any]] = [
        {**dataclasses.asdict(each), "class": names[each.class_id]} for each in problems
    ]
    lines += [
        f"  {each.kind}: label {each.key} ({names[each.class_id]}) at {each.lon:.6f}, {each.lat:.6f}"
        for each in problems
        if each.kind != Kind.NOT_FETCHED
    ]
    teller.result({"labels": len(labels), "problems": rows}, lines)
    serious = [each for each in problems if each.kind != Kind.NOT_FETCHED]
    return PARTS_MISSING if serious else OK


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
        f"{each.points:,} points of {names[each.value]} ({each.inner_px:,} pixels inside of it)"
        for each in made.classes
    ]
    facts = {"out": options.out, "classes": [dataclasses.asdict(each) for each in made.classes]}
    teller.result(facts, [*lines, f"Wrote {options.out}"])
    return OK
