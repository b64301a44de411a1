# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole runs in a real worker: what comes out, what is kept, what is refused."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tessera_plugin.compute.client import WorkerClient
from tessera_plugin.errors import WorkerDied, WorkerFailed
from tessera_plugin.progress import Cancelled, silent
from tests.clock import within
from tests.compute.encode.models import forward, self_test, self_test_of, sequences
from tests.compute.encode.scenes import scene, spec_of, write
from tests.compute.helpers import Stopper, worker_python

ROW, COL = -300, 1000
"""Of the scene's first pixel: blocks begin at multiples of 128, so it has parts of several."""


def params(encoder, tile, out, **more):
    paths = {"encoder": encoder, "tile": str(tile), "out": str(out)}
    return {**paths, "row": ROW, "col": COL, "batch_px": 64, "threads": 1, **more}


def mosaic(out, height, width):
    """Return the records of a scene from its blocks."""
    blocks = {path.stem: np.load(path) for path in out.glob("*.npy")}
    first = blocks[next(iter(blocks))]
    found = np.zeros((height, width), first.dtype)
    for row in range(height):
        for col in range(width):
            r, c = row + ROW, col + COL
            found[row, col] = blocks[f"{r // 128 * 128}_{c // 128 * 128}"][r % 128, c % 128]
    return found


def contents(out):
    return {path.name: path.read_bytes() for path in out.glob("*.npy")}


def embeddings(record):
    return record["codes"] * record["scale"][..., None]


@pytest.mark.parametrize("generation", ["2.0", "1.1"])
def test_embeddings_are_those_of_the_plain_way(client, models, tmp_path, generation):
    """Traps 5, 10 to 13, 15, 16, 18, 31, through to the block on disk."""
    arrays = scene(t2=12, ta=5, td=6, height=60, width=50)
    for name in ("sar_ascending", "sar_descending"):
        arrays[name][:, 10:12] = 0  # no radar there
    arrays["masks"][:, 20:22] = 0
    tile, out = write(tmp_path / "tile", arrays), tmp_path / "out"
    told = client.call("encode", params(models(generation=generation), tile, out))
    found = mosaic(out, 60, 50)
    some = arrays["masks"].any(axis=0)
    assert told["pixels_encoded"] == some.sum()
    assert told["blocks"] == told["blocks_encoded"] == 4
    assert (np.isfinite(found["scale"]) == some).all()
    assert not found["codes"][~some].any()
    assert (found["seen"][..., 0] == arrays["masks"].sum(axis=0)).all()
    for orbit, name in ((1, "sar_ascending"), (2, "sar_descending")):
        assert (found["seen"][..., orbit] == arrays[name].any(axis=3).sum(axis=0)).all()
    for row, col in zip(*np.nonzero(some)):
        wanted = forward(*sequences(arrays, row, col, generation), 16)
        record = found[row, col]
        assert record["scale"] == pytest.approx(np.abs(wanted).max() / 127, rel=1e-4)
        assert np.abs(embeddings(record) - wanted).max() <= record["scale"] * 0.52


def test_trap_05_what_lies_under_cloud_changes_no_embedding(client, models, tmp_path):
    arrays = scene()
    outs = []
    for value in (0, 10000):
        arrays["bands"][arrays["masks"] == 0] = value
        tile, out = write(tmp_path / f"tile{value}", arrays), tmp_path / f"out{value}"
        client.call("encode", params(models(), tile, out))
        outs.append(contents(out))
    assert outs[0] == outs[1]


@pytest.mark.parametrize("generation", ["2.0", "1.1"])
def test_trap_34_a_mask_of_255_gives_the_same_embeddings(client, models, tmp_path, generation):
    arrays = scene(t2=12)
    outs = []
    for factor in (1, 255):
        tile = write(tmp_path / f"tile{factor}", {**arrays, "masks": arrays["masks"] * factor})
        out = tmp_path / f"out{factor}"
        client.call("encode", params(models(generation=generation), tile, out))
        outs.append(contents(out))
    assert outs[0] == outs[1]


