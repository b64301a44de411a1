# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is written on an ONNX file, read without its graph, its weights or any library.

An ONNX file is a protobuf message: fields one after the other, each with its number and length.
The graph, which is nearly all of it, is stepped over.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Dict, Tuple

from ..protobuf import BYTES, Damaged, TooManyFields, Walker
from .spec import KEY, MAX_TEXT, EncoderSpec, spec_from_text

_GRAPH, _PROPERTIES = 7, 14
_MOST_FIELDS = 1000
_MOST_BYTES = 2 * MAX_TEXT
"""Of one property."""


def read_spec(path: str) -> EncoderSpec:
    """Return what an encoder file says about itself. Raises: ValueError that says why not, OSError."""
    said = read_properties(path)
    if KEY not in said:
        raise ValueError("the file does not say how to run it")
    return spec_from_text(said[KEY])


def read_properties(path: str) -> Dict[str, str]:
    """Return the metadata of an ONNX file by key. Raises: ValueError if it is none, OSError."""
    with Path(path).open("rb") as file:
        if not Path(path).stat().st_size:
            raise ValueError("it is no ONNX file: it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
            try:
                return _properties(Walker(raw, _MOST_FIELDS), len(raw))
            except (Damaged, TooManyFields):
                raise ValueError("it is no ONNX file, or not a whole one") from None


def _properties(walker: Walker, size: int) -> Dict[str, str]:
    found: Dict[str, str] = {}
    has_graph = False
    for number, kind, start, end in walker.fields(0, size):
        has_graph = has_graph or number == _GRAPH
        if number == _PROPERTIES and kind == BYTES:
            if end - start > _MOST_BYTES:
                raise ValueError(f"a property of {end - start} bytes is too long")
            key, value = _property(walker, start, end)
            found[key] = value
    if not has_graph:
        raise ValueError("it is no ONNX file")
    return found


def _property(walker: Walker, start: int, end: int) -> Tuple[str, str]:
    texts = {1: "", 2: ""}
    for number, kind, first, last in walker.fields(start, end):
        if number in texts and kind == BYTES:
            texts[number] = walker.raw[first:last].decode("utf-8")  # what is none is a ValueError
    return texts[1], texts[2]
