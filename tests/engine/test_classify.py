# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal
from sklearn.neural_network import MLPClassifier

from tessera_plugin.engine import classify, grid
from tessera_plugin.engine.heads import Head, fit_instant, identify, save
from tessera_plugin.errors import (
    ExtentTooLarge,
    HeadMismatch,
    HeadUnreadable,
    NetworkFailed,
    NotWritable,
    NoValidEmbeddings,
    UnknownYear,
)
from tessera_plugin.io.tiling import Tile
from tessera_plugin.progress import Cancelled
from tessera_plugin.values import Access, Extent, LandClass, NetworkSettings, Window
from tests.archive.sample import SampleArchive
from tests.memory_source import MemorySource, longitudes, sample, true_classes
from tests.servers import FOREVER, Fault, RangeServer

CLASSES = (
    LandClass(3, "Water", "#1f78b4"),
    LandClass(1, "Forest", "#33a02c"),
    LandClass(9, "Grass", "#b2df8a"),
    LandClass(4, "Built-up", "#e31a1c"),
)
IDS = np.array([3, 1, 9, 4])
INLAND = Extent(602_170, 5_797_000, 606_230, 5_801_230, "EPSG:32630")
SEAM = Extent(-0.02, 52.0, 0.03, 52.02)


def head_of(kind="instant", years=(2021, 2023), classes=CLASSES):
    x, y = sample()
    mean, std = x.mean(axis=0), x.std(axis=0)
    standardised = (x - mean) / std
    if kind == "instant":
        weights = fit_instant(standardised, y)
    else:
        fitted = MLPClassifier(
            (16,), random_state=0, max_iter=60, tol=1e-2, n_iter_no_change=5
        ).fit(standardised, y)
        arrays = [*fitted.coefs_, *fitted.intercepts_]
        weights = {name: array.astype(np.float32)
                   for name, array in zip(("W1", "W2", "b1", "b2"), arrays)}  # fmt: skip
    dataset = MemorySource().dataset
    arrays = {"mean": mean, "std": std, **weights}
    return Head(id=identify(kind, classes, dataset.key, arrays), kind=kind, classes=classes,
                dataset=dataset.key, depth=dataset.depth, years=years, mean=mean, std=std,
                weights=weights)  # fmt: skip


def request_of(tmp_path, extent=INLAND, **changes):
    values = {
        "head_path": "",
        "year": 2024,
        "extent": extent,
        "access": Access(str(tmp_path / "cache"), "https://user:secret@example.org/a"),
        "out": str(tmp_path / "map.tif"),
        "confidence_out": str(tmp_path / "conf.tif"),
    }
    return classify.ClassifyRequest(**{**values, **changes})


def run(tmp_path, source=None, head=None, extent=INLAND, **changes):
    staged = classify.classify_from(
        source or MemorySource(), head or head_of(), request_of(tmp_path, extent, **changes)
    )
    return classify.publish(staged)


def opened(path):
    dataset = gdal.Open(str(path))
    assert dataset is not None, path
    return dataset


def in_one_go(head, source, window):
    """Return classes and percents computed for all pixels at once, in double precision."""
    codes, scales = source.read(window)
    x = codes.astype(float) * scales[..., None]
    z = (x - head.mean.astype(float)) / head.std
    weights = {name: array.astype(float) for name, array in head.weights.items()}
    if head.kind == "mlp":
        z = np.maximum(z @ weights["W1"] + weights["b1"], 0) @ weights["W2"] + weights["b2"]
    else:
        z = z @ weights["W"] + weights["b"]
    z -= z.max(axis=2, keepdims=True)
    p = np.exp(z) / np.exp(z).sum(axis=2, keepdims=True)
    valid = np.isfinite(scales)
    classes = np.where(valid, IDS[np.where(valid, p.argmax(axis=2), 0)], 0)
    percent = np.where(valid, np.rint(100 * np.where(valid, p.max(axis=2), 0)), 255)
    return classes, percent


