# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What comes first, what is counted, and what is told before: through the worker."""

from pathlib import Path

import numpy as np
import pytest

from tessera_plugin.errors import WorkerFailed
from tessera_plugin.progress import silent
from tests.compute.encode.scenes import scene, write

BLOCK_BYTES = 128 * 128 * (16 + 4 + 6) + 8


def params(encoder, tile, out, **more):
    paths = {"encoder": encoder, "tile": str(tile), "out": str(out), "row": 0, "col": 0}
    return {**paths, "batch_px": 256, "threads": 1, **more}


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Return a folder of 2 x 3 blocks, mostly cloud; its numbers, too."""
    arrays = scene(t2=3, ta=2, td=2, height=200, width=300)
    arrays["masks"][:] = 0
    arrays["masks"][:, ::4, ::4] = 1
    return write(tmp_path_factory.mktemp("wide"), arrays), arrays


def encoded(client, given):
    told = []
    result = client.call("encode", given, silent, told.append)
    return result, told


def test_blocks_come_from_the_middle_or_from_where_one_looks(client, models, wide, tmp_path):
    for near, first, last in ((None, "0_128", "0_0"), ([199, 299], "128_256", "0_0")):
        out = tmp_path / f"{near}"
        more = {} if near is None else {"near": near}
        _, told = encoded(client, params(models(), wide[0], out, **more))
        blocks = [Path(facts["block"]).stem for facts in told if "block" in facts]
        assert len(blocks) == 6
        assert blocks[0] == first
        if near:
            assert blocks[-1] == last
        assert sorted(blocks) == sorted(path.stem for path in out.glob("*.npy"))


def test_a_preview_is_there_before_any_block_and_gone_at_the_end(client, models, wide, tmp_path):
    folder, _ = wide
    pictures = []

    def on_event(facts):
        kinds.append(next(iter(facts)))
        if "preview" in facts:
            pictures.append((facts, np.load(facts["preview"])))

    kinds = []
    given = params(models(), folder, tmp_path / "out", row=10, col=20, preview_stride=8)
    client.call("encode", given, silent, on_event)
    assert kinds[0] == "device"
    assert kinds.index("preview") < kinds.index("block")
    facts, picture = pictures[-1]
    assert facts["stride"] == 8
    assert (facts["row"], facts["col"]) == (14, 24)
    assert facts["pixels"] == picture.size == 25 * 37
    assert picture["codes"].shape == (25, 37, 16)
    assert not list((tmp_path / "out").glob("preview*"))
    for row, col in ((0, 0), (3, 20), (24, 36)):
        r, c = 14 + 8 * row, 24 + 8 * col
        block = np.load(tmp_path / "out" / f"{r // 128 * 128}_{c // 128 * 128}.npy")
        record = block[r % 128, c % 128]
        assert record["scale"] > 0
        assert (record["scale"], record["codes"].tolist()) == (
            picture[row, col]["scale"],
            picture[row, col]["codes"].tolist(),
        )


def test_pixels_are_counted_also_those_of_an_earlier_run(client, models, tmp_path):
    arrays = scene(t2=20, ta=8, td=8, height=40, width=140, cloudy=0)
    arrays["sar_ascending"][:] = arrays["sar_descending"][:] = 4000
    arrays["masks"][:, :5] = 0  # 700 pixels never seen
    arrays["masks"][6:, 10:12] = 0  # 280 pixels of 6 observations
    arrays["sar_ascending"][:, 20:23, :100] = 0  # 300 pixels of 8
    tile, out = write(tmp_path / "tile", arrays), tmp_path / "out"
    wanted = {"no_s2": 700, "few_s2": 280, "few_s1": 300, "encoded": 140 * 35}
    first = client.call("encode", params(models(), tile, out))
    assert first["counts"] == wanted
    damaged = out / "0_128.npy"
    raw = bytearray(damaged.read_bytes())
    raw[70_000] ^= 16
    damaged.write_bytes(raw)
    again = client.call("encode", params(models(), tile, out))
    assert again["blocks_encoded"] == 1
    assert again["pixels_encoded"] == 12 * 35
    assert again["counts"] == wanted
    assert client.call("encode", params(models(), tile, out))["counts"] == wanted


def test_an_estimate_of_a_tile_and_of_one_that_is_not_there_yet(client, models, wide):
    asked = {"encoder": models(), "threads": 1}
    told = client.call("encode_estimate", {**asked, "tile": str(wide[0])})
    assert told["pixels"] == 60_000
    assert told["device"] == "CPUExecutionProvider"
    assert told["batch_px"] >= 4
    assert told["seconds"] > 0
    # An eighth of what is looked at is clear; the encoder says 1e-6 for each observation.
    assert 0 < told["gflop_per_px"] < 16e-6
    assert 6 * BLOCK_BYTES < told["bytes_out"] < 6 * (BLOCK_BYTES + 300)
    future = {**asked, "pixels": 60_000, "s2_dates": 73, "s1_dates": 60}
    told = client.call("encode_estimate", future)
    assert told["pixels"] == 60_000
    assert told["gflop_per_px"] == pytest.approx((40 + 64) * 1e-6)
    assert told["bytes_out"] % 4 == 0
    with pytest.raises(WorkerFailed, match="must not be cut"):
        client.call("encode_estimate", {**future, "depth": 3})


def test_an_estimate_of_a_scene_under_cloud_takes_no_time(client, models, tmp_path):
    arrays = scene()
    arrays["masks"][:] = 0
    tile = write(tmp_path / "tile", arrays)
    told = client.call("encode_estimate", {"encoder": models(), "tile": str(tile)})
    assert (told["seconds"], told["gflop_per_px"]) == (0, 0)
