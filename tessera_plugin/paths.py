# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the plugin's own files are, and where it keeps what it makes for itself.

The standard library only. Nothing that is large or machine-bound goes into QGIS's profile: it may
be roaming (copied over the network at every login), and an upgrade wipes the plugin's folder.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The plugin's folder."""

UI = ROOT / "ui"
RESOURCES = ROOT / "resources"
ICONS = RESOURCES / "icons"

FOLDER = "tessera-qgis"
"""Name of our folder in each of the system's places."""


def cache_dir() -> Path:
    """Return the folder that fetched embeddings are kept in, unless the person chose another."""
    if sys.platform == "win32":
        return _local_app_data() / FOLDER / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / FOLDER
    return _from_env("XDG_CACHE_HOME", Path.home() / ".cache") / FOLDER


def data_dir() -> Path:
    """Return the folder of what must outlive a cleared cache: the private environment, logs."""
    if sys.platform == "win32":
        return _local_app_data() / FOLDER
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / FOLDER
    return _from_env("XDG_DATA_HOME", Path.home() / ".local" / "share") / FOLDER


def log_dir() -> Path:
    """Return the folder of the worker's logs."""
    return data_dir() / "logs"


def preview_dir() -> Path:
    """Return the folder of the previews that are shown on the map."""
    return data_dir() / "previews"


def worker_python() -> Path:
    """Return the Python of the private environment: the one TESSERA_WORKER_PYTHON names, or ours."""
    named = os.environ.get("TESSERA_WORKER_PYTHON")
    if named:
        return Path(named)
    folder = data_dir() / "environment"
    if sys.platform == "win32":
        return folder / "Scripts" / "python.exe"
    return folder / "bin" / "python"


def _local_app_data() -> Path:
    return _from_env("LOCALAPPDATA", Path.home() / "AppData" / "Local")


def _from_env(name: str, default: Path) -> Path:
    """Return the folder an environment variable names; relative ones count as unset."""
    folder = Path(os.environ.get(name, ""))
    return folder if folder.is_absolute() else default
