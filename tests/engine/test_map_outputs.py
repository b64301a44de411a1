# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is written beside a class map, polygons as its area, and several years at once."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from osgeo import gdal, ogr

from tessera_plugin.engine import classify, grid
from tessera_plugin.engine.embeddings import with_source
from tessera_plugin.engine.heads import save
from tessera_plugin.engine.label_novelty import samples_of
from tessera_plugin.engine.label_sets import LabelSet
from tessera_plugin.engine.labels import Label, Labels
from tessera_plugin.engine.map_areas import HEAD, text_of
from tessera_plugin.engine.map_cleanup import CleanUp
from tessera_plugin.engine.map_ground import Polygons, ground_of, load_polygons
from tessera_plugin.engine.map_outputs import Outputs, uncertain_class
from tessera_plugin.engine.map_years import classify_years
from tessera_plugin.engine.novelty import Novelty
from tessera_plugin.engine.predict import InProcess, chosen
from tessera_plugin.errors import ExtentInvalid, LabelsNeeded, LabelsUnreadable, UnknownYear
from tessera_plugin.io.projection import LONLAT, transform_points, zone_crs
from tessera_plugin.progress import Cancelled, silent
from tessera_plugin.values import Access, Extent, LandClass, NetworkSettings, Window
from tests.archive.sample import SampleArchive
from tests.builders import wkb, write_layer
from tests.engine.test_classify import (
    CLASSES,
    INLAND,
    REAL_SEAM,
    SEAM,
    head_of,
    opened,
    real_request,
    request_of,
    run,
)
from tests.memory_source import MemorySource, longitudes
from tests.servers import RangeServer


@pytest.fixture(scope="module")
def head():
    return head_of()


def own(window):
    lon = longitudes(window)
    return (lon < 0) if window.zone == 30 else (lon >= 0)


def expected(head, window):
    """Return probabilities (H, W, k) in double precision, NaN where there are none."""
    codes, scales = MemorySource().read(window)
    x = (codes.astype(float) * scales[..., None] - head.mean) / head.std
    z = x @ head.weights["W"].astype(float) + head.weights["b"]
    p = np.exp(z - z.max(axis=2, keepdims=True))
    return p / p.sum(axis=2, keepdims=True)


def near(values, wanted):
    """Whether percents agree but for what rounding in single or double precision leaves."""
    difference = np.abs(values.astype(int) - np.rint(wanted))
    return difference.max() <= 1 and (difference > 0).mean() < 2e-3


# --- probabilities, margin, novelty


def test_probabilities_and_margin_over_a_seam(tmp_path, head):
    result = run(tmp_path, head=head, extent=SEAM, confidence_out=None,
                 probabilities_out=str(tmp_path / "p.tif"), margin_out=str(tmp_path / "m.tif"))  # fmt: skip
    for index, window in enumerate(grid.windows_of(SEAM)):
        p = expected(head, window)
        valid = np.isfinite(p[..., 0]) & own(window)
        raster = opened(result.probabilities.paths[index])
        names = [raster.GetRasterBand(n).GetDescription() for n in range(1, 5)]
        assert names == [each.name for each in CLASSES]
        values = raster.ReadAsArray()
        assert values.shape == (4, *window.shape)
        assert values.dtype == np.uint8
        colors = {raster.GetRasterBand(n).GetColorInterpretation() for n in range(1, 5)}
        assert not colors & {gdal.GCI_RedBand, gdal.GCI_AlphaBand}  # they are no picture
        assert (values[:, ~valid] == 255).all()
        assert near(values[:, valid], 100 * p[valid].T)
        margin = opened(result.margin.paths[index]).ReadAsArray()
        first, second = np.sort(p[valid], axis=1)[:, :-3:-1].T
        assert (margin[~valid] == 255).all()
        assert near(margin[valid], 100 * (first - second))
    mosaic = opened(result.probabilities.mosaic)
    assert [mosaic.GetRasterBand(n).GetDescription() for n in range(1, 5)] == names
    bands = mosaic.ReadAsArray()
    has_class = opened(result.mosaic).ReadAsArray() > 0
    assert ((bands < 255) == has_class).all(axis=(1, 2)).all()


