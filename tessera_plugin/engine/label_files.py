# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The file that labels are kept in, for those who must not know how files are written."""

from ..io.label_checkpoint import Checkpoint
from ..io.label_contents import Contents
from ..io.label_file import LabelFile, create

__all__ = ["Checkpoint", "Contents", "LabelFile", "create"]
