"""Frobenius norms, inner products and errors of arrays, enclosed from both sides.

Partial sums of at most `BLOCK` products are formed in float64 in whatever order the library likes; each
obeys the a-priori bound for any summation order, and the partial sums are added without rounding. The
result is sharp to about ``BLOCK * 2**-53`` relative, whatever the size of the array.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from peelverify.enclose.arrays import as_float64, require_gradual_underflow
from peelverify.enclose.dyadic import exact_sum, round_down, round_up, sqrt_lower, sqrt_upper
from peelverify.errors import ShapeError

__all__ = [
    "BLOCK", "Interval", "error_sq", "inner_of_differences", "norm_fro_lower", "norm_fro_upper", "root", "sum_sq",
]

BLOCK = 2048
_U = Fraction(1, 2**53)
_ETA = Fraction(1, 2**1074)


class Interval(NamedTuple):
    """Exact numbers ``lo <= x <= hi`` around an unknown ``x``."""

    lo: Fraction
    hi: Fraction

    def __add__(self, other: Interval) -> Interval:  # type: ignore[override]
        return Interval(self.lo + other.lo, self.hi + other.hi)


def _blocks(flat: np.ndarray) -> np.ndarray:
    pad = -flat.size % BLOCK
    return (np.pad(flat, (0, pad)) if pad else flat).reshape(-1, BLOCK)


def _enclose_products(total: Fraction, magnitude: Fraction, count: int, roundings: int) -> Interval:
    """Enclose a sum of products from its computed value and the computed sum of magnitudes.

    ``|computed - true| <= gamma (true sum of magnitudes) + count * eta`` with
    ``gamma = n u / (1 - n u)`` for n roundings on the longest path, in any order.
    """
    n = Fraction(roundings)
    gamma = n * _U / (1 - n * _U)
    floor = count * _ETA
    slack = gamma / (1 - gamma) * (magnitude + floor) + floor
    return Interval(total - slack, total + slack)


def _sum_of_products(x: np.ndarray, y: np.ndarray | None, carried: int) -> Interval:
    """Enclose sum x*y (y = x if None), each factor carrying ``carried`` relative roundings."""
    if x.size == 0:
        return Interval(Fraction(0), Fraction(0))
    xs = _blocks(x.ravel())
    if y is None:
        total = exact_sum(np.einsum("ij,ij->i", xs, xs))
        magnitude = total
    else:
        ys = _blocks(y.ravel())
        total = exact_sum(np.einsum("ij,ij->i", xs, ys))
        magnitude = exact_sum(np.einsum("ij,ij->i", np.abs(xs), np.abs(ys)))
    return _enclose_products(total, magnitude, x.size, min(x.size, BLOCK) + 2 * carried)


def _scale_of(*arrays: np.ndarray) -> int:
    """Exponent s such that dividing by 2**s brings the largest entry near 1; 0 where that is not needed."""
    top = max((float(np.max(np.abs(a))) for a in arrays if a.size), default=0.0)
    if top == 0.0 or 2.0**-200 < top < 2.0**200:
        return 0
    return int(np.frexp(top)[1])


def _nonnegative(interval: Interval) -> Interval:
    return Interval(max(interval.lo, Fraction(0)), max(interval.hi, Fraction(0)))


def sum_sq(array: Any) -> Interval:
    """Enclose the sum of squares of all entries.

    Args:
        array: numpy array or torch tensor, float16 to float64, any shape and layout, finite.

    Returns:
        Exact bounds ``lo <= sum <= hi``; equal to zero only for an all-zero array.
    """
    require_gradual_underflow()
    wide, narrow = as_float64(array)
    shift = 0 if narrow else _scale_of(wide)
    found = _sum_of_products(np.ldexp(wide, -shift) if shift else wide, None, 0)
    if shift:  # entries that underflowed in the scaling moved by at most one subnormal step each
        found = Interval(found.lo - 4 * wide.size * _ETA, found.hi + 4 * wide.size * _ETA)
    if not wide.any():
        return Interval(Fraction(0), Fraction(0))
    factor = Fraction(4) ** shift
    return _nonnegative(Interval(found.lo * factor, found.hi * factor))


def _difference(x: Any, y: Any, what: str) -> np.ndarray:
    a, _ = as_float64(x, name=what)
    b, _ = as_float64(y, name=what)
    if a.shape != b.shape:
        raise ShapeError(f"{what} needs arrays of one shape, got {a.shape} and {b.shape}; align them first")
    return a - b


def error_sq(x: Any, y: Any) -> Interval:
    """Enclose the sum of squares of ``x - y``, the difference of the stored values taken exactly.

    Args:
        x: array or tensor, float16 to float32 (or float64 of moderate size).
        y: array or tensor of the same shape.

    Returns:
        Exact bounds. Zero exactly when the arrays are equal.

    Raises:
        ShapeError: for different shapes.
    """
    require_gradual_underflow()
    d = _difference(x, y, "error_sq")
    shift = _scale_of(d)
    found = _sum_of_products(np.ldexp(d, -shift) if shift else d, None, 1)
    if not d.any():
        return Interval(Fraction(0), Fraction(0))
    if shift:
        found = Interval(found.lo - 4 * d.size * _ETA, found.hi + 4 * d.size * _ETA)
    factor = Fraction(4) ** shift
    return _nonnegative(Interval(found.lo * factor, found.hi * factor))


def inner_of_differences(x: Any, y: Any, z: Any, w: Any) -> Interval:
    """Enclose the inner product of ``x - y`` with ``z - w``, differences of stored values taken exactly.

    Args:
        x: array or tensor; all four have one shape.
        y: as ``x``.
        z: as ``x``.
        w: as ``x``.
    """
    require_gradual_underflow()
    p = _difference(x, y, "inner_of_differences")
    q = _difference(z, w, "inner_of_differences")
    if p.shape != q.shape:
        raise ShapeError(f"inner_of_differences needs one shape, got {p.shape} and {q.shape}; align them first")
    if not p.any() or not q.any():
        return Interval(Fraction(0), Fraction(0))
    return _sum_of_products(p, q, 1)


def root(interval: Interval) -> Interval:
    """Enclose the square root of a non-negative interval by 64-bit dyadics."""
    return Interval(sqrt_lower(interval.lo), sqrt_upper(interval.hi))


def norm_fro_upper(array: Any) -> Fraction:
    """Exact dyadic not below the Frobenius norm of the stored values, within 1e-12 relative.

    Args:
        array: numpy array or torch tensor, float16, bfloat16, float32 or float64; any shape, also empty.

    Raises:
        NonFiniteError: NaN or infinite entries.
        InputError: integer or complex entries.
    """
    return round_up(sqrt_upper(sum_sq(array).hi))


def norm_fro_lower(array: Any) -> Fraction:
    """Exact dyadic not above the Frobenius norm of the stored values, within 1e-12 relative.

    Args:
        array: numpy array or torch tensor, float16, bfloat16, float32 or float64; any shape, also empty.

    Raises:
        NonFiniteError: NaN or infinite entries.
        InputError: integer or complex entries.
    """
    return round_down(sqrt_lower(sum_sq(array).lo))
