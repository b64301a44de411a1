# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How long things may take in tests. What is promised on an idle computer is measured in bench/."""

SLACK = 4
"""A shared computer may be so much slower for a moment; what hangs is slower by far more."""


def within(seconds: float) -> float:
    """Return the time that something may take here which takes at most so long on an idle computer."""
    return SLACK * seconds
