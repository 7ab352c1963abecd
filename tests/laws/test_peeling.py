"""Laws of ``Proofs/Peeling.lean``: optimal fits, duality, low-bit patterns, witnesses.

Longer than 500 lines because every theorem has its four tests in one place. Least-squares solutions are found
exactly, by Cramer's rule for two features.
"""

from __future__ import annotations

from fractions import Fraction as F
from itertools import product

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from peelverify.bounds.peeling import (
    approximate_optimum_lower,
    best_scale,
    bounded_dual_lower_sq,
    dual_lower_bound_sq,
    flip_change,
    normal_equation_residual,
    pythagorean_gap,
    relu,
    residual,
    ridge_loss,
    sign_of,
    suite_min,
    ternary_of,
    witness_gap,
)
from peelverify.errors import DomainError, ShapeError

from .checking import EQUALITY, NO_HYPOTHESIS, Law, hard_cases, law, reaches
from .oracle import root_upper
from .strategies import HUGE, TINY, ULP, aligned, matrices, numbers, rationals, sizes, vectors


def square(x):
    """Oracle: the sum of squares."""
    return sum((a**2 for a in x), F(0))


def inner(x, y):
    """Oracle: the inner product."""
    return sum((a * b for a, b in zip(x, y, strict=True)), F(0))


def columns(z):
    """The features."""
    return [list(column) for column in zip(*z, strict=True)]


def loss(z, t, w):
    """Oracle: the squared residual, with Z w as a sum of columns."""
    left = list(t)
    for weight, column in zip(w, columns(z), strict=True):
        left = [a - weight * b for a, b in zip(left, column, strict=True)]
    return square(left)


def solve(z, t, lam=F(0)):
    """Oracle: (Z^T Z + lam I)^-1 Z^T t for two features by Cramer's rule, None if that is singular."""
    p, q = columns(z)
    a, b, d = square(p) + lam, inner(p, q), square(q) + lam
    u, v = inner(p, t), inner(q, t)
    determinant = a * d - b * b
    return None if determinant == 0 else [(u * d - v * b) / determinant, (a * v - b * u) / determinant]


SHORT = rationals(-4, 4)
PROBLEMS = [
    ([[F(1), F(0)], [F(1), F(1)], [F(0), F(1)]], [F(2), F(5), F(-1)], [F(1), F(3)]),
    ([[F(1), F(1)], [F(1), F(-1)]], [F(3), F(4)], [F(0), F(0)]),
    ([[F(1), F(2)], [F(2), F(1)], [F(-1), F(5)]], [F(0), F(0), F(1)], [TINY, F(1)]),
]


@st.composite
def problems(draw):
    """Features of three samples, targets, and weights."""
    return draw(matrices(3, 2, SHORT)), draw(vectors(3, 3, SHORT)), draw(vectors(2, 2))


class Test_normal_equations_optimal(Law):
    """A solution of the normal equations has the smallest loss."""

    hard = [*PROBLEMS, (PROBLEMS[0][0], PROBLEMS[0][1], solve(*PROBLEMS[0][:2])[::-1])]
    mutants = [
        lambda z, t, w: (0,) * len(w),
        lambda z, t, w: normal_equation_residual(z, t, solve(z, t)),
        lambda z, t, w: tuple(inner(column, t) - 1 for column in columns(z)),
    ]

    @staticmethod
    def check(function, z, t, w):
        """The answer is zero exactly at the solution, and there the loss is smallest."""
        w0 = solve(z, t)
        for trial in (w, w0):
            if not any(function(z, t, trial)):
                assert loss(z, t, trial) <= loss(z, t, w0)
        assert not any(function(z, t, w0))

    @law
    @given(problems())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """No weights beat a solution; the residual agrees with a sum of columns."""
        z, t, w = case
        assume(solve(z, t) is not None)
        self.check(normal_equation_residual, z, t, w)
        assert square(residual(z, t, w)) == loss(z, t, w) >= loss(z, t, solve(z, t))

    def test_not_vacuous(self):
        """In a singular problem two different solutions have one loss."""
        z, t = [[F(1), F(1)], [F(2), F(2)]], [F(3), F(4)]
        for w in ([F(11, 5), F(0)], [F(0), F(11, 5)]):
            assert normal_equation_residual(z, t, w) == (0, 0)
            reaches("normal_equations_optimal", F(1, 5) * 4, loss(z, t, w), 1)

    def test_needs_its_hypothesis(self):
        """Off the solution the normal equations are not met, and the loss is larger."""
        z, t, _ = PROBLEMS[0]
        w = [solve(z, t)[0] + TINY, solve(z, t)[1]]
        assert any(normal_equation_residual(z, t, w))
        assert loss(z, t, w) > loss(z, t, solve(z, t))


