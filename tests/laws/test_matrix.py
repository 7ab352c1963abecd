"""Laws of ``Proofs/Matrix.lean``: Frobenius and operator norms, Schur, Gram iteration, certificates.

Longer than 500 lines because every theorem has its four tests in one place.
"""

from __future__ import annotations

from fractions import Fraction as F
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peelverify.bounds.matrix import (
    diagonally_dominant,
    frob_add_upper,
    frob_le,
    frob_sq,
    frob_sq_mul_upper,
    gram,
    gram_iteration_check,
    mat_mul,
    mul_vec,
    mul_vec_sq_upper,
    op_norm2_add_upper,
    op_norm2_mul_upper,
    residual_upper,
    schur_upper_sq,
    spectral_check,
    spectral_residual,
    transpose,
)
from peelverify.errors import DomainError, ShapeError

from .checking import EQUALITY, NO_HYPOTHESIS, Law, hard_cases, law, reaches
from .oracle import op_norm_sq, root_upper, stretch_sq
from .strategies import HUGE, TINY, ULP, matrices, numbers, rationals, sizes, vectors

SHEAR = [[F(1), F(1)], [F(0), F(1)]]
ONES = [[F(1), F(1)], [F(1), F(1)]]
TURN = [[F(0), F(-1)], [F(1), F(0)]]
DIAGONAL = [[F(3), F(0)], [F(0), F(4)]]
WIDE = [[HUGE, TINY, F(-1)]]
TALL = [[F(1)], [F(-1)], [F(2)]]
ZERO = [[F(0), F(0)], [F(0), F(0)]]
SQUARES = [SHEAR, ONES, TURN, DIAGONAL, ZERO, [[F(-1), F(2)], [F(3), F(-4)]]]


def entries_sq(a):
    """Oracle: the sum of the squares of all entries, in one list."""
    return sum((x**2 for row in a for x in row), F(0))


def image(a, x):
    """Oracle: A x as a sum of columns."""
    total = [F(0)] * len(a)
    for j, factor in enumerate(x):
        total = [t + factor * row[j] for t, row in zip(total, a, strict=True)]
    return total


def square(x):
    """Oracle: the sum of squares of a vector."""
    return sum((b**2 for b in x), F(0))


def plus(a, b):
    """Oracle: the sum of two matrices."""
    return [[x + y for x, y in zip(p, q, strict=True)] for p, q in zip(a, b, strict=True)]


def frob_root(a):
    """A number just above the Frobenius norm."""
    return root_upper(entries_sq(a))


@st.composite
def acting(draw, entries=None):
    """A matrix and a vector that it can be applied to."""
    rows, columns = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return draw(matrices(rows, columns, entries)), draw(vectors(columns, columns, entries))


@st.composite
def chained(draw):
    """Two matrices that can be multiplied, and a vector for the second."""
    m, n, p = (draw(st.integers(1, 3)) for _ in range(3))
    return draw(matrices(m, n)), draw(matrices(n, p)), draw(vectors(p, p))


@st.composite
def added(draw):
    """Two matrices of one shape, and a vector."""
    m, n = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return draw(matrices(m, n)), draw(matrices(m, n)), draw(vectors(n, n))


CHAINED = [
    (SHEAR, TURN, [F(1), F(2)]),
    (ONES, ONES, [F(1), F(1)]),
    (WIDE, TALL, [F(1)]),
    (TALL, WIDE, [F(1), F(0), F(0)]),
    (DIAGONAL, ZERO, [F(1), F(1)]),
]
ADDED = [(SHEAR, TURN, [F(1), F(2)]), (ONES, ONES, [F(1), F(1)]), (DIAGONAL, ZERO, [F(0), F(1)])]


