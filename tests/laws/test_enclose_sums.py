"""Laws of the enclosures of sums: Frobenius norms, errors and inner products of float arrays.

Arrays of floats go in, exact rational arithmetic judges what comes out.
"""

from __future__ import annotations

from fractions import Fraction as F

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peelverify.bounds.rounding import gamma, growth, nonneg_sum_upper
from peelverify.enclose import arrays, compiled, frobenius
from peelverify.enclose.frobenius import (
    UNIT,
    Interval,
    error_sq,
    inner_lower,
    inner_of_differences,
    inner_upper,
    norm_fro_lower,
    norm_fro_upper,
    product_slack,
    root,
    sum_sq,
)
from peelverify.errors import DomainError, NonFiniteError, NumericalError

from .checking import Law, goes_red, hard_cases, law, reaches
from .float_arrays import MODERATE, dot, entries, float32_vectors, matrices, same_length
from .oracle import root_upper
from .strategies import HUGE, TINY, portions, signed_portions, sizes

THIRDS = np.full(4099, 1 / 3)
RAGGED = np.array([1e300, -1e-300, 1.0, 5e-324, 1 / 3])
NOISE = np.random.default_rng(7).standard_normal(3000)
NOISE32 = NOISE.astype(np.float32)


def in_float32(x, y):
    """Sums over blocks as arithmetic of lower precision makes them."""
    return [float(np.dot(x.astype(np.float32), y.astype(np.float32)))]


ROUTINES = [None, *filter(None, [compiled.compiled_squares()])]
"""What sums the squares of float32 arrays: numpy, and the compiled routine where it was built."""


