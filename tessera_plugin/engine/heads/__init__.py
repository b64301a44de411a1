# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Heads: embeddings of one dataset in, class probabilities out."""

from .base import KINDS, Head, identify
from .instant import fit_instant
from .storage import load, save

__all__ = ["KINDS", "Head", "fit_instant", "identify", "load", "save"]
