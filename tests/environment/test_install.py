# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Installing for real: from the locks, and from a small index that fails in every way."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tessera_plugin.environment import bundles, failures, install, remove, state, toolbox
from tessera_plugin.environment.install import InstallRequest
from tessera_plugin.environment.places import Places, python_in
from tessera_plugin.environment.process import Outcome
from tessera_plugin.environment.state import INCOMPLETE, PYTHON_GONE
from tessera_plugin.environment.verify import Verdict, verdict_of
from tessera_plugin.errors import InstallFailed, InterpreterUnusable, PlatformUnsupported
from tessera_plugin.progress import Cancelled
from tests.clock import within
from tests.environment.index import Index, RefusingProxy, lend_uv, use_locks, write_locks

SYSTEM_PYTHON = "/usr/bin/python3.11"
CHILD = Path(__file__).with_name("install_child.py")
SOUND = Verdict("3.11.2", {"numpy": "1.0"}, ("CPUExecutionProvider",), (), (), 0.1)

pytestmark = pytest.mark.skipif(
    not Path(SYSTEM_PYTHON).exists() or sys.platform != "linux",
    reason="the locks of these tests are for Python 3.11 on Linux",
)


@pytest.fixture
def places(tmp_path):
    found = Places(tmp_path / "home" / "tessera-qgis")
    lend_uv(found)
    return found


@pytest.fixture(scope="module")
def server():
    running = Index(("tessera-one", "tessera-two"))
    yield running
    running.close()


@pytest.fixture
def index(server):
    server.reset()
    return server


@pytest.fixture
def locks(tmp_path, index, monkeypatch):
    """Locks that ask for the index's wheels; what they hold is taken as proved."""
    before = bundles.LOCKS
    use_locks(write_locks(tmp_path / "locks", index))
    monkeypatch.setattr(install, "verify", lambda *_args, **_named: SOUND)
    monkeypatch.setattr(toolbox, "BACKOFF_S", (0.1,))
    yield bundles.LOCKS
    use_locks(before)


@pytest.fixture(scope="module")
def made(tmp_path_factory, server):
    """An environment that was installed for real, once."""
    server.reset()
    places = Places(tmp_path_factory.mktemp("made"))
    lend_uv(places)
    before = bundles.LOCKS
    with pytest.MonkeyPatch.context() as patch:
        use_locks(write_locks(places.root / "locks", server))
        patch.setattr(install, "verify", lambda *_args, **_named: SOUND)
        install.install(request(places, server))
    use_locks(before)
    return places


@pytest.fixture
def before(made, places, locks):
    """That environment in its place, and what is told of it."""
    shutil.copytree(made.environment, places.environment, symlinks=True)
    found = state.state(places)
    assert found.bundles
    assert not found.is_outdated
    return found


def request(places, index, **named):
    quick = {"UV_HTTP_RETRIES": "0", "PIP_RETRIES": "0"}
    environ = {**index.environ(), **quick, **named.pop("environ", {})}
    return InstallRequest("runtime", places, fetch_python=False, environ=environ, **named)


def imports(places, module):
    python = python_in(places.environment)
    done = subprocess.run([python, "-I", "-c", f"import {module}"], check=False)
    return done.returncode == 0


def failure(work):
    with pytest.raises(InstallFailed) as caught:
        work()
    return caught.value


# --- it works


def test_the_runtime_bundle_installs_proves_itself_and_goes_again(places):
    told = []
    plain = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    wanted = InstallRequest("runtime", places, fetch_python=False, environ=plain)
    found = install.install(wanted, lambda fraction, message="": told.append((fraction, message)))
    assert found.bundles == ("runtime",)
    assert found.record.onnx_providers == ("CPUExecutionProvider",)
    locked = {
        pin.name: pin.version for pin in bundles.recipe("runtime", "linux-x86_64", "3.11").pins
    }
    for name in ("numpy", "onnxruntime", "numcodecs"):
        assert found.record.versions[name] == locked[name]
    assert 100e6 < found.record.size_bytes < 400e6
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert any("MB" in message for _, message in told)
    assert not places.downloads.exists()
    assert not places.marker.exists()
    assert state.state(places) == found
    freed = remove.remove(places)
    remove.sweep(places)
    assert freed > found.record.size_bytes
    assert not state.state(places).is_there
    assert sorted(path.name for path in places.root.iterdir()) == ["environment.lock", "logs"]


def test_what_is_locked_is_installed_with_uv(places, index, locks):
    found = install.install(request(places, index))
    assert found.record.installer == "uv"
    assert imports(places, "tessera_one")
    assert imports(places, "tessera_two")
    assert not places.staging.exists()


