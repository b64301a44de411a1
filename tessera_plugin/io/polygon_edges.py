# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether polygons can have pixels in common, told by their edges: far cheaper than their pixels."""

from __future__ import annotations

from typing import Any

from osgeo import ogr

from .gdal_errors import collected


class Edges:
    """The edges of a polygon or multipolygon, to be compared with those of many others."""

    def __init__(self, wkb: bytes) -> None:
        self._geometry = ogr.CreateGeometryFromWkb(wkb)
        self._is_valid = False
        with collected([]):  # what is wrong with it is of no interest here
            self._is_valid = bool(self._geometry.IsValid())
        self._prepared: Any = None

    def may_overlap(self, other: Edges) -> bool:
        """Return whether an area may lie in both; False is certain, also where they only touch."""
        if not (self._is_valid and other._is_valid):
            return True
        if self._prepared is None:
            self._prepared = self._geometry.CreatePreparedGeometry()
        meets = True
        with collected([]):
            meets = self._prepared.Intersects(other._geometry)
            meets = meets and not self._geometry.Touches(other._geometry)
        return bool(meets)
