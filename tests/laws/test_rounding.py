"""Laws of ``Proofs/Rounding.lean``: sums and products in floating point, exact products, enclosures.

A calculation is played twice: as a tree whose every rounding errs by a drawn part of what it may, and with numpy
floats. Longer than 500 lines because every theorem has its four tests in one place.
"""

from __future__ import annotations

from fractions import Fraction as F
from itertools import pairwise

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peelverify.bounds.rounding import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    Format,
    dot_error_upper,
    gamma,
    growth,
    in_format,
    mat_mul_error_upper,
    nonneg_sum_lower,
    nonneg_sum_upper,
    product_is_exact,
)
from peelverify.bounds.vector import dot
from peelverify.errors import DomainError, ShapeError

from .checking import EQUALITY, NO_HYPOTHESIS, Law, hard_cases, law, reaches
from .strategies import HUGE, TINY, ULP, matrices, numbers, portions, rationals, signed_portions, sizes, vectors

UNITS = st.sampled_from([F(1, 2**53), F(1, 2**24), F(1, 2**8), F(1, 4), F(0)])
U = F(1, 2**8)


def rounded(value, part, unit, eta=F(0)):
    """The value moved by a part, in [-1, 1], of what one rounding may add."""
    return value + part * (unit * abs(value) + eta)


class Tree:
    """A calculation that was carried out: computed and exact value, and what its bound is made of."""

    def __init__(self, value, exact, size, eta, depth):
        self.value, self.exact, self.size, self.eta, self.depth = value, exact, size, eta, depth

    @classmethod
    def leaf(cls, x):
        """A number that is known exactly."""
        return cls(x, x, abs(x), F(0), 0)

    def rounded(self, part, unit, eta=F(0)):
        """The same, rounded once more."""
        value = rounded(self.value, part, unit, eta)
        return Tree(value, self.exact, self.size, self.eta + eta, self.depth + 1)

    def __add__(self, other):
        """An addition that is not rounded yet."""
        return Tree(
            self.value + other.value,
            self.exact + other.exact,
            self.size + other.size,
            self.eta + other.eta,
            max(self.depth, other.depth),
        )


@st.composite
def trees(draw, unit, leaves=4):
    """A calculation of any shape, with roundings anywhere."""
    if leaves == 1 or draw(st.booleans()):
        tree = Tree.leaf(draw(numbers()))
    else:
        left = draw(st.integers(1, leaves - 1))
        tree = draw(trees(unit, left)) + draw(trees(unit, leaves - left))
    for _ in range(draw(st.integers(0, 2))):
        tree = tree.rounded(draw(signed_portions()), unit, draw(st.sampled_from([F(0), TINY, F(1, 100)])))
    return tree


def computation(unit):
    """A unit with a calculation in it."""
    return st.tuples(st.just(unit), trees(unit))


def ladder(depth, unit=U):
    """One number, rounded up again and again."""
    tree = Tree.leaf(F(1))
    for _ in range(depth):
        tree = tree.rounded(F(1), unit)
    return unit, tree


class Test_computes_error(Law):
    """A calculation errs by at most the growth over its depth."""

    hard = [
        (ladder(5),),
        (ladder(0),),
        (ladder(1, F(1, 4)),),
        ((U, Tree.leaf(F(1)).rounded(F(0), U, F(1)).rounded(F(1), U)),),
        ((U, Tree.leaf(F(0)).rounded(F(1), U, F(1)).rounded(F(1), U, F(1)).rounded(F(1), U)),),
        ((U, (Tree.leaf(HUGE) + Tree.leaf(-HUGE)).rounded(F(1), U, TINY)),),
    ]
    mutants = [
        lambda unit, depth: growth(unit, max(depth - 1, 0)),
        lambda unit, depth: depth * unit,
        lambda unit, depth: growth(unit, depth) - ULP,
        lambda unit, depth: min(growth(unit, depth), unit),
    ]

    @staticmethod
    def check(function, case):
        """The error is at most the answer times the leaves, plus the underflow terms that have grown."""
        unit, tree = case
        answer = function(unit, tree.depth)
        assert abs(tree.value - tree.exact) <= answer * tree.size + (answer + 1) * tree.eta

    @law
    @given(UNITS.flatmap(computation))
    @hard_cases(hard)
    def test_holds(self, case):
        """No calculation of any shape errs more, whichever way it rounds."""
        self.check(growth, case)

    def test_not_vacuous(self):
        """One number that is always rounded up reaches it."""
        for unit, tree in (ladder(1), ladder(5), ladder(40)):
            reaches("computes_error", tree.value - tree.exact, growth(unit, tree.depth), 1)

    def test_needs_its_hypothesis(self):
        """A rounding that errs more than the unit breaks it; a negative unit is refused."""
        tree = Tree.leaf(F(1)).rounded(1 + ULP, U)
        assert tree.value - tree.exact > growth(U, 1)
        with pytest.raises(DomainError):
            growth(-U, 1)


