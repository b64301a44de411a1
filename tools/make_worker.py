# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Make the worker's environment for development, as the plugin makes a person's: from the locks.

    build/venv/bin/python tools/make_worker.py FOLDER

FOLDER/environment is left alone where it is already what the plugin would install.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tessera_plugin.environment import bundles, install, state
from tessera_plugin.environment.places import Places
from tessera_plugin.errors import TesseraError


def main(folder: str) -> int:
    """Install the training bundle; return 0 when it is there."""
    places = Places(Path(folder).resolve())
    found = state.state(places)
    if bundles.TRAINING in found.bundles and not found.is_outdated:
        return 0
    request = install.InstallRequest(
        bundles.TRAINING, places, variant=bundles.CPU, fetch_python=False
    )
    try:
        install.install(request)
    except TesseraError as error:
        print(f"{error}\nSee {places.log}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
