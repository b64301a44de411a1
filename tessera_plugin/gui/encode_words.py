# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is told around encoding, in sentences: of encoders, images, time, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, List, Mapping, Sequence, Tuple

from qgis.PyQt.QtCore import QCoreApplication

from ..tasks.diagnostics import device_name
from ..values import PIXEL_M, Window
from . import text

if TYPE_CHECKING:
    from ..engine.dpixels import Placed, Scenes
    from ..engine.encoders import EncoderFacts
    from ..engine.stac import StacPlan
    from ..engine.worker import Device
    from ..tasks.encode_jobs import SceneEncoded
    from ..tasks.encode_lookups import Estimated

NAMED_WARNINGS = 4
"""So many of what was met are told; of more only the number."""

CPU = "CPUExecutionProvider"

translate = QCoreApplication.translate


# --- encoders


def space(facts: EncoderFacts) -> str:
    """Return the embedding space, and what follows from it."""
    return translate("Encode", "{} (a head works only within one space)").format(facts.space)


def precision(facts: EncoderFacts) -> str:
    """Return what an encoder computes in, and what that costs."""
    if facts.is_fast_preview:
        return translate(
            "Encode", "{}: a fast preview. A pixel's numbers depend a little on its neighbours."
        ).format(facts.precision)
    loss = facts.told.get("loss")
    if isinstance(loss, Mapping) and "cosine_mean" in loss:
        return translate("Encode", "{}, {} alike to float32 on average").format(
            facts.precision, text.percent(float(loss["cosine_mean"]), 2)
        )
    return facts.precision


def needs(facts: EncoderFacts) -> str:
    """Return what images an encoder asks for."""
    if facts.needs_s1:
        return translate("Encode", "Sentinel-2 and Sentinel-1 images of a year")
    return translate("Encode", "Sentinel-2 images of a year, better with Sentinel-1")


def source(facts: EncoderFacts) -> str:
    """Return where an encoder comes from."""
    providers = {
        "mpc": translate("Encode", "trained on data of the Planetary Computer"),
        "aws": translate("Encode", "trained on data of AWS"),
    }
    told = [facts.source_file or text.NONE, providers.get(facts.data_source, "")]
    return ", ".join(each for each in told if each)


def exported(facts: EncoderFacts) -> str:
    """Return that an encoder was made, and how near it is to its checkpoint."""
    parity = facts.told.get("parity")
    told = [translate("Encode", "The encoder is made, and checked against its checkpoint.")]
    if isinstance(parity, Mapping) and isinstance(parity.get("largest"), float):
        told.append(
            translate("Encode", "Largest difference: {}.").format(f"{parity['largest']:.1e}")
        )
    return text.join(told)


def device(each: Device) -> str:
    """Return a device as an entry of a list."""
    named = device_name(each.id)
    name = translate("Encode", "{} ({})").format(named, each.name) if each.name else named
    name = name[:1].upper() + name[1:]
    if each.works:
        return name
    return translate("Encode", "{}: can't be used").format(name)


# --- images


def scenes(used: Scenes) -> str:
    """Return how many images there are, and from when to when."""
    optical = sorted({each.date for each in used.s2})
    radar = sorted({each.date for each in used.s1})
    told: List[str] = []
    if optical:
        told.append(
            text.counted(
                len(optical),
                translate("Encode", "Sentinel-2: {} date, {}."),
                translate("Encode", "Sentinel-2: {} dates, {} to {}."),
                optical[0].isoformat(),
                optical[-1].isoformat(),
            )
        )
    if radar:
        told.append(
            text.counted(
                len(radar),
                translate("Encode", "Sentinel-1: {} date, {}."),
                translate("Encode", "Sentinel-1: {} dates, {} to {}."),
                radar[0].isoformat(),
                radar[-1].isoformat(),
            )
        )
    elif optical:
        told.append(translate("Encode", "No Sentinel-1."))
    return "\n".join(told)


