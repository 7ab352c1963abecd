"""Laws of ``Proofs/Propagation.lean``: the chain bound, its parts, and the geometric case."""

from __future__ import annotations

from fractions import Fraction as F
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peelverify.bounds.propagation import (
    chain_bound,
    chain_closed_form,
    chain_shares,
    geometric_bound,
    geometric_limit,
    squared_error_identity,
    telescope,
)
from peelverify.errors import DomainError

from .checking import EQUALITY, NO_HYPOTHESIS, Law, goes_red, hard_cases, law, reaches
from .strategies import HUGE, TINY, ULP, aligned, contractions, numbers, portions, rationals, sizes, steps

CHAINS = [
    (F(0), []),
    (F(1), [(F(0), F(0))]),
    (F(1), [(F(1, 2), F(1, 4)), (F(2), F(1, 3))]),
    (F(3), [(F(5), F(1)), (F(1, 7), F(2)), (F(1), F(0))]),
    (TINY, [(TINY, TINY), (HUGE, HUGE)]),
    (F(1), [(1 + ULP, ULP)] * 12),
]


def affine_product(e0, chain):
    """Oracle: the map x -> a x + b of the whole chain, put together from its last block to its first."""
    a, b = F(1), F(0)
    for gain, delta in reversed(chain):
        a, b = a * gain, a * delta + b
    return a * e0 + b


def errors_of(e0, chain, parts):
    """Errors that satisfy the recurrence, each at the stated part of what it allows."""
    error = [parts[0] * e0]
    for (gain, delta), part in zip(chain, parts[1:], strict=True):
        error.append(part * (gain * error[-1] + delta))
    return error


@st.composite
def chains_with_parts(draw):
    """A chain and, for the start and each block, the part of the allowed error that occurs."""
    e0, chain = draw(sizes()), draw(steps())
    return e0, chain, [draw(portions() | st.just(F(1))) for _ in range(len(chain) + 1)]


class Test_le_chainBound(Law):
    """The recurrence bounds the last error by the chain bound."""

    hard = [((e0, chain, [F(1)] * (len(chain) + 1)),) for e0, chain in CHAINS]
    mutants = [
        lambda e0, chain: chain_bound(e0, chain[::-1]),
        lambda e0, chain: chain_bound(0, chain),
        lambda e0, chain: chain_bound(e0, chain[:-1]),
        lambda e0, chain: chain_bound(e0, [(gain, gain * delta) for gain, delta in chain]),
        lambda e0, chain: chain_bound(e0, chain) * (1 - F(1, 10**30)),
    ]

    @staticmethod
    def check(function, case):
        """The last error is at most the bound."""
        e0, chain, parts = case
        assert errors_of(e0, chain, parts)[-1] <= function(e0, chain)

    @law
    @given(chains_with_parts())
    @hard_cases(hard)
    def test_holds(self, case):
        """No sequence of errors that satisfies the recurrence exceeds the bound."""
        self.check(chain_bound, case)

    def test_not_vacuous(self):
        """Two networks whose blocks err in one direction reach the bound exactly."""
        for e0, chain in CHAINS[2:]:
            kept, compressed = F(7), F(7) + e0
            for gain, delta in chain:
                kept, compressed = gain * kept, gain * compressed + delta
            reaches("le_chainBound", compressed - kept, chain_bound(e0, chain), 1)

    def test_needs_its_hypothesis(self):
        """Errors above the recurrence pass the bound, and a negative gain turns it round."""
        goes_red(self.check, chain_bound, (F(1), [(F(1, 2), F(1, 4))], [F(1), 1 + ULP]))
        with pytest.raises(DomainError):
            chain_bound(F(1), [(F(-1), F(0))])
        error_zero = F(0)  # below e0 = 1, yet -1 * 0 = 0 exceeds -1 * 1
        assert -1 * error_zero > affine_product(F(1), [(F(-1), F(0))])


@st.composite
def chains_that_grow(draw):
    """Two chains of equal length, the second at least the first in every input."""
    e0, chain = draw(sizes()), draw(steps())
    grown = [(gain + draw(sizes()), delta + draw(sizes())) for gain, delta in chain]
    return e0, chain, e0 + draw(sizes()), grown


