"""Matrix products and residuals with a bound on their rounding error.

A product is computed in float64 by whatever routine is there; a second product of magnitudes bounds its error
entry by entry, in any order of summation. Where all products are whole multiples of one power of two and their
magnitudes add up to less than 2^53 of it, float64 makes no error, and the radius is zero.

A product's floats end where float64 ends, but the norm of a residual is an exact number and has no such end. Where
products would overflow or underflow, both factors are split into bands of magnitude, each scaled by its own power of
two, which is exact; the products of bands and the target are put together entry by entry, at a scale near the largest.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from peelverify.bounds.rounding import gamma
from peelverify.enclose.arrays import (
    as_float64,
    is_narrow,
    require_exact_products,
    require_finite,
    require_matrix,
    stored,
)
from peelverify.enclose.dyadic import sqrt_lower, sqrt_upper
from peelverify.enclose.frobenius import UNIT, Interval, error_sq, sum_sq
from peelverify.errors import NumericalError, ShapeError
from peelverify.registry import mirrors

__all__ = ["Product", "matmul_enclosed", "residual_norm_fro_lower", "residual_norm_fro_upper", "sum_is_exact"]

_PIECE = 1 << 22
_BAND = 480
"""Exponents of a band. Products of entries of two bands are above 2^-960, and their last bits above 2^-1066."""
_NEVER = -(1 << 20)
"""Stands for the exponent of zero."""

_ZERO = Interval(Fraction(0), Fraction(0))


class Product(NamedTuple):
    """A computed matrix product and how far it can be off.

    Attributes:
        approx: float64 (m, p).
        radius: float64 (m, p), not negative: ``|approx - exact| <= radius`` entry by entry.
    """

    approx: np.ndarray
    radius: np.ndarray


@mirrors("PeelVerify.computes_exact_on_grid")
def sum_is_exact(magnitude: Any, step: Any, precision: int = 53) -> bool:
    """Tell whether a sum of whole multiples of a step is computed without error, in any order.

    Args:
        magnitude: bound on the sum of the magnitudes of the terms, >= 0.
        step: the step, > 0, a power of two times the smallest number of the format.
        precision: bits of the format.

    Returns:
        True if the magnitudes add up to at most 2^precision steps: then every partial sum is a number of the format.

    Guarantee:
        True means that the computed sum is the exact one. `PeelVerify.computes_exact_on_grid`.

    Not for:
        A refutation: a sum may be exact all the same.

    Example:
        >>> sum_is_exact(3, Fraction(1, 4)), sum_is_exact(Fraction(1), Fraction(1, 2**54))
        (True, False)
    """
    return bool(magnitude <= 2**precision * step)


def _step(x: np.ndarray) -> int | None:
    """Exponent e such that every entry is a whole multiple of 2**e, the largest such; None for zeros."""
    values = x[x != 0]
    if values.size == 0:
        return None
    mantissa, exponent = np.frexp(values)
    whole = np.ldexp(mantissa, 53).astype(np.int64)
    lowest = np.frexp((whole & -whole).astype(np.float64))[1] - 1
    return int((exponent - 53 + lowest).min())


def _shift(x: np.ndarray, narrow: bool) -> int:
    """Exponent of the largest entry where products could leave float64; else 0."""
    top = max(-float(x.min()), float(x.max())) if x.size else 0.0
    return 0 if narrow or top == 0 or 2.0**-200 < top < 2.0**200 else int(np.frexp(top)[1])


def _enclosed(a: np.ndarray, b: np.ndarray, narrow: bool) -> Product:
    """Product of float64 matrices; `narrow` says that no product of two entries overflows or underflows."""
    terms = a.shape[1]
    if not (a.any() and b.any()):
        zero = np.zeros((a.shape[0], b.shape[1]))
        return Product(zero, zero.copy())
    shifts = _shift(a, narrow), _shift(b, narrow)
    lost = 0.0
    steps = None
    if any(shifts):
        a, b = np.ldexp(a, -shifts[0]), np.ldexp(b, -shifts[1])
        # an entry moved by at most 2^-1075 meets factors of at most 1, or 2^200 if that side was not scaled
        lost = terms * (2.0**-1072 if all(shifts) else 2.0**-872)
    else:
        left, right = _step(a), _step(b)
        steps = None if left is None or right is None else left + right
    approx = a @ b
    magnitude = np.abs(a) @ np.abs(b)
    # magnitudes are off by a relative gamma and by underflow; two ulps cover the float operations below
    relative = float(gamma(UNIT, terms)) * (1 + 2.0**-30)
    if steps is not None and steps >= -1074 and sum_is_exact(
        Fraction(float(magnitude.max())) * Fraction(1 + 4 * relative), Fraction(2) ** steps
    ):
        return Product(approx, np.zeros_like(approx))
    floor = 0.0 if narrow else terms * 2.0**-1073 + lost
    radius = magnitude * (relative * (1 + 4 * relative)) + floor
    radius = np.where(magnitude > 0, np.nextafter(radius, np.inf), floor)
    if any(shifts):
        with np.errstate(over="ignore"):
            approx = np.ldexp(approx, sum(shifts))
            radius = np.nextafter(np.ldexp(radius, sum(shifts)), np.inf) + 2.0**-1073
    if not (np.isfinite(approx).all() and np.isfinite(radius).all()):
        raise NumericalError(
            "matmul_enclosed needs a product within float64, got an overflow; scale the matrices by powers of two first"
        )
    return Product(approx, radius)


def _factors(a: Any, b: Any) -> tuple[np.ndarray, np.ndarray, bool]:
    left, right = stored(a, name="left factor"), stored(b, name="right factor")
    require_matrix(left, name="left factor")
    require_matrix(right, name="right factor")
    if left.shape[1] != right.shape[0]:
        raise ShapeError(
            f"a product needs as many columns on the left as rows on the right, got {left.shape} and {right.shape}; "
            "transpose or reorder the arguments"
        )
    return left, right, is_narrow(left) and is_narrow(right)


@mirrors("PeelVerify.matMul_enclosure")
@np.errstate(all="ignore")  # whatever the caller set
def matmul_enclosed(a: Any, b: Any) -> Product:
    """Multiply matrices and bound the error of every entry.

    Args:
        a: (m, n), numpy array or torch tensor, float16, bfloat16, float32 or float64; may be empty.
        b: (n, p), likewise; its type may differ.

    Returns:
        The float64 product and a radius for each entry. The radius is zero where no rounding can have happened:
        for factors on coarse grids, such as low-bit weights.

    Raises:
        ShapeError: not matrices, or sizes that do not fit.
        NonFiniteError: NaN or infinite entries; says how many and where the first is.
        InputError: integer, complex or masked entries.
        NumericalError: if the product overflows, or this machine's products are not those of IEEE double precision.

    Guarantee:
        ``|approx - a b| <= radius`` for the stored values. `PeelVerify.matMul_enclosure`.

    Not for:
        Fast algorithms such as Strassen's, which no BLAS in use here employs.

    Source:
        Section 3.5 of [Higham2002], with the underflow term.

    Example:
        >>> import numpy as np
        >>> approx, radius = matmul_enclosed(np.array([[0.1, 0.3]]), np.array([[0.7], [-0.9]]))
        >>> exact = Fraction(0.1) * Fraction(0.7) - Fraction(0.3) * Fraction(0.9)
        >>> abs(exact - Fraction(approx[0, 0])) <= Fraction(radius[0, 0])
        True
    """
    left, right, narrow = _factors(a, b)
    require_exact_products(left.size * right.shape[1])
    require_finite(left, name="left factor")
    require_finite(right, name="right factor")
    return _enclosed(left.astype(np.float64, copy=False), right.astype(np.float64, copy=False), narrow)


@np.errstate(all="ignore")
def _residual(t: Any, z: Any, w: Any) -> tuple[Interval, Interval]:
    """Enclose the sums of squares of t - C and of the radius of C, where C is the computed product z w."""
    left, right, narrow = _factors(z, w)
    require_exact_products(left.size * right.shape[1])
    target = stored(t, name="target")
    require_matrix(target, name="target")
    if target.shape != (left.shape[0], right.shape[1]):
        raise ShapeError(
            f"a residual needs a target of the shape of the product, got {target.shape} and "
            f"{(left.shape[0], right.shape[1])}; align them first"
        )
    factor, _ = as_float64(right, name="right factor")
    require_finite(target, name="target")
    require_finite(left, name="left factor")
    found = spread = _ZERO
    rows = max(1, _PIECE // max(1, left.shape[1], right.shape[1]))
    for start in range(0, len(target), rows):
        goal, part = target[start : start + rows], left[start : start + rows].astype(np.float64, copy=False)
        more, wider = _plain_residual(goal, part, factor, narrow) or _banded_residual(goal, part, factor)
        found, spread = found + more, spread + wider
    return found, spread


def _plain_residual(t: np.ndarray, a: np.ndarray, b: np.ndarray, narrow: bool) -> tuple[Interval, Interval] | None:
    """The residual with one product; None where overflow or underflow could matter."""
    if _shift(a, narrow) or _shift(b, narrow):
        return None
    approx, radius = _enclosed(a, b, narrow)
    found, spread = error_sq(t, approx), sum_sq(radius) if radius.any() else _ZERO
    floor = 0 if narrow else t.size * a.shape[1] * Fraction(1, 2**1073)  # norm of all that underflowed, at most
    size = found.hi + spread.hi
    return (found, spread) if size == 0 or size >= (floor * 2**60) ** 2 else None


def _exponents(x: np.ndarray) -> np.ndarray:
    """Exponents with |x| < 2^e, elementwise; `_NEVER` for zeros."""
    return np.where(x != 0, np.frexp(x)[1], _NEVER)


def _bands(x: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Pieces (e, y) with x the sum of all 2^e y, exactly; nonzero entries of y are from 2^-_BAND to below 1."""
    exponents = _exponents(x)
    while (top := int(exponents.max(initial=_NEVER))) != _NEVER:
        mine = exponents > top - _BAND
        yield top, np.ldexp(np.where(mine, x, 0.0), -top)
        exponents[mine] = _NEVER


