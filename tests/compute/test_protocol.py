# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest

from tessera_plugin.compute import protocol

MESSAGES = [
    protocol.hello(12, {"torch": "2.13.0"}),
    protocol.request(1, "predict", {"codes": "/data/a ü.npy", "hidden": [64, 32], "seed": None}),
    protocol.loading(1, is_done=False),
    protocol.progress(1, 0.5, "Epoch 3 — ½"),
    protocol.event(1, {"epoch": 3, "train_loss": 0.25}),
    protocol.result(1, {"out": "C:\\Users\\Zoë\\out.npy"}),
    protocol.error(1, "ValueError", "two\nlines", "Traceback …"),
    protocol.cancel(1),
    protocol.heartbeat(1, 30, 2.5),
    protocol.dump(),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message["type"])
def test_a_message_is_one_ascii_line_and_comes_back_whole(message):
    line = protocol.encode(message)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert line.isascii()
    assert protocol.decode(line) == message


def test_a_stream_of_messages_survives_garbage_between_them():
    garbage = [
        b"",
        b"Intel MKL WARNING: something",
        b'{"type":"resu',
        b"[" * 100_000,  # deeper than json can go
        b"\xff\xfe\x00binary",
        b'"text"',
        b"17",
        b'{"type":"unknown"}',
        b'{"type":["list"]}',
        b'{"type":"result","id":1}',  # a field is missing
        b'{"type":"result","id":"1","value":{}}',  # a field is of another kind
        b"x" * (3 * protocol.MAX_LINE),
        protocol.encode(protocol.heartbeat())
        .rstrip()
        .rjust(protocol.MAX_LINE + 200),  # its end alone looks like one
    ]
    stream = b"".join(
        junk + b"\n" + protocol.encode(message) for junk, message in zip(garbage, MESSAGES * 2)
    )
    expected = (MESSAGES * 2)[: len(garbage)]
    assert list(protocol.read_messages(io.BytesIO(stream))) == expected


def test_a_line_without_an_end_is_no_message():
    whole = protocol.encode(protocol.heartbeat())
    assert list(protocol.read_messages(io.BytesIO(whole + whole[:-1]))) == [protocol.heartbeat()]


def test_a_line_of_just_the_cap_passes_and_one_byte_more_does_not():
    empty = len(protocol.encode(protocol.request(1, "", {})))
    longest = protocol.request(1, "m" * (protocol.MAX_LINE - empty), {})
    line = protocol.encode(longest)
    assert len(line) == protocol.MAX_LINE
    assert list(protocol.read_messages(io.BytesIO(line + line))) == [longest, longest]
    with pytest.raises(ValueError, match=r"\.npy"):
        protocol.encode(protocol.request(1, "m" * (protocol.MAX_LINE - empty + 1), {}))


def test_paths_become_text_and_arrays_are_refused():
    line = protocol.encode(protocol.request(1, "predict", {"codes": Path("a/b.npy")}))
    assert protocol.decode(line)["params"] == {"codes": str(Path("a/b.npy"))}
    with pytest.raises(TypeError):
        protocol.encode(protocol.request(1, "predict", {"codes": np.zeros(3)}))


def test_file_names_that_are_no_text_and_losses_that_are_no_numbers_survive():
    params = {"codes": b"/tmp/\xff.npy".decode("utf-8", "surrogateescape"), "loss": math.nan}
    back = protocol.decode(protocol.encode(protocol.request(1, "m", params)))["params"]
    assert back["codes"] == params["codes"]
    assert math.isnan(back["loss"])


def test_a_long_error_keeps_its_message_and_both_ends_of_its_traceback():
    message = protocol.error(1, "ValueError", "m" * 10**7, "the place" + "d" * 10**7 + "the cause")
    assert len(protocol.encode(message)) < protocol.MAX_LINE
    assert message["message"].startswith("mmm")
    assert message["details"].startswith("the place")
    assert message["details"].endswith("the cause")


def test_hello_of_another_protocol_is_understood():
    assert protocol.decode(b'{"type":"hello","protocol":99,"pid":"elsewhere"}')["protocol"] == 99
