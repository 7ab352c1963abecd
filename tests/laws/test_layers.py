"""Laws of ``Proofs/Layers.lean``: layers with many outputs, and what bounds every weight matrix from below."""

from __future__ import annotations

from fractions import Fraction as F

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from peelverify.bounds.layers import (
    bounded_layer_lower_sq,
    convexity_check,
    convexity_residual,
    frob_dot,
    layer_normal_equation_residual,
    layer_residual,
)
from peelverify.bounds.matrix import diagonally_dominant, frob_sq, gram
from peelverify.bounds.peeling import approximate_optimum_lower
from peelverify.errors import DomainError, ShapeError

from .checking import EQUALITY, NO_HYPOTHESIS, Law, hard_cases, law, reaches
from .oracle import root_upper
from .strategies import HUGE, TINY, ULP, matrices, rationals
from .test_peeling import smallest_stretch

SHORT = rationals(-3, 3)


def columns(a):
    """Oracle: the columns."""
    return [list(column) for column in zip(*a, strict=True)]


def inner(x, y):
    """Oracle: the inner product."""
    return sum((a * b for a, b in zip(x, y, strict=True)), F(0))


def entries_sq(a):
    """Oracle: the sum of the squares of all entries."""
    return sum((x**2 for row in a for x in row), F(0))


def times(a, b):
    """Oracle: the product of two matrices."""
    return [[inner(row, column) for column in columns(b)] for row in a]


def minus(a, b):
    """Oracle: the difference of two matrices."""
    return [[x - y for x, y in zip(p, q, strict=True)] for p, q in zip(a, b, strict=True)]


def loss(z, t, w):
    """Oracle: the squared residual of a layer."""
    return entries_sq(minus(t, times(z, w)))


def solve(z, t):
    """The least-squares matrix for two independent features, by Cramer's rule; None if they are dependent."""
    p, q = columns(z)
    a, b, d = inner(p, p), inner(p, q), inner(q, q)
    determinant = a * d - b * b
    if determinant == 0:
        return None
    right = [(inner(p, target), inner(q, target)) for target in columns(t)]
    return [
        [(d * x - b * y) / determinant for x, y in right],
        [(a * y - b * x) / determinant for x, y in right],
    ]


def crossed(z):
    """A dual column: orthogonal to two features of three samples."""
    (a, b, c), (d, e, f) = columns(z)
    return [b * f - c * e, c * d - a * f, a * e - b * d]


def dual(z, t):
    """The best dual matrix for two features of three samples: each target's part along the crossed vector."""
    y = crossed(z)
    return [[y_i * inner(y, target) for target in columns(t)] for y_i in y]


@st.composite
def problems(draw):
    """Three samples, two features, two outputs, and any weights."""
    return draw(matrices(3, 2, SHORT)), draw(matrices(3, 2, SHORT)), draw(matrices(2, 2, SHORT))


TALL = [[F(1), F(0)], [F(0), F(2)], [F(1), F(0)]]
SLANTED = [[F(1), F(1)], [F(1), F(2)], [F(1), F(4)]]
TARGETS = [[F(1), F(0)], [F(2), F(2)], [F(3), F(4)]]
PROBLEMS = [
    (TALL, TARGETS, [[F(0), F(0)], [F(0), F(0)]]),
    (SLANTED, TARGETS, [[F(1), F(-1)], [F(2), F(1, 2)]]),
    (TALL, [[F(0), TINY], [F(1), F(0)], [F(0), HUGE]], [[F(7), F(0)], [F(-1), F(3)]]),
]


