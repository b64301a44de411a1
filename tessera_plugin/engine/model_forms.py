# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How somebody's model is run: what its files tell, and what a person has to say."""

from __future__ import annotations

import contextlib
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..errors import HeadMismatch, ModelUnusable
from ..values import LandClass
from .class_colors import filled
from .heads.base import MAX_CLASS_ID

KEY = "tessera_head"
"""Key of the ONNX metadata with a form as JSON."""

PATCH_PX = 256
MOST_PATCH_PX = 1024
ACTIVATIONS = ("none", "sigmoid", "softmax")
COLORS = ("#d95f02", "#1b9e77", "#7570b3", "#e7298a", "#66a61e", "#e6ab02", "#a6761d", "#4c78a8")
OTHER = "#d9d9d9"

MOST_TEXT = 4_000_000
"""Bytes of a file with means and deviations; larger ones are none."""


@dataclass(frozen=True)
class ModelForm:
    """What has to be known of a model to run it. Every field can be corrected by the person."""

    classes: Tuple[LandClass, ...]
    """In the order of the outputs; with one output, first what is meant when it is low."""
    patch_px: int = 1
    """Edge of a patch; 1 for models that take pixels."""
    overlap_px: int = 0
    """By so much patches overlap and are blended."""
    mean: Tuple[float, ...] = ()
    """Subtracted from each dimension of the dequantised embedding; none where empty."""
    std: Tuple[float, ...] = ()
    activation: str = "none"
    """What makes shares of 1 of the outputs."""
    threshold: float = 0.5
    """With one output: from this share on a pixel is of the second class."""

    def check(self, facts: ModelFacts) -> None:
        """Raise ModelUnusable where the form does not fit the model."""
        problem = self._problem(facts)
        if problem:
            raise ModelUnusable(facts.path, problem)

    def _problem(self, facts: ModelFacts) -> str:
        """Return what does not fit, the first of it."""
        given, overlap = len(self.classes), self.overlap_px
        lengths = [("mean", len(self.mean)), ("std", len(self.std))]
        is_patch = 1 <= self.patch_px <= MOST_PATCH_PX and 0 <= overlap <= self.patch_px // 2
        checks = [
            (given == max(facts.outputs, 2),
             f"it gives {facts.outputs} numbers a pixel, and {given} classes are named"),
            (self.activation in ACTIVATIONS,
             f"activation {self.activation!r} is not one of {', '.join(ACTIVATIONS)}"),
            *((length in (0, facts.depth),
               f"its {name} has {length} numbers for {facts.depth} dimensions")
              for name, length in lengths),
            (all(map(math.isfinite, self.mean)), "its means are not all numbers"),
            (all(math.isfinite(each) and each > 0 for each in self.std),
             "its standard deviations are not all positive"),
            (facts.patch in (0, self.patch_px),
             f"it takes patches of {facts.patch} pixels, not {self.patch_px}"),
            (facts.layout != "NC" or (self.patch_px, overlap) == (1, 0),
             "it takes pixels, not patches"),
            (is_patch, f"patches of {self.patch_px} pixels can't overlap by {overlap}"),
        ]  # fmt: skip
        return next((problem for fits, problem in checks if not fits), "")

    def chosen(self, shares: NDArray[np.float32]) -> Tuple[NDArray[np.intp], NDArray[np.uint8]]:
        """Return the index of the class and its percentage (H, W) of shares (k, H, W)."""
        if len(shares) == 1:
            best = (shares[0] >= self.threshold).astype(np.intp)
            highest = np.where(best == 1, shares[0], 1 - shares[0])
        else:
            best = shares.argmax(axis=0)
            highest = shares.max(axis=0)
        return best, np.rint(100 * np.clip(highest, 0, 1)).astype(np.uint8)


@dataclass(frozen=True)
class ModelFacts:
    """What a model takes and gives."""

    path: str
    layout: str
    """`NCHW`, `NHWC`, or `NC` for pixels one by one."""
    depth: int
    patch: int
    """Edge of its patches; 0 where any size is taken."""
    outputs: int
    sha256: str
    form: ModelForm
    """Filled in as far as files tell, else with what is usual."""
    told_by: Tuple[str, ...]
    """Which files told it."""
    dataset: str = ""
    """Key of the dataset whose embeddings it takes; empty where its files don't tell."""

    def check_dataset(self, dataset: str) -> None:
        """Raise HeadMismatch where it is told that the embeddings are to be of another dataset."""
        if self.dataset and self.dataset != dataset:
            raise HeadMismatch(self.dataset, self.depth, dataset, self.depth)


