# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A person's own embeddings go every way that published ones go, and never into another space."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
from osgeo import gdal

from tessera_plugin import settings
from tessera_plugin.__main__ import main
from tessera_plugin.engine import cache, coverage, embeddings, explore, export, live
from tessera_plugin.engine.classify import ClassifyRequest, classify, classify_from, publish
from tessera_plugin.engine.coverage import CoverageRequest
from tessera_plugin.engine.embeddings import FetchRequest
from tessera_plugin.engine.heads import load
from tessera_plugin.engine.locations import StoreFound, look
from tessera_plugin.engine.picture import Look, shares
from tessera_plugin.engine.samples import Label, Labels
from tessera_plugin.engine.training import TrainRequest, train
from tessera_plugin.errors import (
    DepthNotOffered,
    HeadMismatch,
    LocationUnusable,
    NothingPublished,
    UnknownDataset,
    UnknownYear,
)
from tessera_plugin.io import local
from tessera_plugin.values import Access, LandClass, NetworkSettings, State, Window
from tests.builders import wkb, write_layer
from tests.local_builders import (
    AREA,
    SPACE,
    extent_within,
    planted,
    tree,
    write_dataset,
    write_scene,
)
from tests.memory_source import true_classes

NOBODY = "http://127.0.0.1:9/nothing"
"""An archive that can't be asked: nothing of these tests may try."""

QUICK = NetworkSettings(backoff_s=0.01, attempts=1, connect_timeout_s=1, read_timeout_s=1)
INNER = Window(30, AREA.row + 30, AREA.col + 20, 180, 200)
CLASSES = tuple(LandClass(n + 1, f"class {n}", f"#10{n}0f0") for n in range(4))
MIDDLE = Window(30, -580_100, 50_050, 200, 180)
"""Far from the next zone."""
SMALL = Window(30, AREA.row + 10, AREA.col + 10, 40, 50)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = write_dataset(tmp_path_factory.mktemp("own"))
    write_scene(folder, SMALL, year=2022)
    return folder


def access_of(tmp_path, *folders, **changes):
    stores = tuple(local.dataset_of(each) for each in folders)
    return Access(str(tmp_path / "cache"), NOBODY, network=QUICK, stores=stores, **changes)


def key_of(folder):
    return local.dataset_of(folder).key


def labels_in(window, per_class=12, seed=3):
    """Points of all four classes."""
    classes = true_classes(window)
    random = np.random.default_rng(seed)
    items = []
    for number in range(4):
        for at in random.choice(np.flatnonzero(classes == number), per_class, replace=False):
            row, col = window.row + at // window.width, window.col + at % window.width
            point = wkb(f"POINT ({10 * col + 5} {-10 * row - 5})")
            items.append(Label(point, number + 1, f"{number}-{at}"))
    return Labels(f"EPSG:{window.epsg}", CLASSES, tuple(items), "test labels")


def trained(folder, tmp_path, name="a.head", window=INNER, year=2021):
    request = TrainRequest(labels_in(window), key_of(folder), year, access_of(tmp_path, folder),
                           str(tmp_path / name))  # fmt: skip
    return train(request)


# --- the whole way


def test_from_labels_to_a_map_without_asking_anybody(folder, tmp_path):
    before = tree(folder)
    made = trained(folder, tmp_path)
    assert (made.fetched.bytes_fetched, made.fetched.failed) == (0, ())
    assert made.head.dataset == key_of(folder)
    access = access_of(tmp_path, folder, offline=True)
    request = ClassifyRequest(made.head_path, 2021, extent_within(INNER), access,
                              str(tmp_path / "map.tif"), str(tmp_path / "confidence.tif"))  # fmt: skip
    result = publish(classify(request))
    raster = gdal.Open(result.maps[0])
    found = raster.ReadAsArray()
    valid = np.isfinite(planted(INNER)[1])
    assert (found[~valid] == 0).all()
    assert (found[valid] == true_classes(INNER)[valid] + 1).mean() > 0.97
    assert result.nodata_px == int((~valid).sum())

    tags = raster.GetMetadata()
    assert tags["TESSERA_DATASET_VERSION"] == "local"
    assert f"local-{tags['TESSERA_DATASET_VARIANT']}" == key_of(folder)
    assert (tags["TESSERA_YEAR"], tags["TESSERA_FORM"]) == ("2021", "local")
    assert (tags["TESSERA_SPACE"], tags["TESSERA_ENCODER"]) == (SPACE, "test nano")
    assert (tags["TESSERA_PRECISION"], tags["TESSERA_SOURCE"]) == ("float32", str(folder))
    assert tree(folder) == before
    assert not (tmp_path / "cache").exists()


