# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Pictures over a real canvas: the colours that are seen, where they are seen."""

import math
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsPointXY,
    QgsProject,
    QgsRectangle,
)
from qgis.gui import QgsMapCanvas
from qgis.PyQt import sip
from qgis.PyQt.QtCore import QPoint, Qt
from qgis.PyQt.QtGui import QColor, QImage, QPalette
from qgis.PyQt.QtTest import QTest
from qgis.PyQt.QtWidgets import QLabel, QWidget

from tessera_plugin.engine.picture import COVERAGE_COLORS, Look, Picture
from tessera_plugin.gui.accuracy_plot import AccuracyPlot
from tessera_plugin.gui.curve import LossCurve
from tessera_plugin.gui.explore_similarity import RampLegend
from tessera_plugin.gui.legend import Legend, LegendRow, coverage_rows
from tessera_plugin.gui.overlay import COVERAGE, FETCH, CanvasOverlay, OverlayBook, remove
from tessera_plugin.gui.place_marker import bring_into_sight, clicked_mark
from tessera_plugin.gui.years_plot import YearsPlot
from tessera_plugin.tasks.canvas_pictures import CanvasPictures, View, image_of
from tessera_plugin.values import Extent

MERCATOR = QgsCoordinateReferenceSystem("EPSG:3857")
LONLAT = QgsCoordinateReferenceSystem("EPSG:4326")
UTM = QgsCoordinateReferenceSystem("EPSG:32631")

RED, BLUE, NOTHING = (255, 0, 0, 255), (0, 0, 255, 255), (0, 0, 0, 0)


def chessboard(row=-580_000, col=40_000, cell_px=50, size=8, colors=(RED, BLUE)):
    """Two colours by turns, from a corner of the grid of zone 31."""
    i, j = np.indices((size, size))
    return Picture(31, row, col, cell_px, np.array(colors, np.uint8)[(i + j) % 2])


def middle(picture, i, j):
    """East and north of the middle of a cell."""
    return QgsPointXY(10 * (picture.col + (j + 0.5) * picture.cell_px),
                      -10 * (picture.row + (i + 0.5) * picture.cell_px))  # fmt: skip


@pytest.fixture
def canvas(qgis_new_project, qtbot):
    canvas = QgsMapCanvas()
    qtbot.addWidget(canvas)
    canvas.setFrameStyle(0)  # as in QGIS's window
    canvas.setCanvasColor(QColor("white"))
    canvas.resize(500, 400)
    canvas.setDestinationCrs(UTM)
    canvas.show()
    look_at(canvas, 402_000, 5_798_000, 20)
    yield canvas
    if not sip.isdeleted(canvas):
        canvas.stopRendering()


@pytest.fixture
def book(canvas):
    book = OverlayBook(canvas)
    yield book
    book.close_down()


def look_at(canvas, x, y, unit):
    half_x, half_y = canvas.width() * unit / 2, canvas.height() * unit / 2
    canvas.setExtent(QgsRectangle(x - half_x, y - half_y, x + half_x, y + half_y))


def seen(canvas):
    """The canvas as it is on the screen, once the map itself is drawn."""
    canvas.waitWhileRendering()
    QgsApplication.processEvents()
    return canvas.grab().toImage()


def color_at(canvas, image, point):
    """The colour of a place of the map on a picture of the canvas."""
    place = canvas.getCoordinateTransform().transform(point)
    ratio = image.devicePixelRatio()
    x, y = (math.floor(ratio * value) for value in (place.x(), place.y()))
    return image.pixelColor(x, y).getRgb()


def assert_board(canvas, picture, colors=(RED, BLUE), transform=None, cells=None):
    image = seen(canvas)
    wrong = []
    for i in range(picture.rgba.shape[0]):
        for j in range(picture.rgba.shape[1]):
            point = middle(picture, i, j)
            point = transform(point) if transform else point
            if not canvas.extent().contains(point):
                continue
            found = color_at(canvas, image, point)
            if found != colors[(i + j) % 2]:
                wrong.append((i, j, found))
    assert not wrong


