# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What an encoder file says about itself: all that is needed to run it without asking.

The text travels in the ONNX metadata under the key `tessera`. Reading it is strict: a file that
leaves something out, or says something unknown, is refused and never run with a default.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional, Tuple

from .strict_json import from_json, to_json

KEY = "tessera"
"""The ONNX metadata key of the text."""

SCHEMA = 1
MAX_TEXT = 4 << 20
"""Characters; the largest honest text is some hundred kilobytes."""

GENERATIONS = ("1.0", "1.0-qat", "1.1", "2.0", "2.0-teacher")
DATA_SOURCES = ("mpc", "aws", "unstated")
S2_BANDS = ("B04", "B02", "B03", "B08", "B8A", "B05", "B06", "B07", "B11", "B12")
"""The channels of `bands.npy` and of every official encoder; not in order of wavelength."""
S1_BANDS = ("VV", "VH")

S2_UNIT = "reflectance * 10000 without offset, 0 = nodata"
S1_UNIT = "400 * dB(gamma0 power) + 10000, 0 = missing"
DAY_OF_YEAR = "day of year of the UTC date, 1 January = 1, unscaled, as the last channel"

FLOAT32, FLOAT16, INT8 = "float32", "float16", "int8"
PRECISIONS = (FLOAT32, FLOAT16, INT8)

FAITHFUL_COSINE = 0.999
"""To float32, of the worst of the pixels compared."""
SAME_IN_ANY_BATCH = 1e-5
"""Largest difference between a pixel alone and the same beside others."""

BUCKETS = "buckets"
RANDOM = "random"
FILL_V2 = "v2"
FILL_V11 = "v1.1"
FILL_NONE = "none"
EMPTY_ZEROS = "zeros"
EMPTY_REFUSED = "refused"

Row = Tuple[int, ...]
Plane = Tuple[Row, ...]
Cube = Tuple[Plane, ...]


@dataclass(frozen=True)
class Stream:
    """Observations of one sensor (and orbit): what their channels are and how they are scaled.

    z = (raw - mean) / (std + epsilon), in float32.
    """

    name: str
    """"s2", "s1_ascending" or "s1_descending"."""
    product: str
    """"sentinel-2-l2a" or "sentinel-1-rtc"."""
    bands: Tuple[str, ...]
    """In channel order, without the day of year."""
    unit: str
    """S2_UNIT or S1_UNIT."""
    mean: Tuple[float, ...]
    std: Tuple[float, ...]
    epsilon: float
    valid: str
    """"mask": an observation counts where masks.npy is not 0; "any_nonzero": where any raw value
    is not 0 (never judged on z)."""

    def __post_init__(self) -> None:
        if not len(self.bands) == len(self.mean) == len(self.std) > 0:
            raise ValueError("one mean and one std per band are expected")
        if min(self.std) <= 0:
            raise ValueError("std must be positive")
        if self.valid not in {"mask", "any_nonzero"}:
            raise ValueError(f"validity by {self.valid!r} is unknown")


@dataclass(frozen=True)
class Input:
    """One input of the graph, float32 (batch, time, bands + 1).

    The last channel is the day of year. The valid observations of the streams stand one stream
    after the other, each in order of time (that is: ascending before descending, not by date).
    """

    name: str
    streams: Tuple[Stream, ...]

    def __post_init__(self) -> None:
        if not self.streams or len({stream.bands for stream in self.streams}) != 1:
            raise ValueError("the streams of an input have the same bands")

    @property
    def channels(self) -> int:
        """How many numbers an observation has, with the day of year."""
        return len(self.streams[0].bands) + 1