class Test_chainBound_mono(Law):
    """The chain bound grows with each of its inputs."""

    hard = [
        ((F(0), [], TINY, []),),
        ((F(1), [(F(0), F(1))], F(1), [(TINY, F(1))]),),
        ((F(1), [(F(1), F(1)), (F(2), F(3))], F(1), [(F(1), F(1)), (F(2), F(4))]),),
    ]
    mutants = [
        lambda e0, chain: -chain_bound(e0, chain),
        lambda e0, chain: chain_bound(e0, [(1 / (1 + gain), delta) for gain, delta in chain]),
        lambda e0, chain: chain_bound(e0, [(gain, 1 / (1 + delta)) for gain, delta in chain]),
        lambda e0, chain: chain_bound(1 / (1 + e0), chain),
    ]

    @staticmethod
    def check(function, case):
        """The larger inputs give the larger answer."""
        e0, chain, grown_e0, grown = case
        assert function(e0, chain) <= function(grown_e0, grown)

    @law
    @given(chains_that_grow())
    @hard_cases(hard)
    def test_holds(self, case):
        """Larger inputs never give a smaller bound."""
        self.check(chain_bound, case)

    def test_not_vacuous(self):
        """With positive inputs, each input alone makes the bound strictly larger."""
        chain = [(F(1, 2), F(1, 3)), (F(3), F(1, 5))]
        before = chain_bound(F(1), chain)
        assert chain_bound(1 + TINY, chain) > before
        for t, (gain, delta) in enumerate(chain):
            for step in ((gain + TINY, delta), (gain, delta + TINY)):
                assert chain_bound(F(1), [*chain[:t], step, *chain[t + 1 :]]) > before

    def test_needs_its_hypothesis(self):
        """After a negative delta, a larger gain makes the formula smaller; such a delta is refused."""
        assert affine_product(F(0), [(1, F(-1)), (2, 0)]) < affine_product(F(0), [(1, F(-1)), (1, 0)])
        with pytest.raises(DomainError):
            chain_bound(F(0), [(F(1), F(-1))])


class Test_chainBound_nonneg(Law):
    """The chain bound is not negative."""

    hard = [(case,) for case in CHAINS]
    mutants = [lambda e0, chain: chain_bound(e0, chain) - TINY, lambda e0, chain: -chain_bound(e0, chain)]

    @staticmethod
    def check(function, case):
        """The answer is at least zero."""
        assert function(*case) >= 0

    @law
    @given(st.tuples(sizes(), steps()))
    @hard_cases(hard)
    def test_holds(self, case):
        """No admissible chain has a negative bound."""
        self.check(chain_bound, case)

    def test_not_vacuous(self):
        """Zero is reached, and only where nothing is introduced."""
        assert chain_bound(F(0), [(HUGE, F(0))] * 3) == 0 < chain_bound(F(0), [(HUGE, F(0)), (F(0), TINY)])

    def test_needs_its_hypothesis(self):
        """A negative input gives a negative number, and is refused."""
        assert affine_product(F(-1), [(F(1), F(0))]) < 0
        with pytest.raises(DomainError):
            chain_bound(F(-1), [(F(1), F(0))])


class Test_chainBound_append(Law):
    """A chain may be cut in two."""

    not_applicable = {"test_not_vacuous": EQUALITY, "test_needs_its_hypothesis": NO_HYPOTHESIS}
    hard = [(e0, chain[:1], chain[1:]) for e0, chain in CHAINS]
    mutants = [
        lambda e0, chain: chain_bound(e0, chain[::-1]),
        lambda e0, chain: chain_bound(e0, chain) + 1,
        lambda e0, chain: chain_bound(e0, chain[:-1]),
    ]

    @staticmethod
    def check(function, e0, first, second):
        """The bound of the first part is the incoming error of the second."""
        assert function(e0, first + second) == function(function(e0, first), second)

    @law
    @given(sizes(), steps(3), steps(3))
    @hard_cases(hard)
    def test_holds(self, e0, first, second):
        """Cutting a chain anywhere gives the same number."""
        self.check(chain_bound, e0, first, second)


class Test_chainBound_eq_closedForm(Law):
    """The closed form is the chain bound."""

    not_applicable = {"test_not_vacuous": EQUALITY, "test_needs_its_hypothesis": NO_HYPOTHESIS}
    hard = list(CHAINS)
    mutants = [
        lambda e0, chain: chain_closed_form(0, chain),
        lambda e0, chain: chain_closed_form(e0, chain[::-1]),
        lambda e0, chain: chain_closed_form(e0, [(gain, gain * delta) for gain, delta in chain]),
    ]

    @staticmethod
    def check(function, e0, chain):
        """The answer is the recurrence's, and that of the composed map."""
        assert function(e0, chain) == chain_bound(e0, chain) == affine_product(e0, chain)

    @law
    @given(sizes(), steps())
    @hard_cases(hard)
    def test_holds(self, e0, chain):
        """The sum over blocks equals the recurrence in exact arithmetic."""
        self.check(chain_closed_form, e0, chain)


