# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Layouts that say all by themselves: d-pixel folders, upstream's intermediate files, SAFE folders."""

from __future__ import annotations

import datetime as dt
import re
from collections import defaultdict
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from ...errors import TileUnusable
from .. import npy
from .recognise_names import NOT_L2A, NOT_RTC, Product, is_sane, product
from .recognise_values import SAFE, UPSTREAM, Finds, S1Draft, S2Draft
from .recognise_walk import File, text_of
from .scenes import CODE, DN, DN_OFFSET, ORBITS, S2_BANDS, SCL, Raster, S1Scene, S2Scene

TILE_FILES = {
    "bands.npy": 4, "masks.npy": 3, "doys.npy": 1,
    "sar_ascending.npy": 4, "sar_ascending_doy.npy": 1,
    "sar_descending.npy": 4, "sar_descending_doy.npy": 1,
}  # fmt: skip
"""The arrays of a d-pixel folder and how many axes they have."""

_UPSTREAM_BANDS = {
    "red": "B04", "blue": "B02", "green": "B03", "nir": "B08", "nir08": "B8A", "rededge1": "B05",
    "rededge2": "B06", "rededge3": "B07", "swir16": "B11", "swir22": "B12",
}  # fmt: skip
_MOSAIC = re.compile(r"(\d{4}-\d\d-\d\d)_mosaic\.tiff?$")
_SAR = re.compile(r"(\d{4}-\d\d-\d\d)_(vv|vh)_(ascending|descending|unknown)\.tiff?$")
_UPSTREAM_FOLDERS = ("data_raw", "data_sar_raw")

_PRODUCT_FOLDER = re.compile(r"(S2[A-D]_MSIL[12][AC]_|S1[A-D]_\w+\.SAFE)", re.IGNORECASE)
_OLD_PRODUCT = re.compile(r"S2[A-D]_(USER|OPER)_PRD_", re.IGNORECASE)
_SAFE_IMAGE = re.compile(
    r"(?:L2A_)?T\d\d[A-Z]{3}_\d{8}T\d{6}_(B\d[\dA]|SCL)_(10|20)m\.(jp2|tiff?)$", re.IGNORECASE
)
_AT_10_M = ("B02", "B03", "B04", "B08")
_OFFSET = re.compile(r"<BOA_ADD_OFFSET[^>]*>\s*(-?[\d.]+)\s*</")
_QUANTIFICATION = re.compile(r"<(?:L2A_)?BOA_QUANTIFICATION_VALUE[^>]*>\s*([\d.]+)\s*</")
_BASELINE = re.compile(r"<PROCESSING_BASELINE>\s*(\d\d\.\d\d)\s*</")
OFFSET_BASELINE = "04.00"
"""From this one on files hold an offset of 1000."""
OWN_BASELINE = "99.99"
"""Of what people process themselves: tells nothing."""


def take_tiles(files: Sequence[File], finds: Finds) -> None:
    """Claim finished d-pixel folders."""
    folders: Dict[str, List[File]] = defaultdict(list)
    for file in files:
        if file.suffix == ".npy":
            folders[file.folder].append(file)
    for folder, arrays in folders.items():
        names = {file.name for file in arrays}
        if not names & set(TILE_FILES):
            continue
        finds.claimed.update(file.path for file in files if file.folder == folder)
        reason = _tile_problem(arrays)
        if reason:
            finds.refuse(folder, reason)
        else:
            finds.tiles.append(folder)


def _tile_problem(arrays: Sequence[File]) -> str:
    paths = {file.name: file.path for file in arrays}
    lacking = [name for name in TILE_FILES if name not in paths]
    if lacking:
        return f"a d-pixel folder without {', '.join(lacking)}"
    for name, axes in TILE_FILES.items():
        try:
            with open(paths[name], "rb") as file:  # noqa: PTH123 - names are text here
                header = npy.parse_header(file.read(npy.HEADER_LIMIT_BYTES), name)
        except (OSError, TileUnusable) as error:
            return f"{name} can't be read: {getattr(error, 'reason', error)}"
        if len(header.shape) != axes:
            return f"{name} has {len(header.shape)} axes, not {axes}"
    return ""


