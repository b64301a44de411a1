# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The buttons that answer what is at a place: each can be told from the others in a narrow dock."""

import pytest
from qgis.PyQt.QtWidgets import QApplication

from tessera_plugin.gui.answers import Answers
from tessera_plugin.gui.matrix import SWATCH_PX
from tessera_plugin.tasks import schemes
from tessera_plugin.values import LandClass

WIDE_PX = 330
"""What the panel has in a dock as it opens."""


@pytest.fixture
def answers(qgis_app, qtbot):
    widget = Answers(None)
    qtbot.addWidget(widget)
    widget.resize(WIDE_PX, 400)
    return widget


def offer(answers, names):
    colors = ["#123456", "#00c800", "#c80000"]
    classes = [LandClass(n, each, colors[n % 3]) for n, each in enumerate(names, 1)]
    answers.offer(classes)
    answers.resize(WIDE_PX, answers.sizeHint().height())
    QApplication.processEvents()
    return classes


@pytest.mark.parametrize("scheme", ["corine_level_1", "eunis_level_1", "esa_worldcover"])
def test_key_and_colour_are_seen_and_what_is_cut_says_so(answers, scheme):
    names = [name for name, _ in schemes.ready(scheme)]
    classes = offer(answers, names)
    for number, (each, button) in enumerate(zip(classes, answers.buttons), 1):
        image = button.grab().toImage()
        left = [x for x in range(image.width())
                if image.pixelColor(x, image.height() // 2).name() == each.color]  # fmt: skip
        assert left[0] < SWATCH_PX  # at the left of the button, and all of it
        assert len(left) >= SWATCH_PX - 2
        shown = button.shown_words()
        if number <= 9:
            assert shown.startswith(f"{number}  {each.name[:5]}")
        assert shown.endswith(("…", each.name))
        assert each.name in button.toolTip()
        # side by side only where both have room for their names
        assert shown.endswith(each.name) or button.width() == WIDE_PX
    halves = {each.width() for each in answers.buttons if each.width() < WIDE_PX}
    assert max(halves, default=0) - min(halves, default=0) <= 1


def test_names_are_written_as_they_are(answers):
    offer(answers, ["Rock & scree", "Shrub <2 m>"])
    rock = answers.buttons[0]
    assert rock.text() == "1  Rock && scree"  # no letter of it is a key
    assert rock.shortcut().isEmpty()
    assert rock.shown_words() == "1  Rock & scree"


def test_a_wide_dock_has_them_side_by_side(answers):
    offer(answers, ["Water", "Heathland, scrub and tundra", "Forest"])
    assert answers.buttons[0].y() < answers.buttons[1].y()
    answers.resize(2 * WIDE_PX, 400)
    QApplication.processEvents()
    water, heath, forest, skip = answers.buttons
    assert water.y() == heath.y() < forest.y() == skip.y()
    assert water.x() < heath.x()
    answers.withdraw()
    assert answers.buttons == []
    assert answers.isHidden()
