"""Laws of ``Proofs/Vector.lean``: Cauchy-Schwarz, the triangle inequality, scaling, Hoelder."""

from __future__ import annotations

from fractions import Fraction as F

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peelverify.bounds.vector import (
    dot,
    dot_abs_upper,
    dot_sq_upper,
    dot_upper,
    norm1,
    norm2_le,
    norm2_smul_upper,
    norm2_sum_upper,
    norm_inf,
    norm_sq,
)
from peelverify.errors import DomainError, ShapeError

from .checking import NO_HYPOTHESIS, Law, hard_cases, law, reaches
from .oracle import root_upper
from .strategies import HUGE, TINY, ULP, aligned, numbers, sizes

PAIRS = [
    ([F(3), F(4)], [F(4), F(-3)]),
    ([F(3), F(4)], [F(6), F(8)]),
    ([F(1)], [F(-1)]),
    ([F(0), F(0)], [F(1), F(1)]),
    ([HUGE, TINY], [HUGE, -HUGE]),
    ([1 + ULP, F(1)], [F(1), 1 - ULP]),
]


def inner(x, y):
    """Oracle: the inner product from squares alone, by polarisation."""
    return (sum((a + b) ** 2 for a, b in zip(x, y, strict=True)) - square(x) - square(y)) / 2


def square(x):
    """Oracle: the sum of squares."""
    return sum((a**2 for a in x), F(0))


def is_bounded(x, c):
    """Oracle: the 2-norm of x is at most c."""
    return c >= 0 and square(x) <= c**2


class Test_dot_sq_le_normSq_mul_normSq(Law):
    """Cauchy-Schwarz."""

    not_applicable = {"test_needs_its_hypothesis": NO_HYPOTHESIS}
    hard = list(PAIRS)
    mutants = [
        lambda x, y: dot_sq_upper(x, y) * (1 - F(1, 10**30)),
        lambda x, y: norm_sq(x),
        lambda x, y: dot_sq_upper(x[:1], y[:1]),
        lambda x, y: norm_inf(x) ** 2 * norm_inf(y) ** 2,
    ]

    @staticmethod
    def check(function, x, y):
        """The squared inner product is at most the answer."""
        assert inner(x, y) ** 2 <= function(x, y)

    @law
    @given(aligned(2))
    @hard_cases([(pair,) for pair in hard])
    def test_holds(self, pair):
        """No two vectors break Cauchy-Schwarz, and `dot` and `norm_sq` agree with squares alone."""
        self.check(dot_sq_upper, *pair)
        assert dot(*pair) == inner(*pair)
        assert norm_sq(pair[0]) == square(pair[0])

    def test_not_vacuous(self):
        """Parallel vectors reach it, and vectors at 45 degrees reach one half."""
        x, y = PAIRS[1]
        reaches("dot_sq_le_normSq_mul_normSq", dot(x, y) ** 2, dot_sq_upper(x, y), 1)
        assert 2 * dot([F(1), F(0)], [F(1), F(1)]) ** 2 == dot_sq_upper([F(1), F(0)], [F(1), F(1)])


class Test_dot_le_of_norm2Le(Law):
    """An inner product is at most the product of two norm bounds."""

    hard = list(PAIRS)
    mutants = [
        lambda a, b: dot_upper(a, b) * F(1, 2),
        lambda a, b: dot_upper(a, b) - F(1, 10),
        lambda a, b: min(a, b),
    ]

    @staticmethod
    def check(function, x, y):
        """Both signs of the inner product are at most the answer for bounds on the norms."""
        answer = function(root_upper(square(x)), root_upper(square(y)))
        assert abs(inner(x, y)) <= answer

    @law
    @given(aligned(2))
    @hard_cases([(pair,) for pair in hard])
    def test_holds(self, pair):
        """Bounds on the two norms bound the inner product."""
        self.check(dot_upper, *pair)

    def test_not_vacuous(self):
        """Parallel vectors with exact norms reach it."""
        reaches("dot_le_of_norm2Le", dot([F(3), F(4)], [F(6), F(8)]), dot_upper(F(5), F(10)), 1)

    def test_needs_its_hypothesis(self):
        """Numbers that do not bound the norms do not bound the inner product; negative ones are refused."""
        assert dot([F(3), F(4)], [F(3), F(4)]) > dot_upper(5 - ULP, F(5))
        with pytest.raises(DomainError):
            dot_upper(F(-5), F(-5))


