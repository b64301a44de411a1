# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenes as d-pixel folders, and what an encoder may say about itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Dict

import numpy as np

from tessera_plugin.compute.worker.encode.sampling import fill_v2, fill_v11
from tessera_plugin.compute.worker.encoders.spec import (
    BUCKETS,
    DAY_OF_YEAR,
    EMPTY_REFUSED,
    EMPTY_ZEROS,
    FILL_NONE,
    FILL_V2,
    FILL_V11,
    RANDOM,
    S1_BANDS,
    S1_UNIT,
    S2_BANDS,
    S2_UNIT,
    SCHEMA,
    EncoderSpec,
    Input,
    Output,
    Parity,
    Quantisation,
    Sampling,
    SelfTest,
    Source,
    Stream,
    Work,
)

Scene = Dict[str, np.ndarray]

EIGHTS = tuple(range(8, 257, 8))
SAMPLINGS = {
    "2.0": Sampling(BUCKETS, EIGHTS, FILL_V2, EMPTY_ZEROS, 1, False, 1),
    "1.1": Sampling(BUCKETS, EIGHTS, FILL_V11, EMPTY_ZEROS, 8, False, 1),
    "1.0": Sampling(RANDOM, (40,), FILL_NONE, EMPTY_REFUSED, 0, True, 2),
}
MEANS = {"s2": tuple(1000.0 + 100 * band for band in range(10))}
MEANS.update(s1_ascending=(5900.0, 3400.0), s1_descending=(5800.0, 3250.0))
STDS = {"s2": tuple(1500.0 + 50 * band for band in range(10))}
STDS.update(s1_ascending=(1500.0, 1530.0), s1_descending=(1550.0, 1545.0))


def scene(t2=5, ta=3, td=4, height=6, width=7, seed=0, cloudy=0.4) -> Scene:
    """Return a scene like a real one, whose axes all have other lengths."""
    rng = np.random.default_rng(seed)

    def days(count, kind):
        return np.sort(rng.choice(np.arange(1, 366), count, replace=False)).astype(kind)

    def sar(count):
        codes = rng.normal((5900, 3400), 900, (count, height, width, 2)).clip(1, 32767)
        codes[rng.random((count, height, width)) < 0.2] = 0
        return codes.astype(np.int16)

    return {
        "bands": rng.integers(1, 9000, (t2, height, width, 10)).astype(np.uint16),
        "masks": (rng.random((t2, height, width)) >= cloudy).astype(np.uint8),
        "doys": days(t2, np.uint16),
        "sar_ascending": sar(ta),
        "sar_ascending_doy": days(ta, np.int16),
        "sar_descending": sar(td),
        "sar_descending_doy": days(td, np.int16),
    }


def write(folder: Path, arrays: Scene) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def nested(array: np.ndarray) -> Any:
    """Return numbers as tuples of tuples."""
    return tuple(nested(each) for each in array) if array.ndim else array.item()


def no_test(depth: int) -> SelfTest:
    """Return the smallest self-test there can be."""
    pixel = (((100,) * 10,),)
    return SelfTest(pixel, ((1,),), (10,), (), (), (), (), ((0.0,) * depth,), 1e-4)


def spec_of(generation: str = "2.0", depth: int = 128, **changes: Any) -> EncoderSpec:
    """Return an encoder's description; `changes` are fields of it."""

    def stream(name, bands, unit, valid):
        return Stream(name, "any", bands, unit, MEANS[name], STDS[name], 1e-9, valid)

    orbits = [
        stream(name, S1_BANDS, S1_UNIT, "any_nonzero") for name in ("s1_ascending", "s1_descending")
    ]
    spec = EncoderSpec(
        schema=SCHEMA,
        name="test",
        generation=generation,
        size="",
        data_source="unstated",
        space="test",
        heads=1,
        precision="float32",
        loss=None,
        is_fast_preview=False,
        gflop_per_px=Work(0.0, 1e-6, 0.0, 1e-6, 0.0),
        is_order_sensitive=False,
        s2=Input("s2_input", (stream("s2", S2_BANDS, S2_UNIT, "mask"),)),
        s1=Input("s1_input", tuple(orbits)),
        day_of_year=DAY_OF_YEAR,
        sampling=SAMPLINGS[generation],
        output=Output("output", depth, depth, (), False),
        quantisation=Quantisation(1e-8, -127),
        source=Source("none.pt", "0" * 64, "CC0-1.0", "test"),
        parity=Parity(0.0, 1e-4, 1.0, ()),
        self_test=no_test(depth),
    )
    return replace(spec, **changes)


def z(raw, name):
    mean, std = (np.array(table[name], np.float32) for table in (MEANS, STDS))
    return (raw.astype(np.float32) - mean) / (std + np.float32(1e-9))


def plainly(arrays, row, col, generation):
    """Return the two sequences of a pixel, from the description, one step after the other."""
    clear = np.flatnonzero(arrays["masks"][:, row, col])
    s2 = np.c_[z(arrays["bands"][clear, row, col], "s2"), arrays["doys"][clear]]
    orbits = []
    for orbit in ("ascending", "descending"):
        raw = arrays[f"sar_{orbit}"][:, row, col]
        kept = (raw[:, 0] != 0) | (raw[:, 1] != 0)
        doys = arrays[f"sar_{orbit}_doy"][kept]
        orbits.append(np.c_[z(raw[kept], f"s1_{orbit}"), doys])
    sequences = []
    for rows, width in ((s2, 11), (np.concatenate(orbits), 3)):
        if not len(rows):
            sequences.append(np.zeros((1 if generation == "2.0" else 8, width)))
            continue
        length = min(length for length in EIGHTS if length >= len(rows))
        fill = fill_v2 if generation == "2.0" else fill_v11
        sequences.append(rows[fill(len(rows), length)])
    return sequences
