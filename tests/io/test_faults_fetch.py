# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What a fetch makes of everything that can go wrong on its way, over both forms.

In each case: every pixel that is there is right, every pixel that is not is in a part that is named,
with the cause in plain words; it ends by itself; and without the fault the rest comes, and only that.
The long forms are `./dev stress`.
"""

import dataclasses

import pytest

from tessera_plugin.errors import DiskFull
from tessera_plugin.io import http_bodies
from tessera_plugin.io.sources.base import FetchOptions
from tests import certificates
from tests.cache_builders import small_disk
from tests.proxies import Proxy
from tests.servers import FOREVER, Fault, RangeServer
from tests.stress import crowd, disks, kills, kinds
from tests.stress.flips import WRONG_BYTES, Flip, Twisted
from tests.stress.kinds import SHORT, SHORT_ONCE
from tests.stress.scenes import LARGE, archive, scene
from tests.stress.trial import Trial, with_

HOST = "archive.invalid"
"""A name that no system knows: only a proxy can lead there."""

both = pytest.mark.parametrize("form", ["zarr", "npy"])


@pytest.fixture(scope="module")
def running():
    with RangeServer(archive()) as server:
        yield server


@pytest.fixture
def server(running):
    running.clear()
    running.bandwidth = None
    return running


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Bear less slowness, so that the tests are quick."""
    monkeypatch.setattr(http_bodies, "SLOWEST_BYTES_PER_S", 100_000.0)


@pytest.fixture(scope="module")
def clean(running, tmp_path_factory):
    """How many requests a fetch takes without faults."""
    found = {}
    running.clear()
    for form in ("zarr", "npy"):
        trial = Trial(scene(form), running, tmp_path_factory.mktemp(form))
        outcome = trial.fetch()
        assert outcome.problems() + outcome.not_whole() == []
        found[form] = len(outcome.log)
    return found


@both
@pytest.mark.parametrize("kind", SHORT_ONCE, ids=lambda kind: kind.name)
def test_a_fault_here_and_there(server, clean, tmp_path, form, kind):
    trial = Trial(scene(form), server, tmp_path)
    faults = kinds.once_everywhere(trial.scene, kind.make)
    faults = faults[-1:] if kind.seconds else faults  # the others are in the long runs
    server.faults += faults
    outcome = trial.fetch(with_(**kind.settings))
    problems = outcome.problems()
    problems += outcome.not_bounded(2 * clean[form] + 20, 10 + 5 * kind.seconds)
    if kind.once == kinds.PASSES:
        problems += outcome.not_whole()
        problems += [f"{fault} has not happened" for fault in faults if not fault.hits]
    else:
        problems += outcome.not_named(kind.words)
    assert problems + trial.repaired(outcome) == []


@both
@pytest.mark.parametrize("kind", SHORT, ids=lambda kind: kind.name)
def test_a_fault_that_lasts(server, clean, tmp_path, form, kind):
    trial = Trial(scene(form), server, tmp_path)
    faults = kinds.lasting(trial.scene, kind.make)
    server.faults += faults[:1] if kind.seconds else faults
    outcome = trial.fetch(with_(**kind.settings))
    problems = outcome.problems()
    problems += outcome.not_bounded(6 * clean[form] + 40, 10 + 20 * kind.seconds)
    problems += outcome.not_named(kind.words) if kind.words else outcome.not_whole()
    spreads = kind.spreads or kind.seconds
    if not spreads and not outcome.known[kinds.untouched(trial.scene)].all():
        problems.append("the part without faults has not come")
    assert problems + trial.repaired(outcome) == []


# --- wrong bytes


@pytest.fixture
def twist(server):
    """Have a server give some bits wrong."""

    def twist(flips):
        server.provider = Twisted(archive(), flips)

    yield twist
    server.provider = archive()


each_wrong_byte = pytest.mark.parametrize(
    "case", WRONG_BYTES, ids=lambda case: f"{case.form}, {case.name}"
)


@each_wrong_byte
def test_a_byte_that_came_wrong_once_is_fetched_again(server, twist, tmp_path, case):
    trial = Trial(scene(case.form), server, tmp_path)
    flip = dataclasses.replace(case.make(trial.scene), count=1)
    twist([flip])
    outcome = trial.fetch()
    assert flip.hits == 1
    assert outcome.summary.unusual == ()
    assert outcome.problems() + outcome.not_whole() == []


@each_wrong_byte
def test_a_byte_that_lies_there_wrong_is_told(server, twist, tmp_path, case):
    trial = Trial(scene(case.form), server, tmp_path)
    flip = case.make(trial.scene)
    twist([flip])
    outcome = trial.fetch()
    assert flip.hits > 1
    problems = outcome.problems()
    if case.words:
        problems += outcome.not_named(case.words)
        twist([])
        problems += trial.repaired(outcome)
    else:
        part = next(p for p in trial.scene.parts if flip.path in (p.codes, p.scales))
        assert outcome.summary.unusual == (part.name,)
        problems += outcome.not_whole()
    assert problems == []


