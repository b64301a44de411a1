# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A head's classes for many pixels: with numpy in this process, or with torch in the worker."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any, Iterator, Optional, Protocol, Tuple

import numpy as np
from numpy.typing import NDArray

from ..compute.client import WorkerClient
from ..errors import WorkerUnavailable
from ..io import files
from ..progress import Report
from .heads.base import Head

PREDICT_PX = 16_384
"""Pixels predicted at once: the chunk that fits a processor's cache best."""


WORTH_WEIGHTS = 60_000
"""Heads of fewer weights are predicted here: for them, handing the arrays over costs more than torch
saves. About here it is 0.8 to 1.5 times as fast, by what else the machine does (bench/predict.py).
"""


class Predict(Protocol):
    """A way to predict."""

    def __call__(
        self, codes: NDArray[np.int8], scales: NDArray[np.float32], report: Report
    ) -> Tuple[NDArray[np.intp], NDArray[np.uint8]]:
        """Return the index of the most probable class and its probability in percent.

        Shapes: codes (n, D); scales (n,); both results (n,). All pixels are valid.
        """
        ...


class InProcess:
    """Predicts with numpy, in this process."""

    def __init__(self, head: Head) -> None:
        self._head = head

    def __call__(
        self, codes: NDArray[np.int8], scales: NDArray[np.float32], report: Report
    ) -> Tuple[NDArray[np.intp], NDArray[np.uint8]]:
        """Predict, chunk by chunk."""
        best = np.empty(len(codes), np.intp)
        percent = np.empty(len(codes), np.uint8)
        for start in range(0, len(codes), PREDICT_PX):
            report(start / len(codes), "classify")
            chunk = slice(start, start + PREDICT_PX)
            best[chunk], percent[chunk] = chosen(
                self._head.probabilities(codes[chunk], scales[chunk])
            )
        return best, percent


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
        self, codes: NDArray[np.int8], scales: NDArray[np.float32], report: Report
    ) -> Tuple[NDArray[np.intp], NDArray[np.uint8]]:
        """Predict; the same answer comes from numpy where the worker can't be started."""
        if self._is_there:
            try:
                return self._ask(codes, scales, report)
            except WorkerUnavailable:
                self._is_there = False
        return self._here(codes, scales, report)

    def close(self) -> None:
        """Remove the files."""
        files.remove_folder(self._folder)

    def _ask(
        self, codes: NDArray[np.int8], scales: NDArray[np.float32], report: Report
    ) -> Tuple[NDArray[np.intp], NDArray[np.uint8]]:
        self._number += 1  # new names: the worker may still map the files of the last call
        out = self._folder / f"out_{self._number}.npy"
        asked = {**self._fixed, "out": str(out)}
        try:
            for name, values in (("codes", codes), ("scales", scales)):
                asked[name] = self._saved(f"{name}_{self._number}", values)
            self._worker.call("predict", asked, report)
            return chosen(np.load(out, allow_pickle=False))
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


def chosen(
    probabilities: NDArray[np.float32],
) -> Tuple[NDArray[np.intp], NDArray[np.uint8]]:
    """Return the most probable class of each row and its probability in percent, rounded."""
    best = probabilities.argmax(axis=1)
    highest = np.take_along_axis(probabilities, best[:, None], axis=1)[:, 0]
    return best, np.rint(100 * highest).astype(np.uint8)
