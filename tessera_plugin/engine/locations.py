# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a person's URL or folder holds: an archive in the published layout, or a single store.

A folder may also hold embeddings of their own, which are used as a store is.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import List, Optional, Tuple, Union

from ..errors import AccessRefused, DecoderMissing, LocationUnusable, StoreUnusable
from ..io.folder import folder_path, is_folder
from ..io.local.datasets import dataset_of, datasets_in
from ..io.local.records import DATASET_FILE, SCENE_FILE
from ..io.objects import NotFound
from ..io.sources.choice import check_some_group
from ..io.sources.crew import Crew
from ..io.sources.mirrors import Front, open_client, roots_of
from ..io.sources.zarr_store import ZarrStore
from ..io.zarr.metadata import parse_root
from ..progress import Report, silent
from ..values import Access, Dataset
from . import catalog

__all__ = ["ArchiveFound", "Found", "StoreFound", "look", "roots_of"]

NOT_UNDERSTOOD = "there is neither a Zarr store nor an archive in the published layout"
NOT_CONSOLIDATED = "its metadata are not consolidated, so that its zones can't be told"
OFFLINE = "it is not in the cache, and nobody may be asked while offline"

_CLOUD = ("s3", "gs", "gcs", "az", "abfs", "abfss", "icechunk")
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)


@dataclass(frozen=True)
class ArchiveFound:
    """An archive in the published layout; to be used as `Access.archive`."""

    location: str
    datasets: Tuple[str, ...]
    """Keys of the datasets that it has, in the catalogue's order."""


@dataclass(frozen=True)
class StoreFound:
    """A single store, or embeddings of the person's own; to be used as one of `Access.stores`."""

    dataset: Dataset
    """Of their own embeddings `local` is the folder, of a store `store` the place."""


Found = Union[ArchiveFound, StoreFound]


def look(location: str, access: Access, report: Report = silent) -> Found:
    """Return what a URL or folder holds. Of `access` the cache and the network count.

    Raises: LocationUnusable with the reason; NetworkFailed, AccessRefused, DiskFull, NotWritable,
    Cancelled.
    """
    place = _cleaned(location)
    own = _own_embeddings(place) if is_folder(place) else None
    if own is not None:
        return StoreFound(own)
    looker = _Looker(place, access)
    found: List[Found] = []
    try:
        Crew(1, looker.stop).run(
            [lambda: found.append(looker.look())], lambda: report(0.0, "Looking at the location")
        )
    finally:
        looker.stop()
    return found[0]


class _Looker:
    """One look at a location."""

    def __init__(self, place: str, access: Access) -> None:
        self._place = place
        self._is_folder = is_folder(place)
        # a folder may be looked at while there is no network
        self._access = replace(access, offline=access.offline and not self._is_folder)
        self._name = _name(place)
        self._store = self._store_for((0,), (128,), self._name)
        self._client = open_client(place, access.network)
        self._front = Front(self._client, roots_of(place))

    def stop(self) -> None:
        """End what is asked."""
        self._store.close()
        self._client.cancel()
        self._client.close()

    def look(self) -> Found:
        """Return what there is. Raises: as `look`."""
        refused: List[AccessRefused] = []
        try:
            if self._store.is_published():
                return StoreFound(self._described())
        except StoreUnusable as error:
            raise LocationUnusable(self._place, error.reason) from error
        except AccessRefused as error:
            refused.append(error)  # some servers say so of what is not there
        if self._access.offline:
            raise LocationUnusable(self._place, OFFLINE)
        datasets = tuple(known.key for known in catalog.DATASETS if self._has(known))
        if datasets:
            return ArchiveFound(self._place, datasets)
        if refused:
            raise refused[0]
        raise LocationUnusable(self._place, self._why_not())

    def _described(self) -> Dataset:
        """Return the store as a dataset. Raises: StoreUnusable, NetworkFailed, AccessRefused."""
        years, depths = self._store.years(), self._store.depths()
        if not years or not depths:
            raise StoreUnusable(self._place, NOT_CONSOLIDATED)
        found = self._store_for(years, depths, self._title())
        with contextlib.suppress(DecoderMissing):  # the worker may have it
            check_some_group(found)
        return found.dataset

    def _store_for(self, years: Tuple[int, ...], depths: Tuple[int, ...], title: str) -> ZarrStore:
        dataset = catalog.own_store(self._place, self._name, years, depths, title)
        return ZarrStore(self._access, dataset, years[-1], dataset.depth)

    def _title(self) -> str:
        """Return what the store calls itself, or the last part of its address."""
        view = self._store.files.view(self._store.depth, self._store.year)
        data = view and self._store.files.document("zarr.json", view.identity, None)
        attributes = parse_root(self._place, data).attributes if data else {}
        named = (attributes.get(key) for key in ("title", "name"))
        return next((str(one) for one in named if isinstance(one, str) and one), self._name)

    def _has(self, known: Dataset) -> bool:
        """Whether an archive has a dataset, in any form."""
        if known.zarr_dir and self._exists(f"zarr/{known.zarr_dir}/zarr.json"):
            return True
        folder = f"npy/{known.npy_dir}"
        if not known.npy_dir:
            return False
        if self._is_folder:
            return Path(self._place, folder).is_dir()
        return self._exists(f"{folder}/manifest.parquet")

    def _why_not(self) -> str:
        """Return what there is instead, where that can be told."""
        if self._exists(".zgroup") or self._exists(".zmetadata"):
            return "it is a Zarr store of version 2, not 3"
        if self._exists("refs/branch.main/ref.json") or self._exists("repo"):
            return "it is an Icechunk repository, which is not read"
        return NOT_UNDERSTOOD

    def _exists(self, path: str) -> bool:
        try:
            self._front.get_range(path, 0, 1)
        except (NotFound, AccessRefused):
            return False
        return True


def _cleaned(location: str) -> str:
    """Return a location without what people copy along. Raises: LocationUnusable."""
    place = location.strip().strip("\"'")
    if not place:
        raise LocationUnusable(location, "it is empty")
    scheme = _SCHEME.match(place)
    kind = scheme.group(1).lower() if scheme else "file"
    if kind in _CLOUD:
        raise LocationUnusable(location, f"give its https:// address instead of {kind}://")
    if kind not in ("http", "https", "file"):
        raise LocationUnusable(location, f"{kind}:// is not known")
    place = re.sub(r"[/\\]+((zarr|dataset|scene)\.json)?$", "", place) or place
    return folder_path(place) if is_folder(place) else place


def _own_embeddings(place: str) -> Optional[Dataset]:
    """Return the local dataset in a folder, or in the one above where it is one of its scenes.

    None where there is none. Raises: LocationUnusable where there is one that can't be used, or
    there are several.
    """
    folder = Path(place)
    if (folder / "zarr.json").exists():
        return None
    if (folder / SCENE_FILE).is_file() and (folder.parent / DATASET_FILE).is_file():
        folder = folder.parent
    if (folder / DATASET_FILE).is_file():
        return dataset_of(folder)
    datasets, problems = datasets_in(folder)
    if not datasets or len(datasets) + len(problems) == 1:
        return datasets[0] if datasets else None  # what others call so is no reason to stop
    names = ", ".join(Path(each.local).name for each in datasets)
    raise LocationUnusable(place, f"there are several datasets in it: choose one of {names}")


def _name(place: str) -> str:
    """Return a name for a store, from the last part of its address."""
    parts = [part for part in re.split(r"[/\\]+", place.split("?", maxsplit=1)[0]) if part]
    return re.sub(r"\.zarr$", "", parts[-1], flags=re.IGNORECASE) if parts else "zarr"
