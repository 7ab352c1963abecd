"""Operator norms enclosed from one side: never on the wrong side, sharp, and the check behind them can fail."""

from __future__ import annotations

from fractions import Fraction

import flint
import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from peelverify.enclose import (
    norm_fro_upper,
    norm_max_lower,
    norm_max_upper,
    norm_op1_lower,
    norm_op1_upper,
    norm_op2_lower,
    norm_op2_upper,
    norm_opinf_lower,
    norm_opinf_upper,
)
from peelverify.enclose import operator as operator_module
from peelverify.errors import InputError, NonFiniteError, ShapeError

SMALL = hnp.arrays(
    np.float64, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=4),
    elements=st.floats(-1e3, 1e3).filter(lambda x: x == 0 or abs(x) > 1e-3),
)


def is_upper(array: np.ndarray, bound: Fraction) -> bool:
    """Whether bound^2 I - A^T A is positive semidefinite, decided exactly by an LDL^T over the rationals."""
    a = [[Fraction(float(x)) for x in row] for row in np.asarray(array, dtype=np.float64)]
    rows, columns = len(a), len(a[0])
    h = [
        [(bound * bound if i == j else 0) - sum(a[k][i] * a[k][j] for k in range(rows)) for j in range(columns)]
        for i in range(columns)
    ]
    for p in range(columns):
        if h[p][p] < 0 or (h[p][p] == 0 and any(h[p][j] for j in range(p, columns))):
            return False
        for i in range(p + 1, columns):
            if h[p][p]:
                factor = h[i][p] / h[p][p]
                for j in range(p, columns):
                    h[i][j] -= factor * h[p][j]
    return True


@given(SMALL)
@example(np.zeros((2, 3)))
@example(np.eye(3))
@example(np.ones((4, 4)))
@example(np.array([[3.0, 4.0]]))
@example(np.diag([1e-3, 1e3]))
def test_upper_is_upper_and_lower_is_lower(array: np.ndarray) -> None:
    """Exact rational elimination confirms the upper bound and refutes every smaller one below the lower bound."""
    up, low = norm_op2_upper(array), norm_op2_lower(array)
    assert is_upper(array, up)
    assert low <= up
    assert low == 0 or not is_upper(array, low * (1 - Fraction(1, 10**9)))


def spectra(n: int) -> dict[str, np.ndarray]:
    """Singular values of every kind that makes norms hard."""
    k = np.arange(n)
    return {
        "equal": np.ones(n), "clustered": 1 - 1e-9 * k, "two close": np.r_[1, 1 - 1e-4, np.zeros(n - 2)],
        "fast decay": 2.0**-k,
        "slow decay": 1 / np.sqrt(1 + k), "linear": np.linspace(1, 0, n), "rank one": 1.0 * (k == 0),
    }


@pytest.mark.parametrize("scale", [1.0, 1e300, 1e-290])
@pytest.mark.parametrize("kind", spectra(2))
def test_bounds_are_sharp_for_every_spectrum(kind: str, scale: float) -> None:
    """Both bounds lie within 1e-6 of the largest singular value, at any magnitude and either orientation."""
    rng = np.random.default_rng(5)
    n = 60
    left, right = (np.linalg.qr(rng.standard_normal((n, n)))[0] for _ in range(2))
    array = left * spectra(n)[kind] @ right
    truth = np.linalg.svd(array, compute_uv=False)[0]
    for matrix in (array * scale, (array * scale).T, (array * scale)[:, ::-1]):
        up, low = float(norm_op2_upper(matrix) / Fraction(scale)), float(norm_op2_lower(matrix) / Fraction(scale))
        assert truth * (1 - 1e-12) <= up <= truth * (1 + 1e-6)
        assert truth * (1 - 1e-6) <= low <= truth * (1 + 1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ml_dtypes.bfloat16])
def test_narrow_types_mean_their_stored_values(dtype) -> None:
    """A narrow matrix is bounded like the same values in float64."""
    array = np.random.default_rng(0).standard_normal((20, 30)).astype(dtype)
    assert norm_op2_upper(array) == norm_op2_upper(array.astype(np.float64))
    assert norm_op2_upper(torch.from_numpy(array.astype(np.float32))) == norm_op2_upper(array.astype(np.float64))


