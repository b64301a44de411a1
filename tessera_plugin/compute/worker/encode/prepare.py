# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""From the raw observations of many pixels to the inputs of an encoder, as its spec asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from ..encoders.spec import EncoderSpec, Input, Sampling
from .dpixel import Pixels
from .sampling import Ints, Keys, choose, lengths_of, mixed

Inputs = Dict[str, NDArray[np.float32]]
"""By the name of the graph's input: (pixels, time, bands + 1)."""

_Codes = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class _Series:
    """What one input of the graph is made of, for n pixels; T over all its streams, in order."""

    name: str
    raw: _Codes
    """(T, n, bands), as on disk."""
    is_valid: NDArray[np.bool_]
    """(T, n)."""
    doys: NDArray[np.float32]
    """(T,)."""
    mean: NDArray[np.float32]
    """(T, bands): each stream has its own."""
    divisor: NDArray[np.float32]
    """(T, bands)."""

    @property
    def counts(self) -> Ints:
        counts: Ints = self.is_valid.sum(axis=0, dtype=np.intp)
        return counts

    def sequences(
        self, px: Ints, length: int, sampling: Sampling, keys: Keys
    ) -> NDArray[np.float32]:
        """Return (pixels, length, bands + 1), the day of year last; zeros where n is 0."""
        bands = self.raw.shape[2]
        out = np.zeros((len(px), length, bands + 1), np.float32)
        is_valid = self.is_valid[:, px]
        counts = is_valid.sum(axis=0, dtype=np.intp)
        some = counts > 0
        if not some.any():
            return out
        in_time = np.argsort(~is_valid, axis=0, kind="stable")  # the valid ones first
        position = choose(counts, length, sampling, keys)
        when = np.take_along_axis(in_time.T, position, axis=1)[some]  # (some, length)
        z = self.raw[when, px[some, None]].astype(np.float32)  # (some, length, bands)
        z -= self.mean[when]
        z /= self.divisor[when]
        out[some, :, :bands] = z
        out[some, :, bands] = self.doys[when]
        return out


class Prepared:
    """The pixels of a block, ready to be taken batch by batch."""

    def __init__(self, pixels: Pixels, spec: EncoderSpec, keys: Keys) -> None:
        """`keys` (n,) decide what is drawn by chance, where the encoder asks for that."""
        self._sampling = spec.sampling
        self._keys = keys
        self._streams = _raw_streams(pixels)
        self._series = [
            _series(entry, self._streams, spec.sampling) for entry in (spec.s2, spec.s1)
        ]
        lengths = [lengths_of(series.counts, spec.sampling) for series in self._series]
        self._lengths: Tuple[Ints, Ints] = (lengths[0], lengths[1])
        self.is_encoded = _is_seen(pixels) & (lengths[0] > 0) & (lengths[1] > 0)
        """(n,): Sentinel-2 has seen the pixel, and what the encoder needs beside is there."""

    @property
    def counts(self) -> NDArray[np.uint16]:
        """How many observations of Sentinel-2, ascending and descending are valid: (n, 3)."""
        found = [is_valid.sum(axis=0) for _, is_valid, _ in self._streams.values()]
        counts: NDArray[np.uint16] = np.stack(found, axis=1).astype(np.uint16)
        return counts

    def alike(self) -> List[Ints]:
        """Return the pixels to encode, those that are equally long together."""
        px = np.flatnonzero(self.is_encoded)
        s2, s1 = (lengths[px] for lengths in self._lengths)
        order = np.lexsort((s1, s2))
        ends = np.flatnonzero(np.diff(s2[order]) | np.diff(s1[order])) + 1
        return np.split(px[order], ends) if len(px) else []

    def batches(self, most_px: Callable[[], int]) -> Iterator[Ints]:
        """Yield the pixels to encode, equally long, at most as many as `most_px` says by then."""
        for alike in self.alike():
            start = 0
            while start < len(alike):
                stop = start + max(most_px(), 1)
                yield alike[start:stop]
                start = stop

    def lengths(self, px: Ints) -> Tuple[int, int]:
        """Return the lengths of the two sequences of pixels that are equally long."""
        return int(self._lengths[0][px[0]]), int(self._lengths[1][px[0]])

    def inputs(self, px: Ints, draw: int = 0) -> Inputs:
        """Return the inputs of pixels that are equally long; `draw` counts the random choices."""
        inputs: Inputs = {}
        for number, (series, lengths) in enumerate(zip(self._series, self._lengths)):
            salt = np.uint64(2 * draw + number)
            keys = mixed(self._keys[px] ^ mixed(np.full(len(px), salt)))
            inputs[series.name] = series.sequences(px, int(lengths[px[0]]), self._sampling, keys)
        return inputs


_Raw = Tuple[_Codes, NDArray[np.bool_], NDArray[np.int32]]
"""(T, n, bands) as on disk, (T, n) whether an observation is valid, (T,) days of year."""


def _raw_streams(pixels: Pixels) -> Dict[str, _Raw]:
    """Return the observations by the stream's name. Validity is judged on raw numbers, never on z."""
    ascending, descending = pixels.ascending, pixels.descending
    return {
        "s2": (pixels.bands, pixels.is_clear, pixels.s2_doys),
        "s1_ascending": (ascending, (ascending != 0).any(axis=2), pixels.ascending_doys),
        "s1_descending": (descending, (descending != 0).any(axis=2), pixels.descending_doys),
    }


def _series(entry: Input, streams: Dict[str, _Raw], sampling: Sampling) -> _Series:
    """Put the streams of an input one after the other, not by date: encoders may mind the order."""
    raws = [streams[stream.name] for stream in entry.streams]
    is_valid = np.concatenate([valid for _, valid, _ in raws])
    if sampling.all_if_none_valid:
        is_valid = is_valid | ~is_valid.any(axis=0)
    dates = [len(raw) for raw, _, _ in raws]
    means = np.array([stream.mean for stream in entry.streams], np.float32)
    stds = np.array([stream.std for stream in entry.streams], np.float32)
    epsilons = np.array([[stream.epsilon] for stream in entry.streams], np.float32)
    return _Series(
        name=entry.name,
        raw=_joined([raw for raw, _, _ in raws]),
        is_valid=is_valid,
        doys=np.concatenate([doys for _, _, doys in raws]).astype(np.float32),
        mean=np.repeat(means, dates, axis=0),
        divisor=np.repeat(stds + epsilons, dates, axis=0),
    )


def _joined(parts: Sequence[_Codes]) -> _Codes:
    """Return arrays one after the other; a single one as it is, since a copy takes its memory."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _is_seen(pixels: Pixels) -> NDArray[np.bool_]:
    """Return whether a clear observation of Sentinel-2 says anything: (n,)."""
    seen: NDArray[np.bool_] = (pixels.is_clear & (pixels.bands != 0).any(axis=2)).any(axis=0)
    return seen