def drawn(qtbot, book, action):
    with qtbot.waitSignal(book.drawn, timeout=15_000):
        action()


def test_cells_are_where_they_belong(canvas, book, qtbot):
    board = chessboard()
    drawn(qtbot, book, lambda: book.show(COVERAGE, [board]))
    assert_board(canvas, board)
    assert color_at(canvas, seen(canvas), QgsPointXY(399_500, 5_798_000)) == (255, 255, 255, 255)
    # an edge between cells is sharp and at its place
    image = seen(canvas)
    edge = 10 * (board.col + 3 * board.cell_px)
    y = middle(board, 0, 0).y()
    before, after = (color_at(canvas, image, QgsPointXY(edge + d, y)) for d in (-15, 15))
    assert (before, after) == (RED, BLUE)


def test_the_map_is_seen_through_light_colours(canvas, book, qtbot):
    tint = COVERAGE_COLORS[Look.WATER]
    board = chessboard(colors=(tint, NOTHING))
    drawn(qtbot, book, lambda: book.show(COVERAGE, [board]))
    share = tint[3] / 255
    mixed = [255 + share * (value - 255) for value in tint[:3]]
    image = seen(canvas)
    assert color_at(canvas, image, middle(board, 2, 2))[:3] == pytest.approx(mixed, abs=2)
    assert color_at(canvas, image, middle(board, 2, 3)) == (255, 255, 255, 255)


def test_on_a_dense_screen():
    """Two pixels of the screen for one of Qt's; that is settled when Qt starts."""
    if os.environ.get("QT_SCALE_FACTOR"):
        pytest.skip("this is the process that the other one started")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", __file__, "-k", "belong or dense_image or legend"],
        env={**os.environ, "QT_SCALE_FACTOR": "2"}, cwd=Path(__file__).parents[2],
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_a_dense_image(canvas, book, qtbot):
    """The image has a pixel for each of the screen's."""
    sizes = []
    book._pictures.rendered.connect(lambda role, image, box: sizes.append(image.width()))
    drawn(qtbot, book, lambda: book.show(COVERAGE, [chessboard()]))
    ratio = float(os.environ.get("QT_SCALE_FACTOR", "1"))
    assert canvas.devicePixelRatioF() == ratio
    assert sizes == [500 * ratio]


def test_panned_and_zoomed_before_the_new_image_comes(canvas, book, qtbot):
    board = chessboard()
    drawn(qtbot, book, lambda: book.show(COVERAGE, [board]))
    book._settle.setInterval(60_000)
    for x, y, unit in (
        (403_000, 5_797_500, 20),
        (402_000, 5_798_000, 8),
        (402_000, 5_798_000, 0.5),
    ):
        look_at(canvas, x, y, unit)  # the map does not stand still yet
        image = seen(canvas)
        inside = [(i, j) for i in range(8) for j in range(8)
                  if canvas.extent().contains(middle(board, i, j))
                  and 398_000 < middle(board, i, j).x() < 406_000]  # fmt: skip
        for i, j in inside:
            assert color_at(canvas, image, middle(board, i, j)) == (RED, BLUE)[(i + j) % 2]
    drawn(qtbot, book, lambda: book._settle.start(0))
    assert_board(canvas, board)


def test_moving_makes_a_new_image(canvas, book, qtbot):
    board = chessboard()
    drawn(qtbot, book, lambda: book.show(COVERAGE, [board]))
    beyond = chessboard(col=41_400)
    drawn(qtbot, book, lambda: book.show(FETCH, [beyond]))
    with qtbot.waitSignals([book.drawn, book.drawn], timeout=15_000):
        look_at(canvas, 416_000, 5_798_000, 20)
    assert_board(canvas, beyond)
    with qtbot.waitSignals([book.drawn, book.drawn], timeout=15_000):
        canvas.resize(700, 300)
    assert_board(canvas, beyond)


