# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Train the demo encoder and write demo.onnx and demo.json beside this file.

    build/private/environment/bin/python tools/demo_encoder/train.py

What it is: a tiny network of the form of a TESSERA v2 student (two transformer layers of width 32
per sensor, 128 numbers per pixel that may be cut to 64, 32 or 16), for demo and tests. What it is
not: TESSERA. It has seen nothing but simulated landscapes (tests/scenes), knows no real place, and
its embeddings are a space of their own, `demo-simulated-1`.

The recipe:
1. 64 simulated landscapes of 64 x 64 pixels, each with its own fields, soils, weather, and dates
   (20 to 60 of Sentinel-2, 8 to 30 per orbit of Sentinel-1); 1000 pixels of each. No label is used.
2. Steps of 384 places from 8 landscapes. Of each place two views are made (views.py): a part of the
   clear observations, now and then a season without any or a missing orbit, a slightly other gain,
   calibration and date, and mostly the second view is another pixel of the same parcel.
3. The loss of Barlow Twins: over the places, each number of one view's embedding is to agree with
   the same number of the other's, and with no other one; summed over the first 16, 32, 64 and 128
   numbers, so that a beginning is an embedding too. AdamW, one cosine from 0.002 to 0.
4. Export as any checkpoint (`--export` does only this, with the weights of the last run), then the
   comparison of evaluate.py on landscapes never trained on.

One thread and fixed seeds: on one machine with one version of torch every run gives the same weights.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence, Tuple

import numpy as np
import onnxruntime
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from tessera_plugin.compute.worker.encoders.architectures import Encoder, plain_student
from tessera_plugin.compute.worker.encoders.export import Naming, export_encoder
from tests.scenes.landscape import Landscape
from tools.demo_encoder import evaluate
from tools.demo_encoder.inputs import Network, embeddings
from tools.demo_encoder.pool import Sample, sample_of, training_samples
from tools.demo_encoder.views import Changes, pair

CHECKPOINT = HERE.parents[1] / "build" / "demo_encoder" / "demo_simulated.pt"
"""Kept beside what is built, for `--export`."""
NAMING = Naming(
    name="demo-encoder-trained-on-simulated-landscapes",
    space="demo-simulated-1",
    licence="CC0-1.0",
)
PREFIXES = (16, 32, 64, 128)
Report = Callable[[int, float], None]


@dataclass(frozen=True)
class Recipe:
    """All that decides the weights."""

    latent: int = 8
    layers: int = 2
    heads: int = 4
    feedforward: int = 64
    landscapes: int = 64
    first_seed: int = 1000
    pixels_each: int = 1000
    steps: int = 1400
    batch_landscapes: int = 8
    batch_each: int = 48
    rate: float = 2e-3
    decay: float = 1e-4
    apart: float = 0.01
    """Weight of what different numbers of an embedding have in common."""
    changes: Changes = field(default_factory=Changes)
    seed: int = 0


@dataclass(frozen=True)
class Test:
    """A kind of landscape to compare on."""

    words: str
    s2_count: int
    cloudiness: float
    landscapes: int = 3


TESTS = (
    Test("about half clear, 30 dates", 30, 0.4),
    Test("mostly cloudy, 24 dates", 24, 0.6),
    Test("mostly clear, 55 dates", 55, 0.3),
)
_FIRST_TEST_SEED = 5000
LABELS, REPEATS = (5, 10), 5


def train(recipe: Recipe, samples: Sequence[Sample], report: Report) -> Tuple[Encoder, List[float]]:
    """Return the network and the loss of each step. Single-threaded, so that it can be repeated."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    rng = np.random.default_rng(recipe.seed)
    shape = plain_student(
        recipe.latent, recipe.layers, recipe.heads, recipe.feedforward, PREFIXES[-1]
    )
    encoder = Encoder(shape).train()
    _begin(encoder, recipe.seed)
    weights = list(encoder.parameters())
    optimiser = torch.optim.AdamW(weights, lr=recipe.rate, weight_decay=recipe.decay)
    losses = []
    for step in range(recipe.steps):
        for group in optimiser.param_groups:
            group["lr"] = _rate(recipe, step)
        chosen = rng.choice(len(samples), recipe.batch_landscapes, replace=False)
        views = pair(rng, [samples[i] for i in chosen], recipe.batch_each, recipe.changes)
        one, other = (encoder(*map(torch.from_numpy, view)) for view in views)
        parts = [_twins(one[:, :n], other[:, :n], recipe.apart) for n in PREFIXES]
        loss = torch.stack(parts).sum()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
        report(step, losses[-1])
    return encoder.eval(), losses


def _begin(encoder: Encoder, seed: int) -> None:
    """Draw the first weights by their names, so that they don't depend on how the network is built."""
    rng = np.random.default_rng([seed, 1])
    state = {}
    for name, weight in sorted(encoder.state_dict().items()):
        if weight.ndim == 2:
            limit = 1 / math.sqrt(weight.shape[1])
            first = rng.uniform(-limit, limit, tuple(weight.shape))
        else:
            first = np.full(tuple(weight.shape), float(name.endswith("weight")))
        state[name] = torch.from_numpy(first.astype(np.float32))
    encoder.load_state_dict(state)


