# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What 1,000 labelled points scattered over 40 tiles cost, against the tiles they lie in.

The same pixels through both forms, as training fetches them, and through geotessera's sample_points.
`disk MB` is what the cache holds afterwards.
"""

import tempfile
from pathlib import Path

import numpy as np

from bench._archive import BenchArchive, stored_bytes
from bench._places import STORE, YEAR, ZONE
from bench._run import ours, theirs
from bench._server import LINES, Server
from tessera_plugin.values import Window
from tests.archive import layout

TILES = [layout.Tile(lon, lat) for lon in range(105, 185, 10) for lat in range(5115, 5165, 10)]
PER_TILE = 25
ORDER = ("zarr", "npy", "geotessera")


def scattered():
    """Return points (lon, lat) and their pixels, well inside of their tiles."""
    draw = np.random.default_rng(0)
    lonlat = [
        ((tile.lon_i + lon) / 100, (tile.lat_i + lat) / 100)
        for tile in TILES
        for lon, lat in draw.uniform(-4, 4, (PER_TILE, 2))
    ]
    pixels = [Window(ZONE, *layout.pixel_of(ZONE, lon, lat), 1, 1) for lon, lat in lonlat]
    return lonlat, pixels


def measure(server, who, lonlat):
    with tempfile.TemporaryDirectory() as folder:
        if who == "geotessera":
            url = f"{server.url}/zarr/{STORE}"
            told = theirs("points", url, year=YEAR, lonlat=lonlat, folder=folder)
        else:
            told = ours("points", server.url, form=who, lonlat=lonlat, folder=folder)
        made = server.taken()
        if told:
            told["some"] = np.load(Path(folder) / "some.npy")
            told.update(bytes=sum(one.bytes for one in made), requests=len(made))
            told["disk"] = sum(path.stat().st_size for path in Path(folder).rglob("utm*/*.npy"))
    return told


def main():
    archive = BenchArchive()
    lonlat, pixels = scattered()
    whole = sum(place.height * place.width * 132 for place in map(layout.footprint, TILES))
    print(f"{len(lonlat)} points in {len(TILES)} tiles of {whole / 1e6:,.0f} MB")
    print(
        f"{'':<34}{'MB':>8}{'% tiles':>9}{'x chunks':>9}{'requests':>9}{'s':>8}{'cpu s':>8}{'more MB':>9}{'disk MB':>9}"
    )
    with Server() as server:
        for line in LINES[:2]:
            server.be(line)
            found = {who: measure(server, who, lonlat) for who in ORDER}
            for who, told in found.items():
                if told is None:
                    continue
                stored = stored_bytes(archive, "npy" if who == "npy" else "zarr", pixels)
                print(f"{f'{who}, {line.title}':<34}{told['bytes'] / 1e6:>8.1f}"
                      f"{100 * told['bytes'] / whole:>9.2f}{told['bytes'] / stored:>9.3f}"
                      f"{told['requests']:>9}{told['seconds']:>8.2f}{told['cpu_s']:>8.2f}{told['mb']:>9.0f}"
                      f"{told['disk'] / 1e6:>9.0f}")  # fmt: skip
            if found["geotessera"]:
                same = np.array_equal(found["zarr"]["some"], found["geotessera"]["some"])
                print(f"  the same numbers: {'yes' if same else 'NO'}")


if __name__ == "__main__":
    main()
