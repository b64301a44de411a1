# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The published datasets that can be fetched, and what to say of their origin."""

from __future__ import annotations

from typing import Tuple

from ..errors import UnknownDataset, UnknownYear
from ..values import Dataset

DATASETS: Tuple[Dataset, ...] = (
    Dataset("1.1", "cambridge", "v1.1-cam", tuple(range(2015, 2026)), "TESSERA 1.1 (Cambridge)",
            landmask_dir="v1.1", zarr_dir="v1.1"),
    Dataset("1.1", "dclimate", "", tuple(range(2017, 2026)), "TESSERA 1.1 (dClimate, global)",
            landmask_dir="v1.1", zarr_dir="v1.1-dclimate"),
    Dataset("1.0", "vultr", "v1", tuple(range(2017, 2026)), "TESSERA 1.0",
            landmask_dir="v1", zarr_dir="v1"),
    Dataset("2.0", "2B-L~beta1", "v2-2B-L~beta1", tuple(range(2017, 2026)), "TESSERA 2.0 beta 1",
            landmask_dir="v2", zarr_dir="v2-2B-L~beta1"),
    Dataset("2.0", "2B-L~beta2", "v2-2B-L~beta2", tuple(range(2017, 2026)), "TESSERA 2.0 beta 2",
            landmask_dir="v2", zarr_dir="v2-2B-L~beta2"),
)  # fmt: skip
"""The first is the default. Each is a feature space of its own."""

LICENCE = "CC0 1.0"
CITATION = (
    "Feng, Z. et al. (2025): TESSERA: Temporal Embeddings of Surface Spectra for Earth "
    "Representation and Analysis. arXiv:2506.20380"
)


def dataset(key: str) -> Dataset:
    """Return the dataset of a key such as `1.1-cambridge`. Raises: UnknownDataset."""
    for known in DATASETS:
        if known.key == key:
            return known
    raise UnknownDataset(key, tuple(known.key for known in DATASETS))


def check_year(known: Dataset, year: int) -> None:
    """Check that a dataset has a year. Raises: UnknownYear."""
    if year not in known.years:
        raise UnknownYear(known.key, year, known.years)
