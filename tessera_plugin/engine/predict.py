# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A head's classes for many pixels: with numpy in this process, or in the worker, or the quicker way."""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Protocol, Tuple

import numpy as np
from numpy.typing import NDArray

from ..compute.client import WorkerClient
from ..errors import WorkerUnavailable
from ..io import files
from ..progress import Report
from .exchange import check_parts
from .heads.base import Head

PREDICT_PX = 16_384
"""Pixels predicted at once: the chunk that fits a processor's cache best."""

PLAIN_PX = 8 * PREDICT_PX
"""Pixels that the head is asked about at once where it chunks by itself: it keeps its arrays."""

WORTH_PRODUCTS = 40_000_000_000
"""Products of all pixels together from which a worker is worth its start of some tenths of a second:
about one second of numpy, of which it saves half (bench/predict.py). For a head with 64 hidden units
that is a square of 22 km."""

TURNS = 2
"""How often each way is timed before one of them is taken."""

_PARTS = ("onnx", "onnxruntime")
"""Packages that the worker predicts with."""


Reduce = Callable[[NDArray[np.float32]], Tuple[NDArray[Any], ...]]
"""What is kept of the probabilities (n, k) of some pixels: arrays of n rows each."""


def chosen(
    probabilities: NDArray[np.float32],
) -> Tuple[NDArray[np.intp], NDArray[np.uint8]]:
    """Return the most probable class of each row and its probability in percent, rounded."""
    best = probabilities.argmax(axis=1)
    highest = np.take_along_axis(probabilities, best[:, None], axis=1)[:, 0]
    return best, np.rint(100 * highest).astype(np.uint8)


class Predict(Protocol):
    """A way to predict."""

    def __call__(
        self,
        codes: NDArray[np.int8],
        scales: NDArray[np.float32],
        report: Report,
        reduce: Reduce = chosen,
    ) -> Tuple[NDArray[Any], ...]:
        """Return what is kept of the pixels' probabilities, chunk by chunk.

        Without `reduce` the index of the most probable class and its probability in percent.
        Shapes: codes (n, D), n > 0; scales (n,); results (n, …). All pixels are valid.
        """
        ...


class InProcess:
    """Predicts with numpy, in this process."""

    def __init__(self, head: Head) -> None:
        self._head = head

    def __call__(
        self,
        codes: NDArray[np.int8],
        scales: NDArray[np.float32],
        report: Report,
        reduce: Reduce = chosen,
    ) -> Tuple[NDArray[Any], ...]:
        """Predict, chunk by chunk."""
        kept: List[Tuple[NDArray[Any], ...]] = []
        is_plain = reduce is chosen  # what the head itself says, in half the time and room
        step = PLAIN_PX if is_plain else PREDICT_PX
        for start in range(0, len(codes), step):
            report(start / len(codes), "classify")
            some = codes[start : start + step], scales[start : start + step]
            found = self._head.best(*some) if is_plain else reduce(self._head.probabilities(*some))
            kept.append(found)
        return _joined(kept)


