# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Encoders as others would build them, from PyTorch's stock layers: what ours must agree with.

Runs in the private environment. The names of their tensors are those of the official checkpoints,
because the official networks are made of these very layers.
"""

import math
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

SMALL = SimpleNamespace(latent=12, layers=2, heads=4, feedforward=40)


class Cell(nn.Module):
    def __init__(self, d):
        super().__init__()
        for gate in ("ir", "iz", "ih", "hr", "hz", "hh"):
            setattr(self, f"W_{gate}", nn.Linear(d, d, bias=False))
        for gate in "rzh":
            setattr(self, f"b_{gate}", nn.Parameter(torch.randn(d)))


class Loop(nn.Module):
    """The recurrence, in numpy and double precision."""

    def __init__(self, d):
        super().__init__()
        self.gru_cell = Cell(d)

    def forward(self, x):
        w = {name: p.detach().numpy().astype(float) for name, p in self.gru_cell.named_parameters()}
        steps, h = [], np.zeros((x.shape[0], x.shape[2]))
        for x_t in x.detach().numpy().astype(float).transpose(1, 0, 2):
            r = 1 / (1 + np.exp(-(x_t @ w["W_ir.weight"].T + h @ w["W_hr.weight"].T + w["b_r"])))
            z = 1 / (1 + np.exp(-(x_t @ w["W_iz.weight"].T + h @ w["W_hz.weight"].T + w["b_z"])))
            n = np.tanh(x_t @ w["W_ih.weight"].T + (r * h) @ w["W_hh.weight"].T + w["b_h"])
            h = (1 - z) * h + z * n
            steps.append(h)
        return torch.tensor(np.stack(steps, axis=1), dtype=torch.float32), None


class Pool(nn.Module):
    def __init__(self, d, kind):
        super().__init__()
        self.query = nn.Linear(d, 1)
        if kind == "gru":
            self.temporal_context = nn.GRU(d, d, batch_first=True)
        if kind == "custom":
            self.temporal_context = Loop(d)
            self.layer_norm = nn.LayerNorm(d)
        self.kind = kind

    def forward(self, x):
        if self.kind == "custom" and x.shape[1] == 1:
            return x[:, 0]
        context = x if self.kind == "attention" else self.temporal_context(x)[0]
        context = self.layer_norm(context) if self.kind == "custom" else context
        weights = torch.softmax(self.query(context), dim=1)
        return (weights * x).sum(1)


class NormedLayer(nn.Module):
    """Queries and keys are normalised per head; `first`: so is what goes into each half."""

    def __init__(self, d, heads, feedforward, first):
        super().__init__()
        self.heads, self.first = heads, first
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            setattr(self, name, nn.Linear(d, d))
        self.q_norm, self.k_norm = nn.RMSNorm(d // heads), nn.RMSNorm(d // heads)
        self.linear1, self.linear2 = nn.Linear(d, feedforward), nn.Linear(feedforward, d)
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)

    def attend(self, x):
        q, k, v = (part(x).unflatten(-1, (self.heads, -1)) for part in
                   (self.q_proj, self.k_proj, self.v_proj))  # fmt: skip
        heads = [part.transpose(1, 2) for part in (self.q_norm(q), self.k_norm(k), v)]
        mixed = nn.functional.scaled_dot_product_attention(*heads)
        return self.out_proj(mixed.transpose(1, 2).flatten(-2))

    def forward(self, x):
        def wide(x):
            return self.linear2(torch.relu(self.linear1(x)))

        if self.first:
            x = x + self.attend(self.norm1(x))
            return x + wide(self.norm2(x))
        x = self.norm1(x + self.attend(x))
        return self.norm2(x + wide(x))


class Layers(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class Half(nn.Module):
    def __init__(self, bands, d, of, kind):
        super().__init__()
        self.embedding = nn.Sequential(nn.Linear(bands, d), nn.ReLU(), nn.Linear(d, d))
        if kind in {"qk_norm", "teacher"}:
            sizes = (d, of.heads, of.feedforward, kind == "teacher")
            layers = [NormedLayer(*sizes) for _ in range(of.layers)]
            held = Layers(*layers) if kind == "teacher" else nn.Sequential(*layers)
            self.transformer_encoder, kind = held, "attention"
        else:
            layer = nn.TransformerEncoderLayer(d, of.heads, of.feedforward, batch_first=True)
            self.transformer_encoder = nn.TransformerEncoder(
                layer, of.layers, enable_nested_tensor=False
            )
        self.attn_pool = Pool(d, kind)

    def forward(self, x):
        x, days = x[..., :-1], x[..., -1]
        x = self.embedding(x)
        d = x.shape[-1]
        season = torch.zeros_like(x)
        for i in range(d // 2):
            angle = days * math.exp(-2 * i * math.log(10000) / d)
            season[..., 2 * i], season[..., 2 * i + 1] = angle.sin(), angle.cos()
        return self.attn_pool(self.transformer_encoder(x + season))


class Stock(nn.Module):
    def __init__(self, of, kind, output, reducer):
        super().__init__()
        d = 4 * of.latent
        self.s2_backbone = Half(10, d, of, kind)
        self.s1_backbone = Half(2, d, of, kind)
        self.dim_reducer = nn.Sequential(nn.Linear(2 * d, output))
        if reducer != "linear":
            parts = [nn.Linear(2 * d, 4 * d), nn.LayerNorm(4 * d), nn.ReLU(), nn.Dropout(0.1)]
            parts += [nn.Linear(4 * d, output)]
            parts += [nn.LayerNorm(output, elementwise_affine=False)] * (reducer == "normalised")
            self.dim_reducer = nn.Sequential(*parts)

        if kind == "teacher":
            self.fusion_modality_embed = nn.Parameter(torch.randn(2, d))
            self.fusion_transformer = Layers(*[NormedLayer(d, 4, 2 * d, True) for _ in range(2)])

    def forward(self, s2, s1):
        both = [self.s2_backbone(s2), self.s1_backbone(s1)]
        if hasattr(self, "fusion_transformer"):
            tokens = torch.stack(both, 1) + self.fusion_modality_embed
            return self.dim_reducer(self.fusion_transformer(tokens).flatten(1))
        return self.dim_reducer(torch.cat(both, 1))


KINDS = {
    "1.0": ("gru", 128, "linear"),
    "1.0-qat": ("custom", 128, "linear"),
    "1.1": ("custom", 192, "mlp"),
    "2.0": ("attention", 128, "normalised"),
    "2.0-qk": ("qk_norm", 128, "normalised"),
    "2.0-teacher": ("teacher", 96, "normalised"),
}
"""By generation; "2.0-qk" is a student with enable_qk_norm."""


def stock(generation, of=SMALL, seed=1):
    """Return a network with random weights, none of them at a default that hides a mistake."""
    torch.manual_seed(seed)
    network = Stock(of, *KINDS[generation]).eval()
    for name, parameter in network.named_parameters():
        if parameter.ndim == 1 and "norm" in name:
            nn.init.normal_(parameter, float(name.endswith("weight")), 0.2)
        elif parameter.ndim == 1:
            nn.init.normal_(parameter, 0, 0.2)
    if generation == "1.1":  # of 192 numbers 128 are kept: one that is not is the largest
        nn.init.constant_(network.dim_reducer[4].bias[150:151], 5.0)
    return network


def settings(of=SMALL, **changed):
    return {
        "repr_dim": 128,
        "latent_dim": of.latent,
        "num_layers": of.layers,
        "nhead": of.heads,
        "dim_feedforward": of.feedforward,
        "max_seq_len": 256,
        "matryoshka_dims": "16,32,64,128",
        "enable_qk_norm": False,
        **changed,
    }


def payload(generation, network, of=SMALL):
    """Return what the official file of such a network holds."""
    state = dict(network.state_dict())
    if generation in {"2.0", "2.0-qk"}:
        args = settings(of, enable_qk_norm=generation == "2.0-qk")
        return {"args": args, "model": state, "epoch": 3}
    if generation == "2.0-teacher":
        arch = {**settings(of, repr_dim=96), "final_layernorm": True}
        return {"arch": arch, "encoder_state_dict": state}
    state["projector.0.weight"] = torch.zeros(2, 2)
    if generation == "1.1":
        state["segmented_matryoshka_projector.0.weight"] = torch.zeros(2, 2)
    key = "model_state" if generation == "1.1" else "model_state_dict"
    return {key: {f"_orig_mod.{name}": value for name, value in state.items()}, "step": 10}


def heads_of(generation):
    """Return what read_checkpoint must be told: v1 files don't say it."""
    return None if generation.startswith("2.0") else SMALL.heads


def observations(batch, s2_time, s1_time, seed=5):
    rng = np.random.default_rng(seed)

    def one(time, bands):
        days = np.sort(rng.integers(1, 367, (batch, time, 1)), axis=1)
        return np.concatenate([rng.normal(size=(batch, time, bands)), days], 2).astype(np.float32)

    return one(s2_time, 10), one(s1_time, 2)


def run(network, s2, s1):
    with torch.no_grad():
        return network(torch.from_numpy(s2), torch.from_numpy(s1)).numpy()
