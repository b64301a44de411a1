# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Local datasets of planted embeddings, in the very format that the worker writes."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any, Callable, Iterable, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from tessera_plugin.engine.grid import windows_of
from tessera_plugin.io.local import Scene, begin_scene, create, finish_scene
from tessera_plugin.values import BLOCK_PX, Extent, Window
from tests.memory_source import block_values

SPACE = "tessera-test-nano"
ENCODER = {"name": "test nano", "sha256": "ab" * 32, "precision": "float32"}
AREA = Window(30, -580_100, 70_050, 300, 280)
"""Not on the blocks' edges: 4 x 3 blocks, filled up at its edges."""

Planted = Tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.uint16]]
"""Codes (H, W, D), scales (H, W), and valid observations (H, W, 3)."""


def record_type(depth: int) -> np.dtype[Any]:
    """Written down anew: what is read is to be what is written."""
    return np.dtype([("codes", "i1", (depth,)), ("scale", "<f4"), ("seen", "<u2", (3,))])


def block_bytes(records: NDArray[Any]) -> bytes:
    """A block's file: the array as numpy saves it, `TESS` and the CRC-32 of all before that."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream,
        {"descr": records.dtype.descr, "fortran_order": False, "shape": records.shape},
    )
    stream.write(records.tobytes())
    data = stream.getvalue() + b"TESS"
    return data + zlib.crc32(data[:-4]).to_bytes(4, "little")


def planted(window: Window, depth: int = 128, *, times: int = 1) -> Planted:
    """Four classes in patches as `tests.memory_source` has them; a twentieth has no observation.

    `times` tells one encoding of the same place from another: every code is so many times as large.
    """
    codes = np.zeros((*window.shape, depth), np.int8)
    scales = np.full(window.shape, np.nan, np.float32)
    for part in window.blocks():
        (block,) = part.whole_blocks()
        whole_codes, whole_scales, _ = block_values(block)
        here, there = part.slices_in(block), part.slices_in(window)
        codes[there], scales[there] = whole_codes[here][..., :depth] // times, whole_scales[here]
    rows, cols = np.indices(window.shape)
    seen = np.stack([5 + (rows + cols) % 40, rows % 7, cols % 9], axis=-1).astype(np.uint16)
    seen[np.isnan(scales), 0] = 0
    return codes, scales, seen


def write_block(folder: Path, block: Window, window: Window, pixels: Planted) -> Path:
    """Write a block of a scene that covers `window`."""
    codes, scales, seen = pixels
    records = np.zeros((BLOCK_PX, BLOCK_PX), record_type(codes.shape[-1]))
    records["scale"] = np.nan
    part = block.intersection(window)
    here, there = part.slices_in(block), part.slices_in(window)
    records["codes"][here], records["scale"][here] = codes[there], scales[there]
    records["seen"][here] = seen[there]
    path = folder / f"{block.row}_{block.col}.npy"
    path.write_bytes(block_bytes(records))
    return path


def write_scene(
    dataset: Path,
    window: Window = AREA,
    pixels: Optional[Planted] = None,
    *,
    name: str = "field",
    year: int = 2021,
    depth: int = 128,
    finished: bool = True,
    only: Optional[Callable[[Window], bool]] = None,
    created: str = "",
    **facts: Any,
) -> Path:
    """Write a scene, or with `only` those of its blocks, as an encoding does it."""
    pixels = planted(window, depth) if pixels is None else pixels
    encoder = facts.pop("encoder", ENCODER)
    path = begin_scene(dataset, Scene(name, year, window, encoder, facts, created=created))
    (path / "run.json").write_text('{"depth": 128}')
    for block in window.whole_blocks():
        if only is None or only(block):
            write_block(path, block, window, pixels)
    if finished:
        finish_scene(path, device="CPUExecutionProvider", counts={"encoded": window.pixels})
    return path


def write_dataset(root: Path, space: str = SPACE, depth: int = 128, **scene: Any) -> Path:
    """Write a dataset of one scene; return its folder."""
    folder = create(root, space=space, depth=depth, title=f"Test {space}", encoder=ENCODER)
    write_scene(folder, depth=depth, **scene)
    return folder


def extent_within(window: Window) -> Extent:
    """An extent in the CRS of a window's zone, whose only window it is."""
    west, step, _, north, _, _ = window.transform
    extent = Extent(west, north - step * window.height, west + step * window.width, north,
                    f"EPSG:{window.epsg}")  # fmt: skip
    assert windows_of(extent) == (window,)
    return extent


def tree(folder: Path) -> Iterable[Tuple[str, int, int]]:
    """Every file with its size and time, to see that nobody has written."""
    return sorted(
        (str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
    )
