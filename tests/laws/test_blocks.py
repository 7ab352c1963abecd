"""Laws of ``Proofs/Blocks.lean``: blocks as functions, their gains, deletion, contraction, relative errors.

A block of the tests is ``x -> max(0, A x + b)``, whose gain is at most the Frobenius norm of A. Longer than 500
lines because every theorem has its four tests in one place.
"""

from __future__ import annotations

from fractions import Fraction as F

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peelverify.bounds.matrix import frob_le, op_norm2_add_upper, op_norm2_mul_upper, residual_upper
from peelverify.bounds.propagation import chain_bound, contraction_factor_sq, relative_step
from peelverify.errors import DomainError

from .checking import Law, hard_cases, law, reaches
from .oracle import root_upper
from .strategies import TINY, ULP, matrices, portions, rationals, sizes, vectors

SHORT = rationals(-4, 4)


def square(x):
    """Oracle: the sum of squares."""
    return sum((a**2 for a in x), F(0))


def plus(x, y):
    """Oracle: the sum of two vectors."""
    return [a + b for a, b in zip(x, y, strict=True)]


def minus(x, y):
    """Oracle: the difference of two vectors."""
    return [a - b for a, b in zip(x, y, strict=True)]


def inner(x, y):
    """Oracle: the inner product."""
    return sum((a * b for a, b in zip(x, y, strict=True)), F(0))


def root(x):
    """A number just above the 2-norm."""
    return root_upper(square(x))


class Block:
    """The function x -> max(0, A x + b), or A x + b if it is linear."""

    def __init__(self, a, b, *, linear=False):
        self.a, self.b, self.linear = a, b, linear

    def __call__(self, x):
        """Apply it."""
        output = plus([inner(row, x) for row in self.a], self.b)
        return output if self.linear else [max(F(0), y) for y in output]

    @property
    def gain(self):
        """A bound on how far it moves two points apart."""
        return root_upper(sum(square(row) for row in self.a))


def number(a, b=0, *, linear=True):
    """The block x -> a x + b on numbers."""
    return Block([[F(a)]], [F(b)], linear=linear)


@st.composite
def blocks(draw, count, size=2):
    """Several blocks on vectors of one size, and two points."""
    made = [
        Block(draw(matrices(size, size, SHORT)), draw(vectors(size, size, SHORT)), linear=draw(st.booleans()))
        for _ in range(count)
    ]
    return made, draw(vectors(size, size, SHORT)), draw(vectors(size, size, SHORT))


ONES = Block([[F(1), F(1)], [F(1), F(1)]], [F(0), F(0)], linear=True)
LINES = [
    ([number(2), number(3)], [F(0)], [F(1)]),
    ([number(-2), number(1, 5, linear=False)], [F(-1)], [F(1)]),
    ([ONES, ONES], [F(0), F(0)], [F(1), F(1)]),
]


class Test_LipschitzLe_of_opNorm2Le(Law):
    """A linear layer moves points apart by at most a bound on its operator norm."""

    hard = [(block, block.gain, x, y) for (block, _), x, y in LINES]
    hard = [*hard, (ONES, 2 - ULP, [F(0), F(0)], [F(1), F(1)]), (number(2), F(2), [F(0)], [F(1)])]
    mutants = [
        lambda a, c: True,
        lambda a, c: frob_le(a, 2 * c),
        lambda a, c: max(abs(x) for row in a for x in row) <= c,
    ]

    @staticmethod
    def check(function, block, c, x, y):
        """If the answer is yes, the outputs are at most c times as far apart as the inputs."""
        if function(block.a, c):
            assert square(minus(block(x), block(y))) <= c * c * square(minus(x, y))

    @law
    @given(blocks(1), rationals(0))
    @hard_cases([(([block], x, y), c) for block, c, x, y in hard])
    def test_holds(self, case, c):
        """Yes is right about any two points."""
        (block,), x, y = case
        self.check(frob_le, block, c, x, y)
        assert frob_le(block.a, block.gain)

    def test_not_vacuous(self):
        """For rank one two points in the long direction reach it."""
        moved = square(minus(ONES([F(1), F(1)]), ONES([F(0), F(0)])))
        assert frob_le(ONES.a, F(2))
        reaches("LipschitzLe.of_opNorm2Le", moved, F(2) ** 2 * 2, 1)

    def test_needs_its_hypothesis(self):
        """Below the norm the answer is no, and two points are further apart."""
        assert not frob_le(ONES.a, 2 - ULP)
        assert square(minus(ONES([F(1), F(1)]), ONES([F(0), F(0)]))) > (2 - ULP) ** 2 * 2