@st.composite
def sums(draw):
    """Numbers, an order, a unit, and how each addition rounds."""
    x = draw(vectors(1, 6))
    order = draw(st.permutations(range(len(x))))
    parts = draw(st.lists(signed_portions(), min_size=len(x), max_size=len(x)))
    return x, order, draw(UNITS), parts


def summed(x, order, unit, parts):
    """The sum from left to right in an order, each addition rounded."""
    total = x[order[0]]
    for i, part in zip(order[1:], parts, strict=False):
        total = rounded(total + x[i], part, unit)
    return total


class Test_sum_error(Law):
    """A sum of n numbers errs by at most the growth over n - 1 roundings."""

    hard = [
        (([F(1), F(0), F(0), F(0)], (0, 1, 2, 3), U, [F(1)] * 4),),
        (([HUGE, -HUGE, TINY], (2, 0, 1), U, [F(-1), F(1), F(1)]),),
        (([F(7)], (0,), U, [F(1)]),),
    ]
    mutants = [
        lambda unit, depth: growth(unit, max(depth - 1, 0)),
        lambda unit, depth: depth * unit,
        lambda unit, depth: 0,
    ]

    @staticmethod
    def check(function, case):
        """The error is at most the answer times the sum of absolute values."""
        x, _, unit, _ = case
        assert abs(summed(*case) - sum(x)) <= function(unit, len(x) - 1) * sum(abs(a) for a in x)

    @law
    @given(sums())
    @hard_cases(hard)
    def test_holds(self, case):
        """No order and no rounding makes a sum worse."""
        self.check(growth, case)

    @law
    @given(st.lists(st.floats(-1e4, 1e4, width=16), min_size=1, max_size=20), st.randoms(use_true_random=False))
    def test_holds_for_numpy(self, x, random):
        """float16 and float32 sums, one addition at a time in any order, stay within it."""
        for kind, unit in ((np.float32, F(1, 2**24)), (np.float16, F(1, 2**11))):
            random.shuffle(x)
            total = kind(x[0])
            with np.errstate(over="ignore", invalid="ignore"):
                for a in x[1:]:
                    total = kind(total + kind(a))
            if np.isfinite(total):
                bound = growth(unit, len(x) - 1) * sum(F(abs(a)) for a in x)
                assert abs(F(float(total)) - sum(map(F, x))) <= bound

    def test_not_vacuous(self):
        """Adding zeros that all round up reaches it; float16 that swallows every term reaches 0.4."""
        x = [F(1)] + [F(0)] * 9
        observed = summed(x, range(10), U, [F(1)] * 10) - 1
        reaches("sum_error", observed, growth(U, 9) * 1, 1)
        total, small = np.float16(1), np.float16(2.0**-11)
        for _ in range(100):
            total = np.float16(total + small)
        exact = 1 + 100 * F(float(small))
        reaches("sum_error", exact - F(float(total)), growth(F(1, 2**11), 100) * exact, F(4, 10))

    def test_needs_its_hypothesis(self):
        """With leaves that are rounded as well, n - 1 roundings are too few."""
        x = [rounded(F(1), F(1), U), F(0)]
        assert summed(x, (0, 1), U, [F(1)]) - 1 > growth(U, 1)


class Test_growth_succ(Law):
    """One more rounding."""

    not_applicable = {"test_not_vacuous": EQUALITY, "test_needs_its_hypothesis": NO_HYPOTHESIS}
    hard = [(U, 0), (F(1, 2), 3), (F(0), 5)]
    mutants = [lambda unit, depth: depth * unit, lambda unit, depth: (1 + unit) ** depth, lambda unit, depth: 1]

    @staticmethod
    def check(function, unit, depth):
        """The recursion that avoids cancellation holds."""
        assert function(unit, depth + 1) == (1 + unit) * function(unit, depth) + unit

    @law
    @given(sizes(), st.integers(0, 8))
    @hard_cases(hard)
    def test_holds(self, unit, depth):
        """The recursion holds for every unit."""
        self.check(growth, unit, depth)


class Test_growth_zero(Law):
    """No rounding, no error."""

    not_applicable = {"test_not_vacuous": EQUALITY, "test_needs_its_hypothesis": NO_HYPOTHESIS}
    hard = [(U,), (F(0),)]
    mutants = [lambda unit, depth: unit, lambda unit, depth: 1]

    @staticmethod
    def check(function, unit):
        """The answer for depth zero is zero."""
        assert function(unit, 0) == 0

    @law
    @given(sizes())
    @hard_cases(hard)
    def test_holds(self, unit):
        """Whatever the unit, no rounding has no error."""
        self.check(growth, unit)


