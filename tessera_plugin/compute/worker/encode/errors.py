# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the encode job raises on purpose, as facts; the client is told the class and the message."""

from __future__ import annotations

from typing import Sequence, Tuple


class InputUnusable(Exception):  # noqa: N818 - named as the errors of the plugin are
    """A file of the scene is missing, or isn't what the format says."""

    def __init__(self, path: str, expected: str, found: str) -> None:
        super().__init__(f"{path}: expected {expected}, found {found}")
        self.path = path
        self.expected = expected
        self.found = found


class EncoderUnusable(Exception):  # noqa: N818
    """An ONNX file can't be run as the encoder that it says it is."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class OtherRun(Exception):  # noqa: N818
    """The folder holds blocks of another scene, encoder or device; they are not mixed."""

    def __init__(self, path: str, differs: str) -> None:
        super().__init__(f"{path} holds blocks of another run; what differs: {differs}")
        self.path = path
        self.differs = differs


class OutputNotFinite(Exception):  # noqa: N818
    """An encoder gave numbers that are none; the blocks that this happened in are not written."""

    def __init__(self, blocks: Sequence[Tuple[str, str]]) -> None:
        super().__init__("; ".join(f"block {name}: {what}" for name, what in blocks))
        self.blocks = tuple(blocks)
