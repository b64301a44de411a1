# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Somebody's ONNX model as a head: over patches or pixels of embeddings, to a class map."""

from __future__ import annotations

import contextlib
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from ..compute.client import WorkerClient
from ..errors import ModelUnusable, NoValidEmbeddings, WorkerFailed
from ..io import files
from ..io.sources.base import EmbeddingSource
from ..progress import Report, part, silent
from ..values import Access, Extent, Window
from .classify import ClassifyResult, StagedMap, source_tags
from .embeddings import over_extent, valid_mask
from .encoders import needed
from .grid import centre_zone, windows_of
from .mapping import NO_CLASS, Mapped, MapWriter, class_counts, targets_of
from .model_forms import ModelFacts, ModelForm, facts_of

__all__ = ["ModelFacts", "ModelForm", "ModelRequest", "describe_model", "run_model"]

RECTANGLE_PX = 768
"""Edge of what is mapped at once; with the patches around it, its codes take 200 MB at most."""


@dataclass(frozen=True)
class ModelRequest:
    """Which model to run, over what, and where to."""

    model: str
    form: ModelForm
    dataset: str
    year: int
    extent: Extent
    access: Access
    out: str
    confidence_out: Optional[str] = None
    limit_px: int = 50_000_000
    providers: Tuple[str, ...] = ()


def describe_model(
    path: str, worker: Optional[WorkerClient], report: Report = silent
) -> ModelFacts:
    """Return what a model takes and gives, and a form filled in as far as files tell.

    Raises: ModelUnusable, WorkerUnavailable and what else the worker meets.
    """
    with _refused(path):
        told = needed(worker).call("describe_model", {"model": path}, report)
    return facts_of(path, told)


def run_model(
    request: ModelRequest, report: Report = silent, worker: Optional[WorkerClient] = None
) -> StagedMap:
    """Return a model's map of an extent, written but not yet under its name.

    Embeddings are fetched as far as the patches at the extent's edge overlap it; what lies beyond is
    the mean of the training to the model.
    Raises: ModelUnusable, HeadMismatch, WorkerUnavailable; else as `classify.classify`.
    """
    client = needed(worker)
    facts = describe_model(request.model, client, report)
    facts.check_dataset(request.dataset)
    request.form.check(facts)
    return over_extent(
        request, facts.depth, lambda source: run_from(source, facts, request, client, report),
        report, client,
    )  # fmt: skip


def run_from(
    source: EmbeddingSource, facts: ModelFacts, request: ModelRequest, worker: WorkerClient,
    report: Report,
) -> StagedMap:  # fmt: skip
    """Do `run_model` with a source that is open and a model that is described."""
    started = time.monotonic()
    windows = windows_of(request.extent)
    with contextlib.ExitStack() as undo:
        outs = {"map": request.out, "confidence": request.confidence_out}
        targets = targets_of(outs, windows, undo)
        target, confidence = targets["map"], targets.get("confidence")
        margin = request.form.overlap_px
        summary = source.fetch([_grown(each, margin) for each in windows], part(report, 0.0, 0.3))
        tags = {
            **source_tags(source, request.access, summary),
            "TESSERA_MODEL": Path(request.model).name,
            "TESSERA_MODEL_SHA256": facts.sha256,
        }
        folder = Path(tempfile.mkdtemp(dir=worker.scratch()))
        undo.callback(files.remove_folder, folder)
        mapper = _ModelMapper(source, facts, request, worker, folder)
        writer = MapWriter(request.form.classes, windows, target, confidence, tags)
        with _refused(request.model):
            found, nodata_px = writer.write(mapper, part(report, 0.3, 1.0))
        if not found.any():
            reason = "it is all water or without data, or did not arrive"
            raise NoValidEmbeddings(request.dataset, request.year, reason)
        counts, zone = class_counts(request.form.classes, found), centre_zone(request.extent)
        staged = target.staged(zone, counts, tags)
        staged_confidence = confidence.staged(zone, (), tags) if confidence else None
        undo.pop_all()
        files.remove_folder(folder)
    return StagedMap(staged, staged_confidence, ClassifyResult(
        maps=(), mosaic=None, confidences=(), confidence_mosaic=None, classes=counts,
        nodata_px=nodata_px, fetched=summary, head_id=f"model-{facts.sha256[:12]}",
        dataset=request.dataset, year=request.year, trained_years=(),
        seconds=round(time.monotonic() - started, 3),
    ))  # fmt: skip


