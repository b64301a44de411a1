# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The one worker that all jobs share, and whether there can be one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from .. import paths
from ..environment import state
from ..environment.bundles import TRAINING
from ..environment.places import default_places, python_in

if TYPE_CHECKING:
    from ..engine.worker import WorkerClient

VARIABLE = "TESSERA_WORKER_PYTHON"
"""Environment variable that names the Python of the private environment."""


class Compute:
    """Holds the worker's client from the first job that needs it until the plugin goes."""

    def __init__(self) -> None:
        self._python = ""
        self._client: Optional[WorkerClient] = None

    def use(self, configured: str = "") -> None:
        """Choose the worker's Python: the environment variable, else the setting, else the default.

        A client of another one is stopped.
        """
        python = os.environ.get(VARIABLE) or configured or str(paths.worker_python())
        if python != self._python:
            self.stop()
            self._python = python

    @property
    def python(self) -> str:
        """The Python in use, there or not."""
        return self._python

    def available(self) -> bool:
        """Whether a worker can be started; looks at one file only."""
        return Path(self._python).is_file() and os.access(self._python, os.X_OK)

    @property
    def is_add_on(self) -> bool:
        """Whether the Python in use is that of the add-on, there or not."""
        return self._python == str(python_in(default_places().environment))

    @property
    def can_train(self) -> bool:
        """Whether the worker has PyTorch, as far as small files tell; another Python is trusted."""
        if not self.is_add_on:
            return self.available()
        return TRAINING in state.state(default_places()).bundles

    def client(self) -> Optional[WorkerClient]:
        """Return the client, or None where there is no private environment."""
        if not self.available():
            return None
        if self._client is None:
            from ..engine.worker import open_worker  # noqa: PLC0415 - light plugin load

            self._client = open_worker(self._python, str(paths.log_dir()))
        return self._client

    def stop(self) -> None:
        """End the worker, if there is one. From any thread."""
        client, self._client = self._client, None
        if client is not None:
            client.stop()
