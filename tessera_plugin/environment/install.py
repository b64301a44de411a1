# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Make the private environment: beside the one in use, which it replaces only when it works."""

from __future__ import annotations

import contextlib
import errno
import os
import platform as platform_module
import shutil
import sys
import time
from dataclasses import dataclass, field
from typing import Callable, Iterator, List, Mapping, Tuple

from ..errors import InstallFailed, PlatformUnsupported
from ..progress import Report, part, silent
from . import failures, gpu, logs, state
from .bundles import CPU, Recipe, platform_tag, pythons_of, recipe, variants_of
from .interpreters import Interpreter, usable
from .lock import held
from .places import Places, path_problem, size_of
from .remove import put_aside, sweep
from .state import Record, State
from .toolbox import Toolbox
from .verify import Verdict, verify

SPARE_BYTES = 300_000_000
"""Left free on the disk in any case."""


@dataclass(frozen=True)
class InstallRequest:
    """What to install, and how the network is reached."""

    bundle: str
    places: Places
    python: str = ""
    """A Python that the person chose; empty to look for one."""
    variant: str = ""
    """One of `bundles`' variants; empty for the best one of this machine."""
    proxy: str = ""
    """URL with credentials; told to programs through their environment only."""
    ca_bundle: str = ""
    """PEM file of certificate authorities; empty for those of the system."""
    fetch_python: bool = True
    """Whether uv may fetch a Python of its own."""
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


@dataclass(frozen=True)
class Offer:
    """What an installation would take, told before it begins."""

    bundle: str
    variant: str
    reason: str
    """Why this variant, in one sentence."""
    download_bytes: int
    installed_bytes: int
    place: str
    pythons: Tuple[str, ...]
    """Versions of Python it can be made with, the preferred one first."""


def offer(bundle: str, places: Places, variant: str = "") -> Offer:
    """Return what an installation would take. Raises: PlatformUnsupported."""
    tag = _platform()
    chosen, reason = _variant(bundle, tag, variant)
    pythons = pythons_of(bundle, tag, chosen)
    if not pythons:
        raise PlatformUnsupported(tag, "", bundle, ())
    would = recipe(bundle, tag, pythons[0], chosen)
    return Offer(
        bundle=bundle,
        variant=chosen,
        reason=reason,
        download_bytes=would.download_bytes,
        installed_bytes=would.installed_bytes,
        place=str(places.environment),
        pythons=pythons,
    )


def proof(path: str, bundle: str) -> Interpreter:
    """Return a Python that a person chose, if it will do. Raises: InterpreterUnusable."""
    tag = _platform()
    variant, _ = _variant(bundle, tag, "")
    return usable(path, pythons_of(bundle, tag, variant))


def _nothing() -> None:
    """Hold nothing."""


def install(
    request: InstallRequest, report: Report = silent, release: Callable[[], None] = _nothing
) -> State:
    """Install a bundle and return what is installed then.

    What was there before is in use until the new one has proved itself, and stays where anything
    goes wrong. What was downloaded is kept for another try. `release` is called before the new one
    takes the place of the old one, to end what runs from there. `sweep` deletes what is left over.
    Raises: InstallFailed, PlatformUnsupported, InterpreterUnusable, Cancelled.
    """
    places = request.places
    _check_place(places)
    with held(places.lock, str(places.log)), _marked(places):
        put_aside(places.staging, places)
        try:
            record = _Installation(request, report).run()
            release()
        except BaseException:
            put_aside(places.staging, places)
            raise
        _swap(places)
        logs.note(places.log, f"installed {record.bundle} ({record.variant})")
        with contextlib.suppress(OSError):
            shutil.rmtree(places.downloads)
    return state.state(places)


