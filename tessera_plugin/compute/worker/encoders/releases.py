# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known of each official release and can't be seen in its tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Sequence, Tuple

from .spec import (
    BUCKETS,
    EMPTY_REFUSED,
    EMPTY_ZEROS,
    FILL_NONE,
    FILL_V2,
    FILL_V11,
    RANDOM,
    S1_BANDS,
    S1_UNIT,
    S2_BANDS,
    S2_UNIT,
    Input,
    Quantisation,
    Sampling,
    Stream,
)

LICENCE = "CC0-1.0"
"""Of all official weights."""

OFFICIAL_STUDENTS = {
    "bc9929e3643dfab2744c2ce14e7c14f698703a94e9562e4e0982f9d6540b0691": "nano",
    "92619d4ffc2936895f145fdcf710140b58c23c860e02f01873828b10c6958d95": "small",
    "3823be7db9d9cfc93f3c2a47c7699be82821ab4e1117d4d2befdb746941ee96e": "medium",
    "b5f20239dbb1849c01a3e407b095aafe39b0bf764300206af78cb9b85f9ec1e1": "large",
}
"""SHA-256 of the released v2 students, as others have published them."""

_OFFICIAL_V1 = {
    "best_model_fsdp_20250427_084307.pt",
    "best_model_fsdp_20250608_220648_QAT.pt",
    "tessera_v1_1_mpc_encoder.pt",
    "tessera_v1_1_aws_encoder.pt",
}

EPSILON = 1e-9
V1_SCALE_FLOOR = 1e-8
V2_SCALE_FLOOR = 1e-12 / 127

Numbers = Tuple[float, ...]


@dataclass(frozen=True)
class Scaling:
    """Mean and std of every channel, in the order of S2_BANDS and S1_BANDS."""

    s2_mean: Numbers
    s2_std: Numbers
    ascending_mean: Numbers
    ascending_std: Numbers
    descending_mean: Numbers
    descending_std: Numbers


# fmt: off
_V1_0 = Scaling(
    (1711.0938, 1308.8511, 1546.4543, 3010.1293, 3106.5083,
     2068.3044, 2685.0845, 2931.5889, 2514.6928, 1899.4922),
    (1926.1026, 1862.9751, 1803.1792, 1741.7837, 1677.4543,
     1888.7862, 1736.3090, 1715.8104, 1514.5199, 1398.4779),
    (5484.0407, 3003.7812), (1871.2334, 1726.0670),
    (5484.0407, 3003.7812), (1871.2334, 1726.0670),
)
_V1_1_MPC = Scaling(
    (2683.4553, 2223.3630, 2432.0950, 3633.1970, 3602.1755,
     3006.4324, 3400.2710, 3515.6392, 2456.9163, 1983.8783),
    (2739.5217, 2846.2993, 2690.8250, 2290.0439, 2088.8970,
     2673.1106, 2381.4521, 2229.5225, 1601.0942, 1495.3545),
    (5588.3291, 3025.6270), (1713.4646, 1693.0471),
    (5552.9683, 2955.0520), (1685.5857, 1677.6414),
)
_V1_1_AWS = Scaling(
    (2793.6589, 2356.7776, 2551.0496, 3741.9229, 3713.7844,
     3120.1997, 3516.3342, 3637.0342, 2501.0283, 2038.1504),
    (2810.0093, 2933.8835, 2755.6360, 2344.5027, 2145.7986,
     2743.9019, 2438.8601, 2286.5977, 1680.7367, 1585.5529),
    (5697.0859, 2838.6687), (1671.3737, 1789.4116),
    (5759.1367, 2873.2854), (1583.2858, 1747.8390),
)
_V2_STUDENTS = Scaling(
    (1633.0042, 1341.1090, 1539.5536, 3054.8269, 3117.4658,
     2004.1648, 2694.7275, 2945.1504, 2266.6079, 1657.3094),
    (1999.4603, 2014.7549, 1929.2201, 1754.2493, 1649.9807,
     1936.8988, 1748.6041, 1708.6991, 1207.5250, 1108.6046),
    (5909.3921, 3405.0322), (1507.1750, 1531.2615),
    (5816.1382, 3277.7576), (1554.6475, 1546.4733),
)
_V2_TEACHER = Scaling(
    _V2_STUDENTS.s2_mean, _V2_STUDENTS.s2_std,
    (5862.7652, 3341.3949), (1531.8051, 1540.2014),
    (5862.7652, 3341.3949), (1531.8051, 1540.2014),
)
# fmt: on

