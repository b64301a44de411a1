# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The job `encode`: a d-pixel tile folder to blocks of embeddings."""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import onnxruntime

from ..encoders.spec import EMPTY_REFUSED, EncoderSpec
from ..job import Job
from .ahead import one_ahead
from .batches import batch_size
from .blocks import Part, Store, nearest_first, parts
from .counts import Counts
from .dpixel import Tile, open_tile
from .errors import InputUnusable, OutputNotFinite
from .looks import Looks
from .pace import Pace
from .preview import Preview
from .progress import Progress
from .providers import CPU
from .sampling import lengths_of
from .session import Encoder, open_encoder
from .work import NotFinite, Ready, Work

_PREVIEW_EVERY_S = 1.0


@dataclass(frozen=True)
class Params:
    """What the client asks for."""

    encoder: str
    """The ONNX file."""
    tile: str
    """The d-pixel folder, on the zone grid."""
    out: str
    """The folder of the run; one that is there goes on where it stopped."""
    row: int
    """Of the tile's first pixel on the zone grid."""
    col: int
    depth: int = 0
    """How many of the numbers of an embedding to keep; 0 is all. Only what the encoder allows."""
    near: Optional[Sequence[int]] = None
    """Row and column of the zone grid: the blocks nearest to it come first. The middle if None."""
    preview_stride: int = 0
    """Encode every so-many-th row and column before all else (further apart in large scenes)."""
    providers: Tuple[str, ...] = ()
    """What onnxruntime is to compute on, in this order; none is the best that works."""
    threads: int = 0
    """At most so many; 0 is one per processor."""
    batch_px: int = 0
    """Pixels at a time; 0 is found by trying."""
    memory_bytes: int = 1_500_000_000
    """What the worker may hold when the batch is chosen."""
    seed: int = 0
    """Of what is drawn by chance, in encoders that ask for it."""


def run(params: Mapping[str, Any], job: Job) -> Dict[str, object]:
    """Write the blocks that are not there yet; return how it went.

    Events: `{"device": provider, "refused": [[provider, reason]], "batch_px": n, "notes":
    [sentence]}` before the first block and where a device fails; `{"preview": path, "stride": n,
    "row": r, "col": c, "pixels": n}` each time that it has more (see preview.py);
    `{"block": path, "warnings": [facts]}` after each block; for the warnings see looks.py.
    Raises: InputUnusable, EncoderUnusable, OtherRun, OutputNotFinite, NoRoom, OSError, ValueError
    for a depth that the encoder does not allow.
    """
    p = Params(**params)
    tile = open_tile(Path(p.tile))
    job.check()
    encoder = open_encoder(p.encoder, tuple(p.providers), p.threads)
    job.check()
    depth = depth_of(encoder.spec, p.depth)
    _check_dates(tile, encoder.spec)
    store = Store(Path(p.out), depth, _identity(p, tile, encoder, depth))
    counts = Counts()
    missing = _missing(_in_order(tile, p), store, counts, job)
    batch_px = p.batch_px or (batch_of(tile, encoder, p.memory_bytes, job) if missing else 0)
    with ThreadPoolExecutor(1) as reading, ThreadPoolExecutor(1) as making:
        pace = Pace(encoder, batch_px, lambda: open_encoder(p.encoder, (CPU,), p.threads))
        work = Work(tile, encoder.spec, pace, store.record, p.row, p.col, p.seed, job, making)
        progress = Progress(job, tile.height * tile.width, sum(part.pixels for part in missing))
        whole = _Run(work, store, progress, counts, reading)
        whole.tell_device()
        preview = Preview(store.folder, tile.height, tile.width, depth, p.preview_stride)
        if p.preview_stride > 0 and missing:
            whole.make_preview(preview, missing)
        whole.make_blocks(missing)
        preview.remove()
    return {
        **whole.device(),
        "blocks": len(parts(tile.height, tile.width, p.row, p.col)),
        "blocks_encoded": len(missing),
        "pixels_encoded": whole.encoded_px,
        "counts": vars(counts),
        "depth": depth,
        "space": encoder.spec.space,
        "seconds": progress.seconds,
        "warnings": whole.looks.warnings(),
    }


