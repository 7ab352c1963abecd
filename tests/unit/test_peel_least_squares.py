"""Least squares against LAPACK's driver, on regular, singular and wide problems."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from peelverify.errors import InputError, NonFiniteError, ShapeError
from peelverify.peel.least_squares import Factor, GramSum, _pools, least_squares, one_thread
from peelverify.verdict import Outcome


def reference(z: np.ndarray, t: np.ndarray, bias: bool) -> np.ndarray:
    """Fitted values of numpy's own driver."""
    columns = np.hstack([z, np.ones((len(z), 1))]) if bias else z
    return columns @ np.linalg.lstsq(columns, t, rcond=None)[0]


def problem(kind: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features and targets of one kind."""
    rng = np.random.default_rng(seed)
    z, t = rng.normal(size=(60, 8)), rng.normal(size=(60, 5))
    if kind == "repeated":
        z[:, 4:] = z[:, :4]
    elif kind == "zero column":
        z[:, 3] = 0.0
    elif kind == "constant column":
        z[:, 3] = 2.5
    elif kind == "wide":
        z, t = z[:5], t[:5]
    elif kind == "nearly repeated":
        z[:, 4:] = z[:, :4] + 1e-9 * z[:, 4:]
    elif kind == "badly scaled":
        z = z * np.logspace(-9, 9, 8)
    elif kind == "zero":
        z[:] = 0.0
    return z, t


KINDS = ["regular", "repeated", "zero column", "constant column", "wide", "nearly repeated", "badly scaled", "zero"]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_fitted_values_agree_with_lapack(kind: str, bias: bool) -> None:
    """Fitted values agree as far as the condition allows, also where the features repeat directions."""
    z, t = problem(kind)
    fit = least_squares(z, t, bias=bias)
    # A direction of relative size s is known to eps / s, and 1 / condition is the smallest s that is kept.
    tolerance = 1e-12 + 10 * np.finfo(float).eps * fit.condition
    assert np.linalg.norm(fit(z) - reference(z, t, bias)) <= tolerance * np.linalg.norm(t)


def test_rank_and_outcome_are_reported() -> None:
    """A singular problem says so, with its rank; Cholesky takes it only where the repetition is exact."""
    z, t = problem("repeated")
    fit = least_squares(z, t)
    assert (fit.outcome, fit.rank, fit.method) == (Outcome.RANK_DEFICIENT, 5, "cholesky")
    regular = least_squares(*problem("regular"))
    assert (regular.outcome, regular.rank, regular.method) == (Outcome.CONVERGED, 9, "cholesky")
    nearly = least_squares(*problem("nearly repeated"))
    assert nearly.method == "svd" and nearly.rank == 9 and nearly.condition > 1e8


@pytest.mark.parametrize("kind", ["wide", "repeated", "zero column"])
def test_the_smallest_solution_is_taken(kind: str) -> None:
    """Among many solutions the one of least norm is returned, as the pseudo-inverse gives it."""
    z, t = problem(kind)
    fit = least_squares(z, t, bias=False)
    np.testing.assert_allclose(fit.weight, (np.linalg.pinv(z) @ t).T, atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(0, 5), st.integers(0, 3), st.integers(-20, 0))
def test_repeated_and_zero_columns_agree_with_lapack(
    seed: int, kept: int, repeated: int, zero: int, noise: int
) -> None:
    """Columns that combine others, up to noise of any size, and zero columns: rank and smallest solution of the SVD.

    Noise within a factor of 30 of the cut-off is left out: there the rank hangs on the last digit.
    """
    draw = np.random.default_rng(seed)
    base = draw.normal(size=(300, kept))
    more = base @ draw.normal(size=(kept, repeated)) + 10.0**noise * draw.normal(size=(300, repeated))
    z = np.hstack([base, more, np.zeros((300, zero))])[:, draw.permutation(kept + repeated + zero)]
    t = draw.normal(size=(300, 2))
    s = np.linalg.svd(z, compute_uv=False) / np.linalg.norm(z, 2)
    cut = np.finfo(float).eps * 300
    if ((s > cut / 30) & (s < cut * 30)).any():
        return
    fit = least_squares(z, t, bias=False)
    assert fit.rank == int((s > cut).sum())
    want = np.linalg.lstsq(z, t, rcond=cut)[0].T
    assert np.abs(fit.weight - want).max() <= 1e-12 * np.abs(want).max() * max(1.0, fit.condition) ** 2


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(1, 6), st.booleans())
def test_residual_is_orthogonal_to_the_features(seed: int, samples: int, columns: int, bias: bool) -> None:
    """The normal equations hold: no direction of the features is left in the residual."""
    rng = np.random.default_rng(seed)
    z = rng.integers(-2, 3, size=(samples, columns)).astype(float)  # ties, zeros and repeated columns are common
    t = rng.normal(size=(samples, 3))
    fit = least_squares(z, t, bias=bias)
    left = t - fit(z)
    columns_too = np.hstack([z, np.ones((samples, 1))]) if bias else z
    scale = np.linalg.norm(columns_too) * np.linalg.norm(t)
    assert np.abs(columns_too.T @ left).max() <= 1e-12 * max(scale, 1.0) * max(1.0, fit.condition)


def test_cholesky_that_fails_its_check_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong fast path is caught by the residual check and the slow one gives the answer."""
    z, t = problem("regular")
    broken = Factor(z)
    assert broken._chol is not None
    broken._chol = broken._chol * 1.01
    fit = broken.solve(t)
    assert fit.method == "svd"
    np.testing.assert_allclose(fit(z), reference(z, t, True), atol=1e-10)


def test_gram_sum_is_additive_and_agrees() -> None:
    """Chunks in any grouping give the same sums, and the solution of the whole problem."""
    z, t = problem("regular")
    whole = GramSum().add(z, t).solve()
    first, second = GramSum().add(z[:20], t[:20]).add(z[20:33], t[20:33]), GramSum().add(z[33:], t[33:])
    merged = GramSum().merge(first).merge(second)
    assert merged.samples == 60
    np.testing.assert_allclose(merged.solve().weight, whole.weight, atol=1e-12)
    np.testing.assert_allclose(whole(z), reference(z, t, True), atol=1e-11)
    assert merged.target_sq == pytest.approx(float((t**2).sum()), rel=1e-14)


@pytest.mark.parametrize("kind", ["repeated", "zero column", "wide", "zero"])
def test_gram_sum_takes_singular_problems(kind: str) -> None:
    """Singular sums give finite weights, say that they are singular, and still fit as well."""
    z, t = problem(kind)
    fit = GramSum().add(z, t).solve()
    assert fit.outcome is Outcome.RANK_DEFICIENT
    assert np.isfinite(fit.weight).all()
    assert np.linalg.norm(fit(z) - reference(z, t, True)) <= 1e-6 * np.linalg.norm(t)


def test_ridge_only_where_asked() -> None:
    """Ridge shrinks the weights towards zero and never the constant; without it the fit is the plain one."""
    z, t = problem("regular")
    total = GramSum().add(z, t + 100.0)
    plain, shrunk, crushed = total.solve(), total.solve(ridge=1.0), total.solve(ridge=1e9)
    assert np.linalg.norm(shrunk.weight) < np.linalg.norm(plain.weight)
    assert np.linalg.norm(crushed.weight) < 1e-6
    np.testing.assert_allclose(crushed.bias, (t + 100.0).mean(axis=0), rtol=1e-6)
    with pytest.raises(InputError):
        total.solve(ridge=-1.0)
    with pytest.raises(InputError):
        total.solve(ridge=float("nan"))


def test_bad_input() -> None:
    """Wrong shapes, NaN, no samples and things that are not numbers are refused with a reason."""
    good = np.ones((3, 2))
    with pytest.raises(ShapeError, match="same samples"):
        least_squares(good, np.ones((4, 2)))
    with pytest.raises(ShapeError):
        least_squares(np.ones(3), good)
    with pytest.raises(ShapeError):
        least_squares(np.ones((0, 2)), np.ones((0, 2)))
    with pytest.raises(NonFiniteError, match="row 1"):
        least_squares(np.array([[1.0], [np.nan]]), np.ones((2, 1)))
    with pytest.raises(InputError):
        least_squares([["a"]], good)
    with pytest.raises(InputError):
        least_squares(good * 1j, good)
    with pytest.raises(InputError, match="none"):
        GramSum().solve()
    with pytest.raises(ShapeError):
        GramSum().add(good, good).add(np.ones((3, 3)), good)
    with pytest.raises(ShapeError):
        GramSum().add(good, good).merge(GramSum().add(np.ones((3, 4)), good))


def test_tensors_and_lists_are_taken() -> None:
    """Torch tensors of any float type, on the graph or not, count like arrays."""
    z, t = problem("regular")
    want = least_squares(z, t).weight
    got = least_squares(torch.tensor(z, requires_grad=True), torch.tensor(t)).weight
    np.testing.assert_array_equal(got, want)
    half = least_squares(torch.ones(4, 1, dtype=torch.bfloat16), torch.ones(4, 1))
    assert half.weight.shape == (1, 1)


def test_thread_count_comes_back() -> None:
    """Confining BLAS to one thread ends with the block, also when the block fails."""
    def counts() -> list[int]:
        return [pool["num_threads"] for pool in _pools().info()]

    before = counts()
    with pytest.raises(ZeroDivisionError), one_thread(4):
        assert set(counts()) == {1}
        1 / 0  # noqa: B018
    assert counts() == before