@dataclass(frozen=True)
class Sampling:
    """How n valid observations of a pixel become a sequence of an allowed length."""

    mode: str
    """BUCKETS: all of them, filled to the smallest length that holds them (above the longest,
    thinned to it). RANDOM: the only length is drawn without replacement, with replacement where
    there are fewer; in both cases sorted by index."""
    lengths: Tuple[int, ...]
    """Allowed lengths, ascending. The same for both inputs."""
    fill: str
    """FILL_V2 or FILL_V11 for buckets, FILL_NONE for random.

    Indices 0..n-1, then B - n more. v2: if B - n <= n, element len // 2 of each of B - n runs of
    0..n-1 (the earlier runs are longer), else 0, 1, 2... modulo n; thinned by linspace(0, n - 1, B)
    cut to integers. v1.1: the interior points of linspace(0, n - 1, B - n + 2), rounded half to
    even; thinned to element len // 2 of each of B runs."""
    empty: str
    """EMPTY_ZEROS: a sensor without valid observation is `empty_length` rows of zeros in z-space,
    day of year 0 too. EMPTY_REFUSED: with no date of a sensor in the tile the tile is refused."""
    empty_length: int
    """0 where `empty` is EMPTY_REFUSED."""
    all_if_none_valid: bool
    """Whether a pixel without any valid observation of a sensor that has dates uses all of them."""
    draws: int
    """RANDOM: how many draws are averaged; 1 otherwise."""

    def __post_init__(self) -> None:
        if not self.lengths or list(self.lengths) != sorted(set(self.lengths)):
            raise ValueError("lengths must ascend")
        if self.lengths[0] < 1 or self.lengths[-1] > 4096:
            raise ValueError("lengths lie between 1 and 4096")
        fills = {BUCKETS: {FILL_V2, FILL_V11}, RANDOM: {FILL_NONE}}
        if self.fill not in fills.get(self.mode, set()):
            raise ValueError(f"mode {self.mode!r} with filling {self.fill!r} is unknown")
        if self.mode == RANDOM and len(self.lengths) != 1:
            raise ValueError("random sampling has one length")
        if (self.empty, self.empty_length > 0) not in {(EMPTY_ZEROS, True), (EMPTY_REFUSED, False)}:
            raise ValueError(f"empty {self.empty!r} with length {self.empty_length} is unknown")
        if not 0 <= self.empty_length <= 4096 or self.draws < 1:
            raise ValueError("empty_length or draws out of range")


@dataclass(frozen=True)
class Output:
    """The output of the graph, float32 (batch, native_dimension)."""

    name: str
    native_dimension: int
    kept_dimension: int
    """The first so many are the embedding; cut before anything else is done with it."""
    prefixes: Tuple[int, ...]
    """Lengths at which the embedding may be cut; empty where none is allowed."""
    is_layer_normalised: bool
    """Mean 0 and std 1 in every pixel, whatever went in."""

    def __post_init__(self) -> None:
        if not 1 <= self.kept_dimension <= self.native_dimension <= 65536:
            raise ValueError("dimensions out of range")
        if any(not 1 <= prefix <= self.kept_dimension for prefix in self.prefixes):
            raise ValueError("a prefix is longer than the embedding")


@dataclass(frozen=True)
class Quantisation:
    """int8 codes and one float32 scale per pixel, of the kept (or cut) embedding e.

    scale = max(max|e| / 127, smallest_scale); code = e / scale, rounded half to even, not under
    `smallest_code` nor over 127. A pixel that is not encoded: codes 0, scale NaN.
    """

    smallest_scale: float
    smallest_code: int

    def __post_init__(self) -> None:
        if self.smallest_scale <= 0 or self.smallest_code not in {-127, -128}:
            raise ValueError("unknown rule")


@dataclass(frozen=True)
class Source:
    """Where the weights came from."""

    file: str
    """Name of the checkpoint, without folders."""
    sha256: str
    """Of the whole checkpoint file, 64 hexadecimal digits."""
    licence: str
    exporter: str
    """Name and version of what wrote the ONNX file, with the versions of torch and onnx."""

    def __post_init__(self) -> None:
        if re.search(r"[/\\]", self.file):
            raise ValueError("a path has no place in the file")
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError("sha256 needs 64 hexadecimal digits")


