# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
import zipfile
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal

from tessera_plugin.engine import embeddings, export
from tessera_plugin.engine.grid import windows_of
from tessera_plugin.errors import DiskFull, NotWritable
from tessera_plugin.io import files
from tessera_plugin.io.tiling import Tile
from tessera_plugin.progress import Cancelled
from tessera_plugin.values import Access, Extent, Window
from tests.archive.sample import SampleArchive
from tests.memory_source import MemorySource
from tests.servers import RangeServer

WINDOW = Window(30, -580_123, 70_017, 300, 420)
SEAM = Extent(-0.008, 52.18, 0.010, 52.184)
SOUTH = Window(30, 100_123, 70_017, 30, 40)


def test_npz_is_what_was_read(tmp_path):
    source = MemorySource()
    names = export.export_from(source, [WINDOW], str(tmp_path / "e.npz"))

    assert names == (str(tmp_path / "e.npz"),)
    codes, scales = source.read(WINDOW)
    with np.load(tmp_path / "e.npz", allow_pickle=False) as archive:
        assert sorted(archive.files) == [
            "codes",
            "dataset",
            "epsg",
            "form",
            "scales",
            "transform",
            "year",
        ]
        assert archive["codes"].dtype == np.int8
        assert archive["codes"].flags["C_CONTIGUOUS"]
        assert np.array_equal(archive["codes"], codes)
        assert archive["scales"].dtype == np.float32
        assert archive["scales"].tobytes() == scales.tobytes()
        assert archive["epsg"] == 32630
        assert archive["transform"].tolist() == [700_170, 10, 0, 5_801_230, 0, -10]
        assert (str(archive["dataset"]), str(archive["form"])) == ("1.1-dclimate", "zarr")
        assert archive["year"] == 2024
    assert [path.name for path in tmp_path.iterdir()] == ["e.npz"]


def test_invalid_pixels_of_a_npz(tmp_path):
    export.export_from(MemorySource(), [WINDOW], str(tmp_path / "e.npz"))
    with np.load(tmp_path / "e.npz") as archive:
        invalid = np.isnan(archive["scales"])
        assert 0.02 < invalid.mean() < 0.1
        assert not archive["codes"][invalid].any()


def test_npz_members_are_not_compressed(tmp_path):
    """Others may map them into memory."""
    export.export_from(MemorySource(), [SOUTH], str(tmp_path / "e.npz"))
    with zipfile.ZipFile(tmp_path / "e.npz") as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.testzip() is None


def test_npz_in_small_pieces(tmp_path, monkeypatch):
    source = MemorySource()
    codes, scales = source.read(WINDOW)
    source.largest_read_px = 0
    monkeypatch.setattr(export, "_PIECE_BYTES", 7 * 420 * 128 + 1)
    export.export_from(source, [WINDOW], str(tmp_path / "e.npz"))
    assert source.largest_read_px == 7 * 420
    with np.load(tmp_path / "e.npz") as archive:
        assert np.array_equal(archive["codes"], codes)
        assert archive["scales"].tobytes() == scales.tobytes()


def test_pieces_are_bounded_however_wide_the_window():
    wide = Window(30, -580_123, 20_017, 300, 60_000)
    pieces = list(export._row_pieces(wide, 128))
    assert max(piece.pixels for piece in pieces) * 128 <= 64 << 20
    assert sum(piece.pixels for piece in pieces) == wide.pixels
    assert [piece.row for piece in pieces[1:]] == [piece.stop_row for piece in pieces[:-1]]


