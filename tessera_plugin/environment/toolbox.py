# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs that make an environment: uv where it can be had, else venv and pip."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from ..children import clean_environment, qgis_folders
from ..errors import InstallFailed, InterpreterUnusable
from . import failures, interpreters, logs, settings_of_pip
from .bundles import LOCKS, Recipe
from .interpreters import Interpreter
from .places import Places, python_in, size_of
from .process import Outcome, Tick, run

UV_LOCK = LOCKS / "uv.txt"
BACKOFF_S = (2.0, 5.0, 10.0)
"""Pauses before another try where the network failed."""

IDLE_S = 120.0
"""A download of which nothing came for so long is given up."""

FETCH_PYTHON_IDLE_S = 60.0

_DROPPED = (
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_USER",
    "PIP_ROOT",
    "PIP_REQUIRE_VIRTUALENV",
    "VIRTUAL_ENV",
)
_BOOT = ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
"""Pythons that can run pip to get uv."""

Grown = Callable[[int], None]


class Toolbox:
    """uv and pip, with one environment of variables and one log."""

    def __init__(
        self, places: Places, environ: Mapping[str, str], *, proxy: str, ca_bundle: str, tick: Tick
    ) -> None:
        self._places = places
        self._tick = tick
        self._own = dict(environ)
        self._settings: Dict[str, List[str]] = {}
        self._pip: Tuple[str, ...] = ()
        """What runs pip before there is an environment; empty where nothing does."""
        self._has_uv: Optional[bool] = None
        self.environ = _variables(places, environ, proxy, ca_bundle)

    # --- a Python

    def interpreter(self, pythons: Sequence[str], chosen: str, *, fetch: bool) -> Interpreter:
        """Return the Python to make the environment with, one of `pythons` (`3.12`).

        Raises: InterpreterUnusable where the chosen one won't do, InstallFailed where none does.
        """
        if chosen:
            return interpreters.usable(chosen, pythons)
        if fetch and self._uv_is_there():
            fetched = self._fetched_python(pythons[0])
            if fetched is not None:
                return fetched
        tried: List[str] = []
        found = interpreters.find(pythons, tried)
        logs.note(self._places.log, "Pythons looked at:\n" + "\n".join(tried))
        if found is None:
            detail = f"no Python {' or '.join(pythons)} was found on this computer"
            raise InstallFailed(failures.NO_PYTHON, detail, str(self._places.log))
        return found

    def _fetched_python(self, wanted: str) -> Optional[Interpreter]:
        """Return uv's own Python; None where it can't be had."""
        command = fetch_python_command(wanted, self._places)
        outcome = self._run([*self._uv(), *command], idle_s=FETCH_PYTHON_IDLE_S)
        if outcome.status == 0:
            for path in sorted(self._places.pythons.glob(_python_pattern(sys.platform, wanted))):
                with contextlib.suppress(InterpreterUnusable):
                    return interpreters.usable(str(path), [wanted])
        return None

    # --- the environment

    def make_environment(self, python: Interpreter) -> None:
        """Make an empty virtual environment in the staging folder. Raises: InstallFailed."""
        staging = str(self._places.staging)
        if self._uv_is_there():
            command = [*self._uv(), "venv", "--python", python.path, "--no-project", staging]
            if self._run(command).status == 0:
                return
        self._check(self._run([python.path, "-I", "-m", "venv", "--copies", staging]))

    def fill_environment(self, wanted: Recipe, grown: Grown) -> str:
        """Install exactly what the lock says; return `uv` or `pip`. Raises: InstallFailed."""
        if self._uv_is_there():
            outcome = self._tried([*self._uv_install(wanted)], grown)
            if outcome.status == 0:
                return "uv"
            if failures.kind_of(outcome) not in {failures.OTHER, failures.NO_PACKAGE}:
                self._check(outcome)
            logs.note(self._places.log, "uv could not do it; pip tries")
            if not self._has_pip():
                self._check(outcome)
        self._check(self._tried(self._pip_install(wanted), grown))
        return "pip"

    def _has_pip(self) -> bool:
        """Give the environment pip, which uv leaves out; whether it has it now."""
        python = str(python_in(self._places.staging))
        return self._run([python, "-I", "-m", "ensurepip", "--default-pip"]).status == 0

    def _uv_install(self, wanted: Recipe) -> List[str]:
        python = str(python_in(self._places.staging))
        command = [*self._uv(), "pip", "install", "--python", python, "--no-deps", "--require-hashes",
                   "--only-binary", ":all:", "--index-strategy", "unsafe-best-match"]  # fmt: skip
        return [*command, *self._vendor(wanted, "--index"), "-r", str(wanted.lock)]

    def _pip_install(self, wanted: Recipe) -> List[str]:
        python = str(python_in(self._places.staging))
        command = [python, "-I", "-m", "pip", "install", "--no-deps", "--require-hashes",
                   "--only-binary", ":all:", "--no-input"]  # fmt: skip
        return [*command, *self._vendor(wanted, "--extra-index-url"), "-r", str(wanted.lock)]

    def _vendor(self, wanted: Recipe, option: str) -> List[str]:
        """Return the vendor's index where it is needed and the person has no source of their own."""
        if not wanted.index or settings_of_pip.has_own_source(self._settings, self._own):
            return []
        return [option, wanted.index]

    # --- uv itself

    def _uv_is_there(self) -> bool:
        """Whether uv can be used; it is fetched where it is not there yet."""
        if self._has_uv is None:
            self._find_pip()
            self._read_settings()
            self._has_uv = self._works() or self._fetch_uv()
        return self._has_uv

    def _find_pip(self) -> None:
        """Find a Python of this computer that has pip, or can make an environment that has it."""
        boot = interpreters.find(_BOOT)
        if boot is None:
            return
        folder = self._places.tools / "pip"
        own = str(python_in(folder))
        if self._run([boot.path, "-I", "-m", "pip", "--version"]).status == 0:
            self._pip = (boot.path, "-I", "-m", "pip")
        elif (
            Path(own).exists()
            or self._run([boot.path, "-I", "-m", "venv", str(folder)]).status == 0
        ):
            self._pip = (own, "-I", "-m", "pip")

    def _works(self) -> bool:
        program = _uv_program(self._places.tools, sys.platform)
        return program.is_file() and self._run([str(program), "--version"]).status == 0

    def _fetch_uv(self) -> bool:
        if not self._pip:
            return False
        command = [*self._pip, "install", "--target", str(self._places.tools),
                   "--upgrade", "--no-deps", "--require-hashes", "--only-binary", ":all:",
                   "--no-input", "-r", str(UV_LOCK)]  # fmt: skip
        outcome = self._tried(command, lambda _: None)
        if outcome.status != 0 and failures.kind_of(outcome) in _FINAL:
            self._check(outcome)
        return outcome.status == 0 and self._works()

    def _uv(self) -> List[str]:
        return [str(_uv_program(self._places.tools, sys.platform))]

    def _read_settings(self) -> None:
        """Learn the person's pip settings, for uv."""
        if not self._pip:
            return
        outcome = self._run([*self._pip, "config", "list"])
        if outcome.status == 0:
            self._settings = settings_of_pip.parse(outcome.output)
            self.environ.update(settings_of_pip.for_uv(self._settings, self.environ))

    # --- running

    def _tried(self, command: Sequence[str], grown: Grown) -> Outcome:
        """Run a program that downloads; again, after a pause, where the network failed."""
        for pause in (*BACKOFF_S, None):
            outcome = self._run(command, grown=grown)
            if outcome.status == 0 or failures.kind_of(outcome) not in failures.PASSING:
                return outcome
            if pause is not None:
                self._wait(pause)
        return outcome

    def _run(
        self, command: Sequence[str], *, idle_s: float = IDLE_S, grown: Optional[Grown] = None
    ) -> Outcome:
        def grows() -> int:
            size = size_of(self._places.downloads)
            if grown is not None:
                grown(size)
            return size

        try:
            return run(
                command, self.environ, self._places.log, self._tick, idle_s=idle_s, grows=grows
            )
        except OSError as error:
            return Outcome(-1, f"error: {error}")

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._tick()
            time.sleep(0.1)

    def _check(self, outcome: Outcome) -> None:
        """Raise what went wrong with a program, if so. Raises: InstallFailed."""
        if outcome.status != 0:
            kind, detail = failures.kind_of(outcome), failures.detail_of(outcome)
            raise InstallFailed(kind, detail, str(self._places.log))


