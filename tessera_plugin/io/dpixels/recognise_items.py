# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""STAC items with their images beside them, as download tools leave them."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Dict, List, Mapping, Sequence, Set, Tuple
from urllib.parse import unquote, urlsplit

from .recognise_folders import unit_of_baseline
from .recognise_names import BANDS, is_sane, moment, product, refusal
from .recognise_values import ORBIT_WORDS, STAC, Finds, S1Draft, S2Draft
from .recognise_walk import File, is_raster, text_of
from .scenes import DN, DN_OFFSET, POWER, SCL, Raster, S1Scene, S2Scene

_AS_DELIVERED = (
    "sentinel-s2-l2a", "sentinel2l2a01", "planetarycomputer", "dataspace.copernicus", "eodata",
    "e84-earth-search-sentinel-data",
)  # fmt: skip
"""In addresses: images with the offset of their baseline in them."""
_HARMONISED = "sentinel-cogs"
_TAKEN_BASELINE = re.compile(r"N?(\d{1,2})\.?(\d{2}|\d)$")
_DATATAKE = re.compile(r"(\d{8}T\d{6})", re.IGNORECASE)
_RESOLUTION = re.compile(r"[_-](10|20)m$", re.IGNORECASE)
_TILE = re.compile(r"(\d{1,2}[A-Z]{3})$", re.IGNORECASE)


@dataclass(frozen=True)
class _Item:
    """A STAC item on disk."""

    file: File
    id: str
    collection: str
    properties: Mapping[str, Any]
    hrefs: Mapping[str, str]
    """By asset."""
    links: Tuple[str, ...]
    alone: bool
    """Whether it is the only one in its folder."""


def take_items(files: Sequence[File], finds: Finds) -> None:
    """Claim STAC items and the images that belong to them."""
    by_path = {_plain(file.path): file for file in files if is_raster(file.name)}
    folders = {name.upper().replace(".SAFE", "") for file in files for name in file.inner}
    for item in _items(files, finds):
        local = _local_images(item, by_path, finds.claimed)
        finds.claimed.add(item.file.path)
        if not local:
            if item.id.upper() not in folders:  # else it describes a SAFE folder that is there
                finds.refuse(item.file.path, "a STAC item without its images")
            continue
        finds.claimed.update(local.values())
        _add(item, local, finds)


def _items(files: Sequence[File], finds: Finds) -> List[_Item]:
    found = []
    for file in files:
        if file.suffix not in (".json", ".geojson") or file.path in finds.claimed:
            continue
        found += [(file, content) for content in _parsed(text_of(file.path))]
    in_folder = Counter(file.folder for file, _ in found)
    return [_item(file, content, in_folder[file.folder] == 1) for file, content in found]


def _parsed(text: str) -> List[Dict[str, Any]]:
    """Return the items of a file: one, or those of a search."""
    if '"stac_version"' not in text:
        return []
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return []
    if not isinstance(content, dict):
        return []
    features = content.get("features")
    every = features if isinstance(features, list) else [content]
    return [each for each in every if _is_item(each)]


def _is_item(content: object) -> bool:
    return (
        isinstance(content, dict)
        and content.get("type") == "Feature"
        and isinstance(content.get("assets"), dict)
        and isinstance(content.get("properties"), dict)
    )


def _item(file: File, content: Mapping[str, Any], alone: bool) -> _Item:  # noqa: FBT001
    hrefs = {
        str(key): str(asset.get("href", ""))
        for key, asset in content["assets"].items()
        if isinstance(asset, dict)
    }
    links = content.get("links")
    return _Item(
        file, str(content.get("id", file.stem)), str(content.get("collection") or "").lower(),
        content["properties"], hrefs,
        tuple(str(link.get("href", "")) for link in links if isinstance(link, dict))
        if isinstance(links, list) else (),
        alone,
    )  # fmt: skip


# --- which files are its


def _local_images(item: _Item, by_path: Mapping[str, File], claimed: Set[str]) -> Dict[str, str]:
    """Return the files of the assets that are needed, by band, "SCL", "VV" and "VH"."""
    found: Dict[str, str] = {}
    for key, href in sorted(item.hrefs.items()):
        name = _asset_name(key)
        if not name or name in found:
            continue
        for candidate in _candidates(item, key, href):
            if candidate in by_path and by_path[candidate].path not in claimed:
                found[name] = by_path[candidate].path
                break
    return found


def _asset_name(key: str) -> str:
    plain = _RESOLUTION.sub("", key).lower()
    if plain in BANDS:
        return BANDS[plain]
    return plain.upper() if plain in (SCL, "vv", "vh") else ""


def _candidates(item: _Item, key: str, href: str) -> List[str]:
    """Return where the image of an asset may lie, the likelier place first."""
    folder = _plain(item.file.folder)
    scheme, path = _split(href)
    name = PurePosixPath(path).name
    places = []
    if scheme in ("", "file"):
        places.append(path if path.startswith("/") else f"{folder}/{path}")
    own = [f"{folder}/{item.id}"]
    # B04.tif beside several items belongs to none of them, T31UCT_20240612T105621_B04_10m.tif to one
    if item.alone or product(name):
        own.append(folder)
    suffixes = dict.fromkeys([PurePosixPath(name).suffix, ".tif", ".tiff", ".jp2"])
    for place in own:
        places.append(f"{place}/{name}")
        if item.alone or place != folder:
            places += [f"{place}/{key}{suffix}" for suffix in suffixes]
    places += [f"{folder}/{item.id}{mark}{key}{suffix}" for mark in "_.-" for suffix in suffixes]
    places += [f"{folder}/{item.id}{mark}{name}" for mark in "_.-"]
    return [_normal(place) for place in places]


