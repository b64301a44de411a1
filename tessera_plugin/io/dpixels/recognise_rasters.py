# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Rasters without a layout: one band per file by names, several bands per file by their headers."""

from __future__ import annotations

import datetime as dt
import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Dict, List, Optional, Sequence, Tuple

from ...errors import SceneUnusable
from ...progress import Report
from .recognise_bands import NamedBands, named_bands
from .recognise_folders import unit_of_baseline
from .recognise_look import OUTSIDE, Look, Looks
from .recognise_names import (
    BANDS,
    MASK_NAMES,
    NOT_RTC,
    SCL_NAMES,
    Product,
    dates,
    is_rtc,
    is_unused,
    orbit,
    product,
    refusal,
    tokens,
)
from .recognise_values import RASTERS, UNDATED, Finds, S1Draft, S2Draft
from .recognise_walk import File, is_raster
from .scenes import DN, S2_BANDS, SCL, Raster, S1Scene, S2Scene

_NATIVE = {"B02": "10m", "B03": "10m", "B04": "10m", "B08": "10m"}
_RESOLUTIONS = ("10m", "20m", "60m")
_FOLDERS_OF_RESOLUTION = {"r10m", "r20m", "r60m", "10m", "20m", "60m", "img_data", "measurement"}
_WORD = re.compile(r"[A-Za-z0-9]+")
_SEPARATORS = re.compile(r"([_.\- ])[_.\- ]+")
_POLARISATIONS = ("vv", "vh", "hh", "hv")
_OTHER_FORMATS = (".nc", ".h5", ".hdf", ".zarr", ".dim", ".hdr", ".tgz", ".tar", ".zip", ".grd")


@dataclass(frozen=True)
class _Role:
    """What a file is by its name."""

    kind: str
    """"band", "mask", "pol", "unused" or "other"."""
    name: str = ""
    """"B02", "scl", "vv", …; of a mask what it is called."""
    resolution: str = ""
    group: Tuple[str, str] = ("", "")
    """Folder and the rest of the name: what belongs together has it in common."""


@dataclass
class _Group:
    """Files that their names put together: one scene."""

    files: Dict[str, Tuple[str, File]] = field(default_factory=dict)
    """By band or polarisation: resolution and file."""
    mask: Optional[Tuple[str, File]] = None

    @property
    def first(self) -> File:
        """One file of it."""
        return next(iter(self.files.values()))[1]


@dataclass(frozen=True)
class _Told:
    """What the names of a file and its folders tell."""

    product: Optional[Product]
    date: Optional[dt.date]
    maybe: Tuple[dt.date, ...]
    orbit: str
    text: str
    name: str


def take_rasters(files: Sequence[File], looks: Looks, finds: Finds, report: Report) -> None:
    """Claim what is left: groups of files with one band each, and files with several bands."""
    groups: Dict[Tuple[str, str], _Group] = defaultdict(_Group)
    several: List[File] = []
    for file in files:
        if file.path in finds.claimed:
            continue
        if not is_raster(file.name):
            _refuse_format(file, finds)
            continue
        _sort(file, groups, several, finds)
    _look_into_lonely(groups, several, looks, finds)
    masks = _pop_masks(groups)
    for index, file in enumerate(several):
        report(index / len(several), file.name)
        _take_file(file, looks, finds)
    for group in groups.values():
        if "vv" in group.files or "vh" in group.files:
            _add_radar(group, finds)
        else:
            _add_optical(group, finds)
    _merge_parts(finds)
    _share_masks(masks, finds)


def _refuse_format(file: File, finds: Finds) -> None:
    if file.suffix in _OTHER_FORMATS and (product(file.name) or file.suffix in (".nc", ".dim")):
        reason = refusal(file.name, product(file.name))
        finds.refuse(file.path, reason or f"{file.suffix[1:]} is not read; GeoTIFF or JPEG 2000 is")
    elif file.is_given:
        finds.refuse(file.path, "no raster by its name; GeoTIFF or JPEG 2000 is needed")


# --- by names


