# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The published datasets that can be fetched, a person's own stores, and what to say of them."""

from __future__ import annotations

import hashlib
import re
from typing import Sequence, Tuple

from ..errors import DepthNotOffered, UnknownDataset, UnknownYear
from ..values import Dataset

PREFIXES = (4, 16, 128)
"""Depths of the second version: its first dimensions are an embedding by themselves."""

DATASETS: Tuple[Dataset, ...] = (
    Dataset("1.1", "dclimate", "", tuple(range(2017, 2026)), "TESSERA 1.1 (dClimate, global)",
            landmask_dir="v1.1", zarr_dir="v1.1-dclimate"),
    Dataset("1.1", "cambridge", "v1.1-cam", tuple(range(2015, 2026)), "TESSERA 1.1 (Cambridge)",
            landmask_dir="v1.1", zarr_dir="v1.1"),
    Dataset("1.0", "vultr", "v1", tuple(range(2017, 2026)), "TESSERA 1.0",
            landmask_dir="v1", zarr_dir="v1"),
    Dataset("2.0", "2B-L~beta1", "v2-2B-L~beta1", tuple(range(2017, 2026)), "TESSERA 2.0 beta 1",
            landmask_dir="v2", zarr_dir="v2-2B-L~beta1", depths=PREFIXES),
    Dataset("2.0", "2B-L~beta2", "v2-2B-L~beta2", tuple(range(2017, 2026)), "TESSERA 2.0 beta 2",
            landmask_dir="v2", zarr_dir="v2-2B-L~beta2", depths=PREFIXES),
)  # fmt: skip
"""The first is the default. Each is a feature space of its own."""

OWN = "store"
"""Version of a person's own stores: nobody else tells theirs apart."""

LICENCE = "CC0 1.0"
CITATION = (
    "Feng, Z. et al. (2025): TESSERA: Temporal Embeddings of Surface Spectra for Earth "
    "Representation and Analysis. arXiv:2506.20380"
)


def dataset(key: str, stores: Sequence[Dataset] = ()) -> Dataset:
    """Return the dataset of a key such as `1.1-dclimate`, or one of a person's own stores.

    Raises: UnknownDataset.
    """
    every = (*DATASETS, *stores)
    for known in every:
        if known.key == key:
            return known
    raise UnknownDataset(key, tuple(known.key for known in every))


def check_depth(known: Dataset, depth: int) -> int:
    """Return a depth that a dataset is published in, 0 being the whole one.

    Raises: DepthNotOffered.
    """
    if depth and depth not in known.depths:
        raise DepthNotOffered(known.key, depth, known.depths)
    return depth or known.depth


def check_year(known: Dataset, year: int) -> None:
    """Check that a dataset has a year. Raises: UnknownYear, LocationUnusable."""
    if year not in known.years and year not in (years := years_of(known)):
        raise UnknownYear(known.key, year, years)


def years_of(known: Dataset) -> Tuple[int, ...]:
    """Return the years of a dataset; of a local one as its folder says now.

    Raises: LocationUnusable.
    """
    if not known.local:
        return known.years
    from ..io.local.datasets import dataset_of  # noqa: PLC0415 - as below

    return dataset_of(known.local).years


def own_store(
    location: str, name: str, years: Sequence[int], depths: Sequence[int], title: str
) -> Dataset:
    """Return a store at a URL or in a folder, outside any archive, as a dataset.

    Its key, `store-<name>-<8 hex digits>`, follows from its name and its location.
    """
    from ..io.cache import archive_identity  # noqa: PLC0415 - the list of datasets is light to import

    identity = hashlib.sha256(archive_identity(location).encode()).hexdigest()[:8]
    short = re.sub(r"[^A-Za-z0-9._]+", "_", name).strip("._")[:40] or "zarr"
    depths = sorted(depths)
    return Dataset(OWN, f"{short}-{identity}", "", tuple(sorted(years)), title, depth=depths[-1],
                   depths=tuple(depths), store=location)  # fmt: skip
