# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Caches for tests: blocks with known pixels, and somebody who may not write."""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Iterator, List, Tuple

import numpy as np
import pytest

from tessera_plugin.io import cache as cache_module
from tessera_plugin.io.cache import BlockCache, Layout, Piece
from tessera_plugin.values import Window

BLOCK = Window(31, -4523 * 128, 239 * 128, 128, 128)
NAMES = ("grid_0.05_52.15", "grid_0.15_52.05", "grid_0.15_52.15")
IDENTITIES = (('"a1"', '"a2"'), ('"b1"', '"b2"'), ('"c1"', '"c2"'))
SMALL = 4
"""Dimensions where many blocks are needed: a block takes 0.2 MB then."""

NOBODY = 65534


def new_cache(
    folder, *, archive="http://x/root", dataset="1.1-cambridge", depth=128, form="npy", year=2024
):
    return BlockCache(str(folder), archive, dataset=dataset, depth=depth, form=form, year=year)


def layout(parts=(BLOCK, BLOCK, BLOCK), identities=IDENTITIES, names=NAMES):
    return Layout(BLOCK, names, identities, parts)


def layout_at(window):
    """All three tiles over a whole block."""
    return Layout(window, NAMES, IDENTITIES, (window,) * 3)


def beside(number):
    """The block so many to the right."""
    return Window(31, BLOCK.row, BLOCK.col + 128 * number, 128, 128)


def rows(start, stop, left=0, width=128):
    return Window(31, BLOCK.row + start, BLOCK.col + left, stop - start, width)


def piece(window, seed=0, invalid=(), depth=128):
    """Rows as they arrive; `invalid` are pairs of a boolean mask and the scale there."""
    random = np.random.default_rng([seed, window.height, window.width])
    codes = random.integers(-127, 128, (*window.shape, depth), dtype=np.int8)
    codes[..., 0] = 127
    scales = random.uniform(0.04, 0.08, window.shape).astype(np.float32)
    valid = np.ones(window.shape, bool)
    for mask, scale in invalid:
        scales[mask] = scale
        valid[mask] = False
    return Piece(window, codes, scales, valid)


def fill(folder, count, **of) -> Tuple[BlockCache, List[Path]]:
    """Whole blocks side by side, each with pixels of its own."""
    cache = new_cache(folder, **of)
    for number in range(count):
        window = beside(number)
        cache.add(layout_at(window), 0, [piece(window, number, depth=cache.depth)])
    return cache, [cache.block_path(beside(number)) for number in range(count)]


def is_as_filled(cache, number, missing=False):
    """Whether the block of this number has its pixels; `missing` is told where it is not there."""
    window = beside(number)
    block = cache.load(layout_at(window))
    if block is None:
        return missing
    expected = piece(window, number, depth=cache.depth)
    return np.array_equal(block.codes, expected.codes) and np.array_equal(
        block.scales, expected.scales
    )


def used(path, hours):
    """Let a file have been used and written so many hours ago."""
    before = time.time() - hours * 3600
    os.utime(path, (before, before))


def forget_verified():
    """As in a new process, in which no block has been verified."""
    cache_module._verified.clear()


def as_nobody(work: Callable[[], Any]) -> Any:
    """Do something as somebody who may not write, and return what it returns.

    In a process of its own: for root the permissions of a folder don't count.
    """
    if os.geteuid() != 0:
        return work()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        answer: Tuple[bool, Any]
        try:
            os.close(reading)
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            answer = (True, work())
        except BaseException as error:
            answer = (False, repr(error))
        with open(writing, "wb") as stream:
            pickle.dump(answer, stream)
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as stream:
        data = stream.read()
    os.waitpid(child, 0)
    went_well, result = pickle.loads(data)
    assert went_well, result
    return result


@contextlib.contextmanager
def stick() -> Iterator[Path]:
    """A folder that anybody can reach (pytest's own are for one user)."""
    folder = Path(tempfile.mkdtemp(prefix="tessera-stick-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        set_writable(folder, writable=True)
        shutil.rmtree(folder)


def set_writable(folder, *, writable):
    """Give or take the permission to write in a folder and all below it."""
    for path in [folder, *folder.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        path.chmod(mode | 0o200 if writable else mode & ~0o222)


@contextlib.contextmanager
def other_disk(than: Path) -> Iterator[Path]:
    """A folder on another disk than that of a folder."""
    place = Path("/dev/shm")
    if not place.is_dir() or place.stat().st_dev == than.stat().st_dev:
        pytest.skip("there is one disk only")
    folder = Path(tempfile.mkdtemp(dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int = 4) -> Iterator[Path]:
    """A file system of its own."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if (
        not shutil.which("mount")
        or subprocess.run(command, capture_output=True, check=False).returncode
    ):
        pytest.skip("a file system of its own can't be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