def test_trap_35_a_winter_keeps_the_order_of_its_dates(client, models, tmp_path):
    """Through to the block, with an encoder that minds the order: by day of year it is another."""
    arrays = scene(t2=5, ta=3, td=3, height=2, width=2, cloudy=0)
    arrays["doys"] = np.array([310, 340, 366, 1, 45], np.uint16)
    arrays["sar_ascending_doy"] = np.array([320, 2, 30], np.int16)
    by_day = np.argsort(arrays["doys"])
    sorted_by_day = {**arrays, "bands": arrays["bands"][by_day], "doys": arrays["doys"][by_day]}
    found = []
    for name, each in (("winter", arrays), ("by_day", sorted_by_day)):
        tile, out = write(tmp_path / name, each), tmp_path / f"{name}_out"
        client.call("encode", params(models(generation="1.1"), tile, out))
        found.append(embeddings(mosaic(out, 2, 2)))
        for px in np.ndindex(2, 2):
            wanted = forward(*sequences(each, *px, "1.1"), 16)
            assert np.abs(found[-1][px] - wanted).max() <= np.abs(wanted).max() / 127
    assert np.abs(found[0] - found[1]).max() > 0.1


def test_blocks_are_filled_up_around_the_scene(client, models, tmp_path):
    tile, out = write(tmp_path / "tile", scene(cloudy=0)), tmp_path / "out"
    client.call("encode", params(models(), tile, out, row=130, col=250))
    assert sorted(path.name for path in out.glob("*.npy")) == ["128_128.npy", "128_256.npy"]
    left, right = np.load(out / "128_128.npy"), np.load(out / "128_256.npy")
    assert left.shape == right.shape == (128, 128)
    assert np.isfinite(left["scale"]).sum() == 6 * 6
    assert np.isfinite(left["scale"][2:8, 122:]).all()
    assert np.isfinite(right["scale"][2:8, :1]).all()


@pytest.mark.parametrize("generation", ["2.0", "1.1", "1.0"])
def test_trap_33_the_same_scene_is_the_same_to_the_last_bit(client, models, tmp_path, generation):
    """Whatever the batches, and however often (trap 22)."""
    arrays = scene(t2=50, ta=20, td=25, height=30, width=31)
    tile = write(tmp_path / "tile", arrays)
    runs = [{}, {}, {"batch_px": 1}, {"batch_px": 7}, {"batch_px": 0}, {"threads": 2}]
    for number, more in enumerate(runs):
        given = params(models(generation=generation), tile, tmp_path / f"{number}", **more)
        client.call("encode", given)
    first = contents(tmp_path / "0")
    assert first
    assert all(contents(tmp_path / f"{number}") == first for number in range(1, 6))


def test_another_seed_draws_others(client, models, tmp_path):
    tile = write(tmp_path / "tile", scene(t2=90, ta=50, td=50, cloudy=0.1))
    for seed in (0, 1):
        out = tmp_path / f"{seed}"
        client.call("encode", params(models(generation="1.0"), tile, out, seed=seed))
    first, second = (mosaic(tmp_path / f"{seed}", 6, 7)["codes"] for seed in (0, 1))
    assert (first != second).any(axis=-1).all()


def test_trap_33_a_part_of_a_scene_is_what_it_is_in_the_whole(client, models, tmp_path):
    """Draws depend on the place on the grid."""
    arrays = scene(t2=90, ta=50, td=50, height=20, width=20)
    part = {name: a if a.ndim == 1 else a[:, 5:15, 3:13] for name, a in arrays.items()}
    encoder = models(generation="1.0")
    tiles = [write(tmp_path / name, each) for name, each in (("a", arrays), ("b", part))]
    client.call("encode", params(encoder, tiles[0], tmp_path / "whole"))
    client.call("encode", params(encoder, tiles[1], tmp_path / "part", row=ROW + 5, col=COL + 3))
    whole, few = (np.load(tmp_path / name / "-384_896.npy") for name in ("whole", "part"))
    is_there = np.isfinite(few["scale"])
    assert is_there.sum() > 90
    assert (whole[is_there] == few[is_there]).all()


