# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole runs in a real worker: what comes out, what is kept, what is refused."""

import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest

from tessera_plugin.compute.client import WorkerClient
from tessera_plugin.errors import WorkerDied, WorkerFailed
from tessera_plugin.progress import Cancelled, silent
from tests.compute.encode.models import forward, make, self_test, self_test_of, sequences
from tests.compute.encode.scenes import scene, spec_of, write
from tests.compute.helpers import Stopper, worker_python

ROW, COL = -300, 1000
"""Of the scene's first pixel: blocks begin at multiples of 128, so it has parts of several."""


@pytest.fixture(scope="module")
def client():
    client = WorkerClient(worker_python())
    yield client
    client.stop()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Return the path of an encoder by its traits; each is made once."""
    folder, made = tmp_path_factory.mktemp("models"), {}

    def get(**traits):
        key = repr(sorted(traits.items()))
        if key not in made:
            made[key] = make(folder / f"{len(made)}.onnx", **traits)
        return made[key]

    return get


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
def test_the_same_scene_is_the_same_to_the_last_bit(client, models, tmp_path, generation):
    """Traps 22 and 33: whatever the batches, and however often."""
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


def test_a_part_of_a_scene_is_what_it_is_in_the_whole(client, models, tmp_path):
    """Trap 33: draws depend on the place on the grid."""
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
    assert time.monotonic() - stopper.pressed < 1
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


def test_a_scene_that_is_unusable_is_told_with_its_file(client, models, tmp_path):
    """Trap 7, through the worker."""
    tile = write(tmp_path / "tile", scene())
    (tile / "masks.npy").unlink()
    error = failed(client, params(models(), tile, tmp_path / "out"))
    assert error.kind == "InputUnusable"
    assert str(tile / "masks.npy") in error.message


def test_a_scene_without_radar_is_refused_where_the_encoder_needs_it(client, models, tmp_path):
    """Trap 18."""
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
def test_an_encoder_that_is_not_what_it_says_is_refused(client, models, tmp_path, traits, reason):
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


def test_what_is_not_finite_is_no_embedding(client, models, tmp_path):
    """Trap 30: a logarithm of what is negative in half of the pixels."""
    arrays = scene(cloudy=0)
    values = np.array([forward(*sequences(arrays, *px, "2.0"), 1) for px in np.ndindex(6, 7)])
    middle = float(np.median(values))
    row, col = divmod(int(values.argmax()), 7)
    best = {
        name: a if a.ndim == 1 else a[:, row : row + 1, col : col + 1] for name, a in arrays.items()
    }
    test = self_test_of(best, np.log(values.max(axis=0, keepdims=True) - middle), 1e-3)
    encoder = models(
        depth=1, kind="logarithm", shift=-middle, spec=spec_of(depth=1, self_test=test)
    )
    tile, out = write(tmp_path / "tile", arrays), tmp_path / "out"
    client.call("encode", params(encoder, tile, out))
    found = mosaic(out, 6, 7)
    is_number = (values > middle).reshape(6, 7)
    assert is_number.sum() == 21
    is_readable = np.abs(np.log(np.abs(values - middle))).reshape(6, 7) < 127  # scale under 1
    assert (np.isfinite(found["scale"]) == (is_number & is_readable)).all()
    assert not found["codes"][~is_number].any()


def test_the_output_is_cut_before_it_is_quantised(client, models, tmp_path):
    """Trap 19: 24 numbers come out, 16 are kept; and a prefix is cut only where one is allowed."""
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


def test_a_prefix_that_is_allowed_has_the_scale_of_the_prefix(client, models, tmp_path):
    """Trap 19."""
    spec = spec_of("2.0", 16, self_test=self_test("2.0", 16, 16))
    spec = replace(spec, output=replace(spec.output, prefixes=(4, 16)))
    arrays = scene(cloudy=0)
    tile, out = write(tmp_path / "tile", arrays), tmp_path / "out"
    client.call("encode", params(models(spec=spec), tile, out, depth=4))
    found = mosaic(out, 6, 7)
    assert found["codes"].shape == (6, 7, 4)
    assert (np.abs(found["codes"].astype(int)).max(axis=2) == 127).all()


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
