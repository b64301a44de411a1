# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Windows of the images that were found: scene classes first, bands only where something is clear.

What is there is not asked for again, so a fetch that was ended goes on. What goes wrong with one
file leaves its image out, by name, and is no reason to stop.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

import numpy as np
from numpy.typing import NDArray

from ...errors import NetworkFailed, NoScenes, TesseraError
from ...progress import Gate, Report, part, silent
from ..dpixels.scenes import POWER, SCL, Raster, S1Scene, S2Scene, Scenes
from ..dpixels.sentinel2 import USABLE_SCL
from ..files import check_space, write_error
from ..http import HttpClient
from ..objects import NotFound, ObjectChanged, ObjectUnusable
from ..sources.crew import Crew, Job
from ..sources.mishaps import CHANGES, CHANGES_OFTEN, NO_CONNECTION, Mishaps
from .catalogues import SCL_ASSET, VH, VV
from .cog import Asker, needed_blocks, read_blocks, read_front
from .items import S1Item, S2Item
from .plan import Fetched, Item, Piece, StacPlan, bands_of, mask_of
from .provenance import provenance_of
from .signing import open_signed
from .tiff import NotUsable, small_tiff
from .windows import MARGIN_PX, grid_of, read_pixels, read_window, rectangle_of, write_window

S2_BYTES_PER_PX = 12
"""Of an image's window, at most: four bands of 10 m, six of 20 m and the mask, not packed."""
S1_BYTES_PER_PX = 8

MASKS_SHARE = 0.1
"""Of the progress."""


def fetch(plan: StacPlan, report: Report = silent, gate: Optional[Gate] = None) -> Fetched:
    """Return the images of a plan as small files, and what could not be had.

    Raises: NoScenes if no Sentinel-2 image came of it, NetworkFailed if no server answers any more,
    DiskFull, NotWritable, Cancelled.
    """
    request = plan.request
    client, asker = open_signed(request.asked, request.network, gate)
    try:
        return _Fetch(plan, client, asker, report, gate).run()
    finally:
        client.close()


