# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Where folders of upstream lie, and their inputs moved onto the zone grid."""

import math
import os

import numpy as np
import pytest

from tessera_plugin.errors import SceneUnusable
from tessera_plugin.io.dpixels import inside
from tessera_plugin.io.dpixels.place import place
from tessera_plugin.io.projection import transform_points
from tessera_plugin.progress import Cancelled
from tessera_plugin.values import Window
from tests.dpixel_builders import (
    tile,
    transform_of,
    upstream_arrays,
    upstream_folder,
    write_raster,
)

WINDOW = Window(31, -580_010, 50_003, 14, 18)
SOUTH = Window(33, 620_001, 40_007, 14, 18)


@pytest.fixture
def arrays():
    return upstream_arrays(14, 18)


@pytest.mark.parametrize("window", [WINDOW, SOUTH], ids=["north", "south"])
def test_a_folder_on_the_grid_is_taken_as_it_is(tmp_path, arrays, window):
    folder = upstream_folder(tmp_path / "tile", arrays, transform_of(window), window.epsg)
    placed = place(str(folder), str(tmp_path / "moved"))
    assert placed.window == window
    assert (placed.folder, placed.moved_m) == (str(folder), 0.0)
    assert (placed.year, placed.first_date, placed.last_date) == (0, "", "")
    assert placed.provenance == {}
    assert not (tmp_path / "moved").exists()


def test_the_south_in_northern_coordinates_is_the_same_place(tmp_path, arrays):
    west, _, _, north, _, _ = SOUTH.transform
    transform = (west, 10.0, 0.0, north - 10_000_000, 0.0, -10.0)
    folder = upstream_folder(tmp_path / "tile", arrays, transform, 32633)
    assert place(str(folder), "unused").window == SOUTH


def test_trap_28_an_edge_tile_lies_where_its_raster_says_not_its_name(tmp_path):
    """Upstream writes whole squares, padded with zeros, and names them after the part with data."""
    arrays = upstream_arrays(20, 20)
    for name in ("bands", "masks", "sar_ascending"):
        arrays[name][:, 13:] = 0
        arrays[name][:, :, 9:] = 0
    window = Window(31, -580_010, 50_003, 20, 20)
    left, top = window.transform[0], window.transform[3]
    name = f"{left:.0f}_{top - 130:.0f}_{left + 90:.0f}_{top:.0f}"
    folder = upstream_folder(tmp_path / name, arrays, transform_of(window), window.epsg)
    assert place(str(folder), "unused").window == window
    wrong = folder.rename(tmp_path / "600000_0_605000_5000")
    assert place(str(wrong), "unused").window == window


@pytest.mark.parametrize(
    ("east_m", "south_m", "window"),
    [
        (3.0, -4.0, WINDOW),
        (-4.9, 4.9, WINDOW),
        (6.0, 0.0, Window(31, WINDOW.row, WINDOW.col + 1, 14, 18)),
        (0.0, 8.0, Window(31, WINDOW.row + 1, WINDOW.col, 14, 18)),
    ],
)
def test_a_shifted_folder_is_moved_by_less_than_half_a_pixel(
    tmp_path, arrays, east_m, south_m, window
):
    west, _, _, north, _, _ = WINDOW.transform
    transform = (west + east_m, 10.0, 0.0, north - south_m, 0.0, -10.0)
    folder = upstream_folder(tmp_path / "tile", arrays, transform, 32631)
    placed = place(str(folder), str(tmp_path / "moved"))
    assert placed.window == window
    east = (east_m + 5) % 10 - 5
    south = (south_m + 5) % 10 - 5
    assert placed.moved_m == pytest.approx(math.hypot(east, south))
    # every pixel is still the nearest one: its centre is within half a pixel of the grid's
    row, col = 4, 7
    centre = np.array([west + east_m + 10 * col + 5, north - south_m - 10 * row - 5])
    grid = np.array([10 * (placed.window.col + col) + 5, -10 * (placed.window.row + row) - 5])
    assert np.abs(centre - grid).max() <= 5
    found = tile(placed.folder)
    assert all(np.array_equal(found[name], arrays[name]) for name in arrays if arrays[name].size)


