# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Speeds are measured by real work, where it is asked for."""

import os

import pytest

from tessera_plugin.engine import speed
from tessera_plugin.engine.worker import open_worker
from tessera_plugin.progress import Cancelled


@pytest.fixture
def worker():
    python = os.environ.get("TESSERA_WORKER_PYTHON", "")
    if not os.path.exists(python):
        pytest.skip("there is no private environment")
    client = open_worker(python)
    yield client
    client.stop()


@pytest.mark.long
def test_a_head_is_faster_than_an_encoder_and_both_take_time(worker):
    heads = {each.device: each for each in speed.in_worker(worker)}
    encoders = {each.device: each for each in speed.of_encoder(worker)}
    assert "CPUExecutionProvider" in encoders
    assert all(not each.reason for each in (*heads.values(), *encoders.values()))
    slow = encoders["CPUExecutionProvider"].pixels_per_s
    assert 1 < slow < heads["cpu"].pixels_per_s
    assert speed.in_numpy().pixels_per_s > slow


def test_it_can_be_cancelled(worker):
    def report(_fraction, _message=""):
        raise Cancelled

    with pytest.raises(Cancelled):
        speed.of_encoder(worker, report)
