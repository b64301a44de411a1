# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Embeddings of own scenes on the command line: inputs, encoder files, encoding, devices."""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
from typing import Any, Dict, List, Tuple

from ..engine import dpixels, encode, encoders
from ..engine.dpixels import Built, Recognised
from ..progress import Report, part
from .teller import OK, BadArguments, Teller
from .worker import worker_for_command

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
    """Build a d-pixel tile from dated rasters."""
    found = _recognised(options, part(teller.report, 0.0, 0.2))
    if options.list:
        teller.result(_recognised_facts(found), _recognised_lines(found))
        return OK
    _check_answered(found)
    built = dpixels.build(_plan(options, found), part(teller.report, 0.2, 1.0))
    teller.result({**dataclasses.asdict(built)}, _built_lines(built))
    return OK


def export_encoder(options: argparse.Namespace, teller: Teller) -> int:
    """Make an encoder file of an official checkpoint."""
    request = encoders.ExportRequest(
        checkpoint=options.checkpoint, out=options.out, data_source=options.data_source,
        precision=options.precision, heads=options.heads, calibration=options.calibration,
    )  # fmt: skip
    with worker_for_command() as worker:
        facts = encoders.export_encoder(request, worker, teller.report)
    lines = [f"Wrote {facts.path}", *encoder_lines(facts)]
    teller.result(dict(facts.told), lines)
    return OK


def run_encode(options: argparse.Namespace, teller: Teller) -> int:
    """Encode a d-pixel tile into a dataset of own scenes."""
    request = encode.EncodeRequest(
        encoder=options.encoder, tile=options.tile, year=options.year, name=options.name,
        root=options.out, depth=options.depth, threads=options.threads,
        providers=(encoders.PROVIDERS[options.device],) if options.device else (),
    )  # fmt: skip
    with worker_for_command() as worker:
        if options.estimate:
            expected = encode.estimate(request, teller.report, worker)
            teller.result(dataclasses.asdict(expected), [_estimate_line(expected)])
            return OK
        encoded = encode.encode(request, teller.report, worker)
    facts = {**dataclasses.asdict(encoded), "key": encoded.dataset.key}
    teller.result(facts, _encoded_lines(encoded))
    return OK


def devices(_options: argparse.Namespace, teller: Teller) -> int:
    """List what heads and encoders can be computed on."""
    with worker_for_command() as worker:
        found = encoders.devices(worker, teller.report)
    rows = [dataclasses.asdict(each) for each in found]
    lines = [
        f"{each.framework:<12} {each.id or '-':<26} {each.name or '-':<32} "
        f"{'works' if each.works else each.reason}"
        for each in found
    ]
    teller.listed(rows, lines)
    return OK


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
            f"{built.s2_dates} dates of Sentinel-2, {built.ascending_dates} ascending and "
            f"{built.descending_dates} descending of Sentinel-1."
        ),
        *(f"Left out: {name} ({reason})." for name, reason in built.dropped),
        *built.warnings,
    ]


def encoder_lines(facts: encoders.EncoderFacts) -> List[str]:
    """Return what an encoder file says of itself."""
    return [
        (
            f"{facts.title}: {facts.depth} dimensions, {facts.precision}, {facts.bytes / 1e6:.1f} MB, "
            f"embedding space {facts.space}, licence {facts.licence}."
        ),
        *facts.warnings,
    ]


def _estimate_line(expected: encode.Estimate) -> str:
    return (
        f"{expected.pixels:,} pixels take about {dt.timedelta(seconds=round(expected.seconds))} on "
        f"{expected.device} and {expected.bytes / 1e6:,.0f} MB on the disk."
    )


def _encoded_lines(encoded: encode.Encoded) -> List[str]:
    lines = [
        f"Wrote {encoded.scene}",
        (
            f"{encoded.encoded_px:,} of {encoded.pixels:,} pixels were encoded on {encoded.device} in "
            f"{encoded.seconds:,.0f} s; {encoded.nodata_px:,} have no valid Sentinel-2 observation, "
            f"{encoded.few_px:,} fewer than 15."
        ),
        f"Use it with --store {encoded.dataset.local} --dataset {encoded.dataset.key}.",
    ]
    if encoded.moved_m:
        lines.append(f"The inputs were moved by {encoded.moved_m:.1f} m onto the grid.")
    lines += [f"Not on {device}: {reason}." for device, reason in encoded.refused]
    return [*lines, *encoded.warnings]