class Test_LipschitzLe_comp(Law):
    """The gains of two layers in a row multiply."""

    hard = list(LINES)
    mutants = [lambda a, b: max(a, b), lambda a, b: a + b - 1, lambda a, b: op_norm2_mul_upper(a, b) * F(99, 100)]

    @staticmethod
    def check(function, pair, x, y):
        """The outputs are at most the answer times as far apart as the inputs."""
        f, g = pair
        moved = square(minus(g(f(x)), g(f(y))))
        assert moved <= function(g.gain, f.gain) ** 2 * square(minus(x, y))

    @law
    @given(blocks(2))
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """No two points are moved further apart."""
        self.check(op_norm2_mul_upper, *case)

    def test_not_vacuous(self):
        """Two lines reach it."""
        f, g = number(2), number(3)
        reaches("LipschitzLe.comp", abs(g(f([F(1)]))[0] - g(f([F(0)]))[0]), op_norm2_mul_upper(3, 2), 1)

    def test_needs_its_hypothesis(self):
        """With a number below one gain points are moved further apart."""
        f, g = number(2), number(3)
        assert abs(g(f([F(1)]))[0] - g(f([F(0)]))[0]) > op_norm2_mul_upper(F(3), 2 - ULP)


class Test_LipschitzLe_add(Law):
    """The gains of two branches that are added up add up."""

    hard = list(LINES)
    mutants = [lambda a, b: max(a, b), lambda a, b: a * b / 2, lambda a, b: op_norm2_add_upper(a, b) * F(9, 10)]

    @staticmethod
    def check(function, pair, x, y):
        """The sums are at most the answer times as far apart as the inputs."""
        f, g = pair
        moved = square(minus(plus(f(x), g(x)), plus(f(y), g(y))))
        assert moved <= function(f.gain, g.gain) ** 2 * square(minus(x, y))

    @law
    @given(blocks(2))
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """No two points are moved further apart by the sum."""
        self.check(op_norm2_add_upper, *case)

    def test_not_vacuous(self):
        """Two lines of one direction reach it."""
        reaches("LipschitzLe.add", F(5), op_norm2_add_upper(number(2).gain, number(3).gain), 1 - F(1, 10**15))

    def test_needs_its_hypothesis(self):
        """With a number below one gain points are moved further apart."""
        f, g = number(2), number(3)
        assert (f([F(1)])[0] + g([F(1)])[0]) > op_norm2_add_upper(F(3), 2 - ULP)


class Test_LipschitzLe_residual(Law):
    """A residual block has gain at most one plus the gain of its branch."""

    hard = [([block], x, y) for (block, _), x, y in LINES]
    mutants = [lambda a: a, lambda a: max(a, 1), lambda a: residual_upper(a) * F(9, 10)]

    @staticmethod
    def check(function, branch, x, y):
        """The outputs are at most the answer times as far apart as the inputs."""
        (f,) = branch
        moved = square(minus(plus(x, f(x)), plus(y, f(y))))
        assert moved <= function(f.gain) ** 2 * square(minus(x, y))

    @law
    @given(blocks(1))
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """No two points are moved further apart by x + f(x)."""
        self.check(residual_upper, *case)

    def test_not_vacuous(self):
        """A branch that points along its input reaches it."""
        reaches("LipschitzLe.residual", F(1) + 2 * F(1), residual_upper(F(2)), 1)

    def test_needs_its_hypothesis(self):
        """With a number below the gain of the branch points are moved further apart."""
        assert F(1) + 2 * F(1) > residual_upper(2 - ULP)