def test_the_magnifier_moves_pictures_and_marks_at_once(canvas, book, qtbot):
    board = chessboard()
    drawn(qtbot, book, lambda: book.show(COVERAGE, [board]))
    place = middle(board, 9, 9)  # beside it
    mark = clicked_mark(canvas, place)
    canvas.setMagnificationFactor(0.5)
    assert mark.pos() == canvas.getCoordinateTransform().transform(place).toQPointF()
    assert_board(canvas, board)  # the picture that there was
    with qtbot.waitSignal(book.drawn, timeout=15_000):
        pass
    assert_board(canvas, board)
    drawn(qtbot, book, lambda: canvas.setMagnificationFactor(2.0))
    assert_board(canvas, board)


def test_what_is_brought_into_sight_is_seen_under_the_magnifier(canvas):
    look_at(canvas, 402_000, 5_798_000, 2)
    canvas.setMagnificationFactor(3.0)
    to_lonlat = QgsCoordinateTransform(UTM, LONLAT, QgsProject.instance())
    place = QgsPointXY(402_300, 5_798_000)  # without it well in sight
    point = to_lonlat.transform(place)
    bring_into_sight(canvas, point.x(), point.y())
    at = canvas.getCoordinateTransform().transform(place)
    assert canvas.rect().contains(QPoint(round(at.x()), round(at.y())))


def test_many_moves_make_few_images(canvas, book, qtbot):
    images = []
    book._settle.setInterval(300)
    book.drawn.connect(images.append)
    drawn(qtbot, book, lambda: book.show(COVERAGE, [chessboard()]))
    for step in range(20):
        look_at(canvas, 402_000 + 50 * step, 5_798_000, 20)
        qtbot.wait(10)
    qtbot.waitUntil(lambda: len(images) >= 2, timeout=15_000)
    qtbot.wait(400)
    assert len(images) == 2


@pytest.mark.parametrize("crs", [MERCATOR, LONLAT, QgsCoordinateReferenceSystem("EPSG:3035")])
def test_another_crs(canvas, book, qtbot, crs):
    """The old image is not shown in the new CRS; then it is there again."""
    from qgis.core import QgsCoordinateTransform

    board = chessboard()
    drawn(qtbot, book, lambda: book.show(COVERAGE, [board]))
    book._settle.setInterval(60_000)
    to_map = QgsCoordinateTransform(UTM, crs, QgsProject.instance())
    canvas.setDestinationCrs(crs)
    area = QgsRectangle(399_000, 5_795_000, 405_000, 5_801_000)
    canvas.setExtent(to_map.transformBoundingBox(area))
    image = seen(canvas)
    assert color_at(canvas, image, to_map.transform(middle(board, 2, 2))) == (255, 255, 255, 255)
    drawn(qtbot, book, lambda: book._settle.start(0))
    assert_board(canvas, board, transform=to_map.transform)


def test_no_crs_shows_nothing(canvas, book, qtbot):
    board = chessboard()
    drawn(qtbot, book, lambda: book.show(COVERAGE, [board]))
    canvas.setDestinationCrs(QgsCoordinateReferenceSystem())
    qtbot.wait(250)
    image = seen(canvas)
    assert color_at(canvas, image, canvas.extent().center()) == (255, 255, 255, 255)


def test_a_rotated_map(canvas, book, qtbot):
    board = chessboard()
    drawn(qtbot, book, lambda: book.show(COVERAGE, [board]))
    drawn(qtbot, book, lambda: canvas.setRotation(30))
    image = seen(canvas)
    for i in range(8):
        for j in range(8):
            point = middle(board, i, j)
            place = canvas.getCoordinateTransform().transform(point)
            if canvas.rect().contains(QPoint(int(place.x()), int(place.y()))):
                assert color_at(canvas, image, point) == (RED, BLUE)[(i + j) % 2]


