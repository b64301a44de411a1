# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks of single rows of a block: what zoomed out views read of a file is verified without the rest.

A full record says them in its meta, beside the checksum over all of it. Records of earlier versions
don't, nor do those whose meta is too long: such files are verified whole.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Any, List, Mapping, Optional

import numpy as np
from numpy.typing import NDArray

from ..values import BLOCK_PX

KEY = "rows"
"""Of the checks in a record's meta."""

Checks = NDArray[np.uint32]
"""CRC-32 of each row's codes from the first to the last, then of all scales, `consulted`, `owner`."""


def packed_checks(record: NDArray[np.void]) -> str:
    """Return the checks of a full record as text."""
    codes = record["codes"].reshape(-1).view(np.uint8).data
    found = [*_row_checks(codes, BLOCK_PX), _rest_check(record)]
    return base64.b64encode(np.array(found, "<u4").tobytes()).decode()


def are_sound(codes: memoryview, rows: NDArray[np.intp], checks: Checks) -> bool:
    """Whether whole rows' codes, one after the other, are those that were written."""
    told: List[int] = checks[rows].tolist()
    return _row_checks(codes, len(rows)) == told


def checks_of(rest: NDArray[np.void], meta: Mapping[str, Any]) -> Optional[Checks]:
    """Return the checks that a full record tells; `rest` is what is read of one without codes.

    None where it tells none, or where what was read is not what was written.
    """
    packed = meta.get(KEY)
    if not isinstance(packed, str):
        return None
    try:
        data = base64.b64decode(packed, validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(data) != 4 * (BLOCK_PX + 1):
        return None
    checks: Checks = np.frombuffer(data, "<u4")
    return checks if int(checks[BLOCK_PX]) == _rest_check(rest) else None


def _row_checks(codes: memoryview, rows: int) -> List[int]:
    step = len(codes) // rows
    return [zlib.crc32(codes[start : start + step]) for start in range(0, rows * step, step)]


def _rest_check(record: NDArray[np.void]) -> int:
    check = 0
    for name in ("scales", "consulted", "owner"):
        check = zlib.crc32(record[name].reshape(-1).view(np.uint8).data, check)
    return check