def size(window: Window) -> str:
    """Return how large a window is."""
    return translate("Encode", "{} \u00d7 {} = {}, {}").format(
        text.count(window.width), text.count(window.height), text.counted_pixels(window.pixels),
        text.area_km2(window.pixels * PIXEL_M * PIXEL_M / 1e6),
    )  # fmt: skip


def found(plan: StacPlan) -> str:
    """Return what catalogues have, a line each, and what it takes to download it."""
    return "\n".join(plan.sentences)


def placed(found: Placed) -> str:
    """Return where a d-pixel folder lies, and what is known of it."""
    told = [
        translate("Encode", "It lies in UTM zone {}: {}.").format(
            found.window.zone, size(found.window)
        )
    ]
    if found.first_date:
        told.append(
            translate("Encode", "Images from {} to {}.").format(found.first_date, found.last_date)
        )
    if found.moved_m:
        told.append(
            translate(
                "Encode",
                "It is not on the 10 m grid: its pixels are moved by {} m, without blending any.",
            ).format(text.decimal(found.moved_m, 1))
        )
    return text.join(told)


# --- time


def estimate(found: Estimated) -> str:
    """Return what encoding takes."""
    taken = found.estimate
    told = [
        translate("Encode", "{}: {} on the {}, and {} for the embeddings.").format(
            text.counted_pixels(taken.pixels), _about(taken.seconds), device_name(taken.device),
            text.size(taken.bytes),
        )
    ]  # fmt: skip
    if found.inputs_bytes:
        told.append(
            translate("Encode", "The inputs take {} beside it while it runs.").format(
                text.size(found.inputs_bytes)
            )
        )
    return text.join([*told, *refusals(taken.refused)])


def _about(seconds: float) -> str:
    """Return a duration that was measured on a few pixels only."""
    if seconds < 10:
        return translate("Encode", "a few seconds")
    if seconds < 90:
        return translate("Encode", "about a minute")
    if seconds < 5400:
        return translate("Encode", "about {} minutes").format(text.decimal(seconds / 60, 0))
    return translate("Encode", "about {} hours").format(text.decimal(seconds / 3600, 1))


def refusals(refused: Sequence[Tuple[str, str]]) -> Tuple[str, ...]:
    """Return why better devices are not used."""
    words = translate("Encode", "The {} is not used: {}.")
    return tuple(words.format(device_name(name), why.rstrip(".")) for name, why in refused)


# --- what came of it


def result(done: SceneEncoded) -> str:
    """Return what was encoded, in one paragraph, and what is unusual, a line each."""
    found = done.result
    told = [
        translate("Encode", "{} of {} pixels are encoded, in {} on the {}.").format(
            text.count(found.encoded_px), text.count(found.pixels), text.seconds(found.seconds),
            device_name(found.device),
        )
    ]  # fmt: skip
    if found.nodata_px:
        told.append(
            text.counted(
                found.nodata_px,
                translate("Encode", "{} has no data: Sentinel-2 never saw it without clouds."),
                translate("Encode", "{} have no data: Sentinel-2 never saw them without clouds."),
            )
        )
    if found.few_px:
        told.append(
            text.counted(
                found.few_px,
                translate("Encode", "{} was seen fewer than 15 times: trust it less."),
                translate("Encode", "{} were seen fewer than 15 times: trust them less."),
            )
        )
    if found.moved_m:
        told.append(
            translate("Encode", "The inputs were moved by {} m onto the grid.").format(
                text.decimal(found.moved_m, 1)
            )
        )
    told += refusals(found.refused)
    return "\n".join([text.join(told), *_unusual(done)])


def _unusual(done: SceneEncoded) -> List[str]:
    every = [*done.result.warnings, *(_sentence(each) for each in done.warnings)]
    told = list(every[:NAMED_WARNINGS])
    if len(every) > NAMED_WARNINGS:
        told.append(translate("Encode", "And {} more.").format(len(every) - NAMED_WARNINGS))
    if done.dropped:
        name, why = done.dropped[0]
        told.append(
            translate("Encode", "{} images were not used; the first: {}, {}.").format(
                len(done.dropped), name, why.rstrip(".")
            )
        )
    return told


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:].rstrip('.')}."
