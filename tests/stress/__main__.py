# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The long runs: `./dev stress`, or only some: `./dev stress kills matrix --form zarr --count 20`.

Prints a table and ends with 1 if anything was not as it must be.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence

from tests.stress import crowd, disks, flips, kills, matrix, randoms, slow
from tests.stress.scenes import scene
from tests.stress.table import Row, told

FORMS = ("zarr", "npy")

PARTS: Dict[str, str] = {
    "matrix": "every fault on every kind of request, once and lasting",
    "randoms": "several faults at once, drawn by chance",
    "kills": "processes killed while they fetch",
    "crowd": "two processes at once, one of them killed",
    "disks": "disks that run full",
    "flips": "how much harm to the bytes can be told (no trial, a measurement)",
    "slow": "slow faults with the real time-outs",
}


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="stress", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help=_helped())
    parser.add_argument("--form", choices=FORMS)
    parser.add_argument("--kills", type=int, default=100, help="of each form")
    parser.add_argument("--seeds", type=int, default=100, help="of each form")
    parser.add_argument("--rounds", type=int, default=20, help="of two at once, of each form")
    asked = parser.parse_args(arguments)
    began = time.monotonic()
    parts = asked.parts or list(PARTS)
    forms = [asked.form] if asked.form else FORMS
    rows: List[Row] = []
    with tempfile.TemporaryDirectory(prefix="tessera-stress-") as scratch:
        folder = Path(scratch)
        for form in forms:
            scene(form).truth.states.sum()  # made before anything is timed
        runs: Dict[str, Callable[[str], Row]] = {
            "matrix": lambda form: matrix.run(form, folder),
            "randoms": lambda form: randoms.run(form, asked.seeds, folder),
            "kills": lambda form: kills.run(form, asked.kills, folder),
            "crowd": lambda form: crowd.run(form, asked.rounds, folder),
            "disks": lambda form: disks.run(form, 10, folder),
            "flips": _measured,
        }
        with ThreadPoolExecutor(len(FORMS)) as pool:
            for part in [part for part in runs if part in parts]:
                # what waits for child processes goes side by side
                many = pool.map if part in ("kills", "crowd") else map
                for row in many(runs[part], forms):
                    _say(row)
                    rows.append(row)
            if "slow" in parts:
                for row in pool.map(lambda form: slow.run(form, folder), forms):
                    _say(row)
                    rows.append(row)
    print(
        f"\n{told(rows)}\n\n{(time.monotonic() - began) / 60:.1f} minutes, {os.cpu_count()} cores"
    )
    return int(any(row.violations for row in rows))


def _measured(form: str) -> Row:
    """Return how often harm to codes is told by what."""
    row, began = Row(f"harm to the bytes of codes, {form}"), time.monotonic()
    where = scene(form)
    told_by = []
    for harm in flips.HARMS:
        found = flips.rates(where, where.parts[0].codes, harm, 500)
        total = sum(found.values())
        told_by.append(f"{harm}: {1 - found[flips.NOTHING] / total:.0%} told")
        row.trials += total
    row.remarks = "; ".join(told_by)
    row.seconds = time.monotonic() - began
    return row


def _say(row: Row) -> None:
    count = len(row.violations)
    print(f"{row.name}: {row.trials} trials, {count} violations, {row.seconds:.0f} s", flush=True)
    for text in row.violations[:5]:
        print(f"  {text}", flush=True)


def _helped() -> str:
    return "; ".join(f"{name}: {text}" for name, text in PARTS.items())


if __name__ == "__main__":
    sys.exit(main())
