# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Where fetched images are from and what was decided about them, as plain values for JSON."""

from __future__ import annotations

from typing import Dict, Sequence, Tuple

from ..dpixels.recognise_folders import unit_of_baseline
from ..dpixels.scenes import DN, DN_OFFSET, Scenes
from .items import S1Item, S2Item
from .plan import StacPlan


def provenance_of(
    plan: StacPlan,
    scenes: Scenes,
    failures: Sequence[Tuple[str, str]],
    cloudy: Sequence[str],
) -> Dict[str, object]:
    """Return it; no address in it has a query."""
    request = plan.request
    used = {scene.name for scene in scenes.s2}, {scene.name for scene in scenes.s1}
    s2, s1 = request.catalogues[request.s2], request.catalogues.get(request.s1)
    return {
        "s2": {"catalogue": s2.title, "search": s2.search, "collection": s2.s2},
        "s1": {"catalogue": s1.title, "search": s1.search, "collection": s1.s1} if s1 else None,
        "first_date": request.first.isoformat(),
        "last_date": request.last.isoformat(),
        "max_cloud_percent": request.max_cloud,
        "s2_items": [_s2(item) for item in plan.s2 if item.id in used[0]],
        "s1_items": [_s1(item) for item in plan.s1 if item.id in used[1]],
        "nothing_clear": list(cloudy),
        "failed": [list(pair) for pair in failures],
        "skipped": [list(pair) for pair in plan.skipped],
    }


def _s2(item: S2Item) -> Dict[str, object]:
    return {
        "id": item.id,
        "taken": item.moment.isoformat(),
        "baseline": item.baseline,
        "datatake": item.datatake,
        "tile": item.tile,
        "unit": item.unit,
        "offset": _offset(item),
        "cloud_percent": item.cloud,
    }


def _offset(item: S2Item) -> str:
    if item.unit == DN_OFFSET:
        return "in the files: 1000 is to be taken off"
    never = item.baseline and unit_of_baseline(item.baseline) == DN
    return "never there: baseline before 04.00" if never else "taken off by the publisher"


def _s1(item: S1Item) -> Dict[str, object]:
    return {"id": item.id, "taken": item.moment.isoformat(), "orbit": item.orbit}