def test_the_fetch_lies_on_the_coverage(canvas, book, qtbot):
    below = chessboard(colors=(BLUE, BLUE))
    above = chessboard(colors=(RED, NOTHING))
    for role, picture in ((FETCH, above), (COVERAGE, below)):
        drawn(qtbot, book, lambda role=role, picture=picture: book.show(role, [picture]))
    assert_board(canvas, below, colors=(RED, BLUE))
    book.set_visible(FETCH, False)
    assert_board(canvas, below, colors=(BLUE, BLUE))
    book.set_visible(FETCH, True)
    book.clear(COVERAGE)
    assert_board(canvas, below, colors=(RED, (255, 255, 255, 255)))
    book.set_opacity(FETCH, 0.5)
    image = seen(canvas)
    assert color_at(canvas, image, middle(below, 2, 2))[:3] == pytest.approx((255, 127, 127), abs=2)


def test_hidden_before_it_is_there(canvas, book, qtbot):
    board = chessboard()
    book.set_visible(COVERAGE, False)
    drawn(qtbot, book, lambda: book.show(COVERAGE, [board]))
    assert color_at(canvas, seen(canvas), middle(board, 2, 2)) == (255, 255, 255, 255)
    book.set_visible(COVERAGE, True)
    assert_board(canvas, board)


def test_what_is_shown_under_other_things(canvas, book, qtbot):
    from qgis.gui import QgsRubberBand

    drawn(qtbot, book, lambda: book.show(FETCH, [chessboard()]))
    band = QgsRubberBand(canvas)
    assert all(item.zValue() < band.zValue() for item in canvas.items()
               if isinstance(item, CanvasOverlay))  # fmt: skip
    canvas.scene().removeItem(band)


def test_pictures_that_change_all_the_time(canvas, book, qtbot):
    """The supplier is asked on another thread, a few times a second, and the last look stays."""
    asked, images, count = [], [], [0]

    def supply():
        asked.append(threading.current_thread())
        return [chessboard(colors=(RED, RED) if count[0] < 40 else (BLUE, RED))]

    book.drawn.connect(images.append)
    start = time.monotonic()
    for _ in range(40):
        count[0] += 1
        book.show(FETCH, supply)
        qtbot.wait(15)
    took = time.monotonic() - start
    first = middle(chessboard(), 0, 0)
    qtbot.waitUntil(lambda: color_at(canvas, seen(canvas), first) == BLUE, timeout=15_000)
    assert 2 <= len(images) <= took / 0.2 + 2
    assert threading.main_thread() not in asked
    assert_board(canvas, chessboard(), colors=(BLUE, RED))


def test_the_project_is_closed(canvas, book, qtbot):
    board = chessboard()
    drawn(qtbot, book, lambda: book.show(COVERAGE, [board]))
    QgsProject.instance().clear()
    canvas.setDestinationCrs(UTM)
    look_at(canvas, 402_000, 5_798_000, 20)
    qtbot.wait(300)
    assert color_at(canvas, seen(canvas), middle(board, 2, 2)) == (255, 255, 255, 255)
    drawn(qtbot, book, lambda: book.show(COVERAGE, [board]))
    assert_board(canvas, board)


def test_close_down_leaves_nothing(canvas, qtbot):
    items = len(canvas.items())
    book = OverlayBook(canvas)
    drawn(qtbot, book, lambda: book.show(COVERAGE, [chessboard()]))
    assert len(canvas.items()) == items + 1
    book.show(FETCH, [chessboard()])
    book.close_down()
    assert len(canvas.items()) == items
    assert not [t for t in threading.enumerate() if t.name == "tessera-map"]
    look_at(canvas, 403_000, 5_798_000, 20)
    canvas.setDestinationCrs(MERCATOR)
    qtbot.wait(200)
    assert len(canvas.items()) == items
    book.close_down()


