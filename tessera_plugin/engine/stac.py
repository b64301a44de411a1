# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Sentinel scenes of an area and time from public catalogues; the work is in io."""

from __future__ import annotations

from ..io.stac.catalogues import CATALOGUES, Catalogue, addresses
from ..io.stac.fetch import fetch
from ..io.stac.plan import Fetched, StacPlan, StacRequest
from ..io.stac.search import search

__all__ = [
    "CATALOGUES",
    "Catalogue",
    "Fetched",
    "StacPlan",
    "StacRequest",
    "addresses",
    "fetch",
    "search",
]
