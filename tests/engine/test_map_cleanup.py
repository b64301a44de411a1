# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The majority filter, the sieve and polygons, against second computations."""

import contextlib
import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal

from tessera_plugin.engine import classify
from tessera_plugin.engine.map_cleanup import CleanUp, majority, sieve_px_of
from tessera_plugin.io import vectorise
from tessera_plugin.progress import Cancelled
from tests.engine.test_classify import CLASSES, SEAM, head_of, opened, request_of, run
from tests.memory_source import MemorySource

IDS = [each.id for each in CLASSES]


@pytest.fixture(scope="module")
def head():
    return head_of()


def slow_majority(values, edge):
    """Return the filter pixel by pixel, as one would say it."""
    result = values.copy()
    reach = edge // 2
    for row, col in itertools.product(*map(range, values.shape)):
        around = values[
            max(row - reach, 0) : row + reach + 1, max(col - reach, 0) : col + reach + 1
        ]
        ids, counts = np.unique(around[around > 0], return_counts=True)
        most = ids[counts == counts.max()] if len(ids) else []
        if values[row, col] and len(most) == 1:
            result[row, col] = most[0]
    return result


def sieved(values, least_px, connected):
    """Return GDAL's sieve of the whole array at once."""
    made = gdal.GetDriverByName("MEM").Create("", *values.shape[::-1], 1, gdal.GDT_Byte)
    band = made.GetRasterBand(1)
    band.SetNoDataValue(0)
    band.WriteRaster(0, 0, *values.shape[::-1], values.astype(np.uint8).tobytes())
    gdal.SieveFilter(band, band.GetMaskBand(), band, least_px, connected)
    return band.ReadAsArray()


def regions(values, connected):
    """Return the sizes of the areas of one class, by a walk over their pixels."""
    seen = values == 0
    steps = [(0, 1), (1, 0), (0, -1), (-1, 0)]
    steps += [(1, 1), (1, -1), (-1, 1), (-1, -1)] if connected == 8 else []
    sizes = []
    for start in zip(*np.nonzero(~seen)):
        if seen[start]:
            continue
        seen[start], size, todo = True, 0, [start]
        while todo:
            row, col = todo.pop()
            size += 1
            for down, right in steps:
                place = row + down, col + right
                if (
                    0 <= place[0] < values.shape[0]
                    and 0 <= place[1] < values.shape[1]
                    and not seen[place]
                    and values[place] == values[row, col]
                ):
                    seen[place] = True
                    todo.append(place)
        sizes.append(size)
    return sizes


@pytest.mark.parametrize("edge", [3, 5])
def test_majority_is_what_one_would_say_it_is(edge):
    random = np.random.default_rng(edge)
    values = random.choice([0, *IDS], (37, 41), p=[0.1, 0.4, 0.3, 0.1, 0.1]).astype(np.uint8)
    filtered = majority(values, edge, IDS)
    assert np.array_equal(filtered, slow_majority(values, edge))
    assert (filtered != values).mean() > 0.2
    assert np.array_equal(filtered == 0, values == 0)


def test_as_frequent_classes_leave_a_pixel_as_it_is():
    values = np.array([[1, 3, 3], [1, 9, 3], [1, 1, 9]], np.uint8)
    assert majority(values, 3, IDS)[1, 1] == 1  # 4 of 1, 3 of 3, 2 of 9
    values[0, 0] = 9  # 3 of each
    assert majority(values, 3, IDS)[1, 1] == 9
    values[0, 0], values[1, 1] = 4, 4  # 3 of 1, 3 of 3, 2 of 4
    assert majority(values, 3, IDS)[1, 1] == 4


