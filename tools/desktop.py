# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run a scenario (a function of tests/e2e) in a real QGIS window and bring back what it saw."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping

from .qgis_profile import ROOT, make_profile, qgis_command, qgis_environment

SCENARIOS = ROOT / "tests" / "e2e"
LIMIT_S = 240


@contextlib.contextmanager
def running(
    folder: Path,
    scenario: str,
    plan: Mapping[str, Any],
    settings: Mapping[str, Any],
    **variables: str,
) -> Iterator[subprocess.Popen[bytes]]:
    """Give the process of a QGIS that performs `module.function`; it is killed at the end.

    Everything goes to `folder`: the profile, the log, the answer. `variables` of its environment
    come on top.
    """
    folder.mkdir(parents=True, exist_ok=True)
    answer = folder / "answer.json"
    answer.unlink(missing_ok=True)
    whole = {"limit_s": LIMIT_S, **plan, "scenario": scenario, "answer": str(answer)}
    plan_file = folder / "plan.json"
    plan_file.write_text(json.dumps(whole), "utf-8")
    profile = make_profile(folder / "profile", settings)
    variables.update(TESSERA_PLAN=str(plan_file), PYTHONPATH=str(SCENARIOS))
    environment = qgis_environment(**variables)
    with (folder / "qgis.log").open("wb") as log:
        process = subprocess.Popen(
            qgis_command(profile, SCENARIOS / "start.py"),
            env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        with contextlib.suppress(PermissionError):  # whatever ours is, QGIS has the usual priority
            os.setpriority(os.PRIO_PROCESS, process.pid, 0)
        try:
            yield process
        finally:
            kill(process)


def perform(
    folder: Path,
    scenario: str,
    plan: Mapping[str, Any],
    settings: Mapping[str, Any],
    **variables: str,
) -> Dict[str, Any]:
    """Run a scenario to its end and return its facts; `error` tells what went wrong."""
    with running(folder, scenario, plan, settings, **variables) as process:
        try:
            process.wait(LIMIT_S + 30)
        except subprocess.TimeoutExpired:
            return {"error": f"QGIS did not end within {LIMIT_S + 30} s; see {folder}/qgis.log"}
        facts = answer_of(folder)
        if process.returncode and "error" not in facts:
            return {**facts, "error": f"QGIS ended with status {process.returncode}"}
        return facts


def answer_of(folder: Path) -> Dict[str, Any]:
    """Return what a scenario wrote."""
    answer = folder / "answer.json"
    if not answer.exists():
        return {"error": f"QGIS ended without an answer; see {folder}/qgis.log"}
    facts: Dict[str, Any] = json.loads(answer.read_text("utf-8"))
    return facts


def kill(process: subprocess.Popen[bytes]) -> None:
    """End QGIS and all it started, as a power cut would."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
