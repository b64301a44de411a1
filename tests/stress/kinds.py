# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The faults of the matrix: what goes wrong, what is to be said of it, and where it is put."""

from __future__ import annotations

import email.utils
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from tests.servers import FOREVER, Fault
from tests.stress.scenes import Scene

Make = Callable[..., Fault]
"""Gives a fault for `path`, `count` and `skip`."""

PASSES, FAILS = "passes", "fails"


@dataclass(frozen=True)
class Kind:
    """One thing that can go wrong with an answer."""

    name: str
    make: Make
    words: str = ""
    """What each reason says where it lasts (a pattern); empty where it does no harm even so."""
    of_root: Optional[str] = None
    """The words where it is a store's metadata, if they are others."""
    once: str = PASSES
    """Whether a fetch gets over a single one."""
    settings: Dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    """How much longer a fetch may take for each of them."""
    spreads: bool = False
    """Whether it may give up other parts too."""
    long: bool = False
    """Whether it is for the long runs only: it takes its time, and another tells as much."""


class Restless(Fault):
    """An object that is another one whenever it is asked for."""

    def use(self) -> None:
        super().use()
        self.etag = f"{self.hits:032x}"


def _status(code: int, **more: Any) -> Make:
    return lambda **where: Fault.status(code, **more, **where)


def _restless(**where: Any) -> Fault:
    return Restless("changed_etag", **where)


def _soon(**where: Any) -> Fault:
    return Fault.status(
        429, retry_after=email.utils.formatdate(time.time() + 1.5, usegmt=True), **where
    )


_BROKE = r"the connection broke|no connection"
_LENGTH = r"bytes were sent instead of|only [\d,]+ of [\d,]+ bytes came"
_ROOT = r"zarr\.json can't be read|the answer is not a whole object"
IMPATIENT = {"read_timeout_s": 0.8}
"""Long enough for a busy machine, since a fault waits for ever."""

KINDS: Tuple[Kind, ...] = (
    Kind("403", _status(403), r"access refused \(status 403\)", once=FAILS),
    Kind("416", _status(416), "it is shorter than expected", once=FAILS),
    Kind("418", _status(418), "unexpected status 418", once=FAILS),
    Kind("429", _status(429), "the server answers with status 429"),
    Kind("429, wait 1 s", _status(429, retry_after=1), "status 429", seconds=1.2),
    Kind("429, wait until", _soon, "status 429", seconds=2),
    Kind("429, wait 1 h", _status(429, retry_after=3600), "429 and asks for 3,600 s", once=FAILS),
    Kind("500", _status(500), "the server answers with status 500"),
    Kind("502", _status(502), "the server answers with status 502"),
    Kind("503", _status(503), "the server answers with status 503"),
    Kind("503, wait 1 s", _status(503, retry_after=1), "status 503", seconds=1.2, long=True),
    Kind("525", _status(525), "the server answers with status 525"),
    Kind("no answer", Fault.drop, _BROKE, spreads=True),
    Kind("reset mid-body", lambda **w: Fault.reset(after=900, **w), _BROKE),
    Kind("truncated", lambda **w: Fault.truncate(after=900, **w), f"{_BROKE}|{_LENGTH}"),
    Kind("stall", lambda **w: Fault.stall(600, **w), "nothing came for|no connection",
         settings=IMPATIENT, seconds=1),
    Kind("stall mid-body", lambda **w: Fault.stall_body(600, after=900, **w),
         "nothing came for|no connection",
         settings=IMPATIENT, seconds=1),
    Kind("slow drip", lambda **w: Fault.drip(0.05, after=900, **w), "it comes too slowly|no connection",
         settings=IMPATIENT, seconds=2),
    Kind("slow head", lambda **w: Fault.drip_head(0.05, **w), "it comes too slowly|no connection",
         settings={**IMPATIENT, "connect_timeout_s": 0.8}, seconds=2, long=True),
    Kind("shorter length", lambda **w: Fault.wrong_length(-5, **w), _LENGTH, _ROOT),
    Kind("longer length", lambda **w: Fault.wrong_length(5, **w), _LENGTH, _ROOT),
    Kind("no length, short", lambda **w: Fault.no_length(-5, **w), _LENGTH, _ROOT),
    Kind("no length, long", lambda **w: Fault.no_length(5, **w), r"more than [\d,]+ bytes",
         _ROOT),
    Kind("extra bytes", lambda **w: Fault.extra(10, **w)),
    Kind("no length", Fault.no_length, "", _ROOT),
    Kind("chunked", Fault.chunked),
    Kind("other range", lambda **w: Fault.wrong_range(5, **w), "were sent instead of", _ROOT),
    Kind("range ignored", Fault.ignore_range, "the whole object was sent instead of a part", ""),
    Kind("redirect loop", lambda **w: Fault.redirect("?again", **w),
         "redirects without end"),
    Kind("redirect, not HTTP", lambda **w: Fault.redirect("file:///etc/passwd", **w),
         "redirects to something that is not HTTP", once=FAILS),
    Kind("new ETag", Fault.changed_etag),
    Kind("new ETag, If-Match unheard", Fault.silent_etag),
    Kind("new ETag each time", _restless, "it changes while it is read", ""),
)  # fmt: skip


SHORT = tuple(kind for kind in KINDS if not kind.long)

_ALIKE = {"416", "418", "429, wait until", "502", "503", "525", "longer length", "no length, long"}
SHORT_ONCE = tuple(kind for kind in SHORT if kind.name not in _ALIKE)
"""Without those that pass by the same way as another."""


def once_everywhere(scene: Scene, make: Make) -> List[Fault]:
    """Return one fault for each kind of request: of the root, an index or head, scales, codes."""
    parts = scene.parts
    root = [make(path="zarr/*/zarr.json", count=1)] if scene.form == "zarr" else []
    return [
        *root,
        make(path=parts[0].codes, count=1),
        make(path=parts[1].scales, count=1),
        make(path=parts[2].scales, count=1, skip=1),
        make(path=parts[3].codes, count=1, skip=1),
    ]


def lasting(scene: Scene, make: Make) -> List[Fault]:
    """Return faults that last: on the codes of a part, the scales of another, a third's index."""
    parts = scene.parts
    return [
        make(path=parts[0].codes, count=FOREVER, skip=1),
        make(path=parts[1].scales, count=FOREVER, skip=1),
        make(path=parts[2].scales, count=FOREVER),
    ]


def untouched(scene: Scene) -> NDArray[np.bool_]:
    """Return the pixels of which no part has a lasting fault."""
    mask = scene.mask(scene.parts[3].place)
    for part in scene.parts[:3]:
        mask &= ~scene.mask(part.place)
    return mask