class Test_normSq_mulVec_le(Law):
    """A Frobenius norm bounds how much a matrix lengthens a vector."""

    not_applicable = {"test_needs_its_hypothesis": NO_HYPOTHESIS}
    hard = [(SHEAR, [F(1), F(2)]), (ONES, [F(1), F(1)]), (WIDE, [HUGE, TINY, F(-1)]), (TALL, [F(1)])]
    mutants = [
        lambda a, x: frob_sq(a),
        lambda a, x: mul_vec_sq_upper(a[:1], x) * F(99, 100),
        lambda a, x: max(v * v for row in a for v in row) * square(x),
        lambda a, x: mul_vec_sq_upper(a, x) * (1 - F(1, 10**30)),
    ]

    @staticmethod
    def check(function, a, x):
        """The squared length of the image is at most the answer."""
        assert square(image(a, x)) <= function(a, x)

    @law
    @given(acting())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """No vector is lengthened more; the product agrees with a sum of columns."""
        self.check(mul_vec_sq_upper, *case)
        assert list(mul_vec(*case)) == image(*case)

    def test_not_vacuous(self):
        """Rank one and an aligned vector reach it; a rotation reaches one half."""
        x = [F(1), F(1)]
        reaches("normSq_mulVec_le", square(mul_vec(ONES, x)), mul_vec_sq_upper(ONES, x), 1)
        reaches("normSq_mulVec_le", square(mul_vec(TURN, x)), mul_vec_sq_upper(TURN, x), F(1, 2))


class Test_frobSq_transpose(Law):
    """A matrix and its transpose have one Frobenius norm."""

    not_applicable = {"test_not_vacuous": EQUALITY, "test_needs_its_hypothesis": NO_HYPOTHESIS}
    hard = [(a,) for a in (SHEAR, WIDE, TALL)]
    mutants = [
        lambda a: square(a[0]),
        lambda a: frob_sq(a) * len(a),
        lambda a: sum(abs(x) for row in a[:2] for x in row[:1]),
    ]

    @staticmethod
    def check(function, a):
        """The answer is the same for the transpose, and counts every entry."""
        assert function(a) == function([list(column) for column in zip(*a, strict=True)]) == entries_sq(a)

    @law
    @given(acting())
    @hard_cases([((a, [F(1)] * len(a[0])),) for (a,) in hard])
    def test_holds(self, case):
        """Transposing changes nothing, and twice transposed is the matrix itself."""
        self.check(frob_sq, case[0])
        assert transpose(transpose(case[0])) == tuple(map(tuple, case[0]))


class Test_frobSq_mul_le(Law):
    """The Frobenius norm of a product is at most the product of the Frobenius norms."""

    not_applicable = {"test_needs_its_hypothesis": NO_HYPOTHESIS}
    hard = [case[:2] for case in CHAINED]
    mutants = [
        lambda a, b: frob_sq(a) + frob_sq(b) - 1,
        lambda a, b: frob_sq_mul_upper(a, b) * (1 - F(1, 10**30)),
        lambda a, b: max(square(row) for row in a) * frob_sq(b),
    ]

    @staticmethod
    def check(function, a, b):
        """The squared Frobenius norm of the product, by columns, is at most the answer."""
        assert sum(square(image(a, column)) for column in zip(*b, strict=True)) <= function(a, b)

    @law
    @given(chained())
    @hard_cases([(case,) for case in CHAINED])
    def test_holds(self, case):
        """No product exceeds it, and the product acts like its two factors in turn."""
        a, b, x = case
        self.check(frob_sq_mul_upper, a, b)
        assert image(mat_mul(a, b), x) == image(a, image(b, x))

    def test_not_vacuous(self):
        """Rank-one factors that fit reach it; shears reach two thirds."""
        reaches("frobSq_mul_le", frob_sq(mat_mul(ONES, ONES)), frob_sq_mul_upper(ONES, ONES), 1)
        reaches("frobSq_mul_le", frob_sq(mat_mul(SHEAR, SHEAR)), frob_sq_mul_upper(SHEAR, SHEAR), F(2, 3))


class Test_FrobLe_add(Law):
    """Triangle inequality for Frobenius norms."""

    hard = [case[:2] for case in ADDED]
    mutants = [
        lambda a, b: max(a, b),
        lambda a, b: frob_add_upper(a, b) / 2,
        lambda a, b: root_upper(a * a + b * b),
    ]

    @staticmethod
    def check(function, a, b):
        """The Frobenius norm of the sum is at most the answer."""
        assert entries_sq(plus(a, b)) <= function(frob_root(a), frob_root(b)) ** 2

    @law
    @given(added())
    @hard_cases([(case,) for case in ADDED])
    def test_holds(self, case):
        """Bounds on two Frobenius norms add up to a bound for the sum."""
        self.check(frob_add_upper, *case[:2])

    def test_not_vacuous(self):
        """Equal matrices reach it, and orthogonal ones reach one half of its square."""
        reaches("FrobLe.add", frob_sq(plus(ONES, ONES)), frob_add_upper(F(2), F(2)) ** 2, 1)
        signs = [[F(1), F(-1)], [F(1), F(-1)]]
        reaches("FrobLe.add", frob_sq(plus(ONES, signs)), frob_add_upper(F(2), F(2)) ** 2, F(1, 2))

    def test_needs_its_hypothesis(self):
        """A number below a norm gives an answer below the norm of the sum; a negative one is refused."""
        assert not frob_le(plus(ONES, ONES), frob_add_upper(F(2), 2 - ULP))
        with pytest.raises(DomainError):
            frob_add_upper(F(-2), F(-2))


