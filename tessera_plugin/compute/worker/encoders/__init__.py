# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""TESSERA encoders: from official checkpoints to self-describing ONNX files."""
