# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Official checkpoints: read without running what is in them, recognised by their tensors."""

from __future__ import annotations

import argparse
import hashlib
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

import torch

from .architectures import (
    QK_NORM,
    STOCK,
    Encoder,
    Shape,
    expected_tensors,
    plain_student,
    teacher,
)
from .pooling import GRU, RESET_FIRST_GRU

HARMLESS = (argparse.Namespace,)
"""What a checkpoint may hold beside tensors and plain values: settings, as a bag of names."""

TRAINING_ONLY = {
    "1.0": ("projector.",),
    "1.0-qat": ("projector.",),
    "1.1": ("projector.", "segmented_matryoshka_projector."),
}
_COMPILED = "_orig_mod."
_V1_STATES = ("model_state", "model_state_dict")
_SIZES = ("repr_dim", "latent_dim", "num_layers", "nhead", "dim_feedforward")
_NAMED_AT_MOST = 8

_V1_RELEASES = {
    "1.0": Shape(512, 8, 8, 4096, 128, GRU, False, False),
    "1.0-qat": Shape(512, 4, 4, 4096, 128, RESET_FIRST_GRU, False, False),
    "1.1": Shape(768, 4, 4, 2048, 192, RESET_FIRST_GRU, True, False),
}
_STUDENTS = {
    "nano": plain_student(36, 2, 4, 384, 128),
    "small": plain_student(64, 4, 4, 1024, 128),
    "medium": plain_student(110, 4, 4, 1792, 128),
    "large": plain_student(160, 4, 4, 2560, 128),
}
_TEACHER = teacher(1024, 4, 4, 16384, 1024, is_output_normalised=True)

State = Dict[str, torch.Tensor]


class CheckpointRefused(ValueError):  # noqa: N818 - not a fault of ours
    """A file is no checkpoint that can be exported; the message says why."""


@dataclass(frozen=True)
class Checkpoint:
    """The weights of an encoder, and what they are."""

    generation: str
    size: str
    """"nano" to "large", "custom"; "" for v1."""
    shape: Shape
    prefixes: Tuple[int, ...]
    """Lengths at which an embedding may be cut."""
    state: State
    """float32, all tensors of the encoder and no other, under their official names."""
    file: str
    """Name without folders."""
    sha256: str

    def encoder(self) -> Encoder:
        """Return the network with these weights, ready to run."""
        with torch.device("meta"):  # otherwise its weights would be there twice
            encoder = Encoder(self.shape)
        encoder.load_state_dict(self.state, strict=True, assign=True)
        encoder.eval().requires_grad_(requires_grad=False)
        return encoder


def read_checkpoint(path: str, heads: Optional[int] = None) -> Checkpoint:
    """Read a checkpoint of v1.0 (float32, QAT), v1.1, a v2 student or the v2 teacher.

    `heads` is only for a v1 network that has not the official size: the number of attention heads
    is nowhere in its file, and a wrong one would go unnoticed.

    Raises: CheckpointRefused.
    """
    payload = _load(path)
    if not isinstance(payload, dict):
        raise CheckpointRefused(f"it holds a {type(payload).__name__}, not a checkpoint")
    if "encoder_state_dict" in payload and "arch" in payload:
        generation, size, shape, prefixes, state = _teacher(payload)
    elif "model" in payload and "args" in payload:
        generation, size, shape, prefixes, state = _student(payload)
    else:
        generation, shape, state = _v1(payload, heads)
        size, prefixes = "", ()
    return Checkpoint(
        generation=generation,
        size=size,
        shape=shape,
        prefixes=prefixes,
        state=_checked(state, shape),
        file=Path(path).name,
        sha256=_sha256(path),
    )


def _load(path: str) -> Any:  # noqa: ANN401 - whatever the file holds
    is_zip = zipfile.is_zipfile(path)
    try:
        with torch.serialization.safe_globals(list(HARMLESS)):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        wanted = _unsafe_names(path) if is_zip else []
        reason = f"it asks to run {', '.join(wanted)}" if wanted else str(error).splitlines()[0]
        raise CheckpointRefused(f"not only tensors and plain values: {reason}") from None
    except OSError as error:
        raise CheckpointRefused(f"it can't be read: {error.strerror or error}") from error
    except (EOFError, KeyError, RuntimeError, ValueError) as error:
        raise CheckpointRefused(f"not a whole checkpoint: {error}") from error


def _unsafe_names(path: str) -> List[str]:
    with torch.serialization.safe_globals(list(HARMLESS)):
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))


def _student(payload: Mapping[str, Any]) -> Tuple[str, str, Shape, Tuple[int, ...], State]:
    settings = _settings(payload["args"], (*_SIZES, "matryoshka_dims", "enable_qk_norm"))
    if settings.get("student_type", "transformer") != "transformer":
        raise CheckpointRefused(f"students of type {settings['student_type']!r} are not known")
    try:
        numbers = {name: int(settings[name]) for name in _SIZES}
        prefixes = tuple(int(text) for text in str(settings["matryoshka_dims"]).split(","))
        shape = plain_student(
            latent=numbers["latent_dim"],
            layers=numbers["num_layers"],
            heads=numbers["nhead"],
            feedforward=numbers["dim_feedforward"],
            output=numbers["repr_dim"],
            layer=QK_NORM if settings["enable_qk_norm"] else STOCK,
        )
    except (TypeError, ValueError) as error:
        raise CheckpointRefused(f"its settings make no encoder: {error}") from error
    size = next((name for name, known in _STUDENTS.items() if known == shape), "custom")
    return "2.0", size, shape, prefixes, _tensors(payload["model"])


