# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Start the worker: `python -I -u .../compute/worker/__main__.py [PRIVATE_FOLDER]`.

Run as a file under any folder name the plugin was installed as, and without a search path of its
own (-I), so it first has to find the package it is a part of.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main() -> None:
    """Serve until the client is gone."""
    package = Path(__file__).resolve().parents[2]
    sys.path.append(str(package.parent))
    serve = importlib.import_module(f"{package.name}.compute.worker.serve")
    # Other plugins lie beside ours: without this, `import torch` could find a plugin of a name that
    # torch looks for. Our own later imports go by the package, not by the path.
    sys.path.remove(str(package.parent))
    serve.main()


if __name__ == "__main__":
    main()
