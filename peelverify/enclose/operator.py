"""The spectral norm of a matrix, enclosed from one side at a time.

`norm_op2_upper` proposes c by Lanczos iteration and then proves it: with the Gram matrix ``G`` of the shorter
side, a Cholesky factor ``L`` of ``(c^2 - s) I - G`` is computed in float64 and the residual
``D = c^2 I - G - L L^T`` is bounded row by row, all rounding included. If every row of ``D`` is diagonally
dominant, then ``c^2 I - A A^T = L L^T + D`` is a spectral certificate. Nothing is assumed of the Cholesky
routine or of the iteration: a bad factor only makes the check fail, and then c grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from scipy import linalg
from scipy.linalg import blas, lapack

from peelverify.bounds.rounding import gamma
from peelverify.enclose.arrays import (
    is_narrow,
    require_exact_products,
    require_finite,
    require_matrix,
    stored,
)
from peelverify.enclose.dyadic import round_down, round_up, sqrt_lower, sqrt_upper
from peelverify.enclose.frobenius import ETA, UNIT, norm_fro_lower, norm_fro_upper, sum_sq
from peelverify.registry import mirrors

__all__ = ["Stacked", "certificate_slack", "norm_op2_lower", "norm_op2_upper"]

_START = 2.0**-22
"""Room above the estimate of c^2 at which the first certificate is tried."""
_STEPS = 128
_ENOUGH = 1e-8
_BLOCK = 512
_PIECE = 1 << 22
"""Entries of the matrix converted to float64 at a time."""
_SLAB = 1 << 18
"""Entries of a stacked matrix that are made at a time."""


class Stacked:
    """A float64 matrix that is made some rows at a time, whenever they are asked for, and never held whole.

    Args:
        shape: rows and columns, the rows the longer side; transpose what is wider than tall.
        make: ``make(start, stop)`` gives rows ``start`` to ``stop`` as a float64 array (stop - start, columns).
    """

    def __init__(self, shape: tuple[int, int], make: Callable[[int, int], np.ndarray]) -> None:
        self.shape, self.make = shape, make

    def pieces(self) -> Iterator[np.ndarray]:
        """All rows, some at a time."""
        rows, columns = self.shape
        step = max(1, _SLAB // max(1, columns))
        for start in range(0, rows, step):
            yield self.make(start, min(start + step, rows))

    def frobenius(self) -> Fraction:
        """Exact dyadic not below the Frobenius norm."""
        return sqrt_upper(sum((sum_sq(piece).hi for piece in self.pieces()), Fraction(0)))


class _Matrix:
    """A matrix with its rows the shorter side, divided by 2**shift where its squares would leave float64."""

    def __init__(self, array: Any) -> None:
        self.stacked = array if isinstance(array, Stacked) else None
        if self.stacked is not None:
            self.columns, self.rows = array.shape
            parts, self.raw, narrow = self.stacked.pieces(), None, False
        else:
            raw = stored(array, name="matrix")
            require_matrix(raw)
            self.raw = raw.T if raw.shape[0] > raw.shape[1] else raw
            self.rows, self.columns = self.raw.shape
            parts, narrow = iter([raw]), is_narrow(raw)
        self.size = self.rows * self.columns
        require_exact_products(self.size * min(self.rows, self.columns))
        self.top = 0.0
        for part in parts if self.size else ():
            top = max(-float(part.min()), float(part.max()))
            if not np.isfinite(top):
                require_finite(part, name="matrix")
            self.top = max(self.top, top)
        far = self.top > 0 and not 2.0**-200 < self.top < 2.0**200
        self.shift = int(np.frexp(self.top)[1]) if far and not narrow else 0

    def pieces(self) -> Iterator[np.ndarray]:
        """Float64 pieces (rows, some columns), side by side."""
        for piece in self._unscaled():
            yield np.ldexp(piece, -self.shift) if self.shift else piece

    def _unscaled(self) -> Iterator[np.ndarray]:
        if self.stacked is not None:
            yield from (piece.T for piece in self.stacked.pieces())
            return
        width = max(1, _PIECE // max(1, self.rows))
        if self.raw.dtype == np.float64 and not self.shift:
            width = max(width, self.columns if self.size <= 2 * _PIECE else width)
        for start in range(0, self.columns, width):
            yield self.raw[:, start : start + width].astype(np.float64, copy=False)

    def lost(self) -> Fraction:
        """Bound on the norm of what scaling down lost to underflow, half a subnormal step an entry."""
        return self.size * ETA if self.shift else Fraction(0)

    def gram(self) -> np.ndarray:
        """The product with its own transpose, lower triangle, computed in float64."""
        gram = np.zeros((self.rows, self.rows), order="F")
        for piece in self.pieces():
            if piece.flags.f_contiguous:
                gram = blas.dsyrk(1.0, piece, beta=1.0, c=gram, trans=0, lower=1, overwrite_c=1)
            else:
                whole = np.ascontiguousarray(piece)
                gram = blas.dsyrk(1.0, whole.T, beta=1.0, c=gram, trans=1, lower=1, overwrite_c=1)
        return gram


def _lanczos(apply: Callable[[np.ndarray], np.ndarray], start: np.ndarray, steps: int) -> tuple[float, np.ndarray]:
    """An estimate from below of the largest eigenvalue, and its vector; full reorthogonalisation.

    Stops when the residual says that the estimate is within `_ENOUGH` relative.
    """
    n = len(start)
    basis = np.zeros((min(n, steps), n))
    v = start / np.linalg.norm(start)
    alphas: list[float] = []
    betas: list[float] = []
    for k in range(len(basis)):
        basis[k] = v
        w = apply(v)
        alphas.append(float(v @ w))
        for _ in range(2):
            w = w - basis[: k + 1].T @ (basis[: k + 1] @ w)
        beta = float(np.linalg.norm(w))
        last = not beta > 1e-14 * max(map(abs, alphas)) or k + 1 == len(basis)
        if last or k % 4 == 3:
            values, vectors = linalg.eigh_tridiagonal(np.array(alphas), np.array(betas))
            rest = abs(beta * vectors[-1, -1])
            gap = values[-1] - values[-2] if k else 0.0
            if last or min(rest, 4 * rest * rest / gap if gap > 0 else rest) <= _ENOUGH * values[-1]:
                break
        betas.append(beta)
        v = w / beta
    return float(values[-1]), basis[: len(alphas)].T @ vectors[:, -1]


def _start(n: int) -> np.ndarray:
    return np.random.default_rng(12345).standard_normal(n)


def _largest(gram: np.ndarray) -> tuple[float, np.ndarray]:
    """Largest eigenvalue of a symmetric matrix given by its lower triangle, estimated, and its vector."""
    return _lanczos(lambda v: blas.dsymv(1.0, gram, v, lower=1), _start(len(gram)), _STEPS)


def _nearer(factor: np.ndarray, square: float, vector: np.ndarray) -> tuple[float, np.ndarray]:
    """A sharper estimate from a factor of ``square I - G``: Lanczos on the inverse, which spreads the top apart."""

    def solve(v: np.ndarray) -> np.ndarray:
        return blas.dtrsv(factor, blas.dtrsv(factor, v, lower=1), lower=1, trans=1)

    value, found = _lanczos(solve, vector, 24)
    return square - 1 / value, found


@mirrors("PeelVerify.spectral_slack")
def certificate_slack(
    gram_relative: Any, row_norms: np.ndarray, factor_relative: Any, factor_norms: np.ndarray,
    subtraction: np.ndarray, floor: Any,
) -> np.ndarray:
    """Bound, row by row, how far a computed residual ``c^2 I - G - L L^T`` is from the exact one.

    Args:
        gram_relative: relative error of the computed G = A A^T, see `peelverify.bounds.rounding.gamma`.
        row_norms: upper bounds on the norms of the rows of A, (n,); floats or exact numbers.
        factor_relative: relative error of the computed L L^T.
        factor_norms: upper bounds on the norms of the rows of L, (n,).
        subtraction: bound on the error of forming the residual from the computed parts, summed over each row, (n,).
        floor: bound on all underflow errors of one row.

    Returns:
        For each row, a bound on the sum of the magnitudes of the errors of its entries, (n,).

    Guarantee:
        Upper bound in exact arithmetic. `PeelVerify.spectral_slack`.

    Not for:
        Overflow; the caller checks that all numbers are finite.

    Source:
        Verification by a checked factor as in [Rump2010], with underflow.
    """
    return (
        gram_relative * row_norms * row_norms.sum()
        + factor_relative * factor_norms * factor_norms.sum()
        + subtraction + floor
    )


def _residual(gram: np.ndarray, factor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row sums of |G + L L^T| off the diagonal, and the diagonal of L L^T, in blocks of the lower triangle."""
    n = len(gram)
    off, diagonal = np.zeros(n), np.zeros(n)
    for i in range(0, n, _BLOCK):
        rows = slice(i, min(i + _BLOCK, n))
        for j in range(0, i + 1, _BLOCK):
            columns = slice(j, min(j + _BLOCK, n))
            part = factor[rows, : columns.stop] @ factor[columns, : columns.stop].T
            if i == j:
                diagonal[rows] = part.diagonal()
            part += gram[rows, columns]
            np.abs(part, out=part)
            if i == j:
                part = np.tril(part, -1)
            off[rows] += part.sum(axis=1)
            off[columns] += part.sum(axis=0)
    return off, diagonal


