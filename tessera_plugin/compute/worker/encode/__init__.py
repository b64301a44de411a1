# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Time series of Sentinel-1 and -2 to embeddings, by an encoder in an ONNX file."""
