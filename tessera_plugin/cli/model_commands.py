# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""ONNX models of others on the command line."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any, Dict, List

from ..engine import classify, patch_models
from ..engine.model_forms import ModelFacts, ModelForm
from ..values import LandClass
from .map_commands import map_lines, map_status
from .network import access_of, dataset_key
from .teller import OK, BadArguments, Teller
from .worker import worker_for_command


def apply_model(options: argparse.Namespace, teller: Teller) -> int:
    """Write the map of somebody's model, or say what it takes."""
    with worker_for_command() as worker:
        facts = patch_models.describe_model(options.model, worker, teller.report)
        form = _corrected(facts.form, options.model_form)
        if options.describe:
            shown = dataclasses.replace(facts, form=form)
            teller.result(dataclasses.asdict(shown), _lines(shown))
            return OK
        lacking = [f"--{name}" for name in ("year", "bbox", "out") if not getattr(options, name)]
        if lacking:
            raise BadArguments(f"{', '.join(lacking)} is needed to write a map.")
        access = access_of(options, teller.report)
        request = patch_models.ModelRequest(
            model=options.model, form=form, dataset=dataset_key(options, access),
            year=options.year, extent=options.bbox, access=access, out=options.out,
            confidence_out=options.confidence, limit_px=options.limit_px,
        )  # fmt: skip
        result = classify.publish(patch_models.run_model(request, teller.report, worker))
    teller.result(dataclasses.asdict(result), map_lines(result))
    return map_status(result)


def _corrected(form: ModelForm, path: str) -> ModelForm:
    """Return the form with what a JSON file says of it."""
    if not path:
        return form
    try:
        said: Dict[str, Any] = json.loads(Path(path).read_text("utf-8"))
        known = {each.name for each in dataclasses.fields(ModelForm)}
        unknown = sorted(set(said) - known)
        if unknown:
            raise BadArguments(f"{path} says {', '.join(unknown)}, which a form does not have.")
        changes: Dict[str, Any] = {
            key: tuple(v) if isinstance(v, list) else v for key, v in said.items()
        }
        if "classes" in changes:
            changes["classes"] = tuple(
                _class(form, n, each) for n, each in enumerate(changes["classes"])
            )
        return dataclasses.replace(form, **changes)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise BadArguments(f"{path} can't be read as a form: {error}.") from error


def _class(form: ModelForm, number: int, said: Any) -> LandClass:  # noqa: ANN401 - JSON
    name = said.get("name", "") if isinstance(said, dict) else said
    default = form.classes[number % len(form.classes)].color
    color = said.get("color", default) if isinstance(said, dict) else default
    return LandClass(number + 1, str(name), str(color))


def _lines(facts: ModelFacts) -> List[str]:
    form = facts.form
    takes = "pixels" if facts.layout == "NC" else f"patches of {form.patch_px} pixels"
    told = f" Told by {', '.join(facts.told_by)}." if facts.told_by else ""
    standard = "standardised with its own means" if form.mean else "as they are, not standardised"
    return [
        (
            f"It takes {takes} of {facts.depth} dimensions ({standard}), overlapping by "
            f"{form.overlap_px}, and gives {facts.outputs} numbers a pixel ({form.activation}).{told}"
        ),
        f"Classes: {', '.join(each.name for each in form.classes)}.",
    ]