class Test_least_squares_gap(Law):
    """The excess loss is the squared difference of the outputs."""

    not_applicable = {"test_not_vacuous": EQUALITY}
    hard = list(PROBLEMS)
    mutants = [
        lambda z, w, w0: square([a - b for a, b in zip(w, w0, strict=True)]),
        lambda z, w, w0: pythagorean_gap(z, w, [0, 0]),
        lambda z, w, w0: 2 * pythagorean_gap(z, w, w0),
    ]

    @staticmethod
    def check(function, z, t, w):
        """The loss is the optimum plus the answer."""
        w0 = solve(z, t)
        assert loss(z, t, w) == loss(z, t, w0) + function(z, w, w0)

    @law
    @given(problems())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """Pythagoras holds for all weights."""
        assume(solve(*case[:2]) is not None)
        self.check(pythagorean_gap, *case)

    def test_needs_its_hypothesis(self):
        """At weights that are not a solution the equality fails."""
        z, t, w = PROBLEMS[0]
        other = [F(0), F(0)]
        assert loss(z, t, w) != loss(z, t, other) + pythagorean_gap(z, w, other)


class Test_ridge_gap(Law):
    """The excess of a regularised loss is the squared difference of the outputs plus that of the weights."""

    not_applicable = {"test_not_vacuous": EQUALITY}
    hard = [(*case, F(2)) for case in PROBLEMS] + [(*PROBLEMS[0], F(0))]
    mutants = [
        lambda z, t, lam, w: loss(z, t, w),
        lambda z, t, lam, w: loss(z, t, w) + lam * lam * square(w),
        lambda z, t, lam, w: loss(z, t, w) + lam * sum(abs(a) for a in w),
        lambda z, t, lam, w: ridge_loss(z, t, 2 * lam, w),
    ]

    @staticmethod
    def check(function, z, t, w, lam):
        """The regularised loss is its optimum plus both squares."""
        w0 = solve(z, t, lam)
        step = [a - b for a, b in zip(w, w0, strict=True)]
        excess = loss(z, [F(0)] * len(t), step) + lam * square(step)
        assert function(z, t, lam, w) == function(z, t, lam, w0) + excess

    @law
    @given(problems(), rationals(1))
    @hard_cases([(case[:3], case[3]) for case in hard])
    def test_holds(self, case, lam):
        """The equality holds for all weights and penalties."""
        self.check(ridge_loss, *case, lam)
        w0 = solve(*case[:2], lam)
        assert normal_equation_residual(*case[:2], w0) == tuple(lam * a for a in w0)

    def test_needs_its_hypothesis(self):
        """At the solution for another penalty the equality fails; a negative penalty is refused."""
        z, t, w = PROBLEMS[0]
        w0 = solve(z, t, F(1))
        excess = pythagorean_gap(z, w, w0) + 2 * square([a - b for a, b in zip(w, w0, strict=True)])
        assert ridge_loss(z, t, F(2), w) != ridge_loss(z, t, F(2), w0) + excess
        with pytest.raises(DomainError):
            ridge_loss(z, t, F(-1), w)


class Test_ridge_residual_gap_le(Law):
    """Without the penalty, no weights are better by more than lam times the difference of squared weights."""

    hard = [(*case, F(2)) for case in PROBLEMS] + [(*case[:2], solve(*case[:2]), F(1, 2)) for case in PROBLEMS]
    mutants = [
        lambda z, t, lam, w: loss(z, t, w) - lam * square(w),
        lambda z, t, lam, w: loss(z, t, w),
        lambda z, t, lam, w: ridge_loss(z, t, lam / 9, w),
    ]

    @staticmethod
    def check(function, z, t, w, lam):
        """The solution has a regularised loss, the answer, of at most that of the other weights."""
        w0 = solve(z, t, lam)
        assert loss(z, t, w0) + lam * square(w0) <= function(z, t, lam, w)
        assert function(z, t, lam, w0) - lam * square(w0) - loss(z, t, w) <= lam * (square(w) - square(w0))

    @law
    @given(problems(), rationals(1))
    @hard_cases([(case[:3], case[3]) for case in hard])
    def test_holds(self, case, lam):
        """The regularised fit is never worse than the theorem says."""
        self.check(ridge_loss, *case, lam)

    def test_not_vacuous(self):
        """For a small penalty the least-squares fit reaches more than 0.49 of the allowance."""
        z, t, _ = PROBLEMS[0]
        lam = F(1, 1000)
        w, w0 = solve(z, t), solve(z, t, lam)
        observed = loss(z, t, w0) - loss(z, t, w)
        reaches("ridge_residual_gap_le", observed, lam * (square(w) - square(w0)), F(49, 100))

    def test_needs_its_hypothesis(self):
        """For weights that do not solve the regularised equations the allowance is too small."""
        z, t, _ = PROBLEMS[0]
        wrong, best = [F(0), F(0)], solve(z, t)
        assert loss(z, t, wrong) - loss(z, t, best) > F(1, 10) * (square(best) - square(wrong))


