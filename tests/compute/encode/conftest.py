# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""One worker and one set of encoders for all of these tests: both take seconds to make."""

import subprocess
from pathlib import Path

import pytest

from tessera_plugin.compute.client import WorkerClient
from tests.compute.encode.models import make
from tests.compute.helpers import worker_python

EXPORT = Path(__file__).with_name("export_random.py")


@pytest.fixture(scope="session")
def client():
    client = WorkerClient(worker_python())
    yield client
    client.stop()


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Return the path of an encoder by its traits; each is made once."""
    folder, made = tmp_path_factory.mktemp("models"), {}

    def get(**traits):
        key = repr(sorted(traits.items()))
        if key not in made:
            made[key] = make(folder / f"{len(made)}.onnx", **traits)
        return made[key]

    return get


@pytest.fixture(scope="session")
def official(tmp_path_factory):
    """Return the folder of random encoders of each generation, as the exporter writes them."""
    folder = tmp_path_factory.mktemp("official")
    subprocess.run([worker_python(), str(EXPORT), str(folder)], check=True, capture_output=True)
    return folder
