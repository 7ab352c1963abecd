"""Laws of ``Proofs/Logits.lean``: what a change of logits means for the top entry, loss and divergence.

Two exponentials serve: powers of two at whole numbers, which are exact, and the real one, computed at 50 and
at 100 digits.
"""

from __future__ import annotations

from fractions import Fraction as F

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peelverify.bounds.propagation import argmax_is_stable, oscillation
from peelverify.errors import DomainError, ShapeError

from .checking import EQUALITY, NO_HYPOTHESIS, Law, hard_cases, law, reaches
from .oracle import AGREEMENT, agreed, as_mpf
from .strategies import HUGE, TINY, ULP, aligned, numbers, portions, rationals, signed_portions, vectors

VECTORS = [
    [F(7)],
    [F(1, 2), F(-1, 4), F(0)],
    [F(-3), F(-5)],
    [HUGE, -HUGE, TINY],
    [F(1), 1 + ULP, F(1)],
    [F(2), F(2)],
]


def power(exponent):
    """The exact exponential of the tests: two to a whole number."""
    assert exponent == int(exponent)
    return F(2) ** int(exponent)


def change(before, after):
    """The change of each logit."""
    return [b - a for a, b in zip(before, after, strict=True)]


def spread(x):
    """Oracle: the largest difference of two entries."""
    return max(a - b for a in x for b in x)


def log_sum(context, z):
    """log of the sum of exponentials."""
    return context.log(context.fsum(context.exp(as_mpf(context, entry)) for entry in z))


def whole_numbers():
    """Logits at which powers of two are exact."""
    return aligned(2, max_size=4, entries=st.integers(-12, 12).map(F))


LOGITS = [
    ([F(0), F(0)], [F(0), F(3)]),
    ([F(5)], [F(-5)]),
    ([F(0), F(1), F(-12)], [F(12), F(1), F(0)]),
    ([F(3), F(3)], [F(4), F(4)]),
    ([F(0), F(12)], [F(12), F(0)]),
    ([F(-6), F(6)], [F(-12), F(12)]),
]

BROKEN_SPREADS = [
    lambda delta: max(delta),
    lambda delta: max(abs(x) for x in delta),
    lambda delta: oscillation(delta) / 2,
    lambda delta: oscillation(delta) - 1,
    lambda delta: delta[-1] - delta[0],
]


class Test_sub_le_osc(Law):
    """The difference of two entries is at most the oscillation."""

    not_applicable = {"test_needs_its_hypothesis": NO_HYPOTHESIS}
    hard = [(x,) for x in VECTORS]
    mutants = [lambda x: max(x), lambda x: abs(x[0] - x[-1]), lambda x: oscillation(x) - TINY]

    @staticmethod
    def check(function, x):
        """Every difference is at most the answer."""
        assert all(a - b <= function(x) for a in x for b in x)

    @law
    @given(vectors())
    @hard_cases(hard)
    def test_holds(self, x):
        """No two entries differ by more."""
        self.check(oscillation, x)

    def test_not_vacuous(self):
        """The largest and the smallest entry reach it."""
        for x in VECTORS[1:4]:
            reaches("sub_le_osc", spread(x), oscillation(x), 1)


class Test_osc_nonneg(Law):
    """An oscillation is not negative."""

    not_applicable = {"test_needs_its_hypothesis": NO_HYPOTHESIS}
    hard = [(x,) for x in VECTORS]
    mutants = [lambda x: min(x) - max(x), lambda x: max(x), lambda x: oscillation(x) - TINY]

    @staticmethod
    def check(function, x):
        """The answer is at least zero."""
        assert function(x) >= 0

    @law
    @given(vectors())
    @hard_cases(hard)
    def test_holds(self, x):
        """No vector has a negative oscillation."""
        self.check(oscillation, x)

    def test_not_vacuous(self):
        """It is zero for equal entries, and positive for any others."""
        assert oscillation([F(2), F(2)]) == 0 < oscillation([F(2), 2 + TINY])


