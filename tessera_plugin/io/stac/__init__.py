# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Sentinel images found in public catalogues (STAC), and windows of them fetched."""
