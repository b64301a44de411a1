# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The check of a store against its tiles: over the sample, which agrees, and over copies that don't."""

import re

import pytest

from tessera_plugin.engine.compare import SPOT_PX, SPOTS, CompareRequest, compare
from tessera_plugin.errors import FormNotOffered
from tessera_plugin.values import Access, Extent, NetworkSettings
from tests.archive import planted
from tests.archive.sample import SampleArchive
from tests.servers import FOREVER, Fault, RangeServer, Resource

QUICK = NetworkSettings(backoff_s=0.01, attempts=2, connect_timeout_s=5, read_timeout_s=5)
HERE = Extent(0.110, 52.180, 0.145, 52.198)  # in one tile
HEADER = 128


@pytest.fixture(scope="module")
def archive():
    return SampleArchive()


class Displaced:
    """The sample archive, its tiles displaced by so many rows and columns."""

    def __init__(self, archive, rows, cols):
        self._archive = archive
        self._by = rows, cols

    def find(self, path):
        resource = self._archive.find(path)
        match = re.fullmatch(r"npy/[^/]+/\d+/(grid_[^/]+)/.*\.npy", path)
        if match is None or resource is None:
            return resource
        pixels = self._by[0] * self._archive.footprint(match[1]).width + self._by[1]
        size = 4 if path.endswith("_scales.npy") else 128
        return Resource(resource.length, f"moved-{resource.etag}", resource.last_modified,
                        lambda start, stop: self._moved(resource, start, stop, pixels * size))  # fmt: skip

    def _moved(self, resource, start, stop, by):
        """A pixel has what the one so many further on had; the first and last few are made up."""
        head = resource.read(start, min(stop, HEADER)) if start < HEADER else b""
        start, stop = max(start, HEADER), max(stop, HEADER)
        inner = max(start + by, HEADER), min(stop + by, resource.length)
        body = resource.read(*inner) if inner[0] < inner[1] else b""
        before = min(max(HEADER - start - by, 0), stop - start)
        return head + (bytes(before) + body).ljust(stop - start, b"\0")


def request_of(server, folder, dataset="1.1-cambridge", extent=HERE, **changes):
    access = Access(str(folder), server.url, network=QUICK, **changes)
    return CompareRequest(dataset, 2024, extent, access)


def test_a_store_and_its_tiles_that_agree(archive, tmp_path):
    with RangeServer(archive) as server:
        found = compare(request_of(server, tmp_path))
        assert found.agrees
        assert found.pixels == found.equal == SPOTS * SPOT_PX**2
        assert found.sentence() == "The Zarr store and the tiles agree on all 320 pixels compared."
        assert found.shift is None
        assert found.bytes_fetched == server.bytes_sent < 10_000_000
        # what came is kept
        assert compare(request_of(server, tmp_path)).bytes_fetched == 0


@pytest.mark.parametrize("by", [(0, 1), (-1, 0), (1, -1)])
def test_tiles_that_are_displaced_by_a_pixel(archive, tmp_path, by):
    with RangeServer(Displaced(archive, *by)) as server:
        found = compare(request_of(server, tmp_path))
    assert not found.agrees
    assert found.differing == found.pixels == SPOTS * SPOT_PX**2
    assert found.shift == (-by[0], -by[1])
    for step, words in ((by[0], ("north", "south")), (by[1], ("west", "east"))):
        for sign, word in zip((-1, 1), words):
            assert (f"1 pixel {word}" in found.sentence()) == (step == sign)
    assert "differ in 320 of 320 pixels" in found.sentence()
    assert "tell the publisher" in found.sentence()


def test_tiles_of_other_values_are_no_shift(archive, tmp_path):
    class Other(Displaced):
        def _moved(self, resource, start, stop, by):
            data = resource.read(start, stop)
            return data if start < HEADER else data[:-1] + bytes([data[-1] ^ 1])

    with RangeServer(Other(archive, 0, 0)) as server:
        found = compare(request_of(server, tmp_path))
    assert 0 < found.equal + found.differing == found.pixels
    assert found.shift is None


def test_pixels_that_the_tiles_do_not_have(archive, tmp_path):
    class Half(Displaced):
        def find(self, path):
            return None if "grid_0.15_52.15" in path else self._archive.find(path)

    with RangeServer(Half(archive, 0, 0)) as server:
        found = compare(request_of(server, tmp_path))
    assert found.only_zarr > 0
    assert found.only_zarr + found.equal == found.pixels
    assert f"{found.only_zarr} are in the store only" in found.sentence()
    assert not found.agrees


def test_nothing_to_compare(archive, tmp_path):
    lon, lat = planted.LAKES[0][:2]
    with RangeServer(archive) as server:
        found = compare(
            request_of(server, tmp_path, extent=Extent(lon, lat, lon + 0.001, lat + 0.001))
        )
        assert (found.pixels, found.agrees) == (0, False)
        assert "No pixel could be compared" in found.sentence()
        server.faults.append(Fault.status(500, path="npy/*", count=FOREVER))
        broken = compare(request_of(server, tmp_path / "other"))
    assert (broken.pixels, broken.agrees) == (0, False)
    assert broken.failed[0].reason in broken.sentence()


def test_a_small_extent_is_one_spot(archive, tmp_path):
    with RangeServer(archive) as server:
        found = compare(request_of(server, tmp_path, extent=Extent(0.12, 52.19, 0.12005, 52.19005)))
    assert len(found.windows) == 1
    assert found.agrees
    assert 0 < found.pixels < SPOT_PX**2


def test_a_dataset_of_one_form(tmp_path):
    with pytest.raises(FormNotOffered) as caught:
        compare(CompareRequest("1.1-dclimate", 2024, HERE, Access(str(tmp_path))))
    assert caught.value.form == "npy"
