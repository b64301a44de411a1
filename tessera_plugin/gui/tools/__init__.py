# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The tools that make and change labels on the map, one file each, and their row of buttons."""
