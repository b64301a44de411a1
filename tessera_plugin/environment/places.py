# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the private environment and what belongs to it lie, and whether they can lie there."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from .. import paths

DEEPEST = 150
"""Characters of the longest path below an environment, on Windows: PyTorch's headers."""

WINDOWS_LIMIT = 259
"""Longest path that every program on Windows can open."""


@dataclass(frozen=True)
class Places:
    """The folders and files of one private environment.

    It lies outside QGIS's profile and the plugin's folder: every QGIS and every profile of this
    person uses the same one, and neither a roaming profile nor an upgrade touches it.
    """

    root: Path

    @property
    def environment(self) -> Path:
        """The environment in use."""
        return self.root / "environment"

    @property
    def staging(self) -> Path:
        """The one that is being made."""
        return self.root / "environment.new"

    @property
    def replaced(self) -> Path:
        """The one that was in use, for the moment of the swap."""
        return self.root / "environment.replaced"

    @property
    def trash(self) -> Path:
        """Start of the name of what was put aside to be deleted."""
        return self.root / "environment.old"

    @property
    def tools(self) -> Path:
        """uv, as pip put it there."""
        return self.root / "tools"

    @property
    def pythons(self) -> Path:
        """Pythons that uv fetched."""
        return self.root / "pythons"

    @property
    def downloads(self) -> Path:
        """What was downloaded, kept until the installation is complete."""
        return self.root / "downloads"

    @property
    def log(self) -> Path:
        """What the installers said."""
        return self.root / "logs" / "install.log"

    @property
    def lock(self) -> Path:
        """Held by the one that installs or removes."""
        return self.root / "environment.lock"

    @property
    def marker(self) -> Path:
        """There while an installation is under way; one that was cut off leaves it behind."""
        return self.root / "environment.installing"

    @property
    def record(self) -> Path:
        """What is in the environment in use."""
        return self.environment / "tessera-environment.json"


def default_places() -> Places:
    """Return the places of this person's environment."""
    return Places(paths.data_dir())


def python_in(environment: Path, system: str = sys.platform) -> Path:
    """Return the Python of a virtual environment."""
    if system == "win32":
        return environment / "Scripts" / "python.exe"
    return environment / "bin" / "python"


def path_problem(root: str, system: str) -> str:
    """Return why an environment can't lie in a folder, in a few words; empty where it can.

    `system` as in sys.platform.
    """
    if system == "win32":
        longest = len(root) + len("\\environment.new\\") + DEEPEST
        if longest > WINDOWS_LIMIT:
            over = longest - WINDOWS_LIMIT
            return f"the path {root} is {over} characters too long for Windows"
        if root.startswith("\\\\"):
            return f"{root} is on a network share, where programs can't be started reliably"
    bad = [character for character in root if not character.isprintable()]
    if system != "win32" and ":" in root:
        bad.append(":")  # it separates paths, so tools in such a folder are not found
    if bad:
        return f"the path {root!r} contains {bad[0]!r}"
    return ""


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder; links are not followed."""
    total = 0
    waiting = [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:  # noqa: PERF203 - it went while we looked
            continue
    return total