_FINAL = frozenset(
    (failures.NO_SPACE, failures.NOT_WRITABLE, failures.PROXY_LOGIN, failures.PROXY_REFUSED,
     failures.TLS, failures.NO_NETWORK, failures.TIMED_OUT)
)  # fmt: skip
"""What would stop pip just as it stopped the fetching of uv."""


def fetch_python_command(wanted: str, places: Places) -> Tuple[str, ...]:
    """Return uv's arguments that fetch a Python of its own into our folder."""
    return ("python", "install", wanted, "--install-dir", str(places.pythons), "--no-bin")


def _python_pattern(system: str, wanted: str) -> str:
    tail = "python.exe" if system == "win32" else f"bin/python{wanted}"
    return f"cpython-{wanted}*/{tail}"


def _uv_program(tools: Path, system: str) -> Path:
    return tools / "bin" / ("uv.exe" if system == "win32" else "uv")


def _variables(
    places: Places, environ: Mapping[str, str], proxy: str, ca_bundle: str
) -> Dict[str, str]:
    """Return the variables for the installers: the person's own, and where our folders are."""
    kept = clean_environment(environ, sys.platform, qgis_folders())
    kept = {name: value for name, value in kept.items() if name.upper() not in _DROPPED}
    kept.update(
        UV_CACHE_DIR=str(places.downloads / "uv"),
        UV_PYTHON_INSTALL_DIR=str(places.pythons),
        UV_NO_PROGRESS="1",
        UV_HTTP_TIMEOUT="60",
        PIP_CACHE_DIR=str(places.downloads / "pip"),
        PIP_DISABLE_PIP_VERSION_CHECK="1",
        PIP_NO_INPUT="1",
        PIP_PROGRESS_BAR="off",
    )
    kept.setdefault("UV_SYSTEM_CERTS", "1")  # the system's certificates, as a company installs them
    if proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            kept[name] = kept[name.lower()] = proxy
    if ca_bundle:
        kept.setdefault("SSL_CERT_FILE", ca_bundle)
        kept.setdefault("PIP_CERT", ca_bundle)
    return kept
