# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Ranges that were read ahead of a fetch, and what is given of them instead of asking again."""

import os

import pytest

from tessera_plugin.io.cache import BlockCache, ObjectInfo
from tessera_plugin.io.sources import ahead
from tessera_plugin.io.sources.ahead import Ahead, AheadFront
from tessera_plugin.io.sources.mirrors import open_client, roots_of
from tessera_plugin.values import NetworkSettings
from tests.servers import DictProvider, RangeServer

DATA = bytes(range(256)) * 40
PATH = "npy/a/b_scales.npy"


def cache(folder, year=2024):
    return BlockCache(str(folder), "http://127.0.0.1:1", dataset="1.1-x", depth=128, form="npy",
                      year=year)  # fmt: skip


def info(etag='"e1"'):
    return ObjectInfo(etag, len(DATA), "Thu, 01 Jan 2026 00:00:00 GMT", 0, "")


def kept(folder, *spans, of=None):
    one = Ahead(cache(folder))
    one.keep(PATH, of or info(), [(start, DATA[start:stop]) for start, stop in spans])
    return one


def test_what_was_kept_comes_back_with_its_holes(tmp_path):
    one = kept(tmp_path, (100, 300), (500, 900))
    assert one.spans(PATH, info()) == [(100, 300), (500, 900)]
    reply, holes = one.read(PATH, '"e1"', 150, 280)
    assert (reply.data, holes) == (DATA[150:280], [])
    assert (reply.etag, reply.total, reply.last_modified[:3]) == ('"e1"', len(DATA), "Thu")
    reply, holes = one.read(PATH, '"e1"', 50, 1000)
    assert holes == [(50, 100), (300, 500), (900, 1000)]
    assert reply.data[50:250] == DATA[100:300]
    assert one.read(PATH, '"e1"', 300, 500) is None


def test_ranges_are_added_to_those_that_are_kept(tmp_path):
    kept(tmp_path, (100, 300))
    one = kept(tmp_path, (300, 400), (50, 120))
    assert one.spans(PATH, info()) == [(50, 400)]
    assert one.read(PATH, '"e1"', 60, 390)[0].data == DATA[60:390]


class Bucket:
    def __init__(self):
        self.data, self.etags = b"", []

    def begin(self, head):
        self.etags.append(head.etag)

    def take(self, offset, data):
        assert offset == len(self.data)
        self.data += data


def test_a_sink_gets_what_was_kept_and_the_rest(tmp_path):
    with RangeServer(DictProvider({PATH: DATA})) as server:
        client = open_client(server.url, NetworkSettings())
        etag = client.get_range(f"{server.url}/{PATH}", 0, 1).etag
        one = kept(tmp_path, (100, 300), of=info(etag))
        front = AheadFront(client, roots_of(server.url), one)
        bucket = Bucket()
        assert front.get_range(PATH, 50, 400, etag, sink=bucket).data == b""
        assert (bucket.data, bucket.etags) == (DATA[50:400], [etag])
        assert sum(entry.bytes for entry in server.log[1:]) == 150
        bucket = Bucket()
        front.get_range(PATH, 1000, 2000, etag, sink=bucket)
        assert bucket.data == DATA[1000:2000]
        client.close()


@pytest.mark.parametrize("etag", ['"other"', "", "W/x"])
def test_another_object_has_nothing(tmp_path, etag):
    one = kept(tmp_path, (0, 500))
    assert one.read(PATH, etag, 0, 100) is None
    assert one.spans(PATH, info(etag)) == []
    assert one.read("npy/other", '"e1"', 0, 100) is None
    assert Ahead(cache(tmp_path, 2023)).read(PATH, '"e1"', 0, 100) is None


def test_without_an_etag_nothing_is_kept(tmp_path):
    assert kept(tmp_path, (0, 500), of=info("")).spans(PATH, info("")) == []
    assert not list(tmp_path.rglob("*.ahead"))


@pytest.mark.parametrize("at", [0, 3, -1, -300], ids=["head", "head too", "body", "other body"])
def test_a_damaged_file_gives_nothing_wrong(tmp_path, at):
    one = kept(tmp_path, (0, 250), (600, 900))
    (file,) = tmp_path.rglob("*.ahead")
    raw = bytearray(file.read_bytes())
    raw[at] ^= 0x40
    file.write_bytes(raw)
    found = one.read(PATH, '"e1"', 0, 900)
    for start in range(0, 900, 50):
        if found and not any(first <= start < last for first, last in found[1]):
            assert found[0].data[start : start + 50] == DATA[start : start + 50]
    file.write_bytes(raw[:-100])
    assert one.read(PATH, '"e1"', 600, 900) is None


def test_the_files_stay_small_together_oldest_go_first(tmp_path):
    for number in range(4):
        one = Ahead(cache(tmp_path, 2020 + number))
        one.keep(PATH, info(), [(0, DATA[:3000])])
        (file,) = (tmp_path).rglob(f"{2020 + number}/tiles/*.ahead")
        os.utime(file, (1e9, 1e9 + number))
    ahead.prune(tmp_path, 7000)
    left = sorted(file.parts[-3] for file in tmp_path.rglob("*.ahead"))
    assert left == ["2022", "2023"]


def test_a_folder_that_can_not_be_written_is_no_reason_to_stop(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    assert kept(tmp_path / "file", (0, 100)).spans(PATH, info()) == []


@pytest.fixture
def served(tmp_path):
    provider = DictProvider({PATH: DATA})
    with RangeServer(provider) as server:
        client = open_client(server.url, NetworkSettings())
        etag = f'"{provider.etags[PATH]}"'
        one = kept(tmp_path, (100, 300), (400, 600), of=info(etag))
        yield server, AheadFront(client, roots_of(server.url), one), etag
        client.close()


def test_only_the_holes_are_asked_for(served):
    server, front, etag = served
    came = []
    reply = front.get_range(PATH, 200, 500, etag, came.append)
    assert reply.data == DATA[200:500]
    assert [entry.range for entry in server.log] == ["bytes=300-399"]
    assert sum(came) == 300, "progress counts what need not come"
    assert (reply.etag, reply.total) == (etag, len(DATA))


def test_nothing_is_given_twice(served):
    """Whoever asks again wants to know whether it comes the same."""
    server, front, etag = served
    assert front.get_range(PATH, 100, 200, etag).data == DATA[100:200]
    assert front.get_range(PATH, 200, 300, etag).data == DATA[200:300]
    assert not server.log
    assert front.get_range(PATH, 150, 160, etag).data == DATA[150:160]
    assert len(server.log) == 1


def test_without_the_etag_the_server_is_asked(served):
    server, front, _ = served
    assert front.get_range(PATH, 100, 200).data == DATA[100:200]
    assert len(server.log) == 1
