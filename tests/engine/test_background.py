# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What pixels without labels add to an instant head."""

from dataclasses import replace

import numpy as np
import pytest

from tessera_plugin.compute.client import WorkerClient
from tessera_plugin.engine.fitting import WORTH_LABELS, Trainer
from tessera_plugin.engine.grid import windows_of
from tessera_plugin.engine.heads import fit_instant
from tessera_plugin.engine.heads.background import (
    FEWEST_PX,
    MAX_PX,
    MOVE_LABELS,
    ROUNDNESS,
    ROUNDS,
    Background,
)
from tessera_plugin.engine.label_sets import joined, taken
from tessera_plugin.engine.samples import Label, Labels, SampleParams, collect
from tessera_plugin.engine.surroundings import background_of
from tessera_plugin.engine.training import TrainParams, fit
from tessera_plugin.progress import silent
from tessera_plugin.values import BLOCK_PX, Extent, LandClass, State
from tests.builders import wkb
from tests.builders_samples import made
from tests.compute.helpers import worker_python
from tests.memory_source import MemorySource, true_classes

DEPTH = 40
SCALE = 0.02


def land(counts, seed=0, depth=DEPTH):
    """Codes and scales of pixels of classes that differ in a few directions, and noise in the rest."""
    random = np.random.default_rng(seed)
    shape = np.random.default_rng(99)  # the same land for every seed
    centres = np.zeros((len(counts), depth))
    centres[:, :6] = shape.normal(0, 25, (len(counts), 6))
    wide = np.where(np.arange(depth) < 6, 10.0, 18.0)
    turn, _ = np.linalg.qr(shape.normal(0, 1, (depth, depth)))
    y = np.repeat(np.arange(len(counts)), counts)
    x = (centres[y] + random.normal(0, 1, (len(y), depth)) * wide) @ turn
    codes = np.clip(np.rint(x), -127, 127).astype(np.int8)
    return codes, np.full(len(y), SCALE, np.float32), y


def standardised(ground, codes):
    return ((codes * SCALE - ground.mean) / ground.std).astype(np.float32)


def right(weights, x, y):
    return float(((x @ weights["W"] + weights["b"]).argmax(axis=1) == y).mean())


def test_few_labels_go_further_and_many_lose_nothing():
    ground = Background.of(*land((400, 400, 400, 400), seed=1)[:2])
    fresh, _, y_fresh = land((200, 200, 200, 200), seed=2)
    x_fresh = standardised(ground, fresh)
    gained = {}
    for per_class in (1, 3, 200):
        shares = []
        for seed in range(8):
            codes, _, y = land((per_class,) * 4, seed=10 + seed)
            x = standardised(ground, codes)
            with_it = right(fit_instant(x, y, background=ground), x_fresh, y_fresh)
            shares.append(with_it - right(fit_instant(x, y), x_fresh, y_fresh))
        gained[per_class] = np.mean(shares)
    assert gained[1] > 0.05
    assert gained[3] > 0.02
    assert gained[200] > -0.01


