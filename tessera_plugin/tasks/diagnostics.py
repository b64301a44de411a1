# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Looking whether all of this works: at a glance without asking anybody, or for real."""

from __future__ import annotations

import platform
import time
from typing import TYPE_CHECKING, Callable, Iterator, List, Optional, Sequence, Tuple

from qgis.core import Qgis
from qgis.PyQt.QtCore import QT_VERSION_STR, QCoreApplication

from .. import paths
from ..environment import doctor
from ..environment.doctor import BAD, GOOD, NOTE, AddOnHealth, Finding
from ..errors import TesseraError
from ..progress import Report
from ..values import Access
from .base import EngineTask
from .session import Session

if TYPE_CHECKING:
    from ..engine.speed import Speed
    from ..engine.worker import Device, WorkerClient

__all__ = ["ABOUT", "BAD", "GOOD", "NOTE", "Finding", "check", "glance", "report_text"]

SYSTEM, GDAL, CACHE, ADD_ON, DEVICES, SPEED, ARCHIVE = ABOUT = (
    "system",
    "gdal",
    "cache",
    "add-on",
    "devices",
    "speed",
    "archive",
)
"""What is looked at, in this order."""

MILLION = 1e6

translate = QCoreApplication.translate

Look = Callable[[Report], Finding]


def glance(session: Session) -> EngineTask:
    """Return the task that looks at what costs nothing: gives a tuple of `Finding`."""
    return _task(translate("Diagnostics", "Looking what works"), _quick(session))


def check(session: Session) -> EngineTask:
    """Return the task that tries everything, the network too: gives a tuple of `Finding`.

    Its `happened` tells each as it is found.
    """
    looks = [*_quick(session), *_thorough(session)]
    return _task(translate("Diagnostics", "Checking what works"), looks)


def report_text(session: Session, version: str, findings: Sequence[Finding]) -> str:
    """Return what was found as text that can be shown to others, with the ends of the logs."""
    workers = sorted(paths.log_dir().glob("worker-*.log"), key=lambda path: path.stat().st_mtime)
    log_files = [session.add_on.places.log, *workers[-1:]]
    return session.add_on.scrubbed(doctor.report(version, findings, log_files))


def _task(title: str, looks: Sequence[Look]) -> EngineTask:
    def work(report: Report) -> Tuple[Finding, ...]:
        found: List[Finding] = []
        for number, look in enumerate(looks):
            report(number / len(looks), "")
            found.append(look(report))
            task.happened.emit(found[-1])
        return tuple(found)

    task = EngineTask(title, work)
    return task


# --- what costs nothing


def _quick(session: Session) -> List[Look]:
    cache_dir, places = session.settings.cache_folder, session.add_on.places
    python, is_add_on = session.compute.python, session.compute.is_add_on
    return [
        lambda _: _system(),
        lambda _: _gdal(),
        lambda _: _cache(cache_dir),
        lambda _: _add_on(doctor.examine(places, python), is_add_on=is_add_on),
    ]


def _system() -> Finding:
    told = translate("Diagnostics", "QGIS {}, Qt {}, Python {}, {} {} ({})").format(
        *(Qgis.QGIS_VERSION, QT_VERSION_STR, platform.python_version()),
        *(platform.system(), platform.release(), platform.machine()),
    )
    return Finding(SYSTEM, GOOD, told)


def _gdal() -> Finding:
    from ..engine.unpack import of_this_gdal  # noqa: PLC0415 - light plugin load

    version, lacking = of_this_gdal()
    if not lacking:
        words = translate("Diagnostics", "GDAL {} unpacks the published Zarr stores.")
        return Finding(GDAL, GOOD, words.format(version))
    words = translate(
        "Diagnostics",
        "GDAL {} can't unpack {}: for Zarr stores the add-on does it, NPY tiles need neither.",
    )
    return Finding(GDAL, NOTE, words.format(version, ", ".join(lacking)))


def _cache(cache_dir: str) -> Finding:
    from ..engine.cache import is_writable  # noqa: PLC0415 - light plugin load

    if is_writable(cache_dir):
        return Finding(
            CACHE, GOOD, translate("Diagnostics", "{} can be written.").format(cache_dir)
        )
    words = translate("Diagnostics", "{} can't be written: nothing that is fetched is kept.")
    return Finding(CACHE, BAD, words.format(cache_dir))


