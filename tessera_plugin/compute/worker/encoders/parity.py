# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""How far the ONNX graph is from the network it was made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, List, Tuple

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from .architectures import Encoder
from .builder import INPUTS, OUTPUT
from .graph import ExportRefused
from .progress import Report, silent
from .self_test import Embed
from .spec import EMPTY_ZEROS, FLOAT16, FLOAT32, INT8, Input, Parity, Sampling

ALLOWED_OF_SPREAD = {FLOAT32: 1e-4, FLOAT16: 3e-2, INT8: 5.0}
"""By precision. int8 is judged by its cosine; this finds only what is altogether wrong, since some
of the inputs compared lie far beyond its ranges."""
_MOST_OBSERVATIONS = 256

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """Inputs to compare with: (B, T2, 11) and (B, T1, 3)."""

    words: str
    s2: Floats
    s1: Floats


def cases(s1: Input, sampling: Sampling, seed: int = 0) -> Iterator[Case]:
    """Yield random inputs of many lengths, and those at the edge of what a pixel can have."""
    rng = np.random.default_rng(seed)

    def drawn(batch: int, time: int, bands: int, spread: float = 1.0) -> Floats:
        z = spread * rng.standard_normal((batch, time, bands))
        doys = np.sort(rng.integers(1, 367, (batch, time, 1)), axis=1)
        return np.asarray(np.concatenate([z, doys], axis=2), np.float32)

    def both(words: str, batch: int, s2_time: int, s1_time: int, spread: float = 1.0) -> Case:
        pair = (drawn(batch, s2_time, 10, spread), drawn(batch, s1_time, 2, spread))
        return Case(f"{words} ({batch} x {s2_time}, {s1_time})", *pair)

    yield both("random", 7, 40, 40)
    yield both("random", 5, 8, 136)
    yield both("random", 2, 64, 24)
    yield both("random, far from the mean", 4, 16, 8, spread=8.0)
    yield both("one observation of each", 3, 1, 1)
    yield both("one pixel with one optical observation", 1, 1, 8)
    yield both("one radar observation", 3, 8, 1)
    yield both("256 observations", 2, _MOST_OBSERVATIONS, _MOST_OBSERVATIONS)
    yield Case("no radar", drawn(3, 40, 10), _no_radar(3, s1, sampling))
    descending = drawn(3, 32, 2)
    descending[:, 16:] = descending[:, :16]
    yield Case("only descending, filled by repeats", drawn(3, 40, 10), descending)


def _no_radar(batch: int, s1: Input, sampling: Sampling) -> Floats:
    """Return what stands for a sensor that saw nothing: (batch, T1, 3)."""
    if sampling.empty == EMPTY_ZEROS:
        return np.zeros((batch, sampling.empty_length, s1.channels), np.float32)
    stream = s1.streams[0]
    z = -np.array(stream.mean) / (np.array(stream.std) + stream.epsilon)
    time = sampling.lengths[-1]
    out = np.empty((batch, time, s1.channels), np.float32)
    out[..., :-1] = z
    out[..., -1] = np.rint(np.linspace(1, 365, time))
    return out


def measure(
    encoder: Encoder,
    session: ort.InferenceSession,
    s1: Input,
    sampling: Sampling,
    report: Report = silent,
    *,
    precision: str = FLOAT32,
) -> Parity:
    """Compare the network with its graph on all cases.

    Raises: ExportRefused where they differ by more than ALLOWED_OF_SPREAD, the spread being that
    over pixels, where a result is not finite, and where a length does not run.
    """
    compared = list(cases(s1, sampling))
    words = [case.words for case in compared]
    found = []
    for number, case in enumerate(compared):
        report(number / len(compared), f"comparing with torch: {case.words}")
        found.append(_outputs(encoder, session, case))
    differences = [float(np.abs(ours - theirs).max()) for ours, theirs in found]
    spread = _spread([ours for ours, _theirs in found])
    worst = int(np.argmax(differences))
    allowed = ALLOWED_OF_SPREAD[precision] * spread
    if not differences[worst] <= allowed:
        raise ExportRefused(
            f"torch and ONNX Runtime differ by {differences[worst]:.3g} ({words[worst]}), more than "
            f"{ALLOWED_OF_SPREAD[precision]:g} of the spread {spread:.3g}"
        )
    return Parity(differences[worst], allowed, spread, tuple(words))


def _spread(outputs: List[Floats]) -> float:
    """Return the standard deviation over pixels, over all dimensions."""
    together = np.concatenate(outputs).astype(np.float64)
    return float(np.sqrt(together.var(axis=0).mean()))


def by_torch(encoder: Encoder) -> Embed:
    """Return the network as a function of arrays."""

    def embed(s2: Floats, s1: Floats) -> Floats:
        with torch.inference_mode():
            found: Floats = encoder(torch.from_numpy(s2), torch.from_numpy(s1)).numpy()
        return found

    return embed


def by_graph(session: ort.InferenceSession) -> Embed:
    """Return a graph as a function of arrays."""

    def embed(s2: Floats, s1: Floats) -> Floats:
        found: Floats = session.run([OUTPUT], dict(zip(INPUTS, (s2, s1))))[0]
        return found

    return embed


def _outputs(encoder: Encoder, session: ort.InferenceSession, case: Case) -> Tuple[Floats, Floats]:
    ours = by_torch(encoder)(case.s2, case.s1)
    try:
        theirs = by_graph(session)(case.s2, case.s1)
    except Exception as error:
        raise ExportRefused(f"the graph does not run with {case.words}: {error}") from error
    if ours.shape != theirs.shape or not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        raise ExportRefused(f"with {case.words} the result is not whole: {theirs.shape}")
    return ours, theirs
