# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Run in the private environment: the first steps of a small demo encoder, twice, as JSON."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.demo_encoder.pool import training_samples
from tools.demo_encoder.train import Recipe, train
from tools.demo_encoder.views import Changes

RECIPE = Recipe(
    latent=4,
    layers=1,
    feedforward=16,
    landscapes=3,
    pixels_each=300,
    batch_landscapes=3,
    batch_each=64,
    steps=24,
    rate=6e-3,
    changes=Changes(gap_days=1.0, no_orbit=0.0, no_radar=0.0),  # steps are less unlike each other
)

samples = training_samples(RECIPE.landscapes, RECIPE.first_seed, RECIPE.pixels_each)
runs = [train(RECIPE, samples, lambda step, loss: None)[1] for _ in range(2)]
print(json.dumps({"losses": runs, "full": asdict(Recipe())}))
