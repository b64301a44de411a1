# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""From labels to a head with an honest accuracy.

The labels are split once. The head is trained on the one side and judged on the other, which
nothing else ever sees: early stopping holds back a part of the training side. Only then, and said
so, it may be trained again on all labels; the accuracy stays that of the first training.
"""

from __future__ import annotations

import contextlib
import math
import platform
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

import numpy as np
from numpy.typing import NDArray

from ..compute.client import WorkerClient
from ..errors import (
    NetworkFailed,
    NotWritable,
    NoUsableLabels,
    TooFewLabels,
    WorkerUnavailable,
)
from ..io import files
from ..io.sources.base import EmbeddingSource, FetchSummary
from ..progress import Report, part, silent
from ..values import Access, LandClass
from . import embeddings
from .accuracy import Accuracy, assess, split
from .heads.base import KINDS, Head, identify
from .heads.instant import fit_instant, within_class_shrinkage
from .heads.storage import save
from .samples import (
    Labels,
    SampleParams,
    SampleReport,
    Samples,
    collect,
    label_pixels,
    windows_of_pixels,
)
from .unpack import by_worker

MIN_LABELS = 2
"""Labels that at least two classes need: one to learn from and one to be judged by."""

UNGUIDED_EPOCHS = 60
"""How long an MLP is trained where there are too few labels to hold some back."""

CHUNK_ROWS = 8192


class Epoch(NamedTuple):
    """How a training stands after an epoch."""

    epoch: int
    train_loss: float
    validation_loss: float
    """NaN where nothing could be held back."""


OnEpoch = Callable[[Epoch], None]


@dataclass(frozen=True)
class TrainParams:
    """What decides how a head is trained."""

    kind: str = "instant"
    """`instant` (linear, needs nothing installed) or `mlp` (torch, in the worker)."""
    test_share: float = 0.3
    """Share of each class's labels that are kept aside to judge the head; 0 for no judgement."""
    seed: int = 0
    """Of the split into training and test, and of the MLP's beginnings."""
    refit: bool = True
    """Whether the head that is saved is trained again on all labels, once it has been judged."""
    hidden: Tuple[int, ...] = (64,)
    """MLP: width of each hidden layer, one or two."""
    dropout: float = 0.2
    """MLP: share of the hidden units that are left out at random in every step."""
    epochs: int = 200
    """MLP: how often it sees all samples, at most."""
    learning_rate: float = 1e-3
    """MLP: length of a step."""
    weight_decay: float = 1e-2
    """MLP: how strongly weights are drawn towards 0."""
    patience: int = 20
    """MLP: epochs without a better loss on the part held back before it stops."""
    batch_size: int = 256
    """MLP: samples per step."""
    validation_share: float = 0.2
    """MLP: share of each class's training labels held back to decide when to stop."""
    class_weights: bool = True
    """MLP: whether a class with few samples counts as much as one with many."""

    def __post_init__(self) -> None:
        checks = {
            "kind": self.kind in KINDS,
            "test_share": 0 <= self.test_share < 1,
            "seed": self.seed >= 0,
            "hidden": 1 <= len(self.hidden) <= 2 and min(self.hidden) >= 1,
            "dropout": 0 <= self.dropout < 1,
            "epochs": self.epochs >= 1,
            "learning_rate": 0 < self.learning_rate < 1,
            "weight_decay": 0 <= self.weight_decay < 1,
            "patience": self.patience >= 1,
            "batch_size": self.batch_size >= 1,
            "validation_share": 0 < self.validation_share < 1,
        }
        for name, is_good in checks.items():
            if not is_good:
                raise ValueError(f"{name} can't be {getattr(self, name)!r}")


@dataclass(frozen=True)
class TrainRequest:
    """What to train a head from, and where to."""

    labels: Labels
    dataset: str
    """Key, as `1.1-dclimate`."""
    year: int
    access: Access
    out: str
    """Path of the head."""
    params: TrainParams = field(default_factory=TrainParams)
    sampling: SampleParams = field(default_factory=SampleParams)
    depth: int = 0
    """Dimensions, where the dataset is published in several; 0 for all of them."""


@dataclass(frozen=True, eq=False)
class TrainResult:
    """A trained head and what became of the labels."""

    head: Head
    head_path: str
    samples: SampleReport
    fetched: FetchSummary