def _sort(
    file: File, groups: Dict[Tuple[str, str], _Group], several: List[File], finds: Finds
) -> None:
    text = f"{file.inner[-1]}/{file.name}"
    reason = refusal(text, product(file.name) or _product_above(file))
    role = _role(file)
    if reason:
        finds.refuse(file.path, reason)
    elif role.kind == "mask":
        groups[role.group].mask = (role.name, file)
    elif role.kind == "pol" and role.name in ("hh", "hv"):
        finds.refuse(file.path, f"polarisation {role.name.upper()}; VV and VH are needed")
    elif role.kind in ("band", "pol"):
        known = groups[role.group].files.get(role.name)
        native = _NATIVE.get(role.name, "20m")
        if known is None or (role.resolution == native and known[0] != native):
            groups[role.group].files[role.name] = (role.resolution, file)
        elif known[0] == role.resolution:
            finds.refuse(file.path, f"a second {role.name.upper()} beside {known[1].name}")
    elif role.kind == "other":
        several.append(file)


def _role(file: File) -> _Role:
    words = tokens(file.stem)
    resolution = next((word for word in words if word in _RESOLUTIONS), "")
    folders = list(file.inner)
    while len(folders) > 1 and folders[-1].lower() in _FOLDERS_OF_RESOLUTION:
        resolution = resolution or folders[-1].lower().lstrip("r")
        folders.pop()
    kind, name = _kind(words)
    if kind == "other" and len(folders) > 1:  # red/2024-06-12.tif
        kind, name = _kind(tokens(folders[-1]))
        if kind != "other" and len(tokens(folders[-1])) == 1:
            folders.pop()
        else:
            kind, name = "other", ""
    if kind == "band" and resolution == "60m":
        return _Role("unused")
    cut = len(file.inner) - len(folders)
    folder = "/".join(file.folder.replace("\\", "/").split("/")[: -cut or None])
    rest = [word for word in words if not _is_role(word) and word not in _RESOLUTIONS]
    return _Role(kind, name, resolution, (folder, "_".join(rest)))


def _kind(words: Sequence[str]) -> Tuple[str, str]:
    """Return kind and name that the words of a name give a file."""
    pols = {word for word in words if word in _POLARISATIONS}
    masks = MASK_NAMES & set(words)
    bands = {BANDS[word] for word in words if word in BANDS}
    kind, name = "other", ""
    if pols:
        kind, name = ("pol", pols.pop()) if len(pols) == 1 else (kind, name)
    elif SCL_NAMES & set(words):
        kind, name = "mask", SCL
    elif masks:
        kind, name = "mask", " ".join(sorted(masks))
    elif "sre" in words:  # Theia's other reflectance, not corrected for slopes
        kind = "unused"
    elif bands:
        kind, name = ("band", bands.pop()) if len(bands) == 1 else (kind, name)
    elif any(is_unused(word) for word in words):
        kind = "unused"
    return kind, name


def _is_role(word: str) -> bool:
    return word in BANDS or word in _POLARISATIONS or word in SCL_NAMES or word in MASK_NAMES


def _look_into_lonely(
    groups: Dict[Tuple[str, str], _Group], several: List[File], looks: Looks, finds: Finds
) -> None:
    """Open files that are alone with the band they seem to be: "red" may be a place."""
    for key, group in list(groups.items()):
        if len(group.files) != 1:
            continue
        _, file = next(iter(group.files.values()))
        try:
            is_single = len(looks.at(file.path).names) == 1
        except SceneUnusable as error:
            finds.refuse(file.path, error.reason)
            group.files.clear()
            continue
        if not is_single:
            several.append(file)
            group.files.clear()
        if not group.files and group.mask is None:
            del groups[key]


def _pop_masks(groups: Dict[Tuple[str, str], _Group]) -> List[Tuple[str, File]]:
    """Take out the masks that no band shares its name with; groups without files go."""
    alone = []
    for key, group in list(groups.items()):
        if not group.files:
            if group.mask is not None:
                alone.append(group.mask)
            del groups[key]
    return alone


def _product_above(file: File) -> Optional[Product]:
    for name in reversed((*file.above, *file.inner)):
        found = product(name)
        if found:
            return found
    return None