def _teacher(payload: Mapping[str, Any]) -> Tuple[str, str, Shape, Tuple[int, ...], State]:
    settings = _settings(payload["arch"], (*_SIZES, "final_layernorm"))
    try:
        shape = teacher(
            latent=int(settings["latent_dim"]),
            layers=int(settings["num_layers"]),
            heads=int(settings["nhead"]),
            feedforward=int(settings["dim_feedforward"]),
            output=int(settings["repr_dim"]),
            is_output_normalised=bool(settings["final_layernorm"]),
        )
    except (TypeError, ValueError) as error:
        raise CheckpointRefused(f"its settings make no encoder: {error}") from error
    size = "teacher" if shape == _TEACHER else "custom"
    return "2.0-teacher", size, shape, (), _tensors(payload["encoder_state_dict"])


def _settings(held: Any, needed: Tuple[str, ...]) -> Dict[str, Any]:  # noqa: ANN401
    settings = dict(held) if isinstance(held, Mapping) else dict(vars(held))
    missing = [name for name in needed if name not in settings]
    if missing:
        raise CheckpointRefused(f"its settings leave out {', '.join(missing)}")
    return settings


def _v1(payload: Mapping[str, Any], heads: Optional[int]) -> Tuple[str, Shape, State]:
    key = next((name for name in _V1_STATES if name in payload), None)
    if key is None:
        names = ", ".join(map(str, list(payload)[:_NAMED_AT_MOST]))
        raise CheckpointRefused(f"no weights under {' or '.join(_V1_STATES)}; it has: {names}")
    state = {_without(name, _COMPILED): value for name, value in _tensors(payload[key]).items()}
    generation = _v1_generation(state)
    dropped = TRAINING_ONLY[generation]
    state = {name: value for name, value in state.items() if not name.startswith(dropped)}
    return generation, _v1_shape(generation, state, heads), state


def _v1_generation(state: State) -> str:
    context = "s2_backbone.attn_pool.temporal_context."
    if f"{context}weight_ih_l0" in state:
        return "1.0"
    if f"{context}gru_cell.W_ir.weight" in state:
        return "1.1" if "dim_reducer.4.weight" in state else "1.0-qat"
    raise CheckpointRefused("its pooling over time is of no known generation")


def _v1_shape(generation: str, state: State, heads: Optional[int]) -> Shape:
    known = _V1_RELEASES[generation]
    stack = "s2_backbone.transformer_encoder.layers."
    reducer = "dim_reducer.4.weight" if known.is_reducer_mlp else "dim_reducer.0.weight"
    needed = ("s2_backbone.embedding.0.weight", f"{stack}0.linear1.weight", reducer)
    missing = [name for name in needed if name not in state]
    if missing:
        raise CheckpointRefused(f"missing tensors: {', '.join(missing)}")
    width, feedforward, output = (state[name].shape[0] for name in needed)
    layers = len({name[len(stack) :].split(".")[0] for name in state if name.startswith(stack)})
    is_official = (width, layers, feedforward, output) == (
        known.width,
        known.layers,
        known.feedforward,
        known.output,
    )
    if not is_official and heads is None:
        raise CheckpointRefused(
            f"{layers} layers of width {width} are not the official v{generation}, so the number "
            "of attention heads is not known"
        )
    try:
        return Shape(
            width=width,
            layers=layers,
            heads=known.heads if is_official else heads or 1,
            feedforward=feedforward,
            output=output,
            pooling=known.pooling,
            is_reducer_mlp=known.is_reducer_mlp,
            is_output_normalised=False,
        )
    except ValueError as error:
        raise CheckpointRefused(str(error)) from error


def _tensors(found: Any) -> State:  # noqa: ANN401 - whatever the file holds
    is_state = isinstance(found, dict) and all(isinstance(name, str) for name in found)
    if not is_state or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise CheckpointRefused("its weights are not tensors by name")
    return dict(found)


def _checked(state: State, shape: Shape) -> State:
    """Return float32 copies. Raises: CheckpointRefused that names what does not fit."""
    expected = dict(expected_tensors(shape))
    wrong = {
        "missing tensors": [name for name in expected if name not in state],
        "unexpected tensors": [name for name in state if name not in expected],
        "tensors of another shape": [
            f"{name} {tuple(state[name].shape)} instead of {size}"
            for name, size in expected.items()
            if name in state and tuple(state[name].shape) != size
        ],
    }
    facts = [f"{what}: {_listed(names)}" for what, names in wrong.items() if names]
    if facts:
        raise CheckpointRefused("; ".join(facts))
    odd = [name for name in expected if not _is_weight(state[name])]
    if odd:
        raise CheckpointRefused(f"not finite floating-point numbers: {_listed(odd)}")
    return {name: state[name].to(torch.float32, copy=True) for name in expected}


def _is_weight(tensor: torch.Tensor) -> bool:
    return bool(tensor.is_floating_point() and tensor.isfinite().all())


def _listed(names: List[str]) -> str:
    more = len(names) - _NAMED_AT_MOST
    return ", ".join(names[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def _without(name: str, prefix: str) -> str:
    return name[len(prefix) :] if name.startswith(prefix) else name


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()
