# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the server says of a tile: the headers of its two objects."""

from __future__ import annotations

import time
from typing import Tuple

from ...errors import TileUnusable
from ..cache import ObjectInfo, TileInfo
from ..npy import PROBE_BYTES, Header, check_codes, check_scales, header_bytes, parse_header
from ..objects import NotFound
from ..tiling import Tile
from .mirrors import Front
from .rounds import check_same


def ask_tile(front: Front, tile: Tile, paths: Tuple[str, str], depth: int) -> TileInfo:
    """Return what the server says of a tile, whose codes and scales lie at these paths.

    Raises: TileUnusable, ObjectChanged, NetworkFailed, AccessRefused.
    """
    name = tile.name
    try:
        codes, header = _head(front, paths[0], name)
    except NotFound:
        return TileInfo(name, time.time())
    shape = check_codes(header, depth, name)
    try:
        scales, header = _head(front, paths[1], name)
    except NotFound as error:
        raise TileUnusable(name, "its scales are not published") from error
    bands = check_scales(header, shape, depth, name)
    return TileInfo(name, time.time(), shape, codes, scales, bands)


def _head(front: Front, path: str, name: str) -> Tuple[ObjectInfo, Header]:
    """Ask for an object's header; one that makes no sense is asked for once more."""
    try:
        return _asked(front, path, name)
    except TileUnusable:
        return _asked(front, path, name)


def _asked(front: Front, path: str, name: str) -> Tuple[ObjectInfo, Header]:
    reply = front.get_range(path, 0, PROBE_BYTES)
    length = header_bytes(reply.data, name)
    data = reply.data[:length]
    if length > len(data):
        rest = front.get_range(path, len(data), length, reply.etag)
        check_same(path, rest, reply.total, reply)
        data += rest.data
    header = parse_header(data, name)
    if header.total_bytes != reply.total:
        raise TileUnusable(
            name, f"it has {reply.total:,} bytes where {header.total_bytes:,} are due"
        )
    head = data.decode("latin-1")
    return ObjectInfo(reply.etag, reply.total, reply.last_modified, length, head), header