def _dominant(room: np.ndarray, off: np.ndarray, slack: np.ndarray) -> bool:
    """Whether each diagonal entry exceeds the rest of its row and its error; sums of n floats included."""
    margin = 1 + (len(room) + 64) * 2.0**-51
    return bool((room > (off + slack) * margin).all())


def _certified(
    gram: np.ndarray, norms: np.ndarray, terms: int, square: float, shift: float
) -> np.ndarray | None:
    """The factor of a spectral certificate that ``square * I - A A^T`` is positive semidefinite, else None.

    Args:
        gram: A A^T as computed, lower triangle, (n, n).
        norms: upper bounds on the row norms of A.
        terms: columns of A.
        square: candidate c^2, far above the square of underflow.
        shift: s, the room left on the diagonal.
    """
    n = len(gram)
    own = np.arange(n)
    factor = np.negative(gram, order="F")
    factor[own, own] += square - shift
    factor, trouble = lapack.dpotrf(factor, lower=1, clean=0, overwrite_a=1)
    if trouble:
        return None
    for i in range(0, n, _BLOCK):  # LAPACK leaves the upper triangle as it was
        block = slice(i, min(i + _BLOCK, n))
        factor[block, block] = np.tril(factor[block, block])
    # E = square I - gram - L L^T as computed; every step's rounding is added below
    off, factor_sq = _residual(gram, factor)
    with np.errstate(invalid="ignore", over="ignore"):
        gram_sq = gram[own, own]
        room = (square - gram_sq) - factor_sq
        relative = float(gamma(UNIT, n + 2)) * 1.01
        slack = certificate_slack(
            float(gamma(UNIT, terms)) * 1.01, norms,
            relative, np.sqrt(factor_sq * (1 + 4 * relative) + square * 2.0**-100),
            2.0**-50 * (off + factor_sq + gram_sq + square), square * 2.0**-60,
        )
        return factor if _dominant(room, off, slack) else None


