"""Exact dyadic numbers: sums of floats without rounding, outward roundings, square roots.

Every number here is a `Fraction` whose denominator is a power of two, so a float is one of them.
"""

from __future__ import annotations

from fractions import Fraction
from math import isqrt

import numpy as np

from peelverify.enclose.arrays import require_finite, stored
from peelverify.errors import DomainError
from peelverify.registry import measured

__all__ = ["exact_sum", "root_of", "round_down", "round_up", "sqrt_lower", "sqrt_upper"]

BITS = 64
_FEW = 64
"""Up to so many numbers plain integers are faster than arrays."""
_EXACT = "whole-number arithmetic without rounding error; the laws compare it with exact fractions"


@measured(_EXACT)
@np.errstate(all="ignore")  # a signalling NaN
def exact_sum(values: np.ndarray) -> Fraction:
    """Sum float64 values without any rounding.

    Args:
        values: numpy array or torch tensor, float16, bfloat16, float32 or float64; any shape, finite.

    Returns:
        The exact sum.

    Raises:
        NonFiniteError: NaN or infinite entries; says how many and where the first is.
        InputError: integer, complex or masked entries.
    """
    raw = stored(values, name="values")
    flat = raw.astype(np.float64, copy=False).ravel()
    if not np.isfinite(flat).all():
        require_finite(raw, name="values")
    if flat.size <= _FEW:
        parts = [x.as_integer_ratio() for x in flat.tolist()]
        bits = max((bottom.bit_length() for _, bottom in parts), default=1)
        return Fraction(sum(top << (bits - bottom.bit_length()) for top, bottom in parts), 1 << (bits - 1))
    mantissa, exponent = np.frexp(flat)
    whole = np.ldexp(mantissa, 53).astype(np.int64)
    lowest = int(exponent.min())
    total = 0
    for power in np.unique(exponent):
        part = whole[exponent == power]
        # 512 mantissas of 53 bits fit in 62 bits, so int64 sums of such slices cannot overflow
        pad = -part.size % 512
        sums = np.pad(part, (0, pad)).reshape(-1, 512).sum(axis=1)
        total += sum(int(s) for s in sums) << (int(power) - lowest)
    return Fraction(total) * Fraction(2) ** (lowest - 53)


def _scaled(value: Fraction, bits: int) -> tuple[int, int, int]:
    """Numerator, denominator and exponent e with value / 2**e in [2**(bits-1), 2**bits) up to one bit."""
    top, bottom = value.numerator, value.denominator
    e = top.bit_length() - bottom.bit_length() - bits
    if e >= 0:
        return top, bottom << e, e
    return top << -e, bottom, e


@measured(_EXACT)
def round_down(value: Fraction, bits: int = BITS) -> Fraction:
    """Largest dyadic with at most ``bits`` significant bits (within one bit) that is not above ``value`` >= 0."""
    if value < 0:
        raise DomainError(f"round_down needs value >= 0, got {float(value)}; round the magnitude")
    if value == 0:
        return Fraction(0)
    top, bottom, e = _scaled(Fraction(value), bits)
    q = top // bottom
    while q.bit_length() > bits:
        q, e = q >> 1, e + 1
    return Fraction(q) * Fraction(2) ** e


@measured(_EXACT)
def round_up(value: Fraction, bits: int = BITS) -> Fraction:
    """Smallest dyadic with at most ``bits`` significant bits (within one bit) that is not below ``value`` >= 0."""
    if value < 0:
        raise DomainError(f"round_up needs value >= 0, got {float(value)}; round the magnitude")
    if value == 0:
        return Fraction(0)
    top, bottom, e = _scaled(Fraction(value), bits)
    q = -(-top // bottom)
    while q.bit_length() > bits:
        q, e = -(-q >> 1), e + 1
    return Fraction(q) * Fraction(2) ** e


def _root(top: int, bottom: int, bits: int, up: bool) -> Fraction:
    """The root of top / bottom, rounded to one side; both are positive."""
    # an even shift that gives the quotient 2 bits + 1 or 2 bits + 2 bits, so that its root has bits + 1
    shift = 2 * bits + 2 - (top.bit_length() - bottom.bit_length())
    shift += shift & 1
    whole, rest = divmod(top << shift, bottom) if shift >= 0 else divmod(top, bottom << -shift)
    return _rounded_root(whole, bool(rest), -shift // 2, bits, up)


def _rounded_root(whole: int, more: bool, exponent: int, bits: int, up: bool) -> Fraction:
    """The root of whole (and something below one if `more`) times 2^exponent, in at most so many bits."""
    root = isqrt(whole)
    drop = root.bit_length() - bits
    if up:
        root += more or root * root != whole
        root = -(-root >> drop)
    else:
        root >>= drop
    exponent += drop
    return Fraction(root << exponent) if exponent >= 0 else Fraction(root, 1 << -exponent)


@measured(_EXACT)
def root_of(top: int, exponent: int, *, up: bool) -> Fraction:
    """A 64-bit dyadic on one side of the square root of ``top * 2**exponent``, within ``2**-62`` relative.

    Args:
        top: a whole number of at least 130 bits.
        exponent: of any sign.
        up: above the root instead of below.
    """
    drop = top.bit_length() - 2 * BITS - 2
    drop += (drop + exponent) & 1
    whole = top >> drop
    return _rounded_root(whole, whole << drop != top, (exponent + drop) // 2, BITS, up)


def _root_argument(value: Fraction) -> tuple[int, int]:
    if value < 0:
        raise DomainError(f"a square root needs a value >= 0, got {float(value)}; check the sign")
    return Fraction(value).as_integer_ratio()


@measured(_EXACT)
def sqrt_lower(value: Fraction, bits: int = BITS) -> Fraction:
    """A dyadic not above the square root of ``value`` >= 0, within ``2**(1-bits)`` relative."""
    top, bottom = _root_argument(value)
    return _root(top, bottom, bits, up=False) if top else Fraction(0)


@measured(_EXACT)
def sqrt_upper(value: Fraction, bits: int = BITS) -> Fraction:
    """A dyadic not below the square root of ``value`` >= 0, within ``2**(2-bits)`` relative."""
    top, bottom = _root_argument(value)
    return _root(top, bottom, bits, up=True) if top else Fraction(0)