def test_a_fetch_is_a_look(folder, tmp_path):
    arrived = []
    request = FetchRequest(key_of(folder), 2021, extent_within(AREA), access_of(tmp_path, folder))
    found = embeddings.fetch(request, on_blocks=lambda source, blocks: arrived.extend(blocks))
    assert (found.form, found.form_reason) == ("local", "")
    assert sorted(arrived, key=str) == sorted(AREA.whole_blocks(), key=str)
    summary = found.summary
    assert summary.valid_px == np.isfinite(planted(AREA)[1]).sum()
    assert (summary.pixels, summary.cached_px) == (AREA.pixels, AREA.pixels)
    assert (summary.bytes_fetched, summary.requests, summary.unreachable) == (0, 0, "")
    assert embeddings.download_bytes(key_of(folder), [AREA], stores=request.access.stores) == 0
    both = embeddings.fetch_years(request, (2022, 2021))
    assert [one.error for one in both] == [None, None]
    assert both[0].summary.valid_px == np.isfinite(planted(SMALL)[1]).sum()


def test_the_form_that_is_wished_for_published_ones_does_not_count(folder, tmp_path):
    for form in ("zarr", "npy", "local"):
        access = access_of(tmp_path, folder, form=form)
        assert embeddings.open_source(key_of(folder), 2021, access).form == "local"


def test_an_export_holds_what_was_written(folder, tmp_path):
    access = access_of(tmp_path, folder, min_observations=8)
    request = FetchRequest(key_of(folder), 2021, extent_within(INNER), access)
    fetched = embeddings.fetch(request)
    export.export(fetched, access, str(tmp_path / "e.npz"))
    codes, scales, seen = planted(INNER)
    rows, cols = INNER.slices_in(AREA)
    valid = planted(AREA)[2][rows, cols, 0] >= 8
    with np.load(tmp_path / "e.npz") as stored:
        np.testing.assert_array_equal(stored["codes"][valid], codes[valid])
        np.testing.assert_array_equal(stored["scales"], np.where(valid, scales, np.nan))
        told = {name: str(stored[name]) for name in ("space", "encoder", "precision", "form")}
        assert told == {"space": SPACE, "encoder": "test nano", "precision": "float32",
                        "form": "local"}  # fmt: skip
        assert stored["min_observations"] == "8"
    export.export(fetched, access, str(tmp_path / "e.tif"))
    assert gdal.Open(str(tmp_path / "e.tif")).GetMetadata()["TESSERA_MIN_OBSERVATIONS"] == "8"
    assert seen.any()


def test_pictures_of_it(folder, tmp_path):
    access = access_of(tmp_path, folder)
    request = explore.PreviewRequest(key_of(folder), 2021, extent_within(INNER), access,
                                     str(tmp_path / "look.tif"))  # fmt: skip
    (path,) = explore.preview(request).paths
    opened = gdal.Open(path)
    valid = np.isfinite(planted(INNER)[1])
    np.testing.assert_array_equal(opened.GetRasterBand(4).ReadAsArray() > 0, valid)
    assert opened.GetMetadata()["TESSERA_SPACE"] == SPACE

    picture = live.LivePicture([INNER])
    source = embeddings.open_source(key_of(folder), 2021, access)
    picture.add(source, INNER.whole_blocks())
    (drawn,) = picture.pictures()
    np.testing.assert_array_equal(drawn.rgba[..., 3] > 0, valid)


# --- coverage