class Test_osc_add_const(Law):
    """A common shift changes nothing."""

    not_applicable = {"test_not_vacuous": EQUALITY, "test_needs_its_hypothesis": NO_HYPOTHESIS}
    hard = [(x, c) for x in VECTORS for c in (F(1), -HUGE)]
    mutants = [lambda x: max(x), lambda x: max(abs(a) for a in x), lambda x: max(x) - min([*x, 0])]

    @staticmethod
    def check(function, x, c):
        """The shifted vector has the same oscillation."""
        assert function([a + c for a in x]) == function(x)

    @law
    @given(vectors(), numbers())
    @hard_cases(hard)
    def test_holds(self, x, c):
        """Softmax ignores a shift of all logits, and so does the oscillation."""
        self.check(oscillation, x, c)


@st.composite
def logits_that_moved(draw):
    """Logits, a size eps, and logits that differ by at most eps in each entry."""
    logits = draw(vectors())
    eps = draw(rationals(0) | st.just(ULP))
    return logits, eps, [z + eps * draw(signed_portions()) for z in logits]


class Test_argmax_unchanged(Law):
    """A lead of more than 2 eps survives changes of at most eps."""

    hard = [
        ([F(5), F(3)], F(1), [F(4), F(4)]),
        ([F(5), F(3)], 1 - ULP, [4 + ULP, 4 - ULP]),
        ([F(1), F(5), F(2)], F(1), [F(2), F(4), F(3)]),
        ([F(1), F(3)], F(2), [F(3), F(1)]),
        ([F(2)], HUGE, [-HUGE]),
        ([F(0), F(5), F(4)], F(1), [F(0), F(4), F(5)]),
        ([F(1), F(1)], F(0), [F(1), F(1)]),
    ]
    mutants = [
        lambda logits, eps: True,
        lambda logits, eps: argmax_is_stable(logits, eps / 2),
        lambda logits, eps: sorted(logits)[-1] >= ([F(-100), *sorted(logits)])[-2] + 2 * eps,
        lambda logits, eps: logits[0] + 2 * eps < max(logits),
    ]

    @staticmethod
    def check(function, logits, eps, changed):
        """If the answer is yes, the same entry is strictly on top after the change."""
        if function(logits, eps):
            top = logits.index(max(logits))
            assert all(changed[i] < changed[top] for i in range(len(changed)) if i != top)

    @law
    @given(logits_that_moved())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """Yes is right about every change of that size."""
        self.check(argmax_is_stable, *case)

    def test_not_vacuous(self):
        """The smallest lead above 2 eps is accepted, and exactly 2 eps allows a tie."""
        assert argmax_is_stable([2 + TINY, F(0)], F(1))
        assert not argmax_is_stable([F(2), F(0)], F(1))

    def test_needs_its_hypothesis(self):
        """A change above eps can turn the order of an accepted pair; a negative eps is refused."""
        logits, eps, changed = [2 + ULP, F(0)], F(1), [F(1), F(1) + ULP]
        assert argmax_is_stable(logits, eps)
        assert max(abs(d) for d in change(logits, changed)) > eps
        assert changed[0] <= changed[1]
        with pytest.raises(DomainError):
            argmax_is_stable(logits, F(-1))
        with pytest.raises(ShapeError):
            argmax_is_stable([], F(1))


class Test_argmax_unchanged_of_osc(Law):
    """A lead of more than the oscillation of the change survives the change."""

    hard = [
        ([F(3), F(0)], [F(9), F(8)]),
        ([F(3), F(0)], [F(0), F(0)]),
        ([F(3), F(0)], [F(3, 2), F(3, 2)]),
        ([F(0), F(1)], [HUGE, HUGE + 1]),
        ([F(3), F(0)], [F(0), F(2)]),
    ]
    mutants = [
        lambda delta: oscillation(delta) / 2,
        lambda delta: max(delta),
        lambda delta: oscillation(delta) - TINY,
        lambda delta: abs(sum(delta)) / len(delta),
    ]

    @staticmethod
    def check(function, logits, changed):
        """Where one entry leads by more than the answer, it stays strictly on top."""
        lead = function(change(logits, changed))
        top = logits.index(max(logits))
        others = [i for i in range(len(logits)) if i != top]
        if all(logits[i] + lead < logits[top] for i in others):
            assert all(changed[i] < changed[top] for i in others)

    @law
    @given(aligned(2))
    @hard_cases([(case,) for case in hard])
    def test_holds(self, pair):
        """No lead above the oscillation is lost."""
        self.check(oscillation, *pair)

    def test_not_vacuous(self):
        """A lead of exactly the oscillation can become a tie."""
        logits, changed = [F(3), F(0)], [F(0), F(0)]
        reaches("argmax_unchanged_of_osc", logits[0] - logits[1], oscillation(change(logits, changed)), 1)

    def test_needs_its_hypothesis(self):
        """A lead below the oscillation can be turned round."""
        logits, changed = [3 - ULP, F(0)], [F(0), ULP]
        assert oscillation(change(logits, changed)) > logits[0] - logits[1]
        assert changed[0] < changed[1]


