"""Laws of ``Proofs/Counting.lean``: how many errors can exceed the k-th largest of the others."""

from __future__ import annotations

from fractions import Fraction as F
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peelverify.bounds.counting import count_at_least, kth_largest
from peelverify.errors import DomainError, ShapeError

from .checking import NO_HYPOTHESIS, Law, hard_cases, law, reaches
from .strategies import HUGE, TINY, numbers, vectors

LISTS = [
    [F(3), F(1), F(2)],
    [F(1), F(1), F(1)],
    [F(1), F(2), F(2), F(0), F(2)],
    [HUGE, TINY, F(0)],
    [F(7)],
    [F(5), F(5), F(1), F(1)],
]


def few_values():
    """Lists in which ties are common."""
    return vectors(1, 7, st.sampled_from([F(0), F(1), F(2), HUGE]) | numbers())


class Test_count_few_above_le(Law):
    """At most k entries have at most k entries that are at least as large."""

    not_applicable = {"test_needs_its_hypothesis": NO_HYPOTHESIS}
    hard = [(values, k) for values in LISTS for k in range(len(values) + 1)]
    mutants = [
        lambda x, values: sum(v > x for v in values),
        lambda x, values: count_at_least(x, values) - 1,
        lambda x, values: sum(v == x for v in values),
        lambda x, values: 0,
    ]

    @staticmethod
    def check(function, values, k):
        """The entries with an answer of at most k are at most k."""
        assert sum(function(x, values) <= k for x in values) <= k

    @law
    @given(few_values(), st.integers(0, 7))
    @hard_cases(hard)
    def test_holds(self, values, k):
        """In no list are there more, ties included; the count agrees with sorting."""
        self.check(count_at_least, values, k)
        for x in values:
            assert count_at_least(x, values) == len(values) - sorted(values).index(x)

    def test_not_vacuous(self):
        """Without ties exactly k entries do."""
        values = [F(4), F(1), F(3), F(2)]
        for k in range(1, 5):
            reaches("count_few_above_le", sum(count_at_least(x, values) <= k for x in values), k, 1)


class Test_countAtLeast_lt_of_kthLargest_lt(Law):
    """A number above the k-th largest entry has fewer than k entries at least as large."""

    hard = [(values, k, x) for values in LISTS for k in range(1, len(values) + 1) for x in (F(2), F(3, 2), F(6))]
    mutants = [
        lambda values, k: sorted(values)[k - 1],
        lambda values, k: sorted(values, reverse=True)[min(k, len(values) - 1)],
        lambda values, k: sorted(set(values), reverse=True)[min(k, len(set(values))) - 1] - 1,
        lambda values, k: min(values) - 1,
    ]

    @staticmethod
    def check(function, values, k, x):
        """If the number exceeds the answer, fewer than k entries are at least as large."""
        if x > function(values, k):
            assert sum(v >= x for v in values) < k

    @law
    @given(few_values(), st.integers(1, 7), numbers() | st.sampled_from([F(1), F(2)]))
    @hard_cases(hard)
    def test_holds(self, values, k, x):
        """No larger number has k entries at least as large."""
        self.check(kth_largest, values, min(k, len(values)), x)

    def test_not_vacuous(self):
        """The k-th largest entry itself has at least k, and any larger number has k - 1."""
        values = [F(4), F(1), F(3), F(2)]
        for k in range(1, 5):
            b = kth_largest(values, k)
            assert count_at_least(b, values) == k
            assert count_at_least(b + TINY, values) == k - 1

    def test_needs_its_hypothesis(self):
        """A number that does not exceed it has k entries or more."""
        assert count_at_least(kth_largest([F(1), F(1)], 1), [F(1), F(1)]) == 2


class Test_exists_kthLargest(Law):
    """There is a k-th largest entry for every k from one to the length."""

    hard = [(values, k) for values in LISTS for k in range(1, len(values) + 1)]
    mutants = [
        lambda values, k: sorted(values)[k - 1],
        lambda values, k: values[k - 1],
        lambda values, k: sorted(set(values), reverse=True)[k - 1] if k <= len(set(values)) else -1,
        lambda values, k: kth_largest(values, k) + TINY,
    ]

    @staticmethod
    def check(function, values, k):
        """The answer is an entry, with k entries at least as large and all but k - 1 at most as large."""
        b = function(values, k)
        assert b in values
        assert sum(v >= b for v in values) >= k
        assert sum(v <= b for v in values) >= len(values) - k + 1

    @law
    @given(few_values(), st.integers(1, 7))
    @hard_cases(hard)
    def test_holds(self, values, k):
        """Every list has one, ties counted each."""
        self.check(kth_largest, values, min(k, len(values)))

    def test_not_vacuous(self):
        """The ends are the largest and the smallest entry."""
        assert kth_largest([F(2), F(9), F(4)], 1) == 9
        assert kth_largest([F(2), F(9), F(4)], 3) == 2

    def test_needs_its_hypothesis(self):
        """For k = 0, for k beyond the length, and in an empty list there is none."""
        for k in (0, 3, -1):
            with pytest.raises(DomainError):
                kth_largest([F(1), F(2)], k)
        with pytest.raises(ShapeError):
            kth_largest([], 1)


class Test_conformal_count(Law):
    """Of n + 1 numbers at most k exceed the k-th largest of the other n."""

    hard = [(values, k) for values in LISTS if len(values) > 1 for k in range(1, len(values))]
    mutants = [
        lambda values, k: sorted(values)[k - 1],
        lambda values, k: min(values),
        lambda values, k: kth_largest(values, k) - 1,
        lambda values, k: sorted(values, reverse=True)[min(k, len(values) - 1)],
    ]

    @staticmethod
    def check(function, values, k):
        """Not more than k entries exceed the answer for the others."""
        exceeding = sum(x > function(values[:i] + values[i + 1 :], k) for i, x in enumerate(values))
        assert exceeding <= k

    @law
    @given(vectors(2, 7, st.sampled_from([F(0), F(1), F(2)]) | numbers()), st.integers(1, 6))
    @hard_cases(hard)
    def test_holds(self, values, k):
        """In no list do more exceed, ties included."""
        self.check(kth_largest, values, min(k, len(values) - 1))

    def test_not_vacuous(self):
        """Without ties exactly k do: over all draws of one of five windows the share is k / 5."""
        values = [F(i) for i in range(5)]
        for k in range(1, 5):
            draws = list(permutations(values))
            exceeding = sum(drawn[0] > kth_largest(drawn[1:], k) for drawn in draws)
            reaches("conformal_count", F(exceeding, len(draws)), F(k, 5), 1)

    def test_needs_its_hypothesis(self):
        """A window from elsewhere exceeds always, and >= in place of > fails with ties."""
        values = [F(0)] * 4
        assert F(1) > kth_largest(values, 1)
        tied = [F(1)] * 3
        assert sum(x >= kth_largest(tied[:i] + tied[i + 1 :], 1) for i, x in enumerate(tied)) > 1