class Test_OpNorm2Le_of_frob(Law):
    """A bound on the Frobenius norm bounds the operator norm."""

    hard = [(DIAGONAL, F(5), [F(0), F(1)]), (ONES, F(2), [F(1), F(1)]), (ONES, 2 - ULP, [F(1), F(1)])]
    mutants = [
        lambda a, c: True,
        lambda a, c: frob_sq(a) <= 2 * c * c,
        lambda a, c: max(abs(x) for row in a for x in row) <= c,
    ]

    @staticmethod
    def check(function, a, c, x):
        """If the answer is yes, no vector is lengthened by more than c."""
        assert not function(a, c) or square(image(a, x)) <= c * c * square(x)

    @law
    @given(acting(), sizes())
    @hard_cases([((a, x), c) for a, c, x in hard])
    def test_holds(self, case, c):
        """Yes is right about every vector, and the answer is yes from the root of the sum of squares on."""
        a, x = case
        self.check(frob_le, a, c, x)
        assert frob_le(a, frob_root(a))
        assert frob_le(a, c) == (entries_sq(a) <= c**2)

    def test_not_vacuous(self):
        """For rank one the smallest accepted number is the operator norm; a rotation reaches 1/2 squared."""
        assert frob_le(ONES, F(2))
        reaches("OpNorm2Le.of_frob", stretch_sq(ONES), F(2) ** 2, 1)
        reaches("OpNorm2Le.of_frob", stretch_sq(TURN), frob_sq(TURN), F(1, 2))

    def test_needs_its_hypothesis(self):
        """A number below the Frobenius norm is not accepted, and for rank one it is no bound."""
        assert not frob_le(ONES, 2 - ULP)
        assert stretch_sq(ONES) > (2 - ULP) ** 2


class Test_OpNorm2Le_norm2Le_mulVec(Law):
    """An operator norm bound turns a bound on x into one on A x."""

    hard = [(ONES, [F(1), F(1)]), (DIAGONAL, [F(0), F(1)]), (TALL, [F(-3)])]
    mutants = [lambda c, b: max(c, b), lambda c, b: op_norm2_mul_upper(c, b) * F(9, 10), lambda c, b: b]

    @staticmethod
    def check(function, a, x):
        """The length of the image is at most the answer."""
        assert square(image(a, x)) <= function(frob_root(a), root_upper(square(x))) ** 2

    @law
    @given(acting())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """The product of both bounds is a bound for the image."""
        self.check(op_norm2_mul_upper, *case)

    def test_not_vacuous(self):
        """The longest stretched vector reaches it."""
        reaches("OpNorm2Le.norm2Le_mulVec", square(mul_vec(DIAGONAL, [0, F(5)])), op_norm2_mul_upper(4, 5) ** 2, 1)

    def test_needs_its_hypothesis(self):
        """A number below the operator norm does not bound the image; a negative one is refused."""
        assert square(mul_vec(DIAGONAL, [F(0), F(5)])) > op_norm2_mul_upper(F(3), F(5)) ** 2
        with pytest.raises(DomainError):
            op_norm2_mul_upper(F(-4), F(-5))


