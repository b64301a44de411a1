# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Explore, clusters: what is there without any label, and clusters that become classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, List, NamedTuple, Optional, Tuple

from qgis.core import QgsGeometry, QgsPointXY, QgsProject
from qgis.gui import QgsColorButton
from qgis.PyQt.QtCore import QObject, Qt
from qgis.PyQt.QtGui import QColor
from qgis.PyQt.QtWidgets import QDialog, QHeaderView, QTableWidget, QTableWidgetItem

from ..tasks import explore_jobs
from ..tasks.base import EngineTask
from ..values import Extent
from . import messages, note, text
from .explore_stage import Stage
from .links import Links

if TYPE_CHECKING:
    from ..engine.classify import ClassifyResult, StagedMap
    from ..engine.cluster_labels import ClusterPlace
    from ..engine.heads import Head

NAME, COLOR, SHARE = range(3)
COLOR_PX = 44


class _Found(NamedTuple):
    """Clusters that were found, and where."""

    head: Head
    extent: Extent


class _Wanted(NamedTuple):
    """A class that clusters are to become."""

    name: str
    color: str


class ClustersPart(QObject):
    """Finds clusters of what the map shows; a table names those that become classes."""

    def __init__(self, form: QDialog, stage: Stage) -> None:
        super().__init__(form)
        self._form, self._stage = form, stage
        self._links = Links()
        self._found: Optional[_Found] = None
        self._table: QTableWidget = form.clustersTable
        header = self._table.horizontalHeader()
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(COLOR, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(SHARE, QHeaderView.ResizeMode.ResizeToContents)
        self._table.verticalHeader().hide()
        self._connect()
        self._enable()

    def show(self, *, shown: bool) -> None:
        """Say what is next when the tab comes in sight."""
        if shown:
            self._say_next()
            self._enable()

    def close_down(self) -> None:
        """Let go of what lives longer than the window."""
        self._links.close()

    # --- clusters

    def _find(self, *_: object) -> None:
        stage, form = self._stage, self._form
        count, seed = form.clusterCountSpin.value(), form.clusterSeedSpin.value()
        year = stage.session.settings.year
        out = explore_jobs.beside_labels(stage.session, f"clusters_{count}_{year}.tif")
        extents: List[Extent] = []

        def made() -> EngineTask:
            extents.append(stage.extent())
            return explore_jobs.clusters(stage.session, extents[0], count, seed, out)

        stage.start(made, lambda found, project: self._came(found, extents[0], project))

    def _came(
        self, made: Tuple[Head, StagedMap], extent: Extent, project: Optional[QgsProject]
    ) -> None:
        head, staged = made
        result = explore_jobs.publish_clusters(staged, project)
        self._found = _Found(head, extent)
        self._fill(result)
        saved = result.mosaic or result.maps[0]
        told = [
            self.tr("{} clusters, saved as {}.").format(len(head.classes), saved),
            self.tr("Next: name those that mean something, give the same name to those that are "
                    "one, and make them classes."),
        ]  # fmt: skip
        if result.nodata_px:
            told.insert(
                1,
                self.tr("Without embeddings in the cache: {}.").format(
                    text.counted_pixels(result.nodata_px)
                ),
            )
        self._stage.say("\n".join(told), note.SUCCESS)
        self._enable()

    def _fill(self, result: ClassifyResult) -> None:
        table = self._table
        total = sum(each.pixels for each in result.classes) or 1
        table.blockSignals(True)
        table.setRowCount(len(result.classes))
        for row, each in enumerate(result.classes):
            name = QTableWidgetItem(each.name)
            name.setCheckState(Qt.CheckState.Checked)
            name.setData(Qt.ItemDataRole.UserRole, each.id)
            name.setToolTip(self.tr("Double-click to name it; only ticked ones become classes"))
            table.setItem(row, NAME, name)
            table.setCellWidget(row, COLOR, self._color_button(each.id, each.color))
            share = QTableWidgetItem(text.percent(each.pixels / total, 1))
            share.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            share.setFlags(Qt.ItemFlag.ItemIsEnabled)
            share.setToolTip(
                self.tr("{} ha of counted pixels").format(text.decimal(each.hectares, 1))
            )
            table.setItem(row, SHARE, share)
        table.blockSignals(False)

    def _color_button(self, cluster: int, color: str) -> QgsColorButton:
        button = QgsColorButton(self._table)
        button.setObjectName(f"clusterColor{cluster}")
        button.setAccessibleName(self.tr("Colour of cluster {}").format(cluster))
        button.setColor(QColor(color))
        button.setShowMenu(False)
        button.setFixedWidth(COLOR_PX)
        return button

    # --- classes

    def _wanted(self) -> Dict[int, _Wanted]:
        """Return the classes that ticked clusters are to become, by the clusters' ids.

        Clusters of one name, however it is written, become one class, in the colour of the first; it
        is left open where nobody chose it and a class that is there has it, or nearly.
        """
        from ..engine.class_colors import is_taken  # noqa: PLC0415 - light plugin load

        own = {} if self._found is None else {e.id: e.color for e in self._found.head.classes}
        used = [each.color for each in self._stage.session.labels.classes]
        wanted: Dict[int, _Wanted] = {}
        by_name: Dict[str, _Wanted] = {}
        for row in range(self._table.rowCount()):
            item = self._table.item(row, NAME)
            name = item.text().strip()
            if item.checkState() == Qt.CheckState.Checked and name:
                cluster = int(item.data(Qt.ItemDataRole.UserRole))
                color = self._table.cellWidget(row, COLOR).color().name()
                is_open = color == own.get(cluster) and is_taken(color, used)
                one = _Wanted(name, "" if is_open else color)
                wanted[cluster] = by_name.setdefault(name.casefold(), one)
        return wanted

    def _make_classes(self, *_: object) -> None:
        stage, found, wanted = self._stage, self._found, self._wanted()
        if found is None or not wanted:
            return
        count = self._form.labelsPerClusterSpin.value()
        stage.start(
            lambda: explore_jobs.cluster_places(
                stage.session, found.head, found.extent, tuple(wanted), count
            ),
            lambda places, _: self._label(places, wanted, found.head.years[0]),
        )

    def _label(
        self, places: Tuple[ClusterPlace, ...], wanted: Dict[int, _Wanted], year: int
    ) -> None:
        from ..tasks.labels import NewLabel  # noqa: PLC0415 - with what it needs

        store = self._stage.session.labels
        pairs = tuple(dict.fromkeys((each.name, each.color) for each in wanted.values()))
        with store.one_step(self.tr("classes of clusters")):
            store.add_classes(pairs)
            ids = {each.name.casefold(): each.id for each in store.classes}
            store.add_labels(
                [
                    NewLabel(
                        QgsGeometry.fromPointXY(QgsPointXY(each.lon, each.lat)),
                        ids[wanted[each.cluster].name.casefold()],
                        year,
                        note=self.tr("from cluster {}").format(each.cluster),
                    )
                    for each in places
                ]
            )
        self._stage.say(
            self.tr(
                "Classes: {}, labels: {}. Next: look at them on the Labels page, move or remove what "
                "is wrong, and train."
            ).format(len(pairs), text.count(len(places))),
            note.SUCCESS,
        )

    # --- inside

    def _say_next(self) -> None:
        if self._found is None:
            self._stage.say(
                self.tr(
                    "Clusters are kinds of ground that embeddings tell apart without any label."
                )
            )

    def _forget(self) -> None:
        self._found = None
        self._table.setRowCount(0)
        self._enable()

    def _enable(self, *_: object) -> None:
        running = self._stage.session.box.running
        form, waits = self._form, messages.waits_for(running)
        form.clusterButton.setEnabled(not running)
        form.clusterButton.setToolTip(
            waits or self.tr("Find clusters of what the map shows and add their map as a layer")
        )
        has_some = self._found is not None and bool(self._wanted())
        form.makeClassesButton.setEnabled(has_some and not running)
        missing = "" if has_some else self.tr("Find clusters and tick some of them first")
        form.makeClassesButton.setToolTip(
            waits
            or missing
            or self.tr("Make a class of each name, with labels at typical places of its clusters")
        )

    def _connect(self) -> None:
        box = self._stage.session.box
        self._links.connect(box.started, self._enable)
        self._links.connect(box.ended, self._enable)
        self._links.connect(QgsProject.instance().cleared, self._forget)
        self._form.clusterButton.clicked.connect(self._find)
        self._form.makeClassesButton.clicked.connect(self._make_classes)
        self._table.itemChanged.connect(self._enable)
