# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the observations look like those that encoders were trained on.

An encoder makes embeddings of whatever it is given, and the last layer hides from them that bands
were swapped, an offset left in, or radar given in other units. The raw numbers still show it.
"""

from __future__ import annotations

from typing import Any, Dict, List

import numpy as np
from numpy.typing import NDArray

from ..encoders.spec import EncoderSpec, Stream
from .dpixel import Pixels

Warnings = List[Dict[str, object]]

_EVERY_PX = 7
"""Of these pixels one is looked at: enough to see what a whole scene has wrong."""

_MOST_MEAN_Z = 1.0
_USUAL_MEDIANS = {"VV": (3500, 8000), "VH": (1500, 6000)}
_OFFSET_LEFT_IN = 900
"""A scene whose darkest hundredth is brighter than this most likely still has the offset of 1000."""

_BIN = 64
_BINS = 65536 // _BIN


class Looks:
    """What was seen of the raw numbers so far."""

    def __init__(self, spec: EncoderSpec) -> None:
        """Have seen nothing."""
        streams = (*spec.s2.streams, *spec.s1.streams)
        self._seen = {stream.name: _Seen(stream) for stream in streams}

    def add(self, pixels: Pixels) -> None:
        """Look at some of these pixels."""
        some = slice(None, None, _EVERY_PX)
        self._seen["s2"].add(pixels.bands[:, some][pixels.is_clear[:, some]])
        for name, codes in (
            ("s1_ascending", pixels.ascending[:, some]),
            ("s1_descending", pixels.descending[:, some]),
        ):
            self._seen[name].add(codes[(codes != 0).any(axis=2)])

    def merge(self, other: Looks) -> None:
        """Have seen what another has seen."""
        for name, seen in other._seen.items():
            self._seen[name].merge(seen)

    def warnings(self) -> Warnings:
        """Return what is not as usual, as facts.

        `mean_z`: a band is far from its usual mean. `offset`: the darkest pixels of Sentinel-2 are
        too bright. `median`: radar is in other units, or its polarisations are swapped.
        """
        found: Warnings = []
        for name, seen in self._seen.items():
            if not seen.count:
                continue
            found += [
                {"what": "mean_z", "stream": name, "band": band, "value": round(float(z), 2)}
                for band, z in zip(seen.bands, seen.mean_z())
                if abs(z) > _MOST_MEAN_Z
            ]
            found += seen.offset_left_in() if name == "s2" else seen.unusual_medians()
        return found


class _Seen:
    """Sums and histograms of a stream."""

    def __init__(self, stream: Stream) -> None:
        self.bands = stream.bands
        self.count = 0
        self._stream = stream
        self._sums = np.zeros(len(stream.bands))
        self._histograms = np.zeros((len(stream.bands), _BINS), np.int64)

    def add(self, raw: NDArray[np.integer[Any]]) -> None:
        """Count valid observations, (n, bands)."""
        self.count += len(raw)
        self._sums += raw.sum(axis=0, dtype=np.float64)
        bins = np.maximum(raw, 0).astype(np.intp) // _BIN
        counted = [np.bincount(band, minlength=_BINS) for band in bins.T]
        self._histograms += np.stack(counted)

    def merge(self, other: _Seen) -> None:
        self.count += other.count
        self._sums += other._sums
        self._histograms += other._histograms

    def mean_z(self) -> NDArray[np.float64]:
        means = self._sums / self.count
        found: NDArray[np.float64] = (means - self._stream.mean) / self._stream.std
        return found

    def offset_left_in(self) -> Warnings:
        darkest = _percentile(self._histograms.sum(axis=0), 0.01)
        if darkest <= _OFFSET_LEFT_IN:
            return []
        return [{"what": "offset", "stream": self._stream.name, "value": darkest}]

    def unusual_medians(self) -> Warnings:
        return [
            {"what": "median", "stream": self._stream.name, "band": band, "value": median}
            for band, median in zip(self.bands, (_percentile(h, 0.5) for h in self._histograms))
            if not _USUAL_MEDIANS[band][0] <= median <= _USUAL_MEDIANS[band][1]
        ] + self._swapped()

    def _swapped(self) -> Warnings:
        vv, vh = (_percentile(histogram, 0.5) for histogram in self._histograms)
        if vv > vh:
            return []
        return [{"what": "swapped", "stream": self._stream.name, "bands": list(self.bands)}]


def _percentile(histogram: NDArray[np.int64], share: float) -> int:
    """Return the middle of the bin below which this share lies."""
    number = int(np.searchsorted(np.cumsum(histogram), share * histogram.sum()))
    return number * _BIN + _BIN // 2
