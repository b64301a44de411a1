# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Embeddings of a person's own scene: a d-pixel tile through an encoder into a local dataset."""

from __future__ import annotations

import contextlib
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

from ..compute.client import WorkerClient
from ..errors import DepthNotOffered, SceneUnusable, WorkerFailed
from ..io import files
from ..io.dpixels.place import Placed, place
from ..io.local import (
    Scene,
    begin_scene,
    create,
    dataset_of,
    finish_scene,
)
from ..io.sources.base import EmbeddingSource
from ..io.sources.local_store import LocalStore
from ..progress import Report, part, silent
from ..values import BLOCK_PX, Access, Dataset, Window
from .embeddings import OnBlocks
from .encode_preview import STRIDE_PX, first_look
from .encoders import EncoderFacts, describe, needed, refusals
from .input_warnings import sentences
from .picture import Picture

BYTES_BESIDE_CODES = 10
"""A pixel's scale and its three counts."""

PLACING = 0.05
"""Share of the time that looking where the inputs lie is counted as."""

MOST_TRIES = 100


OnLook = Callable[[Picture], None]


@dataclass(frozen=True)
class EncodeRequest:
    """What is to be encoded."""

    encoder: str
    """The ONNX file."""
    tile: str
    """The d-pixel folder."""
    year: int
    name: str
    """Of the scene, for people."""
    root: str
    """Folder of the person's own datasets."""
    depth: int = 0
    """How many numbers of an embedding to keep, where the encoder allows it; 0 for all."""
    providers: Tuple[str, ...] = ()
    """What to compute on, in this order; none is the best that works."""
    threads: int = 0
    memory_bytes: int = 1_500_000_000
    """What the worker may hold."""
    near: Optional[Tuple[int, int]] = None
    """Row and column of the zone grid to begin near; the scene's middle where none is given."""


@dataclass(frozen=True)
class Encoded:
    """What came of it."""

    dataset: Dataset
    scene: str
    """Folder of the scene in its dataset."""
    window: Window
    device: str
    refused: Tuple[Tuple[str, str], ...]
    """Better devices, and why each was not taken."""
    pixels: int
    encoded_px: int
    nodata_px: int
    """Without a single valid Sentinel-2 observation."""
    few_px: int
    """Encoded from fewer than 15."""
    moved_m: float
    """How far the inputs were moved onto the grid; 0 where they lay on it."""
    warnings: Tuple[str, ...]
    """What is unusual about the inputs, or went otherwise than asked, in sentences."""
    seconds: float


@dataclass(frozen=True)
class SceneSize:
    """What a tile will be like that is not built yet."""

    pixels: int
    s2_dates: int
    s1_dates: int
    """Of both orbit directions."""


@dataclass(frozen=True)
class Estimate:
    """What an encoding takes."""

    pixels: int
    seconds: float
    bytes: int
    """On disk."""
    device: str
    refused: Tuple[Tuple[str, str], ...]


def encode(
    request: EncodeRequest,
    report: Report = silent,
    worker: Optional[WorkerClient] = None,
    on_blocks: Optional[OnBlocks] = None,
    on_look: Optional[OnLook] = None,
) -> Encoded:
    """Encode a tile into the dataset of its embedding space; what was done before goes on.

    `on_blocks` gets the source and the blocks that are there, as they are made; `on_look` coarse
    pictures of the whole before that.
    Raises: EncoderUnusable, SceneUnusable, DepthNotOffered, WorkerUnavailable and what else the
    worker meets, DiskFull, NotWritable, Cancelled; the blocks that are finished are kept.
    """
    client, began = needed(worker), time.monotonic()
    facts = describe(request.encoder, client, report)
    depth = _depth(facts, request.depth)
    placed = place(request.tile, moved_to(request.root, request.tile), part(report, 0.0, PLACING))
    title = f"{facts.title}, own scenes"
    folder = create(
        request.root,
        space=facts.space,
        depth=depth,
        title=title,
        encoder=_of_encoder(facts),
        licence=facts.licence,
    )
    files.check_space(folder, _bytes(placed.window, depth))
    run = _Run(request, placed, facts, depth, folder, on_blocks, on_look)
    share = part(report, PLACING, 1.0)
    with refusals(request.encoder):
        told, scene = run.first_that_fits(client, share)
    counts = {key: int(value) for key, value in dict(told["counts"]).items()}
    warnings = (*sentences(told["warnings"]), *map(str, told.get("notes", ())))
    finish_scene(
        scene, counts=counts, warnings=list(warnings), device=str(told["device"]),
        onnxruntime=client.versions.get("onnxruntime", ""),
    )  # fmt: skip
    files.remove_folder(moved_to(request.root, request.tile))
    pixels = placed.window.pixels
    return Encoded(
        dataset_of(folder), str(scene), placed.window, str(told["device"]),
        _refused(told), pixels, counts["encoded"], counts["no_s2"],
        counts["few_s2"], placed.moved_m, warnings, time.monotonic() - began,
    )  # fmt: skip


