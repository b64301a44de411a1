# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How labels and classes are kept: in memory, in the file, in the history of steps, on the map.

What can be done to them is in `labels`.
"""

from __future__ import annotations

import contextlib
import os
from typing import (
    TYPE_CHECKING,
    Dict,
    FrozenSet,
    Iterable,
    Iterator,
    List,
    Optional,
    Sequence,
    Set,
    Tuple,
)

from qgis.core import QgsProject
from qgis.PyQt.QtCore import QObject, pyqtSignal

from ..errors import NotWritable, TesseraError
from ..values import LabelChange, LandClass, StoredClass
from . import label_words
from .label_file import TABLES
from .label_history import History, Step
from .label_layers import LabelLayers, default_styles
from .label_rest import LabelRest
from .label_rows import LabelRows, Pair

if TYPE_CHECKING:
    from ..engine.label_files import Contents, LabelFile

PALETTE = (
    "#4e79a7",
    "#59a14f",
    "#edc948",
    "#e15759",
    "#b07aa1",
    "#f28e2b",
    "#76b7b2",
    "#9c755f",
    "#ff9da7",
    "#8cd17d",
    "#499894",
    "#bab0ac",
)
"""Colours of new classes, told apart also side by side on a map."""


class LabelCore(QObject):
    """Keeps labels and classes the same in memory and in the file, and remembers every step."""

    changed = pyqtSignal()
    """Labels or classes are other than before."""
    selection_changed = pyqtSignal()

    def __init__(self, parent: Optional[QObject] = None) -> None:
        super().__init__(parent)
        self._path = ""
        self._file: Optional[LabelFile] = None
        self._replaced: Set[str] = set()
        """Files that were replaced or deleted while they were in use."""
        self._is_lost = False
        """The file in use was replaced by one that can't be read."""
        self._classes: Tuple[StoredClass, ...] = ()
        self._next_class_id = 1
        self._rows = LabelRows()
        self._history = History()
        self._joined: Optional[LabelChange] = None
        self._selected: Tuple[str, ...] = ()
        self._revision = 0
        self._styled: Tuple[StoredClass, ...] = ()
        self._layers = LabelLayers(self._edited)
        self._rest = LabelRest(self._at_rest, self)
        # The last thing that goes before GDAL does, which must find no file open.
        QgsProject.instance().destroyed.connect(self._let_go)

    # --- the file

    @property
    def path(self) -> str:
        """The file in use; it is made with the first class."""
        return self._path

    @property
    def revision(self) -> int:
        """A number that grows with every change."""
        return self._revision

    def open(self, path: str) -> None:
        """Use a label file, which need not be there yet. The same file again keeps undo.

        Raises: LabelsUnreadable, and the file used before stays in use.
        """
        if self._file is not None and path == self._path and not self._file.is_other:
            self.refresh()
            return
        if self._file is not None and self._file.is_other:
            self._replaced.add(self._path)
        file, contents = self._opened(path) if _is_there(path) else (None, None)
        self.close()
        self._path, self._file = path, file
        self._layers.use(path)
        self._rest.use(path)
        if contents is not None:
            self._next_class_id = contents.next_class_id
            self._classes = self._styled = self._with_unknown(contents)
            self._rows = LabelRows(contents.labels)
        self._tell()

    def close(self) -> None:
        """Let go of the file."""
        self._let_go()
        self._is_lost = False
        self._next_class_id, self._styled = 1, ()
        self._classes, self._rows, self._history = (), LabelRows(), History()
        self._set_selection(())

    def refresh(self) -> None:
        """Take over what somebody else wrote to the file; undo takes it back as one step.

        Raises: LabelsUnreadable, and everything stays as it was.
        """
        contents = self._contents()
        if contents is None:
            return
        self._next_class_id = max(self._next_class_id, contents.next_class_id)
        classes = self._with_unknown(contents)
        found = LabelChange(self._classes, classes, self._rows.differences(contents.labels))
        if found:
            self._take(found)
            self._history.add(Step(label_words.by_others(), found))
            self._tell()

    # --- the classes

    @property
    def classes(self) -> Tuple[LandClass, ...]:
        """The classes, in the person's order."""
        return tuple(each.land_class for each in self._classes)

    @property
    def hidden(self) -> FrozenSet[int]:
        """Ids of the classes that are not drawn."""
        return frozenset(each.land_class.id for each in self._classes if each.hidden)

    def land_class(self, class_id: int) -> Optional[LandClass]:
        """Return a class, or None."""
        return next((each for each in self.classes if each.id == class_id), None)

    # --- the selection

    @property
    def selected(self) -> Tuple[str, ...]:
        """Keys of the labels that are selected."""
        return self._selected

    def select(self, keys: Iterable[str]) -> None:
        """Select these labels and no others; nothing is written."""
        self._set_selection(label.key for label in self._rows.pick(keys))

    # --- undo

    @property
    def can_undo(self) -> bool:
        """Whether there is something to undo."""
        return self._history.last is not None

    @property
    def can_redo(self) -> bool:
        """Whether there is something to redo."""
        return self._history.next is not None

    @property
    def undo_text(self) -> str:
        """What undo takes back."""
        return self._history.last.text if self._history.last else ""

    @property
    def redo_text(self) -> str:
        """What redo brings back."""
        return self._history.next.text if self._history.next else ""

    def undo(self) -> None:
        """Take back the last step. Raises: NotWritable.

        If somebody else wrote meanwhile, that is shown instead, as a step that can be taken back.
        """
        if self._history.last is not None and not self._ready():
            self._write(self._history.last.change.inverse)
            self._history.went_back()
            self._tell()

    def redo(self) -> None:
        """Bring back the step that was taken back last. Raises: NotWritable."""
        if self._history.next is not None and not self._ready():
            self._write(self._history.next.change)
            self._history.went_on()
            self._tell()

    @contextlib.contextmanager
    def one_step(self, text: str) -> Iterator[None]:
        """Make one step of undo, called `text`, and one transaction of all that is done inside.

        If it can't be written, or what is done inside raises, nothing is other than before.
        Raises: NotWritable.
        """
        self._ensure_file()
        next_class_id = self._next_class_id
        joined = self._joined = LabelChange(self._classes, self._classes)
        try:
            yield
            joined = self._joined
            if joined:
                self._put(joined)
        except BaseException:
            self._take(self._joined.inverse)
            self._next_class_id = next_class_id
            raise
        finally:
            self._joined = None
        if joined:
            self._history.add(Step(text, joined))
            self._tell()

    # --- the project

    def show_in(self, project: QgsProject) -> None:
        """Have the project show the labels, in the colours of the classes.

        It is for every change: what is as it should be is left alone.
        """
        if self._file is not None:
            self._layers.show(project, self.classes, self.hidden)

    # --- changes

    def _with_unknown(self, contents: Contents) -> Tuple[StoredClass, ...]:
        """Return the classes, with those that somebody gave to labels by other means."""
        classes = list(contents.classes)
        for class_id, name in contents.names.items():
            color = free_color([each.land_class for each in classes])
            classes.append(StoredClass(LandClass(class_id, name, color)))
        found = LabelChange(contents.classes, tuple(classes))
        if found and self._file is not None:
            with contextlib.suppress(NotWritable):  # they are found again the next time
                self._file.write(found, self._next_class_id)
        return found.classes_after

    def _contents(self) -> Optional[Contents]:
        """Return what is in the file, and take up one that was put in its place."""
        if self._file is not None and (not self._file.is_other or self._file.is_gone):
            return self._file.read()
        if self._file is not None:
            self._replaced.add(self._path)
            self._file.close()
            self._file, self._is_lost = None, True  # until it is known that it can be read
        if not self._is_lost or not _is_there(self._path):
            return None
        self._file, contents = self._opened(self._path)
        self._is_lost = False
        self._layers.touch(TABLES)
        self._layers.count()  # they still have the one before
        return contents

    def _opened(self, path: str) -> Tuple[LabelFile, Contents]:
        from ..engine.label_files import LabelFile  # noqa: PLC0415 - light plugin load

        file = LabelFile(path, has_log=path not in self._replaced)
        return file, file.read()

    def _ensure_file(self) -> None:
        from ..engine import label_files  # noqa: PLC0415 - light plugin load

        if self._file is None and not self._is_lost:
            if not _is_there(self._path):
                label_files.create(self._path)
            self.open(self._path)  # it may have been made by another QGIS meanwhile
        self._ready()

    def _ready(self) -> bool:
        """Take over what somebody else wrote; return whether there was something.

        Raises: NotWritable if there is no file, or it can't be read any more.
        """
        if self._joined is not None:  # it was looked at when the step began
            return False
        if (self._file is None and not self._is_lost) or not _is_there(self._path):
            raise NotWritable(self._path, "the file is gone")
        if self._file is not None and not self._file.is_changed and not self._file.is_other:
            return False
        before = self._history.last
        try:
            self.refresh()
        except TesseraError as error:
            raise NotWritable(self._path, str(error)) from error
        return self._history.last is not before

    def _do(
        self,
        text: str,
        labels: Sequence[Pair] = (),
        classes: Optional[Iterable[StoredClass]] = None,
    ) -> None:
        """Make a change that is a step of undo; one that changes nothing is none."""
        after = self._classes if classes is None else tuple(classes)
        pairs = tuple(pair for pair in labels if pair[0] != pair[1])
        change = LabelChange(self._classes, after, pairs)
        if not change:
            return
        if self._joined is not None:
            self._take(change)
            self._joined = self._joined.then(change)
            self._next_class_id = self._free_class_id(change)
            return
        self._write(change)
        self._history.add(Step(text, change))
        self._tell()

    def _write(self, change: LabelChange) -> None:
        self._put(change)
        self._take(change)

    def _put(self, change: LabelChange) -> None:
        """Bring a change into the file."""
        if self._file is None:
            raise NotWritable(self._path, "the file is gone")
        next_class_id = self._free_class_id(change)
        self._file.write(change, next_class_id)
        self._next_class_id = next_class_id
        self._rest.start()

    def _free_class_id(self, change: LabelChange) -> int:
        """Return an id greater than every one that was ever given, the change's too."""
        ids = (each.land_class.id for each in change.classes_after)
        return max([self._next_class_id, *(each + 1 for each in ids)])

    def _take(self, change: LabelChange) -> None:
        """Have in memory what is in the file."""
        self._rows.apply(change.labels)
        self._classes = change.classes_after
        touched = {each.table for pair in change.labels for each in pair if each is not None}
        self._layers.touch(sorted(touched))

    def _tell(self) -> None:
        self._revision += 1
        if any(key not in self._rows for key in self._selected):
            self.select(self._selected)
        self.changed.emit()

    def _set_selection(self, keys: Iterable[str]) -> None:
        before, self._selected = self._selected, tuple(keys)
        if self._selected != before:
            self._layers.select(self._selected_ids())
            self.selection_changed.emit()

    def _selected_ids(self) -> Dict[str, List[int]]:
        found: Dict[str, List[int]] = {}
        chosen = self._rows.pick(self._selected)
        with contextlib.suppress(NotWritable):  # the selection is no more than seen
            for table in TABLES:
                keys = [each.key for each in chosen if each.table == table]
                if keys and self._file is not None:
                    found[table] = self._file.feature_ids(table, keys)
        return found

    def _let_go(self) -> None:
        self._rest.close()
        if self._file is not None:
            self._file.close()
        self._file = None

    def _at_rest(self) -> None:
        self._layers.count()
        if self._file is not None and self._classes != self._styled:
            self._styled = self._classes
            with contextlib.suppress(NotWritable):  # it is no more than a courtesy
                self._file.write_styles(default_styles(self.classes, self.hidden))

    def _edited(self) -> None:
        with contextlib.suppress(TesseraError):  # the next change will tell
            self.refresh()


def _is_there(path: str) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - Path.exists raises where a drive is gone


def free_color(classes: Sequence[LandClass]) -> str:
    """Return a colour that none of the classes has, as long as there is one."""
    used = {each.color.lower() for each in classes}
    free = [color for color in PALETTE if color not in used]
    return free[0] if free else PALETTE[len(used) % len(PALETTE)]
