"""Frobenius norms, inner products and errors of arrays, enclosed from both sides.

Partial sums of at most `BLOCK` products are formed in float64 in whatever order the library likes; each
obeys the a-priori bound for any summation order. `math.fsum` adds the partial sums exactly and rounds once. The
result is sharp to about ``BLOCK * 2**-53`` relative, whatever the size of the array.

Squares of float32 arrays are summed by a compiled routine where there is one (`peelverify.enclose.compiled`). It makes
the same kind of sums, so the same bound holds.

Where squares would overflow or underflow, entries are sorted into classes by magnitude. Each class is scaled
by its own power of two, which is exact, and the classes are added without rounding.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache, lru_cache
from math import fsum
from typing import Any, NamedTuple

import numpy as np

from peelverify.bounds.rounding import gamma, nonneg_sum_lower, nonneg_sum_upper
from peelverify.enclose.arrays import flat_chunks, require_finite, require_ieee_arithmetic, stored
from peelverify.enclose.compiled import compiled_squares
from peelverify.enclose.dyadic import root_of, round_down, round_up, sqrt_lower, sqrt_upper
from peelverify.errors import ShapeError
from peelverify.registry import mirrors

__all__ = [
    "BLOCK", "Interval", "error_sq", "inner_lower", "inner_of_differences", "inner_upper", "norm_fro_lower",
    "norm_fro_upper", "product_slack", "root", "sum_sq",
]

BLOCK = 4096
UNIT = Fraction(1, 2**53)
ETA = Fraction(1, 2**1074)
_PASS = 64
"""Blocks converted to float64 and squared at a time: few calls, and the converted ones stay in the cache."""
_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
_SAFE = 2.0**-300
"""A sum of squares above this has lost nothing that matters to underflow."""
_CLASSES = ((-1074, -700, 900), (-700, -250, 450), (-250, 250, 0), (250, 700, -450), (700, 1025, -850))
"""Exponents from, to, and the power of two that brings the class near 1, so that no square overflows."""


class Interval(NamedTuple):
    """Exact numbers ``lo <= x <= hi`` around an unknown ``x``."""

    lo: Fraction
    hi: Fraction

    def __add__(self, other: Interval) -> Interval:  # type: ignore[override]
        return Interval(self.lo + other.lo, self.hi + other.hi)


_ZERO = Interval(Fraction(0), Fraction(0))


@cache
def relative_error(roundings: int) -> Fraction:
    """Relative error of so many roundings in float64, exactly."""
    return gamma(UNIT, roundings)


@mirrors("PeelVerify.signed_enclosure")
def product_slack(magnitude: Fraction, roundings: int, underflow: Fraction) -> Fraction:
    """Bound how far a computed sum of products is from the exact one.

    Args:
        magnitude: computed sum of the magnitudes of the products, >= 0.
        roundings: roundings on the longest way from a stored number to the sum: one a term, and one for each
            factor that is itself rounded, such as a difference.
        underflow: bound on all underflow errors together, >= 0.

    Returns:
        gamma(roundings) (magnitude + underflow) / (1 - gamma(roundings)) + underflow.

    Raises:
        DomainError: if an argument is negative, or so many roundings bound nothing.

    Guarantee:
        At least |computed - exact|. `PeelVerify.signed_enclosure`.

    Not for:
        Arithmetic other than float64 to nearest.

    Example:
        >>> product_slack(Fraction(0), 3, Fraction(1, 8)) > Fraction(1, 8)
        True
    """
    relative = relative_error(roundings)
    return relative * nonneg_sum_upper(magnitude, relative, underflow) + underflow


def _block_sums(x: np.ndarray, y: np.ndarray) -> list[float]:
    """Float64 sums of x*y over blocks of `BLOCK` entries, the last one shorter."""
    if x.size <= BLOCK:
        return [float(x.dot(y))]
    whole = x.size - x.size % BLOCK
    sums = np.vecdot(x[:whole].reshape(-1, BLOCK), y[:whole].reshape(-1, BLOCK)).tolist()
    return sums if whole == x.size else [*sums, float(x[whole:].dot(y[whole:]))]


def _total(parts: list[float]) -> float:
    """The sum of partial sums, rounded once; not finite where something overflowed."""
    try:
        return parts[0] if len(parts) == 1 else fsum(parts)
    except (OverflowError, ValueError):  # the sum is beyond float64, or has infinities of both signs
        return np.nan


_TOTAL = 2
"""Roundings of `_total`: one, and another in case the C library rounds in two steps."""


class _Sums:
    """Sums of products over chunks of arrays: block sums as computed, and how many terms a block has."""

    def __init__(self) -> None:
        self.totals: list[float] = []
        self.magnitudes: list[float] = []
        self.count = 0
        self.longest = 0

    def add(self, x: np.ndarray, y: np.ndarray | None) -> None:
        """Add the products of two flat float64 arrays (squares if y is None)."""
        self.totals += _block_sums(x, x if y is None else y)
        if y is not None:
            self.magnitudes += _block_sums(np.abs(x), np.abs(y))
        self.count += x.size
        self.longest = max(self.longest, min(x.size, BLOCK))

    def safe(self) -> bool:
        """Whether nothing overflowed, and what underflowed is far below the sum."""
        return _SAFE < _total(self.magnitudes or self.totals) < np.inf

    def enclose(self, carried: int) -> Interval:
        """The exact sum, when each factor carries so many roundings."""
        if not self.totals:
            return _ZERO
        total, once = Fraction(_total(self.totals)), relative_error(_TOTAL if len(self.totals) > 1 else 0)
        roundings, floor = self.longest + 2 * carried, self.count * ETA
        if not self.magnitudes:
            relative = relative_error(roundings)
            lower = nonneg_sum_lower(nonneg_sum_lower(total, once, Fraction(0)), relative, floor)
            upper = nonneg_sum_upper(nonneg_sum_upper(total, once, Fraction(0)), relative, floor)
            return Interval(max(lower, Fraction(0)), upper)
        magnitude = nonneg_sum_upper(Fraction(_total(self.magnitudes)), once, Fraction(0))
        slack = product_slack(magnitude, roundings, floor) + nonneg_sum_upper(abs(total), once, Fraction(0)) * once
        return Interval(total - slack, total + slack)


def _classes(x: np.ndarray, halved: np.ndarray | None) -> list[tuple[int, np.ndarray]]:
    """Split a flat array into pieces of like magnitude: (s, piece) with x = sum of piece / 2^s, exactly.

    Args:
        x: finite entries, or infinite where the difference overflowed.
        halved: half of the difference, used where x is infinite.
    """
    pieces = []
    if halved is not None:
        over = np.isinf(x)
        if over.any():
            pieces.append((_CLASSES[-1][2] - 1, np.ldexp(np.where(over, halved, 0.0), _CLASSES[-1][2])))
        x = np.where(over, 0.0, x)
    exponent = np.frexp(x)[1]
    for low, high, shift in _CLASSES:
        mine = (x != 0) & (exponent > low) & (exponent <= high)
        if low == _CLASSES[0][0]:
            mine |= (x != 0) & (exponent <= low)
        if mine.any():
            pieces.append((shift, np.ldexp(np.where(mine, x, 0.0), shift)))
    return pieces


def _difference(x: np.ndarray, y: np.ndarray | None, *, split: bool) -> list[tuple[int, np.ndarray]]:
    """The chunk x - y (x itself if y is None), whole or split into classes."""
    if y is None:
        return _classes(x, None) if split else [(0, x)]
    d = x - y
    return _classes(d, x * 0.5 - y * 0.5) if split else [(0, d)]


def _squares(raw: np.ndarray) -> tuple[float, int]:
    """Sum of squares of one array in a single pass, as computed, and how many terms the longest block has.

    The usual case, so kept short. Only a sum above `_SAFE` and below infinity says something.
    """
    flat = raw.ravel("K")
    if flat.dtype == _FLOAT32:
        sums_of_squares = compiled_squares()
        if sums_of_squares is not None:  # n terms have fewer than n roundings, see _squares.c
            return _total(sums_of_squares(flat, BLOCK)), min(flat.size, BLOCK)
    if flat.size <= BLOCK:
        if flat.dtype.char == "d":
            flat = flat.astype(_FLOAT64, copy=False)  # of the other byte order
            return float(np.vdot(flat, flat)), flat.size  # the one product that does not warn of an overflow
        with np.errstate(all="ignore"):  # a signalling NaN
            flat = flat.astype(_FLOAT64)
        return float(np.vdot(flat, flat)), flat.size
    with np.errstate(all="ignore"):
        return (_total(_block_sums(flat, flat)) if flat.dtype == _FLOAT64 else _converted_sum(flat)), BLOCK


_rooms: list[np.ndarray] = []
"""Float64 blocks that no call uses now. A call takes one out and puts it back, so no two calls share one."""


def _make_room() -> np.ndarray:
    """Room for `_PASS` blocks that starts at a cache line; inner products are twice as fast there."""
    room = np.empty(_PASS * BLOCK + 7)
    skip = -(room.ctypes.data >> 3) % 8
    return room[skip : skip + _PASS * BLOCK].reshape(_PASS, BLOCK)


def _converted_sum(flat: np.ndarray) -> float:
    """Sum of squares of many entries, as computed, block by block; some blocks at a time become float64.

    The caller has silenced floating-point events.
    """
    whole = flat.size - flat.size % BLOCK
    blocks = flat[:whole].reshape(-1, BLOCK)
    sums: list[float] = []
    room = _rooms.pop() if _rooms else _make_room()
    try:
        for start in range(0, len(blocks), _PASS):
            part = blocks[start : start + _PASS]
            wide = room[: len(part)]
            wide[...] = part
            sums += np.vecdot(wide, wide).tolist()
        if whole < flat.size:
            rest = flat[whole:].astype(_FLOAT64)
            sums.append(float(rest.dot(rest)))
    finally:
        _rooms.append(room)
    return _total(sums)


_SCALE = 160


@lru_cache(maxsize=2 * BLOCK)
def _factors(longest: int) -> tuple[int, int]:
    """What a sum above `_SAFE`, as `_squares` computes it, is multiplied with for its bounds, times 2^_SCALE.

    Underflow of fewer than 2^70 products is below 2^-700 of such a sum.
    """
    once, relative, floor = relative_error(_TOTAL), relative_error(longest), Fraction(1, 2**700)
    lower = nonneg_sum_lower(nonneg_sum_lower(Fraction(1), once, Fraction(0)), relative, floor)
    upper = nonneg_sum_upper(nonneg_sum_upper(Fraction(1), once, Fraction(0)), relative, floor)
    return int(lower * 2**_SCALE), -int(-upper * 2**_SCALE // 1)


def _norm(array: Any, *, up: bool) -> Fraction:
    """One bound on the Frobenius norm; whole numbers only, since small arrays are many."""
    require_ieee_arithmetic()
    raw = stored(array)
    if raw.size:
        total, longest = _squares(raw)
        if _SAFE < total < np.inf:
            top, bottom = total.as_integer_ratio()
            return root_of(top * _factors(longest)[up], 1 - bottom.bit_length() - _SCALE, up=up)
    found = _enclose((raw,), None, 0)
    return sqrt_upper(found.hi) if up else sqrt_lower(found.lo)


@np.errstate(all="ignore")  # whatever the caller set
def _enclose(left: tuple[np.ndarray, ...], right: tuple[np.ndarray, ...] | None, carried: int) -> Interval:
    """Enclose sum l*r with l = left[0] - left[1], r likewise (or r = l if `right` is None)."""
    arrays = left + (right or ())
    if arrays[0].size == 0:
        return _ZERO
    plain = _Sums()
    for chunk in flat_chunks(*arrays):
        x = _difference(chunk[0], chunk[1] if len(left) > 1 else None, split=False)[0][1]
        y = None
        if right is not None:
            y = _difference(chunk[len(left)], chunk[-1] if len(right) > 1 else None, split=False)[0][1]
        plain.add(x, y)
    if plain.safe():
        return plain.enclose(carried)
    for raw in arrays:
        require_finite(raw)
    sums: dict[int, _Sums] = {}
    for chunk in flat_chunks(*arrays):
        ls = _difference(chunk[0], chunk[1] if len(left) > 1 else None, split=True)
        if right is None:
            for shift, piece in ls:
                sums.setdefault(2 * shift, _Sums()).add(piece, None)
            continue
        rs = _difference(chunk[len(left)], chunk[-1] if len(right) > 1 else None, split=True)
        for shift, piece in ls:
            for other, factor in rs:
                both = (piece != 0) & (factor != 0)
                if both.any():
                    sums.setdefault(shift + other, _Sums()).add(piece[both], factor[both])
    total = _ZERO
    for shift, part in sums.items():
        found, factor = part.enclose(carried), Fraction(2) ** -shift
        total += Interval(found.lo * factor, found.hi * factor)
    return total


def _same_shape(what: str, *arrays: Any) -> tuple[np.ndarray, ...]:
    raws = tuple(stored(array, name=what) for array in arrays)
    shapes = [raw.shape for raw in raws]
    if len(set(shapes)) > 1:
        raise ShapeError(f"{what} needs arrays of one shape, got {', '.join(map(str, shapes))}; align them first")
    return raws


@mirrors("PeelVerify.partial_sums_enclosure")
def sum_sq(array: Any) -> Interval:
    """Enclose the sum of squares of all entries.

    Args:
        array: numpy array or torch tensor, float16 to float64, any shape and layout, finite.

    Returns:
        Exact bounds ``lo <= sum <= hi``; equal to zero only for an all-zero array.

    Raises:
        InputError: integer, complex or masked entries.
        NonFiniteError: NaN or infinite entries; says how many and where the first is.
        NumericalError: if the processor flushes subnormal numbers to zero.

    Guarantee:
        Sums over blocks in any order, added exactly. `PeelVerify.partial_sums_enclosure`.

    Example:
        >>> import numpy as np
        >>> found = sum_sq(np.array([3.0, 4.0]))
        >>> found.lo <= 25 <= found.hi
        True
    """
    require_ieee_arithmetic()
    return _enclose((stored(array),), None, 0)


@mirrors("PeelVerify.rounded_product_error")
def error_sq(x: Any, y: Any) -> Interval:
    """Enclose the sum of squares of ``x - y``, the difference of the stored values taken exactly.

    Args:
        x: array or tensor, float16 to float64.
        y: array or tensor of the same shape.

    Returns:
        Exact bounds. Zero exactly when the arrays are equal.

    Raises:
        ShapeError: for different shapes.
        InputError: integer, complex or masked entries.
        NonFiniteError: NaN or infinite entries.

    Guarantee:
        Each computed difference carries one rounding, its square two. `PeelVerify.rounded_product_error`.
    """
    require_ieee_arithmetic()
    return _enclose(_same_shape("error_sq", x, y), None, 1)


@mirrors("PeelVerify.dot_error_of_rounded_factors")
def inner_of_differences(x: Any, y: Any, z: Any, w: Any) -> Interval:
    """Enclose the inner product of ``x - y`` with ``z - w``, differences of stored values taken exactly.

    Args:
        x: array or tensor; all four have one shape.
        y: as ``x``.
        z: as ``x``.
        w: as ``x``.

    Raises:
        ShapeError: for different shapes.
        InputError: integer, complex or masked entries.
        NonFiniteError: NaN or infinite entries.

    Guarantee:
        The roundings of the differences add to those of the sum. `PeelVerify.dot_error_of_rounded_factors`.
    """
    require_ieee_arithmetic()
    raws = _same_shape("inner_of_differences", x, y, z, w)
    return _enclose(raws[:2], raws[2:], 1)


def _inner(x: Any, y: Any) -> Interval:
    require_ieee_arithmetic()
    left, right = _same_shape("an inner product", x, y)
    return _enclose((left,), (right,), 0)


@mirrors("PeelVerify.dot_le_of_computed")
def inner_upper(x: Any, y: Any) -> Fraction:
    """Exact dyadic not below the sum of x*y over all entries.

    Args:
        x: numpy array or torch tensor, float16, bfloat16, float32 or float64; any shape, also empty.
        y: as ``x``, of the same shape; its type may differ.

    Raises:
        ShapeError: for different shapes.
        InputError: integer, complex or masked entries.
        NonFiniteError: NaN or infinite entries.

    Guarantee:
        Upper bound on the exact inner product. `PeelVerify.dot_le_of_computed`.
    """
    high = _inner(x, y).hi
    return round_up(high) if high >= 0 else -round_down(-high)


@mirrors("PeelVerify.le_dot_of_computed")
def inner_lower(x: Any, y: Any) -> Fraction:
    """Exact dyadic not above the sum of x*y over all entries; arguments and errors as for `inner_upper`.

    Guarantee:
        Lower bound on the exact inner product. `PeelVerify.le_dot_of_computed`.
    """
    low = _inner(x, y).lo
    return round_down(low) if low >= 0 else -round_up(-low)


@mirrors("PeelVerify.root_between")
def root(interval: Interval) -> Interval:
    """Enclose the square root of a non-negative interval by 64-bit dyadics.

    Guarantee:
        A number whose square is inside the interval lies between the ends. `PeelVerify.root_between`.
    """
    return Interval(sqrt_lower(interval.lo), sqrt_upper(interval.hi))


@mirrors("PeelVerify.frobLe_of_computed")
def norm_fro_upper(array: Any) -> Fraction:
    """Exact dyadic not below the Frobenius norm of the stored values, within 1e-12 relative.

    Args:
        array: numpy array or torch tensor, float16, bfloat16, float32 or float64; any shape, also empty.

    Raises:
        NonFiniteError: NaN or infinite entries; says how many and where the first is.
        InputError: integer, complex or masked entries.
        NumericalError: if the processor flushes subnormal numbers to zero.

    Guarantee:
        Upper bound on the root of the sum of squares. `PeelVerify.frobLe_of_computed`.

    Example:
        >>> import numpy as np
        >>> 5 <= norm_fro_upper(np.array([3.0, 4.0])) < 5.000000000001
        True
    """
    return _norm(array, up=True)


@mirrors("PeelVerify.le_frobSq_of_computed")
def norm_fro_lower(array: Any) -> Fraction:
    """Exact dyadic not above the Frobenius norm, within 1e-12 relative; arguments and errors as for `norm_fro_upper`.

    Guarantee:
        Lower bound on the root of the sum of squares. `PeelVerify.le_frobSq_of_computed`.
    """
    return _norm(array, up=False)