def estimate(
    request: EncodeRequest,
    report: Report = silent,
    worker: Optional[WorkerClient] = None,
    size: Optional[SceneSize] = None,
) -> Estimate:
    """Return what it takes, by trying a few pixels.

    Where the tile is not built yet, `size` says what it will be like. Raises: as `encode`.
    """
    client = needed(worker)
    facts = describe(request.encoder, client, report)
    asked = _asked(request, _depth(facts, request.depth))
    if size is not None:
        del asked["tile"]
        asked.update(
            pixels=size.pixels, s2_dates=size.s2_dates, s1_dates=size.s1_dates
        )  # fmt: skip
    with refusals(request.encoder), refused_inputs(request.tile):
        told: Mapping[str, Any] = client.call("encode_estimate", asked, report)
    return Estimate(
        int(told["pixels"]), float(told["seconds"]), int(told["bytes_out"]),
        str(told["device"]), _refused(told),
    )  # fmt: skip


@dataclass(frozen=True)
class _Run:
    """What the worker is asked, and where what it makes goes."""

    request: EncodeRequest
    placed: Placed
    facts: EncoderFacts
    depth: int
    folder: Path
    on_blocks: Optional[OnBlocks]
    on_look: Optional[OnLook]

    def first_that_fits(
        self, client: WorkerClient, report: Report
    ) -> Tuple[Mapping[str, Any], Path]:
        """Return what the worker told, and the scene's folder.

        A folder that holds blocks of other inputs, another encoder or device is left alone.
        """
        for number in range(MOST_TRIES):
            scene = begin_scene(self.folder, self._scene(number))
            asked = {
                **_asked(self.request, self.depth),
                "tile": self.placed.folder,
                "out": str(scene),
                "row": self.placed.window.row,
                "col": self.placed.window.col,
                **({"preview_stride": STRIDE_PX} if self.on_look is not None else {}),
            }
            try:
                with refused_inputs(self.request.tile):
                    return client.call("encode", asked, report, self._events()), scene
            except WorkerFailed as error:
                if error.kind != "OtherRun":
                    raise
        raise SceneUnusable(str(self.folder), "there are too many scenes of this name")

    def _scene(self, number: int) -> Scene:
        name = self.request.name if not number else f"{self.request.name} {number + 1}"
        return Scene(
            name=name,
            year=self.request.year,
            window=self.placed.window,
            encoder=_of_encoder(self.facts),
            inputs=dict(self.placed.provenance),
            moved_m=self.placed.moved_m,
        )

    def _events(self) -> Callable[[Mapping[str, Any]], None]:
        """Return what hands finished blocks on."""
        opened: List[EmbeddingSource] = []

        def on_event(told: Mapping[str, Any]) -> None:
            if self.on_look is not None and "preview" in told:
                look = first_look(told, self.placed.window.zone)
                if look is not None:
                    self.on_look(look)
            if self.on_blocks is None or "block" not in told:
                return
            if not opened:
                access = Access(str(self.folder))
                opened.append(LocalStore(access, dataset_of(self.folder), self.request.year))
            self.on_blocks(opened[0], [_block(self.placed.window.zone, str(told["block"]))])

        return on_event


def _block(zone: int, path: str) -> Window:
    """Return the window of a block's file, `<row>_<col>.npy`."""
    row, col = (int(number) for number in Path(path).stem.split("_"))
    return Window(zone, row, col, BLOCK_PX, BLOCK_PX)


def _asked(request: EncodeRequest, depth: int) -> Dict[str, object]:
    return {
        "encoder": request.encoder,
        "tile": request.tile,
        "depth": depth,
        "providers": list(request.providers),
        "threads": request.threads,
        "memory_bytes": request.memory_bytes,
        **({"near": list(request.near)} if request.near else {}),
    }


def _depth(facts: EncoderFacts, wanted: int) -> int:
    """Return how many numbers are kept. Raises: DepthNotOffered."""
    if wanted and wanted != facts.depth and wanted not in facts.prefixes:
        raise DepthNotOffered(facts.name, wanted, (*facts.prefixes, facts.depth))
    return wanted or facts.depth


def _of_encoder(facts: EncoderFacts) -> Dict[str, Any]:
    """Return what a dataset remembers of its encoder."""
    kept = ("name", "title", "generation", "size", "data_source", "space", "precision", "licence",
            "source_file", "source_sha256")  # fmt: skip
    return {key: getattr(facts, key) for key in kept}


def moved_to(root: str, tile: str) -> str:
    """Return the folder of inputs that have to be moved onto the grid, the same for each try."""
    identity = hashlib.sha256(str(Path(tile).absolute()).encode()).hexdigest()[:12]
    return str(Path(root) / ".moved" / identity)


def _bytes(window: Window, depth: int) -> int:
    """Return what the blocks of a window take on the disk."""
    blocks = sum(1 for _ in window.whole_blocks())
    return blocks * BLOCK_PX * BLOCK_PX * (depth + BYTES_BESIDE_CODES)


def _refused(told: Mapping[str, Any]) -> Tuple[Tuple[str, str], ...]:
    return tuple((str(device), str(reason)) for device, reason in told["refused"])


@contextlib.contextmanager
def refused_inputs(tile: str) -> Iterator[None]:
    """Turn what the worker refuses about a tile into our error."""
    try:
        yield
    except WorkerFailed as error:
        if error.kind not in {"InputUnusable", "OutputNotFinite"}:
            raise
        raise SceneUnusable(tile, error.message.rstrip(".")) from error
