# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Check the archive's layout with the official client: does geotessera read from it what is in it?

    python -m tests.archive.check_geotessera --client-python PATH

This process serves the sample archive and works out what should come; the client runs in a Python
of its own (3.12 or later, with geotessera; geotessera_client.py) and compares bit for bit. `tools/check_with_geotessera.sh` prepares that Python.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List

import numpy as np

from tests.archive.layout import Tile
from tests.archive.sample import SampleArchive
from tests.servers import RangeServer

CLIENT = Path(__file__).with_name("geotessera_client.py")

TILES = (
    ("1.1", "cambridge", "v1.1-cam", 2024, "grid_0.15_52.15"),
    ("1.1", "cambridge", "v1.1-cam", 2023, "grid_-0.15_52.25"),
    ("1.0", "vultr", "v1", 2024, "grid_32.55_-0.05"),
)


def serve_and_check(client_python: str) -> int:
    """Run the client against a server of this process; return its exit status."""
    archive = SampleArchive()
    with tempfile.TemporaryDirectory() as folder, RangeServer(archive) as server:
        write_expectation(archive, Path(folder))
        command = [client_python, str(CLIENT.resolve()), server.url, folder]
        status = subprocess.run(command, check=False, cwd=folder).returncode
        agents = {entry.headers.get("user-agent", "") for entry in server.log}
        refused = [f"{e.method} {e.path} {e.status}" for e in server.log if e.status >= 400]
    print(f"{len(server.log)} requests by {', '.join(sorted(agents))}, {len(refused)} refused")
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


def main() -> int:
    """Read the arguments and check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--client-python", required=True, help="a Python that has geotessera")
    return serve_and_check(parser.parse_args().client_python)


if __name__ == "__main__":
    sys.exit(main())