def covered(folder, tmp_path, window, year=2021, **changes):
    steps = []
    found = coverage.coverage(
        CoverageRequest(key_of(folder), year, extent_within(window), access_of(tmp_path, folder),
                        **changes),
        on_refined=steps.append,
    )  # fmt: skip
    assert (found.bytes_to_fetch, found.requests, found.bytes_asked) == (0, 0, 0)
    assert found.bytes_known
    assert sum(found.counts.values()) == found.pixels == window.pixels
    assert steps[-1] == found or steps[-1].counts == found.counts
    return found, steps


def test_coverage_by_pixel(folder, tmp_path):
    window = Window(30, AREA.row - 50, AREA.col - 20, 200, 300)
    found, steps = covered(folder, tmp_path, window)
    valid = np.isfinite(planted(AREA)[1])
    states = np.full(window.shape, State.OUTSIDE)
    inside = AREA.intersection(window)
    of_area = np.where(valid, State.VALID, State.NODATA)
    states[inside.slices_in(window)] = of_area[inside.slices_in(AREA)]
    (part,) = found.parts
    np.testing.assert_array_equal(part.states, states)
    np.testing.assert_array_equal(part.cached, states != State.OUTSIDE)
    assert sum(found.cached.values()) == inside.pixels
    assert found.cached_px == found.counts[State.VALID]
    # first it was told where the scenes lie
    assert steps[0].counts[State.PUBLISHED] == inside.pixels
    assert shares(found).keys() == {Look.CACHED, Look.NODATA, Look.OUTSIDE}
    (sentence,) = found.sentences()
    assert re.search(
        r"\d+ % valid, \d+ % without data, \d+ % not encoded; nothing to come", sentence
    )


def test_coverage_of_much_by_where_scenes_lie(tmp_path):
    folder = write_dataset(tmp_path / "own", window=MIDDLE)
    running = Window(30, MIDDLE.row + 100, MIDDLE.col + 100, 300, 300)
    first = next(running.whole_blocks())
    write_scene(folder, running, name="running", finished=False, only=lambda block: block == first)
    window = Window(30, MIDDLE.row - 1000, MIDDLE.col - 1000, 3000, 2000)
    found, _ = covered(folder, tmp_path, window, detail_px=1000)
    states = np.full(window.shape, State.OUTSIDE, np.uint8)
    states[running.slices_in(window)] = State.UNKNOWN
    states[first.intersection(running).slices_in(window)] = State.PUBLISHED
    states[MIDDLE.slices_in(window)] = State.PUBLISHED
    for state in State:
        assert found.counts[state] == (states == state).sum()
    (part,) = found.parts
    middle = part.cell_px // 2
    np.testing.assert_array_equal(
        part.states[:-1, :-1],
        states[middle :: part.cell_px, middle :: part.cell_px][: part.states.shape[0] - 1,
                                                              : part.states.shape[1] - 1],
    )  # fmt: skip
    assert part.cell_px > 1
    detailed, _ = covered(folder, tmp_path, running)
    assert detailed.failed == ()
    assert detailed.counts[State.UNKNOWN] > 0


def test_coverage_names_what_is_damaged(tmp_path):
    folder = write_dataset(tmp_path / "own", window=SMALL)
    for path in folder.rglob("*.npy"):
        path.write_bytes(path.read_bytes()[:-1])
    found, _ = covered(folder, tmp_path, SMALL)
    assert found.counts[State.UNKNOWN] == SMALL.pixels
    assert len(found.failed) == len(list(SMALL.whole_blocks()))
    assert "Could not be read: field" in found.sentences()[1]


def test_where_nothing_was_encoded(folder, tmp_path):
    elsewhere = Window(30, -500_000, 70_000, 20, 20)
    found, _ = covered(folder, tmp_path, elsewhere)
    assert found.nothing_published
    assert found.sentences() == ("400 pixels: nothing has been encoded here for 2021.",)
    request = FetchRequest(key_of(folder), 2021, extent_within(elsewhere),
                           access_of(tmp_path, folder))  # fmt: skip
    with pytest.raises(NothingPublished):
        embeddings.fetch(request)


def test_years_here(folder, tmp_path):
    far = Window(30, AREA.row + 200, AREA.col + 200, 20, 20)
    access = access_of(tmp_path, folder)
    at = [coverage.years_here(key_of(folder), extent_within(w), access) for w in (SMALL, far)]
    assert at == [{2021: State.PUBLISHED, 2022: State.PUBLISHED},
                  {2021: State.PUBLISHED, 2022: State.OUTSIDE}]  # fmt: skip
    coverage.refresh(key_of(folder), access)


