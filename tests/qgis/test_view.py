# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The view stays where the person has it when an empty project gets its first layer."""

import pytest
from qgis.core import QgsCoordinateReferenceSystem, QgsProject, QgsRectangle, QgsVectorLayer
from qgis.gui import QgsMapCanvas

from tessera_plugin.gui import view

MERCATOR, LONLAT = (QgsCoordinateReferenceSystem(f"EPSG:{code}") for code in (3857, 4326))
BEFORE, MOVED = QgsRectangle(0, 0, 1000, 1000), QgsRectangle(12_000, 6_830_000, 15_000, 6_832_000)


@pytest.fixture
def canvas(qgis_new_project):
    shown = QgsMapCanvas()
    shown.resize(300, 200)
    shown.show()
    yield shown
    shown.close()


def test_a_map_moved_before_the_first_layer_comes_stays_there(canvas, qtbot):
    project = QgsProject.instance()
    project.setCrs(MERCATOR)
    canvas.setDestinationCrs(MERCATOR)
    canvas.setExtent(BEFORE)
    layer = QgsVectorLayer("Point?crs=EPSG:4326", "a", "memory")
    with view.kept(canvas):
        project.addMapLayer(layer)
    canvas.setExtent(MOVED)
    canvas.setLayers([layer])  # from here on as QGIS does, which may be a moment later
    project.setCrs(LONLAT)
    canvas.setExtent(QgsRectangle(40, -20, 41, -19))
    qtbot.wait(50)
    assert project.crs() == MERCATOR
    assert canvas.extent().contains(MOVED.center())
    canvas.setLayers([])
