"""Laws of ``Proofs/Exponential.lean`` and ``Proofs/Softmax.lean``: the exponential, and what is computed with it.

The exponential of the tests is the real one, to 50 and 100 digits of mpmath that agree; comparisons with it allow
for its last digits. Longer than 500 lines because every theorem has its four tests in one place.
"""

from __future__ import annotations

import itertools
from fractions import Fraction as F

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peelverify.bounds.exponential import (
    change_error,
    exp_error,
    exp_lower,
    exp_shift_error,
    exp_taylor,
    exp_taylor_error,
    exp_upper,
    horner_error,
    log_error,
    mean_error,
    relative_product,
    squared,
    terms_error,
)
from peelverify.errors import DomainError

from .checking import Law, hard_cases, law, reaches
from .oracle import agreed, as_mpf
from .strategies import TINY, ULP, portions, rationals, signed_portions

DIGITS = F(1, 10**35)
"""The oracle's own relative error, with room to spare."""


def e(x):
    """Oracle: the real exponential."""
    return agreed(lambda context: context.exp(as_mpf(context, x)))


def log(x):
    """Oracle: the real logarithm."""
    return agreed(lambda context: context.log(as_mpf(context, x)))


def down(x):
    """Rounding down to 12 binary places."""
    return F(x * 4096 // 1, 4096)


def up(x):
    """Rounding up to 12 binary places."""
    return -down(-x)


ARGUMENTS = [(F(1), 3), (F(-1), 3), (F(0), 0), (F(5, 2), 6), (F(-7, 2), 2), (F(1, 3), 0), (TINY, 1)]


class Test_expLower_le(Law):
    """Squares of the tangent stay below the exponential."""

    hard = list(ARGUMENTS)
    mutants = [
        lambda x, k: exp_upper(x, k) + ULP,
        lambda x, k: exp_lower(x, k) + 1,
        lambda x, k: squared(1 + x / 2**k, k + 1) + ULP,
    ]

    @staticmethod
    def check(function, x, halvings):
        """The answer is at most the exponential."""
        assert function(x, halvings) <= e(x) * (1 + DIGITS)

    @law
    @given(rationals(-4, 4), st.integers(2, 7), st.sampled_from([None, down]))
    def test_holds(self, x, halvings, rounding):
        """Any exponent, with and without rounding."""
        self.check(exp_lower if rounding is None else (lambda *call: exp_lower(*call, down)), x, halvings)

    def test_hard_cases(self):
        """The hard cases hold as well, and rounding down only lowers them."""
        for x, halvings in self.hard:
            if x / 2**halvings >= -1:
                self.check(exp_lower, x, halvings)
                assert exp_lower(x, halvings, down) <= exp_lower(x, halvings)

    def test_not_vacuous(self):
        """Twelve halvings reach more than 0.999 of it, at zero it is reached."""
        reaches("expLower_le", exp_lower(F(1), 12), e(F(1)), F(999, 1000))
        assert exp_lower(F(0), 5) == 1

    def test_needs_its_hypothesis(self):
        """Below -1 the square of the tangent is above the exponential, so it is refused; so is rounding up."""
        assert squared(1 + F(-5), 1) > e(F(-10))
        with pytest.raises(DomainError, match="more halvings"):
            exp_lower(F(-10), 1)
        assert exp_lower(F(1), 2, lambda x: x + 1) > e(F(1))


class Test_le_expUpper(Law):
    """Squares of the inverse of the other tangent stay above the exponential."""

    hard = [case for case in ARGUMENTS if case[0] < 2 ** case[1]]
    mutants = [
        lambda x, k: exp_lower(x, k) - ULP,
        lambda x, k: exp_upper(x, k) - 1,
        lambda x, k: exp_upper(x, k) * F(9, 10),
    ]

    @staticmethod
    def check(function, x, halvings):
        """The answer is at least the exponential."""
        assert function(x, halvings) >= e(x) * (1 - DIGITS)

    @law
    @given(rationals(-4, 4), st.integers(3, 7), st.sampled_from([None, up]))
    def test_holds(self, x, halvings, rounding):
        """Any exponent, with and without rounding."""
        self.check(exp_upper if rounding is None else (lambda *call: exp_upper(*call, up)), x, halvings)

    def test_hard_cases(self):
        """The hard cases hold as well, and rounding up only raises them."""
        for case in self.hard:
            self.check(exp_upper, *case)
            assert exp_upper(*case, up) >= exp_upper(*case)

    def test_not_vacuous(self):
        """With twelve halvings the exponential is more than 0.999 of it."""
        reaches("le_expUpper", e(F(1)), exp_upper(F(1), 12), F(999, 1000))

    def test_needs_its_hypothesis(self):
        """From one on the inverse means nothing, so it is refused; rounding down breaks it."""
        with pytest.raises(DomainError, match="more halvings"):
            exp_upper(F(2), 1)
        assert exp_upper(F(1), 2, lambda x: x - F(1, 2)) < e(F(1))


SMALL = st.integers(-64, 64).map(lambda n: F(n, 1024))


class Test_exp_taylor(Law):
    """The polynomial of degree three is within the answer of the exponential."""

    hard = [(F(1, 16), 80), (F(-1, 16), 80), (F(1, 1024), 40), (F(0), 3), (TINY, 80)]
    mutants = [
        lambda x, k: x**4 / 25,
        lambda x, k: exp_taylor_error(x / 2, k),
        lambda x, k: F(0),
    ]

    @staticmethod
    def check(function, x, halvings):
        """The polynomial is within the answer."""
        assert abs(e(x) - exp_taylor(x)) <= function(x, halvings) + DIGITS

    @law
    @given(SMALL, st.integers(0, 90))
    def test_holds(self, x, halvings):
        """Any small exponent, any number of halvings."""
        self.check(exp_taylor_error, x, halvings)

    def test_hard_cases(self):
        """The hard cases hold as well."""
        for case in self.hard:
            self.check(exp_taylor_error, *case)

    def test_not_vacuous(self):
        """At the end of the range more than four fifths of it are reached."""
        x = F(1, 16)
        reaches("exp_taylor", e(x) - exp_taylor(x), exp_taylor_error(x, 80), F(4, 5))

    def test_needs_its_hypothesis(self):
        """Far out it is wrong, and refused above 1/16."""
        x = F(4)
        assert e(x) - exp_taylor(x) > x**4 / 20
        with pytest.raises(DomainError, match="halve x"):
            exp_taylor_error(F(1, 16) + ULP, 80)


class Test_exp_shift_error(Law):
    """The exponential of a small number is within the answer of one."""

    hard = [(F(1, 2), F(1, 2)), (F(-1, 2), F(1, 2)), (F(0), F(0)), (F(1, 10), F(1, 10))]
    mutants = [lambda size: size, lambda size: size + size * size / 4, lambda size: 2 * size * size]

    @staticmethod
    def check(function, s, size):
        """The exponential is within the answer."""
        assert abs(e(s) - 1) <= function(size) + DIGITS

    @law
    @given(signed_portions(), portions())
    @hard_cases([(F(1), F(1)), (F(-1), F(0))])
    def test_holds(self, place, half):
        """Any number within a size."""
        self.check(exp_shift_error, place * half / 2, half / 2)

    def test_not_vacuous(self):
        """A small size is reached to within a hundredth."""
        reaches("exp_shift_error", e(F(1, 200)) - 1, exp_shift_error(F(1, 200)), F(99, 100))

    def test_needs_its_hypothesis(self):
        """Large sizes break the formula, and are refused from 1/2 on."""
        assert e(F(4)) - 1 > 4 + 2 * 16
        with pytest.raises(DomainError, match="reduce"):
            exp_shift_error(F(1, 2) + ULP)


class Test_relative_product_error(Law):
    """The relative error of a product is within that of its factors combined."""

    hard = [(F(1, 2), F(1, 4), F(1), F(1)), (F(1, 2), F(1, 2), F(-1), F(1)), (F(0), F(1), F(0), F(1))]
    mutants = [lambda b, c: b + c, lambda b, c: b, lambda b, c: max(b, c)]

    @staticmethod
    def check(function, left, right, place, other):
        """The product of two numbers with those errors is within the answer."""
        v, w = 3 * (1 + place * left), 5 * (1 + other * right)
        assert abs(v * w - 15) <= function(left, right) * 15

    @law
    @given(portions(), portions(), signed_portions(), signed_portions())
    def test_holds(self, left, right, place, other):
        """Any errors and any numbers within them."""
        self.check(relative_product, left, right, place, other)

    def test_hard_cases(self):
        """The hard cases hold as well."""
        for case in self.hard:
            self.check(relative_product, *case)

    def test_not_vacuous(self):
        """Two errors upwards reach it."""
        reaches("relative_product_error", F(3, 2) * F(5, 4) - 1, relative_product(F(1, 2), F(1, 4)), 1)

    def test_needs_its_hypothesis(self):
        """A factor outside its error breaks it; a negative error is refused."""
        assert abs(F(3) * 1 - 1) > relative_product(F(1), F(0)) * 1
        with pytest.raises(DomainError):
            relative_product(-ULP, F(0))


def step(unit, eta, x, v, off, constant, places):
    """A step x v + c with errors at given places of their ranges: computed, exact."""
    product = x * v + places[0] * (unit * abs(x * v) + eta)
    result = product + constant + places[1] * unit * abs(product + constant)
    return result, x * (v - places[2] * off) + constant


class Test_horner_step_error(Law):
    """One step of Horner's form is within the answer."""

    hard = [
        (F(1, 8), F(0), F(1, 2), F(1), F(1, 4), F(1), (F(1), F(1), F(1))),
        (F(1, 8), F(1, 16), F(-1, 2), F(-1), F(1, 4), F(1), (F(1), F(1), F(-1))),
        (F(0), F(0), F(1, 2), F(1), F(1), F(0), (F(0), F(0), F(1))),
        (F(0), F(1), F(1), F(0), F(0), F(1), (F(1), F(0), F(0))),
    ]
    mutants = [
        lambda unit, eta, x, error, size, constant: x * error + unit * (x * size + constant) + eta,
        lambda unit, eta, x, error, size, constant: horner_error(unit, 0, x, error, size, constant),
        lambda unit, eta, x, error, size, constant: horner_error(unit, eta, x, 0, size, constant),
    ]

    @staticmethod
    def check(function, unit, eta, x, v, off, constant, places):
        """The computed step is within the answer of the exact one."""
        computed, exact = step(unit, eta, x, v, off, constant, places)
        assert abs(computed - exact) <= function(unit, eta, abs(x), off, abs(v), abs(constant))

    @law
    @given(portions(), portions(), rationals(-2, 2), rationals(-2, 2), portions(), rationals(-2, 2),
           st.tuples(signed_portions(), signed_portions(), signed_portions()))
    def test_holds(self, unit, eta, x, v, off, constant, places):
        """Any step and any errors within their ranges."""
        self.check(horner_error, unit, eta, x, v, off, constant, places)

    def test_hard_cases(self):
        """The hard cases hold as well."""
        for case in self.hard:
            self.check(horner_error, *case)

    def test_not_vacuous(self):
        """All errors upwards reach it."""
        unit, eta, x, v, off, constant, places = self.hard[0]
        computed, exact = step(unit, eta, x, v, off, constant, places)
        reaches("horner_step_error", computed - exact, horner_error(unit, eta, x, off, v, constant), 1)

    def test_needs_its_hypothesis(self):
        """A value above its stated size breaks it; a negative unit is refused."""
        computed, exact = step(F(1, 8), F(0), F(1), F(4), F(0), F(0), (F(1), F(1), F(0)))
        assert computed - exact > horner_error(F(1, 8), F(0), F(1), F(0), F(1), F(0))
        with pytest.raises(DomainError):
            horner_error(-ULP, 0, 1, 0, 1, 1)


class Test_exp_computed_error(Law):
    """A table entry times a polynomial, with a rest left out, is within the answer."""

    hard = [
        (F(1, 8), F(1, 8), F(1, 8), F(1, 4), (1, 1, 1, -1)),
        (F(1, 8), F(1, 8), F(1, 8), F(1, 4), (-1, -1, -1, 1)),
        (F(0), F(0), F(0), F(1, 2), (0, 0, 0, -1)),
        (F(0), F(1, 2), F(0), F(0), (0, 1, 0, 0)),
        (F(1, 2), F(0), F(0), F(0), (1, 0, 0, 0)),
        (F(0), F(0), F(1, 2), F(0), (0, 0, 1, 0)),
    ]
    mutants = [
        lambda table, polynomial, unit, rest: table + polynomial + unit + rest,
        lambda table, polynomial, unit, rest: exp_error(table, polynomial, unit, 0),
        lambda table, polynomial, unit, rest: exp_error(0, polynomial, unit, rest),
        lambda table, polynomial, unit, rest: exp_error(table, 0, unit, rest),
        lambda table, polynomial, unit, rest: exp_error(table, polynomial, 0, rest),
    ]

    @staticmethod
    def check(function, table, polynomial, unit, rest, places):
        """The computed exponential of whole + part + rest is within the answer."""
        whole, part = F(-3), F(1, 7)
        entry, value = e(whole) * (1 + places[0] * table), e(part) * (1 + places[1] * polynomial)
        result = entry * value * (1 + places[2] * unit)
        exact = e(whole + part + places[3] * rest)
        assert abs(result - exact) <= function(table, polynomial, unit, rest) * exact * (1 + DIGITS) + DIGITS

    @law
    @given(portions(), portions(), portions(), portions(), st.tuples(*[signed_portions()] * 4))
    def test_holds(self, table, polynomial, unit, half, places):
        """Any errors within their ranges."""
        self.check(exp_error, table, polynomial, unit, half / 2, places)

    def test_hard_cases(self):
        """The hard cases hold as well."""
        for case in self.hard:
            self.check(exp_error, *case)

    def test_not_vacuous(self):
        """Without a rest it is reached."""
        reaches("exp_computed_error", F(9, 8) * F(5, 4) * F(3, 2) - 1, exp_error(F(1, 8), F(1, 4), F(1, 2), 0), 1)

    def test_needs_its_hypothesis(self):
        """A rest above its stated size breaks it; more than 1/2 is refused."""
        assert 1 / e(F(-1, 2)) - 1 > exp_error(0, 0, 0, F(1, 8))
        with pytest.raises(DomainError, match="reduce"):
            exp_error(0, 0, 0, F(1, 2) + ULP)


TERMS = [
    ([F(0), F(-5)], F(-2), F(0), [0, 0]),
    ([F(0), F(-5), F(-6)], F(-1), F(1, 8), [1, 1, 1]),
    ([F(0)], F(-2), F(1, 4), [-1]),
    ([F(1), F(-9)], F(-3), F(1, 2), [-1, 1]),
    ([F(0), *[F(-60)] * 4], F(-3), F(0), [0] * 5),
]


class Test_raised_terms_error(Law):
    """The terms of a softmax are off, all together, by at most the answer times their sum."""

    hard = TERMS
    mutants = [
        lambda count, relative, above: relative,
        lambda count, relative, above: terms_error(1, relative, above) if count > 4 else terms_error(count, 0, above),
        lambda count, relative, above: terms_error(count, 0, above),
    ]

    @staticmethod
    def check(function, x, floor, relative, places):
        """Computed terms, each within its relative error of a raised one."""
        exact = [e(a) for a in x]
        computed = [e(max(a, floor)) * (1 + p * relative) for a, p in zip(x, places, strict=True)]
        off = sum(abs(c - t) for c, t in zip(computed, exact, strict=True))
        assert off <= function(len(x), relative, e(floor)) * sum(exact) * (1 + DIGITS)

    @law
    @given(st.lists(st.tuples(rationals(-9, 0), signed_portions()), max_size=4), rationals(-8, -1), portions())
    def test_holds(self, pairs, floor, relative):
        """Any arguments beside a peak of zero."""
        self.check(terms_error, [F(0), *(x for x, _ in pairs)], floor, relative, [0, *(p for _, p in pairs)])

    def test_hard_cases(self):
        """The hard cases hold as well."""
        for case in self.hard:
            self.check(terms_error, *case)

    def test_not_vacuous(self):
        """Many terms that are raised to the floor come near to it."""
        n, floor = 500, F(-12)
        exact = 1 + (n - 1) * e(F(-60))
        off = (n - 1) * (e(floor) - e(F(-60)))
        reaches("raised_terms_error", off / exact, terms_error(n, 0, e(floor)), F(99, 100))

    def test_needs_its_hypothesis(self):
        """Without a peak at zero or above, the sum is too small and it fails."""
        x, floor = [F(-9), F(-9)], F(-3)
        off = sum(e(floor) - e(a) for a in x)
        assert off > terms_error(2, 0, e(floor)) * sum(e(a) for a in x)


class Test_log_enclosure(Law):
    """A guess that the exponential checks is within the answer of the logarithm."""

    hard = [
        (F(3), F(1, 8), F(0), F(0)),
        (F(3), F(-1, 8), F(0), F(0)),
        (F(1), F(0), F(1, 16), F(1)),
        (F(10), F(1, 32), F(1, 16), F(-1)),
        (F(10), F(-1, 32), F(1, 16), F(1)),
    ]
    mutants = [
        lambda distance, relative: distance,
        lambda distance, relative: relative,
        lambda distance, relative: distance + relative - (distance + relative) ** 2,
    ]

    @staticmethod
    def check(function, total, off, relative, place):
        """A guess that is off, and a product computed with a relative error."""
        guess = log(total) + off
        computed = total * e(-guess) * (1 + place * relative)
        answer = function(abs(computed - 1), relative)
        assert abs(off) <= answer + DIGITS

    @law
    @given(rationals(1, 50), signed_portions(), portions(), signed_portions())
    def test_holds(self, total, off, relative, place):
        """Any total, any guess near enough, any error."""
        self.check(log_error, total, off / 16, relative / 16, place)

    def test_hard_cases(self):
        """The hard cases hold as well."""
        for case in self.hard:
            self.check(log_error, *case)

    def test_not_vacuous(self):
        """A guess that is off by a thousandth reaches more than 0.99 of it."""
        off = F(1, 1000)
        reaches("log_enclosure", off, log_error(abs(e(-off) - 1), F(0)), F(99, 100))

    def test_needs_its_hypothesis(self):
        """An understated error breaks it; a guess that is far off is refused."""
        assert F(1, 2) > log_error(F(0), F(1, 8))
        with pytest.raises(DomainError, match="guess better"):
            log_error(F(1, 4), F(1, 4))


def mean_of(weights, values):
    """Oracle: the exact mean."""
    return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)


