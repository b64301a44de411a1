# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Lists of classes: the ready schemes, and the CSV files that people keep theirs in.

A list is read as a person would read it: names are enough, the order of the columns and what
parts them do not matter. What can't be understood is named by its line, and then nothing is taken.
"""

from __future__ import annotations

import contextlib
import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from qgis.PyQt.QtCore import QCoreApplication

from .. import paths
from ..errors import ClassListUnreadable

SCHEMES = paths.RESOURCES / "schemes"

LIMIT_BYTES = 1_000_000
LIMIT_CLASSES = 500
"""A file of more names is not a list of classes: a table of places, chosen by mistake."""

TOLD_LINES = 3
"""So many bad lines are named, the others counted."""

DELIMITERS = ";\t,"
"""The first of them that the first line has: in `Water;0,0,255` the comma parts no cells."""

HEADINGS: Mapping[str, Sequence[str]] = {
    "name": ("name", "class", "class_name", "classname", "class name", "label", "title"),
    "color": ("color", "colour", "rgb", "hex"),
    "red": ("red", "r"),
    "green": ("green", "g"),
    "blue": ("blue", "b"),
    "code": ("code", "id", "value", "class_id", "number", "key"),
}
"""What columns are called, in any case of letters."""

NamedColor = Tuple[str, str]
"""Name of a class and its colour as #rrggbb, empty where the list has none."""


@dataclass(frozen=True)
class Scheme:
    """A ready list of classes."""

    key: str
    """Name of its file."""
    title: str


READY = (
    Scheme("esa_worldcover", "ESA WorldCover"),
    Scheme("corine_level_1", "CORINE level 1"),
    Scheme("eunis_level_1", "EUNIS level 1 (2012)"),
    Scheme("ipcc", "IPCC land categories"),
    Scheme("dynamic_world", "Dynamic World"),
)
"""Names are the official ones. So are the colours of WorldCover and Dynamic World; CORINE's are
those of the first class of each group; EUNIS and the IPCC publish none."""


def ready(key: str) -> Tuple[NamedColor, ...]:
    """Return the classes of a ready scheme."""
    return read(str(SCHEMES / f"{key}.csv"))


def read(path: str) -> Tuple[NamedColor, ...]:
    """Return the classes of a CSV file, each name once. Raises: ClassListUnreadable."""
    rows = list(_rows(path))
    columns = _columns(rows)
    found: Dict[str, NamedColor] = {}
    bad: List[str] = []
    for line, cells in rows[1:] if columns.is_named else rows:
        name, color, problem = columns.take(cells)
        if problem:
            bad.append(_tr("line {}: {}").format(line, problem))
        else:
            found.setdefault(name.casefold(), (name, color))
    if bad:
        more = len(bad) - TOLD_LINES
        told = bad[:TOLD_LINES] + ([_tr("and {} more").format(more)] if more > 0 else [])
        raise ClassListUnreadable(path, "; ".join(told))
    if not found:
        raise ClassListUnreadable(path, _tr("it has no names"))
    if len(found) > LIMIT_CLASSES:
        reason = _tr("it has {} names, a list of classes has at most {}")
        raise ClassListUnreadable(path, reason.format(len(found), LIMIT_CLASSES))
    return tuple(found.values())


def write(path: str, classes: Iterable[NamedColor]) -> None:
    """Write classes as CSV, whole or not at all. Raises: NotWritable, DiskFull."""
    from ..engine import whole_files  # noqa: PLC0415 - light plugin load

    rows = io.StringIO(newline="")
    writer = csv.writer(rows)
    writer.writerow(("name", "color"))
    writer.writerows(classes)
    # the mark at the start is what spreadsheets tell UTF-8 by
    whole_files.write_bytes(path, rows.getvalue().encode("utf-8-sig"))


# --- inside


