# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the cache has something of a place."""

from dataclasses import replace

import pytest

from tessera_plugin.engine.cached_here import CachedHereRequest, cached_here
from tessera_plugin.errors import ExtentTooLarge
from tessera_plugin.values import Extent
from tests.qgis import fetched_place
from tests.qgis.fetched_place import DATASET, FETCHED, SEEN, YEAR


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with fetched_place.fetched(tmp_path_factory.mktemp("cache")) as access:
        yield access


def test_only_where_and_what_was_fetched(place):
    request = CachedHereRequest(DATASET, YEAR, Extent(*SEEN), place)
    assert cached_here(request)
    west, south, east, north = FETCHED
    assert cached_here(replace(request, extent=Extent(west - 0.5, south - 0.2, east, north)))
    assert not cached_here(replace(request, extent=Extent(east + 0.02, south, east + 0.1, north)))
    assert not cached_here(replace(request, year=YEAR - 1))
    assert not cached_here(
        replace(request, access=replace(place, archive=f"{place.archive}/other"))
    )


def test_an_extent_that_is_too_large_is_refused(place):
    request = CachedHereRequest(DATASET, YEAR, Extent(-20, 30, 20, 60), place)
    with pytest.raises(ExtentTooLarge):
        cached_here(request)
