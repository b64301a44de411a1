# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The next thing is made on another thread while this one is worked on."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from typing import Callable, Iterable, Iterator, Optional, Tuple, TypeVar

Asked = TypeVar("Asked")
Made = TypeVar("Made")


def one_ahead(
    pool: Executor, make: Callable[[Asked], Made], wanted: Iterable[Asked]
) -> Iterator[Tuple[Asked, Made]]:
    """Yield what was asked for with what was made of it, in order; never more than one waits.

    What `make` raises is raised where its result would have been yielded.
    """
    waiting: Optional[Tuple[Asked, Future[Made]]] = None
    for asked in wanted:
        later = asked, pool.submit(make, asked)
        if waiting is not None:
            yield waiting[0], waiting[1].result()
        waiting = later
    if waiting is not None:
        yield waiting[0], waiting[1].result()