@dataclass(frozen=True)
class _Columns:
    """Which column holds what."""

    is_named: bool
    """Whether the first row holds the names of the columns."""
    name: int = 0
    color: Optional[int] = None
    parts: Tuple[int, ...] = ()
    """Columns of red, green and blue."""

    def take(self, cells: Sequence[str]) -> Tuple[str, str, str]:
        """Return name, colour, and what is wrong with the row."""
        name = " ".join(cells[self.name].split()) if self.name < len(cells) else ""
        if not name:
            return "", "", _tr("it has no name")
        told = self._color_of(cells)
        color = _color(told)
        problem = "" if color is not None else _tr("“{}” is no colour").format(told)
        return name, color or "", problem

    def _color_of(self, cells: Sequence[str]) -> str:
        if self.parts:
            return ",".join(cells[at] for at in self.parts if at < len(cells)).strip(",")
        if self.color is None or self.color >= len(cells):
            return ""
        three = cells[self.color : self.color + 3]
        if len(three) == 3 and all(each.isdecimal() for each in three):
            return ",".join(three)  # r,g,b that nobody put in quotes
        return cells[self.color]


def _rows(path: str) -> Iterator[Tuple[int, List[str]]]:
    """Yield the number of each line that is not empty, and its cells."""
    text = _text(path)
    first = next((line for line in text.splitlines() if line.strip()), "")
    outside = re.sub(r'"[^"]*"', "", first)
    delimiter = next((each for each in DELIMITERS if each in outside), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    try:
        for cells in reader:
            stripped = [each.strip() for each in cells]
            if any(stripped):
                yield reader.line_num, stripped
    except csv.Error as error:
        reason = _tr("line {}: {}").format(reader.line_num, error)
        raise ClassListUnreadable(path, reason) from error


def _text(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            data = file.read(LIMIT_BYTES + 1)
    except OSError as error:
        raise ClassListUnreadable(path, error.strerror or str(error)) from error
    if len(data) > LIMIT_BYTES:
        raise ClassListUnreadable(path, _tr("it is too large for a list of classes"))
    is_wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    for encoding in ("utf-16",) if is_wide else ("utf-8-sig", "cp1252"):
        with contextlib.suppress(UnicodeDecodeError):
            text = data.decode(encoding)
            if "\0" not in text:
                return text
    raise ClassListUnreadable(path, _tr("it is no text"))


def _columns(rows: Sequence[Tuple[int, List[str]]]) -> _Columns:
    """Find out what the columns are: by their names, else by what is in them."""
    if not rows:
        return _Columns(is_named=False)
    heads = [each.casefold() for each in rows[0][1]]
    at = {
        what: heads.index(found)
        for what, words in HEADINGS.items()
        for found in [next((each for each in words if each in heads), None)]
        if found is not None
    }
    if "name" in at:
        parts = tuple(at[each] for each in ("red", "green", "blue") if each in at)
        return _Columns(True, at["name"], at.get("color"), parts if len(parts) == 3 else ())
    has_codes = all(
        len(cells) > 1 and cells[0].isdecimal() and _color(cells[1]) is None for _, cells in rows
    )
    name = 1 if has_codes else 0
    return _Columns(is_named=False, name=name, color=name + 1)


def _color(told: str) -> Optional[str]:
    """Return a colour as #rrggbb, empty for none, None for what is no colour."""
    told = told.strip().strip("()").strip()
    if not told:
        return ""
    found = re.fullmatch(r"#?([0-9a-fA-F]{6})", told)
    if found:
        return f"#{found[1].lower()}"
    found = re.fullmatch(r"#([0-9a-fA-F])([0-9a-fA-F])([0-9a-fA-F])", told)
    if found:
        return "#" + "".join(2 * each.lower() for each in found.groups())
    parts = [each for each in re.split(r"[\s,;/]+", told) if each]
    if len(parts) == 3 and all(each.isdecimal() and int(each) <= 255 for each in parts):
        return "#" + "".join(f"{int(each):02x}" for each in parts)
    return None


def _tr(words: str) -> str:
    return str(QCoreApplication.translate("Schemes", words))
