# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Heads on disk: one zip of `head.json` and `weights.npz`, nothing in it that could run.

Heads are shared between people, so a file is doubted in every respect before it is used.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from ...errors import HeadUnreadable
from ...io import files
from ...values import LandClass
from ..accuracy import Accuracy
from .base import Head
from .story import sound

FORMAT = "tessera-head"
FORMAT_VERSION = 1

MOST_NAME = 80
"""Letters of a name."""

_FACTS = "head.json"
_ARRAYS = "weights.npz"
_MAX_BYTES = {_FACTS: 8 << 20, _ARRAYS: 256 << 20}
"""Of what is told of a head, and of all its arrays together."""
_MOST_PACKED = 20
"""A file that we write is as large as what is in it; one that somebody has packed again is smaller,
but not by more than this: numbers that look random hardly shrink."""
_EPOCH = (1980, 1, 1, 0, 0, 0)  # a fixed time makes equal heads equal files
_ARRAY = re.compile(r"(mean|std|[Wb][1-3]?)\.npy")
"""Every file of an array that a head of any kind can have."""
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_BROKEN = (ValueError, TypeError, EOFError, OverflowError, zipfile.BadZipFile, zlib.error, NotImplementedError,
           RecursionError)  # fmt: skip
"""What Python's own readers say of a file that is not what it seems."""


def save(head: Head, path: str) -> None:
    """Write a head under a temporary name and rename it when whole.

    Raises: NotWritable, DiskFull.
    """
    files.write_bytes(path, _packed({_FACTS: _facts(head), _ARRAYS: _packed(_npy_files(head))}))


def load(path: str) -> Head:
    """Return the head of a file, bit for bit the one that was saved.

    Raises: HeadUnreadable with the reason.
    """
    with _doubted(path):
        facts, arrays, room = _members(path)
        return _head(_parsed(facts), _arrays(arrays, room))


def facts_text(head: Head) -> str:
    """Return all of a head but its arrays, as it stands in its file."""
    return _facts(head).decode()


def from_facts(path: str, text: str, arrays: Mapping[str, NDArray[np.float32]]) -> Head:
    """Return the head of `facts_text` and its arrays, doubted as a file is.

    `path` is where they were found. Raises: HeadUnreadable with the reason.
    """
    with _doubted(path):
        content = text.encode()
        if len(content) > _MAX_BYTES[_FACTS]:
            raise ValueError(f"{_FACTS} is larger than {_MAX_BYTES[_FACTS]:,} bytes")
        head = _head(_parsed(content), dict(arrays))
        _facts(head)  # what can be read can be saved
        return head


@contextlib.contextmanager
def _doubted(path: str) -> Iterator[None]:
    """Turn whatever is met in a file that is not what it seems into our error."""
    try:
        yield
    except FileNotFoundError as error:
        raise HeadUnreadable(path, "there is no such file") from error
    except KeyError as error:
        raise HeadUnreadable(path, f"{error.args[0]} is missing") from error
    except OSError as error:
        raise HeadUnreadable(path, error.strerror or str(error)) from error
    except MemoryError as error:
        raise HeadUnreadable(path, "it takes more memory than there is") from error
    except _BROKEN as error:
        raise HeadUnreadable(path, str(error) or type(error).__name__) from error


def plain_name(words: str) -> str:
    """Return a name in one line of at most `MOST_NAME` letters, without what can't be shown."""
    shown = "".join(each if each.isprintable() else " " for each in words)
    return " ".join(shown.split())[:MOST_NAME].strip()


# --- writing


def _facts(head: Head) -> bytes:
    facts = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "id": head.id,
        "kind": head.kind,
        "classes": [{"id": c.id, "name": c.name, "color": c.color} for c in head.classes],
        "dataset": head.dataset,
        "depth": head.depth,
        "years": list(head.years),
        "temperature": float(head.temperature),
        "training": _plain(head.training),
        "accuracy": head.accuracy.to_json() if head.accuracy else None,
        "seed": head.seed,
        "versions": dict(head.versions),
        **({"name": head.name} if head.name else {}),
    }
    return json.dumps(facts, indent=1, sort_keys=True, allow_nan=False).encode()