BROKEN_CHAINS = [
    lambda e, chain: chain_bound(e, [(gain, 0) for gain, _ in chain]),
    lambda e, chain: chain_bound(0, chain),
    lambda e, chain: chain_bound(e, chain) * F(9, 10),
    lambda e, chain: max(e, *(delta for _, delta in chain)),
]


class Test_block_error(Law):
    """One block: gain times the error before it, plus what it introduces at the compressed state."""

    hard = [
        ([number(2), number(2, 1)], [F(0)], [F(1)]),
        ([number(2), number(3)], [F(1)], [F(2)]),
        ([number(-1), number(-1, 1)], [F(1)], [F(0)]),
    ]
    mutants = BROKEN_CHAINS

    @staticmethod
    def check(function, pair, x, x_new):
        """The error after the block is at most the answer."""
        f, f_new = pair
        introduced = root(minus(f_new(x_new), f(x_new)))
        answer = function(root(minus(x_new, x)), [(f.gain, introduced)])
        assert square(minus(f_new(x_new), f(x))) <= answer**2

    @law
    @given(blocks(2))
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """No block errs more."""
        self.check(chain_bound, *case)

    def test_not_vacuous(self):
        """Errors of one direction reach it."""
        f, f_new = number(2), number(2, 1)
        reaches("block_error", f_new([F(1)])[0] - f([F(0)])[0], chain_bound(F(1), [(F(2), F(1))]), 1)

    def test_needs_its_hypothesis(self):
        """What is introduced at the original state, in place of the compressed one, is too little."""
        f, f_new = number(2), number(3)
        x, x_new = [F(0)], [F(1)]
        at_original = abs(f_new(x)[0] - f(x)[0])
        assert f_new(x_new)[0] - f(x)[0] > chain_bound(F(1), [(F(2), at_original)])


class Test_two_layer_error(Law):
    """Two compressed layers in a row."""

    hard = [
        ([number(1), number(2), number(2), number(2, 1)], [F(1)], [F(0)]),
        ([number(1), number(1, 1), number(3), number(3)], [F(1)], [F(0)]),
        ([number(1), number(1, 1), number(3), number(3, 1)], [F(1)], [F(0)]),
    ]
    mutants = [*BROKEN_CHAINS[:1], *BROKEN_CHAINS[2:], lambda e, chain: e + chain[0][1]]

    @staticmethod
    def check(function, layers, x, _):
        """The error after the second layer is at most the answer."""
        f, f_new, g, g_new = layers
        first = root(minus(f_new(x), f(x)))
        second = root(minus(g_new(f_new(x)), g(f_new(x))))
        answer = function(first, [(g.gain, second)])
        assert square(minus(g_new(f_new(x)), g(f(x)))) <= answer**2

    @law
    @given(blocks(4))
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """No two layers err more."""
        self.check(chain_bound, *case)

    def test_not_vacuous(self):
        """Errors of one direction reach it."""
        f, f_new, g, g_new = self.hard[2][0]
        observed = g_new(f_new([F(1)]))[0] - g(f([F(1)]))[0]
        reaches("two_layer_error", observed, chain_bound(F(1), [(F(3), F(1))]), 1)

    def test_needs_its_hypothesis(self):
        """With a number below the gain of the second layer the answer is too small."""
        assert F(3) * 1 + 1 > chain_bound(F(1), [(3 - ULP, F(1))])


class Test_deletion_error(Law):
    """Deleting a block replaces it by the identity."""

    hard = [
        ([number(2)], [F(0)], [F(1)]),
        ([number(1, 3)], [F(0)], [F(0)]),
        ([number(F(1, 2), -3)], [F(0)], [F(4)]),
    ]
    mutants = BROKEN_CHAINS

    @staticmethod
    def check(function, block, x, x_new):
        """The error after the deleted block is at most the answer."""
        (f,) = block
        answer = function(root(minus(x_new, x)), [(f.gain, root(minus(x_new, f(x_new))))])
        assert square(minus(x_new, f(x))) <= answer**2

    @law
    @given(blocks(1))
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """No deleted block errs more."""
        self.check(chain_bound, *case)

    def test_not_vacuous(self):
        """A block that shrinks and shifts against the error reaches it."""
        f, x, x_new = number(F(1, 2), -3), [F(0)], [F(4)]
        skipped = abs(x_new[0] - f(x_new)[0])
        reaches("deletion_error", x_new[0] - f(x)[0], chain_bound(F(4), [(F(1, 2), skipped)]), 1)

    def test_needs_its_hypothesis(self):
        """What the block changes at the original state is too little."""
        f, x, x_new = number(F(1, 2)), [F(0)], [F(4)]
        at_original = abs(x[0] - f(x)[0])
        assert x_new[0] - f(x)[0] > chain_bound(F(4), [(F(1, 2), at_original)])


