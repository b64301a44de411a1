# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the colours over the map mean, in a corner of the map."""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from qgis.gui import QgsMapCanvas
from qgis.PyQt import sip
from qgis.PyQt.QtCore import QCoreApplication, QEvent, QObject, QRect, QSize, Qt, pyqtSignal
from qgis.PyQt.QtGui import QColor, QPainter, QPaintEvent, QPalette, qGray
from qgis.PyQt.QtWidgets import QFrame, QGridLayout, QLabel, QToolButton, QWidget

from . import text

if TYPE_CHECKING:
    from ..engine.picture import Look, Palette

translate = QCoreApplication.translate

MARGIN_PX = 12
SWATCH_PX = 16
BACKGROUND_ALPHA = 225
LIGHT_GROUND, DARK_GROUND = "#efefef", "#2b2b2b"
MIDDLE, READABLE = 128, 110
"""Greys, and how far apart words and their ground must be of these."""

ROUND_PX = 5

LEAST_SHARE = 0.01
"""Less is told as “< 1 %”."""


class LegendRow(NamedTuple):
    """A colour, what it means, and how much of it there is."""

    color: QColor
    text: str
    value: str = ""


class Legend(QFrame):
    """A small list of colours in the lower left corner of the map; hidden while it has no rows."""

    closed = pyqtSignal()
    """The person closed it; it stays away until `setVisible(True)`."""

    def __init__(self, canvas: QgsMapCanvas, name: str) -> None:
        """Be known by `name` among what lies on the map: there may be several."""
        super().__init__(canvas)
        self.setObjectName(name)
        self._canvas = canvas
        self._is_wanted = True
        self._title = QLabel(self)
        self._title.setObjectName("legendTitle")
        font = self._title.font()
        font.setBold(True)
        self._title.setFont(font)
        self._close = QToolButton(self)
        self._close.setObjectName("legendClose")
        self._close.setText("\N{MULTIPLICATION SIGN}")
        self._close.setAutoRaise(True)
        self._close.setToolTip(self.tr("Hide the colours and this legend"))
        self._close.setAccessibleName(self.tr("Close"))
        self._close.clicked.connect(self._closed)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(9, 5, 9, 8)
        self._grid.setHorizontalSpacing(8)
        self._grid.setVerticalSpacing(3)
        self._grid.setColumnStretch(1, 1)
        self._grid.addWidget(self._title, 0, 0, 1, 3)
        self._grid.addWidget(self._close, 0, 3)
        self._cells: List[QWidget] = []
        self.setCursor(Qt.CursorShape.ArrowCursor)
        canvas.installEventFilter(self)
        self._show()

    def set_rows(self, title: str, rows: Sequence[LegendRow]) -> None:
        """Show a title and rows; without rows it hides."""
        for cell in self._cells:
            self._grid.removeWidget(cell)
            cell.hide()  # it is painted until it is deleted
            cell.deleteLater()
        self._cells = []
        self._title.setText(title)
        for number, row in enumerate(rows, 1):
            value = QLabel(row.value, self)
            value.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            cells = (_Swatch(row.color, self), QLabel(row.text, self), value)
            for column, cell in enumerate(cells):
                self._grid.addWidget(cell, number, column, 1, 2 if cell is value else 1)
                cell.show()
            self._cells.extend(cells)
        self._show()

    def doubt(self) -> None:
        """Take the values back: they are of another view, until new ones are known."""
        for value in self._cells[2::3]:
            if isinstance(value, QLabel) and value.text():
                value.setText("\N{HORIZONTAL ELLIPSIS}")

    def clear(self) -> None:
        """Have no rows."""
        self.set_rows("", [])

    def setVisible(self, visible: bool) -> None:  # noqa: FBT001 - Qt's name
        """Hide it, or show it where it has rows."""
        self._is_wanted = visible
        self._show()

    def rows(self) -> Tuple[Tuple[str, str], ...]:
        """Return the words and values it shows."""
        labels = [cell for cell in self._cells if isinstance(cell, QLabel)]
        return tuple((a.text(), b.text()) for a, b in zip(labels[::2], labels[1::2]))

    def place(self) -> None:
        """Go to the corner, with the size that the rows need."""
        self._grid.activate()
        size = self.sizeHint().boundedTo(self._canvas.size() - QSize(2 * MARGIN_PX, 2 * MARGIN_PX))
        top = self._canvas.height() - MARGIN_PX - size.height()
        self.setGeometry(QRect(MARGIN_PX, top, size.width(), size.height()))

    def close_down(self) -> None:
        """Leave the map for good."""
        if not sip.isdeleted(self):  # it goes with the map
            self._canvas.removeEventFilter(self)
            self.hide()
            self.deleteLater()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize:
            self.place()
        return bool(super().eventFilter(watched, event))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: ARG002
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        background = self._ground()
        background.setAlpha(BACKGROUND_ALPHA)
        edge = QColor(self.palette().color(QPalette.ColorRole.WindowText))
        edge.setAlpha(70)
        painter.setBrush(background)
        painter.setPen(edge)
        painter.drawRoundedRect(self.rect().adjusted(0, 0, -1, -1), ROUND_PX, ROUND_PX)

    def _ground(self) -> QColor:
        """Return the theme's colour for windows, or one that its words can be read on.

        Themes are style sheets: what they give to labels, they need not give to us.
        """
        ground = QColor(self.palette().color(QPalette.ColorRole.Window))
        words = self._title.palette().color(QPalette.ColorRole.WindowText)
        if abs(qGray(ground.rgb()) - qGray(words.rgb())) >= READABLE:
            return ground
        return QColor(DARK_GROUND if qGray(words.rgb()) > MIDDLE else LIGHT_GROUND)

    def _show(self) -> None:
        if sip.isdeleted(self):  # it went with the map
            return
        super().setVisible(self._is_wanted and bool(self._cells))
        self.place()
        self.raise_()

    def _closed(self, *_: object) -> None:
        self.setVisible(False)
        self.closed.emit()