def _add_on(health: AddOnHealth, *, is_add_on: bool) -> Finding:
    record = health.state.record
    if health.problem:
        words = translate("Diagnostics", "{} does not start: {}. Repair the add-on.")
        return Finding(ADD_ON, BAD, words.format(health.python, health.problem))
    if is_add_on and health.state.problem:
        words = translate("Diagnostics", "It is damaged ({}). Repair it.")
        return Finding(ADD_ON, BAD, words.format(health.state.problem.replace("_", " ")))
    if not health.version:
        words = translate("Diagnostics", "Not installed. The instant head works without it.")
        return Finding(ADD_ON, NOTE, words)
    if not is_add_on or record is None:
        words = translate("Diagnostics", "Another Python is used: {} ({}).")
        return Finding(ADD_ON, NOTE, words.format(health.python, health.version))
    packages = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    words = translate("Diagnostics", "{} ({}), Python {}, {}; in {}").format(
        *(record.bundle, record.variant, record.python, packages, health.state.place)
    )
    return Finding(ADD_ON, GOOD, " ".join([f"{words}.", *record.notes]))


# --- what takes seconds, or asks somebody


def _thorough(session: Session) -> List[Look]:
    worker = session.compute.client()
    can_train = session.compute.can_train
    archive, access = session.settings.archive, session.access()
    return [
        lambda report: _devices(worker, report),
        lambda report: _speed(worker if can_train else None, report),
        lambda report: _archive(archive, access, report),
    ]


def _devices(worker: Optional[WorkerClient], report: Report) -> Finding:
    if worker is None:
        return Finding(DEVICES, NOTE, translate("Diagnostics", "None without the add-on."))
    try:
        devices = worker.devices(report)
    except TesseraError as error:
        words = translate("Diagnostics", "The add-on's process can't be used.")
        return Finding(DEVICES, BAD, words, error)
    told = "; ".join(_device(each) for each in devices)
    works = any(each.works for each in devices)
    return Finding(DEVICES, GOOD if works else BAD, f"{told}.")


def _device(device: Device) -> str:
    memory = f" {device.memory_bytes / 2**30:.0f} GiB" if device.memory_bytes else ""
    name = " ".join(filter(None, [device.id, f"({device.name}{memory})" if device.name else ""]))
    if device.works:
        return translate("Diagnostics", "{} on {} works").format(device.framework, name)
    words = translate("Diagnostics", "{} on {} does not work: {}")
    return words.format(device.framework, name, device.reason)


def _speed(worker: Optional[WorkerClient], report: Report) -> Finding:
    from ..engine import speed  # noqa: PLC0415 - light plugin load

    found = [speed.in_numpy(report)]
    error = None
    try:
        found += speed.in_worker(worker, report) if worker is not None else ()
    except TesseraError as failed:
        error = failed
    words = translate("Diagnostics", "An MLP classifies per second, with {}.")
    told = words.format("; ".join(_speeds(found)))
    return Finding(SPEED, BAD if error else GOOD, told, error)


def _speeds(found: Sequence[Speed]) -> Iterator[str]:
    for each in found:
        way = each.device if each.device == "numpy" else f"torch ({each.device})"
        if each.reason:
            yield translate("Diagnostics", "{}: nothing, {}").format(way, each.reason)
        else:
            millions = f"{each.pixels_per_s / MILLION:.2g}"
            yield translate("Diagnostics", "{}: {} million pixels").format(way, millions)


def _archive(archive: str, access: Access, report: Report) -> Finding:
    from ..engine import locations  # noqa: PLC0415 - light plugin load

    began = time.monotonic()
    try:
        found = locations.look(archive, access, report)
    except TesseraError as error:
        words = translate("Diagnostics", "{} can't be read.").format(archive)
        return Finding(ARCHIVE, BAD, words, error)
    seconds = time.monotonic() - began
    datasets = getattr(found, "datasets", ())
    words = translate("Diagnostics", "{} answers in {} s; {} datasets.")
    return Finding(ARCHIVE, GOOD, words.format(archive, f"{seconds:.1f}", len(datasets) or 1))