@dataclass(frozen=True)
class Parity:
    """How far ONNX Runtime was from torch, over random and edge inputs."""

    largest_difference: float
    """Largest absolute difference of any output number."""
    allowed_difference: float
    """A file that differs by more is not written: 1e-4 of the spread in float32."""
    output_spread: float
    """Standard deviation over pixels of torch's outputs, over all dimensions."""
    cases: Tuple[str, ...]
    """What was compared, in words."""

    def __post_init__(self) -> None:
        if not 0 <= self.largest_difference <= self.allowed_difference:
            raise ValueError("the difference is larger than is allowed")


@dataclass(frozen=True)
class Loss:
    """What fewer bits cost: measured against the same weights in float32."""

    cosine_mean: float
    """Of embeddings of `pixels` that no range was taken from."""
    cosine_min: float
    error_of_spread: float
    """Root mean square of the differences, over the standard deviation between pixels. Where all
    embeddings point in about one direction it tells more than a cosine."""
    pixels: int
    batch_difference: float
    """Largest absolute difference of an output number between a pixel alone and the same pixel in a
    batch with one whose inputs are saturated."""
    calibration: str
    """What the ranges of int8 were taken from; "" where no range is needed."""

    def __post_init__(self) -> None:
        if not -1 <= self.cosine_min <= self.cosine_mean <= 1 + 1e-6:
            raise ValueError("cosines out of range")
        if self.pixels < 1 or min(self.batch_difference, self.error_of_spread) < 0:
            raise ValueError("pixels or differences out of range")

    @property
    def is_faithful(self) -> bool:
        """Whether the embeddings may stand beside those of float32."""
        is_near = self.cosine_min >= FAITHFUL_COSINE
        return is_near and self.batch_difference <= SAME_IN_ANY_BATCH


@dataclass(frozen=True)
class Work:
    """Multiplications and additions of one pixel in 10^9, as a function of the sequences' lengths.

    constant + per_s2 T2 + per_s2_squared T2^2 + per_s1 T1 + per_s1_squared T1^2: the products of
    matrices, which is nearly all there is.
    """

    constant: float
    per_s2: float
    per_s2_squared: float
    per_s1: float
    per_s1_squared: float

    def __post_init__(self) -> None:
        parts = (self.constant, self.per_s2, self.per_s2_squared, self.per_s1, self.per_s1_squared)
        if min(parts) < 0:
            raise ValueError("work is not negative")

    def of(self, s2: int, s1: int) -> float:
        """Return GFLOP of a pixel with sequences of these lengths."""
        optical = self.per_s2 * s2 + self.per_s2_squared * s2**2
        return self.constant + optical + self.per_s1 * s1 + self.per_s1_squared * s1**2


@dataclass(frozen=True)
class SelfTest:
    """A d-pixel tile of one row and n pixels in raw numbers, and the embeddings it must give.

    Shapes as in a d-pixel folder with H = 1 left out. Nothing in it is drawn by chance: where
    sampling is random, every draw takes all observations.
    """

    bands: Cube
    """(T2, n, 10) as bands.npy."""
    masks: Plane
    """(T2, n), 1 = usable."""
    doys: Row
    """(T2,)"""
    ascending: Cube
    """(Ta, n, 2) as sar_ascending.npy."""
    ascending_doys: Row
    descending: Cube
    """(Td, n, 2)"""
    descending_doys: Row
    expected: Tuple[Tuple[float, ...], ...]
    """(n, kept_dimension), by torch in float32; for int8 by the graph itself on a processor."""
    tolerance: float
    """Largest absolute difference that passes, on any device."""

    def __post_init__(self) -> None:
        n = len(self.expected)
        ok = len(self.bands) == len(self.masks) == len(self.doys) and n > 0
        ok = ok and len(self.ascending) == len(self.ascending_doys)
        ok = ok and len(self.descending) == len(self.descending_doys)
        planes = (*self.bands, *self.ascending, *self.descending)
        ok = ok and all(len(plane) == n for plane in (*planes, *self.masks))
        if not ok or self.tolerance <= 0:
            raise ValueError("the shapes don't agree")


