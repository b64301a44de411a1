#!/bin/sh
# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Let the real zarr library read the Zarr stores of the sample archive and compare them bit for bit.
# One environment is build/zarr (zarr 3.1.5, for any Python from 3.11: ZARR_PYTHON or python3). Where
# build/geotessera is there (tools/check_with_geotessera.sh makes it), the newer zarr and the official
# client in it are asked as well. The archive is served by build/venv (or PYTHON).
set -eu
cd "$(dirname "$0")/.."
client=build/zarr
version=3.1.5

has_zarr() {
    [ -x "$client/bin/python" ] && "$client/bin/python" -c "
import importlib.metadata as m, sys
sys.exit(m.version('zarr') != '$version')" >/dev/null 2>&1
}

set --
if ! has_zarr; then
    python=
    for candidate in ${ZARR_PYTHON:-/usr/bin/python3 python3}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            python=$candidate
            break
        fi
    done
    if [ -n "$python" ]; then
        "$python" -m venv --clear "$client"
        "$client/bin/python" -m pip install --quiet \
            "zarr==$version" numpy==1.26.4 numcodecs==0.16.6 fsspec aiohttp
    fi
fi
if has_zarr; then
    set -- "$@" --client-python "$PWD/$client/bin/python"
fi
if [ -x build/geotessera/bin/python ]; then
    set -- "$@" --client-python "$PWD/build/geotessera/bin/python"
fi
if [ $# -eq 0 ]; then
    echo "SKIPPED: no Python 3.11 or later (or in ZARR_PYTHON), which zarr $version needs;" \
        "the stores were not checked with it." >&2
    exit 0
fi

PYTHONPATH=. "${PYTHON:-build/venv/bin/python}" -m tests.archive.check_zarr "$@"

# The engine itself against the official client, and both over a store that the client writes.
if [ -x build/geotessera/bin/python ]; then
    PYTHONPATH=. "${PYTHON:-build/venv/bin/python}" -m tests.archive.check_windows \
        --client-python "$PWD/build/geotessera/bin/python"
fi
