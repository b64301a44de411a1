# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Embeddings of an extent as a file for other programs: `.npz` as they are, `.tif` as floats."""

from __future__ import annotations

import contextlib
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Iterator, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..io import files, rasters
from ..io.sources.base import EmbeddingSource
from ..io.sources.local_store import LocalStore
from ..progress import Report, part, silent
from ..values import BLOCK_PX, Access, Window
from .embeddings import FetchResult, dequantise, open_source, provenance_tags
from .zones import zone_paths

_PIECE_BYTES = 64 << 20
"""The most that is held at once of a `.npz`; a row of blocks 4000 pixels wide."""


def export(
    result: FetchResult, access: Access, out: str, report: Report = silent
) -> Tuple[str, ...]:
    """Write what was fetched to `out`; over a zone seam to `FILE_utm30.npz` and so on.

    `.npz`: `codes` int8 (H, W, D), `scales` float32 (H, W), `epsg`, `transform` (six numbers, GDAL
    order), `dataset`, `year`, `form` (`zarr`, `npy` or `local`), of local datasets also `space`,
    `encoder` and `precision`; invalid pixels have codes 0 and scale NaN.
    `.tif`: float32 bands, NaN = nodata. Both in EPSG:326zz, or 327zz where the window is wholly south.
    Raises: DiskFull, NotWritable; ValueError for another suffix.
    """
    kept = replace(access, offline=True, form=result.form)
    with contextlib.closing(open_source(result.dataset, result.year, kept, result.depth)) as source:
        return export_from(source, result.windows, out, report)


def export_from(
    source: EmbeddingSource, windows: Sequence[Window], out: str, report: Report = silent
) -> Tuple[str, ...]:
    """Do `export` with a source that is open."""
    final = Path(out).absolute()
    writers = {".npz": _write_npz, ".tif": _write_tif, ".tiff": _write_tif}
    if final.suffix.lower() not in writers:
        raise ValueError(f"{out} must end in .npz or .tif")
    write = writers[final.suffix.lower()]
    with contextlib.ExitStack() as undo:
        folder = files.staging_folder(final)
        undo.callback(files.remove_folder, folder)
        staged = zone_paths(folder / final.name, windows)
        for index, (window, path) in enumerate(zip(windows, staged)):
            share = part(report, index / len(windows), (index + 1) / len(windows))
            write(source, window, path, share)
        pairs = [(path, final.with_name(path.name)) for path in staged]
        return tuple(str(path) for path in files.publish_all(pairs))


def _write_npz(source: EmbeddingSource, window: Window, path: Path, report: Report) -> None:
    """Write a `.npz` member by member; the region is never held as a whole."""
    bytes_needed = window.pixels * (source.depth + 2 * np.dtype(np.float32).itemsize)
    files.check_space(path, bytes_needed)
    try:
        with zipfile.ZipFile(path, "x", zipfile.ZIP_STORED) as archive:
            _write_pixels(source, window, archive, path.with_suffix(".scales"), report)
            for name, value in _facts(source, window).items():
                with _member(archive, name, value.shape, value.dtype) as stream:
                    stream.write(value.tobytes())
    except OSError as error:
        raise files.write_error(path, error, bytes_needed) from error


def _write_pixels(
    source: EmbeddingSource,
    window: Window,
    archive: zipfile.ZipFile,
    spill: Path,
    report: Report,
) -> None:
    """Write codes, then scales; a zip takes one member at a time, so scales wait in a file."""
    with spill.open("x+b") as scales_file:
        with _member(archive, "codes", (*window.shape, source.depth), np.dtype(np.int8)) as stream:
            for piece in _row_pieces(window, source.depth):
                report((piece.row - window.row) / window.height, "export")
                codes, scales = source.read(piece)
                stream.write(codes.tobytes())
                scales_file.write(scales.tobytes())
        scales_file.seek(0)
        with _member(archive, "scales", window.shape, np.dtype(np.float32)) as stream:
            shutil.copyfileobj(scales_file, stream, 1 << 20)
    spill.unlink()


def _facts(source: EmbeddingSource, window: Window) -> Dict[str, NDArray[Any]]:
    facts = {
        "epsg": np.array(window.epsg),
        "transform": np.array(window.transform),
        "dataset": np.array(source.dataset.key),
        "year": np.array(source.year),
        "form": np.array(source.form),
    }
    if isinstance(source, LocalStore):
        for tag, value in source.provenance().items():
            facts[tag[len("TESSERA_") :].lower()] = np.array(value)
    return facts


def _row_pieces(window: Window, depth: int) -> Iterator[Window]:
    """Yield parts as wide as the window, of whole rows of blocks where that is not too much."""
    most = max(1, min(BLOCK_PX, _PIECE_BYTES // (window.width * depth)))
    row = window.row
    while row < window.stop_row:
        stop = min(row + most, (row // BLOCK_PX + 1) * BLOCK_PX, window.stop_row)
        yield Window.between(window.zone, row, window.col, stop, window.stop_col)
        row = stop


@contextlib.contextmanager
def _member(
    archive: zipfile.ZipFile, name: str, shape: Tuple[int, ...], dtype: np.dtype[Any]
) -> Iterator[Any]:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
        header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)  # type: ignore[no-untyped-call]
        yield stream


def _write_tif(source: EmbeddingSource, window: Window, path: Path, report: Report) -> None:
    tags = provenance_tags(source)
    done_px = 0
    with rasters.embeddings(path, window, source.depth, tags) as writer:
        for tile in rasters.tiles(window):
            report(0.8 * done_px / window.pixels, "export")
            codes, scales = source.read(tile)
            bands = np.ascontiguousarray(np.moveaxis(dequantise(codes, scales), 2, 0))
            writer.write(tile, bands)
            done_px += tile.pixels
        writer.finish(report=part(report, 0.8, 1.0))
