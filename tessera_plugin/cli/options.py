# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands, and the arguments of the one that is asked for.

A command brings a good part of the engine along, so only the chosen one is loaded.
"""

from __future__ import annotations

import argparse
import importlib
from typing import Callable, List, Mapping, Sequence, Tuple

COMMANDS: Mapping[str, Tuple[str, str]] = {
    "datasets": ("list the datasets", "data_options.add_datasets"),
    "coverage": (
        "what is published of an extent, and what it costs",
        "data_options.add_coverage",
    ),
    "fetch": ("embeddings of an extent into the cache, or to a file", "data_options.add_fetch"),
    "compare": ("whether a dataset's store and its tiles agree", "data_options.add_compare"),
    "train": ("a head from labelled samples", "head_options.add_train"),
    "compare-heads": ("kinds of heads on the same folds", "head_options.add_compare"),
    "heads": ("heads as files: list, name, import, export as ONNX", "library_options.add_heads"),
    "labels": ("check labels, or choose some from a class map", "label_options.add_labels"),
    "classify": ("a map of an extent", "map_options.add_classify"),
    "apply-model": ("somebody's ONNX model", "model_options.add_model"),
    "cache": ("what is kept of what was fetched", "cache_options.add_cache"),
    "similar": ("how like some places all are", "explore_options.add_similar"),
    "cluster": ("a map of clusters, no labels", "explore_options.add_cluster"),
    "suggest": ("where to label next", "explore_options.add_suggest"),
    "build-dpixels": ("encoder inputs from dated rasters", "encode_options.add_build"),
    "export-encoder": ("an official checkpoint to ONNX", "encode_options.add_export"),
    "encode": ("embeddings of a scene of one's own", "encode_options.add_encode"),
    "devices": ("what can be computed on", "encode_options.add_devices"),
}
"""What each command is for, and which function of which module here adds its arguments."""


def parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser of all commands; only the one in the arguments has its own."""
    top = argparse.ArgumentParser(
        prog="tessera_plugin", description="TESSERA embeddings to land-cover maps."
    )
    adding = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = next((each for each in arguments if not each.startswith("-")), "")
    for name, (told, place) in COMMANDS.items():
        command = adding.add_parser(name, help=told)
        if name == chosen:
            module, _, function = place.partition(".")
            add: Callable[[argparse.ArgumentParser], None] = getattr(
                importlib.import_module(f".{module}", __package__), function
            )
            add(command)
    return top


def with_joined_bbox(arguments: Sequence[str]) -> List[str]:
    """Return the arguments with `--bbox -0.2,…` as one: argparse takes it for an option else.

    So with `--at -0.2,…`.
    """
    joined: List[str] = []
    for argument in arguments:
        if joined and joined[-1] in ("--bbox", "--at"):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined
