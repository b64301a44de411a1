# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Bytes that arrive, or lie, wrong: one bit at a time, at a place that is chosen.

Which kind of harm a bit does is worked out here with numcodecs, not with the code that is tried.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, replace
from typing import Callable, Dict, List, Optional, Tuple

import numpy as np
from numcodecs import blosc  # type: ignore[import-untyped]
from numpy.typing import NDArray

from tests.archive.layout import npy_header
from tests.servers import FOREVER, Provider, Resource
from tests.stress.scenes import CHUNK_PX, DEPTH, Scene, archive, chunks_of


@dataclass
class Flip:
    """A bit of an object that comes wrong."""

    path: str
    at: int
    """Byte of the object."""
    mask: int = 0x80
    count: int = FOREVER
    """How often; FOREVER: it lies there like that."""
    hits: int = 0


class Twisted:
    """A provider that gives some bits wrong; lengths and ETags stay."""

    def __init__(self, provider: Provider, flips: List[Flip]) -> None:
        self._provider = provider
        self._flips = flips
        self._lock = threading.Lock()

    def find(self, path: str) -> Optional[Resource]:
        found = self._provider.find(path)
        own = [flip for flip in self._flips if flip.path == path]
        if found is None or not own:
            return found
        plain = found.read

        def read(start: int, stop: int) -> bytes:
            data = bytearray(plain(start, stop))
            for flip in own:
                if start <= flip.at < stop and self._takes(flip):
                    data[flip.at - start] ^= flip.mask
            return bytes(data)

        return replace(found, read=read)

    def _takes(self, flip: Flip) -> bool:
        with self._lock:
            if flip.count == 0:
                return False
            flip.count -= flip.count > 0
            flip.hits += 1
            return True


# --- where a bit does which harm

DECODER, RULE, NOTHING = "decoder", "rule of 127", "nothing"
"""What tells that a bit of a chunk of codes is wrong. NOTHING: also where it does no harm."""


def chunk_in(scene: Scene, path: str) -> Tuple[int, int]:
    """Return first byte and stop of a chunk of an object that lies in the scene."""
    part = next(part for part in scene.parts if path in (part.codes, part.scales))
    for start, stop, row, col in chunks_of(path):
        top, left = part.place.row + CHUNK_PX * row, part.place.col + CHUNK_PX * col
        inside = replace(part.place, row=top, col=left, height=CHUNK_PX, width=CHUNK_PX)
        if inside.intersection(scene.window):
            return start, stop
    raise LookupError(f"{path} has no chunk there")


def told_by(data: bytes, at: int, mask: int) -> str:
    """Return what tells of a wrong bit in a chunk of codes."""
    return verdict(data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :])


def verdict(chunk: bytes) -> str:
    """Return what tells that a chunk of codes is wrong."""
    found = unpacked(chunk, CHUNK_PX * CHUNK_PX * DEPTH)
    if found is None:
        return DECODER
    return NOTHING if is_usual(found.view(np.int8).reshape(DEPTH, -1).T) else RULE


def unpacked(chunk: bytes, size: int) -> Optional[NDArray[np.uint8]]:
    """Return an unpacked Blosc chunk, None where that can't be done."""
    nbytes, cbytes, _ = blosc.cbuffer_sizes(chunk) if len(chunk) >= 16 else (0, 0, 0)
    if (nbytes, cbytes) != (size, len(chunk)):
        return None
    try:
        found = np.frombuffer(bytes(blosc.decompress(chunk)), np.uint8)
    except RuntimeError:
        return None
    return found if len(found) == size else None


def is_usual(pixels: NDArray[np.int8]) -> bool:
    """Whether the largest |code| of each pixel (n, D) that is not all zero is 127."""
    wide = np.abs(pixels.astype(np.int16)).max(axis=1)
    return bool(((wide == 127) | (wide == 0)).all())


def chunk_flip(scene: Scene, path: str, wanted: str, seed: int = 0) -> Flip:
    """Return a bit in a chunk of codes of the scene that is told of in the wanted way."""
    start, stop = chunk_in(scene, path)
    found = archive().find(path)
    assert found is not None
    data = found.read(start, stop)
    draw = random.Random(seed)
    for _ in range(3000):
        at, mask = draw.randrange(16, len(data)), 1 << draw.randrange(8)
        if told_by(data, at, mask) == wanted:
            return Flip(path, start + at, mask)
    raise LookupError(f"no bit of {path} is told of by {wanted}")


def peak_flip(scene: Scene, path: str) -> Flip:
    """Return the sign bit of the only largest code of a pixel of a tile in the scene."""
    part = next(part for part in scene.parts if part.codes == path)
    inside = part.place.intersection(scene.window)
    assert inside is not None
    row = inside.row - part.place.row + inside.height // 2
    head = len(npy_header((*part.place.shape, DEPTH), "|i1"))
    found = archive().find(path)
    assert found is not None
    for col in range(inside.col - part.place.col, inside.stop_col - part.place.col):
        at = head + (row * part.place.width + col) * DEPTH
        codes = np.frombuffer(found.read(at, at + DEPTH), np.int8).astype(np.int16)
        if np.count_nonzero(np.abs(codes) == 127) == 1 and codes.max() == 127:
            return Flip(path, at + int(codes.argmax()))  # 127 becomes -1
    raise LookupError(f"no pixel of {path} has one largest code")


