# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a head's file tells of its training, looked through before anybody reads it.

It decides no answer, so a file where some of it is not as it should be can be used all the same.
"""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, Mapping

Check = Callable[[Any], bool]


def sound(told: Mapping[str, Any]) -> Dict[str, Any]:
    """Return what is told without the parts that have another form than trainings write."""
    return {name: value for name, value in told.items() if _CHECKS.get(name, _any)(value)}


def is_sound(told: Mapping[str, Any]) -> bool:
    """Whether nothing of what is told has another form."""
    return all(_CHECKS.get(name, _any)(value) for name, value in told.items())


# --- inside


def _any(_value: Any) -> bool:  # noqa: ANN401 - JSON
    return True


def _number(value: Any) -> bool:  # noqa: ANN401 - JSON
    return type(value) in {int, float} and math.isfinite(value)


def _share(value: Any) -> bool:  # noqa: ANN401 - JSON
    """Whether it is a number, or none where it is not defined."""
    return value is None or _number(value)


def _count(value: Any) -> bool:  # noqa: ANN401 - JSON
    return type(value) is int and 0 <= value < 1 << 53


def _text(value: Any) -> bool:  # noqa: ANN401 - JSON
    return isinstance(value, str)


def _object(value: Any) -> bool:  # noqa: ANN401 - JSON
    return isinstance(value, Mapping)


def _rows(value: Any) -> bool:  # noqa: ANN401 - JSON
    return isinstance(value, (list, tuple))


def _has(value: Any, **checks: Check) -> bool:  # noqa: ANN401 - JSON
    return _object(value) and all(
        name in value and fits(value[name]) for name, fits in checks.items()
    )


def _validation(value: Any) -> bool:  # noqa: ANN401 - JSON
    return _has(value, scheme=_text, mean=_share, spread=_share, parts=_rows) and all(
        _has(part, name=_text, overall=_share, labels=_count) for part in value["parts"]
    )


def _calibration(value: Any) -> bool:  # noqa: ANN401 - JSON
    return value is None or _has(
        value, confidence_after=_share, right=_share, ece_before=_share, ece_after=_share,
        temperature=_number,
    )  # fmt: skip


def _curve(value: Any) -> bool:  # noqa: ANN401 - JSON
    return _rows(value) and all(
        _rows(epoch) and len(epoch) == 3 and _count(epoch[0]) and all(map(_share, epoch[1:]))
        for epoch in value
    )


_CHECKS: Mapping[str, Check] = {
    "validation": _validation,
    "calibration": _calibration,
    "loss_curve": _curve,
    "seconds": _number,
    "labels": _count,
    "pixels": _count,
    "made": _text,
    "params": _object,
    "classes": _rows,
    "areas": _rows,
}