class Test_growth_nonneg(Law):
    """The growth is not negative."""

    hard = [(U, 3), (F(0), 3), (TINY, 0)]
    mutants = [lambda unit, depth: -growth(unit, depth), lambda unit, depth: growth(unit, depth) - unit - TINY]

    @staticmethod
    def check(function, unit, depth):
        """The answer is at least zero."""
        assert function(unit, depth) >= 0

    @law
    @given(sizes(), st.integers(0, 8))
    @hard_cases(hard)
    def test_holds(self, unit, depth):
        """No admissible unit gives a negative bound."""
        self.check(growth, unit, depth)

    def test_not_vacuous(self):
        """It is zero for exact arithmetic and positive otherwise."""
        assert growth(F(0), 9) == 0 < growth(TINY, 1)

    def test_needs_its_hypothesis(self):
        """A negative unit would give a negative number, and is refused."""
        assert (1 - U) ** 2 - 1 < 0
        with pytest.raises(DomainError):
            growth(-U, 2)


class Test_growth_mono(Law):
    """More roundings, a larger bound."""

    hard = [(U, 1, 2), (F(0), 1, 5), (F(1, 2), 0, 3)]
    mutants = [
        lambda unit, depth: -growth(unit, depth),
        lambda unit, depth: unit / (1 + depth),
        lambda unit, depth: 3 - depth,
    ]

    @staticmethod
    def check(function, unit, fewer, more):
        """The answer for more roundings is at least that for fewer."""
        assert function(unit, fewer) <= function(unit, more)

    @law
    @given(sizes(), st.integers(0, 6), st.integers(0, 6))
    @hard_cases([(unit, m, n - m) for unit, m, n in hard])
    def test_holds(self, unit, depth, extra):
        """Depth never lowers the bound."""
        self.check(growth, unit, depth, depth + extra)

    def test_not_vacuous(self):
        """With a positive unit each rounding raises it."""
        assert growth(TINY, 1) < growth(TINY, 2)

    def test_needs_its_hypothesis(self):
        """With a negative unit it would fall, and it is refused; so is a depth that is no whole number."""
        assert (1 - U) ** 2 < (1 - U) ** 1
        for unit, depth in ((-U, 1), (U, -1), (U, F(1))):
            with pytest.raises(DomainError):
                growth(unit, depth)


class Test_growth_le_gamma(Law):
    """The closed form n u / (1 - n u) is at least the growth."""

    hard = [(U, 1), (U, 100), (F(1, 2**53), 4096), (F(1, 4), 3), (F(0), 7)]
    mutants = [
        lambda unit, n: n * unit,
        lambda unit, n: n * unit / (1 + n * unit),
        lambda unit, n: gamma(unit, n) * F(9, 10),
        lambda unit, n: gamma(unit, max(n - 1, 0)),
    ]

    @staticmethod
    def check(function, unit, n):
        """The growth is at most the answer."""
        assert growth(unit, n) <= function(unit, n)

    @law
    @given(portions(), st.integers(1, 200))
    @hard_cases([(n * unit, n) for unit, n in hard])
    def test_holds(self, product, n):
        """As long as n u is below one, the closed form is at least the growth."""
        if product < 1:
            self.check(gamma, product / n, n)

    def test_not_vacuous(self):
        """In float64 with 4096 terms both agree to 1e-12."""
        unit = F(1, 2**53)
        reaches("growth_le_gamma", growth(unit, 4096), gamma(unit, 4096), 1 - F(1, 10**12))

    def test_needs_its_hypothesis(self):
        """For n u = 1 and above there is no closed form, and the call is refused."""
        for unit in (F(1, 4), F(1, 2)):
            with pytest.raises(DomainError):
                gamma(unit, 4)


@st.composite
def inner_products(draw):
    """Two vectors, a unit, an underflow term, and how each operation rounds."""
    n = draw(st.integers(1, 4))
    parts = draw(st.lists(signed_portions(), min_size=2 * n, max_size=2 * n))
    eta = draw(st.sampled_from([F(0), TINY, F(1, 100)]))
    return draw(vectors(n, n)), draw(vectors(n, n)), draw(UNITS), eta, parts


def multiplied(x, y, unit, eta, parts):
    """The inner product from left to right, each product and each addition rounded."""
    n = len(x)
    products = [rounded(a * b, p, unit, eta) for a, b, p in zip(x, y, parts[:n], strict=True)]
    total = products[0]
    for product, part in zip(products[1:], parts[n:], strict=False):
        total = rounded(total + product, part, unit)
    return total


