# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Heads out of ONNX files: those that were exported come back whole, nothing else comes in."""

import json
import re
import subprocess

import numpy as np
import pytest

from tessera_plugin.compute.client import WorkerClient
from tessera_plugin.engine import head_from_onnx, head_library, head_onnx, training
from tessera_plugin.engine.folds import ValidationParams, make_folds
from tessera_plugin.engine.heads import load, save
from tessera_plugin.engine.train_params import TrainParams
from tessera_plugin.errors import (
    HeadUnreadable,
    NotWritable,
    OnnxHeadTooOld,
    OnnxNotAHead,
    WorkerUnavailable,
)
from tessera_plugin.values import LandClass
from tests.builders import random_embeddings, random_head
from tests.builders_samples import gaussians
from tests.compute.helpers import worker_python

NAMES = (LandClass(3, "Grass & “more” 草地", "#11aa22"), LandClass(300, "نی‌زار", "#0000ff"),
         LandClass(7, "Built", "#cc0000"))  # fmt: skip

CHANGE = """
import hashlib, json, pathlib, sys
import numpy as np, onnx
from onnx import helper, numpy_helper as nh
source, folder, codes = sys.argv[1:]
for number, code in enumerate(json.loads(codes)):
    m = onnx.load(source)
    said = {p.key: p.value for p in m.metadata_props}
    head = json.loads(said["tessera_head_file"])
    w = {t.name: nh.to_array(t).copy() for t in m.graph.initializer}
    before = {name: (array.shape, array.tobytes()) for name, array in w.items()}
    resign = True
    exec(code)
    for t in m.graph.initializer:
        if t.name in w and (w[t.name].shape, w[t.name].tobytes()) != before[t.name]:
            t.CopyFrom(nh.from_array(w[t.name], t.name))
    if resign:
        text = json.dumps(head)
        found = hashlib.sha256(text.encode())
        for name in sorted(set(w) - {"temperature"}):
            found.update(repr((name, w[name].shape)).encode() + w[name].astype("<f4").tobytes())
        said.update(tessera_head_file=text, tessera_head_digest=found.hexdigest())
    helper.set_model_props(m, said)
    # not onnx.save: it writes weights wherever the file says that they are kept
    pathlib.Path(folder, f"{number}.onnx").write_bytes(m.SerializeToString())
"""
"""Whoever changes a file knows how it is made and signs it anew; `code` says what is changed."""


@pytest.fixture(scope="module")
def worker():
    client = WorkerClient(worker_python())
    yield client
    client.stop()


@pytest.fixture(scope="module")
def exported(tmp_path_factory, worker):
    path = tmp_path_factory.mktemp("exported") / "head.onnx"
    head_onnx.export_head(random_head((8,), depth=16, temperature=1.5), str(path), worker)
    return path


def trained(kind, worker):
    samples = gaussians(12, 4.0)
    params = TrainParams(kind=kind, background=False, hidden=(8,), epochs=3, ensemble=2)
    folds = make_folds(samples, ValidationParams(folds=2))
    return training.fit_on_folds(samples, params, folds, worker=worker)[0]


@pytest.mark.parametrize("kind", ["instant", pytest.param("mlp", marks=pytest.mark.long)])
def test_a_trained_head_goes_out_and_comes_back_the_same(tmp_path, worker, kind):
    head = trained(kind, worker)
    assert head.accuracy.overall is not None
    assert head.temperature != 1
    save(head, str(tmp_path / "own.head"))
    head_library.rename_head(str(tmp_path / "own.head"), "Fields “é”")
    (tmp_path / "in").mkdir()
    head_onnx.export_head(load(str(tmp_path / "own.head")), str(tmp_path / "own.onnx"), worker)
    kept = head_library.import_head(str(tmp_path / "own.onnx"), str(tmp_path / "in"), worker)
    assert kept == str(tmp_path / "in" / "own.head")
    assert (tmp_path / "in" / "own.head").read_bytes() == (tmp_path / "own.head").read_bytes()
    again = load(kept)
    codes, scales = random_embeddings(500, depth=head.depth)
    assert np.array_equal(again.probabilities(codes, scales), head.probabilities(codes, scales))
    assert (again.classes, again.accuracy, again.years) == (head.classes, head.accuracy, head.years)


def test_names_of_any_script_come_back_and_files_don_t_get_in_each_other_s_way(tmp_path, worker):
    head = random_head((8, 4), classes=NAMES, dataset="1.0-vultr", years=(2023, 2024))
    path = str(tmp_path / "theirs.onnx")
    head_onnx.export_head(head, path, worker)
    first, second = (head_library.import_head(path, str(tmp_path), worker) for _ in range(2))
    assert [first, second] == [str(tmp_path / name) for name in ("theirs.head", "theirs_2.head")]
    assert load(second).classes == NAMES
    with pytest.raises(NotWritable):
        head_library.import_head(path, str(tmp_path / "none"), worker)
    with pytest.raises(WorkerUnavailable):
        head_library.import_head(path, str(tmp_path))
    with pytest.raises(HeadUnreadable, match="no such file"):
        head_library.import_head(str(tmp_path / "none.onnx"), str(tmp_path), worker)


