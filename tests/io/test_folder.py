# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Objects in a folder: which folder is meant, what lies in it, and what can be wrong with it."""

import os
import shutil
import threading
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import numpy as np
import pytest

from tessera_plugin.errors import NetworkFailed
from tessera_plugin.io import folder
from tessera_plugin.io.cache import archive_identity
from tessera_plugin.io.folder import FolderClient, folder_identity, folder_path, is_folder
from tessera_plugin.io.objects import (
    NotFound,
    NotModified,
    ObjectChanged,
    ObjectUnusable,
    Unreachable,
)
from tessera_plugin.progress import Cancelled, Gate
from tests.clock import within

DATA = np.random.default_rng(3).bytes(3_000_000)


@pytest.fixture
def root(tmp_path):
    made = tmp_path / "stick"
    (made / "zarr" / "v 1~beta").mkdir(parents=True)
    (made / "zarr" / "v 1~beta" / "c").write_bytes(DATA)
    return made


@pytest.fixture
def client(root):
    return FolderClient(str(root))


def url(root, path="zarr/v 1~beta/c"):
    return f"{root}/{path}"


# --- which folder


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/data/tessera", True),
        ("data/tessera", True),
        ("./tessera", True),
        ("~/tessera", True),
        ("file:///data/tessera", True),
        ("FILE:///data/tessera", True),
        ("C:\\tessera", True),
        ("c:/tessera", True),
        ("E:", True),
        ("\\\\server\\share\\tessera", True),
        ("//server/share/tessera", True),
        (" /data/tessera ", True),
        ("https://data.source.coop/tessera/tessera", False),
        ("HTTP://127.0.0.1:8000/a", False),
        ("s3://bucket/tessera", False),
        ("ftp://server/tessera", False),
        ("", False),
    ],
)
def test_what_is_a_folder(location, expected):
    assert is_folder(location) is expected


@pytest.mark.parametrize(
    ("location", "windows", "expected"),
    [
        ("/data/./x/../tessera/", False, "/data/tessera"),
        ("//data/tessera", False, "/data/tessera"),
        ("file:///data/tessera%20copy", False, "/data/tessera copy"),
        ("file://localhost/data/tessera", False, "/data/tessera"),
        ("C:\\tessera\\..\\other\\", True, "C:\\other"),
        ("C:/tessera/", True, "C:\\tessera"),
        ("C:/tessera/", False, "C:\\tessera"),
        ("E:\\", True, "E:\\"),
        ("E:", True, "E:\\"),
        ("file:///C:/tessera", True, "C:\\tessera"),
        ("file:///C:/tessera%20copy", False, "C:\\tessera copy"),
        ("\\\\server\\share\\tessera\\", True, "\\\\server\\share\\tessera"),
        ("//server/share/tessera", True, "\\\\server\\share\\tessera"),
        ("file://server/share/tessera", True, "\\\\server\\share\\tessera"),
        ("file:////server/share/tessera", True, "\\\\server\\share\\tessera"),
    ],
)
def test_the_path_of_a_folder(location, windows, expected):
    assert folder_path(location, windows=windows) == expected


def test_a_relative_folder_is_made_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert folder_path("archive") == str(tmp_path / "archive")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert folder_path("~/archive") == str(tmp_path / "archive")


def test_a_folder_is_itself_however_it_is_written():
    def same(locations, windows):
        return len({folder_identity(each, windows=windows) for each in locations}) == 1

    assert same(["/data/a", "/data/a/", "/data/./b/../a", "file:///data/a"], windows=False)
    drive = ["C:\\Data\\a", "c:/data/A/", "file:///C:/Data/a", "C:\\Data\\.\\a\\"]
    assert same(drive, windows=True)
    assert same(drive, windows=False)
    assert same(["\\\\Server\\Share\\a", "//server/share/a", "file://server/share/a"], windows=True)
    assert not same(["/data/a", "/data/A"], windows=False)
    assert not same(["C:\\a", "D:\\a"], windows=True)


