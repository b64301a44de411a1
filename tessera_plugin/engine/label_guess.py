# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Which field of a layer probably tells the class, the year, a note, the confidence."""

from __future__ import annotations

from typing import Sequence, Tuple

from ..io.label_rows import TEXT, FieldFacts

COLOR = r"#[0-9a-fA-F]{6}"
"""A colour as text."""

_CLASS_NAMES = (
    "class_name", "classname", "class", "klasse", "klassenname", "klassifikation", "label",
    "landcover", "land_cover", "lulc", "landuse", "land_use", "landnutzung", "habitat", "category",
    "kategorie", "clase", "classe", "cover", "lc", "crop", "species", "art", "typ", "type", "name",
    "class_id", "code", "dn", "value", "gridcode",
)  # fmt: skip
"""What fields of classes are called, the likelier ones first."""

_YEARS = ("year", "jahr", "annee", "ano", "anno", "yr", "date", "datum", "survey_year")
_NOTES = ("note", "notes", "comment", "comments", "remark", "remarks", "bemerkung", "notiz")
_CONFIDENCES = ("confidence", "conf", "certainty", "sicherheit", "confiance", "confianza")
_COLORS = ("color", "colour", "farbe", "class_color", "couleur")
_NEVER = {"fid", "ogc_fid", "id", "objectid", "gid", "uuid", "key", "created", "wkt", "lon", "lat",
          "longitude", "latitude", "x", "y"}  # fmt: skip

_FEW = 60
"""More values than that are hardly classes."""


def class_field(fields: Sequence[FieldFacts]) -> str:
    """Return the field that most probably tells the class; empty where there is none."""
    others = {*_YEARS, *_NOTES, *_CONFIDENCES, *_COLORS, *_NEVER}
    left = [each for each in fields if _plain(each.name) not in others] or list(fields)
    return max(left, key=_score).name if left else ""


def class_name(names: Sequence[str]) -> str:
    """Return the name that a field of classes most probably has; empty where there is none."""
    return class_field([FieldFacts(each, TEXT) for each in names])


def year_field(fields: Sequence[FieldFacts]) -> str:
    """Return the field that tells the year; empty where none is called so."""
    return _called(fields, _YEARS)


def note_field(fields: Sequence[FieldFacts]) -> str:
    """Return the field of notes; empty where none is called so."""
    return _called(fields, _NOTES)


def confidence_field(fields: Sequence[FieldFacts]) -> str:
    """Return the field that tells how sure a label is; empty where none is called so."""
    return _called(fields, _CONFIDENCES)


def color_field(fields: Sequence[FieldFacts]) -> str:
    """Return the field of colours; empty where none is called so."""
    return _called(fields, _COLORS)


def _called(fields: Sequence[FieldFacts], names: Sequence[str]) -> str:
    by_name = {_plain(each.name): each.name for each in reversed(fields)}
    return next((by_name[name] for name in names if name in by_name), "")


def _score(each: FieldFacts) -> Tuple[bool, int, bool, bool, int]:
    """Return how likely a field tells the class: by its values, its name, its kind."""
    name = _plain(each.name)
    exact = _CLASS_NAMES.index(name) if name in _CLASS_NAMES else len(_CLASS_NAMES)
    within = any(part in name for part in _CLASS_NAMES[:12])
    repeats = 0 < each.values <= max(each.rows // 2, 1) or each.values <= 12
    return 0 < each.values <= _FEW and repeats, -exact, within, each.kind == TEXT, -each.values


def _plain(name: str) -> str:
    return name.strip().casefold().replace("é", "e").replace("ñ", "n")
