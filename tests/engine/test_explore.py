# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal
from sklearn.decomposition import PCA

from tessera_plugin.engine import embeddings, explore
from tessera_plugin.engine.grid import windows_of
from tessera_plugin.errors import ExtentTooLarge, NoValidEmbeddings
from tessera_plugin.progress import Cancelled
from tessera_plugin.values import Access, Extent, Window
from tests.archive.sample import SampleArchive
from tests.memory_source import MemorySource, longitudes
from tests.servers import RangeServer

WINDOW = Window(30, -580_123, 70_017, 300, 420)
SMALL = Window(30, -580_123, 70_017, 100, 120)  # all its pixels are in the sample
BIG = Window(30, -580_123, 70_017, 500, 700)
SEAM = Extent(-0.02, 52.0, 0.03, 52.02)


def valid_embeddings(source, window):
    codes, scales = source.read(window)
    valid = np.isfinite(scales)
    return codes[valid] * scales[valid][:, None], valid


def test_components_are_those_of_scikit_learn():
    source = MemorySource()
    x, _ = valid_embeddings(source, SMALL)
    basis = explore.find_basis(source, [SMALL])

    oracle = PCA(3, svd_solver="full").fit(x.astype(float))
    for ours, theirs in zip(basis.components.T, oracle.components_):
        assert abs(ours @ theirs) == pytest.approx(1, abs=1e-5)
        assert ours[np.abs(ours).argmax()] > 0
    signs = np.sign((basis.components * oracle.components_.T).sum(axis=0))
    scores = oracle.transform(x) * signs
    assert basis.low == pytest.approx(np.percentile(scores, 2, axis=0), abs=1e-3)
    assert basis.high == pytest.approx(np.percentile(scores, 98, axis=0), abs=1e-3)


def test_picture_is_the_stretched_components_everywhere(tmp_path):
    source = MemorySource()
    (path,) = explore.preview_from(source, [WINDOW], str(tmp_path / "rgb.tif")).paths
    basis = explore.find_basis(source, [WINDOW])
    x, valid = valid_embeddings(source, WINDOW)

    pixels = gdal.Open(path).ReadAsArray()
    share = ((x - basis.mean) @ basis.components - basis.low) / (basis.high - basis.low)
    expected = 255 * np.clip(share, 0, 1)
    assert np.abs(pixels[:3, valid].T - expected).max() <= 0.51
    assert (pixels[3] == np.where(valid, 255, 0)).all()
    assert (pixels[:3, ~valid] == 0).all()
    assert 10 < (pixels[:3, valid] == 255).mean(axis=1).max() * 1000 < 40  # 2 % are cut off


def test_all_blocks_share_one_stretch(tmp_path):
    """A block looks the same whether its neighbours are drawn in the same strip or not."""
    source = MemorySource()
    basis = explore.find_basis(source, [WINDOW])
    codes, scales = source.read(SMALL)
    valid = np.isfinite(scales)
    (path,) = explore.preview_from(source, [WINDOW], str(tmp_path / "rgb.tif")).paths
    there = gdal.Open(path).ReadAsArray()[:3, :100, :120][:, valid]
    assert np.array_equal(there, explore.colors(basis, codes[valid], scales[valid]).T)


