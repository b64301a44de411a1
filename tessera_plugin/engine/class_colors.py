# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Colours of classes that bring none, told apart from those of all others.

How far colours are apart is their distance in CIE L*a*b* (CIE 76, D65), in which about 2 can just be
seen side by side.
"""

from __future__ import annotations

import colorsys
from functools import lru_cache
from typing import Iterable, List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

PALETTE = (
    "#1b7837", "#e6ab02", "#d95f02", "#4a90d9", "#7570b3", "#e7298a", "#66a61e", "#a6761d",
    "#666666", "#1f3b73", "#f4c7a1", "#8dd3c7", "#bc80bd", "#fb8072", "#b3de69", "#80b1d3",
)  # fmt: skip
"""Colours of classes of files and models, in their order."""

APART = 10.0
"""Nearer to each other, two colours are taken for one on a map."""

MADE = 1024
"""So many colours are made; of more classes than these, and the palette's, some share one."""

_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
     [0.0193339, 0.1191920, 0.9503041]]
)  # fmt: skip
"""Linear sRGB to XYZ (IEC 61966-2-1)."""
_WHITE = np.array([0.95047, 1.0, 1.08883])


def filled(
    colors: Sequence[str], used: Iterable[str] = (), palette: Tuple[str, ...] = PALETTE
) -> Tuple[str, ...]:
    """Return colours (#rrggbb) with one for each that is empty; the others stay as they are.

    Those filled in are apart from all others here and from those in use: the palette's in its order as
    long as one is, then always that of many made ones which is furthest from all.
    """
    blank = [at for at, color in enumerate(colors) if not color]
    found = list(colors)
    for at, color in zip(blank, _free(len(blank), [*used, *filter(None, colors)], palette)):
        found[at] = color
    return tuple(found)


def told_apart(colors: Sequence[str], used: Iterable[str] = ()) -> Tuple[str, ...]:
    """Return colours in which another stands for each that is in use, or like one before it."""
    taken, found = list(used), list(colors)
    for at, color in enumerate(colors):
        if is_taken(color, taken):
            found[at] = ""
        else:
            taken.append(color)
    return filled(found, used)


def is_taken(color: str, used: Iterable[str]) -> bool:
    """Return whether a colour is one of those in use, or hard to tell from one."""
    mine = _lab([color])[0]
    return any(np.linalg.norm(each - mine) < APART for each in _lab(_valid(used)))


def _free(count: int, used: Iterable[str], palette: Tuple[str, ...]) -> List[str]:
    if not count:
        return []
    names, places = _offered(palette)
    apart = np.full(len(names), np.inf)
    for taken in _lab(_valid(used)):
        apart = np.minimum(apart, np.linalg.norm(places - taken, axis=1))
    found: List[str] = []
    while len(found) < count:
        fitting = np.flatnonzero(apart[: len(palette)] >= APART)
        at = int(fitting[0]) if len(fitting) else int(apart.argmax())
        if not apart[at]:  # all are in use
            return found + [names[n % len(names)] for n in range(len(found), count)]
        found.append(names[at])
        apart = np.minimum(apart, np.linalg.norm(places - places[at], axis=1))
    return found


@lru_cache(maxsize=4)
def _offered(palette: Tuple[str, ...]) -> Tuple[Tuple[str, ...], NDArray[np.float64]]:
    """Return the colours to choose from, the palette's first, and their L*a*b* (n, 3)."""
    names = (*palette, *map(_made, range(MADE)))
    return names, _lab(names)


def _made(number: int) -> str:
    hue = number * 0.618034 % 1  # the golden section never comes near where it was
    channels = colorsys.hsv_to_rgb(hue, 0.5 + number % 3 * 0.2, 0.9 - number % 2 * 0.25)
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in channels)


def _valid(colors: Iterable[str]) -> List[str]:
    """Leave out what is no colour: anybody may write to a label file."""
    return [each for each in colors if is_color(each)]


def is_color(told: str) -> bool:
    """Return whether a text is a colour as #rrggbb."""
    digits = set("0123456789abcdef")
    return len(told) == 7 and told[0] == "#" and set(told[1:].lower()) <= digits


def _lab(colors: Sequence[str]) -> NDArray[np.float64]:
    """Return L*a*b* (n, 3) of colours as #rrggbb."""
    levels = [[int(color[at : at + 2], 16) for at in (1, 3, 5)] for color in colors]
    srgb = np.array(levels, dtype=np.float64).reshape(-1, 3) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _TO_XYZ.T / _WHITE
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack(
        [116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1
    )
