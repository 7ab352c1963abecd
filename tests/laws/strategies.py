"""Every Hypothesis strategy of the laws. All numbers are exact: floats are drawn, then read as fractions."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

from hypothesis import strategies as st

F = Fraction

TINY = F(5e-324)
"""The smallest positive float."""

HUGE = F(1.7976931348623157e308)
"""The largest float."""

ULP = F(1, 2**52)
"""Distance from 1 to the next float."""


@cache
def _grid(low: int, high: int, denominators: int) -> tuple[Fraction, ...]:
    """All fractions of a range with small denominators, the simplest first."""
    grid = {F(n, d) for d in range(1, denominators + 1) for n in range(low * d, high * d + 1)}
    return tuple(sorted(grid, key=lambda x: (x.denominator, abs(x), x < 0)))


def rationals(low: int = -8, high: int = 8) -> st.SearchStrategy[Fraction]:
    """Short fractions, where every case split of a theorem is easily met."""
    return st.sampled_from(_grid(low, high, 12))


def floats_read_exactly(low: float | None = None, high: float | None = None) -> st.SearchStrategy[Fraction]:
    """Floats of any magnitude, subnormal to huge, as the rational numbers that they are."""
    return st.floats(low, high, allow_nan=False, allow_infinity=False).map(Fraction)


def numbers() -> st.SearchStrategy[Fraction]:
    """Numbers of either sign."""
    return rationals() | floats_read_exactly()


def sizes() -> st.SearchStrategy[Fraction]:
    """Numbers that are not negative."""
    return rationals(0) | floats_read_exactly(0.0)


def portions() -> st.SearchStrategy[Fraction]:
    """Numbers in [0, 1]."""
    return st.sampled_from(_grid(0, 1, 16))


def signed_portions() -> st.SearchStrategy[Fraction]:
    """Numbers in [-1, 1]."""
    return st.sampled_from(_grid(-1, 1, 16))


def contractions() -> st.SearchStrategy[Fraction]:
    """Numbers in [0, 1)."""
    return st.sampled_from(_grid(0, 1, 32)).filter(lambda x: x < 1)


def steps(max_size: int = 6) -> st.SearchStrategy[list[tuple[Fraction, Fraction]]]:
    """(gain, delta) of the blocks of a chain, possibly none."""
    return st.lists(st.tuples(sizes(), sizes()), max_size=max_size)


def vectors(min_size: int = 1, max_size: int = 5, entries=None) -> st.SearchStrategy[list[Fraction]]:
    """Vectors."""
    return st.lists(numbers() if entries is None else entries, min_size=min_size, max_size=max_size)


@st.composite
def aligned(draw, count: int, *, max_size: int = 5, entries=None) -> tuple[list[Fraction], ...]:
    """Several vectors of one length."""
    length = draw(st.integers(1, max_size))
    return tuple(draw(vectors(length, length, entries)) for _ in range(count))


def matrices(rows: int, columns: int, entries=None) -> st.SearchStrategy[list[list[Fraction]]]:
    """Matrices of one shape."""
    return st.lists(vectors(columns, columns, entries), min_size=rows, max_size=rows)