def root_flip(count):
    """A digit of a group's name in a store's metadata: it makes sense, but another one."""
    path = "zarr/v1.1/zarr.json"
    root = archive().find(path)
    return Flip(path, root.read(0, root.length).index(b"utm36") + 4, mask=1, count=count)


def test_a_stores_root_that_came_wrong_once_is_fetched_again(server, twist, tmp_path):
    trial = Trial(scene("zarr"), server, tmp_path)
    flip = root_flip(1)
    twist([flip])
    outcome = trial.fetch()
    assert flip.hits == 1, "its ETag has told"
    assert outcome.problems() + outcome.not_whole() == []
    assert trial.repaired(outcome) == []


def test_a_stores_root_that_came_wrong_twice_does_not_stay(server, twist, tmp_path):
    trial = Trial(scene("zarr"), server, tmp_path)
    twist([root_flip(2)])
    trial.fetch()
    twist([])
    whole = trial.fetch()
    assert whole.problems() + whole.not_whole() == []


@pytest.mark.parametrize("fault", [Fault.wrong_length(-5), Fault.wrong_length(-50)])
def test_a_stores_years_that_came_cut_off_do_not_stay(server, tmp_path, fault):
    trial = Trial(scene("zarr"), server, tmp_path)
    fault = dataclasses.replace(fault, path="*/time/c/0", count=FOREVER)
    server.faults.append(fault)
    outcome = trial.fetch()
    problems = outcome.problems() + outcome.not_named("time/c/0 is damaged")
    assert problems + trial.repaired(outcome) == []


def test_a_stores_years_that_were_said_not_to_be_there_are_asked_for_again(server, tmp_path):
    trial = Trial(scene("zarr"), server, tmp_path)
    server.faults.append(Fault.status(404, path="*/time/c/0", count=FOREVER))
    outcome = trial.fetch()
    problems = outcome.problems() + outcome.not_named("holds no years")
    assert problems + trial.repaired(outcome) == []


# --- there is no such object, it says


@both
@pytest.mark.parametrize("array", ["codes", "scales"])
def test_a_part_that_is_not_there_any_more_is_named(server, tmp_path, form, array):
    """A 404 is an answer: nothing is published; but half a part is none."""
    trial = Trial(scene(form), server, tmp_path)
    part = trial.scene.parts[0]
    server.faults.append(Fault.status(404, path=getattr(part, array), count=FOREVER))
    is_absent = (form, array) in (("zarr", "scales"), ("npy", "codes"))
    outcome = trial.fetch(denied=[part.name] if is_absent else [])
    assert outcome.problems() == []
    if is_absent:
        assert outcome.summary.absent == (part.name,)
        assert outcome.summary.failed == ()
    else:
        problems = outcome.not_named("are not published")
        assert problems + trial.repaired(outcome) == []


@both
def test_a_part_that_is_taken_away_while_it_is_read_is_named(server, tmp_path, form):
    trial = Trial(scene(form), server, tmp_path)
    part = trial.scene.parts[0]
    server.faults += [
        Fault.status(404, path=path, count=FOREVER, skip=1) for path in (part.codes, part.scales)
    ]
    outcome = trial.fetch(denied=[part.name])
    assert outcome.problems() == []
    assert outcome.summary.absent == (part.name,)


# --- the way there


def test_nobody_listens_then_somebody_does(tmp_path):
    for form in ("zarr", "npy"):
        with RangeServer(archive()) as server:
            port = server.port
        trial = Trial(scene(form), server, tmp_path / form)
        outcome = trial.fetch()
        assert outcome.summary.unreachable
        problems = outcome.problems() + outcome.not_named("no connection")
        with RangeServer(archive(), port=port) as again:
            trial.server = again
            assert problems + trial.repaired(outcome) == []


