# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Products are numpy's own, also in a program where another library takes the place of its BLAS."""

import glob
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tessera_plugin.engine import products

IN_THE_WAY = glob.glob("/usr/lib/*/libgslcblas.so.0") + glob.glob("/usr/lib*/libgslcblas.so.0")


def check(kind):
    random = np.random.default_rng(0)
    near = {"rtol": 1e-3, "atol": 1e-3} if kind == np.float32 else {"rtol": 1e-9, "atol": 1e-9}
    for n, m, k in ((256, 128, 6), (1, 5, 3), (40, 1, 1), (130, 128, 8)):
        a, b = random.normal(size=(n, m)).astype(kind), random.normal(size=(m, k)).astype(kind)
        expected = np.einsum("nm,mk->nk", a, b)  # no BLAS
        wide = np.full((n, k + 3), 7, kind)
        out = wide[:, 1 : k + 1]
        assert products.product(a, b, out=out) is out
        assert np.allclose(out, expected, **near)
        assert (wide[:, 0] == 7).all()
        assert (wide[:, k + 1 :] == 7).all()
        for left, right in (
            (np.asfortranarray(a), b), (a, np.asfortranarray(b)), (np.repeat(a, 2, axis=0)[::2], b),
            (np.hstack([a, a])[:, :m], b), (np.repeat(a, 2, axis=1)[:, ::2], b), (a[::-1][::-1], b),
        ):  # fmt: skip
            assert np.allclose(products.product(left, right), expected, **near)
        assert np.allclose(products.product(b.T, a.T), expected.T, **near)
        assert np.allclose(products.product(a[::-1], b), expected[::-1], **near)
    assert products.product(np.zeros((0, 3), kind), np.zeros((3, 2), kind)).shape == (0, 2)
    assert not products.product(np.zeros((4, 0), kind), np.zeros((0, 2), kind)).any()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_products_are_right(kind):
    check(kind)


def test_a_plain_python_needs_no_help():
    if os.environ.get("LD_PRELOAD"):
        pytest.skip("something is loaded before all else")
    code = "from tessera_plugin.engine import products as p; print(p._direct('f'), p._direct('d'))"
    assert run(code) == "None None"


@pytest.mark.skipif(not IN_THE_WAY, reason="the GNU Scientific Library is not here")
def test_with_another_library_in_the_way_the_right_one_is_called():
    code = """
import numpy as np
from tessera_plugin.engine import products
from tests.engine.test_products import check
check(np.float32)
check(np.float64)
print(products._direct('f') is not None, products._direct('d') is not None)
"""
    told = run(code, LD_PRELOAD=IN_THE_WAY[0])
    has_other = any("blas" in each for each in products._loaded())
    assert told == ("True True" if has_other else "False False")


def run(code, **variables):
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **variables},
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stdout.strip()
