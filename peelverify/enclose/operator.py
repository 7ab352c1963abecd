"""Operator norms of matrices, enclosed from one side at a time.

`norm_op2_upper` proposes c by Lanczos iteration and then proves it: with the Gram matrix ``G`` of the shorter
side, a Cholesky factor ``L`` of ``(c^2 - s) I - G`` is computed in float64 and the residual
``D = c^2 I - G - L L^T`` is bounded entry by entry, all rounding included. If every row of ``D`` is diagonally
dominant, then ``c^2 I - A A^T = L L^T + D`` is a spectral certificate. Nothing is assumed of the Cholesky
routine: a bad factor only makes the check fail, and then c grows.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from scipy import linalg

from peelverify.enclose.arrays import as_float64, require_gradual_underflow
from peelverify.enclose.dyadic import exact_sum, round_down, round_up, sqrt_lower, sqrt_upper
from peelverify.enclose.frobenius import norm_fro_upper, sum_sq
from peelverify.errors import NumericalError, ShapeError

__all__ = [
    "norm_max_lower", "norm_max_upper", "norm_op1_lower", "norm_op1_upper", "norm_op2_lower", "norm_op2_upper",
    "norm_opinf_lower", "norm_opinf_upper",
]

_U = Fraction(1, 2**53)
_ETA = Fraction(1, 2**1074)
_START = 2.0**-22
_LANCZOS = 48
_LONGEST = 500_000  # beyond, row norms are not known to 1e-10 and only the Frobenius norm is used


def _gamma(n: int) -> Fraction:
    return n * _U / (1 - n * _U)


def _matrix(array: Any) -> tuple[np.ndarray, int]:
    """The matrix with its rows the shorter side, divided by 2**shift so that its largest entry is near 1."""
    require_gradual_underflow()
    wide, _ = as_float64(array, name="matrix")
    if wide.ndim != 2:
        raise ShapeError(f"an operator norm needs a matrix, got shape {wide.shape}; reshape it yourself")
    if wide.shape[0] > wide.shape[1]:
        wide = wide.T
    top = float(np.max(np.abs(wide))) if wide.size else 0.0
    if top == 0.0:
        return wide, 0
    shift = int(np.frexp(top)[1])
    return np.ldexp(wide, -shift), shift


def _lanczos(gram: np.ndarray) -> tuple[float, np.ndarray]:
    """An estimate from below of the largest eigenvalue, and its vector; full reorthogonalisation."""
    n = len(gram)
    rng = np.random.default_rng(12345)
    basis = np.zeros((min(n, _LANCZOS), n))
    v = rng.standard_normal(n)
    v /= np.linalg.norm(v)
    alphas: list[float] = []
    betas: list[float] = []
    for k in range(len(basis)):
        basis[k] = v
        w = gram @ v
        alphas.append(float(v @ w))
        w -= basis[: k + 1].T @ (basis[: k + 1] @ w)
        w -= basis[: k + 1].T @ (basis[: k + 1] @ w)
        beta = float(np.linalg.norm(w))
        if beta <= 1e-14 * max(alphas[0], abs(alphas[-1])) or k + 1 == len(basis):
            break
        betas.append(beta)
        v = w / beta
    size = len(alphas)
    values, vectors = linalg.eigh_tridiagonal(np.array(alphas), np.array(betas[: size - 1]))
    vector = basis[:size].T @ vectors[:, -1]
    return float(values[-1]), vector


def _row_slack(norms: np.ndarray, terms: int) -> np.ndarray:
    """Row sums of ``gamma_terms |X||X|^T`` bounded through the row norms of X (each within 1e-10)."""
    return float(_gamma(terms) * Fraction(1001, 1000)) * norms * norms.sum()


def _certified(gram: np.ndarray, norms: np.ndarray, terms: int, square: float, shift: float) -> bool:
    """Whether ``square * I - A A^T`` is shown to be positive semidefinite.

    Args:
        gram: A A^T as computed, (n, n).
        norms: row norms of A, within 1e-10 relative.
        terms: columns of A.
        square: candidate c^2.
        shift: s, the room left on the diagonal.
    """
    n = len(gram)
    try:
        h = -gram
        h[np.diag_indices(n)] += square - shift
        factor = linalg.cholesky(h, lower=True, overwrite_a=False, check_finite=False)
    except linalg.LinAlgError:
        return False
    if not np.isfinite(factor).all():
        return False
    # E = (-gram with square on the diagonal) - L L^T as computed; every step's rounding is added below
    product = factor @ factor.T
    diagonal = np.diag_indices(n)
    rest = -gram - product
    rest[diagonal] = 0.0
    off = np.abs(rest).sum(axis=1)
    room = (square - np.diag(gram)) - np.diag(product)
    size = np.abs(np.diag(gram)) + np.diag(product) + abs(square)
    factor_norms = np.sqrt((factor * factor).sum(axis=1)) * (1 + 1e-10)
    own = norms * (1 + 1e-10)
    slack = _row_slack(own, terms) + _row_slack(factor_norms, n)  # A A^T and L L^T as products
    slack += float(_U) * 8 * (n + 8) * (off + size)  # subtractions, row sums, this line
    slack += 2.0**-1000
    return bool((room > (off + slack) * (1 + 1e-12)).all())


def norm_op2_upper(array: Any) -> Fraction:
    """Exact dyadic not below the spectral norm of the stored values, about 1e-6 relative above it.

    Args:
        array: matrix, numpy array or torch tensor, float16, bfloat16, float32 or float64; may be empty.

    Returns:
        Zero exactly for a zero or empty matrix.

    Raises:
        ShapeError: not a matrix.
        NonFiniteError: NaN or infinite entries.

    Guarantee:
        Upper bound on ``|A x|_2 / |x|_2``. `PeelVerify.opNorm2Le_of_spectral_certificate`.
    """
    a, shift = _matrix(array)
    if a.size == 0 or not a.any():
        return Fraction(0)
    frobenius = norm_fro_upper(a) + a.size * _ETA  # scaling moves an entry by less than one subnormal step
    if a.shape[0] == 1 or sum(a.shape) > _LONGEST:
        return round_up(frobenius * Fraction(2) ** shift)
    gram = a @ a.T
    norms = np.sqrt(np.maximum(np.diag(gram), 0.0))
    estimate, _ = _lanczos(gram)
    estimate = max(estimate, float(np.diag(gram).max()))
    terms, n = a.shape[1], a.shape[0]
    floor = float(4 * _gamma(terms + n + 40)) * (float(norms.sum()) ** 2 / n + n * estimate)
    growth = _START
    while True:
        room = floor + estimate * growth / 4
        square = estimate * (1 + growth) + 2 * floor
        if not square < float(frobenius) ** 2:
            break
        if _certified(gram, norms, terms, square, room):
            root = sqrt_upper(Fraction(square))
            return round_up(min(root, frobenius) * Fraction(2) ** shift)
        growth *= 4
        if growth > 64:
            raise NumericalError("norm_op2_upper could not certify any bound; this is a bug, report the matrix")
    return round_up(frobenius * Fraction(2) ** shift)


def norm_op2_lower(array: Any) -> Fraction:
    """Exact dyadic not above the spectral norm: the stretch of one vector, with all rounding subtracted.

    Args:
        array: matrix, numpy array or torch tensor, float16, bfloat16, float32 or float64; may be empty.

    Raises:
        ShapeError: not a matrix.
        NonFiniteError: NaN or infinite entries.
    """
    a, shift = _matrix(array)
    if a.size == 0 or not a.any():
        return Fraction(0)
    _, vector = _lanczos(a @ a.T)
    if not np.isfinite(vector).all() or not vector.any():
        vector = np.ones(a.shape[0])
    image = a.T @ vector
    length = sqrt_upper(sum_sq(vector).hi)
    loss = _gamma(a.shape[0]) * norm_fro_upper(a) * length + 4 * a.size * _ETA * (1 + length)
    stretch = max(sqrt_lower(sum_sq(image).lo) - loss, Fraction(0))
    best = Fraction(float(np.max(np.abs(a))))
    return round_down(max(stretch / length, best) * Fraction(2) ** shift)


def _abs_sums(array: Any, axis: int) -> tuple[Fraction, Fraction]:
    """Largest sum of magnitudes along an axis: found by float sums, then made exact for the candidates."""
    a, _ = as_float64(array, name="matrix")
    if a.ndim != 2:
        raise ShapeError(f"an operator norm needs a matrix, got shape {a.shape}; reshape it yourself")
    if a.size == 0:
        return Fraction(0), Fraction(0)
    magnitude = np.abs(a)
    exponent = int(np.frexp(float(magnitude.max()) or 1.0)[1])
    sums = np.ldexp(magnitude, -exponent).sum(axis=axis)
    edge = float(sums.max()) * (1 - 4e-16 * (a.shape[axis] + 4))
    lines = magnitude.T if axis == 0 else magnitude
    found = max(exact_sum(lines[i]) for i in np.flatnonzero(sums >= edge)[:64])
    if int((sums >= edge).sum()) > 64:  # too many ties to add up exactly: one rounding bound for all
        slack = _gamma(a.shape[axis]) * Fraction(float(sums.max())) * 2 + a.shape[axis] * _ETA
        return found, max(found, (Fraction(float(sums.max())) + slack) * Fraction(2) ** exponent)
    return found, found


def norm_op1_upper(array: Any) -> Fraction:
    """Exact dyadic not below the largest column sum of magnitudes (operator norm on the 1-norm)."""
    return round_up(_abs_sums(array, 0)[1])


def norm_op1_lower(array: Any) -> Fraction:
    """Exact dyadic not above the largest column sum of magnitudes."""
    return round_down(_abs_sums(array, 0)[0])


def norm_opinf_upper(array: Any) -> Fraction:
    """Exact dyadic not below the largest row sum of magnitudes (operator norm on the maximum norm)."""
    return round_up(_abs_sums(array, 1)[1])


def norm_opinf_lower(array: Any) -> Fraction:
    """Exact dyadic not above the largest row sum of magnitudes."""
    return round_down(_abs_sums(array, 1)[0])


def norm_max_upper(array: Any) -> Fraction:
    """The largest magnitude of an entry, exactly."""
    a, _ = as_float64(array, name="array")
    return Fraction(float(np.max(np.abs(a)))) if a.size else Fraction(0)


def norm_max_lower(array: Any) -> Fraction:
    """The largest magnitude of an entry, exactly."""
    return norm_max_upper(array)
