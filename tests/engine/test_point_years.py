# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from tessera_plugin.engine import embeddings
from tessera_plugin.engine.point_years import point_years
from tessera_plugin.errors import ExtentInvalid, UnknownYear
from tessera_plugin.io.polygons import pixels_of_points
from tessera_plugin.io.tiling import Tile
from tessera_plugin.progress import Cancelled
from tessera_plugin.values import Access, Extent, NetworkSettings, State
from tests.archive.sample import SampleArchive
from tests.servers import RangeServer

DATASET = "1.1-cambridge"
LON, LAT = 0.1231, 52.1967
TILE = "grid_0.15_52.15"
NETWORK = NetworkSettings(attempts=1, backoff_s=0.01, connect_timeout_s=5, read_timeout_s=5)


@pytest.fixture(scope="module")
def archive():
    return SampleArchive()


def truth(archive, year):
    _, (row,), (col,) = pixels_of_points(np.array([[LON, LAT]]), "EPSG:4326")
    place = Tile.parse(TILE).footprint()
    codes, scales = archive.tile_arrays(
        "v1.1-cam", year, TILE, (row - place.row, row - place.row + 1)
    )
    return codes[0, col - place.col] * scales[0, col - place.col]


def test_years_of_a_point(archive, tmp_path):
    with RangeServer(archive) as server:
        access = Access(str(tmp_path), server.url, network=NETWORK, form="npy")
        nothing = point_years(DATASET, LON, LAT, access, [2023, 2024])
        assert nothing.valid_years == ()
        assert {each.state for each in nothing.years} == {State.UNKNOWN}
        assert np.isnan(nothing.embeddings).all()
        assert np.isnan(nothing.cosine).all()
        assert not server.log

        here = Extent(LON - 4e-4, LAT - 4e-4, LON + 4e-4, LAT + 4e-4)
        embeddings.fetch(embeddings.FetchRequest(DATASET, 2024, here, access))
        one = point_years(DATASET, LON, LAT, access, [2023, 2024])
        assert one.valid_years == (2024,)
        assert one.changes() == ()

        both = point_years(DATASET, LON, LAT, access, [2023, 2024], fetch=True)
    assert both.valid_years == (2023, 2024)
    wanted = np.array([truth(archive, year) for year in (2023, 2024)])
    assert both.embeddings == pytest.approx(wanted, abs=1e-5)
    assert both.cosine == pytest.approx(cosine_similarity(wanted), abs=1e-5)
    ((first, second, cosine),) = both.changes()
    assert (first, second) == (2023, 2024)
    assert cosine == pytest.approx(both.cosine[0, 1])

    # the server is gone: what is in the cache is enough
    again = point_years(DATASET, LON, LAT, access, [2024, 2023])
    assert np.array_equal(again.embeddings, both.embeddings[::-1])


def test_a_year_that_fails_is_named_and_stops_no_other(archive, tmp_path):
    with RangeServer(archive) as server:
        access = Access(str(tmp_path), server.url, network=NETWORK, form="npy")
        point_years(DATASET, LON, LAT, access, [2024], fetch=True)
        found = point_years(DATASET, LON, LAT, access, [2022, 2024], fetch=True)
    assert found.valid_years == (2024,)
    assert found.years[0].state in (State.UNKNOWN, State.OUTSIDE)


def test_refusals_and_cancel(tmp_path):
    access = Access(str(tmp_path), "http://127.0.0.1:9", network=NETWORK, form="npy")
    with pytest.raises(ExtentInvalid):
        point_years(DATASET, 0.0, 89.0, access)
    with pytest.raises(UnknownYear):
        point_years(DATASET, LON, LAT, access, [1999])

    def stop(fraction, message=""):
        raise Cancelled

    with pytest.raises(Cancelled):
        point_years(DATASET, LON, LAT, access, report=stop)
