# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the commands do: from arguments to the engine's requests, from its results to sentences."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any, Dict, List, Sequence

from .. import errors
from ..engine import compare as comparing
from ..engine import compare_spaces as spaces
from ..engine import coverage as covering
from ..engine import embeddings, export
from ..engine.catalog import DATASETS
from ..engine.embeddings import FetchResult, FetchSummary
from ..engine.unpack import by_worker
from ..progress import part
from ..values import LOCAL, Access
from .network import access_of, dataset_key
from .teller import FAILED, OK, PARTS_MISSING, BadArguments, Teller, error_facts
from .words import counted
from .worker import worker_for_command

_FORMS = {"zarr": "the Zarr store", "npy": "the NPY tiles", LOCAL: "the folder of your own"}


def datasets(options: argparse.Namespace, teller: Teller) -> int:
    """List the published datasets, and those of the stores and folders that are given."""
    known = (*DATASETS, *access_of(options, teller.report).stores)
    rows = [
        {
            "key": d.key,
            "title": d.title,
            "years": list(d.years),
            "depth": d.depth,
            "depths": list(d.depths),
            "forms": list(d.forms()),
        }
        for d in known
    ]
    lines = [
        f"{d.key:<16} {d.title:<30} {d.years[0]}-{d.years[-1]}  {'+'.join(d.forms()):<8}  "
        f"{', '.join(map(str, d.depths))}"
        for d in known
    ]
    teller.listed(rows, lines)
    return OK


def coverage(options: argparse.Namespace, teller: Teller) -> int:
    """Say what is published of an extent, what of it is kept, and what the rest costs."""
    access = access_of(options, teller.report)
    with worker_for_command() as worker:
        found = covering.coverage(
            covering.CoverageRequest(
                dataset_key(options, access), options.year, options.bbox, access, options.depth
            ),
            teller.report,
            unpack=by_worker(worker),
        )
    teller.result(found.to_json(), found.sentences())
    return PARTS_MISSING if found.failed else OK


def fetch(options: argparse.Namespace, teller: Teller) -> int:
    """Bring embeddings into the cache, and write them to a file if one is named."""
    years: Sequence[int] = options.year
    if options.out and len(years) > 1:
        raise BadArguments("--out takes one year; leave it out to fill the cache with several.")
    access = access_of(options, teller.report)
    request = embeddings.FetchRequest(
        dataset=dataset_key(options, access), year=years[0], extent=options.bbox, access=access,
        limit_px=options.limit_px, depth=options.depth,
    )  # fmt: skip
    with worker_for_command() as worker:
        if len(years) > 1:
            return _told_years(
                embeddings.fetch_years(request, years, teller.report, worker=worker), teller
            )
        share = 0.9 if options.out else 1.0
        fetched = embeddings.fetch(request, part(teller.report, 0.0, share), worker=worker)
    files: Sequence[str] = ()
    if options.out:
        files = export.export(fetched, access, options.out, part(teller.report, 0.9, 1.0))
    lines = [*(f"Wrote {file}" for file in files), *fetched_lines(fetched.summary)]
    teller.result({"files": list(files), **_year_facts(fetched)}, [*lines, *_form_lines(fetched)])
    return fetch_status(fetched.summary)


def compare(options: argparse.Namespace, teller: Teller) -> int:
    """Say whether a few pixels are the same in a dataset's store and in its tiles.

    With another dataset: how far the two agree, as embedding spaces.
    """
    access = access_of(options, teller.report)
    if options.with_dataset:
        return _compare_spaces(options, access, teller)
    found = comparing.compare(
        comparing.CompareRequest(
            dataset_key(options, access), options.year, options.bbox, access
        ),
        teller.report,
    )  # fmt: skip
    teller.result({**_facts(found), "agrees": found.agrees}, [found.sentence()])
    if found.agrees:
        return OK
    return FAILED if found.pixels else PARTS_MISSING


def _compare_spaces(options: argparse.Namespace, access: Access, teller: Teller) -> int:
    request = spaces.SpacesRequest(
        dataset_key(options, access), options.with_dataset, options.year, options.bbox, access
    )
    found = spaces.compare_spaces(request, teller.report)
    facts = {name: None if fact != fact else fact for name, fact in _facts(found).items()}  # noqa: PLR0124 - NaN is no JSON
    teller.result({**facts, "looks_same": found.looks_same}, [found.sentence()])
    return OK if found.pixels else PARTS_MISSING


# --- helpers


def _told_years(results: Sequence[FetchResult], teller: Teller) -> int:
    """Say what became of each of several years, and return the exit status."""
    lines: List[str] = []
    for result in results:
        told = [str(result.error)] if result.error else fetched_lines(result.summary)
        more = [] if result.error else _form_lines(result)
        lines += [f"{result.year}: {line}" for line in (*told, *more)]
    teller.result({"years": [_year_facts(result) for result in results]}, lines)
    if all(result.error for result in results):
        return FAILED
    is_missing = any(
        result.summary.failed
        or (result.error and not isinstance(result.error, errors.NothingPublished))
        for result in results
    )
    return PARTS_MISSING if is_missing else OK


def _year_facts(result: FetchResult) -> Dict[str, Any]:
    return {
        "dataset": result.dataset,
        "year": result.year,
        "depth": result.depth,
        "form": result.form,
        "form_reason": result.form_reason,
        "error": error_facts(result.error) if result.error else None,
        "fetched": _facts(result.summary),
    }


def _form_lines(result: FetchResult) -> List[str]:
    if not result.form_reason:
        return [f"Read from {_FORMS[result.form]}."]
    return [f"Read from {_FORMS[result.form]}: {result.form_reason}."]


def fetch_status(summary: FetchSummary) -> int:
    """Return the exit status of a command that fetched."""
    return PARTS_MISSING if summary.failed else OK


def _facts(value: Any) -> Dict[str, Any]:  # noqa: ANN401 - any dataclass
    return dataclasses.asdict(value)


def fetched_lines(summary: FetchSummary) -> List[str]:
    """Return what to say of a fetch."""
    lines = [
        (
            f"{summary.valid_px:,} of {summary.pixels:,} pixels are valid; "
            f"{summary.bytes_fetched / 1e6:,.1f} MB were fetched in {counted(summary.requests, 'request')}."
        )
    ]
    if summary.absent:
        lines.append(f"Not published: {', '.join(summary.absent)}.")
    if summary.unusual:
        lines.append(f"Unusual values, kept as they are: {', '.join(summary.unusual)}.")
    lines += [f"Missing: {failure.part} ({failure.reason})." for failure in summary.failed]
    return lines
