# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The encoder networks of every generation, under the tensor names of the official checkpoints."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Iterator, List, Tuple, cast

import torch
from torch import nn
from torch.nn import functional

from .pooling import ATTENTION, Pooling

S2_BANDS, S1_BANDS = 10, 2

STOCK = "stock"
"""PyTorch's own layer: normalises after each half."""
QK_NORM = "qk_norm"
"""Queries and keys are normalised too: students with enable_qk_norm."""
QK_NORM_FIRST = "qk_norm_first"
"""The same, but each half is normalised before: the v2 teacher."""

FUSION_HEADS = 4
"""Of the teacher; its settings don't say so."""

LAST_DAY = 366


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
    layer: str = STOCK
    """STOCK, QK_NORM or QK_NORM_FIRST."""
    fusion_layers: int = 0
    """Layers over the two sensors' vectors before they are reduced; their FFN is 2 x width."""

    def __post_init__(self) -> None:
        if min(self.width, self.layers, self.heads, self.feedforward, self.output) < 1:
            raise ValueError(f"sizes must be positive: {self}")
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"width {self.width} does not divide by {self.heads} heads and by 2")
        if self.layer not in {STOCK, QK_NORM, QK_NORM_FIRST}:
            raise ValueError(f"layer {self.layer!r} is unknown")

    def fusion(self) -> Shape:
        """Return the shape that a layer of the fusion has."""
        return replace(self, heads=FUSION_HEADS, feedforward=2 * self.width)


class RmsNorm(nn.Module):
    """A vector over its root mean square, times a gain."""

    epsilon = float(torch.finfo(torch.float32).eps)

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the same shape (..., size)."""
        return x * (x.square().mean(-1, keepdim=True) + self.epsilon).rsqrt() * self.weight


class PackedAttention(nn.Module):
    """The weights of self-attention as PyTorch's own layer keeps them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.in_proj_bias)


@dataclass(frozen=True)
class Projections:
    """What a layer attends with."""

    weights: Tuple[torch.Tensor, ...]
    """(d, d) of queries, keys and values."""
    biases: Tuple[torch.Tensor, ...]
    """(d,) of each."""
    out: nn.Linear
    norms: Tuple[RmsNorm, ...] = ()
    """Of queries and keys, if they are normalised."""


