# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run in the private environment: every `check_` of checks_*.py, a line of JSON for each."""

import contextlib
import json
import sys
import tempfile
import time
import traceback
from importlib import import_module
from pathlib import Path

import torch

# Two threads that wait for each other at every step of a recurrence are slow on a busy machine.
torch.set_num_threads(1)
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[2]), str(HERE)]

started = time.monotonic()
for name in sys.argv[1:]:
    checks = import_module(name)
    for check in [found for found in vars(checks) if found.startswith("check_")]:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
            try:
                getattr(checks, check)(Path(folder))
                text = ""
            except BaseException:
                text = traceback.format_exc()
        print(f"{time.monotonic() - started:.1f} s: {check}", file=sys.stderr)
        print(json.dumps([name, check, text]), flush=True)
