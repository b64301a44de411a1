# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What memory a fetch takes, and that it does not grow with the extent: 10 x 10 and 40 x 40 km.

`more MB` is the peak of a process over what it held before the fetch; pages of the cache's files that
it has mapped count too. The blocks (2.1 GB for 40 x 40 km) are removed afterwards.
"""

import shutil
import sys
import tempfile

from bench._places import as_list, place
from bench._run import ours
from bench._server import LINES, Server

EDGES = (1000, 4000)
SPARE_BYTES = 4_000_000_000


def main():
    folder_of_all = tempfile.gettempdir()
    print(f"{'':<24}{'Mpx':>6}{'s':>8}{'Mpx/s':>8}{'cpu s':>8}{'more MB':>9}")
    with Server() as server:
        server.be(LINES[0])
        for form in ("zarr", "npy"):
            for edge in EDGES:
                needed = edge * edge * 132 + SPARE_BYTES
                if shutil.disk_usage(folder_of_all).free < needed:
                    sys.exit(f"{folder_of_all} has less than {needed / 1e9:.1f} GB free.")
                with tempfile.TemporaryDirectory() as folder:
                    window = as_list(place(37, 1501, edge))
                    told = ours("area", server.url, form=form, window=window, folder=folder)
                title, pixels = f"{form}, {edge // 100} x {edge // 100} km", edge * edge / 1e6
                print(f"{title:<24}{pixels:>6.0f}{told['seconds']:>8.1f}"
                      f"{pixels / told['seconds']:>8.2f}{told['cpu_s']:>8.1f}{told['mb']:>9.0f}")  # fmt: skip


if __name__ == "__main__":
    main()
