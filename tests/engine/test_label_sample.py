# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Points of class maps: inside of their class, spread, the same for the same seed."""

import numpy as np
import pytest
from osgeo import gdal, osr

from tessera_plugin.engine import label_sample
from tessera_plugin.engine.label_sample import SampleRequest, sample
from tessera_plugin.errors import LabelsUnreadable
from tessera_plugin.io.projection import LONLAT, transform_points
from tessera_plugin.values import Extent

WEST, NORTH, PIXEL = 300_000.0, 5_800_000.0, 10.0


def write(path, values, *, epsg=32631, pixel=PIXEL, origin=(WEST, NORTH), kind=gdal.GDT_Byte,
          nodata=None, dress=None):  # fmt: skip
    height, width = values.shape
    made = gdal.GetDriverByName("GTiff").Create(str(path), width, height, 1, kind)
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(epsg)
    made.SetProjection(reference.ExportToWkt())
    made.SetGeoTransform((origin[0], pixel, 0.0, origin[1], 0.0, -pixel))
    band = made.GetRasterBand(1)
    if nodata is not None:
        band.SetNoDataValue(nodata)
    if dress is not None:
        dress(band)
    types = {gdal.GDT_Byte: np.uint8, gdal.GDT_Float32: np.float32, gdal.GDT_UInt16: np.uint16}
    band.WriteRaster(0, 0, width, height, values.astype(types[kind]).tobytes())
    return str(path)


def pixels_of(found, epsg=32631, pixel=PIXEL, origin=(WEST, NORTH)):
    """Return rows and columns of points, which must be centres of pixels."""
    x, y = transform_points(found.lonlat, LONLAT, f"EPSG:{epsg}").T
    col, row = (x - origin[0]) / pixel - 0.5, (origin[1] - y) / pixel - 0.5
    assert np.abs(col - np.round(col)).max() < 1e-3
    assert np.abs(row - np.round(row)).max() < 1e-3
    return np.round(row).astype(int), np.round(col).astype(int)