def test_the_cache_tells_folders_from_each_other_and_from_servers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one = archive_identity(str(tmp_path / "a"))
    assert one == archive_identity("a") == archive_identity((tmp_path / "a").as_uri())
    assert one == archive_identity(f"{tmp_path}/x/../a/")
    others = [archive_identity(each) for each in (f"{tmp_path}/b", "http://a", "D:\\a", "d:\\b")]
    assert len({one, *others}) == 5
    assert one.isalnum()


# --- what lies in it


def test_parts_and_the_whole(root, client):
    reply = client.get_range(url(root), 1000, 2_001_000)
    assert reply.data == DATA[1000:2_001_000]
    assert reply.total == len(DATA)
    found = (root / "zarr" / "v 1~beta" / "c").stat()
    assert reply.etag == f'"{found.st_size:x}-{found.st_mtime_ns:x}"'
    assert parsedate_to_datetime(reply.last_modified).timestamp() == int(found.st_mtime)
    assert client.get_tail(url(root), 100).data == DATA[-100:]
    assert client.get(url(root)) == client.get_tail(url(root), len(DATA))
    assert client.get_range(url(root), 10, 20, reply.etag).data == DATA[10:20]
    assert client.get_range(url(root), 10, 20, f"W/{reply.etag}").data == DATA[10:20]
    assert client.bytes_received == 2_000_000 + 100 + 2 * len(DATA) + 20
    assert client.requests == 6


def test_progress_is_told_in_pieces(root, client):
    told = []
    client.get_range(url(root), 0, len(DATA), progress=told.append)
    assert sum(told) == len(DATA)
    assert len(told) > 2


def test_a_file_that_was_written_anew_is_another_object(root, client):
    path = root / "zarr" / "v 1~beta" / "c"
    etag = client.get(url(root)).etag
    with pytest.raises(NotModified):
        client.get(url(root), known_etag=etag)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1000))
    with pytest.raises(ObjectChanged):
        client.get_range(url(root), 0, 10, etag)
    assert client.get(url(root), known_etag=etag).data == DATA


@pytest.mark.parametrize("kept", [100, len(DATA)], ids=["cut", "rewritten"])
def test_a_file_that_is_written_while_it_is_read(root, client, kept):
    path = root / "zarr" / "v 1~beta" / "c"
    told = []

    def interfere(size):
        if not told:
            path.write_bytes(DATA[:kept])
            os.utime(path, ns=(0, 5_000_000_000))
        told.append(size)

    with pytest.raises(ObjectChanged):
        client.get_range(url(root), 0, len(DATA), progress=interfere)
    assert sum(told) == 0


class Bucket:
    def __init__(self, then=lambda: None):
        self.data, self.heads, self._then = bytearray(), [], then

    def begin(self, head):
        self.heads.append((head.data, head.total))

    def take(self, offset, data):
        assert offset == len(self.data)
        self.data += data
        self._then()


def test_a_sink_gets_the_bytes_as_they_come(root, client):
    bucket, told = Bucket(), []
    reply = client.get_range(url(root), 1000, 2_001_000, None, told.append, sink=bucket)
    assert bytes(bucket.data) == DATA[1000:2_001_000]
    assert bucket.heads == [(b"", len(DATA))]
    assert (reply.data, sum(told), client.bytes_received) == (b"", 2_000_000, 2_000_000)


def test_a_sink_gets_nothing_of_a_file_that_is_written_anew(root, client):
    path = root / "zarr" / "v 1~beta" / "c"

    def interfere():
        path.write_bytes(bytes(len(DATA)))
        os.utime(path, ns=(0, 5_000_000_000))

    bucket = Bucket(interfere)
    with pytest.raises(ObjectChanged):
        client.get_range(url(root), 0, len(DATA), sink=bucket)
    assert 0 < len(bucket.data) < len(DATA)
    assert bytes(bucket.data) == DATA[: len(bucket.data)]


def test_what_a_sink_raises_is_not_the_folders_fault(root, client):
    def fail():
        raise PermissionError("elsewhere")

    with pytest.raises(PermissionError, match="elsewhere"):
        client.get_range(url(root), 0, 10, sink=Bucket(fail))


