# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of the forms that a dataset is published in is read: its store where that can be, else tiles.

What was chosen is remembered for a while, so that a job that only reads the cache opens the form
that the fetch before it has filled.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

from ...errors import (
    AccessRefused,
    DecoderMissing,
    FormNotOffered,
    NetworkFailed,
    StoreUnusable,
    TesseraError,
)
from ...progress import Report, silent
from ...values import LOCAL, Access, Dataset
from ..cache import archive_identity
from ..zarr.decode import Unpacker, check_decoder
from ..zarr.store import parts_of
from .crew import Crew
from .zarr_store import ZarrStore

SET_ASIDE_S = 3600.0
"""How long a store that turned out to be unusable is not tried again."""

UNREACHABLE_S = 60.0
"""How long one that could not be reached is not."""

_Key = Tuple[str, str, str, int, int]


@dataclass(frozen=True)
class Choice:
    """A form, and why it is not a better one."""

    form: str
    reason: str = ""
    """Why the store is not read, as a clause; empty where it is, or where there is no other form."""


@dataclass(frozen=True)
class _Remembered:
    choice: Choice
    until: float
    """When it is looked at anew, on the monotonic clock."""


_remembered: Dict[_Key, _Remembered] = {}


def choose(
    access: Access,
    dataset: Dataset,
    year: int,
    depth: int,
    *,
    report: Report = silent,
    unpack: Optional[Unpacker] = None,
) -> Choice:
    """Return the form to read a dataset in; only where there are two the archive is asked.

    Offline it follows from what is kept. A local dataset has one form, whichever of the published
    ones is wanted. Raises: FormNotOffered, Cancelled, DiskFull, NotWritable.
    """
    offered = dataset.forms(depth)
    if offered == (LOCAL,):
        return Choice(LOCAL)
    wanted = access.form or (offered[0] if offered else "zarr")
    if wanted not in offered:
        raise FormNotOffered(dataset.key, wanted, depth, offered)
    if access.form or len(offered) == 1:
        return Choice(wanted)
    key = _key(access, dataset, year, depth)
    known = _remembered.get(key)
    if known is not None and (access.offline or known.until > time.monotonic()):
        return known.choice
    store = ZarrStore(access, dataset, year, depth, unpack)
    problems: List[Tuple[str, float]] = []
    Crew(1, store.close).run(
        [lambda: problems.append(_problem(store))], lambda: report(0.0, "Looking up the store")
    )
    reason, for_s = problems[0]
    choice = Choice(offered[1], reason) if reason else Choice(offered[0])
    if not access.offline:
        _remembered[key] = _Remembered(choice, time.monotonic() + for_s)
    return choice


def other_form(
    access: Access, dataset: Dataset, year: int, depth: int, error: TesseraError
) -> Optional[Choice]:
    """Return the form to turn to when a store can't be used after all; None where there is none.

    It is remembered: the next `choose` gives it too.
    """
    offered = dataset.forms(depth)
    if access.form or len(offered) < 2:
        return None
    choice = Choice(offered[1], _clause(error))
    key = _key(access, dataset, year, depth)
    _remembered[key] = _Remembered(choice, time.monotonic() + SET_ASIDE_S)
    return choice


def forget() -> None:
    """Forget what was chosen: everything is looked at anew."""
    _remembered.clear()


def _problem(store: ZarrStore) -> Tuple[str, float]:
    """Return why a store can't be read, empty where it can, and for how long that is believed."""
    try:
        return _lack(store), 0.0
    except NetworkFailed as error:
        return f"its Zarr store can't be reached ({error.reason})", UNREACHABLE_S
    except AccessRefused as error:
        return f"its Zarr store is refused (status {error.status})", UNREACHABLE_S
    except (StoreUnusable, DecoderMissing) as error:
        return _clause(error), 0.0


def _lack(store: ZarrStore) -> str:
    """Return what a store lacks. Raises where it can't be read."""
    if not store.is_published():
        return "its Zarr store is not in the cache" if store.access.offline else (
            "the archive has no Zarr store of it")  # fmt: skip
    years = store.years()
    if years and store.year not in years:
        return f"its Zarr store has no year {store.year}"
    check_some_group(store)
    return ""


def check_some_group(store: ZarrStore) -> None:
    """Check a group of a store whose `years` were asked for before; asks nobody.

    Raises: StoreUnusable, DepthNotOffered, DecoderMissing.
    """
    view = store.files.view(store.depth, store.year)
    for zone in range(1, 61):
        groups = view.groups(zone) if view else None
        if groups:
            for _, array in parts_of(groups[0]):
                check_decoder(array.codec, store.unpack)
            return


def _clause(error: TesseraError) -> str:
    text = str(error).rstrip(".")
    return text[:1].lower() + text[1:] if text.startswith("The ") else text


def _key(access: Access, dataset: Dataset, year: int, depth: int) -> _Key:
    return access.cache_dir, archive_identity(access.archive), dataset.key, year, depth