@dataclass(frozen=True)
class WrongByte:
    """A case of the matrix: which bit is wrong and what is to be said where it lasts."""

    name: str
    form: str
    make: Callable[[Scene], Flip]
    words: str = ""
    """Of the failure; empty where the data are kept and named as unusual."""
    once: bool = True
    """Whether a fetch gets over it where it came wrong only once."""


def _at(
    part: int, array: str, at: Callable[[int, Tuple[int, int]], int]
) -> Callable[[Scene], Flip]:
    """Return what makes a flip from an object's length and a chunk's place in it."""

    def make(scene: Scene) -> Flip:
        path = getattr(scene.parts[part], array)
        found = archive().find(path)
        assert found is not None
        chunk = chunk_in(scene, path) if scene.form == "zarr" else (0, 0)
        return Flip(path, at(found.length, chunk))

    return make


_CRC = "the checksum of the index is wrong"

WRONG_BYTES = (
    WrongByte("index of codes", "zarr", _at(0, "codes", lambda size, _: size - 100_000), _CRC),
    WrongByte("index of scales", "zarr", _at(1, "scales", lambda size, _: size - 262_000), _CRC),
    WrongByte("checksum of an index", "zarr", _at(2, "scales", lambda size, _: size - 2), _CRC),
    WrongByte("head of codes", "zarr", _at(0, "codes", lambda _, c: c[0] + 12), "damaged"),
    WrongByte("head of scales", "zarr", _at(1, "scales", lambda _, c: c[0] + 4), "damaged"),
    WrongByte("codes, seen by the decoder", "zarr",
              lambda scene: chunk_flip(scene, scene.parts[1].codes, DECODER), "damaged"),
    WrongByte("codes, seen by the rule of 127", "zarr",
              lambda scene: chunk_flip(scene, scene.parts[1].codes, RULE)),
    WrongByte("magic of codes", "npy", _at(0, "codes", lambda *_: 1), "it is not a .npy file"),
    WrongByte("header of codes", "npy", _at(1, "codes", lambda *_: 14), "its header can't be read"),
    WrongByte("magic of scales", "npy", _at(2, "scales", lambda *_: 1), "it is not a .npy file"),
    WrongByte("codes, seen by the rule of 127", "npy",
              lambda scene: peak_flip(scene, scene.parts[0].codes)),
)  # fmt: skip


def _bit(data: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]


def _garbage(size: int) -> Callable[[bytes, random.Random], bytes]:
    def harm(data: bytes, draw: random.Random) -> bytes:
        at = draw.randrange(len(data) - size)
        return data[:at] + draw.randbytes(size) + data[at + size :]

    return harm


def _zeros(size: int) -> Callable[[bytes, random.Random], bytes]:
    def harm(data: bytes, draw: random.Random) -> bytes:
        at = draw.randrange(len(data) - size)
        return data[:at] + bytes(size) + data[at + size :]

    return harm


HARMS = {
    "one bit": _bit,
    "16 bytes of garbage": _garbage(16),
    "512 bytes of garbage": _garbage(512),
    "4096 bytes of garbage": _garbage(4096),
    "4096 zeros": _zeros(4096),
}


def rates(scene: Scene, path: str, harm: str, draws: int, seed: int = 0) -> Dict[str, int]:
    """Return how often what tells of harm to a chunk of codes, or rows of a tile, at random places."""
    draw = random.Random(seed)
    data, judge = _chunk_of(scene, path) if scene.form == "zarr" else _rows_of(scene, path)
    found: Dict[str, int] = {DECODER: 0, RULE: 0, NOTHING: 0}
    for _ in range(draws):
        found[judge(HARMS[harm](data, draw))] += 1
    return found


def _chunk_of(scene: Scene, path: str) -> Tuple[bytes, Callable[[bytes], str]]:
    start, stop = chunk_in(scene, path)
    found = archive().find(path)
    assert found is not None
    return found.read(start, stop), verdict


def _rows_of(scene: Scene, path: str) -> Tuple[bytes, Callable[[bytes], str]]:
    part = next(part for part in scene.parts if part.codes == path)
    inside = part.place.intersection(scene.window)
    assert inside is not None
    head = len(npy_header((*part.place.shape, DEPTH), "|i1"))
    at = head + (inside.row - part.place.row) * part.place.width * DEPTH
    found = archive().find(path)
    assert found is not None

    def judge(data: bytes) -> str:
        return NOTHING if is_usual(np.frombuffer(data, np.int8).reshape(-1, DEPTH)) else RULE

    return found.read(at, at + CHUNK_PX * CHUNK_PX * DEPTH), judge