def run(chain, x):
    """The states after each block."""
    states = [x]
    for block in chain:
        states.append(block(states[-1]))
    return states


@st.composite
def models(draw):
    """A chain of blocks and its compression, and where each starts."""
    depth = draw(st.integers(0, 3))
    made, x, x_new = draw(blocks(2 * depth))
    return made[:depth], made[depth:], x, x_new


class Test_states_le_chainBound(Law):
    """The states of two models stay within the chain bound."""

    hard = [
        ([number(2), number(3)], [number(2, 1), number(3, 1)], [F(0)], [F(1)]),
        ([number(2), number(3)], [number(2), number(1)], [F(1)], [F(1)]),
        ([number(-2)], [number(-2, -1)], [F(0)], [F(1)]),
    ]
    mutants = [*BROKEN_CHAINS[:3], lambda e, chain: chain_bound(e, chain[::-1])]

    @staticmethod
    def check(function, original, compressed, x, x_new):
        """The distance of the last states is at most the answer."""
        states, states_new = run(original, x), run(compressed, x_new)
        chain = [
            (block.gain, root(minus(block_new(s), block(s))))
            for block, block_new, s in zip(original, compressed, states_new[:-1], strict=True)
        ]
        answer = function(root(minus(x_new, x)), chain)
        assert square(minus(states_new[-1], states[-1])) <= answer**2

    @law
    @given(models())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """No two models move further apart."""
        self.check(chain_bound, *case)

    def test_not_vacuous(self):
        """Errors of one direction reach it."""
        original, compressed, x, x_new = self.hard[0]
        observed = run(compressed, x_new)[-1][0] - run(original, x)[-1][0]
        reaches("states_le_chainBound", observed, chain_bound(F(1), [(F(2), F(1)), (F(3), F(1))]), 1)

    def test_needs_its_hypothesis(self):
        """Deltas at the original's states are too small where the compressed gain is larger."""
        original, compressed = [number(1), number(1)], [number(1, 1), number(2)]
        states = run(original, [F(0)])
        deltas = [abs(c(s)[0] - o(s)[0]) for o, c, s in zip(original, compressed, states[:-1], strict=True)]
        observed = run(compressed, [F(0)])[-1][0] - states[-1][0]
        assert observed > chain_bound(F(0), [(F(1), delta) for delta in deltas])


@st.composite
def pulled_back(draw):
    """A difference of states and a change that partly points back."""
    d = draw(vectors(2, 2, SHORT).filter(any))
    across = draw(SHORT)
    back = draw(rationals(-2, 2))
    return d, [-back * d[0] - across * d[1], -back * d[1] + across * d[0]]


class Test_residual_contraction(Law):
    """A residual block that points back brings states closer."""

    hard = [
        ([F(1), F(0)], [F(-1, 2), F(0)]),
        ([F(1), F(0)], [F(-1, 2), F(1, 2)]),
        ([F(3), F(4)], [F(-3), F(-4)]),
        ([F(1), F(1)], [F(1), F(1)]),
        ([F(1), F(0)], [F(0), F(1)]),
    ]
    mutants = [
        lambda mu, gain: 1 - 2 * mu,
        lambda mu, gain: (1 - mu) ** 2,
        lambda mu, gain: contraction_factor_sq(mu, gain) * F(9, 10),
        lambda mu, gain: gain * gain,
    ]

    @staticmethod
    def check(function, d, change):
        """The squared distance after the block is at most the answer times the one before it."""
        mu = -inner(d, change) / square(d)
        gain = root_upper(square(change) / square(d))
        assert square(plus(d, change)) <= function(mu, gain) * square(d)

    @law
    @given(pulled_back())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """No difference of states is longer after the block."""
        self.check(contraction_factor_sq, *case)

    def test_not_vacuous(self):
        """With the exact gain it is reached by every difference."""
        d, change = [F(1), F(0)], [F(-1, 2), F(0)]
        reaches("residual_contraction", square(plus(d, change)), contraction_factor_sq(F(1, 2), F(1, 2)), 1)

    def test_needs_its_hypothesis(self):
        """A block that points back less, or gains more, contracts less; a gain below |mu| is refused."""
        d, change = [F(1), F(0)], [F(-1, 2) + ULP, F(0)]
        assert square(plus(d, change)) > contraction_factor_sq(F(1, 2), F(1, 2))
        with pytest.raises(DomainError):
            contraction_factor_sq(F(1), F(1, 2))