def train(
    request: TrainRequest,
    report: Report = silent,
    worker: Optional[WorkerClient] = None,
    on_epoch: Optional[OnEpoch] = None,
) -> TrainResult:
    """Fetch the embeddings of the labels, train a head on them and save it.

    Raises: NoLabels, TooFewLabels, NoUsableLabels, UnknownDataset, UnknownYear, DepthNotOffered,
    FormNotOffered, StoreUnusable, DecoderMissing, NetworkFailed, WorkerUnavailable, WorkerDied,
    WorkerFailed, ProtocolMismatch, NotWritable, DiskFull, Cancelled.
    """
    check_counts(_counts_of(request.labels))
    if request.params.kind == "mlp":
        _needed(worker)
    if not Path(request.out).absolute().parent.is_dir():
        raise NotWritable(request.out, "its folder does not exist")
    samples, fetched = _samples(request, part(report, 0.0, 0.55), worker)
    head = fit(samples, request.params, part(report, 0.55, 1.0), worker, on_epoch)
    save(head, request.out)
    return TrainResult(head, request.out, samples.report, fetched)


def fit(
    samples: Samples,
    params: TrainParams,
    report: Report = silent,
    worker: Optional[WorkerClient] = None,
    on_epoch: Optional[OnEpoch] = None,
) -> Head:
    """Return a head trained and judged on samples; nothing is fetched and nothing saved.

    Raises: TooFewLabels, WorkerUnavailable, WorkerDied, WorkerFailed, NotWritable, DiskFull.
    """
    started = time.monotonic()
    check_counts([(row.name, row.labels) for row in samples.report.classes])
    job = _Job.of(samples, params, worker)
    train_rows, test_rows = split(job.y, samples.groups, params.test_share, params.seed)
    refits = params.refit and len(test_rows) > 0
    fitted = job.fit(train_rows, part(report, 0.0, 0.6 if refits else 1.0), on_epoch)
    accuracy = _judged(job, fitted, test_rows)
    if refits:
        fitted = job.refit(fitted, part(report, 0.6, 1.0))
    story = {
        **fitted.story,
        "params": _relevant(params),
        "labels": samples.report.labels,
        "pixels": samples.report.pixels,
        "refitted": refits,
        "accuracy_from": _origin(job, train_rows, test_rows),
        "seconds": round(time.monotonic() - started, 3),
    }
    return _head(job, fitted, story, accuracy)


def _samples(
    request: TrainRequest, report: Report, worker: Optional[WorkerClient]
) -> Tuple[Samples, FetchSummary]:
    """Fetch the embeddings of the labels' pixels."""
    labels, sampling = request.labels, request.sampling

    def work(source: EmbeddingSource, _reason: str) -> Tuple[Samples, FetchSummary]:
        pixels = label_pixels(labels, sampling, part(report, 0.0, 0.1))
        fetched = source.fetch(windows_of_pixels(pixels), part(report, 0.1, 0.9))
        try:
            return collect(labels, source, sampling, pixels, part(report, 0.9, 1.0)), fetched
        except NoUsableLabels as error:
            if not fetched.failed:
                raise
            failure = fetched.failed[0]
            if fetched.unreachable:
                raise NetworkFailed(fetched.unreachable, failure.reason) from error
            reason = f"{error.reason} ({failure.part}: {failure.reason})"
            raise NoUsableLabels(error.labels, reason) from error

    return embeddings.with_source(
        request.dataset, request.year, request.access, work, depth=request.depth, report=report,
        unpack=by_worker(worker),
    )  # fmt: skip


def check_counts(counts: Sequence[Tuple[str, int]]) -> None:
    """Check that a head can be trained of so many labels per class. Raises: TooFewLabels."""
    if sum(count >= MIN_LABELS for _, count in counts) < 2:
        raise TooFewLabels(tuple(counts), MIN_LABELS)