def _rate(recipe: Recipe, step: int) -> float:
    warm = min(1.0, (step + 1) / 50)
    return recipe.rate * warm * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))


def _twins(one: torch.Tensor, other: torch.Tensor, apart: float) -> torch.Tensor:
    """Return how far two views (n, d) are from agreeing number by number, per number."""
    one = (one - one.mean(dim=0)) / (one.std(dim=0) + 1e-3)
    other = (other - other.mean(dim=0)) / (other.std(dim=0) + 1e-3)
    common = one.T @ other / len(one)  # (d, d)
    same = torch.diagonal(common)
    off = (common**2).sum() - (same**2).sum()
    return (((1 - same) ** 2).sum() + apart * off) / len(same)


def save(recipe: Recipe, encoder: Encoder, checkpoint: Path) -> None:
    """Write the weights as a checkpoint of the official layout."""
    args = {
        "repr_dim": PREFIXES[-1],
        "latent_dim": recipe.latent,
        "num_layers": recipe.layers,
        "nhead": recipe.heads,
        "dim_feedforward": recipe.feedforward,
        "max_seq_len": 256,
        "matryoshka_dims": ",".join(map(str, PREFIXES)),
        "enable_qk_norm": False,
    }
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"args": args, "model": encoder.state_dict()}, checkpoint)


def network_of(path: Path) -> Network:
    """Return what the ONNX file computes, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(s2: Any, s1: Any) -> Any:  # noqa: ANN401
        return session.run(None, {"s2_input": s2, "s1_input": s1})[0]

    return run


def compare(network: Network, tests: Sequence[Test] = TESTS) -> Dict[str, Any]:
    """Return accuracies on landscapes that were not trained on, by kind of landscape."""
    features: Dict[str, evaluate.Features] = {
        "embedding": lambda pixels: embeddings(network, pixels),
        "embedding cut to 32": lambda pixels: embeddings(network, pixels, 32),
        "statistics": evaluate.statistics,
        "monthly": evaluate.monthly,
    }
    found = {}
    for number, test in enumerate(tests):
        seeds = [_FIRST_TEST_SEED + 10 * number + i for i in range(test.landscapes)]
        samples = [
            sample_of(
                Landscape(seed, 150, 150, 2022, test.s2_count, 15, test.cloudiness), count=4000
            )
            for seed in seeds
        ]
        found[test.words] = evaluate.compare(samples, features, LABELS, REPEATS)
    return found


def main() -> int:
    """Do all of it; return 0."""
    options = argparse.ArgumentParser(description="Train the demo encoder.")
    options.add_argument("--out", type=Path, default=HERE / "demo.onnx")
    options.add_argument("--steps", type=int, default=Recipe.steps)
    options.add_argument("--export", action="store_true", help="only write the file again")
    given = options.parse_args()
    torch.set_num_threads(1)  # what is measured for the file too
    if given.export:
        export_encoder(str(CHECKPOINT), str(given.out), named=NAMING)
        story = given.out.with_suffix(".json")
        told = {**json.loads(story.read_text("utf-8")), "sha256": _sha256(given.out)}
        story.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
        return 0
    recipe = Recipe(steps=given.steps)
    started, cpu = time.monotonic(), time.process_time()
    samples = training_samples(recipe.landscapes, recipe.first_seed, recipe.pixels_each)
    print(f"{len(samples)} landscapes, {time.monotonic() - started:.0f} s", flush=True)
    encoder, losses = train(recipe, samples, _told)
    seconds = {
        "wall": round(time.monotonic() - started),
        "processor": round(time.process_time() - cpu),
    }
    save(recipe, encoder, CHECKPOINT)
    export_encoder(str(CHECKPOINT), str(given.out), named=NAMING)
    found = compare(network_of(given.out))
    story = {
        "sha256": _sha256(given.out),
        "recipe": asdict(recipe),
        "parameters": sum(weight.numel() for weight in encoder.parameters()),
        "seconds_to_train": seconds,
        "loss": {str(step): round(losses[step], 4) for step in _milestones(len(losses))},
        "torch": torch.__version__,
        "numpy": np.__version__,
        "accuracy (mean over classes; mean and standard deviation over landscapes and repeats)": found,
    }
    given.out.with_suffix(".json").write_text(json.dumps(story, indent=1) + "\n", "utf-8")
    print(json.dumps(found, indent=1))
    return 0


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _milestones(steps: int) -> List[int]:
    return sorted({*range(0, steps, 100), steps - 1})


def _told(step: int, loss: float) -> None:
    if step % 100 == 0:
        print(f"step {step}: loss {loss:.3f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
