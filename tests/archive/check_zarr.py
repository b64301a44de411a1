# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Check the sample's Zarr stores with the real zarr library: does it read what is said to be there?

    python -m tests.archive.check_zarr --client-python PATH [--client-python PATH …]

This process serves the stores and works out what should come; each client (zarr_client.py) runs in a
Python of its own that has zarr, and compares bit for bit. Where that Python has geotessera too, its
reader is asked as well, and the metadata are compared with what its builder writes.
`tools/check_with_zarr.sh` prepares the Pythons.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np

from tests.archive import zarr_shards
from tests.archive.layout import DEPTH
from tests.archive.sample import SampleArchive
from tests.archive.zarr_stores import AREAS
from tests.servers import RangeServer

CLIENT = Path(__file__).with_name("zarr_client.py")

MARGIN_PX = 40
SIDE, INNER = 16, 8


def serve_and_check(pythons: List[str]) -> int:
    """Run the clients against a server of this process; return 0 when all of them agree."""
    archive = SampleArchive()
    status = 0
    with tempfile.TemporaryDirectory() as folder:
        write_expectation(archive, Path(folder))
        write_shard(Path(folder))
        for python in pythons:
            with RangeServer(archive) as server:
                command = [python, str(CLIENT.resolve()), server.url, folder]
                environment = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
                done = subprocess.run(command, check=False, cwd=folder, env=environment)
                shards = server.requests("zarr/*/c/*")
                print(
                    f"{len(server.log)} requests, {len(shards)} for chunks, "
                    f"{server.bytes_sent / 1e6:.1f} MB\n"
                )
            status = status or done.returncode
    return status


def write_expectation(archive: SampleArchive, folder: Path) -> None:
    """Write all areas, with a margin, of all stores and years, and a list of them."""
    windows: List[Dict[str, Any]] = []
    for store in archive.zarr.stores.values():
        for year in store.times:
            for area in range(len(AREAS)):
                windows += _expect(archive, folder, store.name, year, area)
    (folder / "windows.json").write_text(json.dumps(windows), encoding="utf-8")


def _expect(
    archive: SampleArchive, folder: Path, name: str, year: int, area: int
) -> List[Dict[str, Any]]:
    """Write what an area holds, cut at the equator where hemispheres are apart."""
    store, zone = archive.zarr.stores[name], AREAS[area].zone
    row, col, height, width = archive.zarr.rectangle(AREAS[area])
    row, col, height, width = row - MARGIN_PX, col - MARGIN_PX, height + 2 * MARGIN_PX, width + 80
    grids = [grid for grid in store.grids if grid.zone == zone]
    found = []
    for grid in grids:
        first, stop = row, row + height
        if store.band_last:
            first, stop = max(row, grid.rows[0]), min(stop, grid.rows[1])
        if first >= stop:
            continue
        window = (first, col, stop - first, width)
        codes, scales = archive.zarr_window(name, year, zone, *window)
        path = f"{name}_{year}_{area}_{grid.group}"
        np.save(folder / f"{path}_codes.npy", codes)
        np.save(folder / f"{path}_scales.npy", scales)
        found.append(
            {
                "store": name,
                "version": store.dataset.version,
                "group": grid.group,
                "year": year,
                "area": area,
                "box": AREAS[area][1:],
                "window": window,
                "path": path,
                "depths": [*store.depths, DEPTH],
                "landmask": store.landmask,
                "written": int((~np.isposinf(scales)).sum()),
                "water": int(np.isnan(scales).sum()),
            }
        )
    return found


def write_shard(folder: Path) -> None:
    """Write a small sparse shard and what is in it: the library's own should be of the same order."""
    draw = np.random.Generator(np.random.PCG64(5))
    values = draw.integers(-127, 128, (4, SIDE * INNER, SIDE * INNER)).astype(np.int8)
    chunks: Dict[Tuple[int, int], bytes] = {}
    for i in range(SIDE):
        for j in range(SIDE):
            here = np.s_[:, i * INNER : (i + 1) * INNER, j * INNER : (j + 1) * INNER]
            if draw.random() < 0.4:
                values[here] = 0
            else:
                chunks[i, j] = zarr_shards.compress(values[here], bits=True)
    np.save(folder / "shard_values.npy", values)
    (folder / "shard.bin").write_bytes(zarr_shards.shard(chunks, SIDE))


def main() -> int:
    """Read the arguments and check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--client-python", required=True, action="append", help="a Python that has zarr 3"
    )
    return serve_and_check(parser.parse_args().client_python)


if __name__ == "__main__":
    sys.exit(main())
