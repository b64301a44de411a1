# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Encoder files: what they say of themselves, and how they are made of official checkpoints."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Optional, Sequence, Tuple

from ..compute.client import Device, WorkerClient
from ..errors import EncoderUnusable, WorkerFailed, WorkerUnavailable
from ..io import files
from ..progress import Report, silent

__all__ = [
    "PRECISIONS",
    "PROVIDERS",
    "Device",
    "EncoderFacts",
    "ExportRequest",
    "Listed",
    "describe",
    "devices",
    "export_encoder",
    "list_encoders",
    "needed",
]

SUFFIX = ".onnx"

PRECISIONS: Tuple[str, ...] = ("float32", "float16", "int8")
"""The first is the default: reproducible to the bit on one device."""

PROVIDERS: Mapping[str, str] = {
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
"""What a person calls the devices that encoders are computed on, and ONNX Runtime calls them."""

_UNUSABLE = "EncoderUnusable"
"""What the worker calls an encoder, a checkpoint or an ONNX file that it refuses."""


@dataclass(frozen=True)
class EncoderFacts:
    """What an encoder file says of itself."""

    path: str
    name: str
    title: str
    generation: str
    size: str
    data_source: str
    """Whose Sentinel data it was trained on: `mpc`, `aws` or `unstated`."""
    space: str
    """Embeddings of different spaces are never mixed."""
    precision: str
    depth: int
    prefixes: Tuple[int, ...]
    """Lengths at which its embeddings may be cut."""
    licence: str
    source_file: str
    source_sha256: str
    is_fast_preview: bool
    """Whether a pixel's embedding depends on what else is computed with it."""
    bytes: int
    needs_s1: bool
    """Whether scenes without any Sentinel-1 are refused."""
    warnings: Tuple[str, ...]
    told: Mapping[str, Any]
    """All that the worker told, for reports."""


@dataclass(frozen=True)
class Listed:
    """A file of a folder of encoders; either its facts or why it can't be used."""

    path: str
    facts: Optional[EncoderFacts]
    reason: str = ""


@dataclass(frozen=True)
class ExportRequest:
    """Which encoder file to make of a checkpoint."""

    checkpoint: str
    out: str
    data_source: str = "unstated"
    """`mpc` or `aws` where the checkpoint does not tell."""
    precision: str = PRECISIONS[0]
    heads: int = 0
    """Attention heads, where the checkpoint does not tell; 0 for what the generation has."""
    calibration: str = ""
    """d-pixel folder that int8 is calibrated on; empty for simulated observations."""


def list_encoders(
    folder: str, worker: Optional[WorkerClient], report: Report = silent
) -> Tuple[Listed, ...]:
    """Return the encoder files of a folder, by name; none where there is no folder.

    Raises: WorkerUnavailable and what else `WorkerClient.call` raises, Cancelled.
    """
    found = sorted(Path(folder).glob(f"*{SUFFIX}")) if Path(folder).is_dir() else []
    return tuple(_listed(str(path), worker, report) for path in found)


def _listed(path: str, worker: Optional[WorkerClient], report: Report) -> Listed:
    try:
        return Listed(path, describe(path, worker, report))
    except EncoderUnusable as error:
        return Listed(path, None, error.reason)


def describe(path: str, worker: Optional[WorkerClient], report: Report = silent) -> EncoderFacts:
    """Return what an encoder file says of itself; it is not run.

    Raises: EncoderUnusable, WorkerUnavailable, and what else `WorkerClient.call` raises.
    """
    with refusals(path):
        told = needed(worker).call("describe_encoder", {"path": path}, report)
    return _facts(path, told)


def export_encoder(
    request: ExportRequest, worker: Optional[WorkerClient], report: Report = silent
) -> EncoderFacts:
    """Make an encoder file of an official checkpoint, and return what it says of itself.

    A file that is there is replaced when the new one is whole.
    Raises: EncoderUnusable with the reason; DiskFull, NotWritable, WorkerUnavailable, Cancelled.
    """
    out = Path(request.out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise files.write_error(out.parent, error, 0) from error
    asked: Dict[str, object] = {
        "checkpoint": request.checkpoint,
        "out": request.out,
        "data_source": request.data_source,
        "precision": request.precision,
    }
    asked.update({"heads": request.heads} if request.heads else {})
    asked.update({"calibration": request.calibration} if request.calibration else {})
    with refusals(request.checkpoint):
        told = needed(worker).call("export_encoder", asked, report)
    return _facts(request.out, told)


def devices(worker: Optional[WorkerClient], report: Report = silent) -> Tuple[Device, ...]:
    """Return what encoders and heads can be computed on, each tried. Raises: as `describe`."""
    return needed(worker).devices(report)


def needed(worker: Optional[WorkerClient]) -> WorkerClient:
    """Return a worker that is there. Raises: WorkerUnavailable."""
    if worker is None:
        raise WorkerUnavailable("the add-on is not installed")
    return worker


@contextlib.contextmanager
def refusals(path: str) -> Iterator[None]:
    """Turn what the worker refuses about an encoder into our error."""
    try:
        yield
    except WorkerFailed as error:
        if error.kind != _UNUSABLE:
            raise
        raise EncoderUnusable(path, _reason(error.message, path)) from error


def _reason(message: str, path: str) -> str:
    """Return what a worker said without the path it begins with, which is said anyway."""
    said = message[len(path) :].lstrip(": ") if message.startswith(path) else message
    return said.rstrip(".")


def _facts(path: str, told: Mapping[str, Any]) -> EncoderFacts:
    def words(key: str) -> Sequence[Any]:
        found = told.get(key)
        return found if isinstance(found, (list, tuple)) else ()

    return EncoderFacts(
        path=path,
        name=str(told["name"]),
        title=str(told.get("title") or told["name"]),
        generation=str(told["generation"]),
        size=str(told["size"]),
        data_source=str(told["data_source"]),
        space=str(told["space"]),
        precision=str(told["precision"]),
        depth=int(told["depth"]),
        prefixes=tuple(int(each) for each in words("prefixes")),
        licence=str(told["licence"]),
        source_file=str(told["source_file"]),
        source_sha256=str(told["source_sha256"]),
        is_fast_preview=bool(told["is_fast_preview"]),
        bytes=int(told["bytes"]),
        needs_s1=bool(told["needs_s1"]),
        warnings=tuple(str(each) for each in words("warnings")),
        told=dict(told),
    )
