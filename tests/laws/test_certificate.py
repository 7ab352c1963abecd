"""Laws of ``Proofs/Certificate.lean``: certificates of a matrix, of a lower bound, and of a chain's numbers."""

from __future__ import annotations

from fractions import Fraction as F

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peelverify.bounds.certificate import dual_check, matrix_check
from peelverify.bounds.propagation import chain_bound
from peelverify.errors import DomainError, ShapeError

from .checking import Law, hard_cases, law, reaches
from .oracle import root_upper
from .strategies import HUGE, TINY, ULP, matrices, rationals, sizes, steps, vectors


def square(x):
    """Oracle: the sum of squares."""
    return sum((a**2 for a in x), F(0))


def inner(x, y):
    """Oracle: the inner product."""
    return sum((a * b for a, b in zip(x, y, strict=True)), F(0))


def image(a, x):
    """Oracle: the matrix times the vector."""
    return [inner(row, x) for row in a]


DIAGONAL = [[F(3), F(0)], [F(0), F(4)]]
SHEAR = [[F(1), F(1)], [F(0), F(1)]]
MATRICES = [
    (DIAGONAL, [[F(0), F(0)]], F(4), F(2), F(8), [F(0), F(2)]),
    (DIAGONAL, [[F(0), F(0)]], F(4), F(2), 8 - ULP, [F(0), F(2)]),
    (DIAGONAL, [[F(0), F(0)]], F(3), F(2), F(6), [F(0), F(2)]),
    (SHEAR, [[F(1), F(-1, 2)]], F(17, 10), F(1), F(17, 10), [F(3, 5), F(4, 5)]),
    (SHEAR, [[F(1), F(-1, 2)]], F(17, 10), F(1), F(15, 10), [F(3, 5), F(4, 5)]),
]


class Test_matrixCheck_sound(Law):
    """A certificate that passes bounds the output for every input within the radius."""

    hard = list(MATRICES)
    mutants = [
        lambda entries, factor, bound, radius, output: True,
        lambda entries, factor, bound, radius, output: bound * radius <= output,
        lambda entries, factor, bound, radius, output: matrix_check(entries, factor, bound, 0, output),
        lambda entries, factor, bound, radius, output: matrix_check(entries, factor, bound, radius, 2 * output),
    ]

    @staticmethod
    def check(function, entries, factor, bound, radius, output, x):
        """If the answer is yes and the input is within the radius, the output is within the bound."""
        if function(entries, factor, bound, radius, output) and square(x) <= radius**2:
            assert square(image(entries, x)) <= output**2

    @law
    @given(
        matrices(2, 2, rationals(-2, 2)),
        matrices(1, 2, rationals(-2, 2)),
        rationals(0, 4),
        vectors(2, 2, rationals()),
        rationals(0),
    )
    def test_holds(self, entries, factor, bound, x, slack):
        """Yes is right, whatever is claimed."""
        radius = root_upper(square(x))
        self.check(matrix_check, entries, factor, bound, radius, bound * radius + slack, x)
        self.check(matrix_check, entries, factor, bound, radius, slack, x)

    def test_hard_cases(self):
        """The hard cases hold as well."""
        for case in self.hard:
            self.check(matrix_check, *case)

    def test_not_vacuous(self):
        """The longest stretched input reaches the bound, and no smaller one is accepted."""
        assert matrix_check(DIAGONAL, [], F(4), F(2), F(8))
        assert not matrix_check(DIAGONAL, [], F(4), F(2), 8 - ULP)
        reaches("matrixCheck_sound", square(image(DIAGONAL, [F(0), F(2)])), F(8) ** 2, 1)

    def test_needs_its_hypothesis(self):
        """An input beyond the radius is not bounded; negative numbers are refused."""
        assert square(image(DIAGONAL, [F(0), 2 + ULP])) > F(8) ** 2
        for wrong in ((F(-4), F(2), F(8)), (F(4), F(-2), F(8)), (F(4), F(2), F(-8))):
            with pytest.raises(DomainError):
                matrix_check(DIAGONAL, [], *wrong)


def cross(z):
    """A vector orthogonal to both features of three samples."""
    (a, b, c), (d, e, f) = zip(*z, strict=True)
    return [b * f - c * e, c * d - a * f, a * e - b * d]


Z = [[F(1), F(0)], [F(1), F(1)], [F(0), F(1)]]
DUALS = [
    (Z, [F(3), F(0), F(0)], [F(1), F(-1), F(1)], F(3), [F(2), F(-1)]),
    (Z, [F(3), F(0), F(0)], [F(1), F(-1), F(1)], F(3) + ULP, [F(2), F(-1)]),
    (Z, [F(3), F(0), F(0)], [F(1), F(0), F(0)], F(9), [F(2), F(-1)]),
    (Z, [F(3), F(0), F(0)], [F(0), F(0), F(0)], F(9), [F(2), F(-1)]),
    (Z, [F(3), F(0), F(0)], [TINY, -TINY, TINY], F(3), [F(2), F(-1)]),
]


