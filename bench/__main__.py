# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run the measurements: `./dev bench` for all, `./dev bench classify` for one."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

names = sorted(p.stem for p in Path(__file__).parent.glob("*.py") if p.stem[0] != "_")
chosen = sys.argv[1:2] or names
if unknown := set(chosen) - set(names):
    sys.exit(f"There is no measurement {', '.join(unknown)}; there are {', '.join(names)}.")
for name in chosen:
    print(f"--- {name}")
    sys.argv = [name, *sys.argv[2:]]
    runpy.run_module(f"bench.{name}", run_name="__main__")