def test_the_canvas_goes_first(qgis_new_project, qtbot):
    canvas = QgsMapCanvas()
    canvas.resize(300, 200)
    canvas.setDestinationCrs(UTM)
    look_at(canvas, 402_000, 5_798_000, 20)
    book = OverlayBook(canvas)
    legend = Legend(canvas, "TesseraLegend")
    drawn(qtbot, book, lambda: book.show(COVERAGE, [chessboard()]))
    book.show(FETCH, lambda: time.sleep(0.1) or [chessboard()])
    sip.delete(canvas)
    qtbot.wait(300)
    book.show(COVERAGE, [chessboard()])
    book.clear()
    book.close_down()
    assert sip.isdeleted(legend)


def test_an_overlay_is_removed_once(canvas):
    overlay = CanvasOverlay(canvas, "mine")
    remove(overlay)
    remove(overlay)
    assert sip.isdeleted(overlay)


def test_a_bug_is_told_and_shows_nothing(canvas, book, qtbot):
    board = chessboard()
    drawn(qtbot, book, lambda: book.show(COVERAGE, [board]))
    told = []
    QgsApplication.messageLog().messageReceived.connect(lambda text, tag, level: told.append(text))
    book.show(COVERAGE, lambda: 1 / 0)
    qtbot.waitUntil(lambda: bool(told), timeout=15_000)
    assert "ZeroDivisionError" in told[0]
    assert color_at(canvas, seen(canvas), middle(board, 2, 2)) == (255, 255, 255, 255)
    drawn(qtbot, book, lambda: book.show(COVERAGE, [board]))  # and goes on
    assert_board(canvas, board)


# --- CanvasPictures


VIEW = View(Extent(400_000, 5_796_000, 404_000, 5_800_000, "EPSG:32631"), 200, 200)


@pytest.fixture
def pictures(qgis_app):
    pictures = CanvasPictures()
    yield pictures
    pictures.close()


def test_the_newest_request_wins(pictures, qtbot):
    asked, heard = [], []
    go = threading.Event()

    def supply(number):
        def give():
            asked.append(number)
            go.wait(5)
            return [chessboard()]

        return give

    pictures.rendered.connect(lambda role, image, box: heard.append((role, image, box)))
    pictures.look(VIEW)
    for number in range(10):
        pictures.show("a", supply(number))
        time.sleep(0.01)
    pictures.show("b", supply("b"))
    go.set()
    qtbot.waitUntil(lambda: len(heard) == 3, timeout=15_000)
    qtbot.wait(50)
    assert asked == [0, 9, "b"]
    assert [role for role, _, _ in heard] == ["a", "a", "b"]
    _, image, box = heard[-1]
    assert (image.width(), image.height()) == (200, 200)
    assert image.format() == QImage.Format.Format_ARGB32_Premultiplied
    assert box == QgsRectangle(400_000, 5_796_000, 404_000, 5_800_000)
    assert image.pixelColor(5, 5).getRgb() == RED
    assert image.pixelColor(30, 5).getRgb() == BLUE


def test_what_was_dropped_is_silent(pictures, qtbot):
    heard, begun, go = [], threading.Event(), threading.Event()

    def supply():
        begun.set()
        go.wait(5)
        return [chessboard()]

    pictures.rendered.connect(lambda *what: heard.append(what))
    pictures.look(VIEW)
    pictures.show("a", supply)
    assert begun.wait(3)
    pictures.drop("a")
    pictures.show("a", [])  # another set under the same name
    go.set()
    qtbot.waitUntil(lambda: bool(heard), timeout=15_000)
    qtbot.wait(50)
    assert len(heard) == 1
    assert heard[0][1].pixelColor(5, 5).alpha() == 0


def test_nothing_is_told_after_close(pictures, qtbot):
    heard, begun = [], threading.Event()

    def supply():
        begun.set()
        time.sleep(0.2)
        return [chessboard()]

    pictures.rendered.connect(lambda *what: heard.append(what))
    pictures.look(VIEW)
    pictures.show("a", supply)
    assert begun.wait(3)
    pictures.close()
    pictures.show("a", supply)
    qtbot.wait(100)
    assert heard == []


