# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Parts of a cloud-optimised GeoTIFF by byte ranges: its front, and the tiles that are needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, List, Optional, Protocol, Sequence, Tuple

from ..objects import ObjectChanged, ObjectUnusable, RangeReply
from .tiff import FRONT_LIMIT_BYTES, Directory, NeedsMore, NotUsable, merged, read_directory

GAP_BYTES = 32 << 10
"""Bytes that nobody needs between two tiles, and that cost less than another request."""

LONGEST_BYTES = 16 << 20
"""Longest range that is asked for at once."""


class Asker(Protocol):
    """What is needed of a client."""

    def get_range(self, url: str, start: int, stop: int, etag: Optional[str] = None) -> RangeReply:
        """See `Client.get_range`."""

    def get(self, url: str) -> RangeReply:
        """See `Client.get`."""


@dataclass(frozen=True)
class Front:
    """The front of a file, with its directory whole."""

    url: str
    data: bytes
    """From the first byte of the file; at times all of it."""
    head: RangeReply
    """Of which object it is; without bytes."""
    directory: Directory


def read_front(client: Asker, url: str, first_bytes: int) -> Front:
    """Return the front of a file; `first_bytes` is how much usually does.

    Raises: NotUsable, NotFound, ObjectChanged, AccessRefused, NetworkFailed, Cancelled.
    """
    head = _first(client, url, first_bytes)
    data = head.data
    while True:
        try:
            directory = read_directory(data)
        except NeedsMore as more:
            if len(data) >= head.total:
                raise NotUsable("its directory is cut off") from None
            stop = min(max(more.stop, 2 * len(data)), head.total, FRONT_LIMIT_BYTES)
            data += _rest(client, url, (len(data), stop), head)
            continue
        first = RangeReply(b"", head.etag, head.total, head.last_modified)
        return Front(url, data, first, directory)


def needed_blocks(front: Front, rectangle: Tuple[int, int, int, int]) -> Tuple[int, ...]:
    """Return the blocks that a rectangle (col, row, width, height) needs and that hold something.

    Raises: NotUsable if they do not lie in the file.
    """
    directory = front.directory
    found = tuple(n for n in directory.blocks(*rectangle) if directory.counts[n])
    if any(stop > front.head.total or start < 8 for start, stop in _spans(front, found)):
        raise NotUsable("its directory points out of the file")
    return found


def missing_ranges(front: Front, blocks: Sequence[int]) -> Tuple[Tuple[int, int], ...]:
    """Return the byte ranges that have to be asked for."""
    lacking = [span for span in _spans(front, blocks) if span[1] > len(front.data)]
    return merged(lacking, GAP_BYTES, LONGEST_BYTES)


def read_blocks(client: Asker, front: Front, blocks: Sequence[int]) -> Dict[int, bytes]:
    """Return blocks as they are in the file, all of the object that the front is of.

    Raises: as `read_front`.
    """
    parts: List[Tuple[int, bytes]] = [(0, front.data)]
    parts += [
        (span[0], _rest(client, front.url, span, front.head))
        for span in missing_ranges(front, blocks)
    ]
    return {
        number: _cut(parts, span) for number, span in zip(blocks, _spans(front, blocks))
    }  # fmt: skip


def _spans(front: Front, blocks: Sequence[int]) -> List[Tuple[int, int]]:
    directory = front.directory
    starts = [int(directory.offsets[number]) for number in blocks]
    return [(at, at + int(directory.counts[n])) for at, n in zip(starts, blocks)]


def _cut(parts: Sequence[Tuple[int, bytes]], span: Tuple[int, int]) -> bytes:
    start, stop = span
    for at, data in parts:
        if at <= start and stop <= at + len(data):
            return data[start - at : stop - at]
    raise AssertionError(f"bytes {start}-{stop} were not fetched")


def _first(client: Asker, url: str, size: int) -> RangeReply:
    try:
        return client.get_range(url, 0, size)
    except ObjectUnusable:
        return client.get(url)  # it is shorter than that


def _rest(client: Asker, url: str, span: Tuple[int, int], first: RangeReply) -> bytes:
    """Return a range of the object that was read first. Raises: ObjectChanged."""
    reply = client.get_range(url, *span, etag=first.etag or None)
    is_dated = bool(first.etag) or reply.last_modified == first.last_modified
    if reply.total != first.total or not is_dated:
        raise ObjectChanged(url)
    return reply.data