def nearest(arrays, transform, crs, window):
    """Take for each pixel of a window the folder's pixel that its centre falls into."""
    height, width = arrays["bands"].shape[1:3]
    cols, rows = np.meshgrid(np.arange(window.width) + 0.5, np.arange(window.height) + 0.5)
    metres = np.column_stack([10 * (window.col + cols).ravel(), -10 * (window.row + rows).ravel()])
    xy = transform_points(metres, f"EPSG:{32600 + window.zone}", crs)
    west, a, b, north, c, d = transform
    inverse = np.linalg.inv(np.array([[a, b], [c, d]]))
    pixels = np.floor((xy - (west, north)) @ inverse.T).astype(int)
    there = ((pixels >= 0) & (pixels < (width, height))).all(axis=1)
    found = {}
    for name in ("bands", "masks", "sar_ascending"):
        values = arrays[name]
        flat = np.zeros((len(values), window.pixels, *values.shape[3:]), values.dtype)
        flat[:, there] = values[:, pixels[there, 1], pixels[there, 0]]
        found[name] = flat.reshape(len(values), *window.shape, *values.shape[3:])
    return found, there.reshape(window.shape)


OTHER_GRIDS = {
    "rotated": (32631, (500_100.0, 9.8, 2.0, 5_800_000.0, 2.0, -9.8)),
    "european": (3035, (3_850_003.0, 10.0, 0.0, 3_250_007.0, 0.0, -10.0)),
    "european utm": (25831, (500_033.0, 10.0, 0.0, 5_800_107.0, 0.0, -10.0)),
}


@pytest.mark.parametrize("grid", OTHER_GRIDS)
def test_another_grid_of_10_m_is_moved_by_nearest_neighbour(tmp_path, monkeypatch, grid):
    epsg, transform = OTHER_GRIDS[grid]
    arrays = upstream_arrays(40, 50)
    folder = upstream_folder(tmp_path / "tile", arrays, transform, epsg)
    monkeypatch.setattr(inside, "PART_PX", 32)  # in several parts
    placed = place(str(folder), str(tmp_path / "moved"))
    assert placed.folder == str(tmp_path / "moved")
    assert 0 < placed.moved_m <= math.hypot(5.1, 5.1)
    expected, there = nearest(arrays, transform, f"EPSG:{epsg}", placed.window)
    found = tile(placed.folder)
    assert there.sum() > 0.9 * 40 * 50
    for name, values in expected.items():
        # at the edge a centre may fall on either side of a line by a hair
        assert (found[name] != values).mean() < 0.002
    for name in ("doys", "sar_ascending_doy", "sar_descending_doy"):
        assert np.array_equal(found[name], arrays[name])
    assert found["sar_descending"].shape == (0, *placed.window.shape, 2)
    again = place(placed.folder, "unused")  # it lies on the grid now
    assert (again.window, again.moved_m) == (placed.window, 0.0)


def test_what_is_moved_already_is_kept_and_made_again_when_the_folder_changes(tmp_path):
    epsg, transform = OTHER_GRIDS["rotated"]
    folder = upstream_folder(tmp_path / "tile", upstream_arrays(40, 50), transform, epsg)
    moved = tmp_path / "work" / "moved"
    first = place(str(folder), str(moved))
    state = (moved / "bands.npy").stat()
    assert place(str(folder), str(moved)) == first
    assert (moved / "bands.npy").stat().st_ino == state.st_ino
    other = upstream_arrays(40, 50, seed=7)["bands"]
    np.save(folder / "bands.npy", other)
    os.utime(folder / "bands.npy", (5, 5))
    place(str(folder), str(moved))
    assert (np.load(moved / "bands.npy") != other[0, 0, 0, 0]).any()
    assert (moved / "bands.npy").stat().st_ino != state.st_ino
    (moved / "masks.npy").unlink()
    place(str(folder), str(moved))
    assert (moved / "masks.npy").exists()


def test_moving_can_be_cancelled_and_leaves_nothing(tmp_path):
    epsg, transform = OTHER_GRIDS["rotated"]
    folder = upstream_folder(tmp_path / "tile", upstream_arrays(40, 50), transform, epsg)

    def cancel(_fraction, _message=""):
        raise Cancelled

    with pytest.raises(Cancelled):
        place(str(folder), str(tmp_path / "moved"), cancel)
    assert sorted(os.listdir(tmp_path)) == ["tile"]


