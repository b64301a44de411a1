# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A build that is stopped, goes on, meets a full disk or another build; what it leaves behind."""

import datetime as dt
import os
import shutil
import subprocess

import numpy as np
import pytest

from tessera_plugin import oslocks
from tessera_plugin.errors import DiskFull, ExtentTooLarge, NotWritable, SceneUnusable
from tessera_plugin.io import files
from tessera_plugin.io.dpixels.build import BuildPlan, build, tile_bytes
from tessera_plugin.io.dpixels.scenes import ASCENDING, Scenes
from tessera_plugin.progress import Cancelled
from tessera_plugin.values import Window
from tests.dpixel_builders import (
    NAMES,
    provenance,
    random_bands,
    random_power,
    s1_scene,
    s2_scene,
    tile,
    transform_of,
    write_raster,
)

WINDOW = Window(31, -580_010, 50_003, 14, 18)
DAYS = (3, 8, 13, 18)


def plan_of(tmp_path, out="tile", **changes):
    """Four dates of Sentinel-2, of which the third is cloudy, and two of Sentinel-1."""
    s2 = [
        s2_scene(tmp_path, WINDOW, f"2024-05-{day:02}", random_bands(WINDOW, day),
                 np.full(WINDOW.shape, 9 if day == 13 else 4, np.uint8))
        for day in DAYS
    ]  # fmt: skip
    s1 = [
        s1_scene(tmp_path, WINDOW, f"2024-05-0{day}", ASCENDING,
                 random_power(WINDOW, day), random_power(WINDOW, day) / 4)
        for day in (2, 9)
    ]  # fmt: skip
    return BuildPlan(Scenes(tuple(s2), tuple(s1)), WINDOW, str(tmp_path / out), **changes)


class Reports:
    """Notes what is reported, and cancels at the n-th time."""

    def __init__(self, most=None):
        self.told, self.most = [], most

    def __call__(self, fraction, message=""):
        if len(self.told) == self.most:
            raise Cancelled
        self.told.append((fraction, message))

    def dates(self):
        return {message[-10:] for _, message in self.told if message.startswith("S2_")}


def same(one, other):
    first, second = tile(one), tile(other)
    return all(np.array_equal(first[name], second[name]) for name in NAMES)


def test_progress_grows_and_reaches_its_end(tmp_path):
    reports = Reports()
    build(plan_of(tmp_path), reports)
    fractions = [fraction for fraction, _ in reports.told]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert len(fractions) > 10 * 3  # once per band and more


def test_a_build_cancelled_anywhere_goes_on_to_the_same_tile(tmp_path):
    plan = plan_of(tmp_path)
    build(plan)
    whole = tmp_path / "whole"
    (tmp_path / "tile").rename(whole)
    reports = Reports()
    build(plan, reports)
    shutil.rmtree(tmp_path / "tile")
    for most in range(0, len(reports.told), 9):
        with pytest.raises(Cancelled):
            build(plan, Reports(most))
        assert not (tmp_path / "tile").exists()
        rest = Reports()
        result = build(plan, rest)
        assert (result.s2_dates, result.ascending_dates) == (3, 2)
        assert same(whole, tmp_path / "tile")
        assert provenance(tmp_path / "tile") == provenance(whole)
        assert sorted(os.listdir(tmp_path / "tile")) == sorted(
            [*(f"{name}.npy" for name in NAMES), "roi.tiff", "provenance.json"]
        )
        shutil.rmtree(tmp_path / "tile")
    assert not list(tmp_path.glob("*.part*"))


def cancelled_after_three_dates(plan):
    def report(_fraction, message=""):
        if "2024-05-18" in message:
            raise Cancelled

    with pytest.raises(Cancelled):
        build(plan, report)


def test_dates_that_are_done_are_not_read_again(tmp_path):
    plan = plan_of(tmp_path)
    cancelled_after_three_dates(plan)
    rest = Reports()
    build(plan, rest)
    assert rest.dates() == {"2024-05-18"}


def test_a_scene_that_has_changed_is_read_again_and_what_follows_it(tmp_path):
    plan = plan_of(tmp_path)
    cancelled_after_three_dates(plan)
    other = random_bands(WINDOW, 99)[..., 0]
    path = tmp_path / "S2_2024-05-08" / "B04.tif"
    write_raster(path, other, transform_of(WINDOW), WINDOW.epsg)
    os.utime(path, (1, 1))
    rest = Reports()
    build(plan, rest)
    assert rest.dates() == {"2024-05-08", "2024-05-13", "2024-05-18"}
    assert np.array_equal(tile(plan.out)["bands"][1, ..., 0], other)


