# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Open QGIS with the plugin in a private profile; with --sample, on the sample archive."""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.archive.sample import SampleArchive
from tests.servers import RangeServer
from tools.qgis_profile import ROOT, make_profile, qgis_command, qgis_environment


def main() -> int:
    """Run QGIS until it is closed; return its exit status."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sample", action="store_true", help="serve the sample archive for it")
    sample = options.parse_args().sample
    with contextlib.ExitStack() as stack:
        settings = {}
        if sample:
            settings["archive"] = stack.enter_context(RangeServer(SampleArchive())).url
        name = "profile-sample" if sample else "profile"
        profile = make_profile(ROOT / "build" / name, settings)
        return subprocess.run(qgis_command(profile), env=qgis_environment(), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