class Places(MemorySource):
    """The codes of every pixel say where it is, from the corner of BIG."""

    def read(self, window):
        codes, scales = super().read(window)
        rows, cols = np.indices(window.shape)
        rows, cols = rows + window.row - BIG.row, cols + window.col - BIG.col
        codes[..., :4] = np.stack([rows // 100, rows % 100, cols // 100, cols % 100], axis=-1)
        codes[np.isnan(scales)] = 0
        return codes, scales


def test_sample_is_bounded_and_every_pixel_as_likely():
    codes, scales = explore.sample(Places(), [BIG], lambda *_: None, 0)
    assert codes.shape == (explore.SAMPLE_PX, 128)
    assert np.isfinite(scales).all()
    rows, cols = (100 * codes[:, i].astype(int) + codes[:, i + 1] for i in (0, 2))
    assert len(set(zip(rows, cols))) == explore.SAMPLE_PX
    # five standard deviations
    assert np.histogram(rows, 5, (0, 500))[0] == pytest.approx(4000, abs=300)
    assert np.histogram(cols, 7, (0, 700))[0] == pytest.approx(20_000 / 7, abs=280)


def test_sample_is_seeded():
    source = MemorySource()
    first, again, other = (explore.find_basis(source, [BIG], seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.components, again.components)
    assert np.array_equal(first.low, again.low)
    assert not np.array_equal(first.low, other.low)


def test_blocks_are_sampled_where_there_are_very_many(monkeypatch):
    monkeypatch.setattr(explore, "SAMPLE_BLOCKS", 5)
    source = MemorySource()
    codes, _ = explore.sample(source, [BIG], lambda *_: None, 0)
    assert 0 < len(codes) <= 5 * 128 * 128


def test_seam_gives_a_clipped_picture_per_zone(tmp_path):
    source = MemorySource()
    result = explore.preview_from(source, windows_of(SEAM), str(tmp_path / "rgb.tif"))
    assert [Path(path).name for path in result.paths] == ["rgb_utm30.tif", "rgb_utm31.tif"]
    for path, window in zip(result.paths, windows_of(SEAM)):
        lon = longitudes(window)
        own = (lon < 0) if window.zone == 30 else (lon >= 0)
        expected = own & np.isfinite(source.read(window)[1])
        assert np.array_equal(gdal.Open(path).ReadAsArray()[3], np.where(expected, 255, 0))
        assert 0 < own.sum() < own.size


def test_one_colour_where_all_is_alike():
    codes = np.full((50, 128), 127, np.int8)
    scales = np.full(50, 0.01, np.float32)
    basis = explore.basis_of(codes * scales[:, None])
    colors = explore.colors(basis, codes, scales)
    assert len(np.unique(colors, axis=0)) == 1


def test_nothing_valid_is_an_error_and_no_file(tmp_path):
    with pytest.raises(NoValidEmbeddings):
        explore.preview_from(MemorySource(water=[WINDOW]), [WINDOW], str(tmp_path / "rgb.tif"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("at", [0.0, 0.1, 0.5, 0.95])
def test_cancel_leaves_nothing(tmp_path, at):
    def cancel(fraction, message=""):
        if fraction >= at:
            raise Cancelled

    with pytest.raises(Cancelled):
        explore.preview_from(MemorySource(), [WINDOW], str(tmp_path / "rgb.tif"), cancel)
    assert not list(tmp_path.iterdir())


def test_memory_is_bounded_by_strips(tmp_path):
    source = MemorySource()
    wide = Window(30, -580_123, 60_017, 140, 2500)
    explore.preview_from(source, [wide], str(tmp_path / "rgb.tif"))
    assert source.largest_read_px <= 128 * 2048


def test_from_the_cache_alone(tmp_path):
    extent = Extent(0.101, 52.18, 0.115, 52.184)
    with RangeServer(SampleArchive()) as server:
        access = Access(str(tmp_path / "cache"), server.url)
        fetched = embeddings.fetch(embeddings.FetchRequest("1.1-cambridge", 2024, extent, access))
    out = str(tmp_path / "rgb.tif")
    result = explore.preview(explore.PreviewRequest("1.1-cambridge", 2024, extent, access, out))
    assert result.paths == (out,)
    alpha = gdal.Open(out).ReadAsArray()[3]
    assert (alpha == 255).sum() == fetched.summary.valid_px > 1000
    with pytest.raises(ExtentTooLarge):
        explore.preview(
            explore.PreviewRequest("1.1-cambridge", 2024, extent, access, out, limit_px=10)
        )
