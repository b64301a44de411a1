# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Check the engine against the official client: the same windows, dequantised, bit for bit.

    python -m tests.archive.check_windows --client-python PATH

This process serves the sample archive, lets the client write a store of its own, and reads windows
of both with the engine; the client (window_client.py) reads the same ones in a Python of its own. The
windows lie on a zone seam, on both sides of the equator, over corners of shards, water, nodata and
corrupt scales. `tools/check_with_zarr.sh` prepares the Python.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List

import numpy as np

from tessera_plugin.engine import catalog, embeddings, locations
from tessera_plugin.values import Access, Window
from tests.archive.layout import Tile, footprint
from tests.archive.sample import SampleArchive
from tests.archive.zarr_stores import AREAS
from tests.servers import RangeServer

CLIENT = Path(__file__).with_name("window_client.py")

MARGIN_PX = 37
YEAR = 2024
DEPTHS = (4, 16, 128)
READ = (("1.1-dclimate", 128), ("1.1-cambridge", 128), ("2.0-2B-L~beta1", 16))
TILES = tuple(
    Tile(*centre)
    for centre in ((15, 5225), (5, 5205), (25, 5215), (-5, 5205), (3255, 5), (3255, -5))
)
"""Of the store that the client writes: they decide where its arrays begin."""

NAMES = ("inland", "seam, west", "seam, east", "zero codes", "corrupt", "gap", "equator")


def windows(archive: SampleArchive) -> Dict[str, Window]:
    """Return the sample's areas, with a margin where nothing was written, by what they show."""
    found: Dict[str, Window] = {}
    for name, area in zip(NAMES, AREAS):
        row, col, height, width = archive.zarr.rectangle(area)
        height, width = min(height, 400), min(width, 400)
        found[name] = Window(
            area.zone, row - MARGIN_PX, col - MARGIN_PX, height + 2 * MARGIN_PX,
            width + 2 * MARGIN_PX,
        )  # fmt: skip
    return found


def check(client_python: str) -> int:
    """Read with the engine, let the client read and compare; return its exit status."""
    archive = SampleArchive()
    with tempfile.TemporaryDirectory() as name, RangeServer(archive) as server:
        folder = Path(name)
        told = []
        for key, depth in READ:
            dataset = catalog.dataset(key)
            location = f"{server.url}/zarr/{dataset.zarr_dir}"
            access = Access(str(folder / "cache"), server.url, form="zarr")
            for title, window in windows(archive).items():
                told.append(read(folder, access, key, depth, window, f"{key}, {title}", location))
        told += official(archive, folder, client_python)
        (folder / "windows.json").write_text(json.dumps(told), encoding="utf-8")
        return run(client_python, "compare", folder)


def official(archive: SampleArchive, folder: Path, client_python: str) -> List[Dict[str, Any]]:
    """Let the client write a store of the sample's pixels, and read it with the engine."""
    chosen = {title: on_the_grid(window) for title, window in windows(archive).items()}
    written = []
    for number, window in enumerate(chosen.values()):
        place = (window.zone, window.row, window.col, *window.shape)
        codes, scales = archive.zarr_window("v2-2B-L~beta1", YEAR, *place)
        np.save(folder / f"write{number}_codes.npy", codes)
        np.save(folder / f"write{number}_scales.npy", scales)
        written.append({**facts(window), "time": 1, "path": f"write{number}"})
    wanted = {
        "tiles": [(t.lon_i / 100, t.lat_i / 100) for t in TILES],
        "years": [2023, YEAR],
        "depths": [4, 16],
        "windows": written,
    }
    (folder / "write.json").write_text(json.dumps(wanted), encoding="utf-8")
    if run(client_python, "write", folder):
        raise RuntimeError("the client could not write its store")
    location = str(folder / "official.zarr")
    access = Access(str(folder / "cache"))
    found = locations.look(location, access)
    if not isinstance(found, locations.StoreFound) or found.dataset.depths != DEPTHS:
        raise RuntimeError(f"the store was not understood: {found}")
    own = Access(str(folder / "cache"), stores=(found.dataset,))
    return [
        read(folder, own, found.dataset.key, depth, window, f"official store, {title}", location)
        for depth in DEPTHS
        for title, window in chosen.items()
    ]


def on_the_grid(window: Window) -> Window:
    """Return the part of a window in the arrays that the client makes for TILES."""
    places = [place for place in map(footprint, TILES) if place.zone == window.zone]
    top, left = min(one.row for one in places), min(one.col for one in places)
    row, col = max(window.row, top), max(window.col, left)
    return Window.between(window.zone, row, col, window.stop_row, window.stop_col)


def read(
    folder: Path, access: Access, key: str, depth: int, window: Window, title: str, location: str
) -> Dict[str, Any]:
    """Keep a window as the engine gives it, and say where it is."""
    source = embeddings.open_source(key, YEAR, access, depth)
    with contextlib.closing(source):
        summary = source.fetch([window], lambda *_: None)
        if summary.failed:
            raise RuntimeError(f"{title}: {summary.failed}")
        values = embeddings.dequantise(*source.read(window))
    path = f"ours_{abs(hash((key, depth, window)))}"
    np.save(folder / f"{path}.npy", values)
    return {**facts(window), "year": YEAR, "depth": depth, "path": path, "location": location,
            "title": f"{title} at depth {depth}"}  # fmt: skip


def facts(window: Window) -> Dict[str, Any]:
    """Return a window as JSON values."""
    return {"zone": window.zone, "row": window.row, "col": window.col, "height": window.height,
            "width": window.width}  # fmt: skip


def run(client_python: str, what: str, folder: Path) -> int:
    """Run the client; return its exit status."""
    command = [client_python, str(CLIENT.resolve()), what, str(folder)]
    return subprocess.run(command, check=False, cwd=folder).returncode


def main() -> int:
    """Read the arguments and check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--client-python", required=True, help="a Python that has geotessera")
    return check(parser.parse_args().client_python)


if __name__ == "__main__":
    sys.exit(main())