def dual(z, t):
    """A vector orthogonal to both features of three samples: their cross product."""
    (a, b, c), (d, e, f) = columns(z)
    return [b * f - c * e, c * d - a * f, a * e - b * d]


class Test_weak_duality(Law):
    """A dual vector bounds every loss from below."""

    hard = [(*PROBLEMS[0],), (*PROBLEMS[2],), (*PROBLEMS[0][:2], solve(*PROBLEMS[0][:2]))]
    mutants = [
        lambda y, t: dual_lower_bound_sq(y, t) * 2,
        lambda y, t: square(t),
        lambda y, t: inner(y, t) ** 2,
        lambda y, t: inner(y, t) ** 2 / max(abs(a) for a in y) ** 2,
    ]

    @staticmethod
    def check(function, z, t, w):
        """The answer times |y|^2 is at most |y|^2 times the loss."""
        y = dual(z, t)
        assert function(y, t) * square(y) <= square(y) * loss(z, t, w)

    @law
    @given(problems())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """No weights have a smaller loss."""
        assume(any(dual(*case[:2])))
        self.check(dual_lower_bound_sq, *case)

    def test_not_vacuous(self):
        """The residual of the best fit, as dual vector, gives the best loss itself."""
        z, t, _ = PROBLEMS[0]
        w0 = solve(z, t)
        reaches("weak_duality", dual_lower_bound_sq(residual(z, t, w0), t), loss(z, t, w0), 1)

    def test_needs_its_hypothesis(self):
        """A vector that is not orthogonal to a feature bounds nothing; the zero vector is refused."""
        z, t = [[F(1)], [F(0)]], [F(1), F(0)]
        assert dual_lower_bound_sq([F(1), F(0)], t) > loss(z, t, [F(1)])
        with pytest.raises(DomainError):
            dual_lower_bound_sq([F(0), F(0)], t)


class Test_dualLowerBoundSq_le(Law):
    """The lower bound as one number."""

    hard = Test_weak_duality.hard
    mutants = Test_weak_duality.mutants

    @staticmethod
    def check(function, z, t, w):
        """The answer is at most the loss, of the given weights and of the best."""
        y = dual(z, t)
        assert function(y, t) <= loss(z, t, w)
        assert function(y, t) <= loss(z, t, solve(z, t))

    @law
    @given(problems())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """With one dual direction the bound is the optimum itself."""
        assume(any(dual(*case[:2])))
        self.check(dual_lower_bound_sq, *case)
        assert dual_lower_bound_sq(dual(*case[:2]), case[1]) == loss(*case[:2], solve(*case[:2]))

    def test_not_vacuous(self):
        """Any multiple of the dual vector gives the optimum."""
        z, t, _ = PROBLEMS[0]
        best = loss(z, t, solve(z, t))
        reaches("dualLowerBoundSq_le", dual_lower_bound_sq([-HUGE * a for a in dual(z, t)], t), best, 1)

    def test_needs_its_hypothesis(self):
        """The zero vector has no bound and is refused, as are lengths that differ."""
        with pytest.raises(DomainError):
            dual_lower_bound_sq([F(0)], [F(1)])
        with pytest.raises(ShapeError):
            dual_lower_bound_sq([F(1)], [F(1), F(1)])


def smallest_stretch(z):
    """Oracle: a lower bound on the least eigenvalue of Z^T Z, its determinant over its trace."""
    p, q = columns(z)
    return (square(p) * square(q) - inner(p, q) ** 2) / (square(p) + square(q))


