# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Without a screen QGIS must start offscreen, or it ends the whole process."""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp(prefix="tessera-runtime-"))
os.environ.setdefault(
    "TESSERA_WORKER_PYTHON",
    str(
        Path(__file__).resolve().parent.parent
        / "build"
        / "private"
        / "environment"
        / "bin"
        / "python"
    ),
)
