"""Rank-revealing least squares in float64: ``min ||T - [Z 1] W||_F``, the smallest W where there are many.

Chains of fitted layers repeat directions, so singular problems are the normal case here. Two ways to a factor:

* **Cholesky** of the Gram matrix with unit diagonal, taken only if its condition number is at most
  ``FACTOR_CONDITION``, column norms differ so little that the rule below drops nothing, and each solution passes a
  residual check: one of at most ``STEPS`` steps of refinement must move it by at most ``REFINEMENT`` of its own
  size. What is left after that step is of the order of the square of this number. Up to ``SURE_CONDITION``, and
  where the condition number of [Z 1] is below the number of samples, the residual of the normal equations is enough
  of a check: the rounding that this leaves is below the cut-off of the rule below.
  Columns that are exactly zero are left out first. Columns that repeat others are left out by a pivoted factor, if
  the null space that this gives, multiplied by the features, lies below the cut-off of the rule below.
* **SVD** of the triangular factor of [Z 1] itself, for everything else. Singular values at or below
  ``eps * max(samples, columns)`` times the largest are dropped: the cut-off of LAPACK drivers as `numpy` calls
  them, which a Gram matrix could not resolve.

`GramSum` is the streaming form: additive, O(columns^2) memory. It sees singular values only down to about
1e-7 of the largest and says so through its cut-off. `TriangleSum` streams too and keeps the triangular factor
instead, which costs about twice as much and resolves what the SVD above resolves.

Up to ``ONE_THREAD`` columns all of it runs on one BLAS thread (`one_thread`): results then do not depend on the
number of threads, and numpy's and scipy's separate thread pools do not wait for each other, which on a busy
machine costs a hundred times more than the second thread gains.

Longer than 500 lines because the factor and its two streaming forms share one rule for the rank.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from peelverify.errors import DomainError, InputError, InvariantError, NonFiniteError, NumericalError, ShapeError
from peelverify.registry import measured
from peelverify.verdict import Outcome

__all__ = ["Factor", "Fit", "GramSum", "TriangleSum", "as_matrix", "factor", "least_squares", "one_thread"]

EPS = float(np.finfo(np.float64).eps)
#: Largest 1-norm condition number of the unit-diagonal Gram matrix that Cholesky is trusted with: where the samples
#: are at hand for refinement, and where only sums are.
FACTOR_CONDITION = 1e10
GRAM_CONDITION = 1e8
#: Largest such number at which the residual of the normal equations is checked instead of that of the samples.
SURE_CONDITION = 1e7
#: Samples a column from which on that is so. With few samples the cut-off is near eps, and a later fit of the chain
#: would take the rounding of this one for a direction.
SURE_ROWS = 8
#: Pivot of the unit-diagonal Gram matrix at which the pivoted Cholesky factor stops.
PIVOT = 1e-12
#: Largest relative correction of the refinement step that confirms a Cholesky solution, and steps allowed.
REFINEMENT = 1e-6
STEPS = 3
#: Widest problem that is confined to one BLAS thread.
ONE_THREAD = 1024

Matrix = NDArray[np.float64]


@functools.cache
def _pools() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


@contextlib.contextmanager
def one_thread(columns: int) -> Iterator[None]:
    """Confine BLAS to one thread for problems of up to ``ONE_THREAD`` columns; the old number comes back after."""
    if columns > ONE_THREAD:
        yield
        return
    with _pools().limit(limits=1):
        yield


def _real(value: Any, name: str, *, function: str) -> Matrix:
    """Take a numpy array, a torch tensor or nested lists of real numbers as float64."""
    if hasattr(value, "detach"):
        value = value.detach().to("cpu").double().numpy()
    try:
        found = np.asarray(value)
        if found.dtype.kind not in "fiub":
            raise TypeError
        return found.astype(np.float64, copy=False)
    except (TypeError, ValueError):
        raise InputError(
            f"{function} needs {name} to hold real numbers, got {type(value).__name__}; pass an array"
        ) from None


def as_matrix(value: Any, name: str, *, function: str) -> Matrix:
    """Take a numpy array, a torch tensor or nested lists as a finite float64 matrix (rows are samples).

    Raises:
        ShapeError: not two-dimensional, or empty.
        NonFiniteError: NaN or infinity.
        InputError: not real numbers.
    """
    matrix = np.ascontiguousarray(_real(value, name, function=function))
    if matrix.ndim != 2 or matrix.size == 0:
        raise ShapeError(
            f"{function} needs {name} of shape (samples, columns), not empty, got {matrix.shape}; "
            "reshape it so that rows are samples",
            shape=matrix.shape,
        )
    if not np.isfinite(matrix).all():
        row = int(np.argwhere(~np.isfinite(matrix))[0][0])
        raise NonFiniteError(
            f"{function} needs finite numbers, got NaN or infinity in {name} (row {row}); "
            "look for a diverged layer or a damaged sample",
            array=name,
            row=row,
        )
    return matrix


def as_weights(value: Any, rows: int, *, function: str) -> Matrix:
    """Take weights of samples as a float64 vector (rows,).

    Raises:
        ShapeError: not one for each row.
        NonFiniteError: NaN or infinity.
        DomainError: a negative one.
        InputError: not real numbers.
    """
    weights = _real(value, "weights", function=function)
    if weights.shape != (rows,):
        raise ShapeError(f"{function} needs one weight for each of {rows} rows, got shape {weights.shape}; flatten it")
    if not np.isfinite(weights).all():
        raise NonFiniteError(f"{function} needs finite weights, got NaN or infinity; a weight of 0 leaves a row out")
    if (weights < 0).any():
        raise DomainError(f"{function} needs weights >= 0, got {weights.min():g}; a weight of 0 leaves a row out")
    return weights


@dataclass(frozen=True)
class Fit:
    """Solution of one least-squares problem.

    Attributes:
        weight: (outputs, features).
        bias: (outputs,), or None without bias.
        rank: number of directions used.
        condition: ratio of the largest to the smallest singular value used (for Cholesky: an estimate from
            the condition number of the Gram matrix).
        method: "cholesky", "svd" or "gram".
        outcome: CONVERGED, or RANK_DEFICIENT if the smallest of many solutions was taken.
    """

    weight: Matrix
    bias: Matrix | None
    rank: int
    condition: float
    method: str
    outcome: Outcome

    def __call__(self, z: Matrix) -> Matrix:
        """Outputs (samples, outputs) for features (samples, features)."""
        out = z @ self.weight.T
        return out if self.bias is None else out + self.bias


class Factor:
    """Factor of a feature matrix, solved against as many targets as needed.

    Args:
        z: features (samples, features), finite float64; with ``bias`` "held" the last column is the column of ones.
        bias: whether a column of ones is appended (True), absent (False), or in ``z`` already ("held").
        fast: whether Cholesky may be tried at all.

    Attributes:
        columns: the features with the column of ones.
        finite: False if the Gram matrix overflowed, so that ``columns`` may hold NaN or infinity.
    """

    def __init__(self, z: Matrix, *, bias: bool | str = True, fast: bool = True) -> None:
        self.bias = bool(bias)
        self.columns = np.hstack([z, np.ones((len(z), 1))]) if bias is True else z
        self.finite = True
        self._chol: Matrix | None = None
        self._null: Matrix | None = None
        self._svd: tuple[Any, Matrix, Matrix, Matrix] | None = None
        self._condition = 1.0
        if fast:
            self._try_cholesky()

    def _try_cholesky(self) -> None:
        samples, columns = self.columns.shape
        gram = self.columns.T @ self.columns
        diagonal = np.diagonal(gram)
        self.finite = bool(np.isfinite(diagonal).all())  # no entry of a Gram matrix is above its diagonal
        alive = np.flatnonzero(diagonal)
        if not self.finite or not 0 < len(alive) <= samples:
            return
        if len(alive) < columns:
            if self.columns[:, diagonal == 0].any():  # squares that underflow are no zeros
                return
            gram, diagonal = gram[alive][:, alive], diagonal[alive]
        scale = 1.0 / np.sqrt(diagonal)
        gram = gram * scale[:, None] * scale
        chosen: Any = slice(None)
        rank = len(alive)
        chol, info = linalg.lapack.dpotrf(gram, lower=1, clean=1)
        rcond = 0.0 if info else _rcond(gram, chol)
        if rcond * FACTOR_CONDITION < 1.0:
            chol, pivots, rank, _ = linalg.lapack.dpstrf(gram, tol=PIVOT, lower=1)
            if rank == len(alive):
                return
            order = pivots - 1
            chosen, rest = order[:rank], order[rank:]
            gram, cross = gram[chosen][:, chosen], gram[chosen][:, rest]
            chol = np.asfortranarray(np.tril(chol[:rank, :rank]))
            rcond = _rcond(gram, chol)
            if rcond * FACTOR_CONDITION < 1.0 or not self._confirm(alive, chosen, rest, scale, chol, cross):
                return
        # singular values of the columns lie between sqrt(rcond) * smallest norm and sqrt(columns) * largest norm
        if not rcond * diagonal[chosen].min() > diagonal.max() * columns * (10 * EPS * max(samples, columns)) ** 2:
            return
        self._chol, self._gram, self._scale = chol, gram, scale[chosen][:, None]
        self._chosen = alive[chosen] if rank < columns else None
        self._rank = rank
        self._rcond, self._condition = rcond, float(rcond**-0.5)

    def _confirm(
        self, alive: Any, chosen: Any, rest: Any, scale: Matrix, chol: Matrix, cross: Matrix
    ) -> bool:
        """Whether the columns in ``rest`` repeat directions of the ``chosen`` ones as far as the SVD could tell.

        Keeps an orthonormal basis of the null space: its product with the columns, evaluated, has to lie below
        the cut-off of the SVD.
        """
        features = self.columns if len(alive) == self.columns.shape[1] else self.columns[:, alive]
        null = np.zeros((len(alive), len(rest)))
        null[chosen] = -scale[chosen][:, None] * linalg.lapack.dpotrs(chol, cross, lower=1)[0]
        null[rest, np.arange(len(rest))] = scale[rest]
        for _ in range(STEPS - 1):
            left = (features.T @ (features @ null))[chosen] * scale[chosen][:, None]
            null[chosen] -= scale[chosen][:, None] * linalg.lapack.dpotrs(chol, left, lower=1)[0]
        basis, _ = linalg.qr(null, mode="economic", check_finite=False)
        largest = 1.0 / scale.min()
        if not np.linalg.norm(features @ basis) <= EPS * max(self.columns.shape) * largest:
            return False
        self._null = np.zeros((self.columns.shape[1], len(rest)))
        self._null[alive] = basis
        return True

    def _decompose(self) -> tuple[Any, Matrix, Matrix, Matrix]:
        """Householder form of the columns, then left vectors, singular values and right vectors of the rank.

        The first is None where there are no more samples than columns: the left vectors then belong to the columns
        themselves, not to their triangle.
        """
        if self._svd is None:
            samples, columns = self.columns.shape
            tall = samples > columns
            try:
                whole, triangle = None, self.columns
                if tall:
                    whole, triangle = linalg.qr(self.columns, mode="raw", check_finite=False)
                u, s, vt = linalg.svd(triangle, full_matrices=False, check_finite=False)
            except linalg.LinAlgError as error:
                raise NumericalError(
                    f"least_squares could not decompose features of shape {self.columns.shape} ({error}); "
                    "rescale them or remove damaged samples",
                    outcome=Outcome.FAILED,
                ) from error
            rank = int((s > EPS * max(samples, columns) * s[0]).sum()) if s[0] > 0 else 0
            self._svd = whole, u[:, :rank], s[:rank], vt[:rank]
        return self._svd

    def solve(self, t: Matrix) -> Fit:
        """Least-squares fit of targets ``t`` (samples, outputs)."""
        if self._chol is not None:
            fit = self._solve_cholesky(t)
            if fit is not None:
                return fit
        whole, u, s, vt = self._decompose()
        right = t
        if whole is not None:  # orthogonal factor, transposed, times t; the factor itself is never formed
            work = 64 * max(1, t.shape[1])
            right, _, info = linalg.lapack.dormqr("L", "T", *whole, t, work)
            if info:
                raise InvariantError(f"dormqr of LAPACK refused its arguments ({info})")
            right = right[: self.columns.shape[1]]
        solution = vt.T @ ((u.T @ right) / s[:, None])
        condition = float(s[0] / s[-1]) if len(s) else 1.0
        return self._fit(solution, len(s), condition, "svd")

    def _solve_cholesky(self, t: Matrix) -> Fit | None:
        right = self._scaled(self.columns.T @ t)
        scaled = linalg.lapack.dpotrs(self._chol, right, lower=1)[0]
        samples, columns = self.columns.shape
        sure = samples >= SURE_ROWS * columns and self._rcond * min(SURE_CONDITION, samples**2) >= 1.0
        if not sure or not _negligible(right - self._gram @ scaled, right):
            for _ in range(STEPS):
                left = self._scaled(self.columns.T @ (t - self.columns @ self._spread(scaled)))
                step = linalg.lapack.dpotrs(self._chol, left, lower=1)[0]
                size, moved = np.vecdot(scaled, scaled, axis=0), np.vecdot(step, step, axis=0)
                scaled = scaled + step
                if (moved <= REFINEMENT**2 * size).all():
                    break
            else:
                return None
        solution = self._spread(scaled)
        if self._null is not None:
            solution -= self._null @ (self._null.T @ solution)
        return self._fit(solution, self._rank, self._condition, "cholesky")

    def _scaled(self, right: Matrix) -> Matrix:
        """Right-hand side of the unit-diagonal equations of the chosen columns."""
        return (right if self._chosen is None else right[self._chosen]) * self._scale

    def _spread(self, scaled: Matrix) -> Matrix:
        """Solution for all columns from that of the unit-diagonal equations; zero where a column was left out."""
        if self._chosen is None:
            return scaled * self._scale
        solution = np.zeros((self.columns.shape[1], scaled.shape[1]))
        solution[self._chosen] = scaled * self._scale
        return solution

    def _fit(self, solution: Matrix, rank: int, condition: float, method: str) -> Fit:
        weight = (solution[:-1] if self.bias else solution).T
        deficient = rank < self.columns.shape[1]
        return Fit(
            weight, solution[-1] if self.bias else None, rank, condition, method,
            Outcome.RANK_DEFICIENT if deficient else Outcome.CONVERGED,
        )


def _negligible(left: Matrix, right: Matrix) -> bool:
    """Whether a residual is so small that, at ``SURE_CONDITION``, it moves a solution by at most ``REFINEMENT``."""
    size = (REFINEMENT / SURE_CONDITION) ** 2 * np.vecdot(right, right, axis=0)
    return bool((np.vecdot(left, left, axis=0) <= size).all())


def _rcond(gram: Matrix, chol: Matrix) -> float:
    """Estimate of the reciprocal condition number of a Gram matrix in the 1-norm; 0 where there is none."""
    value, info = linalg.lapack.dpocon(chol, linalg.lapack.dlange("1", gram), uplo="L")
    return 0.0 if info else float(value)


def factor(z: Any, *, bias: bool = True) -> Factor:
    """Factor features once, to be solved against several targets.

    Args:
        z: features (samples, features).
        bias: whether the fit has a constant term.
    """
    return Factor(as_matrix(z, "z", function="factor"), bias=bias)


@measured("float64 solution; optimality of an exact solution is PeelVerify's theorem on normal equations")
def least_squares(z: Any, t: Any, *, bias: bool = True) -> Fit:
    """Fit ``t ~ z W^T + b`` in float64, taking the smallest solution where there are many.

    Args:
        z: features (samples, features), array or tensor.
        t: targets (samples, outputs), same row order.
        bias: whether to fit b.

    Raises:
        ShapeError: not matrices, or different numbers of rows.
        NonFiniteError: NaN or infinity.
        NumericalError: the decomposition did not converge.

    Example:
        >>> fit = least_squares([[0.0], [1.0], [2.0]], [[1.0], [3.0], [5.0]])
        >>> round(float(fit.weight[0, 0]), 12), round(float(fit.bias[0]), 12)
        (2.0, 1.0)
    """
    features = as_matrix(z, "z", function="least_squares")
    target = as_matrix(t, "t", function="least_squares")
    if len(features) != len(target):
        raise ShapeError(
            f"least_squares needs as many rows in z as in t, got {len(features)} and {len(target)}; "
            "pass features and targets of the same samples in the same order"
        )
    with one_thread(features.shape[1]):
        return Factor(features, bias=bias).solve(target)


class GramSum:
    """Normal equations gathered over chunks of samples: additive, O(columns^2) memory.

    Args:
        bias: whether a column of ones is appended to the features.
    """

    def __init__(self, *, bias: bool = True) -> None:
        self.bias = bias
        self.samples = 0
        self.gram: Matrix | None = None
        self.cross: Matrix | None = None
        self.target_sq = 0.0

    def add(self, z: Any, t: Any, weights: Any = None) -> GramSum:
        """Add a chunk; returns itself.

        Args:
            z: features (samples, features).
            t: targets (samples, outputs).
            weights: how much each sample counts (samples,), >= 0; 1 if None. A weight of 2 is the sample added twice,
                a weight of 0 leaves it out. The fit is then that of weighted least squares.

        Raises:
            ShapeError: rows, or widths of chunks, that do not belong together.
            NonFiniteError, DomainError: values that are not finite, negative weights.
        """
        features = as_matrix(z, "z", function="GramSum.add")
        target = as_matrix(t, "t", function="GramSum.add")
        if len(features) != len(target):
            raise ShapeError(
                f"GramSum.add needs as many rows in z as in t, got {len(features)} and {len(target)}; "
                "cut both at the same places"
            )
        if self.bias:
            features = np.hstack([features, np.ones((len(features), 1))])
        if weights is not None:
            root = np.sqrt(as_weights(weights, len(features), function="GramSum.add"))[:, None]
            features, target = features * root, target * root
        # everything that can run out of memory comes before the sums change, so that a chunk can be tried again
        gram, cross, target_sq = features.T @ features, features.T @ target, float(np.vdot(target, target))
        if self.gram is None or self.cross is None:
            self.gram, self.cross = gram, cross
        elif self.gram.shape[0] != features.shape[1] or self.cross.shape[1] != target.shape[1]:
            raise ShapeError(
                f"GramSum.add needs chunks of one width, got features {features.shape[1]} after "
                f"{self.gram.shape[0]}, targets {target.shape[1]} after {self.cross.shape[1]}; use a new sum"
            )
        else:
            self.gram += gram
            self.cross += cross
        self.samples += len(features)
        self.target_sq += target_sq
        return self

    def merge(self, other: GramSum) -> GramSum:
        """Add what another sum has gathered (another process, another shard); returns itself."""
        if other.gram is None or other.cross is None:
            return self
        if self.gram is None or self.cross is None:
            self.gram, self.cross = other.gram.copy(), other.cross.copy()
        elif self.gram.shape != other.gram.shape or self.cross.shape != other.cross.shape:
            raise ShapeError(
                f"GramSum.merge needs sums of one shape, got {self.cross.shape} and {other.cross.shape}; "
                "they belong to different layers"
            )
        else:
            self.gram += other.gram
            self.cross += other.cross
        self.samples += other.samples
        self.target_sq += other.target_sq
        return self

    def solve(self, *, ridge: float = 0.0) -> Fit:
        """Solve the gathered equations.

        Args:
            ridge: multiple of the mean diagonal entry that is added to the diagonal (not to the constant's);
                0 adds nothing.

        Eigenvalues of the unit-diagonal Gram matrix at or below ``eps * max(samples, columns)`` times the
        largest are dropped, that is singular values below about 1e-7 of the largest. Use `least_squares`
        where smaller ones matter and the features fit in memory.
        """
        if self.gram is None or self.cross is None:
            raise InputError("GramSum.solve needs samples, got none; call add first")
        if not ridge >= 0:
            raise InputError(f"GramSum.solve needs ridge >= 0, got {ridge}; 0 means none")
        gram = self.gram
        columns = len(gram)
        features = columns - 1 if self.bias else columns
        if ridge > 0:
            gram = gram.copy()
            index = np.arange(features)
            gram[index, index] += ridge * float(np.diag(self.gram)[:features].mean())
        diagonal = np.diag(gram)
        scale = np.where(diagonal > 0, 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)), 0.0)
        unit = gram * scale[:, None] * scale[None, :]
        right = self.cross * scale[:, None]
        chol, info = linalg.lapack.dpotrf(unit, lower=1, clean=1)
        rcond = 0.0
        if info == 0:
            rcond, _ = linalg.lapack.dpocon(chol, np.abs(unit).sum(axis=0).max(), uplo="L")
        if rcond * GRAM_CONDITION >= 1.0:
            solution = linalg.cho_solve((chol, True), right, check_finite=False)
            solution += linalg.cho_solve((chol, True), right - unit @ solution, check_finite=False)
            rank, condition = columns, float(rcond**-0.5)
        else:
            values, vectors = linalg.eigh(unit, check_finite=False)
            kept = values > EPS * max(self.samples, columns) * max(values[-1], 0.0)
            rank = int(kept.sum())
            basis = vectors[:, kept]
            solution = basis @ ((basis.T @ right) / values[kept][:, None])
            condition = float(np.sqrt(values[-1] / values[kept][0])) if rank else 1.0
        solution = solution * scale[:, None]
        weight = np.ascontiguousarray((solution[:-1] if self.bias else solution).T)
        return Fit(
            weight, solution[-1] if self.bias else None, rank, condition, "gram",
            Outcome.CONVERGED if rank == columns else Outcome.RANK_DEFICIENT,
        )


class TriangleSum:
    """Triangular factor of [Z 1 T] gathered over chunks of samples: O(columns^2) memory, no squared condition.

    Args:
        bias: whether a column of ones is appended to the features.
    """

    def __init__(self, *, bias: bool = True) -> None:
        self.bias = bias
        self.samples = 0
        self.features = 0
        self._triangle: Matrix | None = None
        self._waiting: list[Matrix] = []
        self._rows = 0

    def add(self, z: Any, t: Any) -> TriangleSum:
        """Add a chunk of features (samples, features) and targets (samples, outputs); returns itself."""
        features = as_matrix(z, "z", function="TriangleSum.add")
        target = as_matrix(t, "t", function="TriangleSum.add")
        if len(features) != len(target):
            raise ShapeError(
                f"TriangleSum.add needs as many rows in z as in t, got {len(features)} and {len(target)}; "
                "cut both at the same places"
            )
        ones = [np.ones((len(features), 1))] if self.bias else []
        chunk = np.hstack([features, *ones, target])
        known = self._triangle if self._triangle is not None else (self._waiting or [None])[0]
        if known is not None and (known.shape[1], self.features) != (chunk.shape[1], features.shape[1]):
            raise ShapeError(
                f"TriangleSum.add needs chunks of one width, got {features.shape[1]} features and {target.shape[1]} "
                f"targets after {self.features} features and {known.shape[1]} columns in all; use a new sum"
            )
        self.features = features.shape[1]
        self.samples += len(features)
        self._waiting.append(chunk)
        self._rows += len(chunk)
        if self._rows >= 2 * chunk.shape[1]:
            self._reduce()
        return self

    def _reduce(self) -> None:
        stack = ([] if self._triangle is None else [self._triangle]) + self._waiting
        if self._waiting:
            (self._triangle,) = linalg.qr(np.vstack(stack), mode="r", check_finite=False)
            self._triangle = np.ascontiguousarray(self._triangle[: self._triangle.shape[1]])
        self._waiting, self._rows = [], 0

    @property
    def triangle(self) -> Matrix:
        """The factor (rows, features [+ 1] + outputs): its Gram matrix is that of all samples.

        Raises:
            InputError: no samples were added.
        """
        self._reduce()
        if self._triangle is None:
            raise InputError("TriangleSum needs samples, got none; call add first")
        return self._triangle

    def solve(self) -> Fit:
        """The fit of all samples; singular values are dropped as in `Factor`.

        Raises:
            InputError: no samples were added.
            NumericalError: the decomposition did not converge.
        """
        triangle = self.triangle
        columns = self.features + int(self.bias)
        try:
            u, s, vt = linalg.svd(triangle[:columns, :columns], full_matrices=False, check_finite=False)
        except linalg.LinAlgError as error:
            raise NumericalError(
                f"TriangleSum could not decompose {columns} columns ({error}); rescale the features",
                outcome=Outcome.FAILED,
            ) from error
        rank = int((s > EPS * max(self.samples, columns) * s[0]).sum()) if s[0] > 0 else 0
        right = u[:, :rank].T @ triangle[:columns, columns:]
        solution = vt[:rank].T @ (right / s[:rank, None])
        weight = np.ascontiguousarray((solution[:-1] if self.bias else solution).T)
        return Fit(
            weight, solution[-1] if self.bias else None, rank, float(s[0] / s[rank - 1]) if rank else 1.0, "svd",
            Outcome.CONVERGED if rank == columns else Outcome.RANK_DEFICIENT,
        )