def share_off(weights, terms):
    """Oracle: by what share of their sum the weights are off."""
    return sum(abs(t - w) for t, w in zip(terms, weights, strict=True)) / sum(weights)


MEANS = [
    ([F(1), F(1)], [F(3, 2), F(1)], [F(1), F(-1)]),
    ([F(1), F(3)], [F(1), F(2)], [F(-1), F(1)]),
    ([F(1)], [F(1, 2)], [F(1)]),
    ([F(99), F(1)], [F(99), F(0)], [F(1), F(-1)]),
]


class Test_weighted_mean_error(Law):
    """Computed weights change a mean by at most the answer times the largest value."""

    hard = MEANS
    mutants = [
        lambda relative, *rest: relative / 2,
        lambda relative, *rest: F(0),
        lambda relative, *rest: relative / (2 + relative),
    ]

    @staticmethod
    def check(function, weights, terms, values):
        """The mean under other weights is within the answer, and so is the identity without a quotient."""
        relative, size = share_off(weights, terms), max(abs(v) for v in values)
        off = sum(t * v for t, v in zip(terms, values, strict=True)) - mean_of(weights, values) * sum(terms)
        assert abs(off) <= 2 * relative * size * sum(weights)
        assert abs(off) / sum(terms) <= size * function(relative, 0, 0, 0)

    @law
    @given(st.lists(st.tuples(portions(), signed_portions(), rationals(-3, 3)), max_size=4))
    def test_holds(self, rows):
        """Any weights that are off by less than half each."""
        rows = [(F(1), F(1), F(2)), *rows]
        weights = [w for w, _, _ in rows]
        terms = [w * (1 + p / 2) for w, p, _ in rows]
        self.check(mean_error, weights, terms, [v for _, _, v in rows])

    def test_hard_cases(self):
        """The hard cases hold as well."""
        for case in self.hard:
            self.check(mean_error, *case)

    def test_not_vacuous(self):
        """A rare value whose weight is lost reaches 0.98 of it."""
        weights, terms, values = MEANS[3]
        off = mean_of(terms, values) - mean_of(weights, values)
        reaches("weighted_mean_error", off, mean_error(share_off(weights, terms), 0, 0, 0), F(98, 100))

    def test_needs_its_hypothesis(self):
        """A larger value than stated breaks it; a share of one is refused."""
        weights, terms, values = MEANS[0]
        off = mean_of(terms, [9 * v for v in values]) - mean_of(weights, [9 * v for v in values])
        assert off > 1 * mean_error(share_off(weights, terms), 0, 0, 0)
        with pytest.raises(DomainError, match="weights more exactly"):
            mean_error(F(1), 0, 0, 0)


