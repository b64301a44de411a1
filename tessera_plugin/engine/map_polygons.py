# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A map's areas as polygons, written beside it and published with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Mapping, Optional, Sequence

from ..errors import TooManyPolygons
from ..io import files, gpkg_place, vectorise
from ..io.vectorise import PolygonLayer
from ..progress import Report
from ..values import LandClass
from .mapping import Target

TABLE = "polygons"


@dataclass(frozen=True)
class StagedPolygons:
    """A GeoPackage that is whole but not yet under its name."""

    folder: Path
    staged: Path
    final: Path
    count: int

    def publish(self) -> str:
        """Rename it, and return the name it really got. Raises: NotWritable, DiskFull.

        A file that somebody has open for writing stays: its journal would be taken for the new one's.
        """
        is_open = self.final.with_name(f"{self.final.name}-wal").exists()
        final = files.free_name(self.final) if is_open else self.final
        gpkg_place.vacate(str(final))
        return str(files.publish(self.staged, final))


@dataclass(frozen=True)
class Drawn:
    """What became of drawing polygons."""

    polygons: Optional[StagedPolygons] = None
    refusal: Optional[TooManyPolygons] = None


def draw(
    out: str, folder: Path, source: Target, classes: Sequence[LandClass],
    tags: Mapping[str, str], *, report: Report,
) -> Drawn:  # fmt: skip
    """Write the areas of a map as polygons, a table per zone in the zone's CRS.

    It is called `polygons`, and `polygons_utm30` and so on where there are several.
    Too many of them are told and not raised: the map itself is as it should be.
    Raises: NotWritable, DiskFull, Cancelled.
    """
    final = Path(out).absolute()
    staged = folder / final.name
    tables = [TABLE] if len(source.paths) == 1 else [
        f"{TABLE}_{path.stem.rpartition('_')[2]}" for path in source.paths
    ]  # fmt: skip
    layers = [PolygonLayer(name, path) for name, path in zip(tables, source.paths)]
    try:
        count = vectorise.polygonise(staged, layers, classes, tags, report=report)
    except TooManyPolygons as error:
        return Drawn(refusal=error)
    return Drawn(StagedPolygons(folder, staged, final, count))
