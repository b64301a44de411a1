# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What people call the changes of their labels, in the menu of undo and redo."""

from __future__ import annotations

from typing import Sequence

from qgis.PyQt.QtCore import QCoreApplication

from ..values import LandClass, StoredLabel


def _tr(text: str) -> str:
    return QCoreApplication.translate("Labels", text)


def labels(found: Sequence[StoredLabel], classes: Sequence[LandClass]) -> str:
    """Return what some labels are called: 3 labels of Water."""
    names = {each.id: each.name for each in classes}
    ids = {each.class_id for each in found}
    name = names.get(ids.pop(), "") if len(ids) == 1 else ""
    if len(found) == 1:
        return _tr("a label of {}").format(name) if name else _tr("a label")
    if name:
        return _tr("{} labels of {}").format(len(found), name)
    return _tr("{} labels").format(len(found))


def removed(found: Sequence[StoredLabel], classes: Sequence[LandClass]) -> str:
    """Return what the removal of labels is called."""
    return _tr("removing {}").format(labels(found, classes))


def reclassed(found: Sequence[StoredLabel], to: LandClass, classes: Sequence[LandClass]) -> str:
    """Return what it is called to give labels another class."""
    return _tr("{} made {}").format(labels(found, classes), to.name)


def moved(found: Sequence[StoredLabel], classes: Sequence[LandClass]) -> str:
    """Return what it is called to put a label somewhere else."""
    return _tr("moving {}").format(labels(found, classes))


def edited(found: Sequence[StoredLabel], classes: Sequence[LandClass]) -> str:
    """Return what it is called to change year, note or confidence."""
    return _tr("editing {}").format(labels(found, classes))


def classes_added(made: Sequence[LandClass]) -> str:
    """Return what new classes are called."""
    if len(made) == 1:
        return _tr("adding the class {}").format(made[0].name)
    return _tr("adding {} classes").format(len(made))


def renamed(before: LandClass) -> str:
    """Return what the renaming of a class is called."""
    return _tr("renaming {}").format(before.name)


def recolored(land_class: LandClass) -> str:
    """Return what another colour of a class is called."""
    return _tr("the colour of {}").format(land_class.name)


def class_moved(land_class: LandClass) -> str:
    """Return what another place of a class in the list is called."""
    return _tr("moving the class {}").format(land_class.name)


def merged(gone: Sequence[LandClass], into: LandClass) -> str:
    """Return what the merging of classes is called."""
    return _tr("merging {} into {}").format(", ".join(each.name for each in gone), into.name)


def hidden(classes: Sequence[LandClass], *, is_hidden: bool) -> str:
    """Return what hiding and showing classes is called."""
    names = ", ".join(each.name for each in classes)
    return (_tr("hiding {}") if is_hidden else _tr("showing {}")).format(names)


def classes_removed(gone: Sequence[LandClass]) -> str:
    """Return what the removal of classes is called."""
    if len(gone) == 1:
        return _tr("removing the class {}").format(gone[0].name)
    return _tr("removing {} classes").format(len(gone))


def imported(number: int) -> str:
    """Return what the import of labels is called, with the classes that it makes."""
    return _tr("importing a label") if number == 1 else _tr("importing {} labels").format(number)


def by_others() -> str:
    """Return what is called that did not come from here."""
    return _tr("changes made elsewhere")