@pytest.mark.parametrize("lost", ["bands.npy", "masks.npy", "progress.json"])
def test_what_is_lost_meanwhile_is_made_again(tmp_path, lost):
    plan = plan_of(tmp_path)
    build(plan)
    (tmp_path / "tile").rename(tmp_path / "whole")
    cancelled_after_three_dates(plan)
    (tmp_path / "tile.part" / lost).unlink()
    build(plan)
    assert same(tmp_path / "whole", tmp_path / "tile")


def test_another_plan_does_not_go_on_with_what_is_there(tmp_path):
    cancelled_after_three_dates(plan_of(tmp_path))
    rest = Reports()
    build(plan_of(tmp_path, min_cover=0.5), rest)
    assert len(rest.dates()) == 4


def test_a_file_that_breaks_the_build_is_left_out_and_the_rest_is_kept(tmp_path):
    plan = plan_of(tmp_path)
    broken = tmp_path / "S2_2024-05-18" / "B11.tif"
    broken.write_bytes(broken.read_bytes()[:300])
    with pytest.raises(SceneUnusable) as raised:
        build(plan)
    assert raised.value.path == str(broken)
    left = tuple(scene for scene in plan.scenes.s2 if scene.date != dt.date(2024, 5, 18))
    rest = Reports()
    result = build(BuildPlan(Scenes(left, plan.scenes.s1), WINDOW, plan.out), rest)
    assert rest.dates() == set()
    assert result.s2_dates == 2
    assert (tile(plan.out)["bands"][1] == random_bands(WINDOW, 8)).all()


def test_what_a_tile_takes_is_told_before(tmp_path):
    plan = plan_of(tmp_path)
    told = tile_bytes(plan)
    build(plan)
    sizes = sum(path.stat().st_size for path in (tmp_path / "tile").glob("*.npy"))
    assert told - 21 * WINDOW.pixels - 600 < sizes < told + 600  # one date is dropped


def test_a_disk_without_room_is_told_before_anything_is_read(tmp_path, monkeypatch):
    plan = plan_of(tmp_path)
    monkeypatch.setattr(files, "free_bytes", lambda _path: 20_000)
    reports = Reports()
    with pytest.raises(DiskFull) as raised:
        build(plan, reports)
    assert raised.value.needed_bytes == tile_bytes(plan)
    assert not reports.told


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 48 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48k", "none", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_meanwhile_is_told(tmp_path, small_disk, monkeypatch):
    plan = plan_of(tmp_path, "disk/tile")
    rows = 60  # the same scenes on a larger window: more than the disk has
    plan = BuildPlan(plan.scenes, Window(31, WINDOW.row, WINDOW.col, rows, 18), plan.out)
    monkeypatch.setattr(files, "free_bytes", lambda _path: 1 << 40)  # others take it meanwhile
    with pytest.raises(DiskFull):
        build(plan)
    assert not (small_disk / "tile").exists()


def test_a_folder_that_is_there_is_left_alone(tmp_path):
    plan = plan_of(tmp_path)
    build(plan)
    with pytest.raises(NotWritable, match="already"):
        build(plan)


def test_two_builds_of_one_tile_do_not_meet(tmp_path):
    plan = plan_of(tmp_path)
    lock = tmp_path / "tile.part.lock"
    with lock.open("ab") as stream:
        oslocks.lock(stream.fileno())
        with pytest.raises(NotWritable, match="being built"):
            build(plan)
        assert lock.exists()
    build(plan)
    assert not lock.exists()


def test_a_place_that_can_not_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotWritable):
        build(plan_of(tmp_path, "file/tile"))


def test_a_window_that_is_absurd(tmp_path):
    plan = plan_of(tmp_path)
    wide = BuildPlan(plan.scenes, Window(31, -600_000, 20_000, 20_000, 20_000), plan.out)
    with pytest.raises(ExtentTooLarge):
        build(wide)


def test_the_year_is_that_of_most_dates(tmp_path):
    s2 = [
        s2_scene(tmp_path, WINDOW, date, random_bands(WINDOW), np.full(WINDOW.shape, 4, np.uint8))
        for date in ("2023-12-01", "2024-01-05", "2024-02-05")
    ]
    result = build(BuildPlan(Scenes(tuple(s2)), WINDOW, str(tmp_path / "tile")))
    assert result.year == 2024
    assert provenance(result.folder)["year"] == 2024
    assert provenance(result.folder)["window"] == {
        "zone": 31, "row": -580_010, "col": 50_003, "height": 14, "width": 18
    }  # fmt: skip
