# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Samples made up at once, for tests of what comes after the embeddings."""

import numpy as np

from tessera_plugin.engine.samples import ClassSamples, SampleReport, Samples
from tessera_plugin.io.vectors import Skipped
from tests.builders import CLASSES

ROW, COL = -578_000, 50_000


def made(places, classes, year=2024, size=1, values=None, known=CLASSES, zone=31):
    """Samples with a label of `size` pixels in a row at each (row, col)."""
    places, classes = np.array(places), np.array(classes)
    count = len(places)
    groups = np.repeat(np.arange(count), size)
    row = ROW + places[groups, 0]
    col = COL + places[groups, 1] + np.tile(np.arange(size), count)
    random = np.random.default_rng(0)
    x = random.normal(0, 1, (count * size, 8)) if values is None else values[groups]
    scales = (np.abs(x).max(axis=1) / 127).astype(np.float32)
    codes = np.rint(x / scales[:, None]).astype(np.int8)
    ids = classes[groups]
    told = tuple(ClassSamples(c.id, c.name, int((classes == c.id).sum()), int((ids == c.id).sum()))
                 for c in known)  # fmt: skip
    report = SampleReport(count, len(ids), 0, 0, 0, 0, 0, 0, 0, told, Skipped())
    return Samples(codes, scales, ids, groups, np.full(len(ids), zone), row, col, known, report,
                   "1.1-cambridge", year, keys=tuple(f"key {i}" for i in range(count)))  # fmt: skip


def scattered(count, seed=0, edge=1000, classes=3, **options):
    random = np.random.default_rng(seed)
    places = random.integers(0, edge, (count, 2))
    return made(places, 1 + np.arange(count) % classes, **options)


def gaussians(per_class, noise, seed=0, classes=3, depth=128):
    """Samples of classes with a centre each, the same for every seed, and noise around it."""
    centres = np.random.default_rng(77).normal(0, 1, (classes, depth))
    random = np.random.default_rng(seed)
    index = np.repeat(np.arange(classes), per_class)
    values = centres[index] + noise * random.normal(0, 1, (len(index), depth))
    places = random.permutation(1000 * 1000)[: len(index)]
    return made(np.column_stack([places // 1000, places % 1000]), 1 + index, values=values)
