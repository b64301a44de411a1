# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What every child process of ours needs: an environment without QGIS's libraries, and an end.

A leaf: the standard library only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path, PureWindowsPath
from typing import Any, Dict, List, Mapping, Sequence

_FOREIGN = (
    *("PYTHON", "__PYVENV", "GDAL_", "OGR_", "CPL_", "PROJ_", "GEOTIFF_"),
    *("LD_", "DYLD_", "QT_", "QGIS", "OSGEO4W"),
)
"""Beginnings of the names of variables that QGIS sets for itself and its own libraries."""

_END_S = 2.0


def clean_environment(
    env: Mapping[str, str], platform: str, folders: Sequence[str]
) -> Dict[str, str]:
    """Return the variables for a process that must not meet the libraries of QGIS.

    Dropped are those of Python, GDAL, PROJ, Qt, QGIS and of the dynamic loader. On Windows
    (`platform` as in sys.platform) DLLs are found along PATH, so the folders of QGIS are taken off
    it: those in `folders` with all below them, and any that by its name is of QGIS or OSGeo4W.
    """
    kept = {name: value for name, value in env.items() if not name.upper().startswith(_FOREIGN)}
    if platform == "win32":
        roots = [PureWindowsPath(folder) for folder in folders if folder]
        for name in [name for name in kept if name.upper() == "PATH"]:
            entries = [entry.strip('"') for entry in kept[name].split(";")]
            kept[name] = ";".join(
                entry for entry in entries if entry and not _is_qgis(entry, roots)
            )
    return kept


def qgis_folders() -> List[str]:
    """Return where this process has its own libraries from."""
    told = [os.environ.get(name, "") for name in ("OSGEO4W_ROOT", "QGIS_PREFIX_PATH")]
    return [*told, sys.prefix, sys.base_prefix, str(Path(sys.executable).parent)]


def group_options() -> Dict[str, Any]:
    """Return options of `subprocess.Popen` for a child that is ended with all it started."""
    if sys.platform == "win32":  # pragma: no cover
        return {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def kill_group(process: subprocess.Popen[Any]) -> None:
    """Kill a child made with `group_options`, and all it started, at once; nothing if it is gone.

    Then its number may be another's already, and so may that of its group.
    """
    if process.poll() is None:
        _signal_group(process, force=True)
        process.kill()


def end_group(process: subprocess.Popen[Any], grace_s: float = 1.0) -> None:
    """End a child made with `group_options`, and all it started: ask first, then kill."""
    if process.poll() is None:
        _signal_group(process, force=False)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
    _signal_group(process, force=True)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_S)


def _signal_group(process: subprocess.Popen[Any], *, force: bool) -> None:
    if sys.platform == "win32":  # pragma: no cover
        command = ["taskkill", "/T", "/PID", str(process.pid), *(["/F"] if force else [])]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(command, capture_output=True, timeout=_END_S, check=False)
        return
    with contextlib.suppress(OSError):  # it is gone with all it started
        os.killpg(process.pid, signal.SIGKILL if force else signal.SIGTERM)


def _is_qgis(entry: str, roots: Sequence[PureWindowsPath]) -> bool:
    path = PureWindowsPath(entry)
    if any(part.lower().startswith(("qgis", "osgeo4w")) for part in path.parts):
        return True
    return any(root == path or root in path.parents for root in roots)
