# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the plugin remembers, in one frozen value.

The engine never reads it: what it needs is passed in. The store is passed in too (`QgsSettings` in
QGIS, a dictionary in tests and on the command line), so this file needs neither QGIS nor Qt.
"""

from __future__ import annotations

import json
from dataclasses import Field, asdict, dataclass, fields
from typing import Any, Dict, Iterable, Mapping, Optional, Protocol, Tuple

from . import paths
from .values import FORMS, PUBLIC_ARCHIVE, Access, Dataset, NetworkSettings

PREFIX = "tessera"

GB = 1_000_000_000
MB = 1_000_000

LIMITS: Mapping[str, Tuple[float, float]] = {
    "limit_px": (10_000, 2_000_000_000),
    "connections": (1, 16),
    "max_mb_per_s": (0, 10_000),
    "cache_limit_gb": (0, 100_000),
    "depth": (0, 1024),
    "test_share": (0.1, 0.9),
    "max_px_per_polygon": (1, 100_000),
    "min_observations": (0, 1000),
    "live_opacity": (10, 100),
}
"""Smallest and largest value of the numbers that have them."""


@dataclass(frozen=True)
class Settings:
    """What is remembered from one day to the next."""

    cache_dir: str = ""
    """Folder that fetched embeddings are kept in; empty for the default one."""
    archive: str = PUBLIC_ARCHIVE
    """Root of the archive that embeddings come from: an address, or a folder."""
    stores: str = ""
    """Stores outside any archive that the person added, and own embeddings, as JSON."""
    form: str = ""
    """Form that embeddings are read in, `zarr` or `npy`; empty for the best one there is."""
    offline: bool = False
    """Whether nobody is asked for anything: only what is in the cache."""
    max_mb_per_s: float = 0.0
    """Most megabytes that are received per second; 0 for no limit."""
    cache_limit_gb: float = 20.0
    """What is in the cache over this size goes, oldest first; 0 for no limit."""
    limit_px: int = 50_000_000
    """Extents of more pixels are refused."""
    connections: int = 6
    """How many requests run at once."""
    worker_python: str = ""
    """Python of the private environment; empty for the one the plugin installs."""
    labels_path: str = ""
    """The label file in use; empty for the default one."""
    dataset: str = "1.1-dclimate"
    """Dataset chosen last."""
    year: int = 2024
    """Year chosen last."""
    also_years: str = ""
    """More years that are fetched with it, apart by commas."""
    depth: int = 0
    """Dimensions of the embeddings; 0 for all that the dataset has."""
    show_coverage: bool = True
    """Whether the map shows what is published and what is in the cache."""
    active_class: int = 0
    """Id of the class that labels get; 0 for none."""
    head_kind: str = "instant"
    """Kind of head chosen last."""
    head_path: str = ""
    """Head that was trained or opened last."""
    test_share: float = 0.3
    """Share of the labels that is held out to measure the accuracy."""
    seed: int = 0
    """Start of every random choice in training."""
    max_px_per_polygon: int = 200
    """At most so many pixels of a polygon are used."""
    output_path: str = ""
    """Raster that the last map was written to; empty for a proposal."""
    confidence: bool = True
    """Whether a confidence raster is written with the map."""
    encoders: str = ""
    """Encoder files outside the plugin's folder that the person added, as JSON."""
    encoder: str = ""
    """Encoder file that was used last."""
    encode_inputs: str = ""
    """Folders and files of images that were encoded last, as JSON."""
    min_observations: int = 0
    """Pixels of own embeddings with fewer valid Sentinel-2 observations are nodata."""
    train_options: str = ""
    """How heads learn, where it is not the default, as JSON."""
    train_labels: str = ""
    """Which labels are learnt: years and further files, as JSON."""
    train_test: str = ""
    """How heads are tested, as JSON."""
    live_map: bool = True
    """Whether the map is classified after every label."""
    live_mode: str = "classes"
    """What the live map shows."""
    live_opacity: int = 80
    """How opaque the live map is, in percent."""
    map_choices: str = ""
    """What is written with a map, where it is not the default, as JSON."""
    opened_heads: str = ""
    """Heads of other folders that were opened, as JSON."""
    heads_order: str = "newest"
    """What the list of heads is sorted by: newest, name, accuracy, labels or year."""
    dock_open: bool = False
    """Whether the dock was open when QGIS was closed; `gui.dock_memory` reads and writes it."""

    @property
    def cache_folder(self) -> str:
        """The cache folder in use."""
        return self.cache_dir or str(paths.cache_dir())

    def access(self, network: Optional[NetworkSettings] = None) -> Access:
        """Return where embeddings come from and where they are kept."""
        return Access(
            cache_dir=self.cache_folder,
            archive=self.archive.rstrip("/") or self.archive,
            offline=self.offline,
            network=network or self.network(),
            form=self.form if self.form in FORMS else "",
            stores=self.own_stores,
            min_observations=self.min_observations,
        )

    def network(self) -> NetworkSettings:
        """Return what the person set of the network, without what only QGIS knows."""
        return NetworkSettings(connections=self.connections, bytes_per_s=self.max_mb_per_s * MB)

    @property
    def own_stores(self) -> Tuple[Dataset, ...]:
        """The stores outside any archive that the person added, and embeddings of their own."""
        return read_stores(self.stores)

    @property
    def more_years(self) -> Tuple[int, ...]:
        """Years that are fetched with the chosen one, the latest first."""
        found = {int(each) for each in self.also_years.split(",") if each.strip().isdecimal()}
        return tuple(sorted(found - {self.year}, reverse=True))


