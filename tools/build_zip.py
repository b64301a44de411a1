# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Build the plugin's zip: what pb_tool.cfg lists, in one top folder, the same bytes every time."""

from __future__ import annotations

import configparser
import sys
import zipfile
from pathlib import Path
from typing import Iterator

ROOT = Path(__file__).resolve().parent.parent
NOT_SHIPPED = {"__pycache__"}
NOT_SHIPPED_SUFFIXES = {".pyc", ".ts"}
EPOCH = (2020, 1, 1, 0, 0, 0)


def shipped(config: configparser.ConfigParser) -> Iterator[Path]:
    """Yield the files of the plugin, sorted."""
    files = config["files"]
    for name in (files["python_files"] + " " + files["extras"]).split():
        yield ROOT / name
    for folder in files["extra_dirs"].split():
        for path in sorted((ROOT / folder).rglob("*")):
            ignored = NOT_SHIPPED & set(path.parts) or path.suffix in NOT_SHIPPED_SUFFIXES
            if path.is_file() and not ignored:
                yield path


def build(target: Path) -> Path:
    """Write the zip and return its path."""
    config = configparser.ConfigParser()
    config.read(ROOT / "pb_tool.cfg", encoding="utf-8")
    top = config["plugin"]["name"]
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in shipped(config):
            info = zipfile.ZipInfo(f"{top}/{path.relative_to(ROOT).as_posix()}", EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, path.read_bytes())
    part.replace(target)
    return target


if __name__ == "__main__":
    print(build(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/tessera.zip")))
