# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Embeddings that the person's own encoder made, read where they are: nothing is fetched or cached.

Where scenes overlap a pixel is that of the newest finished one in which it is valid; what is not
finished comes after those. A block that is damaged leaves its part unknown: it is not filled from an
older scene, which nobody would notice.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ...errors import LocationUnusable
from ...progress import Gate, Report, silent
from ...values import LOCAL, Access, Dataset, State, Window
from ..local import blocks
from ..local.datasets import Listing, look_into
from ..local.records import DATASET_FILE, Scene
from .base import NO_OPTIONS, Failure, FetchOptions, FetchSummary, Picker
from .blocks import block_of, thinning_picker
from .spots import Spots

FORM = LOCAL

NOT_YET = "not encoded yet"
GONE = "the folder is not there any more"

LOOK_S = 0.2
"""How often a fetch that is held back looks for cancel."""

Mask = NDArray[np.bool_]
_Use = Callable[[Scene, Window, Window, Mask], Mask]
"""Given a scene, its block, a part of that and which pixels (H, W) of the part are still open; returns
which of them it has valid. Raises: Missing, Damaged."""


class LocalStore:
    """Embeddings of a local dataset and year. Safe between threads."""

    form = FORM

    def __init__(self, access: Access, dataset: Dataset, year: int) -> None:
        """Read what scenes there are.

        Raises: LocationUnusable where the folder is not there, or holds another dataset by now.
        """
        listing = look_into(dataset.local)
        if listing.key != dataset.key:
            raise LocationUnusable(dataset.local, f"it holds {listing.key} now, not {dataset.key}")
        self.dataset = dataset
        self.year = year
        self.depth = dataset.depth
        self.access = access
        self._listing: Listing = listing
        self.scenes: Tuple[Scene, ...] = tuple(s for s in listing.scenes if s.year == year)
        """Of this year, unfinished ones too, in the order in which they win."""

    def fetch(
        self,
        windows: Sequence[Window],
        report: Report = silent,
        options: FetchOptions = NO_OPTIONS,
    ) -> FetchSummary:
        """Look at the pixels of windows; what is not encoded yet or damaged is named, not raised.

        Raises: Cancelled.
        """
        started = time.monotonic()
        total = sum(window.pixels for window in windows)
        seen_px = valid_px = known_px = 0
        failed: List[Failure] = list(self.problems())
        for spot in Spots(windows):
            _report_open(options.gate, report, seen_px / total)
            for one in spot.parts:
                seen_px += one.pixels
                states, lacking = self.look(one)
                valid_px += int(np.count_nonzero(states == State.VALID))
                known_px += int(np.isin(states, (State.VALID, State.NODATA)).sum())
                failed += lacking
            if options.arrived is not None and any(self._is_there(spot.block)):
                options.arrived([spot.block])
        return FetchSummary(
            pixels=total, valid_px=valid_px, cached_px=known_px, bytes_fetched=0, requests=0,
            failed=tuple(dict.fromkeys(failed)), seconds=time.monotonic() - started,
        )  # fmt: skip

    def read(self, window: Window) -> Tuple[NDArray[np.int8], NDArray[np.float32]]:
        """Return codes (H, W, D) and scales (H, W).

        Nodata: codes 0 and scale NaN, also where nothing is known.
        """
        codes = np.zeros((*window.shape, self.depth), dtype=np.int8)
        scales = np.full(window.shape, np.nan, dtype=np.float32)

        def use(scene: Scene, block: Window, part: Window, wanted: Mask) -> Mask:
            rows, cols = part.slices_in(block)
            found = self._load(scene, block, rows)
            take = wanted & (found.levels[:, cols] > self.access.min_observations)
            here, there = found.records[:, cols], part.slices_in(window)
            if take.all():  # the usual case: whole rows at once
                codes[there], scales[there] = here["codes"], here["scale"]
            else:
                codes[there][take], scales[there][take] = here["codes"][take], here["scale"][take]
            return take

        for part in window.blocks():
            self._resolve(part, use)
        return codes, scales

    def states(self, window: Window) -> NDArray[np.uint8]:
        """Return the `State` of every pixel (H, W).

        NODATA: no valid observation of Sentinel-2, or fewer than `Access.min_observations`;
        OUTSIDE: no scene of this year; UNKNOWN: not encoded yet, or its block is damaged.
        """
        return self.look(window)[0]

    def look(self, window: Window) -> Tuple[NDArray[np.uint8], Tuple[Failure, ...]]:
        """Return the `State` of every pixel (H, W), and the blocks that lack."""
        states = np.full(window.shape, State.OUTSIDE, dtype=np.uint8)
        failed: List[Failure] = []
        for part in window.blocks():
            found, lacking = self._resolve(part, self._use_levels)
            states[part.slices_in(window)] = found
            failed += lacking
        return states, tuple(failed)

    def picker(self, window: Window) -> Picker:  # noqa: ARG002 - every block is looked up by itself
        """Return what reads single rows and columns of the blocks that a window touches."""
        return thinning_picker(self)

    def counts(self, window: Window) -> NDArray[np.uint16]:
        """Return valid observations of Sentinel-2, ascending and descending, (H, W, 3).

        Of a pixel that is nodata in all scenes they are those of the scene with most of Sentinel-2.
        """
        counts = np.zeros((*window.shape, 3), dtype=np.uint16)
        is_told = np.zeros(window.shape, dtype=np.bool_)

        def use(scene: Scene, block: Window, part: Window, wanted: Mask) -> Mask:
            rows, cols = part.slices_in(block)
            found = self._load(scene, block, rows)
            seen, there = found.records[:, cols]["seen"], counts[part.slices_in(window)]
            take = wanted & (found.levels[:, cols] > self.access.min_observations)
            told = is_told[part.slices_in(window)]
            more = take | (wanted & (~told | (seen[..., 0] > there[..., 0])))
            there[more] = seen[more]
            told[more] = True
            return take

        for part in window.blocks():
            self._resolve(part, use)
        return counts

    def problems(self) -> Tuple[Failure, ...]:
        """Return the scenes of the dataset that can't be used at all, of whatever year."""
        return tuple(Failure(name, reason) for name, reason in self._listing.problems)

    def provenance(self) -> Dict[str, str]:
        """Return the tags to write beside those of every source."""
        encoders = [scene.encoder for scene in self.scenes]
        tags = {"TESSERA_SPACE": self.dataset.space}
        for tag, fact in (("TESSERA_ENCODER", "name"), ("TESSERA_PRECISION", "precision")):
            tags[tag] = ",".join(sorted({str(one[fact]) for one in encoders if one.get(fact)}))
        if self.access.min_observations:
            tags["TESSERA_MIN_OBSERVATIONS"] = str(self.access.min_observations)
        return tags

    def close(self) -> None:
        """Let go of nothing: no file is kept open."""

    # --- which scene has a pixel

    def _resolve(self, part: Window, use: _Use) -> Tuple[NDArray[np.uint8], List[Failure]]:
        """Let `use` take each pixel of a part of a block from the scene that wins.

        Returns the states (H, W), and the blocks that lack.
        """
        states = np.full(part.shape, State.OUTSIDE, dtype=np.uint8)
        is_open = np.ones(part.shape, dtype=np.bool_)
        failed: List[Failure] = []
        block = block_of(part)
        for scene, inside in self._over(part):
            here = inside.slices_in(part)
            if not is_open[here].any():
                continue
            try:
                taken = use(scene, block, inside, is_open[here])
            except (blocks.Missing, blocks.Damaged) as error:
                failed.append(self._failure(scene, block, error))
                states[here][is_open[here]] = State.UNKNOWN
                if scene.finished or isinstance(error, blocks.Damaged):
                    is_open[here] = False
                continue
            told = states[here]
            told[is_open[here] & (told == State.OUTSIDE)] = State.NODATA
            told[taken] = State.VALID
            is_open[here] &= ~taken
        return states, failed

    def _over(self, part: Window) -> Iterator[Tuple[Scene, Window]]:
        """Yield the scenes over a part and what they have of it, in the order in which they win."""
        for scene in self.scenes:
            inside = scene.window.intersection(part)
            if inside is not None:
                yield scene, inside

    def _use_levels(self, scene: Scene, block: Window, part: Window, wanted: Mask) -> Mask:
        levels = blocks.levels(_path(scene, block), self.depth)[part.slices_in(block)]
        return np.asarray(wanted & (levels > self.access.min_observations))

    def _load(self, scene: Scene, block: Window, rows: slice) -> blocks.Pixels:
        return blocks.load(_path(scene, block), self.depth, rows)

    def _is_there(self, block: Window) -> Iterator[bool]:
        for scene, _ in self._over(block):
            yield _path(scene, block).exists()

    def _failure(self, scene: Scene, block: Window, error: Exception) -> Failure:
        return Failure(f"{scene.name} {block.row}_{block.col}", self._reason(scene, error))

    def _reason(self, scene: Scene, error: Exception) -> str:
        if isinstance(error, blocks.Damaged):
            return f"damaged: {error}"
        if not Path(self.dataset.local, DATASET_FILE).exists():
            return GONE
        return "its file is missing" if scene.finished else NOT_YET


def _path(scene: Scene, block: Window) -> Path:
    return Path(scene.path, blocks.block_name(block))


def _report_open(gate: Optional[Gate], report: Report, fraction: float) -> None:
    """Say how far the work is, and wait while it is held back; the report ends it by raising."""
    report(fraction, "Looking at embeddings")
    while gate is not None and not gate.wait(LOOK_S):
        report(fraction, "Looking at embeddings")
