# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What names tell: the product names of Sentinel data as they are found in the wild, dates, bands."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Dict, List, Match, Optional, Tuple

from .recognise_values import ORBIT_WORDS
from .scenes import AMPLITUDE, DECIBEL, DN, DN_OFFSET, POWER

FIRST_YEAR = 2014  # that of Sentinel-1A's launch

_ALIASES: Dict[str, Tuple[str, ...]] = {
    "B02": ("b02", "b2", "blue"),
    "B03": ("b03", "b3", "green"),
    "B04": ("b04", "b4", "red"),
    "B05": ("b05", "b5", "rededge1", "re1"),
    "B06": ("b06", "b6", "rededge2", "re2"),
    "B07": ("b07", "b7", "rededge3", "re3"),
    "B08": ("b08", "b8", "nir", "broadnir", "nirbroad", "bnir"),
    "B8A": ("b8a", "nir08", "narrownir", "nirnarrow", "nira", "nnir"),
    "B11": ("b11", "swir16", "swir1", "sw1"),
    "B12": ("b12", "swir22", "swir2", "sw2"),
}
BANDS = {alias: band for band, aliases in _ALIASES.items() for alias in aliases}
"""Names of the bands that are needed, in lower case and without separators."""
_UNUSED = {
    "b01", "b1", "b09", "b9", "b10", "coastal", "nir09", "cirrus", "aot", "wvp", "tci", "pvi",
    "visual", "preview", "thumbnail", "overview", "browse", "quicklook", "ql", "cldprb", "snwprb",
    "snw", "angle", "dem", "layover", "shadow", "incidence", "ndvi", "rgb", "edg", "sre", "atb",
}  # fmt: skip
SCL_NAMES = {"scl", "sceneclassification"}
MASK_NAMES = {
    "mask", "masks", "cloudmask", "cloudmasks", "cloud", "clouds", "clm", "qa60", "fmask", "clear",
    "cloudfree", "valid", "usable", "s2cloudless", "omnicloudmask",
}  # fmt: skip
_JOINED = re.compile(
    r"(red|narrow|broad|nir)[ _-]?(edge|nir|narrow|broad)(?:[ _-]?([123])(?![0-9A-Za-z]))?"
    r"|(nir)[ _-](08)(?![0-9A-Za-z])|(swir)[ _-](1|2|16|22)(?![0-9A-Za-z])"
    r"|(cloud)[ _-]?(masks?|free)|(scene)[ _-]?(classification)",
    re.IGNORECASE,
)
"""Words of a name that are one."""
_TOKEN = re.compile(r"[A-Za-z0-9]+")

_DATE = re.compile(r"(?<!\d)((?:19|20)\d\d)([-_./]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])"
                   r"(?=\D|$|\d{6}(?!\d))")  # fmt: skip
_DATE_FOLDERS = re.compile(r"(?<!\d)(20\d\d)(/)(\d{1,2})/(\d{1,2})(?!\d)")
_FRACTION = re.compile(r"\.\d+")
_STAMP = r"(\d{8}T\d{6})"


@dataclass(frozen=True)
class Product:
    """What the name of a product says."""

    sensor: str
    """"s1" or "s2"."""
    level: str
    """"L2A", "L1C"; "grd", "slc", "rtc" of Sentinel-1."""
    date: dt.date
    """Of the acquisition, UTC."""
    sensed: Optional[dt.datetime] = None
    tile: str = ""
    datatake: str = ""
    baseline: str = ""
    processed: Optional[dt.datetime] = None
    unit: str = ""
    """Only where the producer's naming rule defines it."""
    hint: str = ""
    """The unit that is likely for data under such a name."""


# --- products


_S2_ESA = re.compile(r"S2[A-D]_MSI(L1C|L2A)_" + _STAMP + r"(?:_N(\d{4}))?_R\d{3}_T(\d\d[A-Z]{3})"
                     r"(?:_(\d{8}T\d{6}))?", re.IGNORECASE)  # fmt: skip
_S2_COGS = re.compile(r"S2[A-D]_(\d{1,2}[A-Z]{3})_(\d{8})_\d+_(L1C|L2A)", re.IGNORECASE)
_S2_C1 = re.compile(r"S2[A-D]_T(\d\d[A-Z]{3})_" + _STAMP + r"_(L1C|L2A)", re.IGNORECASE)
_S2_GEE = re.compile(_STAMP + r"_(\d{8}T\d{6})_T(\d\d[A-Z]{3})(?![A-Z0-9])", re.IGNORECASE)
_S2_GRANULE = re.compile(r"(?<![A-Z0-9])T(\d\d[A-Z]{3})_" + _STAMP, re.IGNORECASE)
_S2_THEIA = re.compile(r"SENTINEL2[A-D]_(\d{8})-(\d{6})(?:-\d+)?_L(1C|2A)_T(\d\d[A-Z]{3})",
                       re.IGNORECASE)  # fmt: skip
