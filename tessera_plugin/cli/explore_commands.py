# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Exploring embeddings on the command line: similar places, clusters, where to label next."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any, Dict, List, Optional

from ..engine import classify as classifying
from ..engine import clusters, samples, similar_map
from ..engine import suggest as suggesting
from ..engine.clusters import MAX_CLUSTERS
from ..engine.embeddings import FetchSummary
from ..engine.percent_maps import NamedRaster
from .commands import fetched_lines
from .map_commands import map_lines, map_status
from .network import access_of, dataset_key
from .teller import OK, PARTS_MISSING, BadArguments, Teller
from .words import counted
from .worker import worker_for_command

__all__ = ["MAX_CLUSTERS", "cluster", "similar", "suggest"]


def similar(options: argparse.Namespace, teller: Teller) -> int:
    """Write how like some places all others are, and what is like enough."""
    if not options.out and not options.areas:
        raise BadArguments("--out, --areas or both are needed: there is nothing to write.")
    access = access_of(options, teller.report)
    request = similar_map.SimilarRequest(
        dataset=dataset_key(options, access), year=options.year, extent=options.bbox,
        access=access, points=tuple(options.at), out=options.out, areas_out=options.areas,
        threshold_percent=options.threshold, only_connected=options.connected,
        limit_px=options.limit_px, depth=options.depth,
    )  # fmt: skip
    with worker_for_command() as worker:
        result = similar_map.similar(request, teller.report, worker)
    lines = _wrote(result.raster, result.areas)
    if result.areas:
        share = result.similar_px / max(result.valid_px, 1)
        lines.append(
            f"At least {options.threshold:g} % similar: {counted(result.similar_px, 'pixel')} "
            f"({share:.1%})."
        )
    teller.result(dataclasses.asdict(result), [*lines, *fetched_lines(result.fetched)])
    return _status(result.fetched)


def cluster(options: argparse.Namespace, teller: Teller) -> int:
    """Write a map of clusters, and save them as a head."""
    access = access_of(options, teller.report)
    request = clusters.ClusterRequest(
        dataset=dataset_key(options, access), year=options.year, extent=options.bbox,
        access=access, out=options.out, clusters=options.clusters, head_out=options.head_out,
        limit_px=options.limit_px, depth=options.depth, seed=options.seed,
    )  # fmt: skip
    with worker_for_command() as worker:
        head, staged = clusters.cluster(request, teller.report, worker)
    result = classifying.publish(staged)
    facts = {**dataclasses.asdict(result), "head": options.head_out or None,
             "training": dict(head.training)}  # fmt: skip
    teller.result(facts, [*_wrote(None, options.head_out), *map_lines(result)])
    return map_status(result)


def suggest(options: argparse.Namespace, teller: Teller) -> int:
    """List places worth a label, and write where a head is uncertain and what is novel."""
    request = suggesting.SuggestRequest(
        head_path=options.head, labels=samples.load_labels(options.samples, options.class_field),
        year=options.year, extent=options.bbox, access=access_of(options, teller.report),
        uncertainty_out=options.uncertainty, novelty_out=options.novelty, places_out=options.out,
        count=options.count, label_year=options.label_year, limit_px=options.limit_px,
        seed=options.seed,
    )  # fmt: skip
    with worker_for_command() as worker:
        result = suggesting.suggest(request, teller.report, worker)
    lines = [
        *_wrote(result.uncertainty, ""),
        *_wrote(result.novelty, result.places_path),
        *(
            f"{place.lon:.6f}, {place.lat:.6f}: {' '.join(place.reasons())}"
            for place in result.places
        ),
    ]
    facts = dataclasses.asdict(result)
    facts["places"] = [_place_facts(place) for place in result.places]
    teller.result(facts, [*lines, *fetched_lines(result.fetched)])
    return _status(result.fetched)


def _place_facts(place: suggesting.Place) -> Dict[str, Any]:
    return {**dataclasses.asdict(place), "reasons": list(place.reasons())}


def _wrote(raster: Optional[NamedRaster], path: Optional[str]) -> List[str]:
    named = [*raster.paths, *([raster.mosaic] if raster.mosaic else [])] if raster else []
    return [f"Wrote {file}" for file in (*named, *([path] if path else []))]


def _status(summary: FetchSummary) -> int:
    return PARTS_MISSING if summary.failed else OK