def test_a_file_that_is_too_short(root, client):
    (root / "short").write_bytes(b"only this")
    for ask in (
        lambda: client.get_range(url(root, "short"), 0, 128),
        lambda: client.get_range(url(root, "short"), 100, 128),
        lambda: client.get_tail(url(root, "short"), 128),
    ):
        with pytest.raises(ObjectUnusable, match="only 9 bytes"):
            ask()


def test_a_file_that_is_too_large_to_be_read_whole(root, client):
    with (root / "large").open("wb") as stream:
        stream.truncate(folder.GET_LIMIT_BYTES + 1)
    with pytest.raises(ObjectUnusable, match="more than expected"):
        client.get(url(root, "large"))
    assert client.bytes_received == 0


# --- what can be wrong with it


def test_what_is_not_there(root, client):
    for path in ("none", "zarr/none/c", "zarr/v 1~beta/c/d"):
        with pytest.raises(NotFound):
            client.get(url(root, path))
    assert client.heard_since(0.1)


@pytest.mark.parametrize("is_left", [False, True], ids=["gone", "empty"])
def test_a_stick_that_was_taken_out_is_not_an_archive_without_objects(root, client, is_left):
    client.get(url(root))
    moment = time.monotonic()
    shutil.rmtree(root)
    if is_left:
        root.mkdir()  # the place where it was mounted
    with pytest.raises(Unreachable) as caught:
        client.get_range(url(root), 0, 10)
    assert caught.value.reason == "the folder is not there"
    assert not client.heard_since(moment)


def test_a_stick_that_is_taken_out_in_the_middle(root, client, monkeypatch):
    """The system says so on the next read; this can't be had without a stick."""
    whole = Path.open
    told = []

    class Torn:
        def __init__(self, stream):
            self.stream = stream

        def __enter__(self):
            return self

        def __exit__(self, *exc):
            self.stream.close()

        def __getattr__(self, name):
            return getattr(self.stream, name)

        def read(self, size):
            if told:
                shutil.rmtree(root)
                raise OSError(5, "Input/output error")
            return self.stream.read(size)

    monkeypatch.setattr(Path, "open", lambda path, mode: Torn(whole(path, mode)))
    with pytest.raises(Unreachable, match="the folder is not there"):
        client.get_range(url(root), 0, len(DATA), progress=told.append)
    assert sum(told) == 0


def test_a_file_that_may_not_be_read(root, client):
    path = root / "zarr" / "v 1~beta" / "c"
    path.chmod(0)
    if os.access(path, os.R_OK):  # an administrator may read everything
        (root / "closed").mkdir()
        path = root / "closed"
    with pytest.raises(NetworkFailed) as caught:
        client.get(url(root, str(path.relative_to(root))))
    assert caught.value.reason == "reading it is not allowed"
    assert not isinstance(caught.value, Unreachable)


@pytest.mark.parametrize(
    "path", ["../secret", "zarr/../../secret", "zarr/../../stick2/secret", "/secret", "", "."]
)
def test_a_path_that_leads_out_is_refused(root, client, path):
    (root.parent / "secret").write_bytes(b"secret")
    with pytest.raises(ObjectUnusable, match="leads out"):
        client.get(url(root, path))


def test_another_folder_is_refused(root, client):
    other = root.parent / "stick2"
    other.mkdir()
    (other / "secret").write_bytes(b"secret")
    with pytest.raises(ObjectUnusable, match="leads out"):
        client.get(f"{other}/secret")


# --- pause and cancel


def test_pause_and_cancel(root):
    gate = Gate()
    client = FolderClient(str(root), gate)
    outcome = []

    def ask():
        try:
            outcome.append(client.get(url(root)).data)
        except Exception as error:
            outcome.append(error)

    for end in (gate.resume, client.cancel):
        gate.pause()
        thread = threading.Thread(target=ask)
        thread.start()
        time.sleep(0.3)
        assert thread.is_alive()
        began = time.monotonic()
        end()
        thread.join(5)
        assert time.monotonic() - began < within(0.5)
    assert outcome[0] == DATA
    assert isinstance(outcome[1], Cancelled)
    with pytest.raises(Cancelled):
        client.get(url(root))
