# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The set of similar pixels of a view: what grows, what is shown, what becomes polygons."""

import numpy as np
import pytest
from osgeo import ogr
from scipy import ndimage

from tessera_plugin.engine import regions, similar_map, similar_view, similarity
from tessera_plugin.engine.grid import windows_of
from tessera_plugin.engine.seams import seams_between
from tessera_plugin.engine.similar_view import Growth, SimilarViewRequest
from tessera_plugin.engine.zones import own_pixels
from tessera_plugin.errors import NoValidEmbeddings, PlaceNotValid
from tessera_plugin.io.projection import LONLAT, transform_points, zone_crs
from tessera_plugin.progress import Cancelled
from tessera_plugin.values import Access, Extent, Window
from tests.memory_source import MemorySource, true_classes

WINDOW = Window(30, -580_123, 70_017, 150, 170)
SEAM = Extent(-0.01, 52.0, 0.015, 52.008)


def lonlat(window, row, col):
    """Return the middle of a pixel."""
    metres = np.array([[10 * (window.col + col + 0.5), -10 * (window.row + row + 0.5)]])
    return tuple(transform_points(metres, zone_crs(window.zone), LONLAT)[0].tolist())


def request_for(points, extent=SEAM):
    return SimilarViewRequest("1.1-dclimate", 2024, extent, Access("/nowhere"), tuple(points))


def view_of(places, source=None, window=WINDOW):
    points = [lonlat(window, *place) for place in places]
    source = source or MemorySource()
    return similar_view.similar_view_from(source, [window], request_for(points))


def some_places(count, seed=3):
    _, scales = MemorySource().read(WINDOW)
    chosen = np.random.default_rng(seed).choice(np.argwhere(np.isfinite(scales)), count, False)
    return [tuple(place) for place in chosen.tolist()]


def test_likeness_is_that_of_the_whole_window():
    places = some_places(2)
    view = view_of(places)
    codes, scales = MemorySource().read(WINDOW)
    rows, cols = np.array(places).T
    whole = similarity.SimilarPixels.of(
        WINDOW, codes, scales, similarity.References.of(codes[rows, cols], view.centre)
    )
    (found,) = view.parts
    assert np.array_equal(found.likeness, whole.likeness)
    assert view.valid_px == np.isfinite(scales).sum()
    exact = similarity.centre_of(codes[np.isfinite(scales)])
    assert np.linalg.norm(view.centre - exact) < 0.05 * np.linalg.norm(exact)


def test_more_references_leave_the_others_as_they_are():
    first, second = some_places(2)
    one = view_of([first])
    points = [lonlat(WINDOW, *place) for place in (first, second)]
    both = similar_view.similar_view_from(
        MemorySource(), [WINDOW], request_for(points), centre=one.centre
    )
    alone = similar_view.similar_view_from(
        MemorySource(), [WINDOW], request_for(points[1:]), centre=one.centre
    )
    pairs = [each.parts[0].likeness for each in (one, alone)]
    assert np.array_equal(both.parts[0].likeness, np.maximum(*pairs))


def test_the_first_threshold_takes_the_place_that_was_clicked():
    truth = true_classes(WINDOW)
    precisions = []
    for place in some_places(6):
        view = view_of([place])
        grown = view.grow(Growth(view.start_percent()))
        mask = grown.masks[0][1]
        assert mask[place]
        precisions.append((truth[mask] == truth[place]).mean())
        assert grown.pixels == mask.sum() > 20
    assert np.median(precisions) > 0.9


def test_small_patches_go_and_of_many_the_largest_stay():
    view = view_of(some_places(1))
    whole = view.grow(Growth(30, only_connected=False))
    some = view.grow(Growth(30, only_connected=False, least_px=9, most_patches=3))
    labels, count = ndimage.label(whole.masks[0][1])
    sizes = np.bincount(labels.ravel())[1:]
    assert whole.patches == count > 10
    largest = np.sort(sizes[sizes >= 9])[::-1]
    assert some.patches == 3
    assert some.left_out == len(largest) - 3
    assert some.pixels == largest[:3].sum() == some.masks[0][1].sum()
    kept, _ = ndimage.label(some.masks[0][1])
    assert sorted(np.bincount(kept.ravel())[1:]) == sorted(largest[:3])


