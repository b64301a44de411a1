# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers of things, as the command line says them."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its groups apart and what it counts, as `1 label` and `2,000 labels`."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