def test_after_a_kill_only_the_rest_is_computed(models, tmp_path):
    arrays = scene(t2=12, ta=5, td=6, height=200, width=150)
    tile, out = write(tmp_path / "tile", arrays), tmp_path / "out"
    encoder = models()
    client = WorkerClient(worker_python())
    try:
        client.call("encode", params(encoder, tile, tmp_path / "once"))
        seen = []

        def on_event(facts):
            if "block" in facts:
                seen.append(facts["block"])
                if len(seen) == 2:
                    os.kill(client.pid, signal.SIGKILL)

        with pytest.raises(WorkerDied):
            client.call("encode", params(encoder, tile, out), silent, on_event)
        kept = {path.name: path.stat().st_mtime_ns for path in out.glob("*.npy")}
        assert 2 <= len(kept) < 6
        half = out / sorted(kept)[0]
        half.write_bytes(half.read_bytes()[:5000])  # what a power cut may leave
        told = client.call("encode", params(encoder, tile, out))
    finally:
        client.stop()
    assert told["blocks"] == 6
    assert told["blocks_encoded"] == 6 - len(kept) + 1
    for name in sorted(kept)[1:]:
        assert (out / name).stat().st_mtime_ns == kept[name]
    assert contents(out) == contents(tmp_path / "once")


class StopperAtWork(Stopper):
    """Cancels a moment after the first pixels are done."""

    def __call__(self, fraction, message=""):
        super().__call__(fraction, message)
        if message and not self.told:
            self.told = True
            self.press_in(0.3)

    told = False


def test_a_cancel_is_heard_within_a_second(client, models, tmp_path):
    arrays = scene(t2=60, ta=20, td=20, height=300, width=300)
    tile, out = write(tmp_path / "tile", arrays), tmp_path / "out"
    stopper = StopperAtWork()
    with pytest.raises(Cancelled):
        client.call("encode", params(models(kind="slow"), tile, out, batch_px=0), stopper)
    assert time.monotonic() - stopper.pressed < within(1)
    assert not list(out.glob("*.part"))
    assert "of 90,000 pixels" in stopper.last[1]
    assert stopper.last[1].endswith("s left")


def failed(client, given):
    with pytest.raises(WorkerFailed) as caught:
        client.call("encode", given)
    return caught.value


def test_a_folder_of_another_run_is_not_mixed(client, models, tmp_path):
    tile, out = write(tmp_path / "tile", scene()), tmp_path / "out"
    client.call("encode", params(models(), tile, out))
    before = contents(out)
    error = failed(client, params(models(generation="1.1"), tile, out, col=COL + 1))
    assert error.kind == "OtherRun"
    assert error.message.endswith("what differs: col, encoder_sha256")
    write(tile, scene(seed=1))
    assert "tile" in failed(client, params(models(), tile, out)).message
    assert contents(out) == before


def test_trap_07_a_scene_that_is_unusable_is_told_with_its_file(client, models, tmp_path):
    """Through the worker."""
    tile = write(tmp_path / "tile", scene())
    (tile / "masks.npy").unlink()
    error = failed(client, params(models(), tile, tmp_path / "out"))
    assert error.kind == "InputUnusable"
    assert str(tile / "masks.npy") in error.message


def test_trap_18_a_scene_without_radar_is_refused_where_the_encoder_needs_it(
    client, models, tmp_path
):
    tile = write(tmp_path / "tile", scene(ta=0, td=0))
    error = failed(client, params(models(generation="1.0"), tile, tmp_path / "out"))
    assert error.kind == "InputUnusable"
    assert "Sentinel-1" in error.message


