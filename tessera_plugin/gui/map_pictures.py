# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the Area page draws on the map: what is published with its legend, and what arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Sequence, Tuple

from qgis.gui import QgsMapCanvas
from qgis.PyQt.QtCore import QObject, pyqtSignal

from ..tasks.lookups import CoveragePictures, Seen
from ..values import Window
from .legend import Legend, coverage_rows
from .overlay import COVERAGE, FETCH, OverlayBook

if TYPE_CHECKING:
    from ..engine.picture import Picture


class MapPictures(QObject):
    """Overlays over one canvas; the legend is there as long as the coverage is."""

    legend_closed = pyqtSignal()
    """The person wants to see neither the coverage nor its legend."""

    def __init__(self, canvas: QgsMapCanvas, parent: QObject) -> None:
        super().__init__(parent)
        self._book = OverlayBook(canvas, self)
        self._legend = Legend(canvas, "TesseraLegend")
        self._legend.closed.connect(self.legend_closed)

    @property
    def book(self) -> OverlayBook:
        """The overlays of the canvas, for others who draw on it."""
        return self._book

    def show_coverage(self, seen: Seen, previews: Sequence[Window]) -> None:
        """Draw what is published and in the cache, and its legend; the map has these previews."""
        self._book.show(COVERAGE, CoveragePictures(seen.coverage, previews))
        self._legend.set_rows(self.tr("Embeddings {}").format(seen.coverage.year),
                              coverage_rows(seen.shares))  # fmt: skip

    def doubt_coverage(self) -> None:
        """Keep what is drawn, but no numbers: the map shows something else now."""
        self._legend.doubt()

    def clear_coverage(self) -> None:
        """Draw nothing of what is published."""
        self._book.clear(COVERAGE)
        self._legend.set_rows("", ())

    def hide_coverage(self, *, hidden: bool) -> None:
        """Hide what is drawn of what is published, or show it again."""
        self._book.set_visible(COVERAGE, not hidden)
        self._legend.setVisible(not hidden)  # it is seen while it has rows

    def show_arriving(self, pictures: Callable[[], Tuple[Picture, ...]]) -> None:
        """Draw what has come of a fetch; asked for on the thread that draws."""
        self._book.show(FETCH, pictures)

    def clear_arriving(self) -> None:
        """Draw nothing of a fetch."""
        self._book.clear(FETCH)

    def close_down(self) -> None:
        """Leave nothing on the map."""
        self._book.close_down()
        self._legend.close_down()