@pytest.mark.parametrize("kind", ["instant", "mlp"])
def test_map_by_strips_is_the_map_in_one_go(tmp_path, kind):
    head, source = head_of(kind), MemorySource()
    result = run(tmp_path, source, head)

    (window,) = grid.windows_of(INLAND)
    classes, percent = in_one_go(head, source, window)
    assert np.array_equal(opened(result.maps[0]).ReadAsArray(), classes)
    difference = np.abs(opened(result.confidences[0]).ReadAsArray().astype(int) - percent)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3  # 0.5 percent, rounded in single or double precision
    truth = IDS[true_classes(window)]
    assert 0.9 < (classes == truth)[classes > 0].mean() <= 1


def test_result_says_what_is_in_the_map(tmp_path):
    head = head_of()
    result = run(tmp_path, head=head)

    values = opened(result.maps[0]).ReadAsArray()
    assert result.maps == (str(tmp_path / "map.tif"),)
    assert result.confidences == (str(tmp_path / "conf.tif"),)
    assert (result.mosaic, result.confidence_mosaic) == (None, None)
    assert [c.name for c in result.classes] == ["Water", "Forest", "Grass", "Built-up"]
    assert {c.id: c.pixels for c in result.classes} == {i: (values == i).sum() for i in IDS}
    assert [c.hectares for c in result.classes] == [
        round(c.pixels * 0.01, 2) for c in result.classes
    ]
    assert result.nodata_px == (values == 0).sum() > 0
    assert (result.head_id, result.dataset) == (head.id, "1.1-dclimate")
    assert (result.year, result.trained_years) == (2024, (2021, 2023))
    assert result.seconds > 0
    assert asdict(result)["classes"][0]["hectares"] == result.classes[0].hectares


def test_map_says_where_it_comes_from_and_no_secret(tmp_path):
    head = head_of()
    result = run(tmp_path, head=head)
    for path in (*result.maps, *result.confidences):
        tags = opened(path).GetMetadata()
        assert tags["TESSERA_DATASET_VERSION"] == "1.1"
        assert tags["TESSERA_DATASET_VARIANT"] == "dclimate"
        assert (tags["TESSERA_DEPTH"], tags["TESSERA_FORM"]) == ("128", "zarr")
        assert tags["TESSERA_YEAR"] == "2024"
        assert tags["TESSERA_TRAINED_YEARS"] == "2021,2023"
        assert tags["TESSERA_HEAD_ID"] == head.id
        assert tags["TESSERA_SOURCE"] == "https://example.org/a"
        assert "TESSERA_PLUGIN_VERSION" in tags
        assert "TESSERA_MISSING" not in tags


def test_no_confidence_unless_asked_for(tmp_path):
    result = run(tmp_path, confidence_out=None)
    assert result.confidences == ()
    assert {path.name for path in tmp_path.iterdir()} == {"map.tif", "map.tif.aux.xml"}


def test_memory_is_bounded_by_strips(tmp_path):
    source = MemorySource()
    wide = Extent(602_170, 5_797_000, 632_230, 5_798_330, "EPSG:32630")  # 3006 px wide
    run(tmp_path, source, extent=wide)
    assert source.largest_read_px <= 128 * 2048


# --- zone seams