class Test_OpNorm2Le_add(Law):
    """Operator norm bounds add up to a bound for the sum."""

    hard = list(ADDED)
    mutants = [
        lambda a, b: max(a, b),
        lambda a, b: op_norm2_add_upper(a, b) / 2,
        lambda a, b: root_upper(a * a + b * b),
    ]

    @staticmethod
    def check(function, a, b, x):
        """The sum lengthens the vector by at most the answer."""
        assert square(image(plus(a, b), x)) <= function(frob_root(a), frob_root(b)) ** 2 * square(x)

    @law
    @given(added())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """No vector is lengthened more by the sum."""
        self.check(op_norm2_add_upper, *case)

    def test_not_vacuous(self):
        """Equal matrices reach it."""
        reaches("OpNorm2Le.add", stretch_sq(plus(ONES, ONES)), op_norm2_add_upper(F(2), F(2)) ** 2, 1)

    def test_needs_its_hypothesis(self):
        """With a number below one norm the sum lengthens more; a negative number is refused."""
        assert stretch_sq(plus(ONES, ONES)) > op_norm2_add_upper(F(2), 2 - ULP) ** 2
        with pytest.raises(DomainError):
            op_norm2_add_upper(F(2), F(-1))


class Test_OpNorm2Le_mul(Law):
    """Operator norm bounds multiply to a bound for the product."""

    hard = list(CHAINED)
    mutants = [
        lambda a, b: max(a, b),
        lambda a, b: op_norm2_mul_upper(a, b) * F(9, 10),
        lambda a, b: min(a, b) ** 2 / 2,
    ]

    @staticmethod
    def check(function, a, b, x):
        """The product lengthens the vector by at most the answer."""
        assert square(image(a, image(b, x))) <= function(frob_root(a), frob_root(b)) ** 2 * square(x)

    @law
    @given(chained())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """No vector is lengthened more by the product."""
        self.check(op_norm2_mul_upper, *case)

    def test_not_vacuous(self):
        """Factors whose longest directions meet reach it."""
        reaches("OpNorm2Le.mul", stretch_sq(mat_mul(ONES, ONES)), op_norm2_mul_upper(F(2), F(2)) ** 2, 1)

    def test_needs_its_hypothesis(self):
        """With a number below one norm the product lengthens more."""
        assert stretch_sq(mat_mul(ONES, ONES)) > op_norm2_mul_upper(F(2), 2 - ULP) ** 2


class Test_OpNorm2Le_one_add(Law):
    """A residual block lengthens no vector by more than 1 + a."""

    hard = [(ONES, [F(1), F(1)]), (ZERO, [F(1), F(0)]), (TURN, [F(1), F(0)])]
    mutants = [lambda a: a, lambda a: max(a, 1), lambda a: residual_upper(a) * F(4, 5)]

    @staticmethod
    def check(function, a, x):
        """The residual block lengthens the vector by at most the answer."""
        total = [p + q for p, q in zip(x, image(a, x), strict=True)]
        assert square(total) <= function(frob_root(a)) ** 2 * square(x)

    @law
    @given(matrices(2, 2), vectors(2, 2))
    @hard_cases(hard)
    def test_holds(self, a, x):
        """No vector is lengthened more by x + A x."""
        self.check(residual_upper, a, x)

    def test_not_vacuous(self):
        """A block that points along its input reaches it."""
        reaches("OpNorm2Le.one_add", stretch_sq(plus(ONES, [[1, 0], [0, 1]])), residual_upper(F(2)) ** 2, 1)

    def test_needs_its_hypothesis(self):
        """With a number below the norm of A the block lengthens more; a negative number is refused."""
        assert stretch_sq(plus(ONES, [[1, 0], [0, 1]])) > residual_upper(2 - ULP) ** 2
        with pytest.raises(DomainError):
            residual_upper(F(-1))


class Test_opNorm2Le_of_schur(Law):
    """Schur test."""

    not_applicable = {"test_needs_its_hypothesis": "the function computes both sums itself"}
    hard = [(a,) for a in [*SQUARES, TALL, WIDE]]
    mutants = [
        lambda a: max(sum(abs(x) for x in row) for row in a),
        lambda a: max(sum(row) for row in a) * max(sum(column) for column in zip(*a, strict=True)),
        lambda a: schur_upper_sq(a) * F(99, 100),
        lambda a: max(abs(x) for row in a for x in row) ** 2,
    ]

    @staticmethod
    def check(function, a):
        """No whole-number vector is lengthened more than the answer allows."""
        assert stretch_sq(a) <= function(a)

    @law
    @given(acting(numbers()))
    @hard_cases([((a, [F(1)] * len(a[0])),) for (a,) in hard])
    def test_holds(self, case):
        """No vector is lengthened more."""
        a, x = case
        assert square(image(a, x)) <= schur_upper_sq(a) * square(x)
        self.check(schur_upper_sq, a)

    def test_not_vacuous(self):
        """Entries of one size reach it, a rotation too; a shear reaches 0.65 of it."""
        for a in (ONES, TURN):
            reaches("opNorm2Le_of_schur", stretch_sq(a), schur_upper_sq(a), 1)
        reaches("opNorm2Le_of_schur", op_norm_sq(SHEAR), schur_upper_sq(SHEAR), F(65, 100))


