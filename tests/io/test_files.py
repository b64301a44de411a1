# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
import os
import resource
import stat
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tessera_plugin.errors import DiskFull, NotWritable
from tessera_plugin.io import files


@contextmanager
def files_no_larger_than(size):
    """Let the system refuse writes past a size, as a file system with a limit does."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def hold(monkeypatch, *names):
    """Let renames onto these names fail as Windows lets them for a file that is open."""
    replace = Path.replace

    def replace_unless_held(source, target):
        if target.name in names:
            raise PermissionError(13, "The process cannot access the file", str(target))
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", replace_unless_held)


def test_staging_folder_is_hidden_and_beside_the_file(tmp_path):
    folder = files.staging_folder(tmp_path / "map.tif")
    assert folder.is_dir()
    assert folder.parent == tmp_path
    assert folder.name.startswith(".")


def test_staging_needs_the_folder_to_be_there(tmp_path):
    with pytest.raises(NotWritable, match="its folder does not exist"):
        files.staging_folder(tmp_path / "none" / "map.tif")


def test_staging_in_a_file_says_why_not(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotWritable):
        files.staging_folder(tmp_path / "file" / "map.tif")


def test_staging_removes_what_killed_runs_left_and_nothing_else(tmp_path):
    two_days_ago = time.time() - 2 * 86400
    old, running, foreign = (
        tmp_path / f"{files.STAGING_PREFIX}old",
        tmp_path / f"{files.STAGING_PREFIX}running",
        tmp_path / "old",
    )
    part = tmp_path / f"{files.STAGING_PREFIX}part"
    part.write_bytes(b"1")
    for folder in (old, running, foreign):
        folder.mkdir()
        (folder / "map.tif").write_bytes(b"1")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = tmp_path / f"{files.STAGING_PREFIX}link"
    link.symlink_to(elsewhere)
    for path in (old / "map.tif", old, running, foreign / "map.tif", foreign, part, elsewhere):
        os.utime(path, (two_days_ago, two_days_ago))
    os.utime(link, (two_days_ago, two_days_ago), follow_symlinks=False)

    mine = files.staging_folder(tmp_path / "map.tif")

    # the one that runs has written into its file a moment ago
    assert set(tmp_path.iterdir()) == {running, foreign, mine, elsewhere, link}


def test_publish_replaces_and_takes_side_files_along(tmp_path):
    folder = files.staging_folder(tmp_path / "map.tif")
    for name, text in (("map.tif", "old"), ("map.tif.aux.xml", "old"), ("map.tif.ovr", "old")):
        (tmp_path / name).write_text(text)
    (folder / "map.tif").write_text("new")
    (folder / "map.tif.aux.xml").write_text("new")

    assert files.publish(folder / "map.tif", tmp_path / "map.tif") == tmp_path / "map.tif"

    files.remove_folder(folder)
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {"map.tif": "new", "map.tif.aux.xml": "new"}


def test_publish_numbers_where_the_name_is_taken_by_a_folder(tmp_path):
    folder = files.staging_folder(tmp_path / "map.tif")
    (folder / "map.tif").write_text("new")
    (tmp_path / "map.tif").mkdir()
    (tmp_path / "map_2.tif").write_text("another's")

    assert files.publish(folder / "map.tif", tmp_path / "map.tif") == tmp_path / "map_3.tif"
    assert (tmp_path / "map_2.tif").read_text() == "another's"


def test_publish_numbers_a_held_file_and_its_side_files(tmp_path, monkeypatch):
    folder = files.staging_folder(tmp_path / "map.tif")
    for name in ("map.tif", "map.tif.aux.xml"):
        (tmp_path / name).write_text("old")
        (folder / name).write_text("new")
    hold(monkeypatch, "map.tif")

    assert files.publish(folder / "map.tif", tmp_path / "map.tif") == tmp_path / "map_2.tif"

    files.remove_folder(folder)
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {"map.tif": "old", "map.tif.aux.xml": "old",
                     "map_2.tif": "new", "map_2.tif.aux.xml": "new"}  # fmt: skip


def test_publish_says_why_when_no_name_can_be_taken(tmp_path, monkeypatch):
    (tmp_path / "staged").write_text("new")
    hold(monkeypatch, "map.tif", "map_2.tif")
    with pytest.raises(NotWritable) as caught:
        files.publish(tmp_path / "staged", tmp_path / "map.tif")
    assert caught.value.path.endswith("map_2.tif")


def test_published_vrts_follow_the_names_their_sources_got(tmp_path, monkeypatch):
    folder = files.staging_folder(tmp_path / "map.vrt")
    vrt = (
        '<A><SourceFilename relativeToVRT="1">a &amp; b.tif</SourceFilename>'
        '<SourceDataset relativeToVRT="1">other.tif</SourceDataset><Class>a &amp; b.tif</Class></A>'
    )
    for name in ("a & b.tif", "other.tif"):
        (folder / name).write_text("")
    (folder / "map.vrt").write_text(vrt)
    hold(monkeypatch, "a & b.tif")

    names = ("a & b.tif", "other.tif", "map.vrt")
    published = files.publish_all([(folder / name, tmp_path / name) for name in names])

    assert [path.name for path in published] == ["a & b_2.tif", "other.tif", "map.vrt"]
    expected = vrt.replace("a &amp; b.tif</SourceF", "a &amp; b_2.tif</SourceF")
    assert (tmp_path / "map.vrt").read_text() == expected


def test_write_replaces_in_one_step(tmp_path):
    path = tmp_path / "report.json"
    files.write_text(path, "first")
    files.write_text(path, "zwölf")
    assert path.read_bytes() == "zwölf".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_written_files_have_the_rights_of_any_other(tmp_path):
    (tmp_path / "plain").write_text("")
    files.write_text(tmp_path / "ours", "")
    rights = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "ours")}
    assert len(rights) == 1


def test_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "report.json"
    files.write_text(path, "old")
    with files_no_larger_than(1000), pytest.raises(NotWritable, match="File too large"):
        files.write_bytes(path, bytes(5000))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_write_needs_the_folder_to_be_there(tmp_path):
    with pytest.raises(NotWritable, match="its folder does not exist"):
        files.write_text(tmp_path / "none" / "report.json", "")


def test_free_bytes_of_a_file_that_is_not_there(tmp_path):
    disk = os.statvfs(tmp_path)
    free = files.free_bytes(tmp_path / "none" / "none" / "map.tif")
    assert free == pytest.approx(disk.f_bavail * disk.f_frsize, rel=0.05)


def test_check_space(tmp_path):
    files.check_space(tmp_path / "a", 1)
    with pytest.raises(DiskFull) as caught:
        files.check_space(tmp_path / "a", 10**18)
    assert caught.value.needed_bytes == 10**18


def test_a_full_disk_is_told_apart():
    error = files.write_error("a.tif", OSError(28, "No space left on device"), 7)
    assert error == DiskFull("a.tif", 7)
