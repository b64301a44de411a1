# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Installs in a process of its own, to be killed: ROOT LOCKS INDEX_URL."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tessera_plugin.environment import bundles
from tessera_plugin.environment.install import InstallRequest, install
from tessera_plugin.environment.places import Places

if __name__ == "__main__":
    root, locks, url = sys.argv[1:]
    bundles.LOCKS = Path(locks)
    environ = {"PIP_INDEX_URL": url, "PIP_CONFIG_FILE": "/dev/null", "PATH": "/usr/bin:/bin"}
    request = InstallRequest("runtime", Places(Path(root)), environ=environ, fetch_python=False)
    install(request, lambda fraction, message="": print(f"{fraction:.3f}", flush=True))
