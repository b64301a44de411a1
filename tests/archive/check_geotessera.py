# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Check the archive's layout with the official client: does geotessera read from it what is in it?

    python -m tests.archive.check_geotessera --client-python PATH

This process serves the sample archive and works out what should come; the client runs in a Python
of its own (3.12 or later, with geotessera; geotessera_client.py) and compares bit for bit. `tools/check_with_geotessera.sh` prepares that Python.
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

from tessera_plugin.engine import embeddings
from tessera_plugin.values import Access, Window
from tests.archive.layout import Tile, pixel_of
from tests.archive.sample import SampleArchive
from tests.servers import RangeServer

CLIENT = Path(__file__).with_name("geotessera_client.py")

OURS = "tessera-qgis"
"""How the engine calls itself; it asks for neighbours that are not there."""

TILES = (
    ("1.1", "cambridge", "v1.1-cam", 2024, "grid_0.15_52.15"),
    ("1.1", "cambridge", "v1.1-cam", 2023, "grid_-0.15_52.25"),
    ("1.0", "vultr", "v1", 2024, "grid_32.55_-0.05"),
    ("1.1", "cambridge", "v1.1-cam", 2024, "grid_0.25_52.15"),
)

SPOTS = ((0.175, 52.125), (-0.180, 52.2325), (32.56, -0.0095), (0.230, 52.150))
"""Middle of what the engine reads of each: a lake, what was never written, the south with water,
corrupt scales."""

SPOT_PX = (180, 260)


def serve_and_check(client_python: str) -> int:
    """Run the client against a server of this process; return its exit status."""
    archive = SampleArchive()
    with tempfile.TemporaryDirectory() as folder, RangeServer(archive) as server:
        write_expectation(archive, Path(folder))
        write_ours(archive, server.url, Path(folder))
        command = [client_python, str(CLIENT.resolve()), server.url, folder]
        status = subprocess.run(command, check=False, cwd=folder).returncode
        theirs = [e for e in server.log if not e.headers.get("user-agent", "").startswith(OURS)]
        agents = {entry.headers.get("user-agent", "") for entry in theirs}
        refused = [f"{e.method} {e.path} {e.status}" for e in theirs if e.status >= 400]
    print(f"{len(theirs)} requests by {', '.join(sorted(agents))}, {len(refused)} refused")
    print("\n".join(refused), end="\n" if refused else "")
    return status or int(bool(refused))


def write_expectation(archive: SampleArchive, folder: Path) -> None:
    """Write the arrays of the tiles, and a list of all tiles with their footprints."""
    places: Dict[str, List[Any]] = {}
    for dataset in archive.datasets.values():
        for name in archive.tile_names(dataset.npy_dir):
            place, tile = archive.footprint(name), Tile.parse(name)
            places[name] = [tile.lon_i, tile.lat_i, tile.epsg, place.height, place.width]
            places[name] += place.origin
    (folder / "tiles.json").write_text(json.dumps(TILES), encoding="utf-8")
    (folder / "places.json").write_text(json.dumps(places), encoding="utf-8")
    for _, _, npy_dir, year, name in TILES:
        codes, scales = archive.tile_arrays(npy_dir, year, name)
        np.save(folder / f"{npy_dir}_{year}_{name}_codes.npy", codes)
        np.save(folder / f"{npy_dir}_{year}_{name}_scales.npy", scales)


def write_ours(archive: SampleArchive, url: str, folder: Path) -> None:
    """Write windows as the engine gives them, dequantised, and where in its tile each lies."""
    told = {}
    for (version, variant, _, year, name), (lon, lat) in zip(TILES, SPOTS):
        place = archive.footprint(name)
        row, col = pixel_of(place.zone, lon, lat)
        height, width = SPOT_PX
        window = Window(place.zone, row - height // 2, col - width // 2, height, width)
        key = f"{version}-{variant}"
        access = Access(str(folder / "cache"), url, form="npy")
        with contextlib.closing(embeddings.open_source(key, year, access)) as source:
            failed = source.fetch([window], lambda *_: None).failed
            if failed:
                raise RuntimeError(f"{name}: {failed}")
            np.save(folder / f"ours_{key}_{name}.npy", embeddings.dequantise(*source.read(window)))
        told[f"{key}_{name}"] = [window.row - place.row, window.col - place.col]
    (folder / "ours.json").write_text(json.dumps(told), encoding="utf-8")


def main() -> int:
    """Read the arguments and check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--client-python", required=True, help="a Python that has geotessera")
    return serve_and_check(parser.parse_args().client_python)


if __name__ == "__main__":
    sys.exit(main())
