# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is done of a tile that is being built, so that an interrupted build goes on where it stopped.

A date counts once its pixels are on the disk. The dates of an array follow each other in the file:
what is kept is the longest beginning that is still the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from osgeo import gdal

from .. import files
from ..gdal_errors import collected
from .dates import Day
from .scenes import Raster, S1Scene, S2Scene

JOURNAL_FILE = "progress.json"

_RULES = 1
"""To be raised when the same scenes would come out otherwise: nothing older is gone on with."""


@dataclass(frozen=True)
class Done:
    """What became of a date."""

    date: str
    """ISO."""
    key: str
    """Of its scenes and their files."""
    kept: bool
    """Whether it sees enough; its pixels are in the arrays then."""
    seen_px: int
    took_px: Mapping[str, int]
    """Pixels by name of the scene."""
    clamped: int = 0
    """Sentinel-2: pixels darker than the offset that was subtracted. Sentinel-1: numbers too dark."""


class Journal:
    """The dates that are done, by stream ("s2", "ascending", "descending")."""

    def __init__(self, folder: Path, plan: str) -> None:
        """Read what there is of the same plan. `plan` tells plans apart."""
        self._path = folder / JOURNAL_FILE
        self._plan = f"{_RULES} {plan}"
        self._done: Dict[str, List[Done]] = {}
        try:
            told = json.loads(self._path.read_text("utf-8"))
            if told["plan"] == self._plan:
                self._done = {
                    stream: [Done(**done) for done in dates]
                    for stream, dates in told["done"].items()
                }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self._done = {}

    def same_beginning(self, stream: str, days: Sequence[Tuple[str, str]]) -> List[Done]:
        """Return what is done of dates (ISO date, key), and forget what was done after that."""
        done = self._done.get(stream, [])
        count = 0
        while count < min(len(done), len(days)) and (done[count].date,
                                                     done[count].key) == days[count]:  # fmt: skip
            count += 1
        self._done[stream] = done[:count]
        return list(self._done[stream])

    def add(self, stream: str, done: Sequence[Done]) -> None:
        """Note that dates are done. Raises: DiskFull, NotWritable."""
        self._done.setdefault(stream, []).extend(done)
        told = {
            "plan": self._plan,
            "done": {
                name: [dataclasses.asdict(each) for each in dates]
                for name, dates in self._done.items()
            },
        }
        files.write_text(self._path, json.dumps(told))


def key_of(day: Day[Any]) -> str:
    """Return what tells a date's scenes from others: all that is known of them, and their files."""
    told = [[repr(scene), [_state(raster) for raster in _rasters(scene)]] for scene in day.scenes]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def _rasters(scene: Any) -> List[Raster]:  # noqa: ANN401 - either kind of scene
    if isinstance(scene, S1Scene):
        return [raster for raster in (scene.vv, scene.vh) if raster is not None]
    assert isinstance(scene, S2Scene)  # noqa: S101
    return [*scene.bands.values(), *([scene.mask] if scene.mask is not None else [])]


def _state(raster: Raster) -> Tuple[int, int]:
    """Return bytes and time of change of a file, nothing where it can't be told."""
    found = None
    with collected([]):
        found = gdal.VSIStatL(raster.path)
    return (found.size, found.mtime) if found is not None else (0, 0)
