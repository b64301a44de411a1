# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The encoder networks of every generation, under the tensor names of the official checkpoints."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Iterator, List, Tuple, cast

import torch
from torch import nn
from torch.nn import functional

from .pooling import ATTENTION, Pooling

S2_BANDS, S1_BANDS = 10, 2


@dataclass(frozen=True)
class Shape:
    """The size of an encoder and which parts it has."""

    width: int
    """d_model of both backbones, 4 x the latent dimension."""
    layers: int
    heads: int
    feedforward: int
    output: int
    pooling: str
    """ATTENTION, GRU or RESET_FIRST_GRU of pooling.py."""
    is_reducer_mlp: bool
    """Linear, LayerNorm, ReLU, Linear; otherwise one Linear."""
    is_output_normalised: bool
    """Whether a LayerNorm without weights ends it."""

    def __post_init__(self) -> None:
        if min(self.width, self.layers, self.heads, self.feedforward, self.output) < 1:
            raise ValueError(f"sizes must be positive: {self}")
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"width {self.width} does not divide by {self.heads} heads and by 2")


class Attention(nn.Module):
    """Self-attention over all observations, without any mask."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.in_proj_bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, T, d) of (B, T, d)."""
        batch, time, width = x.shape
        size = width // self.heads
        projected = functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        split = projected.reshape(batch, time, 3, self.heads, size).permute(2, 0, 3, 1, 4)
        query, key, value = split.unbind(0)  # (B, heads, T, size)
        scores = (query * size**-0.5) @ key.transpose(-2, -1)
        mixed = scores.softmax(dim=-1) @ value
        return cast("torch.Tensor", self.out_proj(mixed.transpose(1, 2).flatten(-2)))


class Layer(nn.Module):
    """A transformer encoder layer that normalises after its two halves."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn = Attention(shape.width, shape.heads)
        self.linear1 = nn.Linear(shape.width, shape.feedforward)
        self.linear2 = nn.Linear(shape.feedforward, shape.width)
        self.norm1 = nn.LayerNorm(shape.width)
        self.norm2 = nn.LayerNorm(shape.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, T, d) of (B, T, d)."""
        x = self.norm1(x + self.self_attn(x))
        return cast("torch.Tensor", self.norm2(x + self.linear2(self.linear1(x).relu())))


class Layers(nn.Module):
    """Layers one after the other, with nothing behind the last."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, T, d) of (B, T, d)."""
        for layer in self.layers:
            x = layer(x)
        return x


class Backbone(nn.Module):
    """A sensor's observations of a pixel become one vector."""

    frequencies: torch.Tensor

    def __init__(self, bands: int, shape: Shape) -> None:
        super().__init__()
        width = shape.width
        self.embedding = nn.Sequential(nn.Linear(bands, width), nn.ReLU(), nn.Linear(width, width))
        self.transformer_encoder = Layers(shape)
        self.attn_pool = Pooling(width, shape.pooling)
        steps = torch.arange(0, width, 2, dtype=torch.float32)
        frequencies = torch.exp(steps * (-math.log(10000.0) / width))
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, d) of (B, T, bands + 1), where the last channel is the raw day of year."""
        angles = x[:, :, -1:] * self.frequencies
        season = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)
        x = self.transformer_encoder(self.embedding(x[:, :, :-1]) + season)
        return cast("torch.Tensor", self.attn_pool(x))


class Encoder(nn.Module):
    """Both sensors' observations of a pixel become its embedding."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.s2_backbone = Backbone(S2_BANDS, shape)
        self.s1_backbone = Backbone(S1_BANDS, shape)
        self.dim_reducer = nn.Sequential(*_reducer(shape))

    def forward(self, s2_input: torch.Tensor, s1_input: torch.Tensor) -> torch.Tensor:
        """Return (B, output) of z-scored observations with days of year.

        s2_input: float32 (B, T2, 11); s1_input: float32 (B, T1, 3); T2, T1 >= 1.
        """
        both = torch.cat([self.s2_backbone(s2_input), self.s1_backbone(s1_input)], dim=1)
        return cast("torch.Tensor", self.dim_reducer(both))


def _reducer(shape: Shape) -> Iterator[nn.Module]:
    width = shape.width
    if shape.is_reducer_mlp:
        yield nn.Linear(2 * width, 4 * width)
        yield nn.LayerNorm(4 * width)
        yield nn.ReLU()
        # Dropout in training; the last Linear is number 4 in the checkpoints because of it.
        yield nn.Identity()
        yield nn.Linear(4 * width, shape.output)
    else:
        yield nn.Linear(2 * width, shape.output)
    if shape.is_output_normalised:
        yield nn.LayerNorm(shape.output, elementwise_affine=False)


def expected_tensors(shape: Shape) -> List[Tuple[str, Tuple[int, ...]]]:
    """Return name and shape of every tensor of an encoder, without making any of them."""
    with torch.device("meta"):
        state = Encoder(shape).state_dict()
    return [(name, tuple(tensor.shape)) for name, tensor in state.items()]


def plain_student(latent: int, layers: int, heads: int, feedforward: int, output: int) -> Shape:
    """Return the shape of a v2 student as its checkpoint's settings describe it."""
    return Shape(
        width=4 * latent,
        layers=layers,
        heads=heads,
        feedforward=feedforward,
        output=output,
        pooling=ATTENTION,
        is_reducer_mlp=True,
        is_output_normalised=True,
    )
