# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Encoders of every generation, as the exporter writes them, through the runner.

Their self-tests hold what PyTorch made of inputs that the exporter put together by itself: that
they pass says that both read the rules in the same way.
"""

from pathlib import Path

import numpy as np
import pytest

from tessera_plugin.compute.client import WorkerClient
from tests.compute.encode.scenes import scene, write
from tests.compute.helpers import worker_python

GENERATIONS = ("1.0", "1.0-qat", "1.1", "2.0")


def encoded(client, encoder, tile, out, **more):
    paths = {"encoder": str(encoder), "tile": str(tile), "out": str(out), "row": 0, "col": 0}
    told = client.call("encode", {**paths, **more})
    return told, np.load(out / "0_0.npy")[:16, :17]


@pytest.mark.parametrize("generation", GENERATIONS)
def test_trap_22_a_pixel_is_the_same_in_every_batch(client, official, tmp_path, generation):
    """To the last bit; and only what was seen is encoded (trap 17)."""
    arrays = scene(t2=50, ta=20, td=25, height=16, width=17)
    arrays["masks"][:, 3] = 0
    tile = write(tmp_path / "tile", arrays)
    found = [
        encoded(client, official / f"{generation}.onnx", tile, tmp_path / f"{size}", batch_px=size)
        for size in (0, 1, 7, 256)
    ]
    told, first = found[0]
    assert told["refused"] == []
    assert told["pixels_encoded"] == 15 * 17
    assert np.isnan(first["scale"][3]).all()
    assert first["codes"].shape == (16, 17, 128)  # trap 19: of 192 in generation 1.1
    assert (np.abs(first["codes"].astype(int)).max(axis=2)[[0, 15]] == 127).all()
    assert all(other.tobytes() == first.tobytes() for _, other in found[1:])


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_trap_22_fewer_bits_are_the_same_in_every_batch(client, official, tmp_path, precision):
    """And near to float32; they run in the same way."""
    tile = write(tmp_path / "tile", scene(t2=20, ta=6, td=7, height=16, width=17, cloudy=0.2))
    found = [
        encoded(client, official / f"2.0-{precision}.onnx", tile, tmp_path / f"{px}", batch_px=px)[
            1
        ]
        for px in (1, 5, 64)
    ]
    assert all(other.tobytes() == found[0].tobytes() for other in found[1:])
    _, exact = encoded(client, official / "2.0.onnx", tile, tmp_path / "exact", batch_px=64)
    a, b = (each["codes"] * each["scale"][..., None] for each in (found[0], exact))
    cosine = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
    assert cosine.min() > 0.999


def test_trap_16_generation_2_does_not_mind_the_order_of_dates(client, official, tmp_path):
    """Each observation goes in with its own day, whatever its place."""
    arrays = scene(t2=16, ta=8, td=8, height=16, width=17, cloudy=0)
    for name in ("sar_ascending", "sar_descending"):
        arrays[name][arrays[name] == 0] = 4000
    order = np.random.default_rng(0).permutation(16)
    shuffled = {**arrays, "bands": arrays["bands"][order], "doys": arrays["doys"][order]}
    values = []
    for name, each in (("a", arrays), ("b", shuffled)):
        tile = write(tmp_path / name, each)
        _, found = encoded(client, official / "2.0.onnx", tile, tmp_path / f"{name}-out")
        values.append(found["codes"] * found["scale"][..., None])
    # An embedding that differs in its last bits may be rounded to the next code.
    assert np.abs(values[0] - values[1]).max() <= 1.01 * np.abs(values[0]).max() / 127
    assert (values[0] == values[1]).mean() > 0.5


@pytest.mark.parametrize("depth", [16, 32, 64])
def test_trap_20_generation_2_may_be_cut_and_11_not(client, official, tmp_path, depth):
    """And what is kept has its own scale (trap 19)."""
    tile = write(tmp_path / "tile", scene(height=16, width=17))
    _, found = encoded(client, official / "2.0.onnx", tile, tmp_path / "out", depth=depth)
    assert found["codes"].shape[2] == depth
    is_valid = np.isfinite(found["scale"])
    assert (np.abs(found["codes"].astype(int)).max(axis=2)[is_valid] == 127).all()
    with pytest.raises(Exception, match="must not be cut"):
        encoded(client, official / "1.1.onnx", tile, tmp_path / "other", depth=depth)


def test_memory_does_not_grow_with_the_scene(official, tmp_path):
    """Of 16 blocks and 300 MB no more is held than of four; most of it is cloud, for speed."""
    client, held = WorkerClient(worker_python()), []  # whose peak nothing else has raised
    for size in (256, 512):  # the next block is read while one is encoded
        arrays = scene(t2=1, ta=1, td=1, height=size, width=size)
        tile = write(tmp_path / f"{size}", arrays)
        bands = np.lib.format.open_memmap(
            tile / "bands.npy", "w+", np.uint16, (60, size, size, 10)
        )  # the zeros take no room on disk
        masks = np.zeros((60, size, size), np.uint8)
        bands[:, ::40, ::40], masks[:, ::40, ::40] = 3000, 1
        np.save(tile / "masks.npy", masks)
        np.save(tile / "doys.npy", np.arange(1, 61, dtype=np.uint16))
        encoded(client, official / "2.0.onnx", tile, tmp_path / f"{size}-out", batch_px=64)
        status = Path(f"/proc/{client.pid}/status").read_text().split()
        held.append(int(status[status.index("VmHWM:") + 1]) / 1024)
    client.stop()
    assert held[1] - held[0] < 100, (
        held
    )  # pages of the mapped files count, as long as there is room