@pytest.mark.parametrize(
    ("traits", "reason"),
    [
        ({"off": 0.01}, "self-test"),
        ({"kind": "of_its_batch"}, "self-test"),  # trap 22
        ({"kind": "frozen"}, "an axis is frozen"),  # trap 23, and says so
        ({"kind": "frozen_inside"}, "3 pixels became"),  # trap 23, and doesn't
        ({"said": {}}, "does not say how to run it"),
        ({"said": {"tessera": "{}"}}, "missing"),
        ({"spec": spec_of("2.0", 12, self_test=self_test("2.0", 16, 12))}, "output of shape"),
    ],
    ids=str,
)
def test_trap_23_an_encoder_that_is_not_what_it_says_is_refused(
    client, models, tmp_path, traits, reason
):
    tile = write(tmp_path / "tile", scene())
    error = failed(client, params(models(**traits), tile, tmp_path / "out"))
    assert error.kind == "EncoderUnusable"
    assert reason in error.message


def test_no_encoder_at_all_is_refused(client, tmp_path):
    tile = write(tmp_path / "tile", scene())
    (tmp_path / "x.onnx").write_bytes(b"hello")
    for name in ("x.onnx", "y.onnx"):
        error = failed(client, params(str(tmp_path / name), tile, tmp_path / "out"))
        assert error.kind == "EncoderUnusable"


def test_trap_30_a_block_with_numbers_that_are_none_is_never_written(client, models, tmp_path):
    """A logarithm of what is negative in one pixel; blocks before and after it are kept."""
    arrays = scene(t2=3, ta=1, td=1, height=12, width=9, cloudy=0)
    bad = (7, 4)
    values = np.array([forward(*sequences(arrays, *px, "2.0"), 1)[0] for px in np.ndindex(12, 9)])
    arrays["bands"][:, bad[0], bad[1]] = 60000  # far from all others
    extreme = forward(*sequences(arrays, *bad, "2.0"), 1)[0]
    assert extreme < values.min() - 1 or extreme > values.max() + 1
    shift = 1 - values.min() if extreme < values.min() else -values.max() - 1
    kind = "logarithm" if extreme < values.min() else "logarithm of the negative"
    one = {name: a if a.ndim == 1 else a[:, :1, :1] for name, a in arrays.items()}
    expected = np.log(np.abs(values[:1] + shift)).reshape(1, 1)
    spec = spec_of(depth=1, self_test=self_test_of(one, expected, 1e-3))
    encoder = models(depth=1, kind=kind, shift=float(shift), spec=spec)
    tile, out = write(tmp_path / "tile", arrays), tmp_path / "out"
    # four blocks: rows 0 to 3 and 4 to 11, columns 0 to 3 and 4 to 8
    given = params(encoder, tile, out, row=-4, col=124)
    error = failed(client, {**given, "near": [-4, 124]})
    assert error.kind == "OutputNotFinite"
    assert error.message.startswith("block 0_128: 1 of ")
    assert "row 3, column 128" in error.message
    assert "block" not in error.message[6:]
    assert sorted(path.name for path in out.glob("*.npy")) == [
        "-128_0.npy",
        "-128_128.npy",
        "0_0.npy",
    ]
    again = failed(client, {**given, "near": [3, 128]})  # nothing else is left to do
    assert again.message == error.message


def test_trap_30_inputs_hold_no_nan_since_they_are_integers(client, models, tmp_path):
    for name in scene():
        arrays = scene()
        arrays[name] = arrays[name].astype(np.float32)
        arrays[name].flat[0] = np.nan
        tile = write(tmp_path / name, arrays)
        error = failed(client, params(models(), tile, tmp_path / "out"))
        assert error.kind == "InputUnusable"
        assert f"{name}.npy" in error.message
        assert "float32" in error.message


