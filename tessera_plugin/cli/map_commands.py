# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Maps on the command line."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any, Dict, List, Optional

from ..engine import classify as classifying
from ..engine.classify import ClassifyRequest, ClassifyResult, StagedMap, beside
from ..engine.labels import Labels, load_labels
from ..engine.map_areas import write_areas
from ..engine.map_cleanup import CleanUp
from ..engine.map_ground import Area, load_polygons
from ..engine.map_years import YearFailed, classify_years
from ..errors import DiskFull, NotWritable, TesseraError
from .commands import fetch_status, fetched_lines
from .network import access_of
from .teller import OK, PARTS_MISSING, BadArguments, Teller, error_facts
from .words import counted
from .worker import worker_for_command


def classify(options: argparse.Namespace, teller: Teller) -> int:
    """Write a map of an extent, or one for each of several years."""
    request = _request(options, teller)
    if len(options.year) > 1:
        return _several(options, request, teller)
    with worker_for_command() as worker:
        result = classifying.publish(classifying.classify(request, teller.report, worker))
    if not options.areas:
        teller.result(dataclasses.asdict(result), map_lines(result))
        return map_status(result)
    table = _AreasTable(options.areas)
    table.write([result])
    teller.result({**dataclasses.asdict(result), **table.facts}, [table.line, *map_lines(result)])
    return map_status(result) if table.error is None else PARTS_MISSING


class _AreasTable:
    """The table of hectares of maps. That it can't be written does not undo the maps."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.error: Optional[TesseraError] = None

    def write(self, results: List[ClassifyResult]) -> None:
        """Write it anew with all there is by now."""
        try:
            write_areas(self._path, results)
            self.error = None
        except (NotWritable, DiskFull) as error:
            self.error = error

    @property
    def line(self) -> str:
        if self.error is None:
            return f"Wrote {self._path}"
        return f"No table of areas, but the maps are whole. {self.error}"

    @property
    def facts(self) -> Dict[str, Any]:
        if self.error is None:
            return {"areas": self._path}
        return {"areas": None, "areas_error": error_facts(self.error)}


def _several(options: argparse.Namespace, request: ClassifyRequest, teller: Teller) -> int:
    results: List[ClassifyResult] = []
    table = _AreasTable(options.areas or beside(options.out, "areas", ".csv"))

    def came(staged: StagedMap) -> None:
        results.append(classifying.publish(staged))
        table.write(results)

    with worker_for_command() as worker:
        failed = classify_years(request, options.year, came, teller.report, worker)
    facts = {
        "maps": [dataclasses.asdict(each) for each in results],
        "failed": [{"year": each.year, **error_facts(each.error)} for each in failed],
        **table.facts,
    }
    lines = [line for each in results for line in (f"{each.year}:", *map_lines(each))]
    teller.result(facts, [*lines, table.line, *map(_failed_line, failed)])
    is_whole = (
        not failed and table.error is None and all(map_status(each) == OK for each in results)
    )
    return OK if is_whole else PARTS_MISSING


def _request(options: argparse.Namespace, teller: Teller) -> ClassifyRequest:
    out = options.out
    return ClassifyRequest(
        head_path=options.head, year=options.year[0], extent=_area(options),
        access=access_of(options, teller.report), out=out, confidence_out=options.confidence,
        limit_px=options.limit_px,
        probabilities_out=beside(out, "probabilities") if options.probabilities else None,
        margin_out=beside(out, "margin") if options.margin else None,
        novelty_out=beside(out, "novelty") if options.novelty else None,
        labels=_labels(options), label_year=options.label_year,
        uncertain_below=options.uncertain_below,
        clean_up=CleanUp(options.majority, options.sieve, options.connected),
        polygons_out=beside(out, "polygons", ".gpkg") if options.vectorise else None,
    )  # fmt: skip


def _area(options: argparse.Namespace) -> Area:
    area: Area = load_polygons(options.polygon) if options.polygon else options.bbox
    return area


def _labels(options: argparse.Namespace) -> Optional[Labels]:
    if not options.novelty:
        return None
    if not options.labels or not options.class_field:
        raise BadArguments("--novelty is the distance to labels: give --labels and --class-field.")
    return load_labels(options.labels, options.class_field)


# --- what is said of a map


def map_lines(result: ClassifyResult) -> List[str]:
    """Return what to say of a map."""
    lines = [f"Wrote {file}" for file in _files(result)]
    lines.append("Hectares are counted pixels, not an estimate of area.")
    cleaned = {each.id: each for each in result.clean_classes}
    for each in result.classes:
        told = f"{each.name:<24} {each.hectares:12,.2f} ha"
        if each.id in cleaned:
            told += f"{cleaned[each.id].hectares:12,.2f} ha cleaned"
        lines.append(told)
    if result.clean is not None:
        lines.append(f"Cleaning gave {counted(result.changed_px, 'pixel')} another class.")
    if result.polygons is not None:
        was = "was" if result.polygon_count == 1 else "were"
        lines.append(f"{counted(result.polygon_count, 'polygon')} {was} drawn.")
    if result.unusable_polygons:
        lines.append(
            f"Polygons of the area that are broken or have no inside, so not mapped: "
            f"{result.unusable_polygons:,}."
        )
    if result.polygons_refused is not None:
        lines.append(f"No polygons were written. {result.polygons_refused}")
    return [*lines, *fetched_lines(result.fetched)]


def map_status(result: ClassifyResult) -> int:
    """Return the exit status of a command that wrote a map."""
    is_short = result.polygons_refused is not None or result.unusable_polygons > 0
    return PARTS_MISSING if is_short else fetch_status(result.fetched)


def _files(result: ClassifyResult) -> List[str]:
    files = [*result.maps, *([result.mosaic] if result.mosaic else []), *result.confidences]
    for each in (result.clean, result.probabilities, result.margin, result.novelty):
        if each is not None:
            files += [*each.paths, *([each.mosaic] if each.mosaic else [])]
    return [*files, *([result.polygons] if result.polygons else [])]


def _failed_line(failed: YearFailed) -> str:
    return f"No map of {failed.year}: {failed.error}"
