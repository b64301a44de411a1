# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Certificates for tests, made by the `openssl` command: an authority, and what it signs."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence


@dataclass(frozen=True)
class Certificate:
    """A certificate and its private key, as PEM files."""

    pem: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        """Return a context for a server that shows it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pem, self.key)
        return context


def self_signed(folder: Path, name: str = "IP:127.0.0.1") -> Certificate:
    """Return a certificate for one name (`DNS:…`, `IP:…`) that nobody else has signed."""
    return _requested(folder, "self", ["-x509", "-days", "2", "-addext", f"subjectAltName={name}"])


def authority(folder: Path) -> Certificate:
    """Return a certificate authority, such as a company has that looks into traffic."""
    extra = ["-x509", "-days", "2", "-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    return _requested(folder, "authority", extra)


def signed(folder: Path, by: Certificate, name: str, *, days: int = 2) -> Certificate:
    """Return a certificate for one name, signed by an authority; expired with negative days."""
    label = f"signed-{name.replace(':', '-')}-{days}"
    request = _requested(folder, label, [])
    extensions = folder / f"{label}.ext"
    extensions.write_text(f"subjectAltName={name}\n")
    _openssl(
        "x509", "-req", "-in", request.pem, "-CA", by.pem, "-CAkey", by.key, "-CAcreateserial",
        "-days", days, "-extfile", extensions, "-out", folder / f"{label}.crt",
    )  # fmt: skip
    return Certificate(folder / f"{label}.crt", request.key)


def _requested(folder: Path, label: str, extra: Sequence[str]) -> Certificate:
    made = Certificate(folder / f"{label}.pem", folder / f"{label}.key")
    _openssl(
        "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN=tessera test {label}", *extra,
        "-keyout", made.key, "-out", made.pem,
    )  # fmt: skip
    return made


def _openssl(*arguments: object) -> None:
    command = shutil.which("openssl")
    if command is None:
        raise RuntimeError("these tests need the openssl command on the PATH")
    told = subprocess.run([command, *map(str, arguments)], capture_output=True, text=True)
    if told.returncode:
        raise RuntimeError(f"openssl {arguments[0]} failed: {told.stderr}")
