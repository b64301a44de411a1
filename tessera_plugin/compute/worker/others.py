# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Classifiers of scikit-learn, to compare heads with: fitted and asked in one go, never saved."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Callable, Dict, Mapping

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from .arrays import npy_draft, open_npy
from .job import Job

TREES, TREES_AT_ONCE, NEIGHBOURS, CHUNK_ROWS = 100, 10, 5, 4096


@dataclass(frozen=True)
class Params:
    """What the client asks for; D dimensions, n samples, k classes. Paths are .npy files."""

    kind: str
    """`logistic`, `knn` or `forest`."""
    codes: str
    """int8 (n, D)."""
    scales: str
    """float32 (n,); the embedding is codes * scales."""
    labels: str
    """Integer (n,), index of the class, 0 to k - 1."""
    train_index: str
    """Integer (t,), the samples that are learnt."""
    test_index: str
    """Integer (m,), the samples that are asked for."""
    mean: str
    """float32 (D,) of the embeddings."""
    std: str
    """float32 (D,), all above 0."""
    classes: int
    out: str
    """float32 (m, k), the probabilities; 0 for a class without a sample that is learnt."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in _FIT:
            raise ValueError(f"there is no classifier {self.kind!r}; there are {', '.join(_FIT)}")


def run(params: Mapping[str, Any], job: Job) -> Dict[str, object]:
    """Fit and write the probabilities, whole or not at all.

    Raises: ValueError for samples that can't be learnt from, NoRoom.
    """
    p = Params(**params)
    train, test = open_npy(p.train_index), open_npy(p.test_index)
    y = open_npy(p.labels)[train]
    job.report(0.0, "Fitting")
    model = _FIT[p.kind](_standardised(p, train), y, p.seed, job)
    with npy_draft(p.out, np.float32, (len(test), p.classes)) as file:
        for start in range(0, len(test), CHUNK_ROWS):
            job.report(0.5 + 0.5 * start / len(test), "Predicting")
            x = _standardised(p, test[start : start + CHUNK_ROWS])
            probabilities = np.zeros((len(x), p.classes), np.float32)
            probabilities[:, model.classes_] = model.predict_proba(x)
            file.write(probabilities.tobytes())
    return {"out": p.out, "scikit-learn": sklearn.__version__}


def _standardised(p: Params, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    codes, scales = open_npy(p.codes)[rows], open_npy(p.scales)[rows]
    x: NDArray[np.float32] = codes.astype(np.float32) * scales[:, None]
    x -= open_npy(p.mean)
    x /= open_npy(p.std)
    return x


def _logistic(x: NDArray[np.float32], y: NDArray[np.int64], _seed: int, _job: Job) -> Any:  # noqa: ANN401
    # 128 dimensions and few labels: weaker regularisation than this learns them by heart
    model = LogisticRegression(C=0.1, max_iter=1000, class_weight="balanced")
    return model.fit(x, y)


def _knn(x: NDArray[np.float32], y: NDArray[np.int64], _seed: int, _job: Job) -> Any:  # noqa: ANN401
    return KNeighborsClassifier(min(NEIGHBOURS, len(y))).fit(x, y)


def _forest(x: NDArray[np.float32], y: NDArray[np.int64], seed: int, job: Job) -> Any:  # noqa: ANN401
    shares = len(y) / (np.count_nonzero(np.bincount(y)) * np.bincount(y).clip(1))
    model = RandomForestClassifier(
        0, random_state=seed, warm_start=True, n_jobs=max(1, (os.cpu_count() or 2) - 1)
    )
    for count in range(TREES_AT_ONCE, TREES + 1, TREES_AT_ONCE):
        job.report(0.5 * count / TREES, "Fitting")  # a few trees at a time can be cancelled
        model.set_params(n_estimators=count)
        model.fit(x, y, sample_weight=shares[y])
    return model


_FIT: Mapping[str, Callable[[NDArray[np.float32], NDArray[np.int64], int, Job], Any]] = {
    "logistic": _logistic,
    "knn": _knn,
    "forest": _forest,
}
