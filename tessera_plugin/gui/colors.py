# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Colours that people expect of classes by their names."""

from __future__ import annotations

from typing import Collection, Mapping

EXPECTED: Mapping[str, str] = {
    "water": "#4e79a7",
    "river": "#4e79a7",
    "lake": "#4e79a7",
    "sea": "#2f5d8a",
    "forest": "#2e7d46",
    "tree": "#2e7d46",
    "wood": "#2e7d46",
    "shrub": "#8a9a3b",
    "grass": "#8cd17d",
    "meadow": "#8cd17d",
    "pasture": "#a8d88f",
    "crop": "#edc948",
    "arable": "#edc948",
    "farm": "#edc948",
    "field": "#edc948",
    "built": "#e15759",
    "urban": "#e15759",
    "town": "#e15759",
    "city": "#e15759",
    "road": "#7f7f7f",
    "bare": "#c49c6b",
    "sand": "#e3c58f",
    "soil": "#9c755f",
    "rock": "#8c8c8c",
    "wetland": "#76b7b2",
    "marsh": "#76b7b2",
    "mangrove": "#499894",
    "snow": "#dfe9f2",
    "ice": "#dfe9f2",
    "orchard": "#b07aa1",
    "vineyard": "#8e5a8a",
    "solar": "#3d3d6b",
}
"""Part of a name and its colour; the first that fits."""


def color_for(name: str, used: Collection[str]) -> str:
    """Return the colour people expect of a class, or empty where there is none or it is taken."""
    from ..engine.class_colors import is_taken  # noqa: PLC0415 - light plugin load

    lower = name.casefold()
    color = next((color for part, color in EXPECTED.items() if part in lower), "")
    return "" if color and is_taken(color, used) else color