def gram_bounds(a, steps):
    """The smallest chain of bounds that the check can accept, from the last one back."""
    iterate = a
    for _ in range(steps):
        iterate = gram(iterate)
    bounds = [frob_root(iterate)]
    for _ in range(steps):
        bounds.insert(0, root_upper(bounds[0]))
    return bounds


def lowered(bounds, k):
    """The bounds from the k-th on, each a tenth smaller."""
    return [*bounds[:k], *(F(9, 10) * b for b in bounds[k:])]


class Test_opNorm2Le_of_gram(Law):
    """One step of Gram iteration."""

    hard = [(a, [root_upper(g), g]) for a in SQUARES for g in (frob_root(gram(a)), frob_root(a))]
    mutants = [
        lambda a, bounds: True,
        lambda a, bounds: frob_le(a, 2 * bounds[0]),
        lambda a, bounds: frob_le(gram(a), bounds[1] ** 2),
    ]

    @staticmethod
    def check(function, a, bounds):
        """If the answer is yes, no vector is lengthened by more than the first bound."""
        assert not function(a, bounds) or stretch_sq(a) <= bounds[0] ** 2

    @law
    @given(matrices(2, 2, rationals()), sizes(), sizes())
    @hard_cases([(a, *bounds) for a, bounds in hard])
    def test_holds(self, a, c, g):
        """Yes is right, whatever is claimed; the smallest honest claim is accepted."""
        self.check(gram_iteration_check, a, [c, g])
        assert gram_iteration_check(a, gram_bounds(a, 1))

    def test_not_vacuous(self):
        """One step reaches 0.98 of the squared norm of a shear, of which the Frobenius norm reaches 0.88."""
        c = gram_bounds(SHEAR, 1)[0]
        reaches("opNorm2Le_of_gram", op_norm_sq(SHEAR), c**2, F(98, 100))
        assert op_norm_sq(SHEAR) < F(88, 100) * frob_sq(SHEAR)

    def test_needs_its_hypothesis(self):
        """A second bound above the square of the first, or below the Gram norm, is not accepted."""
        assert not gram_iteration_check(SHEAR, [F(1), F(14, 5)])
        assert not gram_iteration_check(SHEAR, [F(17, 10), F(1)])
        assert stretch_sq(SHEAR) > 1


class Test_opNorm2Le_of_gram_chain(Law):
    """Gram iteration of several steps."""

    hard = [(a, lowered(gram_bounds(a, 3), k)) for a in SQUARES for k in range(4)]
    hard.append((SHEAR, [F(1, 2), F(1, 4), F(1, 16)]))
    mutants = [
        lambda a, bounds: True,
        lambda a, bounds: frob_le(gram(gram(gram(a))), bounds[-1] * 10),
        lambda a, bounds: all(q <= p * p for p, q in pairwise(bounds)),
    ]

    @staticmethod
    def check(function, a, bounds):
        """If the answer is yes, the operator norm is at most the first bound."""
        assert not function(a, bounds) or op_norm_sq(a) <= bounds[0] ** 2 * (1 + F(1, 10**30))

    @law
    @given(matrices(2, 2, rationals()), st.integers(0, 3))
    @hard_cases([(a, 3) for a in SQUARES])
    def test_holds(self, a, steps):
        """The smallest honest chain is accepted and right, at every length."""
        bounds = gram_bounds(a, steps)
        assert gram_iteration_check(a, bounds)
        self.check(gram_iteration_check, a, bounds)
        self.check(gram_iteration_check, a, [b * F(9, 10) for b in bounds])

    def test_not_vacuous(self):
        """Three steps reach 0.999 of the squared norm of a shear and 2^(-1/8) of that of a rotation."""
        reaches("opNorm2Le_of_gram_chain", op_norm_sq(SHEAR), gram_bounds(SHEAR, 3)[0] ** 2, F(999, 1000))
        reaches("opNorm2Le_of_gram_chain", 1, gram_bounds(TURN, 3)[0] ** 2, F(91, 100))

    def test_needs_its_hypothesis(self):
        """A chain that is broken at any place is not accepted, nor an empty one, nor a negative bound."""
        bounds = gram_bounds(SHEAR, 3)
        for k in range(4):
            assert not gram_iteration_check(SHEAR, [*bounds[:k], bounds[k] / 2, *bounds[k + 1 :]])
        with pytest.raises(ShapeError):
            gram_iteration_check(SHEAR, [])
        with pytest.raises(DomainError):
            gram_iteration_check(SHEAR, [F(-2), F(3)])


