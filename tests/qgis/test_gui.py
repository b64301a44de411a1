# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Forms, messages and dialogs; and that every word can be translated."""

import ast
import dataclasses
import re
import types
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from qgis.gui import QgsMessageViewer
from qgis.PyQt.QtCore import Qt
from qgis.PyQt.QtWidgets import QDialog, QGroupBox, QPushButton, QTextEdit, QWidget

from tessera_plugin import errors, paths
from tessera_plugin.engine.accuracy import assess
from tessera_plugin.engine.coverage import Coverage
from tessera_plugin.engine.picture import shares
from tessera_plugin.gui import coverage_text, fetch_note, forms, messages, reasons, text
from tessera_plugin.gui.area_page import AreaPage
from tessera_plugin.gui.colors import color_for
from tessera_plugin.gui.curve import LossCurve
from tessera_plugin.gui.dialogs import AboutDialog, SettingsDialog
from tessera_plugin.gui.legend import coverage_rows
from tessera_plugin.gui.matrix import MatrixView
from tessera_plugin.io.sources import mishaps, rounds, tile_fetch, zarr_fetch
from tessera_plugin.io.sources.base import Failure, FetchSummary
from tessera_plugin.tasks.fetch_jobs import Fetched, YearFetched
from tessera_plugin.values import PUBLIC_ARCHIVE, LandClass, State

FORMS = sorted(paths.UI.glob("*.ui"))
SOURCES = sorted((paths.ROOT / "tessera_plugin" / "gui").rglob("*.py"))
CHILDREN = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type)
    and issubclass(kind, errors.TesseraError)
    and kind is not errors.TesseraError
]
VALUES = {
    "str": "something",
    "int": 12_345,
    "float": 1.5,
    "bool": True,
    "Tuple[str, ...]": ("a", "b"),
    "Tuple[int, ...]": (2017, 2025),
    "Tuple[Tuple[str, int], ...]": (("Water", 1), ("Forest", 0)),
}


# --- reasons


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (mishaps.NOT_KEPT, "it did not stay in the cache"),
        (mishaps.NO_CONNECTION, "no connection"),
        (mishaps.CHANGES_OFTEN, "it was replaced on the server while it was read"),
        (rounds.NOT_CACHED, "it is not in the cache"),
        (rounds.NO_ROOM, "the cache can't be written"),
        (tile_fetch.WRONG_CHECKSUM, "it arrived damaged"),
        (zarr_fetch.DAMAGED, "it arrived damaged"),
        (zarr_fetch.NO_CODES, "only half of it is published"),
        (
            "the proxy gate:3128 answers with status 502",
            "the proxy gate:3128 answers with status 502",
        ),
        ("the server answers with status 503", "overloaded (status 503)"),
    ],
)
def test_what_io_says_is_known_here(qgis_app, words, told):
    known = reasons._reasons()
    assert any(re.fullmatch(pattern, words, re.IGNORECASE) for pattern in known)
    assert told in reasons.reason(words)


# --- forms


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.stem)
def test_every_form_loads(qgis_app, form):
    root = ElementTree.parse(form).getroot().find("widget")
    widget = {"QDialog": QDialog, "QGroupBox": QGroupBox}.get(root.get("class"), QWidget)()
    forms.load(form.stem, widget)
    for element in root.iter("widget"):
        name = element.get("name")
        assert name == widget.objectName() or widget.findChild(QWidget, name) is not None, name


@pytest.mark.parametrize("icon", sorted(paths.ICONS.glob("*.svg")), ids=lambda path: path.stem)
def test_every_icon_draws(qgis_app, icon):
    image = forms.icon(icon.stem).pixmap(24, 24).toImage()
    colors = {image.pixelColor(x, y).name() for x in range(24) for y in range(24)}
    assert len(colors) > 2


# --- messages


@pytest.mark.parametrize("kind", CHILDREN, ids=lambda kind: kind.__name__)
def test_every_error_is_two_sentences(qgis_app, kind):
    facts = {field.name: VALUES[field.type] for field in dataclasses.fields(kind)}
    told = messages.explain(kind(**facts))
    assert kind in messages._EXPLAIN
    for sentence in told:
        assert sentence[0].isupper() or sentence.startswith("something"), sentence
        assert "{" not in sentence
    assert told.advice.endswith(".")


def test_a_bug_is_shown_with_a_button_for_its_details(desktop, qtbot):
    try:
        raise RuntimeError("oops")
    except RuntimeError as error:
        messages.show_error(desktop.bar, error)
    item = desktop.bar.currentItem()
    assert "Unexpected error" in item.title()
    qtbot.mouseClick(item.findChild(QPushButton, "detailsButton"), Qt.MouseButton.LeftButton)
    viewer = desktop.window.findChild(QgsMessageViewer)
    told = "".join(each.toPlainText() for each in viewer.findChildren(QTextEdit))
    assert "RuntimeError: oops" in told
    assert "test_gui.py" in told
    viewer.close()