class Test_frobDot_sq_le(Law):
    """Cauchy-Schwarz for matrices."""

    not_applicable = {"test_needs_its_hypothesis": NO_HYPOTHESIS}
    hard = [(TALL, TARGETS), (TARGETS, TARGETS), (SLANTED, TALL)]
    mutants = [
        lambda a, b: frob_dot(a, b) * 2,
        lambda a, b: frob_sq(a) + frob_sq(b),
        lambda a, b: frob_dot(a, b) + 1,
    ]

    @staticmethod
    def check(function, a, b):
        """The square of the answer is at most the product of the squared norms, and the order is free."""
        answer = function(a, b)
        assert answer == function(b, a) == sum(inner(p, q) for p, q in zip(columns(a), columns(b), strict=True))
        assert answer**2 <= entries_sq(a) * entries_sq(b)

    @law
    @given(matrices(3, 2), matrices(3, 2))
    @hard_cases(hard)
    def test_holds(self, a, b):
        """No two matrices break it."""
        self.check(frob_dot, a, b)

    def test_not_vacuous(self):
        """Multiples of one matrix reach it; other shapes are refused."""
        double = [[2 * x for x in row] for row in TARGETS]
        reaches("frobDot_sq_le", frob_dot(TARGETS, double) ** 2, frob_sq(TARGETS) * frob_sq(double), 1)
        with pytest.raises(ShapeError):
            frob_dot(TARGETS, TALL[:2])


class Test_frobSq_eq_sum_columns(Law):
    """The squared Frobenius norm is the sum over the columns."""

    not_applicable = {"test_not_vacuous": EQUALITY, "test_needs_its_hypothesis": NO_HYPOTHESIS}
    hard = [(TALL,), (SLANTED,), (TARGETS,)]
    mutants = [
        lambda a: sum((inner(row, row) for row in a[1:]), F(0)),
        lambda a: frob_sq(a) * 2,
        lambda a: sum((abs(x) for row in a for x in row), F(0)),
    ]

    @staticmethod
    def check(function, a):
        """The answer is the sum of the squared columns."""
        assert function(a) == sum((inner(column, column) for column in columns(a)), F(0))

    @law
    @given(matrices(3, 2))
    @hard_cases(hard)
    def test_holds(self, a):
        """Every matrix."""
        self.check(frob_sq, a)


class Test_layer_least_squares_gap(Law):
    """Other weights leave more, by exactly the squared difference of the outputs."""

    not_applicable = {"test_not_vacuous": EQUALITY}
    hard = list(PROBLEMS)
    mutants = [
        lambda z, t, w: t,
        lambda z, t, w: layer_residual(z, t, [[2 * x for x in row] for row in w]),
        lambda z, t, w: minus(t, times(z, columns(w))),
    ]

    @staticmethod
    def check(function, z, t, w):
        """The two squared residuals differ by the squared difference of the outputs."""
        best = solve(z, t)
        gap = entries_sq(times(z, minus(w, best)))
        assert entries_sq(function(z, t, w)) == entries_sq(minus(t, times(z, best))) + gap

    @law
    @given(problems())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """Every problem with independent features."""
        assume(solve(*case[:2]) is not None)
        self.check(layer_residual, *case)

    def test_needs_its_hypothesis(self):
        """Around weights that do not solve the normal equations the gap is another."""
        z, t, w = PROBLEMS[1]
        other = [[F(0), F(0)], [F(0), F(0)]]
        assert loss(z, t, w) != loss(z, t, other) + entries_sq(times(z, minus(w, other)))


class Test_layer_normal_equations_optimal(Law):
    """Weights with a zero residual of the normal equations are the best."""

    hard = list(PROBLEMS)
    mutants = [
        lambda z, t, w: [[F(0)] * len(t[0]) for _ in z[0]],
        lambda z, t, w: [row[:1] + (F(0),) * (len(row) - 1) for row in layer_normal_equation_residual(z, t, w)],
        lambda z, t, w: layer_normal_equation_residual(z, t, w)[1:],
    ]

    @staticmethod
    def check(function, z, t, w):
        """Zero for the best weights only; what is zero is best."""
        best = solve(z, t)
        assert not any(x for row in function(z, t, best) for x in row)
        if not any(x for row in function(z, t, w) for x in row):
            assert loss(z, t, w) <= loss(z, t, best)
        mixed = [[w[0][0], best[0][1]], [w[1][0], best[1][1]]], [[best[0][0], w[0][1]], [best[1][0], w[1][1]]]
        for weights in mixed:
            if not any(x for row in function(z, t, weights) for x in row):
                assert loss(z, t, weights) <= loss(z, t, best)
        first = [[best[0][0] + 1, best[0][1]], best[1]]
        if inner(columns(z)[0], columns(z)[1]) == 0:
            assert any(x for row in function(z, t, first) for x in row)

    @law
    @given(problems())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """Every problem with independent features."""
        assume(solve(*case[:2]) is not None)
        self.check(layer_normal_equation_residual, *case)

    def test_not_vacuous(self):
        """The best weights leave the part of the targets that no weights can reach."""
        z, t, _ = PROBLEMS[1]
        y = crossed(z)
        unreachable = sum((inner(y, target) ** 2 for target in columns(t)), F(0)) / inner(y, y)
        reaches("layer_normal_equations_optimal", unreachable, loss(z, t, solve(z, t)), 1)

    def test_needs_its_hypothesis(self):
        """Weights that do not solve the equations can be improved; sizes that do not fit are refused."""
        z, t, w = PROBLEMS[1]
        assert any(x for row in layer_normal_equation_residual(z, t, w) for x in row)
        assert loss(z, t, w) > loss(z, t, solve(z, t))
        with pytest.raises(ShapeError):
            layer_normal_equation_residual(z, t, w[:1])


