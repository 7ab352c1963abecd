"""Laws of ``Proofs/Activations.lean``: lengths after norms, folded scales, attention, gates.

The activation of the tests is ``z -> max(0, z)`` and the piecewise linear ``z -> z`` cut to [-1, 1]: both have
``|act z| <= |z|`` and the Lipschitz bound 1, and are exact. Longer than 500 lines because every theorem has its
four tests in one place.
"""

from __future__ import annotations

from fractions import Fraction as F

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from peelverify.bounds.activations import (
    every_input_upper,
    fold_scale,
    gated_error_upper,
    gated_upper,
    layer_norm_radius,
    mixture,
    mixture_upper,
    norm_radius_sq,
)
from peelverify.bounds.vector import norm2_smul_upper
from peelverify.errors import DomainError, ShapeError

from .checking import EQUALITY, NO_HYPOTHESIS, Law, hard_cases, law, reaches
from .oracle import root_upper
from .strategies import HUGE, TINY, ULP, aligned, matrices, numbers, portions, rationals, sizes, vectors

ACTIVATIONS = {"relu": lambda z: max(F(0), z), "cut": lambda z: max(F(-1), min(F(1), z)), "zero": lambda z: F(0)}


def square(x):
    """Oracle: the sum of squares."""
    return sum((a**2 for a in x), F(0))


def minus(x, y):
    """Oracle: the difference of two vectors."""
    return [a - b for a, b in zip(x, y, strict=True)]


def image(a, x):
    """Oracle: A x as a sum of columns."""
    total = [F(0)] * len(a)
    for j, factor in enumerate(x):
        total = [t + factor * row[j] for t, row in zip(total, a, strict=True)]
    return total


def times(scale, x):
    """Oracle: the product entry by entry."""
    return [a * b for a, b in zip(scale, x, strict=True)]


def mixed(weight, value):
    """Oracle: the weighted sum of rows, one row after the other."""
    total = [F(0)] * len(value[0])
    for part, row in zip(weight, value, strict=True):
        total = [t + part * entry for t, entry in zip(total, row, strict=True)]
    return total


def root(x):
    """A number just above the 2-norm."""
    return root_upper(square(x))


def largest(x):
    """The largest absolute value."""
    return max(abs(a) for a in x)


class Test_scaled_norm_le(Law):
    """Scaling each entry by at most g scales a norm bound by g."""

    hard = [([F(2), F(-2)], [F(3), F(4)]), ([F(0)], [HUGE]), ([F(1), F(-5)], [F(0), F(1)]), ([TINY], [HUGE])]
    mutants = [
        lambda g, c: c,
        lambda g, c: g,
        lambda g, c: norm2_smul_upper(g, c) * F(99, 100),
    ]

    @staticmethod
    def check(function, scale, x):
        """The scaled vector is no longer than the answer."""
        assert square(times(scale, x)) <= function(largest(scale), root(x)) ** 2

    @law
    @given(aligned(2))
    @hard_cases([(pair,) for pair in hard])
    def test_holds(self, pair):
        """No scales of at most g make a vector longer."""
        self.check(norm2_smul_upper, *pair)

    def test_not_vacuous(self):
        """Equal scales reach it."""
        reaches("scaled_norm_le", square([F(6), F(-8)]), norm2_smul_upper(F(2), F(5)) ** 2, 1)

    def test_needs_its_hypothesis(self):
        """One larger scale breaks it."""
        assert square(times([2 + ULP, F(2)], [F(3), F(0)])) > norm2_smul_upper(F(2), F(3)) ** 2


def rms_normed(x, up=F(0)):
    """x divided by a number whose square is at least its mean square."""
    rms = root_upper(square(x) / len(x)) + up
    return [a / rms for a in x]


NONZERO = aligned(1).map(lambda pair: pair[0]).filter(any)
NORMED = [[F(3), F(4)], [F(1), F(1), F(1)], [HUGE, TINY], [F(-7)], [F(1), F(0), F(0), F(0)]]


