# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The worker as a way to unpack chunks, for a QGIS whose GDAL can't."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any, Iterator, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..compute.client import WorkerClient
from ..errors import ProtocolMismatch, WorkerDied, WorkerFailed, WorkerUnavailable
from ..io import files
from ..io.zarr.decode import Unpacker, missing, of_this_gdal
from ..io.zarr.metadata import ChunkCodec

__all__ = ["by_worker", "of_this_gdal"]

CALL_BYTES = 32 << 20
"""The most that one call unpacks: what the disk holds at once, and a cancel waits for."""


def by_worker(client: Optional[WorkerClient]) -> Optional[Unpacker]:
    """Return the worker's way to unpack, or None where there is no worker.

    It starts the worker when it is first used, and raises DecoderMissing with the reason where that
    or the unpacking fails; DiskFull, NotWritable; Cancelled when the worker is stopped meanwhile.
    """
    if client is None:
        return None
    worker = client

    def unpack(
        chunks: Sequence[bytes], codec: ChunkCodec, size: int
    ) -> Tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        out = np.empty((len(chunks), size), np.uint8)
        damaged = np.empty(len(chunks), np.bool_)
        step = max(CALL_BYTES // size, 1)
        for at in range(0, len(chunks), step):
            part = slice(at, at + step)
            out[part], damaged[part] = _ask(worker, chunks[part], codec, size)
        return out, damaged

    return unpack


def _ask(
    worker: WorkerClient, chunks: Sequence[bytes], codec: ChunkCodec, size: int
) -> Tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Let the worker unpack chunks at once; they travel as files in its private folder."""
    scratch = worker.scratch()
    try:
        files.check_space(scratch, len(chunks) * size + sum(map(len, chunks)))
        with _folder(scratch) as folder:
            asked = {
                "packed": _saved(folder, "packed", np.frombuffer(b"".join(chunks), np.uint8)),
                "stops": _saved(folder, "stops", np.cumsum([len(one) for one in chunks])),
                "out": str(folder / "out.npy"),
                "damaged": str(folder / "damaged.npy"),
            }
            told = {"codec": codec.name, "cname": codec.cname, "size": size}
            worker.call("unpack", {**asked, **told})
            return _loaded(asked["out"]), _loaded(asked["damaged"])
    except (WorkerUnavailable, WorkerDied, WorkerFailed, ProtocolMismatch) as error:
        raise missing(codec, str(error).rstrip(".")) from error
    except OSError as error:
        raise files.write_error(scratch, error, len(chunks) * size) from error


@contextlib.contextmanager
def _folder(parent: Path) -> Iterator[Path]:
    """Give a folder of one call's own: calls come from several threads."""
    folder = Path(tempfile.mkdtemp(dir=parent))
    try:
        yield folder
    finally:
        files.remove_folder(folder)


def _saved(folder: Path, name: str, values: NDArray[Any]) -> str:
    path = folder / f"{name}.npy"
    np.save(path, values)
    return str(path)


def _loaded(path: str) -> NDArray[Any]:
    values: NDArray[Any] = np.load(path, allow_pickle=False)
    return values
