# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Headers of .npy files: what numpy itself writes is the oracle."""

import io

import numpy as np
import pytest

from tessera_plugin.errors import TileUnusable
from tessera_plugin.io.npy import check_codes, check_scales, header_bytes, parse_header

NAME = "grid_0.15_52.05"


def written(array, version=None):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version=version)
    return stream.getvalue()


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("dtype", ["i1", "<f4"])
def test_all_versions_are_read(version, dtype):
    array = np.zeros((5, 7, 128), dtype)
    data = written(array, version)
    header = parse_header(data, NAME)
    assert header.shape == (5, 7, 128)
    assert np.dtype(header.dtype) == array.dtype
    assert header.offset == len(data) - array.nbytes == header_bytes(data[:12], NAME)
    assert header.total_bytes == len(data)


def test_codes_and_scales_that_fit():
    codes = parse_header(written(np.zeros((5, 7, 128), "i1")), NAME)
    assert check_codes(codes, 128, NAME) == (5, 7)
    flat = parse_header(written(np.zeros((5, 7), "<f4")), NAME)
    assert check_scales(flat, (5, 7), 128, NAME) == 1
    deep = parse_header(written(np.zeros((5, 7, 128), "<f4")), NAME)
    assert check_scales(deep, (5, 7), 128, NAME) == 128


def test_fortran_order_is_refused_by_name():
    data = written(np.asfortranarray(np.zeros((5, 7, 128), "i1")))
    with pytest.raises(TileUnusable, match="Fortran order") as caught:
        parse_header(data, NAME)
    assert caught.value.tile == NAME


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((5, 7, 128), "u1"),
        np.zeros((5, 7, 128), "<i2"),
        np.zeros((5, 7, 64), "i1"),
        np.zeros((5, 7), "i1"),
        np.zeros((0, 7, 128), "i1"),
        np.zeros((1, 5, 7, 128), "i1"),
    ],
)
def test_other_codes_are_refused(array):
    with pytest.raises(TileUnusable, match="codes"):
        check_codes(parse_header(written(array), NAME), 128, NAME)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((5, 7), ">f4"),
        np.zeros((5, 7), "<f8"),
        np.zeros((5, 7), "<f2"),
        np.zeros((7, 5), "<f4"),
        np.zeros((5, 7, 64), "<f4"),
        np.zeros((35,), "<f4"),
    ],
)
def test_other_scales_are_refused(array):
    with pytest.raises(TileUnusable, match="scales"):
        check_scales(parse_header(written(array), NAME), (5, 7), 128, NAME)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY",
        b"<Error>NoSuchKey</Error>",
        b"\x93NUMPY\x04\x00" + bytes(200),
        b"\x93NUMPY\x01\x01" + bytes(200),
        b"\x93NUMPY\x02\x00" + b"\xff" * 200,
        written(np.zeros(3, "i1"))[:60],
        written(np.zeros(3, "i1")).replace(b"'descr'", b"'other'"),
        written(np.zeros(3, "i1")).replace(b"(3,)", b"__im"),
        written(np.zeros(3, "i1")).replace(b"'|i1'", b"'zzz'"),
    ],
)
def test_what_is_no_npy_file_is_refused_by_name(data):
    with pytest.raises(TileUnusable) as caught:
        parse_header(data, NAME)
    assert caught.value.tile == NAME


def test_an_array_of_objects_is_never_taken():
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(TileUnusable):
        check_codes(parse_header(stream.getvalue(), NAME), 128, NAME)
