# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The live map by clicks: every label redraws what the map shows, and nothing that is old stays."""

import numpy as np
import pytest
from qgis.core import QgsGeometry, QgsPointXY, QgsProject
from qgis.PyQt.QtTest import QTest

from tessera_plugin.gui.overlay import LIVE
from tests.archive.ground import DEMO
from tests.qgis.hands import AREA, LABELS, Hands

SMALL = (0.118, 52.196, 0.130, 52.203)


@pytest.fixture
def hands(make_dock, server, desktop, qtbot, tmp_path):
    dock = make_dock(archive=server.url, cache_dir=str(tmp_path / "cache"), dataset="1.1-cambridge", form="npy")
    hands = Hands(dock, qtbot, desktop)
    desktop.zoom_to(*SMALL)
    hands.fetch()
    hands.page(LABELS)
    return hands

def test_look(hands, archive, desktop, qtbot):
    store = hands.session.labels
    classes = [store.add_class(n) for n in ("Crops", "Grass", "Wood")]
    pts = archive.label_points(SMALL, 3)
    for p in pts:
        print(p)
        if p.class_id <= 3:
            store.add_label(QgsGeometry.fromPointXY(QgsPointXY(p.lon, p.lat)), classes[p.class_id-1].id, 2024)
    qtbot.wait(1500)
    print(hands.told("liveState"))
    hands.dock.window().grab().save("/tmp/shots/live.png")
    desktop.zoom_to(*DEMO)
    qtbot.wait(1500)
    print(hands.told("liveState"))
    desktop.window.grab().save("/tmp/shots/live2.png")
    for m in ("Uncertainty", "Novelty"):
        hands.choose("liveModeCombo", m)
        hands.find("liveModeCombo").activated.emit(hands.find("liveModeCombo").currentIndex())
        qtbot.wait(1500)
        desktop.window.grab().save(f"/tmp/shots/live_{m}.png")
