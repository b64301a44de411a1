# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The analyst's loop by clicks and keys in a real window, from the zip.

The scenario looks after each step what became of it, in files and on the screen (tests/e2e/analyst*.py).
"""

import shutil

from tools import tutorial
from tools.qgis_profile import ROOT

STEPS = {
    "classes", "similar", "points", "shapes", "live", "changes", "next_places", "import_labels",
    "problems", "train_at_random", "train_by_blocks", "matrix", "compare", "learning_curve",
    "classify", "colors", "similarity", "clusters", "years",
}  # fmt: skip


def test_the_loop_by_hand():
    folder = ROOT / "build" / "e2e" / "analyst"
    shutil.rmtree(folder, ignore_errors=True)
    facts = tutorial.run(folder)
    assert "error" not in facts, facts["error"]
    assert set(facts["steps"]) >= STEPS
    assert all(step["longest_gap_ms"] > 0 for step in facts["steps"].values())
