# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Heads as files."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..engine.heads import Head


def load_head(path: str) -> Head:
    """Return a saved head. Raises: HeadUnreadable."""
    from ..engine.heads import load  # noqa: PLC0415 - light plugin load

    return load(path)
