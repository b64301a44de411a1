# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Similarity, novelty and suggestions: how well they find things, and how fast a set grows.

What is true of the sample archive's ground judges them. `time` (the default is all) grows sets on a
window of a canvas's size.
"""

import sys
import time
from types import SimpleNamespace

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from tessera_plugin.engine import similarity, suggest
from tessera_plugin.engine.heads import Head, fit_instant
from tessera_plugin.engine.novelty import Novelty
from tessera_plugin.io.tiling import Tile
from tessera_plugin.values import LandClass, Window
from tests.archive.sample import SampleArchive

TILE, FIRST_ROW, FIRST_COL, HEIGHT, WIDTH = "grid_0.15_52.15", 200, 100, 240, 400
CLASSES = tuple(LandClass(n, f"class {n}", "#000000") for n in range(1, 7))
SCREEN = (800, 1000)


class Place:
    """A part of a tile in memory, and what is true there."""

    depth, year, dataset = 128, 2024, SimpleNamespace(key="1.1-cambridge")

    def __init__(self):
        archive, tile = SampleArchive(), Tile.parse(TILE).footprint()
        rows, cols = (FIRST_ROW, FIRST_ROW + HEIGHT), slice(FIRST_COL, FIRST_COL + WIDTH)
        codes, scales = archive.tile_arrays("v1.1-cam", 2024, TILE, rows)
        self.window = Window(tile.zone, tile.row + FIRST_ROW, tile.col + FIRST_COL, HEIGHT, WIDTH)
        self.codes, self.scales = codes[:, cols].copy(), scales[:, cols].copy()
        w = self.window
        self.truth = archive.truth(w.zone, w.row, w.col, w.height, w.width)
        self.valid = (self.scales > 0) & (self.scales < 1) & self.codes.any(axis=2)

    def read(self, window):
        here = window.slices_in(self.window)
        return self.codes[here], self.scales[here]

    def samples(self, at):
        codes, scales = self.codes[at[:, 0], at[:, 1]], self.scales[at[:, 0], at[:, 1]]
        ids = self.truth[at[:, 0], at[:, 1]].astype(int)
        told = SimpleNamespace(classes=())
        return SimpleNamespace(codes=codes, scales=scales, class_ids=ids, report=told,
                               groups=np.arange(len(at)))  # fmt: skip


def similar(place):
    """Mean average precision of finding the class of one and of five references."""
    codes, ids = place.codes[place.valid], place.truth[place.valid]
    draw = np.random.default_rng(0)
    judged = draw.choice(len(codes), 10_000, replace=False)
    u = similarity.unit(codes)
    centre = similarity.centre_of(codes)
    covariance = np.cov((u - centre)[judged].T)
    values, vectors = np.linalg.eigh(
        0.5 * covariance + 0.5 * np.eye(128) * np.trace(covariance) / 128
    )
    whitened = similarity_unit((u - centre) @ (vectors / np.sqrt(values)))
    for count in (1, 5):
        found = {"cosine": [], "about the mean": [], "and over the covariance": []}
        for number in range(1, 7):
            for _ in range(8):
                chosen = draw.choice(np.flatnonzero(ids == number), count, replace=False)
                is_same = ids[judged] == number
                for name, middle in (
                    ("cosine", np.zeros(128, np.float32)),
                    ("about the mean", centre),
                ):
                    refs = similarity.References.of(codes[chosen], middle)
                    like = refs.likeness(codes[judged])
                    found[name].append(average_precision_score(is_same, like))
                like = (whitened[judged] @ whitened[chosen].T).max(axis=1)
                found["and over the covariance"].append(average_precision_score(is_same, like))
        told = ", ".join(f"{name} {np.mean(each):.3f}" for name, each in found.items())
        print(f"average precision, {count} references: {told}")


def similarity_unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def novel(place):
    """Area under the curve of telling the pixels of a class that has no label, ten labels each."""
    areas, flagged = [], []
    for out in range(1, 7):
        for repeat in range(3):
            draw = np.random.default_rng([repeat, out])
            at = _labels(place, [n for n in range(1, 7) if n != out], 10, draw)
            every = np.argwhere(place.valid)
            judged = every[draw.choice(len(every), 6000, replace=False)]
            percent = Novelty.of(place.samples(at)).percent(place.codes[judged[:, 0], judged[:, 1]])
            is_new = place.truth[judged[:, 0], judged[:, 1]] == out
            areas.append(roc_auc_score(is_new, percent))
            flagged.append([(percent[is_new] > 100).mean(), (percent[~is_new] > 100).mean()])
    new, known = np.mean(flagged, axis=0)
    print(
        f"novelty: AUC {np.mean(areas):.3f}, over the limit {new:.0%} of new, {known:.0%} of known"
    )


def teaching(place):
    """Accuracy of an instant head after rounds of six labels, suggested or at random."""
    every = np.argwhere(place.valid)
    for name in ("random", "suggested"):
        curves = [_curve(place, every, name, np.random.default_rng(n)) for n in range(6)]
        overall, by_class = np.mean(curves, axis=0).T
        print(f"{name:<10} overall {np.round(overall, 3)}, mean of classes {np.round(by_class, 3)}")


def _curve(place, every, name, draw):
    judged = every[np.random.default_rng(99).choice(len(every), 6000, replace=False)]
    at = _labels(place, draw.permutation(np.arange(1, 7))[:3], 2, draw)
    curve = []
    for _ in range(6):
        samples = place.samples(at)
        head = _head(samples)
        best = head.class_ids[head.probabilities(
            place.codes[judged[:, 0], judged[:, 1]], place.scales[judged[:, 0], judged[:, 1]]
        ).argmax(axis=1)]  # fmt: skip
        truth = place.truth[judged[:, 0], judged[:, 1]]
        by_class = np.mean([(best[truth == n] == n).mean() for n in range(1, 7)])
        curve.append(((best == truth).mean(), by_class))
        if name == "random":
            more = every[draw.choice(len(every), 6, replace=False)]
        else:
            places = suggest.find_places(place, [place.window], head, Novelty.of(samples), count=6)
            more = [(p.row - place.window.row, p.col - place.window.col) for p in places]
        at = np.concatenate([at, more])
    return curve


def _labels(place, classes, per_class, draw):
    spots = [np.argwhere(place.valid & (place.truth == n)) for n in classes]
    return np.concatenate(
        [each[draw.choice(len(each), per_class, replace=False)] for each in spots]
    )


def _head(samples):
    x = (samples.codes * samples.scales[:, None]).astype(np.float32)
    ids = np.unique(samples.class_ids)
    mean, std = x.mean(axis=0), x.std(axis=0) + np.float32(1e-3)
    weights = fit_instant((x - mean) / std, np.searchsorted(ids, samples.class_ids))
    classes = tuple(CLASSES[n - 1] for n in ids)
    return Head("bench", "instant", classes, "1.1-cambridge", 128, (2024,), mean, std, weights)


def timed(place):
    """A canvas of 1000 x 800 pixels at 10 m: likeness once, then the set for each step of the slider."""
    repeats = [-(-size // each) for size, each in zip(SCREEN, (HEIGHT, WIDTH))]
    codes = np.tile(place.codes, (*repeats, 1))[: SCREEN[0], : SCREEN[1]].copy()
    scales = np.tile(place.scales, repeats)[: SCREEN[0], : SCREEN[1]].copy()
    window = Window(31, 0, 0, *SCREEN)
    centre = similarity.centre_of(place.codes[place.valid])
    for count in (1, 5, 20):
        at = np.argwhere(place.valid)[:: place.valid.sum() // count][:count]
        references = similarity.References.of(codes[at[:, 0], at[:, 1]], centre)
        seeds = [tuple(each) for each in at.tolist()]
        taken = {"likeness": [], "of processor": [], "grow": [], "outlines": []}
        for _ in range(7):
            began, used = time.perf_counter(), time.process_time()
            found = similarity.SimilarPixels.of(window, codes, scales, references, seeds=seeds)
            taken["likeness"].append(time.perf_counter() - began)
            taken["of processor"].append(time.process_time() - used)
            for threshold in (60, 40, 25, 10):
                began = time.perf_counter()
                mask = found.grow(threshold)
                taken["grow"].append(time.perf_counter() - began)
        began = time.perf_counter()
        outlines = found.outlines(mask)
        taken["outlines"].append(time.perf_counter() - began)
        told = ", ".join(
            f"{name} {1000 * np.median(each):.0f} (most {1000 * max(each):.0f}) ms"
            for name, each in taken.items()
        )
        print(f"{count} references: {told}; {mask.sum():,} pixels in {len(outlines)} outlines")


def main():
    """Run what is asked for."""
    place = Place()
    jobs = {"similar": similar, "novel": novel, "teaching": teaching, "time": timed}
    for name in sys.argv[1:] or jobs:
        jobs[name](place)


if __name__ == "__main__":
    main()