def _banded_residual(t: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[Interval, Interval]:
    """The residual of matrices of any magnitude."""
    wide = t.astype(np.float64, copy=False)
    parts = [(0, wide, np.zeros_like(wide))]
    others = list(_bands(b))
    for shift, x in _bands(a):
        for other, y in others:
            approx, radius = _enclosed(x, y, True)
            parts.append((shift + other, -approx, radius))
    height = np.max([np.maximum(_exponents(x), _exponents(r)) + e for e, x, r in parts], axis=0)
    found = spread = _ZERO
    while (top := int(height.max(initial=2 * _NEVER))) > _NEVER // 2:
        mine = height > top - _BAND
        total, error = _sum_at(top, [(e, x[mine], r[mine]) for e, x, r in parts])
        square = Fraction(4) ** top
        found += Interval(*(end * square for end in sum_sq(total)))
        spread += Interval(*(end * square for end in sum_sq(error)))
        height[mine] = 2 * _NEVER
    return found, spread


def _sum_at(top: int, parts: list[tuple[int, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The sum of all 2^e x, each known up to 2^e r, divided by 2^top: computed, and how far it can be off."""
    total = error = np.zeros(parts[0][1].shape)
    for e, x, r in parts:
        moved, room = np.ldexp(x, e - top), np.ldexp(r, e - top)
        exact = np.ldexp(moved, top - e) == x
        error = error + np.where(r > 0, np.nextafter(room, np.inf), 0.0) + np.where(exact, 0.0, 2.0**-1074)
        both = (total != 0) & (moved != 0)
        total = total + moved
        error = error + np.where(both & (total != 0), np.spacing(np.abs(total)), 0.0)
    # fewer than 128 additions of what is not negative, each off by at most 2^-53 relative
    return total, np.where(error > 0, np.nextafter(error * (1 + 2.0**-45), np.inf), 0.0)


@mirrors("PeelVerify.FrobLe.residual_of_computed")
def residual_norm_fro_upper(t: Any, z: Any, w: Any) -> Fraction:
    """Exact dyadic not below the Frobenius norm of ``t - z w``, for the stored values.

    Args:
        t: target (m, p), numpy array or torch tensor, float16, bfloat16, float32 or float64; may be empty.
        z: left factor (m, n).
        w: right factor (n, p).

    Raises:
        ShapeError: not matrices, or sizes that do not fit.
        NonFiniteError: NaN or infinite entries; says how many and where the first is.
        InputError: integer, complex or masked entries.
        NumericalError: if this machine's products are not those of IEEE double precision.

    Guarantee:
        Upper bound by the triangle inequality: the residual of the computed product and the error of the
        product. `PeelVerify.FrobLe.residual_of_computed`.

    Not for:
        Residuals below rounding: the bound is not smaller than about n 1e-16 times the norm of ``|z| |w|``,
        unless the products are exact.

    Example:
        >>> import numpy as np
        >>> residual_norm_fro_upper(np.array([[1.0]]), np.array([[0.5]]), np.array([[2.0]]))
        Fraction(0, 1)
    """
    found, spread = _residual(t, z, w)
    return sqrt_upper(found.hi) + sqrt_upper(spread.hi)


@mirrors("PeelVerify.le_residual_of_computed")
def residual_norm_fro_lower(t: Any, z: Any, w: Any) -> Fraction:
    """Exact dyadic not above the Frobenius norm of ``t - z w``; arguments and errors as for the upper bound.

    Guarantee:
        Lower bound by the triangle inequality; zero where rounding hides the residual.
        `PeelVerify.le_residual_of_computed`.
    """
    found, spread = _residual(t, z, w)
    return max(sqrt_lower(found.lo) - sqrt_upper(spread.hi), Fraction(0))