@st.composite
def relative_blocks(draw, count):
    """Sizes of states, gains, relative errors, and the part of each that occurs."""
    size = [draw(rationals(1)) for _ in range(count + 1)]
    shrink = [before / after for before, after in zip(size, size[1:], strict=False)]
    gains = [draw(sizes()) for _ in range(count)]
    introduced = [draw(sizes()) for _ in range(count)]
    return size, shrink, gains, introduced, draw(sizes()), [draw(portions()) for _ in range(count + 1)]


def full(size, gains, introduced, r0):
    """Blocks that use all that is allowed."""
    shrink = [before / after for before, after in zip(size, size[1:], strict=False)]
    return size, shrink, gains, introduced, r0, [F(1)] * len(size)


def errors(size, gains, introduced, r0, parts):
    """Absolute errors that satisfy the recurrence, each at a part of what is allowed."""
    found = [parts[0] * r0 * size[0]]
    for n, gain, delta, part in zip(size[1:], gains, introduced, parts[1:], strict=True):
        found.append(part * (gain * found[-1] + delta * n))
    return found


RELATIVE = [
    full([F(2), F(1)], [F(3)], [F(1)], F(5)),
    full([F(1), F(4)], [F(2)], [F(0)], F(1)),
    full([F(1), F(1)], [F(0)], [TINY], F(1)),
]


class Test_relative_step(Law):
    """One block of the relative recurrence."""

    hard = [(case,) for case in RELATIVE]
    mutants = [
        lambda gain, shrink, before, introduced: gain * before + introduced,
        lambda gain, shrink, before, introduced: gain * shrink * before,
        lambda gain, shrink, before, introduced: introduced,
        lambda gain, shrink, before, introduced: relative_step(gain, 1 / shrink, before, introduced),
    ]

    @staticmethod
    def check(function, case):
        """The error after the block is at most the answer times the size after it."""
        size, shrink, gains, introduced, r0, parts = case
        last = errors(size, gains, introduced, r0, parts)[-1]
        assert last <= function(gains[0], shrink[0], r0, introduced[0]) * size[1]

    @law
    @given(relative_blocks(1))
    @hard_cases(hard)
    def test_holds(self, case):
        """No error that satisfies the recurrence is larger relative to the size."""
        self.check(relative_step, case)

    def test_not_vacuous(self):
        """An error that uses all that is allowed reaches it."""
        size, shrink, gains, introduced, r0, parts = RELATIVE[0]
        last = errors(size, gains, introduced, r0, parts)[-1]
        reaches("relative_step", last, relative_step(gains[0], shrink[0], r0, introduced[0]) * size[1], 1)

    def test_needs_its_hypothesis(self):
        """A state that shrinks more than stated breaks it; a negative number is refused."""
        assert 3 * F(5) * 2 + 1 > relative_step(F(3), 2 - ULP, F(5), F(1))
        with pytest.raises(DomainError):
            relative_step(F(3), F(-2), F(5), F(1))


