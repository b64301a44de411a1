# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The three series of a tile, Sentinel-2 and both orbit directions, written date by date."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence, Tuple

from numpy.typing import NDArray

from ...progress import Report, part
from ...values import Window
from . import arrays, sentinel1, sentinel2
from .arrays import Layer
from .dates import Dates, Day
from .inside import Inside, parts_of
from .journal import Done, Journal, key_of
from .rasters_on_grid import OpenRasters
from .scenes import ORBITS, S2_BANDS, S1Scene, S2Scene

S2 = "s2"

_NOTE_EVERY_S = 2.0
"""So much work a power cut may cost; to wait for the disk after each date costs more."""

_MOST_CLAMPED = 0.05
"""Share of pixels darker than the offset that real files with it don't come near to."""


@dataclass(frozen=True)
class Stream:
    """A series that is written: what became of its dates."""

    name: str
    days: Tuple[Day[Any], ...]
    done: Tuple[Done, ...]

    @property
    def kept(self) -> List[Tuple[Day[Any], Done]]:
        """The dates that are in the arrays, in their order."""
        return [(day, done) for day, done in zip(self.days, self.done) if done.kept]

    @property
    def dates(self) -> List[dt.date]:
        """Of those that are in the arrays."""
        return [day.date for day, _ in self.kept]

    @property
    def days_of_year(self) -> List[int]:
        """Of those that are in the arrays; 1 January is 1."""
        return [date.timetuple().tm_yday for date in self.dates]

    @property
    def dropped(self) -> List[Tuple[str, str]]:
        """Scenes of dates that are not in the arrays, and why."""
        return [
            (scene.name, "nothing usable here" if not done.seen_px else
             f"only {done.seen_px} usable pixels here")
            for day, done in zip(self.days, self.done) if not done.kept
            for scene in day.scenes
        ]  # fmt: skip

    def told(self) -> List[Dict[str, Any]]:
        """Return the dates and the scenes that gave pixels, for the provenance."""
        return [
            {
                "date": done.date,
                **({} if self.name == S2 else {"orbit": self.name}),
                "scenes": [
                    {**_facts(scene), "pixels": done.took_px[scene.name]}
                    for scene in day.scenes
                    if done.took_px.get(scene.name)
                ],
            }
            for day, done in self.kept
        ]


@dataclass(frozen=True)
class Site:
    """Where a tile is built, and what of it."""

    folder: Path
    inside: Inside
    min_cover: float
    """Share of the wanted pixels that a date must see to be kept."""
    journal: Journal


def build_all(site: Site, dates: Dates, report: Report) -> List[Stream]:
    """Write all series, and return them: Sentinel-2, ascending, descending.

    Raises: SceneUnusable, DiskFull, NotWritable, Cancelled; dates that are done are in the journal.
    """
    series: List[Tuple[str, Tuple[Day[Any], ...]]] = [
        (S2, dates.s2), *((orbit, dates.s1[orbit]) for orbit in ORBITS)
    ]  # fmt: skip
    costs = [len(days) * (len(S2_BANDS) if name == S2 else 2) for name, days in series]
    streams, spent = [], 0
    for (name, days), cost in zip(series, costs):
        share = part(report, spent / sum(costs), (spent + cost) / sum(costs))
        streams.append(_Series(site, name).build(days, share))
        spent += cost
    return streams


