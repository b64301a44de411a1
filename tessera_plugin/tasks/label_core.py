# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How labels and classes are kept: in memory, in the file, in the history of steps, on the map.

What can be done to them is in `label_steps` and `labels`.
"""

from __future__ import annotations

import contextlib
import os
from typing import (
    TYPE_CHECKING,
    Callable,
    Dict,
    FrozenSet,
    Iterable,
    List,
    Optional,
    Sequence,
    Set,
    Tuple,
)

from qgis.core import QgsProject
from qgis.PyQt.QtCore import QObject, pyqtSignal

from ..errors import LabelsBusy, NotWritable, TesseraError
from ..values import LabelChange, LandClass, StoredClass
from . import label_words
from .label_file import TABLES
from .label_history import History, Step
from .label_layers import LabelLayers, default_styles
from .label_rest import LabelRest
from .label_rows import LabelRows
from .label_writing import LabelWriting

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
        self._writing: Optional[LabelWriting] = None
        """What brings many labels into the file just now; nobody else may use it meanwhile."""
        self._is_edited = False
        """Whether a person saved edits of a layer meanwhile."""
        self._not_used = (0, 0)
        """Labels of the file without a class, and without a place."""
        self._selected: Tuple[str, ...] = ()
        self._revision = 0
        self._styled: Tuple[StoredClass, ...] = ()
        self._layers = LabelLayers(self._edited)
        self._rest = LabelRest(self, self)
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
        self._finish_writing()
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
            self._not_used = contents.no_class, contents.unusable
        self._tell()

    def close(self) -> None:
        """Let go of the file, once what is being written is in it."""
        self._finish_writing()
        self._let_go()
        self._is_lost = False
        self._next_class_id, self._styled = 1, ()
        self._classes, self._rows, self._history = (), LabelRows(), History()
        self._not_used = (0, 0)
        self._set_selection(())

    def refresh(self) -> None:
        """Take over what somebody else wrote to the file; undo takes it back as one step.

        Raises: LabelsUnreadable, and everything stays as it was.
        """
        if self._writing is not None:
            self._is_edited = True  # it is looked at when that is done
            return
        self._take_over()

    def _take_over(self) -> bool:
        """Have in memory what somebody else wrote; return whether there was something."""
        contents = self._contents()
        if contents is None:
            return False
        self._next_class_id = max(self._next_class_id, contents.next_class_id)
        classes = self._with_unknown(contents)
        found = LabelChange(self._classes, classes, self._rows.differences(contents.labels))
        before, self._not_used = self._not_used, (contents.no_class, contents.unusable)
        if found:
            self._take(found)
            self._history.add(Step(label_words.by_others(), found))
        if found or self._not_used != before:
            self._tell()
        return bool(found)

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

    # --- what is in the file and can't be used

    @property
    def no_class(self) -> int:
        """How many labels of the file have neither the id nor the name of a class."""
        return self._not_used[0]

    @property
    def unusable(self) -> int:
        """How many labels of the file are neither points nor polygons with a place on earth."""
        return self._not_used[1]

    # --- the selection

    @property
    def selected(self) -> Tuple[str, ...]:
        """Keys of the labels that are selected."""
        return self._selected

    def select(self, keys: Iterable[str]) -> None:
        """Select these labels and no others; nothing is written."""
        self._set_selection(label.key for label in self._rows.pick(keys))

    # --- the project

    def show_in(self, project: QgsProject) -> None:
        """Have the project show the labels, in the colours of the classes.

        It is for every change: what is as it should be is left alone.
        """
        if self._file is not None:
            self._layers.show(project, self.classes, self.hidden)

    def is_shown_in(self, project: QgsProject) -> bool:
        """Whether a project has all layers that show the labels."""
        return self._layers.are_in(project)

    # --- what `LabelRest` asks

    def at_rest(self) -> bool:
        """Do what more than a click may cost; return whether the file is free for more."""
        if self._writing is not None:
            return False
        self._layers.count()
        if self._file is not None and self._classes != self._styled:
            self._styled = self._classes
            with contextlib.suppress(NotWritable):  # it is no more than a courtesy
                self._file.write_styles(default_styles(self.classes, self.hidden))
        return True

    def is_unchanged(self) -> bool:
        """Return whether nobody else wrote to the file."""
        return self._writing is None and self._file is not None and not self._file.is_changed

    def checkpointed(self, nobody_wrote: Callable[[], bool]) -> None:
        """Hear that the log was brought into the file while, it may be, nobody wrote."""
        if self._writing is None and self._file is not None:
            self._file.checkpointed(nobody_wrote)

    # --- changes

    def _with_unknown(self, contents: Contents) -> Tuple[StoredClass, ...]:
        """Return the classes, with those that somebody gave to labels by other means."""
        classes = list(contents.classes)
        colors = with_colors([""] * len(contents.names), [each.land_class for each in classes])
        for (class_id, name), color in zip(contents.names.items(), colors):
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

        Raises: NotWritable if there is no file, it can't be read any more, or many labels are being
        written to it.
        """
        if self._writing is not None:
            raise LabelsBusy(self._path)
        if self._joined is not None:  # it was looked at when the step began
            return False
        if (self._file is None and not self._is_lost) or not _is_there(self._path):
            raise NotWritable(self._path, "the file is gone")
        if self._file is not None and not self._file.is_changed and not self._file.is_other:
            return False
        return self._look()

    def _look(self) -> bool:
        """Take over what somebody else wrote; return whether there was something.

        Raises: NotWritable if the file can't be read any more.
        """
        try:
            return self._take_over()
        except TesseraError as error:
            raise NotWritable(self._path, str(error)) from error

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
        if self._writing is not None:  # they are selected when it is done
            return found
        chosen = self._rows.pick(self._selected)
        with contextlib.suppress(NotWritable):  # the selection is no more than seen
            for table in TABLES:
                keys = [each.key for each in chosen if each.table == table]
                if keys and self._file is not None:
                    found[table] = self._file.feature_ids(table, keys)
        return found

    def _finish_writing(self) -> None:
        if self._writing is not None:
            self._writing.finish()

    def _let_go(self) -> None:
        self._rest.close()
        if self._writing is not None:  # QGIS ends: nobody is to be told any more
            self._writing.finish(tell=False)
            self._writing = None
        if self._file is not None:
            self._file.close()
        self._file = None

    def _edited(self) -> None:
        with contextlib.suppress(TesseraError):  # the next change will tell
            self.refresh()


def _is_there(path: str) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - Path.exists raises where a drive is gone


def with_colors(colors: Sequence[str], classes: Sequence[LandClass]) -> Tuple[str, ...]:
    """Return colours of new classes, in which one that no class has is put for each that is empty."""
    from ..engine.class_colors import filled  # noqa: PLC0415 - light plugin load

    return filled(colors, [each.color for each in classes], PALETTE)