class _Fetch(Mishaps[Piece]):
    """One fetch of a plan."""

    def __init__(
        self,
        plan: StacPlan,
        client: HttpClient,
        asker: Asker,
        report: Report,
        gate: Optional[Gate],
    ) -> None:
        super().__init__(client)
        self._plan = plan
        self._request = plan.request
        self._asker = asker
        self._report = report
        self._gate = gate
        self._reasons: Dict[Piece, str] = {}
        """Why a file could not be had."""
        self._there: Set[Piece] = set()
        """Files whose window is here; others have no pixel in it."""
        self._clear: Set[Piece] = set()
        """Masks in which something is usable."""
        self._done = 0

    # --- what is asked of those who bear mishaps

    def _title(self, part: Piece) -> str:
        return f"{part.item.id} {part.asset}"

    def _units(self, part: Piece) -> Tuple[int, ...]:  # noqa: ARG002 - a file is one unit
        return (1,)

    def _forget(self, part: Piece) -> None:
        """Do nothing: each try begins at the front of the file."""

    # --- from beginning to end

    def run(self) -> Fetched:
        """Bring what can be had."""
        self._make_room()
        masks = [mask_of(item) for item in self._plan.s2]
        self._bring_all(masks, "cloud masks", part(self._report, 0.0, MASKS_SHARE))
        clear = [item for item in self._plan.s2 if mask_of(item) in self._clear]
        wanted: Tuple[Item, ...] = (*clear, *self._plan.s1)
        pieces = [piece for item in wanted for piece in bands_of(item)]
        self._bring_all(pieces, "images", part(self._report, MASKS_SHARE, 1.0))
        return self._result()

    def _make_room(self) -> None:
        """See that files can be written, before any is asked for. Raises: NotWritable, DiskFull."""
        request, plan = self._request, self._plan
        pixels = (request.window.height + 2 * MARGIN_PX) * (request.window.width + 2 * MARGIN_PX)
        full = pixels * (len(plan.s2) * S2_BYTES_PER_PX + len(plan.s1) * S1_BYTES_PER_PX)
        lacking = 1.0 - plan.files_here / max(plan.files, 1)
        check_space(request.kept_in, int(full * lacking))
        try:
            request.kept_in.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(request.kept_in, error) from error

    def _bring_all(self, pieces: Sequence[Piece], what: str, report: Report) -> None:
        self._done = 0

        def tell() -> None:
            share = self._done / max(len(pieces), 1)
            came = self._client.bytes_received / 1e6
            report(share, f"Fetching {what}: {self._done} of {len(pieces)} files, {came:.1f} MB")

        jobs: List[Job] = [functools.partial(self._try, piece) for piece in pieces]
        hands = self._request.network.connections
        Crew(hands, self._client.cancel, self._gate).run(jobs, tell)

    def _try(self, piece: Piece) -> None:
        reason = self._guarded(piece, lambda: self._bring(piece))
        with self._lock:
            self._done += 1
            if reason:
                self._reasons[piece] = reason

    def _bring(self, piece: Piece) -> None:
        """See that the window of a file is here. Raises: NetworkFailed, AccessRefused, DiskFull."""
        path = piece.path(self._request)
        pixels = read_window(path, piece.tags) if path.exists() else None
        if pixels is None:
            pixels = self._patient(piece)
        if pixels is None:
            return
        is_clear = piece.asset == SCL_ASSET and bool(np.isin(pixels, USABLE_SCL).any())
        with self._lock:
            self._there.add(piece)
            if is_clear:
                self._clear.add(piece)

    def _patient(self, piece: Piece) -> Optional[NDArray[Any]]:
        """Fetch a window; begin anew where the file changes, and once where it looks damaged."""
        changes = damages = 0
        while True:
            try:
                return self._fetched(piece)
            except ObjectChanged:  # noqa: PERF203 - tried again
                changes += 1
                if changes > CHANGES:
                    raise ObjectUnusable(piece.url, CHANGES_OFTEN) from None
            except NotUsable as problem:
                damages += 1
                if damages > 1:
                    raise ObjectUnusable(piece.url, str(problem)) from None
            except NotFound:
                raise ObjectUnusable(piece.url, "it is not there") from None

    def _fetched(self, piece: Piece) -> Optional[NDArray[Any]]:
        """Fetch and keep the window of a file; None if it has no pixel there.

        Raises: NotUsable, NotFound, ObjectChanged, NetworkFailed, AccessRefused, DiskFull.
        """
        front = read_front(self._asker, piece.url, piece.front_bytes)
        grid = grid_of(small_tiff(front.data, front.directory, {}))
        rectangle = rectangle_of(self._request.window, grid)
        if rectangle is None:
            return None
        blocks = read_blocks(self._asker, front, needed_blocks(front, rectangle))
        tiff = small_tiff(front.data, front.directory, blocks)
        pixels = read_pixels(tiff, grid, rectangle, front.directory, tuple(blocks))
        path = piece.path(self._request)
        write_window(path, pixels, grid, rectangle, {**piece.tags, "TESSERA_ETAG": front.head.etag})
        return pixels

    # --- what came of it

    def _result(self) -> Fetched:
        failures: List[Tuple[str, str]] = []
        cloudy: List[str] = []
        s2: List[S2Scene] = []
        for item in self._plan.s2:
            mask = mask_of(item)
            if mask in self._there and mask not in self._clear:
                cloudy.append(item.id)
            elif self._is_whole(item, (mask, *bands_of(item)), failures):
                s2.append(self._s2_scene(item))
        s1 = [
            self._s1_scene(item)
            for item in self._plan.s1
            if self._is_whole(item, bands_of(item), failures)
        ]
        if not s2:
            raise self._nothing(failures, cloudy)
        scenes = Scenes(tuple(s2), tuple(s1))
        return Fetched(
            scenes,
            tuple(failures),
            tuple(cloudy),
            self._client.bytes_received,
            self._client.requests,
            self._unreachable,
            tuple(_sentences(scenes, failures, cloudy)),
            provenance_of(self._plan, scenes, failures, cloudy),
        )

    def _nothing(self, failures: Sequence[Tuple[str, str]], cloudy: Sequence[str]) -> TesseraError:
        """Return the error that there is no Sentinel-2 image to go on with."""
        if failures and self._unreachable:
            return NetworkFailed(self._unreachable, NO_CONNECTION)
        optical = {item.id for item in self._plan.s2}
        lost = [f"{name}: {why}" for name, why in failures if name in optical]
        said = [f"{len(lost)} could not be had ({lost[0]})"] if lost else []
        said += [f"nothing in the area is clear in {len(cloudy)}"] if cloudy else []
        place = self._request.catalogues[self._request.s2].title
        count = f"of {len(self._plan.s2)} Sentinel-2 images"
        return NoScenes(place, f"{count} {' and '.join(said) or 'none shows the area'}")

    def _is_whole(
        self, item: Item, pieces: Sequence[Piece], failures: List[Tuple[str, str]]
    ) -> bool:
        """Whether all files of an item are here; one that lacks some is named."""
        by_reason: Dict[str, List[str]] = defaultdict(list)
        for piece in pieces:
            if piece in self._reasons:
                by_reason[self._reasons[piece]].append(piece.asset)
        outside = [piece.asset for piece in pieces if piece not in self._there]
        if not by_reason and 0 < len(outside) < len(pieces):
            # a mask that sees the window, and bands that don't
            by_reason["it does not reach the area"] = outside
        if by_reason:
            said = (f"{', '.join(names)}: {why}" for why, names in by_reason.items())
            failures.append((item.id, "; ".join(said)))
        return not by_reason and not outside

    def _s2_scene(self, item: S2Item) -> S2Scene:
        return S2Scene(
            name=item.id,
            date=item.moment.date(),
            bands={piece.asset: self._raster(piece) for piece in bands_of(item)},
            unit=item.unit,
            mask=self._raster(mask_of(item)),
            mask_kind=SCL,
            baseline=item.baseline,
            datatake=item.datatake,
            tile=item.tile,
        )

    def _s1_scene(self, item: S1Item) -> S1Scene:
        vv, vh = (self._raster(Piece(item, name)) for name in (VV, VH))
        return S1Scene(item.id, item.moment.date(), item.orbit, vv, vh, POWER, "rtc")

    def _raster(self, piece: Piece) -> Raster:
        return Raster(str(piece.path(self._request)))


def _sentences(
    scenes: Scenes, failures: Sequence[Tuple[str, str]], cloudy: Sequence[str]
) -> List[str]:
    days = len({scene.date for scene in scenes.s2})
    radar = f" and {len(scenes.s1)} of Sentinel-1" if scenes.s1 else ""
    said = [f"Fetched: {len(scenes.s2)} images of Sentinel-2 ({days} days){radar}."]
    if cloudy:
        said.append(f"Nothing in the area is clear in {len(cloudy)} Sentinel-2 images.")
    said += [f"{name} is left out: {why}." for name, why in failures[:5]]
    if len(failures) > 5:
        said.append(f"{len(failures) - 5} more images are left out.")
    return said
