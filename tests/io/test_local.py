# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Local datasets on disk: made, begun, finished, listed, removed, and what can't be used."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tessera_plugin.errors import LocationUnusable, NotWritable
from tessera_plugin.io import local
from tessera_plugin.io.local import Scene
from tessera_plugin.values import LOCAL, Window
from tests.local_builders import ENCODER, SPACE, tree, write_scene

ROOT = Path(__file__).resolve().parents[2]
SMALL = Window(30, -580_100, 70_050, 20, 30)


def make(root, space=SPACE, depth=8, **changes):
    return local.create(root, space=space, depth=depth, title="Mine", encoder=ENCODER, **changes)


def small_scene(folder, **changes):
    return write_scene(folder, SMALL, depth=8, **changes)


def edited(path, **changes):
    facts = {**json.loads(path.read_text("utf-8")), **changes}
    path.write_text(json.dumps({name: fact for name, fact in facts.items() if fact is not None}))


# --- datasets


def test_a_space_and_depth_has_one_folder(tmp_path):
    first = make(tmp_path / "own", licence="CC0 1.0")
    assert make(tmp_path / "own") == first
    others = {make(tmp_path / "own", depth=16), make(tmp_path / "own", space="tessera test/nano")}
    assert len({first, *others}) == 3
    listing = local.look_into(first)
    record = listing.record
    assert (record.space, record.depth, record.title) == (SPACE, 8, "Mine")
    assert (record.licence, record.encoder) == ("CC0 1.0", ENCODER)
    assert listing.scenes == ()
    assert not list((tmp_path / "own").glob(".*"))


def test_spaces_that_are_spelt_alike_have_folders_of_their_own(tmp_path):
    spaces = ["a/b", "a b", "a_b"]
    folders = [make(tmp_path, space=space) for space in spaces]
    assert len(set(folders)) == 3
    assert [local.look_into(folder).record.space for folder in folders] == spaces
    assert len({local.look_into(folder).key for folder in folders}) == 3


def test_a_dataset_has_the_years_of_its_scenes(tmp_path):
    folder = make(tmp_path)
    small_scene(folder, year=2023)
    small_scene(folder, year=2019, finished=False)
    found = local.dataset_of(folder)
    assert (found.years, found.depth, found.depths) == ((2019, 2023), 8, (8,))
    assert (found.local, found.space, found.title) == (str(folder), SPACE, "Mine")
    assert found.forms() == (LOCAL,)
    assert found.key.startswith(f"local-{SPACE.replace('-', '_')}-") or found.key.startswith(
        f"local-{SPACE}-"
    )
    assert found.version == "local"


def test_a_folder_from_another_computer_is_the_same_dataset(tmp_path):
    folder = make(tmp_path / "mine")
    small_scene(folder)
    copied = shutil.copytree(folder, tmp_path / "stick" / "copy of it")
    shutil.rmtree(tmp_path / "mine")
    found = local.dataset_of(copied)
    assert found.local == str(copied)
    assert found.key == local.look_into(copied).key
    assert local.scenes(copied)[0].path == str(copied / local.scenes(copied)[0].path.split("/")[-1])
    make(tmp_path / "theirs")
    small_scene(make(tmp_path / "theirs"))
    assert local.dataset_of(make(tmp_path / "theirs")).key == found.key


def test_listing_a_root(tmp_path):
    assert local.datasets_in(tmp_path / "nowhere") == ((), ())
    first, second, empty = (make(tmp_path, depth=depth) for depth in (8, 16, 32))
    small_scene(first)
    write_scene(second, SMALL, depth=16)
    edited(second / "dataset.json", depth="many")
    (tmp_path / "others").mkdir()
    datasets, problems = local.datasets_in(tmp_path)
    assert [each.local for each in datasets] == [str(first)]
    assert dict(problems) == {
        str(second): "'depth' in its dataset.json can't be used",
        str(empty): "there is no scene in it yet",
    }


MAKE = """
import sys
sys.path.insert(0, sys.argv[1])
from tessera_plugin.io import local
from tessera_plugin.values import Window
folder = local.create(sys.argv[2], space="s", depth=8, title=sys.argv[3], encoder={})
print(folder)
for year in range(2000, 2040):
    scene = local.Scene("field", year, Window(30, 0, 0, 5, 5), {"name": sys.argv[3]})
    print(local.begin_scene(folder, scene))
"""


