"""Low-bit fits of one layer: the flip identity, the best scale, refinement, exhaustive search."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from peelverify.errors import DomainError, InputError, NonFiniteError, ShapeError
from peelverify.peel import fit_binary, fit_ternary, round_to_nearest
from peelverify.peel.lowbit import LowBitFit, _positive, best_scale, flip_gains
from peelverify.verdict import Outcome

seeds = st.integers(0, 2**32 - 1)


def layer(seed: int, kind: str = "relu", samples: int = 50, features: int = 6, outputs: int = 3):
    """Input and target of a layer."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(samples, features))
    if kind == "relu":
        z = np.maximum(z @ rng.normal(size=(features, features)), 0)
    if kind == "repeated":
        z[:, features // 2 :] = z[:, : features - features // 2]
    return z, z @ rng.normal(size=(features, outputs)) + 0.3 * rng.normal(size=(samples, outputs))


def error(z: np.ndarray, t: np.ndarray, matrix: np.ndarray) -> float:
    """Squared error, from the definition."""
    return float(((t - z @ matrix.T) ** 2).sum())


@settings(deadline=None, max_examples=40)
@given(seeds, st.booleans())
def test_flip_identity(seed: int, per_row: bool) -> None:
    """The stated gain of a flip is the change of the error when that sign is really flipped."""
    z, t = layer(seed)
    fit = fit_binary(z, t, per_row=per_row, refine=False)
    gains = flip_gains(t.T @ z, z.T @ z, fit.sign, fit.scale)
    rows = np.broadcast_to(np.reshape(fit.scale, (-1, 1)), (3, 1))
    before = error(z, t, fit.matrix)
    for i, j in product(range(3), range(6)):
        flipped = fit.sign.copy()
        flipped[i, j] *= -1
        change = error(z, t, rows * flipped) - before
        assert gains[i, j] == pytest.approx(change, rel=1e-9, abs=1e-9 * before)


@settings(deadline=None, max_examples=40)
@given(seeds, st.booleans(), st.sampled_from(["relu", "white", "repeated"]), st.sampled_from([0, 2, 4]))
def test_refined_is_never_worse_and_nothing_left_to_flip(seed: int, per_row: bool, kind: str, bits: int) -> None:
    """Refinement lowers the error or leaves it, stays above the float fit, and its residual is that of its matrix."""
    z, t = layer(seed, kind)

    def fit(refine: bool) -> LowBitFit:
        if bits == 0:
            return fit_binary(z, t, per_row=per_row, refine=refine)
        return round_to_nearest(z, t, bits, per_row=per_row, refine=refine)

    plain, refined = fit(False), fit(True)
    assert refined.relative_residual <= plain.relative_residual
    assert refined.float_residual <= refined.relative_residual + 1e-12
    assert refined.distortion == refined.relative_residual - refined.float_residual
    assert refined.relative_residual == pytest.approx(error(z, t, refined.matrix) / (t**2).sum(), rel=1e-12)
    if bits == 0 and refined.outcome is Outcome.CONVERGED:
        size = float((t**2).sum())
        assert flip_gains(t.T @ z, z.T @ z, refined.sign, refined.scale).min() >= -1e-9 * size


@settings(deadline=None, max_examples=40)
@given(seeds, st.booleans(), st.floats(-3, 3))
def test_scale_is_optimal(seed: int, per_row: bool, other: float) -> None:
    """No other scale gives a smaller error for the same pattern, of the whole matrix or of a row."""
    z, t = layer(seed)
    sign = np.where(np.random.default_rng(seed).normal(size=(3, 6)) < 0, -1.0, 1.0)
    scale = best_scale(t.T @ z, z.T @ z, sign, per_row=per_row)
    best = error(z, t, np.reshape(scale, (-1, 1)) * sign)
    assert best <= error(z, t, other * sign) * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_close_to_exhaustive_search(seed: int) -> None:
    """On small layers the refined row fit is within 35 % of the best of all patterns, often equal, never below."""
    z, t = layer(seed, features=7, outputs=1)
    best = min(
        error(z, t, best_scale(t.T @ z, z.T @ z, s, per_row=False) * s)
        for s in (np.array([signs]) for signs in product([-1.0, 1.0], repeat=7))
    ) / float((t**2).sum())
    found = fit_binary(z, t).relative_residual
    assert best - 1e-12 <= found <= 1.35 * best


def test_published_pattern_is_the_sign_of_the_least_squares_matrix() -> None:
    """Without refinement the pattern is sign(T Z^+), zero counting as positive, and the scale is optimal for it."""
    z, t = layer(3, "white")
    weight = (np.linalg.pinv(z) @ t).T
    fit = fit_binary(z, t, refine=False)
    np.testing.assert_array_equal(fit.sign, np.where(weight < 0, -1.0, 1.0))
    assert fit.scale == pytest.approx(float((t * (z @ fit.sign.T)).sum() / ((z @ fit.sign.T) ** 2).sum()))
    zero = fit_binary(np.eye(2), np.array([[0.0], [1.0]]), refine=False)
    assert zero.sign.tolist() == [[1.0, 1.0]]


@settings(deadline=None, max_examples=30)
@given(seeds)
def test_optimal_for_orthogonal_features(seed: int) -> None:
    """With orthogonal features of equal norm the published pattern already has nothing left to flip."""
    rng = np.random.default_rng(seed)
    z, _ = np.linalg.qr(rng.normal(size=(40, 6)))
    t = rng.normal(size=(40, 3))
    plain, refined = fit_binary(z, t, refine=False), fit_binary(z, t)
    assert refined.relative_residual == pytest.approx(plain.relative_residual, rel=1e-9)


def test_a_layer_that_is_low_bit_is_found_exactly() -> None:
    """Binary, ternary and 4-bit layers behind the data are recovered without error."""
    rng = np.random.default_rng(0)
    z = np.abs(rng.normal(size=(80, 8)))
    binary = 0.7 * np.sign(rng.normal(size=(4, 8)))
    ternary = 1.3 * rng.integers(-1, 2, size=(4, 8))
    nibble = 0.2 * np.hstack([np.full((4, 1), 7.0), rng.integers(-7, 8, size=(4, 7))])
    assert fit_binary(z, z @ binary.T).relative_residual <= 1e-24
    np.testing.assert_allclose(fit_binary(z, z @ binary.T).matrix, binary, atol=1e-12)
    np.testing.assert_allclose(fit_ternary(z, z @ ternary.T).matrix, ternary, atol=1e-12)
    np.testing.assert_allclose(round_to_nearest(z, z @ nibble.T, 4).matrix, nibble, atol=1e-12)


def test_grids_and_scales() -> None:
    """Patterns stay on their grid, scales are not negative, and one a row has one entry a row."""
    z, t = layer(5)
    assert set(np.unique(fit_binary(z, t).sign)) <= {-1.0, 1.0}
    assert set(np.unique(fit_ternary(z, t).sign)) <= {-1.0, 0.0, 1.0}
    wide = round_to_nearest(z, t, 3).sign
    assert np.abs(wide).max() <= 3 and (wide == np.rint(wide)).all()
    rows = fit_binary(z, t, per_row=True)
    assert np.shape(rows.scale) == (3,) and (rows.scale >= 0).all()
    assert isinstance(fit_binary(z, t).scale, float) and fit_binary(z, t).scale >= 0
    assert rows.relative_residual <= fit_binary(z, t, per_row=True, refine=False).relative_residual


def test_more_bits_do_not_hurt_here() -> None:
    """On this layer the error falls from binary to 8 bits towards that of the float fit."""
    z, t = layer(7, "white", features=8)
    sizes = [fit_binary(z, t, per_row=True), *(round_to_nearest(z, t, b) for b in (2, 4, 8))]
    errors = [f.relative_residual for f in sizes]
    assert errors == sorted(errors, reverse=True)
    assert sizes[-1].distortion < 1e-4 * errors[0]


def test_negative_correlation_flips_the_whole_pattern() -> None:
    """A scale that would be negative is turned into a positive one with the opposite pattern."""
    z = np.array([[1.0, 0.9], [0.9, 1.0], [1.0, 1.1]])
    t = np.array([[-1.0], [-1.1], [-1.0]])
    fit = fit_binary(z, t)
    assert fit.scale > 0 and fit.sign.tolist() == [[-1.0, -1.0]]


def test_turning_a_negative_scale_keeps_the_matrix() -> None:
    """Scale and pattern change sign together, of the whole matrix or of the rows that need it."""
    sign = np.array([[1.0, -1.0], [1.0, 1.0]])
    turned, scale = _positive(sign, -2.0)
    assert scale == 2.0 and (turned == -sign).all()
    turned, scales = _positive(sign, np.array([3.0, -0.5]))
    assert scales.tolist() == [3.0, 0.5] and turned.tolist() == [[1.0, -1.0], [-1.0, -1.0]]


def test_bad_input() -> None:
    """Wrong rows, NaN, a target of zeros and impossible bit widths are refused."""
    z, t = layer(0)
    with pytest.raises(ShapeError):
        fit_binary(z[:-1], t)
    with pytest.raises(NonFiniteError):
        fit_ternary(np.where(z > 0, np.nan, z), t)
    with pytest.raises(DomainError):
        fit_binary(z, np.zeros_like(t))
    for bits in (1, 9, 2.0, True):
        with pytest.raises(InputError):
            round_to_nearest(z, t, bits)  # type: ignore[arg-type]
    with pytest.raises(ShapeError):
        fit_binary(z[:, 0], t)


def test_features_of_zero_give_the_zero_layer() -> None:
    """Dead features leave the whole target: residual 1, scale 0, no NaN."""
    fit = fit_binary(np.zeros((5, 2)), np.ones((5, 3)), per_row=True)
    assert fit.relative_residual == 1.0 and not fit.matrix.any() and np.isfinite(fit.sign).all()


def test_tensors_count_like_arrays() -> None:
    """Torch tensors give the same fit as arrays."""
    z, t = layer(1)
    np.testing.assert_array_equal(fit_binary(torch.tensor(z), torch.tensor(t)).sign, fit_binary(z, t).sign)
