"""Sums of squares of the three differences of a block, enclosed in one pass over the data.

With ``before = f(h)``, ``middle = f(g)`` and ``after = F(g)`` this forms ``e = after - before``,
``p = middle - before`` and ``d = after - middle`` in float64 and sums ``e*e``, ``p*p``, ``d*d`` and ``p*d``. Each
partial sum covers at most 2048 entries of one token, so it is within ``gamma(2048 + 2)`` of its true value in any
order of summation (one rounding of each difference included); partial sums are added without rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from peelverify.certify.checker import round_up
from peelverify.enclose import Interval, exact_sum, sqrt_upper
from peelverify.errors import NonFiniteError

__all__ = ["BlockEnergy", "TokenEnergy", "add_energy", "as_rows", "error_of", "window_error"]

_U = Fraction(1, 2**53)
_ETA = Fraction(1, 2**1074)
_PIECE = 2048
_CHUNK = 1 << 15
_LARGEST = 1e300
_ZERO = Interval(Fraction(0), Fraction(0))


def _gamma(n: int) -> Fraction:
    return n * _U / (1 - n * _U)


@dataclass
class TokenEnergy:
    """Sum of squares over all tokens and the largest over tokens, enclosed."""

    total: Interval = _ZERO
    largest: Interval = _ZERO

    def __iadd__(self, other: TokenEnergy) -> TokenEnergy:
        self.total += other.total
        self.largest = Interval(
            max(self.largest.lo, other.largest.lo), max(self.largest.hi, other.largest.hi)
        )
        return self


@dataclass
class BlockEnergy:
    """Enclosed sums over all tokens for one block: squared norms and the inner product."""

    error: TokenEnergy = field(default_factory=TokenEnergy)
    propagated_sq: Interval = _ZERO
    introduced_sq: Interval = _ZERO
    inner: Interval = _ZERO


def as_rows(state: Tensor) -> np.ndarray:
    """A state (..., n) as a float array (tokens, n) without changing a value: float32, or float64 where needed.

    Raises:
        NonFiniteError: NaN or infinity, or float64 values beyond 1e300.
    """
    flat = state.detach().reshape(-1, state.shape[-1]).cpu()
    if flat.dtype not in (torch.float32, torch.float64):
        flat = flat.to(torch.float32)  # bfloat16 and float16 values are float32 values
    rows = flat.numpy()
    if not np.isfinite(rows).all():
        raise NonFiniteError(
            "certify needs finite states and logits, got NaN or infinity; check the weights, or use a wider dtype"
        )
    if rows.dtype == np.float64 and np.abs(rows).max(initial=0.0) > _LARGEST:
        raise NonFiniteError(
            f"certify needs states and logits up to {_LARGEST:.0e}, whose differences cannot overflow, got "
            f"{np.abs(rows).max():.3g}; check the weights"
        )
    return rows


def _scale(arrays: list[np.ndarray]) -> int:
    """Exponent that brings float64 data near 1 if its squares could leave the range of float64."""
    top = max(float(np.abs(a).max(initial=0.0)) for a in arrays)
    return 0 if top == 0 or 2.0**-200 < top < 2.0**200 else int(np.frexp(top)[1])


def _pieces(x: np.ndarray, y: np.ndarray, out: list[np.ndarray]) -> None:
    for start in range(0, x.shape[1], _PIECE):
        out.append(np.vecdot(x[:, start : start + _PIECE], y[:, start : start + _PIECE]))


def _enclose(pieces: np.ndarray, magnitude: Fraction, count: int, n: int, shift: int) -> Interval:
    total = exact_sum(pieces)
    gamma = _gamma(min(n, _PIECE) + 2)
    floor = 8 * count * _ETA
    slack = gamma / (1 - gamma) * (magnitude + floor) + floor
    factor = Fraction(4) ** shift
    return Interval((total - slack) * factor, (total + slack) * factor)


def _square(pieces: np.ndarray, count: int, n: int, shift: int, x: np.ndarray, y: np.ndarray) -> Interval:
    """Enclose the sum of squares of ``x - y``; zero exactly if they are equal."""
    if not pieces.any() and (x.dtype == y.dtype == np.float32 or np.array_equal(x, y)):
        return _ZERO  # squares of differences of float32 values never underflow in float64
    found = _enclose(pieces, exact_sum(pieces), count, n, shift)
    return Interval(max(found.lo, Fraction(0)), found.hi)


def _largest(pieces: np.ndarray, n: int, shift: int) -> Interval:
    """Enclose the largest token-wise sum of squares from ``pieces`` (pieces, tokens)."""
    top = Fraction(float(pieces.sum(axis=0).max()))
    gamma = _gamma(min(n, _PIECE) + len(pieces) + 2)
    floor = 8 * n * _ETA
    slack = gamma / (1 - gamma) * (top + floor) + floor
    factor = Fraction(4) ** shift
    return Interval(max(top - slack, Fraction(0)) * factor, (top + slack) * factor)


def error_of(after: np.ndarray, before: np.ndarray) -> tuple[TokenEnergy, np.ndarray]:
    """Error of one array, and the squared norm of each token as computed, for a window's share.

    Returns:
        The enclosure, and partial sums (pieces, tokens).
    """
    n = before.shape[1]
    shift = _scale([after, before]) if before.dtype == np.float64 or after.dtype == np.float64 else 0
    parts: list[list[np.ndarray]] = []
    step = max(1, _CHUNK // max(1, n))
    for start in range(0, len(before), step):
        rows = slice(start, start + step)
        e = np.subtract(after[rows], before[rows], dtype=np.float64)
        if shift:
            e = np.ldexp(e, -shift)
        found: list[np.ndarray] = []
        _pieces(e, e, found)
        parts.append(found)
    pieces = np.stack([np.concatenate(p) for p in zip(*parts, strict=True)])
    total = _square(pieces, before.size, n, shift, after, before)
    return TokenEnergy(total, _largest(pieces, n, shift) if total.hi else _ZERO), _unscaled(pieces, shift)


def _unscaled(pieces: np.ndarray, shift: int) -> np.ndarray:
    with np.errstate(over="ignore"):  # `window_error` refuses what becomes infinite
        return np.ldexp(pieces, 2 * shift)


def window_error(pieces: np.ndarray, n: int) -> Interval:
    """Enclose the squared error of one window from its tokens' partial sums of `error_of`, (pieces, tokens)."""
    if not pieces.any():
        return _ZERO
    if not np.isfinite(pieces).all():
        raise NonFiniteError("certify needs errors of logits below 1e150, got larger ones; check the compressed model")
    found = _enclose(pieces, exact_sum(pieces), pieces.shape[1] * n, n, 0)
    return Interval(max(found.lo, Fraction(0)), found.hi)