class Test_abs_loss_change_le_osc(Law):
    """The exponentiated loss changes by at most the factor E(osc), in both directions."""

    hard = [(case,) for case in LOGITS]
    mutants = list(BROKEN_SPREADS)

    @staticmethod
    def check(function, pair):
        """For every target both ratios are at most the answer's exponential."""
        before, after = pair
        factor = power(function(change(before, after)))
        sum_before, sum_after = sum(map(power, before)), sum(map(power, after))
        for z, w in zip(before, after, strict=True):
            assert sum_after * power(z) <= factor * sum_before * power(w)
            assert sum_before * power(w) <= factor * sum_after * power(z)

    @law
    @given(whole_numbers())
    @hard_cases(hard)
    def test_holds(self, pair):
        """With powers of two, exactly, no target's loss changes by more."""
        self.check(oscillation, pair)

    def test_not_vacuous(self):
        """A logit that falls while a dominant one rises loses 0.999 of the factor."""
        before, after = LOGITS[-1]
        ratio = sum(map(power, after)) * power(before[0]) / (sum(map(power, before)) * power(after[0]))
        reaches("abs_loss_change_le_osc", ratio, power(oscillation(change(before, after))), F(999, 1000))

    def test_needs_its_hypothesis(self):
        """A function that does not turn sums into products, such as a square, breaks it."""
        before, after = [F(1), F(1)], [F(1), F(2)]
        ratio = sum(z**2 for z in after) / sum(z**2 for z in before)
        assert ratio > oscillation(change(before, after)) ** 2


def losses(pair, target):
    """Change of the loss of a target, to 40 digits."""
    before, after = pair

    def value(context):
        old = log_sum(context, before) - as_mpf(context, before[target])
        return log_sum(context, after) - as_mpf(context, after[target]) - old

    return agreed(value)


SMALL_LOGITS = aligned(2, max_size=3, entries=rationals(-8, 8))
REAL = [
    ([F(0), F(0)], [F(0), F(1, 3)]),
    ([F(0), F(8), F(-8)], [F(8), F(0), F(1, 7)]),
    ([F(5)], [F(-1)]),
    ([F(-8), F(8)], [F(8), F(8)]),
    ([F(8), F(-8)], [F(-8), F(8)]),
]


class Test_abs_loss_sub_le_osc(Law):
    """The loss, in nats, changes by at most the oscillation."""

    hard = [(case,) for case in REAL]
    mutants = [
        lambda delta: max(delta),
        lambda delta: oscillation(delta) / 2,
        lambda delta: abs(sum(delta)) / len(delta),
        lambda delta: oscillation(delta) ** 2 / 20,
    ]

    @staticmethod
    def check(function, pair):
        """For every target the change of the loss is at most the answer, but for 1e-38."""
        for target in range(len(pair[0])):
            assert abs(losses(pair, target)) <= function(change(*pair)) + 100 * AGREEMENT

    @law
    @given(SMALL_LOGITS)
    @hard_cases(hard)
    def test_holds(self, pair):
        """With the real exponential no target's loss changes by more."""
        self.check(oscillation, pair)

    def test_not_vacuous(self):
        """A target that nearly alone moves against a dominant logit reaches 0.95 of the bound."""
        pair = REAL[3]
        reaches("abs_loss_sub_le_osc", abs(losses(pair, 0)), oscillation(change(*pair)), F(95, 100))

    def test_needs_its_hypothesis(self):
        """A loss with other logits than those of the change is not bounded."""
        change_elsewhere = oscillation([F(1), F(1)])
        assert abs(losses(REAL[1], 0)) > change_elsewhere


