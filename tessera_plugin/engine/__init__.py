# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Arrays in, arrays out: what the plugin computes, free of QGIS and Qt."""
