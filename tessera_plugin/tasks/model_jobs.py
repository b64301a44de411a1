# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Somebody's ONNX model: what it takes, and its map of an area, as tasks on plain values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Optional, Tuple

from qgis.core import QgsProject
from qgis.PyQt.QtCore import QCoreApplication

from ..progress import Report
from ..values import Extent
from . import map_jobs, snapshot
from .base import EngineTask
from .session import Session

if TYPE_CHECKING:
    from ..engine.classify import ClassifyResult, StagedMap
    from ..engine.model_forms import ModelFacts, ModelForm

translate = QCoreApplication.translate


@dataclass(frozen=True)
class ModelPlan:
    """Which model is to be run, how, over what, and where to."""

    facts: ModelFacts
    form: ModelForm
    dataset: str
    """Key of the dataset."""
    year: int
    extent: Extent
    out: str
    confidence: bool
    """Whether a confidence raster is written beside the map."""

    @property
    def name(self) -> str:
        """What people know the model by."""
        return Path(self.facts.path).stem


def describe(session: Session, path: str) -> EngineTask:
    """Return the task that tells what a model takes and gives: gives `ModelFacts`."""
    from ..engine import patch_models  # noqa: PLC0415 - light plugin load

    worker = session.compute.client()

    def work(report: Report) -> ModelFacts:
        return patch_models.describe_model(path, worker, report)

    return EngineTask(translate("Jobs", "Looking what the model takes"), work)


def statistics(path: str) -> Tuple[Tuple[float, ...], Tuple[float, ...]]:
    """Return means and standard deviations from a JSON file; empty where it has none."""
    from ..engine import model_forms  # noqa: PLC0415 - light plugin load

    return model_forms.statistics_of(path)


def largest_patch_px() -> int:
    """Return the edge that patches have at most."""
    from ..engine import model_forms  # noqa: PLC0415 - light plugin load

    return model_forms.MOST_PATCH_PX


def download_bytes(session: Session, extent: Extent, depth: int) -> int:
    """Return about how much embeddings for a model weigh with an empty cache.

    Raises: ExtentInvalid.
    """
    return snapshot.download_bytes(session.settings, session.dataset, depth, extent)


def run(session: Session, plan: ModelPlan) -> EngineTask:
    """Return the task that writes a model's map, still under other names: gives `StagedMap`."""
    from ..engine import patch_models  # noqa: PLC0415 - light plugin load

    request = patch_models.ModelRequest(
        model=plan.facts.path,
        form=plan.form,
        dataset=plan.dataset,
        year=plan.year,
        extent=plan.extent,
        access=session.access(dataset=plan.dataset, depth=plan.facts.depth),
        out=plan.out,
        confidence_out=map_jobs.confidence_path(plan.out) if plan.confidence else None,
        limit_px=session.settings.limit_px,
    )
    worker = session.compute.client()

    def work(report: Report) -> StagedMap:
        return patch_models.run_model(request, report, worker)

    title = translate("Jobs", "Running “{}”").format(plan.name)
    return EngineTask(title, work, discard=lambda staged: staged.discard())


def publish(staged: StagedMap, project: Optional[QgsProject], plan: ModelPlan) -> ClassifyResult:
    """Give a model's map its name and show it in a project, as a classified one.

    Raises: NotWritable, DiskFull.
    """
    return map_jobs.publish(staged, project, f"{plan.year} {plan.name}")