WEIGHTS = {
    "w['W1'][3, 2] = np.nan": "finite",
    "w['std'][0] = 0": "not above 0",
    "w['std'][:] = 1e-45; w['mean'][:] = 3e38": "other answers",
    "w['W1'] = w['W1'][:, :4]": r"weights \(16, 4\) and bias \(8,\)",
    "w['W1'] = w['W1'].astype(np.float64)": "W1 is not kept as float32",
    "w['mean'] = w['mean'].reshape(1, 1, -1)": r"shape \[1, 1, 16\]",
    "w['temperature'][0] = 1.25": "temperature is 1.25 in one place and 1.5",
    "m.graph.initializer[0].dims[0] = 2**40": "shape",
    "m.graph.initializer[0].dims[0] = -1": "shape",
    "m.graph.initializer[2].dims[:] = [0, 2**62]": "shape",
    "m.graph.initializer[2].raw_data += b'1234'": "bytes for the shape",
    "m.graph.initializer.append(nh.from_array(w['b1'], 'extra'))": "weights are not those",
    "m.graph.initializer.append(nh.from_array(w['b1'], 'b1'))": "weights are not those",
    "m.graph.initializer[0].name = '../../etc/mean'": "weights are not those",
    "m.graph.node[3].op_type = 'Tanh'": "not the one that heads are written as",
    "m.graph.node[3].input[0] = 'layer1'; m.graph.node[3].name = 'x'": "not the one",
    "del m.graph.node[5]": "not the one",
    "m.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 17": "not the one",
    "m.ir_version = 9": "not the one",
}
"""What is changed in the graph, and how it is refused."""

FACTS = {
    "head['classes'][0]['name'] = 'a\\nb'": "can't be shown",
    "head['classes'][0]['name'] = 'gpj.\\u202eexe'": "can't be shown",
    "head['classes'][0]['name'] = '\\ud800'": "can't be shown",
    "head['classes'][0]['name'] = 'x' * 201": "too long",
    "head['classes'][0]['name'] = ' '": "empty",
    "head['classes'][0]['color'] = 'red; x'": "colour",
    "head['classes'][0]['id'] = 2": "different ids",
    "head['classes'][0]['id'] = 70000": "class ids are 1 to",
    "del head['classes'][0]": "3 outputs for 2 classes",
    "head['dataset'] = '../../1.1-cambridge'": "looks like a path",
    "head['id'] = '../x'": "its id is",
    "head['years'] = [10**30]": "its years are",
    "head['years'] = []": "its years are",
    "head['depth'] = 10**9": "shape",
    "head['kind'] = 'knn'": "no kind of head",
    "head['temperature'] = float('nan')": "temperature",
    "head['versions'] = {'numpy': float('inf')}": "JSON",
    "head['accuracy'] = {'class_ids': [1]}": "missing",
    "head['format_version'] = 2": "version 2",
    "del head['classes']": "classes is missing",
    "head = []": "does not describe a head",
    "head['training']['validation'] = {'parts': [1]}": "not what trainings tell",
    "head['training'] = eval('[' * 50 + ']' * 50)": "training is",
    "head['years'] = [2019]; resign = False; said['tessera_head_file'] = json.dumps(head)": "was changed",
    "w['b1'][0] += 1e-6; resign = False": "was changed",
    "del said['tessera_head_digest']; resign = False": "was changed",
}
"""The same of what is told of the head."""


def changed(exported, folder, codes):
    """Return copies of an exported file with something changed in each."""
    command = [worker_python(), "-c", CHANGE, str(exported), str(folder), json.dumps(list(codes))]
    subprocess.run(command, check=True)
    return [str(folder / f"{number}.onnx") for number in range(len(codes))]


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")  # of absurd weights
def test_a_file_that_was_changed_is_refused(exported, tmp_path, worker):
    reasons = {"pass": "", **WEIGHTS, **FACTS}
    as_it_was, *paths = changed(exported, tmp_path, reasons)
    wanted = head_from_onnx.read_head(str(exported), worker)
    assert head_from_onnx.read_head(as_it_was, worker).id == wanted.id
    for path, (code, reason) in zip(paths, list(reasons.items())[1:]):
        with pytest.raises(HeadUnreadable) as caught:
            head_from_onnx.read_head(path, worker)
        assert re.search(reason, caught.value.reason), (code, caught.value.reason)
        assert caught.value.path == path


def test_files_of_before_and_models_of_others_are_told_apart(exported, tmp_path, worker):
    beside = (
        "t = m.graph.initializer[2]; t.data_location = 1; t.ClearField('raw_data'); "
        "t.external_data.add(key='location', value='{}')"
    )
    kinds = {
        "del said['tessera_head_file']; resign = False": (OnnxHeadTooOld, "earlier version"),
        "said = {}; resign = False": (OnnxNotAHead, "other software"),
        "said = {'tessera_head': '['}; resign = False": (OnnxNotAHead, "other software"),
        "said = {'tessera': '{}'}; resign = False": (OnnxNotAHead, "an encoder"),
        beside.format("../secret.bin"): (OnnxNotAHead, "no file in its folder"),
        beside.format("w.bin"): (OnnxNotAHead, "w.bin is missing"),
        "m.graph.node[3].domain = 'my.ops'": (OnnxNotAHead, "custom operator"),
    }
    for path, (error, words) in zip(changed(exported, tmp_path, kinds), kinds.values()):
        with pytest.raises(error) as caught:
            head_from_onnx.read_head(path, worker)
        assert words in str(caught.value)
    path = tmp_path / "text.onnx"
    path.write_text("hello, this is no model")
    with pytest.raises(OnnxNotAHead, match="no ONNX model"):
        head_from_onnx.read_head(str(path), worker)
    with path.open("wb") as file:
        file.truncate(300_000_001)  # takes no room on disk
    with pytest.raises(OnnxNotAHead, match="at most 300000000"):
        head_from_onnx.read_head(str(path), worker)
