# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Local datasets on disk: made, listed, scenes begun, finished and removed.

What is made appears under its name in one step, so that several processes may do so at once.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import os
import re
import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Optional, Tuple, Union

from ...errors import LocationUnusable, NotWritable
from ...values import Dataset
from ..files import STAGING_PREFIX, remove_folder, remove_stale, write_error, write_text
from .records import (
    DATASET_FILE,
    SCENE_FILE,
    DatasetRecord,
    Scene,
    read_dataset,
    read_scene,
)

VERSION = "local"
"""Version of the datasets that people make; their variant tells the space and depth."""

PathLike = Union[str, "os.PathLike[str]"]

_ATTEMPTS = 100
_OURS = re.compile(r"(scene|run)\.json|-?\d+_-?\d+\.npy(\.part)?|run\.json\.part")
_OF_THE_SYSTEM = {".DS_Store", "Thumbs.db", "desktop.ini"}
_FINISHING = {"encoder", "inputs", "moved_m", "counts", "warnings"}
_OF_ENCODER = {"device": "provider", "onnxruntime": "onnxruntime"}
"""Facts that are kept with those of the encoder, and their names there."""


@dataclass(frozen=True)
class Listing:
    """What is in a dataset's folder."""

    record: DatasetRecord
    scenes: Tuple[Scene, ...]
    """In the order in which they win where they overlap: finished ones, then the newest."""
    problems: Tuple[Tuple[str, str], ...] = ()
    """Name and reason of scenes that can't be used."""

    @property
    def key(self) -> str:
        """Key of the dataset: it follows from the embedding space and the depth alone."""
        return f"{VERSION}-{_variant(self.record.space, self.record.depth)}"


# --- datasets


def create(
    root: PathLike,
    *,
    space: str,
    depth: int,
    title: str,
    encoder: Mapping[str, Any],
    licence: str = "",
) -> Path:
    """Return the folder below `root` for embeddings of a space and depth, made if there is none.

    Raises: NotWritable, DiskFull.
    """
    top = Path(root).absolute()
    record = DatasetRecord(title, space, depth, encoder, licence)
    name = f"{_slug(space)}-{depth}"
    names = (name, f"{_variant(space, depth)}", *(f"{name}_{n}" for n in range(2, _ATTEMPTS)))
    try:
        top.mkdir(parents=True, exist_ok=True)
        remove_stale(top)
    except OSError as error:
        raise write_error(top, error) from error
    return _placed(
        top, names, DATASET_FILE, record.to_json(), lambda: _find(top, space, depth)
    )  # fmt: skip


def look_into(folder: PathLike) -> Listing:
    """Return what is in a dataset's folder. Raises: LocationUnusable."""
    place = Path(folder).absolute()
    record = read_dataset(place)
    try:
        tried = [(each.name, _scene_or_reason(each)) for each in _folders_with(place, SCENE_FILE)]
    except OSError as error:
        raise LocationUnusable(str(place), f"it can't be read ({error.strerror})") from error
    found = [one for _, one in tried if isinstance(one, Scene)]
    found.sort(key=lambda scene: scene.rank, reverse=True)
    problems = tuple((name, one) for name, one in tried if isinstance(one, str))
    return Listing(record, tuple(found), problems)


def dataset_of(folder: PathLike) -> Dataset:
    """Return a dataset's folder as a dataset, its years those of its scenes.

    Raises: LocationUnusable, also where there is no scene yet.
    """
    place = str(Path(folder).absolute())
    listing = look_into(place)
    if not listing.scenes:
        why = "there is no scene in it yet"
        if listing.problems:
            why = "its scene {}: {}".format(*listing.problems[0])
        raise LocationUnusable(place, why)
    record = listing.record
    years = tuple(sorted({scene.year for scene in listing.scenes}))
    return Dataset(
        VERSION, _variant(record.space, record.depth), "", years, record.title,
        depth=record.depth, depths=(record.depth,), local=place, space=record.space,
    )  # fmt: skip


def datasets_in(root: PathLike) -> Tuple[Tuple[Dataset, ...], Tuple[Tuple[str, str], ...]]:
    """Return the datasets below a folder, and path and reason of those that can't be used.

    One without a scene can't. What is not there is empty.
    """
    tried = [
        (str(folder), _dataset_or_reason(folder))
        for folder in _listed(Path(root).absolute(), DATASET_FILE)
    ]
    datasets = tuple(one for _, one in tried if isinstance(one, Dataset))
    return datasets, tuple((path, one) for path, one in tried if isinstance(one, str))


# --- scenes


def scenes(folder: PathLike) -> Tuple[Scene, ...]:
    """Return the scenes of a dataset, unfinished ones too, in the order in which they win.

    Raises: LocationUnusable.
    """
    return look_into(folder).scenes


def begin_scene(folder: PathLike, scene: Scene) -> Path:
    """Return the folder to encode a scene into.

    Where the same area, year and images were begun or encoded with the same encoder it is that one:
    what is whole there is not encoded again. Raises: LocationUnusable, NotWritable, DiskFull.
    """
    place = Path(folder).absolute()
    read_dataset(place)
    created = scene.created or dt.datetime.now(dt.timezone.utc).isoformat()
    begun = replace(scene, created=created, finished=False, path="")
    name = f"{_slug(scene.name)}-{scene.year}"
    names = (name, *(f"{name}_{number}" for number in range(2, _ATTEMPTS)))
    with contextlib.suppress(OSError):
        remove_stale(place)
    return _placed(place, names, SCENE_FILE, begun.to_json(), lambda: _find_scene(place, scene))


