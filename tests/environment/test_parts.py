# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Places, Pythons, programs, logs and failures, each by itself."""

import contextlib
import os
import subprocess
import sys
import threading
import time

import pytest

from tessera_plugin.environment import failures, interpreters, logs, process, settings_of_pip
from tessera_plugin.environment.lock import PATIENCE_S, held
from tessera_plugin.environment.places import Places, path_problem, python_in, size_of
from tessera_plugin.environment.process import Outcome, run
from tessera_plugin.errors import InstallFailed, InterpreterUnusable
from tessera_plugin.progress import Cancelled
from tests.clock import within

SYSTEM_PYTHON = "/usr/bin/python3"


# --- places


@pytest.mark.parametrize(
    ("root", "system", "word"),
    [
        ("C:\\Users\\Zoë\\AppData\\Local\\tessera-qgis", "win32", ""),
        ("C:\\" + "a" * 120, "win32", "characters too long"),
        ("\\\\server\\home\\zoe", "win32", "network share"),
        ("/home/zoë/.local/share/tessera-qgis", "linux", ""),
        ("/home/a:b/x", "linux", "':'"),
        ("/home/a\nb", "darwin", "'\\n'"),
        ("/Users/zoe/Library/Application Support/tessera-qgis", "darwin", ""),
    ],
)
def test_a_place_that_would_break_the_environment_is_told(root, system, word):
    problem = path_problem(root, system)
    assert bool(problem) == bool(word)
    assert word in problem


def test_the_longest_path_allowed_fits_just():
    longest = 259 - 150 - len("\\environment.new\\")
    assert not path_problem("C:\\" + "a" * (longest - 3), "win32")
    assert "1 characters too long" in path_problem("C:\\" + "a" * (longest - 2), "win32")


def test_python_is_where_the_platform_puts_it(tmp_path):
    assert python_in(tmp_path, "win32") == tmp_path / "Scripts" / "python.exe"
    assert python_in(tmp_path, "darwin") == tmp_path / "bin" / "python"


def test_sizes_are_those_of_the_files_and_links_are_not_followed(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "x").write_bytes(b"1" * 1000)
    (tmp_path / "a" / "b" / "y").write_bytes(b"1" * 234)
    (tmp_path / "big").write_bytes(b"1" * 10_000)
    (tmp_path / "a" / "link").symlink_to(tmp_path)
    link = (tmp_path / "a" / "link").lstat().st_size
    assert size_of(tmp_path / "a") == 1234 + link
    assert size_of(tmp_path / "nothing") == 0


# --- Pythons


def test_a_python_says_what_it_is():
    found = interpreters.prove(SYSTEM_PYTHON)
    told = subprocess.run(
        [SYSTEM_PYTHON, "-c", "import sys; print(*sys.version_info[:3])"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.version == tuple(map(int, told.stdout.split()))
    assert found.platform.startswith("linux-")


def test_a_program_that_is_no_python_is_refused(tmp_path):
    for text in ("#!/bin/sh\necho hello\n", "#!/bin/sh\necho 'tessera-python:[1'\n", "no program"):
        path = tmp_path / "python"
        path.write_text(text)
        path.chmod(0o755)
        with pytest.raises(InterpreterUnusable) as caught:
            interpreters.prove(str(path))
        assert "not Python" in str(caught.value)
    with pytest.raises(InterpreterUnusable, match="no such file"):
        interpreters.prove(str(tmp_path / "absent"))


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ('[[3,12,1],"x","pypy",64,"x86_64","linux",true]', "pypy"),
        ('[[3,12,1],"x","cpython",32,"x86_64","linux",true]', "32-bit"),
        ('[[3,13,1],"x","cpython",64,"x86_64","linux",false]', "free-threaded"),
        ('[[3,9,1],"x","cpython",64,"x86_64","linux",true]', "Python 3.9"),
    ],
)
def test_a_python_of_another_kind_is_refused_and_says_why(tmp_path, said, word):
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\necho 'tessera-python:{said}'\n")
    path.chmod(0o755)
    with pytest.raises(InterpreterUnusable) as caught:
        interpreters.usable(str(path), ("3.12", "3.13"))
    assert word in str(caught.value)


def test_the_variables_of_qgis_do_not_reach_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert interpreters.prove(SYSTEM_PYTHON).version[0] == 3