class Test_dot_error(Law):
    """A computed inner product errs by at most the growth over n roundings, plus the underflow terms."""

    hard = [
        (([F(1), F(0)], [F(1), F(0)], U, F(0), [F(1)] * 4),),
        (([TINY], [TINY], U, F(1), [F(1)]),),
        (([TINY, TINY], [TINY, TINY], U, F(1), [F(1)] * 4),),
        (([F(1)], [F(-1)], U, F(0), [F(1)]),),
        (([HUGE, HUGE], [F(1), F(-1)], U, TINY, [F(1)] * 4),),
    ]
    mutants = [
        lambda x, y, unit, eta: dot_error_upper(x, y, unit, 0),
        lambda x, y, unit, eta: growth(unit, len(x) - 1) * sum(abs(a * b) for a, b in zip(x, y, strict=True)) + eta,
        lambda x, y, unit, eta: growth(unit, len(x)) * abs(dot(x, y)) + 3 * eta,
        lambda x, y, unit, eta: dot_error_upper(x, y, unit, eta) - growth(unit, len(x)) * eta,
    ]

    @staticmethod
    def check(function, case):
        """The error is at most the answer."""
        x, y, unit, eta, parts = case
        exact = sum(a * b for a, b in zip(x, y, strict=True))
        assert abs(multiplied(x, y, unit, eta, parts) - exact) <= function(x, y, unit, eta * len(x))

    @law
    @given(inner_products())
    @hard_cases(hard)
    def test_holds(self, case):
        """No rounding of products and sums makes an inner product worse."""
        self.check(dot_error_upper, case)

    @law
    @given(
        st.lists(
            st.tuples(st.floats(-(2.0**60), 2.0**60, width=32), st.floats(-(2.0**60), 2.0**60, width=32)),
            min_size=1,
            max_size=12,
        )
    )
    def test_holds_for_numpy(self, pairs):
        """float32 inner products stay within it, underflow included, and so does numpy's own order."""
        x, y = (np.array(side, np.float32) for side in zip(*pairs, strict=True))
        total = np.float32(x[0] * y[0])
        for a, b in zip(x[1:], y[1:], strict=True):
            total = np.float32(total + np.float32(a * b))
        exact_x, exact_y = [F(float(a)) for a in x], [F(float(b)) for b in y]
        exact = sum(a * b for a, b in zip(exact_x, exact_y, strict=True))
        bound = dot_error_upper(exact_x, exact_y, F(1, 2**24), len(x) * F(1, 2**150))
        assert abs(F(float(total)) - exact) <= bound
        assert abs(F(float(np.dot(x, y))) - exact) <= bound

    def test_not_vacuous(self):
        """One dominant product that is always rounded up reaches it."""
        x, y = [F(1), F(0), F(0)], [F(1), F(0), F(0)]
        observed = multiplied(x, y, U, F(0), [F(1)] * 6) - 1
        reaches("dot_error", observed, dot_error_upper(x, y, U, 0), 1)

    def test_needs_its_hypothesis(self):
        """A product that underflows without its term breaks it; a negative term is refused."""
        x = [F(1, 2**100)]
        flushed = np.float32(2.0**-100) * np.float32(2.0**-100)
        assert flushed == 0
        assert x[0] * x[0] > dot_error_upper(x, x, F(1, 2**24), 0)
        with pytest.raises(DomainError):
            dot_error_upper(x, x, U, F(-1))
        with pytest.raises(ShapeError):
            dot_error_upper(x, [*x, *x], U, F(0))


@st.composite
def matrix_products(draw):
    """Two matrices, a unit, and one part that every operation uses."""
    m, n, p = (draw(st.integers(1, 2)) for _ in range(3))
    return draw(matrices(m, n)), draw(matrices(n, p)), draw(UNITS), draw(signed_portions())