class Layer(nn.Module):
    """A transformer encoder layer, without any mask; how its attention is kept differs by kind."""

    is_norm_first = False

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.linear1 = nn.Linear(shape.width, shape.feedforward)
        self.linear2 = nn.Linear(shape.feedforward, shape.width)
        self.norm1 = nn.LayerNorm(shape.width)
        self.norm2 = nn.LayerNorm(shape.width)

    def projections(self) -> Projections:
        """Return the weights of the attention."""
        raise NotImplementedError

    def attention(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, T, d) of (B, T, d)."""
        of = self.projections()
        batch, time, width = x.shape
        size = width // self.heads
        query, key, value = (
            functional.linear(x, weight, bias).reshape(batch, time, self.heads, size)
            for weight, bias in zip(of.weights, of.biases)
        )
        if of.norms:
            query, key = (norm(part) for norm, part in zip(of.norms, (query, key)))
        query, key, value = (part.transpose(1, 2) for part in (query, key, value))
        scores = (query * size**-0.5) @ key.transpose(-2, -1)
        mixed = scores.softmax(dim=-1) @ value
        return cast("torch.Tensor", of.out(mixed.transpose(1, 2).flatten(-2)))

    def feedforward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, T, d) of (B, T, d)."""
        return cast("torch.Tensor", self.linear2(self.linear1(x).relu()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, T, d) of (B, T, d)."""
        if self.is_norm_first:
            x = x + self.attention(self.norm1(x))
            return x + self.feedforward(self.norm2(x))
        x = self.norm1(x + self.attention(x))
        return cast("torch.Tensor", self.norm2(x + self.feedforward(x)))


class StockLayer(Layer):
    """STOCK."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.self_attn = PackedAttention(shape.width)

    def projections(self) -> Projections:  # noqa: D102
        packed = self.self_attn
        weights, biases = packed.in_proj_weight.chunk(3), packed.in_proj_bias.chunk(3)
        return Projections(weights, biases, packed.out_proj)


class QkNormLayer(Layer):
    """QK_NORM or QK_NORM_FIRST."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        width, size = shape.width, shape.width // shape.heads
        self.is_norm_first = shape.layer == QK_NORM_FIRST
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)
        self.q_norm = RmsNorm(size)
        self.k_norm = RmsNorm(size)

    def projections(self) -> Projections:  # noqa: D102
        parts = (self.q_proj, self.k_proj, self.v_proj)
        return Projections(
            weights=tuple(part.weight for part in parts),
            biases=tuple(part.bias for part in parts),
            out=self.out_proj,
            norms=(self.q_norm, self.k_norm),
        )


class Stack(nn.Module):
    """Layers one after the other, with nothing behind the last."""

    def __init__(self, shape: Shape, layers: int) -> None:
        super().__init__()
        self.layers = _layers(shape, layers)


def _layers(shape: Shape, layers: int) -> nn.ModuleList:
    kind = StockLayer if shape.layer == STOCK else QkNormLayer
    return nn.ModuleList(kind(shape) for _ in range(layers))


def season_of(days: torch.Tensor, width: int) -> torch.Tensor:
    """Return (..., width) of days of year (..., 1): sine and cosine of ever slower waves in turn."""
    steps = torch.arange(0, width, 2, dtype=torch.float32)
    angles = days * torch.exp(steps * (-math.log(10000.0) / width))
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


class Backbone(nn.Module):
    """A sensor's observations of a pixel become one vector."""

    def __init__(self, bands: int, shape: Shape) -> None:
        super().__init__()
        width = shape.width
        self.embedding = nn.Sequential(nn.Linear(bands, width), nn.ReLU(), nn.Linear(width, width))
        # The official names of the layers differ.
        is_bare = shape.layer == QK_NORM
        self.transformer_encoder: nn.Module = (
            _layers(shape, shape.layers) if is_bare else Stack(shape, shape.layers)
        )
        self.attn_pool = Pooling(width, shape.pooling)

    def layers(self) -> Iterator[Tuple[str, Layer]]:
        """Yield the layers with their names within the backbone."""
        for name, module in self.named_modules():
            if isinstance(module, Layer):
                yield name, module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, d) of (B, T, bands + 1), where the last channel is the raw day of year."""
        embedded = self.embedding(x[:, :, :-1])
        x = embedded + season_of(x[:, :, -1:], embedded.shape[-1])
        for _name, layer in self.layers():
            x = layer(x)
        return cast("torch.Tensor", self.attn_pool(x))


class Encoder(nn.Module):
    """Both sensors' observations of a pixel become its embedding."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.s2_backbone = Backbone(S2_BANDS, shape)
        self.s1_backbone = Backbone(S1_BANDS, shape)
        if shape.fusion_layers:
            self.fusion_modality_embed = nn.Parameter(torch.zeros(2, shape.width))
            self.fusion_transformer = Stack(shape.fusion(), shape.fusion_layers)
        self.dim_reducer = nn.Sequential(*_reducer(shape))

    def forward(self, s2_input: torch.Tensor, s1_input: torch.Tensor) -> torch.Tensor:
        """Return (B, output) of z-scored observations with days of year.

        s2_input: float32 (B, T2, 11); s1_input: float32 (B, T1, 3); T2, T1 >= 1.
        """
        sensors = [self.s2_backbone(s2_input), self.s1_backbone(s1_input)]
        if self.shape.fusion_layers:
            tokens = torch.stack(sensors, dim=1) + self.fusion_modality_embed
            for layer in self.fusion_transformer.layers:
                tokens = layer(tokens)
            return cast("torch.Tensor", self.dim_reducer(tokens.flatten(1)))
        return cast("torch.Tensor", self.dim_reducer(torch.cat(sensors, dim=1)))


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


def plain_student(  # noqa: PLR0917
    latent: int, layers: int, heads: int, feedforward: int, output: int, layer: str = STOCK
) -> Shape:
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
        layer=layer,
    )


def teacher(
    latent: int,
    layers: int,
    heads: int,
    feedforward: int,
    output: int,
    *,
    is_output_normalised: bool,
) -> Shape:
    """Return the shape of the v2 teacher as its checkpoint's settings describe it."""
    shape = plain_student(latent, layers, heads, feedforward, output, QK_NORM_FIRST)
    return replace(shape, fusion_layers=2, is_output_normalised=is_output_normalised)