def test_two_processes_at_once(tmp_path):
    running = [
        subprocess.Popen([sys.executable, "-c", MAKE, str(ROOT), str(tmp_path), name],
                         stdout=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]  # fmt: skip
    told = [each.communicate(timeout=120)[0].split() for each in running]
    assert [each.returncode for each in running] == [0, 0]
    assert told[0][0] == told[1][0]
    # each has its own scenes: their encoders are not the same
    assert not set(told[0][1:]) & set(told[1][1:])
    listing = local.look_into(told[0][0])
    assert len(listing.scenes) == 80
    assert not listing.problems
    assert not [each for each in Path(told[0][0]).iterdir() if each.name.startswith(".")]


# --- scenes


def test_a_scene_from_its_beginning_to_its_end(tmp_path):
    folder = make(tmp_path)
    wanted = Scene(
        "Près du bois", 2021, SMALL, ENCODER, {"source": "rasters", "dates": [1, 2]}, 3.5
    )
    path = local.begin_scene(folder, wanted)
    (begun,) = local.scenes(folder)
    assert not begun.finished
    assert replace(begun, created="", path="") == wanted
    local.finish_scene(
        path, device="CPU", onnxruntime="1.23", counts={"encoded": 600}, warnings=["no cloud mask"]
    )
    (done,) = local.scenes(folder)
    assert (done.finished, done.path, done.created) == (True, str(path), begun.created)
    assert done.encoder == {**ENCODER, "provider": "CPU", "onnxruntime": "1.23"}
    assert (done.counts, done.warnings, done.moved_m) == ({"encoded": 600}, ("no cloud mask",), 3.5)
    assert done.inputs == wanted.inputs
    with pytest.raises(TypeError, match="mood"):
        local.finish_scene(path, mood="good")


def test_the_same_run_goes_on_and_another_does_not(tmp_path):
    folder = make(tmp_path)
    wanted = Scene("field", 2021, SMALL, ENCODER, {"source": "rasters"})
    path = local.begin_scene(folder, wanted)
    assert local.begin_scene(folder, wanted) == path
    local.finish_scene(path, device="CPU")
    assert local.begin_scene(folder, wanted) == path
    assert local.scenes(folder)[0].finished
    others = [
        replace(wanted, year=2022),
        replace(wanted, name="other"),
        replace(wanted, window=replace(SMALL, height=21)),
        replace(wanted, inputs={"source": "stac"}),
        replace(wanted, encoder={**ENCODER, "sha256": "cd" * 32}),
        replace(wanted, encoder={**ENCODER, "precision": "int8"}),
    ]
    paths = {local.begin_scene(folder, other) for other in others}
    assert len({path, *paths}) == 7
    assert len(local.scenes(folder)) == 7


def test_finished_scenes_come_first_then_the_newest(tmp_path):
    folder = make(tmp_path)
    for name, day, finished in (("b", 3, False), ("a", 1, True), ("c", 2, True), ("d", 4, False)):
        small_scene(folder, name=name, created=f"2026-01-0{day}T00:00:00+00:00", finished=finished)
    assert [scene.name for scene in local.scenes(folder)] == ["c", "a", "d", "b"]


def test_removing_a_scene_tells_what_it_frees(tmp_path):
    folder = make(tmp_path)
    kept, gone = small_scene(folder), small_scene(folder, year=2022)
    expected = sum(path.stat().st_size for path in gone.iterdir())
    assert local.scene_bytes(gone) == expected > 128 * 128 * 18
    assert local.remove_scene(gone) == expected
    assert [scene.path for scene in local.scenes(folder)] == [str(kept)]
    assert [path.name for path in folder.iterdir() if path.is_dir()] == [kept.name]
    with pytest.raises(LocationUnusable, match=r"no scene\.json"):
        local.remove_scene(gone)


def test_a_folder_with_other_files_is_not_removed(tmp_path):
    folder = make(tmp_path)
    path = small_scene(folder)
    (path / "thesis.odt").write_text("my own")
    (path / ".DS_Store").write_text("")
    before = tree(folder)
    with pytest.raises(NotWritable, match=r"thesis\.odt"):
        local.remove_scene(path)
    with pytest.raises(LocationUnusable):
        local.remove_scene(folder)
    assert tree(folder) == before


# --- what can't be used


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"schema": 2}, r"newer version of the plugin \(schema 2\)"),
        ({"schema": "1"}, "no schema"),
        ({"schema": True}, "no schema"),
        ({"space": ""}, "'space'"),
        ({"depth": 8.0}, "'depth'"),
        ({"depth": 0}, "'depth'"),
        ({"title": None}, "lacks 'title'"),
        ({"colour": "red"}, "not known: colour"),
    ],
)
def test_datasets_that_say_what_is_not_understood(tmp_path, changes, reason):
    folder = make(tmp_path)
    small_scene(folder)
    edited(folder / "dataset.json", **changes)
    with pytest.raises(LocationUnusable, match=reason) as caught:
        local.dataset_of(folder)
    assert caught.value.location == str(folder)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"schema": 7}, r"newer version of the plugin \(schema 7\)"),
        ({"year": "2021"}, "'year'"),
        ({"window": {"zone": 61, "row": 0, "col": 0, "height": 1, "width": 1}}, "'zone'"),
        ({"window": {"zone": 1, "row": 0, "col": 0, "height": 1}}, "lacks 'width'"),
        ({"finished": 1}, "'finished'"),
        ({"created": "2021-01-01"}, "'created'"),
        ({"created": "yesterday"}, "'created'"),
        ({"counts": {"encoded": -1}}, "'counts'"),
        ({"warnings": "none"}, "'warnings'"),
        ({"extra": 1}, "not known: extra"),
    ],
)
def test_scenes_that_say_what_is_not_understood_are_named(tmp_path, changes, reason):
    folder = make(tmp_path)
    good, bad = small_scene(folder), small_scene(folder, year=2022)
    edited(bad / "scene.json", **changes)
    listing = local.look_into(folder)
    assert [scene.path for scene in listing.scenes] == [str(good)]
    ((name, found),) = listing.problems
    assert name == bad.name
    assert reason.replace("\\", "") in found
    shutil.rmtree(good)
    with pytest.raises(LocationUnusable, match=reason):
        local.dataset_of(folder)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"schema": 1, "schema": 1}', '{"schema": 1, "moved_m": NaN}', "[" * 100_000,
     "\xff"],
)  # fmt: skip
def test_records_that_are_no_json(tmp_path, text):
    folder = make(tmp_path)
    (folder / "dataset.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(LocationUnusable, match="damaged"):
        local.dataset_of(folder)


def test_what_is_not_there(tmp_path):
    with pytest.raises(LocationUnusable, match=r"no dataset\.json"):
        local.dataset_of(tmp_path / "nowhere")
    with pytest.raises(LocationUnusable, match="no scene in it yet"):
        local.dataset_of(make(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(NotWritable):
        make(tmp_path / "file" / "below")