class Test_layer_weak_duality(Law):
    """A dual matrix that is orthogonal to every feature bounds every residual, for weights of any size."""

    hard = [*PROBLEMS, (*PROBLEMS[1][:2], solve(*PROBLEMS[1][:2]))]
    mutants = [
        lambda y, t, radius, eps: 2 * bounded_layer_lower_sq(y, t, radius, eps),
        lambda y, t, radius, eps: entries_sq(t),
        lambda y, t, radius, eps: frob_dot(y, t) ** 2,
    ]

    @staticmethod
    def check(function, z, t, w):
        """With eps = 0 the answer is at most the residual, whatever the radius."""
        y = dual(z, t)
        assert function(y, t, HUGE, F(0)) <= loss(z, t, w)
        best = solve(z, t)
        assert best is None or function(y, t, F(0), F(0)) <= loss(z, t, best)

    @law
    @given(problems())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """No weights leave less."""
        assume(any(x for row in dual(*case[:2]) for x in row))
        self.check(bounded_layer_lower_sq, *case)

    def test_not_vacuous(self):
        """The residual of the best weights, as dual matrix, gives the best residual itself."""
        z, t, _ = PROBLEMS[1]
        best = solve(z, t)
        lower = bounded_layer_lower_sq(layer_residual(z, t, best), t, F(0), F(0))
        reaches("layer_weak_duality", lower, loss(z, t, best), 1)

    def test_needs_its_hypothesis(self):
        """The targets themselves are not orthogonal to the features and bound nothing; zero is refused."""
        z, t, _ = PROBLEMS[0]
        assert bounded_layer_lower_sq(t, t, F(0), F(0)) > loss(z, t, solve(z, t))
        with pytest.raises(DomainError):
            bounded_layer_lower_sq([[F(0)]], [[F(1)]], F(0), F(0))


