# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Hostile ONNX files, made byte by byte, and an honest one with everything that is allowed."""

import os

import pytest

from tessera_plugin.compute.worker.onnx_safety import ModelUnusable, check_model


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def number(field, value):
    return varint(field << 3) + varint(value)


def part(field, content):
    raw = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(raw)) + raw


def node(op, domain="", *attributes):
    given = b"".join(part(5, attribute) for attribute in attributes)
    return part(1, "x") + part(2, "y") + part(4, op) + given + part(7, domain)


def graph(*nodes, tensors=()):
    return b"".join(part(1, each) for each in nodes) + b"".join(part(5, each) for each in tensors)


def function(domain, name, *nodes):
    return part(1, name) + b"".join(part(7, each) for each in nodes) + part(10, domain)


def kept_in(location, **more):
    entries = {"location": location, **more}
    told = b"".join(part(13, part(1, key) + part(2, value)) for key, value in entries.items())
    return number(1, 2) + number(2, 1) + part(8, "w") + told + number(14, 1)


OPSET = part(8, part(1, "") + number(2, 17))


def model(of=None, *, functions=(), opset=OPSET):
    of = graph(node("Relu")) if of is None else of
    inner = b"".join(part(25, each) for each in functions)
    return number(1, 8) + part(2, "test") + opset + part(7, of) + inner + part(14, part(1, "key"))


@pytest.fixture
def refused(tmp_path):
    def check(raw, reason, most_bytes=10_000, name="model.onnx"):
        folder = tmp_path / "folder"
        folder.mkdir(exist_ok=True)
        path = folder / name
        path.write_bytes(raw)
        with pytest.raises(ModelUnusable) as caught:
            check_model(str(path), most_bytes)
        assert caught.value.path == str(path)
        assert reason in caught.value.reason
        assert str(tmp_path) not in caught.value.reason

    return check


def test_an_honest_model_with_all_that_is_allowed_passes(tmp_path):
    branch = part(1, "then_branch") + part(6, graph(node("Relu")))
    weights = number(1, 4) + number(2, 1) + part(9, b"\xff" * 16)  # never looked into
    own = [function("pkg.mine", "twice", node("Relu"), node("Gelu", "com.microsoft"))]
    nodes = [node("If", "", branch), node("twice", "pkg.mine"), node("Scaler", "ai.onnx.ml")]
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "a.bin").write_bytes(bytes(100))
    tensors = [weights, kept_in("weights/a.bin", offset="64", length="36")]
    path = tmp_path / "model.onnx"
    path.write_bytes(model(graph(*nodes, tensors=tensors), functions=own))
    check_model(str(path), path.stat().st_size + 100)
    with pytest.raises(ModelUnusable, match="too large"):
        check_model(str(path), path.stat().st_size + 99)


def test_what_is_no_model_is_refused(refused):
    refused(b"", "empty")
    refused(b"hello, this is no model", "no ONNX model")
    refused(model()[:-1], "damaged")
    refused(model(opset=b""), "operator set")
    refused(number(1, 8) + OPSET, "no ONNX model")
    refused(model() + b"\x0b", "damaged")  # a group, which ONNX doesn't have
    refused(model() + part(7, b"") + varint(7 << 3) + varint(3), "damaged")  # a graph as a number
    refused(varint(7 << 3 | 2) + b"\xff" * 9 + b"\x01", "damaged")  # a graph of 2**70 bytes
    refused(b"\x18\x00\x00\x00ORTM" + bytes(100), "own format")
    refused(model(), "own format", name="model.ort")


def test_a_file_that_is_not_there_is_told(tmp_path):
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(ModelUnusable, match="no such file"):
            check_model(str(path))


def test_a_model_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.truncate(3_000_000_001)  # takes no room on disk
    with pytest.raises(ModelUnusable, match="3000000001 bytes"):
        check_model(str(path))


@pytest.mark.parametrize(
    "location",
    [
        "/etc/passwd",
        "../secret.bin",
        "a/../../secret.bin",
        "..\\secret.bin",
        "C:\\secret.bin",
        "C:secret.bin",
        "//host/share/x",
        "file:///etc/passwd",
        "a\0b",
        "",
        ".." + "/.." * 30 + "/etc/passwd",
        "*/_ORT_MEM_ADDR_/*",
        "link.bin",
        "linked/secret.bin",
    ],
)
def test_files_outside_of_the_folder_are_refused(refused, tmp_path, location):
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(100))
    os.symlink(tmp_path / "secret.bin", folder / "link.bin")
    os.symlink(tmp_path, folder / "linked")
    tensor = kept_in(location, length="4")
    attribute = part(1, "value") + part(5, tensor)
    branch = part(1, "body") + part(6, graph(node("Constant", "", attribute)))
    sparse = part(1, "value") + part(22, part(1, tensor))
    for hidden in (
        model(graph(tensors=[tensor])),
        model(graph(node("Constant", "", attribute))),
        model(graph(node("Loop", "", branch))),
        model(graph(node("Constant", "", sparse))),
        model(graph() + part(15, part(2, tensor))),
        model(functions=[function("own", "f", node("Constant", "", attribute))]),
        model() + part(20, part(2, graph(tensors=[tensor]))),
    ):
        refused(hidden, "no file in its folder")


def test_files_of_weights_have_to_be_there_and_long_enough(refused, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "w.bin").write_bytes(bytes(100))

    def asks(**more):
        return model(graph(tensors=[kept_in("w.bin", **more)]))

    refused(asks(offset="60", length="41"), "too short")
    refused(asks(offset="101"), "too short")
    refused(asks(offset="-1"), "number of bytes")
    refused(asks(length="4e9"), "number of bytes")
    refused(model(graph(tensors=[kept_in("none.bin")])), "missing")
    refused(model(graph(tensors=[number(14, 1)])), "no file in its folder")
    twice = kept_in("w.bin") + part(13, part(1, "location") + part(2, "/etc/passwd"))
    refused(model(graph(tensors=[twice])), "twice")


def test_operators_that_are_not_built_in_are_refused(refused):
    refused(model(graph(node("Evil", "my.ops"))), "Evil of my.ops")
    refused(model(functions=[function("own", "f", node("Evil", "my.ops"))]), "Evil of my.ops")
    branch = part(1, "then_branch") + part(6, graph(node("Evil", "my.ops")))
    refused(model(graph(node("If", "", branch))), "Evil of my.ops")
    refused(model(graph(node("EPContext", "com.microsoft"))), "EPContext")
    disguised = [function("com.microsoft", "EPContext", node("Relu"))]
    refused(model(graph(node("EPContext", "com.microsoft")), functions=disguised), "EPContext")


def test_functions_that_unfold_without_end_are_refused(refused):
    def calls(*names):
        return [node(name, "own") for name in names]

    itself = [function("own", "a", *calls("b")), function("own", "b", *calls("a"))]
    refused(model(functions=itself), "calls itself")
    doubling = [function("own", f"f{n}", *calls(*[f"f{n + 1}"] * 16)) for n in range(8)]
    refused(model(functions=[*doubling, function("own", "f8", node("Relu"))]), "too many parts")
    chain = [function("own", f"f{n}", *calls(f"f{n + 1}")) for n in range(40)]
    refused(model(functions=[*chain, function("own", "f40", node("Relu"))]), "too deeply")
    refused(model(functions=[function("own", "a", node("Relu"))] * 2), "two functions")
    refused(model(functions=[function("", "", node("Relu"))]), "two functions")


def test_graphs_in_graphs_without_end_are_refused(refused):
    deep = graph(node("Relu"))
    for _ in range(40):
        deep = graph(node("If", "", part(6, deep)))
    refused(model(deep), "nested too deeply")


def test_a_name_without_end_is_refused(refused):
    refused(model(graph(node("R" * 5000))), "4096 bytes")