@both
def test_the_network_goes_away_in_the_middle(server, clean, tmp_path, form):
    trial = Trial(scene(form), server, tmp_path)
    server.faults.append(Fault.drop(skip=clean[form] * 2 // 3, count=FOREVER))
    outcome = trial.fetch()
    assert outcome.summary.unreachable
    problems = outcome.problems() + outcome.not_bounded(3 * clean[form], 10)
    problems += outcome.not_named("the connection broke|no connection")
    assert problems + trial.repaired(outcome) == []


@both
@pytest.mark.parametrize("code", [403, 503])
def test_a_server_that_refuses_everything(server, tmp_path, form, code):
    trial = Trial(scene(form), server, tmp_path)
    server.faults.append(Fault.status(code, count=FOREVER))
    outcome = trial.fetch()
    problems = outcome.problems() + outcome.not_named(f"status {code}")
    assert problems + outcome.not_bounded(20, 10) + trial.repaired(outcome) == []


@both
def test_everything_lies_elsewhere(server, tmp_path, form):
    with RangeServer(archive()) as other:
        server.faults.append(Everywhere.to(other.url))
        trial = Trial(scene(form), server, tmp_path)
        outcome = trial.fetch()
        assert outcome.problems() + outcome.not_whole() == []
        assert len(other.log) == len(server.log)


class Everywhere(Fault):
    """Sends each request to the same object of another server."""

    @classmethod
    def to(cls, url):
        fault = cls("status", code=307, count=FOREVER)
        fault.url = url
        return fault

    def applies(self, method, path):
        self.headers = {"Location": f"{self.url}/{path}"}
        return True


# --- proxies and certificates


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return certificates.authority(tmp_path_factory.mktemp("certificates"))


@both
def test_a_proxy_that_wants_a_login(server, tmp_path, form):
    with Proxy({f"{HOST}:80": server.port}, login="ann:secret") as proxy:
        trial = Trial(scene(form), server, tmp_path, f"http://{HOST}")
        outcome = trial.fetch(with_(proxies=((f"http://{HOST}", proxy.url),)))
        words = f"the proxy 127.0.0.1:{proxy.port} wants a user name and a password"
        problems = outcome.problems() + outcome.not_named(words)
        proxy.log.clear()
        wrong = with_(proxies=((f"http://{HOST}", proxy.url_with("ann:wrong")),))
        outcome = trial.fetch(wrong)
        assert len(proxy.log) == 1, "wrong passwords lock accounts"
        problems += outcome.problems() + outcome.not_named("refused the user name and password")
        known = with_(proxies=((f"http://{HOST}", proxy.url_with("ann:secret")),))
        assert problems + trial.repaired(outcome, known) == []


@both
def test_a_proxy_that_looks_into_the_traffic(authority, tmp_path, form):
    certificate = certificates.signed(tmp_path, authority, f"DNS:{HOST}")
    inspector = RangeServer(archive(), ssl_context=certificate.server_context())
    with inspector, Proxy({f"{HOST}:443": inspector.port}) as proxy:
        through = {"proxies": ((f"https://{HOST}", proxy.url),)}
        trial = Trial(scene(form), inspector, tmp_path, f"https://{HOST}")
        outcome = trial.fetch(with_(**through))
        problems = outcome.problems() + outcome.not_named("its certificate is not trusted")
        assert inspector.log == []
        trusting = with_(**through, ca_bundle=str(authority.pem))
        assert problems + trial.repaired(outcome, trusting) == []


@both
def test_no_tls_where_there_should_be(server, tmp_path, form):
    trial = Trial(scene(form), server, tmp_path, server.url.replace("http:", "https:"))
    outcome = trial.fetch()
    problems = outcome.problems() + outcome.not_named("no secure connection could be made")
    assert problems + outcome.not_bounded(0, 10) == []


# --- the disk


@both
def test_a_disk_that_really_runs_full(server, tmp_path, form):
    server.bandwidth = 3e6  # so slow that it can not all have come before the disk is full
    with small_disk(tmp_path / "disk", 40) as folder:
        trial = Trial(scene(form, LARGE[form]), server, folder / "cache")
        filler = folder / "filler"
        outcome = trial.fetch(options=FetchOptions(arrived=lambda _: disks.fill(filler)))
        assert isinstance(outcome.error, DiskFull)
        problems = outcome.problems()
        assert not list(folder.rglob("*.tmp")), "no half files"
        server.bandwidth = None
        filler.unlink()
        assert problems + trial.repaired(outcome) == []


@both
def test_a_cache_that_can_only_be_read(server, tmp_path, form):
    with small_disk(tmp_path / "disk", 40) as folder:
        trial = Trial(scene(form), server, folder / "cache")
        part = trial.scene.parts[0]
        server.faults.append(Fault.status(403, path=part.codes, count=FOREVER, skip=1))
        trial.fetch()
        server.clear()
        with disks.read_only(folder):
            outcome = trial.fetch()
            assert {failure.part for failure in outcome.summary.failed} == {part.name}
            assert outcome.log == (), "nobody is asked for what could not be kept"
            problems = outcome.problems() + outcome.not_named("the cache can't be written")
        assert problems + trial.repaired(outcome) == []


# --- killed, and several at once: see also tests.stress


@both
def test_killed_a_few_times(tmp_path, form):
    assert kills.run(form, count=2, folder=tmp_path).violations == []


@both
def test_two_at_once_one_of_which_is_killed(tmp_path, form):
    assert crowd.run(form, rounds=1, folder=tmp_path).violations == []
