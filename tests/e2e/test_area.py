# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Coverage before, during and after a fetch, and a fetch with failures, in a real window."""

import re
import shutil
import threading
import time
from pathlib import Path

import pytest

from tests.archive.sample import SampleArchive
from tests.servers import FOREVER, Fault, RangeServer
from tools import desktop
from tools.qgis_profile import ROOT

DATASET, YEAR = "TESSERA 1.1 (dClimate", 2024
BBOX = (0.105, 52.185, 0.145, 52.215)
WIDER = (0.09, 52.175, 0.16, 52.225)


@pytest.fixture
def folder(request):
    made = ROOT / "build" / "e2e" / request.node.name
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    return made


def act_on(folder, steps, over):
    """Do a step when the person's side asks for it."""
    left = dict(steps)
    while left and not over.is_set():
        for name in [name for name in left if (folder / name).exists()]:
            left.pop(name)()
            Path(folder / f"{name}.done").touch()
        time.sleep(0.02)


def test_coverage_a_paused_fetch_and_one_with_failures(folder):
    with RangeServer(SampleArchive()) as server:
        codes = "*/embeddings/c/*"
        steps = {
            "marker": lambda: setattr(server, "bandwidth", 4_000_000),
            "marker2": lambda: setattr(server, "bandwidth", None),
            "marker3": lambda: server.faults.append(Fault.status(503, path=codes, count=FOREVER)),
            "marker4": server.faults.clear,
        }
        plan = {
            "pictures": str(folder / "pictures"),
            "bbox": BBOX,
            "wider": WIDER,
            "dataset": DATASET,
            "year": YEAR,
            **{name: str(folder / name) for name in steps},
        }
        settings = {
            "archive": server.url,
            "cache_dir": folder / "cache",
            "labels_path": folder / "labels.gpkg",
        }
        over = threading.Event()
        helper = threading.Thread(target=act_on, args=(folder, steps, over))
        helper.start()
        try:
            facts = desktop.perform(folder, "area.look_fetch_and_fail", plan, settings)
        finally:
            over.set()
            helper.join()
    assert "error" not in facts, facts["error"]
    megabytes = float(re.search(r"To fetch: ([\d.]+) MB", facts["before"][0]).group(1))
    assert 10 < megabytes < 40
    assert "here" in facts["before"][1]
    first, second, words = facts["paused"]
    assert second - first <= 20  # what was on the way
    assert "Paused" in words
    assert "have embeddings" in facts["fetched"]
    assert "503" in facts["failed"] or "overloaded" in facts["failed"]
    assert "have embeddings" in facts["again"]
    assert "503" not in facts["again"]