class Test_matMul_rounding_error(Law):
    """Each entry of a computed product errs by at most the growth times |A| |B|."""

    hard = [
        ([[F(1), F(0)]], [[F(1)], [F(0)]], U, F(1)),
        ([[F(1)], [F(2)]], [[F(3), F(-4)]], U, F(-1)),
        ([[F(2), F(-2)], [F(1), F(1)]], [[F(1), F(1)], [F(1), F(-1)]], F(1, 4), F(1)),
    ]
    mutants = [
        lambda a, b, unit, eta: [[0] * len(b[0]) for _ in a],
        lambda a, b, unit, eta: [[growth(unit, len(b) - 1) * 9] * len(b[0]) for _ in a],
        lambda a, b, unit, eta: [[bound / 2 for bound in row] for row in mat_mul_error_upper(a, b, unit, eta)],
    ]

    @staticmethod
    def check(function, a, b, unit, part):
        """The error of each entry is at most the answer's entry."""
        bounds = function(a, b, unit, 0)
        assert len(bounds) == len(a) and all(len(row) == len(b[0]) for row in bounds)
        for row, bound_row in zip(a, bounds, strict=True):
            for column, bound in zip(zip(*b, strict=True), bound_row, strict=True):
                exact = sum(p * q for p, q in zip(row, column, strict=True))
                computed = multiplied(row, list(column), unit, F(0), [part] * (2 * len(row)))
                assert abs(computed - exact) <= bound

    @law
    @given(matrix_products())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """No entry of a product is worse."""
        self.check(mat_mul_error_upper, *case)

    @law
    @given(matrices(2, 3, rationals()), matrices(3, 2, rationals()))
    def test_holds_for_numpy(self, a, b):
        """numpy's float32 product stays within it, whatever order it takes."""
        left, right = np.array(a, dtype=np.float32), np.array(b, dtype=np.float32)
        exact_left, exact_right = ([[F(float(x)) for x in row] for row in m] for m in (left, right))
        bounds = mat_mul_error_upper(exact_left, exact_right, F(1, 2**24), 3 * F(1, 2**150))
        for i, row in enumerate(left @ right):
            for j, value in enumerate(row):
                exact = sum(exact_left[i][k] * exact_right[k][j] for k in range(3))
                assert abs(F(float(value)) - exact) <= bounds[i][j]

    def test_not_vacuous(self):
        """One dominant product that is always rounded up reaches it."""
        a, b = [[F(1), F(0)]], [[F(1)], [F(0)]]
        observed = multiplied(a[0], [F(1), F(0)], U, F(0), [F(1)] * 4) - 1
        reaches("matMul_rounding_error", observed, mat_mul_error_upper(a, b, U, 0)[0][0], 1)

    def test_needs_its_hypothesis(self):
        """A lower precision than stated breaks it; sizes that do not fit are refused."""
        observed = multiplied([F(1)], [F(1)], 2 * U, F(0), [F(1)] * 2) - 1
        assert observed > mat_mul_error_upper([[F(1)]], [[F(1)]], U, 0)[0][0]
        with pytest.raises(ShapeError):
            mat_mul_error_upper([[F(1)]], [[F(1)], [F(1)]], U, F(0))


FORMATS = [FLOAT16, BFLOAT16, FLOAT32, Format(3, 4, F(1, 8)), Format(1, 0, F(1))]


@st.composite
def members(draw, forms=None):
    """A format and a number in it."""
    form = draw(st.sampled_from(forms or FORMATS))
    m = draw(st.integers(-(2**form.precision) + 1, 2**form.precision - 1))
    return form, m * 2 ** draw(st.integers(0, form.max_shift)) * form.smallest


def largest(form):
    """The largest number of a format."""
    return (2**form.precision - 1) * 2**form.max_shift * form.smallest


class Test_InFormat_mul(Law):
    """The product of two numbers is in the format with the sums of precisions and shifts."""

    hard = [((p, largest(p)), (q, largest(q))) for p in FORMATS for q in (FLOAT16, Format(2, 1, F(1, 2)))] + [
        ((FLOAT16, F(3)), (FLOAT16, F(5)))
    ]
    mutants = [
        lambda x, form: False,
        lambda x, form: in_format(x, Format(form.precision - 1, form.max_shift, form.smallest)),
        lambda x, form: in_format(x, Format(form.precision, max(form.max_shift - 1, 0), form.smallest)),
        lambda x, form: in_format(x, Format(form.precision, form.max_shift, 3 * form.smallest)),
    ]

    @staticmethod
    def check(function, left, right):
        """The product is in the wide format."""
        (p, x), (q, y) = left, right
        wide = Format(p.precision + q.precision, p.max_shift + q.max_shift, p.smallest * q.smallest)
        assert function(x * y, wide)

    @law
    @given(members(), members())
    @hard_cases(hard)
    def test_holds(self, left, right):
        """Members are members, and their products are in the wide format."""
        assert in_format(left[1], left[0])
        self.check(in_format, left, right)

    def test_not_vacuous(self):
        """The product of the largest numbers of two formats needs all the bits."""
        p = q = Format(3, 0, F(1))
        assert in_format(F(49), Format(6, 0, F(1)))
        assert not in_format(largest(p) * largest(q), Format(5, 0, F(1)))

    def test_needs_its_hypothesis(self):
        """Numbers outside their formats have products outside the wide one."""
        p = Format(2, 0, F(1))
        assert not in_format(F(5), p)
        assert not in_format(F(25), Format(4, 0, F(1)))
        with pytest.raises(DomainError):
            in_format(F(1), Format(0, 1, F(1)))


