# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Models of others over embeddings: small ones whose sums are known, in a real worker."""

import dataclasses
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from osgeo import gdal

from tessera_plugin.compute.client import WorkerClient
from tessera_plugin.engine import classify, grid, patch_models
from tessera_plugin.engine.model_forms import ModelForm, facts_of
from tessera_plugin.engine.patch_models import ModelRequest, describe_model
from tessera_plugin.errors import ModelUnusable
from tessera_plugin.progress import silent
from tessera_plugin.values import Access, Extent, LandClass
from tests.compute.helpers import worker_python
from tests.memory_source import MemorySource

INLAND = Extent(0.112, 52.196, 0.131, 52.203)
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
MAKER = Path(__file__).resolve().parents[1] / "compute" / "models" / "make_models.py"


@pytest.fixture(scope="module")
def weights():
    draw = np.random.default_rng(7)
    shapes = {"linear": (3, 128), "around": (1, 128, 3, 3), "last": (2, 128)}
    return {name: draw.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def models(tmp_path_factory, weights):
    folder = tmp_path_factory.mktemp("models")
    np.savez(folder / "weights.npz", **weights)
    asked = [worker_python(), str(MAKER), str(folder), str(folder / "weights.npz")]
    subprocess.run(asked, check=True)
    return folder


@pytest.fixture(scope="module")
def worker():
    client = WorkerClient(worker_python())
    yield client
    client.stop()


def request_of(tmp_path, model, form, extent=INLAND):
    return ModelRequest(
        str(model), form, "1.1-dclimate", 2024, extent, Access(str(tmp_path / "cache")),
        str(tmp_path / "map.tif"), str(tmp_path / "conf.tif"),
    )  # fmt: skip


def mapped(tmp_path, worker, model, extent=INLAND, source=None, **changes):
    """Return classes and percents of a map made through files."""
    tmp_path.mkdir(exist_ok=True)
    facts = describe_model(str(model), worker)
    form = dataclasses.replace(facts.form, **changes)
    form.check(facts)
    request = request_of(tmp_path, model, form, extent)
    staged = patch_models.run_from(source or MemorySource(), facts, request, worker, silent)
    result = classify.publish(staged)
    return [gdal.Open(path).ReadAsArray() for path in (result.maps[0], result.confidences[0])]


def embeddings(window, margin=0):
    wide = grid.Window.between(
        window.zone, window.row - margin, window.col - margin,
        window.stop_row + margin, window.stop_col + margin,
    )  # fmt: skip
    codes, scales = MemorySource().read(wide)
    return codes * np.nan_to_num(scales)[..., None], np.isfinite(scales), wide


def softmax(z):
    grown = np.exp(z - z.max(axis=-1, keepdims=True))
    return grown / grown.sum(axis=-1, keepdims=True)


def agree(found, wanted):
    """Whether percents are those wanted, but for rounding."""
    return np.abs(found.astype(int) - wanted.astype(int)).max() <= 1


def test_a_model_of_pixels_is_its_sum(tmp_path, models, worker, weights):
    classes, percent = mapped(tmp_path, worker, models / "pixels.onnx")
    (window,) = grid.windows_of(INLAND)
    x, valid, _ = embeddings(window)
    shares = softmax(x @ weights["linear"].T)
    assert np.array_equal(classes, np.where(valid, shares.argmax(axis=2) + 1, 0))
    assert agree(percent, np.where(valid, np.rint(100 * shares.max(axis=2)), 255))


@pytest.mark.parametrize(("patch", "overlap"), [(64, 0), (64, 32), (50, 12)])
def test_patches_leave_no_seam(tmp_path, models, worker, weights, patch, overlap):
    sizes = {"patch_px": patch, "overlap_px": overlap}
    classes, percent = mapped(tmp_path, worker, models / "patches.onnx", **sizes)
    (window,) = grid.windows_of(INLAND)
    x, valid, _ = embeddings(window)
    shares = softmax(x @ weights["linear"].T)
    assert np.array_equal(classes, np.where(valid, shares.argmax(axis=2) + 1, 0))
    assert agree(percent, np.where(valid, np.rint(100 * shares.max(axis=2)), 255))


def around_one_by_one(weights, window, overlap):
    """Return the blended shares of the 3 x 3 model, patch by patch with plain sums."""
    size, step = 32, 32 - overlap
    x, valid, wide = embeddings(window, overlap)
    mean = np.float32(0.5)
    x = np.where(valid[..., None], (x - mean) / 2, 0)
    ramp = np.ones(size)
    for at in range(overlap):
        ramp[at] = ramp[size - 1 - at] = (at + 0.5) / overlap
    sums, total = np.zeros(wide.shape), np.zeros(wide.shape)
    for top in range((wide.row // step - 2) * step, wide.stop_row, step):
        for left in range((wide.col // step - 2) * step, wide.stop_col, step):
            patch = np.zeros((size + 2, size + 2, 128))
            for r in range(size):
                for c in range(size):
                    row, col = top + r - wide.row, left + c - wide.col
                    if 0 <= row < wide.height and 0 <= col < wide.width:
                        patch[r + 1, c + 1] = x[row, col]
            scores = sum(
                patch[r : r + size, c : c + size] @ weights["around"][0, :, r, c]
                for r in range(3)
                for c in range(3)
            )
            shares = 1 / (1 + np.exp(-scores))
            for r in range(size):
                for c in range(size):
                    row, col = top + r - wide.row, left + c - wide.col
                    if 0 <= row < wide.height and 0 <= col < wide.width:
                        w = ramp[r] * ramp[c]
                        sums[row, col] += w * shares[r, c]
                        total[row, col] += w
    here = window.slices_in(wide)
    return (sums / total)[here], valid[here]


def test_what_lies_around_a_pixel_counts_and_patches_blend(tmp_path, models, worker, weights):
    small = Extent(0.112, 52.196, 0.1135, 52.1968)
    standard = {"mean": (0.5,) * 128, "std": (2.0,) * 128, "threshold": 0.4}
    classes, percent = mapped(
        tmp_path, worker, models / "around.onnx", small, overlap_px=8, **standard
    )
    (window,) = grid.windows_of(small)
    share, valid = around_one_by_one(weights, window, 8)
    sure = np.abs(share - 0.4) > 1e-3
    assert np.array_equal(classes[sure], np.where(valid, 1 + (share >= 0.4), 0)[sure])
    chosen = np.where(share >= 0.4, share, 1 - share)
    assert agree(percent[sure], np.where(valid, np.rint(100 * chosen), 255)[sure])


def test_a_pixel_is_the_same_wherever_the_map_begins(tmp_path, models, worker):
    inner = Extent(0.1165, 52.1975, 0.1265, 52.2015)
    whole, _ = mapped(tmp_path / "a", worker, models / "around.onnx")
    part, _ = mapped(tmp_path / "b", worker, models / "around.onnx", inner)
    (outside,), (inside,) = grid.windows_of(INLAND), grid.windows_of(inner)
    rows, cols = inside.slices_in(outside)
    same = whole[rows, cols] == part
    assert same[32:-32, 32:-32].all()
    assert same.mean() > 0.99


def test_parts_that_are_not_valid_have_no_class(tmp_path, models, worker):
    (window,) = grid.windows_of(INLAND)
    classes, percent = mapped(
        tmp_path, worker, models / "last.onnx", source=MemorySource(water=[next(window.blocks())])
    )
    dry = next(window.blocks()).slices_in(window)
    assert (classes[dry] == 0).all()
    assert (percent[dry] == 255).all()
    assert set(np.unique(classes)) == {0, 1, 2}


def test_files_tell_what_they_can(models, worker):
    pixels = describe_model(str(models / "pixels.onnx"), worker)
    assert (pixels.layout, pixels.depth, pixels.outputs) == ("NC", 128, 3)
    assert [each.name for each in pixels.form.classes] == ["low", "middle", "high"]
    assert (pixels.form.patch_px, pixels.form.activation) == (1, "softmax")
    around = describe_model(str(models / "around.onnx"), worker)
    assert (around.layout, around.patch, around.form.activation) == ("NCHW", 32, "none")
    assert [each.name for each in around.form.classes] == ["not around", "around"]
    last = describe_model(str(models / "last.onnx"), worker)
    assert (last.layout, last.form.patch_px, last.form.overlap_px) == ("NHWC", 40, 8)
    assert last.told_by == ("tessera_head",)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("mean", "not a score per pixel"), ("missing", "no such file"), ("text", "no ONNX model")],
)
def test_what_is_no_head_is_refused_with_the_reason(models, worker, name, reason):
    (models / "text.onnx").write_text("not a model at all, but long enough to be looked at")
    with pytest.raises(ModelUnusable, match=reason):
        describe_model(str(models / f"{name}.onnx"), worker)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"classes": (LandClass(1, "a", "#ffffff"),)}, "1 classes are named"),
        ({"mean": (1.0,) * 5}, "mean has 5 numbers for 128"),
        ({"std": (0.0,) * 128}, "not all positive"),
        ({"patch_px": 64}, "patches of 32 pixels, not 64"),
        ({"overlap_px": 20}, "can't overlap by 20"),
        ({"activation": "tanh"}, "tanh"),
    ],
)
def test_a_form_that_does_not_fit_is_refused(models, worker, changes, reason):
    facts = describe_model(str(models / "around.onnx"), worker)
    with pytest.raises(ModelUnusable, match=reason):
        dataclasses.replace(facts.form, **changes).check(facts)


