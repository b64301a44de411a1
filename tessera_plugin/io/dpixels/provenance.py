# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""provenance.json: what a tile was made of and how, beside the arrays that can't tell."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from pathlib import Path
from typing import Any, Dict, Sequence

from ...values import Window
from .. import files

PROVENANCE_FILE = "provenance.json"
SCHEMA = 1

RULES: Dict[str, str] = {
    "offset": "per file, on its own pixels, before resampling and mosaicking: "
    "0 stays 0, else max(DN - 1000, 1)",
    "bands": "bilinear, 0 and the file's nodata have no weight; as they are where on the grid",
    "mask": "nearest; SCL 4, 5, 6, 7, 10, 11 are usable, and only where all ten bands are not 0",
    "s1": "(20 log10(power) + 50) x 200 = 400 dB + 10000, cut off to 0 to 32767, 0 is missing; "
    "nearest, pixels wider than 15 m bilinear as power",
    "mosaic": "per UTC date (and orbit direction) the first scene that sees a pixel, "
    "in the order given here",
}


def write(folder: Path, told: Dict[str, Any]) -> None:
    """Write what a tile was made of. Raises: DiskFull, NotWritable."""
    files.write_text(
        folder / PROVENANCE_FILE, json.dumps({"schema": SCHEMA, **told}, indent=1) + "\n"
    )


def read(folder: Path) -> Dict[str, object]:
    """Return what a tile was made of; nothing where that is not told, or can't be read."""
    try:
        told = json.loads((folder / PROVENANCE_FILE).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) and told.get("schema") == SCHEMA else {}


def placing(window: Window) -> Dict[str, Any]:
    """Return where a tile lies, as it is told."""
    return {"window": dataclasses.asdict(window), "crs": f"EPSG:{window.epsg}"}


def source() -> str:
    """Return who made it."""
    return f"Tessera for QGIS {files.plugin_version()}".strip()


def most_frequent_year(dates: Sequence[dt.date]) -> int:
    """Return the year that most dates lie in, the earlier one of two."""
    years = sorted(date.year for date in dates)
    return max(years, key=years.count)
