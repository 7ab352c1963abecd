"""Brackets of local problems: sound against exact arithmetic, and narrow."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from peelverify.bounds.layers import convexity_check
from peelverify.errors import DomainError, InputError, ShapeError
from peelverify.peel.bracket import bracket_head, bracket_layer, convexity_lower


def exact_least_sq(z: np.ndarray, t: np.ndarray) -> Fraction:
    """Smallest squared residual over all weights, by exact Gram-Schmidt in fractions."""
    columns = [[Fraction(float(v)) for v in column] for column in z.T]
    basis: list[list[Fraction]] = []
    for column in columns:
        for b in basis:
            share = sum(x * y for x, y in zip(column, b, strict=True)) / sum(y * y for y in b)
            column = [x - share * y for x, y in zip(column, b, strict=True)]
        if any(column):
            basis.append(column)
    total = Fraction(0)
    for goal in t.T:
        rest = [Fraction(float(v)) for v in goal]
        for b in basis:
            share = sum(x * y for x, y in zip(rest, b, strict=True)) / sum(y * y for y in b)
            rest = [x - share * y for x, y in zip(rest, b, strict=True)]
        total += sum(x * x for x in rest)
    return total


problems = st.tuples(st.integers(0, 10_000), st.integers(1, 8), st.integers(1, 4), st.integers(1, 3),
                     st.booleans(), st.sampled_from([1.0, 1e-3, 1e4]), st.booleans())


@settings(max_examples=80)
@given(problems)
@example((0, 2, 4, 1, True, 1.0, False))
@example((3, 6, 3, 2, True, 1e4, True))
def test_the_exact_optimum_lies_inside(problem) -> None:
    """The least residual over all weights, computed in fractions, is between the two sides; so is the radius case."""
    seed, samples, features, outputs, bias, scale, dependent = problem
    draw = np.random.default_rng(seed)
    z = draw.normal(size=(samples, features)) * scale
    if dependent and features > 1:
        z[:, -1] = z[:, 0]
    t = draw.normal(size=(samples, outputs))
    weight = draw.normal(size=(outputs, features)) / scale
    found = bracket_layer(z, t, weight, has_bias=bias)
    wide = np.hstack([z, np.ones((samples, 1))]) if bias else z
    asked = sum(Fraction(float(v)) ** 2 for v in t.ravel())
    best = exact_least_sq(wide, t) / asked
    given_sq = sum(
        (Fraction(float(t[i, k])) - sum(Fraction(float(z[i, j])) * Fraction(float(weight[k, j])) for j in
                                        range(features))) ** 2
        for i in range(samples) for k in range(outputs)
    ) / asked
    assert best <= found.upper and given_sq <= found.upper
    if found.radius is None:
        assert found.lower <= best
    else:
        solution = np.linalg.lstsq(wide, t, rcond=None)[0]
        if np.linalg.norm(solution) <= float(found.radius):
            assert found.lower <= best * (1 + Fraction(1, 10**9)) + Fraction(1, 10**20)


def test_the_bracket_of_a_solution_is_narrow() -> None:
    """For least-squares weights both sides agree to 1e-9, for all weights; with dependent features in a radius."""
    draw = np.random.default_rng(1)
    z, t = draw.normal(size=(200, 20)), draw.normal(size=(200, 5))
    solved = np.linalg.lstsq(z, t, rcond=None)[0].T
    free = bracket_layer(z, t, solved)
    assert free.radius is None and 0 < free.upper - free.lower <= free.upper * Fraction(1, 10**9)
    twice = np.hstack([z, z])
    ball = bracket_layer(twice, t, np.hstack([solved, 0 * solved]))
    assert ball.radius is not None and ball.upper - ball.lower <= ball.upper * Fraction(1, 10**9)


def test_nearly_dependent_features_are_not_overstated() -> None:
    """A lower side above the exact optimum is only allowed within a radius that leaves the optimum out."""
    draw = np.random.default_rng(2)
    z = draw.normal(size=(30, 3))
    z[:, 2] = z[:, 0] + 1e-13 * draw.normal(size=30)
    t = (z[:, 2] - z[:, 0])[:, None] * 1e13 + draw.normal(size=(30, 1))
    found = bracket_layer(z, t, np.zeros((1, 3)))
    assert found.lower <= exact_least_sq(z, t) / sum(Fraction(float(v)) ** 2 for v in t.ravel()) or (
        found.radius is not None and found.radius < 10**12
    )


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 7), st.integers(1, 4))
def test_convexity_is_never_overstated(seed: int, samples: int, features: int) -> None:
    """The bound is at most the exact smallest eigenvalue, and passes the exact check; dependent columns give None."""
    z = np.random.default_rng(seed).integers(-4, 5, size=(samples, features)).astype(float)
    mu = convexity_lower(z)
    if np.linalg.matrix_rank(z) < features:
        assert mu is None
        return
    assert mu is not None
    smallest = float(np.linalg.eigvalsh(z.T @ z)[0])
    assert 0.05 * smallest <= float(mu) <= smallest * (1 + 1e-12)
    exact = [[Fraction(v) for v in row] for row in z.tolist()]
    shift = np.linalg.cholesky(z.T @ z - 0.95 * float(mu) * np.eye(features) - 0.04 * smallest * np.eye(features)).T
    assert convexity_check(exact, [[Fraction(v) for v in row] for row in shift.tolist()], Fraction(0.95 * float(mu)))


def test_the_head_bracket_holds_every_head_in_its_ball() -> None:
    """Gradient descent projected on the ball never gets below the lower side, and nearly reaches the upper one."""
    torch.manual_seed(0)
    x, classes = torch.randn(300, 6, dtype=torch.float64), torch.randint(4, (300,))
    weight = torch.randn(4, 6, dtype=torch.float64)
    found = bracket_head(x, classes, weight, decay=3.0, steps=200)
    assert found.lower <= found.upper < found.start
    assert found.upper - found.lower < 1e-6
    move = torch.zeros_like(weight, requires_grad=True)
    smallest = found.start
    for _ in range(3000):
        loss = functional.cross_entropy(x @ (weight + move).T, classes)
        smallest = min(smallest, float(loss.detach()))
        (slope,) = torch.autograd.grad(loss, move)
        with torch.no_grad():
            move -= 0.5 * slope
            move *= min(1.0, found.radius / max(float(move.norm()), 1e-30))
    assert found.lower - 1e-12 <= smallest
    assert smallest == pytest.approx(found.upper, abs=1e-5)


def test_an_unfinished_head_has_a_wide_but_true_bracket() -> None:
    """After one step the lower side is lower, and still below the best head in that ball."""
    torch.manual_seed(1)
    x, classes = torch.randn(200, 5), torch.randint(3, (200,))
    weight = torch.randn(3, 5)
    rough = bracket_head(x, classes, weight, decay=1.0, steps=1)
    fine = bracket_head(x, classes, weight, decay=1.0, steps=200)
    assert rough.upper >= fine.upper and rough.upper - rough.lower > fine.upper - fine.lower


def test_bad_problems_are_refused() -> None:
    """Zero targets, sizes that do not fit, no steps."""
    with pytest.raises(DomainError, match="not zero"):
        bracket_layer(np.ones((3, 1)), np.zeros((3, 1)), np.ones((1, 1)))
    with pytest.raises(ShapeError, match="align"):
        bracket_layer(np.ones((3, 1)), np.ones((3, 2)), np.ones((1, 1)))
    with pytest.raises(InputError, match="steps"):
        bracket_head(torch.ones(2, 2), torch.zeros(2, dtype=torch.long), torch.ones(2, 2), steps=0)
