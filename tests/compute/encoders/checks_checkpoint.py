# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is taken for a checkpoint, and what is not. Runs in the private environment."""

import argparse
import os
from types import SimpleNamespace

import torch
from networks import KINDS, SMALL, heads_of, payload, settings, stock

from tessera_plugin.compute.worker.encoders.checkpoint import CheckpointRefused, read_checkpoint


def refused(folder, held, heads=SMALL.heads):
    path = str(folder / "held.pt")
    torch.save(held, path)
    try:
        read_checkpoint(path, heads)
    except CheckpointRefused as error:
        return str(error)
    raise AssertionError("it was taken")


def check_every_generation_is_recognised(folder):
    for generation in KINDS:
        path = folder / f"{generation}.pt"
        torch.save(payload(generation, stock(generation)), path)
        found = read_checkpoint(str(path), heads_of(generation))
        is_student = generation in {"2.0", "2.0-qk"}
        assert found.generation == generation.replace("-qk", "")
        assert found.size == ("custom" if generation.startswith("2.0") else "")
        assert found.prefixes == ((16, 32, 64, 128) if is_student else ())
        assert (found.file, len(found.sha256)) == (path.name, 64)


def check_trap_25_a_missing_tensor_is_named(folder):
    """strict=False would leave it random."""
    for generation in ("1.1", "2.0"):
        held = payload(generation, stock(generation))
        key = "model" if generation == "2.0" else "model_state"
        prefix = "" if generation == "2.0" else "_orig_mod."
        name = "s1_backbone.transformer_encoder.layers.1.norm2.bias"
        del held[key][prefix + name]
        assert refused(folder, held) == f"missing tensors: {name}"


def check_an_unexpected_tensor_is_named(folder):
    held = payload("2.0", stock("2.0"))
    held["model"]["fusion_modality_embed"] = torch.zeros(2, 4)
    assert refused(folder, held) == "unexpected tensors: fusion_modality_embed"


def check_a_projector_is_no_surprise_in_v1_only(folder):
    held = payload("2.0", stock("2.0"))
    held["model"]["projector.0.weight"] = torch.zeros(2, 4)
    assert "unexpected tensors: projector.0.weight" in refused(folder, held)


def check_a_tensor_of_another_shape_is_named(folder):
    held = payload("2.0", stock("2.0"))
    held["model"]["dim_reducer.4.bias"] = torch.zeros(64)
    assert refused(folder, held) == (
        "tensors of another shape: dim_reducer.4.bias (64,) instead of (128,)"
    )


def check_weights_that_are_not_numbers_are_refused(folder):
    held = payload("2.0", stock("2.0"))
    held["model"]["dim_reducer.4.bias"][3] = float("nan")
    assert "dim_reducer.4.bias" in refused(folder, held)
    held["model"]["dim_reducer.4.bias"] = torch.zeros(128, dtype=torch.int64)
    assert "dim_reducer.4.bias" in refused(folder, held)


class Hostile:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def check_code_in_a_checkpoint_is_named_and_never_run(folder):
    marker = folder / "it ran"
    held = {**payload("2.0", stock("2.0")), "extra": Hostile(str(marker))}
    reason = refused(folder, held)
    assert "mkdir" in reason, reason
    assert not marker.exists()


def check_settings_may_be_a_namespace_and_nothing_else_foreign(folder):
    held = payload("2.0", stock("2.0"))
    held["args"] = argparse.Namespace(**settings())
    torch.save(held, folder / "c.pt")
    assert read_checkpoint(str(folder / "c.pt")).shape.heads == SMALL.heads
    held["args"] = SimpleNamespace(**settings())
    assert "SimpleNamespace" in refused(folder, held)


def check_settings_must_be_whole(folder):
    held = payload("2.0", stock("2.0"))
    del held["args"]["nhead"]
    assert refused(folder, held) == "its settings leave out nhead"
    held["args"] = settings(nhead=5)
    assert "48 does not divide by 5" in refused(folder, held)
    held["args"] = settings(enable_qk_norm=True)
    assert "missing tensors: s2_backbone.transformer_encoder.0." in refused(folder, held)
    held["args"] = settings(num_layers=3)
    assert "missing tensors: s2_backbone.transformer_encoder.layers.2" in refused(folder, held)


def check_v1_of_another_size_needs_the_number_of_heads(folder):
    reason = refused(folder, payload("1.1", stock("1.1")), heads=None)
    assert "not the official v1.1" in reason


def check_what_is_no_checkpoint_is_refused(folder):
    assert "holds a list" in refused(folder, [1, 2])
    assert "no weights under model_state" in refused(folder, {"weights": {}})
    assert "not tensors" in refused(folder, {"args": settings(), "model": {"a": "b"}})
    teacher = {"arch": {}, "encoder_state_dict": {}}
    assert "its settings leave out repr_dim" in refused(folder, teacher)
    assert refused(folder, {"encoder_state_dict": {}}).endswith("it has: encoder_state_dict")
    whole = folder / "whole.pt"
    torch.save(payload("2.0", stock("2.0")), whole)
    for name, content in (("cut", whole.read_bytes()[:-2000]), ("empty", b""), ("text", b"hello")):
        path = folder / name
        path.write_bytes(content)
        try:
            read_checkpoint(str(path))
        except CheckpointRefused:
            continue
        raise AssertionError(name)
