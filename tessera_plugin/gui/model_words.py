# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is told of somebody's ONNX model, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from qgis.PyQt.QtCore import QCoreApplication

from ..values import Dataset
from . import text

if TYPE_CHECKING:
    from ..engine.model_forms import ModelFacts

OWN_METADATA = ("metadata", "tessera_head")
"""Sources of a form that are no files of their own."""

translate = QCoreApplication.translate


def takes(facts: ModelFacts) -> str:
    """Return what a model takes and gives, and what told how it is run."""
    if facts.layout == "NC":
        what = translate("Model", "It takes single pixels of {1} numbers")
    elif facts.patch:
        what = translate("Model", "It takes patches of {0} \u00d7 {0} pixels of {1} numbers")
    else:
        what = translate("Model", "It takes patches of any size, of {1} numbers per pixel")
    if facts.outputs == 1:
        gives = translate("Model", "gives one share per pixel")
    else:
        gives = translate("Model", "gives {} numbers per pixel, one per class").format(
            facts.outputs
        )
    if facts.told_by:
        told = translate("Model", "Filled in from {}.").format(sources(facts))
    else:
        told = translate("Model", "Its file does not say how it is run: below is what is usual.")
    taken = what.format(facts.patch, facts.depth)
    return text.join((translate("Model", "{}, and {}.").format(taken, gives), told))


def sources(facts: ModelFacts) -> str:
    """Return who told how a model is run; empty if nobody did."""
    own = translate("Model", "the model file itself")
    names = dict.fromkeys(own if each in OWN_METADATA else each for each in facts.told_by)
    return translate("Model", " and ").join(names)


def mismatch(facts: ModelFacts, dataset: Dataset) -> str:
    """Return why a model can't be run over a dataset; empty where it can."""
    if facts.dataset and facts.dataset != dataset.key:
        return translate(
            "Model",
            "The model was made for “{}”, and “{}” is chosen. Choose the dataset it was made for on "
            "the Area page.",
        ).format(facts.dataset, dataset.title)
    if facts.depth in dataset.depths:
        return ""
    return translate(
        "Model",
        "The model takes {} numbers per pixel, and “{}” has {}. Choose the dataset it was made "
        "for on the Area page.",
    ).format(facts.depth, dataset.title, ", ".join(str(each) for each in dataset.depths))


def embeddings(dataset: Dataset, year: int, facts: Optional[ModelFacts] = None) -> str:
    """Return which embeddings a model gets, and what nobody can check."""
    chosen = translate("Model", "{}, {}, as chosen on the Area page.").format(dataset.title, year)
    if facts is not None and facts.dataset == dataset.key:
        return text.join((chosen, translate("Model", "The model was made for this dataset.")))
    warning = translate(
        "Model",
        "The model must have been made for this dataset: with another one the map is wrong, and "
        "nothing in the file can tell.",
    )
    return text.join((chosen, warning))
