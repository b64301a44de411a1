# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a local dataset and its scenes say of themselves: two small JSON files, read strictly.

<dataset>/dataset.json          one embedding space and depth
<dataset>/<scene>/scene.json    an area and year of it
<dataset>/<scene>/run.json      the worker's, see compute/worker/encode
<dataset>/<scene>/<row>_<col>.npy   blocks, see blocks.py
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from ...errors import LocationUnusable
from ...values import Window

SCHEMA = 1
DATASET_FILE = "dataset.json"
SCENE_FILE = "scene.json"

READ_BYTES = 16_000_000
"""Files of more bytes are none of ours."""

_ROWS, _COLS = 1_100_000, 250_000
"""No pixel of a zone's grid lies further away."""


@dataclass(frozen=True)
class DatasetRecord:
    """What a folder holds: embeddings of one space, all of the same depth."""

    title: str
    space: str
    depth: int
    encoder: Mapping[str, Any] = field(default_factory=dict)
    """Facts of the encoder that the first scene was made with."""
    licence: str = ""

    def to_json(self) -> str:
        """Return it as the text of its file."""
        return _text({
            "title": self.title, "space": self.space, "depth": self.depth,
            "encoder": dict(self.encoder), "licence": self.licence,
        })  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """An area and year that was encoded, or is being encoded."""

    name: str
    year: int
    window: Window
    encoder: Mapping[str, Any] = field(default_factory=dict)
    """name, precision and so on; once it has run also provider and onnxruntime."""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """Where the images come from."""
    moved_m: float = 0.0
    """How far the images were moved to lie on the zone grid."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Pixels by what is to say of them, as the worker counts them."""
    warnings: Tuple[str, ...] = ()
    created: str = ""
    """When it was begun, ISO with the time zone; set by `begin_scene`."""
    finished: bool = False
    path: str = ""
    """Its folder; empty before it was begun."""

    def to_json(self) -> str:
        """Return it as the text of its file."""
        w = self.window
        return _text({
            "name": self.name, "year": self.year,
            "window": {"zone": w.zone, "row": w.row, "col": w.col, "height": w.height,
                       "width": w.width},
            "created": self.created, "encoder": dict(self.encoder), "inputs": dict(self.inputs),
            "moved_m": self.moved_m, "counts": dict(self.counts),
            "warnings": list(self.warnings), "finished": self.finished,
        })  # fmt: skip

    def is_same_run(self, wanted: Scene) -> bool:
        """Whether it is the area, year and images of `wanted`, with all that is said of its encoder.

        It may say more of the encoder: what is known only after it has run.
        """
        mine, theirs = (
            json.loads(json.dumps([one.name, one.year, dict(one.inputs), dict(one.encoder)]))
            for one in (self, wanted)
        )
        mine[3] = {name: fact for name, fact in mine[3].items() if name in theirs[3]}
        return bool(mine == theirs and self.window == wanted.window)

    @property
    def rank(self) -> Tuple[bool, dt.datetime, str]:
        """The scene with the highest wins where several overlap: finished ones, then the newest."""
        return self.finished, dt.datetime.fromisoformat(self.created), self.name


def read_dataset(folder: Path) -> DatasetRecord:
    """Return what a folder says of itself. Raises: LocationUnusable."""
    fields = _Fields.of(folder / DATASET_FILE, str(folder))
    record = DatasetRecord(
        title=fields.text("title"),
        space=fields.text("space"),
        depth=fields.whole("depth", 1, 4096),
        encoder=fields.mapping("encoder"),
        licence=fields.text("licence", may_be_empty=True),
    )
    fields.check_nothing_left()
    return record


def read_scene(folder: Path) -> Scene:
    """Return what a scene's folder says of itself. Raises: LocationUnusable."""
    fields = _Fields.of(folder / SCENE_FILE, str(folder))
    scene = Scene(
        name=fields.text("name"),
        year=fields.whole("year", 1, 9999),
        window=fields.window("window"),
        encoder=fields.mapping("encoder"),
        inputs=fields.mapping("inputs"),
        moved_m=fields.number("moved_m"),
        counts=fields.counts("counts"),
        warnings=fields.texts("warnings"),
        created=fields.moment("created"),
        finished=fields.truth("finished"),
        path=str(folder),
    )
    fields.check_nothing_left()
    return scene