def test_learn_is_the_mixture_computed_row_by_row():
    ground = Background.of(*land((150, 100, 50), seed=1)[:2])
    codes, _, y = land((2, 1, 3), seed=3)
    x = standardised(ground, codes).astype(float)
    means = np.array([x[y == k].mean(axis=0) for k in range(3)])
    counts, shares = np.array([2, 1, 3]), np.array([0.2, 0.3, 0.5])
    rows = standardised(ground, ground.codes).astype(float) @ ground.basis
    start = means @ ground.basis
    moved, cov = start.copy(), np.eye(len(ground.spread)) * ground.spread.mean() / 2
    for _ in range(ROUNDS):
        inverse = np.linalg.inv(cov)
        odds = np.array(
            [[s * np.exp(-0.5 * (r - m) @ inverse @ (r - m)) for m, s in zip(moved, shares)]
             for r in rows]
        )  # fmt: skip
        odds /= odds.sum(axis=1, keepdims=True)
        for k in range(3):
            centre = sum(o * r for o, r in zip(odds[:, k], rows)) / odds[:, k].sum()
            pull = min(odds[:, k].sum(), MOVE_LABELS / counts[k])
            moved[k] = (counts[k] * start[k] + pull * centre) / (counts[k] + pull)
        total = sum(
            o[k] * np.outer(r - moved[k], r - moved[k])
            for o, r in zip(odds, rows)
            for k in range(3)
        )
        cov = total / len(rows)
        cov = (1 - ROUNDNESS) * cov + ROUNDNESS * np.trace(cov) / len(cov) * np.eye(len(cov))
    found_means, found_cov = ground.learn(means, counts, shares)
    np.testing.assert_allclose((found_means - means) @ ground.basis, moved - start, atol=1e-5)
    np.testing.assert_allclose(ground.basis.T @ found_cov @ ground.basis, cov, atol=1e-4)
    # aside of the dimensions in which the place varies, nothing is decided and nothing is moved
    aside = np.linalg.svd(ground.basis)[0][:, len(ground.spread) :]
    np.testing.assert_allclose(aside.T @ (found_means - means).T, 0, atol=1e-9)
    widest = np.linalg.eigvalsh(cov)[-1]
    np.testing.assert_allclose(
        aside.T @ found_cov @ aside, widest * np.eye(aside.shape[1]), rtol=1e-4, atol=1e-6
    )


def test_a_background_is_a_seeded_choice_of_valid_pixels():
    codes, scales, _ = land((3000,))
    codes[:, 5] = 7  # a dimension that never changes
    one, again = Background.of(codes, scales), Background.of(codes, scales)
    assert len(one) == MAX_PX
    np.testing.assert_array_equal(one.codes, again.codes)
    assert one.std[5] == 1
    np.testing.assert_allclose(one.basis.T @ one.basis, np.eye(len(one.spread)), atol=1e-9)
    np.testing.assert_allclose(one.rows.var(axis=0), one.spread, rtol=1e-6)
    with pytest.raises(ValueError, match=str(FEWEST_PX)):
        Background.of(codes[: FEWEST_PX - 1], scales[: FEWEST_PX - 1])
    both = Background.joined([one, again])
    assert len(both) == MAX_PX


# --- an MLP


@pytest.fixture(scope="module")
def worker():
    client = WorkerClient(worker_python())
    yield client
    client.stop()


def known_land(per_class, seed=0):
    """Samples of the land, a pixel per label, with pixels without labels around them."""
    codes, scales, y = land((per_class,) * 4, seed=seed)
    places = np.column_stack([y, np.arange(len(y))])
    samples = made(places, y + 1, values=codes * scales[:, None], known=CLASSES)
    return replace(samples, background=Background.of(*land((400,) * 4, seed=1)[:2]))


def test_an_mlp_of_a_few_labels_is_about_as_good_as_the_instant_head(worker):
    fresh = known_land(200, seed=2)
    rights = {}
    for name, params in {
        "instant": TrainParams(),
        "mlp": TrainParams(kind="mlp", epochs=60),
        "alone": TrainParams(kind="mlp", epochs=60, background=False),
    }.items():
        head = fit(known_land(2, seed=11), params, worker=worker)
        said = head.probabilities(fresh.codes, fresh.scales).argmax(axis=1)
        rights[name] = (head.class_ids[said] == fresh.class_ids).mean()
        told = head.training.get("background_share", 0)
        assert (told > 0.5) == (name == "mlp")
    assert rights["mlp"] > rights["instant"] - 0.03
    assert rights["mlp"] > rights["alone"] + 0.03


