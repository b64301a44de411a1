# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is written on an ONNX file, read without its graph, its weights or any library.

An ONNX file is a protobuf message: fields one after the other, each with its number and length.
The graph, which is nearly all of it, is stepped over.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Dict, Iterator, Tuple

from .spec import KEY, MAX_TEXT, EncoderSpec, spec_from_text

_GRAPH, _PROPERTIES = 7, 14
_NUMBER, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_MOST_FIELDS = 1000
_MOST_BYTES = 2 * MAX_TEXT
"""Of one property, and of any other field that is read."""


def read_spec(path: str) -> EncoderSpec:
    """Return what an encoder file says about itself. Raises: ValueError that says why not, OSError."""
    said = read_properties(path)
    if KEY not in said:
        raise ValueError("the file does not say how to run it")
    return spec_from_text(said[KEY])


def read_properties(path: str) -> Dict[str, str]:
    """Return the metadata of an ONNX file by key. Raises: ValueError if it is none, OSError."""
    size = Path(path).stat().st_size
    found: Dict[str, str] = {}
    has_graph = False
    with Path(path).open("rb") as file:
        for number, start, length in _fields(file, size):
            has_graph = has_graph or number == _GRAPH
            if number != _PROPERTIES:
                continue
            if length > _MOST_BYTES:
                raise ValueError(f"a property of {length} bytes is too long")
            file.seek(start)
            key, value = _property(file, start + length)
            found[key] = value
    if not has_graph:
        raise ValueError("it is no ONNX file")
    return found


def _fields(file: BinaryIO, end: int) -> Iterator[Tuple[int, int, int]]:
    """Yield number, start and bytes of each field from here to `end`; the caller may seek."""
    at = file.tell()
    for _ in range(_MOST_FIELDS):
        if at >= end:
            return
        file.seek(at)
        tag = _varint(file)
        kind = tag & 7
        if kind == _BYTES:
            length = _varint(file)
            start = file.tell()
        elif kind == _NUMBER:
            start = file.tell()
            _varint(file)
            length = file.tell() - start
        elif kind in {_EIGHT_BYTES, _FOUR_BYTES}:
            start, length = file.tell(), 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError("it is no ONNX file")
        at = start + length
        if at > end:
            raise ValueError("it is no ONNX file, or not a whole one")
        yield tag >> 3, start, length
    raise ValueError("it is no ONNX file")


def _varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            break
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    raise ValueError("it is no ONNX file, or not a whole one")


def _property(file: BinaryIO, end: int) -> Tuple[str, str]:
    texts = {1: "", 2: ""}
    for number, start, length in _fields(file, end):
        if number in texts:
            file.seek(start)
            texts[number] = file.read(length).decode("utf-8")  # what is none is a ValueError
    return texts[1], texts[2]
