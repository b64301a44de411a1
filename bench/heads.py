# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Accuracy and calibration of our heads against scikit-learn's, on the same folds of the sample archive.

    ./dev bench heads [--repeats N] [--per-class N] [--land N] [--instant-only]

Each of several folds (by label) is tested by heads of 1, 2, 5, 10 and 50 labels per class, drawn from
the rest. Both sides get embeddings standardised over the labels that are learnt, but our heads by the
pixels around all labels, from which they learn too, without any label. A fold's instant head, which
teaches its MLP, knows the labels of that fold's training alone. `--land` is the seed of another
simulated land. Differences are of the same draws, ± the standard error of their mean.
"""

import argparse
import os
import tempfile
import time
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.neural_network import MLPClassifier

from tessera_plugin.compute.client import WorkerClient
from tessera_plugin.engine import calibration
from tessera_plugin.engine.accuracy import majority
from tessera_plugin.engine.embeddings import dequantise
from tessera_plugin.engine.fitting import Trainer, standardisation
from tessera_plugin.engine.folds import ValidationParams, make_folds
from tessera_plugin.engine.head_comparison import compare_heads, table
from tessera_plugin.engine.label_sets import LabelSet, Where, gather, taken
from tessera_plugin.engine.labels import Label, Labels
from tessera_plugin.engine.samples import SampleParams
from tessera_plugin.engine.train_params import TrainParams
from tessera_plugin.engine.training import fit
from tessera_plugin.progress import silent
from tessera_plugin.values import Access, LandClass, NetworkSettings
from tests.archive.sample import SampleArchive
from tests.builders import wkb
from tests.servers import RangeServer

ROOT = Path(__file__).resolve().parent.parent
WORKER = os.environ.get(
    "TESSERA_WORKER_PYTHON", str(ROOT / "build" / "private" / "environment" / "bin" / "python")
)
BBOX = (0.10, 52.15, 0.19, 52.22)
SIZES = (1, 2, 5, 10, 50)
FOLDS = 4


def samples_of(per_class, land=0):
    """Labels as a careful person would click them, and their embeddings over a real server."""
    archive = SampleArchive(seed=land)
    classes = tuple(LandClass(c.id, c.name, c.color) for c in archive.classes)
    points = archive.label_points(BBOX, per_class=per_class)
    items = tuple(
        Label(wkb(f"POINT ({p.lon!r} {p.lat!r})"), p.class_id, f"point {number}")
        for number, p in enumerate(points)
    )
    labels = Labels("EPSG:4326", classes, items, "the archive's points")
    with RangeServer(archive) as server, tempfile.TemporaryDirectory() as folder:
        network = NetworkSettings(connect_timeout_s=10, read_timeout_s=60)
        access = Access(folder, server.url, network=network, form="npy")
        where = Where("1.1-cambridge", access)
        return gather((LabelSet(labels, 2024),), where, SampleParams(), silent)[0]


def drawn(samples, y, rows, size, seed):
    """Return rows of `size` labels of each class, all there are of a class with fewer."""
    names, inverse = np.unique(samples.groups[rows], return_inverse=True)
    class_of = majority(y[rows], inverse, len(names))
    rank = np.zeros(len(names), int)
    for index in np.unique(class_of):
        mine = np.flatnonzero(class_of == index)
        rank[np.random.default_rng([*seed, int(index)]).permutation(mine)] = np.arange(len(mine))
    return rows[rank[inverse] < size]


class Table:
    """What each head said of what it had not seen, by name and size."""

    def __init__(self, sizes):
        self.sizes = sizes
        self.right = defaultdict(list)
        self.sure = defaultdict(list)

    def add(self, name, size, probabilities, y):
        self.right[name, size].append((probabilities.argmax(axis=1) == y).mean())
        self.sure[name, size].append((probabilities, y))

    def show(self, names):
        print(f"{'accuracy, mean ± sd':<44}" + "".join(f"{size:>15}" for size in self.sizes))
        for name in names:
            cells = [self.right.get((name, size)) for size in self.sizes]
            told = [f"{100 * np.mean(c):.1f} ± {100 * np.std(c):.1f}" if c else "-" for c in cells]
            print(f"{name:<44}" + "".join(f"{cell:>15}" for cell in told))

    def show_differences(self, name, others):
        print(f"{name + ' less, in points':<44}" + "".join(f"{size:>15}" for size in self.sizes))
        for other in others:
            told = []
            for size in self.sizes:
                mine, theirs = self.right.get((name, size)), self.right.get((other, size))
                if not mine or not theirs:
                    told.append("-")
                    continue
                gap = 100 * (np.array(mine) - theirs)
                told.append(f"{gap.mean():+.1f} ± {gap.std(ddof=1) / np.sqrt(len(gap)):.1f}")
            print(f"  {other:<42}" + "".join(f"{cell:>15}" for cell in told))

    def show_errors(self, names):
        print(f"{'ECE (mean confidence)':<44}" + "".join(f"{size:>15}" for size in self.sizes))
        for name in names:
            told = []
            for size in self.sizes:
                said = self.sure.get((name, size))
                if not said:
                    told.append("-")
                    continue
                # bins of each training by itself: the errors of several would cancel out
                errors = [calibration.expected_calibration_error(p, y) for p, y in said]
                error = np.mean([np.nan if each is None else each for each in errors])
                told.append(f"{error:.3f} ({np.mean([p.max(axis=1).mean() for p, _ in said]):.3f})")
            print(f"{name:<44}" + "".join(f"{cell:>15}" for cell in told))


def nearest_mean(x, y, fresh):
    means = np.array([x[y == index].mean(axis=0) for index in np.unique(y)])
    away = ((fresh[:, None] - means) ** 2).sum(axis=2)
    return calibration.softmax(-0.5 * away)


def lda(x, y, fresh):
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    return model.fit(x.astype(float), y).predict_proba(fresh)


def sklearn_mlp(x, y, fresh):
    model = MLPClassifier((64,), max_iter=500, random_state=0)
    return model.fit(x, y).predict_proba(fresh)


def ours(head, samples, rows):
    """Return the head's probabilities of rows, without its temperature and with it."""
    logits = head.logits(samples.codes[rows], samples.scales[rows])
    return calibration.softmax(logits), calibration.softmax(logits, head.temperature)