def _row_norms(gram: np.ndarray, terms: int) -> np.ndarray:
    """Upper bounds on the row norms of A from the diagonal of the computed A A^T."""
    relative = float(gamma(UNIT, terms)) * 1.01
    return np.sqrt(np.diag(gram) / (1 - relative) + (terms + 1) * 2.0**-1000) * (1 + 2.0**-50)


@mirrors(
    "PeelVerify.opNorm2Le_of_rounded_certificate",
    "PeelVerify.opNorm2Le_of_computed_certificate",
    "PeelVerify.DiagonallyDominant.of_close",
)
@np.errstate(all="ignore")  # whatever the caller set
def norm_op2_upper(array: Any) -> Fraction:
    """Exact dyadic not below the spectral norm of the stored values, less than 1e-6 relative above it.

    Args:
        array: matrix, numpy array or torch tensor, float16, bfloat16, float32 or float64; may be empty. Or a
            `Stacked` matrix, which is never whole in memory.

    Returns:
        Zero exactly for a zero or empty matrix.

    Raises:
        ShapeError: not a matrix.
        NonFiniteError: NaN or infinite entries; says how many and where the first is.
        InputError: integer, complex or masked entries.
        NumericalError: if this machine's products are not those of IEEE double precision.

    Guarantee:
        Upper bound on ``|A x|_2 / |x|_2``. `PeelVerify.opNorm2Le_of_rounded_certificate`.

    Not for:
        Matrices whose shorter side exceeds memory: it holds two square matrices of that side.

    Source:
        Verification by a checked factor as in [Rump2010].

    Example:
        >>> import numpy as np
        >>> 4 <= norm_op2_upper(np.diag([3.0, 4.0])) < 4.000004
        True
    """
    a = _Matrix(array)
    if a.top == 0:
        return Fraction(0)
    frobenius = array.frobenius() if a.stacked is not None else norm_fro_upper(array)
    if a.rows == 1:
        return frobenius
    ceiling = float(frobenius / Fraction(2) ** a.shift) ** 2
    gram = a.gram()
    norms, n = _row_norms(gram, a.columns), a.rows
    estimate, vector = _largest(gram)
    estimate = max(estimate, float(np.diag(gram).max()))
    floor = float(gamma(UNIT, a.columns + n + 40)) * (4 * float(norms.max() * norms.sum()) + 2 * n * estimate)
    best, growth = None, _START
    for _ in range(64):
        square, room = estimate * (1 + growth) + 2 * floor, floor + estimate * growth / 4
        if not square < (ceiling if best is None else best):
            break
        factor = _certified(gram, norms, a.columns, square, room)
        if factor is None:
            growth *= 16
            continue
        best = square
        if growth <= 2 * _START:
            break
        nearer, vector = _nearer(factor, square - room, vector)
        if not nearer > estimate:
            break
        estimate, growth = nearer, _START
    if best is None:
        return frobenius
    return min(round_up((sqrt_upper(Fraction(best)) + a.lost()) * Fraction(2) ** a.shift), frobenius)