@pytest.mark.long
def test_without_uv_pip_does_it(places, index, locks):
    shutil.rmtree(places.tools)  # and the index has none
    found = install.install(request(places, index))
    assert found.record.installer == "pip"
    assert imports(places, "tessera_one")


def test_a_second_installation_replaces_the_first(places, index, locks, before):
    again = install.install(request(places, index))
    assert again.record.made > before.record.made
    assert imports(places, "tessera_one")
    remove.sweep(places)
    assert [path.name for path in places.root.glob("environment*")] == [
        "environment",
        "environment.lock",
    ]


def test_uvs_own_python_is_asked_for_first(places):
    assert toolbox.fetch_python_command("3.12", places) == (
        *("python", "install", "3.12", "--install-dir", str(places.pythons), "--no-bin"),
    )


@pytest.mark.long
def test_where_uv_can_fetch_no_python_one_of_this_computer_is_taken(places, index, locks):
    offline = {"UV_PYTHON_DOWNLOADS": "never"}
    wanted = InstallRequest("runtime", places, environ={**index.environ(), **offline})
    found = install.install(wanted)
    assert found.record.base_python.startswith("/usr/bin/python3")
    assert "python install 3.11" in places.log.read_text()


@pytest.mark.long
def test_the_persons_own_python_is_taken_or_refused_with_a_reason(places, index, locks, tmp_path):
    found = install.install(request(places, index, python=SYSTEM_PYTHON))
    assert found.record.base_python == SYSTEM_PYTHON
    with pytest.raises(InterpreterUnusable):
        install.install(request(places, index, python=str(tmp_path)))
    assert imports(places, "tessera_one")


# --- it does not work, and what was there stays


def untouched(places, before):
    return (
        state.state(places) == before
        and imports(places, "tessera_one")
        and not places.staging.exists()
        and not places.marker.exists()
    )


@pytest.mark.long
def test_a_network_that_is_cut_half_way(places, index, locks, before):
    index.cut = 1_000_000
    error = failure(lambda: install.install(request(places, index)))
    assert error.kind == failures.NO_NETWORK, places.log.read_text()
    assert untouched(places, before)
    index.cut = None
    install.install(request(places, index))


def test_a_wrong_hash(places, index, locks, before, tmp_path):
    use_locks(write_locks(tmp_path / "wrong", index, wrong_hash=True))
    error = failure(lambda: install.install(request(places, index)))
    assert error.kind == failures.WRONG_HASH, places.log.read_text()
    use_locks(locks)
    assert untouched(places, before)


@pytest.mark.parametrize(("status", "kind"), [(407, "proxy_login"), (403, "proxy_refused")])
def test_a_proxy_that_refuses(places, locks, index, status, kind):
    proxy = RefusingProxy(status)
    away = {"PIP_INDEX_URL": "https://packages.invalid/simple"}
    try:
        error = failure(
            lambda: install.install(request(places, index, environ=away, proxy=proxy.url))
        )
    finally:
        proxy.close()
    assert error.kind == kind, places.log.read_text()


def test_the_proxys_password_is_on_no_command_line_and_in_no_log(places, index, locks):
    secret = "hunter2"
    error = failure(
        lambda: install.install(
            request(places, index, proxy=f"http://zoe:{secret}@127.0.0.1:9", environ={})
        )
    )
    assert secret not in str(error)
    assert secret not in places.log.read_text()


def test_no_network_at_all(places, index, locks):
    away = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple"}
    error = failure(lambda: install.install(request(places, index, environ=away)))
    assert error.kind == failures.NO_NETWORK, places.log.read_text()


def test_a_package_that_the_persons_index_does_not_have(places, index, locks, monkeypatch):
    del index.wheels["tessera-two"]
    asked = []
    monkeypatch.setattr(toolbox.Toolbox, "_has_pip", lambda _: bool(asked.append("pip")))
    error = failure(lambda: install.install(request(places, index)))
    assert error.kind == failures.NO_PACKAGE, places.log.read_text()
    assert asked == ["pip"]  # which may know a source that uv does not; here there is no pip


def test_a_folder_that_can_not_be_written(index, locks):
    error = failure(lambda: install.install(request(Places(Path("/sys/tessera-qgis")), index)))
    assert error.kind == failures.NOT_WRITABLE


def test_a_disk_without_room_is_told_before_anything_is_fetched(places, index, locks, monkeypatch):
    usage = shutil.disk_usage(places.root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100_000_000))
    error = failure(lambda: install.install(request(places, index)))
    assert error.kind == failures.NO_SPACE
    assert "100 MB are free" in error.detail
    assert index.requests == []