def test_the_receiver_is_deleted(qgis_app, qtbot):
    pictures = CanvasPictures()
    begun = threading.Event()
    pictures.look(VIEW)
    pictures.show("a", lambda: begun.set() or time.sleep(0.1) or [chessboard()])
    assert begun.wait(3)
    sip.delete(pictures)
    qtbot.waitUntil(
        lambda: not [t for t in threading.enumerate() if t.name == "tessera-map"], timeout=15_000
    )


# --- legend


def test_legend_in_the_corner(canvas):
    legend = Legend(canvas, "TesseraLegend")
    assert not legend.isVisible()
    rows = coverage_rows({Look.TO_FETCH: 0.915, Look.WATER: 0.08, Look.OUTSIDE: 0.005})
    legend.set_rows("Coverage 2024", rows)
    assert legend.isVisible()
    assert legend.rows() == (
        ("To fetch", "92 %"), ("Water", "8 %"), ("Nothing published", "< 1 %"),
    )  # fmt: skip
    for size in ((500, 400), (640, 310)):
        canvas.resize(*size)
        QgsApplication.processEvents()
        assert legend.x() == 12
        assert canvas.height() - legend.geometry().bottom() - 1 == 12
        assert legend.width() == legend.sizeHint().width() < 0.6 * canvas.width()
        assert legend.height() < 120
    legend.set_rows("", [])
    assert not legend.isVisible()


def test_legend_takes_its_values_back_but_not_its_words(canvas):
    legend = Legend(canvas, "TesseraLegend")
    rows = [LegendRow(QColor("red"), "To fetch", "70 %"), LegendRow(QColor("blue"), "Water")]
    legend.set_rows("Coverage 2024", rows)
    legend.doubt()
    assert legend.rows() == (("To fetch", "\u2026"), ("Water", ""))
    legend.set_rows("Coverage 2024", rows)
    assert legend.rows() == (("To fetch", "70 %"), ("Water", ""))


def test_legend_shows_the_last_rows_only(canvas):
    legend = Legend(canvas, "TesseraLegend")
    for number in range(3):
        legend.set_rows("Title", [LegendRow(QColor("red"), f"text {number}", "1")])
    seen_words = {each.text() for each in legend.findChildren(QLabel) if each.isVisible()}
    assert seen_words == {"Title", "text 2", "1"}


def test_legend_is_closed_by_its_cross(canvas):
    legend = Legend(canvas, "TesseraLegend")
    closed = []
    legend.closed.connect(lambda: closed.append(True))
    legend.set_rows("Title", [LegendRow(QColor("red"), "red", "1")])
    QTest.mouseClick(legend.findChild(type(legend._close)), Qt.MouseButton.LeftButton)
    assert closed == [True]
    assert not legend.isVisible()
    legend.set_rows("Title", [LegendRow(QColor("blue"), "blue", "2")])
    assert not legend.isVisible()  # it stays away
    legend.setVisible(True)
    assert legend.isVisible()
    legend.clear()
    assert not legend.isVisible()
    legend.setVisible(True)
    assert not legend.isVisible()  # without rows


def test_legend_shows_the_colours(canvas):
    legend = Legend(canvas, "TesseraLegend")
    legend.set_rows(
        "Title", [LegendRow(QColor(RED[0], 0, 0), "red"), LegendRow(QColor(0, 0, 255, 128), "b")]
    )
    image = seen(canvas).scaled(canvas.size())
    colors = {image.pixelColor(legend.x() + 20, y).getRgb()[:3]
              for y in range(legend.y(), legend.y() + legend.height())}  # fmt: skip
    assert (255, 0, 0) in colors
    assert any(abs(r - 127) < 3 and abs(g - 127) < 3 and b == 255 for r, g, b in colors)