def finish_scene(path: PathLike, **facts: Any) -> Scene:  # noqa: ANN401 - checked below
    """Note that a scene is whole, with facts that were not known before; return it.

    Facts: encoder (added to what is there; device and onnxruntime go there too), inputs, moved_m,
    counts, warnings. Raises: LocationUnusable, NotWritable, DiskFull; TypeError for another fact.
    """
    ran = {own: facts.pop(name) for name, own in _OF_ENCODER.items() if name in facts}
    unknown = set(facts) - _FINISHING
    if unknown:
        raise TypeError(f"no facts of a scene: {', '.join(sorted(unknown))}")
    place = Path(path).absolute()
    scene = read_scene(place)
    facts["encoder"] = {**scene.encoder, **facts.get("encoder", {}), **ran}
    facts["warnings"] = tuple(facts.get("warnings", scene.warnings))
    finished = replace(scene, finished=True, **facts)
    write_text(place / SCENE_FILE, finished.to_json())
    return finished


def scene_bytes(path: PathLike) -> int:
    """Return what a scene takes on the disk; what can't be looked at counts nothing."""
    total = 0
    with contextlib.suppress(OSError), os.scandir(path) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                total += entry.stat().st_size
    return total


def remove_scene(path: PathLike) -> int:
    """Remove a scene and return the bytes that this frees; it is gone at once or stays whole.

    Raises: LocationUnusable where it is none; NotWritable, also where there are other files in it.
    """
    place = Path(path).absolute()
    if not (place / SCENE_FILE).is_file():
        raise LocationUnusable(str(place), f"there is no {SCENE_FILE} in it")
    try:
        with os.scandir(place) as entries:
            names = sorted(entry.name for entry in entries)
        others = [name for name in names if not _is_ours(name)]
        if others:
            raise NotWritable(str(place), f"there are other files in it ({others[0]})")
        freed = scene_bytes(place)
        aside = place.with_name(f"{STAGING_PREFIX}{secrets.token_hex(6)}")
        place.rename(aside)
    except OSError as error:
        raise write_error(place, error) from error
    remove_folder(aside)
    return freed


# --- helpers


def _placed(
    parent: Path,
    names: Tuple[str, ...],
    file: str,
    text: str,
    find: Callable[[], Optional[Path]],
) -> Path:
    """Return the folder that `find` gives, or make one of the first free name that holds a file.

    Whoever comes second in a race finds the first one's. Raises: NotWritable, DiskFull.
    """
    for name in names:
        found = find()
        if found is not None:
            return found
        target = parent / name
        if target.exists():
            continue
        staged = parent / f"{STAGING_PREFIX}{secrets.token_hex(6)}"
        try:
            staged.mkdir()  # not mkdtemp: its folders can't be read by others
            write_text(staged / file, text)
            staged.rename(target)
        except OSError as error:
            if not target.exists():
                raise write_error(target, error) from error
            found = find()
            if found is not None:
                return found
        else:
            return target
        finally:
            remove_folder(staged)
    raise NotWritable(str(parent / names[0]), "every name for it is taken")


def _scene_or_reason(folder: Path) -> Union[Scene, str]:
    try:
        return read_scene(folder)
    except LocationUnusable as error:
        return error.reason


def _dataset_or_reason(folder: Path) -> Union[Dataset, str]:
    try:
        return dataset_of(folder)
    except LocationUnusable as error:
        return error.reason


def _find(root: Path, space: str, depth: int) -> Optional[Path]:
    for folder in _listed(root, DATASET_FILE):
        with contextlib.suppress(LocationUnusable):
            record = read_dataset(folder)
            if (record.space, record.depth) == (space, depth):
                return folder
    return None


def _find_scene(folder: Path, scene: Scene) -> Optional[Path]:
    for each in _listed(folder, SCENE_FILE):
        with contextlib.suppress(LocationUnusable):
            if read_scene(each).is_same_run(scene):
                return each
    return None


def _listed(parent: Path, file: str) -> Tuple[Path, ...]:
    try:
        return tuple(_folders_with(parent, file))
    except OSError:
        return ()


def _folders_with(parent: Path, file: str) -> Iterator[Path]:
    """Yield the folders that hold a file, by name. Raises: OSError."""
    with os.scandir(parent) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir())
    for name in names:
        folder = parent / name
        if not name.startswith(".") and (folder / file).is_file():
            yield folder


def _is_ours(name: str) -> bool:
    staged = name.startswith(STAGING_PREFIX)
    return staged or name in _OF_THE_SYSTEM or _OURS.fullmatch(name) is not None


def _variant(space: str, depth: int) -> str:
    identity = hashlib.sha256(f"{space}\n{depth}".encode()).hexdigest()[:8]
    return f"{_slug(space)}-{identity}"


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "_", text).strip("._")[:40] or "embeddings"