class Test_InFormat_widen(Law):
    """A wider format holds all numbers of a narrower one."""

    hard = [
        ((Format(2, 1, F(1)), F(6)), 0, 0, 0),
        ((Format(2, 1, F(1)), F(6)), 1, 2, 1),
        ((FLOAT16, largest(FLOAT16)), 42, 1050, 966),
        ((FLOAT32, FLOAT32.smallest), 29, 925, 867),
    ]
    mutants = [
        lambda x, form: False,
        lambda x, form: in_format(x, Format(form.precision, 0, form.smallest)),
        lambda x, form: in_format(x, Format(max(form.precision - 1, 1), form.max_shift, form.smallest)),
    ]

    @staticmethod
    def check(function, member, bits, finer, room):
        """The number is in the format with more bits, a smaller unit and enough range."""
        form, x = member
        shift = form.max_shift + finer + room
        assert function(x, Format(form.precision + bits, shift, form.smallest / 2**finer))

    @law
    @given(members(), st.integers(0, 8), st.integers(0, 8), st.integers(0, 8))
    @hard_cases(hard)
    def test_holds(self, member, bits, finer, room):
        """Every member stays a member of each wider format."""
        self.check(in_format, member, bits, finer, room)

    def test_not_vacuous(self):
        """Every float16, bfloat16 and float32 is a float64; a float64 between two float16 is no float16."""
        for form in (FLOAT16, BFLOAT16, FLOAT32):
            assert in_format(largest(form), FLOAT64) and in_format(form.smallest, FLOAT64)
        assert not in_format(1 + 2.0**-11, FLOAT16) and in_format(1 + 2.0**-10, FLOAT16)

    def test_needs_its_hypothesis(self):
        """With fewer bits, a coarser unit or less range, numbers are lost."""
        form, x = Format(3, 2, F(1, 2)), F(7, 2) * 4
        assert in_format(x, form)
        for narrow in (Format(2, 2, F(1, 2)), Format(3, 1, F(1, 2))):
            assert not in_format(x, narrow)
        assert not in_format(F(1, 2), Format(3, 2, F(1)))


class Test_mul_exact_of_formats(Law):
    """Where the check says yes, no product is rounded."""

    hard = [
        (p, q, r)
        for p in (Format(2, 1, F(1)), Format(3, 0, F(1, 2)))
        for q in (Format(2, 1, F(1)), Format(1, 2, F(1)))
        for r in (
            Format(8, 8, F(1, 4)),
            Format(4, 8, F(1)),
            Format(3, 8, F(1)),
            Format(5, 1, F(1, 2)),
            Format(9, 0, F(1, 2)),
            Format(9, 9, F(1, 3)),
            Format(9, 9, F(2)),
            Format(4, 1, F(1)),
        )
    ]
    mutants = [
        lambda p, q, r: True,
        lambda p, q, r: product_is_exact(p, q, Format(r.precision + 2, r.max_shift, r.smallest)),
        lambda p, q, r: product_is_exact(p, q, Format(r.precision, r.max_shift + 3, r.smallest)),
        lambda p, q, r: p.precision + q.precision <= r.precision,
    ]

    @staticmethod
    def check(function, p, q, r):
        """If the answer is yes, every product of two numbers is in the target, also the largest."""
        if function(p, q, r):
            for x in every_number(p):
                assert all(in_format(x * y, r) for y in every_number(q))

    @law
    @given(st.sampled_from(hard))
    def test_holds(self, formats):
        """Yes is right about all numbers of small formats."""
        self.check(product_is_exact, *formats)

    def test_not_vacuous(self):
        """The smallest sufficient target is accepted, and one bit or one power less is not."""
        p = Format(2, 1, F(1))
        assert product_is_exact(p, p, Format(4, 2, F(1)))
        for target in (Format(3, 2, F(1)), Format(4, 1, F(1)), Format(4, 2, F(2))):
            assert not product_is_exact(p, p, target)

    def test_needs_its_hypothesis(self):
        """With one bit less a product is rounded: the largest squared."""
        p = Format(3, 0, F(1))
        assert not product_is_exact(p, p, Format(5, 9, F(1)))
        assert not in_format(largest(p) ** 2, Format(5, 9, F(1)))


def every_number(form):
    """All numbers of a small format that are not negative."""
    return [m * 2**k * form.smallest for m in range(2**form.precision) for k in range(form.max_shift + 1)]