class Test_dualCheck_sound(Law):
    """A dual certificate that passes bounds every loss from below."""

    hard = list(DUALS)
    mutants = [
        lambda z, t, y, lower: True,
        lambda z, t, y, lower: lower * square(y) <= inner(y, t) ** 2,
        lambda z, t, y, lower: not any(image(list(zip(*z, strict=True)), y)),
        lambda z, t, y, lower: dual_check(z, t, y, lower - ULP),
    ]

    @staticmethod
    def check(function, z, t, y, lower, w):
        """If the answer is yes, the loss of the weights is at least the bound."""
        if function(z, t, y, lower):
            assert lower <= square([a - b for a, b in zip(t, image(z, w), strict=True)])

    @law
    @given(
        matrices(3, 2, rationals(-4, 4)),
        vectors(3, 3, rationals()),
        vectors(2, 2, rationals()),
        sizes(),
        vectors(3, 3, rationals(-1, 1)),
    )
    def test_holds(self, z, t, w, lower, y):
        """Yes is right, whatever is claimed; the best bound of the only dual direction passes."""
        self.check(dual_check, z, t, y, lower, w)
        dual = cross(z)
        self.check(dual_check, z, t, dual, lower, w)
        if any(dual):
            best = inner(dual, t) ** 2 / square(dual)
            assert dual_check(z, t, dual, best)
            self.check(dual_check, z, t, dual, best, w)

    def test_hard_cases(self):
        """The hard cases hold as well."""
        for case in self.hard:
            self.check(dual_check, *case)

    def test_not_vacuous(self):
        """The optimum itself is certified, and nothing above it."""
        z, t, y, lower, w = DUALS[0]
        assert dual_check(z, t, y, lower)
        assert not dual_check(z, t, y, lower + TINY)
        reaches("dualCheck_sound", lower, square([a - b for a, b in zip(t, image(z, w), strict=True)]), 1)

    def test_needs_its_hypothesis(self):
        """A vector that is orthogonal only nearly, or zero, proves nothing; lengths must fit."""
        z, t, y, lower, _ = DUALS[0]
        assert not dual_check(z, t, [y[0] + TINY, *y[1:]], lower)
        assert not dual_check(z, t, [F(0)] * 3, F(0))
        with pytest.raises(ShapeError):
            dual_check(z, t, y[:2], lower)


def recorded(e0, chain, slacks):
    """The chain column of a certificate: gain times the entry before plus the introduced error, and a slack."""
    column = [e0]
    for (gain, delta), slack in zip(chain, slacks, strict=True):
        column.append(gain * column[-1] + delta + slack)
    return column


@st.composite
def certificates(draw):
    """A start, blocks, and the slack of each entry of the chain column."""
    e0, chain = draw(sizes()), draw(steps())
    return e0, chain, [draw(sizes()) for _ in chain]


class Test_chainBound_le_of_check(Law):
    """The chain column of a certificate that passes is at least the chain bound of its numbers."""

    hard = [
        ((F(1), [(F(1, 2), F(1, 4)), (F(2), F(1, 3))], [F(0), F(0)]),),
        ((F(1), [(F(2), F(1)), (F(3), F(1))], [TINY, F(0)]),),
        ((F(0), [], []),),
        ((HUGE, [(TINY, TINY)], [F(0)]),),
    ]
    mutants = [
        lambda e0, chain: chain_bound(e0, chain) + TINY * TINY / 2,
        lambda e0, chain: chain_bound(e0 + 1, chain),
        lambda e0, chain: chain_bound(e0, [*chain, (1, 1)]),
    ]

    @staticmethod
    def check(function, case):
        """The answer is at most the last entry of the column."""
        e0, chain, slacks = case
        assert function(e0, chain) <= recorded(e0, chain, slacks)[-1]

    @law
    @given(certificates())
    @hard_cases(hard)
    def test_holds(self, case):
        """Rounding up on the way never brings the column below the bound."""
        self.check(chain_bound, case)

    def test_not_vacuous(self):
        """Without slack the column ends in the bound."""
        e0, chain, slacks = self.hard[0][0]
        reaches("chainBound_le_of_check", chain_bound(e0, chain), recorded(e0, chain, slacks)[-1], 1)

    def test_needs_its_hypothesis(self):
        """One entry below what the check demands ends below the bound."""
        chain = [(F(2), F(1)), (F(3), F(1))]
        assert recorded(F(1), chain, [-TINY, F(0)])[-1] < chain_bound(F(1), chain)
