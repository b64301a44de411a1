# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The plugin: gui and processing, tasks, engine, io; compute and environment for torch."""
