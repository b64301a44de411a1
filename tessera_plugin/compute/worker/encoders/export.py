# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""From an official checkpoint to one ONNX file that says all about itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Dict, Mapping, Optional, Tuple

import onnx
import onnxruntime as ort
import torch

from ..encode.errors import EncoderUnusable
from ..job import Job
from .architectures import Encoder
from .builder import OUTPUT
from .calibration import calibration_of
from .checkpoint import Checkpoint, CheckpointRefused, read_checkpoint
from .describe import describe
from .graph import ExportRefused, open_session, to_onnx
from .parity import by_graph, by_torch, measure
from .progress import Report, part, silent
from .reduced import half, int8, loss_of
from .releases import OFFICIAL_STUDENTS, RULES, inputs_of, licence_of
from .self_test import TOLERANCE_OF_SPREAD, make_self_test
from .spec import (
    DAY_OF_YEAR,
    FLOAT32,
    INT8,
    KEY,
    PRECISIONS,
    SCHEMA,
    EncoderSpec,
    Output,
    Source,
    spec_from_text,
    spec_to_text,
)
from .storage import write_model
from .work import work_of

EXPORTER = "Tessera for QGIS"


@dataclass(frozen=True)
class Params:
    """What the client asks for."""

    checkpoint: str
    """The official file."""
    out: str
    """The ONNX file to write."""
    data_source: str = "unstated"
    """For v1.1 "mpc" or "aws", as its release is called; other generations have one normalisation
    and take "unstated"."""
    heads: Optional[int] = None
    """Attention heads, only for a v1 network that has not the official size."""
    precision: str = FLOAT32
    """One of PRECISIONS."""
    calibration: str = ""
    """A d-pixel folder to take the ranges of int8 from; without one, made-up observations."""


@dataclass(frozen=True)
class Naming:
    """What to call weights of the official form that are no official ones."""

    name: str
    """Without "tessera"; the title is made of it."""
    space: str
    licence: str


def run(params: Mapping[str, Any], job: Job) -> Dict[str, object]:
    """Write an encoder file and return `describe` of it.

    Raises: EncoderUnusable with the reason why a checkpoint is not exported; NoRoom, OSError.
    """
    p = Params(**params)
    try:
        export_encoder(
            p.checkpoint,
            p.out,
            p.data_source,
            p.heads,
            precision=p.precision,
            calibration=p.calibration,
            report=job.report,
        )
    except (CheckpointRefused, ExportRefused) as error:
        raise EncoderUnusable(p.checkpoint, str(error)) from error
    return describe(p.out)


def export_encoder(
    path: str,
    out: str,
    data_source: str = "unstated",
    heads: Optional[int] = None,
    *,
    precision: str = FLOAT32,
    calibration: str = "",
    named: Optional[Naming] = None,
    report: Report = silent,
) -> EncoderSpec:
    """Write the encoder of a checkpoint as ONNX, whole or not at all, and return what it says.

    For what the parameters mean see Params; `named` replaces name, space and licence.

    Raises: CheckpointRefused; ExportRefused where torch and ONNX Runtime differ by more than the
    precision allows, or a batch or time axis came out fixed; NoRoom; OSError.
    """
    if precision not in PRECISIONS:
        raise ExportRefused(f"precision must be {' or '.join(PRECISIONS)}")
    report(0.0, "reading the checkpoint")
    checkpoint = read_checkpoint(path, heads)
    rules = RULES[checkpoint.generation]
    scaling = rules.scaling.get(data_source)
    if scaling is None:
        known = " or ".join(sorted(rules.scaling))
        raise ExportRefused(f"the data source of v{checkpoint.generation} must be {known}")
    _refuse_other_source(checkpoint.file, data_source)
    encoder = checkpoint.encoder()
    report(0.1, "writing the graph")
    model = to_onnx(encoder)
    share = 0.9 if precision == FLOAT32 else 0.4
    spec = _described(
        checkpoint, encoder, open_session(model), data_source, part(report, 0.2, share)
    )
    if named is not None:
        source = replace(spec.source, licence=named.licence)
        spec = replace(spec, name=named.name, space=named.space, source=source)
    if precision != FLOAT32:
        rest = part(report, share, 0.9)
        model, spec = _reduced(
            encoder, model, spec, precision, calibration=calibration, report=rest
        )
    report(0.95, "writing the file")
    _write(model, spec, out)
    return spec


