# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A head as an ONNX file that others can run; kept only if ONNX Runtime gives the head's answers."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Mapping, Tuple

import numpy as np
from numpy.typing import NDArray

from ..compute.client import WorkerClient
from ..errors import HeadExportDiffers
from ..io import files
from ..progress import Report, silent
from .catalog import CITATION, LICENCE
from .embeddings import dequantise
from .exchange import check_parts, exchange
from .heads import Head
from .heads.storage import facts_text
from .model_forms import KEY

FILE_KEY = "tessera_head_file"
"""Key of the metadata with all of a head but its arrays, as its own file has it: for the import."""

DIGEST_KEY = "tessera_head_digest"
"""Key of the metadata with `digest` of the file's text and arrays."""

TRIED = 4096
"""Embeddings that a file is tried on."""

MOST_NUMBERS = 1 << 24
"""Of a layer's outputs for all of them; of heads that are absurdly wide fewer are tried."""

TOLERANCE = 1e-4
"""By so much a probability may differ. Classes closer than that to each other are a tie."""

LARGEST_CODE = 127


@dataclass(frozen=True)
class ExportCheck:
    """How an ONNX file was compared with its head."""

    path: str
    bytes: int
    tried: int
    """Embeddings."""
    same_class: int
    """Of them; the others are ties."""
    worst: float
    """Largest difference of a probability."""
    onnxruntime: str
    """Version that was asked."""

    def sentence(self) -> str:
        """Return it as an English sentence for the log and the command line."""
        return (
            f"Wrote {self.path}. ONNX Runtime {self.onnxruntime} gives the head's class for "
            f"{self.same_class:,} of {self.tried:,} embeddings, and probabilities within "
            f"{self.worst:.1e}."
        )


def export_head(
    head: Head, path: str, worker: WorkerClient, report: Report = silent, *, title: str = ""
) -> ExportCheck:
    """Write a head as an ONNX file.

    Its input is `embedding`, float32 (n, D): dequantised, as they are. Its output `probabilities`,
    float32 (n, k), has the classes in the head's order. The metadata `tessera_head` tells classes
    (ids, names, colours), dataset, years and the head's id, as JSON; with `tessera_head_file` it
    becomes a head again (`head_from_onnx`).
    Raises: HeadExportDiffers, WorkerUnavailable, WorkerDied, WorkerFailed, NotWritable, DiskFull,
    Cancelled. Where it fails there is no file, or the old one.
    """
    check_parts(worker, "onnx")
    codes, scales = trial_embeddings(head)
    wanted = head.probabilities(codes, scales)
    arrays: Dict[str, NDArray[Any]] = {"tried": dequantise(codes, scales)}
    with exchange(worker, arrays, "probabilities.npy") as asked:
        folder = Path(str(asked["out"])).parent
        weights, model = folder / "weights.npz", folder / "head.onnx"
        np.savez(weights, **arrays_of(head))
        metadata = folder / "metadata.json"
        name = title or head.name or f"{head.kind} {head.id}"
        asked.update(
            weights=str(weights), model=str(model), temperature=float(head.temperature),
            metadata=str(metadata), title=name, told=_told(head), version=files.plugin_version(),
        )  # fmt: skip
        metadata.write_text(json.dumps(_metadata(head, name)), "utf-8")
        told = worker.call("export_head", asked, report)
        found = np.load(str(asked["out"]), allow_pickle=False)
        content = model.read_bytes()
    compared = compare(wanted, found)
    if not compared.agrees:
        raise HeadExportDiffers(path, compared.worst, compared.others)
    files.write_bytes(path, content)
    return ExportCheck(
        path, len(content), len(codes), compared.same, compared.worst, str(told["onnxruntime"])
    )


def facts_of(head: Head, title: str) -> Dict[str, object]:
    """Return what an ONNX file tells of its head, as JSON values; `model_forms` reads it again."""
    return {
        "classes": [{"id": c.id, "name": c.name, "color": c.color} for c in head.classes],
        "patch_px": 1,
        "activation": "none",
        "dataset": head.dataset,
        "depth": head.depth,
        "years": list(head.years),
        "kind": head.kind,
        "id": head.id,
        "name": title,
        "temperature": float(head.temperature),
        "accuracy": head.accuracy.overall if head.accuracy is not None else None,
        "input": "dequantised embeddings, codes * scale, not standardised",
        "licence": f"The head is its author's. The embeddings are {LICENCE}: {CITATION}",
        "made_by": f"Tessera for QGIS {files.plugin_version()}".strip(),
    }


def trial_embeddings(head: Head) -> Tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return codes (n, D) and scales (n,): half like what it was trained on, half of pure chance.

    Both are quantised as published embeddings are. The same head gives the same ones.
    """
    widest = max(head.depth, *(bias.size for bias in head.weights.values() if bias.ndim == 1))
    count = min(TRIED, MOST_NUMBERS // widest)
    draw = np.random.default_rng(0)
    like = head.mean + head.std * draw.normal(size=(count // 2, head.depth))
    reach = float((np.abs(head.mean) + 3 * head.std).max())
    chance = draw.uniform(-1, 1, (count - len(like), head.depth)) * reach
    values = np.concatenate([like, chance])
    scales = (np.abs(values).max(axis=1) / LARGEST_CODE).astype(np.float32)
    return np.rint(values / scales[:, None]).astype(np.int8), scales


@dataclass(frozen=True)
class Compared:
    """Probabilities of a head and of its ONNX file."""

    same: int
    """Rows with the same class."""
    worst: float
    """Largest difference of a probability."""
    others: int
    """Rows with another class, but for ties."""

    @property
    def agrees(self) -> bool:
        """Whether nothing differs by more than `TOLERANCE`."""
        return not self.others and self.worst <= TOLERANCE


def compare(wanted: NDArray[np.float32], found: NDArray[np.float32]) -> Compared:
    """Return how a head's probabilities and those of ONNX Runtime agree; NaN never does."""
    if found.shape != wanted.shape:
        return Compared(0, 1.0, len(wanted))
    ours, theirs = wanted.argmax(axis=1), found.argmax(axis=1)
    rows = np.arange(len(wanted))
    gap = wanted[rows, ours] - wanted[rows, theirs]
    worst = float(np.nan_to_num(np.abs(wanted - found), nan=1.0).max())
    return Compared(int((ours == theirs).sum()), worst, int((gap > TOLERANCE).sum()))


def arrays_of(head: Head) -> Dict[str, NDArray[np.float32]]:
    """Return mean, std and weights of a head by name."""
    return {"mean": head.mean, "std": head.std, **head.weights}


def digest(text: str, arrays: Mapping[str, NDArray[np.float32]]) -> str:
    """Return what tells whether a head's text or arrays were changed: SHA-256, in hex digits."""
    found = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        found.update(repr((name, arrays[name].shape)).encode())
        found.update(np.ascontiguousarray(arrays[name], "<f4").tobytes())
    return found.hexdigest()


def _metadata(head: Head, title: str) -> Dict[str, str]:
    text = facts_text(head)
    return {
        KEY: json.dumps(facts_of(head, title)),
        FILE_KEY: text,
        DIGEST_KEY: digest(text, arrays_of(head)),
    }


def _told(head: Head) -> str:
    classes = ", ".join(each.name for each in head.classes)
    return (
        f"Land-cover head ({head.kind}) for TESSERA embeddings of the dataset {head.dataset}, "
        f"{head.depth} dimensions, trained on {', '.join(map(str, head.years))}. Give it dequantised "
        f"embeddings of this dataset only. Classes in order: {classes}."
    )