_S2_SEN2R = re.compile(r"S2[A-D](1C|2A)_(\d{8})_\d{3}_(\d\d[A-Z]{3})_", re.IGNORECASE)
_S1_ESA = re.compile(r"S1[A-D]_(?:IW|EW|SM|WV|S[1-6])_(SLC|GRD|RTC)[FHM_]?_+\d[SA][A-Z]{2}_"
                     + _STAMP, re.IGNORECASE)  # fmt: skip
_S1_MEASURED = re.compile(r"s1[a-d]-(?:iw|ew|sm|s[1-6])\d?-(slc|grd)-[vh]{2}-" + _STAMP,
                          re.IGNORECASE)  # fmt: skip
_S1_OPERA = re.compile(r"OPERA_L2_RTC-S1_T\d+-\d+-IW\d_" + _STAMP + "Z", re.IGNORECASE)
_S1_HYP3 = re.compile(r"S1[A-D]_(?:IW|EW)_" + _STAMP + r"_[SD][VH][PRO]_RTC\d\d_\w_([gs])([pad])",
                      re.IGNORECASE)  # fmt: skip
_RTC = re.compile(r"(?<![a-z])rtc(?![a-z])", re.IGNORECASE)


def product(text: str) -> Optional[Product]:
    """Return what a name says where it follows a naming rule that is known."""
    for reader in (_s2_esa, _s2_earth_search, _s2_gee, _s2_granule, _s2_tools, _s1_asf, _s1_esa):
        found = reader(text)
        if found is not None and is_sane(found.date):
            return found
    return None


def _s2_esa(text: str) -> Optional[Product]:
    match = _S2_ESA.search(text)
    sensed = moment(match.group(2)) if match else None
    if not match or not sensed:
        return None
    baseline = match.group(3)
    return Product(
        "s2", match.group(1).upper(), sensed.date(), sensed, match.group(4).upper(),
        match.group(2).upper(), f"{baseline[:2]}.{baseline[2:]}" if baseline else "",
        moment(match.group(5) or ""),
    )  # fmt: skip


def _s2_earth_search(text: str) -> Optional[Product]:
    match = _S2_COGS.search(text)
    if match:
        sensed = moment(match.group(2) + "T000000")
        tile, level = match.group(1).upper().zfill(5), match.group(3).upper()
        return Product("s2", level, sensed.date(), tile=tile, hint=DN) if sensed else None
    match = _S2_C1.search(text)
    sensed = moment(match.group(2)) if match else None
    if not match or not sensed:
        return None
    return Product("s2", match.group(3).upper(), sensed.date(), sensed, match.group(1).upper(),
                   match.group(2).upper(), hint=DN_OFFSET)  # fmt: skip


def _s2_gee(text: str) -> Optional[Product]:
    match = _S2_GEE.search(text)
    sensed = moment(match.group(1)) if match else None
    if not match or not sensed:
        return None
    return Product("s2", "", sensed.date(), sensed, match.group(3).upper(), match.group(1).upper())


def _s2_granule(text: str) -> Optional[Product]:
    match = _S2_GRANULE.search(text)
    sensed = moment(match.group(2)) if match else None
    if not match or not sensed:
        return None
    return Product("s2", "", sensed.date(), sensed, match.group(1).upper(), match.group(2).upper())


def _s2_tools(text: str) -> Optional[Product]:
    match = _S2_THEIA.search(text)
    if match:
        sensed = moment(f"{match.group(1)}T{match.group(2)}")
        level, tile = f"L{match.group(3).upper()}", match.group(4).upper()
        return Product("s2", level, sensed.date(), sensed, tile) if sensed else None
    match = _S2_SEN2R.search(text)
    sensed = moment(match.group(2) + "T000000") if match else None
    if not match or not sensed:
        return None
    return Product("s2", f"L{match.group(1).upper()}", sensed.date(), tile=match.group(3).upper())


def _s1_asf(text: str) -> Optional[Product]:
    match = _S1_OPERA.search(text)
    sensed = moment(match.group(1)) if match else None
    if match and sensed:
        return Product("s1", "rtc", sensed.date(), sensed, unit=POWER)
    match = _S1_HYP3.search(text)
    sensed = moment(match.group(1)) if match else None
    if not match or not sensed:
        return None
    unit = {"p": POWER, "a": AMPLITUDE, "d": DECIBEL}[match.group(3).lower()]
    level = "rtc" if match.group(2).lower() == "g" else "grd"
    return Product("s1", level, sensed.date(), sensed, unit=unit)


