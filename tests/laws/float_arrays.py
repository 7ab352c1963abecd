"""Arrays of floats for the laws of the enclosures, and what they are exactly."""

from __future__ import annotations

from fractions import Fraction as F

import ml_dtypes
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

DTYPES = (np.float16, ml_dtypes.bfloat16, np.float32, np.float64)
ANY_FLOAT = st.floats(allow_nan=False, allow_infinity=False)
MODERATE = st.floats(-1e9, 1e9, allow_nan=False)


def exact(array) -> list[list[F]]:
    """Rows of a matrix, or one row of anything else, as exact numbers."""
    wide = np.asarray(array).astype(np.float64)
    rows = wide if wide.ndim == 2 else wide.reshape(1, -1)
    return [[F(float(x)) for x in row] for row in rows]


def entries(array) -> list[F]:
    """All entries as exact numbers."""
    return [x for row in exact(array) for x in row]


def matrices(elements=ANY_FLOAT, rows=4, columns=5):
    """Float64 matrices of any magnitude, up to so many rows and columns."""
    shapes = st.tuples(st.integers(1, rows), st.integers(1, columns))
    return shapes.flatmap(lambda shape: hnp.arrays(np.float64, shape, elements=elements))


def vectors(length, elements=ANY_FLOAT):
    """Float64 vectors."""
    return hnp.arrays(np.float64, length, elements=elements)


def float32_vectors(most=100):
    """Float32 vectors of any magnitude, shorter and longer than the lanes of the compiled routine."""
    finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
    return hnp.arrays(np.float32, st.integers(1, most), elements=finite)


def same_length(count, elements=ANY_FLOAT):
    """Several vectors of one length."""
    return st.integers(1, 6).flatmap(lambda n: st.tuples(*[vectors(n, elements)] * count))


def product(a: list[list[F]], b: list[list[F]]) -> list[list[F]]:
    """The exact product."""
    return [[sum((x * y for x, y in zip(row, column, strict=True)), F(0)) for column in zip(*b, strict=True)]
            for row in a]


def dot(x: list[F], y: list[F]) -> F:
    """The exact inner product."""
    return sum((a * b for a, b in zip(x, y, strict=True)), F(0))


def frob_sq(rows: list[list[F]]) -> F:
    """The exact sum of squares."""
    return sum((x * x for row in rows for x in row), F(0))


def is_semidefinite(h: list[list[F]]) -> bool:
    """Whether a symmetric matrix is positive semidefinite, decided by exact elimination."""
    h = [list(row) for row in h]
    n = len(h)
    for p in range(n):
        if h[p][p] < 0 or (h[p][p] == 0 and any(h[p][j] for j in range(p, n))):
            return False
        for i in range(p + 1, n):
            if h[p][p]:
                factor = h[i][p] / h[p][p]
                for j in range(p, n):
                    h[i][j] -= factor * h[p][j]
    return True


def bounds_op2(array, square: F) -> bool:
    """Whether `square` is at least the square of the spectral norm, decided exactly."""
    a = exact(array)
    columns = list(zip(*a, strict=True))
    side = a if len(a) <= len(columns) else [list(c) for c in columns]
    gram = product(side, [list(c) for c in zip(*side, strict=True)])
    return is_semidefinite(
        [[(square if i == j else F(0)) - gram[i][j] for j in range(len(gram))] for i in range(len(gram))]
    )