class Test_Norm2Le_add(Law):
    """Triangle inequality for two vectors."""

    hard = list(PAIRS)
    mutants = [
        lambda bounds: max(bounds),
        lambda bounds: norm2_sum_upper(bounds) / 2,
        lambda bounds: root_upper(sum(c * c for c in bounds)),
    ]

    @staticmethod
    def check(function, x, y):
        """The sum of the vectors is bounded by the answer."""
        answer = function([root_upper(square(x)), root_upper(square(y))])
        assert is_bounded([a + b for a, b in zip(x, y, strict=True)], answer)

    @law
    @given(aligned(2))
    @hard_cases([(pair,) for pair in hard])
    def test_holds(self, pair):
        """Bounds on two norms add up to a bound for the sum."""
        self.check(norm2_sum_upper, *pair)

    def test_not_vacuous(self):
        """Parallel vectors reach the bound; orthogonal ones of equal length reach 1/2 of its square."""
        reaches("Norm2Le.add", square([F(9), F(12)]), norm2_sum_upper([F(5), F(10)]) ** 2, 1)
        reaches("Norm2Le.add", square([F(7), F(1)]), norm2_sum_upper([F(5), F(5)]) ** 2, F(1, 2))

    def test_needs_its_hypothesis(self):
        """A number below a norm gives a sum that exceeds the answer; a negative one is refused."""
        assert not norm2_le([F(9), F(12)], norm2_sum_upper([F(5), 10 - ULP]))
        with pytest.raises(DomainError):
            norm2_sum_upper([F(5), F(-1)])


class Test_Norm2Le_sub(Law):
    """Triangle inequality for a difference."""

    hard = list(PAIRS)
    mutants = [
        lambda bounds: abs(bounds[0] - bounds[1]),
        lambda bounds: max(bounds),
        lambda bounds: root_upper(sum(c * c for c in bounds)),
    ]

    @staticmethod
    def check(function, x, y):
        """The difference of the vectors is bounded by the answer."""
        answer = function([root_upper(square(x)), root_upper(square(y))])
        assert is_bounded([a - b for a, b in zip(x, y, strict=True)], answer)

    @law
    @given(aligned(2))
    @hard_cases([(pair,) for pair in hard])
    def test_holds(self, pair):
        """Bounds on two norms add up to a bound for the difference."""
        self.check(norm2_sum_upper, *pair)

    def test_not_vacuous(self):
        """Opposite vectors reach the bound."""
        reaches("Norm2Le.sub", square([F(9), F(12)]), norm2_sum_upper([F(5), F(10)]) ** 2, 1)

    def test_needs_its_hypothesis(self):
        """A number below a norm fails for opposite vectors."""
        assert not norm2_le([F(3) + 6, F(4) + 8], norm2_sum_upper([5 - ULP, F(10)]))


@st.composite
def families(draw):
    """One to four vectors of one length."""
    return draw(aligned(draw(st.integers(1, 4)), max_size=3))


class Test_Norm2Le_sum(Law):
    """Triangle inequality for finitely many vectors."""

    hard = [(pair,) for pair in PAIRS] + [(([F(3), F(4)],) * 5,)]
    mutants = [
        lambda bounds: norm2_sum_upper(bounds[:2]) * F(99, 100),
        lambda bounds: max(bounds),
        lambda bounds: norm2_sum_upper(bounds[1:]) if bounds[1:] else 0,
    ]

    @staticmethod
    def check(function, family):
        """The sum of the family is bounded by the answer."""
        total = [sum(entries, F(0)) for entries in zip(*family, strict=True)]
        assert is_bounded(total, function([root_upper(square(x)) for x in family]))

    @law
    @given(families())
    @hard_cases(hard)
    def test_holds(self, family):
        """Bounds on the norms of a family add up to a bound for its sum."""
        self.check(norm2_sum_upper, family)

    def test_not_vacuous(self):
        """Five equal vectors reach the bound."""
        reaches("Norm2Le.sum", square([F(15), F(20)]), norm2_sum_upper([F(5)] * 5) ** 2, 1)

    def test_needs_its_hypothesis(self):
        """One number below its norm fails for equal vectors; without any bound the call is refused."""
        assert not norm2_le([F(15), F(20)], norm2_sum_upper([F(5)] * 4 + [5 - ULP]))
        with pytest.raises(ShapeError):
            norm2_sum_upper([])


