# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The files below what a person points at: names and sizes only, nothing is opened."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Dict, List, Sequence, Set, Tuple

from ...progress import Report
from .recognise_values import Finds

MAX_DEPTH = 12
"""Folders below the one that is given; a SAFE folder in an archive by year, month and day has 9."""
MAX_FILES = 200_000
_SUBDATASET = re.compile(r"SENTINEL2_L2A:(?:\"?)(.+?MTD_MSIL2A\.xml)", re.IGNORECASE)
_ABOVE = 5  # from R10m up to its SAFE folder
_TEXT_LIMIT_BYTES = 4_000_000
_ZIPPED_SAFE = re.compile(r"S[12][A-D]_\w+\.(SAFE\.)?zip$", re.IGNORECASE)


@dataclass(frozen=True)
class File:
    """A file, also inside a zipped SAFE folder."""

    path: str
    """As GDAL opens it."""
    folder: str
    name: str
    inner: Tuple[str, ...]
    """Names of the folders from the one that was given, which is the first, to its own."""
    above: Tuple[str, ...] = ()
    """Names of the nearest folders that hold the one that was given."""
    is_given: bool = False
    """Whether it was named itself, not found in a folder."""

    @property
    def stem(self) -> str:
        """Its name without the last suffix."""
        return self.name.rpartition(".")[0] or self.name

    @property
    def suffix(self) -> str:
        """In lower case, with the dot."""
        return os.path.splitext(self.name)[1].lower()  # noqa: PTH122 - tens of thousands of names


def listed(paths: Sequence[str], finds: Finds, report: Report) -> List[File]:
    """Return the files in folders (recursively) and the files given themselves, by path.

    What can't be listed, is missing or empty is refused in `finds`.
    """
    walk = _Walk(finds, report)
    for path in map(_of_layer, paths):
        # a list of layers may name /vsizip/ and its like; what is no path on disk, GDAL has to open
        if path.startswith("/vsi"):
            folder, _, name = path.rpartition("/")
            parts = PurePosixPath(folder).parts
            walk.files[path] = File(path, folder, name, parts[-1:], parts[-_ABOVE - 1 : -1])
        elif Path(path).is_dir():
            walk.given(os.path.abspath(path))  # noqa: PTH100 - links stay as they are
        else:
            walk.single(os.path.abspath(path))  # noqa: PTH100
    return sorted(walk.files.values(), key=lambda file: file.path)


def _of_layer(path: str) -> str:
    """Return the product's folder where its metadata are given, as layers of it are named."""
    inner = _SUBDATASET.match(path)
    path = inner.group(1) if inner else path
    holder, _, name = path.replace("\\", "/").rpartition("/")
    return holder if name in ("MTD_MSIL2A.xml", "manifest.safe") else path


class _Walk:
    def __init__(self, finds: Finds, report: Report) -> None:
        self.files: Dict[str, File] = {}
        self._finds = finds
        self._report = report
        self._visited: Set[str] = set()
        self._is_full = False
        self._above: Tuple[str, ...] = ()

    def given(self, folder: str) -> None:
        self._above = Path(folder).parent.parts[-_ABOVE:]
        self.folder(folder, (), 0)

    def folder(self, folder: str, above: Tuple[str, ...], depth: int) -> None:
        real = os.path.realpath(folder)
        if real in self._visited or self._is_full:
            return
        self._visited.add(real)
        self._report(0.0, f"{len(self.files):,} files")
        inner = (*above, Path(folder).name)
        try:
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            self._finds.refuse(folder, error.strerror or "it can't be listed")
            return
        for entry in entries:
            if not entry.name.startswith("."):
                self._take(entry, folder, inner, depth)

    def single(self, path: str) -> None:
        try:
            size = Path(path).stat().st_size
        except OSError as error:
            self._finds.refuse(path, error.strerror or "it can't be read")
            return
        folder = Path(path).parent
        self._above = folder.parent.parts[-_ABOVE:]
        self._add(path, str(folder), Path(path).name, (folder.name,), size)
        if path in self.files:
            self.files[path] = replace(self.files[path], is_given=True)

    def _take(
        self, entry: os.DirEntry[str], folder: str, inner: Tuple[str, ...], depth: int
    ) -> None:
        try:
            if entry.is_dir():
                if depth < MAX_DEPTH:
                    self.folder(entry.path, inner, depth + 1)
                else:
                    self._finds.refuse(entry.path, "too deep in folders; name it itself")
                return
            size = entry.stat().st_size
        except OSError as error:
            self._finds.refuse(entry.path, error.strerror or "it can't be read")
            return
        self._add(entry.path, folder, entry.name, inner, size)

    def _add(self, path: str, folder: str, name: str, inner: Tuple[str, ...], size: int) -> None:
        if len(self.files) >= MAX_FILES:
            if not self._is_full:
                self._finds.refuse(folder, f"more than {MAX_FILES:,} files; name a smaller folder")
            self._is_full = True
        elif _ZIPPED_SAFE.match(name):
            self._zipped(path, name)
        elif size == 0 and is_raster(name):
            self._finds.refuse(path, "the file is empty")
        else:
            self.files[path] = File(path, folder, name, inner, self._above)

    def _zipped(self, path: str, name: str) -> None:
        try:
            with zipfile.ZipFile(path) as archive:
                names = [info.filename for info in archive.infolist() if not info.is_dir()]
        except (OSError, zipfile.BadZipFile) as error:
            self._finds.refuse(path, f"the zip file can't be read: {error}")
            return
        stem = name[: -len(".zip")]
        for each in names[:MAX_FILES]:
            folder, _, own = each.rpartition("/")
            inside = f"/vsizip/{path}/{each}"
            parts = PurePosixPath(folder).parts
            self.files[inside] = File(inside, inside.rpartition("/")[0], own, (stem, *parts))


def is_raster(name: str) -> bool:
    """Whether a file of this name is one of the rasters that are looked for."""
    return name.lower().endswith((".tif", ".tiff", ".jp2", ".img", ".vrt"))


def text_of(path: str) -> str:
    """Return a small text file, also one in a zipped SAFE folder; empty where it can't be read."""
    try:
        if path.startswith("/vsizip/"):
            end = path.lower().index(".zip/") + len(".zip")
            with (
                zipfile.ZipFile(path[len("/vsizip/") : end]) as archive,
                archive.open(path[end + 1 :]) as stream,
            ):
                return stream.read(_TEXT_LIMIT_BYTES).decode("utf-8", "replace")
        with Path(path).open("rb") as file:
            return file.read(_TEXT_LIMIT_BYTES).decode("utf-8", "replace")
    except (OSError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return ""