class NarrowProducts(Law):
    """Products of a narrow float format are exact in float64."""

    form: Format
    kind: type
    bits: type

    mutants = [
        lambda form: product_is_exact(form, form, FLOAT32),
        lambda form: product_is_exact(form, Format(53, 2045, F(1, 2**1074)), FLOAT64),
        lambda form: product_is_exact(form, form, Format(2 * form.precision - 1, 2045, F(1, 2**1074))),
    ]

    def compare(self, left, right):
        """The float64 product of two numbers, given by their bits, is the exact one."""
        x, y = (float(np.array([b], self.bits).view(self.kind)[0]) for b in (left, right))
        if np.isfinite(x) and np.isfinite(y):
            assert in_format(x, self.form) and in_format(y, self.form)
            assert F(x * y) == F(x) * F(y)
            assert in_format(F(x) * F(y), FLOAT64)

    @staticmethod
    def check(function, form):
        """The answer is yes."""
        assert function(form)

    def test_not_vacuous(self):
        """The largest number squared needs almost twice the bits, and the smallest squared is no float32."""
        square = largest(self.form) ** 2
        assert not in_format(square, Format(2 * self.form.precision - 2, 4000, self.form.smallest**2))
        assert in_format(square, FLOAT64)

    def test_needs_its_hypothesis(self):
        """Products of float64 numbers are rounded in float64."""
        x = 1 + 2.0**-52
        assert not product_is_exact(FLOAT64, FLOAT64, FLOAT64)
        assert F(x * x) != F(x) ** 2


class Test_float32_mul_exact(NarrowProducts):
    """Products of float32 numbers are exact in float64."""

    form, kind, bits = FLOAT32, np.float32, np.uint32
    hard = [(FLOAT32,)]

    @law
    @given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
    @hard_cases([(1, 1), (0x7F7FFFFF, 0x7F7FFFFF), (1, 0x7F7FFFFF), (0x007FFFFF, 0x80000001)])
    def test_holds(self, left, right):
        """No two float32 numbers have a product that float64 rounds."""
        assert product_is_exact(FLOAT32, FLOAT32, FLOAT64)
        self.compare(left, right)


class Test_bfloat16_mul_exact(NarrowProducts):
    """Products of bfloat16 numbers are exact in float64."""

    form, kind, bits = BFLOAT16, ml_dtypes.bfloat16, np.uint16
    hard = [(BFLOAT16,)]
    mutants = [NarrowProducts.mutants[1], NarrowProducts.mutants[2]]

    @law
    @given(st.integers(0, 2**16 - 1), st.integers(0, 2**16 - 1))
    @hard_cases([(1, 1), (0x7F7F, 0x7F7F), (1, 0x7F7F), (0x8001, 0x007F)])
    def test_holds(self, left, right):
        """No two bfloat16 numbers have a product that float64 rounds."""
        assert product_is_exact(BFLOAT16, BFLOAT16, FLOAT64)
        self.compare(left, right)


class Test_float16_mul_exact(NarrowProducts):
    """Products of float16 numbers are exact in float64."""

    form, kind, bits = FLOAT16, np.float16, np.uint16
    hard = [(FLOAT16,)]
    mutants = [NarrowProducts.mutants[1], NarrowProducts.mutants[2]]

    @law
    @given(st.integers(0, 2**16 - 1), st.integers(0, 2**16 - 1))
    @hard_cases([(1, 1), (0x7BFF, 0x7BFF), (1, 0x7BFF), (0x8001, 0x03FF)])
    def test_holds(self, left, right):
        """No two float16 numbers have a product that float64 rounds."""
        assert product_is_exact(FLOAT16, FLOAT16, FLOAT64)
        self.compare(left, right)


@st.composite
def nonnegative_sums(draw):
    """An exact sum, a relative and an absolute error, and the part of them that occurs."""
    return draw(sizes()), draw(portions()) * F(15, 16), draw(sizes()), draw(signed_portions())