class Test_chainBound_eq_sum_shares(Law):
    """The shares add up to the chain bound."""

    not_applicable = {"test_not_vacuous": EQUALITY, "test_needs_its_hypothesis": NO_HYPOTHESIS}
    hard = list(CHAINS)
    mutants = [
        lambda e0, chain: chain_shares(e0, chain)[1:],
        lambda e0, chain: chain_shares(e0, chain)[:-1],
        lambda e0, chain: chain_shares(e0, chain[::-1]),
        lambda e0, chain: chain_shares(e0, chain)[::-1],
    ]

    @staticmethod
    def check(function, e0, chain):
        """The shares sum to the bound, and each one is what the bound loses without its error."""
        shares = function(e0, chain)
        bound = affine_product(e0, chain)
        assert len(shares) == len(chain) + 1
        assert sum(shares) == bound
        assert shares[0] == bound - affine_product(0, chain)
        for t, (gain, _) in enumerate(chain):
            assert shares[t + 1] == bound - affine_product(e0, [*chain[:t], (gain, 0), *chain[t + 1 :]])

    @law
    @given(sizes(), steps())
    @hard_cases(hard)
    def test_holds(self, e0, chain):
        """Each share is what its error alone adds to the bound."""
        self.check(chain_shares, e0, chain)


class Test_length_chainShares(Law):
    """There is one share for the incoming error and one for each block."""

    not_applicable = {"test_not_vacuous": EQUALITY, "test_needs_its_hypothesis": NO_HYPOTHESIS}
    hard = list(CHAINS)
    mutants = [
        lambda e0, chain: chain_shares(e0, chain)[1:],
        lambda e0, chain: [*chain_shares(e0, chain), 0],
    ]

    @staticmethod
    def check(function, e0, chain):
        """There are T + 1 shares."""
        assert len(function(e0, chain)) == len(chain) + 1

    @law
    @given(sizes(), steps())
    @hard_cases(hard)
    def test_holds(self, e0, chain):
        """The number of shares is the number of blocks plus one."""
        self.check(chain_shares, e0, chain)


class Test_chainShares_nonneg(Law):
    """No share is negative."""

    hard = list(CHAINS)
    mutants = [
        lambda e0, chain: [share - TINY for share in chain_shares(e0, chain)],
        lambda e0, chain: [b - a for a, b in pairwise([0, *chain_shares(e0, chain)])],
    ]

    @staticmethod
    def check(function, e0, chain):
        """Every share is at least zero."""
        assert all(share >= 0 for share in function(e0, chain))

    @law
    @given(sizes(), steps())
    @hard_cases(hard)
    def test_holds(self, e0, chain):
        """Admissible chains have no negative share."""
        self.check(chain_shares, e0, chain)

    def test_not_vacuous(self):
        """A block that introduces nothing has share zero; any other has a positive share."""
        assert chain_shares(F(0), [(F(2), F(0)), (F(2), TINY)]) == (0, 0, TINY)

    def test_needs_its_hypothesis(self):
        """A negative delta would give a negative share, and is refused."""
        with pytest.raises(DomainError):
            chain_shares(F(0), [(F(1), F(-1))])


GEOMETRIC = [
    (F(1), F(1, 2), F(1, 4), 0),
    (F(1), F(1, 2), F(1, 4), 5),
    (F(0), F(1), F(3), 7),
    (F(5), F(0), F(2), 3),
    (TINY, F(3), HUGE, 4),
]