class Test_opNorm2Le_of_gramCheck(Test_opNorm2Le_of_gram_chain):
    """Bounds that pass the check prove the first one, for matrices of any shape."""

    @law
    @given(acting(rationals()), st.integers(0, 2), st.booleans())
    @hard_cases([((a, [F(1), F(1)]), 3, lower) for a in SQUARES for lower in (False, True)])
    def test_holds(self, case, steps, lower):
        """Honest bounds pass, and whatever passes is right about the vector that was drawn."""
        a, x = case
        bounds = gram_bounds(a, steps)
        assert gram_iteration_check(a, bounds)
        if lower:
            bounds = [b * F(9, 10) for b in bounds]
        if gram_iteration_check(a, bounds):
            assert square(image(a, x)) <= bounds[0] ** 2 * square(x)

    def test_not_vacuous(self):
        """For rank one the Frobenius norm, and no smaller number, passes without any step."""
        assert gram_iteration_check(ONES, [F(2)])
        assert not gram_iteration_check(ONES, [2 - ULP])
        reaches("opNorm2Le_of_gramCheck", stretch_sq(ONES), F(2) ** 2, 1)


SYMMETRIC = [
    [[F(2), F(-1)], [F(-1), F(1)]],
    [[F(1), F(1)], [F(1), F(1)]],
    [[F(1), F(-1) - ULP], [F(-1) - ULP, F(1)]],
    [[F(-1), F(0)], [F(0), F(-1)]],
    [[F(1), F(2)], [F(2), F(5)]],
]


class Test_dot_mulVec_nonneg_of_diagonallyDominant(Law):
    """A symmetric diagonally dominant matrix has no negative form."""

    hard = [(d,) for d in SYMMETRIC]
    mutants = [
        lambda d: True,
        lambda d: all(sum(abs(x) for x in row) <= 2 * abs(row[i]) for i, row in enumerate(d)),
        lambda d: all(sum(row) <= 2 * row[i] for i, row in enumerate(d)),
        lambda d: all(sum(abs(x) for x in row) <= (2 + 4 * ULP) * row[i] for i, row in enumerate(d)),
    ]

    @staticmethod
    def check(function, d):
        """If the answer is yes, no leading or diagonal minor is negative."""
        if function(d):
            assert all(row[i] >= 0 for i, row in enumerate(d))
            assert d[0][0] * d[1][1] - d[0][1] * d[1][0] >= 0

    @law
    @given(numbers(), numbers(), numbers(), vectors(2, 2))
    @hard_cases([(d[0][0], d[0][1], d[1][1], [F(1), F(-1)]) for d in SYMMETRIC])
    def test_holds(self, p, q, r, x):
        """Yes is right about the minors and about every vector."""
        d = [[p, q], [q, r]]
        self.check(diagonally_dominant, d)
        form = sum(a * b for a, b in zip(x, image(d, x), strict=True))
        assert not diagonally_dominant(d) or form >= 0

    def test_not_vacuous(self):
        """A form that vanishes somewhere is accepted, so nothing smaller could be."""
        assert diagonally_dominant(SYMMETRIC[1])
        assert image(SYMMETRIC[1], [F(1), F(-1)]) == [0, 0]

    def test_needs_its_hypothesis(self):
        """Without symmetry a matrix with dominant rows can have a negative form; other shapes are refused."""
        skew = [[F(1), F(1)], [F(-8), F(8)]]
        x = [F(4), F(1)]
        assert diagonally_dominant(skew)
        assert sum(a * b for a, b in zip(x, image(skew, x), strict=True)) < 0
        with pytest.raises(ShapeError):
            diagonally_dominant([[F(1), F(0)]])


