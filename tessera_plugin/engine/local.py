# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Embeddings that the person made, for those who may not know io: listed, and scenes removed."""

from __future__ import annotations

from ..io.local import (
    Listing,
    Scene,
    dataset_of,
    datasets_in,
    look_into,
    remove_scene,
    scene_bytes,
    scenes,
)
from ..io.sources.local_store import LocalStore

__all__ = [
    "Listing",
    "LocalStore",
    "Scene",
    "dataset_of",
    "datasets_in",
    "look_into",
    "remove_scene",
    "scene_bytes",
    "scenes",
]