def test_what_is_tested_teaches_nobody(worker):
    """The instant head behind an MLP has learnt what the MLP learns: the same network comes out
    whatever the labels of the other rows say."""
    samples = known_land(6)
    rows = np.flatnonzero(np.arange(len(samples)) % 3)
    others = np.setdiff1d(np.arange(len(samples)), rows)
    mixed = samples.class_ids.copy()
    mixed[others] = np.roll(mixed[others], 3)
    params = TrainParams(kind="mlp", epochs=3)
    first, again, all_of_them = (
        Trainer.of(replace(samples, class_ids=ids), params, worker).fit(some, silent).weights
        for ids, some in (
            (samples.class_ids, rows), (mixed, rows), (mixed, np.arange(len(samples))),
        )
    )  # fmt: skip
    np.testing.assert_array_equal(first["W1"], again["W1"])
    assert (first["W1"] != all_of_them["W1"]).any()


def test_pixels_without_labels_count_the_less_the_more_labels_there_are(worker):
    """Labels, not their pixels, and each class by itself."""
    params = TrainParams(kind="mlp", epochs=1, refit=False, test_share=0)
    for per_class in (1, 2, 5):
        samples = known_land(2 * per_class)
        # pairs of pixels are a label each, but for the last class
        groups = samples.groups // np.where(samples.class_ids < 4, 2, 1)
        told = fit(replace(samples, groups=groups), params, worker=worker).training
        counts = np.array([per_class] * 3 + [2 * per_class])
        expected = (WORTH_LABELS**2 / (WORTH_LABELS**2 + counts**2)).mean()
        assert told["background_share"] == pytest.approx(expected, abs=1e-4)


# --- from a source

EXTENT = Extent(700_170, 5_799_230, 701_770, 5_800_830, "EPSG:32630")
CLASSES = tuple(LandClass(n, name, f"#0000{n:02x}") for n, name in enumerate("abcd", 1))


@pytest.fixture(scope="module")
def samples():
    window = windows_of(EXTENT)[0]
    truth, valid = true_classes(window) + 1, np.isfinite(MemorySource().read(window)[1])
    items = []
    for number in (1, 2, 3):
        for row, col in np.argwhere(valid & (truth == number))[::400][:4]:
            x, y = 10 * (window.col + col + 0.5), -10 * (window.row + row + 0.5)
            items.append(Label(wkb(f"POINT ({x} {y})"), number, str(len(items))))
    labels = Labels(f"EPSG:326{window.zone}", CLASSES, tuple(items), "test")
    return collect(labels, MemorySource(), SampleParams())


def test_surroundings_are_valid_pixels_of_the_blocks_with_labels(samples):
    source = MemorySource()
    ground = background_of(source, samples)
    assert FEWEST_PX <= len(ground) <= MAX_PX
    again = background_of(source, samples)
    np.testing.assert_array_equal(ground.codes, again.codes)
    blocks = {
        (r // BLOCK_PX, c // BLOCK_PX) for r, c in zip(samples.row.tolist(), samples.col.tolist())
    }
    there = set()
    for row, col in blocks:
        block = windows_of(EXTENT)[0].between(
            30, row * BLOCK_PX, col * BLOCK_PX, (row + 1) * BLOCK_PX, (col + 1) * BLOCK_PX
        )
        codes, _ = source.read(block)
        there |= {bytes(pixel) for pixel in codes[source.states(block) == State.VALID]}
    assert {bytes(pixel) for pixel in ground.codes} <= there


def test_a_head_uses_them_unless_told_not_to(samples):
    ground = background_of(MemorySource(), samples)
    known = replace(samples, background=ground)
    params = TrainParams(test_share=0.0, calibrate=False)
    plain, with_it = fit(samples, params), fit(known, params)
    assert with_it.training["background_pixels"] == len(ground)
    assert plain.training["background_pixels"] == 0
    np.testing.assert_array_equal(with_it.mean, ground.mean)
    assert fit(known, replace(params, background=False)).id == plain.id != with_it.id
    assert taken(known, np.arange(4)).background is ground
    assert len(joined([known, known]).background) >= len(ground)
