# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Heads as ONNX files: the same answers in ONNX Runtime, and back through the dialog for models."""

import json

import numpy as np
import pytest
from osgeo import gdal

from tessera_plugin.__main__ import main
from tessera_plugin.compute.client import WorkerClient
from tessera_plugin.engine import classify, head_onnx, patch_models
from tessera_plugin.engine.grid import windows_of
from tessera_plugin.engine.heads import save
from tessera_plugin.engine.model_forms import facts_of
from tessera_plugin.engine.patch_models import ModelRequest, describe_model
from tessera_plugin.errors import HeadExportDiffers, HeadMismatch
from tessera_plugin.progress import silent
from tessera_plugin.values import Access, Extent, LandClass
from tests.builders import random_head
from tests.compute.helpers import worker_python
from tests.memory_source import MemorySource

INLAND = Extent(0.112, 52.196, 0.118, 52.199)
CLASSES = (LandClass(3, "Grass & “more”", "#11aa22"), LandClass(300, "Water", "#0000ff"),
           LandClass(7, "Built", "#cc0000"))  # fmt: skip


@pytest.fixture(scope="module")
def worker():
    client = WorkerClient(worker_python())
    yield client
    client.stop()


@pytest.mark.parametrize("hidden", [(), (24,), (32, 16)])
def test_an_exported_head_gives_the_same_answers(tmp_path, worker, hidden):
    head = random_head(hidden, classes=CLASSES, temperature=1.7, name="Fields")
    path = str(tmp_path / "head.onnx")
    check = head_onnx.export_head(head, path, worker)
    assert (check.tried, check.same_class) == (4096, 4096)
    assert check.worst < 1e-4
    assert "4,096 of 4,096" in check.sentence()
    assert [each.name for each in tmp_path.iterdir()] == ["head.onnx"]

    facts = describe_model(path, worker)
    assert (facts.layout, facts.depth, facts.outputs) == ("NC", 128, 3)
    assert facts.form.classes == CLASSES
    assert (facts.form.activation, facts.form.mean) == ("none", ())
    assert facts.dataset == head.dataset


def test_a_folder_without_heads_is_said(tmp_path, capsys):
    assert main(["heads", "list", str(tmp_path / "none")]) == 2
    assert "There is no folder" in capsys.readouterr().err
    assert main(["heads", "list", str(tmp_path)]) == 0
    assert "There are no heads in" in capsys.readouterr().out


def test_heads_on_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TESSERA_WORKER_PYTHON", worker_python())
    path, out = str(tmp_path / "a.head"), str(tmp_path / "a.onnx")
    save(random_head(training={"labels": 12}), path)
    (tmp_path / "broken.head").write_bytes(b"x")

    def run(*arguments):
        assert main(["heads", *arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    assert run("rename", path, "Fields")["name"] == "Fields"
    told = {each["path"]: each for each in run("list", str(tmp_path))["heads"]}
    assert (told[path]["name"], told[path]["labels"]) == ("Fields", 12)
    assert "zip" in told[str(tmp_path / "broken.head")]["problem"]
    assert run("export", path, "--out", out)["same_class"] == 4096
    (tmp_path / "other").mkdir()
    told = run("import", out, "--into", str(tmp_path / "other"))
    assert (told["path"], told["name"]) == (str(tmp_path / "other" / "a.head"), "Fields")
    assert main(["heads", "import", str(tmp_path / "broken.head")]) == 1
    assert main(["heads", "list", str(tmp_path)]) == 0
    assert "“Fields”: instant, 1.1-cambridge, 2024, 12 labels" in capsys.readouterr().out


def test_its_map_is_that_of_the_head(tmp_path, worker):
    head = random_head((16,), classes=CLASSES)
    path = str(tmp_path / "head.onnx")
    head_onnx.export_head(head, path, worker)
    facts = describe_model(path, worker)
    request = ModelRequest(path, facts.form, head.dataset, 2024, INLAND,
                           Access(str(tmp_path / "cache")), str(tmp_path / "map.tif"))  # fmt: skip
    staged = patch_models.run_from(MemorySource(), facts, request, worker, silent)
    found = gdal.Open(classify.publish(staged).maps[0]).ReadAsArray()
    (window,) = windows_of(INLAND)
    codes, scales = MemorySource().read(window)
    shares = head.probabilities(codes.reshape(-1, 128), scales.reshape(-1))
    wanted = head.class_ids[np.nan_to_num(shares).argmax(axis=1)].reshape(window.shape)
    wanted = np.where(np.isfinite(scales), wanted, 0)
    top = np.sort(np.nan_to_num(shares), axis=1)
    clear = (top[:, -1] - top[:, -2] > 2e-3).reshape(window.shape) | np.isnan(scales)
    assert clear.mean() > 0.9
    assert np.array_equal(found[clear], wanted[clear])


def test_a_model_that_names_its_dataset_is_run_with_no_other(tmp_path, worker):
    path = str(tmp_path / "head.onnx")
    head_onnx.export_head(random_head(dataset="1.0-vultr"), path, worker)
    form = describe_model(path, worker).form
    request = ModelRequest(path, form, "1.1-dclimate", 2024, INLAND,
                           Access(str(tmp_path / "cache")), str(tmp_path / "map.tif"))  # fmt: skip
    with pytest.raises(HeadMismatch):
        patch_models.run_model(request, worker=worker)


def test_a_file_with_other_answers_is_not_kept(tmp_path, worker, monkeypatch):
    path = tmp_path / "head.onnx"
    path.write_text("the old one")
    head = random_head()
    wrong = random_head(temperature=1.5)
    shifted = head_onnx.trial_embeddings(head)
    monkeypatch.setattr(head_onnx, "trial_embeddings", lambda _: shifted)
    monkeypatch.setattr(type(head), "probabilities", lambda *_: _probabilities(wrong, *shifted))
    with pytest.raises(HeadExportDiffers) as caught:
        head_onnx.export_head(head, str(path), worker)
    assert caught.value.worst > 1e-3
    assert path.read_text() == "the old one"


def _probabilities(head, codes, scales):
    logits = head.logits(codes, scales) / head.temperature
    grown = np.exp(logits - logits.max(axis=1, keepdims=True))
    return grown / grown.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    "classes",
    [[{"id": 1, "name": "a", "color": "red"}, {"id": 1, "name": "b", "color": "#00ff00"}],
     [{"id": True, "name": "a"}, {"id": 70_000, "name": "b"}]],
)  # fmt: skip
def test_ids_and_colours_that_are_not_sound_are_not_taken(classes):
    told = {"layout": "NC", "depth": 2, "patch": [1, 1], "outputs": 2, "sha256": "0" * 64,
            "are_shares": True, "sum_to_one": True,
            "metadata": {"tessera_head": json.dumps({"classes": classes})}}  # fmt: skip
    form = facts_of("/somewhere/model.onnx", told).form
    assert [(each.id, each.name) for each in form.classes] == [(1, "a"), (2, "b")]
    assert [each.color for each in form.classes] == ["#d95f02", "#1b9e77"]