@pytest.mark.parametrize("clean_up", [
    CleanUp(sieve_px=6), CleanUp(sieve_px=6, connected=8), CleanUp(majority=3),
    CleanUp(majority=5, sieve_px=9),
])  # fmt: skip
def test_the_cleaned_map_beside_the_map_over_a_seam(tmp_path, head, clean_up):
    plain = run(tmp_path, head=head, extent=SEAM, confidence_out=None)
    before = [opened(path).ReadAsArray().copy() for path in plain.maps]
    result = run(tmp_path, head=head, extent=SEAM, confidence_out=None, clean_up=clean_up)
    assert result.classes == plain.classes
    changed = 0
    counts = dict.fromkeys(IDS, 0)
    for original, path, values in zip(result.maps, result.clean.paths, before):
        assert np.array_equal(opened(original).ReadAsArray(), values)  # it is kept
        wanted = values
        if clean_up.majority:
            wanted = majority(wanted, clean_up.majority, IDS)
        if clean_up.sieve_px:
            wanted = sieved(wanted, clean_up.sieve_px, clean_up.connected)
        raster = opened(path)
        cleaned = raster.ReadAsArray()
        assert np.array_equal(cleaned, wanted)
        assert np.array_equal(cleaned == 0, values == 0)
        changed += (cleaned != values).sum()
        for number in IDS:
            counts[number] += (cleaned == number).sum()
        tags = raster.GetMetadata()
        assert tags["TESSERA_CLEANED"] == clean_up.sentence()
        assert tags["TESSERA_CLEANED_FROM"] == "map.tif"
        assert tags["TESSERA_HEAD_ID"] == head.id
        whole = opened(original)  # GDAL's bands don't keep their file open
        assert whole.GetMetadataItem("TESSERA_CLEANED") is None
        band, first = raster.GetRasterBand(1), whole.GetRasterBand(1)
        assert band.GetCategoryNames() == first.GetCategoryNames()
        assert band.GetColorTable().GetColorEntry(9) == first.GetColorTable().GetColorEntry(9)
        assert band.GetDefaultRAT().GetRowCount() == len(CLASSES)
    assert result.changed_px == changed > 0
    assert {each.id: each.pixels for each in result.clean_classes} == counts
    assert {path.name for path in tmp_path.glob("map_clean*.tif")} == {
        "map_clean_utm30.tif",
        "map_clean_utm31.tif",
    }
    assert opened(result.clean.mosaic).GetMetadataItem("TESSERA_CLEANED") == clean_up.sentence()


def test_a_sieve_leaves_areas_of_the_least_size_only():
    random = np.random.default_rng(3)
    values = np.ones((60, 60), np.uint8)
    for _ in range(60):
        row, col = random.integers(0, 50, 2)
        values[row : row + random.integers(1, 5), col : col + random.integers(1, 5)] = 3
    assert min(regions(values, 4)) < 5
    assert min(regions(sieved(values, 5, 4), 4)) >= 5


@pytest.mark.parametrize(
    ("hectares", "pixels"), [(0.05, 5), (0.5, 50), (1, 100), (0.111, 12), (0, 0)]
)
def test_a_minimum_mapping_unit_in_hectares(hectares, pixels):
    assert sieve_px_of(hectares) == pixels


@pytest.mark.parametrize("values", [{"majority": 4}, {"sieve_px": -1}, {"connected": 6}])
def test_what_can_not_be_done_is_refused(values):
    with pytest.raises(ValueError, match="can't be"):
        CleanUp(**values)


# --- polygons


def test_polygons_are_the_areas_of_the_cleaned_map(tmp_path, head):
    result = run(tmp_path, head=head, confidence_out=None, clean_up=CleanUp(majority=3, sieve_px=20),
                 polygons_out=str(tmp_path / "areas.gpkg"))  # fmt: skip
    cleaned = opened(result.clean.paths[0])
    values = cleaned.ReadAsArray()
    package = gdal.OpenEx(result.polygons, gdal.OF_VECTOR)
    layer = package.GetLayerByName("polygons")
    names = {each.id: each.name for each in CLASSES}
    by_class = dict.fromkeys(names, 0.0)
    for feature in layer:
        assert feature["class"] == names[feature["class_id"]]
        assert feature.GetGeometryRef().IsValid()
        by_class[feature["class_id"]] += feature.GetGeometryRef().GetArea() / 10_000
    assert layer.GetFeatureCount() == result.polygon_count == len(regions(values, 4))
    assert by_class == {each.id: pytest.approx(each.hectares) for each in result.clean_classes}
    assert package.GetMetadataItem("TESSERA_HEAD_ID") == head.id
    back = gdal.GetDriverByName("MEM").Create("", *values.shape[::-1], 1, gdal.GDT_Byte)
    back.SetGeoTransform(cleaned.GetGeoTransform())
    back.SetSpatialRef(cleaned.GetSpatialRef())
    gdal.RasterizeLayer(back, [1], layer, options=["ATTRIBUTE=class_id"])
    assert np.array_equal(back.ReadAsArray(), values)
    style = package.GetLayerByName("layer_styles").GetNextFeature()
    assert (style["f_table_name"], style["useAsDefault"]) == ("polygons", 1)
    assert "Built-up" in style["styleQML"]