COMPUTED = [
    (F(1, 4), F(1, 8), F(1, 8), F(1, 8), (1, -1, 1)),
    (F(0), F(1, 2), F(0), F(0), (1, 0, 0)),
    (F(0), F(0), F(1, 2), F(0), (0, -1, 0)),
    (F(0), F(0), F(0), F(1, 2), (0, 0, 1)),
    (F(1, 2), F(0), F(0), F(0), (0, 0, 0)),
]


class Test_mean_computed_error(Law):
    """A computed quotient of computed sums is within the answer of the exact mean."""

    hard = COMPUTED
    mutants = [
        lambda relative, in_numerator, in_total, unit: mean_error(0, in_numerator, in_total, unit),
        lambda relative, in_numerator, in_total, unit: mean_error(relative, 0, in_total, unit),
        lambda relative, in_numerator, in_total, unit: mean_error(relative, in_numerator, 0, unit) - in_total / 2,
        lambda relative, in_numerator, in_total, unit: mean_error(relative, in_numerator, in_total, 0),
    ]

    @staticmethod
    def check(function, relative, in_numerator, in_total, unit, places):
        """Errors at given places of their ranges."""
        weights, values = [F(99), F(1)], [F(1), F(1)]
        terms = [F(99) * (1 - relative), F(1)] if relative else weights
        values = [F(1), F(-1)] if relative else values
        numerator = sum(t * v for t, v in zip(terms, values, strict=True)) + places[0] * in_numerator * sum(terms)
        total = sum(terms) * (1 + places[1] * in_total)
        quotient = numerator / total * (1 + places[2] * unit)
        answer = function(share_off(weights, terms), in_numerator, in_total, unit)
        assert abs(quotient - mean_of(weights, values)) <= answer

    @law
    @given(portions(), portions(), portions(), portions(), st.tuples(*[signed_portions()] * 3))
    def test_holds(self, relative, in_numerator, in_total, unit, places):
        """Any errors within their ranges."""
        self.check(mean_error, relative / 2, in_numerator, in_total / 2, unit, places)

    def test_hard_cases(self):
        """The hard cases hold as well."""
        for case in self.hard:
            self.check(mean_error, *case)

    def test_not_vacuous(self):
        """A numerator that is off reaches it."""
        reaches("mean_computed_error", F(3, 2) / F(1, 2) - 1, mean_error(0, F(1, 2), F(1, 2), 0), 1)

    def test_needs_its_hypothesis(self):
        """An understated total breaks it; a total that may vanish is refused."""
        assert 1 / F(1, 4) - 1 > mean_error(0, 0, F(1, 2), 0)
        with pytest.raises(DomainError, match="sum the weights"):
            mean_error(0, 0, F(1), 0)


