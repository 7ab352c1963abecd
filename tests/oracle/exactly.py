"""Exact whole-number arithmetic on float arrays, and the same by mpmath and python-flint: the judges of the soak."""

from __future__ import annotations

from fractions import Fraction

import flint
import mpmath
import numpy as np

__all__ = [
    "agreed_norm", "determinants", "exceeds_op2_sq", "flint_contains", "integers", "reaches_op2_sq", "value",
]


def integers(array: np.ndarray) -> tuple[list[int], int]:
    """Whole numbers k and an exponent e with each entry equal to k 2**e."""
    flat = np.asarray(array).astype(np.float64).ravel()
    mantissa, exponent = np.frexp(flat)
    whole = np.ldexp(mantissa, 53).astype(np.int64).tolist()
    powers = exponent.tolist()
    used = [p for k, p in zip(whole, powers, strict=True) if k]
    low = min(used, default=0)
    return [k << (p - low) if k else 0 for k, p in zip(whole, powers, strict=True)], low - 53


def value(k: int, e: int) -> Fraction:
    """The number k 2**e."""
    return Fraction(k << e) if e >= 0 else Fraction(k, 1 << -e)


def determinants(h: list[list[int]]) -> list[int]:
    """Leading principal minors by fraction-free elimination; stops after the first that is not positive."""
    h = [list(row) for row in h]
    n, previous, minors = len(h), 1, []
    for p in range(n):
        minors.append(h[p][p])
        if h[p][p] <= 0:
            break
        for i in range(p + 1, n):
            for j in range(p + 1, n):
                h[i][j] = (h[i][j] * h[p][p] - h[i][p] * h[p][j]) // previous
        previous = h[p][p]
    return minors


def _shifted(matrix: list[list[int]], e: int, square: Fraction) -> list[list[int]]:
    """Whole-number multiple of square I - A A^T of the shorter side, for A = matrix 2**e."""
    side = matrix if len(matrix) <= len(matrix[0]) else [list(c) for c in zip(*matrix, strict=True)]
    scaled = square / Fraction(4) ** e
    top, bottom = scaled.numerator, scaled.denominator
    return [
        [(top if i == j else 0) - bottom * sum(x * y for x, y in zip(r, s, strict=True)) for j, s in enumerate(side)]
        for i, r in enumerate(side)
    ]


def exceeds_op2_sq(matrix: list[list[int]], e: int, square: Fraction) -> bool:
    """Whether `square` is above the squared spectral norm: all leading minors of square I - A A^T are positive."""
    shifted = _shifted(matrix, e, square)
    minors = determinants(shifted)
    return len(minors) == len(shifted) and minors[-1] > 0


def reaches_op2_sq(matrix: list[list[int]], e: int, square: Fraction) -> bool:
    """Whether `square` is at least the squared spectral norm, by a hair: 10^-40 relative is added."""
    return exceeds_op2_sq(matrix, e, square * (1 + Fraction(1, 10**40)))


def agreed_norm(array: np.ndarray, kind: str) -> Fraction:
    """Frobenius ("fro") or spectral ("op2") norm by mpmath at 60 and at 120 digits, which must agree to 45."""
    answers = []
    for digits in (60, 120):
        context = mpmath.mp.clone()
        context.dps = digits
        wide = np.asarray(array).astype(np.float64)
        rows = (wide.reshape(1, -1) if kind == "fro" else wide).tolist()
        if kind == "fro":
            found = context.sqrt(context.fsum(context.mpf(x) ** 2 for row in rows for x in row))
        else:
            a = context.matrix(rows)
            a = a if a.rows <= a.cols else a.T
            found = context.sqrt(max(*context.eigsy(a * a.T, eigvals_only=True), context.mpf(0)))
        sign, mantissa, exponent, _ = found._mpf_
        answers.append((-1) ** sign * value(int(mantissa), int(exponent)))
    low, high = answers
    assert abs(low - high) <= Fraction(1, 10**45) * max(high, low), (low, high)
    return high


def flint_contains(array: np.ndarray, low: Fraction, high: Fraction) -> bool:
    """Whether the ball of the Frobenius norm by python-flint meets [low, high]."""
    before = flint.ctx.prec
    flint.ctx.prec = 300
    try:
        total = flint.arb(0)
        for k in integers(array)[0]:
            total += flint.arb(k) ** 2
        root = total.sqrt()
        scale = Fraction(2) ** integers(array)[1]
        ends = [flint.fmpq((x / scale).numerator, (x / scale).denominator) for x in (low, high)]
        return not (root < flint.arb(ends[0]) or root > flint.arb(ends[1]))
    finally:
        flint.ctx.prec = before
