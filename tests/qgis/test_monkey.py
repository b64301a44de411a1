# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A person who does anything at any time: labels, file and what is seen are one all the while."""

import os
import threading

import pytest
from qgis.PyQt.QtWidgets import QApplication

from tests.qgis import fetched_place
from tests.qgis.fetched_place import DATASET, SEEN, YEAR
from tests.qgis.hands import LABELS

pytest.register_assert_rewrite("tests.qgis.monkey")
from tests.qgis.monkey import Monkey, answering_dialogs

SEEDS = [int(each) for each in os.environ.get("TESSERA_MONKEY_SEEDS", "1,2,3,4").split(",")]
"""Of the long walks; set it to look for more."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with fetched_place.fetched(tmp_path_factory.mktemp("cache")) as access:
        yield access


@pytest.fixture
def make_monkey(make_dock, qtbot, desktop, place, tmp_path, monkeypatch):
    before = set(threading.enumerate())
    docks = []

    def make(seed):
        dock = make_dock(
            archive=place.archive, cache_dir=place.cache_dir, dataset=DATASET, year=YEAR
        )
        docks.append(dock)
        desktop.zoom_to(*SEEN)
        monkey = Monkey(dock, qtbot, desktop, seed, tmp_path)
        monkey.until(lambda: monkey.session.is_warm, 60_000)
        monkey.page(LABELS)
        for _ in range(3):
            monkey.add_class()
        return monkey

    with answering_dialogs(monkeypatch, 0):
        yield make
        for dock in docks:
            dock.close_down()
            dock._session.close()
        QApplication.processEvents()
        left = [
            each for each in threading.enumerate() if each not in before and each.is_alive()
            and each.name.startswith("tessera-") and each.name != "tessera-imports"
        ]  # fmt: skip
        assert not left


def go(monkey, steps, rounds=1):
    try:
        for _ in range(rounds):
            monkey.walk(steps)
            monkey.live_map_is_of_shown_classes()
        monkey.all_can_be_undone()
    except BaseException:
        print("done:", monkey.done[-40:], len(monkey.done))
        raise


def test_a_short_walk(make_monkey):
    monkey = make_monkey(5)
    go(monkey, 35)
    assert len(monkey.done) >= 35


@pytest.mark.long
@pytest.mark.parametrize("seed", SEEDS)
def test_a_long_walk(make_monkey, seed):
    go(make_monkey(seed), 40, rounds=10)
