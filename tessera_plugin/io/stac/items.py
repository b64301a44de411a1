# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Items of catalogues as facts: date, tile, baseline, offset, orbit, and where the files lie.

What a catalogue says is somebody else's text: what is not what it must be leaves the item out.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple
from urllib.parse import urlsplit

from ..dpixels.recognise_folders import unit_of_baseline
from ..dpixels.scenes import DN, ORBITS, S2_BANDS
from .catalogues import SCL_ASSET, VH, VV, Catalogue

HARMONISED_BUCKET = "sentinel-cogs"
"""The offset was removed from all files in it, whatever their items say."""

_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.\d+)?([Zz]|[+-]\d\d:?\d\d)?")
_BASELINE_AT_END = re.compile(r"_N(\d\d)\.?(\d\d)$")
_BASELINE_IN_NAME = re.compile(r"_N(\d\d)(\d\d)_")
_BASELINE = re.compile(r"(\d{1,2})\.(\d{1,2})")
_STRIP = re.compile(r"_S(\d{8}T\d{6})")


class Unfit(Exception):  # noqa: N818 - io-internal: the item is left out and named
    """An item that can't be used; the text says why in a few words."""


@dataclass(frozen=True)
class S2Item:
    """A granule of Sentinel-2 L2A."""

    id: str
    catalogue: str
    """Its key in the request."""
    moment: dt.datetime
    """Of the acquisition, UTC."""
    files: Mapping[str, str] = field(hash=False)
    """URL by our names: S2_BANDS and SCL."""
    unit: str
    """DN or DN_OFFSET, by where the files lie and by the baseline."""
    baseline: str
    datatake: str
    """Without the baseline; with the strip where a datatake has several in one tile."""
    tile: str
    strip: str = ""
    """Start of the data strip, where it is told."""
    made: str = ""
    """When it was processed, as text that sorts."""
    cloud: Optional[float] = None
    """Percent of the whole granule, where it is told."""
    footprint: Optional[Mapping[str, Any]] = field(default=None, hash=False)
    """GeoJSON, longitude and latitude."""


@dataclass(frozen=True)
class S1Item:
    """A slice of Sentinel-1 RTC with both polarisations."""

    id: str
    catalogue: str
    moment: dt.datetime
    files: Mapping[str, str] = field(hash=False)
    """URL by vv and vh."""
    orbit: str
    footprint: Optional[Mapping[str, Any]] = field(default=None, hash=False)


def s2_item(feature: Mapping[str, Any], catalogue: Catalogue, key: str) -> S2Item:
    """Return the facts of an item of Sentinel-2. Raises: Unfit."""
    facts = _facts(feature)
    files = _files(feature, catalogue, (SCL_ASSET, *S2_BANDS))
    baseline, datatake = baseline_of(facts), _text(facts, "s2:datatake_id")
    units = {unit_of(files[band], baseline) for band in S2_BANDS}
    if len(units) > 1:
        raise Unfit("its bands do not agree on the offset")
    strip = _STRIP.search(_text(facts, "s2:datastrip_id"))
    cloud = facts.get("eo:cloud_cover")
    return S2Item(
        id=_id(feature),
        catalogue=key,
        moment=moment_of(facts),
        files=files,
        unit=units.pop(),
        baseline=baseline,
        datatake=_BASELINE_AT_END.sub("", datatake),
        tile=_tile(facts),
        strip=strip.group(1) if strip else "",
        made=_text(facts, "s2:generation_time") or _text(facts, "created"),
        cloud=float(cloud) if isinstance(cloud, (int, float)) else None,
        footprint=_footprint(feature),
    )


def s1_item(feature: Mapping[str, Any], catalogue: Catalogue, key: str) -> S1Item:
    """Return the facts of an item of Sentinel-1. Raises: Unfit."""
    facts = _facts(feature)
    orbit = _text(facts, "sat:orbit_state").lower()
    if orbit not in ORBITS:
        raise Unfit("nothing tells its orbit direction")
    files = _files(feature, catalogue, (VV, VH))
    return S1Item(_id(feature), key, moment_of(facts), files, orbit, _footprint(feature))


# --- which of several


