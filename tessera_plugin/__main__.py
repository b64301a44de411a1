# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: the engine without QGIS.

Exit status: 0 when all that is published for the extent is there, 3 when parts failed, 2 for bad
arguments, 1 otherwise.
"""

from __future__ import annotations

import argparse
import signal
import sys
from typing import Callable, Optional, Sequence

from . import errors
from .cli.options import parser, with_joined_bbox
from .cli.teller import BAD_ARGUMENTS, FAILED, BadArguments, Teller
from .progress import Cancelled

_BAD_ARGUMENTS = (
    BadArguments,
    errors.UnknownDataset,
    errors.UnknownYear,
    errors.DepthNotOffered,
    errors.FormNotOffered,
    errors.LocationUnusable,
    errors.ExtentInvalid,
    errors.ExtentTooLarge,
    errors.FieldMissing,
)

_STOPS = (signal.SIGINT, signal.SIGTERM)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run a command and return its exit status."""
    for number in _STOPS:  # until somebody listens, it just ends
        signal.signal(number, signal.SIG_DFL)
    given = with_joined_bbox(sys.argv[1:] if arguments is None else arguments)
    options = parser(given).parse_args(given)
    teller = Teller(as_json=options.json, out=sys.stdout, err=sys.stderr)
    for number in _STOPS:
        signal.signal(number, teller.stop)
    run: Callable[[argparse.Namespace, Teller], int] = options.run
    try:
        return run(options, teller)
    except Cancelled:
        teller.error(RuntimeError("Stopped; what had arrived is kept in the cache."))
    except _BAD_ARGUMENTS as error:
        teller.error(error)
        return BAD_ARGUMENTS
    except errors.TesseraError as error:
        teller.error(error)
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
