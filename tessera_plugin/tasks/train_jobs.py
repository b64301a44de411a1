# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Training as a task on plain values: what is learnt, how it is tested, where the head goes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Mapping, Optional, Sequence, Tuple

from qgis.PyQt.QtCore import QCoreApplication

from ..errors import LabelsUnreadable, NoLabels, TesseraError, ValidationImpossible
from ..progress import Report, part
from ..values import PIXEL_M, Dataset
from . import snapshot, train_choices
from .base import EngineTask
from .label_choice import LabelChoice
from .label_files import LabelFiles
from .session import Session
from .train_choices import FILE, SHARE, LabelFile, LearntLabels, TestPlan, TrainOptions

if TYPE_CHECKING:
    from ..engine.folds import Block, ValidationParams
    from ..engine.label_sets import LabelSet
    from ..engine.labels import Labels
    from ..engine.training import TrainRequest, TrainResult

INSTANT, MLP = "instant", "mlp"

translate = QCoreApplication.translate


@dataclass(frozen=True)
class BlockPlan:
    """Spatial blocks as they would be tested now."""

    suggested_m: int
    spacing_m: float
    """Median distance of a label to its nearest neighbour."""
    reach_m: Optional[float]
    """From where on labels of one class are no longer more alike for being near."""
    block_m: int
    blocks: Tuple[Block, ...] = ()
    parts: int = 0
    problem: Optional[TesseraError] = None
    """Why there are no blocks."""


# --- what was chosen


def options(session: Session) -> TrainOptions:
    """Return how heads are to learn."""
    return train_choices.options(session.settings.train_options)


def learnt(session: Session) -> LearntLabels:
    """Return which labels are to be learnt."""
    return train_choices.learnt(session.settings.train_labels)


def test_plan(session: Session) -> TestPlan:
    """Return how heads are to be tested."""
    return train_choices.test_plan(session.settings.train_test)


def files(session: Session) -> Tuple[LabelFile, ...]:
    """Return the label files that the choices need."""
    plan = test_plan(session)
    tested = (plan.file,) if plan.scheme == FILE and plan.file is not None else ()
    return (*learnt(session).more, *tested)


def kind(session: Session) -> str:
    """Return the kind of head that can be trained now."""
    return session.settings.head_kind if session.compute.can_train else INSTANT


def left_out_years(session: Session) -> Mapping[int, int]:
    """Return how many labels are not learnt, by year, because the dataset lacks their year."""
    return LabelChoice.of(session).lost_years(session.labels.labels())


def unsure_count(session: Session) -> int:
    """Return how many labels are not learnt because the person was not sure enough."""
    return LabelChoice.of(session).this_year(session.labels.labels())[1].unsure


def years_of(session: Session) -> Mapping[int, int]:
    """Return how many labels of the store are learnt in each year."""
    found = LabelChoice.of(session).by_year(session.labels.labels())
    return {year: len(found[year]) for year in sorted(found) if year}


# --- the request


def request(session: Session, known: LabelFiles) -> TrainRequest:
    """Return what is to be trained, as it was chosen. On the GUI thread.

    Raises: NoLabels, LabelsUnreadable, FieldMissing, ValidationImpossible.
    """
    from ..engine import training  # noqa: PLC0415 - light plugin load
    from ..engine.head_library import place_for_new  # noqa: PLC0415
    from ..engine.samples import SampleParams  # noqa: PLC0415

    settings, chosen = session.settings, options(session)
    sets = _sets(session, known)
    if not sets:
        raise NoLabels(session.labels_path)
    head_kind, dataset, depth = kind(session), session.dataset, session.depth
    first = sets[0]
    validation, test = _tested(session, known)
    return training.TrainRequest(
        labels=first.labels,
        dataset=dataset.key,
        year=first.year,
        area=first.area,
        more=tuple(sets[1:]),
        depth=depth,
        access=session.access(),
        params=training.TrainParams(
            kind=head_kind,
            test_share=settings.test_share,
            seed=settings.seed,
            **chosen.params(),
        ),
        sampling=SampleParams(settings.max_px_per_polygon, settings.seed),
        out=place_for_new(
            head_path(session.labels_path, head_kind, dataset, depth, [s.year for s in sets])
        ),
        validation=validation,
        test=test,
    )