def test_tif_is_floats_with_nan(tmp_path):
    source = MemorySource()
    (name,) = export.export_from(source, [WINDOW], str(tmp_path / "e.tif"))

    codes, scales = source.read(WINDOW)
    dataset = gdal.Open(name)
    values = dataset.ReadAsArray()
    assert values.dtype == np.float32
    assert np.array_equal(values, np.moveaxis(codes * scales[..., None], 2, 0), equal_nan=True)
    assert (np.isnan(values) == np.isnan(scales)).all()
    assert dataset.GetSpatialRef().GetAuthorityCode(None) == "32630"
    assert dataset.GetGeoTransform() == (700_170, 10, 0, 5_801_230, 0, -10)
    assert dataset.GetMetadataItem("TESSERA_DATASET_VERSION") == "1.1"
    assert dataset.GetMetadataItem("TESSERA_DATASET_VARIANT") == "dclimate"
    assert dataset.GetMetadataItem("TESSERA_DEPTH") == "128"
    assert dataset.GetMetadataItem("TESSERA_FORM") == "zarr"
    assert dataset.GetMetadataItem("TESSERA_YEAR") == "2024"
    assert np.isnan(dataset.GetRasterBand(128).GetNoDataValue())
    assert source.largest_read_px == WINDOW.pixels  # by this test, the export reads less


@pytest.mark.parametrize("suffix", [".npz", ".tif"])
def test_seam_gives_a_file_per_zone_that_is_not_clipped(tmp_path, suffix):
    source = MemorySource()
    windows = windows_of(Extent(-0.01, 52.0, 0.01, 52.01))
    names = export.export_from(source, windows, str(tmp_path / f"e{suffix}"))
    assert [Path(name).name for name in names] == [f"e_utm30{suffix}", f"e_utm31{suffix}"]
    for name, window in zip(names, windows):
        if suffix == ".npz":
            with np.load(name) as archive:
                valid = np.isfinite(archive["scales"])
                assert archive["epsg"] == 32600 + window.zone
        else:
            valid = np.isfinite(gdal.Open(name).ReadAsArray()[0])
        assert np.array_equal(valid, np.isfinite(source.read(window)[1]))


def test_south(tmp_path):
    export.export_from(MemorySource(), [SOUTH], str(tmp_path / "e.npz"))
    with np.load(tmp_path / "e.npz") as archive:
        assert archive["epsg"] == 32730
        assert archive["transform"][3] == 10_000_000 - 1_001_230


@pytest.mark.parametrize("suffix", [".npz", ".tif"])
@pytest.mark.parametrize("at", [0.0, 0.3, 0.6])
def test_cancel_leaves_nothing(tmp_path, suffix, at):
    def cancel(fraction, message=""):
        if fraction >= at:
            raise Cancelled

    (tmp_path / f"e{suffix}").write_text("old")
    with pytest.raises(Cancelled):
        export.export_from(MemorySource(), [WINDOW], str(tmp_path / f"e{suffix}"), cancel)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_room_is_asked_for_first(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "free_bytes", lambda path: 1_000_000)
    with pytest.raises(DiskFull) as caught:
        export.export_from(MemorySource(), [WINDOW], str(tmp_path / "e.npz"))
    assert caught.value.needed_bytes >= WINDOW.pixels * 132
    assert not list(tmp_path.iterdir())


def test_folder_that_is_not_there(tmp_path):
    with pytest.raises(NotWritable, match="folder does not exist"):
        export.export_from(MemorySource(), [WINDOW], str(tmp_path / "none" / "e.npz"))


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\.npz or \.tif"):
        export.export_from(MemorySource(), [WINDOW], str(tmp_path / "e.zip"))


def test_from_the_archive_and_the_cache(tmp_path):
    with RangeServer(SampleArchive()) as server:
        access = Access(str(tmp_path / "cache"), server.url, form="npy")
        request = embeddings.FetchRequest("1.1-cambridge", 2024, SEAM, access)
        fetched = embeddings.fetch(request)
    names = export.export(fetched, access, str(tmp_path / "e.npz"))  # the server is gone
    for name, tile, window in zip(names, ("grid_-0.05_52.15", "grid_0.05_52.15"), fetched.windows):
        rows, cols = window.slices_in(Tile.parse(tile).footprint())
        codes, scales = SampleArchive().tile_arrays("v1.1-cam", 2024, tile, (rows.start, rows.stop))
        with np.load(name) as archive:
            assert np.array_equal(archive["codes"], codes[:, cols])
            assert archive["scales"].tobytes() == scales[:, cols].tobytes()