def test_a_flattering_factor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Cholesky routine that lies cannot make a bound too small: the residual check refuses its factor."""
    array = np.random.default_rng(1).standard_normal((30, 40))
    truth = np.linalg.svd(array, compute_uv=False)[0]
    flattering = lambda h, **_: (np.eye(len(h)) * np.sqrt(np.trace(h) / len(h)), 0)  # noqa: E731
    monkeypatch.setattr(operator_module.lapack, "dpotrf", flattering)
    assert float(norm_op2_upper(array)) >= truth


def test_a_flattering_estimate_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An estimate far below the truth is not believed; the bound grows until it is proved."""
    array = np.random.default_rng(2).standard_normal((30, 40))
    truth = np.linalg.svd(array, compute_uv=False)[0]
    monkeypatch.setattr(operator_module, "_largest", lambda gram: (1e-3, np.ones(len(gram))))
    assert truth <= float(norm_op2_upper(array)) <= float(norm_fro_upper(array)) * (1 + 1e-12)


def test_without_the_check_the_laws_go_red(monkeypatch: pytest.MonkeyPatch) -> None:
    """If every candidate passed, a poor estimate would give a bound below the norm."""
    monkeypatch.setattr(operator_module, "_largest", lambda gram: (1e-3, np.ones(len(gram))))
    monkeypatch.setattr(operator_module, "_certified", lambda *_: np.eye(2))
    array = np.diag([3.0, 1.0]) + np.array([[0.0, 2.0], [2.0, 0.0]])
    assert not is_upper(array, norm_op2_upper(array))


@given(SMALL)
@example(np.full((3, 4), 1e3))
@example(np.array([[1e308, 1e308], [5e-324, 0.0]]))
def test_row_and_column_sums(array: np.ndarray) -> None:
    """The 1-, infinity- and maximum norm agree with exact sums."""
    a = [[abs(Fraction(float(x))) for x in row] for row in array]
    rows = max(sum(row) for row in a)
    columns = max(sum(row[j] for row in a) for j in range(len(a[0])))
    largest = max(max(row) for row in a)
    assert norm_opinf_lower(array) <= rows <= norm_opinf_upper(array)
    assert norm_op1_lower(array) <= columns <= norm_op1_upper(array)
    assert norm_max_lower(array) == largest == norm_max_upper(array)
    assert norm_op1_upper(array) - norm_op1_lower(array) <= Fraction(1, 10**12) * columns


def test_an_independent_ball_agrees() -> None:
    """The largest eigenvalue of the exact Gram matrix, as a ball of python-flint, meets both bounds."""
    array = np.random.default_rng(3).integers(-50, 50, (5, 7)).astype(np.float64)
    gram = flint.fmpq_mat(5, 5, [int(x) for x in (array @ array.T).ravel()])
    largest = max(abs(complex(root)) for root, _ in gram.charpoly().numer().complex_roots())
    assert float(norm_op2_lower(array)) ** 2 <= largest * (1 + 1e-12)
    assert float(norm_op2_upper(array)) ** 2 >= largest * (1 - 1e-12)


def test_what_is_no_matrix_is_refused() -> None:
    """Vectors, NaN and integers raise; empty matrices have norm zero."""
    with pytest.raises(ShapeError):
        norm_op2_upper(np.ones(3))
    with pytest.raises(NonFiniteError):
        norm_op2_upper(np.array([[np.nan]]))
    with pytest.raises(InputError):
        norm_op1_upper(np.ones((2, 2), int))
    for empty in (np.zeros((0, 3)), np.zeros((3, 0))):
        assert norm_op2_upper(empty) == norm_op2_lower(empty) == norm_op1_upper(empty) == 0


@pytest.mark.parametrize("shape", [(50, 7), (7, 7), (1, 1), (900, 3), (5, 1)])
@pytest.mark.parametrize("scale", [1.0, 1e-250, 1e250])
def test_a_stacked_matrix_has_the_bounds_of_the_whole_one(shape, scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made a few rows at a time, the bound is one for the same matrix and as sharp; zeros and NaN are seen."""
    monkeypatch.setattr(operator_module, "_SLAB", 10)
    array = np.random.default_rng(shape[0]).standard_normal(shape) * scale
    stacked = operator_module.Stacked(shape, lambda start, stop: array[start:stop])
    bound, whole = norm_op2_upper(stacked), norm_op2_upper(array)
    assert norm_op2_lower(array) <= bound <= whole * (1 + Fraction(1, 10**6))
    truth = sum((Fraction(x) ** 2 for x in array.ravel().tolist()), Fraction(0))
    assert truth <= stacked.frobenius() ** 2 <= truth * (1 + Fraction(1, 10**11))
    assert norm_op2_upper(operator_module.Stacked(shape, lambda start, stop: 0 * array[start:stop])) == 0
    with pytest.raises(NonFiniteError):
        norm_op2_upper(operator_module.Stacked(shape, lambda start, stop: array[start:stop] * np.nan))