def _plain(value: object) -> object:
    """Return a value as JSON knows it: numbers that are none (a loss that ran away) as null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _npy_files(head: Head) -> Dict[str, bytes]:
    arrays = {"mean": head.mean, "std": head.std, **head.weights}
    members = {}
    for name in sorted(arrays):
        buffer = io.BytesIO()
        array = np.ascontiguousarray(arrays[name], "<f4")
        np.save(buffer, array, allow_pickle=False)
        members[f"{name}.npy"] = buffer.getvalue()
    return members


def _packed(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), content)
    return buffer.getvalue()


# --- reading


def _members(path: str) -> Tuple[bytes, bytes, int]:
    """Return what is told of a head, its arrays as they are packed, and how large they may be."""
    size = Path(path).stat().st_size
    if size > 2 * sum(_MAX_BYTES.values()):
        raise ValueError("the file is too large for a head")
    room = {name: min(most, _MOST_PACKED * size) for name, most in _MAX_BYTES.items()}
    with zipfile.ZipFile(path) as archive:
        facts, arrays = (_member(archive, name, room[name]) for name in (_FACTS, _ARRAYS))
    return facts, arrays, room[_ARRAYS]


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    if name not in archive.namelist():
        raise KeyError(name)
    return _read(archive, archive.getinfo(name), limit)


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> bytes:
    if info.flag_bits & 1:
        raise ValueError(f"{info.filename} is encrypted")
    # the size in the directory may lie, so no more than the limit is unpacked either way
    with archive.open(info) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{info.filename} is larger than {limit:,} bytes")
    return content


def _parsed(content: bytes) -> Dict[str, Any]:
    facts = json.loads(content.decode("utf-8"))
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise ValueError(f"{_FACTS} does not describe a head")
    version = facts.get("format_version")
    if version != FORMAT_VERSION:
        raise ValueError(f"its format is version {version}, this plugin reads {FORMAT_VERSION}")
    return facts


def _arrays(content: bytes, room: int) -> Dict[str, NDArray[np.float32]]:
    """Return the arrays, which together may have so many bytes; nothing else is unpacked."""
    arrays: Dict[str, NDArray[np.float32]] = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        found = archive.infolist()
        names = {info.filename for info in found}
        odd = [repr(name) for name in names if not _ARRAY.fullmatch(name)]
        if odd or len(names) < len(found):
            raise ValueError(f"{_ARRAYS} holds {min(odd, default='an array twice'):.60}")
        if sum(info.file_size for info in found) > room:
            raise ValueError(f"{_ARRAYS} is larger than {room:,} bytes when unpacked")
        for info in found:
            name = info.filename[: -len(".npy")]
            array = _read(archive, info, room)
            room -= len(array)
            arrays[name] = _array(name, array)
    return arrays


def _array(name: str, content: bytes) -> NDArray[np.float32]:
    """Return an array of a .npy file; its header is believed only where the length agrees."""
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):  # type: ignore[no-untyped-call]
        raise ValueError(f"{name} is of another npy version than 1.0")
    header = np.lib.format.read_array_header_1_0(file)  # type: ignore[no-untyped-call]
    shape, fortran, dtype = header
    data = content[file.tell() :]
    if dtype != np.dtype("<f4") or fortran or not 1 <= len(shape) <= 2:
        raise ValueError(f"{name} is {dtype}{list(shape)}, not float32 in C order")
    if math.prod(shape) * 4 != len(data):
        raise ValueError(f"{name} has {len(data)} bytes for the shape {list(shape)}")
    # a copy: the bytes are read-only, and in the byte order of the file
    return np.frombuffer(data, "<f4").reshape(shape).astype(np.float32)


def _head(facts: Mapping[str, Any], arrays: Dict[str, NDArray[np.float32]]) -> Head:
    mean, std = arrays.pop("mean"), arrays.pop("std")
    return Head(
        id=_typed(facts, "id", str),
        kind=_typed(facts, "kind", str),
        classes=_classes(_typed(facts, "classes", list)),
        dataset=_typed(facts, "dataset", str),
        depth=_typed(facts, "depth", int),
        years=_years(_typed(facts, "years", list)),
        mean=mean,
        std=std,
        weights=arrays,
        training=sound(_typed(facts, "training", dict)),
        accuracy=_accuracy(facts),
        seed=_typed(facts, "seed", int),
        versions=_typed(facts, "versions", dict),
        # heads that were saved before there was one have none
        temperature=_typed({"temperature": 1.0, **facts}, "temperature", float),
        name=plain_name(_typed({"name": "", **facts}, "name", str)),
    )


def _typed(facts: Mapping[str, Any], name: str, kind: type) -> Any:  # noqa: ANN401 checked here
    value = facts[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r:.60}, not {kind.__name__}")
    return value


def _classes(rows: List[Any]) -> Tuple[LandClass, ...]:
    classes = []
    for row in rows:
        if not isinstance(row, dict):
            raise TypeError(f"a class is {row!r:.60}")
        color = _typed(row, "color", str)
        if not _COLOR.fullmatch(color):
            raise ValueError(f"a class has the colour {color!r:.20}")
        classes.append(LandClass(_typed(row, "id", int), _typed(row, "name", str), color))
    return tuple(classes)


def _years(values: List[Any]) -> Tuple[int, ...]:
    if not all(type(value) is int for value in values):
        raise ValueError(f"years are {values!r:.60}")
    return tuple(values)


def _accuracy(facts: Mapping[str, Any]) -> Optional[Accuracy]:
    value = facts["accuracy"]
    return None if value is None else Accuracy.from_json(value)
