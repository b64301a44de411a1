# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The plain frozen values that every part passes on: windows, extents, datasets, classes.

A leaf: the standard library only, so that io and engine can both speak of a window.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Dict, Iterator, Optional, Tuple

PIXEL_M = 10
"""Edge of a pixel of the zone grid."""

BLOCK_PX = 128
"""Edge of a cache block; blocks start at multiples of it on the zone grid."""

SOUTH_OFFSET_M = 10_000_000
"""False northing of EPSG:327zz over EPSG:326zz: the shift between them is exact."""

PUBLIC_ARCHIVE = "https://data.source.coop/tessera/tessera"
"""Root of the published archive (the gateway of Source Cooperative)."""


class State(enum.IntEnum):
    """What is known of a pixel of a dataset and year."""

    UNKNOWN = 0
    """Not fetched yet, or the fetch failed."""
    VALID = 1
    WATER = 2
    NODATA = 3
    OUTSIDE = 4
    """Nothing is published there."""
    PUBLISHED = 5
    """Something is published there; what each pixel is has not been looked at. Coverage only."""


EMBEDDED = (State.VALID, State.PUBLISHED)
"""States of pixels that have embeddings, as far as is known."""


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels of a UTM zone's 10 m grid.

    A point lies in column floor(E / 10) and row floor(-N / 10), with E and N in EPSG:326zz in both
    hemispheres: rows are negative north of the equator, and the top edge of a row is N = -10 * row.
    """

    zone: int
    row: int
    col: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if not 1 <= self.zone <= 60:
            raise ValueError(f"UTM zone must be 1 to 60, got {self.zone}")
        if self.height < 1 or self.width < 1:
            raise ValueError(f"a window has at least one pixel, got {self.height} x {self.width}")

    @property
    def stop_row(self) -> int:
        """The row below the last one."""
        return self.row + self.height

    @property
    def stop_col(self) -> int:
        """The column right of the last one."""
        return self.col + self.width

    @property
    def pixels(self) -> int:
        """How many pixels it has."""
        return self.height * self.width

    @property
    def shape(self) -> Tuple[int, int]:
        """Height and width, as numpy wants them."""
        return self.height, self.width

    @property
    def is_south(self) -> bool:
        """Whether it lies wholly south of the equator."""
        return self.row >= 0

    @property
    def epsg(self) -> int:
        """The CRS people see it in: 326zz, or 327zz where it lies wholly in the south."""
        return (32700 if self.is_south else 32600) + self.zone

    @property
    def transform(self) -> Tuple[float, float, float, float, float, float]:
        """GDAL's six numbers in the CRS of `epsg`."""
        top = -float(PIXEL_M * self.row) + (SOUTH_OFFSET_M if self.is_south else 0)
        return (float(PIXEL_M * self.col), float(PIXEL_M), 0.0, top, 0.0, -float(PIXEL_M))

    def intersection(self, other: Window) -> Optional[Window]:
        """Return the part that both share, or None."""
        if self.zone != other.zone:
            return None
        row, col = max(self.row, other.row), max(self.col, other.col)
        height = min(self.stop_row, other.stop_row) - row
        width = min(self.stop_col, other.stop_col) - col
        if height < 1 or width < 1:
            return None
        return Window(self.zone, row, col, height, width)

    def slices_in(self, outer: Window) -> Tuple[slice, slice]:
        """Return where it lies in an array of the shape of `outer`, which must contain it."""
        row, col = self.row - outer.row, self.col - outer.col
        is_inside = row >= 0 <= col and self.zone == outer.zone
        if not is_inside or row + self.height > outer.height or col + self.width > outer.width:
            raise ValueError(f"{self} is not inside {outer}")
        return slice(row, row + self.height), slice(col, col + self.width)

    def blocks(self) -> Iterator[Window]:
        """Yield its parts on the cache's blocks, row by row; together they are the window."""
        for block in self.whole_blocks():
            yield Window.between(
                self.zone,
                max(self.row, block.row),
                max(self.col, block.col),
                min(self.stop_row, block.stop_row),
                min(self.stop_col, block.stop_col),
            )

    def whole_blocks(self) -> Iterator[Window]:
        """Yield the blocks (128 x 128 px) it touches, each whole, row by row."""
        for row in range(self.row // BLOCK_PX, (self.stop_row - 1) // BLOCK_PX + 1):
            for col in range(self.col // BLOCK_PX, (self.stop_col - 1) // BLOCK_PX + 1):
                yield Window(self.zone, row * BLOCK_PX, col * BLOCK_PX, BLOCK_PX, BLOCK_PX)

    @classmethod
    def between(cls, zone: int, row: int, col: int, stop_row: int, stop_col: int) -> Window:
        """Return the window from (row, col) up to, not with, (stop_row, stop_col)."""
        return cls(zone, row, col, stop_row - row, stop_col - col)


@dataclass(frozen=True)
class Extent:
    """A rectangle in any CRS. In degrees, west > east means across the antimeridian."""

    west: float
    south: float
    east: float
    north: float
    crs: str = "EPSG:4326"
    """As text: an authority code or WKT."""


@dataclass(frozen=True)
class Dataset:
    """A published set of embeddings: one feature space, never mixed with another."""

    version: str
    variant: str
    npy_dir: str
    """Folder below `npy/` of the archive; empty where no NPY tiles are published."""
    years: Tuple[int, ...]
    title: str
    landmask_dir: str = ""
    depth: int = 128
    """Dimensions of the whole embedding."""
    zarr_dir: str = ""
    """Folder of its store below `zarr/` of the archive; empty where no store is published."""
    depths: Tuple[int, ...] = (128,)
    """Dimensions that can be had, ascending: less than `depth` are prefixes, in the store only."""
    store: str = ""
    """URL or folder of a store outside any archive; empty for published datasets."""
    local: str = ""
    """Folder of embeddings that the person made with an encoder; empty for all others."""
    space: str = ""
    """Embedding space of the encoder that made it, where it is known."""

    @property
    def key(self) -> str:
        """Version and variant, the name people type: `1.1-cambridge`."""
        return f"{self.version}-{self.variant}"

    def forms(self, depth: int = 0) -> Tuple[str, ...]:
        """Return the forms it is published in, the better one first; less depth in stores only.

        Depth 0 is the whole one.
        """
        if self.local:
            return (LOCAL,)
        found = ("zarr",) if self.zarr_dir or self.store else ()
        return (*found, "npy") if self.npy_dir and depth in (0, self.depth) else found


@dataclass(frozen=True)
class LandClass:
    """A class of the map. The id is stable: it is the value in the raster and in the labels."""

    id: int
    name: str
    color: str
    """`#rrggbb`."""


@dataclass(frozen=True)
class NetworkSettings:
    """What QGIS knows of the network, as plain values."""

    proxies: Tuple[Tuple[str, str], ...] = ()
    """Pairs of a URL prefix (scheme and host) and the proxy's URL, credentials included."""
    ca_bundle: str = ""
    """A PEM file of certificate authorities; empty for the ones requests carries."""
    connect_timeout_s: float = 15.0
    read_timeout_s: float = 60.0
    connections: int = 6
    """How many requests run at once."""
    attempts: int = 5
    """How often a request is tried before it counts as failed."""
    backoff_s: float = 1.0
    """First pause between tries; doubled each time, with jitter."""
    bytes_per_s: float = 0.0
    """Most that is received per second, of all requests together; 0 for no limit."""


LOCAL = "local"
"""The form of embeddings that the person made; there is no other one of them."""

FORMS: Tuple[str, ...] = ("zarr", "npy")
"""The forms that embeddings are published in, the better one first."""


@dataclass(frozen=True)
class Access:
    """Where embeddings come from and where they are kept."""

    cache_dir: str
    archive: str = PUBLIC_ARCHIVE
    """Root of an archive in the published layout: a URL, or a folder."""
    offline: bool = False
    network: NetworkSettings = field(default_factory=NetworkSettings)
    form: str = ""
    """One of `FORMS` to read only that; empty for the best one there is."""
    stores: Tuple[Dataset, ...] = ()
    """Stores outside any archive that the person added, and embeddings of their own."""
    min_observations: int = 0
    """Pixels of the person's own embeddings with fewer valid Sentinel-2 observations are nodata."""


# --- the label file


POINTS, POLYGONS = "label_points", "label_polygons"
"""Tables of labels, by the kind of their geometry."""

_WKB_POINTS = (1, 4)


@dataclass(frozen=True)
class StoredLabel:
    """A label as it is on disk, in degrees (EPSG:4326)."""

    key: str
    """Stable id; it becomes the group that accuracy never splits."""
    class_id: int
    year: int
    wkb: bytes
    """Point or polygon, little endian."""
    note: str = ""
    confidence: int = 100
    """Percent: how sure the person is of the class."""
    created: str = ""
    """ISO 8601, UTC."""
    extra: Tuple[Tuple[str, str], ...] = ()
    """Columns that somebody else added: name and SQL literal, to be put back as they were."""

    @property
    def table(self) -> str:
        """The table it is in."""
        return POINTS if self.wkb[1] in _WKB_POINTS else POLYGONS


@dataclass(frozen=True)
class StoredClass:
    """A class as it is on disk."""

    land_class: LandClass
    hidden: bool = False
    """Neither its labels nor its areas of the live map are drawn; it is learnt all the same."""


@dataclass(frozen=True)
class LabelChange:
    """What a change does to a label file, as values before and after; so it can be inverted."""

    classes_before: Tuple[StoredClass, ...]
    classes_after: Tuple[StoredClass, ...]
    labels: Tuple[Tuple[Optional[StoredLabel], Optional[StoredLabel]], ...] = ()
    """Each label before (None where it was not there) and after (None where it is gone)."""

    def __bool__(self) -> bool:
        return bool(self.labels) or self.classes_before != self.classes_after

    @property
    def inverse(self) -> LabelChange:
        """The change that takes this one back."""
        labels = tuple((after, before) for before, after in self.labels)
        return LabelChange(self.classes_after, self.classes_before, labels)

    def then(self, later: LabelChange) -> LabelChange:
        """Return what this change and a later one do together."""
        pairs: Dict[str, Tuple[Optional[StoredLabel], Optional[StoredLabel]]] = {}
        for before, after in (*self.labels, *later.labels):
            key = before.key if before is not None else after.key if after is not None else ""
            pairs[key] = (pairs[key][0] if key in pairs else before, after)
        labels = tuple(pair for pair in pairs.values() if pair[0] != pair[1])
        return LabelChange(self.classes_before, later.classes_after, labels)
