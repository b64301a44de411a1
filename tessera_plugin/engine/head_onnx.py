# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A head as an ONNX file that others can run; kept only if ONNX Runtime gives the head's answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Tuple

import numpy as np
from numpy.typing import NDArray

from ..compute.client import WorkerClient
from ..errors import HeadExportDiffers, WorkerUnavailable
from ..io import files
from ..progress import Report, silent
from .catalog import CITATION, LICENCE
from .embeddings import dequantise
from .exchange import exchange
from .heads import Head
from .model_forms import KEY

TRIED = 4096
"""Embeddings that a file is tried on."""

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
    (ids, names, colours), dataset, years and the head's id, as JSON.
    Raises: HeadExportDiffers, WorkerUnavailable, WorkerDied, WorkerFailed, NotWritable, DiskFull,
    Cancelled. Where it fails there is no file, or the old one.
    """
    if "onnx" not in worker.start():
        raise WorkerUnavailable("the add-on was installed without its training part")
    codes, scales = trial_embeddings(head)
    wanted = head.probabilities(codes, scales)
    arrays: Dict[str, NDArray[Any]] = {"tried": dequantise(codes, scales)}
    with exchange(worker, arrays, "probabilities.npy") as asked:
        folder = Path(str(asked["out"])).parent
        weights, model = folder / "weights.npz", folder / "head.onnx"
        np.savez(weights, mean=head.mean, std=head.std, **head.weights)
        name = title or head.name or f"{head.kind} {head.id}"
        asked.update(
            weights=str(weights), model=str(model), temperature=float(head.temperature),
            metadata={KEY: json.dumps(facts_of(head, name))}, title=name, told=_told(head),
            version=files.plugin_version(),
        )  # fmt: skip
        told = worker.call("export_head", asked, report)
        found = np.load(str(asked["out"]), allow_pickle=False)
        content = model.read_bytes()
    same, worst = _compared(path, wanted, found)
    files.write_bytes(path, content)
    return ExportCheck(path, len(content), len(codes), same, worst, str(told["onnxruntime"]))


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
    draw = np.random.default_rng(0)
    like = head.mean + head.std * draw.normal(size=(TRIED // 2, head.depth))
    reach = float((np.abs(head.mean) + 3 * head.std).max())
    chance = draw.uniform(-1, 1, (TRIED - len(like), head.depth)) * reach
    values = np.concatenate([like, chance])
    scales = (np.abs(values).max(axis=1) / LARGEST_CODE).astype(np.float32)
    return np.rint(values / scales[:, None]).astype(np.int8), scales


def _compared(
    path: str, wanted: NDArray[np.float32], found: NDArray[np.float32]
) -> Tuple[int, float]:
    """Return how many classes are the same, and the largest difference. Raises: HeadExportDiffers."""
    if found.shape != wanted.shape:
        raise HeadExportDiffers(path, 1.0, len(wanted))
    ours, theirs = wanted.argmax(axis=1), found.argmax(axis=1)
    rows = np.arange(len(wanted))
    gap = wanted[rows, ours] - wanted[rows, theirs]
    worst = float(np.nan_to_num(np.abs(wanted - found), nan=1.0).max())
    others = int((gap > TOLERANCE).sum())
    if others or worst > TOLERANCE:
        raise HeadExportDiffers(path, worst, others)
    return int((ours == theirs).sum()), worst


def _told(head: Head) -> str:
    classes = ", ".join(each.name for each in head.classes)
    return (
        f"Land-cover head ({head.kind}) for TESSERA embeddings of the dataset {head.dataset}, "
        f"{head.depth} dimensions, trained on {', '.join(map(str, head.years))}. Give it dequantised "
        f"embeddings of this dataset only. Classes in order: {classes}."
    )