class Test_logPartition_sub_mem(Law):
    """The log of the sum of exponentials moves by a number between the smallest and the largest change."""

    hard = [(case,) for case in REAL]
    mutants = [
        lambda delta: oscillation(delta) / 2,
        lambda delta: oscillation([0, *delta]) * F(-1),
        lambda delta: abs(sum(delta)) / len(delta) / 3,
    ]

    @staticmethod
    def check(function, pair):
        """The move lies in the interval, whose length is the answer."""
        delta = change(*pair)
        low, high = min(delta), min(delta) + function(delta)
        move = agreed(lambda context: log_sum(context, pair[1]) - log_sum(context, pair[0]))
        assert low - 100 * AGREEMENT <= move <= high + 100 * AGREEMENT

    @law
    @given(SMALL_LOGITS)
    @hard_cases(hard)
    def test_holds(self, pair):
        """The move of the log-sum never leaves the interval."""
        self.check(oscillation, pair)

    def test_not_vacuous(self):
        """The upper end is reached up to 1e-6 where only the dominant logit moves."""
        before, after = [F(8), F(-8)], [F(16), F(-8)]
        move = agreed(lambda context: log_sum(context, after) - log_sum(context, before))
        reaches("logPartition_sub_mem", move, oscillation(change(before, after)), 1 - F(1, 10**6))

    def test_needs_its_hypothesis(self):
        """A number that is not the log of the sum of exponentials, such as the largest logit, leaves it."""
        before, after = [F(0)] * 3, [F(0), F(0), F(-1)]
        move_of_log_sum = agreed(lambda context: log_sum(context, after)) - max(before)
        assert not min(change(before, after)) <= move_of_log_sum <= max(change(before, after))


def divergence(pair, weights):
    """Sum over entries of weight times (log p - log p'), to 40 digits."""
    before, after = pair

    def value(context):
        shift = log_sum(context, after) - log_sum(context, before)
        return context.fsum(
            as_mpf(context, w) * (as_mpf(context, a) - as_mpf(context, b) + shift)
            for w, a, b in zip(weights, before, after, strict=True)
        )

    return agreed(value)


FALLEN = ([F(4), F(0)], [F(-60), F(0)])
"""Logits of a nearly sure distribution, and the same with the favourite gone."""


class Test_kl_le_osc(Law):
    """The divergence of the changed distribution is at most the oscillation."""

    hard = [(case, [F(1)] * len(case[0])) for case in REAL] + [(FALLEN, [F(1), F(0)])]
    mutants = [
        lambda delta: max(delta),
        lambda delta: oscillation(delta) / 2,
        lambda delta: oscillation(delta) ** 2 / 100,
    ]

    @staticmethod
    def check(function, pair, raw):
        """For any weights that sum to one, the mean of log p - log p' is at most the answer."""
        weights = [w / sum(raw) for w in raw]
        assert divergence(pair, weights) <= function(change(*pair)) + 100 * AGREEMENT

    @law
    @given(SMALL_LOGITS, st.lists(portions().filter(bool), min_size=3, max_size=3))
    def test_holds(self, pair, raw):
        """No weighting makes the mean larger than the oscillation."""
        self.check(oscillation, pair, raw[: len(pair[0])])

    def test_hard_cases(self):
        """The hard cases hold as well."""
        for case in self.hard:
            self.check(oscillation, *case)

    def test_not_vacuous(self):
        """The distribution itself as weight, nearly sure of a logit that falls by 64, reaches 0.9."""
        before, _ = FALLEN
        own = [agreed(lambda context, z=z: context.exp(as_mpf(context, z) - log_sum(context, before))) for z in before]
        reaches("kl_le_osc", divergence(FALLEN, own), oscillation(change(*FALLEN)), F(9, 10))

    def test_needs_its_hypothesis(self):
        """Weights that sum to more than one exceed the oscillation."""
        pair = ([F(8), F(-8)], [F(-8), F(8)])
        assert divergence(pair, [F(3), F(0)]) > oscillation(change(*pair))
