# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""The constants of each release, checked by sums of the published tables and by physics."""

import pytest

from tessera_plugin.compute.worker.encoders.releases import (
    OFFICIAL_STUDENTS,
    RULES,
    inputs_of,
    licence_of,
)
from tessera_plugin.compute.worker.encoders.spec import FILL_V2, FILL_V11, S2_BANDS

# Sums over the ten bands, worked out from the published table: mean, std; first mean and last std.
S2_SUMS = {
    ("1.0", "unstated"): (22782.1996, 17265.3983, 1711.0938, 1398.4779),
    ("1.0-qat", "unstated"): (22782.1996, 17265.3983, 1711.0938, 1398.4779),
    ("1.1", "mpc"): (28937.4230, 23036.1208, 2683.4553, 1495.3545),
    ("1.1", "aws"): (29969.9402, 23725.4794, 2793.6589, 1585.5529),
    ("2.0", "unstated"): (22253.9195, 17057.9969, 1633.0042, 1108.6046),
    ("2.0-teacher", "unstated"): (22253.9195, 17057.9969, 1633.0042, 1108.6046),
}
ALL = sorted(S2_SUMS)


def streams(generation, source):
    s2, s1 = inputs_of(RULES[generation].scaling[source])
    return (*s2.streams, *s1.streams)


def test_every_release_has_its_own_scaling():
    assert sorted((g, source) for g, rules in RULES.items() for source in rules.scaling) == ALL
    distinct = {streams(*release) for release in ALL}
    assert len(distinct) == len(ALL) - 1, "v1.0 and its QAT form share theirs"


@pytest.mark.parametrize("release", ALL)
def test_optical_scaling_is_the_published_one_in_the_order_of_the_channels(release):
    optical = streams(*release)[0]
    found = (sum(optical.mean), sum(optical.std), optical.mean[0], optical.std[-1])
    assert found == pytest.approx(S2_SUMS[release], abs=1e-3)
    mean = dict(zip(optical.bands, optical.mean))
    assert optical.bands == S2_BANDS
    assert mean["B02"] < mean["B04"] < mean["B05"] < mean["B06"] < mean["B07"]
    assert mean["B12"] < mean["B11"] < mean["B08"]


@pytest.mark.parametrize("release", ALL)
def test_radar_scaling_is_land_in_the_upstream_code(release):
    for stream in streams(*release)[1:]:
        vv, vh = ((code - 10000) / 400 for code in stream.mean)
        assert -11.3 < vv < -10.1
        assert -17.95 < vh < -16.4
        assert stream.bands == ("VV", "VH")
        assert all(1500 < std < 1900 for std in stream.std)
        assert stream.valid == "any_nonzero"


@pytest.mark.parametrize("release", ALL)
def test_orbits_have_their_own_scaling_but_where_they_were_pooled(release):
    _s2, ascending, descending = streams(*release)
    is_pooled = release[0] in {"1.0", "1.0-qat", "2.0-teacher"}
    assert (ascending.mean == descending.mean) == is_pooled
    assert (ascending.std == descending.std) == is_pooled
    assert (ascending.name, descending.name) == ("s1_ascending", "s1_descending")


def test_lengths_and_fillings_are_those_of_the_generation():
    v2, v11, v1 = (RULES[generation].sampling for generation in ("2.0", "1.1", "1.0"))
    assert v2.lengths == v11.lengths == tuple(8 * i for i in range(1, 33))
    assert (v2.fill, v2.empty_length) == (FILL_V2, 1)
    assert (v11.fill, v11.empty_length) == (FILL_V11, 8)
    assert v1.lengths == (40,)


def test_codes_are_those_of_the_generation():
    assert RULES["2.0"].quantisation.smallest_code == -127
    assert RULES["1.1"].quantisation.smallest_code == -128
    assert RULES["2.0"].quantisation.smallest_scale * 127 == pytest.approx(1e-12)
    assert RULES["1.1"].kept_dimension == 128


def test_a_licence_is_only_said_of_official_weights():
    nano = next(iter(OFFICIAL_STUDENTS))
    assert licence_of("renamed.pt", nano) == "CC0-1.0"
    assert licence_of("tessera_v1_1_mpc_encoder.pt", "0" * 64) == "CC0-1.0"
    assert licence_of("student_nano.pt", "0" * 64).startswith("not stated")