class Test_weak_duality_of_strong_convexity(Law):
    """A small residual of the normal equations bounds how much better any weights can be."""

    hard = [(*case, solve(*case[:2])) for case in PROBLEMS] + [(*PROBLEMS[0], [F(9), F(-9)])]
    mutants = [
        lambda value, gradient_sq, mu: value,
        lambda value, gradient_sq, mu: value - gradient_sq / (4 * mu) / 100,
        lambda value, gradient_sq, mu: approximate_optimum_lower(value, 0, mu) + 1,
    ]

    @staticmethod
    def check(function, z, t, w0, w):
        """The answer is at most the loss of the other weights."""
        gradient_sq = square([inner(column, residual(z, t, w0)) for column in columns(z)])
        assert function(loss(z, t, w0), gradient_sq, smallest_stretch(z)) <= loss(z, t, w)

    @law
    @given(problems(), vectors(2, 2, SHORT))
    @hard_cases([(case[:3], case[3]) for case in hard])
    def test_holds(self, case, w):
        """No weights have a smaller loss."""
        z, t, w0 = case
        assume(solve(z, t) is not None)
        self.check(approximate_optimum_lower, z, t, w0, w)
        self.check(approximate_optimum_lower, z, t, w0, solve(z, t))

    def test_not_vacuous(self):
        """At the solution it is the loss; with orthogonal features of one length it is exact everywhere."""
        z, t = [[F(1), F(1)], [F(1), F(-1)], [F(0), F(0)]], [F(3), F(4), F(5)]
        gradient_sq = square(normal_equation_residual(z, t, [F(7), F(-7)]))
        lower = approximate_optimum_lower(loss(z, t, [F(7), F(-7)]), gradient_sq, F(2))
        reaches("weak_duality_of_strong_convexity", lower, loss(z, t, solve(z, t)), 1)

    def test_needs_its_hypothesis(self):
        """With a mu that is too large the answer exceeds the optimum; mu = 0 is refused."""
        z, t, w0 = PROBLEMS[1]
        gradient_sq = square(normal_equation_residual(z, t, w0))
        assert approximate_optimum_lower(loss(z, t, w0), gradient_sq, F(4)) > loss(z, t, solve(z, t))
        with pytest.raises(DomainError):
            approximate_optimum_lower(F(1), F(0), F(0))


class Test_weak_duality_ridge(Law):
    """The same for a regularised loss, with lam in the part of mu."""

    hard = [(*case, solve(*case[:2], F(1)), F(1)) for case in PROBLEMS]
    mutants = [
        lambda value, gradient_sq, lam: value,
        lambda value, gradient_sq, lam: value - gradient_sq / (100 * lam),
        lambda value, gradient_sq, lam: approximate_optimum_lower(value, 0, lam),
    ]

    @staticmethod
    def check(function, z, t, w0, w, lam):
        """The answer is at most the regularised loss of the other weights."""
        gradient = [inner(c, residual(z, t, w0)) - lam * a for c, a in zip(columns(z), w0, strict=True)]
        assert function(ridge_loss(z, t, lam, w0), square(gradient), lam) <= ridge_loss(z, t, lam, w)

    @law
    @given(problems(), vectors(2, 2, SHORT), rationals(1))
    @hard_cases([(case[:3], case[3], case[4]) for case in hard])
    def test_holds(self, case, w, lam):
        """No weights have a smaller regularised loss, whatever the features."""
        self.check(approximate_optimum_lower, *case, w, lam)
        self.check(approximate_optimum_lower, *case, solve(*case[:2], lam), lam)

    def test_not_vacuous(self):
        """Without features the penalty is the loss, and the bound is its minimum."""
        z, t, w0, lam = [[F(0), F(0)]], [F(3)], [F(1), F(2)], F(2)
        gradient_sq = square([lam * a for a in w0])
        lower = approximate_optimum_lower(ridge_loss(z, t, lam, w0), gradient_sq, lam)
        reaches("weak_duality_ridge", lower, ridge_loss(z, t, lam, [F(0), F(0)]), 1)

    def test_needs_its_hypothesis(self):
        """With a larger number than lam the answer exceeds the optimum; a negative one is refused."""
        z, t, w0, lam = [[F(0), F(0)]], [F(3)], [F(1), F(2)], F(2)
        gradient_sq = square([lam * a for a in w0])
        value = ridge_loss(z, t, lam, w0)
        assert approximate_optimum_lower(value, gradient_sq, 2 * lam) > ridge_loss(z, t, lam, [F(0), F(0)])
        with pytest.raises(DomainError):
            approximate_optimum_lower(value, gradient_sq, -lam)


BOUNDED = [
    ([[F(1), F(0)], [F(1), F(1)], [F(0), F(1)]], [F(3), F(-3), F(3)], [F(1), F(0)], [F(1), F(-1), F(1)]),
    ([[F(1), F(0)], [F(0), F(1)], [F(0), F(0)]], [F(1), F(0), F(9)], [F(1), F(0)], [F(1, 9), F(0), F(1)]),
    ([[F(1), F(0)], [F(0), F(1)], [F(0), F(0)]], [F(1), F(0), F(2)], [F(1), F(0)], [F(1), F(0), F(1)]),
]