@mirrors("PeelVerify.le_of_opNorm2Le")
@np.errstate(all="ignore")
def norm_op2_lower(array: Any) -> Fraction:
    """Exact dyadic not above the spectral norm: the stretch of one vector, with all rounding subtracted.

    Args:
        array: matrix, numpy array or torch tensor, float16, bfloat16, float32 or float64; may be empty.

    Raises:
        ShapeError: not a matrix.
        NonFiniteError: NaN or infinite entries; says how many and where the first is.
        InputError: integer, complex or masked entries.
        NumericalError: if this machine's products are not those of IEEE double precision.

    Guarantee:
        Lower bound on the largest ``|A x|_2 / |x|_2``. `PeelVerify.le_of_opNorm2Le`.

    Example:
        >>> import numpy as np
        >>> 3.999996 < norm_op2_lower(np.diag([3.0, 4.0])) <= 4
        True
    """
    a = _Matrix(array)
    if a.top == 0:
        return Fraction(0)
    if a.rows == 1:
        return norm_fro_lower(array)
    _, vector = _largest(a.gram())
    entry = Fraction(a.top)
    if not np.isfinite(vector).all() or not vector.any():
        return entry
    scale = Fraction(2) ** a.shift
    image = np.concatenate([piece.T @ vector for piece in a.pieces()])
    length = sqrt_upper(sum_sq(vector).hi)
    # |fl(A^T x) - A^T x| <= gamma |A|^T|x|, whose norm is at most gamma |A|_F |x|
    loss = (gamma(UNIT, a.rows) * norm_fro_upper(array) / scale + 2 * a.lost()) * length + a.size * ETA
    stretch = (sqrt_lower(sum_sq(image).lo) - loss) / length * scale
    return round_down(max(stretch, entry, Fraction(0)))