def test_an_expected_error_says_what_to_do(desktop):
    messages.show_error(desktop.bar, errors.DiskFull("/data", 5_000_000))
    item = desktop.bar.currentItem()
    assert "5.0 MB" in item.title()
    assert "Make room" in item.text()


def test_what_the_engine_says_on_the_way(qgis_app):
    assert messages.phase("classify") == "Classifying"
    assert messages.phase("Fetching 3.1 of 12.0 MB") == "Fetching 3.1 of 12.0 MB"


# --- words


def calls(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def called(node):
    function = node.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_only_plain_strings_are_translated(source):
    """A name inside tr(f"…") would never be found in a dictionary."""
    for node in calls(ast.parse(source.read_text("utf-8"))):
        is_plain = isinstance(node.func, ast.Name)  # a painter translates too
        if called(node) == "tr" or (called(node) == "translate" and is_plain):
            words = node.args[-1]
            assert isinstance(words, ast.Constant), f"{source.name}:{node.lineno}"
            assert isinstance(words.value, str)


SHOWN = re.compile(r"^(set(Text|ToolTip|WindowTitle|PlaceholderText|Title|Filter|Html)|say|addItem"
                   r"|addAction|addTab|createMessage|pushMessage|QLabel|QPushButton)$")  # fmt: skip


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_no_word_is_shown_untranslated(source):
    for node in calls(ast.parse(source.read_text("utf-8"))):
        if not SHOWN.match(called(node)):
            continue
        for argument in node.args:
            constants = [argument] if isinstance(argument, ast.Constant) else []
            if isinstance(argument, ast.JoinedStr):
                constants = [each for each in argument.values if isinstance(each, ast.Constant)]
            for constant in constants:
                plain = re.sub(r"<[^>]*>", "", str(constant.value))
                assert not re.search(r"[A-Za-z]{2}", plain), f"{source.name}:{node.lineno} {plain}"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_gui_is_ready_for_qt_6(source):
    text = source.read_text("utf-8")
    assert "PyQt5" not in text
    assert "exec_(" not in text
    # Qt.Name.Value is scoped, Qt.Value is not
    assert not re.findall(r"\bQt\.[A-Z]\w+(?![\w.])", text)


def test_numbers_as_people_write_them(qgis_app):
    assert text.count(92_000) == "92,000"
    assert text.size(12_144_000) == "12 MB"
    assert text.size(1_250_000_000) == "1.2 GB" or text.size(1_250_000_000) == "1.3 GB"
    assert text.area_km2(0.92) == "0.92 km²"
    assert text.area_km2(29.4) == "29 km²"
    assert text.percent(None) == "\u2013"
    assert text.percent(0.912, 1) == "91.2 %"
    assert text.seconds(0.01) == "under 0.1 s"
    assert text.seconds(600) == "10 min"
    assert text.pixels(128_760) == "128,760"
    assert text.pixels(1_973_930_748) == "1,974 million"
    assert text.place("https://me:secret@host:80/x") == "host:80"
    assert text.place("/a/folder") == "/a/folder"
    assert text.moment(0) == text.NONE


def test_expected_colours():
    assert color_for("Open Water", []) == "#4e79a7"
    assert color_for("Water", ["#4e79a7"]) == ""
    assert color_for("Zzz", []) == ""
    assert color_for("Water", ["#4f7aa8"]) == ""  # nobody tells it from that one
    assert color_for("Pasture", ["#8cd17d"]) == "#a8d88f"


def test_shares_of_an_area_agree_with_its_legend():
    """Known from the cache are 670 of 1000 pixels, but those without embeddings are no news."""
    counts = {**dict.fromkeys(State, 0), State.VALID: 700, State.OUTSIDE: 200, State.WATER: 100}
    cached = {**dict.fromkeys(State, 0), State.VALID: 450, State.OUTSIDE: 200, State.WATER: 20}
    known = Coverage(
        "1.1", 2024, 128, "zarr", (), (), 1000, counts, cached, 3_200_000, True, (), 0, 0
    )
    rows = {each.text: each.value for each in coverage_rows(shares(known))}
    assert rows == {
        "Already here": "45 %", "To fetch": "25 %", "Water": "10 %", "Nothing published": "20 %",
    }  # fmt: skip
    told = coverage_text.download(known, [2024], can_fetch=True)
    assert told == "To fetch: 3.2 MB (45 % of the area is in the cache)"
    assert coverage_text.offline(known) == "45 % of the area is in the cache."
    told = coverage_text.what_is_there(known, {})
    assert told == "Of this 70 % has embeddings, 10 % is water, 20 % is not published."
    assert "45 % in the cache" in known.sentences()[0]
    fetched = FetchSummary(1000, 450, 670, 2_000_000, 5, seconds=3)
    told = _note_of(fetched)
    assert told.startswith("450 of 1,000 pixels have embeddings. Fetched 2.0 MB in 3.0 s.")
    assert "670 were known from the cache before" in told
    assert "The other 550 are water" in told
    told = _note_of(dataclasses.replace(fetched, failed=(Failure("tile", "not in the cache"),)))
    assert told.startswith("450 of 1,000 pixels have arrived.")
    told = _note_of(dataclasses.replace(fetched, valid_px=700, cached_px=1000, bytes_fetched=0))
    assert told.startswith(
        "Nothing to fetch: 700 of 1,000 pixels have embeddings, all were in the "
    )
    assert "The other 300 are water" in told
    told = _note_of(dataclasses.replace(fetched, valid_px=1000, cached_px=1000, bytes_fetched=0))
    assert told == "All 1,000 pixels were in the cache: nothing to fetch."


def _note_of(summary):
    found = types.SimpleNamespace(form="zarr", form_reason="", summary=summary)
    return fetch_note.tell(Fetched(None, (YearFetched(2024, found),))).text


# --- widgets


def test_the_matrix_says_what_is_a_row_and_what_a_column(qgis_app, qtbot):
    classes = (LandClass(1, "Water", "#0000ff"), LandClass(2, "Forest", "#00ff00"))
    reference, mapped = np.array([1, 1, 1, 2]), np.array([1, 1, 2, 2])
    view = MatrixView(None)
    qtbot.addWidget(view)
    view.show_accuracy(assess(reference, mapped, classes), classes)
    table = view.table
    cells = [[table.item(r, c).text() for c in range(3)] for r in range(2)]
    assert cells == [["2", "1", "80 %"], ["·", "1", "67 %"]]
    assert table.verticalHeaderItem(0).toolTip() == "Reference: Water"
    assert table.horizontalHeaderItem(1).toolTip() == "Mapped as: Forest"
    assert "1 test pixel of Water was mapped as Forest" in table.item(0, 1).toolTip()
    view.resize(340, 300)
    assert not view.grab().isNull()


def test_the_curve_draws_also_without_validation(qgis_app, qtbot):
    curve = LossCurve(None)
    qtbot.addWidget(curve)
    curve.resize(340, 150)
    assert not curve.grab().isNull()
    for epoch in range(1, 5):
        curve.add(epoch, 1 / epoch, float("nan"))
    image = curve.grab().toImage()
    colors = {image.pixelColor(x, y).name() for x in range(340) for y in range(150)}
    assert "#3b82b8" in colors
    assert curve.epochs == 4


def test_settings_are_chosen_and_remembered(make_session, store, qtbot):
    session = make_session()
    dialog = SettingsDialog(session, None)
    qtbot.addWidget(dialog)
    assert dialog.archiveEdit.text() == ""
    dialog.cacheFolder.setFilePath("/some/where")
    dialog.archiveEdit.setText("http://127.0.0.1:9/root/")
    dialog.limitSpin.setValue(2.5)
    dialog.connectionsSpin.setValue(2)
    assert "250 km²" in dialog.limitNote.text()
    dialog.accept()
    found = session.settings
    assert (found.cache_dir, found.archive) == ("/some/where", "http://127.0.0.1:9/root")
    assert (found.limit_px, found.connections) == (2_500_000, 2)
    assert store["tessera/limit_px"] == 2_500_000
    again = SettingsDialog(session, None)
    qtbot.addWidget(again)
    again.archiveEdit.setText("")
    again.accept()
    assert session.settings.archive == PUBLIC_ARCHIVE


def test_about_names_licence_citation_and_hosts(make_session, qtbot):
    dialog = AboutDialog(make_session(), "1.2.3", None)
    qtbot.addWidget(dialog)
    told = dialog.aboutText.toPlainText()
    for words in (
        "CC0",
        "Feng",
        "2506.20380",
        "data.source.coop",
        "s3.us-west-2",
        "General Public License",
    ):
        assert words in told
    assert "1.2.3" in dialog.titleLabel.text()
    other = AboutDialog(make_session(archive="http://archive.local:80/x"), "1", None)
    qtbot.addWidget(other)
    assert "archive.local" in other.aboutText.toPlainText()


def test_a_year_that_a_dataset_lacks_becomes_the_nearest(make_dock):
    dock = make_dock(dataset="1.1-cambridge", year=2016)
    page: AreaPage = dock.area
    assert page.yearCombo.currentText() == "2016"
    page.datasetCombo.setCurrentIndex(page.datasetCombo.findData("1.0-vultr"))
    assert page.yearCombo.currentText() == "2017"
    assert dock._session.settings.year == 2017


def test_the_dock_fits_its_width(make_dock, qtbot):
    dock = make_dock()
    for index in range(3):
        dock._contents.pages.setCurrentIndex(index)
        area = dock._contents.pages.widget(index)
        assert area.widget().minimumSizeHint().width() <= 380
