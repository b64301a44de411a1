# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What GDAL complains of, in either of its two ways: the choice between them belongs to QGIS."""

from __future__ import annotations

import contextlib
from typing import Iterator, List

from osgeo import gdal


@contextlib.contextmanager
def collected(problems: List[str]) -> Iterator[None]:
    """Collect what GDAL complains of in this thread, in either of its modes."""

    def note(kind: int, _number: int, message: str) -> None:
        if kind >= gdal.CE_Failure:
            problems.append(message)

    gdal.PushErrorHandler(note)
    try:
        yield
    except RuntimeError as error:  # how GDAL fails where another plugin switched exceptions on
        problems.append(str(error))
    finally:
        gdal.PopErrorHandler()