# --- upstream's intermediate files


def take_upstream(files: Sequence[File], finds: Finds) -> None:
    """Claim `data_raw/<band>/<date>_mosaic.tiff` and `data_sar_raw/<date>_<pol>_<orbit>.tiff`."""
    optical: Dict[Tuple[str, str], Dict[str, str]] = defaultdict(dict)
    radar: Dict[Tuple[str, str, str], Dict[str, str]] = defaultdict(dict)
    for file in files:
        mosaic, sar = _MOSAIC.match(file.name), _SAR.match(file.name)
        *_, holder, kind = ("", "", *file.above, *file.inner)
        if mosaic and holder == "data_raw" and kind in (*_UPSTREAM_BANDS, SCL):
            root = file.folder[: -len(kind) - 1]
            optical[root, mosaic.group(1)][kind] = file.path
        elif sar and kind == "data_sar_raw":
            if sar.group(3) in ORBITS:
                radar[file.folder, sar.group(1), sar.group(3)][sar.group(2)] = file.path
            else:
                finds.refuse(file.path, "orbit direction unknown to the pipeline that made it")
        elif not {holder, kind} & set(_UPSTREAM_FOLDERS):
            continue
        finds.claimed.add(file.path)
    for (root, day), paths in optical.items():
        _add_mosaic(root, day, paths, finds)
    for (root, day, orbit), paths in radar.items():
        date = _day(day)
        if date is None:
            finds.refuse(root, f"{day} is no date of a Sentinel image")
            continue
        vv, vh = (Raster(paths[each]) if each in paths else None for each in ("vv", "vh"))
        scene = S1Scene(f"{day}_{orbit}", date, orbit, vv, vh, CODE, "rtc")
        finds.s1.append(S1Draft(scene, UPSTREAM, root))


def _add_mosaic(root: str, day: str, paths: Mapping[str, str], finds: Finds) -> None:
    date = _day(day)
    if date is None:
        finds.refuse(root, f"{day} is no date of a Sentinel image")
        return
    bands = {_UPSTREAM_BANDS[kind]: Raster(path) for kind, path in paths.items() if kind != SCL}
    mask = Raster(paths[SCL]) if SCL in paths else None
    scene = S2Scene(f"{day}_mosaic", date, bands, DN, mask, SCL if mask else "")
    finds.s2.append(S2Draft(scene, UPSTREAM, root))


def _day(text: str) -> Optional[dt.date]:
    try:
        date = dt.date.fromisoformat(text)
    except ValueError:
        return None
    return date if is_sane(date) else None


# --- SAFE folders


def take_safe(files: Sequence[File], finds: Finds) -> None:
    """Claim SAFE folders, also zipped, and what is in folders named like Sentinel-2 products."""
    products: Dict[str, Tuple[str, List[File]]] = {}
    for file in files:
        folders = (*file.above, *file.inner)
        at = _product_at(folders)
        if at is None or file.path in finds.claimed:
            continue
        below = len(folders) - 1 - at
        root = "/".join(file.folder.replace("\\", "/").split("/")[: -below or None])
        products.setdefault(root, (folders[at], []))[1].append(file)
    seen: Dict[str, str] = {}
    for root, (name, members) in sorted(products.items(), key=lambda item: "/vsizip/" in item[0]):
        _take_product(root, name, members, seen, finds)


def _product_at(folders: Tuple[str, ...]) -> Optional[int]:
    """Return which of the folders is that of a product."""
    for index, name in enumerate(folders):
        if _PRODUCT_FOLDER.match(name) or _OLD_PRODUCT.match(name):
            return index
    return None


