# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Heads as files on the command line: listed, named, imported, exported as ONNX."""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any, Dict

from ..engine import head_library, head_onnx
from ..engine.exchange import needed
from ..engine.head_library import ListedHead
from ..engine.heads import load
from .teller import OK, BadArguments, Teller
from .words import counted
from .worker import worker_for_command


def list_heads(options: argparse.Namespace, teller: Teller) -> int:
    """Say which heads a folder holds, the newest first."""
    if not Path(options.folder).is_dir():
        raise BadArguments(f"There is no folder {options.folder}.")
    found = head_library.list_heads(options.folder, report=teller.report)
    lines = [_line(each) for each in found] or [f"There are no heads in {options.folder}."]
    teller.result({"heads": [_facts(each) for each in found]}, lines)
    return OK


def rename(options: argparse.Namespace, teller: Teller) -> int:
    """Give a head a name; an empty one takes it away."""
    head = head_library.rename_head(options.head, options.name)
    told = f"Its name is {head.name}." if head.name else "It has no name now."
    teller.result({"head": options.head, "name": head.name, "id": head.id}, [told])
    return OK


def export_head(options: argparse.Namespace, teller: Teller) -> int:
    """Write a head as an ONNX file that gives the same answers."""
    head = load(options.head)
    with worker_for_command() as worker:
        client = needed(worker, "ONNX files are made")
        check = head_onnx.export_head(head, options.out, client, teller.report)
    teller.result(dataclasses.asdict(check), [check.sentence()])
    return OK


def import_head(options: argparse.Namespace, teller: Teller) -> int:
    """Copy a head into a folder; of an ONNX file that was exported the head is made again."""
    with worker_for_command() as worker:
        kept = head_library.import_head(options.file, options.into, worker, teller.report)
    listed = head_library.look(kept)
    teller.result(_facts(listed), [f"Wrote {_line(listed)}"])
    return OK


def _facts(each: ListedHead) -> Dict[str, Any]:
    if each.head is None:
        return {"path": each.path, "problem": each.problem}
    return {
        "path": each.path,
        "name": each.name,
        "id": each.head.id,
        "kind": each.head.kind,
        "dataset": each.head.dataset,
        "depth": each.head.depth,
        "years": list(each.head.years),
        "classes": [c.name for c in each.head.classes],
        "labels": each.labels,
        "made": each.made_s,
        "tested": dataclasses.asdict(head_library.tested(each.head)),
    }


def _line(each: ListedHead) -> str:
    head = each.head
    if head is None:
        return f"{each.path}: can't be used, {each.problem}"
    tested = head_library.tested(head)
    accuracy = "not tested" if tested.overall is None else f"{tested.overall:.1%}"
    if tested.spread is not None:
        accuracy += f" ± {tested.spread:.1%}"
    years = ", ".join(map(str, head.years))
    day = time.strftime("%Y-%m-%d", time.localtime(each.made_s))
    name = f" “{each.name}”" if each.name else ""
    return (
        f"{each.path}{name}: {head.kind}, {head.dataset}, {years}, {counted(each.labels, 'label')}, "
        f"{accuracy} ({tested.scheme or 'no test'}), {day}"
    )