class Test_nonneg_enclosure(Law):
    """A sum of terms that are not negative lies between the ends computed from its rounded value."""

    hard = [
        (F(1), U, F(0), F(1)),
        (F(1), U, F(0), F(-1)),
        (F(0), F(1, 2), F(1), F(1)),
        (F(3), F(1, 2), F(1), F(-1)),
        (HUGE, F(15, 16), TINY, F(-1)),
    ]
    mutants = [
        lambda computed, relative, underflow: (computed, computed),
        lambda computed, relative, underflow: (
            (computed - underflow) * (1 - relative),
            (computed + underflow) * (1 + relative),
        ),
        lambda computed, relative, underflow: (computed / (1 + relative), computed / (1 - relative)),
        lambda computed, relative, underflow: (nonneg_sum_lower(computed, relative, underflow), computed),
    ]

    @staticmethod
    def check(function, exact, relative, underflow, part):
        """The exact sum lies between the two ends."""
        computed = exact + part * (relative * exact + underflow)
        if computed >= 0:
            lower, upper = function(computed, relative, underflow)
            assert lower <= exact <= upper

    @staticmethod
    def ends(computed, relative, underflow):
        """Both ends."""
        return (
            nonneg_sum_lower(computed, relative, underflow),
            nonneg_sum_upper(computed, relative, underflow),
        )

    @law
    @given(nonnegative_sums())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """No rounding within the stated errors leaves the interval."""
        self.check(self.ends, *case)

    def test_not_vacuous(self):
        """Both ends are reached, by the largest errors up and down."""
        for part, end in ((F(-1), 1), (F(1), 0)):
            computed = 5 + part * (U * 5 + F(1, 7))
            assert self.ends(computed, U, F(1, 7))[end] == 5
        reaches("nonneg_enclosure", 5, self.ends(5 - (U * 5 + F(1, 7)), U, F(1, 7))[1], 1)

    def test_needs_its_hypothesis(self):
        """A larger error than stated leaves the interval; a relative error of one is refused."""
        computed = 5 * (1 - U) - ULP
        assert nonneg_sum_upper(computed, U, F(0)) < 5
        with pytest.raises(DomainError):
            nonneg_sum_upper(F(1), F(1), F(0))


@st.composite
def parts_of_a_sum(draw):
    """Partial sums, a relative and an absolute error, and how far each partial sum is off."""
    part = draw(vectors(1, 5, sizes()))
    wrong = draw(st.lists(signed_portions(), min_size=len(part), max_size=len(part)))
    return part, draw(portions()) * F(15, 16), draw(sizes()), wrong


class Test_partial_sums_error(Law):
    """Partial sums with their own errors add up to a sum with the same relative error."""

    hard = [
        ([F(1), F(2), F(3)], U, F(1), [F(-1)] * 3),
        ([F(0)] * 4, F(0), F(1, 3), [F(1)] * 4),
        ([HUGE, TINY], F(1, 2), F(0), [F(-1), F(1)]),
    ]
    mutants = [
        lambda computed, relative, underflow, k: nonneg_sum_upper(computed, relative, underflow),
        lambda computed, relative, underflow, k: nonneg_sum_upper(computed, relative / k, underflow * k),
        lambda computed, relative, underflow, k: computed,
    ]

    @staticmethod
    def check(function, part, relative, underflow, wrong):
        """The exact sum is at most the end from the exact sum of the computed parts."""
        computed = sum(p + w * (relative * p + underflow) for p, w in zip(part, wrong, strict=True))
        if computed >= 0:
            assert sum(part) <= function(computed, relative, underflow, len(part))

    @staticmethod
    def upper(computed, relative, underflow, k):
        """The upper end, with the absolute errors of all k parts."""
        return nonneg_sum_upper(computed, relative, k * underflow)

    @law
    @given(parts_of_a_sum())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """However each part is off within its error, the sum is enclosed."""
        self.check(self.upper, *case)

    def test_not_vacuous(self):
        """Parts that are all as low as they may be reach it."""
        part = [F(1), F(2), F(3)]
        computed = sum(p - (U * p + F(1, 7)) for p in part)
        reaches("partial_sums_error", sum(part), self.upper(computed, U, F(1, 7), 3), 1)

    def test_needs_its_hypothesis(self):
        """One part with a larger relative error breaks it."""
        computed = F(1) * (1 - 2 * U) + F(2) * (1 - U)
        assert self.upper(computed, U, F(0), 2) < 3


def test_formats_are_those_of_numpy():
    """The largest and smallest numbers of the formats are those that numpy and ml_dtypes report."""
    for form, kind, info in (
        (FLOAT64, np.float64, np.finfo(np.float64)),
        (FLOAT32, np.float32, np.finfo(np.float32)),
        (FLOAT16, np.float16, np.finfo(np.float16)),
        (BFLOAT16, ml_dtypes.bfloat16, ml_dtypes.finfo(ml_dtypes.bfloat16)),
    ):
        assert largest(form) == F(float(info.max))
        assert form.smallest == F(float(info.smallest_subnormal))
        assert F(float(info.eps)) == F(1, 2 ** (form.precision - 1))
        steps = [F(float(kind(1 + k * float(info.eps)))) for k in range(3)]
        assert all(b - a == F(float(info.eps)) for a, b in pairwise(steps))
