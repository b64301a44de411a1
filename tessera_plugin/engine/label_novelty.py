# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Novelty, and the samples it is measured from, of labels that are not in the head."""

from __future__ import annotations

from typing import Optional

from ..io.sources.base import EmbeddingSource
from ..io.zarr.decode import Unpacker
from ..progress import Report, part, silent
from ..values import Access
from .embeddings import with_source
from .labels import Labels
from .novelty import Novelty
from .samples import SampleParams, Samples, collect, label_pixels, windows_of_pixels


def novelty_of(
    labels: Labels, dataset: str, year: int, access: Access, depth: int, *, seed: int = 0,
    report: Report = silent, unpack: Optional[Unpacker] = None,
) -> Novelty:  # fmt: skip
    """Return how unlike labels pixels are, by the labels' embeddings of a year.

    Raises: as `embeddings.with_source` and `samples.collect`; TooFewLabels of one usable label.
    """
    samples = with_source(
        dataset, year, access, lambda source, _: samples_of(source, labels, report),
        depth=depth, report=report, unpack=unpack,
    )  # fmt: skip
    return Novelty.of(samples, seed)


def samples_of(source: EmbeddingSource, labels: Labels, report: Report = silent) -> Samples:
    """Return the labels' embeddings, fetched where they are missing. Raises: as `samples.collect`."""
    params = SampleParams()
    pixels = label_pixels(labels, params, part(report, 0.0, 0.2))
    source.fetch(windows_of_pixels(pixels), part(report, 0.2, 0.8))
    return collect(labels, source, params, pixels, part(report, 0.8, 1.0))
