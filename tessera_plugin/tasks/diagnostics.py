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
from ..environment.bundles import TRAINING
from ..environment.doctor import BAD, GOOD, NOTE, AddOnHealth, Finding
from ..errors import TesseraError, WorkerFailed
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
    words = translate("Diagnostics", "Installed ({}, {}): Python {}, {}; in {}.").format(
        *(_bundle(record.bundle), record.variant, record.python, packages, health.state.place)
    )
    return Finding(ADD_ON, GOOD, " ".join([words, *record.notes]))


def _bundle(name: str) -> str:
    if name == TRAINING:
        return translate("Diagnostics", "with training")
    return translate("Diagnostics", "without training")


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
    works = any(each.works for each in devices)
    return Finding(DEVICES, GOOD if works else BAD, "\n".join(map(_device, devices)))


def _device(device: Device) -> str:
    framework = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime"}[device.framework]
    memory = f", {device.memory_bytes / 2**30:.0f} GiB" if device.memory_bytes else ""
    name = f"{device_name(device.id)} ({device.name}{memory})"
    if device.works:
        return translate("Diagnostics", "{} computes on the {}.").format(framework, name)
    words = translate("Diagnostics", "{} can't use the {}: {}.")
    return words.format(framework, name if device.id else "-", device.reason)


def device_name(key: str) -> str:
    """Return what people call a device of torch, or a provider of ONNX Runtime."""
    if key in ("cpu", "CPUExecutionProvider"):
        return translate("Diagnostics", "processor")
    if key.startswith("cuda") or key == "CUDAExecutionProvider":
        return translate("Diagnostics", "NVIDIA GPU")
    return {"mps": "Apple GPU", "DmlExecutionProvider": "GPU, through DirectML"}.get(key, key)


def _speed(worker: Optional[WorkerClient], report: Report) -> Finding:
    from ..engine import speed  # noqa: PLC0415 - light plugin load

    found = [speed.in_numpy(report)]
    encoder: Sequence[Speed] = ()
    error = None
    try:
        if worker is not None:
            found += speed.in_worker(worker, report)
            encoder = _encoder(worker, report)
    except TesseraError as failed:
        error = failed
    words = translate("Diagnostics", "Pixels per second that an MLP classifies: {}.")
    told = [words.format(", ".join(_speeds(found)))]
    if encoder:
        words = translate("Diagnostics", "Pixels per second of the smallest encoder: {}.")
        told.append(words.format(", ".join(_encoder_speeds(encoder))))
    return Finding(SPEED, BAD if error else GOOD, "\n".join(told), error)


def _encoder(worker: WorkerClient, report: Report) -> Sequence[Speed]:
    """Return how fast an encoder is; nothing with a person's own Python that lacks ONNX."""
    from ..engine import speed  # noqa: PLC0415 - light plugin load

    try:
        return speed.of_encoder(worker, report)
    except WorkerFailed as error:
        if error.kind != "ModuleNotFoundError":
            raise
        return ()


def _speeds(found: Sequence[Speed]) -> Iterator[str]:
    for each in found:
        if each.device == "numpy":
            way = translate("Diagnostics", "{} with numpy")
        else:
            way = translate("Diagnostics", "{} with PyTorch on the {}")
        yield way.format(_amount(each), device_name(each.device))


def _encoder_speeds(found: Sequence[Speed]) -> Iterator[str]:
    for each in found:
        way = translate("Diagnostics", "{} on the {}")
        yield way.format(_amount(each), device_name(each.device))


def _amount(speed: Speed) -> str:
    """Return a speed with two digits, which is what it is worth, or why there is none."""
    return speed.reason or f"{float(f'{speed.pixels_per_s:.2g}'):,.0f}"


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
