# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The arguments of the commands that make embeddings of own scenes."""

from __future__ import annotations

import argparse

from ..engine.encoders import PRECISIONS, PROVIDERS
from . import encode_commands as commands
from . import scene_commands
from .shared_options import add_json
from .values import bbox, count, day, file_of, positive

_S2_UNITS = ("dn", "dn+1000", "by-date", "reflectance")
_S1_UNITS = ("power", "amplitude", "db", "code")
_MASKS = ("scl", "clear", "cloudy", "none")
_ORBITS = ("ascending", "descending")


def add_build(build: argparse.ArgumentParser) -> None:
    """Add the arguments of `build-dpixels`."""
    add_json(build)
    build.add_argument("source", nargs="*", metavar="FOLDER", help="of Sentinel-2 and -1 rasters")
    build.add_argument("--out", metavar="DIR", default="", help="the d-pixel folder")
    build.add_argument("--bbox", type=bbox, metavar="W,S,E,N", help="degrees; else what S2 covers")
    build.add_argument("--list", action="store_true", help="only say what is recognised")
    build.add_argument("--s2-unit", choices=_S2_UNITS, default="", help="where no file tells")
    build.add_argument("--s1-unit", choices=_S1_UNITS, default="")
    build.add_argument("--orbit", choices=_ORBITS, default="")
    build.add_argument("--mask", choices=_MASKS, default="")
    build.add_argument("--date", action="append", default=[], metavar="NAME=YYYY-MM-DD")
    build.add_argument("--band", action="append", default=[], metavar="B02=1")
    build.add_argument("--leave-out", action="append", default=[], metavar="NAME")
    _add_catalogue(build)
    build.set_defaults(run=scene_commands.build_dpixels)


def _add_catalogue(build: argparse.ArgumentParser) -> None:
    build.add_argument("--stac", default="", metavar="CATALOGUE", help="instead of folders, "
                       "Sentinel-2 from this one (planetary-computer, earth-search)")  # fmt: skip
    build.add_argument("--stac-s1", default="planetary-computer", metavar="CATALOGUE")
    build.add_argument("--no-s1", action="store_true", help="without Sentinel-1")
    build.add_argument("--from", dest="first", type=day, metavar="YYYY-MM-DD")
    build.add_argument("--to", dest="last", type=day, metavar="YYYY-MM-DD")
    build.add_argument("--max-cloud", type=positive, default=100.0, metavar="PERCENT")
    build.add_argument(
        "--scenes-dir", default="", metavar="DIR", help="where what is fetched stays"
    )
    build.add_argument("--catalogues", default="", metavar="FILE.json", help="more catalogues")


def add_export(export: argparse.ArgumentParser) -> None:
    """Add the arguments of `export-encoder`."""
    add_json(export)
    export.add_argument("checkpoint", metavar="CHECKPOINT.pt")
    export.add_argument("--out", required=True, type=file_of(".onnx"), metavar="ENCODER.onnx")
    export.add_argument(
        "--data-source", choices=("mpc", "aws", "unstated"), default="unstated",
        help="whose Sentinel data it was trained on, where the checkpoint does not tell",
    )  # fmt: skip
    export.add_argument("--precision", choices=PRECISIONS, default=PRECISIONS[0])
    export.add_argument("--heads", type=count, default=0, metavar="N")
    export.add_argument("--calibration", default="", metavar="DIR", help="d-pixel folder for int8")
    export.set_defaults(run=commands.export_encoder)


def add_encode(encode: argparse.ArgumentParser) -> None:
    """Add the arguments of `encode`."""
    add_json(encode)
    encode.add_argument("--encoder", required=True, metavar="ENCODER.onnx")
    encode.add_argument("--tile", required=True, metavar="DIR", help="the d-pixel folder")
    encode.add_argument("--year", required=True, type=int)
    encode.add_argument("--name", required=True, help="of the scene, for people")
    encode.add_argument("--out", required=True, metavar="DIR", help="folder of one's own datasets")
    encode.add_argument("--depth", type=count, default=0, metavar="N")
    encode.add_argument("--device", choices=tuple(PROVIDERS), default="")
    encode.add_argument("--threads", type=count, default=0, metavar="N")
    encode.add_argument("--estimate", action="store_true", help="only say what it would take")
    encode.set_defaults(run=commands.run_encode)


def add_devices(devices: argparse.ArgumentParser) -> None:
    """Add the arguments of `devices`."""
    add_json(devices)
    devices.set_defaults(run=commands.devices)