def _split(href: str) -> Tuple[str, str]:
    """Return scheme and path of an address; the path is empty if it is none."""
    try:
        link = urlsplit(href)
    except ValueError:  # "http://[…"
        return "none", ""
    return link.scheme, unquote(link.path)


def _plain(path: str) -> str:
    return path.replace("\\", "/")


def _normal(path: str) -> str:
    """Return a path without `.` and `..`."""
    parts: List[str] = []
    for part in path.split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


# --- what it says


def _add(item: _Item, local: Mapping[str, str], finds: Finds) -> None:
    said = item.properties.get("datetime") or item.properties.get("start_datetime") or ""
    sensed = moment(str(said))
    reason = refusal(f"{item.id} {item.collection}", product(item.id))
    if not reason and (sensed is None or not is_sane(sensed.date())):
        reason = f"the STAC item says no date of a Sentinel image: {said!r}"
    if reason or sensed is None:
        finds.refuse(item.file.path, reason)
        return
    rasters = {name: Raster(path) for name, path in local.items()}
    vv, vh, mask = (rasters.pop(name, None) for name in ("VV", "VH", "SCL"))
    if vv or vh:
        level, unit = _radar_product(item)
        orbit = str(item.properties.get("sat:orbit_state", "")).lower()
        scene = S1Scene(item.id, sensed.date(), ORBIT_WORDS.get(orbit, ""), vv, vh, unit, level)
        finds.s1.append(S1Draft(scene, STAC, item.file.folder, sensed))
        return
    named = product(_product_id(item)) or product(item.id)
    baseline = _baseline(item) or (named.baseline if named else "")
    optical = S2Scene(
        item.id, sensed.date(), rasters, _optical_unit(item, local, baseline), mask,
        SCL if mask else "", baseline, _datatake(item) or (named.datatake if named else ""),
        _tile(item) or (named.tile if named else ""),
    )  # fmt: skip
    processed = moment(str(item.properties.get("s2:generation_time", "")))
    finds.s2.append(S2Draft(optical, STAC, item.file.folder,
                            processed or (named.processed if named else None),
                            hint=named.hint if named else ""))  # fmt: skip


def _radar_product(item: _Item) -> Tuple[str, str]:
    """Return what kind of radar image it is, and its unit."""
    text = f"{item.collection} {item.id.lower()}"
    if "rtc" in text:
        # the collections of this name, Planetary Computer's and OPERA's, are gamma-nought power
        return "rtc", POWER if "sentinel-1-rtc" in text or "opera" in text else ""
    return ("grd" if "grd" in text else ""), ""


def _product_id(item: _Item) -> str:
    keys = ("s2:product_uri", "sentinel:product_id", "s2:product_id", "title")
    return next((str(item.properties[key]) for key in keys if item.properties.get(key)), "")


def _baseline(item: _Item) -> str:
    keys = ("s2:processing_baseline", "sentinel:processing_baseline", "processing:version")
    said = next((str(item.properties[key]) for key in keys if item.properties.get(key)), "")
    match = _TAKEN_BASELINE.match(said)
    return f"{match.group(1).zfill(2)}.{match.group(2).ljust(2, '0')}" if match else ""


def _datatake(item: _Item) -> str:
    match = _DATATAKE.search(str(item.properties.get("s2:datatake_id", "")))
    return match.group(1).upper() if match else ""


def _tile(item: _Item) -> str:
    for key in ("s2:mgrs_tile", "grid:code"):
        match = _TILE.search(str(item.properties.get(key, "")))
        if match:
            return match.group(1).upper().zfill(5)
    return ""


def _optical_unit(item: _Item, local: Mapping[str, str], baseline: str) -> str:
    """Return the unit that the origin of the images implies; empty where it is not clear.

    Told by the host: what items themselves say about the offset is often wrong.
    """
    addresses = [href.lower() for key, href in item.hrefs.items() if _asset_name(key) in local
                 and _asset_name(key) != "SCL"]  # fmt: skip
    units = {_unit_at(address, baseline) for address in addresses if "://" in address}
    if units:
        return units.pop() if len(units) == 1 else ""
    if "-c1-" in item.collection:
        return DN_OFFSET
    catalogues = " ".join(item.links).lower()
    if "planetarycomputer.microsoft.com" in catalogues or "dataspace.copernicus" in catalogues:
        return unit_of_baseline(baseline)
    is_cog = all(path.lower().endswith((".tif", ".tiff")) for path in local.values())
    if "earth-search" in catalogues and is_cog:
        return DN
    return ""


def _unit_at(address: str, baseline: str) -> str:
    if _HARMONISED in address:
        return DN
    if any(host in address for host in _AS_DELIVERED):
        return unit_of_baseline(baseline)
    return ""