# --- heads


def test_a_head_goes_with_its_space_and_no_other(folder, tmp_path):
    made = trained(folder, tmp_path)
    head = load(made.head_path)
    # another scene and year of the same dataset
    other_year = ClassifyRequest(made.head_path, 2022, extent_within(SMALL),
                                 access_of(tmp_path, folder), str(tmp_path / "m.tif"))  # fmt: skip
    result = publish(classify(other_year))
    assert (result.year, result.trained_years) == (2022, (2021,))
    found = gdal.Open(result.maps[0]).ReadAsArray()
    valid = np.isfinite(planted(SMALL)[1])
    assert (found[valid] == true_classes(SMALL)[valid] + 1).mean() > 0.95

    # the same space on a colleague's computer
    theirs = write_dataset(tmp_path / "theirs", window=SMALL)
    assert classify(dataclasses.replace(other_year, year=2021,
                                        access=access_of(tmp_path, theirs))).result.classes  # fmt: skip

    # another space, and none
    another = write_dataset(tmp_path / "another", "tessera-test-small", window=SMALL)
    access = access_of(tmp_path, another)
    with pytest.raises(UnknownDataset, match=key_of(folder)):
        classify(dataclasses.replace(other_year, access=access))
    for key, year in ((key_of(another), 2021), ("1.1-dclimate", 2024), ("2.0-2B-L~beta2", 2024)):
        source = embeddings.open_source(key, year, access)
        with pytest.raises(HeadMismatch) as caught:
            classify_from(source, head, dataclasses.replace(other_year, access=access))
        assert str(caught.value) == (
            f"The head was trained on {key_of(folder)} with 128 dimensions and "
            f"can't be used with {key} with 128 dimensions."
        )
    with pytest.raises(HeadMismatch):
        load(trained(another, tmp_path, "b.head", SMALL).head_path).check(key_of(folder), 128)


def test_the_same_space_with_less_depth_is_another_dataset(folder, tmp_path):
    short = write_dataset(tmp_path / "own", window=SMALL, depth=16)
    assert key_of(short) != key_of(folder)
    with pytest.raises(DepthNotOffered):
        embeddings.open_source(key_of(short), 2021, access_of(tmp_path, short), 128)
    assert embeddings.open_source(key_of(short), 2021, access_of(tmp_path, short), 16).depth == 16


# --- the folder changes


def test_a_scene_of_a_year_that_was_not_there_is_found(tmp_path):
    folder = write_dataset(tmp_path / "own", window=SMALL)
    access = access_of(tmp_path, folder)
    key = key_of(folder)
    with pytest.raises(UnknownYear):
        embeddings.open_source(key, 2023, access)
    write_scene(folder, SMALL, year=2023)
    assert embeddings.open_source(key, 2023, access).year == 2023
    assert set(coverage.years_here(key, extent_within(SMALL), access)) == {2021, 2023}
    shutil.rmtree(folder)
    with pytest.raises(LocationUnusable, match=r"no dataset\.json"):
        embeddings.open_source(key, 2021, access)


# --- never part of the cache


@pytest.mark.parametrize("place", ["own", "cache", "cache/public"])
def test_what_cares_for_the_cache_leaves_it_alone(tmp_path, place):
    folder = write_dataset(tmp_path / place, window=SMALL)
    before = tree(folder)
    cache_dir = str(tmp_path / "cache")
    assert cache.usage(cache_dir).bytes == 0
    cache.evict(cache_dir, 0)
    cache.clear(cache_dir)
    cache.clear(cache_dir, dataset=key_of(folder))
    cache.clear(cache_dir, dataset=folder.name, year=2021)
    cache.evict_over(cache_dir, 1)
    assert tree(folder) == before


# --- where it is given


