# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo encoder in the repository: what it says it is, and that it is worth having."""

import hashlib
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tessera_plugin.compute.client import WorkerClient
from tests.compute.helpers import ROOT, worker_python
from tests.scenes.landscape import Landscape
from tools.demo_encoder import evaluate
from tools.demo_encoder.pool import sample_of

DEMO = ROOT / "tools" / "demo_encoder" / "demo.onnx"
STORY = DEMO.with_suffix(".json")
SEED = 9001
"""Of a land that is in no training and in no comparison."""


@pytest.fixture(scope="module")
def client():
    client = WorkerClient(worker_python())
    yield client
    client.stop()


def test_it_says_what_it_is(client):
    facts = client.call("describe_encoder", {"path": str(DEMO)})
    assert DEMO.stat().st_size <= 400_000
    assert facts["title"] == "Demo encoder trained on simulated landscapes"
    assert facts["space"] == "demo-simulated-1"
    assert facts["licence"] == "CC0-1.0"
    assert any("Not a TESSERA encoder" in said for said in facts["warnings"])
    assert (facts["depth"], facts["prefixes"]) == (128, [16, 32, 64, 128])
    assert facts["precision"] == "float32"
    assert not facts["needs_s1"]


@pytest.mark.long
@pytest.mark.long
def test_its_story_is_of_this_file_and_this_recipe(training):
    story = json.loads(STORY.read_text("utf-8"))
    assert story["sha256"] == hashlib.sha256(DEMO.read_bytes()).hexdigest()
    assert story["recipe"] == training["full"]


def test_few_labels_map_a_fresh_land_better_than_from_statistics(client, tmp_path):
    land = Landscape(SEED, 150, 150, year=2022, s2_count=30, s1_count=15, cloudiness=0.4)
    sample = sample_of(land, count=1800)
    embedded = encoded(client, sample.pixels, tmp_path)
    rows = {"embedding": [], "statistics": []}
    plain = evaluate.statistics(sample.pixels)
    for repeat in range(5):
        by = evaluate.split(np.random.default_rng(repeat), sample, per_class=5)
        for name, features in (("embedding", embedded), ("statistics", plain)):
            rows[name].append(evaluate.accuracies(features, sample, by)["instant"])
    mean = {name: np.mean(each) for name, each in rows.items()}
    assert mean["embedding"] > 0.8
    assert mean["embedding"] > mean["statistics"] + 0.04


def encoded(client, pixels, folder):
    """Return what the runner makes of pixels, as a tile of one row: (n, 128)."""
    arrays = {
        "bands": pixels.bands[:, None],
        "masks": pixels.is_clear[:, None].astype(np.uint8),
        "doys": pixels.s2_doys.astype(np.uint16),
        "sar_ascending": pixels.ascending[:, None],
        "sar_ascending_doy": pixels.ascending_doys.astype(np.int16),
        "sar_descending": pixels.descending[:, None],
        "sar_descending_doy": pixels.descending_doys.astype(np.int16),
    }
    tile, out = folder / "tile", folder / "out"
    tile.mkdir()
    for name, array in arrays.items():
        np.save(tile / f"{name}.npy", array)
    params = {"encoder": str(DEMO), "tile": str(tile), "out": str(out), "row": 0, "col": 0}
    told = client.call("encode", {**params, "threads": 1, "batch_px": 256})
    assert told["space"] == "demo-simulated-1"
    assert told["warnings"] == []
    blocks = sorted(out.glob("*.npy"), key=lambda path: int(path.stem.split("_")[1]))
    row = np.concatenate([np.load(block)[0] for block in blocks])[: pixels.count]
    seen = pixels.is_clear.any(axis=0)
    assert (np.isfinite(row["scale"]) == seen).all()
    return np.where(seen[:, None], row["codes"] * row["scale"][:, None].astype(float), 0)


@pytest.fixture(scope="module")
def training():
    script = Path(__file__).with_name("demo_training.py")
    done = subprocess.run(
        [worker_python(), "-I", str(script)], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.long
def test_its_training_can_be_repeated(training):
    first, second = training["losses"]
    assert first == second
    assert np.mean(first[-8:]) < 0.7 * np.mean(first[:3])