class Test_layer_weak_duality_of_bounded(Law):
    """A dual matrix that is nearly orthogonal bounds the residual of every bounded weight matrix."""

    hard = [
        (TALL, TARGETS, TARGETS, [[F(1, 8), F(0)], [F(0), F(1, 8)]]),
        (TALL, TARGETS, [[F(-1), F(-1)], [F(0), F(0)], [F(1), F(1)]], [[F(2), F(2)], [F(1), F(1)]]),
        (SLANTED, TARGETS, [[F(1), F(-1)], [F(0), F(0)], [F(1), F(3)]], [[F(1, 9), F(0)], [F(0), F(1, 9)]]),
    ]
    mutants = [
        lambda y, t, radius, eps: bounded_layer_lower_sq(y, t, radius, F(0)),
        lambda y, t, radius, eps: bounded_layer_lower_sq(y, t, radius, eps) * 2,
        lambda y, t, radius, eps: bounded_layer_lower_sq(y, t, radius, eps) + eps * radius,
    ]

    @staticmethod
    def check(function, z, t, y, w):
        """The answer, where there is one, is at most the residual."""
        radius = root_upper(entries_sq(w))
        eps = root_upper(entries_sq(times(columns(z), y)))
        try:
            answer = function(y, t, radius, eps)
        except DomainError:
            return
        assert answer <= loss(z, t, w)

    @law
    @given(problems(), matrices(3, 2, SHORT), rationals(1, 8))
    def test_holds(self, case, noise, small):
        """Any dual matrix, near the best or not, and any weights of the radius."""
        z, t, w = case
        near = [[a + b / 1000 for a, b in zip(p, q, strict=True)] for p, q in zip(dual(z, t), noise, strict=True)]
        for y in (noise, near):
            self.check(bounded_layer_lower_sq, z, t, y, [[x / small for x in row] for row in w])

    def test_hard_cases(self):
        """The hard cases hold as well."""
        for case in self.hard:
            self.check(bounded_layer_lower_sq, *case)

    def test_not_vacuous(self):
        """Weights on the edge of the radius reach it: one feature, one sample."""
        lower = bounded_layer_lower_sq([[F(1)]], [[F(3)]], F(1), F(1))
        reaches("layer_weak_duality_of_bounded", lower, loss([[F(1)]], [[F(3)]], [[F(1)]]), 1)

    def test_needs_its_hypothesis(self):
        """Weights beyond the radius leave less; a dual matrix that says nothing is refused."""
        assert bounded_layer_lower_sq([[F(1)]], [[F(3)]], F(1), F(1)) > loss([[F(1)]], [[F(3)]], [[F(2)]])
        with pytest.raises(DomainError):
            bounded_layer_lower_sq([[F(1)]], [[F(3)]], F(4), F(1))


class Test_layer_weak_duality_of_strong_convexity(Law):
    """A small residual of the normal equations bounds how much better any weight matrix can be."""

    hard = [(z, t, w, solve(z, t)) for z, t, w in PROBLEMS]
    mutants = [
        lambda value, gradient_sq, mu: value,
        lambda value, gradient_sq, mu: value - gradient_sq / (400 * mu),
        lambda value, gradient_sq, mu: value + 1,
    ]

    @staticmethod
    def check(function, z, t, w0, w):
        """The answer is at most the residual of the other weights."""
        gradient_sq = entries_sq(layer_normal_equation_residual(z, t, w0))
        assert function(loss(z, t, w0), gradient_sq, smallest_stretch(z)) <= loss(z, t, w)

    @law
    @given(problems(), matrices(2, 2, SHORT))
    @hard_cases([(case[:3], case[3]) for case in hard])
    def test_holds(self, case, w):
        """No weights leave less."""
        z, t, w0 = case
        assume(solve(z, t) is not None)
        self.check(approximate_optimum_lower, z, t, w0, w)
        self.check(approximate_optimum_lower, z, t, w0, solve(z, t))

    def test_not_vacuous(self):
        """With orthogonal features of one length it is the best residual, from any weights."""
        z, w0 = [[F(1), F(1)], [F(1), F(-1)], [F(0), F(0)]], [[F(7), F(-7)], [F(1), F(0)]]
        gradient_sq = entries_sq(layer_normal_equation_residual(z, TARGETS, w0))
        lower = approximate_optimum_lower(loss(z, TARGETS, w0), gradient_sq, F(2))
        reaches("layer_weak_duality_of_strong_convexity", lower, loss(z, TARGETS, solve(z, TARGETS)), 1)

    def test_needs_its_hypothesis(self):
        """With a mu that is too large the answer exceeds the optimum."""
        z, t, w0 = PROBLEMS[1]
        gradient_sq = entries_sq(layer_normal_equation_residual(z, t, w0))
        assert approximate_optimum_lower(loss(z, t, w0), gradient_sq, F(40)) > loss(z, t, solve(z, t))


STRETCHES = [
    (TALL, [[F(0), F(1)]], F(2)),
    (TALL, [[F(0), F(1)]], F(3)),
    (SLANTED, [[F(1), F(4)]], F(1, 5)),
    (SLANTED, [[F(1), F(4)]], F(2)),
    ([[F(3), F(0)], [F(0), F(4)]], [[F(0), F(0)]], F(9)),
    ([[F(3), F(0)], [F(0), F(4)]], [[F(0), F(0)]], 9 + ULP),
]


