#!/bin/sh
# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Let the official client read tiles from the sample archive and compare them bit for bit.
# It needs Python 3.12 or later: GEOTESSERA_PYTHON, or the first one found on PATH.
# Its own environment is build/geotessera; the archive is served by build/venv (or PYTHON).
set -eu
cd "$(dirname "$0")/.."
client=build/geotessera
version=0.11.0

is_new_enough() {
    command -v "$1" >/dev/null 2>&1 &&
        "$1" -c 'import sys; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1
}

has_client() {
    [ -x "$client/bin/python" ] && "$client/bin/python" -c "
import importlib.metadata as m, sys
sys.exit(m.version('geotessera') != '$version')" >/dev/null 2>&1
}

if ! has_client; then
    python=
    for candidate in ${GEOTESSERA_PYTHON:-python3.14 python3.13 python3.12 python3}; do
        if is_new_enough "$candidate"; then
            python=$candidate
            break
        fi
    done
    if [ -z "$python" ]; then
        echo "SKIPPED: no Python 3.12 or later on PATH (or in GEOTESSERA_PYTHON)," \
            "which geotessera $version needs; the archive was not checked with it." >&2
        exit 0
    fi
    "$python" -m venv --clear "$client"
    "$client/bin/python" -m pip install --quiet "geotessera==$version"
fi

PYTHONPATH=. "${PYTHON:-build/venv/bin/python}" -m tests.archive.check_geotessera \
    --client-python "$PWD/$client/bin/python"
