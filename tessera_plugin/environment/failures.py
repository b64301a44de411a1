# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""From what an installer said to one of about a dozen named failures."""

from __future__ import annotations

import re
from typing import Tuple

from . import logs
from .process import Outcome

NO_SPACE = "no_space"
NOT_WRITABLE = "not_writable"
PATH_UNUSABLE = "path_unusable"
NO_NETWORK = "no_network"
TIMED_OUT = "timed_out"
PROXY_LOGIN = "proxy_login"
PROXY_REFUSED = "proxy_refused"
TLS = "tls"
WRONG_HASH = "wrong_hash"
NO_PACKAGE = "no_package"
NO_PYTHON = "no_python"
NO_PIP = "no_pip"
LOCKED = "locked"
BLOCKED = "blocked"
VERIFY_FAILED = "verify_failed"
INTERRUPTED = "interrupted"
OTHER = "other"

KINDS = (
    NO_SPACE,
    NOT_WRITABLE,
    PATH_UNUSABLE,
    NO_NETWORK,
    TIMED_OUT,
    PROXY_LOGIN,
    PROXY_REFUSED,
    TLS,
    WRONG_HASH,
    NO_PACKAGE,
    NO_PYTHON,
    NO_PIP,
    LOCKED,
    BLOCKED,
    VERIFY_FAILED,
    INTERRUPTED,
    OTHER,
)

PASSING = (NO_NETWORK, TIMED_OUT)
"""What may be gone when it is tried again."""

_SIGNS: Tuple[Tuple[str, Tuple[str, ...]], ...] = (
    (NO_SPACE, (r"no space left", r"os error (28|112)\b", r"errno 28\b", "disk full", "quota exceeded")),
    (PROXY_LOGIN, ("proxy auth", r"status\D{0,20}\b407\b")),
    (WRONG_HASH, ("hash mismatch", "do not match the hashes", "expected sha256")),
    (TLS, ("invalid peer certificate", "unknownissuer", "certificate.verify", "ssl.?error",
           "self.signed certificate", "notvalidforname")),
    (PROXY_REFUSED, ("proxy ?error", "connect to proxy", "tunnel", "proxy.{0,80}refused")),
    (BLOCKED, (r"(os|win) ?error (225|4551|32)\b", "virus", "blocked by (group policy|your admin)")),
    (NOT_WRITABLE, ("permission denied", "read-only file system", "access is denied",
                    r"os error (13|30|5)\b", r"errno (13|30)\b", r"winerror 5\b")),
    (TIMED_OUT, ("timed out", "timeout")),
    (NO_NETWORK, ("dns error", "failed to lookup", "name or service not known", "name resolution",
                  "connection (refused|reset|broken|closed|aborted)", "network is unreachable",
                  "no route to host", "newconnectionerror", "error sending request",
                  "failed to fetch", "incompleteread", "error decoding response",
                  "unexpected eof", "request failed after", "could not connect",
                  "remote end closed", "failed to download", "error reading a body")),
    (NO_PIP, (r"no module named '?(pip|venv|ensurepip)\b", "ensurepip is not available")),
    (NO_PACKAGE, ("no solution found", "no matching distribution", "could not find a version",
                  "no wheels? with", "not found in the package registry")),
)  # fmt: skip
"""What each failure is known by in the output, in lower case; the first that fits counts."""


_KILLED = (-9, -15)
"""How a program ends that somebody else ends, the system among them when memory runs out."""

_DECORATION = " \t\u00d7\u2570\u2500\u25b6\u2502\u251c\u2192"
"""What uv draws around its lines."""


def kind_of(outcome: Outcome) -> str:
    """Return which failure it was that ended a program."""
    if outcome.is_idle:
        return TIMED_OUT
    told = outcome.output.lower()
    for kind, signs in _SIGNS:
        if any(re.search(sign, told) for sign in signs):
            return kind
    return INTERRUPTED if outcome.status in _KILLED else OTHER


def detail_of(outcome: Outcome) -> str:
    """Return the line that says most, at most 200 characters, without credentials."""
    lines = [line.strip(_DECORATION) for line in outcome.output.splitlines()]
    lines = [line for line in lines if line and not line.startswith(("---", "hint:", "WARNING"))]
    telling = [line for line in lines if re.match(r"(error|caused by|failed|fatal)", line.lower())]
    deepest = telling[-1:] or lines[-1:] or [f"exit status {outcome.status}"]
    plain = re.sub(r"^(error|caused by|fatal)(:| -) *", "", deepest[0], flags=re.IGNORECASE)
    return logs.without_credentials(plain.replace("`", ""))[:200]
