# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Care of the cache as tasks: what each gives, what it tells, and that it can be cancelled."""

import time

import pytest
from qgis.PyQt.QtCore import Qt

from tessera_plugin.engine.cache import usage as usage_of
from tessera_plugin.errors import CacheFolderUnusable
from tessera_plugin.gui import messages
from tessera_plugin.tasks import cache_jobs
from tests.cache_builders import SMALL, fill, is_as_filled, new_cache, used
from tests.clock import within


@pytest.fixture
def cache_dir(tmp_path):
    folder = tmp_path / "cache"
    for year in (2023, 2024):
        _, paths = fill(folder, 3, depth=SMALL, year=year)
        for path in paths:
            used(path, 5)
    return folder


def result_of(task, qtbot):
    """What a task answers: the result, the error, or None where it was cancelled."""
    answers, ends = [], []
    task.succeeded.connect(answers.append)
    task.failed.connect(answers.append)
    task.cancelled.connect(lambda: answers.append(None))
    task.ended.connect(lambda: ends.append(1))
    task.start()
    qtbot.waitUntil(lambda: bool(ends), timeout=10_000)
    assert len(answers) == 1
    return answers[0]


def test_usage(qgis_app, qtbot, cache_dir):
    told = result_of(cache_jobs.usage(str(cache_dir)), qtbot)
    assert told == usage_of(str(cache_dir))
    assert [(entry.year, entry.blocks) for entry in told.entries] == [(2023, 3), (2024, 3)]


def test_clear_a_year(qgis_app, qtbot, cache_dir):
    whole = usage_of(str(cache_dir)).bytes
    freed = result_of(cache_jobs.clear(str(cache_dir), year=2023), qtbot)
    left = usage_of(str(cache_dir))
    assert freed == whole - left.bytes > 0
    assert [entry.year for entry in left.entries] == [2024]


def test_evict_to_a_limit(qgis_app, qtbot, cache_dir):
    whole = usage_of(str(cache_dir)).bytes
    assert result_of(cache_jobs.evict(str(cache_dir), whole // 2), qtbot) == whole // 2


def test_move_to_another_folder(qgis_app, qtbot, cache_dir, tmp_path):
    result = result_of(cache_jobs.move(str(cache_dir), str(tmp_path / "new")), qtbot)
    assert (result.target, result.files, result.left) == (str(tmp_path / "new"), 6, ())
    moved = new_cache(tmp_path / "new", depth=SMALL)
    assert all(is_as_filled(moved, number) for number in range(3))


def test_a_folder_that_can_not_be_used_is_told_in_two_sentences(qgis_app, qtbot, cache_dir):
    error = result_of(cache_jobs.move(str(cache_dir), str(cache_dir / "inside")), qtbot)
    assert isinstance(error, CacheFolderUnusable)
    told = messages.explain(error)
    assert str(cache_dir / "inside") in told.happened
    assert told.advice


def test_a_move_that_is_cancelled_leaves_the_old_cache_whole(qgis_app, qtbot, cache_dir, tmp_path):
    fill(cache_dir, 300, depth=SMALL, year=2022)
    task = cache_jobs.move(str(cache_dir), str(tmp_path / "new"))
    asked = []

    def cancel(*_):
        asked.append(time.monotonic())
        task.cancel()

    task.told.connect(cancel, Qt.ConnectionType.DirectConnection)  # at the first word
    assert result_of(task, qtbot) is None
    assert time.monotonic() - asked[0] < within(1)
    assert sum(entry.blocks for entry in usage_of(str(cache_dir)).entries) == 306


@pytest.mark.parametrize(
    "said",
    ["Looking through the cache", "Clearing the cache", "Making room in the cache",
     "Moving 1.5 of 20.0 MB"],
)  # fmt: skip
def test_what_is_said_meanwhile_can_be_translated(qgis_app, monkeypatch, said):
    monkeypatch.setattr(messages, "translate", lambda _, text: "~" + text)
    assert messages.phase(said) == "~" + said
