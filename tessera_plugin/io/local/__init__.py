# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Embeddings that the person's own encoder made: folders of scenes, never part of the cache."""

from .datasets import (
    Listing,
    begin_scene,
    create,
    dataset_of,
    datasets_in,
    finish_scene,
    look_into,
    remove_scene,
    scene_bytes,
    scenes,
)
from .records import DatasetRecord, Scene

__all__ = [
    "DatasetRecord",
    "Listing",
    "Scene",
    "begin_scene",
    "create",
    "dataset_of",
    "datasets_in",
    "finish_scene",
    "look_into",
    "remove_scene",
    "scene_bytes",
    "scenes",
]