@pytest.mark.parametrize(
    ("epsg", "transform", "said"),
    [
        (32631, (500_000.0, 20.0, 0.0, 5_800_000.0, 0.0, -20.0), "20 x 20 m"),
        (32631, (500_000.0, 10.0, 0.0, 5_800_000.0, 0.0, -30.0), "10 x 30 m"),
        (4326, (3.0, 0.0001, 0.0, 52.0, 0.0, -0.0001), "not 10 x 10 m"),
        (None, (0.0, 1.0, 0.0, 0.0, 0.0, 1.0), "where it lies"),
    ],
)
def test_other_resolutions_are_refused(tmp_path, arrays, epsg, transform, said):
    folder = upstream_folder(tmp_path / "tile", arrays, transform, epsg)
    with pytest.raises(SceneUnusable, match=said):
        place(str(folder), str(tmp_path / "moved"))


def test_trap_31_arrays_have_to_have_the_shape_of_the_raster(tmp_path, arrays):
    folder = upstream_folder(tmp_path / "tile", arrays, transform_of(WINDOW), WINDOW.epsg)
    # a ROI of 30 m with arrays of 10 m, as upstream warns of
    write_raster(folder / "roi.tiff", np.ones((5, 6), np.uint8), transform_of(WINDOW, 30), 32631)
    with pytest.raises(SceneUnusable, match="shape"):
        place(str(folder), "unused")
    write_raster(folder / "roi.tiff", np.ones((18, 14), np.uint8), transform_of(WINDOW), 32631)
    with pytest.raises(SceneUnusable, match="shape"):
        place(str(folder), "unused")


@pytest.mark.parametrize(
    "name",
    ["bands.npy", "masks.npy", "doys.npy", "sar_ascending.npy", "sar_ascending_doy.npy",
     "sar_descending.npy", "sar_descending_doy.npy", "roi.tiff"],
)  # fmt: skip
def test_a_file_that_lacks_is_named(tmp_path, arrays, name):
    folder = upstream_folder(tmp_path / "tile", arrays, transform_of(WINDOW), WINDOW.epsg)
    (folder / name).unlink()
    with pytest.raises(SceneUnusable, match=name):
        place(str(folder), "unused")


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("bands", lambda a: a[..., :9]),
        ("bands", lambda a: a.astype(np.float32)),
        ("masks", lambda a: a[:2]),
        ("sar_ascending", lambda a: a[:, :13]),
        ("sar_ascending", lambda a: np.moveaxis(a, 0, 2)),
    ],
)
def test_arrays_that_are_not_a_tile(tmp_path, arrays, name, spoil):
    folder = upstream_folder(
        tmp_path / "tile", {**arrays, name: spoil(arrays[name])}, transform_of(WINDOW), 32631
    )
    with pytest.raises(SceneUnusable) as raised:
        place(str(folder), "unused")
    assert raised.value.path.endswith(f"{name}.npy")


def test_a_file_that_is_cut_off(tmp_path, arrays):
    folder = upstream_folder(tmp_path / "tile", arrays, transform_of(WINDOW), WINDOW.epsg)
    path = folder / "masks.npy"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(SceneUnusable, match="bytes of"):
        place(str(folder), "unused")
    np.save(path, arrays["masks"])
    (folder / "roi.tiff").write_bytes(b"II*")
    with pytest.raises(SceneUnusable, match="can't be opened"):
        place(str(folder), "unused")


@pytest.mark.parametrize(
    ("told", "year"),
    [
        ('{"schema": 1, "year": 2023, "first_date": "2022-12-01"}', 2023),
        ('{"schema": 1, "year": "2023"}', 0),
        ('{"schema": 9, "year": 2023}', 0),
        ("[1]", 0),
        ("{", 0),
    ],
)
def test_what_provenance_tells(tmp_path, arrays, told, year):
    folder = upstream_folder(tmp_path / "tile", arrays, transform_of(WINDOW), WINDOW.epsg)
    (folder / "provenance.json").write_text(told)
    placed = place(str(folder), "unused")
    assert placed.year == year
    assert placed.first_date == ("2022-12-01" if year else "")