def test_seam_gives_a_map_per_zone_and_a_mosaic(tmp_path):
    head, source = head_of(), MemorySource()
    result = run(tmp_path, source, head, SEAM)

    names = {Path(path).name for path in (*result.maps, *result.confidences)}
    assert names == {"map_utm30.tif", "map_utm31.tif", "conf_utm30.tif", "conf_utm31.tif"}
    assert Path(result.mosaic).name == "map.vrt"
    assert Path(result.confidence_mosaic).name == "conf.vrt"
    total = 0
    for path, window in zip(result.maps, grid.windows_of(SEAM)):
        dataset = opened(path)
        values = dataset.ReadAsArray()
        expected, _ = in_one_go(head, source, window)
        lon = longitudes(window)
        own = (lon < 0) if window.zone == 30 else (lon >= 0)
        assert np.array_equal(values, np.where(own, expected, 0))
        assert dataset.GetSpatialRef().GetAuthorityCode(None) == str(32600 + window.zone)
        assert 0 < own.sum() < own.size
        total += own.sum()
    assert total == sum(c.pixels for c in result.classes) + result.nodata_px

    mosaic = opened(result.mosaic)
    assert mosaic.GetSpatialRef().GetAuthorityCode(None) == "32631"  # the centre is at 0.01°
    pixels = mosaic.ReadAsArray()
    assert set(np.unique(pixels)) == {0, *IDS}
    counted = sum(c.pixels for c in result.classes)
    assert (pixels > 0).sum() == pytest.approx(counted, rel=0.01)
    table = mosaic.GetRasterBand(1).GetDefaultRAT()
    told = {table.GetValueAsInt(row, 0): table.GetValueAsInt(row, 5) for row in range(4)}
    assert told == {c.id: c.pixels for c in result.classes}
    assert opened(result.confidence_mosaic).ReadAsArray()[pixels > 0].max() <= 100


def test_wholly_in_the_south(tmp_path):
    result = run(tmp_path, extent=Extent(-0.02, -1.02, 0.02, -1.0), confidence_out=None)
    codes = [opened(path).GetSpatialRef().GetAuthorityCode(None) for path in result.maps]
    assert codes == ["32730", "32731"]
    assert opened(result.mosaic).GetSpatialRef().GetAuthorityCode(None) in codes


def test_over_the_antimeridian(tmp_path):
    result = run(tmp_path, extent=Extent(179.98, 0.1, -179.99, 0.12), confidence_out=None)
    assert [Path(path).name for path in result.maps] == ["map_utm01.tif", "map_utm60.tif"]
    mosaic = opened(result.mosaic)
    assert mosaic.GetSpatialRef().GetAuthorityCode(None) == "32660"
    pixels = mosaic.ReadAsArray()
    assert pixels.shape[1] < 700
    counted = sum(c.pixels for c in result.classes)
    assert (pixels > 0).sum() == pytest.approx(counted, rel=0.01)


# --- what is missing


def test_what_is_missing_is_fetched_first(tmp_path):
    (window,) = grid.windows_of(INLAND)
    source = MemorySource(missing=[window])
    reported = []
    request = request_of(tmp_path)
    staged = classify.classify_from(
        source, head_of(), request, lambda f, m="": reported.append((f, m))
    )
    result = classify.publish(staged)
    assert result.fetched.bytes_fetched == window.pixels * 132
    fractions = [fraction for fraction, _ in reported]
    assert fractions == sorted(fractions)
    # fetching all takes most of the time, and the progress says so
    assert max(f for f, m in reported if m == "fetch") > 0.7
    assert fractions[-1] <= 1


def test_progress_is_all_prediction_when_all_is_there(tmp_path):
    reported = []
    request = request_of(tmp_path)
    staged = classify.classify_from(
        MemorySource(), head_of(), request, lambda f, m="": reported.append((f, m))
    )
    staged.discard()
    assert max(f for f, m in reported if m == "fetch") == 0


def test_parts_that_failed_are_nodata_and_named(tmp_path):
    (window,) = grid.windows_of(INLAND)
    hole = Window(window.zone, window.row + 10, window.col + 20, 50, 60)
    result = run(tmp_path, MemorySource(missing=[hole], fails=True))
    dataset = opened(result.maps[0])
    values = dataset.ReadAsArray()
    assert (values[10:60, 20:80] == 0).all()
    assert (values > 0).sum() > 0.9 * (window.pixels - hole.pixels)
    assert [failure.part for failure in result.fetched.failed] == ["grid_0.05_52.05"]
    assert dataset.GetMetadataItem("TESSERA_MISSING") == "grid_0.05_52.05"


def test_nothing_valid_is_an_error_and_no_file(tmp_path):
    (window,) = grid.windows_of(INLAND)
    with pytest.raises(NoValidEmbeddings, match="water"):
        run(tmp_path, MemorySource(water=[window]))
    with pytest.raises(NoValidEmbeddings, match="the server broke off"):
        run(tmp_path, MemorySource(missing=[window], fails=True))
    assert not list(tmp_path.iterdir())


