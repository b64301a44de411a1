# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A private QGIS profile with the plugin's zip installed, and how to start QGIS with it."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path
from typing import Dict, List, Mapping, Optional

ROOT = Path(__file__).resolve().parent.parent
ZIP = ROOT / "build" / "tessera.zip"
PLUGIN = "tessera"


def make_profile(folder: Path, settings: Mapping[str, object], plugin_zip: Path = ZIP) -> Path:
    """Make or refresh a profile: the plugin unpacked and enabled, no tips, news or version check.

    Nor does QGIS ask about layers in the system's temporary folder, where a checkout may be.

    `settings` are the plugin's own, without their prefix; others that are already there stay.
    """
    home = folder / "profiles" / "default"
    plugins = home / "python" / "plugins"
    shutil.rmtree(plugins / PLUGIN, ignore_errors=True)
    plugins.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(plugin_zip) as archive:
        archive.extractall(plugins)
    ini = home / "QGIS" / "QGIS3.ini"
    ini.parent.mkdir(parents=True, exist_ok=True)
    ini.write_text(_with_settings(ini.read_text("utf-8") if ini.exists() else _INI, settings))
    return folder


def qgis_command(profile: Path, code: Optional[Path] = None) -> List[str]:
    """Return the command that opens QGIS with a profile and runs a script in it."""
    command = ["qgis", "--nologo", "--noversioncheck", "--profiles-path", str(profile)]
    return [*command, "--code", str(code)] if code else command


def qgis_environment(**more: str) -> Dict[str, str]:
    """Return this environment for a QGIS of its own: a window, the system's Python, our variables."""
    drop = {"QT_QPA_PLATFORM", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    kept = {key: value for key, value in os.environ.items() if key not in drop}
    kept.setdefault("XDG_RUNTIME_DIR", str(ROOT / "build" / "runtime"))
    kept.setdefault(
        "TESSERA_WORKER_PYTHON", str(ROOT / "build" / "private" / "environment" / "bin" / "python")
    )
    return {**kept, **more}


_INI = f"""[PythonPlugins]
{PLUGIN}=true

[qgis]
checkVersion=false
showTips=false

[app]
askToSaveMemoryLayers=false

[core]
NewsFeed\\httpsfeedqgisorg\\disabled=true

[tessera]
"""


def _with_settings(ini: str, settings: Mapping[str, object]) -> str:
    """Return an ini file with keys of its [tessera] group set; QGIS's own text stays as it is."""
    before, group, rest = ini.partition("[tessera]\n")
    own, blank, after = rest.partition("\n[")
    lines = [line for line in own.splitlines() if line.split("=")[0] not in settings]
    lines += [f"{key}={value}" for key, value in settings.items()]
    text = "\n".join(line for line in lines if line)
    return f"{before}{group or '[tessera]' + chr(10)}{text}\n{blank}{after}"
