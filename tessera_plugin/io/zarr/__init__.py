# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Sharded Zarr v3 with nothing installed: metadata, shard indexes, decoding by GDAL."""
