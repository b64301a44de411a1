# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What of the made-up archive is fetched."""

from __future__ import annotations

from tessera_plugin.values import PIXEL_M, Window

DATASET, YEAR, ZONE = "1.1-cambridge", 2024, 31
STORE, NPY_DIR = "v1.1", "v1.1-cam"

SHARD = -581_760, 28_890
"""Row and column of a shard's corner near Cambridge."""


def place(row, col, edge):
    """A window that begins so many pixels from the corner of that shard."""
    return Window(ZONE, SHARD[0] + row, SHARD[1] + col, edge, edge)


def bounds(window):
    """West, south, east, north in the CRS of its zone."""
    west, north = window.col * PIXEL_M, -window.row * PIXEL_M
    return west, north - window.height * PIXEL_M, west + window.width * PIXEL_M, north


def as_list(window):
    return [window.zone, window.row, window.col, window.height, window.width]
