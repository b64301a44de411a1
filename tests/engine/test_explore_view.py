# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Components of a view as colours: any three of them, any stretch, the same as in the file."""

import numpy as np
import pytest
from osgeo import gdal
from sklearn.decomposition import PCA

from tessera_plugin.engine import explore, explore_view
from tessera_plugin.engine.explore_view import ColorParams, Components, ExploreRequest
from tessera_plugin.errors import NoValidEmbeddings
from tessera_plugin.progress import Cancelled
from tessera_plugin.values import Access, Extent, Window
from tests.memory_source import MemorySource

WINDOW = Window(30, -580_090, 70_020, 100, 110)
"""In one block."""
REQUEST = ExploreRequest("1.1-dclimate", 2024, Extent(0, 0, 1, 1), Access("/nowhere"))


def view_of(source=None, request=REQUEST, components=None, window=WINDOW):
    source = source or MemorySource()
    return explore_view.explore_view_from(source, [window], request, components=components)


def embeddings_of(window):
    codes, scales = MemorySource().read(window)
    valid = np.isfinite(scales)
    return codes[valid] * scales[valid][:, None], valid


def shown_of(view):
    """Return the window that a view's part shows."""
    (part,) = view.parts
    rows, cols = part.valid.shape
    size = part.cell_px
    return Window(part.zone, part.row, part.col, rows * size, cols * size)


def test_scores_are_those_of_scikit_learn():
    view = view_of()
    window = shown_of(view)
    assert window.intersection(WINDOW) == WINDOW
    x, valid = embeddings_of(window)
    assert np.array_equal(view.parts[0].valid, valid)
    components = view.components
    oracle = PCA(6, svd_solver="full").fit(x.astype(float))
    seen = (components.vectors * oracle.components_.T).sum(axis=0)
    assert np.abs(seen[:3]) == pytest.approx(1, abs=1e-4)
    assert components.shares == pytest.approx(oracle.explained_variance_ratio_, rel=1e-3)
    wanted = (x - components.mean) @ components.vectors
    assert view.parts[0].scores[valid] == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize(
    "params",
    [ColorParams(), ColorParams(2, 0, 4, 0.0, 100.0), ColorParams(1, 1, 5, 10.0, 80.0, gamma=2.2)],
)
def test_colours_are_the_stretched_components(params):
    view = view_of()
    x, valid = embeddings_of(shown_of(view))
    (picture,) = view.pictures(params)
    bands = list(params.bands)
    scores = (x - view.components.mean) @ view.components.vectors[:, bands]
    low, high = np.percentile(
        view.components.sample[:, bands], [params.low_percent, params.high_percent], axis=0
    )
    wanted = 255 * np.clip((scores - low) / (high - low), 0, 1) ** (1 / params.gamma)
    assert np.abs(picture.rgba[valid, :3] - wanted).max() <= 0.6
    assert (picture.rgba[..., 3] == np.where(valid, 255, 0)).all()


def test_what_is_saved_is_what_is_seen(tmp_path):
    view = view_of()
    params = ColorParams(1, 0, 3, 5.0, 90.0, gamma=1.5)
    (picture,) = view.pictures(params)
    window = shown_of(view)
    basis = view.components.basis(params)
    result = explore.preview_from(MemorySource(), [window], str(tmp_path / "rgb.tif"), basis=basis)
    saved = gdal.Open(result.paths[0]).ReadAsArray()
    difference = np.abs(saved.transpose(1, 2, 0).astype(int) - picture.rgba)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01  # one rounds the other way


def test_many_pixels_become_cells_and_colours_stay_while_the_map_moves():
    coarse = view_of(
        request=ExploreRequest("", 2024, REQUEST.extent, REQUEST.access, most_cells=1200)
    )
    (part,) = coarse.parts
    assert part.cell_px == 4
    window = shown_of(coarse)
    _, scales = MemorySource().read(window)
    assert np.array_equal(part.valid, np.isfinite(scales[2::4, 2::4]))
    again = view_of(components=coarse.components)
    x, valid = embeddings_of(shown_of(again))
    wanted = (x - coarse.components.mean) @ coarse.components.vectors
    assert again.parts[0].scores[valid] == pytest.approx(wanted, abs=1e-3)


def test_few_dimensions_have_fewer_components():
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    assert Components.of(x).vectors.shape == (4, 4)


def test_refusals_and_cancel():
    with pytest.raises(NoValidEmbeddings):
        view_of(MemorySource(missing=[Window(30, -580_200, 69_900, 400, 400)]))
    for wrong in ({"red": 6}, {"low_percent": 60.0, "high_percent": 40.0}, {"gamma": 0.0}):
        with pytest.raises(ValueError, match="component|stretch|gamma"):
            ColorParams(**wrong)

    def stop(fraction, message=""):
        raise Cancelled

    with pytest.raises(Cancelled):
        explore_view.explore_view_from(MemorySource(), [WINDOW], REQUEST, stop)