class _ModelMapper:
    """Finds classes by the worker, rectangle by rectangle."""

    def __init__(
        self, source: EmbeddingSource, facts: ModelFacts, request: ModelRequest,
        worker: WorkerClient, folder: Path,
    ) -> None:  # fmt: skip
        self._source, self._facts, self._request = source, facts, request
        self._worker, self._folder = worker, folder
        self._number = 0

    def __call__(self, window: Window, report: Report) -> Iterator[Mapped]:
        """Yield the rectangles."""
        form, done_px = self._request.form, 0
        known = _grown(window, form.overlap_px)
        for rectangle in _rectangles(window, form.patch_px - form.overlap_px):
            after_px = done_px + rectangle.pixels
            share = part(report, done_px / window.pixels, after_px / window.pixels)
            yield self._mapped(rectangle, known, share)
            done_px = after_px

    def _mapped(self, rectangle: Window, known: Window, report: Report) -> Mapped:
        margin = self._request.form.patch_px - 1
        seen = _grown(rectangle, margin).intersection(known) or rectangle
        codes, scales = self._source.read(seen)
        valid = valid_mask(codes, scales)
        here = rectangle.slices_in(seen)
        if not valid[here].any():
            nothing = np.full(rectangle.shape, NO_CLASS, np.intp)
            return Mapped(rectangle, nothing, np.zeros(rectangle.shape, np.uint8))
        scales = np.where(valid, scales, np.float32(np.nan))
        shares = self._shares(rectangle, seen, codes, scales, report)
        best, percent = self._request.form.chosen(shares)
        return Mapped(rectangle, np.where(valid[here], best, NO_CLASS), percent)

    def _shares(
        self, rectangle: Window, seen: Window, codes: NDArray[np.int8],
        scales: NDArray[np.float32], report: Report,
    ) -> NDArray[np.float32]:  # fmt: skip
        """Return what the model gives each pixel (k, H, W)."""
        self._number += 1  # new names: the worker may still map the files of the last call
        paths = {
            name: self._folder / f"{name}_{self._number}.npy" for name in ("codes", "scales", "out")
        }
        form = self._request.form
        asked: Dict[str, object] = {
            "model": self._request.model,
            **{name: str(path) for name, path in paths.items()},
            "row": seen.row,
            "col": seen.col,
            "rectangle": [rectangle.row, rectangle.col, *rectangle.shape],
            "patch": form.patch_px,
            "overlap": form.overlap_px,
            "mean": list(form.mean),
            "std": list(form.std),
            "activation": form.activation,
            "providers": list(self._request.providers),
        }
        try:
            np.save(paths["codes"], codes)
            np.save(paths["scales"], scales)
            self._worker.call("run_model", asked, report)
            found: NDArray[np.float32] = np.load(paths["out"], allow_pickle=False).astype(
                np.float32
            )
            return found
        except OSError as error:
            raise files.write_error(self._folder, error, codes.nbytes) from error
        finally:
            for path in paths.values():
                with contextlib.suppress(OSError):
                    path.unlink()


def _rectangles(window: Window, step: int) -> Iterator[Window]:
    """Yield the parts of a window, cut at multiples of the patches' step where that is small."""
    edge = max(RECTANGLE_PX // step, 1) * step
    for row in range(window.row // edge * edge, window.stop_row, edge):
        for col in range(window.col // edge * edge, window.stop_col, edge):
            whole = Window(window.zone, row, col, edge, edge)
            found = whole.intersection(window)
            if found is not None:
                yield found


def _grown(window: Window, margin: int) -> Window:
    return Window.between(
        window.zone, window.row - margin, window.col - margin,
        window.stop_row + margin, window.stop_col + margin,
    )  # fmt: skip


@contextlib.contextmanager
def _refused(path: str) -> Iterator[None]:
    """Turn what the worker refuses about a model into our error."""
    try:
        yield
    except WorkerFailed as error:
        if error.kind not in {"ModelUnusable", "ValueError"}:
            raise
        said = error.message[len(path) :].lstrip(": ") if error.message.startswith(path) else ""
        raise ModelUnusable(path, (said or error.message).rstrip(".")) from error