class Test_weak_duality_of_bounded(Law):
    """A nearly feasible dual vector bounds the loss of bounded weights."""

    hard = list(BOUNDED)
    mutants = [
        lambda y, t, radius, eps: dual_lower_bound_sq(y, t),
        lambda y, t, radius, eps: (inner(y, t) - eps * radius) ** 2,
        lambda y, t, radius, eps: (inner(y, t) + eps * radius) ** 2 / square(y),
        lambda y, t, radius, eps: bounded_dual_lower_sq(y, t, radius / 2, eps),
    ]

    @staticmethod
    def check(function, z, t, w, y):
        """Where the dual vector says something, the answer is at most the loss."""
        radius, eps = root_upper(square(w)), root_upper(square([inner(c, y) for c in columns(z)]))
        if any(y) and inner(y, t) >= eps * radius:
            assert function(y, t, radius, eps) <= loss(z, t, w)

    @law
    @given(problems(), vectors(3, 3, SHORT))
    @hard_cases([((z, t, w), y) for z, t, w, y in hard])
    def test_holds(self, case, y):
        """No weights within the radius have a smaller loss."""
        self.check(bounded_dual_lower_sq, *case, y)
        nearly = [a + b / 100 for a, b in zip(dual(*case[:2]), y, strict=True)]
        self.check(bounded_dual_lower_sq, *case, nearly)

    def test_not_vacuous(self):
        """A dual vector that leans towards a feature reaches the loss of the weights that it singles out."""
        (z, _, w, y), t = BOUNDED[2], [F(2), F(0), F(1)]
        lower = bounded_dual_lower_sq(y, t, F(1), F(1))
        reaches("weak_duality_of_bounded", lower, loss(z, t, w), 1)

    def test_needs_its_hypothesis(self):
        """Longer weights have a smaller loss; a vector that says nothing is refused."""
        z, t, y = BOUNDED[2][0], [F(2), F(0), F(1)], BOUNDED[2][3]
        assert loss(z, t, [F(2), F(0)]) < bounded_dual_lower_sq(y, t, F(1), F(1))
        with pytest.raises(DomainError):
            bounded_dual_lower_sq(y, t, F(9), F(1))
        with pytest.raises(DomainError):
            bounded_dual_lower_sq([F(0)] * 3, t, F(1), F(1))


PATTERNS = [
    ([F(1), F(-1)], [F(5), F(2)], F(0)),
    ([F(0), F(0)], [F(5), F(2)], F(7)),
    ([HUGE, TINY], [TINY, HUGE], F(1)),
    ([F(3), F(4)], [F(6), F(8)], F(2)),
    ([F(1)], [F(-1)], F(0)),
]
BROKEN_SCALES = [
    lambda pattern, target: sum(abs(a) for a in target) / len(target),
    lambda pattern, target: abs(best_scale(pattern, target)),
    lambda pattern, target: best_scale(pattern, target) + ULP,
    lambda pattern, target: inner(pattern, target),
]


def scaled_error(pattern, target, scale):
    """Oracle: the squared distance of the target to the scaled pattern."""
    return square([a - scale * b for a, b in zip(target, pattern, strict=True)])


class Test_best_scale_optimal(Law):
    """No scale of a fixed pattern is better than the best scale."""

    not_applicable = {"test_needs_its_hypothesis": NO_HYPOTHESIS}
    hard = list(PATTERNS)
    mutants = BROKEN_SCALES

    @staticmethod
    def check(function, pattern, target, scale):
        """The error at the answer is at most that at any other scale, near ones included."""
        best = function(pattern, target)
        mine = scaled_error(pattern, target, best)
        for other in (scale, best - ULP / 2, best + ULP / 2, F(0)):
            assert mine <= scaled_error(pattern, target, other)

    @law
    @given(aligned(2), numbers())
    @hard_cases([((p, t), s) for p, t, s in hard])
    def test_holds(self, pair, scale):
        """Against any other scale, near or far, the best one wins."""
        self.check(best_scale, *pair, scale)

    def test_not_vacuous(self):
        """For a multiple of the pattern the error vanishes, and for orthogonal targets nothing is gained."""
        assert scaled_error(*PATTERNS[3][:2], best_scale(*PATTERNS[3][:2])) == 0
        assert best_scale([F(1), F(1)], [F(1), F(-1)]) == 0


