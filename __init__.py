# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Tessera for QGIS. Nothing is imported before QGIS asks for the plugin."""


def classFactory(iface):  # noqa: ANN001, ANN201, N802 - QGIS calls it by this name, before we have types
    """Return the plugin; QGIS calls this once when it loads it."""
    from .tessera_plugin.plugin import TesseraPlugin  # noqa: PLC0415 - see above

    return TesseraPlugin(iface)