def _take_product(
    root: str, name: str, members: Sequence[File], seen: Dict[str, str], finds: Finds
) -> None:
    found = product(name)
    images = [file for file in members if _SAFE_IMAGE.match(file.name)]
    is_safe = name.upper().endswith(".SAFE") or "/vsizip/" in root
    reason = _product_problem(name, found)
    if not reason and not is_safe and not _is_whole(members):
        return  # images that somebody put into a folder of this name: loose rasters
    # layers of the project may stand for themselves, in folders of which nothing else is named
    finds.claimed.update(file.path for file in members)
    identity = name.upper().replace(".SAFE", "")
    if not reason and identity in seen:
        reason = f"the same product as {seen[identity]}"
    if not reason and not images:
        reason = "a product without its images"
    if reason or found is None:
        finds.refuse(root, reason or "its name is not that of a product")
        return
    seen[identity] = root
    unit, baseline, problem = _unit_of(found, members)
    if problem:
        finds.refuse(root, problem)
        return
    bands, mask = _native_images(images)
    scene = S2Scene(
        name[:-5] if name.upper().endswith(".SAFE") else name, found.date, bands, unit, mask,
        SCL if mask else "", baseline, found.datatake, found.tile,
    )  # fmt: skip
    finds.s2.append(S2Draft(scene, SAFE, root, found.processed))


def _is_whole(members: Sequence[File]) -> bool:
    """Whether files lie as in a product, though its folder has lost the suffix."""
    return any(file.name == "MTD_MSIL2A.xml" or "IMG_DATA" in file.inner for file in members)


def _product_problem(name: str, found: Optional[Product]) -> str:
    if _OLD_PRODUCT.match(name):
        return "the product format of before December 2016; get it again in the one of today"
    if "MSIL1C" in name.upper():
        return NOT_L2A
    if name.upper().startswith("S1"):
        if found and found.level == "slc":
            return NOT_RTC
        if found and found.level == "rtc":
            return "a Sentinel-1 product whose RTC images are not where they usually are"
        return "Sentinel-1 as delivered, in radar geometry; process it to RTC backscatter first"
    return ""


def _native_images(images: Sequence[File]) -> Tuple[Dict[str, Raster], Optional[Raster]]:
    """Return bands and scene classes at the resolution they were made in."""
    bands: Dict[str, Raster] = {}
    mask: Optional[Raster] = None
    for file in images:
        match = _SAFE_IMAGE.match(file.name)
        name, resolution = (match.group(1).upper(), match.group(2)) if match else ("", "")
        if name == "SCL":
            mask = Raster(file.path)
        elif name in S2_BANDS and resolution == ("10" if name in _AT_10_M else "20"):
            bands[name] = Raster(file.path)
    return bands, mask


def _unit_of(found: Product, members: Sequence[File]) -> Tuple[str, str, str]:
    """Return unit, baseline and what speaks against the product.

    The product's metadata decide where they are there, else the baseline of its name.
    """
    text = next((text_of(each.path) for each in members if each.name == "MTD_MSIL2A.xml"), "")
    said = _BASELINE.search(text)
    baseline = found.baseline or (said.group(1) if said else "")
    scale = _QUANTIFICATION.search(text)
    if scale is None:
        return unit_of_baseline(baseline), baseline, ""
    if float(scale.group(1)) != 10_000:
        return "", baseline, f"its reflectance is times {scale.group(1)}, not 10000"
    offsets = {float(value) for value in _OFFSET.findall(text)}
    if offsets <= {0.0}:
        if not offsets and unit_of_baseline(baseline) == DN_OFFSET:
            return "", baseline, ""  # name and metadata disagree: to be asked for
        return DN, baseline, ""
    if offsets == {-1000.0}:
        return DN_OFFSET, baseline, ""
    return "", baseline, f"its offset is {min(offsets):g}, not -1000"


def unit_of_baseline(baseline: str) -> str:
    """Return the unit of files as ESA delivers them; empty where the baseline does not tell."""
    if not baseline or baseline == OWN_BASELINE:
        return ""
    return DN_OFFSET if baseline >= OFFSET_BASELINE else DN