class Test_rmsNorm_radius_sq(Law):
    """After an RMS norm without scales the squared length is at most the dimension."""

    hard = [(x, F(0)) for x in NORMED] + [([F(1), F(1)], F(1))]
    mutants = [
        lambda g, n: n - 1,
        lambda g, n: g * g,
        lambda g, n: norm_radius_sq(g, n) * F(99, 100),
    ]

    @staticmethod
    def check(function, x, up):
        """The squared length is at most the answer."""
        assert square(rms_normed(x, up)) <= function(F(1), len(x))

    @law
    @given(NONZERO, sizes())
    @hard_cases(hard)
    def test_holds(self, x, up):
        """No input is longer after the norm, whatever epsilon stands under the root."""
        self.check(norm_radius_sq, x, up)

    def test_not_vacuous(self):
        """Every input without an epsilon reaches it, up to the root that was rounded up."""
        for x in NORMED:
            reaches("rmsNorm_radius_sq", square(rms_normed(x)), norm_radius_sq(F(1), len(x)), 1 - F(1, 10**15))

    def test_needs_its_hypothesis(self):
        """A divisor below the root mean square leaves a longer vector."""
        assert square([a / (1 - ULP) for a in (F(1), F(1))]) > norm_radius_sq(F(1), 2)
        with pytest.raises(DomainError):
            norm_radius_sq(F(1), 0)


class Test_rmsNorm_radius(Law):
    """With scales of at most g the squared length is at most g^2 times the dimension."""

    hard = [(x, [F(2)] * len(x)) for x in NORMED] + [([F(3), F(4)], [F(0), F(-5)])]
    mutants = [
        lambda g, n: n,
        lambda g, n: g * n,
        lambda g, n: norm_radius_sq(g, n) * F(99, 100),
    ]

    @staticmethod
    def check(function, x, scale):
        """The squared length of the scaled vector is at most the answer."""
        assert square(times(scale, rms_normed(x))) <= function(largest(scale), len(x))

    @law
    @given(aligned(2).filter(lambda pair: any(pair[0])))
    @hard_cases([(case,) for case in hard])
    def test_holds(self, pair):
        """No input and no scales make it longer."""
        self.check(norm_radius_sq, *pair)

    def test_not_vacuous(self):
        """Equal scales reach it, up to the root that was rounded up."""
        x, scale = [F(3), F(4)], [F(2), F(-2)]
        observed = square(times(scale, rms_normed(x)))
        reaches("rmsNorm_radius", observed, norm_radius_sq(F(2), 2), 1 - F(1, 10**15))

    def test_needs_its_hypothesis(self):
        """A scale above g breaks it; a negative g is refused."""
        assert square(times([F(3), F(3)], rms_normed([F(1), F(1)]))) > norm_radius_sq(F(2), 2)
        with pytest.raises(DomainError):
            norm_radius_sq(F(-1), 2)


def layer_normed(x):
    """x without its mean, divided by a number whose square is at least its variance."""
    mean = sum(x) / len(x)
    centred = [a - mean for a in x]
    deviation = root_upper(square(centred) / len(x))
    return [a / deviation for a in centred] if deviation else None


class Test_layerNorm_radius(Law):
    """After a layer norm the length is at most g times the root of the dimension, plus the shift."""

    hard = [
        ([F(1), F(-1)], [F(2), F(2)], [F(3), F(-3)]),
        ([F(3), F(4)], [F(2), F(-2)], [F(0), F(0)]),
        ([F(1), F(0), F(0), F(0)], [F(1)] * 4, [F(9), F(-3), F(-3), F(-3)]),
    ]
    mutants = [
        lambda g, r, b: g * r,
        lambda g, r, b: b,
        lambda g, r, b: layer_norm_radius(g, r, b) * F(9, 10),
        lambda g, r, b: r + b,
    ]

    @staticmethod
    def check(function, x, scale, bias):
        """The scaled and shifted vector is no longer than the answer."""
        normed = layer_normed(x)
        output = [a + b for a, b in zip(times(scale, normed), bias, strict=True)]
        assert square(output) <= function(largest(scale), root_upper(F(len(x))), root(bias)) ** 2

    @law
    @given(aligned(3))
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """No input, scales or shift make it longer."""
        assume(layer_normed(case[0]) is not None)
        self.check(layer_norm_radius, *case)

    def test_not_vacuous(self):
        """A shift along the normalised vector reaches it."""
        x, g, bias = [F(1), F(-1), F(1), F(-1)], F(2), [F(3), F(-3), F(3), F(-3)]
        output = [g * a + b for a, b in zip(layer_normed(x), bias, strict=True)]
        reaches("layerNorm_radius", square(output), layer_norm_radius(g, F(2), F(6)) ** 2, 1 - F(1, 10**15))

    def test_needs_its_hypothesis(self):
        """A root below that of the dimension breaks it; negative numbers are refused."""
        x = [F(1), F(-1), F(1), F(-1)]
        assert square(layer_normed(x)) > layer_norm_radius(F(1), 2 - F(1, 10**6), F(0)) ** 2
        with pytest.raises(DomainError):
            layer_norm_radius(F(1), F(2), F(-1))


