# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Warnings about inputs, as people read them."""

from tessera_plugin.engine.input_warnings import sentences


def test_bands_of_a_sensor_share_a_sentence():
    told = [
        {"what": "mean_z", "stream": "s2", "band": "B04", "value": 1.4},
        {"what": "mean_z", "stream": "s2", "band": "B02", "value": 1.2},
        {"what": "offset", "stream": "s2", "value": 1024},
        {"what": "swapped", "stream": "s1_descending", "bands": ["VV", "VH"]},
        {"what": "median", "stream": "s1_ascending", "band": "VH", "value": 7000},
    ]
    far, offset, swapped, median = sentences(told)
    assert far.startswith("Sentinel-2: B04, B02 differ")
    assert "offset of 1000" in offset
    assert swapped == "Sentinel-1 (descending): VV is not brighter than VH; are they swapped?"
    assert median.startswith("Sentinel-1 (ascending): the usual VH")


def test_nothing_unusual_is_no_sentence():
    assert sentences([]) == ()


def test_what_is_not_known_is_told_as_it_is():
    assert sentences([{"what": "haze", "stream": "s2"}]) == ("Sentinel-2: haze",)