def without_doubles(items: Iterable[S2Item]) -> Tuple[List[S2Item], List[S2Item]]:
    """Return the items to use and those that are older processings of one of them.

    Of a datatake and tile only the highest baseline counts, of the same strip the latest. Strips
    that meet in a tile complete each other and stay, as datatakes of their own.
    """
    groups: Dict[Tuple[str, ...], List[S2Item]] = defaultdict(list)
    for item in items:
        known = item.datatake and item.tile
        groups[(item.datatake, item.tile) if known else (item.id,)].append(item)
    used: List[S2Item] = []
    older: List[S2Item] = []
    for group in groups.values():
        newest = max(item.baseline for item in group)
        best: Dict[str, S2Item] = {}
        for item in sorted(group, key=lambda each: (each.made, each.id)):
            if item.baseline == newest:
                best[item.strip] = item
        older += [item for item in group if best.get(item.strip) is not item]
        used += _named_strips(list(best.values()))
    return used, older


def _named_strips(items: List[S2Item]) -> List[S2Item]:
    if len(items) == 1:
        return items
    return [replace(item, datatake=f"{item.datatake}_S{item.strip}") for item in items]


# --- facts


def unit_of(url: str, baseline: str) -> str:
    """Return whether a file still carries the offset: by the bucket it lies in, then the baseline.

    What items say about it is not reliable. Raises: Unfit where nothing tells.
    """
    parts = urlsplit(url)
    bucket_names = (parts.netloc.split(".")[0], parts.path.lstrip("/").split("/")[0])
    if HARMONISED_BUCKET in bucket_names:
        return DN
    unit = unit_of_baseline(baseline)
    if not unit:
        raise Unfit("nothing tells its processing baseline, and so whether it carries the offset")
    return unit


def baseline_of(facts: Mapping[str, Any]) -> str:
    """Return the processing baseline as `05.09`; empty where nothing tells."""
    told = (
        _BASELINE_AT_END.search(_text(facts, "s2:datatake_id")),
        _BASELINE_IN_NAME.search(_text(facts, "s2:product_uri")),
        _BASELINE.fullmatch(str(facts.get("s2:processing_baseline", ""))),
    )
    for match in told:
        if match:
            return f"{match.group(1):0>2}.{match.group(2):0<2}"
    return ""


def moment_of(facts: Mapping[str, Any]) -> dt.datetime:
    """Return when an image was taken, UTC. Raises: Unfit."""
    text = _text(facts, "datetime") or _text(facts, "start_datetime")
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise Unfit("nothing tells when it was taken")
    day, clock, offset = match.groups()
    # a moment without an offset is UTC: catalogues mean nothing else
    zone = "+0000" if not offset or offset in "Zz" else offset.replace(":", "")
    try:
        found = dt.datetime.strptime(f"{day}T{clock}{zone}", "%Y-%m-%dT%H:%M:%S%z")
    except ValueError as error:
        raise Unfit("nothing tells when it was taken") from error
    return found.astimezone(dt.timezone.utc)


def _tile(facts: Mapping[str, Any]) -> str:
    """Return the MGRS tile as `31UFT`; empty where nothing tells."""
    code = _text(facts, "s2:mgrs_tile") or _text(facts, "grid:code").replace("MGRS-", "")
    if not code:
        parts = ("mgrs:utm_zone", "mgrs:latitude_band", "mgrs:grid_square")
        code = "".join(str(facts.get(part, "")) for part in parts)
    return code.upper().zfill(5) if code else ""


def _id(feature: Mapping[str, Any]) -> str:
    name = feature.get("id")
    if not isinstance(name, str) or not name:
        raise Unfit("it has no name")
    return name


def _facts(feature: Mapping[str, Any]) -> Mapping[str, Any]:
    facts = feature.get("properties")
    if not isinstance(facts, dict):
        raise Unfit("it has no properties")
    return facts


def _footprint(feature: Mapping[str, Any]) -> Optional[Mapping[str, Any]]:
    shape = feature.get("geometry")
    return shape if isinstance(shape, dict) else None


def _text(facts: Mapping[str, Any], name: str) -> str:
    value = facts.get(name)
    return value if isinstance(value, str) else ""


def _files(
    feature: Mapping[str, Any], catalogue: Catalogue, names: Tuple[str, ...]
) -> Dict[str, str]:
    """Return the URLs of all assets that are needed. Raises: Unfit."""
    assets = feature.get("assets")
    found: Dict[str, str] = {}
    lacking: List[str] = []
    for name in names:
        asset = assets.get(catalogue.assets.get(name)) if isinstance(assets, dict) else None
        href = asset.get("href") if isinstance(asset, dict) else None
        if not isinstance(href, str) or not href:
            lacking.append(name)
        elif urlsplit(href).scheme not in ("http", "https"):
            raise Unfit(f"its files can't be asked for by HTTP ({urlsplit(href).scheme}:)")
        else:
            found[name] = href
    if lacking:
        raise Unfit(f"it lacks {', '.join(lacking)}")
    return found
