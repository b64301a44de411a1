# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Arrays for the worker and back, by files in its private folder."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Optional

import numpy as np
from numpy.typing import NDArray

from ..compute.client import WorkerClient
from ..errors import WorkerUnavailable
from ..io import files
from ..progress import Report, silent


def needed(worker: Optional[WorkerClient], why: str) -> WorkerClient:
    """Return the worker. Raises: WorkerUnavailable where there is none."""
    if worker is None:
        raise WorkerUnavailable(f"{why} in the worker, and there is none")
    return worker


def check_parts(worker: WorkerClient, *packages: str, report: Report = silent) -> None:
    """Check that the worker has these packages of the add-on's training part, by their names in `hello`.

    Raises: WorkerUnavailable where it has not; WorkerDied, WorkerFailed, Cancelled.
    """
    if not worker.start(report).keys() >= set(packages):
        raise WorkerUnavailable("the add-on was installed without its training part")


@contextlib.contextmanager
def exchange(
    worker: WorkerClient, arrays: Mapping[str, NDArray[Any]], out: str = "weights.npz"
) -> Iterator[Dict[str, object]]:
    """Write arrays where the worker finds them; gives their paths, and `out` for its answer.

    Raises: DiskFull, NotWritable.
    """
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(dir=worker.scratch()))
        for name, values in arrays.items():
            np.save(folder / f"{name}.npy", values, allow_pickle=False)
        yield {
            **{name: str(folder / f"{name}.npy") for name in arrays},
            "out": str(folder / out),
        }
    except OSError as error:
        wanted = sum(values.nbytes for values in arrays.values())
        raise files.write_error(folder or tempfile.gettempdir(), error, wanted) from error
    finally:
        if folder is not None:
            files.remove_folder(folder)
