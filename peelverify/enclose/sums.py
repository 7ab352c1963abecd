"""Norms that are read off rows, columns and entries: the operator norms on the 1- and maximum norm, and the maximum."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from peelverify.bounds.rounding import gamma, nonneg_sum_upper
from peelverify.enclose.arrays import require_finite, require_ieee_arithmetic, require_matrix, stored
from peelverify.enclose.dyadic import exact_sum, round_down, round_up
from peelverify.enclose.frobenius import ETA, UNIT
from peelverify.registry import mirrors

__all__ = [
    "norm_max_lower", "norm_max_upper", "norm_op1_lower", "norm_op1_upper", "norm_opinf_lower", "norm_opinf_upper",
]

_PIECE = 1 << 20
_EXACT_LINES = 64
"""So many of the largest lines are added up exactly; where more are tied, one rounding bound serves for all."""


@np.errstate(all="ignore")  # whatever the caller set
def _top(raw: np.ndarray) -> float:
    """The largest magnitude; refuses NaN and infinity."""
    if raw.size == 0:
        return 0.0
    top = max(-float(raw.min()), float(raw.max()))
    if not np.isfinite(top):
        require_finite(raw)
    return top


@np.errstate(all="ignore")
def _row_sums(raw: np.ndarray) -> tuple[Fraction, Fraction]:
    """Bounds on the largest sum of magnitudes of a row: found by float sums, then made exact for the candidates."""
    require_ieee_arithmetic()
    require_matrix(raw)
    top = _top(raw)
    if top == 0:
        return Fraction(0), Fraction(0)
    shift = int(np.frexp(top)[1]) if not 2.0**-900 < top < 2.0**900 else 0
    rows, columns = raw.shape
    sums = np.zeros(rows)
    by_row = raw.flags.c_contiguous or not raw.flags.f_contiguous
    step = max(1, _PIECE // (columns if by_row else rows))
    for start in range(0, rows if by_row else columns, step):
        part = raw[start : start + step] if by_row else raw[:, start : start + step]
        part = np.abs(part.astype(np.float64, copy=False))
        found = (np.ldexp(part, -shift) if shift else part).sum(axis=1)
        if by_row:
            sums[start : start + step] = found
        else:
            sums += found
    relative = gamma(UNIT, columns + 1)
    floor = columns * ETA if shift else Fraction(0)
    largest = float(sums.max())
    upper = nonneg_sum_upper(Fraction(largest), relative, floor)
    # the largest exact sum is at least that of the largest computed one, so its computed sum is above this edge
    edge = largest * (1 - 4 * (columns + 8) * 2.0**-53)
    candidates = np.flatnonzero(sums >= edge)
    best = max(exact_sum(np.abs(raw[i].astype(np.float64))) for i in candidates[:_EXACT_LINES])
    if len(candidates) > _EXACT_LINES:
        return best, max(best, upper * Fraction(2) ** shift)
    return best, best


def _column_sums(array: Any) -> tuple[Fraction, Fraction]:
    """As `_row_sums`, of the transposed matrix; bad entries are located in the matrix itself."""
    raw = stored(array, name="matrix")
    require_matrix(raw)
    _top(raw)
    return _row_sums(raw.T)


@mirrors("PeelVerify.norm1_mulVec_le")
def norm_op1_upper(array: Any) -> Fraction:
    """Exact dyadic not below the largest column sum of magnitudes (operator norm on the 1-norm).

    Args:
        array: matrix, numpy array or torch tensor, float16, bfloat16, float32 or float64; may be empty.

    Raises:
        ShapeError: not a matrix.
        NonFiniteError: NaN or infinite entries; says how many and where the first is.
        InputError: integer, complex or masked entries.

    Guarantee:
        Upper bound on ``|A x|_1 / |x|_1``. `PeelVerify.norm1_mulVec_le`.

    Example:
        >>> import numpy as np
        >>> norm_op1_upper(np.array([[1.0, -2.0], [3.0, 4.0]]))
        Fraction(6, 1)
    """
    return round_up(_column_sums(array)[1])


@mirrors("PeelVerify.columnSum_le_of_bound")
def norm_op1_lower(array: Any) -> Fraction:
    """Exact dyadic not above the largest column sum of magnitudes; arguments and errors as for `norm_op1_upper`.

    Guarantee:
        Lower bound on the largest ``|A x|_1 / |x|_1``. `PeelVerify.columnSum_le_of_bound`.
    """
    return round_down(_column_sums(array)[0])


@mirrors("PeelVerify.normInf_mulVec_le")
def norm_opinf_upper(array: Any) -> Fraction:
    """Exact dyadic not below the largest row sum of magnitudes (operator norm on the maximum norm).

    Arguments and errors are those of `norm_op1_upper`.

    Guarantee:
        Upper bound on ``|A x|_max / |x|_max``. `PeelVerify.normInf_mulVec_le`.

    Example:
        >>> import numpy as np
        >>> norm_opinf_upper(np.array([[1.0, -2.0], [3.0, 4.0]]))
        Fraction(7, 1)
    """
    return round_up(_row_sums(stored(array, name="matrix"))[1])


@mirrors("PeelVerify.rowSum_le_of_bound")
def norm_opinf_lower(array: Any) -> Fraction:
    """Exact dyadic not above the largest row sum of magnitudes; arguments and errors as for `norm_opinf_upper`.

    Guarantee:
        Lower bound on the largest ``|A x|_max / |x|_max``. `PeelVerify.rowSum_le_of_bound`.
    """
    return round_down(_row_sums(stored(array, name="matrix"))[0])


@mirrors("PeelVerify.absVal_le_of_frobLe")
def norm_max_upper(array: Any) -> Fraction:
    """The largest magnitude of an entry, exactly.

    Args:
        array: numpy array or torch tensor, float16, bfloat16, float32 or float64; any shape, also empty.

    Raises:
        NonFiniteError: NaN or infinite entries; says how many and where the first is.
        InputError: integer, complex or masked entries.

    Guarantee:
        At most every bound on the Frobenius norm. `PeelVerify.absVal_le_of_frobLe`.
    """
    return Fraction(_top(stored(array)))


@mirrors("PeelVerify.absVal_le_of_opNorm2Le")
def norm_max_lower(array: Any) -> Fraction:
    """The largest magnitude of an entry, exactly; arguments and errors as for `norm_max_upper`.

    Guarantee:
        At most every bound on the spectral norm. `PeelVerify.absVal_le_of_opNorm2Le`.
    """
    return norm_max_upper(array)