def test_the_python_that_qgis_embeds_is_looked_for_first_by_platform():
    windows = interpreters.embedded(
        "win32", {"OSGEO4W_ROOT": "C:\\OSGeo4W"}, "C:\\OSGeo4W\\apps\\Python312", "3.12"
    )
    assert "C:\\OSGeo4W\\apps\\Python312\\python.exe" in windows
    mac = interpreters.embedded("darwin", {}, "/Applications/QGIS.app/Contents/Frameworks", "3.12")
    assert "/Applications/QGIS.app/Contents/MacOS/bin/python3" in mac
    linux = list(interpreters.candidates("linux", {"PATH": "/nowhere"}, "/usr", "3.11"))
    assert linux[0] == "/usr/bin/python3.11"


def test_the_running_program_itself_is_never_asked(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/usr/bin/qgis")
    found = list(interpreters.candidates(sys.platform, os.environ, sys.base_prefix, "3.11"))
    assert "/usr/bin/qgis" not in found


def test_what_was_looked_at_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    tried = []
    assert interpreters.find(("3.99",), tried) is None
    assert any("3.99 is needed" in line for line in tried)


# --- programs


def program(code):
    return [SYSTEM_PYTHON, "-c", code]


def test_a_program_runs_with_its_output_in_the_log(tmp_path):
    log = tmp_path / "logs" / "install.log"
    outcome = run(program("print('one')"), dict(os.environ), log, lambda: None, idle_s=30)
    assert (outcome.status, outcome.output.strip()) == (0, "one")
    again = run(program("raise SystemExit(3)"), dict(os.environ), log, lambda: None, idle_s=30)
    assert (again.status, again.output) == (3, "")
    assert log.read_text().count("---") == 2


def test_cancel_ends_a_program_and_all_it_started_within_two_seconds(tmp_path):
    marker = tmp_path / "pid"
    code = (
        "import signal,subprocess,sys,time,pathlib;signal.signal(15,signal.SIG_IGN);"
        "child=subprocess.Popen([sys.executable,'-c','import time;time.sleep(60)']);"
        f"pathlib.Path({str(marker)!r}).write_text(str(child.pid));time.sleep(60)"
    )
    stopped = []

    def tick():
        if marker.exists() and marker.read_text():
            stopped.append(time.monotonic())
            raise Cancelled

    with pytest.raises(Cancelled):
        run(program(code), dict(os.environ), tmp_path / "log", tick, idle_s=30)
    assert time.monotonic() - stopped[0] < within(2)
    child = int(marker.read_text())
    until = time.monotonic() + 2
    while _is_running(child) and time.monotonic() < until:
        time.sleep(0.02)
    assert not _is_running(child)


def _is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as stream:
            return stream.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_an_idle_program_is_ended_and_one_that_makes_something_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "WATCH_S", 0.2)
    sleeper = program("import time;time.sleep(30)")
    outcome = run(sleeper, dict(os.environ), tmp_path / "log", lambda: None, idle_s=0.6)
    assert outcome.is_idle
    assert failures.kind_of(outcome) == failures.TIMED_OUT
    sizes = iter(range(1000))
    busy = program("import time;time.sleep(2.5)")
    outcome = run(
        busy,
        dict(os.environ),
        tmp_path / "log",
        lambda: None,
        idle_s=0.8,
        grows=lambda: next(sizes),
    )
    assert not outcome.is_idle
    assert outcome.status == 0


# --- failures


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("error: failed to write to file: No space left on device (os error 28)", "no_space"),
        ("OSError: [Errno 28] No space left on device", "no_space"),
        ("error: Failed to install: x.whl: Permission denied (os error 13)", "not_writable"),
        ("  Caused by: dns error: failed to lookup address information", "no_network"),
        ("error sending request for url: Connection reset by peer (os error 104)", "no_network"),
        ("urllib3.exceptions.ProtocolError: ('Connection broken: IncompleteRead(3 bytes", "no_network"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "wrong_hash"),
        ("error: Hash mismatch for `numpy==2.2.6`", "wrong_hash"),
        ("invalid peer certificate: UnknownIssuer", "tls"),
        ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]", "tls"),
        ("ProxyError('Cannot connect to proxy.', OSError('Tunnel connection failed: 403", "proxy_refused"),
        ("HTTP status client error (407) for url", "proxy_login"),
        ("tunnel error: unsuccessful, see /home/407/log", "proxy_refused"),
        ("OSError('Tunnel connection failed: 407 Proxy Authentication Required')", "proxy_login"),
        ("\u00d7 No solution found when resolving dependencies", "no_package"),
        ("/usr/bin/python3: No module named pip", "no_pip"),
        ("The virtual environment was not created because ensurepip is not available.", "no_pip"),
        ("Operation did not complete because the file contains a virus (os error 225)", "blocked"),
        ("An Application Control policy has blocked this file. (os error 4551)", "blocked"),
        ("Read timed out.", "timed_out"),
        ("Segmentation fault", "other"),
    ],
)  # fmt: skip
def test_what_installers_say_becomes_a_named_failure(said, kind):
    outcome = Outcome(1, said)
    assert failures.kind_of(outcome) == kind
    assert kind in failures.KINDS