@st.composite
def scaled_layers(draw):
    """A matrix, one scale a column, and an input."""
    m, n = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return draw(matrices(m, n)), draw(vectors(n, n)), draw(vectors(n, n))


class Test_mulVec_foldScale(Law):
    """Scaling the input is the same as folding the scales into the matrix."""

    not_applicable = {"test_not_vacuous": EQUALITY, "test_needs_its_hypothesis": NO_HYPOTHESIS}
    hard = [
        ([[F(1), F(2)], [F(3), F(4)]], [F(5), F(-1)], [F(1), F(1)]),
        ([[HUGE]], [TINY], [F(2)]),
        ([[F(1), F(2)], [F(3), F(4)]], [F(0), F(1)], [F(7), F(1)]),
    ]
    mutants = [
        lambda w, scale: w,
        lambda w, scale: [[x * s for x in row] for row, s in zip(w, [*scale, F(1), F(1)], strict=False)],
        lambda w, scale: fold_scale(w, scale[::-1]),
    ]

    @staticmethod
    def check(function, w, scale, z):
        """The folded matrix gives for z what the matrix gives for the scaled z."""
        assert image(function(w, scale), z) == image(w, times(scale, z))

    @law
    @given(scaled_layers())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """The equality holds for every matrix, scale and input."""
        self.check(fold_scale, *case)


@st.composite
def compressed_layers(draw):
    """Two matrices with their scales, and an input before the scales."""
    m, n = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    return draw(matrices(m, n)), draw(matrices(m, n)), draw(vectors(n, n)), draw(vectors(n, n)), draw(vectors(n, n))


class Test_every_input_error(Law):
    """The folded difference times the radius bounds the change of the output for every input."""

    hard = [
        ([[F(3), F(4)]], [[F(0), F(0)]], [F(1), F(1)], [F(1), F(1)], [F(3), F(4)]),
        ([[F(1), F(1)]], [[F(1), F(1)]], [F(1), F(2)], [F(2), F(1)], [F(1), F(-1)]),
        ([[F(1)]], [[F(2)]], [F(1)], [F(3)], [F(-2)]),
    ]
    mutants = [
        lambda c, radius: c,
        lambda c, radius: radius,
        lambda c, radius: every_input_upper(c, radius) * F(99, 100),
    ]

    @staticmethod
    def check(function, w, w_new, scale, scale_new, z):
        """The change of the output is at most the answer."""
        old, new = image(w, times(scale, z)), image(w_new, times(scale_new, z))
        difference = [minus(p, q) for p, q in zip(fold_scale(w_new, scale_new), fold_scale(w, scale), strict=True)]
        frob = root_upper(sum(square(row) for row in difference))
        assert square(minus(new, old)) <= function(frob, root(z)) ** 2

    @law
    @given(compressed_layers())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """No input within the radius changes the output more."""
        self.check(every_input_upper, *case)

    def test_not_vacuous(self):
        """A difference of rank one and an aligned input reach it."""
        reaches("every_input_error", square(image([[F(3), F(4)]], [F(3), F(4)])), every_input_upper(5, 5) ** 2, 1)

    def test_needs_its_hypothesis(self):
        """An input beyond the radius is changed more; negative numbers are refused."""
        assert square(image([[F(3), F(4)]], [F(6), F(8)])) > every_input_upper(5, 5) ** 2
        with pytest.raises(DomainError):
            every_input_upper(F(-1), F(1))


@st.composite
def attention(draw):
    """Weights that sum to at most one, two sets of values, and other weights."""
    k, n = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    raw = [draw(portions()) for _ in range(k)]
    total = sum(raw)
    weight = [part / total for part in raw] if total > 1 else raw
    return weight, draw(matrices(k, n)), draw(matrices(k, n)), draw(vectors(k, k))


ATTENTION = [
    ([F(1, 2), F(1, 2)], [[F(3), F(4)], [F(3), F(4)]], [[F(0), F(0)], [F(0), F(0)]], [F(1), F(-1)]),
    ([F(1)], [[F(-5)]], [[HUGE]], [F(0)]),
    ([F(1, 3), F(2, 3)], [[F(1), F(0)], [F(0), F(1)]], [[F(0), F(1)], [F(1), F(0)]], [F(2, 3), F(1, 3)]),
    ([F(0), F(0)], [[F(1)], [F(1)]], [[F(2)], [F(2)]], [F(0), F(0)]),
]


