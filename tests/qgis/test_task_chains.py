# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A task that is started when another one ends is run, however many there are."""

import time

import pytest
from qgis.PyQt.QtWidgets import QApplication

from tessera_plugin.tasks.base import EngineTask

CHAINS, SECONDS = 6, 12
STUCK_S = 5


@pytest.mark.long
def test_no_task_waits_for_ever(qgis_app):
    """QGIS 3.22 takes a waiting task for one that has ended, once in ten thousand."""
    counts, last = [0] * CHAINS, [time.monotonic()] * CHAINS
    goes_on = True

    def begin(chain):
        counts[chain] += 1
        last[chain] = time.monotonic()
        if goes_on:
            task = EngineTask("A link of a chain", lambda _: sum(range(2000)))
            task.ended.connect(lambda: begin(chain))
            task.start()

    for chain in range(CHAINS):
        begin(chain)
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        QApplication.processEvents()
    assert max(time.monotonic() - each for each in last) < STUCK_S, counts
    goes_on = False
    ends = [count + 1 for count in counts]
    until = time.monotonic() + STUCK_S
    while counts != ends and time.monotonic() < until:
        QApplication.processEvents()
    assert min(counts) > 100
