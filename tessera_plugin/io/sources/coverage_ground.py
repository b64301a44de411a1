# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What coverage needs of a form: its shards or tiles over windows, and how they are asked."""

from __future__ import annotations

from typing import Callable, Dict, Iterator, List, Protocol, Sequence, Tuple, TypeVar

from ...values import Access, Dataset
from .coverage_map import Form, Lacking, Unit
from .mirrors import Front

Check = Callable[[], None]
"""Called now and then; raises to stop the work."""


class Looked(Unit, Protocol):
    """A shard or a tile that can be asked for."""

    title: str

    @property
    def is_seen(self) -> bool:
        """Whether it is known if there is anything."""

    @property
    def is_known(self) -> bool:
        """Whether all is known that needs no pixel."""

    def bytes_of(self, lacking: Sequence[Lacking]) -> Tuple[int, bool]:
        """Return what a fetch brings of it, and whether that is exact."""

    def put_away(self) -> None:
        """Keep the scales that have come."""

    def forget(self) -> None:
        """Forget what is no longer what it was."""


U = TypeVar("U", bound=Looked)


class Source(Protocol):
    """What coverage needs of a source."""

    access: Access
    dataset: Dataset
    depth: int


class Ground(Form, Protocol[U]):
    """A source over windows."""

    unit_px: int
    """Pixels of a shard or tile, or more."""
    name: str
    """What is named where nothing can be asked."""
    units: Tuple[U, ...]
    """In the order in which they win."""
    zones: Tuple[int, ...]

    @property
    def source(self) -> Source:
        """Whose ground it is."""

    def recall(self, check: Check, *, detail: bool) -> None:
        """Take what is kept; asks nobody."""

    def look_up(self, front: Front, check: Check) -> None:
        """Ask what is needed to know the units."""

    def renew(self) -> None:
        """Take what is known of units as it is now, for `layout`."""

    def near(self) -> List[U]:
        """Return the units, the nearest first."""

    def to_index(self, index_bytes: int) -> List[U]:
        """Return the nearest units that are to be asked for what needs no pixel."""

    def see(self, unit: U, front: Front) -> None:
        """Ask whether a unit is there."""

    def ask(self, unit: U, front: Front) -> None:
        """Ask for all that needs no pixel."""

    def scales(
        self, lacking: Dict[str, List[Lacking]]
    ) -> Iterator[Tuple[U, Callable[[Front], None]]]:
        """Yield what reads the scales that lack, range by range."""
