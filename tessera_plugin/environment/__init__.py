# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The private environment: what it holds, how it is made, checked, repaired and removed."""