class InWorker:
    """Predicts with ONNX Runtime, in the worker; arrays go through files in its private folder.

    The files of codes and scales are the same for all calls and written over in place: new ones
    cost as much as a third of the prediction. They are written, not mapped: with a full disk a
    mapped file would end QGIS. The worker maps them, for as long as a call takes.
    """

    def __init__(self, head: Head, worker: WorkerClient) -> None:
        self._worker = worker
        self._here = InProcess(head)
        self._is_there = True
        self._number = 0
        try:
            self._folder = Path(tempfile.mkdtemp(dir=worker.scratch()))
            self._fixed = {
                "mean": self._written("mean", head.mean),
                "std": self._written("std", head.std),
                "weights": str(self._folder / "weights.npz"),
            }
            np.savez(self._fixed["weights"], **head.tempered_weights())
        except OSError as error:
            raise files.write_error(worker.scratch(), error) from error

    def __call__(
        self,
        codes: NDArray[np.int8],
        scales: NDArray[np.float32],
        report: Report,
        reduce: Reduce = chosen,
    ) -> Tuple[NDArray[Any], ...]:
        """Predict; the same answer comes from numpy where the worker can't be started."""
        if self._is_there:
            try:
                return self._ask(codes, scales, report, reduce)
            except WorkerUnavailable:
                self._is_there = False
        return self._here(codes, scales, report, reduce)

    def close(self) -> None:
        """Remove the files."""
        files.remove_folder(self._folder)

    def _ask(
        self, codes: NDArray[np.int8], scales: NDArray[np.float32], report: Report, reduce: Reduce
    ) -> Tuple[NDArray[Any], ...]:
        check_parts(self._worker, *_PARTS, report=report)
        self._number += 1  # a new name: something else may still look at the last one
        out = self._folder / f"out_{self._number}.npy"
        is_plain = reduce is chosen  # what the worker finds by itself: 2 bytes a pixel come back
        try:
            asked = {**self._fixed, "out": str(out), "best": is_plain,
                     "codes": self._written("codes", codes),
                     "scales": self._written("scales", scales)}  # fmt: skip
            self._worker.call("predict", asked, report)
            found = np.load(out, allow_pickle=False)
        except OSError as error:
            raise files.write_error(self._folder, error, codes.nbytes) from error
        finally:
            with contextlib.suppress(OSError):
                out.unlink()
        if is_plain:
            return found[:, 0].astype(np.intp), found[:, 1].astype(np.uint8)
        return _by_chunks(found, reduce)

    def _written(self, name: str, values: NDArray[Any]) -> str:
        """Return the file that begins with an array now; what an earlier one left may follow."""
        path = self._folder / f"{name}.npy"
        whole = np.ascontiguousarray(values)
        with path.open("r+b" if path.exists() else "wb") as file:
            header = {"descr": whole.dtype.str, "fortran_order": False, "shape": whole.shape}
            np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]
            file.write(whole.data)
        return str(path)


class Quicker:
    """Predicts in the worker where that is quicker, which depends on the machine.

    The first blocks tell: each way has its turns with them. Blocks that are too small to hand over
    are predicted here. Both ways give the same answer, as far as float32 does.
    """

    def __init__(self, here: Predict, there: Predict) -> None:
        self._here, self._there = here, there
        self._turns = [there, *[here, there] * TURNS]
        self._best: Dict[Predict, float] = {}

    def __call__(
        self,
        codes: NDArray[np.int8],
        scales: NDArray[np.float32],
        report: Report,
        reduce: Reduce = chosen,
    ) -> Tuple[NDArray[Any], ...]:
        """Predict."""
        if len(codes) < PREDICT_PX:
            return self._here(codes, scales, report, reduce)
        way = self._turns[0] if self._turns else min(self._best, key=self._best.__getitem__)
        began = time.perf_counter()
        kept = way(codes, scales, report, reduce)
        if self._turns:
            self._note(way, (time.perf_counter() - began) / len(codes))
        return kept

    def _note(self, way: Predict, seconds: float) -> None:
        """Keep the time that a pixel took; not of the first turn, in which the worker may start."""
        if len(self._turns) <= 2 * TURNS:
            self._best[way] = min(seconds, self._best.get(way, seconds))
        del self._turns[0]


@contextlib.contextmanager
def predictor(
    head: Head, worker: Optional[WorkerClient], pixels: Optional[int] = None
) -> Iterator[Predict]:
    """Give the fastest way to predict: perhaps in the worker, where there is one.

    `pixels` is how many there will be, if that is known: a worker is not started for a few.
    Raises: DiskFull, NotWritable; while it is used also WorkerDied and WorkerFailed.
    """
    weights = sum(each.size for each in head.weights.values())
    is_small = pixels is not None and pixels * weights < WORTH_PRODUCTS
    if worker is None or head.kind != "mlp" or is_small:
        yield InProcess(head)
        return
    with contextlib.closing(InWorker(head, worker)) as remote:
        yield Quicker(InProcess(head), remote)


def _by_chunks(probabilities: NDArray[np.float32], reduce: Reduce) -> Tuple[NDArray[Any], ...]:
    starts = range(0, len(probabilities), PREDICT_PX)
    return _joined([reduce(probabilities[start : start + PREDICT_PX]) for start in starts])


def _joined(kept: List[Tuple[NDArray[Any], ...]]) -> Tuple[NDArray[Any], ...]:
    return tuple(np.concatenate(each) for each in zip(*kept))