def _told(file: File) -> _Told:
    """Gather what names tell, the file's own before those of its folders, the nearest first."""
    named = [file.stem, *reversed(file.inner)]
    found = product(file.stem) or _product_above(file)
    own = product(file.stem)
    if own and found and not own.level:
        above = _product_above(file)  # T31UCT_20240612T105621 in a folder that knows the baseline
        found = above if above and above.tile == own.tile else own
    date = found.date if found else None
    maybe: Tuple[dt.date, ...] = ()
    for text in (*named, "/".join(file.inner)):
        days = dates(text)
        if date is None and len(days) == 1:
            date = days[0]
        elif date is None and days:
            maybe = days
            break
    turns = [turn for turn in map(orbit, named) if turn]
    return _Told(found, date, maybe, turns[0] if turns else "", "/".join((*file.inner, file.name)),
                 file.stem)  # fmt: skip


# --- scenes of one band per file


def _add_radar(group: _Group, finds: Finds) -> None:
    told = _told(group.first)
    vv, vh = (Raster(group.files[pol][1].path) if pol in group.files else None
              for pol in ("vv", "vh"))  # fmt: skip
    finds.s1.append(_radar_draft(told, group.first, vv, vh, _scene_name(group)))


def _radar_draft(
    told: _Told, file: File, vv: Optional[Raster], vh: Optional[Raster], name: str
) -> S1Draft:
    found = told.product if told.product and told.product.sensor == "s1" else None
    level = found.level if found else "rtc" if is_rtc(told.text) else _grd(told.text)
    scene = S1Scene(name, told.date or UNDATED, told.orbit, vv, vh, found.unit if found else "",
                    level)  # fmt: skip
    return S1Draft(scene, RASTERS, file.folder, found.sensed if found else None,
                   found.hint if found else "", told.maybe)  # fmt: skip


def _grd(text: str) -> str:
    words = set(tokens(text))
    return "grd" if words & {"grd", "grdh", "sigma0", "s1grd"} else ""


def _add_optical(group: _Group, finds: Finds) -> None:
    bands = {name: Raster(file.path) for name, (_, file) in group.files.items()}
    draft = _optical_draft(_told(group.first), group.first, bands, _scene_name(group))
    if group.mask:
        draft = with_mask(draft, group.mask[0], Raster(group.mask[1].path))
    finds.s2.append(draft)


def _optical_draft(told: _Told, file: File, bands: Dict[str, Raster], name: str) -> S2Draft:
    found = told.product if told.product and told.product.sensor == "s2" else None
    hint = (found.hint or unit_of_baseline(found.baseline)) if found else ""
    if "harmonized" in told.text.lower() or "harmonised" in told.text.lower():
        hint = DN
    scene = S2Scene(
        name, told.date or UNDATED, bands, "", None, "", found.baseline if found else "",
        found.datatake if found else "", found.tile if found else "",
    )  # fmt: skip
    return S2Draft(scene, RASTERS, file.folder, found.processed if found else None, hint,
                   maybe_dates=told.maybe)  # fmt: skip


def with_mask(draft: S2Draft, called: str, mask: Raster) -> S2Draft:
    """Return a scene with a mask; what its values mean is known only of scene classes."""
    kind = SCL if called == SCL else ""
    return replace(draft, scene=replace(draft.scene, mask=mask, mask_kind=kind), mask_name=called)


def _scene_name(group: _Group) -> str:
    """Return what the names of its files have in common; the folder's where that tells nothing."""
    stem = group.first.stem
    if product(stem) is None:
        for folder in reversed((*group.first.above, *group.first.inner)):
            if product(folder):
                return folder
    own = _WORD.sub(lambda match: "" if _is_shared(match.group()) else match.group(), stem)
    own = _SEPARATORS.sub(r"\1", own).strip("_.- ")
    return own or _role(group.first).group[0].rpartition("/")[2]


def _is_shared(word: str) -> bool:
    return _is_role(word.lower()) or word.lower() in _RESOLUTIONS


# --- files with several bands


def _take_file(file: File, looks: Looks, finds: Finds) -> None:
    try:
        look = looks.at(file.path)
    except SceneUnusable as error:
        finds.refuse(file.path, error.reason)
        return
    told = _told(file)
    bands = named_bands(look)
    reason = _unusable(look, bands, told)
    if reason:
        finds.refuse(file.path, reason)
    elif bands.vv or bands.vh:
        vv, vh = (Raster(file.path, number) if number else None for number in (bands.vv, bands.vh))
        finds.s1.append(_hinted(_radar_draft(told, file, vv, vh, file.stem), bands))
    elif bands.optical:
        rasters = {name: Raster(file.path, number) for name, number in bands.optical.items()}
        draft = _optical_draft(told, file, rasters, file.stem)
        if bands.mask:
            draft = with_mask(draft, bands.mask_name, Raster(file.path, bands.mask))
        finds.s2.append(draft)
    elif _is_radar(told):
        draft_s1 = _radar_draft(told, file, Raster(file.path, 1), None, file.stem)
        finds.s1.append(replace(draft_s1, unnamed=len(look.names)))
    else:
        numbered = {str(n): Raster(file.path, n) for n in range(1, len(look.names) + 1)}
        draft = _optical_draft(told, file, numbered, file.stem)
        finds.s2.append(replace(draft, unnamed=len(look.names)))