def standardisation(
    codes: NDArray[np.int8], scales: NDArray[np.float32]
) -> Tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and standard deviation of each dimension; 1 where a dimension never changes.

    Shapes: codes (n, D); scales (n,); results (D,).
    """
    mean = sum(chunk.sum(axis=0) for chunk in _chunks(codes, scales)) / len(codes)
    square = sum(((chunk - mean) ** 2).sum(axis=0) for chunk in _chunks(codes, scales))
    std = np.sqrt(square / len(codes))
    # rounding leaves a trace of a deviation where there is none
    std[std <= 1e-9 * np.maximum(np.abs(mean), 1e-30)] = 1.0
    return mean.astype(np.float32), std.astype(np.float32)


# --- parts of a training


@dataclass(frozen=True, eq=False)
class _Fitted:
    """What a training gives."""

    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    weights: Mapping[str, NDArray[np.float32]]
    story: Dict[str, object]
    """What is to be told of it, as JSON values."""
    epochs: int = 0
    """MLP: after how many it was best."""


@dataclass(frozen=True, eq=False)
class _Job:
    """Samples, how to train on them, and who does it."""

    samples: Samples
    params: TrainParams
    worker: Optional[WorkerClient]
    classes: Tuple[LandClass, ...]
    """Those that occur in the samples."""
    y: NDArray[np.int64]
    """Index of a row's class in `classes`, (n,)."""

    @classmethod
    def of(cls, samples: Samples, params: TrainParams, worker: Optional[WorkerClient]) -> _Job:
        """Return the job for samples. Raises: WorkerUnavailable if it needs a worker."""
        if params.kind == "mlp":
            _needed(worker)
        present = set(samples.class_ids.tolist())
        classes = tuple(known for known in samples.classes if known.id in present)
        index = {known.id: number for number, known in enumerate(classes)}
        y = np.array([index[number] for number in samples.class_ids.tolist()], np.int64)
        return cls(samples, params, worker, classes, y)

    def fit(self, rows: NDArray[np.int64], report: Report, on_epoch: Optional[OnEpoch]) -> _Fitted:
        """Train on some rows; an MLP holds back a part of them to decide when to stop."""
        if self.params.kind == "instant":
            return self._fit_instant(rows)
        learnt, held_back = split(
            self.y[rows], self.samples.groups[rows], self.params.validation_share, self.params.seed
        )
        unguided = None if len(held_back) else min(self.params.epochs, UNGUIDED_EPOCHS)
        return self._fit_mlp(rows[learnt], rows[held_back], unguided, report, on_epoch)

    def refit(self, first: _Fitted, report: Report) -> _Fitted:
        """Train on all rows, as long as was best the first time."""
        rows = np.arange(len(self.y))
        if self.params.kind == "instant":
            return self._fit_instant(rows)
        again = self._fit_mlp(rows, rows[:0], first.epochs, report, None)
        return replace(again, story=first.story)  # the curve that decided is the one to show

    def _fit_instant(self, rows: NDArray[np.int64]) -> _Fitted:
        codes, scales = self.samples.codes[rows], self.samples.scales[rows]
        mean, std = standardisation(codes, scales)
        x = embeddings.dequantise(codes, scales)
        x -= mean
        x /= std
        weights = fit_instant(x, self.y[rows])
        shrinkage = within_class_shrinkage(x, self.y[rows])
        story: Dict[str, object] = {"shrinkage": round(shrinkage, 6), "epochs": 0, "loss_curve": []}
        return _Fitted(mean, std, weights, story)

    def _fit_mlp(
        self,
        learnt: NDArray[np.int64],
        held_back: NDArray[np.int64],
        fixed_epochs: Optional[int],
        report: Report,
        on_epoch: Optional[OnEpoch],
    ) -> _Fitted:
        mean, std = standardisation(self.samples.codes[learnt], self.samples.scales[learnt])
        arrays: Dict[str, NDArray[Any]] = {
            "codes": self.samples.codes, "scales": self.samples.scales, "labels": self.y,
            "train_index": learnt, "validation_index": held_back, "mean": mean, "std": std,
        }  # fmt: skip
        curve: List[Epoch] = []

        def hear(facts: Mapping[str, object]) -> None:
            curve.append(_epoch(facts))
            if on_epoch is not None:
                on_epoch(curve[-1])

        worker = _needed(self.worker)
        with _exchange(worker, arrays) as asked:
            asked.update(self._network(), fixed_epochs=fixed_epochs)
            answer = worker.call("train_mlp", asked, report, hear)
            weights = _weights(str(asked["out"]))
        epochs = int(str(answer["best_epoch"]))
        story: Dict[str, object] = {
            "epochs": epochs,
            "epochs_run": len(curve),
            "validation_labels": len(np.unique(self.samples.groups[held_back])),
            "loss_curve": [list(epoch) for epoch in curve],
        }
        return _Fitted(mean, std, weights, story, epochs)

    def _network(self) -> Dict[str, object]:
        p = self.params
        return {
            "classes": len(self.classes), "hidden": list(p.hidden), "dropout": p.dropout,
            "epochs": p.epochs, "learning_rate": p.learning_rate, "weight_decay": p.weight_decay,
            "patience": p.patience, "batch_size": p.batch_size, "class_weights": p.class_weights,
            "seed": p.seed,
        }  # fmt: skip