class Test_le_geometricBound(Law):
    """With one gain and one delta, the errors stay below the geometric bound."""

    hard = [(*case, [F(1)] * 8) for case in GEOMETRIC]
    mutants = [
        lambda e0, gain, delta, blocks: geometric_bound(e0, gain, delta, max(blocks - 1, 0)),
        lambda e0, gain, delta, blocks: geometric_bound(0, gain, delta, blocks),
        lambda e0, gain, delta, blocks: gain**blocks * e0 + delta,
    ]

    @staticmethod
    def check(function, e0, gain, delta, blocks, parts):
        """The last error is at most the bound."""
        error = e0
        for part in parts[:blocks]:
            error = part * (gain * error + delta)
        assert error <= function(e0, gain, delta, blocks)

    @law
    @given(sizes(), sizes(), sizes(), st.integers(0, 8), st.lists(portions(), min_size=8, max_size=8))
    @hard_cases(hard)
    def test_holds(self, e0, gain, delta, blocks, parts):
        """No errors that satisfy the recurrence exceed the bound."""
        self.check(geometric_bound, e0, gain, delta, blocks, parts)

    def test_not_vacuous(self):
        """Errors that use all that the recurrence allows reach the bound."""
        for e0, gain, delta, blocks in GEOMETRIC:
            error = affine_product(e0, [(gain, delta)] * blocks)
            reaches("le_geometricBound", error, geometric_bound(e0, gain, delta, blocks), 1)

    def test_needs_its_hypothesis(self):
        """One block beyond the recurrence breaks the bound, and a negative gain is refused."""
        goes_red(self.check, geometric_bound, F(1), F(1, 2), F(1, 4), 1, [1 + ULP])
        with pytest.raises(DomainError):
            geometric_bound(F(1), F(-1), F(0), 1)


class Test_geometricBound_eq_chainBound(Law):
    """Equal blocks form a special chain."""

    not_applicable = {"test_not_vacuous": EQUALITY, "test_needs_its_hypothesis": NO_HYPOTHESIS}
    hard = list(GEOMETRIC)
    mutants = [
        lambda e0, gain, delta, blocks: geometric_bound(e0, gain, delta, blocks + 1),
        lambda e0, gain, delta, blocks: gain**blocks * e0 + blocks * delta,
    ]

    @staticmethod
    def check(function, e0, gain, delta, blocks):
        """The answer is that of the chain of equal steps."""
        assert function(e0, gain, delta, blocks) == chain_bound(e0, [(gain, delta)] * blocks)

    @law
    @given(sizes(), sizes(), sizes(), st.integers(0, 8))
    @hard_cases(hard)
    def test_holds(self, e0, gain, delta, blocks):
        """The geometric bound is the chain bound of equal blocks."""
        self.check(geometric_bound, e0, gain, delta, blocks)


class Test_geometricBound_eq_closedForm(Law):
    """With a fixed point b, the bound is gain^T (e0 - b) + b."""

    not_applicable = {"test_not_vacuous": EQUALITY}
    hard = [case for case in GEOMETRIC if case[1] != 1]
    mutants = [
        lambda e0, gain, delta, blocks: geometric_bound(e0, gain, delta, blocks + 1),
        lambda e0, gain, delta, blocks: gain**blocks * e0,
    ]

    @staticmethod
    def check(function, e0, gain, delta, blocks):
        """The answer is the closed form at the solution of b = gain b + delta."""
        b = delta / (1 - gain)
        assert function(e0, gain, delta, blocks) == gain**blocks * (e0 - b) + b

    @law
    @given(sizes(), contractions() | rationals(2), sizes(), st.integers(0, 8))
    @hard_cases(hard)
    def test_holds(self, e0, gain, delta, blocks):
        """For every gain but 1 the recurrence has this closed form."""
        self.check(geometric_bound, e0, gain, delta, blocks)

    def test_needs_its_hypothesis(self):
        """For gain 1 no fixed point exists, the bound does, and a wrong b gives another number."""
        assert geometric_bound(F(1), F(1), F(2), 3) == 7
        wrong = F(1)  # 1/2 * 1 + 1/4 is not 1
        assert geometric_bound(F(3), F(1, 2), F(1, 4), 2) != F(1, 4) * (3 - wrong) + wrong