def _s1_esa(text: str) -> Optional[Product]:
    match = _S1_ESA.search(text) or _S1_MEASURED.search(text)
    sensed = moment(match.group(2)) if match else None
    if not match or not sensed:
        return None
    level = "rtc" if _RTC.search(text) else match.group(1).lower()
    return Product("s1", level, sensed.date(), sensed, hint=POWER if level == "rtc" else "")


_FOREIGN = (
    (re.compile(r"(?<![a-z0-9])L[COTEM]0?[45789]_?(L[12]|\d{6,})", re.IGNORECASE), "Landsat"),
    (re.compile(r"landsat", re.IGNORECASE), "Landsat"),
    (re.compile(r"HLS\.?[_.]?[SL]30", re.IGNORECASE), "HLS, harmonised to Landsat"),
    (re.compile(r"(?<![a-z0-9])(MOD|MYD|MCD)\d\d[A-Z]", re.IGNORECASE), "MODIS"),
    (re.compile(r"(?<![a-z0-9])S3[AB]_(OL|SL)_"), "Sentinel-3"),
    (re.compile(r"PSScene|_AnalyticMS|planetscope", re.IGNORECASE), "PlanetScope"),
)
NOT_L2A = "Sentinel-2 Level 1C, not corrected for the atmosphere; Level 2A is needed"
NOT_RTC = "Sentinel-1 SLC, complex radar data; terrain-corrected backscatter (RTC) is needed"
_L1C_FILE = re.compile(r"(?<![A-Z0-9])T\d\d[A-Z]{3}_\d{8}T\d{6}_(B\d\w|TCI)\.jp2$", re.IGNORECASE)


def refusal(text: str, found: Optional[Product]) -> str:
    """Return why something of this name can't be used; empty if nothing speaks against it."""
    for pattern, sensor in _FOREIGN:
        if pattern.search(text):
            return f"{sensor}; only Sentinel-1 and Sentinel-2 can be used"
    if (found and found.level == "L1C") or "MSIL1C" in text.upper() or _L1C_FILE.search(text):
        return NOT_L2A
    if found and found.level == "slc":
        return NOT_RTC
    return ""


def is_rtc(text: str) -> bool:
    """Whether a name calls a radar image terrain-corrected."""
    return bool(_RTC.search(text))


# --- dates


def moment(text: str) -> Optional[dt.datetime]:
    """Return the time that `text` says as UTC: 20240612T105621 or ISO 8601, else None."""
    text = text.strip().upper()
    try:
        if re.fullmatch(r"\d{8}T\d{6}Z?", text):
            return dt.datetime.strptime(text[:15] + "+0000", "%Y%m%dT%H%M%S%z")
        found = dt.datetime.fromisoformat(_FRACTION.sub("", text).replace("Z", "+00:00"))
    except ValueError:
        return None
    if found.tzinfo is None:
        return found.replace(tzinfo=dt.timezone.utc)
    try:
        return found.astimezone(dt.timezone.utc)
    except OverflowError:
        return None


def is_sane(date: dt.date) -> bool:
    """Whether a Sentinel can have acquired something on that day."""
    last = dt.datetime.now(dt.timezone.utc).date() + dt.timedelta(days=1)
    return date.year >= FIRST_YEAR and date <= last


def dates(text: str) -> Tuple[dt.date, ...]:
    """Return the different days that `text` names, ascending."""
    found = set()
    for match in (*_DATE.finditer(text), *_DATE_FOLDERS.finditer(text)):
        try:
            date = dt.date(int(match.group(1)), int(match.group(3)), int(match.group(4)))
        except ValueError:  # 30 February
            continue
        if is_sane(date):
            found.add(date)
    return tuple(sorted(found))


# --- bands, polarisations, orbits


def tokens(text: str) -> List[str]:
    """Return the words of a name in lower case; "red edge 1" and its like are one."""
    return [token.lower() for token in _TOKEN.findall(_JOINED.sub(_join, text))]


def _join(match: Match[str]) -> str:
    return "".join(group for group in match.groups() if group)


def band(text: str) -> str:
    """Return the one needed band that `text` names; empty if there is none, or several."""
    found = {BANDS[token] for token in tokens(text) if token in BANDS}
    return found.pop() if len(found) == 1 else ""


def polarisation(text: str) -> str:
    """Return "vv", "vh", "hh" or "hv" if `text` names exactly one; else empty."""
    found = {token for token in tokens(text) if token in ("vv", "vh", "hh", "hv")}
    return found.pop() if len(found) == 1 else ""


def orbit(text: str) -> str:
    """Return the orbit direction that `text` names; empty if there is none, or both."""
    found = {ORBIT_WORDS[token] for token in tokens(text) if token in ORBIT_WORDS}
    return found.pop() if len(found) == 1 else ""


def is_unused(token: str) -> bool:
    """Whether a word of a name says that the file is one that nobody needs."""
    return token in _UNUSED
