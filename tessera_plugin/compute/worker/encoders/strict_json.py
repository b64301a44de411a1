# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Frozen dataclasses as JSON text, and back without any leniency."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields, is_dataclass
from typing import Any, Dict, NoReturn, Type, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def to_json(value: object) -> str:
    """Return a dataclass of plain values, tuples and dataclasses as text; finite numbers only."""
    return json.dumps(
        asdict(value),  # type: ignore[call-overload]
        allow_nan=False,
        ensure_ascii=True,
        separators=(",", ":"),
    )


def from_json(text: str, kind: Type[T], name: str) -> T:
    """Return what the text holds, as a dataclass of this kind; None only for an Optional field.

    Raises: ValueError that names the place (`name.field[3]`) where a field is missing, unknown,
    given twice or of another type; numbers are finite, and text is no number.
    """
    try:
        plain = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError(f"{name}: nested too deep") from None
    read: T = _read(plain, kind, name)
    return read


def _no_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number that JSON knows")


def _unique(pairs: Any) -> Dict[str, Any]:  # noqa: ANN401 - whatever JSON holds
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field is given twice")
    return found


def _read(plain: Any, kind: Any, at: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    if get_origin(kind) is Union:  # Optional
        (inner,) = (one for one in get_args(kind) if one is not type(None))
        return None if plain is None else _read(plain, inner, at)
    if is_dataclass(kind):
        return _read_fields(plain, kind, at)
    if get_origin(kind) is tuple:
        if not isinstance(plain, list):
            raise ValueError(f"{at}: a list is expected")
        (item, _ellipsis) = get_args(kind)
        return tuple(_read(one, item, f"{at}[{i}]") for i, one in enumerate(plain))
    if kind is float and type(plain) is int:
        plain = float(plain)
    if type(plain) is not kind:
        raise ValueError(f"{at}: {kind.__name__} is expected, not {type(plain).__name__}")
    if kind is float and not math.isfinite(plain):
        raise ValueError(f"{at}: the number is too large")
    return plain


def _read_fields(plain: Any, kind: Any, at: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    if not isinstance(plain, dict):
        raise ValueError(f"{at}: an object is expected")  # noqa: TRY004 - wrong text, not type
    names = [field.name for field in fields(kind)]
    missing = [name for name in names if name not in plain]
    unknown = [name for name in plain if name not in names]
    if missing or unknown:
        facts = [f"missing: {', '.join(missing)}"] if missing else []
        facts += [f"unknown: {', '.join(map(str, unknown))}"] if unknown else []
        raise ValueError(f"{at}: fields {'; '.join(facts)}")
    hints = get_type_hints(kind)
    values = {name: _read(plain[name], hints[name], f"{at}.{name}") for name in names}
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{at}: {error}") from None
