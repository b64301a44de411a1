# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How often each pixel of a person's own scene was seen without clouds, as a raster."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..io import files, rasters
from ..io.rasters import Layout, RasterWriter
from ..io.sources.local_store import LocalStore
from ..progress import Report, part, silent
from ..values import Access, Dataset, Window
from .embeddings import provenance_tags

BANDS = ("Sentinel-2", "Sentinel-1 ascending", "Sentinel-1 descending")


@dataclass(frozen=True)
class ObservationsRequest:
    """Of which scene, and where to write them."""

    dataset: Dataset
    """A local one."""
    year: int
    window: Window
    access: Access
    out: str
    """A `.tif`; one that is there is replaced."""


def write_observations(request: ObservationsRequest, report: Report = silent) -> str:
    """Write the numbers of valid observations, uint16, one band per sensor and orbit direction.

    0 is no nodata: there was none. All are counted, whatever `Access.min_observations` says.
    Raises: LocationUnusable, DiskFull, NotWritable, Cancelled.
    """
    final = Path(request.out).absolute()
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise files.write_error(final.parent, error) from error
    source = LocalStore(replace(request.access, min_observations=0), request.dataset, request.year)
    layout = Layout(np.dtype(np.uint16), len(BANDS))
    with contextlib.ExitStack() as undo:
        folder = files.staging_folder(final)
        undo.callback(files.remove_folder, folder)
        staged, window = folder / final.name, request.window
        with RasterWriter(staged, window, layout, provenance_tags(source)) as writer:
            writer.describe(BANDS)
            for tile in rasters.tiles(window):
                report(0.8 * (tile.row - window.row) / window.height, "")
                writer.write(tile, np.moveaxis(source.counts(tile), -1, 0).copy())
            writer.finish(report=part(report, 0.8, 1.0))
        return str(files.publish_all([(staged, final)])[0])
