# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A head out of the ONNX file it was exported to. Such files are sent around, so all is doubted.

The worker reads the file as bytes and hands over its weights only if its graph is, part for part,
the one that heads are exported as; no other graph is ever run as a head. The rest is judged here,
and last ONNX Runtime has to give the head's answers.
"""

from __future__ import annotations

import contextlib
import json
import re
import unicodedata
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Tuple

import numpy as np
from numpy.typing import NDArray

from ..compute.client import WorkerClient
from ..errors import HeadUnreadable, OnnxHeadTooOld, OnnxNotAHead, WorkerFailed
from ..progress import Report, silent
from .embeddings import dequantise
from .exchange import check_parts, exchange
from .head_onnx import (
    DIGEST_KEY,
    FILE_KEY,
    arrays_of,
    compare,
    digest,
    trial_embeddings,
)
from .heads import Head
from .heads.storage import from_facts
from .heads.story import is_sound
from .model_forms import KEY

ENCODER_KEY = "tessera"
"""Key of the metadata of encoders."""

MOST_DEPTH = 4096
"""Dimensions; embeddings are published with at most 1024."""

MOST_CLASS_NAME = 200
"""Letters of a class's name, or of a dataset's key."""

_YEARS = range(1900, 2101)
_ID = re.compile(r"[0-9a-f]{1,64}")
_HIDING = frozenset(("Cc", "Cs", "Zl", "Zp"))
"""Categories of letters that break lines or can't be written."""
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They turn the direction of text: a name could look like another."""


def read_head(path: str, worker: WorkerClient, report: Report = silent) -> Head:
    """Return the head of an ONNX file, bit for bit the one that was exported.

    Raises: OnnxNotAHead for any other ONNX file; OnnxHeadTooOld for one of an earlier version;
    HeadUnreadable where anything in it was changed; WorkerUnavailable, WorkerDied, WorkerFailed,
    NotWritable, DiskFull, Cancelled.
    """
    check_parts(worker, "onnx")
    metadata, arrays, foreign = _taken_apart(path, worker, report)
    if FILE_KEY not in metadata:
        raise _not_ours(path, metadata)
    if foreign:
        raise HeadUnreadable(path, foreign)
    temperature = float(arrays.pop("temperature")[0])
    head = from_facts(path, metadata[FILE_KEY], arrays)
    problem = _problem(head, metadata[FILE_KEY])
    if not problem and np.float32(head.temperature) != temperature:
        problem = f"its temperature is {temperature} in one place and {head.temperature} in another"
    if not problem and metadata.get(DIGEST_KEY) != digest(metadata[FILE_KEY], arrays_of(head)):
        problem = "it was changed after it was exported"
    if problem:
        raise HeadUnreadable(path, problem)
    _ask(path, head, worker, report)
    return head


# --- inside


def _taken_apart(
    path: str, worker: WorkerClient, report: Report
) -> Tuple[Dict[str, str], Dict[str, NDArray[np.float32]], str]:
    """Return metadata and arrays of a file, or what is foreign about its graph."""
    with exchange(worker, {}) as asked:
        weights = Path(str(asked["out"]))
        written = weights.with_name("metadata.json")
        with _refused(path):
            told = worker.call(
                "read_head",
                {"model": path, "weights": str(weights), "metadata": str(written)},
                report,
            )
        metadata: Dict[str, str] = json.loads(written.read_text("utf-8"))
        if told["foreign"]:
            return metadata, {}, str(told["foreign"])
        with np.load(weights, allow_pickle=False) as archive:
            return metadata, {name: archive[name] for name in archive.files}, ""


def _not_ours(path: str, metadata: Mapping[str, str]) -> Exception:
    """Return the error for a file without what an import needs."""
    if ENCODER_KEY in metadata:
        return OnnxNotAHead(path, "it is an encoder, which makes embeddings", is_encoder=True)
    with contextlib.suppress(ValueError):
        told = json.loads(metadata.get(KEY, "null"))
        if isinstance(told, dict) and {"kind", "temperature", "made_by"} <= set(told):
            return OnnxHeadTooOld(path)
    return OnnxNotAHead(path, "it is a model made by other software")


def _problem(head: Head, text: str) -> str:
    """Return what no honest head has, as a clause; empty where there is nothing."""
    words = [head.dataset, *(each.name for each in head.classes)]
    odd = next((each for each in words if not _is_line(each)), "")
    years = set(head.years)
    checks = (
        (all(map(_is_line, words)),
         f"it has the name {odd!a:.60}, which is empty, too long or can't be shown"),
        (not re.search(r"[/\\]", head.dataset), f"its dataset {head.dataset!r:.60} looks like a path"),
        (_ID.fullmatch(head.id), f"its id is {head.id!a:.60}"),
        (years and years <= set(_YEARS) and len(years) == len(head.years),
         f"its years are {head.years!r:.60}"),
        (head.depth <= MOST_DEPTH,
         f"it takes {head.depth} dimensions, at most {MOST_DEPTH} are possible"),
        (is_sound(json.loads(text)["training"]),
         "what it tells of its training is not what trainings tell"),
    )  # fmt: skip
    return next((problem for fits, problem in checks if not fits), "")


def _is_line(text: str) -> bool:
    """Whether a text is one line that can be shown as it is."""
    shown = not any(unicodedata.category(each) in _HIDING or each in _TURNING for each in text)
    return shown and bool(text.strip()) and len(text) <= MOST_CLASS_NAME


def _ask(path: str, head: Head, worker: WorkerClient, report: Report) -> None:
    """Check that ONNX Runtime gives the answers of the head. Raises: HeadUnreadable."""
    codes, scales = trial_embeddings(head)
    with exchange(worker, {"tried": dequantise(codes, scales)}, "probabilities.npy") as asked:
        with _refused(path):
            worker.call("head_answers", {**asked, "model": path}, report)
        found: NDArray[Any] = np.load(str(asked["out"]), allow_pickle=False)
    compared = compare(head.probabilities(codes, scales), found)
    if not compared.agrees:
        raise HeadUnreadable(
            path,
            f"ONNX Runtime gives other answers than its weights, by up to {compared.worst:.1e}",
        )


@contextlib.contextmanager
def _refused(path: str) -> Iterator[None]:
    """Turn what the worker refuses about a file into our error."""
    try:
        yield
    except WorkerFailed as error:
        if error.kind != "ModelUnusable":
            raise
        said = error.message[len(path) :].lstrip(": ") if error.message.startswith(path) else ""
        raise OnnxNotAHead(path, (said or error.message).rstrip(".")) from error
