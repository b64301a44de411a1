# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a person chose of training and testing, as plain values that are remembered as text."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Dict, Optional, Tuple, Type, TypeVar

SHARE, FILE = "share", "file"
SCHEMES = (SHARE, "random", "blocks", "areas", "years", FILE)
"""Ways to test, as the engine names them; `share` holds some labels out once."""

Chosen = TypeVar("Chosen")


@dataclass(frozen=True)
class TrainOptions:
    """What decides how a head learns; names, meanings and defaults are those of `TrainParams`."""

    hidden: Tuple[int, ...] = (64,)
    dropout: float = 0.2
    epochs: int = 200
    learning_rate: float = 1e-3
    class_weights: bool = True
    noise: float = 0.0
    ensemble: int = 1
    background: bool = True
    calibrate: bool = True
    min_confidence: int = 0
    """Labels that the person is less sure of, in percent, are not learnt; of ours alone."""

    def params(self) -> Dict[str, Any]:
        """Return those that are parameters of the engine."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        del values["min_confidence"]
        return values


@dataclass(frozen=True)
class LabelFile:
    """A further file with labels."""

    path: str
    class_field: str
    layer: str = ""
    """Empty for all layers that have the field."""
    area: str = ""
    """What the place is called."""
    year: int = 0
    """The labels are true of; 0 for the year that is chosen on the Area page."""


@dataclass(frozen=True)
class LearntLabels:
    """Which labels are learnt, with the embeddings of which year."""

    own_years: bool = False
    """Whether each label is learnt in its own year, rather than all in the year that is chosen."""
    more: Tuple[LabelFile, ...] = ()


@dataclass(frozen=True)
class TestPlan:
    """How a head is tested."""

    scheme: str = SHARE
    folds: int = 5
    block_m: int = 0
    """Edge of a spatial block; 0: as the labels' spacing suggests."""
    skip_untestable: bool = False
    """Whether a class that can't be tested is learnt only, where the test is refused else."""
    file: Optional[LabelFile] = None
    """Of the scheme `file`: labels that are never learnt."""


def to_text(chosen: object) -> str:
    """Return a choice as the text that is remembered: what is not the default, as JSON."""
    values, default = asdict(chosen), asdict(type(chosen)())  # type: ignore[call-overload]
    changed = {name: value for name, value in values.items() if value != default[name]}
    return json.dumps(changed) if changed else ""


def options(text: str) -> TrainOptions:
    """Return remembered options; what can't be used is the default."""
    return _read(TrainOptions, _object(text))


def learnt(text: str) -> LearntLabels:
    """Return the remembered choice of labels; files that can't be understood are left out."""
    found = _object(text)
    own_years, more = found.get("own_years", False), found.get("more", ())
    files = [_label_file(each) for each in more] if isinstance(more, list) else []
    return LearntLabels(own_years is True, tuple(each for each in files if each is not None))


def test_plan(text: str) -> TestPlan:
    """Return the remembered way to test; what can't be used is the default."""
    found = _object(text)
    plan = _read(TestPlan, {name: found[name] for name in found if name != "file"})
    if plan.scheme not in SCHEMES or not 2 <= plan.folds <= 100 or plan.block_m < 0:
        plan = TestPlan()
    return replace(plan, file=_label_file(found.get("file")))


test_plan.__test__ = False  # type: ignore[attr-defined]  # it is no test of pytest's
TestPlan.__test__ = False  # type: ignore[attr-defined]


def _object(text: str) -> Dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:  # edited by hand
        return {}
    return found if isinstance(found, dict) else {}


def _read(kind: Type[Chosen], found: Dict[str, Any]) -> Chosen:
    """Return a choice with the values that have the types of the defaults."""
    default = kind()
    values = {}
    for name, value in found.items():
        known = getattr(default, name, None)
        given = tuple(value) if isinstance(value, list) else value
        if isinstance(known, float) and type(given) is int:
            given = float(given)
        if known is not None and type(given) is type(known):
            values[name] = given
    return kind(**values)


def _label_file(found: object) -> Optional[LabelFile]:
    if not isinstance(found, dict):
        return None
    try:
        made = LabelFile(**found)
    except TypeError:  # of another version of the plugin
        return None
    is_good = all(type(getattr(made, each.name)).__name__ == each.type for each in fields(made))
    return made if is_good else None
