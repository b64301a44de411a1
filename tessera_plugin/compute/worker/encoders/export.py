# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""From an official checkpoint to one ONNX file that says all about itself."""

from __future__ import annotations

from typing import Optional

import onnx
import torch

from ..arrays import draft
from .checkpoint import Checkpoint, read_checkpoint
from .graph import OUTPUT, ExportRefused, open_session, to_onnx
from .parity import measure
from .releases import LICENCE, RULES, inputs_of
from .self_test import make_self_test
from .spec import (
    DAY_OF_YEAR,
    KEY,
    SCHEMA,
    EncoderSpec,
    Output,
    Source,
    spec_from_text,
    spec_to_text,
)

EXPORTER = "Tessera for QGIS"

OFFICIAL = {
    "bc9929e3643dfab2744c2ce14e7c14f698703a94e9562e4e0982f9d6540b0691": "nano",
    "92619d4ffc2936895f145fdcf710140b58c23c860e02f01873828b10c6958d95": "small",
    "3823be7db9d9cfc93f3c2a47c7699be82821ab4e1117d4d2befdb746941ee96e": "medium",
    "b5f20239dbb1849c01a3e407b095aafe39b0bf764300206af78cb9b85f9ec1e1": "large",
}
"""SHA-256 of the released v2 students, as others have published them."""


def export_encoder(
    path: str, out: str, data_source: str = "unstated", heads: Optional[int] = None
) -> EncoderSpec:
    """Write the encoder of a checkpoint as ONNX, whole or not at all, and return what it says.

    `data_source`: for v1.1 "mpc" or "aws", as its release is called; other generations have one
    normalisation and take "unstated". `heads`: see read_checkpoint.

    Raises: CheckpointRefused; ExportRefused where torch and ONNX Runtime differ by more than 1e-4
    of the output's spread, or a batch or time axis came out fixed; NoRoom; OSError.
    """
    checkpoint = read_checkpoint(path, heads)
    rules = RULES[checkpoint.generation]
    scaling = rules.scaling.get(data_source)
    if scaling is None:
        known = " or ".join(sorted(rules.scaling))
        raise ExportRefused(f"the data source of v{checkpoint.generation} must be {known}")
    _refuse_other_source(checkpoint.file, data_source)
    inputs = inputs_of(scaling)
    encoder = checkpoint.encoder()
    model = to_onnx(encoder)
    parity = measure(encoder, open_session(model), inputs[1], rules.sampling)
    output = _output(checkpoint, rules.kept_dimension)
    name = _name(checkpoint, data_source)
    spec = EncoderSpec(
        schema=SCHEMA,
        name=name,
        generation=checkpoint.generation,
        size=checkpoint.size,
        data_source=data_source,
        space=_space(name, checkpoint),
        heads=checkpoint.shape.heads,
        precision="float32",
        is_order_sensitive=not checkpoint.generation.startswith("2.0"),
        s2=inputs[0],
        s1=inputs[1],
        day_of_year=DAY_OF_YEAR,
        sampling=rules.sampling,
        output=output,
        quantisation=rules.quantisation,
        source=Source(checkpoint.file, checkpoint.sha256, LICENCE, _exporter()),
        parity=parity,
        self_test=make_self_test(encoder, inputs, rules.sampling, output, parity.output_spread),
    )
    _write(model, spec, out)
    return spec


def _write(model: onnx.ModelProto, spec: EncoderSpec, out: str) -> None:
    text = spec_to_text(spec)
    if spec_from_text(text) != spec:
        raise ExportRefused("the description does not survive being written")
    onnx.helper.set_model_props(model, {KEY: text})
    model.producer_name, model.producer_version = EXPORTER, ""
    whole = model.SerializeToString()
    with draft(out, len(whole)) as file:
        file.write(whole)


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
    if OFFICIAL.get(checkpoint.sha256) == checkpoint.size != "":
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