class Test_best_scale_gap(Law):
    """Another scale leaves more by its squared distance times the pattern's squared norm."""

    not_applicable = {"test_not_vacuous": EQUALITY, "test_needs_its_hypothesis": NO_HYPOTHESIS}
    hard = list(PATTERNS)
    mutants = BROKEN_SCALES

    @staticmethod
    def check(function, pattern, target, scale):
        """The error at a scale is the error at the answer plus the gap."""
        best = function(pattern, target)
        gap = (scale - best) ** 2 * square(pattern)
        assert scaled_error(pattern, target, scale) == scaled_error(pattern, target, best) + gap

    @law
    @given(aligned(2), numbers())
    @hard_cases([((p, t), s) for p, t, s in hard])
    def test_holds(self, pair, scale):
        """The equality holds for every scale."""
        self.check(best_scale, *pair, scale)


@st.composite
def binary_fits(draw):
    """Features, targets, a scale, signs, and the place of the sign that flips."""
    z, t, _ = draw(problems())
    signs = draw(st.lists(st.sampled_from([F(1), F(-1)]), min_size=2, max_size=2))
    return z, t, draw(SHORT), signs, draw(st.integers(0, 1))


class Test_flip_identity(Law):
    """The change of the squared error when one sign flips."""

    not_applicable = {"test_not_vacuous": EQUALITY}
    hard = [(z, t, F(2), [F(1), F(-1)], k) for z, t, _ in PROBLEMS for k in (0, 1)]
    mutants = [
        lambda scale, sign, inner, feature_sq: 4 * scale * sign * inner,
        lambda scale, sign, inner, feature_sq: flip_change(scale, -sign, inner, feature_sq),
        lambda scale, sign, inner, feature_sq: flip_change(scale, sign, inner, 0) + 4 * scale * feature_sq,
        lambda scale, sign, inner, feature_sq: flip_change(scale, sign, inner, feature_sq) / 2,
    ]

    @staticmethod
    def check(function, z, t, scale, signs, k):
        """The error after the flip is the error before it plus the answer."""
        before = [scale * s for s in signs]
        after = [-s if j == k else s for j, s in enumerate(before)]
        feature = columns(z)[k]
        answer = function(scale, signs[k], inner(feature, residual(z, t, before)), square(feature))
        assert loss(z, t, after) == loss(z, t, before) + answer

    @law
    @given(binary_fits())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """The equality holds for each sign of any fit."""
        self.check(flip_change, *case)

    def test_needs_its_hypothesis(self):
        """For an entry that is not a sign the identity fails, and such an entry is refused."""
        z, t = [[F(1)]], [F(3)]
        before, after = [F(2)], [F(-2)]  # the entry 2 at scale 1
        formula = 4 * 1 * 2 * inner([F(1)], residual(z, t, before)) + 4 * 1
        assert loss(z, t, after) != loss(z, t, before) + formula
        with pytest.raises(DomainError):
            flip_change(F(1), F(2), F(1), F(1))


ORTHOGONAL = [
    [[F(1), F(1)], [F(1), F(-1)], [F(0), F(0)]],
    [[F(2), F(0)], [F(0), F(1)], [F(0), F(2)]],
    [[F(2), F(-1)], [F(1), F(2)], [F(0), F(0)]],
]
SKEWED = [[F(3), F(2)], [F(0), F(1)], [F(0), F(0)]]


class Test_sign_optimal_of_orthogonal(Law):
    """With orthogonal features the signs of the inner products are best."""

    hard = [(z, t, F(2)) for z in ORTHOGONAL for t in ([F(3), F(-1), F(1)], [F(0)] * 3, [F(-5), F(-5), F(9)])]
    mutants = [lambda a: 1, lambda a: -sign_of(a), lambda a: 0 if a == 0 else sign_of(a), lambda a: sign_of(a - 3)]

    @staticmethod
    def check(function, z, t, scale):
        """No other signs at this scale have a smaller loss, and the answer is a sign."""
        chosen = [function(inner(c, t)) for c in columns(z)]
        assert all(s in (1, -1) for s in chosen)
        for other in product((1, -1), repeat=2):
            assert loss(z, t, [scale * s for s in chosen]) <= loss(z, t, [scale * s for s in other])

    @law
    @given(st.sampled_from(ORTHOGONAL), vectors(3, 3), sizes())
    @hard_cases(hard)
    def test_holds(self, z, t, scale):
        """Against every other pattern of signs, this one wins."""
        self.check(sign_of, z, t, scale)

    def test_not_vacuous(self):
        """Where the target is orthogonal to a feature, both signs are as good."""
        z, t = ORTHOGONAL[0], [F(1), F(1), F(0)]
        reaches("sign_optimal_of_orthogonal", loss(z, t, [F(1), F(1)]), loss(z, t, [F(1), F(-1)]), 1)

    def test_needs_its_hypothesis(self):
        """With correlated features other signs are better, and with a negative scale the opposite ones."""
        t = [F(5), F(-1), F(0)]
        chosen = [F(sign_of(inner(c, t))) for c in columns(SKEWED)]
        assert loss(SKEWED, t, [2 * s for s in chosen]) > loss(SKEWED, t, [F(2), F(-2)])
        z, t = ORTHOGONAL[0], [F(1), F(0), F(0)]
        chosen = [F(sign_of(inner(c, t))) for c in columns(z)]
        assert loss(z, t, [-1 * s for s in chosen]) > loss(z, t, chosen)


