# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is unusual about the inputs of an encoder, in sentences.

An encoder makes plausible embeddings of wrong inputs: units, offsets and swapped bands only show in
the raw numbers.
"""

from __future__ import annotations

from typing import Any, List, Mapping, Sequence, Tuple

_SENSORS: Mapping[str, str] = {
    "s2": "Sentinel-2",
    "s1_ascending": "Sentinel-1 (ascending)",
    "s1_descending": "Sentinel-1 (descending)",
}

_FAR = "{sensor}: {bands} differ much from what the encoder was trained on; are the units and the order of the bands right?"
_MEDIAN = "{sensor}: the usual {bands} is not what the encoder knows; is it gamma nought in the unit that was chosen?"
_SWAPPED = "{sensor}: VV is not brighter than VH; are they swapped?"
_OFFSET = "{sensor}: even the darkest pixels are bright, as if the offset of 1000 was left in."


def sentences(told: Sequence[Mapping[str, Any]]) -> Tuple[str, ...]:
    """Return a worker's warnings as sentences, one per sensor and kind."""
    grouped: List[Tuple[str, str, List[str]]] = []
    for fact in told:
        what, stream = str(fact["what"]), str(fact["stream"])
        band = str(fact.get("band", ""))
        for known_what, known_stream, bands in grouped:
            if (known_what, known_stream) == (what, stream):
                bands.append(band)
                break
        else:
            grouped.append((what, stream, [band]))
    return tuple(_sentence(*group) for group in grouped)


def _sentence(what: str, stream: str, bands: Sequence[str]) -> str:
    texts = {"mean_z": _FAR, "median": _MEDIAN, "swapped": _SWAPPED, "offset": _OFFSET}
    text = texts.get(what, "{sensor}: " + what)
    return text.format(sensor=_SENSORS.get(stream, stream), bands=", ".join(bands))