def loss_parts(before, after, places):
    """Losses of target 0 with guesses that are off: the exact change, and the change as computed."""
    logs = [log(sum(e(x) for x in z)) for z in (before, after)]
    peaks = [max(before), max(after)]
    guesses = [logs[i] - peaks[i] + places[i] for i in (0, 1)]
    shift = (peaks[1] - peaks[0]) + (guesses[1] - guesses[0])
    return logs, shift


CHANGES = [
    ([F(1), F(0)], [F(0), F(1)], (F(-1, 4), F(1, 4)), F(1, 8)),
    ([F(2)], [F(5)], (F(1, 4), F(-1, 4)), F(-1, 8)),
    ([F(0), F(3), F(-2)], [F(1), F(1), F(1)], (F(1, 2), F(0)), F(0)),
]


class Test_loss_change_enclosure(Law):
    """The computed change of the loss is within the answer."""

    hard = CHANGES
    mutants = [
        lambda log_before, log_after, in_mean, rounding: log_before + log_after,
        lambda log_before, log_after, in_mean, rounding: log_after + rounding,
        lambda log_before, log_after, in_mean, rounding: log_before + rounding,
    ]

    @staticmethod
    def check(function, before, after, places, rounding):
        """Guesses that are off by `places`, and a sum that is off by `rounding`."""
        logs, shift = loss_parts(before, after, places)
        exact = (logs[1] - after[0]) - (logs[0] - before[0])
        computed = shift - (after[0] - before[0]) + rounding
        assert abs(computed - exact) <= function(abs(places[0]), abs(places[1]), 0, abs(rounding)) + DIGITS

    @law
    @given(st.lists(st.tuples(rationals(-3, 3), rationals(-3, 3)), min_size=1, max_size=3),
           st.tuples(signed_portions(), signed_portions()), signed_portions())
    def test_holds(self, pairs, places, rounding):
        """Any logits and any errors."""
        self.check(change_error, [a for a, _ in pairs], [b for _, b in pairs], places, rounding)

    def test_hard_cases(self):
        """The hard cases hold as well."""
        for case in self.hard:
            self.check(change_error, *case)

    def test_not_vacuous(self):
        """Errors in one direction reach it."""
        logs, shift = loss_parts(*CHANGES[0][:3])
        off = shift + F(1, 8) - (logs[1] - logs[0])
        reaches("loss_change_enclosure", off, change_error(F(1, 4), F(1, 4), 0, F(1, 8)) + DIGITS, 1 - DIGITS * 100)

    def test_needs_its_hypothesis(self):
        """A guess that is further off breaks it; a negative error is refused."""
        logs, shift = loss_parts(CHANGES[0][0], CHANGES[0][1], (F(-1), F(1)))
        assert abs(shift - (logs[1] - logs[0])) > change_error(F(1, 4), F(1, 4), 0, 0)
        with pytest.raises(DomainError):
            change_error(-ULP, 0, 0, 0)


