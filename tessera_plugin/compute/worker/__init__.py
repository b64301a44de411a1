# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs in the private environment; never imports QGIS, Qt or GDAL."""
