# SPDX-FileCopyrightText: Tessera for QGIS contributors
# SPDX-License-Identifier: GPL-2.0-or-later
"""Matrix products by the BLAS that numpy was built for, also where another library got in its way.

On Linux a name is looked up in the program first, then in the library that asks. QGIS is linked with
the GNU Scientific Library, whose plain `cblas_sgemm` so takes the place of OpenBLAS's in numpy:
products take 10 to 20 times as long as in any other Python. There the right one is called by its
address; everywhere else numpy does it.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, Optional, Tuple, TypeVar

import numpy as np
from numpy.typing import NDArray

_Float = TypeVar("_Float", np.float32, np.float64)

_ROW_MAJOR, _AS_IT_IS, _TRANSPOSED = 101, 111, 112
_LIBRARIES = ("libopenblas", "libmkl_rt", "libblis", "libflexiblas", "libblas")
"""How the files of a BLAS begin, the faster ones first."""

_NAMES: Dict[str, Tuple[str, Any]] = {
    "f": ("cblas_sgemm", ctypes.c_float),
    "d": ("cblas_dgemm", ctypes.c_double),
}
"""Function and number by numpy's character for a type."""


def product(
    a: NDArray[_Float], b: NDArray[_Float], out: Optional[NDArray[_Float]] = None
) -> NDArray[_Float]:
    """Return a @ b. Shapes: a (n, m), b (m, k), both of one type; out (n, k), each row contiguous."""
    multiply = _direct(a.dtype.char)
    # of other types memory would be misread
    is_alike = a.dtype == b.dtype and (out is None or out.dtype == a.dtype)
    if multiply is None or not is_alike or not (a.size and b.size):
        return np.matmul(a, b) if out is None else np.matmul(a, b, out=out)
    result = np.empty((a.shape[0], b.shape[1]), a.dtype) if out is None else out
    (a, how_a, step_a), (b, how_b, step_b) = _laid_out(a), _laid_out(b)
    multiply(
        _ROW_MAJOR, how_a, how_b, result.shape[0], result.shape[1], a.shape[1], 1.0,
        _start(a), step_a, _start(b), step_b, 0.0,
        _start(result), result.strides[0] // result.itemsize,
    )  # fmt: skip
    return result


def _start(matrix: NDArray[_Float]) -> int:
    """Return where a matrix begins; `matrix.ctypes` imports something each time, which QGIS slows down."""
    address: int = matrix.__array_interface__["data"][0]
    return address


def _laid_out(matrix: NDArray[_Float]) -> Tuple[NDArray[_Float], int, int]:
    """Return a matrix in an order that BLAS knows, which one that is, and its step."""
    (down, across), size = matrix.strides, matrix.itemsize
    if across == size and down % size == 0 and down // size >= matrix.shape[1]:
        return matrix, _AS_IT_IS, down // size
    if down == size and across % size == 0 and across // size >= matrix.shape[0]:
        return matrix, _TRANSPOSED, across // size
    return np.ascontiguousarray(matrix), _AS_IT_IS, matrix.shape[1]


@functools.lru_cache(maxsize=2)
def _direct(char: str) -> Optional[Any]:  # noqa: ANN401 - a function of C
    """Return the BLAS's own product for a type; None where numpy calls it anyway, or none is found."""
    if not sys.platform.startswith("linux"):
        return None
    name, number = _NAMES[char]
    in_the_way = _address(ctypes.CDLL(None), name)
    if in_the_way is None:  # the usual case: nobody else has the name
        return None
    for path in _loaded():
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        found = _address(library, name)
        if found is not None:
            return None if found == in_the_way else _declared(getattr(library, name), number)
    return None


def _declared(function: Any, number: Any) -> Any:  # noqa: ANN401 - of C
    whole, pointer = ctypes.c_int, ctypes.c_void_p
    function.argtypes = [
        *[whole] * 6,
        number,
        pointer,
        whole,
        pointer,
        whole,
        number,
        pointer,
        whole,
    ]
    function.restype = None
    return function


def _address(library: ctypes.CDLL, name: str) -> Optional[int]:
    try:
        return ctypes.cast(getattr(library, name), ctypes.c_void_p).value
    except AttributeError:
        return None


def _loaded() -> Iterator[str]:
    """Yield the files of BLAS libraries that this process has loaded."""
    try:
        lines = Path("/proc/self/maps").read_text("utf-8", "replace").splitlines()
    except OSError:
        return
    files = {line.split(maxsplit=5)[-1] for line in lines if "/" in line}
    for start in _LIBRARIES:
        yield from sorted(each for each in files if each.rpartition("/")[2].startswith(start))
