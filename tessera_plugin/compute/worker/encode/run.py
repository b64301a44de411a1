# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The job `encode`: a d-pixel tile folder to blocks of embeddings."""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Sequence, Tuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ..encoders.spec import EMPTY_REFUSED
from ..job import Job
from .batches import batch_size
from .blocks import Part, Store, parts
from .dpixel import Tile, open_tile
from .errors import InputUnusable
from .looks import Looks
from .prepare import Inputs, Prepared
from .quantise import quantise
from .sampling import Ints, Keys, keys_of, lengths_of
from .session import Encoder, open_encoder

_REPORT_S = 0.25


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

    Events: `{"device": provider, "refused": [[provider, reason]], "batch_px": n}` before the first
    block, `{"block": path, "warnings": [facts]}` after each; for the warnings see looks.py.
    Raises: InputUnusable, EncoderUnusable, OtherRun, NoRoom, OSError, ValueError for a depth that
    the encoder does not allow.
    """
    p = Params(**params)
    tile = open_tile(Path(p.tile))
    job.check()
    encoder = open_encoder(p.encoder, tuple(p.providers), p.threads)
    job.check()
    depth = _depth(encoder, p.depth)
    _check_dates(tile, encoder)
    store = Store(Path(p.out), depth, _identity(p, tile, encoder, depth))
    every = parts(tile.height, tile.width, p.row, p.col)
    missing = [part for part in every if not store.has(part)]
    batch_px = p.batch_px or (_batch_px(tile, encoder, p.memory_bytes, job) if missing else 0)
    told = {"device": encoder.provider, "refused": encoder.refused, "batch_px": batch_px}
    job.event(told)
    progress = _Progress(job, tile.height * tile.width, sum(part.pixels for part in missing))
    looks = Looks(encoder.spec)
    work = _Run(p, tile, encoder, store, batch_px, progress, looks)
    encoded = 0
    for part in missing:
        encoded += work.encode(part)
        job.event({"block": str(store.path(part)), "warnings": looks.warnings()})
    return {
        **told,
        "blocks": len(every),
        "blocks_encoded": len(missing),
        "pixels_encoded": encoded,
        "depth": depth,
        "space": encoder.spec.space,
        "seconds": progress.seconds,
        "warnings": looks.warnings(),
    }


@dataclass(frozen=True)
class _Run:
    """What every block needs."""

    params: Params
    tile: Tile
    encoder: Encoder
    store: Store
    batch_px: int
    progress: _Progress
    looks: Looks

    def encode(self, part: Part) -> int:
        """Make a block and keep it; return how many pixels have an embedding."""
        self.progress.job.check()
        pixels = self.tile.read(part.rows, part.cols)
        self.looks.add(pixels)
        prepared = Prepared(pixels, self.encoder.spec, self._keys(part))
        block = self.store.empty()
        inner = block[part.row : part.row + part.height, part.col : part.col + part.width]
        found = inner.ravel()  # a copy: the block's rows are longer than the part's
        found["seen"] = prepared.counts
        self.progress.add(int((~prepared.is_encoded).sum()))
        for px, embeddings in self._embedded(prepared):
            codes, scales = quantise(embeddings[:, : found["codes"].shape[1]])
            found["codes"][px], found["scale"][px] = codes, scales
        inner[...] = found.reshape(inner.shape)
        self.store.keep(part, block)
        return int(np.isfinite(found["scale"]).sum())

    def _keys(self, part: Part) -> Keys:
        rows = np.arange(part.rows.start, part.rows.stop) + self.params.row
        cols = np.arange(part.cols.start, part.cols.stop) + self.params.col
        return keys_of(self.params.seed, np.repeat(rows, part.width), np.tile(cols, part.height))

    def _embedded(self, prepared: Prepared) -> Iterator[Tuple[Ints, NDArray[np.float32]]]:
        """Yield pixels and their embeddings; the next inputs are made on another thread."""
        draws = self.encoder.spec.sampling.draws
        batches = prepared.batches(self.batch_px)
        wanted = [(px, draw) for px in batches for draw in range(draws)]
        total: Any = 0
        with ThreadPoolExecutor(1) as pool:
            for (px, draw), inputs in _one_ahead(pool, prepared.inputs, wanted):
                self.progress.job.check()
                total = self.encoder.run(inputs) + (total if draw else 0)
                if draw == draws - 1:
                    yield px, total / np.float32(draws)
                    self.progress.add(len(px))


def _one_ahead(
    pool: ThreadPoolExecutor,
    make: Callable[[Ints, int], Inputs],
    wanted: Sequence[Tuple[Ints, int]],
) -> Iterator[Tuple[Tuple[Ints, int], Inputs]]:
    """Yield what was asked for with what was made of it, while the next is made."""
    waiting: List[Future[Inputs]] = []
    for number, asked in enumerate(wanted):
        later = wanted[number + len(waiting) : number + 2]
        waiting.extend(pool.submit(make, *each) for each in later)
        yield asked, waiting.pop(0).result()


class _Progress:
    """Tells how many pixels are done, and how long the rest will take."""

    def __init__(self, job: Job, total: int, missing: int) -> None:
        self.job = job
        self._total, self._missing, self._done = total, missing, 0
        self._started = time.monotonic()
        self._told = 0.0

    @property
    def seconds(self) -> float:
        """Since the first block began."""
        return time.monotonic() - self._started

    def add(self, pixels: int) -> None:
        """Count pixels, check for a cancel, and tell now and then."""
        self._done += pixels
        now = time.monotonic()
        if now - self._told < _REPORT_S and self._done < self._missing:
            self.job.check()
            return
        self._told = now
        left = self._missing - self._done
        before = self._total - self._missing  # by a run that was stopped
        seconds = self.seconds / max(self._done, 1) * left
        text = f"{before + self._done:,} of {self._total:,} pixels"
        if left:
            text += f", {seconds:.0f} s left"
        self.job.report((before + self._done) / self._total, text)


def _depth(encoder: Encoder, wanted: int) -> int:
    """Return how many numbers are kept. Most encoders must not be cut at will."""
    output = encoder.spec.output
    if wanted in {0, output.kept_dimension}:
        return output.kept_dimension
    if wanted not in output.prefixes:
        raise ValueError(f"{encoder.spec.name} must not be cut to {wanted} dimensions")
    return wanted


def _check_dates(tile: Tile, encoder: Encoder) -> None:
    """Raise InputUnusable if a sensor that the encoder can't do without has no date."""
    if encoder.spec.sampling.empty == EMPTY_REFUSED and not tile.most_s1:
        expected = f"Sentinel-1 dates, which {encoder.spec.name} can't do without"
        raise InputUnusable(str(tile.folder), expected, "none")


def _batch_px(tile: Tile, encoder: Encoder, ceiling_bytes: int, job: Job) -> int:
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
