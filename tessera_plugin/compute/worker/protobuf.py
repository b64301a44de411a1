# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""A protocol buffer walked as plain bytes, field by field: ONNX files are such, and may be hostile."""

from __future__ import annotations

import mmap
from typing import Iterator, Tuple, Union

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Kinds of fields."""

Raw = Union[bytes, mmap.mmap]

Field = Tuple[int, int, int, int]
"""Number, kind, and where what it holds starts and ends."""


class Damaged(ValueError):  # noqa: N818 - named as the errors of the plugin are
    """Bytes that are no protocol buffer, or not a whole one."""


class TooManyFields(ValueError):  # noqa: N818
    """More fields than anybody wants to walk through."""


class Walker:
    """Through the fields of one buffer; what they hold is not looked at."""

    def __init__(self, raw: Raw, most_fields: int) -> None:
        """Walk `raw`; all messages together may have `most_fields`."""
        self.raw = raw
        self._left = most_fields

    def fields(self, start: int, end: int) -> Iterator[Field]:
        """Yield the fields of the message between two places. Raises: Damaged, TooManyFields."""
        at = start
        while at < end:
            if self._left <= 0:
                raise TooManyFields
            self._left -= 1
            key, at = self.varint(at, end)
            number, kind = key >> 3, key & 7
            start = at
            if kind == VARINT:
                at = self.varint(at, end)[1]
            elif kind == BYTES:
                length, start = self.varint(at, end)
                at = start + length
            elif kind in {FIXED64, FIXED32}:
                at += 8 if kind == FIXED64 else 4
            else:
                raise Damaged
            if at > end or not number:
                raise Damaged
            yield number, kind, start, at

    def varint(self, at: int, end: int) -> Tuple[int, int]:
        """Return the number that starts at a place, and where it ends. Raises: Damaged."""
        value = shift = 0
        while at < end and shift < 70:
            byte = self.raw[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
        raise Damaged
