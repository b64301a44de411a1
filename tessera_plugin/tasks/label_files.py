# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Label files beside the label store: read off the GUI thread, kept as long as they stay as they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Dict, List, Optional, Sequence, Tuple, Union

from qgis.core import QgsVectorLayer
from qgis.PyQt.QtCore import QCoreApplication, QObject, pyqtSignal

from ..errors import LabelsUnreadable, TesseraError
from ..progress import Report
from .base import EngineTask
from .lookups import Lookup
from .train_choices import LabelFile

if TYPE_CHECKING:
    from ..engine.labels import Labels

Stamp = Tuple[Tuple[int, int], ...]
"""Times and sizes of a file and of what SQLite writes beside it."""

Kind = Tuple[str, str, str]
"""Path, layer and class field: what decides which labels come of a file."""

Content = Union["Labels", TesseraError]

translate = QCoreApplication.translate


@dataclass(frozen=True)
class Layer:
    """A layer of a vector file."""

    name: str
    fields: Tuple[str, ...]


class LabelFiles(QObject):
    """What label files hold. Asked often, it reads only what is other than before."""

    changed = pyqtSignal()
    """Files have been read."""

    def __init__(self, parent: Optional[QObject] = None) -> None:
        super().__init__(parent)
        self._known: Dict[Kind, Tuple[Stamp, Content]] = {}
        self._lookup = Lookup(self)
        self.busy = self._lookup.busy

    @property
    def is_busy(self) -> bool:
        """Whether files are being read."""
        return self._lookup.is_busy

    def want(self, files: Sequence[LabelFile], then: Optional[Callable[[], None]] = None) -> None:
        """Read files unless they are known as they are now; then call, also if some can't be read.

        A newer wish takes the place of one that is not fulfilled yet.
        """
        stale = [each for each in files if not self._is_fresh(each)]
        if not stale:
            if then is not None:
                then()
            return

        def came(found: Dict[Kind, Tuple[Stamp, Content]]) -> None:
            self._known.update(found)
            self.changed.emit()
            if then is not None:
                then()

        self._lookup.ask(EngineTask(translate("Jobs", "Reading labels"), _reading(stale)), came)

    def labels(self, file: LabelFile) -> Optional[Labels]:
        """Return the labels of a file, None where it has not been read yet.

        Raises: LabelsUnreadable, FieldMissing, NoLabels.
        """
        _, content = self._known.get(_kind(file), ((), None))
        if isinstance(content, TesseraError):
            raise content
        return content

    def close(self) -> None:
        """Read nothing any more."""
        self._lookup.close()

    def _is_fresh(self, file: LabelFile) -> bool:
        known = self._known.get(_kind(file))
        return known is not None and known[0] == _stamp(file.path)


def layers_of(path: str) -> EngineTask:
    """Return the task that looks what layers a vector file has: gives a tuple of `Layer`."""

    def work(report: Report) -> Tuple[Layer, ...]:
        report(0.0, "")
        opened = QgsVectorLayer(path, "labels", "ogr")
        if not opened.isValid():
            raise LabelsUnreadable(path, "it is no vector file that QGIS knows")
        names = [each.split("!!::!!")[1] for each in opened.dataProvider().subLayers()]
        found: List[Layer] = []
        for name in names:
            layer = QgsVectorLayer(f"{path}|layername={name}", name, "ogr")
            if layer.isValid() and layer.isSpatial():
                found.append(Layer(name, tuple(field.name() for field in layer.fields())))
        return tuple(found)

    return EngineTask(translate("Jobs", "Reading labels"), work)


def _reading(files: Sequence[LabelFile]) -> Callable[[Report], object]:
    def work(report: Report) -> Dict[Kind, Tuple[Stamp, Content]]:
        found: Dict[Kind, Tuple[Stamp, Content]] = {}
        for number, each in enumerate(files):
            report(number / len(files), "")
            stamp = _stamp(each.path)  # before reading: a change meanwhile makes it stale
            found[_kind(each)] = (stamp, _content(each))
        return found

    return work


def _content(file: LabelFile) -> Content:
    from ..engine.labels import load_labels  # noqa: PLC0415 - light plugin load

    try:
        return load_labels(file.path, file.class_field, file.layer or None)
    except TesseraError as error:
        return error


def _kind(file: LabelFile) -> Kind:
    return file.path, file.layer, file.class_field


def _stamp(path: str) -> Stamp:
    found = []
    for each in (Path(path), Path(f"{path}-wal")):
        try:
            state = each.stat()
        except OSError:
            continue
        if state.st_size:  # SQLite makes an empty one just for looking
            found.append((state.st_mtime_ns, state.st_size))
    return tuple(found)