class Test_attention_norm_le(Law):
    """A mixture is no longer than the sum of the weights times the longest value."""

    hard = [case[:2] for case in ATTENTION]
    mutants = [
        lambda total, c: total,
        lambda total, c: mixture_upper(total, c) * F(9, 10),
        lambda total, c: c / 2,
    ]

    @staticmethod
    def check(function, weight, value):
        """The mixture is no longer than the answer."""
        longest = max(root(row) for row in value)
        assert square(mixed(weight, value)) <= function(sum(weight), longest) ** 2

    @law
    @given(attention())
    @hard_cases([(case,) for case in ATTENTION])
    def test_holds(self, case):
        """No mixture is longer, and `mixture` agrees with a sum of rows."""
        self.check(mixture_upper, *case[:2])
        assert list(mixture(*case[:2])) == mixed(*case[:2])

    def test_not_vacuous(self):
        """Equal values reach it."""
        reaches("attention_norm_le", square(mixture(*ATTENTION[0][:2])), mixture_upper(F(1), F(5)) ** 2, 1)

    def test_needs_its_hypothesis(self):
        """Weights that sum above the total, as after rounding, or that are negative, break it."""
        value = [[F(3), F(4)], [F(3), F(4)]]
        assert square(mixture([F(1, 2), F(1, 2) + ULP], value)) > mixture_upper(F(1), F(5)) ** 2
        assert square(mixture([F(2), F(-1)], [[F(3), F(4)], [F(-3), F(-4)]])) > mixture_upper(F(1), F(5)) ** 2
        with pytest.raises(ShapeError):
            mixture([F(1)], value)


class Test_attention_error_le(Law):
    """With the same weights a mixture changes by at most the largest change of a value."""

    hard = [case[:3] for case in ATTENTION]
    mutants = [
        lambda total, c: total,
        lambda total, c: mixture_upper(total, c) * F(9, 10),
        lambda total, c: c / 2,
    ]

    @staticmethod
    def check(function, weight, value, value_new):
        """The change of the mixture is at most the answer."""
        eps = max(root(minus(p, q)) for p, q in zip(value_new, value, strict=True))
        change = minus(mixed(weight, value_new), mixed(weight, value))
        assert square(change) <= function(sum(weight), eps) ** 2

    @law
    @given(attention())
    @hard_cases([(case,) for case in ATTENTION])
    def test_holds(self, case):
        """No changed values change the mixture more."""
        self.check(mixture_upper, *case[:3])

    def test_not_vacuous(self):
        """Values that all change in one direction reach it."""
        weight, value, value_new, _ = ATTENTION[0]
        change = minus(mixture(weight, value_new), mixture(weight, value))
        reaches("attention_error_le", square(change), mixture_upper(F(1), F(5)) ** 2, 1)

    def test_needs_its_hypothesis(self):
        """One value that changes more breaks it."""
        change = minus(mixture([F(1)], [[5 + ULP]]), mixture([F(1)], [[F(0)]]))
        assert square(change) > mixture_upper(F(1), F(5)) ** 2


class Test_attention_weight_error_le(Law):
    """With other weights a mixture changes by at most the sum of their absolute changes times the longest value."""

    hard = [(weight, value, other) for weight, value, _, other in ATTENTION]
    mutants = [
        lambda total, c: total,
        lambda total, c: mixture_upper(total, c) * F(9, 10),
        lambda total, c: mixture_upper(min(total, 1), c) / 2,
    ]

    @staticmethod
    def check(function, weight, value, weight_new):
        """The change of the mixture is at most the answer."""
        moved = sum(abs(a) for a in minus(weight_new, weight))
        change = minus(mixed(weight_new, value), mixed(weight, value))
        assert square(change) <= function(moved, max(root(row) for row in value)) ** 2

    @law
    @given(attention())
    @hard_cases([(case,) for case in ATTENTION])
    def test_holds(self, case):
        """No changed weights change the mixture more."""
        weight, value, _, other = case
        self.check(mixture_upper, weight, value, other)

    def test_not_vacuous(self):
        """Weight that moves between opposite values reaches it."""
        value = [[F(3), F(4)], [F(-3), F(-4)]]
        change = minus(mixture([F(1), F(0)], value), mixture([F(0), F(1)], value))
        reaches("attention_weight_error_le", square(change), mixture_upper(F(2), F(5)) ** 2, 1)

    def test_needs_its_hypothesis(self):
        """A value that is longer than the bound breaks it; a negative total is refused."""
        change = minus(mixture([F(1)], [[5 + ULP]]), mixture([F(0)], [[5 + ULP]]))
        assert square(change) > mixture_upper(F(1), F(5)) ** 2
        with pytest.raises(DomainError):
            mixture_upper(F(-1), F(5))


