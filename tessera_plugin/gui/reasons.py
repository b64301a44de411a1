# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the engine says in a few English words of why something is missing, in the person's words."""

from __future__ import annotations

import re
from typing import Dict

from qgis.PyQt.QtCore import QCoreApplication

translate = QCoreApplication.translate


def reason(words: str) -> str:
    """Return why something is missing, translated where it is known; a clause, no sentence."""
    for pattern, translated in _reasons().items():
        found = re.fullmatch(pattern, words.strip(), re.IGNORECASE)
        if found:
            return translated.format(*found.groups())
    return words


def _reasons() -> Dict[str, str]:
    """Return what the engine may say, as patterns, and how it is said here."""
    return {
        "no connection": translate("Reasons", "no connection"),
        r"no connection within ([\d.]+) s": translate("Reasons", "no connection within {} s"),
        r"nothing came for ([\d.]+) s": translate("Reasons", "the server fell silent for {} s"),
        "the connection broke": translate("Reasons", "the connection broke again and again"),
        "no connection: its name is not known": translate(
            "Reasons", "no connection: the server's name is not known"
        ),
        "the connection broke, only a part came": translate(
            "Reasons", "the connection broke, only a part came"
        ),
        "it comes too slowly": translate("Reasons", "it comes too slowly"),
        r"the proxy (.+) can't be reached": translate("Reasons", "the proxy {} can't be reached"),
        r"the proxy (.+) answers with status (\d+)": translate(
            "Reasons", "the proxy {} answers with status {}"
        ),
        "its certificate is not trusted: nobody whom QGIS trusts has signed it": translate(
            "Reasons", "the server's certificate is not trusted: QGIS trusts nobody who signed it"
        ),
        "its certificate has expired, or this computer's clock is wrong": translate(
            "Reasons", "the server's certificate has expired, or this computer's clock is wrong"
        ),
        "its certificate is not valid yet, or this computer's clock is wrong": translate(
            "Reasons", "the server's certificate is not valid yet, or the clock here is wrong"
        ),
        "its certificate is for another name": translate(
            "Reasons", "the server's certificate is for another name"
        ),
        "no secure connection could be made": translate(
            "Reasons", "no secure connection could be made"
        ),
        "its codes are not published": translate("Reasons", "only half of it is published"),
        "its scales are not published": translate("Reasons", "only half of it is published"),
        "the cache can't be written": translate("Reasons", "the cache can't be written"),
        "the folder is not there": translate("Reasons", "the folder is not there"),
        "reading it is not allowed": translate("Reasons", "reading it is not allowed"),
        r"the server answers with status (429).*": translate(
            "Reasons", "the server was asked too often (status {})"
        ),
        r"the server answers with status (\d+)": translate(
            "Reasons", "the server is out of order or overloaded (status {})"
        ),
        r"the server answers with status (\d+) and asks for ([\d,.]+) s": translate(
            "Reasons", "the server asks to come back in {1} s (status {0})"
        ),
        r"access refused \(status (\d+)\)": translate(
            "Reasons", "the server refuses it (status {})"
        ),
        r"unexpected status (\d+)": translate("Reasons", "the server answers with status {}"),
        r"only ([\d,]+) of ([\d,]+) bytes came": translate(
            "Reasons", "the answer was cut off ({} of {} bytes came)"
        ),
        "it changes while it is read": translate(
            "Reasons", "it was replaced on the server while it was read"
        ),
        "it has changed": translate("Reasons", "it was replaced on the server while it was read"),
        "it comes different each time": translate("Reasons", "it comes different each time"),
        "damaged": translate("Reasons", "it arrived damaged"),
        "its checksum is not the published one": translate("Reasons", "it arrived damaged"),
        "it is not published": translate("Reasons", "it is not published"),
        "not in the cache": translate("Reasons", "it is not in the cache"),
        "not encoded yet": translate("Reasons", "it is not encoded yet: start encoding it again"),
        "its file is missing": translate("Reasons", "its file is gone: encode the scene again"),
        "the folder is not there any more": translate("Reasons", "its folder is gone"),
        "damaged: .*": translate("Reasons", "its file is damaged: encode the scene again"),
        "it did not stay in the cache": translate("Reasons", "it did not stay in the cache"),
    }
