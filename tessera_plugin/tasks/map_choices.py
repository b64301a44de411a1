# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a person chose of a map, as plain values that are remembered as text."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Dict, Tuple

PIXELS, HECTARES = "px", "ha"
PX_PER_HECTARE = 100


@dataclass(frozen=True)
class MapChoices:
    """What is written, beside the class map and its confidence."""

    years: Tuple[int, ...] = ()
    """Mapped besides the year that is chosen on the Area page."""
    uncertain: bool = False
    uncertain_below: int = 60
    """Percent."""
    probabilities: bool = False
    margin: bool = False
    novelty: bool = False
    majority: int = 0
    """Edge of the filter's window in pixels; 0 for none."""
    sieve: bool = False
    sieve_size: float = 5.0
    sieve_unit: str = PIXELS
    corners: bool = False
    """Whether areas hang together by corners too."""
    polygons: bool = False

    @property
    def extras(self) -> int:
        """How many things are wanted that most maps do without."""
        beside = (self.uncertain, self.probabilities, self.margin, self.novelty)
        return sum((*beside, bool(self.majority), self.sieve, self.polygons))


def to_text(chosen: MapChoices) -> str:
    """Return a choice as the text that is remembered: what is not the default, as JSON."""
    default = asdict(MapChoices())
    changed = {name: value for name, value in asdict(chosen).items() if value != default[name]}
    return json.dumps(changed) if changed else ""


def from_text(text: str) -> MapChoices:
    """Return a remembered choice; what can't be used is the default."""
    try:
        found = json.loads(text or "{}")
    except ValueError:  # edited by hand
        return MapChoices()
    known = asdict(MapChoices())
    values: Dict[str, Any] = {}
    for name, value in found.items() if isinstance(found, dict) else ():
        given = tuple(value) if isinstance(value, list) else value
        if name in known and type(given) is type(known[name]):
            values[name] = given
    chosen = MapChoices(**values)
    is_good = (
        chosen.majority in (0, 3, 5)
        and chosen.sieve_unit in (PIXELS, HECTARES)
        and 0 < chosen.uncertain_below <= 100
        and all(isinstance(year, int) for year in chosen.years)
    )
    return chosen if is_good else MapChoices()
