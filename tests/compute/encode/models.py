# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Small encoders whose embeddings numpy knows."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Optional

import numpy as np

from tessera_plugin.compute.worker.encoders.spec import KEY, EncoderSpec, SelfTest, spec_to_text
from tests.compute.encode.scenes import Scene, nested, plainly, scene, spec_of
from tests.compute.helpers import worker_python

SCRIPT = Path(__file__).with_name("make_encoder.py")


def weights(channels: int, depth: int) -> np.ndarray:
    """Return (channels, depth); the day of year, which is large, counts little."""
    found = np.random.default_rng(channels).normal(0, 0.1, (channels, depth))
    found[-1] /= 300
    return found.astype(np.float32)


def forward(s2: np.ndarray, s1: np.ndarray, depth: int) -> np.ndarray:
    """Return the embedding of a pixel's two sequences, in double precision."""
    parts = (np.cumsum(x.astype(float), axis=0).mean(axis=0) for x in (s2, s1))
    return sum(part @ weights(len(part), depth).astype(float) for part in parts)


def self_test(generation: str, depth: int, kept: int, off: float = 0.0) -> SelfTest:
    """Return a test of six pixels; `off` makes it a wrong one."""
    few = scene(t2=40, ta=17, td=23, height=1, width=6, seed=9, cloudy=0.3)
    if generation == "1.0":  # nothing may be drawn by chance
        few["masks"][:] = 1
        for name in ("sar_ascending", "sar_descending"):
            few[name][few[name] == 0] = 3000
    found = [forward(*sequences(few, 0, px, generation), depth)[:kept] + off for px in range(6)]
    return self_test_of(few, np.array(found))


def self_test_of(row: Scene, expected: np.ndarray, tolerance: float = 2e-4) -> SelfTest:
    """Return a scene of one row of pixels, and their embeddings, as a self-test."""
    return SelfTest(
        bands=nested(row["bands"][:, 0]),
        masks=nested(row["masks"][:, 0]),
        doys=nested(row["doys"]),
        ascending=nested(row["sar_ascending"][:, 0]),
        ascending_doys=nested(row["sar_ascending_doy"]),
        descending=nested(row["sar_descending"][:, 0]),
        descending_doys=nested(row["sar_descending_doy"]),
        expected=nested(expected),
        tolerance=tolerance,
    )


def sequences(arrays: Scene, row: int, col: int, generation: str):
    return plainly(arrays, row, col, "2.0" if generation == "1.0" else generation)


def make(
    path: Path,
    generation: str = "2.0",
    depth: int = 16,
    kind: str = "plain",
    spec: Optional[EncoderSpec] = None,
    kept: int = 0,
    off: float = 0.0,
    said: Optional[dict] = None,
    shift: float = 0.0,
) -> str:
    """Write an encoder and return its path."""
    if spec is None:
        test = self_test(generation, depth, kept or depth, off)
        spec = spec_of(generation, kept or depth, self_test=test)
        spec = replace(spec, output=replace(spec.output, native_dimension=depth))
    facts = {
        "kind": kind,
        "shift": shift,
        "out": str(path),
        "s2_input": weights(11, depth).tolist(),
        "s1_input": weights(3, depth).tolist(),
        "said": {KEY: spec_to_text(spec)} if said is None else said,
    }
    told = path.with_suffix(".json")
    told.write_text(json.dumps(facts))
    subprocess.run([worker_python(), str(SCRIPT), str(told)], check=True)
    return str(path)
