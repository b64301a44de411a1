# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The private environment's worker for the time of one command."""

from __future__ import annotations

import contextlib
from typing import Iterator, Optional

from .. import paths
from ..engine.worker import WorkerClient, open_worker


@contextlib.contextmanager
def worker_for_command() -> Iterator[Optional[WorkerClient]]:
    """Give the worker, or None where it is not there; nothing is started before it is needed."""
    python = paths.worker_python()
    client = open_worker(str(python)) if python.exists() else None
    try:
        yield client
    finally:
        if client is not None:
            client.stop()
