# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether an ONNX file may be opened at all: looked at as bytes, before any library reads it.

A model is hostile until shown otherwise. It may ask for files beside it (weights are often kept so),
and so for any file of the person; for operators that a library would have to be loaded for; for
functions that unfold without end. The file is walked as a protocol buffer, which needs neither
`onnx` nor a session. What the tensors hold is skipped, so this takes milliseconds.
"""

from __future__ import annotations

import mmap
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Mapping, Tuple

from .protobuf import BYTES, VARINT, Damaged, TooManyFields, Walker

MOST_BYTES = 3_000_000_000
"""Of an encoder with all its files."""

BUILT_IN = frozenset(("", "ai.onnx", "ai.onnx.ml", "com.microsoft"))
"""Domains of operators that onnxruntime brings itself."""

REFUSED_OPERATORS = frozenset(("EPContext", "Snpe", "PythonOp", "PythonOpGrad", "ATen", "ExternOp"))
"""Built in, but they run or load something that is not in the model."""

_MOST_FIELDS = 3_000_000
"""Of a walk; the largest honest graphs have some hundred thousand."""
_MOST_NODES = 1_000_000
"""With every function unfolded."""
_MOST_DEPTH = 24
"""Of graphs in graphs: an If or a Loop takes four levels."""

_IN_MEMORY = "_ORT_MEM_ADDR_"
"""Within a file name, onnxruntime takes what follows for an address in its own memory."""

_OTHER_FORMAT = b"ORTM"

_Span = Tuple[int, int]

_INNER: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 8: "opset", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 9: "opset", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
    "opset": {},
    "entry": {},
}
"""Messages within a message, by field number, as onnx.proto numbers them; the rest is skipped."""

_TEXTS: Mapping[str, Mapping[int, str]] = {
    "node": {4: "op_type", 7: "domain"},
    "function": {1: "name", 10: "domain"},
    "opset": {1: "domain"},
    "entry": {1: "key", 2: "value"},
}
_NUMBERS: Mapping[str, Mapping[int, str]] = {
    "model": {1: "ir_version"},
    "opset": {2: "version"},
    "tensor": {14: "data_location"},
}


class ModelUnusable(Exception):  # noqa: N818 - named as the errors of the plugin are
    """An ONNX file that is not opened, and why."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


def check_model(path: str, most_bytes: int = MOST_BYTES) -> None:
    """Raise ModelUnusable unless a file may be given to onnxruntime.

    Refused are: what is no ONNX model, or has no operator set; more than `most_bytes`, with the
    files of weights that it names; such files outside of the model's folder, through a link or
    directly, or shorter than the model says; operators that onnxruntime doesn't bring itself; and
    functions that call themselves, or unfold to a million nodes.
    Whether the shapes are sensible is not looked at.
    """
    try:
        _check(Path(path), most_bytes)
    except _Refused as error:
        raise ModelUnusable(path, str(error)) from None
    except OSError as error:
        raise ModelUnusable(path, error.strerror or str(error)) from error


class _Refused(Exception):  # noqa: N818
    """The reason, in words."""


