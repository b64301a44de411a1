# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Labels for other programs: GeoPackage, GeoJSON (RFC 7946), CSV. Whole files, or none.

Coordinates have all their digits: what goes out and comes in again is the same.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, Sequence, Tuple

import numpy as np
from osgeo import ogr

from ..errors import LabelsUnreadable, NotWritable
from ..values import LandClass, StoredLabel
from . import files, gpkg_place, label_file

FORMATS = (".gpkg", ".geojson", ".csv")
"""Endings of the files that labels are written to."""

COLUMNS = ("WKT", "lon", "lat", "class", "class_id", "color", "year", "note", "confidence", "key")
"""Of a table; lon and lat are those of points."""

_Ring = List[List[float]]


def write_geojson(path: str, labels: Sequence[StoredLabel], classes: Sequence[LandClass]) -> None:
    """Write labels as one collection, in degrees. Raises: NotWritable, DiskFull."""
    known = {each.id: each for each in classes}
    features = [
        {"type": "Feature", "id": label.key, "properties": _values(label, known),
         "geometry": _geojson(ogr.CreateGeometryFromWkb(label.wkb))}
        for label in labels
    ]  # fmt: skip
    lines = ",\n".join(json.dumps(each, ensure_ascii=False) for each in features)
    files.write_text(path, f'{{"type": "FeatureCollection", "features": [\n{lines}\n]}}\n')


def write_csv(path: str, labels: Sequence[StoredLabel], classes: Sequence[LandClass]) -> None:
    """Write labels as a table, places in degrees. Raises: NotWritable, DiskFull."""
    known = {each.id: each for each in classes}
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    for label in labels:
        writer.writerow({**_spot(ogr.CreateGeometryFromWkb(label.wkb)), **_values(label, known)})
    files.write_bytes(path, text.getvalue().encode("utf-8"))


def copy_store(source: str, path: str) -> None:
    """Write a copy of a label file as it is now, also while somebody writes to it.

    Raises: NotWritable, also where somebody is at work on the file that it would take the place of.
    """
    target = Path(path)
    if target.exists() and target.samefile(source):
        raise NotWritable(path, "it is the label file in use")
    staged = files.staging_folder(target)
    try:
        whole = staged / target.name
        label_file.copy(source, str(whole))
        gpkg_place.vacate(path)
        whole.replace(target)
    except LabelsUnreadable as error:
        raise NotWritable(path, error.reason) from error
    except OSError as error:
        raise files.write_error(path, error) from error
    finally:
        files.remove_folder(staged)


def _values(label: StoredLabel, classes: Mapping[int, LandClass]) -> Dict[str, object]:
    known = classes.get(label.class_id, LandClass(label.class_id, str(label.class_id), ""))
    return {
        "class": known.name,
        "class_id": label.class_id,
        "color": known.color,
        "year": label.year,
        "note": label.note,
        "confidence": label.confidence,
        "key": label.key,
    }


def _spot(geometry: ogr.Geometry) -> Dict[str, object]:
    if ogr.GT_Flatten(geometry.GetGeometryType()) == ogr.wkbPoint:
        lon, lat = geometry.GetPoint_2D(0)
        return {"WKT": f"POINT ({lon} {lat})", "lon": lon, "lat": lat}
    rings = (", ".join(f"{lon} {lat}" for lon, lat in ring) for ring in _rings(geometry))
    return {"WKT": f"POLYGON ({', '.join(f'({ring})' for ring in rings)})"}


def _geojson(geometry: ogr.Geometry) -> Dict[str, object]:
    """Return a point or polygon as RFC 7946 wants it: outer rings to the left, holes to the right."""
    if ogr.GT_Flatten(geometry.GetGeometryType()) == ogr.wkbPoint:
        return {
            "type": "Point",
            "coordinates": list(geometry.GetPoint_2D(0)),
        }
    turned = [
        ring if (_area(ring) > 0) == (number == 0) else ring[::-1]
        for number, ring in enumerate(_rings(geometry))
    ]
    return {"type": "Polygon", "coordinates": turned}


def _rings(geometry: ogr.Geometry) -> Iterator[_Ring]:
    for index in range(geometry.GetGeometryCount()):
        points: Sequence[Tuple[float, ...]] = geometry.GetGeometryRef(index).GetPoints()
        yield [[point[0], point[1]] for point in points]


def _area(ring: _Ring) -> float:
    """Return the area of a ring in square degrees, positive where it turns left."""
    x, y = np.array(ring).T
    x, y = x - x[0], y - y[0]
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) / 2
