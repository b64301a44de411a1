# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The arguments of the command that runs ONNX models of others."""

from __future__ import annotations

import argparse

from . import model_commands
from .shared_options import add_common, add_dataset
from .values import bbox, file_of


def add_model(model: argparse.ArgumentParser) -> None:
    """Add the arguments of `apply-model`."""
    add_common(model)
    add_dataset(model)
    model.add_argument("--model", required=True, metavar="MODEL.onnx")
    model.add_argument(
        "--model-form", default="", metavar="FORM.json", help="what its files don't tell"
    )
    model.add_argument("--describe", action="store_true", help="only say what it takes and gives")
    model.add_argument("--year", type=int, default=0)
    model.add_argument("--bbox", type=bbox, metavar="W,S,E,N", help="degrees, EPSG:4326")
    model.add_argument("--out", type=file_of(".tif"), metavar="MAP.tif")
    model.add_argument("--confidence", type=file_of(".tif"), metavar="CONF.tif")
    model.set_defaults(run=model_commands.apply_model)
