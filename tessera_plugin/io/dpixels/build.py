# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""From dated scenes to a d-pixel tile on a zone's grid, as upstream lays it out.

bands.npy (T, H, W, 10) uint16, masks.npy (T, H, W) uint8, doys.npy (T,) uint16, and for both
orbit directions sar_*.npy (T, H, W, 2) int16 and sar_*_doy.npy (T,) int16; roi.tiff says where.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Optional, Tuple

from ... import oslocks
from ...errors import ExtentTooLarge, NoScenes, NotWritable
from ...progress import Report, part, silent
from ...values import Window
from .. import files
from . import arrays, provenance, streams
from .dates import Dates, dates_of
from .inside import ROI_FILE, Inside
from .journal import JOURNAL_FILE, Journal
from .scenes import ASCENDING, DESCENDING, ORBITS, Scenes
from .streams import Site, Stream

MOST_PX = 1 << 27
"""A little more than a Sentinel-2 granule."""

_HELD = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK}


@dataclass(frozen=True)
class BuildPlan:
    """What is to be built, of what."""

    scenes: Scenes
    window: Window
    """Of the zone grid; the tile covers exactly it."""
    out: str
    """The folder; `<out>.part` while it is built, renamed when it is whole."""
    roi: Optional[str] = None
    """Polygons (WKT in EPSG:4326) outside of which all is 0; None: nothing is outside."""
    min_cover: float = 0.0001
    """Share of the wanted pixels that a date must see to be kept."""


@dataclass(frozen=True)
class Built:
    """A tile that is whole."""

    folder: str
    window: Window
    s2_dates: int
    ascending_dates: int
    descending_dates: int
    dropped: Tuple[Tuple[str, str], ...]
    """Scenes that are not in it, and why in a few words."""
    warnings: Tuple[str, ...]
    """What to know about it, in a few words each."""
    year: int
    """That most of its Sentinel-2 dates lie in."""


def tile_bytes(plan: BuildPlan) -> int:
    """Return how much disk a tile takes if all of its dates see something.

    Raises: SceneUnusable where something has to be asked for first.
    """
    return _bytes(dates_of(plan.scenes, plan.window), plan.window.pixels)


def build(plan: BuildPlan, report: Report = silent) -> Built:
    """Build a tile, date by date; where it was interrupted it goes on.

    Raises: SceneUnusable(path, reason) where a file can't be read or something is not known,
    NoScenes where no date sees anything, ExtentTooLarge, ExtentInvalid where the polygons hold
    nothing, DiskFull, NotWritable, Cancelled. What is done stays in `<out>.part`.
    """
    dates = dates_of(plan.scenes, plan.window)
    _check(plan, dates)
    inside = Inside(plan.window, plan.roi)
    with _own_folder(Path(plan.out)) as folder:
        needed = _bytes(dates, plan.window.pixels) - _used_bytes(folder)
        files.check_space(folder, max(needed, 0))
        inside.write(folder / ROI_FILE)
        site = Site(folder, inside, plan.min_cover, Journal(folder, _identity(plan)))
        s2, *s1 = streams.build_all(site, dates, part(report, 0.0, 0.99))
        if not s2.kept:
            shutil.rmtree(folder, ignore_errors=True)
            raise NoScenes(plan.out, _nothing(dates, s2))
        built = _finish(plan, folder, dates, (s2, *s1))
        _publish(folder, Path(plan.out))
    report(1.0, "")
    return built


def _check(plan: BuildPlan, dates: Dates) -> None:
    if plan.window.pixels > MOST_PX:
        raise ExtentTooLarge(plan.window.pixels, _bytes(dates, plan.window.pixels), MOST_PX)
    if not dates.s2:
        reasons = [f"{name}: {reason}" for name, reason in dates.dropped[:3]]
        raise NoScenes(plan.out, "; ".join(reasons) or "there is no Sentinel-2 image")
    if Path(plan.out).exists():
        raise NotWritable(plan.out, "there is something of that name already")


@contextlib.contextmanager
def _own_folder(out: Path) -> Iterator[Path]:
    """Give the folder that a tile is built in, to one program at a time."""
    folder = out.with_name(f"{out.name}.part")
    lock = out.with_name(f"{out.name}.part.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise files.write_error(folder, error) from error
    with lock.open("ab") as stream:
        try:
            oslocks.lock(stream.fileno())
        except OSError as error:
            if error.errno in _HELD:  # else the file system has no locks, and the work goes on
                raise NotWritable(str(out), "it is being built already") from error
        try:
            yield folder
        finally:
            is_gone = _unlinked(lock)
    if not is_gone:  # Windows wants it closed before
        _unlinked(lock)


def _unlinked(path: Path) -> bool:
    try:
        path.unlink()
    except OSError:
        return False
    return True


def _finish(plan: BuildPlan, folder: Path, dates: Dates, done: Tuple[Stream, ...]) -> Built:
    """Write what goes beside the pixels."""
    s2, *s1 = done
    arrays.write_days(folder, arrays.DAYS, s2.days_of_year)
    for orbit, stream in zip(ORBITS, s1):
        arrays.write_days(folder, arrays.S1_DAYS[orbit], stream.days_of_year)
    dropped = (*dates.dropped, *(each for stream in done for each in stream.dropped))
    warnings = tuple(streams.warnings(s2, s1))
    year = provenance.most_frequent_year(s2.dates)
    seen = sorted(date for stream in done for date in stream.dates)
    provenance.write(folder, {
        **provenance.placing(plan.window),
        "year": year,
        "first_date": seen[0].isoformat(),
        "last_date": seen[-1].isoformat(),
        "s2": s2.told(),
        "s1": [each for stream in s1 for each in stream.told()],
        "dropped": [list(each) for each in dropped],
        "warnings": list(warnings),
        "roi": plan.roi,
        "rules": provenance.RULES,
        "source": provenance.source(),
    })  # fmt: skip
    counts = {orbit: len(stream.kept) for orbit, stream in zip(ORBITS, s1)}
    return Built(
        plan.out, plan.window, len(s2.kept), counts[ASCENDING], counts[DESCENDING],
        dropped, warnings, year,
    )  # fmt: skip


def _publish(folder: Path, out: Path) -> None:
    try:
        folder.replace(out)
        (out / JOURNAL_FILE).unlink()
    except OSError as error:
        raise files.write_error(out, error) from error


def _bytes(dates: Dates, pixels: int) -> int:
    s2 = sum(arrays.layer_bytes(name, pixels, len(dates.s2)) for name in (arrays.BANDS,
                                                                         arrays.MASKS))  # fmt: skip
    s1 = sum(
        arrays.layer_bytes(arrays.S1_ARRAYS[orbit], pixels, len(dates.s1[orbit]))
        for orbit in ORBITS
    )
    return s2 + s1 + pixels // 8


def _used_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.npy"))


def _identity(plan: BuildPlan) -> str:
    told = repr((plan.window, plan.roi, plan.min_cover))
    return hashlib.sha256(told.encode()).hexdigest()


def _nothing(dates: Dates, s2: Stream) -> str:
    names = [name for name, _ in s2.dropped]
    return (
        f"none of {len(dates.s2)} Sentinel-2 dates has enough usable pixels here "
        f"({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
    )