def test_a_folder_is_recognised_however_it_is_given(folder, tmp_path):
    access = Access(str(tmp_path / "cache"), NOBODY, offline=True)
    (scene, _) = local.scenes(folder)
    expected = StoreFound(local.dataset_of(folder))
    for place in (str(folder), f"{folder}/", folder.as_uri(), f"{folder}/dataset.json", scene.path,
                  f"{scene.path}/scene.json", str(folder.parent)):  # fmt: skip
        assert look(place, access) == expected
    root = tmp_path / "several"
    folders = [write_dataset(root, space, window=SMALL) for space in ("one", "two")]
    with pytest.raises(LocationUnusable, match=f"choose one of {folders[0].name}, "):
        look(str(root), access)
    path = folders[0] / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 2}))
    with pytest.raises(LocationUnusable, match="newer version"):
        look(str(folders[0]), access)


def test_settings_keep_it(folder):
    dataset = local.dataset_of(folder)
    store = settings.MemoryStore()
    given = settings.Settings(stores=settings.write_stores([dataset]), min_observations=12)
    settings.save(store, given)
    found = settings.load(store)
    assert found.own_stores == (dataset,)
    assert (found.access().stores, found.access().min_observations) == ((dataset,), 12)
    nowhere = dataclasses.replace(dataset, local="")
    assert settings.read_stores(settings.write_stores([nowhere])) == ()


# --- the command line


def told(capsys, *arguments):
    status = main([*arguments, "--json"])
    lines = capsys.readouterr().out.splitlines()
    return status, json.loads(lines[-1])


def test_commands(folder, tmp_path, capsys):
    common = ["--store", str(folder), "--cache", str(tmp_path / "cache"), "--archive", NOBODY]
    status, rows = told(capsys, "datasets", *common)
    assert status == 0
    assert rows[-1]["key"] == key_of(folder)
    assert (rows[-1]["forms"], rows[-1]["years"]) == (["local"], [2021, 2022])

    lon, lat = _lonlat(SMALL)
    bbox = f"{lon[0]},{lat[0]},{lon[1]},{lat[1]}"
    place = ["--bbox", bbox, "--year", "2021", *common]
    status, facts = told(capsys, "coverage", *place)
    assert (status, facts["form"], facts["bytes_to_fetch"]) == (0, "local", 0)
    assert facts["states"]["valid"] > 0
    status, facts = told(capsys, "fetch", *place, "--out", str(tmp_path / "e.npz"))
    assert (status, facts["form"]) == (0, "local")
    valid_px = facts["fetched"]["valid_px"]
    status, facts = told(capsys, "fetch", *place, "--min-observations", "20")
    assert 0 < facts["fetched"]["valid_px"] < valid_px
    assert main(["fetch", *place]) == 0
    assert "Read from the folder of your own." in capsys.readouterr().out

    labels = labels_in(INNER)
    rows = [(f"POINT ({x} {y})", {"cover": name}) for x, y, name in _points(labels)]
    samples = write_layer(tmp_path / "points.gpkg", rows, {"cover": 4}, crs=labels.crs)
    head = str(tmp_path / "own.head")
    status, facts = told(capsys, "train", "--samples", samples, "--class-field", "cover",
                         "--head", "instant", "--out", head, "--year", "2021", *common)  # fmt: skip
    assert status == 0
    assert facts["accuracy"]["overall"] > 0.8
    status, facts = told(capsys, "classify", "--head", head, *place, "--out",
                         str(tmp_path / "map.tif"))  # fmt: skip
    assert (status, facts["dataset"]) == (0, key_of(folder))

    copied = shutil.copytree(folder, tmp_path / "copy")
    status, facts = told(capsys, "fetch", *place, "--store", str(copied))
    assert (status, facts["error"]) == (2, "LocationUnusable")
    assert "same embedding space" in facts["message"]


def _lonlat(window):
    from tests.archive.layout import lonlat

    lon, lat = lonlat(window.zone, np.array([window.stop_row - 5, window.row + 5]) + 0.0,
                      np.array([window.col + 5, window.stop_col - 5]) + 0.0)  # fmt: skip
    return lon, lat


def _points(labels):
    from osgeo import ogr

    names = {each.id: each.name for each in labels.classes}
    for label in labels.items:
        point = ogr.CreateGeometryFromWkb(label.wkb)
        yield point.GetX(), point.GetY(), names[label.class_id]