def _described(
    checkpoint: Checkpoint,
    encoder: Encoder,
    session: ort.InferenceSession,
    data_source: str,
    report: Report,
) -> EncoderSpec:
    """Return what the file in float32 says, after it was compared with the network."""
    rules = RULES[checkpoint.generation]
    inputs = inputs_of(rules.scaling[data_source])
    parity = measure(encoder, session, inputs[1], rules.sampling, report)
    output = _output(checkpoint, rules.kept_dimension)
    name = _name(checkpoint, data_source)
    tolerance = TOLERANCE_OF_SPREAD[FLOAT32] * parity.output_spread
    return EncoderSpec(
        schema=SCHEMA,
        name=name,
        generation=checkpoint.generation,
        size=checkpoint.size,
        data_source=data_source,
        space=_space(name, checkpoint),
        heads=checkpoint.shape.heads,
        precision=FLOAT32,
        loss=None,
        is_fast_preview=False,
        gflop_per_px=work_of(checkpoint.shape),
        is_order_sensitive=not checkpoint.generation.startswith("2.0"),
        s2=inputs[0],
        s1=inputs[1],
        day_of_year=DAY_OF_YEAR,
        sampling=rules.sampling,
        output=output,
        quantisation=rules.quantisation,
        source=Source(
            checkpoint.file,
            checkpoint.sha256,
            licence_of(checkpoint.file, checkpoint.sha256),
            _exporter(),
        ),
        parity=parity,
        self_test=make_self_test(by_torch(encoder), inputs, rules.sampling, output, tolerance),
    )


def _reduced(
    encoder: Encoder,
    model: onnx.ModelProto,
    spec: EncoderSpec,
    precision: str,
    *,
    calibration: str,
    report: Report,
) -> Tuple[onnx.ModelProto, EncoderSpec]:
    """Return graph and description with fewer bits; `model` and `spec` are those of float32."""
    data = calibration_of(calibration, spec)
    is_int8 = precision == INT8
    fewer = int8(encoder, data, part(report, 0.0, 0.5)) if is_int8 else half(encoder)
    session = open_session(fewer)
    loss = loss_of(session, open_session(model), spec, data, part(report, 0.5, 0.7))
    if is_int8:
        loss = replace(loss, calibration=data.words)
    parity = measure(
        encoder, session, spec.s1, spec.sampling, part(report, 0.7, 1.0), precision=precision
    )
    # What int8 gives is the same wherever it runs: its own result shows more than float32's.
    embed = by_graph(session) if is_int8 else by_torch(encoder)
    tolerance = TOLERANCE_OF_SPREAD[precision] * parity.output_spread
    test = make_self_test(embed, (spec.s2, spec.s1), spec.sampling, spec.output, tolerance)
    preview = "" if loss.is_faithful else "-preview"
    return fewer, replace(
        spec,
        name=f"{spec.name}-{precision}",
        space=f"{spec.space}{'-' + precision + preview if preview else ''}",
        precision=precision,
        loss=loss,
        is_fast_preview=not loss.is_faithful,
        parity=parity,
        self_test=test,
    )


def _write(model: onnx.ModelProto, spec: EncoderSpec, out: str) -> None:
    text = spec_to_text(spec)
    if spec_from_text(text) != spec:
        raise ExportRefused("the description does not survive being written")
    onnx.helper.set_model_props(model, {KEY: text})
    model.producer_name, model.producer_version = EXPORTER, ""
    write_model(model, out)


def _output(checkpoint: Checkpoint, kept: int) -> Output:
    native = checkpoint.shape.output
    return Output(
        name=OUTPUT,
        native_dimension=native,
        kept_dimension=min(kept, native) if kept else native,
        prefixes=checkpoint.prefixes,
        is_layer_normalised=checkpoint.shape.is_output_normalised,
    )


def _name(checkpoint: Checkpoint, data_source: str) -> str:
    parts = ["tessera", checkpoint.generation, checkpoint.size]
    parts += [data_source] if data_source != "unstated" else []
    return "-".join(part for part in parts if part)


def _space(name: str, checkpoint: Checkpoint) -> str:
    """Return the name of the embedding space: the release's, if these are its very weights."""
    if OFFICIAL_STUDENTS.get(checkpoint.sha256) == checkpoint.size != "":
        return name
    return f"{name}-{checkpoint.sha256[:12]}"


def _refuse_other_source(file: str, data_source: str) -> None:
    """Refuse a data source that the file's own name contradicts: nothing later would show it."""
    others = {"mpc", "aws"} - {data_source}
    named = [other for other in sorted(others) if other in file.lower()]
    if data_source != "unstated" and named and data_source not in file.lower():
        raise ExportRefused(f"{file} is called {named[0]}, but {data_source} was asked for")


def _exporter() -> str:
    return f"{EXPORTER}; torch {torch.__version__}, onnx {onnx.__version__}"
