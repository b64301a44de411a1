# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The worker's jobs `export_encoder` and `describe_encoder`, as QGIS asks for them."""

import subprocess
from pathlib import Path

import pytest

from tessera_plugin.compute.client import WorkerClient
from tessera_plugin.errors import WorkerFailed
from tessera_plugin.progress import Cancelled
from tests.compute.helpers import worker_python

SCRIPT = Path(__file__).with_name("make_checkpoint.py")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "student.pt"
    subprocess.run([worker_python(), str(SCRIPT), str(path)], check=True)
    return path


@pytest.fixture(scope="module")
def client():
    client = WorkerClient(worker_python())
    yield client
    client.stop()


def test_an_encoder_is_made_told_about_and_listed_alike(checkpoint, client, tmp_path):
    out, told = tmp_path / "a.onnx", []

    def report(fraction, message=""):
        told.append((fraction, message))

    facts = client.call("export_encoder", {"checkpoint": str(checkpoint), "out": str(out)}, report)
    assert (facts["generation"], facts["size"], facts["precision"]) == ("2.0", "custom", "float32")
    assert facts["source_file"] == "student.pt"
    assert facts["parity"]["largest_difference"] < facts["parity"]["allowed_difference"]
    assert client.call("describe_encoder", {"path": str(out)}) == facts
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]
    fractions = [fraction for fraction, message in told if message]
    assert fractions == sorted(fractions)
    assert any("256 observations" in message for _fraction, message in told)


def test_a_cancel_leaves_no_file(checkpoint, client, tmp_path):
    out = tmp_path / "a.onnx"

    def report(_fraction, message=""):
        if "comparing" in message:
            raise Cancelled

    for _ in range(
        3
    ):  # a cancel may cross the answer, then the file is whole; seldom, and not thrice
        out.unlink(missing_ok=True)
        with pytest.raises(Cancelled):
            client.call("export_encoder", {"checkpoint": str(checkpoint), "out": str(out)}, report)
        if not out.exists():
            break
    assert not list(tmp_path.iterdir())


def test_what_is_refused_is_the_same_error_with_the_file_and_the_reason(client, tmp_path):
    text, out = tmp_path / "text.pt", tmp_path / "a.onnx"
    text.write_text("hello")
    asked = [
        ("export_encoder", {"checkpoint": str(text), "out": str(out)}, "not a whole checkpoint"),
        ("export_encoder", {"checkpoint": str(tmp_path / "no"), "out": str(out)}, "No such file"),
        ("describe_encoder", {"path": str(text)}, "no ONNX file"),
    ]
    for method, params, words in asked:
        with pytest.raises(WorkerFailed) as raised:
            client.call(method, params)
        assert raised.value.kind == "EncoderUnusable"
        path = params.get("checkpoint") or params["path"]
        assert raised.value.message.startswith(f"{path}: ")
        assert words in raised.value.message
    assert not out.exists()