def test_statistics_beside_the_model_are_taken(tmp_path):
    (tmp_path / "solar_stats.json").write_text(json.dumps({"mean": [1.0, 2], "std": [3, 4.5]}))
    told = {"layout": "NCHW", "depth": 2, "patch": [0, 0], "outputs": 1, "metadata": {},
            "sha256": "0" * 64, "are_shares": False, "sum_to_one": False}  # fmt: skip
    facts = facts_of(str(tmp_path / "solar.onnx"), told)
    assert facts.form == ModelForm(
        (LandClass(1, "not solar", "#d9d9d9"), LandClass(2, "solar", "#d95f02")),
        256, 64, (1.0, 2.0), (3.0, 4.5), "sigmoid",
    )  # fmt: skip
    assert facts.told_by == ("solar_stats.json",)


@pytest.mark.skipif(not (SHARED / "tessera_solar_unet.onnx").exists(), reason="no shared data")
def test_a_u_net_from_the_wild_runs(tmp_path, worker):
    facts = describe_model(str(SHARED / "tessera_solar_unet.onnx"), worker)
    assert (facts.layout, facts.depth, facts.outputs) == ("NCHW", 128, 1)
    assert len(facts.form.mean) == len(facts.form.std) == 128
    classes, percent = mapped(tmp_path, worker, SHARED / "tessera_solar_unet.onnx", patch_px=128)
    (window,) = grid.windows_of(INLAND)
    _, scales = MemorySource().read(window)
    assert np.array_equal(classes == 0, np.isnan(scales))
    assert percent[classes > 0].max() <= 100
