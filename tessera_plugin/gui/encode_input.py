# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Step 2 of encoding: what is encoded, from which of three kinds of inputs, and of which area."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional

from qgis.gui import QgisInterface
from qgis.PyQt.QtCore import QObject, pyqtSignal
from qgis.PyQt.QtWidgets import QWidget

from ..tasks.session import Session
from ..values import Window
from .encode_area import AreaPart
from .encode_dated import DatedPart
from .encode_stac import StacPart
from .encode_tile import TilePart

if TYPE_CHECKING:
    from ..engine.dpixels import Scenes
    from ..engine.stac import StacPlan

DATED, STAC, TILE = range(3)


class InputPart(QObject):
    """Keeps the three kinds beside each other: what was chosen in one stays when another is shown."""

    changed = pyqtSignal()

    def __init__(self, page: QWidget, session: Session, iface: QgisInterface) -> None:
        super().__init__(page)
        self._page = page
        self.area = AreaPart(page, session, iface)
        self.dated = DatedPart(page, session)
        self.stac = StacPart(page, session, lambda: self.area.window)
        self.tile = TilePart(page)
        for number, radio in enumerate((page.datedRadio, page.stacRadio, page.tileRadio)):
            radio.toggled.connect(lambda on, kind=number: self._choose(kind) if on else None)
        self.dated.is_tile.connect(self._take_tile)
        self.dated.changed.connect(self._tell)
        self.area.changed.connect(self._area_changed)
        for part in (self.stac, self.tile):
            part.changed.connect(self._tell)
        self._choose(DATED)

    # --- what others ask

    @property
    def kind(self) -> int:
        """DATED, STAC or TILE."""
        return int(self._page.inputStack.currentIndex())

    @property
    def window(self) -> Optional[Window]:
        """What is encoded; None where it is not known."""
        if self.kind == TILE:
            placed = self.tile.placed
            return placed.window if placed is not None else None
        return self.area.window

    @property
    def scenes(self) -> Optional[Scenes]:
        """The images that are used, of this computer."""
        return self.dated.scenes if self.kind == DATED else None

    @property
    def plan(self) -> Optional[StacPlan]:
        """What is to be downloaded."""
        return self.stac.plan if self.kind == STAC else None

    @property
    def folder(self) -> str:
        """The d-pixel folder."""
        return self.tile.folder if self.kind == TILE else ""

    @property
    def year(self) -> int:
        """The year that most images are of; 0 where nothing tells."""
        return (self.dated.year, self.stac.year, self.tile.year)[self.kind]

    @property
    def name(self) -> str:
        """A name for the scene; empty where nothing tells one."""
        of_area = self.tr("Area {}").format(self.stac.year)
        return (self.dated.name, of_area, self.tile.name)[self.kind]

    @property
    def problem(self) -> str:
        """What is to be done before this step is complete; empty where it is."""
        if self.kind == TILE:
            return self.tile.problem
        of_kind = self.dated.problem if self.kind == DATED else self.stac.problem
        if self.kind == STAC and self.area.problem:
            return self.area.problem
        return of_kind or self.area.problem

    def close_down(self) -> None:
        """End what runs."""
        for part in (self.dated, self.stac, self.tile, self.area):
            part.close_down()

    # --- inside

    def _choose(self, kind: int) -> None:
        page = self._page
        page.inputStack.setCurrentIndex(kind)
        page.encodeAreaGroup.setVisible(kind != TILE)
        if kind == DATED:
            self.dated.restore()
        self._tell()

    def _take_tile(self, folder: str) -> None:
        """Go where finished inputs are taken: that is what was added."""
        self._page.tileRadio.setChecked(True)
        self.tile.choose(folder)

    def _area_changed(self) -> None:
        self.stac.area_changed()
        self._tell()

    def _tell(self) -> None:
        is_offered = self.kind == DATED and self.dated.extent is not None
        self.area.offer_scenes(self.dated.extent, offered=is_offered)
        self.changed.emit()