def add_energy(block: BlockEnergy, before: np.ndarray, middle: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Add a batch to the sums of a block.

    Args:
        block: sums so far; changed in place.
        before: ``f(h)``, (tokens, n), float32 or float64.
        middle: ``f(g)``.
        after: ``F(g)``.

    Returns:
        Partial sums of the squared error, (pieces, tokens).
    """
    n, arrays = before.shape[1], [before, middle, after]
    wide = any(a.dtype == np.float64 for a in arrays)
    shift = _scale(arrays) if wide else 0
    columns: list[list[list[np.ndarray]]] = [[], [], [], []]
    step = max(1, _CHUNK // max(1, n))
    for start in range(0, len(before), step):
        rows = slice(start, start + step)
        p = np.subtract(middle[rows], before[rows], dtype=np.float64)
        d = np.subtract(after[rows], middle[rows], dtype=np.float64)
        e = np.subtract(after[rows], before[rows], dtype=np.float64)
        if shift:
            p, d, e = (np.ldexp(x, -shift) for x in (p, d, e))
        for column, (x, y) in zip(columns, ((e, e), (p, p), (d, d), (p, d)), strict=True):
            found: list[np.ndarray] = []
            _pieces(x, y, found)
            column.append(found)
    e2, p2, d2, pd = (
        np.stack([np.concatenate(piece) for piece in zip(*column, strict=True)]) for column in columns
    )
    count = before.size
    error = _square(e2, count, n, shift, after, before)
    block.error += TokenEnergy(error, _largest(e2, n, shift) if error.hi else _ZERO)
    propagated = _square(p2, count, n, shift, middle, before)
    introduced = _square(d2, count, n, shift, after, middle)
    block.propagated_sq += propagated
    block.introduced_sq += introduced
    if propagated.hi and introduced.hi:
        # Cauchy and Schwarz bound the sum of |p d|, which the error of the inner product refers to
        magnitude = sqrt_upper(round_up(propagated.hi * introduced.hi)) / Fraction(4) ** shift
        block.inner += _enclose(pd, magnitude, count, n, shift)
    return _unscaled(e2, shift)
