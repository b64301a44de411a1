# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What numbers in images can mean, as people say it: units, masks, orbits."""

from __future__ import annotations

import datetime as dt
from typing import Dict, Mapping

from qgis.PyQt.QtCore import QCoreApplication

BY_DATE = "dn, from 2022-01-26 dn+1000"
"""The answer that depends on an image's date; no unit of a single image."""

translate = QCoreApplication.translate


def s2_units() -> Dict[str, str]:
    """Return what values of Sentinel-2 can be, by unit."""
    return {
        "dn": translate("Encode", "reflectance \u00d7 10 000, without offset"),
        "dn+1000": translate(
            "Encode", "reflectance \u00d7 10 000 + 1000 (delivered so since 2022)"
        ),
        "reflectance": translate("Encode", "reflectance, 0 to 1"),
        BY_DATE: translate("Encode", "the second from 26 January 2022 on, before it the first"),
    }


def s2_units_of_one() -> Dict[str, str]:
    """Return what values of a single image can be, in a word each."""
    return {key: s2_short(key, "") for key in s2_units() if key != BY_DATE}


def s1_units() -> Dict[str, str]:
    """Return what values of Sentinel-1 can be, by unit."""
    return {
        "power": translate("Encode", "linear power (gamma nought)"),
        "amplitude": translate("Encode", "amplitude"),
        "db": translate("Encode", "decibels"),
        "code": translate("Encode", "TESSERA's integers (400 dB + 10 000)"),
    }


def masks() -> Dict[str, str]:
    """Return what masks can be, by kind."""
    return {
        "scl": translate("Encode", "scene classes of Sen2Cor (SCL)"),
        "clear": translate("Encode", "not 0 where it can be used"),
        "cloudy": translate("Encode", "0 where it can be used"),
        "none": translate("Encode", "none: clouds stay in"),
    }


def orbits() -> Dict[str, str]:
    """Return the directions of orbits."""
    return {
        "ascending": translate("Encode", "ascending"),
        "descending": translate("Encode", "descending"),
    }


def date(found: dt.date) -> str:
    """Return a date; a question mark where no file tells it."""
    return "?" if found == dt.date.min else found.isoformat()


def orbit(key: str) -> str:
    """Return a direction; a question mark where no file tells it."""
    return orbits().get(key, "?")


def mask_short(kind: str) -> str:
    """Return the kind of a mask in a word."""
    names: Mapping[str, str] = {
        "scl": "SCL",
        "clear": translate("Encode", "own mask"),
        "cloudy": translate("Encode", "own mask"),
        "none": translate("Encode", "none"),
    }
    return names.get(kind, "?")


def s2_short(unit: str, baseline: str) -> str:
    """Return the unit of an image, and the processing that it comes from."""
    names: Mapping[str, str] = {
        "dn": "\u00d7 10 000",
        "dn+1000": "\u00d7 10 000 + 1000",
        "reflectance": "0\u20131",
    }
    told = names.get(unit, "?")
    return f"{told} ({baseline})" if baseline else told


def s1_short(unit: str) -> str:
    """Return the unit of a radar image in a word."""
    names: Mapping[str, str] = {
        "power": translate("Encode", "power"),
        "amplitude": translate("Encode", "amplitude"),
        "db": "dB",
        "code": translate("Encode", "TESSERA"),
    }
    return names.get(unit, "?")