@dataclass(frozen=True)
class _Series:
    """One that is being written."""

    site: Site
    name: str

    def build(self, days: Tuple[Day[Any], ...], report: Report) -> Stream:
        keys = [(day.date.isoformat(), key_of(day)) for day in days]
        with self._layers() as layers:
            done = self._done_before(keys, layers)
            noted, note_at = len(done), time.monotonic() + _NOTE_EVERY_S
            try:
                for index in range(len(done), len(days)):
                    share = part(report, index / len(days), (index + 1) / len(days))
                    slot = sum(each.kept for each in done)
                    done.append(self._build_date(days[index], keys[index][1], layers, slot, share))
                    if time.monotonic() > note_at:
                        self._note(done[noted:], layers)
                        noted, note_at = len(done), time.monotonic() + _NOTE_EVERY_S
            finally:
                self._note(done[noted:], layers)
            for layer in layers:
                layer.finish(sum(each.kept for each in done))
        return Stream(self.name, days, tuple(done))

    def _done_before(self, keys: List[Tuple[str, str]], layers: Sequence[Layer]) -> List[Done]:
        """Return the dates that an interrupted build has done, none where their pixels are gone."""
        done = self.site.journal.same_beginning(self.name, keys)
        if not all(layer.holds(sum(each.kept for each in done)) for layer in layers):
            return self.site.journal.same_beginning(self.name, [])
        return done

    def _note(self, done: Sequence[Done], layers: Sequence[Layer]) -> None:
        """Note dates as done, once their pixels are on the disk."""
        if done:
            for layer in layers:
                layer.keep()
            self.site.journal.add(self.name, done)

    def _build_date(
        self, day: Day[Any], key: str, layers: Sequence[Layer], slot: int, report: Report
    ) -> Done:
        date = day.date.isoformat()
        inside = self.site.inside
        read = _read_s2 if self.name == S2 else _read_s1
        rasters = OpenRasters(inside.window)
        seen_px, clamped = 0, 0
        took: Dict[str, int] = {}
        places = list(parts_of(inside.window))
        try:
            for number, place in enumerate(places):
                share = part(report, number / len(places), (number + 1) / len(places))
                share(0.0, date)
                found = read(day.scenes, place, inside.of(place), rasters, share)
                for layer, values in zip(layers, found.values):
                    layer.write(slot, place, values)
                seen_px += found.seen_px
                clamped += found.clamped
                for name, count in found.took_px.items():
                    took[name] = took.get(name, 0) + count
        finally:
            rasters.close()
        wanted_px = max(self.site.min_cover * inside.count_px, 1)
        return Done(date, key, seen_px >= wanted_px, seen_px, took, clamped)

    @contextlib.contextmanager
    def _layers(self) -> Iterator[List[Layer]]:
        names = [arrays.BANDS, arrays.MASKS] if self.name == S2 else [arrays.S1_ARRAYS[self.name]]
        with contextlib.ExitStack() as stack:
            yield [
                stack.enter_context(Layer(self.site.folder, name, self.site.inside.window))
                for name in names
            ]


@dataclass(frozen=True)
class _Found:
    """A part of a date, of either sensor."""

    values: Tuple[NDArray[Any], ...]
    """One for each array."""
    seen_px: int
    took_px: Dict[str, int]
    clamped: int


def _read_s2(
    scenes: Sequence[S2Scene], place: Window, inside: NDArray[Any], rasters: OpenRasters,
    report: Report,
) -> _Found:  # fmt: skip
    found = sentinel2.read_part(scenes, place, inside, rasters, report)
    values = (found.bands, found.usable)
    return _Found(values, int(found.usable.sum()), found.took_px, found.clamped_px)


def _read_s1(
    scenes: Sequence[S1Scene], place: Window, inside: NDArray[Any], rasters: OpenRasters,
    report: Report,
) -> _Found:  # fmt: skip
    found = sentinel1.read_part(scenes, place, inside, rasters, report)
    seen_px = int(found.codes.any(axis=-1).sum())
    return _Found((found.codes,), seen_px, found.took_px, found.too_dark)


def _facts(scene: Any) -> Dict[str, Any]:  # noqa: ANN401 - either kind of scene
    if isinstance(scene, S2Scene):
        return {"name": scene.name, "baseline": scene.baseline, "unit": scene.unit,
                "mask_kind": scene.mask_kind}  # fmt: skip
    return {"name": scene.name, "unit": scene.unit, "product": scene.product}


def warnings(s2: Stream, s1: Sequence[Stream]) -> Iterator[str]:
    """Yield what to know about a tile before it is used."""
    scenes = [scene for day, _ in s2.kept for scene in day.scenes]
    unmasked = sum(not sentinel2.has_mask(scene) for scene in scenes)
    if unmasked:
        yield f"no cloud mask in {unmasked} of {len(scenes)} Sentinel-2 images: clouds count as ground"
    seen = sum(done.seen_px for _, done in s2.kept)
    clamped = sum(done.clamped for _, done in s2.kept)
    if clamped > _MOST_CLAMPED * seen:
        yield (
            f"{clamped / seen:.0%} of the Sentinel-2 pixels are darker than the offset that was "
            "subtracted: the files may be without it"
        )
    yield from _s1_warnings([each for stream in s1 for each in stream.kept])


def _s1_warnings(kept: Sequence[Tuple[Day[S1Scene], Done]]) -> Iterator[str]:
    if not kept:
        yield "no Sentinel-1 images"
        return
    if any(scene.product == "grd" for day, _ in kept for scene in day.scenes):
        yield "Sentinel-1 images that are not terrain-corrected (GRD): slopes look wrong"
    numbers = 2 * sum(done.seen_px for _, done in kept)
    too_dark = sum(done.clamped for _, done in kept)
    if too_dark:
        yield (
            f"{too_dark:,} of {numbers:,} Sentinel-1 numbers are missing: darker than "
            f"{sentinel1.DARKEST_DB} dB, for which tiles have no code"
        )