def patches(height=300, width=400):
    """Return a map of three classes in stripes, noise of class 4 in it, a corner of nodata."""
    rows, cols = np.mgrid[:height, :width]
    values = 1 + (rows // 40 + cols // 50) % 3
    values[np.random.default_rng(1).random(values.shape) < 0.01] = 4
    values[:60, :80] = 0
    return values


def test_an_extent_over_the_antimeridian_is_both_ends_of_a_map_of_the_world(tmp_path):
    values = np.ones((20, 3600), np.uint8)
    values[:, :1800] = 2
    path = write(tmp_path / "world.tif", values, epsg=4326, pixel=0.1, origin=(-180.0, 1.0))
    found = sample(SampleRequest(path, 20, extent=Extent(179.0, -0.9, -179.0, 0.9)))
    lon = found.lonlat[:, 0]
    assert sorted(set(found.values.tolist())) == [1, 2]
    assert (np.abs(lon) > 179).all()
    assert ((lon < 0) == (found.values == 2)).all()
    assert all(180 <= each.pixels <= 200 for each in found.classes)  # edges touch pixels


@pytest.mark.parametrize(("edge_px", "halo"), [(1, 0), (3, 1), (5, 2)])
def test_points_lie_inside_of_their_class(tmp_path, edge_px, halo):
    values = patches()
    path = write(tmp_path / "map.tif", values, nodata=0)
    found = sample(SampleRequest(path, 40, edge_px))
    rows, cols = pixels_of(found)
    padded = np.pad(values, halo, constant_values=-1)
    for row, col, value in zip(rows, cols, found.values):
        around = padded[row : row + 2 * halo + 1, col : col + 2 * halo + 1]
        assert (around == value).all()
    by_class = {each.value: each for each in found.classes}
    assert set(by_class) == {1, 2, 3, 4}
    assert {value: each.pixels for value, each in by_class.items()} == {
        value: int((values == value).sum()) for value in (1, 2, 3, 4)
    }
    inner = np.lib.stride_tricks.sliding_window_view(padded, (2 * halo + 1,) * 2)
    for value in (1, 2, 3, 4):
        count = int((inner == value).all(axis=(2, 3)).sum())
        assert by_class[value].inner_px == count
        assert by_class[value].points == min(count, 40)
    assert len({*zip(rows, cols)}) == len(rows)


def test_points_are_spread_over_the_area(tmp_path):
    path = write(tmp_path / "map.tif", np.ones((600, 600)))
    rows, cols = pixels_of(sample(SampleRequest(path, 100)))
    # in each of 5 by 5 fields lie 4 points on average; by pure chance 1.8 % of fields had none
    fields = np.zeros((5, 5), int)
    np.add.at(fields, (rows // 120, cols // 120), 1)
    assert fields.min() >= 2
    apart = np.hypot(rows[:, None] - rows, cols[:, None] - cols) + 1e9 * np.eye(len(rows))
    assert apart.min(axis=1).min() > 0.5 * 600 / 10  # darts may lie closer than a lattice's 60 px


def test_a_rare_class_gives_what_it_has(tmp_path):
    values = np.ones((3000, 400))
    values[1500:1509, 200:209] = 2  # 49 inner pixels, all in one cell of the division
    found = sample(SampleRequest(write(tmp_path / "map.tif", values), 30))
    assert [(each.value, each.inner_px, each.points) for each in found.classes][1] == (2, 49, 30)


def test_the_parts_that_are_read_change_nothing(tmp_path, monkeypatch):
    path = write(tmp_path / "map.tif", patches(), nodata=0)
    first = sample(SampleRequest(path, 25, seed=3))
    monkeypatch.setattr(label_sample, "PART_PX", 37)
    again = sample(SampleRequest(path, 25, seed=3))
    np.testing.assert_array_equal(first.lonlat, again.lonlat)
    assert first.classes == again.classes
    other = sample(SampleRequest(path, 25, seed=4))
    assert len(other.lonlat) == len(first.lonlat)
    assert (other.lonlat != first.lonlat).any()


def test_points_lie_in_the_extent_only(tmp_path):
    path = write(tmp_path / "map.tif", patches(), nodata=0)
    corner = np.array([[WEST + 1000, NORTH - 2000], [WEST + 3000, NORTH - 1000]])
    (west, south), (east, north) = transform_points(corner, "EPSG:32631", LONLAT)
    found = sample(SampleRequest(path, 20, extent=Extent(west, south, east, north)))
    lon, lat = found.lonlat.T
    assert len(lon) >= 60
    assert ((lon >= west) & (lon <= east) & (lat >= south) & (lat <= north)).all()
    nowhere = sample(SampleRequest(path, 20, extent=Extent(100, 10, 101, 11)))
    assert (len(nowhere.lonlat), nowhere.classes) == (0, ())


def test_a_map_in_degrees_across_the_antimeridian(tmp_path):
    values = np.ones((200, 200))
    origin = (179.0, 10.0)
    path = write(tmp_path / "map.tif", values, epsg=4326, pixel=0.01, origin=origin)
    found = sample(SampleRequest(path, 30, extent=Extent(179.5, 8.5, -179.5, 9.5)))
    lon = found.lonlat[:, 0] % 360
    assert len(lon) == 30
    assert lon.min() >= 179.5
    assert lon.max() <= 180.5


def test_names_and_colours_come_from_the_file(tmp_path):
    def with_palette(band):
        palette = gdal.ColorTable()
        palette.SetColorEntry(1, (0, 100, 0, 255))
        palette.SetColorEntry(2, (0, 0, 200, 255))
        band.SetColorTable(palette)
        band.SetCategoryNames(["", "Trees", "Water"])

    def with_table(band):
        table = gdal.RasterAttributeTable()
        table.CreateColumn("Value", gdal.GFT_Integer, gdal.GFU_MinMax)
        table.CreateColumn("Class", gdal.GFT_String, gdal.GFU_Name)
        for column, use in (("R", gdal.GFU_Red), ("G", gdal.GFU_Green), ("B", gdal.GFU_Blue)):
            table.CreateColumn(column, gdal.GFT_Integer, use)
        rows = [(10, "Tree cover", 0, 100, 0), (80, "Permanent water", 0, 100, 200)]
        for row, values in enumerate(rows):
            table.SetValueAsInt(row, 0, values[0])
            table.SetValueAsString(row, 1, values[1])
            for column in (2, 3, 4):
                table.SetValueAsInt(row, column, values[column])
        band.SetDefaultRAT(table)

    values = np.ones((40, 40))
    values[:, 20:] = 2
    found = sample(SampleRequest(write(tmp_path / "a.tif", values, dress=with_palette), 5)).found()
    assert [(v.value, v.name, v.color, v.places) for v in found.values] == [
        ("1", "Trees", "#006400", 5), ("2", "Water", "#0000c8", 5)]  # fmt: skip
    assert len(found.places) == 10
    values = np.where(values == 1, 10, 80)
    found = sample(SampleRequest(write(tmp_path / "b.tif", values, dress=with_table), 5)).found()
    assert [(v.value, v.name, v.color) for v in found.values] == [
        ("10", "Tree cover", "#006400"), ("80", "Permanent water", "#0064c8")]  # fmt: skip


def test_what_is_no_class_map_is_refused(tmp_path):
    floats = write(tmp_path / "a.tif", np.full((9, 9), 0.5), kind=gdal.GDT_Float32)
    with pytest.raises(LabelsUnreadable, match="no whole numbers"):
        sample(SampleRequest(floats))
    many = write(tmp_path / "b.tif", np.arange(40_000).reshape(200, 200), kind=gdal.GDT_UInt16)
    with pytest.raises(LabelsUnreadable, match="more than 1,000 different values"):
        sample(SampleRequest(many))
    whole = write(tmp_path / "c.tif", np.full((9, 9), 7.0), kind=gdal.GDT_Float32, nodata=-1)
    assert [each.value for each in sample(SampleRequest(whole)).classes] == [7]
    with pytest.raises(LabelsUnreadable):
        sample(SampleRequest(str(tmp_path / "nothing.tif")))
    with pytest.raises(ValueError, match="1, 3 or 5"):
        SampleRequest("a", edge_px=2)
