"""Fits of one linear layer with few bits: ``min ||T - Z (scale * S)^T||_F`` over integer patterns ``S``.

Three grids: binary {-1, 1}, ternary {-1, 0, 1}, and b-bit round-to-nearest {-(2^(b-1) - 1), ..., 2^(b-1) - 1}.
Each starts from the float least-squares matrix ``W = T Z^+``. The *published* fit rounds ``W`` and takes the
best scale for that pattern; the *refined* one then changes single entries as long as the error falls, by

    change of ||T - scale S Z||^2 when entry (i, j) moves by d  =  -2 d R_ij + d^2 G_jj ,

with ``G = Z^T Z`` and ``R = (T - fit)^T Z``; a sign flip is ``d = -2 scale S_ij``. The float residual beside each fit
bounds every pattern from below, so that quantisation distortion and optimisation gap can be told apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from peelverify.errors import DomainError, InputError, ShapeError
from peelverify.peel.least_squares import Factor, Matrix, as_matrix, one_thread
from peelverify.registry import measured
from peelverify.verdict import Outcome

__all__ = ["LowBitFit", "best_scale", "fit_binary", "fit_ternary", "flip_gains", "round_to_nearest"]

#: Sweeps over all entries before a refinement stops with BUDGET_SPENT.
SWEEPS = 60


@dataclass(frozen=True)
class LowBitFit:
    """A layer with few bits.

    Attributes:
        sign: integer pattern (outputs, features), as float64; entries of the grid.
        scale: positive (or zero) scale: a float, or (outputs,) with one a row.
        relative_residual: ``||T - Z matrix^T||^2 / ||T||^2``, evaluated directly (witnessed).
        float_residual: the same for the float least-squares fit, below which no pattern can get.
        outcome: CONVERGED if no single change lowers the error any more (or none was asked for).
    """

    sign: Matrix
    scale: float | Matrix
    relative_residual: float
    float_residual: float
    outcome: Outcome

    @property
    def matrix(self) -> Matrix:
        """The layer (outputs, features): scale times pattern."""
        return _rows(self.scale, len(self.sign)) * self.sign

    @property
    def distortion(self) -> float:
        """Residual that is due to the few bits: relative residual minus that of the float fit."""
        return self.relative_residual - self.float_residual


def _rows(scale: float | Matrix, outputs: int) -> Matrix:
    return np.broadcast_to(np.asarray(scale, dtype=np.float64).reshape(-1, 1), (outputs, 1))


def best_scale(cross: Matrix, gram: Matrix, sign: Matrix, *, per_row: bool) -> float | Matrix:
    """Scale that minimises the error for a fixed pattern: ``<T, S Z> / ||S Z||^2``, of all rows or of each.

    Args:
        cross: ``T^T Z`` (outputs, features).
        gram: ``Z^T Z`` (features, features).
        sign: pattern (outputs, features).
        per_row: one scale a row.

    Returns:
        The scale, 0 where the pattern gives no output at all. It may be negative.
    """
    inner = np.einsum("ij,ij->i", cross, sign)
    energy = np.einsum("ij,ij->i", sign @ gram, sign)
    if not per_row:
        return float(inner.sum() / energy.sum()) if energy.sum() > 0 else 0.0
    return np.divide(inner, energy, out=np.zeros_like(inner), where=energy > 0)


def flip_gains(cross: Matrix, gram: Matrix, sign: Matrix, scale: float | Matrix) -> Matrix:
    """Change of the squared error for each sign flip alone: ``4 scale S R + 4 scale^2 G_jj`` (negative is better).

    Args:
        cross: ``T^T Z`` (outputs, features).
        gram: ``Z^T Z``.
        sign: pattern of -1 and 1.
        scale: scale, one or one a row.
    """
    rows = _rows(scale, len(sign))
    residual = cross - rows * (sign @ gram)
    return 4.0 * rows * sign * residual + 4.0 * rows**2 * np.diag(gram)


def _descend(
    cross: Matrix, gram: Matrix, sign: Matrix, scale: float | Matrix, *, top: int, per_row: bool
) -> tuple[Matrix, float | Matrix, Outcome]:
    """Move entries to their best level, column by column, and refit the scale between sweeps.

    For a fixed scale, rows are independent, so a column of all rows moves at once and no move can raise the error.
    """
    sign = sign.copy()
    diagonal = np.diag(gram)
    columns = np.flatnonzero(diagonal > 0)
    for _ in range(SWEEPS):
        rows = _rows(scale, len(sign))
        usable = (rows > 0).ravel()
        residual = cross - rows * (sign @ gram)
        moved = False
        for j in columns:
            step = np.divide(residual[:, j], rows[:, 0] * diagonal[j], out=np.zeros(len(sign)), where=usable)
            wish = sign[:, j] + step
            near = _to_grid(wish, top)
            change = (near - sign[:, j]) * rows[:, 0]
            gain = -2.0 * change * residual[:, j] + change**2 * diagonal[j]
            change = np.where(gain < -1e-14 * diagonal[j] * rows[:, 0] ** 2, change, 0.0)
            hit = np.flatnonzero(change)
            if len(hit):
                moved = True
                sign[hit, j] = near[hit]
                residual[hit] -= change[hit, None] * gram[j]
        scale = best_scale(cross, gram, sign, per_row=per_row)
        sign, scale = _positive(sign, scale)
        if not moved:
            return sign, scale, Outcome.CONVERGED
    return sign, scale, Outcome.BUDGET_SPENT


def _positive(sign: Matrix, scale: float | Matrix) -> tuple[Matrix, float | Matrix]:
    """The same matrix with a scale that is not negative."""
    turn = np.where(_rows(scale, len(sign)) < 0, -1.0, 1.0)
    return sign * turn, (abs(scale) if isinstance(scale, float) else np.abs(scale))


def _residual(z: Matrix, t: Matrix, matrix: Matrix) -> float:
    gap = t - z @ matrix.T
    return float(np.vdot(gap, gap)) / float(np.vdot(t, t))


def _fit(z: Any, t: Any, *, top: int, per_row: bool, refine: bool, function: str) -> LowBitFit:
    """Fit on the grid -top .. top; top 0 stands for the binary grid, which has no zero."""
    features = as_matrix(z, "z", function=function)
    target = as_matrix(t, "t", function=function)
    if len(features) != len(target):
        raise ShapeError(
            f"{function} needs as many rows in z as in t, got {len(features)} and {len(target)}; "
            "pass input and target of the layer on the same samples"
        )
    if not target.any():
        raise DomainError(f"{function} needs a target that is not zero everywhere; a relative residual needs one")
    with one_thread(features.shape[1]):
        return _search(features, target, top, per_row, refine)


def _search(features: Matrix, target: Matrix, top: int, per_row: bool, refine: bool) -> LowBitFit:
    weight = Factor(features, bias=False).solve(target).weight
    cross, gram = target.T @ features, features.T @ features

    def scaled(sign: Matrix) -> tuple[Matrix, float | Matrix]:
        return _positive(sign, best_scale(cross, gram, sign, per_row=per_row))

    def residual(sign: Matrix, scale: float | Matrix) -> float:
        return _residual(features, target, _rows(scale, len(sign)) * sign)

    sign, scale = scaled(_round(weight, top, per_row))
    best, outcome = residual(sign, scale), Outcome.CONVERGED
    if refine:
        starts = [(sign, scale), scaled(_round(cross, top, per_row))]
        for start, start_scale in starts:
            found, found_scale, ended = _descend(
                cross, gram, start, start_scale, top=top, per_row=per_row
            )
            value = residual(found, found_scale)
            if value < best:
                sign, scale, best, outcome = found, found_scale, value, ended
    return LowBitFit(sign, scale, best, _residual(features, target, weight), outcome)


def _to_grid(ratio: Matrix, top: int) -> Matrix:
    return np.clip(np.rint(ratio), -top, top) if top else np.where(ratio < 0, -1.0, 1.0)


def _round(weight: Matrix, top: int, per_row: bool) -> Matrix:
    """The published rounding of a float matrix to a grid: sign, absmean (ternary) or absmax."""
    size = np.abs(weight)
    axis = 1 if per_row else None
    unit = size.mean(axis=axis, keepdims=True) if top == 1 else size.max(axis=axis, keepdims=True) / max(top, 1)
    unit = np.broadcast_to(unit, weight.shape)
    return _to_grid(np.divide(weight, unit, out=np.zeros_like(weight), where=unit > 0), top)


@measured("witnessed residual; the flip identity and the best scale are theorems in Proofs/Peeling.lean")
def fit_binary(z: Any, t: Any, *, per_row: bool = False, refine: bool = True) -> LowBitFit:
    """Fit a layer with entries ``-scale`` and ``scale``.

    Args:
        z: layer input (samples, features).
        t: layer target (samples, outputs).
        per_row: one scale a row of the matrix instead of one in all.
        refine: also flip signs as long as the error falls. Without it the fit is the published one, the sign of
            the least-squares matrix (0 counts as positive), with the best scale for these features.

    Returns:
        With ``refine`` never a larger residual than without.

    Raises:
        ShapeError: not matrices, or different rows.
        NonFiniteError: NaN or infinity.
        DomainError: a target that is zero everywhere.

    Guarantee:
        The residual is that of the returned matrix. The published pattern is optimal if the columns of ``z`` are
        orthogonal with equal norms; otherwise no optimality is claimed for either.

    Source:
        [Eamaz2026] for the pattern; the scale is not given there.

    Example:
        >>> fit = fit_binary([[1.0, 0.0], [0.0, 1.0]], [[3.0], [-1.0]])
        >>> fit.sign.tolist(), fit.scale, round(fit.relative_residual, 6)
        ([[1.0, -1.0]], 2.0, 0.2)
    """
    return _fit(z, t, top=0, per_row=per_row, refine=refine, function="fit_binary")


@measured("witnessed residual; the change of one entry is a theorem in Proofs/Peeling.lean")
def fit_ternary(z: Any, t: Any, *, per_row: bool = False, refine: bool = True) -> LowBitFit:
    """Fit a layer with entries ``-scale``, 0 and ``scale`` (1.58 bits).

    The published pattern divides the least-squares matrix by its mean absolute value and rounds to {-1, 0, 1}.

    Args:
        z: layer input (samples, features).
        t: layer target (samples, outputs).
        per_row: one scale a row instead of one in all.
        refine: also change entries as long as the error falls.
    """
    return _fit(z, t, top=1, per_row=per_row, refine=refine, function="fit_ternary")


@measured("witnessed residual; the change of one entry is a theorem in Proofs/Peeling.lean")
def round_to_nearest(z: Any, t: Any, bits: int, *, per_row: bool = True, refine: bool = True) -> LowBitFit:
    """Fit a layer with ``2^bits - 1`` symmetric levels.

    The starting pattern rounds the least-squares matrix after dividing by its largest entry.

    Args:
        z: layer input (samples, features).
        t: layer target (samples, outputs).
        bits: 2 to 8; 2 bits are rounded against the mean (ternary).
        per_row: one scale a row instead of one in all.
        refine: also change entries as long as the error falls.
    """
    if isinstance(bits, bool) or not isinstance(bits, int) or not 2 <= bits <= 8:
        raise InputError(f"round_to_nearest needs 2 to 8 bits, got {bits!r}; use fit_binary for one bit")
    return _fit(
        z, t, top=2 ** (bits - 1) - 1, per_row=per_row, refine=refine, function="round_to_nearest"
    )