def one_draw(told, samples, learnt, test, *, size, worker):
    trainer = Trainer.of(samples, TrainParams(), None)
    y = trainer.y
    mean, std = standardisation(samples.codes[learnt], samples.scales[learnt])
    x, fresh = (
        (dequantise(samples.codes[rows], samples.scales[rows]) - mean) / std
        for rows in (learnt, test)
    )
    told.add(NEAREST, size, nearest_mean(x, y[learnt], fresh), y[test])
    alone = Trainer.of(samples, TrainParams(background=False), None)
    for name, one in ((INSTANT, trainer), (ALONE, alone)):
        if size == 1 or one is alone:
            said = calibration.softmax(one.logits(one.fit(learnt, silent), test))
            told.add(name, size, said, y[test])
    if size == 1:
        return
    some = taken(samples, learnt)
    before, after = ours(fit(some, TrainParams(test_share=0.0)), samples, test)
    told.add(INSTANT, size, before, y[test])
    told.add(INSTANT_T, size, after, y[test])
    told.add(LDA, size, lda(x, y[learnt], fresh), y[test])
    if worker is not None:
        before, after = ours(fit(some, TrainParams(kind="mlp"), worker=worker), samples, test)
        told.add(MLP, size, before, y[test])
        told.add(MLP_T, size, after, y[test])
        params = TrainParams(kind="mlp", background=False)
        told.add(MLP_ALONE, size, ours(fit(some, params, worker=worker), samples, test)[0], y[test])
        told.add(SKLEARN_MLP, size, sklearn_mlp(x, y[learnt], fresh), y[test])


NEAREST, INSTANT, INSTANT_T = "nearest class mean", "instant", "instant, with temperature"
ALONE = "instant, from the labels alone"
LDA = "scikit-learn LDA (lsqr, shrinkage auto)"
MLP, MLP_T, MLP_ALONE, SKLEARN_MLP = (
    "MLP (64)",
    "MLP (64), with temperature",
    "MLP (64), from the labels alone",
    "scikit-learn MLPClassifier (64)",
)


def main():
    warnings.filterwarnings("ignore")
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--per-class", type=int, default=90)
    arguments.add_argument("--land", type=int, default=0)
    arguments.add_argument("--instant-only", action="store_true")
    options = arguments.parse_args()
    samples = samples_of(options.per_class, options.land)
    counts = {row.name: row.labels for row in samples.report.classes}
    print(f"{samples.report.labels} labels: {counts}")
    folds = make_folds(samples, ValidationParams("random", folds=FOLDS))
    worker = None if options.instant_only else WorkerClient(WORKER)
    y = Trainer.of(samples, TrainParams(), None).y
    told, began = Table(SIZES), time.monotonic()
    for size in SIZES:
        for repeat in range(options.repeats):
            for number, fold in enumerate(folds.items):
                learnt = drawn(samples, y, fold.train, size, [repeat, number])
                one_draw(told, samples, learnt, fold.test, size=size, worker=worker)
    print(f"{FOLDS} folds by label, {options.repeats} repeats, labels per class across "
          f"({time.monotonic() - began:.0f} s)\n")  # fmt: skip
    told.show((NEAREST, INSTANT, ALONE, LDA, MLP, MLP_ALONE, SKLEARN_MLP))
    print()
    if worker is not None:
        told.show_differences(MLP, (INSTANT, LDA, MLP_ALONE, SKLEARN_MLP))
        print()
    told.show_errors((INSTANT, INSTANT_T, LDA, MLP, MLP_T, SKLEARN_MLP))
    if worker is not None:
        print(f"\nall {samples.report.labels} labels, by the same folds (`compare-heads`)")
        for line in table(compare_heads(samples, TrainParams(), folds, worker=worker)):
            print(line)
        worker.stop()


if __name__ == "__main__":
    main()
