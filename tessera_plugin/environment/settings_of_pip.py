# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The person's own pip settings, told to uv, which does not read them: company indexes, certificates."""

from __future__ import annotations

import ast
from typing import Dict, List, Mapping

_FIRST = "index-url"
_MORE = "extra-index-url"
_FOLDERS = "find-links"
_CERT = "cert"
_TRUSTED = "trusted-host"


def parse(listed: str) -> Dict[str, List[str]]:
    """Return settings by name from what `pip config list` prints; later lines win.

    A line is `global.index-url='…'`; the sections that count here are global, install and those
    of environment variables (`:env:`).
    """
    found: Dict[str, List[str]] = {}
    for line in listed.splitlines():
        name, separator, value = line.partition("=")
        section, _, key = name.strip().rpartition(".")
        if not separator or section not in {"global", "install", ":env:"}:
            continue
        try:
            text = ast.literal_eval(value)
        except (SyntaxError, ValueError):
            continue
        found[key] = str(text).split()
    return found


def for_uv(settings: Mapping[str, List[str]], environ: Mapping[str, str]) -> Dict[str, str]:
    """Return variables that tell uv the same; what the person told uv itself is left alone."""
    told: Dict[str, str] = {}
    if settings.get(_FIRST) and not _has(environ, "UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        told["UV_DEFAULT_INDEX"] = settings[_FIRST][0]
    more = [each for each in settings.get(_MORE, []) if not each.startswith("file:")]
    folders = [*settings.get(_FOLDERS, [])]
    if more and not _has(environ, "UV_INDEX", "UV_EXTRA_INDEX_URL"):
        told["UV_INDEX"] = " ".join(more)
    if folders and not _has(environ, "UV_FIND_LINKS"):
        told["UV_FIND_LINKS"] = ",".join(folders)
    if settings.get(_CERT) and not _has(environ, "SSL_CERT_FILE"):
        told["SSL_CERT_FILE"] = settings[_CERT][0]
    if settings.get(_TRUSTED) and not _has(environ, "UV_INSECURE_HOST"):
        told["UV_INSECURE_HOST"] = " ".join(settings[_TRUSTED])
    return told


def has_own_source(settings: Mapping[str, List[str]], environ: Mapping[str, str]) -> bool:
    """Whether the person has a source of packages of their own, which may hold a vendor's builds."""
    own = any(settings.get(name) for name in (_FIRST, _MORE, _FOLDERS))
    return own or _has(
        environ,
        "UV_DEFAULT_INDEX",
        "UV_INDEX",
        "UV_INDEX_URL",
        "UV_EXTRA_INDEX_URL",
        "UV_FIND_LINKS",
    )


def _has(environ: Mapping[str, str], *names: str) -> bool:
    return any(environ.get(name) for name in names)
