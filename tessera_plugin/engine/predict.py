# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A head's classes for many pixels: with numpy in this process, or with torch in the worker."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional, Protocol, Tuple

import numpy as np
from numpy.typing import NDArray

from ..compute.client import WorkerClient
from ..errors import WorkerUnavailable
from ..io import files
from ..progress import Report
from .heads.base import Head

PREDICT_PX = 16_384
"""Pixels predicted at once: the chunk that fits a processor's cache best."""

PLAIN_PX = 8 * PREDICT_PX
"""Pixels that the head is asked about at once where it chunks by itself: it keeps its arrays."""


WORTH_WEIGHTS = 60_000
"""Heads of fewer weights are predicted here: for them, handing the arrays over costs more than torch
saves. About here it is 0.8 to 1.5 times as fast, by what else the machine does (bench/predict.py).
"""


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
    """Predicts with torch, in the worker; arrays go through files in its private folder."""

    def __init__(self, head: Head, worker: WorkerClient) -> None:
        self._worker = worker
        self._here = InProcess(head)
        self._is_there = True
        self._number = 0
        try:
            self._folder = Path(tempfile.mkdtemp(dir=worker.scratch()))
            self._fixed = {
                "mean": self._saved("mean", head.mean),
                "std": self._saved("std", head.std),
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
        self._number += 1  # new names: the worker may still map the files of the last call
        out = self._folder / f"out_{self._number}.npy"
        asked = {**self._fixed, "out": str(out)}
        try:
            for name, values in (("codes", codes), ("scales", scales)):
                asked[name] = self._saved(f"{name}_{self._number}", values)
            self._worker.call("predict", asked, report)
            return _by_chunks(np.load(out, allow_pickle=False), reduce)
        except OSError as error:
            raise files.write_error(self._folder, error, codes.nbytes) from error
        finally:
            for name in ("codes", "scales", "out"):
                with contextlib.suppress(OSError):
                    (self._folder / f"{name}_{self._number}.npy").unlink()

    def _saved(self, name: str, values: NDArray[Any]) -> str:
        path = self._folder / f"{name}.npy"
        np.save(path, values)
        return str(path)


@contextlib.contextmanager
def predictor(head: Head, worker: Optional[WorkerClient]) -> Iterator[Predict]:
    """Give the fastest way to predict: in the worker for large heads, where there is one.

    Raises: DiskFull, NotWritable; while it is used also WorkerDied and WorkerFailed.
    """
    is_worth_it = sum(each.size for each in head.weights.values()) >= WORTH_WEIGHTS
    if worker is None or head.kind != "mlp" or not is_worth_it:
        yield InProcess(head)
        return
    with contextlib.closing(InWorker(head, worker)) as remote:
        yield remote


def _by_chunks(probabilities: NDArray[np.float32], reduce: Reduce) -> Tuple[NDArray[Any], ...]:
    starts = range(0, len(probabilities), PREDICT_PX)
    return _joined([reduce(probabilities[start : start + PREDICT_PX]) for start in starts])


def _joined(kept: List[Tuple[NDArray[Any], ...]]) -> Tuple[NDArray[Any], ...]:
    return tuple(np.concatenate(each) for each in zip(*kept))