def test_a_disk_that_fills_up_on_the_way(tmp_path, index, locks, monkeypatch):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=10m", "tmpfs", str(small)], check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk can't be mounted here")
    try:
        places = Places(small / "root")
        lend_uv(places)
        with (places.root / "ballast").open("wb") as stream:
            free = shutil.disk_usage(small).free
            stream.write(b"0" * max(free - 2_000_000, 0))
        monkeypatch.setattr(install, "SPARE_BYTES", -1_000_000_000)
        error = failure(lambda: install.install(request(places, index)))
        assert error.kind == failures.NO_SPACE, places.log.read_text()
        assert not places.environment.exists()
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_an_environment_that_does_not_compute_is_not_used(
    places, index, locks, before, monkeypatch
):
    broken = Verdict("3.11.2", {}, (), (), (), 0.1, error="ImportError: DLL load failed")
    monkeypatch.setattr(install, "verify", lambda *_args, **_named: broken)
    error = failure(lambda: install.install(request(places, index)))
    assert error.kind == failures.VERIFY_FAILED
    assert "DLL load failed" in error.detail
    assert untouched(places, before)


def test_cancel_ends_it_within_two_seconds_and_nothing_has_changed(places, index, locks, before):
    index.bytes_per_s = 200_000
    asked = []

    def report(fraction, message=""):
        if "MB" in message:
            asked.append(time.monotonic())
            raise Cancelled

    with pytest.raises(Cancelled):
        install.install(request(places, index), report)
    assert time.monotonic() - asked[0] < within(2)
    assert untouched(places, before)


def test_a_killed_installer_is_told_and_the_next_one_works(places, index, locks):
    index.bytes_per_s = 1_000_000
    child = subprocess.Popen(
        [sys.executable, str(CHILD), str(places.root), str(locks), index.url],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    for line in child.stdout:
        if float(line) > 0.15:
            break
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    found = state.state(places)
    assert found.was_interrupted
    assert not found.bundles
    index.bytes_per_s = None
    assert install.install(request(places, index)).bundles == ("runtime",)
    assert not state.state(places).was_interrupted


def test_a_computer_without_packages_is_refused_by_name(places, index, locks, monkeypatch):
    monkeypatch.setattr(install.platform_module, "machine", lambda: "riscv64")
    with pytest.raises(PlatformUnsupported, match="linux-riscv64"):
        install.install(request(places, index))
    with pytest.raises(PlatformUnsupported):
        install.offer("training", places)


# --- a GPU that can't be used


@pytest.mark.long
def test_where_the_gpu_build_does_not_work_the_processors_takes_over(
    places, index, locks, monkeypatch
):
    sizes = json.loads((locks / "sizes.json").read_text())
    for name, size in list(sizes.items()):
        shutil.copy(locks / f"{name}.txt", locks / f"{name}-cuda.txt")
        sizes[f"{name}-cuda"] = size
    (locks / "sizes.json").write_text(json.dumps(sizes))
    use_locks(locks)
    fell_back = Verdict("3.11.2", {}, ("CPUExecutionProvider",), (), ("no driver",), 0.1)
    monkeypatch.setattr(install, "verify", lambda *_args, **_named: fell_back)
    found = install.install(request(places, index, variant="cuda"))
    assert found.record.variant == "cpu"
    assert any("Without the GPU" in note and "no driver" in note for note in found.record.notes)


# --- what is told of it


def test_a_python_that_went_away_is_told(places, index, locks, tmp_path):
    own = tmp_path / "own-python"
    own.symlink_to(SYSTEM_PYTHON)
    install.install(request(places, index, python=str(own)))
    own.unlink()
    assert state.state(places).problem == PYTHON_GONE


def test_missing_files_are_told(places, index, locks, before):
    places.record.unlink()
    assert state.state(places).problem == INCOMPLETE
    assert state.state(places).bundles == ()
    assert install.install(request(places, index)).problem == ""


def test_another_lock_makes_it_outdated(places, index, locks, before):
    for path in locks.glob("*.txt"):
        path.write_text(path.read_text() + "# newer\n")
    assert state.state(places).is_outdated


def test_what_could_not_be_removed_goes_at_the_next_start(places):
    left = places.root / "environment.old-123"
    left.mkdir(parents=True)
    (left / "held.dll").write_bytes(b"x")
    remove.sweep(places)
    assert not left.exists()


def test_a_crash_while_proving_says_how():
    verdict = verdict_of(Outcome(-11, "Fatal Python error: Segmentation fault"))
    assert "Segmentation fault" in verdict.error
