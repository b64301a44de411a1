# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Care of the cache, as tasks on plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Sequence, Tuple

from qgis.PyQt.QtCore import QCoreApplication

from ..progress import Report, part
from .base import EngineTask

if TYPE_CHECKING:
    from ..engine.cache import CacheUsage, MoveResult

translate = QCoreApplication.translate


@dataclass(frozen=True)
class CacheState:
    """A cache as it is."""

    usage: CacheUsage
    is_writable: bool
    """Whether anything can be added or removed."""


def state(cache_dir: str) -> EngineTask:
    """Return the task that looks what a cache holds and whether it can be written: `CacheState`."""
    from ..engine import cache  # noqa: PLC0415 - light plugin load

    def work(report: Report) -> CacheState:
        return CacheState(cache.usage(cache_dir, report), cache.is_writable(cache_dir))

    return EngineTask(translate("CacheJobs", "Measuring the cache"), work)


def usage(cache_dir: str) -> EngineTask:
    """Return the task that looks what a cache holds: gives `CacheUsage`."""
    from ..engine import cache  # noqa: PLC0415 - light plugin load

    def work(report: Report) -> CacheUsage:
        return cache.usage(cache_dir, report)

    return EngineTask(translate("CacheJobs", "Measuring the cache"), work)


def clear(cache_dir: str, *, dataset: str = "", year: int = 0, archive: str = "") -> EngineTask:
    """Return the task that deletes what comes from these, all where none is given: gives bytes."""
    from ..engine import cache  # noqa: PLC0415 - light plugin load

    def work(report: Report) -> int:
        return cache.clear(cache_dir, dataset=dataset, year=year, archive=archive, report=report)

    return EngineTask(translate("CacheJobs", "Clearing the cache"), work)


def clear_origins(cache_dir: str, origins: Sequence[Tuple[str, str, int]]) -> EngineTask:
    """Return the task that deletes what comes from each archive, dataset and year: gives bytes."""
    from ..engine import cache  # noqa: PLC0415 - light plugin load

    def work(report: Report) -> int:
        freed = 0
        for number, (archive, dataset, year) in enumerate(origins):
            share = part(report, number / len(origins), (number + 1) / len(origins))
            freed += cache.clear(
                cache_dir, dataset=dataset, year=year, archive=archive, report=share
            )
        return freed

    return EngineTask(translate("CacheJobs", "Clearing the cache"), work)


def evict(cache_dir: str, limit_bytes: int) -> EngineTask:
    """Return the task that brings a cache to a limit, least recently used first: gives bytes."""
    from ..engine import cache  # noqa: PLC0415 - light plugin load

    def work(report: Report) -> int:
        return cache.evict(cache_dir, limit_bytes, report=report)

    return EngineTask(translate("CacheJobs", "Making room in the cache"), work)


def move(cache_dir: str, target: str) -> EngineTask:
    """Return the task that moves a cache to another folder: gives `MoveResult`.

    Whoever starts it takes the new folder into the settings when it has succeeded. Cancelled or
    failed, the old folder stays the one in use.
    """
    from ..engine import cache  # noqa: PLC0415 - light plugin load

    def work(report: Report) -> MoveResult:
        return cache.move(cache_dir, target, report)

    return EngineTask(translate("CacheJobs", "Moving the cache"), work)