@pytest.mark.parametrize("seed", range(4))
def test_patches_are_those_of_scipy(seed):
    random = np.random.default_rng(seed)
    mask = random.random(tuple(random.integers(1, 80, 2))) < random.choice([0.3, 0.6, 0.9])
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    found = regions.patches(mask, 4)
    assert np.array_equal(found.mask, (sizes >= 4)[labels])
    assert sorted(found.sizes) == sorted(sizes[sizes >= 4])
    assert found.left_out == 0


def test_polygons_are_the_pixels():
    view = view_of(some_places(1))
    grown = view.grow(Growth(35, only_connected=False, least_px=3))
    mask = grown.masks[0][1]
    found = grown.outlines()
    assert sum(pixels for _, pixels in found) == mask.sum()
    burned = np.zeros(mask.shape, int)
    rows, cols = np.indices(mask.shape)
    for wkb, _ in found:
        polygon = ogr.CreateGeometryFromWkb(wkb)
        west, east, south, north = polygon.GetEnvelope()
        assert -180 < west < east < 180
        assert -90 < south < north < 90
        for row, col in zip(rows[mask][::37], cols[mask][::37]):
            burned[row, col] += polygon.Contains(_point(*lonlat(WINDOW, row, col)))
    shown = np.zeros(mask.shape, bool)
    shown[rows[mask][::37], cols[mask][::37]] = True
    assert np.array_equal(burned, shown.astype(int))


def _point(lon, lat):
    point = ogr.Geometry(ogr.wkbPoint)
    point.AddPoint_2D(lon, lat)
    return point


def test_pictures_show_the_set():
    view = view_of(some_places(1))
    grown = view.grow(Growth(view.start_percent()))
    fill = (10, 20, 30, 90)
    (picture,) = grown.pictures(fill)
    mask = grown.masks[0][1]
    shown = np.zeros((*mask.shape, 4), np.uint8)
    top, left = picture.row - WINDOW.row, picture.col - WINDOW.col
    height, width = picture.rgba.shape[:2]
    shown[top : top + height, left : left + width] = picture.rgba
    assert (shown[mask] == fill).all()
    assert (shown[~mask] == 0).all()
    nothing = view.grow(Growth(100.0, only_connected=False, least_px=5000))
    assert nothing.pictures(fill) == nothing.outlines() == ()


def test_heat_is_the_percent_in_colours():
    view = view_of(some_places(1))
    (picture,) = view.heat(((0.0, "#000a32"), (50.0, "#320a32"), (100.0, "#640a32")))
    likeness = view.parts[0].likeness
    valid = likeness != similarity.NODATA
    assert np.array_equal(picture.rgba[valid, 0], similarity.to_percent(likeness)[valid])
    assert (picture.rgba[valid, 1:] == (10, 50, 255)).all()
    assert (picture.rgba[~valid] == 0).all()


def test_over_a_seam_each_pixel_is_in_its_own_zone_only():
    windows = windows_of(SEAM)
    source = MemorySource()
    view = similar_view.similar_view_from(source, windows, request_for([(0.005, 52.004)]))
    assert len(view.parts) == 2
    every = view.grow(Growth(0.0, only_connected=False, most_patches=0))
    assert every.pixels == view.valid_px
    west, east = (part.seeds for part in view.parts)
    assert (len(west), len(east)) == (0, 1)


class Fields(MemorySource):
    """Two kinds of land, by longitude, latitude."""

    def __init__(self, is_lake):
        super().__init__()
        self._is_lake = is_lake
        self._kinds = np.random.default_rng(0).integers(-60, 60, (2, 128)).astype(np.int8)

    def _values(self, window):
        rows, cols = np.indices(window.shape)
        metres = 10 * np.column_stack(
            [window.col + cols.ravel() + 0.5, -(window.row + rows.ravel() + 0.5)]
        )
        lon, lat = transform_points(metres, zone_crs(window.zone), LONLAT).T
        lake = self._is_lake(lon, lat).reshape(window.shape)
        return self._kinds[lake.astype(int)], np.full(window.shape, 0.01, np.float32)


