# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Small worlds for tests: labels, vector files, embeddings in memory, heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray
from osgeo import ogr, osr

from tessera_plugin.engine.heads.base import Head, identify
from tessera_plugin.engine.samples import Label, Labels
from tessera_plugin.io.sources.base import NO_OPTIONS, FetchOptions, FetchSummary
from tessera_plugin.progress import Report
from tessera_plugin.values import Dataset, LandClass, State, Window

DATASET = Dataset("1.1", "cambridge", "v1.1-cam", (2023, 2024), "test")
CLASSES = (
    LandClass(1, "forest", "#1b7837"),
    LandClass(2, "water", "#4a90d9"),
    LandClass(3, "crops", "#e6ab02"),
)

Fields = Mapping[str, int]
"""Names and OGR types."""


# --- geometries and labels


def wkb(wkt: str) -> bytes:
    return bytes(ogr.CreateGeometryFromWkt(wkt).ExportToWkb(ogr.wkbNDR))


def square(x: float, y: float, edge: float) -> str:
    """A square by its lower left corner."""
    a, b = x + edge, y + edge
    return f"POLYGON (({x} {y},{a} {y},{a} {b},{x} {b},{x} {y}))"


def labels(
    rows: Sequence[Tuple[str, int]],
    crs: str = "EPSG:32631",
    classes: Sequence[LandClass] = CLASSES,
) -> Labels:
    """Labels of WKT and class id."""
    items = tuple(Label(wkb(wkt), number, f"key-{i}") for i, (wkt, number) in enumerate(rows))
    return Labels(crs, tuple(classes), items, "test labels")


def pixel_centre(row: int, col: int) -> Tuple[float, float]:
    """East and north of a pixel's centre on the zone grid."""
    return 10 * col + 5.0, -(10 * row + 5.0)


def point_in(row: int, col: int) -> str:
    east, north = pixel_centre(row, col)
    return f"POINT ({east} {north})"


# --- vector files


def reference(crs: str) -> osr.SpatialReference:
    result = osr.SpatialReference()
    assert result.SetFromUserInput(crs) == 0
    result.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    return result


def write_layer(
    path: Path,
    rows: Sequence[Tuple[Optional[str], Mapping[str, Any]]],
    fields: Fields,
    *,
    crs: Optional[str] = "EPSG:4326",
    layer: str = "labels",
    driver: str = "GPKG",
    kind: int = ogr.wkbUnknown,
) -> str:
    """Add a layer of (WKT, values) to a file, which is made if it is not there; returns its path."""
    there = path.exists()
    source = (
        ogr.Open(str(path), 1) if there else ogr.GetDriverByName(driver).CreateDataSource(str(path))
    )
    made = source.CreateLayer(layer, reference(crs) if crs else None, kind)
    for name, type_ in fields.items():
        made.CreateField(ogr.FieldDefn(name, type_))
    for wkt, values in rows:
        feature = ogr.Feature(made.GetLayerDefn())
        for name, value in values.items():
            if value is None:
                feature.SetFieldNull(name)
            else:
                feature.SetField(name, value)
        if wkt is not None:
            feature.SetGeometry(ogr.CreateGeometryFromWkt(wkt))
        assert made.CreateFeature(feature) == 0
    return str(path)


def write_label_store(
    path: Path,
    classes: Sequence[Tuple[int, str, str, int]],
    points: Sequence[Tuple[str, int, str]] = (),
    polygons: Sequence[Tuple[str, int, str]] = (),
    version: str = "1",
) -> str:
    """Write a label store: classes (id, name, colour, position); labels (WKT, class id, key)."""
    text, whole = ogr.OFTString, ogr.OFTInteger
    names = {number: name for number, name, _, _ in classes}
    fields = {"class_id": whole, "class_name": text, "year": whole, "created": text, "key": text}
    for layer, kind, rows in (
        ("label_points", ogr.wkbPoint, points),
        ("label_polygons", ogr.wkbPolygon, polygons),
    ):
        features = [
            (wkt, {"class_id": number, "class_name": names.get(number), "year": 2024, "key": key})
            for wkt, number, key in rows
        ]
        write_layer(path, features, fields, layer=layer, kind=kind)
    write_layer(
        path,
        [
            (None, {"class_id": number, "name": name, "color": color, "position": position})
            for number, name, color, position in classes
        ],
        {"class_id": whole, "name": text, "color": text, "position": whole},
        layer="classes", kind=ogr.wkbNone, crs=None,
    )  # fmt: skip
    meta = [(None, {"name": "schema_version", "value": version})]
    write_layer(path, meta, {"name": text, "value": text}, layer="tessera_meta", kind=ogr.wkbNone,
                crs=None)  # fmt: skip
    return str(path)


# --- embeddings


Field = Callable[[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]], NDArray[Any]]
"""Of zone, row and column."""


