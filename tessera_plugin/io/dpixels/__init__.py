# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""From dated Sentinel rasters to the d-pixel tiles that encoders read."""