class _Installation:
    """One installation into the staging folder."""

    def __init__(self, request: InstallRequest, report: Report) -> None:
        self._request = request
        self._places = request.places
        self._report = report
        self._fraction, self._message = 0.0, ""
        self._notes: List[str] = []
        self._toolbox = Toolbox(
            request.places,
            request.environ,
            proxy=request.proxy,
            ca_bundle=request.ca_bundle,
            tick=self._tick,
        )

    def run(self) -> Record:
        """Make the environment, and prove that it works."""
        bundle, tag = self._request.bundle, _platform()
        variant, reason = _variant(bundle, tag, self._request.variant)
        self._notes.append(reason)
        try:
            return self._made(variant)
        except InstallFailed as error:
            if variant == CPU or error.kind in {failures.NO_SPACE, failures.NOT_WRITABLE}:
                raise
            self._notes.append(f"Without the GPU, as it could not be used: {error.detail}")
            logs.note(self._places.log, self._notes[-1])
            put_aside(self._places.staging, self._places)
            return self._made(CPU)

    def _made(self, variant: str) -> Record:
        tag = _platform()
        pythons = pythons_of(self._request.bundle, tag, variant)
        if not pythons:
            raise PlatformUnsupported(tag, "", self._request.bundle, ())
        self._say(0.0, "Checking")
        largest = recipe(self._request.bundle, tag, pythons[0], variant)
        _check_space(self._places, largest)
        self._say(0.02, "Getting the installer")
        python = self._toolbox.interpreter(
            pythons, self._request.python, fetch=self._request.fetch_python
        )
        wanted = recipe(self._request.bundle, tag, python.minor, variant)
        self._say(0.1, "Making the environment")
        self._toolbox.make_environment(python)
        installer = self._fill(wanted)
        self._say(0.9, "Trying it out")
        verdict = self._proved(wanted)
        return self._recorded(wanted, python, installer, verdict)

    def _fill(self, wanted: Recipe) -> str:
        """Put the packages in, with progress by bytes; return which program did it."""
        report = part(self._report, 0.12, 0.9)

        def grown(size: int) -> None:
            done = min(size / wanted.installed_bytes, 1.0)
            megabytes = done * wanted.download_bytes / 1e6
            self._message = f"Fetching {megabytes:.1f} of {wanted.download_bytes / 1e6:.1f} MB"
            self._fraction = 0.12 + 0.78 * done
            report(done, self._message)

        grown(size_of(self._places.downloads))
        return self._toolbox.fill_environment(wanted, grown)

    def _proved(self, wanted: Recipe) -> Verdict:
        verdict = verify(
            self._places.staging,
            wanted.bundle,
            wanted.variant,
            environ=self._toolbox.environ,
            log=self._places.log,
            tick=self._tick,
        )
        if verdict.error:
            raise InstallFailed(failures.VERIFY_FAILED, verdict.error, str(self._places.log))
        if wanted.variant != CPU and not verdict.uses_gpu:
            why = "; ".join(verdict.notes) or "no operation ran on it"
            raise InstallFailed(failures.VERIFY_FAILED, why, str(self._places.log))
        return verdict

    def _recorded(
        self, wanted: Recipe, python: Interpreter, installer: str, verdict: Verdict
    ) -> Record:
        record = Record(
            bundle=wanted.bundle,
            variant=wanted.variant,
            platform=wanted.platform,
            python=verdict.python,
            base_python=python.path,
            lock=state.lock_hash(wanted.lock),
            versions=verdict.versions,
            onnx_providers=verdict.onnx_providers,
            torch_devices=verdict.torch_devices,
            notes=(*self._notes, *verdict.notes),
            size_bytes=size_of(self._places.staging),
            made=time.time(),
            installer=installer,
        )
        state.write(self._places.staging / self._places.record.name, record)
        return record

    def _say(self, fraction: float, message: str) -> None:
        self._fraction, self._message = fraction, message
        self._tick()

    def _tick(self) -> None:
        self._report(self._fraction, self._message)


def _swap(places: Places) -> None:
    """Put the new environment in the place of the old one. Raises: InstallFailed."""
    put_aside(places.replaced, places)
    try:
        if places.environment.exists():
            places.environment.rename(places.replaced)
        places.staging.rename(places.environment)
    except OSError as error:
        if not places.environment.exists():
            with contextlib.suppress(OSError):
                places.replaced.rename(places.environment)
        detail = f"the environment in use can't be replaced ({error.strerror})"
        raise InstallFailed(failures.BLOCKED, detail, str(places.log)) from error
    put_aside(places.replaced, places)


def _variant(bundle: str, tag: str, asked: str) -> Tuple[str, str]:
    if asked:
        return asked, "As chosen."
    proposed, reason = gpu.variant_for(gpu.find_gpu(), tag)
    if proposed not in variants_of(bundle, tag):
        return CPU, f"{reason} For this bundle there is only the build for the processor."
    return proposed, reason


def _platform() -> str:
    return platform_tag(sys.platform, platform_module.machine())


def _check_place(places: Places) -> None:
    """Check that an environment can be made there. Raises: InstallFailed."""
    problem = path_problem(str(places.root), sys.platform)
    if problem:
        raise InstallFailed(failures.PATH_UNUSABLE, problem, str(places.log))
    probe = places.root / f"probe-{os.getpid()}"
    try:
        places.root.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        detail = f"{places.root} ({error.strerror})"
        kind = failures.NO_SPACE if _is_full(error) else failures.NOT_WRITABLE
        raise InstallFailed(kind, detail, str(places.log)) from error


def _check_space(places: Places, wanted: Recipe) -> None:
    """Check that the disk has room. Raises: InstallFailed."""
    needed = (
        wanted.installed_bytes + wanted.download_bytes + SPARE_BYTES - size_of(places.downloads)
    )
    try:
        free = shutil.disk_usage(places.root).free
        if free < needed:
            sweep(places)
            free = shutil.disk_usage(places.root).free
    except OSError:  # it can't be told: the installation will
        return
    if free < needed:
        detail = f"{_gigabytes(needed)} are needed at {places.root}, {_gigabytes(free)} are free"
        raise InstallFailed(failures.NO_SPACE, detail, str(places.log))


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _is_full(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def _marked(places: Places) -> Iterator[None]:
    """Leave a marker that stays only where this process is cut off."""
    places.marker.write_text(str(os.getpid()), "utf-8")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            places.marker.unlink()