def _hinted(draft: S1Draft, bands: NamedBands) -> S1Draft:
    scene = replace(draft.scene, product=draft.scene.product or bands.product)
    return replace(draft, scene=scene, hint=bands.unit or draft.hint)


def _is_radar(told: _Told) -> bool:
    words = set(tokens(told.text))
    is_s1 = told.product is not None and told.product.sensor == "s1"
    return is_s1 or bool(
        words & {"s1", "s1a", "s1b", "s1c", "sentinel1", "vv", "vh", "vvvh", "sar"}
    )


def _unusable(look: Look, bands: NamedBands, told: _Told) -> str:
    """Return why a file with several bands is no scene; empty if it may be one."""
    if look.is_complex:
        return NOT_RTC
    if look.extent is None:
        return OUTSIDE
    if bands.repeated:
        return "several dates in one file; one file per date is needed"
    if bands.optical or bands.vv or bands.vh:
        return ""
    if bands.other:
        return f"its bands are {bands.other}, not those of Sentinel-1 or Sentinel-2"
    return _too_few(len(look.names), told)


def _too_few(count: int, told: _Told) -> str:
    """Return why a file can't be a scene whose bands only lack names; empty if it may be one."""
    if _is_radar(told) and count in (2, 3):
        return ""
    if count == 1:
        return "one band (panchromatic?), and no name says which of Sentinel-2's it is"
    if count < len(S2_BANDS):
        return f"{count} bands without names; all ten of Sentinel-2 at 10 and 20 m are needed"
    return ""


# --- what belongs together across groups


def _merge_parts(finds: Finds) -> None:
    """Put together scenes of one folder, date and tile whose bands complement each other."""
    kept: List[S2Draft] = []
    partial: Dict[Tuple[str, dt.date, str], int] = {}
    for draft in finds.s2:
        scene = draft.scene
        key = (draft.folder, scene.date, scene.tile)
        is_part = draft.source == RASTERS and not draft.unnamed and scene.date != UNDATED
        if not is_part or not scene.lacking:
            kept.append(draft)
            continue
        at = partial.get(key)
        if at is None or set(kept[at].scene.bands) & set(scene.bands):
            partial[key] = len(kept)
            kept.append(draft)
        else:
            kept[at] = _merged(kept[at], draft)
    finds.s2[:] = kept


def _merged(one: S2Draft, other: S2Draft) -> S2Draft:
    scene = replace(one.scene, bands={**one.scene.bands, **other.scene.bands})
    if scene.mask is None:
        scene = replace(scene, mask=other.scene.mask, mask_kind=other.scene.mask_kind)
    return replace(one, scene=scene, mask_name=one.mask_name or other.mask_name)


def _share_masks(masks: Sequence[Tuple[str, File]], finds: Finds) -> None:
    """Give masks of their own name to the scenes of their date (and tile)."""
    for called, file in masks:
        told = _told(file)
        tile = told.product.tile if told.product else ""
        taken = False
        for index, draft in enumerate(finds.s2):
            scene = draft.scene
            if (draft.source == RASTERS and scene.mask is None and told.date == scene.date
                    and (not tile or not scene.tile or tile == scene.tile)
                    and _is_near(file.folder, draft.folder)):  # fmt: skip
                finds.s2[index] = with_mask(draft, called, Raster(file.path))
                taken = True
        if not taken:
            finds.refuse(file.path, "a mask without the image it belongs to")


def _is_near(one: str, other: str) -> bool:
    """Whether two folders are the same, or in the same one, or one in the other."""
    first, second = (path.replace("\\", "/").split("/") for path in (one, other))
    return first[:-1] in (second, second[:-1]) or first == second[:-1]