def _check(path: Path, most_bytes: int) -> None:
    if not path.is_file():
        raise _Refused("there is no such file")
    size = path.stat().st_size
    if size > most_bytes:
        raise _Refused(f"it has {size} bytes; at most {most_bytes} are taken")
    if not size:
        raise _Refused("it is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
        if path.suffix.lower() == ".ort" or raw[4:8] == _OTHER_FORMAT:
            raise _Refused("it is in onnxruntime's own format, not ONNX")
        found = _found(raw)
    if not found.ir_version or not found.has_graph:
        raise _Refused("it is no ONNX model")
    if not any(domain in {"", "ai.onnx"} and version > 0 for domain, version in found.opsets):
        raise _Refused("it does not name its operator set")
    _check_operators(found)
    _check_files(found, path.parent, most_bytes - size)


_Operator = Tuple[str, str]
"""Domain and name."""


@dataclass
class _Found:
    """What a model asks for."""

    ir_version: int = 0
    has_graph: bool = False
    opsets: List[Tuple[str, int]] = field(default_factory=list)
    calls: Dict[_Operator, List[_Operator]] = field(default_factory=dict)
    """The operators that each function of the model uses; those of its graph under ("", "")."""
    files: List[Dict[str, str]] = field(default_factory=list)


def _found(raw: mmap.mmap) -> _Found:
    """Return what the file asks for. Raises: _Refused."""
    try:
        return _Walk(raw).model()
    except Damaged:
        raise _Refused("it is no ONNX model, or damaged") from None
    except TooManyFields:
        raise _Refused("it has too many parts") from None


class _Walk:
    """Through the messages of a file."""

    def __init__(self, raw: mmap.mmap) -> None:
        self._fields = Walker(raw, _MOST_FIELDS)
        self._end = len(raw)
        self._found = _Found()

    def model(self) -> _Found:
        """Return what the file asks for. Raises: _Refused, Damaged, TooManyFields."""
        self._message("model", (0, self._end), ("", ""), 0)
        return self._found

    def _message(self, kind: str, span: _Span, owner: _Operator, depth: int) -> None:
        """Look at a message; `owner` is the function that it belongs to."""
        if depth > _MOST_DEPTH:
            raise _Refused("its graphs are nested too deeply")
        texts, numbers, inner = self._split(kind, span)
        if kind == "function":
            owner = (texts.get("domain", ""), texts.get("name", ""))
            if owner in self._found.calls:
                raise _Refused(f"it has two functions {'.'.join(owner)}")
            self._found.calls[owner] = []
        self._note(kind, texts, numbers, owner)
        if kind == "tensor":
            self._tensor(numbers, [part for name, part in inner if name == "entry"])
            return
        for name, part in inner:
            self._message(name, part, owner, depth + 1)

    def _note(
        self, kind: str, texts: Dict[str, str], numbers: Dict[str, int], owner: _Operator
    ) -> None:
        found = self._found
        if kind == "model":
            found.ir_version = numbers.get("ir_version", 0)
            found.calls.setdefault(("", ""), [])
        elif kind == "opset":
            found.opsets.append((texts.get("domain", ""), numbers.get("version", 0)))
        elif kind == "graph":
            found.has_graph = True
        elif kind == "node":
            called = (texts.get("domain", ""), texts.get("op_type", ""))
            found.calls[owner].append(called)

    def _tensor(self, numbers: Dict[str, int], entries: List[_Span]) -> None:
        pairs = [self._split("entry", span)[0] for span in entries]
        said = {pair.get("key", ""): pair.get("value", "") for pair in pairs}
        if len(said) < len(pairs):
            raise _Refused("it says twice where weights are")
        if said or numbers.get("data_location", 0):
            self._found.files.append(said)

    def _split(
        self, kind: str, span: _Span
    ) -> Tuple[Dict[str, str], Dict[str, int], List[Tuple[str, _Span]]]:
        """Return the texts and numbers of a message that matter, and the messages within."""
        texts: Dict[str, str] = {}
        numbers: Dict[str, int] = {}
        inner: List[Tuple[str, _Span]] = []
        text_of, number_of = _TEXTS.get(kind, {}), _NUMBERS.get(kind, {})
        for number, kind_of, start, end in self._fields.fields(*span):
            if kind_of == BYTES and number in _INNER[kind]:
                inner.append((_INNER[kind][number], (start, end)))
            elif kind_of == BYTES and number in text_of:
                texts[text_of[number]] = self._text(start, end)
            elif kind_of == VARINT and number in number_of:
                numbers[number_of[number]] = self._fields.varint(start, end)[0]
            elif number in _INNER[kind] or number in text_of or number in number_of:
                raise Damaged
        return texts, numbers, inner

    def _text(self, start: int, end: int) -> str:
        if end - start > 4096:
            raise _Refused("a name in it has more than 4096 bytes")
        try:
            return self._fields.raw[start:end].decode()
        except UnicodeDecodeError:
            raise Damaged from None


def _check_operators(found: _Found) -> None:
    for called in (each for every in found.calls.values() for each in every):
        if called[1] in REFUSED_OPERATORS:
            raise _Refused(f"its operator {called[1]} loads or runs more than the model")
        if called not in found.calls and called[0] not in BUILT_IN:
            raise _Refused(f"it needs {called[1]} of {called[0]}, which is a custom operator")
    sizes: Dict[_Operator, int] = {}
    for owner in found.calls:  # also of those that nothing calls
        _unfolded(owner, (), found, sizes)


def _unfolded(
    owner: _Operator, above: Tuple[_Operator, ...], found: _Found, sizes: Dict[_Operator, int]
) -> int:
    """Return of how many nodes a function is made in the end."""
    if owner in sizes:
        return sizes[owner]
    if owner in above:
        raise _Refused(f"its function {'.'.join(owner)} calls itself")
    if len(above) > _MOST_DEPTH:
        raise _Refused("its functions are nested too deeply")
    total = 0
    for called in found.calls[owner]:
        is_function = called in found.calls and any(called)
        total += _unfolded(called, (*above, owner), found, sizes) if is_function else 1
        if total > _MOST_NODES:
            raise _Refused("it has too many parts")
    sizes[owner] = total
    return total


def _check_files(found: _Found, folder: Path, most_bytes: int) -> None:
    """Refuse files of weights outside of the folder, that are not there, too short, or too large."""
    inside = Path(os.path.realpath(folder))
    sizes: Dict[Path, int] = {}
    for said in found.files:
        name = said.get("location", "")
        target = _file_inside(name, inside)
        if target not in sizes:
            if not target.is_file():
                raise _Refused(f"its file {name} is missing")
            sizes[target] = target.stat().st_size
            if sum(sizes.values()) > most_bytes:
                raise _Refused("with its files of weights it is too large")
        begin, length = (_whole_number(said.get(key, "0")) for key in ("offset", "length"))
        if begin + length > sizes[target]:
            raise _Refused(f"its file {name} is too short")


def _file_inside(name: str, folder: Path) -> Path:
    """Return the file of a relative name, if it really lies in the folder or below."""
    parts = re.split(r"[/\\]", name)
    is_plain = name and not {"", ".."} & set(parts) and ":" not in name and "\0" not in name
    if not is_plain or _IN_MEMORY in name:
        raise _Refused(f"it asks for {name!r}, which is no file in its folder")
    target = Path(os.path.realpath(folder.joinpath(*parts)))
    if folder not in target.parents:
        raise _Refused(f"it asks for {name!r}, which is no file in its folder")
    return target


def _whole_number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise _Refused(f"it says {text!r} where a number of bytes belongs")
    return int(text)