def meander(lon, lat):
    """A river that goes to and fro over 6° E, 300 m on each side, while it comes from the north."""
    step = np.floor((lat - 45.0) / 0.001)
    end = np.where(step % 4 == 1, 6.003, 5.997)
    across = (step % 2 == 0) & (np.abs(lon - 6) < 0.0038)
    bend = (step % 2 == 1) & (np.abs(lon - end) < 0.0008)
    return (across | bend) & (lat < 45.0095)


@pytest.mark.parametrize("clicked", [(5.9999, 45.0005), (6.003, 45.0092)])
def test_what_hangs_together_goes_on_over_a_seam(clicked, tmp_path):
    extent = Extent(5.995, 45.0, 6.005, 45.01)
    source = Fields(lambda lon, lat: meander(lon, lat) | (lon > 6.0045))  # and a lake apart
    view = similar_view.similar_view_from(
        source, windows_of(extent), request_for([clicked], extent)
    )
    grown = view.grow(Growth(90))
    every = view.grow(Growth(90, only_connected=False))
    for (window, mask), (_, whole) in zip(grown.masks, every.masks):
        rows, cols = np.indices(mask.shape)
        metres = 10 * np.column_stack(
            [window.col + cols.ravel() + 0.5, -(window.row + rows.ravel() + 0.5)]
        )
        lon, lat = transform_points(metres, zone_crs(window.zone), LONLAT).T
        river = meander(lon, lat).reshape(mask.shape) & whole
        assert np.array_equal(mask, river)
        assert river.sum() > 200
    assert (every.masks[1][1] & ~grown.masks[1][1]).sum() > 100
    assert (grown.pixels, grown.patches) == (
        sum(m.sum() for _, m in grown.masks),
        len(grown.outlines()),
    )
    asked = similar_map.SimilarRequest(
        "1.1-dclimate", 2024, extent, Access("/nowhere"), (clicked,), threshold_percent=90,
        only_connected=True, areas_out=str(tmp_path / "areas.geojson"),
    )  # fmt: skip
    assert similar_map.similar_from(source, asked).similar_px == grown.pixels


@pytest.mark.parametrize("extent", [
    SEAM, Extent(5.99, -45.02, 6.01, -45.0), Extent(179.97, 70.0, -179.97, 70.01),
])  # fmt: skip
def test_seams_are_pixels_side_by_side(extent):
    windows = windows_of(extent)
    seams = seams_between(windows)
    sides = [{windows[number].zone for number in each.windows} for each in seams]
    assert sides == [{window.zone for window in windows}] * 2
    for each in seams:
        centres, whose = [], []
        for number, pixels in zip(each.windows, each.pixels):
            window = windows[number]
            assert own_pixels(window)[tuple(pixels.T)].all()
            metres = np.column_stack([window.col + pixels[:, 1], -window.row - pixels[:, 0]])
            metres = 10 * metres + np.array([5.0, -5.0])
            lonlat = transform_points(metres, zone_crs(window.zone), LONLAT)
            centres.append(transform_points(lonlat, LONLAT, zone_crs(windows[0].zone)))
            whose.append(set(pixels[:, 0]))
        assert np.hypot(*(centres[0] - centres[1]).T).max() < 20
        # all rows but those at the corners of the extent
        assert len(whose[0]) > windows[each.windows[0]].height - 12
    assert seams_between(windows[:1]) == ()


def test_a_place_without_embedding_is_told():
    hole = Window(30, WINDOW.row + 10, WINDOW.col + 10, 30, 30)
    with pytest.raises(PlaceNotValid) as told:
        view_of([(15, 15)], MemorySource(water=[hole]))
    assert told.value.state == "WATER"
    with pytest.raises(PlaceNotValid) as told:
        view_of([(15, 15)], MemorySource(missing=[hole]))
    assert told.value.state == "UNKNOWN"
    with pytest.raises(NoValidEmbeddings):
        similar_view.centre_in(MemorySource(water=[WINDOW]), [WINDOW])


def test_it_can_be_cancelled():
    def stop(fraction, message=""):
        if fraction > 0.5:
            raise Cancelled

    (place,) = some_places(1)
    with pytest.raises(Cancelled):
        similar_view.similar_view_from(
            MemorySource(), [WINDOW], request_for([lonlat(WINDOW, *place)]), stop
        )