class Test_relative_le_chainBound(Law):
    """The relative recurrence over all blocks obeys the chain bound with gains gain times shrink."""

    hard = [
        *((case,) for case in RELATIVE),
        (full([F(4), F(2), F(1)], [F(3), F(1, 2)], [F(1), F(2)], F(5)),),
        (full([F(1), F(2), F(8)], [F(3), F(5)], [F(1), F(0)], F(1)),),
        (full([F(3)], [], [], F(7)),),
    ]
    mutants = [
        lambda gain, shrink, before, introduced: gain * before + introduced,
        lambda gain, shrink, before, introduced: gain * shrink * before,
        lambda gain, shrink, before, introduced: shrink * before + introduced,
    ]

    @staticmethod
    def check(function, case):
        """Step by step, and as the chain bound of the products, the answer bounds the last error."""
        size, shrink, gains, introduced, r0, parts = case
        relative = r0
        for gain, factor, delta in zip(gains, shrink, introduced, strict=True):
            relative = function(gain, factor, relative, delta)
        steps = [(g * s, d) for g, s, d in zip(gains, shrink, introduced, strict=True)]
        assert relative == chain_bound(r0, steps)
        assert errors(size, gains, introduced, r0, parts)[-1] <= relative * size[-1]

    @law
    @given(st.integers(0, 4).flatmap(relative_blocks))
    @hard_cases(hard)
    def test_holds(self, case):
        """No errors that satisfy the recurrence are larger relative to the last size."""
        self.check(relative_step, case)

    def test_not_vacuous(self):
        """Errors that use all that is allowed reach it."""
        size, shrink, gains, introduced, r0, parts = full([F(4), F(2), F(1)], [F(3), F(1, 2)], [F(1), F(2)], F(5))
        steps = [(g * s, d) for g, s, d in zip(gains, shrink, introduced, strict=True)]
        last = errors(size, gains, introduced, r0, parts)[-1]
        reaches("relative_le_chainBound", last, chain_bound(r0, steps) * size[-1], 1)

    def test_needs_its_hypothesis(self):
        """One state that shrinks more than stated breaks it."""
        size, gains, introduced = [F(4), F(2), F(1)], [F(3), F(1, 2)], [F(1), F(2)]
        last = errors(size, gains, introduced, F(5), [F(1)] * 3)[-1]
        stated = [(F(3) * (2 - ULP), F(1)), (F(1, 2) * 2, F(2))]
        assert last > chain_bound(F(5), stated) * size[-1]


class Test_relative_states_le_chainBound(Law):
    """The relative recurrence bounds the error of the states themselves by a multiple of their length."""

    hard = Test_relative_le_chainBound.hard
    mutants = Test_relative_le_chainBound.mutants

    @staticmethod
    def check(function, case):
        """An error vector of the last length, beside a state of the last size, is within the multiple."""
        size, shrink, gains, introduced, r0, parts = case
        relative = r0
        for gain, factor, delta in zip(gains, shrink, introduced, strict=True):
            relative = function(gain, factor, relative, delta)
        last = errors(size, gains, introduced, r0, parts)[-1]
        error, state = [last * F(3, 5), last * F(4, 5)], [size[-1], F(1, 3)]
        assert square(error) <= relative**2 * square(state)

    @law
    @given(st.integers(0, 4).flatmap(relative_blocks))
    @hard_cases(hard)
    def test_holds(self, case):
        """No states that satisfy the recurrence differ by more."""
        self.check(relative_step, case)

    def test_not_vacuous(self):
        """States that use all that is allowed reach it."""
        size, shrink, gains, introduced, r0, parts = full([F(4), F(2), F(1)], [F(3), F(1, 2)], [F(1), F(2)], F(5))
        steps = [(g * s, d) for g, s, d in zip(gains, shrink, introduced, strict=True)]
        last = errors(size, gains, introduced, r0, parts)[-1]
        bound = chain_bound(r0, steps) ** 2 * square([size[-1]])
        reaches("relative_states_le_chainBound", square([last * F(3, 5), last * F(4, 5)]), bound, 1)

    def test_needs_its_hypothesis(self):
        """A last state that is shorter than stated breaks it."""
        size, shrink, gains, introduced, r0, parts = full([F(4), F(2), F(1)], [F(3), F(1, 2)], [F(1), F(2)], F(5))
        steps = [(g * s, d) for g, s, d in zip(gains, shrink, introduced, strict=True)]
        last = errors(size, gains, introduced, r0, parts)[-1]
        assert square([last]) > chain_bound(r0, steps) ** 2 * square([size[-1] - ULP])