class _Swatch(QWidget):
    """A colour as it looks over a map."""

    def __init__(self, color: QColor, parent: QWidget) -> None:
        super().__init__(parent)
        self._color = QColor(color)
        self.setFixedSize(SWATCH_PX + 6, SWATCH_PX - 2)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: ARG002
        painter = QPainter(self)
        inside = self.rect().adjusted(0, 0, -1, -1)
        painter.fillRect(inside, QColor("#ffffff"))
        painter.fillRect(inside, self._color)
        edge = QColor(self.palette().color(QPalette.ColorRole.WindowText))
        edge.setAlpha(120)
        painter.setPen(edge)
        painter.drawRect(inside)


def coverage_rows(
    shares: Mapping[Look, float], palette: Optional[Palette] = None
) -> Tuple[LegendRow, ...]:
    """Return the legend of a coverage, what there is most to do about first."""
    from ..engine.picture import COVERAGE_COLORS  # noqa: PLC0415 - light plugin load

    colors = COVERAGE_COLORS if palette is None else palette
    return tuple(
        LegendRow(QColor(*colors[look]), words, _percent(shares[look]))
        for look, words in _words().items()
        if shares.get(look)
    )


def live_rows(mode: str) -> Tuple[LegendRow, ...]:
    """Return the legend of a live map of uncertainty or novelty."""
    from ..engine.live_colors import NOVELTY, ramp  # noqa: PLC0415 - light plugin load

    words: Tuple[Tuple[int, str], ...] = (
        (5, translate("Legend", "Sure")),
        (50, translate("Legend", "Less sure")),
        (100, translate("Legend", "Could be either of two")),
    )
    if mode == NOVELTY:
        words = (
            (5, translate("Legend", "Like a label")),
            (99, translate("Legend", "As labels differ from each other")),
            (150, translate("Legend", "Unlike all labels")),
            (254, translate("Legend", "Wholly unlike them")),
        )
    colors = ramp(mode)
    return tuple(LegendRow(QColor(int(colors[at]) & 0xFFFFFF), told) for at, told in words)


def _words() -> Mapping[Look, str]:
    from ..engine.picture import Look  # noqa: PLC0415 - light plugin load

    return {
        Look.TO_FETCH: translate("Legend", "To fetch"),
        Look.CACHED: translate("Legend", "Already here"),
        Look.PUBLISHED: translate("Legend", "Published, not looked into"),
        Look.WATER: translate("Legend", "Water"),
        Look.NODATA: translate("Legend", "No data"),
        Look.OUTSIDE: translate("Legend", "Nothing published"),
        Look.UNKNOWN: translate("Legend", "Not known"),
    }


def _percent(share: float) -> str:
    if share < LEAST_SHARE:
        return translate("Legend", "< {}").format(text.percent(LEAST_SHARE))
    if 1 - LEAST_SHARE / 2 <= share < 1:
        return translate("Legend", "> {}").format(text.percent(1 - LEAST_SHARE))
    return text.percent(share)