# --- staging


def test_nothing_has_its_name_before_it_is_published(tmp_path):
    (tmp_path / "map.tif").write_text("old")
    staged = classify.classify_from(MemorySource(), head_of(), request_of(tmp_path))
    assert (tmp_path / "map.tif").read_text() == "old"
    assert not (tmp_path / "conf.tif").exists()
    assert staged.targets == (str(tmp_path / "map.tif"), str(tmp_path / "conf.tif"))

    result = classify.publish(staged)
    assert result.maps == (str(tmp_path / "map.tif"),)
    assert opened(tmp_path / "map.tif").RasterXSize == 406
    assert not list(tmp_path.glob(".*"))


def test_discarded_maps_leave_nothing(tmp_path):
    staged = classify.classify_from(MemorySource(), head_of(), request_of(tmp_path, SEAM))
    staged.discard()
    assert not list(tmp_path.iterdir())


def test_map_can_be_made_again_while_the_old_one_is_open(tmp_path):
    first = run(tmp_path)
    still_open = opened(first.maps[0])
    second = run(tmp_path, head=head_of("mlp"))
    assert second.maps == first.maps
    assert opened(second.maps[0]).GetMetadataItem("TESSERA_HEAD_ID") == second.head_id
    del still_open


def test_held_file_of_a_seam_gets_a_number_and_the_mosaic_follows(tmp_path, monkeypatch):
    run(tmp_path, extent=SEAM, confidence_out=None)
    real = Path.replace

    def held(source, target):  # as on Windows, where the layer of zone 31 is still loaded
        if target.name == "map_utm31.tif":
            raise PermissionError(13, "in use", str(target))
        return real(source, target)

    monkeypatch.setattr(Path, "replace", held)
    result = run(tmp_path, extent=SEAM, confidence_out=None)
    names = [Path(path).name for path in result.maps]
    assert names == ["map_utm30.tif", "map_utm31_2.tif"]
    (tmp_path / "map_utm31.tif").unlink()  # the mosaic has to do without
    assert (opened(result.mosaic).ReadAsArray() > 0).sum() > 0.9 * sum(
        c.pixels for c in result.classes
    )


@pytest.mark.parametrize("at", [0.0, 0.2, 0.5, 0.94, 0.99])
def test_cancel_leaves_nothing(tmp_path, at):
    def cancel(fraction, message=""):
        if fraction >= at:
            raise Cancelled

    with pytest.raises(Cancelled):
        classify.classify_from(MemorySource(), head_of(), request_of(tmp_path, SEAM), cancel)
    assert not list(tmp_path.iterdir())


def test_cancel_is_asked_for_at_every_chunk(tmp_path):
    calls = []
    staged = classify.classify_from(
        MemorySource(), head_of(), request_of(tmp_path), lambda f, m="": calls.append(m)
    )
    staged.discard()
    (window,) = grid.windows_of(INLAND)
    assert calls.count("classify") >= window.pixels / 16_384


# --- what is refused


def test_head_of_another_dataset_is_refused(tmp_path):
    with pytest.raises(HeadMismatch, match=r"1\.0-vultr"):
        run(tmp_path, head=replace(head_of(), dataset="1.0-vultr"))
    assert not list(tmp_path.iterdir())


def test_refusals_before_anything_is_opened(tmp_path):
    save(head_of(), str(tmp_path / "a.head"))
    with pytest.raises(UnknownYear):
        classify.classify(request_of(tmp_path, head_path=str(tmp_path / "a.head"), year=1999))
    with pytest.raises(ExtentTooLarge) as caught:
        classify.classify(request_of(tmp_path, head_path=str(tmp_path / "a.head"), limit_px=10))
    assert caught.value.pixels == 406 * 423
    with pytest.raises(HeadUnreadable):
        classify.classify(request_of(tmp_path, head_path=str(tmp_path / "none.head")))
    assert [path.name for path in tmp_path.iterdir()] == ["a.head"]


