# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A sequence of observations becomes one vector: attention over time, with or without a GRU."""

from __future__ import annotations

from typing import Optional, Tuple, cast

import torch
from torch import nn

ATTENTION = "attention"
GRU = "gru"
"""v1.0: PyTorch's own, where the reset gate works behind the matrix product."""
RESET_FIRST_GRU = "reset_first_gru"
"""v1.0-QAT and v1.1: the reset gate works before the matrix product, the update gate the other way
round. Taking one for the other loads, runs, and is wrong by half a percent of cosine."""


class Pooling(nn.Module):
    """Weights over time from a score of every observation; their sum of the observations."""

    temporal_context: Optional[nn.Module]

    def __init__(self, width: int, kind: str) -> None:
        super().__init__()
        self.query = nn.Linear(width, 1)
        self.temporal_context = None
        self.layer_norm: Optional[nn.LayerNorm] = None
        if kind == GRU:
            self.temporal_context = nn.GRU(width, width, batch_first=True)
        elif kind == RESET_FIRST_GRU:
            self.temporal_context = ResetFirstGru(width)
            self.layer_norm = nn.LayerNorm(width)
        elif kind != ATTENTION:
            raise ValueError(f"pooling {kind!r} is unknown")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, d) of (B, T, d). With T = 1 that is the observation itself."""
        context = x
        if self.temporal_context is not None:
            context = self.temporal_context(x)[0]
        if self.layer_norm is not None:
            context = self.layer_norm(context)
        weights = self.query(context).softmax(dim=1)
        return cast("torch.Tensor", (weights * x).sum(dim=1))


class ResetFirstCell(nn.Module):
    """One step of RESET_FIRST_GRU, as weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.W_ir = nn.Linear(width, width, bias=False)
        self.W_iz = nn.Linear(width, width, bias=False)
        self.W_ih = nn.Linear(width, width, bias=False)
        self.W_hr = nn.Linear(width, width, bias=False)
        self.W_hz = nn.Linear(width, width, bias=False)
        self.W_hh = nn.Linear(width, width, bias=False)
        self.b_r = nn.Parameter(torch.zeros(width))
        self.b_z = nn.Parameter(torch.zeros(width))
        self.b_h = nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        """Return the next state (B, d) of an observation (B, d) and a state (B, d)."""
        r = torch.sigmoid(self.W_ir(x) + self.W_hr(h) + self.b_r)
        z = torch.sigmoid(self.W_iz(x) + self.W_hz(h) + self.b_z)
        n = torch.tanh(self.W_ih(x) + self.W_hh(r * h) + self.b_h)
        return (1 - z) * h + z * n


class ResetFirstGru(nn.Module):
    """RESET_FIRST_GRU over a sequence."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gru_cell = ResetFirstCell(width)

    def forward(self, x: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        """Return all states (B, T, d) and the last (B, d) of (B, T, d); the first state is 0."""
        state = torch.zeros_like(x[:, 0])
        states = []
        for observation in x.unbind(1):
            state = self.gru_cell(observation, state)
            states.append(state)
        return torch.stack(states, dim=1), state