def facts_of(path: str, told: Mapping[str, Any]) -> ModelFacts:
    """Return a model's facts and form from the worker's answer and the files beside it.

    Raises: ModelUnusable for metadata of ours that can't be read.
    """
    patch = int(told["patch"][0])
    outputs, layout, depth = int(told["outputs"]), str(told["layout"]), int(told["depth"])
    metadata: Dict[str, str] = {str(k): str(v) for k, v in told["metadata"].items()}
    said, told_by = _said(path, metadata)
    mean, std = _numbers(said.get("mean")), _numbers(said.get("std"))
    patch_px = 1 if layout == "NC" else patch or _whole(said.get("patch_px"), PATCH_PX)
    overlap = 0 if layout == "NC" else _whole(said.get("overlap_px"), patch_px // 4)
    form = ModelForm(
        classes=_classes(said.get("classes"), outputs, Path(path).stem),
        patch_px=patch_px,
        overlap_px=overlap,
        mean=mean,
        std=std,
        activation=str(said.get("activation") or _activation(told, outputs)),
        threshold=_share(said.get("threshold"), 0.5),
    )
    return ModelFacts(path, layout, depth, 0 if layout == "NC" else patch, outputs,
                      str(told["sha256"]), form, told_by,
                      str(said.get("dataset") or ""))  # fmt: skip


def statistics_of(path: str) -> Tuple[Tuple[float, ...], Tuple[float, ...]]:
    """Return means and standard deviations from a JSON file; empty where it has none."""
    found = _json_of(Path(path))
    return _numbers(found.get("mean")), _numbers(found.get("std"))


def _said(path: str, metadata: Mapping[str, str]) -> Tuple[Dict[str, Any], Tuple[str, ...]]:
    """Return what metadata and the files beside a model tell; metadata of ours count most."""
    said: Dict[str, Any] = {}
    told_by: List[str] = []
    for beside in (
        Path(path).with_suffix(".json"),
        Path(path).with_name(f"{Path(path).stem}_stats.json"),
    ):
        found = _json_of(beside)
        if found:
            said.update(found)
            told_by.append(beside.name)
    deepness = _of_deepness(metadata)
    if deepness:
        said.update(deepness)
        told_by.append("metadata")
    if KEY in metadata:
        try:
            ours = json.loads(metadata[KEY])
        except ValueError as error:
            raise ModelUnusable(path, f"its metadata {KEY} is no JSON") from error
        if not isinstance(ours, dict):
            raise ModelUnusable(path, f"its metadata {KEY} is no JSON object")
        said.update(ours)
        told_by.append(KEY)
    return said, tuple(told_by)


def _of_deepness(metadata: Mapping[str, str]) -> Dict[str, Any]:
    """Return what the metadata of another plugin's models tell: each value is JSON by itself."""
    found: Dict[str, Any] = {}
    for key, ours in (("class_names", "classes"), ("tile_size", "patch_px"),
                      ("standardization_mean", "mean"), ("standardization_std", "std"),
                      ("tiles_overlap", "overlap_percent"), ("seg_thresh", "threshold")):  # fmt: skip
        with contextlib.suppress(ValueError, KeyError):
            found[ours] = json.loads(metadata[key])
    percent = found.pop("overlap_percent", None)
    if isinstance(percent, (int, float)) and isinstance(found.get("patch_px"), int):
        found["overlap_px"] = int(found["patch_px"] * percent / 100)
    return found


def _json_of(path: Path) -> Dict[str, Any]:
    try:
        if path.stat().st_size > MOST_TEXT:
            return {}
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _classes(said: Any, outputs: int, stem: str) -> Tuple[LandClass, ...]:  # noqa: ANN401 - JSON
    """Return the classes as they are named, else numbered."""
    names = _names(said)
    if outputs == 1:
        name = names[-1] if names else stem.replace("_", " ")
        other = names[0] if len(names) == 2 else f"not {name}"
        return LandClass(1, other, OTHER), LandClass(2, name, COLORS[0])
    names = names if len(names) == outputs else [f"class {n + 1}" for n in range(outputs)]
    colors = filled([""] * outputs, palette=COLORS)
    numbered = tuple(
        LandClass(number, name, color) for number, (name, color) in enumerate(zip(names, colors), 1)
    )
    return _as_said(said, numbered)


def _as_said(said: Any, numbered: Tuple[LandClass, ...]) -> Tuple[LandClass, ...]:  # noqa: ANN401
    """Return classes with the ids and colours that are said of them, where all of that is sound."""
    if not isinstance(said, list) or len(said) != len(numbered):
        return numbered
    told = [each if isinstance(each, dict) else {} for each in said]
    colors = [str(each.get("color", "")) for each in told]
    ids = [each.get("id") for each in told]
    if not all(re.fullmatch(r"#[0-9a-fA-F]{6}", color) for color in colors):
        colors = [each.color for each in numbered]
    is_sound = all(type(number) is int and 0 < number <= MAX_CLASS_ID for number in ids)
    if not is_sound or len(set(ids)) < len(ids):
        ids = [each.id for each in numbered]
    return tuple(
        LandClass(int(str(number)), each.name, color)
        for number, each, color in zip(ids, numbered, colors)
    )


def _names(said: Any) -> List[str]:  # noqa: ANN401 - JSON
    if isinstance(said, dict):
        said = [
            said[key] for key in sorted(said, key=lambda key: int(key) if str(key).isdigit() else 0)
        ]
    if not isinstance(said, list):
        return []
    return [str(each.get("name", "") if isinstance(each, dict) else each) for each in said]


def _activation(told: Mapping[str, Any], outputs: int) -> str:
    """Return what makes shares of 1 of what the model gave when it was tried."""
    if told["are_shares"] and (outputs == 1 or told["sum_to_one"]):
        return "none"
    return "sigmoid" if outputs == 1 else "softmax"


def _numbers(said: Any) -> Tuple[float, ...]:  # noqa: ANN401 - JSON
    if not isinstance(said, Sequence) or isinstance(said, str):
        return ()
    return tuple(float(each) for each in said if isinstance(each, (int, float)))


def _whole(said: Any, otherwise: int) -> int:  # noqa: ANN401 - JSON
    is_number = isinstance(said, int) and not isinstance(said, bool) and said >= 0
    return int(said) if is_number else otherwise


def _share(said: Optional[Any], otherwise: float) -> float:  # noqa: ANN401 - JSON
    is_share = isinstance(said, (int, float)) and 0 < said < 1
    return float(said) if is_share and said is not None else otherwise