def test_folder_that_is_not_there_is_refused_before_the_fetch(tmp_path):
    source = MemorySource(missing=list(grid.windows_of(INLAND)))
    with pytest.raises(NotWritable, match="folder does not exist"):
        run(tmp_path, source, out=str(tmp_path / "none" / "map.tif"))
    assert source.missing


def test_one_name_for_two_rasters_is_refused(tmp_path):
    with pytest.raises(NotWritable, match="a name of its own"):
        run(tmp_path, confidence_out=str(tmp_path / "map.tif"))
    assert not list(tmp_path.iterdir())


# --- with a real server and a real cache


NETWORK = NetworkSettings(attempts=1, backoff_s=0.01, connect_timeout_s=5, read_timeout_s=5)
REAL_SEAM = Extent(-0.008, 52.18, 0.010, 52.186)


@pytest.fixture(scope="module")
def archive():
    return SampleArchive()


def real_request(tmp_path, url, head, **changes):
    """The tiles of 1.1-cambridge: its store in the sample has nothing at this seam."""
    save(replace(head, dataset="1.1-cambridge"), str(tmp_path / "a.head"))
    (tmp_path / "out").mkdir(exist_ok=True)
    access = Access(str(tmp_path / "cache"), url, network=NETWORK, form="npy")
    return request_of(tmp_path / "out", REAL_SEAM, head_path=str(tmp_path / "a.head"),
                      access=access, **changes)  # fmt: skip


def test_from_the_archive_over_the_seam_and_again_offline(tmp_path, archive):
    head = head_of()
    with RangeServer(archive) as server:
        request = real_request(tmp_path, server.url, head)
        first = classify.publish(classify.classify(request))
    assert first.fetched.bytes_fetched > 0
    assert not first.fetched.failed
    maps = [opened(path).ReadAsArray() for path in first.maps]
    for values, window in zip(maps, grid.windows_of(REAL_SEAM)):
        codes, scales = _of_tile(archive, window)
        expected = np.zeros(window.shape, int)
        valid = np.isfinite(scales) & (scales > 0) & (scales < 1) & codes.any(axis=2)
        best = head.probabilities(codes[valid], scales[valid]).argmax(axis=1)
        expected[valid] = IDS[best]
        lon = longitudes(window)
        own = (lon < 0) if window.zone == 30 else (lon >= 0)
        assert (values > 0).sum() > 1000
        assert np.array_equal(values, np.where(own, expected, 0))

    # the server is gone
    offline = replace(request, access=replace(request.access, offline=True))
    again = classify.publish(classify.classify(offline))
    assert (again.fetched.bytes_fetched, again.fetched.requests) == (0, 0)
    assert again.classes == first.classes
    for path, values in zip(again.maps, maps):
        assert np.array_equal(opened(path).ReadAsArray(), values)


def _of_tile(archive, window):
    """Return a window of the tile's own arrays; it lies in one tile."""
    name = {30: "grid_-0.05_52.15", 31: "grid_0.05_52.15"}[window.zone]
    rows, cols = window.slices_in(Tile.parse(name).footprint())
    codes, scales = archive.tile_arrays("v1.1-cam", 2024, name, (rows.start, rows.stop))
    return codes[:, cols], scales[:, cols]


def test_from_the_archive_with_a_broken_tile(tmp_path, archive):
    with RangeServer(archive) as server:
        server.faults = [Fault.status(500, path="*grid_0.05_52.15*", count=FOREVER)]
        request = real_request(tmp_path, server.url, head_of(), confidence_out=None)
        result = classify.publish(classify.classify(request))
    assert "grid_0.05_52.15" in {failure.part for failure in result.fetched.failed}
    west, east = (opened(path).ReadAsArray() for path in result.maps)
    assert (west > 0).sum() > 1000
    assert (east == 0).all()
    assert result.nodata_px > 1000


def test_without_a_network_and_a_cache(tmp_path):
    request = real_request(tmp_path, "http://127.0.0.1:9", head_of())
    with pytest.raises(NetworkFailed):
        classify.classify(request)
    assert not list((tmp_path / "out").iterdir())