def _head(
    job: _Job, fitted: _Fitted, story: Mapping[str, object], accuracy: Optional[Accuracy]
) -> Head:
    kind, dataset = job.params.kind, job.samples.dataset
    arrays = {"mean": fitted.mean, "std": fitted.std, **fitted.weights}
    return Head(
        id=identify(kind, job.classes, dataset, arrays),
        kind=kind,
        classes=job.classes,
        dataset=dataset,
        depth=job.samples.codes.shape[1],
        years=(job.samples.year,),
        mean=fitted.mean,
        std=fitted.std,
        weights=fitted.weights,
        training=story,
        accuracy=accuracy,
        seed=job.params.seed,
        versions=_versions(job),
    )


def _judged(job: _Job, fitted: _Fitted, rows: NDArray[np.int64]) -> Optional[Accuracy]:
    """Return how a head does on rows it has not seen, None where there are none."""
    if not len(rows):
        return None
    head = _head(job, fitted, {}, None)
    best = head.probabilities(job.samples.codes[rows], job.samples.scales[rows]).argmax(axis=1)
    reference, groups = job.samples.class_ids[rows], job.samples.groups[rows]
    return assess(reference, head.class_ids[best], head.classes, groups)


def _origin(
    job: _Job, train_rows: NDArray[np.int64], test_rows: NDArray[np.int64]
) -> Optional[Dict[str, object]]:
    """Return on what the accuracy was measured, None where nothing was."""
    if not len(test_rows):
        return None
    groups = job.samples.groups
    untested = sorted(set(range(len(job.classes))) - set(job.y[test_rows].tolist()))
    return {
        "test_share": job.params.test_share,
        "train_labels": len(np.unique(groups[train_rows])),
        "train_pixels": len(train_rows),
        "test_labels": len(np.unique(groups[test_rows])),
        "test_pixels": len(test_rows),
        "untested_classes": [job.classes[index].id for index in untested],
    }


def _relevant(params: TrainParams) -> Dict[str, object]:
    """Return the parameters that meant something for this kind of head."""
    values = {**asdict(params), "hidden": list(params.hidden)}
    common = ("kind", "test_share", "seed", "refit")
    return {name: values[name] for name in (values if params.kind == "mlp" else common)}


def _versions(job: _Job) -> Dict[str, str]:
    ours = {"tessera": files.plugin_version()}
    if job.worker is not None and job.params.kind == "mlp":
        return {**ours, **job.worker.versions}
    return {**ours, "python": platform.python_version(), "numpy": np.__version__}


def _counts_of(labels: Labels) -> List[Tuple[str, int]]:
    counts = Counter(label.class_id for label in labels.items)
    return [(known.name, counts[known.id]) for known in labels.classes]


def _chunks(codes: NDArray[np.int8], scales: NDArray[np.float32]) -> Iterator[NDArray[np.float64]]:
    for start in range(0, len(codes), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        yield codes[rows].astype(np.float64) * scales[rows, None]


# --- the worker


def _needed(worker: Optional[WorkerClient]) -> WorkerClient:
    if worker is None:
        raise WorkerUnavailable("an MLP is trained by torch in the worker, and there is none")
    return worker


@contextlib.contextmanager
def _exchange(
    worker: WorkerClient, arrays: Mapping[str, NDArray[Any]]
) -> Iterator[Dict[str, object]]:
    """Write arrays where the worker finds them; gives their paths, and `out` for its answer."""
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(dir=worker.scratch()))
        for name, values in arrays.items():
            np.save(folder / f"{name}.npy", values, allow_pickle=False)
        yield {
            **{name: str(folder / f"{name}.npy") for name in arrays},
            "out": str(folder / "weights.npz"),
        }
    except OSError as error:
        needed = sum(values.nbytes for values in arrays.values())
        raise files.write_error(folder or tempfile.gettempdir(), error, needed) from error
    finally:
        if folder is not None:
            files.remove_folder(folder)


def _weights(path: str) -> Dict[str, NDArray[np.float32]]:
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name].astype(np.float32) for name in stored.files}


def _epoch(facts: Mapping[str, object]) -> Epoch:
    losses = (facts["train_loss"], facts["validation_loss"])
    # what is no number crosses JSON as null
    told = (math.nan if loss is None else float(str(loss)) for loss in losses)
    return Epoch(int(str(facts["epoch"])), *told)
