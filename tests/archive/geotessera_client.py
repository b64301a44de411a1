# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The official client reads from a server and compares with what was expected.

    python geotessera_client.py URL FOLDER

Started by check_geotessera.py in the Python that has geotessera; it knows nothing of ours. FOLDER
holds tiles.json, places.json and the arrays that should come.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import rasterio  # type: ignore[import-not-found]
from geotessera import GeoTessera, __version__, dequantize_embedding, registry  # type: ignore[import-not-found]
from geotessera.remote import read_npy_window  # type: ignore[import-not-found]
from geotessera.zarr import project_tile, valid_scale_mask  # type: ignore[import-not-found]


def run_client(url: str, folder: Path) -> int:
    """Fetch with geotessera from `url` and compare; 0 when all is as expected."""
    # Read when a URL is made, so that this redirects every one of them.
    registry.TESSERA_MIRROR_URL = url
    registry.TESSERA_NPY_MIRROR_URL = f"{url}/npy"
    registry.TESSERA_LANDMASKS_MIRROR_URL = f"{url}/landmasks"
    print(f"geotessera {__version__} on Python {sys.version.split()[0]}")
    places = json.loads((folder / "places.json").read_text(encoding="utf-8"))
    problems = compare_footprints(places)
    for what in json.loads((folder / "tiles.json").read_text(encoding="utf-8")):
        found = compare_tile(url, folder, what, places)
        print(f"{what[2]} {what[3]} {what[4]}: {'; '.join(found) or 'as expected, bit for bit'}")
        problems += found
    return int(bool(problems))


def compare_footprints(places: Dict[str, List[Any]]) -> List[str]:
    """Compare every footprint with the client's own reckoning."""
    problems = []
    for name, (lon_i, lat_i, epsg, height, width, east, north) in places.items():
        theirs = project_tile(lon_i / 100, lat_i / 100)
        same = (theirs.epsg, theirs.height, theirs.width) == (epsg, height, width)
        near = abs(theirs.transform.c - east) < 1e-3 and abs(theirs.transform.f - north) < 1e-3
        if not (same and near):
            problems.append(f"footprint of {name}: {theirs}")
    print(f"{len(places)} footprints: {'; '.join(problems) or 'as the client reckons them'}")
    return problems


def compare_tile(url: str, folder: Path, what: Any, places: Dict[str, List[Any]]) -> List[str]:
    """Fetch one tile in every way the client has and return what differs."""
    version, variant, npy_dir, year, name = what
    lon_i, lat_i, epsg, height, width, east, north = places[name]
    codes = np.load(folder / f"{npy_dir}_{year}_{name}_codes.npy", mmap_mode="r")
    scales = np.load(folder / f"{npy_dir}_{year}_{name}_scales.npy")
    here = folder / f"client_{npy_dir}_{year}"
    here.mkdir(exist_ok=True)
    client = GeoTessera(version, variant, cache_dir=here / "cache", embeddings_dir=here)
    lon, lat = lon_i / 100, lat_i / 100
    embedding, crs, transform = client.fetch_embedding(lon, lat, year)
    # The client keeps every dataset in a folder of this name.
    kept = here / "global_0.1_degree_representation" / str(year) / name
    rows = read_npy_window(f"{url}/npy/{npy_dir}/{year}/{name}/{name}.npy", 7, 40, 5, 50)
    checks = {
        "listed": (year, lon, lat) in client.registry.available_embeddings,
        "size in the manifest": client.registry.get_tile_file_size(year, lon, lat)
        == (kept / f"{name}.npy").stat().st_size,
        "landmasks listed": client.registry.get_landmask_count() == len(places),
        "codes": np.array_equal(np.load(kept / f"{name}.npy"), codes),
        "scales": np.load(kept / f"{name}_scales.npy").tobytes() == scales.tobytes(),
        "embedding": np.array_equal(
            embedding, dequantize_embedding(np.asarray(codes), scales), equal_nan=True
        ),
        "the engine's window": is_ours(
            folder, f"{version}-{variant}_{name}", embedding, codes, scales
        ),
        "window by range": np.array_equal(rows, codes[7:40, 5:50]),
        "landmask's CRS": crs.to_epsg() == epsg,
        "landmask's corner": max(abs(transform.c - east), abs(transform.f - north)) < 1e-6,
        "landmask's shape": landmask_shape(client, lon, lat) == (height, width),
    }
    return [f"{check} differs" for check, is_right in checks.items() if not is_right]


def is_ours(folder: Path, name: str, embedding: Any, codes: Any, scales: Any) -> bool:
    """Whether the engine gives the same floats, and NaN where their builder finds nothing valid."""
    row, col = json.loads((folder / "ours.json").read_text(encoding="utf-8"))[name]
    ours = np.load(folder / f"ours_{name}.npy")
    here = np.s_[row : row + ours.shape[0], col : col + ours.shape[1]]
    valid = valid_scale_mask(scales[here]) & codes[here].any(axis=-1)
    print(f"{name}: the engine has {int(valid.sum())} of {valid.size} pixels valid")
    expected = np.where(valid[..., None], embedding[here], np.float32(np.nan))
    return bool(np.array_equal(ours, expected, equal_nan=True))


def landmask_shape(client: Any, lon: float, lat: float) -> Any:
    """Return height and width of the landmask that the client fetched."""
    with rasterio.open(client.registry.fetch_landmask(lon=lon, lat=lat)) as raster:
        return raster.shape


if __name__ == "__main__":
    sys.exit(run_client(sys.argv[1], Path(sys.argv[2])))
