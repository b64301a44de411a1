# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import foldnorm
from sklearn.metrics import log_loss

from tessera_plugin.engine.calibration import (
    HeldOut,
    calibrate,
    expected_calibration_error,
    fit_temperature,
    softmax,
)
from tessera_plugin.engine.heads import identify, load, save
from tessera_plugin.engine.training import TrainParams, fit
from tessera_plugin.errors import HeadUnreadable
from tests.builders import random_embeddings, random_head
from tests.builders_samples import gaussians
from tests.engine.test_heads import repacked


def said(count=4000, factor=3.0, seed=0):
    """Logits of a head that is `factor` times too sure, and what is right."""
    random = np.random.default_rng(seed)
    honest = random.normal(0, 1.5, (count, 5))
    chance = softmax(honest)
    y = (random.random(count)[:, None] > chance.cumsum(axis=1)).sum(axis=1).clip(0, 4)
    return (factor * honest).astype(np.float32), y


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0, 40.0])
def test_the_temperature_is_the_factor_a_head_is_too_sure_by(factor):
    logits, y = said(factor=factor)
    found = fit_temperature(logits, y)
    assert found == pytest.approx(factor, rel=0.06)
    best = minimize_scalar(
        lambda t: log_loss(y, softmax(logits, np.exp(t)), labels=range(5)),
        bounds=(np.log(0.1), np.log(100)),
        method="bounded",
    )
    assert found == pytest.approx(np.exp(best.x), rel=0.01)


def test_a_label_counts_once_however_many_pixels_it_has():
    logits, y = said(count=300)
    sizes = np.random.default_rng(1).integers(1, 40, 300)
    many = fit_temperature(np.repeat(logits, sizes, axis=0), np.repeat(y, sizes),
                           np.repeat(1 / sizes, sizes))  # fmt: skip
    assert many == pytest.approx(fit_temperature(logits, y), rel=1e-3)


def test_few_labels_that_are_all_right_say_little():
    logits = np.zeros((6, 3), np.float32)
    logits[:, 1] = 4
    found = fit_temperature(logits, np.ones(6, int))
    assert 0.5 < found < 1.01
    assert fit_temperature(logits[:0], np.zeros(0, int)) == 1


def test_the_error_is_that_of_fifteen_equal_bins_less_what_chance_adds():
    logits, y = said(count=1500, factor=1.3)
    p = softmax(logits)
    order = np.argsort(p.max(axis=1))
    expected = 0
    for at in range(15):
        rows = order[100 * at : 100 * (at + 1)]
        gap = p[rows].max(axis=1) - (p[rows].argmax(axis=1) == y[rows])
        size, spread = abs(gap.mean()), gap.std(ddof=1) / 10
        expected += (2 * size - foldnorm(size / spread, scale=spread).mean()) / 15
    assert expected_calibration_error(p, y) == pytest.approx(expected, rel=1e-9)
    assert expected_calibration_error(softmax(said(50_000, 1.0)[0]), said(50_000, 1.0)[1]) < 0.01
    assert expected_calibration_error(p[:0], y[:0]) is None


@pytest.mark.parametrize("pixels", [1, 20])
def test_the_error_is_not_that_of_few_labels(pixels):
    """Of one head that knows how sure it may be, and of one that is too sure by 0.1."""
    random = np.random.default_rng(0)
    for count in (60, 150, 400):
        errors = []
        for off in [0] * 60 + [0.1] * 60:
            p = softmax(random.normal(0, 1.5, (count, 4)))
            is_right = random.random(count) < p.max(axis=1) - off
            y = np.where(is_right, p.argmax(axis=1), (p.argmax(axis=1) + 1) % 4)
            p, y = np.repeat(p, pixels, axis=0), np.repeat(y, pixels)
            groups = np.repeat(np.arange(count), pixels)
            errors.append(expected_calibration_error(p, y, groups))
        assert np.mean(errors[:60]) < 0.07  # fifteen bins: 0.18, 0.11 and 0.07
        assert np.mean(errors[60:]) == pytest.approx(0.1, abs=0.025)


