# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The job `describe_encoder`: what an encoder file says about itself, without opening its graph."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping

from ..encode.errors import EncoderUnusable
from ..job import Job
from .metadata import read_spec
from .spec import EMPTY_REFUSED, FLOAT16, INT8, EncoderSpec

_SOURCES = {"mpc": "Planetary Computer", "aws": "AWS"}


@dataclass(frozen=True)
class Params:
    """What the client asks for."""

    path: str
    """The ONNX file."""


def run(params: Mapping[str, Any], job: Job) -> Dict[str, object]:
    """Return `describe` of a file. Raises: EncoderUnusable."""
    job.check()
    return describe(Params(**params).path)


def describe(path: str) -> Dict[str, object]:
    """Return the facts of an encoder file, as plain values.

    Raises: EncoderUnusable that says why a file is no encoder that can be run.
    """
    try:
        spec = read_spec(path)
        size_bytes = Path(path).stat().st_size
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"{error}"
        raise EncoderUnusable(path, reason or repr(error)) from error
    output, sampling = spec.output, spec.sampling
    return {
        "path": path,
        "bytes": size_bytes,
        "name": spec.name,
        "title": title_of(spec),
        "generation": spec.generation,
        "size": spec.size,
        "data_source": spec.data_source,
        "space": spec.space,
        "precision": spec.precision,
        "depth": output.kept_dimension,
        "native_depth": output.native_dimension,
        "prefixes": list(output.prefixes),
        "licence": spec.source.licence,
        "source_file": spec.source.file,
        "source_sha256": spec.source.sha256,
        "exporter": spec.source.exporter,
        "parity": asdict(spec.parity),
        "loss": None if spec.loss is None else asdict(spec.loss),
        "is_fast_preview": spec.is_fast_preview,
        "is_order_sensitive": spec.is_order_sensitive,
        "gflop_per_px": asdict(spec.gflop_per_px),
        "lengths": list(sampling.lengths),
        "fill": sampling.fill,
        "draws": sampling.draws,
        "needs_s1": sampling.empty == EMPTY_REFUSED,
        "inputs": [asdict(stream) for stream in (*spec.s2.streams, *spec.s1.streams)],
        "quantisation": asdict(spec.quantisation),
        "warnings": warnings_of(spec),
    }


def title_of(spec: EncoderSpec) -> str:
    """Return what to call an encoder in a list."""
    generation = f"v{spec.generation}" if spec.generation[0].isdigit() else spec.generation
    parts = ["TESSERA", generation, spec.size, _SOURCES.get(spec.data_source, "")]
    title = " ".join(part for part in parts if part)
    if not _is_tessera(spec):
        title = spec.name[0].upper() + spec.name[1:].replace("-", " ")
    if spec.is_fast_preview:
        return f"{title} ({spec.precision}, fast preview)"
    return title if spec.loss is None else f"{title} ({spec.precision})"


def warnings_of(spec: EncoderSpec) -> List[str]:
    """Return what someone who chooses this file should know, a sentence each."""
    said = []
    if not _is_tessera(spec):
        said.append("Not a TESSERA encoder: it has the form of one, but was trained otherwise.")
    if spec.precision == FLOAT16:
        said.append("Half precision is for GPUs: on a processor it is no faster than float32.")
    if spec.precision == INT8 and spec.loss is not None:
        said.append(
            f"int8: cosine to float32 {spec.loss.cosine_mean:.5f} in the mean and "
            f"{spec.loss.cosine_min:.5f} at worst, with ranges from {spec.loss.calibration}."
        )
    if spec.is_fast_preview:
        said.append("A fast preview: its embeddings are not to be mixed with those of float32.")
    if spec.sampling.empty == EMPTY_REFUSED:
        said.append("It can't do without Sentinel-1.")
    if spec.sampling.mode == "random":
        said.append("It draws observations by chance: another seed gives other embeddings.")
    return said


def _is_tessera(spec: EncoderSpec) -> bool:
    """Whether a file goes under the name of the released encoders."""
    return spec.name.startswith("tessera-")