class Store(Protocol):
    """The two calls of `QgsSettings` that are used."""

    def value(self, key: str, default: Any, type: type) -> Any:  # noqa: A002, ANN401 - Qt's names
        """Return a value as `type`, or the default."""

    def setValue(self, key: str, value: Any) -> None:  # noqa: ANN401, N802 - Qt's name
        """Remember a value."""


class MemoryStore(Dict[str, Any]):
    """A store in memory, for the command line and for tests."""

    def value(self, key: str, default: Any, type: type) -> Any:  # noqa: A002, ANN401 - Qt's names
        """Return a value as `type`, or the default."""
        return type(self.get(key, default))

    def setValue(self, key: str, value: Any) -> None:  # noqa: ANN401, N802 - Qt's name
        """Remember a value."""
        self[key] = value


def write_stores(stores: Iterable[Dataset]) -> str:
    """Return stores as the text that is remembered."""
    return json.dumps([asdict(each) for each in stores])


def read_stores(text: str) -> Tuple[Dataset, ...]:
    """Return remembered stores and own embeddings; what can't be used is left out."""
    try:
        found = json.loads(text or "[]")
    except ValueError:  # edited by hand
        return ()
    stores = (_as_dataset(each) for each in found) if isinstance(found, list) else ()
    return tuple(each for each in stores if each and (each.store or each.local) and each.years)


def _as_dataset(found: Any) -> Optional[Dataset]:  # noqa: ANN401 - whatever JSON holds
    try:
        facts: Dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in found.items()
        }
        return Dataset(**facts)
    except (AttributeError, TypeError):  # of another version of the plugin, or edited by hand
        return None


def load(store: Store) -> Settings:
    """Return what the store remembers; what is missing or can't be used is the default."""
    return Settings(**{item.name: _read(store, item) for item in fields(Settings)})


def save(store: Store, settings: Settings, before: Optional[Settings] = None) -> None:
    """Remember the settings in the store, or only what is other than `before`."""
    for item in fields(Settings):
        value = getattr(settings, item.name)
        if before is None or value != getattr(before, item.name):
            store.setValue(f"{PREFIX}/{item.name}", value)


def _read(store: Store, item: Field[Any]) -> Any:  # noqa: ANN401 - the field says which type
    try:
        value = store.value(f"{PREFIX}/{item.name}", item.default, type=type(item.default))
    except (TypeError, ValueError):  # edited by hand, or of another version
        return item.default
    low, high = LIMITS.get(item.name, (value, value))
    return value if low <= value <= high else item.default