CERTIFICATES = [
    (SHEAR, [[F(1), F(-1, 2)]], F(17, 10)),
    (DIAGONAL, [], F(4)),
    (DIAGONAL, [], 4 - ULP),
    (ONES, [[F(1), F(-1)]], F(3, 2)),
    (ONES, [[F(1), F(-1)]], F(2)),
    (TURN, [], F(1)),
    (SHEAR, [[F(2), F(2)]], F(1)),
]


class Test_opNorm2Le_of_spectralCheck(Law):
    """A certificate that passes bounds the operator norm."""

    hard = list(CERTIFICATES)
    mutants = [
        lambda a, factor, c: True,
        lambda a, factor, c: diagonally_dominant(spectral_residual(a, [], 2 * c)),
        lambda a, factor, c: spectral_check(transpose(a), [], c + ULP),
        lambda a, factor, c: diagonally_dominant(plus(spectral_residual(a, [], c), gram(factor or [[0, 0]]))),
    ]

    @staticmethod
    def check(function, a, factor, c):
        """If the answer is yes, no vector is lengthened by more than c."""
        assert not function(a, factor, c) or stretch_sq(a) <= c * c

    @law
    @given(matrices(2, 2, rationals(-2, 2)), matrices(1, 2, rationals(-2, 2)), rationals(0, 4))
    @hard_cases([case for case in CERTIFICATES if case[1]])
    def test_holds(self, a, factor, c):
        """Yes is right, whatever is claimed."""
        self.check(spectral_check, a, factor, c)
        self.check(spectral_check, a, [], c)

    def test_not_vacuous(self):
        """A factor with rounded entries certifies a shear to 0.998 of its squared norm."""
        c = F(1619, 1000)  # just above the golden ratio; the Gram matrix is [[1, 1], [1, 2]]
        corner = F(1272, 1000)
        factor = [[corner, -1 / corner]]
        assert spectral_check(SHEAR, factor, c)
        reaches("opNorm2Le_of_spectralCheck", op_norm_sq(SHEAR), c**2, F(998, 1000))

    def test_needs_its_hypothesis(self):
        """Below the norm no factor is accepted, a negative claim is refused, and shapes must fit."""
        assert not any(spectral_check(DIAGONAL, [[F(p), F(q)]], 4 - ULP) for p in range(5) for q in range(5))
        with pytest.raises(DomainError):
            spectral_check(DIAGONAL, [], F(-4))
        with pytest.raises(ShapeError):
            spectral_check(DIAGONAL, [[F(1)]], F(4))


class Test_opNorm2Le_of_spectral_certificate(Law):
    """The decomposition c^2 I - A^T A = L^T L + D with dominant D bounds the operator norm."""

    hard = [case for case in CERTIFICATES if case[1]]
    mutants = [
        lambda a, factor, c: spectral_residual(a, [], c),
        lambda a, factor, c: spectral_residual(transpose(a), factor, c),
        lambda a, factor, c: spectral_residual(a, factor, c * c),
    ]

    @staticmethod
    def check(function, a, factor, c):
        """D completes the decomposition, seen through the squared lengths of three images."""
        d = function(a, factor, c)
        for x in ([F(1), F(0)], [F(0), F(1)], [F(1), F(1)]):
            form = sum(p * q for p, q in zip(x, image(d, x), strict=True))
            assert c * c * square(x) == square(image(a, x)) + square(image(factor, x)) + form
        assert d[0][1] == d[1][0]

    @law
    @given(matrices(2, 2), matrices(2, 2), numbers().map(abs))
    @hard_cases(hard)
    def test_holds(self, a, factor, c):
        """The residual is what the decomposition leaves, and the check is its dominance."""
        self.check(spectral_residual, a, factor, c)
        assert spectral_check(a, factor, c) == diagonally_dominant(spectral_residual(a, factor, c))

    def test_not_vacuous(self):
        """For a diagonal matrix the largest entry is certified exactly."""
        assert spectral_check(DIAGONAL, [], F(4))
        reaches("opNorm2Le_of_spectral_certificate", stretch_sq(DIAGONAL), F(4) ** 2, 1)

    def test_needs_its_hypothesis(self):
        """A residual with a negative diagonal entry is not dominant, even if its rows are."""
        assert spectral_residual([[F(2)]], [], F(1)) == ((-3,),)
        assert not spectral_check([[F(2)]], [], F(1))
