# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known of what is published where: forgotten on demand, never the data.

What is kept of tiles and shards is marked as old, not deleted: without a connection it still tells
which of the cache's blocks can be used.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Iterator

from ...values import FORMS, Access, Dataset
from ..cache import BlockCache
from ..zarr.store import StoreFiles
from . import choice
from .presence import SUFFIX


def forget(access: Access, dataset: Dataset) -> None:
    """Have everything that is known of a dataset's tiles, shards and store asked for again.

    Raises: DiskFull, NotWritable.
    """
    choice.forget()
    location = dataset.store or access.archive
    for depth in {*dataset.depths, dataset.depth}:
        for form in FORMS:
            of_years = BlockCache(access.cache_dir, location, dataset=dataset.key, depth=depth,
                                  form=form, year=0).folder.parent  # fmt: skip
            for year in _years(of_years):
                cache = BlockCache(access.cache_dir, location, dataset=dataset.key, depth=depth,
                                   form=form, year=year)  # fmt: skip
                _forget_parts(cache, StoreFiles(cache, access.archive, dataset))


def _forget_parts(cache: BlockCache, files: StoreFiles) -> None:
    files.ask_again()
    files.forget_absent()
    for path in sorted((cache.folder / "tiles").glob("*")):
        if path.name.endswith(SUFFIX):
            with contextlib.suppress(OSError):
                path.unlink()
        elif path.suffix == ".shard":
            files.mark_old(path.stem)
        elif path.suffix == ".json":
            info = cache.tile(path.stem)
            if info is not None:
                cache.keep_tile(replace(info, checked=0.0))


def _years(folder: Path) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for path in sorted(folder.iterdir()):
            if path.name.isdigit():
                yield int(path.name)