class Test_ternary_optimal_of_orthogonal(Law):
    """With orthogonal features and a fixed scale the thresholded signs are the best ternary choice."""

    hard = [
        (z, t, scale)
        for z in ORTHOGONAL
        for t in ([F(3), F(-1), F(1)], [F(1, 2), F(1, 2), F(0)], [F(-5), F(-5), F(9)])
        for scale in (F(1), F(0), F(4))
    ]
    mutants = [
        lambda scale, feature_sq, product: sign_of(product),
        lambda scale, feature_sq, product: 0,
        lambda scale, feature_sq, product: ternary_of(2 * scale, feature_sq, product),
        lambda scale, feature_sq, product: ternary_of(scale, 1, product),
        lambda scale, feature_sq, product: abs(ternary_of(scale, feature_sq, product)),
    ]

    @staticmethod
    def check(function, z, t, scale):
        """No other ternary weights at this scale have a smaller loss."""
        chosen = [function(scale, square(c), inner(c, t)) for c in columns(z)]
        assert all(s in (-1, 0, 1) for s in chosen)
        for other in product((-1, 0, 1), repeat=2):
            assert loss(z, t, [scale * s for s in chosen]) <= loss(z, t, [scale * s for s in other])

    @law
    @given(st.sampled_from(ORTHOGONAL), vectors(3, 3, SHORT), rationals(0))
    @hard_cases(hard)
    def test_holds(self, z, t, scale):
        """Against every other ternary pattern, this one wins."""
        self.check(ternary_of, z, t, scale)

    def test_not_vacuous(self):
        """At the threshold zero and the sign are as good."""
        z, t = ORTHOGONAL[0], [F(1), F(0), F(0)]
        assert ternary_of(F(1), F(2), F(1)) == 0
        reaches("ternary_optimal_of_orthogonal", loss(z, t, [F(0), F(0)]), loss(z, t, [F(1), F(0)]), 1)

    def test_needs_its_hypothesis(self):
        """With correlated features other choices are better; a negative scale is refused."""
        t = [F(5), F(-1), F(0)]
        chosen = [F(2) * ternary_of(F(2), square(c), inner(c, t)) for c in columns(SKEWED)]
        others = product((F(-2), F(0), F(2)), repeat=2)
        assert loss(SKEWED, t, chosen) > min(loss(SKEWED, t, list(other)) for other in others)
        with pytest.raises(DomainError):
            ternary_of(F(-1), F(1), F(1))


class Test_relu_closer_of_nonneg(Law):
    """Replacing negative entries by zero never moves away from targets without negative entries."""

    hard = [([F(-1), F(2)], [F(1), F(0)]), ([F(-3)], [F(0)]), ([HUGE], [TINY]), ([F(1), F(-1)], [F(0), F(0)])]
    mutants = [lambda x: [abs(a) for a in x], lambda x: [-a for a in x], lambda x: [max(a, F(1)) for a in x]]

    @staticmethod
    def check(function, x, target):
        """The answer is at most as far from the target, and only negative entries have moved, to zero."""
        moved = function(x)
        after = square([a - b for a, b in zip(moved, target, strict=True)])
        assert after <= square([a - b for a, b in zip(x, target, strict=True)])
        assert all(b == a or b == 0 <= -a for a, b in zip(x, moved, strict=True))

    @law
    @given(aligned(2))
    @hard_cases([(case,) for case in hard])
    def test_holds(self, pair):
        """No target without negative entries gets further away."""
        x, raw = pair
        self.check(relu, x, [abs(b) for b in raw])

    def test_not_vacuous(self):
        """Without negative entries nothing moves; with one, the distance falls."""
        assert relu([F(1), F(2)]) == (1, 2)
        assert square(relu([F(-1)])) < square([F(-1)])

    def test_needs_its_hypothesis(self):
        """From a negative target it can move away."""
        assert square([relu([F(-1)])[0] + 1]) > square([F(-1) + 1])


