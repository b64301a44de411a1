# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is written on an encoder file: read without a library, and refused with a reason."""

import pytest

from tessera_plugin.compute.worker.encode.errors import EncoderUnusable
from tessera_plugin.compute.worker.encoders.describe import describe
from tessera_plugin.compute.worker.encoders.metadata import read_properties
from tessera_plugin.compute.worker.encoders.spec import KEY, MAX_TEXT, Loss, spec_to_text
from tests.compute.encoders.test_spec import LOSS, a_spec


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def field(number, value):
    """Return a field of a protobuf message: a number, bytes or text."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def onnx_file(path, said, graph=b"\x00" * 1000):
    """Write what an ONNX file starts with, whose graph is of no interest; return its path."""
    pairs = [field(14, field(1, key) + field(2, text)) for key, text in said.items()]
    parts = [field(1, 8), field(2, "test"), field(7, graph), field(8, field(2, 18)), *pairs]
    path.write_bytes(b"".join(parts))
    return str(path)


def reason(path):
    with pytest.raises(EncoderUnusable) as raised:
        describe(str(path))
    assert raised.value.path == str(path)
    assert raised.value.reason
    return raised.value.reason


def test_all_that_a_list_of_encoders_shows_is_told(tmp_path):
    spec = a_spec()
    path = onnx_file(tmp_path / "a.onnx", {"other": "1", KEY: spec_to_text(spec)})
    told = describe(path)
    assert told["name"] == "tessera-1.1-aws"
    assert told["title"] == "TESSERA v1.1 AWS"
    assert (told["generation"], told["data_source"]) == ("1.1", "aws")
    assert (told["space"], told["precision"]) == (spec.space, "float32")
    assert (told["depth"], told["native_depth"], told["prefixes"]) == (2, 3, [])
    assert (told["licence"], told["source_file"]) == ("CC0-1.0", "a.pt")
    assert told["source_sha256"] == "0" * 64
    assert (told["loss"], told["is_fast_preview"], told["warnings"]) == (None, False, [])
    assert told["parity"]["largest_difference"] == 1e-6
    assert told["gflop_per_px"]["per_s2"] == 0.75
    assert told["lengths"] == list(range(8, 257, 8))
    assert told["needs_s1"] is False
    assert told["bytes"] == (tmp_path / "a.onnx").stat().st_size
    assert told["inputs"][0]["bands"][:3] == ("B04", "B02", "B03")
    assert told["quantisation"] == {"smallest_scale": 1e-8, "smallest_code": -128}


def test_what_someone_should_know_is_a_sentence_each(tmp_path):
    def told(**changed):
        text = spec_to_text(a_spec(**changed))
        return describe(onnx_file(tmp_path / "a.onnx", {KEY: text}))

    half = told(precision="float16", loss=Loss(**{**LOSS, "calibration": ""}))
    assert half["title"] == "TESSERA v1.1 AWS (float16)"
    assert half["warnings"] == [
        "Half precision is for GPUs: on a processor it is no faster than float32."
    ]
    worse = Loss(**{**LOSS, "cosine_min": 0.9})
    preview = told(precision="int8", loss=worse, is_fast_preview=True)
    assert preview["title"].endswith("(int8, fast preview)")
    assert "0.99990 in the mean and 0.90000 at worst" in preview["warnings"][0]
    assert "a folder" in preview["warnings"][0]
    assert "not to be mixed" in preview["warnings"][1]
    first = told(generation="1.0", data_source="unstated", s2=a_spec("1.0", "unstated").s2)
    assert first["needs_s1"] is True
    assert any("Sentinel-1" in sentence for sentence in first["warnings"])
    assert any("by chance" in sentence for sentence in first["warnings"])


def test_the_graph_is_not_read(tmp_path):
    path = onnx_file(tmp_path / "a.onnx", {KEY: "text"}, graph=b"\xff" * 3_000_000)
    assert read_properties(path) == {KEY: "text"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no ONNX file"),
        (b"hello, this is no model", "no ONNX file"),
        (b"PK\x03\x04 a zip file, such as a checkpoint", "no ONNX file"),
        (b"\xff" * 100, "no ONNX file"),
        (field(1, 8), "no ONNX file"),
        (field(7, b"\x00" * 50)[:-10], "not a whole one"),
        (field(7, b"") + b"\x08\x01" * 2000, "no ONNX file"),
        (field(7, b""), "does not say how to run it"),
        (field(7, b"") + field(14, field(1, KEY) + field(2, b"\xff\xfe")), "utf-8"),
        (field(7, b"") + field(14, field(1, KEY) + field(2, "{}")), "missing: schema"),
        (field(7, b"") + field(14, b"\x00" * (2 * MAX_TEXT + 1)), "too long"),
    ],
)
def test_what_is_no_encoder_gets_a_reason(tmp_path, content, words):
    path = tmp_path / "a.onnx"
    path.write_bytes(content)
    assert words in reason(path)


def test_a_file_cut_anywhere_gets_a_reason(tmp_path):
    path = tmp_path / "a.onnx"
    onnx_file(path, {KEY: spec_to_text(a_spec())})
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        assert reason(path)


def test_a_newer_schema_and_a_file_that_is_not_there(tmp_path):
    newer = spec_to_text(a_spec()).replace('"schema":1', '"schema":2')
    assert "schema 2 is newer than 1" in reason(onnx_file(tmp_path / "a.onnx", {KEY: newer}))
    assert reason(tmp_path / "nowhere.onnx")
    assert reason(tmp_path)