GATES = [
    ([F(2), F(2)], [F(3), F(4)], "relu"),
    ([F(-2), F(1)], [F(3), F(4)], "relu"),
    ([HUGE], [TINY], "cut"),
    ([F(1), F(-1)], [F(3), F(4)], "cut"),
    ([F(1)], [F(1)], "zero"),
]


class Test_gated_norm_le(Law):
    """A gated product is no longer than the largest gate input times the length of the value."""

    hard = list(GATES)
    mutants = [lambda m, c: m, lambda m, c: c, lambda m, c: gated_upper(m, c) * F(99, 100)]

    @staticmethod
    def check(function, gate, value, name):
        """The gated product is no longer than the answer."""
        output = times([ACTIVATIONS[name](g) for g in gate], value)
        assert square(output) <= function(largest(gate), root(value)) ** 2

    @law
    @given(aligned(2), st.sampled_from(sorted(ACTIVATIONS)))
    @hard_cases([((gate, value), name) for gate, value, name in hard])
    def test_holds(self, pair, name):
        """No gate within the bound makes it longer."""
        self.check(gated_upper, *pair, name)

    def test_not_vacuous(self):
        """Open gates of one size reach it."""
        reaches("gated_norm_le", square([F(6), F(8)]), gated_upper(F(2), F(5)) ** 2, 1)

    def test_needs_its_hypothesis(self):
        """An activation above its argument, such as one that is 1 at 0, breaks it."""
        assert square(times([F(1), F(1)], [F(3), F(4)])) > gated_upper(F(0), F(5)) ** 2
        with pytest.raises(DomainError):
            gated_upper(F(-1), F(5))


@st.composite
def gates_that_moved(draw):
    """Gate inputs and values before and after."""
    return *draw(aligned(4, entries=rationals() | numbers())), draw(st.sampled_from(sorted(ACTIVATIONS)))


MOVED = [
    ([F(1)], [F(2)], [F(1)], [F(3)], "relu"),
    ([F(0), F(0)], [F(1), F(1)], [F(3), F(4)], [F(3), F(4)], "relu"),
    ([F(1), F(1)], [F(1), F(1)], [F(0), F(0)], [F(3), F(4)], "relu"),
    ([F(-1)], [F(1)], [F(5)], [F(-5)], "cut"),
    ([F(2)], [F(2)], [F(1)], [F(1)], "zero"),
]


class Test_gated_error_le(Law):
    """When gate and value change, a gated product changes by at most the two parts together."""

    hard = list(MOVED)
    mutants = [
        lambda m, dv, v, lip, dg: m * dv,
        lambda m, dv, v, lip, dg: v * lip * dg,
        lambda m, dv, v, lip, dg: gated_error_upper(m, dv, v, lip, dg) * F(99, 100),
        lambda m, dv, v, lip, dg: gated_error_upper(m - dg, dv, v, lip, dg) if m >= dg else m * dv + v * lip * dg,
    ]

    @staticmethod
    def check(function, gate, gate_new, value, value_new, name):
        """The change of the gated product is at most the answer."""
        act = ACTIVATIONS[name]
        old = times([act(g) for g in gate], value)
        new = times([act(g) for g in gate_new], value_new)
        answer = function(
            largest(gate_new), root(minus(value_new, value)), largest(value), F(1), root(minus(gate_new, gate))
        )
        assert square(minus(new, old)) <= answer**2

    @law
    @given(gates_that_moved())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """No change of gate and value changes the product more."""
        self.check(gated_error_upper, *case)

    def test_not_vacuous(self):
        """Changes in one direction reach it: 2 * 3 - 1 * 1 = 2 * 2 + 1 * 1."""
        reaches("gated_error_le", F(2) * 3 - F(1) * 1, gated_error_upper(F(2), F(2), F(1), F(1), F(1)), 1)

    def test_needs_its_hypothesis(self):
        """With the original gate in place of the new one, or a smaller Lipschitz bound, it is too small."""
        assert F(2) * 3 - F(1) * 1 > gated_error_upper(F(1), F(2), F(1), F(1), F(1))
        assert F(2) * 3 - F(1) * 1 > gated_error_upper(F(2), F(2), F(1), 1 - ULP, F(1))
        with pytest.raises(DomainError):
            gated_error_upper(F(1), F(1), F(1), F(-1), F(1))