@dataclass(frozen=True)
class EncoderSpec:
    """All that is needed to run an encoder file."""

    schema: int
    """SCHEMA; a greater one is refused."""
    name: str
    """For people and file names: "tessera-2.0-medium", "tessera-1.1-aws"."""
    generation: str
    """One of GENERATIONS."""
    size: str
    """"nano", "small", "medium", "large", "teacher", "custom"; "" where a generation has one size."""
    data_source: str
    """One of DATA_SOURCES: whose Sentinel data the normalisation (and the training) is for."""
    space: str
    """The embedding space. Embeddings of different spaces are never mixed."""
    heads: int
    """Attention heads: not to be seen in the weights, and wrong ones load without complaint."""
    precision: str
    """One of PRECISIONS: of the large products. Inputs and outputs are float32 in all of them."""
    loss: Optional[Loss]
    """None in float32."""
    is_fast_preview: bool
    """Whether the loss is such that the embeddings must not stand beside those of float32."""
    gflop_per_px: Work
    is_order_sensitive: bool
    """Whether the order of a pixel's observations changes its embedding."""
    s2: Input
    """Stream "s2"."""
    s1: Input
    """Streams "s1_ascending", "s1_descending", in this order."""
    day_of_year: str
    """DAY_OF_YEAR."""
    sampling: Sampling
    output: Output
    quantisation: Quantisation
    source: Source
    parity: Parity
    self_test: SelfTest

    def __post_init__(self) -> None:
        known = {
            "schema": (self.schema, (SCHEMA,)),
            "generation": (self.generation, GENERATIONS),
            "data_source": (self.data_source, DATA_SOURCES),
            "precision": (self.precision, PRECISIONS),
            "day_of_year": (self.day_of_year, (DAY_OF_YEAR,)),
        }
        for field, (value, allowed) in known.items():
            if value not in allowed:
                raise ValueError(f"{field} {value!r} is unknown; known: {allowed}")
        streams = [stream.name for stream in (*self.s2.streams, *self.s1.streams)]
        if streams != ["s2", "s1_ascending", "s1_descending"]:
            raise ValueError(f"streams {streams} are not those of a d-pixel folder")
        if not self.name or not self.space or self.heads < 1:
            raise ValueError("name, space and heads must be given")
        if (self.loss is None) != (self.precision == FLOAT32):
            raise ValueError(f"loss must {'not ' * (self.loss is not None)}be given")
        if self.is_fast_preview != (self.loss is not None and not self.loss.is_faithful):
            raise ValueError("is_fast_preview does not follow from the loss")
        self._check_self_test()

    def _check_self_test(self) -> None:
        test, bands, sar = self.self_test, self.s2.channels - 1, self.s1.channels - 1
        widths = [len(row) == bands for plane in test.bands for row in plane]
        widths += [len(r) == sar for p in (*test.ascending, *test.descending) for r in p]
        widths += [len(row) == self.output.kept_dimension for row in test.expected]
        if not all(widths):
            raise ValueError("self_test: the shapes don't agree with bands and dimension")


def spec_to_text(spec: EncoderSpec) -> str:
    """Return the JSON text for the metadata key KEY. Raises: ValueError for numbers not finite."""
    return to_json(spec)


def spec_from_text(text: str) -> EncoderSpec:
    """Read the JSON text of the metadata key KEY.

    Raises: ValueError that names the field that is missing, unknown, of another type or out of
    range, and for a schema newer than this code.
    """
    if len(text) > MAX_TEXT:
        raise ValueError(f"{KEY}: {len(text)} characters are more than {MAX_TEXT}")
    newer = re.match(r'\s*\{\s*"schema"\s*:\s*(\d{1,9})\s*,', text)
    if newer and int(newer.group(1)) > SCHEMA:
        raise ValueError(f"{KEY}: schema {newer.group(1)} is newer than {SCHEMA}")
    return from_json(text, EncoderSpec, KEY)