class MemorySource:
    """Embeddings computed from where a pixel lies: class vectors with noise, and holes.

    `land` gives the index of a pixel's class; `state` its State (VALID where it is None).
    """

    def __init__(
        self,
        land: Field,
        *,
        state: Optional[Field] = None,
        noise: float = 1.0,
        classes: int = 3,
        depth: int = 128,
        seed: int = 0,
        dataset: Dataset = DATASET,
        year: int = 2024,
    ) -> None:
        self.dataset, self.year, self.depth = dataset, year, depth
        self.form = "zarr"
        self.fetched: List[Window] = []
        self.closed = False
        self._land, self._state, self._noise, self._seed = land, state, noise, seed
        self._centres = np.random.default_rng(seed).normal(0, 1, (classes, depth))

    def fetch(
        self,
        windows: Sequence[Window],
        report: Report,
        options: FetchOptions = NO_OPTIONS,
    ) -> FetchSummary:
        self.fetched += windows
        if options.arrived is not None:
            options.arrived([block for window in windows for block in window.whole_blocks()])
        pixels = sum(window.pixels for window in windows)
        return FetchSummary(pixels, pixels, 0, 132 * pixels, len(windows))

    def read(self, window: Window) -> Tuple[NDArray[np.int8], NDArray[np.float32]]:
        zone, row, col = _grid(window)
        values = self._centres[self._land(zone, row, col)]
        values = values + self._noise * self._noise_at(zone, row, col)
        scales = (np.abs(values).max(axis=-1) / 127).astype(np.float32)
        codes = np.rint(values / scales[..., None]).astype(np.int8)
        invalid = self.states(window) != State.VALID
        codes[invalid], scales[invalid] = 0, np.nan
        return codes, scales

    def states(self, window: Window) -> NDArray[np.uint8]:
        if self._state is None:
            return np.full(window.shape, State.VALID, np.uint8)
        return np.asarray(self._state(*_grid(window)), np.uint8)

    def close(self) -> None:
        self.closed = True

    def _noise_at(
        self, zone: NDArray[np.int64], row: NDArray[np.int64], col: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Normal noise (H, W, D) that depends on the pixel only, not on the window."""
        result = np.empty((*zone.shape, self.depth))
        for at in np.ndindex(*zone.shape):
            key = [self._seed, int(zone[at]), int(row[at]) + 10**7, int(col[at]) + 10**7]
            result[at] = np.random.default_rng(key).normal(0, 1, self.depth)
        return result


def _grid(
    window: Window,
) -> Tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    rows, cols = np.mgrid[window.row : window.stop_row, window.col : window.stop_col]
    return np.full(window.shape, window.zone), rows, cols


def random_embeddings(
    count: int, depth: int = 128, seed: int = 0
) -> Tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Codes and scales as published ones are: the largest |code| is 127, -128 never occurs."""
    random = np.random.default_rng(seed)
    values = random.normal(0, 3, (count, depth))
    scales = np.abs(values).max(axis=1) / 127
    codes = np.rint(values / scales[:, None]).astype(np.int8)
    return codes, scales.astype(np.float32)


# --- heads


def random_weights(
    depth: int, hidden: Sequence[int], classes: int, seed: int = 0
) -> Dict[str, NDArray[np.float32]]:
    """Untrained weights of an MLP; without hidden layers those of an instant head."""
    random = np.random.default_rng(seed)
    widths = [depth, *hidden, classes]
    weights: Dict[str, NDArray[np.float32]] = {}
    for number, (inputs, outputs) in enumerate(zip(widths[:-1], widths[1:]), 1):
        name = str(number) if hidden else ""
        spread = np.sqrt(2 / inputs)
        weights[f"W{name}"] = random.normal(0, spread, (inputs, outputs)).astype(np.float32)
        weights[f"b{name}"] = random.normal(0, 0.1, outputs).astype(np.float32)
    return weights


def random_head(
    hidden: Sequence[int] = (), depth: int = 128, seed: int = 0, **changes: Any
) -> Head:
    """An untrained head; `changes` replace its fields."""
    random = np.random.default_rng(seed + 1)
    classes = changes.pop("classes", CLASSES)
    mean = random.normal(0, 1, depth).astype(np.float32)
    std = random.uniform(1, 3, depth).astype(np.float32)
    weights = random_weights(depth, hidden, len(classes), seed)
    kind = "mlp" if hidden else "instant"
    facts: Dict[str, Any] = {
        "id": identify(kind, classes, DATASET.key, {"mean": mean, "std": std, **weights}),
        "kind": kind,
        "classes": tuple(classes),
        "dataset": DATASET.key,
        "depth": depth,
        "years": (2024,),
        "mean": mean,
        "std": std,
        "weights": weights,
    }
    return Head(**{**facts, **changes})