def test_too_many_polygons_are_told_and_the_map_is_there(tmp_path, head, monkeypatch):
    monkeypatch.setattr(vectorise, "MOST_POLYGONS", 50)
    result = run(tmp_path, head=head, polygons_out=str(tmp_path / "areas.gpkg"))
    assert result.polygons is None
    assert "more than 50 areas" in str(result.polygons_refused)
    assert "sieve" in str(result.polygons_refused)
    assert opened(result.maps[0]).ReadAsArray().any()
    assert {path.suffix for path in tmp_path.iterdir()} == {".tif", ".xml"}


@pytest.mark.parametrize("name", ["gpkg_x", "-a", "#1", 'the "best"', "rtree_a", "Umriß 1"])
def test_files_with_polygons_are_called_what_people_want(tmp_path, head, name):
    result = run(tmp_path, head=head, polygons_out=str(tmp_path / f"{name}.gpkg"))
    package = gdal.OpenEx(str(tmp_path / f"{name}.gpkg"), gdal.OF_VECTOR)
    assert package.GetLayerByName("polygons").GetFeatureCount() == result.polygon_count > 0


def files_open_in(folder):
    """Return the files below a folder that this process holds open, deleted ones too."""
    held = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            held.append(os.readlink(descriptor))
    return [each for each in held if each.startswith(str(folder))]


def test_an_error_that_is_kept_holds_no_file_open(tmp_path, head, monkeypatch):
    monkeypatch.setattr(vectorise, "MOST_POLYGONS", 50)
    result = run(tmp_path, head=head, polygons_out=str(tmp_path / "areas.gpkg"))
    assert result.polygons_refused.__traceback__ is not None
    assert files_open_in(tmp_path) == []
    monkeypatch.undo()

    def report(_fraction, message=""):
        if message == "polygons":
            raise Cancelled

    request = request_of(tmp_path, polygons_out=str(tmp_path / "areas.gpkg"))
    with pytest.raises(Cancelled) as kept:
        classify.classify_from(MemorySource(), head, request, report)
    assert kept.value.__traceback__ is not None
    assert files_open_in(tmp_path) == []


def test_names_of_classes_are_text_and_nothing_else(tmp_path, head):
    from dataclasses import replace

    odd = replace(CLASSES[0], name='O\'Brien "bog" <wet> & more')
    result = run(tmp_path, head=replace(head, classes=(odd, *CLASSES[1:])),
                 polygons_out=str(tmp_path / "a.gpkg"))  # fmt: skip
    layer = gdal.OpenEx(result.polygons, gdal.OF_VECTOR)
    rows = layer.ExecuteSQL("SELECT DISTINCT class FROM polygons WHERE class_id = 3")
    assert [row["class"] for row in rows] == [odd.name]


@pytest.mark.parametrize("message", ["majority", "sieve", "clean", "polygons"])
def test_a_cancel_in_any_step_leaves_nothing(tmp_path, head, message):
    def report(_fraction, told=""):
        if told == message:
            raise Cancelled

    request = request_of(tmp_path, clean_up=CleanUp(3, 5), polygons_out=str(tmp_path / "a.gpkg"))
    with pytest.raises(Cancelled):
        classify.classify_from(MemorySource(), head, request, report)
    assert not list(tmp_path.iterdir())