def test_a_program_that_somebody_killed_is_no_riddle():
    assert failures.kind_of(Outcome(-9, "Downloading torch (190 MiB)")) == failures.INTERRUPTED
    assert failures.kind_of(Outcome(-11, "Downloading torch (190 MiB)")) == failures.OTHER
    full = Outcome(-9, "error: No space left on device (os error 28)")
    assert failures.kind_of(full) == failures.NO_SPACE


def test_the_detail_is_the_line_that_says_most_without_a_password():
    said = (
        "Looking in indexes: x\n  \u00d7 Failed to fetch: `https://me:hunter2@host/simple/numpy/`\n"
        "  ├─▶ Request failed after 3 retries\n  ╰─▶ dns error: failed to lookup address\n"
    )
    detail = failures.detail_of(Outcome(2, said))
    assert "hunter2" not in detail
    assert failures.detail_of(Outcome(7, "")) == "exit status 7"


# --- logs


def test_a_shown_log_has_no_home_and_no_credentials():
    told = logs.scrubbed(
        "GET https://zoe:s3cret@proxy:8080/ in C:\\Users\\Zoe\\x and c:/users/zoe/y, key K123",
        "C:\\Users\\Zoe",
        ("K123",),
    )
    assert told == "GET https://…@proxy:8080/ in ~\\x and ~/y, key …"


def test_a_log_stays_short(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"a" * 3_000_000 + b"end")
    logs.shorten(log)
    assert log.stat().st_size == 1_000_000
    assert log.read_bytes().endswith(b"end")
    assert len(logs.tail(log)) == 64_000


# --- the person's pip settings


LISTED = """\
:env:.cert='/etc/ssl/company.pem'
global.extra-index-url='https://a/simple https://b/simple'
global.index-url='https://company/simple'
install.find-links='/wheels'
download.index-url='https://not-this'
nonsense
"""


def test_pip_settings_are_told_to_uv():
    settings = settings_of_pip.parse(LISTED)
    assert settings_of_pip.for_uv(settings, {}) == {
        "UV_DEFAULT_INDEX": "https://company/simple",
        "UV_INDEX": "https://a/simple https://b/simple",
        "UV_FIND_LINKS": "/wheels",
        "SSL_CERT_FILE": "/etc/ssl/company.pem",
    }
    assert settings_of_pip.has_own_source(settings, {})


def test_what_the_person_told_uv_itself_stays():
    environ = {"UV_DEFAULT_INDEX": "https://mine", "SSL_CERT_FILE": "/x"}
    told = settings_of_pip.for_uv(settings_of_pip.parse(LISTED), environ)
    assert set(told) == {"UV_INDEX", "UV_FIND_LINKS"}
    assert settings_of_pip.has_own_source({}, environ)
    assert not settings_of_pip.has_own_source({}, {})


# --- one at a time


def test_a_second_installation_is_refused_and_says_who_is_at_it(tmp_path):
    places = Places(tmp_path)
    code = (
        "import sys,time,pathlib;sys.path.insert(0,sys.argv[1]);"
        "from tessera_plugin.environment.lock import held;"
        "c=held(pathlib.Path(sys.argv[2]));c.__enter__();print('held',flush=True);time.sleep(60)"
    )
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    holder = subprocess.Popen(
        [SYSTEM_PYTHON, "-c", code, root, str(places.lock)], stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(InstallFailed) as caught, held(places.lock):
            pass
        assert caught.value.kind == failures.LOCKED
        assert str(holder.pid) in caught.value.detail
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    with held(places.lock):
        pass


def test_a_lock_that_is_let_go_of_within_moments_is_waited_for(tmp_path):
    """As the copy of a killed installer does, which had not yet become uv."""
    places = Places(tmp_path)
    first = contextlib.ExitStack()
    first.enter_context(held(places.lock))
    threading.Timer(PATIENCE_S / 10, first.close).start()
    with held(places.lock):
        pass
