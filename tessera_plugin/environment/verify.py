# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether an environment really computes: told by a script that its own Python runs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping, Tuple

from . import failures
from .places import python_in
from .process import Outcome, Tick, run

SENTINEL = "tessera-verify:"
"""Starts the line with the script's verdict."""

SCRIPT = Path(__file__).with_name("verify_script.py")

IDLE_S = 300.0
"""The first start reads a gigabyte, past a virus scanner."""


@dataclass(frozen=True)
class Verdict:
    """What an environment can do."""

    python: str
    versions: Mapping[str, str]
    onnx_providers: Tuple[str, ...]
    """Those that ran a real model, the best one first."""
    torch_devices: Tuple[str, ...]
    """Those that trained for real, the best one first."""
    notes: Tuple[str, ...]
    """Why a better device is not used."""
    seconds: float
    error: str = ""
    """Why it can't be used; empty where it can."""

    @property
    def uses_gpu(self) -> bool:
        """Whether anything but the processor computes."""
        first = (*self.onnx_providers[:1], *self.torch_devices[:1])
        return any(name not in {"cpu", "CPUExecutionProvider"} for name in first)


def verify(
    environment: Path,
    bundle: str,
    variant: str,
    *,
    environ: Mapping[str, str],
    log: Path,
    tick: Tick,
) -> Verdict:
    """Let an environment prove that it works. Raises: what `tick` raises."""
    python = python_in(environment)
    command = [str(python), "-I", "-X", "faulthandler", str(SCRIPT), bundle, variant, SENTINEL]
    try:
        outcome = run(command, environ, log, tick, idle_s=IDLE_S)
    except OSError as error:
        outcome = Outcome(-1, str(error))
    return verdict_of(outcome)


def verdict_of(outcome: Outcome) -> Verdict:
    """Return the verdict in what the script said; one that crashed says how."""
    for line in reversed(outcome.output.splitlines()):
        if line.startswith(SENTINEL):
            told = json.loads(line[len(SENTINEL) :])
            return Verdict(
                python=told["python"],
                versions=dict(told["versions"]),
                onnx_providers=tuple(told["onnx_providers"]),
                torch_devices=tuple(told["torch_devices"]),
                notes=tuple(told["notes"]),
                seconds=float(told["seconds"]),
                error=str(told.get("error", "")),
            )
    reason = "it did not come to an end" if outcome.is_idle else failures.detail_of(outcome)
    return Verdict("", {}, (), (), (), 0.0, reason or f"it crashed (status {outcome.status})")