@pytest.mark.parametrize("dark", [False, True])
def test_legend_can_be_read_in_any_theme(canvas, dark):
    """Its background is the theme's; over a map of any colour words keep a contrast of 4.5 to 1."""
    palette = QPalette()
    window, words = ("#2b2b2b", "#f0f0f0") if dark else ("#efefef", "#101010")
    palette.setColor(QPalette.ColorRole.Window, QColor(window))
    palette.setColor(QPalette.ColorRole.WindowText, QColor(words))
    legend = Legend(canvas, "TesseraLegend")
    legend.setPalette(palette)
    for below in ("white", "black"):
        canvas.setCanvasColor(QColor(below))
        legend.set_rows("Title", [LegendRow(QColor("red"), "WWWWWWW", "1")])
        image = seen(canvas).scaled(canvas.size())
        corner = image.pixelColor(legend.x() + 6, legend.y() + legend.height() // 2)
        assert contrast(corner, QColor(words)) > 4.5


@pytest.mark.parametrize("words", ["#0e0e0e", "#f0f0f0"])
def test_legend_can_be_read_where_the_theme_forgot_its_ground(canvas, words):
    """As in “Blend of Gray”, where words and windows are black: the ground goes by the words."""
    palette = QPalette()
    palette.setColor(QPalette.ColorRole.Window, QColor(words))
    legend = Legend(canvas, "TesseraLegend")
    legend.setPalette(palette)
    legend.setStyleSheet(f"QLabel {{ color: {words} }}")
    legend.set_rows("Title", [LegendRow(QColor("red"), "WWWWWWW", "1")])
    image = seen(canvas).scaled(canvas.size())
    corner = image.pixelColor(legend.x() + 6, legend.y() + legend.height() // 2)
    assert contrast(corner, QColor(words)) > 4.5


@pytest.mark.parametrize("make", [LossCurve, YearsPlot, AccuracyPlot, RampLegend])
def test_what_is_painted_has_the_words_of_the_theme(qtbot, make):
    """Themes are style sheets, which give a colour to labels and none to plain widgets."""
    window = QWidget()
    qtbot.addWidget(window)
    window.setStyleSheet("QLabel { color: #c0ffee }")
    painted = make(window)
    window.show()
    assert painted.palette().color(QPalette.ColorRole.WindowText).name() == "#c0ffee"


def contrast(first, second):
    """WCAG 2: the ratio of luminances."""

    def luminance(color):
        parts = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4
                 for v in color.getRgbF()[:3]]  # fmt: skip
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_legend_leaves(canvas):
    legend = Legend(canvas, "TesseraLegend")
    legend.set_rows("Title", [LegendRow(QColor("red"), "red")])
    legend.close_down()
    QgsApplication.sendPostedEvents(None, 52)  # deferred delete
    canvas.resize(333, 222)
    assert sip.isdeleted(legend)


def test_an_image_is_made_while_all_of_qts_threads_wait_for_the_interpreter():
    """Else QGIS stands still for ever: as two jobs at once did on two processors."""
    child = Path(__file__).with_name("picture_child.py")
    made = subprocess.run([sys.executable, str(child)], capture_output=True, text=True, timeout=60)
    assert made.stdout.split() == ["made"], made.stderr


def test_an_image_is_the_one_that_qt_would_make():
    draw = np.random.default_rng(3)
    rgba = draw.integers(0, 256, (40, 50, 4)).astype(np.uint8)
    plain = QImage(rgba.tobytes(), 50, 40, 200, QImage.Format.Format_RGBA8888)
    wanted = plain.convertToFormat(QImage.Format.Format_ARGB32_Premultiplied)
    found = image_of(rgba)
    assert found.format() == wanted.format()
    both = [np.frombuffer(each.bits().asstring(8000), np.uint8) for each in (found, wanted)]
    assert np.abs(both[0].astype(int) - both[1]).max() <= 1