def least_stretch(z, mu):
    """Oracle: whether mu |v|^2 <= |Z v|^2 for every v, by the minors of Z^T Z - mu I."""
    (a, b), (_, d) = gram(z)
    return a - mu >= 0 and d - mu >= 0 and (a - mu) * (d - mu) >= b * b


class Test_strong_convexity_of_convexityCheck(Law):
    """A check that passes means that no vector is shortened below the root of mu."""

    hard = list(STRETCHES)
    mutants = [
        lambda z, factor, mu: True,
        lambda z, factor, mu: convexity_check(z, [], mu / 4),
        lambda z, factor, mu: all(row[i] >= 0 for i, row in enumerate(convexity_residual(z, factor, mu))),
    ]

    @staticmethod
    def check(function, z, factor, mu):
        """If the answer is yes, it is so."""
        assert not function(z, factor, mu) or least_stretch(z, mu)

    @law
    @given(matrices(3, 2, rationals(-2, 2)), matrices(1, 2, rationals(-2, 2)), rationals(0, 4))
    @hard_cases(STRETCHES)
    def test_holds(self, z, factor, mu):
        """Yes is right, whatever is claimed."""
        self.check(convexity_check, z, factor, mu)
        self.check(convexity_check, z, [], mu)

    def test_not_vacuous(self):
        """A diagonal matrix is certified to its smallest squared entry."""
        assert convexity_check([[F(3), F(0)], [F(0), F(4)]], [], F(9))
        reaches("strong_convexity_of_convexityCheck", F(9), F(9), 1)

    def test_needs_its_hypothesis(self):
        """Above the least stretch no factor is accepted; a negative claim and other sizes are refused."""
        assert not any(convexity_check(TALL, [[F(p, 4), F(q, 4)]], 2 + ULP) for p in range(9) for q in range(9))
        with pytest.raises(DomainError):
            convexity_check(TALL, [], F(-1))
        with pytest.raises(ShapeError):
            convexity_check(TALL, [[F(1)]], F(1))


class Test_strong_convexity_of_certificate(Law):
    """The decomposition Z^T Z - mu I = L^T L + D with dominant D is what the check looks for."""

    hard = list(STRETCHES)
    mutants = [
        lambda z, factor, mu: True,
        lambda z, factor, mu: diagonally_dominant(gram(z)),
        lambda z, factor, mu: convexity_check(z, [[x / 2 for x in row] for row in factor], mu) or mu <= 3,
    ]

    @staticmethod
    def check(function, z, factor, mu):
        """The answer is whether the rest is dominant, and then no vector is shortened more."""
        (a, b), (_, d) = gram(z)
        p, q = factor[0]
        rest = [[a - mu - p * p, b - p * q], [b - p * q, d - mu - q * q]]
        dominant = abs(rest[0][1]) <= rest[0][0] and abs(rest[1][0]) <= rest[1][1]
        assert function(z, factor, mu) == dominant
        assert not dominant or least_stretch(z, mu)

    @law
    @given(matrices(3, 2, rationals(-2, 2)), matrices(1, 2, rationals(-2, 2)), rationals(0, 4))
    @hard_cases(STRETCHES)
    def test_holds(self, z, factor, mu):
        """Every matrix, every factor."""
        self.check(convexity_check, z, factor, mu)

    def test_not_vacuous(self):
        """The rank-one factor that takes the whole off-diagonal part certifies the exact stretch."""
        z = [[F(1), F(1)], [F(0), F(1)], [F(0), F(1)]]  # Z^T Z = [[1, 1], [1, 3]]; its least eigenvalue is 2 - sqrt 2
        mu = F(585, 1000)
        corner = F(644, 1000)
        assert convexity_check(z, [[corner, 1 / corner]], mu)
        reaches("strong_convexity_of_certificate", mu, F(5858, 10000), F(99, 100))

    def test_needs_its_hypothesis(self):
        """Without dominance the decomposition says nothing: D = -I."""
        z = [[F(0), F(0)], [F(0), F(0)], [F(0), F(0)]]
        assert convexity_residual(z, [], F(1)) == ((-1, 0), (0, -1))
        assert not convexity_check(z, [], F(1))
        assert not least_stretch(z, F(1))
