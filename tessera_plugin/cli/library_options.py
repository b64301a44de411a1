# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The arguments of the commands that look after heads as files."""

from __future__ import annotations

import argparse

from . import library_commands as commands
from .shared_options import add_json
from .values import file_of


def add_heads(heads: argparse.ArgumentParser) -> None:
    """Add the arguments of `heads list`, `rename`, `import` and `export`."""
    common = argparse.ArgumentParser(add_help=False)
    add_json(common)
    what = heads.add_subparsers(dest="what", required=True, metavar="WHAT")
    listing = what.add_parser("list", parents=[common], help="what heads a folder holds")
    listing.add_argument("folder", metavar="DIR")
    listing.set_defaults(run=commands.list_heads)
    naming = what.add_parser("rename", parents=[common], help="give a head a name")
    naming.add_argument("head", metavar="HEAD")
    naming.add_argument("name", metavar="NAME")
    naming.set_defaults(run=commands.rename)
    export = what.add_parser("export", parents=[common], help="as ONNX, checked in ONNX Runtime")
    export.add_argument("head", metavar="HEAD")
    export.add_argument("--out", required=True, type=file_of(".onnx"), metavar="MODEL.onnx")
    export.set_defaults(run=commands.export_head)
    bring = what.add_parser("import", parents=[common], help="a head, or the ONNX file of one")
    bring.add_argument("file", metavar="FILE", help=".head, or .onnx that was exported from here")
    bring.add_argument("--into", default=".", metavar="DIR", help="(default: where you are)")
    bring.set_defaults(run=commands.import_head)
