# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the plugin remembers, in one frozen value.

The engine never reads it: what it needs is passed in. The store is passed in too (`QgsSettings` in
QGIS, a dictionary in tests and on the command line), so this file needs neither QGIS nor Qt.
"""

from __future__ import annotations

from dataclasses import Field, dataclass, fields
from typing import Any, Dict, Mapping, Optional, Protocol, Tuple

from . import paths
from .values import PUBLIC_ARCHIVE, Access, NetworkSettings

PREFIX = "tessera"

LIMITS: Mapping[str, Tuple[float, float]] = {
    "limit_px": (10_000, 2_000_000_000),
    "connections": (1, 16),
    "test_share": (0.1, 0.9),
    "max_px_per_polygon": (1, 100_000),
}
"""Smallest and largest value of the numbers that have them."""


@dataclass(frozen=True)
class Settings:
    """What is remembered from one day to the next."""

    cache_dir: str = ""
    """Folder that fetched embeddings are kept in; empty for the default one."""
    archive: str = PUBLIC_ARCHIVE
    """Root address of the archive that embeddings come from."""
    limit_px: int = 50_000_000
    """Extents of more pixels are refused."""
    connections: int = 6
    """How many requests run at once."""
    worker_python: str = ""
    """Python of the private environment; empty for the one the plugin installs."""
    labels_path: str = ""
    """The label file in use; empty for the default one."""
    dataset: str = "1.1-cambridge"
    """Dataset chosen last."""
    year: int = 2024
    """Year chosen last."""
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

    @property
    def cache_folder(self) -> str:
        """The cache folder in use."""
        return self.cache_dir or str(paths.cache_dir())

    def access(self, network: Optional[NetworkSettings] = None) -> Access:
        """Return where embeddings come from and where they are kept."""
        return Access(
            cache_dir=self.cache_folder,
            archive=self.archive.rstrip("/"),
            network=network or NetworkSettings(connections=self.connections),
        )


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