class Test_witness_gap(Law):
    """A witness shows how far a loss is from optimal at least."""

    hard = [(F(7), F(5), [F(5), F(6)]), (F(7), F(5), [F(5), F(1)]), (F(1), F(1), [F(1)]), (F(0), F(3), [F(3)])]
    mutants = [
        lambda loss_, witness: loss_,
        lambda loss_, witness: loss_ - witness / 2,
        lambda loss_, witness: abs(loss_ - witness),
        lambda loss_, witness: witness_gap(loss_, witness) + TINY,
    ]

    @staticmethod
    def check(function, value, witness, values):
        """For every lower bound of the class, the loss is above it by at least the answer."""
        lowest = min(values)
        for lower in (lowest, lowest - 1, lowest - TINY):
            assert function(value, witness) <= value - lower

    @law
    @given(sizes(), sizes(), st.lists(sizes(), max_size=4))
    def test_holds(self, value, witness, others):
        """Whatever else the class holds, the gap is at least this."""
        self.check(witness_gap, value, witness, [witness, *others])

    def test_hard_cases(self):
        """The hard cases hold as well."""
        for case in self.hard:
            self.check(witness_gap, *case)

    def test_not_vacuous(self):
        """If the witness is optimal, the gap is exact."""
        reaches("witness_gap", witness_gap(F(7), F(5)), F(7) - 5, 1)

    def test_needs_its_hypothesis(self):
        """A network outside the class can be better than all of it; a negative loss is refused."""
        inside, outside, value = [F(5), F(6)], F(2), F(7)
        assert witness_gap(value, outside) > value - min(inside)
        with pytest.raises(DomainError):
            witness_gap(F(1), F(-1))


SUITES = [[F(3), F(1), F(2)], [F(1)], [F(2), F(2)], [HUGE, TINY, F(0)], [F(1), F(5)]]


class Test_suiteMin_le(Law):
    """The minimum of a suite is at most each of its values."""

    not_applicable = {"test_needs_its_hypothesis": NO_HYPOTHESIS}
    hard = [(suite,) for suite in SUITES]
    mutants = [lambda values: values[0], lambda values: max(values), lambda values: sum(values) / len(values)]

    @staticmethod
    def check(function, values):
        """No value is below the answer."""
        assert all(function(values) <= value for value in values)

    @law
    @given(vectors())
    @hard_cases(hard)
    def test_holds(self, values):
        """No witness is better than the minimum."""
        self.check(suite_min, values)

    def test_not_vacuous(self):
        """It is the least value, also when that comes last."""
        assert suite_min([F(3), F(2), F(1)]) == 1


class Test_suiteMin_mem(Law):
    """The minimum of a suite is one of its values."""

    not_applicable = {"test_needs_its_hypothesis": NO_HYPOTHESIS}
    hard = [(suite,) for suite in SUITES]
    mutants = [lambda values: min(values) - 1, lambda values: 0, lambda values: sum(values)]

    @staticmethod
    def check(function, values):
        """The answer is in the suite."""
        assert function(values) in values

    @law
    @given(vectors())
    @hard_cases(hard)
    def test_holds(self, values):
        """The minimum was achieved by a witness."""
        self.check(suite_min, values)

    def test_not_vacuous(self):
        """The only value of a suite of one is its minimum; an empty suite has none."""
        assert suite_min([F(4)]) == 4
        with pytest.raises(ShapeError):
            suite_min([])


class Test_suiteMin_mono(Law):
    """A larger suite has no larger minimum."""

    hard = [(suite[:1], suite) for suite in SUITES]
    mutants = [lambda values: values[-1], lambda values: max(values), lambda values: F(len(values))]

    @staticmethod
    def check(function, values, larger):
        """Adding witnesses does not raise the answer."""
        assert function(larger) <= function(values)

    @law
    @given(vectors(), vectors())
    @hard_cases(hard)
    def test_holds(self, values, more):
        """No witness that is added raises the minimum, wherever it stands."""
        self.check(suite_min, values, more + values)
        self.check(suite_min, values, values + more)

    def test_not_vacuous(self):
        """A better witness lowers the minimum, a worse one leaves it."""
        assert suite_min([F(3), F(2)]) < suite_min([F(3)]) == suite_min([F(3), F(4)])

    def test_needs_its_hypothesis(self):
        """A suite that lost its best witness has a larger minimum."""
        assert suite_min([F(3), F(4)]) > suite_min([F(3), F(2)])