class Test_geometricBound_le_max(Law):
    """Under contraction the error never exceeds the larger of its start and the limit."""

    hard = [
        (F(0), F(1, 2), F(1, 4), 9),
        (F(9), F(1, 2), F(1, 4), 1),
        (F(1), F(0), F(1), 2),
        (TINY, 1 - ULP, F(1), 4),
        (F(0), F(9, 10), F(1), 40),
    ]
    mutants = [
        lambda e0, gain, delta: max(e0, delta),
        lambda e0, gain, delta: e0,
        lambda e0, gain, delta: geometric_limit(0, gain, delta),
        lambda e0, gain, delta: max(e0, geometric_limit(0, gain, delta) * F(9, 10)),
    ]

    @staticmethod
    def check(function, e0, gain, delta, blocks):
        """The bound after any number of blocks is at most the limit."""
        assert affine_product(e0, [(gain, delta)] * blocks) <= function(e0, gain, delta)

    @law
    @given(sizes(), contractions(), sizes(), st.integers(0, 12))
    @hard_cases(hard)
    def test_holds(self, e0, gain, delta, blocks):
        """However many blocks follow, the error stays below the limit."""
        self.check(geometric_limit, e0, gain, delta, blocks)

    def test_not_vacuous(self):
        """Forty blocks of gain 1/2 come within 1e-12 of the limit, and without blocks `e0` is the limit."""
        observed = geometric_bound(F(0), F(1, 2), F(1), 40)
        reaches("geometricBound_le_max", observed, geometric_limit(F(0), F(1, 2), F(1)), 1 - F(1, 10**12))
        reaches("geometricBound_le_max", F(9), geometric_limit(F(9), F(1, 2), F(1)), 1)

    def test_needs_its_hypothesis(self):
        """Without contraction the error passes every level, and the call is refused."""
        assert geometric_bound(F(1), F(1), F(1), 1000) == 1001
        with pytest.raises(DomainError):
            geometric_limit(F(1), F(1), F(1))


class Test_energy_eq_mul_prod(Law):
    """The last energy is the first one times the ratios between neighbours."""

    not_applicable = {"test_not_vacuous": EQUALITY}
    hard = [([F(1)],), ([F(1), F(2), F(6)],), ([HUGE, TINY, F(1)],), ([F(3), F(1, 3), F(5)],)]
    mutants = [
        lambda v0, ratios: telescope(v0, ratios[:-1]),
        lambda v0, ratios: telescope(1, ratios),
        lambda v0, ratios: v0 * sum(ratios, F(0)),
    ]

    @staticmethod
    def check(function, energies):
        """The product of first energy and ratios is the last energy."""
        ratios = [after / before for before, after in pairwise(energies)]
        assert function(energies[0], ratios) == energies[-1]

    @law
    @given(st.lists(rationals(1) | st.just(TINY) | st.just(HUGE), min_size=1, max_size=6))
    @hard_cases(hard)
    def test_holds(self, energies):
        """Energies that are never zero are recovered from their ratios."""
        self.check(telescope, energies)

    def test_needs_its_hypothesis(self):
        """After an energy of zero no ratio leads back to a positive one."""
        with pytest.raises(ZeroDivisionError):
            self.check(telescope, [F(1), F(0), F(5)])
        assert all(telescope(F(1), [F(0), ratio]) != 5 for ratio in (F(0), F(1), HUGE))


class Test_sq_error_decomposition(Law):
    """The squared error is the propagated square, twice the inner product, and the introduced square."""

    not_applicable = {"test_not_vacuous": EQUALITY}
    hard = [
        (([F(4), F(3)], [F(0), F(3)]),),
        (([F(1)], [F(-1)]),),
        (([TINY, HUGE], [HUGE, -TINY]),),
    ]
    mutants = [
        lambda a_sq, inner, delta_sq: a_sq + delta_sq,
        lambda a_sq, inner, delta_sq: a_sq + inner + delta_sq,
        lambda a_sq, inner, delta_sq: a_sq - 2 * inner + delta_sq,
        lambda a_sq, inner, delta_sq: a_sq + 2 * abs(inner) + delta_sq,
    ]

    @staticmethod
    def check(function, vectors):
        """The answer is the square of the sum, entry by entry."""
        p, d = vectors
        a_sq, delta_sq = sum(x * x for x in p), sum(x * x for x in d)
        inner = sum(x * y for x, y in zip(p, d, strict=True))
        assert function(a_sq, inner, delta_sq) == sum((x + y) ** 2 for x, y in zip(p, d, strict=True))

    @law
    @given(aligned(2, entries=numbers()))
    @hard_cases(hard)
    def test_holds(self, vectors):
        """The identity holds for any two vectors."""
        self.check(squared_error_identity, vectors)

    def test_needs_its_hypothesis(self):
        """An error that is not the sum of the two parts has another square."""
        p, d, error = (F(1), F(0)), (F(0), F(1)), (F(1), F(2))
        assert squared_error_identity(1, 0, 1) != sum(x * x for x in error)
        assert error != tuple(x + y for x, y in zip(p, d, strict=True))
