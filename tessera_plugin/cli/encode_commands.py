# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Embeddings of own scenes on the command line: encoder files, encoding, devices."""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
from typing import List

from ..engine import encode, encoders
from .teller import OK, Teller
from .words import counted
from .worker import worker_for_command


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
        f"Encoding {counted(expected.pixels, 'pixel')} takes about {dt.timedelta(seconds=round(expected.seconds))} on "
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