def test_of_too_few_labels_no_error_is_told():
    logits, y = said(count=400, factor=2.0)
    p = softmax(logits)
    assert expected_calibration_error(p[:39], y[:39]) is None
    assert expected_calibration_error(p[:40], y[:40]) is not None
    assert expected_calibration_error(p, y, np.arange(400) // 20) is None  # 20 labels
    few_large = np.where(np.arange(400) < 350, np.arange(400) // 50, np.arange(400))
    assert expected_calibration_error(p, y, few_large) is None  # 57 labels, 7 have nearly all
    found = calibrate(HeldOut(logits[:30], y[:30], np.arange(30), np.arange(30) % 3))
    assert found.ece_before is found.ece_after is None
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["ece_after"] is None
    assert "too few labels to tell" in found.sentence()
    assert (
        "expected calibration error 0."
        in calibrate(HeldOut(logits, y, np.arange(400), np.arange(400) % 3)).sentence()
    )


def test_the_error_after_is_not_that_of_the_labels_that_found_the_temperature():
    """Two parts that need opposite temperatures: each gets the other's, and is worse for it."""
    (sure, y1), (unsure, y2) = said(1000, 6.0), said(1000, 0.3, seed=2)
    held = HeldOut(np.concatenate([sure, unsure]), np.concatenate([y1, y2]), np.arange(2000),
                   np.repeat([0, 1], 1000))  # fmt: skip
    found = calibrate(held)
    by_hand = np.concatenate([softmax(sure, fit_temperature(unsure, y2)),
                              softmax(unsure, fit_temperature(sure, y1))])  # fmt: skip
    assert found.ece_after == pytest.approx(expected_calibration_error(by_hand, held.y), rel=1e-6)
    assert found.ece_after > found.ece_before
    again = calibrate(replace(held, parts=np.arange(2000) % 2))
    assert again.ece_after < found.ece_after


# --- heads


def test_a_temperature_is_stored_and_older_heads_have_none(tmp_path):
    head = random_head((8,), temperature=2.5)
    path = str(tmp_path / "head")
    save(head, path)
    assert load(path).temperature == 2.5
    codes, scales = random_embeddings(50)
    np.testing.assert_array_equal(
        load(path).probabilities(codes, scales), head.probabilities(codes, scales)
    )
    with zipfile.ZipFile(path) as archive:
        facts, weights = json.loads(archive.read("head.json")), archive.read("weights.npz")
    del facts["temperature"]
    with zipfile.ZipFile(tmp_path / "older", "w") as archive:
        archive.writestr("head.json", json.dumps(facts))
        archive.writestr("weights.npz", weights)
    assert load(str(tmp_path / "older")).temperature == 1


@pytest.mark.parametrize("value", ["2", True, 0.0, -1.0, float("nan"), 1e9, None, 2])
def test_a_temperature_that_is_none_is_refused(tmp_path, value):
    save(random_head(), str(tmp_path / "head"))
    with pytest.raises(HeadUnreadable, match="temperature"):
        load(repacked(str(tmp_path / "head"), tmp_path, facts={"temperature": value}))


@pytest.mark.parametrize("hidden", [(), (16,), (16, 8)])
def test_probabilities_are_the_softmax_of_divided_outputs(hidden):
    head = random_head(hidden, temperature=4.0)
    codes, scales = random_embeddings(500)
    logits = head.logits(codes, scales)
    np.testing.assert_allclose(head.probabilities(codes, scales), softmax(logits, 4.0), atol=1e-5)
    np.testing.assert_array_equal(logits, replace(head, temperature=1.0).logits(codes, scales))
    arrays = {"mean": head.mean, "std": head.std, **head.weights}
    ids = {identify(head.kind, head.classes, head.dataset, arrays, t) for t in (1.0, 2.0, 4.0)}
    assert len(ids) == 3
    assert random_head(hidden).id in ids  # without a temperature it is what it was


def test_a_trained_head_is_less_sure_and_better_calibrated():
    samples = gaussians(16, 6.0, seed=1)
    fresh = gaussians(60, 6.0, seed=9)
    head = fit(samples, TrainParams())
    plain = fit(samples, TrainParams(calibrate=False))
    assert plain.temperature == 1
    assert plain.training["calibration"] is None
    assert head.training["calibration"]["temperature"] == head.temperature > 1
    y = fresh.class_ids - 1
    errors, sure = [], []
    for each in (plain, head):
        p = each.probabilities(fresh.codes, fresh.scales)
        errors.append(expected_calibration_error(p, y))
        sure.append(p.max(axis=1).mean())
    assert errors[1] < 0.7 * errors[0]
    right = (p.argmax(axis=1) == y).mean()
    assert abs(sure[1] - right) < abs(sure[0] - right)
    assert head.training["calibration"]["n_labels"] == 48
