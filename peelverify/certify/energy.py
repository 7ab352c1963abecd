"""Sums of squares of the three differences of a block, enclosed in one pass over the data.

With ``before = f(h)``, ``middle = f(g)`` and ``after = F(g)`` this forms ``e = after - before``,
``p = middle - before`` and ``d = after - middle`` in float64 and sums ``e*e``, ``p*p``, ``d*d`` and ``p*d``. Each
partial sum covers at most 2048 entries of one token, so it is within ``gamma(2048 + 2)`` of its true value in any
order of summation (one rounding of each difference included); partial sums are added without rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from peelverify.certify.checker import round_up
from peelverify.enclose import Interval, exact_sum, sqrt_upper
from peelverify.enclose.arrays import require_ieee_arithmetic
from peelverify.errors import NonFiniteError

__all__ = ["BlockEnergy", "TokenEnergy", "TokenSums", "add_energy", "as_rows", "error_of", "window_error"]

_U = Fraction(1, 2**53)
_ETA = Fraction(1, 2**1074)
_PIECE = 2048
_CHUNK = 1 << 15
_LARGEST = 1e300
_NOTHING = -2200
"""Exponent of a token without any difference: what might underflow there is below every other number."""
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


@dataclass(frozen=True)
class TokenSums:
    """Sums of products over pieces of each token, as computed.

    Attributes:
        pieces: float64, (pieces, tokens).
        exponents: (tokens,) integers: the factors of a token were scaled, so that its sums stand for
            ``pieces * 2.0**exponents``, which may lie outside the range of float64.
    """

    pieces: np.ndarray
    exponents: np.ndarray

    def __getitem__(self, tokens: slice) -> TokenSums:
        return TokenSums(self.pieces[:, tokens], self.exponents[tokens])

    @classmethod
    def join(cls, parts: list[TokenSums]) -> TokenSums:
        """The sums of several batches of tokens, one after the other."""
        return cls(
            np.concatenate([part.pieces for part in parts], axis=1), np.concatenate([part.exponents for part in parts])
        )

    def groups(self) -> Iterator[tuple[Fraction, np.ndarray]]:
        """Sums of the tokens with one exponent, and what they are multiplied with."""
        for exponent in np.unique(self.exponents).tolist():
            yield Fraction(2) ** exponent, self.pieces[:, self.exponents == exponent]


def _near_one(x: np.ndarray, wide: bool) -> tuple[np.ndarray, np.ndarray]:
    """Differences of float64 data, each token scaled where its squares could leave the range; the exponents."""
    if not wide:  # squares of differences of float32 values neither overflow nor underflow
        return x, np.zeros(len(x), dtype=np.int64)
    top = np.abs(x).max(axis=1, initial=0.0)
    exponents = np.where((top > 2.0**-200) & (top < 2.0**200), 0, np.frexp(top)[1].astype(np.int64))
    exponents[top == 0] = _NOTHING
    return (np.ldexp(x, -exponents[:, None]) if exponents.any() else x), exponents


def _products(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Sums of ``x * y`` over pieces of at most `_PIECE` entries of each token, (pieces, tokens)."""
    starts = range(0, x.shape[1], _PIECE)
    return np.stack([np.vecdot(x[:, s : s + _PIECE], y[:, s : s + _PIECE]) for s in starts])


def _enclose(sums: TokenSums, n: int, magnitude: Fraction | None = None) -> Interval:
    """Enclose the sum over all tokens; ``magnitude`` bounds the sum of magnitudes where products have signs."""
    total = floor = Fraction(0)
    for factor, pieces in sums.groups():
        total += exact_sum(pieces) * factor
        floor += 8 * pieces.shape[1] * n * _ETA * factor
    gamma = _gamma(min(n, _PIECE) + 2)
    slack = gamma / (1 - gamma) * ((total if magnitude is None else magnitude) + floor) + floor
    return Interval(total - slack, total + slack)


def _square(sums: TokenSums, n: int) -> Interval:
    """Enclose a sum of squares; exactly zero if every difference is, since scaled squares never vanish."""
    if not sums.pieces.any():
        return _ZERO
    found = _enclose(sums, n)
    return Interval(max(found.lo, Fraction(0)), found.hi)


def _largest(sums: TokenSums, n: int) -> Interval:
    """Enclose the largest sum of squares of a token."""
    gamma = _gamma(min(n, _PIECE) + len(sums.pieces) + 2)
    found = _ZERO
    for factor, pieces in sums.groups() if sums.pieces.any() else ():
        top, floor = Fraction(float(pieces.sum(axis=0).max())), 8 * n * _ETA
        slack = gamma / (1 - gamma) * (top + floor) + floor
        found = Interval(max(found.lo, (top - slack) * factor), max(found.hi, (top + slack) * factor))
    return found


def _in_steps(arrays: list[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """The same tokens of each array, few enough that their differences stay in the cache."""
    step = max(1, _CHUNK // max(1, arrays[0].shape[1]))
    for start in range(0, len(arrays[0]), step):
        yield [array[start : start + step] for array in arrays]


def _minus(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.subtract(x, y, dtype=np.float64)


def error_of(after: np.ndarray, before: np.ndarray) -> TokenEnergy:
    """Error of one array (tokens, n), float32 or float64, against another.

    Raises:
        NumericalError: arithmetic that flushes subnormal numbers or does not round to nearest.
    """
    require_ieee_arithmetic()
    n, wide = before.shape[1], before.dtype == np.float64 or after.dtype == np.float64
    parts = []
    for x, y in _in_steps([after, before]):
        e, exponents = _near_one(_minus(x, y), wide)
        parts.append(TokenSums(_products(e, e), 2 * exponents))
    sums = TokenSums.join(parts)
    return TokenEnergy(_square(sums, n), _largest(sums, n))


def window_error(sums: TokenSums, n: int) -> Interval:
    """Enclose the squared error of one window from its tokens' sums, as `add_energy` gives them."""
    return _square(sums, n)


def add_energy(block: BlockEnergy, before: np.ndarray, middle: np.ndarray, after: np.ndarray) -> TokenSums:
    """Add a batch to the sums of a block.

    Args:
        block: sums so far; changed in place.
        before: ``f(h)``, (tokens, n), float32 or float64.
        middle: ``f(g)``.
        after: ``F(g)``.

    Returns:
        Sums of the squared error of each token.

    Raises:
        NumericalError: arithmetic that flushes subnormal numbers or does not round to nearest.
    """
    require_ieee_arithmetic()
    n, arrays = before.shape[1], [before, middle, after]
    wide = any(a.dtype == np.float64 for a in arrays)
    columns: list[list[TokenSums]] = [[], [], [], []]
    for b, m, a in _in_steps(arrays):
        e, p, d = (_near_one(_minus(x, y), wide) for x, y in ((a, b), (m, b), (a, m)))
        for column, (x, y) in zip(columns, ((e, e), (p, p), (d, d), (p, d)), strict=True):
            column.append(TokenSums(_products(x[0], y[0]), x[1] + y[1]))
    e2, p2, d2, pd = (TokenSums.join(column) for column in columns)
    block.error += TokenEnergy(_square(e2, n), _largest(e2, n))
    propagated, introduced = _square(p2, n), _square(d2, n)
    block.propagated_sq += propagated
    block.introduced_sq += introduced
    if propagated.hi and introduced.hi:
        # Cauchy and Schwarz bound the sum of |p d|, which the error of the inner product refers to
        block.inner += _enclose(pd, n, sqrt_upper(round_up(propagated.hi * introduced.hi)))
    return e2
