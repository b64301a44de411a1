# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""From what is on the screen to plain values. On the GUI thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Tuple

from qgis.core import QgsCoordinateReferenceSystem, QgsRectangle

from ..errors import ExtentInvalid
from ..settings import Settings
from ..values import Dataset, Extent, StoredLabel
from .labels import LabelStore

if TYPE_CHECKING:
    from ..engine.grid import Size
    from ..engine.samples import Labels


def extent_of(rectangle: QgsRectangle, crs: QgsCoordinateReferenceSystem) -> Extent:
    """Return a rectangle as a value; in degrees it may lie across the antimeridian.

    Raises: ExtentInvalid if there is nothing to see or nobody knows where it is.
    """
    if not crs.isValid():
        raise ExtentInvalid("its coordinate reference system is not known")
    if rectangle.isEmpty() or not rectangle.isFinite():
        raise ExtentInvalid("it is empty")
    west, east = rectangle.xMinimum(), rectangle.xMaximum()
    south, north = rectangle.yMinimum(), rectangle.yMaximum()
    if crs.isGeographic():
        west, east = _wrapped(west, east)
        south, north = max(south, -90.0), min(north, 90.0)
        if south >= north:
            raise ExtentInvalid("it lies beyond the poles")
    return Extent(west, south, east, north, crs_text(crs))


def datasets(settings: Settings) -> Tuple[Dataset, ...]:
    """Return the datasets that can be fetched, the person's own last; the first is the default."""
    from ..engine.catalog import DATASETS  # noqa: PLC0415 - light plugin load

    return (*DATASETS, *settings.own_stores)


def title_of(settings: Settings, key: str) -> str:
    """Return what people call a dataset; its key where it is not known here."""
    return next((each.title for each in datasets(settings) if each.key == key), key)


def addresses(*locations: str) -> Tuple[str, ...]:
    """Return every root that may be asked for archives and stores, in the order they are tried."""
    from ..engine.locations import roots_of  # noqa: PLC0415 - light plugin load

    return tuple(root for each in locations for root in roots_of(each))


def measure(extent: Extent, limit_px: int, depth: int = 128) -> Size:
    """Return what an extent weighs. Raises: ExtentInvalid, ExtentTooLarge."""
    from ..engine import grid  # noqa: PLC0415 - light plugin load

    return grid.check_size(grid.windows_of(extent), limit_px, depth)


def download_bytes(settings: Settings, dataset: Dataset, depth: int, extent: Extent) -> int:
    """Return about how much a fetch of a year brings with an empty cache, without asking anybody.

    Raises: ExtentInvalid.
    """
    from ..engine import embeddings, grid  # noqa: PLC0415 - light plugin load

    form = settings.form if settings.form in dataset.forms(depth) else ""
    windows = grid.windows_of(extent)
    return embeddings.download_bytes(dataset.key, windows, depth, form, settings.own_stores)


class LabelsNow:
    """The labels of a store, or some of them, as they were when it was made.

    Thousands of them become a value of the engine's on the thread that asks for it, once.
    """

    def __init__(self, store: LabelStore, some: Optional[Tuple[StoredLabel, ...]] = None) -> None:
        self._labels = store.labels() if some is None else some
        self._classes, self.path = store.classes, store.path
        self._made: Optional[Labels] = None

    def __call__(self) -> Labels:
        from ..engine.samples import Label, Labels  # noqa: PLC0415 - light plugin load

        if self._made is None:
            items = tuple(Label(each.wkb, each.class_id, each.key) for each in self._labels)
            self._made = Labels("EPSG:4326", self._classes, items, self.path)
        return self._made


def _wrapped(west: float, east: float) -> Tuple[float, float]:
    """Return longitudes in -180 to 180; the canvas goes on counting past them."""
    if east - west >= 360:
        return -180.0, 180.0
    turn = 360 * ((west + 180) // 360)
    west, east = west - turn, east - turn
    return west, east if east <= 180 else east - 360


def crs_text(crs: QgsCoordinateReferenceSystem) -> str:
    """Return a CRS as others know it: one of this QGIS alone (`USER:…`) as WKT."""
    name: str = crs.authid()
    return name if name and not name.startswith("USER:") else crs.toWkt()
