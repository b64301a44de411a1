# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The whole matrix: every fault, on every kind of request, once and lasting, alone and everywhere."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

from tessera_plugin.io import http_bodies
from tests.servers import FOREVER, Fault, RangeServer
from tests.stress.kinds import KINDS, PASSES, Kind
from tests.stress.scenes import Scene, archive, scene
from tests.stress.table import Row
from tests.stress.trial import Trial, with_


def run(form: str, folder: Path) -> Row:
    """Try all of it over one form."""
    row, began = Row(f"matrix, {form}"), time.monotonic()
    patience, http_bodies.SLOWEST_BYTES_PER_S = http_bodies.SLOWEST_BYTES_PER_S, 100_000.0
    try:
        with RangeServer(archive()) as server:
            for number, (kind, place, faults, is_lasting) in enumerate(_cases(scene(form))):
                server.clear()
                trial = Trial(scene(form), server, folder / f"matrix-{form}-{number}")
                server.faults += faults
                length = "lasting" if is_lasting else "once"
                is_root = form == "zarr" and place in ("the root", "everything")
                own = kind.of_root if is_root and kind.of_root is not None else kind.words
                if place == "everything" and not own:
                    own = kind.words
                problems = _tried(trial, kind, own, is_lasting=is_lasting)
                row.add(f"{kind.name}, {place}, {length}", problems)
    finally:
        http_bodies.SLOWEST_BYTES_PER_S = patience
    row.seconds = time.monotonic() - began
    return row


def _tried(trial: Trial, kind: Kind, words: str, *, is_lasting: bool) -> List[str]:
    outcome = trial.fetch(with_(**kind.settings))
    problems = outcome.problems() + outcome.not_bounded(250, 15 + 20 * kind.seconds)
    if (is_lasting and words) or (not is_lasting and kind.once != PASSES):
        problems += outcome.not_named(words)
    else:
        problems += outcome.not_whole()
    return problems + trial.repaired(outcome)


def _cases(where: Scene) -> Iterator[Tuple[Kind, str, List[Fault], bool]]:
    """Yield a fault, where it is put, and whether it lasts."""
    for kind in KINDS:
        for place, target in _places(where).items():
            for count in (1, FOREVER):
                yield kind, place, [kind.make(count=count, **target)], count == FOREVER


def _places(where: Scene) -> Dict[str, Dict[str, object]]:
    parts = where.parts
    places: Dict[str, Dict[str, object]] = {
        "index or head of scales": {"path": parts[1].scales},
        "index or head of codes": {"path": parts[2].codes},
        "scales": {"path": parts[1].scales, "skip": 1},
        "codes": {"path": parts[2].codes, "skip": 1},
        "everything": {"path": "*"},
    }
    if where.form == "zarr":
        places["the root"] = {"path": "zarr/*/zarr.json"}
    return places
