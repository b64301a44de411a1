# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Inputs of encoders on the command line: from dated rasters or from a catalogue to a d-pixel tile."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, Tuple

from ..engine import dpixels, stac
from ..engine.dpixels import Built, Recognised
from ..progress import Report, part
from .network import network_of
from .teller import OK, PARTS_MISSING, BadArguments, Teller
from .words import counted

_ASKED_BY = {
    "s2_unit": "--s2-unit",
    "s1_unit": "--s1-unit",
    "orbit": "--orbit",
    "mask": "--mask",
    "dates": "--date NAME=YYYY-MM-DD",
    "bands": "--band B02=1",
}

_BY_DATE = {"by-date": dpixels.OFFSET_BY_DATE}
"""What is easier to type."""


def build_dpixels(options: argparse.Namespace, teller: Teller) -> int:
    """Build a d-pixel tile from dated rasters, or from what a catalogue has."""
    if bool(options.source) == bool(options.stac):
        raise BadArguments("Give folders of dated rasters, or --stac CATALOGUE.")
    if not options.list and not options.out:
        raise BadArguments("--out DIR is needed, or --list to see what there is.")
    if options.stac:
        return _from_catalogue(options, teller)
    found = _recognised(options, part(teller.report, 0.0, 0.2))
    if options.list:
        teller.result(_recognised_facts(found), _recognised_lines(found))
        return OK
    _check_answered(found)
    built = dpixels.build(_plan(options, found), part(teller.report, 0.2, 1.0))
    teller.result({**dataclasses.asdict(built)}, _built_lines(built))
    return OK


def _from_catalogue(options: argparse.Namespace, teller: Teller) -> int:
    """Search, tell what it takes, fetch and build."""
    lacking = [f"--{name}" for name in ("bbox", "first", "last", "scenes_dir")
               if not getattr(options, name)]  # fmt: skip
    if lacking:
        said = ", ".join(lacking).replace("_", "-")
        raise BadArguments(f"{said} is needed with --stac.")
    catalogues = _catalogues(options.catalogues)
    request = stac.StacRequest(
        window=dpixels.window_of(options.bbox), first=options.first, last=options.last,
        folder=options.scenes_dir, s2=options.stac, s1="" if options.no_s1 else options.stac_s1,
        max_cloud=options.max_cloud, catalogues=catalogues,
        network=network_of(stac.addresses(tuple(catalogues.values()))),
    )  # fmt: skip
    unknown = sorted({request.s2, request.s1} - {"", *catalogues})
    if unknown:
        raise BadArguments(f"There is no catalogue {unknown[0]}; known: {', '.join(catalogues)}.")
    plan = stac.search(request, part(teller.report, 0.0, 0.1))
    if options.list:
        facts = {"bytes": plan.bytes, "seconds": plan.seconds, "s2_dates": plan.s2_dates,
                 "s1_dates": plan.s1_dates, "skipped": plan.skipped}  # fmt: skip
        teller.result(facts, plan.sentences)
        return OK
    fetched = stac.fetch(plan, part(teller.report, 0.1, 0.7))
    build = dpixels.BuildPlan(fetched.scenes, request.window, options.out)
    built = dpixels.build(build, part(teller.report, 0.7, 1.0))
    facts = {**dataclasses.asdict(built), "failures": fetched.failures,
             "bytes_fetched": fetched.bytes_fetched}  # fmt: skip
    teller.result(facts, [*fetched.sentences, *_built_lines(built)])
    return PARTS_MISSING if fetched.failures else OK


def _catalogues(path: str) -> Mapping[str, stac.Catalogue]:
    """Return the known catalogues, and those of a file: {name: {"title", "search", ...}}."""
    if not path:
        return stac.CATALOGUES
    try:
        said: Dict[str, Dict[str, Any]] = json.loads(Path(path).read_text("utf-8"))
        more = {name: _catalogue(fields) for name, fields in said.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise BadArguments(f"{path} can't be read as catalogues: {error}.") from error
    return {**stac.CATALOGUES, **more}


def _catalogue(said: Mapping[str, Any]) -> stac.Catalogue:
    fields: Dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in said.items()
    }
    return stac.Catalogue(**fields)


# --- helpers


def _recognised(options: argparse.Namespace, report: Report) -> Recognised:
    found = dpixels.recognise(options.source, report)
    said = dpixels.Corrections(
        s2_unit=_BY_DATE.get(options.s2_unit, options.s2_unit),
        s1_unit=options.s1_unit,
        orbit=options.orbit,
        mask_kind=options.mask,
        left_out=tuple(options.leave_out),
        dates=tuple(_pair(each) for each in options.date),
        bands=tuple((name, int(number)) for name, number in map(_pair, options.band)),
    )
    return dpixels.corrected(found, said)


def _pair(text: str) -> Tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise BadArguments(f"{text!r} is not NAME=VALUE.")
    return name, value


def _check_answered(found: Recognised) -> None:
    """Raise where a fact is missing that no file tells."""
    if not found.questions:
        return
    asked = []
    for question in found.questions:
        hint = found.suggestions.get(question, "")
        why = found.suggestions.get(f"{question}.why", "")
        asked.append(
            f"{_ASKED_BY.get(question, question)}"
            + (f" (it looks like {hint}: {why})" if hint else "")
        )
    raise BadArguments(f"The files do not tell everything; say {', '.join(asked)}.")


def _plan(options: argparse.Namespace, found: Recognised) -> dpixels.BuildPlan:
    extent = options.bbox or found.extent
    if extent is None:
        raise BadArguments("The files do not tell where they lie; give --bbox.")
    return dpixels.BuildPlan(found.scenes, dpixels.window_of(extent), options.out)


def _recognised_facts(found: Recognised) -> Dict[str, Any]:
    return dataclasses.asdict(found)


def _recognised_lines(found: Recognised) -> List[str]:
    lines = [
        f"S2  {scene.date}  {scene.unit or '?':<12} {scene.mask_kind:<7} {scene.baseline or '-':<6} {scene.name}"
        for scene in found.scenes.s2
    ]
    lines += [
        f"S1  {scene.date}  {scene.unit or '?':<12} {scene.orbit or '?':<11} {scene.name}"
        for scene in found.scenes.s1
    ]
    lines += [f"Not used: {each.path} ({each.reason})." for each in found.unrecognised]
    return [*lines, *(f"To be said: {_ASKED_BY.get(each, each)}." for each in found.questions)]


def _built_lines(built: Built) -> List[str]:
    window = built.window
    return [
        (
            f"Wrote {built.folder}: {window.width} x {window.height} pixels in EPSG:{window.epsg}, "
            f"{counted(built.s2_dates, 'date')} of Sentinel-2, {built.ascending_dates} ascending and "
            f"{built.descending_dates} descending of Sentinel-1."
        ),
        *(f"Left out: {name} ({reason})." for name, reason in built.dropped),
        *built.warnings,
    ]
