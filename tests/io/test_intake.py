# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Ranges cut into chunks while they come, and threads that wait for room."""

import threading
import time

import numpy as np
import pytest

from tessera_plugin.io.objects import RangeReply
from tessera_plugin.io.sources import intake
from tessera_plugin.io.sources.intake import Intake
from tessera_plugin.io.sources.room import Room
from tessera_plugin.io.zarr.shards import Chunk, Span
from tessera_plugin.progress import Cancelled

DATA = np.random.default_rng(4).bytes(100_000)


def span_of(*edges):
    chunks = [Chunk(0, number, *pair) for number, pair in enumerate(edges)]
    return Span(chunks[0].start, max(chunk.stop for chunk in chunks), tuple(chunks))


def opened(span, several):
    batches = []

    def put(chunks, bytes_of):
        batches.append([(chunk, bytes_of(chunk)) for chunk in chunks])

    return Intake(span, several, put, lambda head: None), batches


def poured(into, span, sizes):
    at = span.start
    while at < span.stop:
        stop = min(at + next(sizes), span.stop)
        into.take(at - span.start, DATA[at:stop])
        at = stop


@pytest.mark.parametrize("seed", range(20))
def test_every_chunk_comes_once_and_whole(seed):
    draw = np.random.default_rng(seed)
    starts = np.sort(draw.integers(0, 90_000, 40)).tolist()
    span = span_of(*((start, start + int(draw.integers(1, 8000))) for start in starts))
    one, batches = opened(span, 4)
    poured(one, span, iter(lambda: int(draw.integers(1, 9000)), 0))
    found = [pair for batch in batches for pair in batch]
    assert [chunk for chunk, _ in found] == list(span.chunks)
    assert all(data == DATA[chunk.start : chunk.stop] for chunk, data in found)
    assert max(map(len, batches)) <= 4
    assert one.put == 40


def test_chunks_are_handed_on_as_soon_as_there_are_enough():
    span = span_of(*((at, at + 90) for at in range(1000, 2000, 100)))
    one, batches = opened(span, 3)
    one.take(0, DATA[1000:1289])
    assert batches == []
    one.take(289, DATA[1289:1290])
    assert [chunk.col for chunk, _ in batches[0]] == [0, 1, 2]
    assert one.put == 3
    one.take(290, DATA[1290:1650])
    assert [len(batch) for batch in batches] == [3, 3]
    one.take(650, DATA[1650:1800])
    one.flush()
    assert [len(batch) for batch in batches] == [3, 3, 2]
    one.take(800, DATA[1800:1990])
    assert one.put == 10


def test_no_chunk_waits_for_long(monkeypatch):
    monkeypatch.setattr(intake, "WAIT_S", 0.05)
    span = span_of((0, 10), (10, 20), (20, 90))
    one, batches = opened(span, 100)
    one.take(0, DATA[:15])
    time.sleep(0.06)
    one.take(15, DATA[15:25])
    assert [chunk.col for chunk, _ in batches[0]] == [0, 1]


def test_what_lies_between_is_not_held():
    span = span_of((0, 10), (90_000, 90_010))
    one, _ = opened(span, 1)
    for at in range(0, 90_000, 1000):
        one.take(at, DATA[at : at + 1000])
        assert len(one._data) <= 1000


def test_nothing_is_taken_where_the_object_is_another():
    def check(head):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Intake(span_of((0, 10)), 1, print, check).begin(RangeReply(b"", "", 10, ""))


# --- room


def test_who_can_wait_does_until_there_is_room():
    room = Room(100, lambda: None)
    room.wait(lambda: True)
    room.take(150)
    room.wait(lambda: False)  # nobody would let go before
    thread = threading.Thread(target=room.wait, args=(lambda: True,), daemon=True)
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    room.give_back(60)
    thread.join(5)
    assert not thread.is_alive()


def test_cancel_is_heard_while_there_is_no_room():
    def check():
        raise Cancelled

    room = Room(100, check)
    room.take(101)
    with pytest.raises(Cancelled):
        room.wait(lambda: True)
