# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The door to the worker for those who may not know compute: the tasks and the command line."""

from __future__ import annotations

from typing import Optional

from ..compute.client import Device, WorkerClient

__all__ = ["Device", "WorkerClient", "open_worker"]


def open_worker(python: str, log_dir: Optional[str] = None) -> Optional[WorkerClient]:
    """Return a client of the private environment's Python, or None where there is none.

    Nothing is started before the first call.
    """
    return WorkerClient(python, log_dir=log_dir) if python else None
