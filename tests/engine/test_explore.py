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


def test_sample_is_seeded_bounded_and_even():
    source = MemorySource()
    big = Window(30, -580_123, 70_017, 500, 700)
    first, again, other = (explore.find_basis(source, [big], seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.components, again.components)
    assert np.array_equal(first.low, again.low)
    assert not np.array_equal(first.low, other.low)
    codes, scales = explore._sample(source, [big], lambda *_: None, 0)
    assert codes.shape == (explore.SAMPLE_PX, 128)
    assert np.isfinite(scales).all()
    # every pixel is as likely as any other: halves of the window have halves of the sample
    x, valid = valid_embeddings(source, big)
    known = {row.tobytes(): place for row, place in zip(x.astype("f4"), np.argwhere(valid)[:, 0])}
    rows = [known[row.tobytes()] for row in (codes * scales[:, None]).astype("f4")]
    assert len(set(map(bytes, codes))) > 0.99 * len(codes)
    assert np.mean(np.array(rows) < 250) == pytest.approx(0.5, abs=0.02)


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


@pytest.mark.parametrize("at", [0.0, 0.1, 0.5, 0.99])
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
