"""Independent values to compare with: mpmath at two precisions that agree, exact roots, searches."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product
from math import isqrt

import mpmath

AGREEMENT = Fraction(1, 10**40)
"""Relative difference allowed between 50 and 100 digits: ten digits are left for the operations."""


def agreed(value: Callable[[mpmath.MPContext], object]) -> Fraction:
    """Compute at 50 and at 100 digits, demand that both agree, and return the longer one exactly."""
    answers = []
    for digits in (50, 100):
        context = mpmath.mp.clone()
        context.dps = digits
        answers.append(exactly(value(context)))
    low, high = answers
    assert abs(low - high) <= AGREEMENT * max(abs(high), 1), f"50 and 100 digits disagree: {low}, {high}"
    return high


def exactly(x) -> Fraction:
    """The rational number that an mpf is."""
    sign, mantissa, exponent, _ = x._mpf_
    return (-1) ** sign * Fraction(int(mantissa)) * Fraction(2) ** exponent


def as_mpf(context, x: Fraction):
    """A fraction rounded to the precision of the context."""
    return context.mpf(x.numerator) / x.denominator


def root_upper(square: Fraction, bits: int = 60) -> Fraction:
    """A number whose square is at least `square`, and at most a factor 1 + 2^(1 - bits) above the root."""
    if square == 0:
        return Fraction(0)
    shift = bits
    while square * 4**shift < 4**bits:
        shift += bits
    root = Fraction(isqrt(square.numerator * 4**shift // square.denominator) + 1, 2**shift)
    assert root * root >= square
    return root


def op_norm_sq(rows) -> Fraction:
    """Squared operator norm, the largest eigenvalue of the Gram matrix, to 40 digits."""

    def largest(context):
        a = context.matrix([[as_mpf(context, x) for x in row] for row in rows])
        return max(context.eigsy(a.T * a, eigvals_only=True))

    return agreed(largest)


def stretch_sq(rows, span: int = 2) -> Fraction:
    """Largest |A x|^2 / |x|^2 over whole-number vectors x: a lower bound on the squared operator norm."""
    best = Fraction(0)
    for x in product(range(-span, span + 1), repeat=len(rows[0])):
        if any(x):
            image = sum(sum(a * b for a, b in zip(row, x, strict=True)) ** 2 for row in rows)
            best = max(best, Fraction(image) / sum(b * b for b in x))
    return best