class Test_Norm2Le_smul(Law):
    """Scaling a vector scales its norm bound by the absolute value."""

    hard = [(F(-2), [F(3), F(4)]), (F(0), [HUGE]), (TINY, [HUGE]), (F(-1, 3), [F(1), F(-1)])]
    mutants = [
        lambda a, c: c,
        lambda a, c: a * a * c,
        lambda a, c: a * c,
        lambda a, c: norm2_smul_upper(a, c) * F(999, 1000),
    ]

    @staticmethod
    def check(function, a, x):
        """The multiple is bounded by the answer."""
        assert is_bounded([a * entry for entry in x], function(a, root_upper(square(x))))

    @law
    @given(numbers(), aligned(1))
    @hard_cases([(a, (x,)) for a, x in hard])
    def test_holds(self, a, x):
        """Multiples of either sign are bounded."""
        self.check(norm2_smul_upper, a, *x)

    def test_not_vacuous(self):
        """The exact norm is scaled exactly."""
        reaches("Norm2Le.smul", square([F(-6), F(-8)]), norm2_smul_upper(F(-2), F(5)) ** 2, 1)

    def test_needs_its_hypothesis(self):
        """A number below the norm gives a multiple that exceeds the answer; a negative one is refused."""
        assert not norm2_le([F(6), F(8)], norm2_smul_upper(F(2), 5 - ULP))
        with pytest.raises(DomainError):
            norm2_smul_upper(F(2), F(-5))


class Test_abs_dot_le_norm1_mul_normInf(Law):
    """Hoelder for the 1-norm and the largest entry."""

    not_applicable = {"test_needs_its_hypothesis": NO_HYPOTHESIS}
    hard = [*PAIRS, ([F(1), F(-2)], [F(3), F(-4)]), ([F(1), F(1)], [F(-5), F(-5)])]
    mutants = [
        lambda x, y: norm_inf(x) * norm_inf(y),
        lambda x, y: abs(sum(x)) * norm_inf(y),
        lambda x, y: norm1(x) * max(y),
        lambda x, y: dot_abs_upper(x, y) * (1 - F(1, 10**30)),
    ]

    @staticmethod
    def check(function, x, y):
        """The absolute value of the inner product is at most the answer."""
        assert abs(inner(x, y)) <= function(x, y)

    @law
    @given(aligned(2))
    @hard_cases([(pair,) for pair in hard])
    def test_holds(self, pair):
        """No two vectors break it, in either order; the norms agree with their definitions."""
        x, y = pair
        self.check(dot_abs_upper, x, y)
        self.check(dot_abs_upper, y, x)
        assert norm1(x) == sum(max(a, -a) for a in x)
        assert norm_inf(y) == sorted(max(b, -b) for b in y)[-1]

    def test_not_vacuous(self):
        """It is reached where one vector has entries of one size and the signs of the other."""
        x, y = [F(1), F(-2)], [F(4), F(-4)]
        reaches("abs_dot_le_norm1_mul_normInf", abs(dot(x, y)), dot_abs_upper(x, y), 1)


@law
@given(aligned(1), sizes())
@hard_cases([(([F(3), F(4)],), F(5)), (([F(3), F(4)],), 5 - TINY), (([F(0)],), F(0))])
def test_norm2_le_is_the_definition(x, c):
    """`norm2_le` is true exactly where the largest admissible number is at least the sum of squares."""
    assert norm2_le(*x, c) == (square(*x) <= c**2)
    assert norm2_le(*x, root_upper(square(*x)))