class NormOfFloats(Law):
    """A bound on the Frobenius norm."""

    hard = [(THIRDS,), (RAGGED,), (NOISE,), (np.array([1.5e308] * 4),), (np.array([5e-324] * 3),), (np.zeros(2),),
            (NOISE32,), (np.zeros((0, 3)),)]

    @pytest.mark.parametrize("found", ROUTINES)
    @law
    @given(float32_vectors())
    @hard_cases([(NOISE32,), (THIRDS.astype(np.float32),), (np.full(33, 2.0**-149, np.float32),),
                 (np.full(97, 3e38, np.float32),), (np.array([3e38, 1e-45, 1 / 3], np.float32),)])
    def test_holds_of_float32(self, found, array):
        """At any magnitude and length, whoever sums the squares."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(frobenius, "compiled_squares", lambda: found)
            self.check(self.function, array)

    def test_needs_a_routine_in_float64(self, monkeypatch):
        """A routine that sums in float32 makes a bound wrong; the probe refuses it."""
        monkeypatch.setattr(frobenius, "compiled_squares", lambda: lambda array, block: in_float32(array, array))
        wrong = 0
        for seed in range(8):
            try:
                self.check(self.function, np.random.default_rng(seed).standard_normal(5000, dtype=np.float32))
            except AssertionError:
                wrong += 1
        assert wrong > 0
        assert not compiled.sums_are_right(lambda array, block: in_float32(array, array))

    def test_needs_its_hypothesis(self, monkeypatch):
        """With sums in float32 the stated error is not kept, and a bound is wrong; NaN has no norm."""
        monkeypatch.setattr(frobenius, "_block_sums", in_float32)
        cases = [np.random.default_rng(seed).standard_normal(5000) for seed in range(8)]
        wrong = 0
        for case in cases:
            try:
                self.check(self.function, case)
            except AssertionError:
                wrong += 1
        assert wrong > 0
        with pytest.raises(NonFiniteError, match="got 1 that is NaN or infinite, the first at index 1"):
            self.function(np.array([1.0, np.nan]))


class Test_frobLe_of_computed(NormOfFloats):
    """No Frobenius norm is above the upper bound."""

    function = staticmethod(norm_fro_upper)
    mutants = [
        lambda a: F(float(np.linalg.norm(a))) if 0 < np.abs(a).sum() < 1e9 else norm_fro_upper(a),
        lambda a: norm_fro_lower(a),
        lambda a: norm_fro_upper(a * a.dtype.type(1 - 2.0**-20)),
        lambda a: norm_fro_upper(a) * (1 - F(1, 10**12)),
    ]

    @staticmethod
    def check(function, array):
        """The square of the answer is at least the exact sum of squares."""
        answer = function(array)
        assert answer >= 0
        assert sum(x * x for x in entries(array)) <= answer**2

    @law
    @given(matrices())
    @hard_cases(NormOfFloats.hard)
    def test_holds(self, array):
        """At any magnitude."""
        self.check(norm_fro_upper, array)

    def test_not_vacuous(self):
        """It is within 1e-12 of the norm, from one entry to thousands."""
        for case in (THIRDS, RAGGED, NOISE, np.array([5e-324])):
            truth = sum(x * x for x in entries(case))
            reaches("frobLe_of_computed", truth, norm_fro_upper(case) ** 2, 1 - F(2, 10**12))


class Test_le_frobSq_of_computed(NormOfFloats):
    """No Frobenius norm is below the lower bound."""

    function = staticmethod(norm_fro_lower)
    mutants = [
        lambda a: norm_fro_upper(a),
        lambda a: norm_fro_lower(a) * (1 + F(1, 10**12)),
        lambda a: norm_fro_lower(a) + F(1, 10**12),
    ]

    @staticmethod
    def check(function, array):
        """The square of the answer is at most the exact sum of squares."""
        answer = function(array)
        assert answer >= 0
        assert answer**2 <= sum(x * x for x in entries(array))

    @law
    @given(matrices())
    @hard_cases(NormOfFloats.hard)
    def test_holds(self, array):
        """At any magnitude."""
        self.check(norm_fro_lower, array)

    def test_not_vacuous(self):
        """It is within 1e-12 of the norm."""
        for case in (THIRDS, RAGGED, NOISE, np.array([5e-324])):
            reaches("le_frobSq_of_computed", norm_fro_lower(case) ** 2, sum(x * x for x in entries(case)),
                    1 - F(2, 10**12))


class Test_partial_sums_enclosure(Law):
    """The sum of squares lies between both ends."""

    hard = NormOfFloats.hard
    mutants = [
        lambda a: Interval(sum_sq(a).lo, sum_sq(a).lo),
        lambda a: Interval(sum_sq(a).hi, sum_sq(a).hi),
        lambda a: Interval(sum_sq(a.ravel()[:2048]).lo, sum_sq(a.ravel()[:2048]).hi),
    ]

    @staticmethod
    def check(function, array):
        """Both ends are on their sides; zero only for zeros."""
        found = function(array)
        truth = sum(x * x for x in entries(array))
        assert 0 <= found.lo <= truth <= found.hi
        assert (found.hi == 0) == (truth == 0)

    @law
    @given(matrices())
    @hard_cases(hard)
    def test_holds(self, array):
        """At any magnitude."""
        self.check(sum_sq, array)

    def test_not_vacuous(self):
        """The ends are within 1e-12 of each other."""
        for case in (THIRDS, RAGGED, NOISE):
            reaches("partial_sums_enclosure", sum_sq(case).lo, sum_sq(case).hi, 1 - F(1, 10**12))

    def test_needs_its_hypothesis(self, monkeypatch):
        """Parts whose error is larger than stated leave the interval; such arithmetic is refused by a probe."""
        monkeypatch.setattr(frobenius, "_block_sums", in_float32)
        goes_red(self.check, sum_sq, np.full(100, 1 + 2.0**-20))
        monkeypatch.setattr(arrays, "_probe_product", lambda a, b: (a.astype(np.float32) @ b).astype(np.float64))
        with pytest.raises(NumericalError, match="full float64"):
            arrays.require_exact_products(1)


class Test_rounded_product_error(Law):
    """Squares of rounded differences carry two more roundings."""

    hard = [
        (np.array([1 / 3, 1.0, 1e-30]), np.array([1e-17, -(2.0**-54), 1.0])),
        (np.array([1.7e308]), np.array([-1.7e308])),
        (np.array([1e308, 1e-300]), np.array([1e308, -1e-300])),
        (np.array([5e-324]), np.array([0.0])),
        (np.array([1.0]), np.array([1.0])),
        (np.full(1, 1 + 2.0**-52), np.full(1, -(2.0**-53) - 2.0**-104)),
        (np.full(1, 1.0), np.full(1, -0.99 * 2.0**-53)),
    ]
    mutants = [
        lambda x, y: sum_sq(x - y),
        lambda x, y: Interval(error_sq(x, y).lo, error_sq(x, y).lo),
        lambda x, y: error_sq(x.astype(np.float32), y.astype(np.float32)),
    ]

    @staticmethod
    def check(function, x, y):
        """The exact sum of squares of exact differences lies inside; zero only for equal arrays."""
        with np.errstate(all="ignore"):
            try:
                found = function(x, y)
            except NonFiniteError:
                raise AssertionError("an overflow was taken for an entry") from None
        truth = sum((a - b) ** 2 for a, b in zip(entries(x), entries(y), strict=True))
        assert found.lo <= truth <= found.hi
        assert (found.hi == 0) == (truth == 0)

    @law
    @given(same_length(2))
    @hard_cases([(case,) for case in hard])
    def test_holds(self, pair):
        """Also where a difference overflows, cancels or is subnormal."""
        self.check(error_sq, *pair)

    def test_not_vacuous(self):
        """The ends are within 1e-12 of each other, whatever cancels."""
        found = error_sq(NOISE, NOISE * (1 + 1e-9))
        reaches("rounded_product_error", found.lo, found.hi, 1 - F(1, 10**12))

    def test_needs_its_hypothesis(self, monkeypatch):
        """Differences rounded more often than stated leave the interval."""
        def rough(x, y, *, split):
            return [(0, (x - y).astype(np.float32).astype(np.float64))]

        monkeypatch.setattr(frobenius, "_difference", rough)
        goes_red(self.check, error_sq, np.array([1 / 3]), np.array([0.1]))


@st.composite
def signed_sums(draw):
    """Exact sum and sum of magnitudes, roundings, underflow, and the parts of the errors that occur."""
    magnitude = draw(sizes())
    return (draw(signed_portions()) * magnitude, magnitude, draw(st.integers(0, 4000)), draw(sizes()),
            draw(signed_portions()), draw(signed_portions()))


class Test_signed_enclosure(Law):
    """A computed sum of terms of any sign is off by at most the slack."""

    hard = [
        (F(0), F(1), 1, F(0), F(1), F(-1)),
        (F(1), F(1), 2000, F(0), F(-1), F(-1)),
        (F(0), F(0), 3, F(1, 7), F(1), F(-1)),
        (-HUGE, HUGE, 5, TINY, F(-1), F(-1)),
    ]
    mutants = [
        lambda magnitude, roundings, underflow: growth(UNIT, roundings) * magnitude + underflow,
        lambda magnitude, roundings, underflow: product_slack(magnitude, roundings, F(0)),
        lambda magnitude, roundings, underflow: product_slack(magnitude, max(roundings - 1, 0), underflow),
        lambda magnitude, roundings, underflow: gamma(UNIT, roundings) * (magnitude + underflow),
    ]

    @staticmethod
    def check(function, exact, magnitude, roundings, underflow, part, other):
        """|computed - exact| is at most the answer from the computed magnitude, when both err as much as they may."""
        error = gamma(UNIT, roundings) * magnitude + underflow
        computed, seen = exact + part * error, magnitude + other * error
        if seen >= 0:
            assert abs(computed - exact) <= function(seen, roundings, underflow)

    @law
    @given(signed_sums())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """However the sum and its magnitude are rounded."""
        self.check(product_slack, *case)

    def test_not_vacuous(self):
        """The largest error with the smallest computed magnitude reaches it."""
        error = gamma(UNIT, 9) * 5
        reaches("signed_enclosure", error, product_slack(5 - error, 9, F(0)), 1)

    def test_needs_its_hypothesis(self):
        """A magnitude that is further off breaks it; too many roundings are refused."""
        error = gamma(UNIT, 9) * 5
        assert product_slack(5 - 2 * error, 9, F(0)) < error
        assert nonneg_sum_upper(5 - error, gamma(UNIT, 9), F(0)) == 5
        with pytest.raises(DomainError):
            product_slack(F(1), 2**53, F(0))


CANCELLING = (np.array([1e10, -1e10, 1 / 3]), np.array([1.0, 1.0, 3.0]))


class InnerProduct(Law):
    """A bound on an inner product."""

    hard = [CANCELLING, (np.array([1e300, 1.0]), np.array([1e300, -1e-320])), (np.zeros(3), np.ones(3)),
            (NOISE, NOISE[::-1].copy()), (np.array([5e-324]), np.array([-5e-324])), (THIRDS, THIRDS),
            (THIRDS, -THIRDS)]

    def test_needs_its_hypothesis(self, monkeypatch):
        """With products in float32 some answers are wrong."""
        monkeypatch.setattr(frobenius, "_block_sums", in_float32)
        wrong = 0
        for x, y in np.random.default_rng(3).standard_normal((8, 2, 1)):
            try:
                self.check(self.function, x, y)
            except AssertionError:
                wrong += 1
        assert wrong > 0


class Test_dot_le_of_computed(InnerProduct):
    """No inner product is above the upper bound."""

    function = staticmethod(inner_upper)
    mutants = [
        lambda x, y: inner_lower(x, y),
        lambda x, y: F(float(x @ y)) if np.abs(x).max() < 1e9 and x.size > 3 else inner_upper(x, y),
        lambda x, y: inner_upper(x, y) - F(1, 10**9),
    ]

    @staticmethod
    def check(function, x, y):
        """The exact inner product is at most the answer."""
        assert dot(entries(x), entries(y)) <= function(x, y)

    @law
    @given(same_length(2))
    @hard_cases([(case,) for case in InnerProduct.hard])
    def test_holds(self, pair):
        """At any magnitude."""
        self.check(inner_upper, *pair)

    def test_not_vacuous(self):
        """It is within 1e-12 of the sum of magnitudes."""
        slack = inner_upper(NOISE, NOISE[::-1].copy()) - dot(entries(NOISE), entries(NOISE[::-1]))
        assert 0 <= slack <= F(1, 10**12) * dot(*[[abs(v) for v in entries(x)] for x in (NOISE, NOISE[::-1])])
        reaches("dot_le_of_computed", dot(entries(THIRDS), entries(THIRDS)), inner_upper(THIRDS, THIRDS),
                1 - F(1, 10**12))


class Test_le_dot_of_computed(InnerProduct):
    """No inner product is below the lower bound."""

    function = staticmethod(inner_lower)
    mutants = [
        lambda x, y: inner_upper(x, y),
        lambda x, y: inner_lower(x, y) + F(1, 10**9),
        lambda x, y: inner_lower(np.abs(x), np.abs(y)),
    ]

    @staticmethod
    def check(function, x, y):
        """The exact inner product is at least the answer."""
        assert function(x, y) <= dot(entries(x), entries(y))

    @law
    @given(same_length(2))
    @hard_cases([(case,) for case in InnerProduct.hard])
    def test_holds(self, pair):
        """At any magnitude."""
        self.check(inner_lower, *pair)

    def test_not_vacuous(self):
        """It is within 1e-12 of the sum of magnitudes."""
        reaches("le_dot_of_computed", inner_lower(THIRDS, THIRDS), dot(entries(THIRDS), entries(THIRDS)),
                1 - F(1, 10**12))


class Test_dot_error_of_rounded_factors(Law):
    """An inner product of rounded differences stays inside its enclosure."""

    hard = [
        tuple(np.array(v) for v in ([1.0, 1 / 3], [2.0**-54, 1e-9], [1.0, 3.0], [2.0**-55, -1e-9])),
        tuple(np.array(v) for v in ([1e308, 0.0], [-1e308, 0.0], [1e-300, 1.0], [0.0, 0.0])),
        tuple(np.array(v) for v in ([1.0], [1.0], [5e-324], [1.0])),
        (NOISE, NOISE * 1e-9, NOISE[::-1], NOISE[::-1] * 1e-8),
        tuple(np.full(1, v) for v in (1.0, -0.99 * 2.0**-53, 1.0, -0.99 * 2.0**-53)),
    ]
    mutants = [
        lambda x, y, z, w: Interval(inner_lower(x - y, z - w), inner_upper(x - y, z - w))
        if np.isfinite(x - y).all() else inner_of_differences(x, y, z, w),
        lambda x, y, z, w: Interval(*[inner_of_differences(x, y, z, w).lo] * 2),
        lambda x, y, z, w: inner_of_differences(y, x, z, w),
    ]

    @staticmethod
    def check(function, x, y, z, w):
        """The exact inner product of the exact differences lies inside."""
        with np.errstate(over="ignore"):
            found = function(x, y, z, w)
        left, right = ([a - b for a, b in zip(entries(s), entries(t), strict=True)] for s, t in ((x, y), (z, w)))
        assert found.lo <= dot(left, right) <= found.hi

    @law
    @given(same_length(4, MODERATE) | same_length(4))
    @hard_cases([(case,) for case in hard])
    def test_holds(self, four):
        """Also where differences overflow or cancel."""
        self.check(inner_of_differences, *four)

    def test_not_vacuous(self):
        """The ends are within 1e-12 where nothing cancels."""
        found = inner_of_differences(NOISE, NOISE * 0.25, NOISE, NOISE * 0.125)
        reaches("dot_error_of_rounded_factors", found.lo, found.hi, 1 - F(1, 10**12))

    def test_needs_its_hypothesis(self, monkeypatch):
        """Differences rounded more often than stated leave the interval."""
        def rough(x, y, *, split):
            return [(0, (x - y).astype(np.float32).astype(np.float64))]

        monkeypatch.setattr(frobenius, "_difference", rough)
        goes_red(self.check, inner_of_differences, *(np.array([v]) for v in (1 / 3, 0.1, 1 / 7, 0.01)))


class Test_root_between(Law):
    """The root of an enclosed square is enclosed."""

    hard = [(F(2), F(0), F(0)), (F(0), F(0), F(0)), (HUGE, F(1, 2), F(1)), (TINY, F(1), F(0)), (F(9, 4), F(0), F(0))]
    mutants = [
        lambda interval: Interval(root(interval).lo, root(interval).lo),
        lambda interval: Interval(root(interval).hi, root(interval).hi),
        lambda interval: Interval(root_upper(interval.lo), root_upper(interval.hi)),
        lambda interval: Interval(interval.lo, interval.hi),
    ]

    @staticmethod
    def check(function, r, below, above):
        """With the exact root r, an interval around r^2 gives an interval around r; the ends are dyadic."""
        found = function(Interval(r * r * (1 - below), r * r * (1 + above)))
        assert 0 <= found.lo <= r <= found.hi
        for end in found:
            assert end.denominator & (end.denominator - 1) == 0

    @law
    @given(st.tuples(sizes(), portions(), portions()))
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """For every width of the interval."""
        self.check(root, *case)

    def test_not_vacuous(self):
        """A point gives a tight interval."""
        reaches("root_between", root(Interval(F(2), F(2))).lo, root(Interval(F(2), F(2))).hi, 1 - F(1, 2**60))

    def test_needs_its_hypothesis(self):
        """A negative square has no root."""
        with pytest.raises(DomainError):
            root(Interval(F(-1), F(1)))
