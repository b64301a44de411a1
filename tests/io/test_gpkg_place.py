# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A new file never takes the log or journal of the one that had its name."""

import contextlib
import shutil
import struct
import uuid
from pathlib import Path

import pytest

from tessera_plugin.errors import NotWritable
from tessera_plugin.io.gpkg_place import vacate
from tessera_plugin.io.label_export import copy_store
from tessera_plugin.io.label_file import LabelFile, create
from tessera_plugin.values import LabelChange, LandClass, StoredClass, StoredLabel

CLASSES = (StoredClass(LandClass(1, "Water", "#0000ff")),)


def filled(path, number):
    """Return an open label file with so many labels, all of them still in its log."""
    create(str(path))
    file = LabelFile(str(path))
    made = [
        (None, StoredLabel(str(uuid.uuid4()), 1, 2024, struct.pack("<BIdd", 1, 1, each / 100, 1)))
        for each in range(number)
    ]
    file.write(LabelChange((), CLASSES, tuple(made)), 2)
    return file


def count(path):
    with contextlib.closing(LabelFile(str(path))) as file:
        return len(file.read().labels)


def beside(path):
    return sorted(each.name[len(path.name) :] for each in path.parent.glob(f"{path.name}?*"))


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.gpkg"
    filled(path, 5).close()
    return str(path)


@pytest.fixture
def crashed(tmp_path):
    """A file as a killed program leaves it: 400 labels are in the log alone."""
    path, place = tmp_path / "before.gpkg", tmp_path / "old"
    file = filled(path, 400)
    place.mkdir()
    for each in tmp_path.glob("before.gpkg*"):
        shutil.copy(each, place / each.name)
    file.close()
    assert beside(place / path.name) == ["-shm", "-wal"]
    return place / path.name


def test_what_a_killed_program_left_behind_is_not_taken_over(source, crashed):
    copy_store(source, str(crashed))
    assert beside(crashed) == []
    assert count(crashed) == 5


def test_a_log_without_its_file_is_not_taken_over(crashed):
    crashed.unlink()
    create(str(crashed))
    assert count(crashed) == 0


def test_a_file_that_somebody_works_on_stays(source, tmp_path):
    target = tmp_path / "theirs.gpkg"
    theirs = filled(target, 400)
    with pytest.raises(NotWritable, match="has it open"):
        copy_store(source, str(target))
    theirs.close()
    assert count(target) == 400
    copy_store(source, str(target))
    assert count(target) == 5


def test_who_only_looks_at_a_file_keeps_what_it_saw(source, tmp_path):
    target = tmp_path / "theirs.gpkg"
    filled(target, 3).close()
    theirs = LabelFile(str(target))
    theirs.read()
    assert "-wal" in beside(target)
    copy_store(source, str(target))
    assert count(target) == 5
    assert theirs.is_other
    theirs.close()
    assert count(target) == 5


def test_a_journal_of_a_killed_program_is_brought_in(source, tmp_path):
    """Else the first reader would put the older file's pages into the new one."""
    target = tmp_path / "old.gpkg"
    filled(target, 3).close()
    theirs = LabelFile(str(target), has_log=False)
    theirs._dataset.StartTransaction()
    theirs._rows("PRAGMA cache_spill = 1")
    theirs._rows("PRAGMA cache_size = 1")
    for number in range(300):
        note = f"{number} " + "x" * 4000
        theirs._rows(f"INSERT INTO tessera_meta (name, value) VALUES ('{note}', '')")
    place = tmp_path / "crashed"
    place.mkdir()
    for each in tmp_path.glob("old.gpkg*"):
        shutil.copy(each, place / each.name)
    theirs._dataset.RollbackTransaction()
    theirs.close()
    crashed = place / target.name
    assert Path(f"{crashed}-journal").stat().st_size > 0
    copy_store(source, str(crashed))
    assert beside(crashed) == []
    assert count(crashed) == 5


def test_where_there_is_nothing_nothing_happens(tmp_path):
    vacate(str(tmp_path / "new.gpkg"))
    (tmp_path / "empty.gpkg").write_bytes(b"")
    vacate(str(tmp_path / "empty.gpkg"))
    assert [each.name for each in tmp_path.iterdir()] == ["empty.gpkg"]