_BUCKET_LENGTHS = tuple(range(8, 257, 8))


@dataclass(frozen=True)
class Rules:
    """How a generation is fed and what becomes of its output."""

    sampling: Sampling
    quantisation: Quantisation
    scaling: Dict[str, Scaling]
    """By data source."""
    kept_dimension: int
    """Numbers of the output that are the embedding; 0 stands for all."""


def _buckets(fill: str, empty_length: int) -> Sampling:
    return Sampling(
        mode=BUCKETS,
        lengths=_BUCKET_LENGTHS,
        fill=fill,
        empty=EMPTY_ZEROS,
        empty_length=empty_length,
        all_if_none_valid=False,
        draws=1,
    )


# With no radar date at all v1.0 crashes upstream and its QAT form makes up a row: both are refused.
_FORTY = Sampling(
    mode=RANDOM,
    lengths=(40,),
    fill=FILL_NONE,
    empty=EMPTY_REFUSED,
    empty_length=0,
    all_if_none_valid=True,
    draws=1,
)
_V1_CODES = Quantisation(V1_SCALE_FLOOR, -128)
_V2_CODES = Quantisation(V2_SCALE_FLOOR, -127)

RULES: Dict[str, Rules] = {
    "1.0": Rules(_FORTY, _V1_CODES, {"unstated": _V1_0}, 0),
    "1.0-qat": Rules(_FORTY, _V1_CODES, {"unstated": _V1_0}, 0),
    "1.1": Rules(_buckets(FILL_V11, 8), _V1_CODES, {"mpc": _V1_1_MPC, "aws": _V1_1_AWS}, 128),
    # Said by others to be trained on MPC; the release itself names no source.
    "2.0": Rules(_buckets(FILL_V2, 1), _V2_CODES, {"unstated": _V2_STUDENTS}, 0),
    "2.0-teacher": Rules(_buckets(FILL_V2, 1), _V2_CODES, {"unstated": _V2_TEACHER}, 0),
}


def inputs_of(scaling: Scaling) -> Tuple[Input, Input]:
    """Return the inputs of a graph: Sentinel-2, Sentinel-1."""

    def radar(orbit: str, mean: Sequence[float], std: Sequence[float]) -> Stream:
        name, product = f"s1_{orbit}", "sentinel-1-rtc"
        bands, valid = S1_BANDS, "any_nonzero"
        return Stream(name, product, bands, S1_UNIT, tuple(mean), tuple(std), EPSILON, valid)

    optical = Stream(
        "s2",
        "sentinel-2-l2a",
        S2_BANDS,
        S2_UNIT,
        scaling.s2_mean,
        scaling.s2_std,
        EPSILON,
        "mask",
    )
    orbits = (
        radar("ascending", scaling.ascending_mean, scaling.ascending_std),
        radar("descending", scaling.descending_mean, scaling.descending_std),
    )
    return Input("s2_input", (optical,)), Input("s1_input", orbits)


def licence_of(file: str, sha256: str) -> str:
    """Return the licence of a checkpoint's weights, which no checkpoint names itself."""
    if sha256 in OFFICIAL_STUDENTS or file in _OFFICIAL_V1:
        return LICENCE
    return f"not stated; the official weights of this kind: {LICENCE}"