def head_path(
    labels_path: str, head_kind: str, dataset: Dataset, depth: int, years: Sequence[int]
) -> str:
    """Return where a trained head is kept: beside the labels, under a name that says what it is."""
    labels = Path(labels_path)
    which = dataset.key if depth == dataset.depth else f"{dataset.key}_d{depth}"
    told = "_".join(str(year) for year in sorted(set(years)))
    return str(labels.with_name(f"{labels.stem}_{head_kind}_{which}_{told}.head"))


def _sets(session: Session, known: LabelFiles) -> List[LabelSet]:
    from ..engine.label_sets import LabelSet  # noqa: PLC0415 - light plugin load

    more = learnt(session).more
    own_area = Path(session.labels_path).stem if more else ""
    sets = [LabelSet(labels, year, own_area) for year, labels in sorted(_of_store(session).items())]
    return [*sets, *(_file_set(session, known, each) for each in more)]


def _of_store(session: Session) -> Dict[int, Labels]:
    """Return the labels of the store by the year in which they are learnt."""
    store = session.labels
    found = LabelChoice.of(session).by_year(store.labels())
    return {
        year: snapshot.LabelsNow(store, tuple(labels))() for year, labels in found.items() if year
    }


def _file_set(session: Session, known: LabelFiles, file: LabelFile) -> LabelSet:
    from ..engine.label_sets import LabelSet  # noqa: PLC0415 - light plugin load

    labels = known.labels(file)
    if labels is None:
        raise LabelsUnreadable(file.path, "it is still being read")
    area = file.area or Path(file.path).stem
    return LabelSet(labels, file.year or session.settings.year, area)


def _tested(
    session: Session, known: LabelFiles
) -> Tuple[Optional[ValidationParams], Optional[LabelSet]]:
    from ..engine.folds import ValidationParams  # noqa: PLC0415 - light plugin load

    plan = test_plan(session)
    if plan.scheme == SHARE:
        return None, None
    if plan.scheme == FILE:
        if plan.file is None:
            raise ValidationImpossible(FILE, "no file with labels for the test is chosen")
        return None, _file_set(session, known, plan.file)
    return ValidationParams(
        scheme=plan.scheme,
        folds=plan.folds,
        block_px=plan.block_m // PIXEL_M,
        seed=session.settings.seed,
        skip_untestable=plan.skip_untestable,
    ), None


# --- tasks


def train(session: Session, wanted: TrainRequest) -> EngineTask:
    """Return the task that trains a head: gives `TrainResult`. Its `happened` tells every epoch."""
    from ..engine import training  # noqa: PLC0415 - light plugin load

    worker = session.compute.client() if wanted.params.kind == MLP else None

    def work(report: Report) -> TrainResult:
        return training.train(wanted, report, worker, on_epoch=task.happened.emit)

    task = EngineTask(translate("Jobs", "Training"), work)
    return task


def block_plan(wanted: TrainRequest) -> EngineTask:
    """Return the task that lays spatial blocks over the labels of a request: gives `BlockPlan`.

    It asks nobody: labels whose embeddings are in the cache are what it knows.
    Fails with: NoUsableLabels and what else says that none of them are.
    """

    def work(report: Report) -> BlockPlan:
        return _block_plan(wanted, report)

    return EngineTask(translate("Jobs", "Laying blocks"), work)


def _block_plan(wanted: TrainRequest, report: Report) -> BlockPlan:
    from ..engine.fitting import present_classes  # noqa: PLC0415 - light plugin load
    from ..engine.folds import ValidationParams, make_folds  # noqa: PLC0415
    from ..engine.label_sets import Where, gather  # noqa: PLC0415
    from ..engine.spacing import label_places, suggested_block  # noqa: PLC0415

    where = Where(wanted.dataset, replace(wanted.access, offline=True), wanted.depth)
    samples, _ = gather(wanted.sets, where, wanted.sampling, part(report, 0.0, 0.8))
    params = wanted.validation or ValidationParams("blocks")
    found = suggested_block(
        samples, label_places(samples, present_classes(samples)[1]), params.folds
    )
    size = params.block_px or found.block_px
    plan = BlockPlan(found.block_px * PIXEL_M, found.spacing_m, found.range_m, size * PIXEL_M)
    report(0.9, "")
    try:
        folds = make_folds(samples, replace(params, scheme="blocks", block_px=size))
    except ValidationImpossible as error:
        return replace(plan, problem=error)
    return replace(plan, blocks=folds.blocks, parts=len(folds.items))
