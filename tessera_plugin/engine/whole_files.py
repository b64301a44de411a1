# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Small files written whole or not at all, for those who must not know io."""

from ..io.files import write_bytes, write_text

__all__ = ["write_bytes", "write_text"]
