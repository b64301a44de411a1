# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What it costs to fetch 10 x 10 km, over both forms and three lines: bytes, requests, seconds, memory.

`x chunks`: bytes against the stored bytes of the chunks (of tiles: the rows) that the window touches.
`x copy`: seconds against a plain download of the same ranges by as many connections, in the same run.
Where there is one, geotessera's read_region does the same job on the same server. Every fetch is a
process of its own, and so is the server.
"""

import tempfile
from pathlib import Path

import numpy as np

from bench._archive import BenchArchive, stored_bytes
from bench._places import STORE, YEAR, as_list, bounds, place
from bench._run import ours, plain_copy, theirs
from bench._server import LINES, Server

PX_BYTES = 132
SOME = 20
"""Every so-many-th row and column of both results is compared."""

WINDOW = place(1037, 1203, 1000)
CORNER = place(3589, 3601, 1000)
"""On four shards."""


def measure(server, archive, form, window):
    """Return what a fetch was like, with the plain copy's seconds."""
    there = {"form": form, "window": as_list(window)}
    with tempfile.TemporaryDirectory() as folder:
        told = ours("area", server.url, folder=folder, **there)
        made = server.taken()
        told.update(ours("look", server.url, folder=folder, some=SOME, **there))
        told["some"] = np.load(Path(folder) / "some.npy")
    assert not server.taken(), "a look asks nobody"
    told.update(served(made), stored=stored_bytes(archive, form, [window]))
    told["copy_s"] = plain_copy(server.url, made, told["connections"])
    server.taken()
    return told


def official(server, window):
    """Return what it was like for the official client, or None."""
    with tempfile.TemporaryDirectory() as folder:
        told = theirs("area", f"{server.url}/zarr/{STORE}", year=YEAR, zone=window.zone,
                      bounds=bounds(window), folder=folder, some=SOME)  # fmt: skip
        return told and {**told, **served(server.taken()), "some": np.load(f"{folder}/some.npy")}


def served(made):
    return {"bytes": sum(one.bytes for one in made), "requests": len(made)}


def show(title, told):
    print(f"{title:<34}{told['bytes'] / 1e6:>8.1f}{told['bytes'] / told['stored']:>9.3f}"
          f"{told['requests']:>9}{told['seconds']:>8.2f}{told['copy_s']:>8.2f}"
          f"{told['seconds'] / told['copy_s']:>8.2f}{told['cpu_s']:>8.2f}{told['mb']:>9.0f}")  # fmt: skip


def against(form, told, other):
    same = np.array_equal(told["some"], other["some"])
    ratios = (
        f"{name} {told[name] / other[name]:.2f}"
        for name in ("bytes", "requests", "seconds", "cpu_s")
    )
    print(f"  {form} / geotessera: {', '.join(ratios)}, memory {told['mb'] / other['mb']:.2f}; "
          f"the same numbers: {'yes' if same else 'NO'}")  # fmt: skip


def by_line(server, archive, line):
    """Print what all of them need over a line; return what our forms told."""
    server.be(line)
    found = {form: measure(server, archive, form, WINDOW) for form in ("zarr", "npy")}
    for form, told in found.items():
        show(f"{form}, {line.title}", told)
    other = official(server, WINDOW)
    if other:
        other.update({name: found["zarr"][name] for name in ("stored", "copy_s")})
        show(f"geotessera, {line.title}", other)
        against("zarr", found["zarr"], other)
    return found


def main():
    archive = BenchArchive()
    print(f"{'10 x 10 km':<34}{'MB':>8}{'x chunks':>9}{'requests':>9}{'s':>8}{'copy s':>8}"
          f"{'x copy':>8}{'cpu s':>8}{'more MB':>9}")  # fmt: skip
    with Server() as server:
        first, *_ = [by_line(server, archive, line) for line in LINES]
        server.be(LINES[0])
        show("zarr on four shards, no limit", measure(server, archive, "zarr", CORNER))
    size = WINDOW.pixels * PX_BYTES
    for form, told in first.items():
        rate, per_cpu = (size / told[name] / 1e6 for name in ("seconds", "cpu_s"))
        second = size / (told["again_s"] + told["read_s"]) / 1e9
        print(f"{form}: {rate:.0f} MB/s of pixels into the cache with no latency, {per_cpu:.0f} MB per "
              f"second of a core; a second look: {told['again_s']:.3f} s to see that all is there, "
              f"{told['read_s']:.3f} s to read: {second:.2f} GB/s (the files alone: "
              f"{told['files_gb_s']:.2f} GB/s)")  # fmt: skip


if __name__ == "__main__":
    main()