class Test_kl_enclosure(Law):
    """The computed divergence is within the answer."""

    hard = [(*case, F(1, 16)) for case in CHANGES]
    mutants = [
        lambda log_before, log_after, in_mean, rounding: log_before + log_after + rounding,
        lambda log_before, log_after, in_mean, rounding: in_mean + rounding,
        lambda log_before, log_after, in_mean, rounding: max(log_before, log_after) + in_mean + rounding,
    ]

    @staticmethod
    def check(function, before, after, places, rounding, in_mean):
        """As for the loss, with a mean change that is off as well."""
        logs, shift = loss_parts(before, after, places)
        prob = [e(x - logs[0]) for x in before]
        terms = zip(prob, before, after, strict=True)
        exact = sum(p * ((a - logs[0]) - (b - logs[1])) for p, a, b in terms)
        mean = sum(p * (b - a) for p, a, b in zip(prob, before, after, strict=True))
        computed = shift - (mean - in_mean * (1 if rounding >= 0 else -1)) + rounding
        answer = function(abs(places[0]), abs(places[1]), abs(in_mean), abs(rounding))
        assert abs(computed - exact) <= answer + 10 * DIGITS

    @law
    @given(st.lists(st.tuples(rationals(-3, 3), rationals(-3, 3)), min_size=1, max_size=3),
           st.tuples(signed_portions(), signed_portions()), signed_portions(), portions())
    def test_holds(self, pairs, places, rounding, in_mean):
        """Any logits and any errors."""
        self.check(change_error, [a for a, _ in pairs], [b for _, b in pairs], places, rounding, in_mean)

    def test_hard_cases(self):
        """The hard cases hold as well."""
        for case in self.hard:
            self.check(change_error, *case)

    def test_not_vacuous(self):
        """Errors in one direction reach it."""
        logs, shift = loss_parts(*CHANGES[0][:3])
        off = shift - (logs[1] - logs[0]) + F(1, 16) + F(1, 8)
        bound = change_error(F(1, 4), F(1, 4), F(1, 16), F(1, 8)) + DIGITS
        reaches("kl_enclosure", off, bound, 1 - DIGITS * 100)

    def test_needs_its_hypothesis(self):
        """Shares that do not add up to one break the identity behind it; a negative error is refused."""
        logs, _ = loss_parts(CHANGES[0][0], CHANGES[0][1], (0, 0))
        prob = [F(1), F(1)]
        both = list(itertools.zip_longest(prob, *CHANGES[0][:2]))
        exact = sum(p * ((a - logs[0]) - (b - logs[1])) for p, a, b in both)
        computed = logs[1] - logs[0] - sum(p * (b - a) for p, a, b in both)
        change = sum(p for p in prob) - 1
        assert abs(exact - computed - change * (logs[1] - logs[0])) <= DIGITS
        with pytest.raises(DomainError):
            change_error(0, 0, -ULP, 0)
