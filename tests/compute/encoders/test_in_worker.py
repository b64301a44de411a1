# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What needs torch and ONNX Runtime: checks_*.py, run once by the worker's Python."""

import ast
import json
import subprocess
from pathlib import Path

import pytest

from tests.compute.helpers import worker_python

HERE = Path(__file__).parent
MODULES = ("checks_network", "checks_checkpoint", "checks_export", "checks_reduced")
CHECKS = [
    (module, part.name)
    for module in MODULES
    for part in ast.parse((HERE / f"{module}.py").read_text("utf-8")).body
    if isinstance(part, ast.FunctionDef) and part.name.startswith("check_")
]


@pytest.fixture(scope="module")
def outcomes():
    done = subprocess.run(
        [worker_python(), "-I", str(HERE / "run_checks.py"), *MODULES],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {(module, check): text for module, check, text in rows}


@pytest.mark.parametrize(("module", "check"), CHECKS, ids=[check for _module, check in CHECKS])
def test_in_worker(outcomes, module, check):
    assert not outcomes[module, check], outcomes[module, check]