def labels_at(window, count=8):
    """Label some valid pixels of a window, of two classes in turn."""
    valid = np.argwhere(np.isfinite(MemorySource().read(window)[1]))
    items = []
    for number, (row, col) in enumerate(valid[:: len(valid) // count]):
        x, y = 10 * (window.col + col + 0.5), -10 * (window.row + row + 0.5)
        items.append(Label(wkb(f"POINT ({x} {y})"), number % 2 + 1, str(number)))
    classes = (LandClass(1, "a", "#112233"), LandClass(2, "b", "#332211"))
    return Labels(zone_crs(window.zone), classes, tuple(items), "test")


def test_novelty_is_the_distance_to_the_labels(tmp_path, head):
    (window,) = grid.windows_of(INLAND)
    labels = labels_at(Window(window.zone, window.row, window.col, 60, 60))
    novelty = Novelty.of(samples_of(MemorySource(), labels))
    request = request_of(tmp_path, novelty_out=str(tmp_path / "n.tif"), labels=labels)
    staged = classify.classify_from(MemorySource(), head, request, novelty=novelty)
    values = opened(classify.publish(staged).novelty.paths[0]).ReadAsArray()

    codes, scales = MemorySource().read(window)
    valid = np.isfinite(scales)
    unit = codes[valid].astype(float)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    nearest = np.sqrt(np.maximum(2 - 2 * (unit @ novelty.references.T).max(axis=1), 0))
    index = nearest / novelty.mean_distance / novelty.limit
    assert (values[~valid] == 255).all()
    assert near(values[valid], np.minimum(100 * index, 254))
    assert (values[valid] == 0).sum() >= len(labels.items)


def test_novelty_without_labels_is_refused_with_a_sentence(tmp_path, head):
    with pytest.raises(LabelsNeeded, match="no labels were given"):
        request_of(tmp_path, novelty_out=str(tmp_path / "n.tif"))
    with pytest.raises(LabelsNeeded):
        Outputs(head.classes, kinds=("novelty",))


def test_novelty_is_measured_from_labels_in_the_years_they_were_learnt_in(tmp_path):
    box = (PLACE.west, PLACE.south, PLACE.east, PLACE.north)
    points = SampleArchive().label_points(box, per_class=2)
    classes = tuple(LandClass(n, str(n), "#112233") for n in range(1, 7))
    items = tuple(Label(wkb(f"POINT ({each.lon} {each.lat})"), each.class_id, str(number))
                  for number, each in enumerate(points))  # fmt: skip
    first, second = (
        Labels("EPSG:4326", classes, some, "test") for some in (items[::2], items[1::2])
    )
    head = head_of(years=(2023, 2024))

    def percents(url, labels, **changes):
        """Return the largest novelty at labels in each of both years."""
        request = replace(
            store_request(tmp_path, url), novelty_out="n.tif", labels=labels, **changes
        )
        novelty = classify.novelty_from(request, head, silent)
        samples = [
            with_source("1.1-dclimate", year, request.access, lambda s, _: samples_of(s, labels))
            for year in head.years
        ]
        return [int(novelty.percent(each.codes).max()) for each in samples]

    with RangeServer(SampleArchive()) as server:
        assert percents(server.url, first) == [0, 0]  # in both years of the head
        then, now = percents(server.url, first, label_year=2023)
        assert then == 0 < now
        other = LabelSet(second, 2023)
        then, now = percents(server.url, first, more_labels=(other,))
        assert now == 0 < then  # in the year that is left
        assert percents(server.url, second, label_year=2023,
                        more_labels=(LabelSet(second, 2024),)) == [0, 0]  # fmt: skip


# --- uncertain


def test_less_probable_pixels_are_uncertain_and_counted_apart(tmp_path, head):
    head = replace(head, temperature=30.0)  # of a less sure one
    plain = run(tmp_path, head=head)
    percent = opened(plain.confidences[0]).ReadAsArray().copy()
    before = opened(plain.maps[0]).ReadAsArray().copy()
    limit = int(np.median(percent[before > 0]))
    unsure = (before > 0) & (percent < limit)
    assert 0.1 < unsure.sum() / (before > 0).sum() < 0.6
    result = run(tmp_path, head=head, uncertain_below=limit, confidence_out=None)
    raster = opened(result.maps[0])
    values = raster.ReadAsArray()
    assert np.array_equal(values, np.where(unsure, 10, before))  # the classes end with 9
    assert raster.GetMetadataItem("TESSERA_UNCERTAIN_BELOW") == f"{limit} percent"
    last = result.classes[-1]
    assert (last.id, last.name, last.pixels) == (10, "Uncertain", unsure.sum())
    assert result.uncertain_id == 10
    assert result.nodata_px == plain.nodata_px
    assert raster.GetRasterBand(1).GetCategoryNames()[10] == "Uncertain"
    assert raster.GetRasterBand(1).GetColorTable().GetColorEntry(10)[:3] == (0x9E,) * 3


@pytest.mark.parametrize(
    ("ids", "free"),
    [((1, 2), 3), ((3, 255), 1), ((1, 254), 255), (range(1, 256), 256), ((1, 2, 65_535), 3)],
)
def test_the_uncertain_class_gets_a_free_id_that_needs_no_wider_raster(ids, free):
    assert uncertain_class([LandClass(n, str(n), "#000000") for n in ids]).id == free


def test_what_is_kept_does_not_depend_on_the_chunks(head):
    codes, scales = MemorySource().read(Window(30, -580_096, 60_032, 150, 150))
    valid = np.isfinite(scales)
    outputs = Outputs(head.classes, 60, ("probabilities", "margin"))
    kept = InProcess(head)(codes[valid], scales[valid], silent, outputs.reduce)
    whole = outputs.reduce(head.probabilities(codes[valid], scales[valid]))
    assert len(codes[valid]) > 16_384
    for one, other in zip(kept, whole):
        assert np.array_equal(one, other)
    best, percent = chosen(head.probabilities(codes[valid], scales[valid]))
    assert np.array_equal(kept[0], np.where(percent < 60, 4, best))


# --- polygons


def degrees(window, corners):
    """Return the WKT ring of places in a window, in degrees."""
    metres = np.array([(10 * (window.col + x), -10 * (window.row + y)) for x, y in corners], float)
    lonlat = transform_points(metres, zone_crs(window.zone), LONLAT)
    return "(" + ", ".join(f"{x:.9f} {y:.9f}" for x, y in [*lonlat, lonlat[0]]) + ")"


def test_only_what_lies_in_the_polygons_is_mapped_fetched_and_counted(tmp_path, head):
    (window,) = grid.windows_of(INLAND)
    triangle = degrees(window, [(20, 20), (320.3, 20), (20, 320.3)])
    hole = degrees(window, [(40, 40), (90.3, 40), (40, 90.3)])
    square = degrees(window, [(200, 30), (350, 30), (350, 90), (200, 90)])  # over the triangle
    area = Polygons((wkb(f"POLYGON ({triangle}, {hole})"), wkb(f"POLYGON ({square})")), LONLAT)
    source = MemorySource()
    asked = []
    fetch = source.fetch
    source.fetch = lambda windows, *rest: (asked.extend(windows), fetch(windows, *rest))[1]
    request = request_of(tmp_path, area)
    result = classify.publish(classify.classify_from(source, head, request))

    rows, cols = np.indices(window.shape) + 0.5
    inside = (rows > 20) & (cols > 20) & (rows + cols < 340.3)
    inside &= ~((rows > 40) & (cols > 40) & (rows + cols < 130.3))
    inside |= (rows > 30) & (rows < 90) & (cols > 200) & (cols < 350)
    raster = opened(result.maps[0])
    west, _, _, north, _, _ = raster.GetGeoTransform()
    row, col = round(-north / 10) - window.row, round(west / 10) - window.col
    height, width = raster.RasterYSize, raster.RasterXSize
    assert (row, col) == (20, 20)
    values = np.zeros(window.shape, int)
    values[row : row + height, col : col + width] = raster.ReadAsArray()
    p = expected(head, window)
    valid = np.isfinite(p[..., 0]) & inside
    ids = np.array([each.id for each in CLASSES])
    assert np.array_equal(values, np.where(valid, ids[np.where(valid, p.argmax(axis=2), 0)], 0))
    assert sum(each.pixels for each in result.classes) == valid.sum()
    assert result.nodata_px == (inside & ~valid).sum()
    assert sum(each.pixels for each in asked) < 0.8 * height * width


def test_polygons_over_a_seam_count_every_pixel_once(tmp_path, head):
    ring = "(-0.015 52.002, 0.02 52.002, 0.02 52.018, -0.015 52.018, -0.015 52.002)"
    area = Polygons((wkb(f"POLYGON ({ring})"),), LONLAT)
    result = run(tmp_path, head=head, extent=area, confidence_out=None)
    assert len(result.maps) == 2
    total = sum(each.pixels for each in result.classes) + result.nodata_px
    inside = 0
    for window in ground_of(area).windows:
        rows, cols = np.indices(window.shape)
        centres = np.column_stack([10 * (window.col + cols.ravel() + 0.5),
                                   -10 * (window.row + rows.ravel() + 0.5)])  # fmt: skip
        lon, lat = transform_points(centres, zone_crs(window.zone), LONLAT).T
        side = (lon < 0) if window.zone == 30 else (lon >= 0)
        inside += (side & (lon > -0.015) & (lon < 0.02) & (lat > 52.002) & (lat < 52.018)).sum()
    assert total == inside


def test_polygons_from_a_file_and_what_is_refused(tmp_path):
    path = tmp_path / "areas.gpkg"
    shapes = ["POLYGON ((0 0, 2 0, 2 2, 0 0))", "POINT (1 1)", "POLYGON EMPTY", None]
    write_layer(path, [(each, {}) for each in shapes], {}, crs="EPSG:32631")
    found = load_polygons(str(path))
    assert (len(found.wkbs), found.crs) == (1, "EPSG:32631")
    tiny = Polygons((wkb("POLYGON ((600001 1, 600003 1, 600003 3, 600001 1))"),), "EPSG:32631")
    with pytest.raises(ExtentInvalid, match="no pixel has its centre"):
        ground_of(tiny)
    points = tmp_path / "points.gpkg"
    write_layer(points, [("POINT (1 1)", {})], {})
    with pytest.raises(LabelsUnreadable, match="no polygons"):
        load_polygons(str(points))


# --- several years


@pytest.fixture(scope="module")
def years(tmp_path_factory):
    """Maps of two years with everything beside, by a real server and cache."""
    folder = tmp_path_factory.mktemp("years")
    with RangeServer(SampleArchive()) as server:
        request = store_request(folder, server.url)
        results = []
        failed = classify_years(
            request, (2024, 2023), lambda s: results.append(classify.publish(s))
        )
    return request, results, failed


PLACE = Extent(0.12, 52.198, 0.126, 52.202)


def store_request(folder, url, **changes):
    request = real_request(folder, url, head_of())
    return replace(
        request, extent=PLACE, margin_out=str(folder / "out" / "m.tif"),
        clean_up=CleanUp(sieve_px=4), polygons_out=str(folder / "out" / "map.gpkg"),
        head_path=dclimate_head(folder), access=Access(str(folder / "cache"), url,
        network=NetworkSettings(attempts=1, backoff_s=0.01)), **changes,
    )  # fmt: skip


def dclimate_head(folder):
    save(head_of(), str(folder / "b.head"))
    return str(folder / "b.head")


def test_several_years_give_a_map_each(years):
    _, results, failed = years
    assert failed == ()
    assert [each.year for each in results] == [2024, 2023]
    for each in results:
        assert each.maps[0].endswith(f"map_{each.year}.tif")
        assert each.confidences[0].endswith(f"conf_{each.year}.tif")
        assert each.margin.paths[0].endswith(f"m_{each.year}.tif")
        assert each.clean.paths[0].endswith(f"map_clean_{each.year}.tif")
        assert each.polygons.endswith(f"map_{each.year}.gpkg")
        assert opened(each.maps[0]).GetMetadataItem("TESSERA_YEAR") == str(each.year)
    first, second = (opened(each.maps[0]).ReadAsArray() for each in results)
    assert first.shape == second.shape
    assert (first != second).any()


def test_areas_of_several_years_as_a_table(years):
    _, results, _ = years
    rows = list(csv.reader(io.StringIO(text_of(results))))
    assert tuple(rows[0]) == HEAD
    assert "not an estimate of area" in rows[0][5]
    assert [row[0] for row in rows[1:]] == ["2023"] * 8 + ["2024"] * 8
    for result in results:
        for name, path in (("as classified", result.maps[0]), ("cleaned", result.clean.paths[0])):
            values = opened(path).ReadAsArray()
            told = {row[3]: (int(row[4]), float(row[5])) for row in rows
                    if row[:2] == [str(result.year), name]}  # fmt: skip
            for each in CLASSES:
                pixels = int((values == each.id).sum())
                assert told[each.name] == (pixels, pytest.approx(pixels / 100))


def test_a_cancel_between_years_keeps_those_that_are_done(tmp_path, years):
    request, done, _ = years
    (tmp_path / "out").mkdir()
    # the embeddings are in the cache: no server is asked
    again = replace(request, out=str(tmp_path / "out" / "map.tif"), confidence_out=None,
                    margin_out=None, polygons_out=None, clean_up=CleanUp())  # fmt: skip
    came = []

    def report(fraction, message=""):
        if came and fraction > 0.7:
            raise Cancelled

    with pytest.raises(Cancelled):
        classify_years(again, (2024, 2023), lambda s: came.append(classify.publish(s)), report)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "map_2024.tif",
        "map_2024.tif.aux.xml",
    }
    assert came[0].classes == done[0].classes


def test_a_year_that_the_dataset_does_not_have_is_refused_before_any_work(tmp_path, years):
    with pytest.raises(UnknownYear, match="1999"):
        classify_years(years[0], (2024, 1999), lambda _: pytest.fail("no map was to be made"))


def test_polygons_of_a_map_over_the_real_seam(tmp_path):
    with RangeServer(SampleArchive()) as server:
        request = real_request(tmp_path, server.url, head_of(), confidence_out=None,
                               polygons_out=str(tmp_path / "out" / "p.gpkg"))  # fmt: skip
        result = classify.publish(classify.classify(replace(request, extent=REAL_SEAM)))
    package = gdal.OpenEx(result.polygons, gdal.OF_VECTOR)
    hectares = dict.fromkeys((each.name for each in CLASSES), 0.0)
    for name, epsg in (("polygons_utm30", "32630"), ("polygons_utm31", "32631")):
        layer = package.GetLayerByName(name)
        assert layer.GetSpatialRef().GetAuthorityCode(None) == epsg
        for feature in layer:
            hectares[feature["class"]] += feature["hectares"]
            assert feature.GetGeometryRef().GetArea() / 10_000 == pytest.approx(feature["hectares"])
            assert ogr.GT_Flatten(feature.GetGeometryRef().GetGeometryType()) == ogr.wkbPolygon
    for each in result.classes:
        assert hectares[each.name] == pytest.approx(each.hectares, abs=1e-6)