def test_trap_19_the_output_is_cut_before_it_is_quantised(client, models, tmp_path):
    """24 numbers come out, 16 are kept; and a prefix is cut only where one is allowed."""
    arrays = scene(cloudy=0)
    tile, out = write(tmp_path / "tile", arrays), tmp_path / "out"
    encoder = models(depth=24, kept=16)
    client.call("encode", params(encoder, tile, out))
    found = mosaic(out, 6, 7)
    assert found["codes"].shape == (6, 7, 16)
    for row, col in np.ndindex(6, 7):
        wanted = forward(*sequences(arrays, row, col, "2.0"), 24)[:16]
        assert found["scale"][row, col] == pytest.approx(np.abs(wanted).max() / 127, rel=1e-4)
    error = failed(client, params(encoder, tile, tmp_path / "cut", depth=8))  # trap 20
    assert "must not be cut to 8" in error.message


def test_trap_19_a_prefix_that_is_allowed_has_the_scale_of_the_prefix(client, models, tmp_path):
    spec = spec_of("2.0", 16, self_test=self_test("2.0", 16, 16))
    spec = replace(spec, output=replace(spec.output, prefixes=(4, 16)))
    arrays = scene(cloudy=0)
    tile, out = write(tmp_path / "tile", arrays), tmp_path / "out"
    client.call("encode", params(models(spec=spec), tile, out, depth=4))
    found = mosaic(out, 6, 7)
    assert found["codes"].shape == (6, 7, 4)
    assert (np.abs(found["codes"].astype(int)).max(axis=2) == 127).all()


def test_a_file_that_asks_for_others_is_not_opened(client, models, tmp_path):
    """The look at the bytes comes first; see test_onnx_safety.py for all that is hostile."""
    tile = write(tmp_path / "tile", scene())
    outside = bytes([0x3A, 35, 0x2A, 33, 0x6A, 29, 0x0A, 8]) + b"location"
    outside += bytes([0x12, 17]) + b"../../secrets.bin" + bytes([0x70, 1])
    evil = tmp_path / "evil.onnx"
    evil.write_bytes(Path(models()).read_bytes() + outside)
    error = failed(client, params(str(evil), tile, tmp_path / "out"))
    assert error.kind == "EncoderUnusable"
    assert "'../../secrets.bin', which is no file in its folder" in error.message


def test_devices_that_are_not_there_are_told_and_the_next_is_taken(client, models, tmp_path):
    tile = write(tmp_path / "tile", scene())
    wanted = ["CoreMLExecutionProvider", "CPUExecutionProvider"]
    told = client.call("encode", params(models(), tile, tmp_path / "out", providers=wanted))
    assert told["device"] == "CPUExecutionProvider"
    assert told["refused"] == [["CoreMLExecutionProvider", "it is not there"]]


def test_a_batch_keeps_to_the_memory_it_is_given(client, models, tmp_path):
    tile = write(tmp_path / "tile", scene(t2=60, ta=20, td=20))
    chosen = {}
    for name, ceiling in (("tight", 1), ("wide", 2_000_000_000)):
        given = params(models(), tile, tmp_path / name, batch_px=0, memory_bytes=ceiling)
        chosen[name] = client.call("encode", given)["batch_px"]
    assert chosen["tight"] == 4
    assert chosen["wide"] >= 64


def test_numbers_that_look_wrong_are_told_with_each_block(client, models, tmp_path):
    """Traps 1 to 3, 8 and 11: a warning, not a refusal."""
    arrays = scene()
    arrays["bands"][:] = 20000
    tile, told = write(tmp_path / "tile", arrays), []
    given = params(models(), tile, tmp_path / "out")
    result = client.call("encode", given, silent, told.append)
    (block,) = (facts for facts in told if "block" in facts)
    assert block["warnings"] == result["warnings"]
    assert {each["what"] for each in block["warnings"]} >= {"mean_z", "offset"}