class _Run:
    """The parts of a scene, one after the other."""

    def __init__(
        self,
        work: Work,
        store: Store,
        progress: Progress,
        counts: Counts,
        reading: ThreadPoolExecutor,
    ) -> None:
        self.looks = Looks(work.spec)
        self.encoded_px = 0
        self._work, self._store, self._progress = work, store, progress
        self._counts, self._reading = counts, reading
        self._notes_told = 0

    def device(self) -> Dict[str, object]:
        """Return what computes, what does not, and what happened to it."""
        pace = self._work.pace
        return {
            "device": pace.provider,
            "refused": list(pace.refused),
            "batch_px": pace.batch_px,
            "notes": list(pace.notes),
        }

    def tell_device(self) -> None:
        """Tell it."""
        self._notes_told = len(self._work.pace.notes)
        self._work.job.event(self.device())

    def make_preview(self, preview: Preview, missing: Sequence[Part]) -> None:
        """Encode the lattice, the parts in the order of the blocks, and show it as it grows."""
        wanted = [(part, place) for part in missing for place in preview.of(part)]
        done, shown = 0, time.monotonic() - _PREVIEW_EVERY_S
        for number, ((_, place), ready) in enumerate(self._ahead(wanted), 1):
            self._work.job.check()
            try:
                records = self._work.records(ready, lambda _px: None)
            except NotFinite:
                continue  # its block will tell
            preview.put(place, records)
            done += records.size
            if time.monotonic() - shown >= _PREVIEW_EVERY_S or number == len(wanted):
                preview.write()
                self._work.job.event(self._told_of(preview, done))
                self._progress.tell(f"preview, {done:,} of {preview.pixels:,} pixels")
                shown = time.monotonic()

    def _told_of(self, preview: Preview, done: int) -> Dict[str, object]:
        row, col = preview.first
        return {
            "preview": str(preview.path),
            "stride": preview.stride,
            "row": self._work.row + row,
            "col": self._work.col + col,
            "pixels": done,
        }

    def make_blocks(self, missing: Sequence[Part]) -> None:
        """Encode the blocks. One with numbers that are none is left out and told in the end.

        Raises: OutputNotFinite, at once if the first is such a block.
        """
        failed: List[Tuple[str, str]] = []
        self._progress.begin_blocks()
        wanted = [(part, (part.rows, part.cols)) for part in missing]
        for (part, _), ready in self._ahead(wanted):
            self._work.job.check()
            self.looks.merge(ready.looks)
            try:
                records = self._work.records(ready, self._progress.add)
            except NotFinite as error:
                failed.append((part.name, str(error)))
                if not self.encoded_px:
                    break
                continue
            self._keep(part, records)
        if failed:
            raise OutputNotFinite(failed)

    def _keep(self, part: Part, records: Any) -> None:  # noqa: ANN401 - records of blocks.py
        block = self._store.empty()
        part.within(block)[...] = records
        self._store.keep(part, block)
        self._counts.add(records)
        self.encoded_px += int(np.isfinite(records["scale"]).sum())
        if len(self._work.pace.notes) > self._notes_told:
            self.tell_device()
        path = str(self._store.path(part))
        self._work.job.event({"block": path, "warnings": self.looks.warnings()})

    def _ahead(self, wanted: Sequence[Tuple[Part, Any]]) -> Any:  # noqa: ANN401
        def read(asked: Tuple[Part, Any]) -> Ready:
            return self._work.read(asked[1])

        return one_ahead(self._reading, read, wanted)


def _in_order(tile: Tile, p: Params) -> List[Part]:
    """Return the blocks of a scene in the order in which they are encoded."""
    every = parts(tile.height, tile.width, p.row, p.col)
    if p.near is None:
        return nearest_first(every, tile.height / 2, tile.width / 2)
    row, col = p.near
    return nearest_first(every, row - p.row, col - p.col)


def _missing(every: Sequence[Part], store: Store, counts: Counts, job: Job) -> List[Part]:
    """Return the blocks that are not there, and count the pixels of those that are."""
    missing = []
    for part in every:
        job.check()
        block = store.read(part)
        if block is None:
            missing.append(part)
        else:
            counts.add(part.within(block))
    return missing


def depth_of(spec: EncoderSpec, wanted: int) -> int:
    """Return how many numbers are kept. Most encoders must not be cut at will.

    Raises: ValueError.
    """
    output = spec.output
    if wanted in {0, output.kept_dimension}:
        return output.kept_dimension
    if wanted not in output.prefixes:
        raise ValueError(f"{spec.name} must not be cut to {wanted} dimensions")
    return wanted


def _check_dates(tile: Tile, spec: EncoderSpec) -> None:
    """Raise InputUnusable if a sensor that the encoder can't do without has no date."""
    if spec.sampling.empty == EMPTY_REFUSED and not tile.most_s1:
        expected = f"Sentinel-1 dates, which {spec.name} can't do without"
        raise InputUnusable(str(tile.folder), expected, "none")


def batch_of(tile: Tile, encoder: Encoder, ceiling_bytes: int, job: Job) -> int:
    """Return how many pixels of a scene go at a time."""
    most = np.array([len(tile.s2_doys), tile.most_s1], np.intp)
    s2, s1 = lengths_of(most, encoder.spec.sampling)
    return batch_size(encoder, int(s2), int(s1), ceiling_bytes, job)


def _identity(p: Params, tile: Tile, encoder: Encoder, depth: int) -> Dict[str, object]:
    """Return all that two runs have to share for their blocks to lie side by side."""
    with Path(p.encoder).open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return {
        "encoder_sha256": digest.hexdigest(),
        "space": encoder.spec.space,
        "provider": encoder.provider,
        "onnxruntime": onnxruntime.__version__,
        "depth": depth,
        "seed": p.seed,
        "row": p.row,
        "col": p.col,
        "tile": tile.fingerprint(),
    }