class _Fields:
    """The fields of a file, each asked for once and checked."""

    def __init__(self, place: str, file: str, found: Dict[str, Any]) -> None:
        self._place, self._file, self._left = place, file, found

    @classmethod
    def of(cls, path: Path, place: str) -> _Fields:
        """Read a file of the schema that is understood. Raises: LocationUnusable."""
        try:
            with path.open("rb") as stream:
                data = stream.read(READ_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError):
            raise LocationUnusable(place, f"there is no {path.name} in it") from None
        except OSError as error:
            reason = f"its {path.name} can't be read ({error.strerror or error})"
            raise LocationUnusable(place, reason) from error
        found = _parsed(data)
        if found is None:
            raise LocationUnusable(place, f"its {path.name} is damaged")
        schema = found.pop("schema", None)
        if not _is_whole(schema) or schema < 1:
            raise LocationUnusable(place, f"its {path.name} has no schema")
        if schema > SCHEMA:
            newer = (
                f"its {path.name} was written by a newer version of the plugin (schema {schema})"
            )
            raise LocationUnusable(place, newer)
        return cls(place, path.name, found)

    def text(self, name: str, *, may_be_empty: bool = False) -> str:
        value = self._take(name)
        if not isinstance(value, str) or not (value.strip() or may_be_empty):
            raise self._wrong(name)
        return value

    def texts(self, name: str) -> Tuple[str, ...]:
        value = self._take(name)
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self._wrong(name)
        return tuple(value)

    def whole(self, name: str, low: int, high: int) -> int:
        value = self._take(name)
        if not _is_whole(value) or not low <= value <= high:
            raise self._wrong(name)
        return int(value)

    def number(self, name: str) -> float:
        value = self._take(name)
        if not (_is_whole(value) or isinstance(value, float)):
            raise self._wrong(name)
        return float(value)

    def truth(self, name: str) -> bool:
        value = self._take(name)
        if not isinstance(value, bool):
            raise self._wrong(name)
        return value

    def mapping(self, name: str) -> Dict[str, Any]:
        value = self._take(name)
        if not isinstance(value, dict):
            raise self._wrong(name)
        return value

    def counts(self, name: str) -> Dict[str, int]:
        value = self.mapping(name)
        if not all(_is_whole(each) and each >= 0 for each in value.values()):
            raise self._wrong(name)
        return value

    def moment(self, name: str) -> str:
        value = self.text(name)
        try:
            found = dt.datetime.fromisoformat(value)
        except ValueError:
            raise self._wrong(name) from None
        if found.tzinfo is None:
            raise self._wrong(name)
        return value

    def window(self, name: str) -> Window:
        inner = _Fields(self._place, self._file, self.mapping(name))
        window = Window(
            zone=inner.whole("zone", 1, 60),
            row=inner.whole("row", -_ROWS, _ROWS),
            col=inner.whole("col", -_COLS, _COLS),
            height=inner.whole("height", 1, 2 * _ROWS),
            width=inner.whole("width", 1, 2 * _COLS),
        )
        inner.check_nothing_left()
        return window

    def check_nothing_left(self) -> None:
        """Refuse what nobody asked for: it may change what the rest means."""
        if self._left:
            names = ", ".join(sorted(self._left))
            raise LocationUnusable(self._place, f"its {self._file} has fields not known: {names}")

    def _take(self, name: str) -> Any:  # noqa: ANN401 - whatever JSON holds
        if name not in self._left:
            raise LocationUnusable(self._place, f"its {self._file} lacks {name!r}")
        return self._left.pop(name)

    def _wrong(self, name: str) -> LocationUnusable:
        return LocationUnusable(self._place, f"{name!r} in its {self._file} can't be used")


def _is_whole(value: Any) -> bool:  # noqa: ANN401 - whatever JSON holds
    return isinstance(value, int) and not isinstance(value, bool)


def _parsed(data: bytes) -> Optional[Dict[str, Any]]:
    """Return a JSON object without double names and NaN; None if it is none."""
    if len(data) > READ_BYTES:
        return None
    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_refused)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _once(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name comes twice")
    return found


def _refused(constant: str) -> None:
    raise ValueError(constant)


def _text(facts: Mapping[str, Any]) -> str:
    """Return a file's text. Raises: ValueError, TypeError where a fact is no JSON."""
    return json.dumps({"schema": SCHEMA, **facts}, indent=1, ensure_ascii=False, allow_nan=False)
