"""Laws of ``Proofs/Universal.lean``: whole blocks, for every input, from bounds on their weights.

Operator norms of the tests are bounded by Frobenius norms just above; activations are ReLU and the identity, both
exact. Longer than 500 lines because every theorem has its four tests in one place.
"""

from __future__ import annotations

from fractions import Fraction as F
from math import isqrt

import mpmath
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from peelverify.bounds.universal import (
    affine_error_upper,
    affine_upper,
    block_error_upper,
    gated_mlp_error_upper,
    heads_error_upper,
    joint_sq_upper,
    mixture_error_upper,
    mlp_error_upper,
    norm_shift_upper,
    score_error_upper,
    softmax_change_upper,
)
from peelverify.errors import DomainError, ShapeError

from .checking import Law, hard_cases, law, reaches
from .oracle import agreed, as_mpf, root_upper
from .strategies import HUGE, TINY, ULP, matrices, portions, rationals, sizes, vectors

SHORT = rationals(-3, 3)


def inner(x, y):
    """Oracle: the inner product."""
    return sum((a * b for a, b in zip(x, y, strict=True)), F(0))


def square(x):
    """Oracle: the squared 2-norm."""
    return inner(x, x)


def plus(x, y):
    """Oracle: the sum of two vectors."""
    return [a + b for a, b in zip(x, y, strict=True)]


def minus(x, y):
    """Oracle: the difference of two vectors."""
    return [a - b for a, b in zip(x, y, strict=True)]


def image(a, x):
    """Oracle: the matrix times the vector."""
    return [inner(row, x) for row in a]


def less(a, b):
    """Oracle: the difference of two matrices."""
    return [minus(p, q) for p, q in zip(a, b, strict=True)]


def length(x):
    """A number just above the 2-norm."""
    return root_upper(square(x))


def norm(a):
    """A bound on the operator norm: just above the Frobenius norm."""
    return root_upper(sum((square(row) for row in a), F(0)))


def relu(x):
    """Oracle: an activation with |act z| <= |z| and Lipschitz bound 1."""
    return [max(a, F(0)) for a in x]


def unit(*entries):
    """A 1 x n matrix, whose Frobenius norm is its operator norm."""
    return [[F(x) for x in entries]]


PLAIN = (unit(3, 4), [F(0)], [F(3, 5), F(4, 5)])
"""A matrix, a bias, and the input that it lengthens most."""


class Test_affine_norm_le(Law):
    """A matrix with a bias makes no vector longer than the answer."""

    hard = [PLAIN, (unit(0, 0), [F(2)], [F(1), F(0)]), (unit(TINY, 0), [F(0)], [HUGE, F(0)])]
    mutants = [
        lambda norm, radius, bias: norm * radius,
        lambda norm, radius, bias: bias,
        lambda norm, radius, bias: (norm * radius + bias) * F(99, 100),
    ]

    @staticmethod
    def check(function, a, b, z):
        """The output is within the answer."""
        assert square(plus(image(a, z), b)) <= function(norm(a), length(z), length(b)) ** 2

    @law
    @given(matrices(2, 2), vectors(2, 2), vectors(2, 2))
    def test_holds(self, a, b, z):
        """Any matrix, bias and input."""
        self.check(affine_upper, a, b, z)

    def test_hard_cases(self):
        """The hard cases hold as well."""
        for case in self.hard:
            self.check(affine_upper, *case)

    def test_not_vacuous(self):
        """The input that is lengthened most, with a bias in its direction, reaches it."""
        a, _, z = PLAIN
        reaches("affine_norm_le", plus(image(a, z), [F(2)])[0], affine_upper(F(5), F(1), F(2)), 1)

    def test_needs_its_hypothesis(self):
        """A longer input breaks it; a negative size is refused."""
        assert image(PLAIN[0], [F(6, 5), F(8, 5)])[0] > affine_upper(F(5), F(1), F(0))
        with pytest.raises(DomainError):
            affine_upper(F(-1), F(1), F(1))


AFFINE = [
    (unit(3, 4), unit(6, 8), [F(0)], [F(1)], [F(0), F(0)], [F(3, 5), F(4, 5)]),
    (unit(1, 0), unit(1, 0), [F(0)], [F(0)], [F(0), F(0)], [F(1), F(0)]),
    (unit(0, 0), unit(0, 1), [F(0)], [F(0)], [F(0), F(0)], [F(0), F(5)]),
    (unit(1, 1), unit(1, 1), [F(0)], [F(7)], [F(1), F(1)], [F(1), F(1)]),
]


def affine_case():
    """Two matrices, two biases, two inputs."""
    return st.tuples(
        matrices(2, 2, SHORT),
        matrices(2, 2, SHORT),
        vectors(2, 2, SHORT),
        vectors(2, 2, SHORT),
        vectors(2, 2, SHORT),
        vectors(2, 2, SHORT),
    )


class Test_affine_error_le(Law):
    """When matrix, bias and input change, the output changes by at most the answer."""

    hard = list(AFFINE)
    mutants = [
        lambda change, radius, norm, shift, bias: change * radius + bias,
        lambda change, radius, norm, shift, bias: norm * shift + bias,
        lambda change, radius, norm, shift, bias: change * radius + norm * shift,
        lambda change, radius, norm, shift, bias: change * (radius - shift) + norm * shift + bias,
    ]

    @staticmethod
    def check(function, a, a_new, b, b_new, z, z_new):
        """The change of the output is within the answer."""
        answer = function(
            norm(less(a_new, a)), length(z_new), norm(a), length(minus(z_new, z)), length(minus(b_new, b))
        )
        change = minus(plus(image(a_new, z_new), b_new), plus(image(a, z), b))
        assert square(change) <= max(answer, F(0)) ** 2

    @law
    @given(affine_case())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """Any change."""
        self.check(affine_error_upper, *case)

    def test_not_vacuous(self):
        """Changes in one direction reach it."""
        a, a_new, b, b_new, z, z_new = AFFINE[0]
        change = minus(plus(image(a_new, z_new), b_new), plus(image(a, z), b))
        reaches("affine_error_le", change[0], affine_error_upper(F(5), F(1), F(5), F(1), F(1)), 1)

    def test_needs_its_hypothesis(self):
        """The old input's length in place of the new one breaks it."""
        a, a_new, b, b_new, z, z_new = AFFINE[0]
        change = minus(plus(image(a_new, z_new), b_new), plus(image(a, z), b))
        assert change[0] > affine_error_upper(F(5), F(0), F(5), F(1), F(1))
        with pytest.raises(DomainError):
            affine_error_upper(F(5), F(1), F(5), F(-1), F(1))


SCORES = [
    ([F(1), F(0)], [F(2), F(0)], [F(1), F(0)], [F(3), F(0)]),
    ([F(0), F(0)], [F(1), F(0)], [F(0), F(0)], [F(5), F(0)]),
    ([F(4), F(0)], [F(4), F(0)], [F(0), F(1)], [F(1), F(0)]),
]


class Test_score_error_le(Law):
    """When query and key change, their inner product rises by at most the answer."""

    hard = list(SCORES)
    mutants = [
        lambda key, dq, query, dk: key * dq,
        lambda key, dq, query, dk: query * dk,
        lambda key, dq, query, dk: (key - dk) * dq + query * dk,
        lambda key, dq, query, dk: dq * dk,
    ]

    @staticmethod
    def check(function, query, query_new, key, key_new):
        """Rise and fall are within the answer."""
        answer = function(
            length(key_new), length(minus(query_new, query)), length(query), length(minus(key_new, key))
        )
        assert abs(inner(query_new, key_new) - inner(query, key)) <= answer

    @law
    @given(vectors(2, 2), vectors(2, 2), vectors(2, 2), vectors(2, 2))
    @hard_cases(hard)
    def test_holds(self, query, query_new, key, key_new):
        """Any queries and keys."""
        self.check(score_error_upper, query, query_new, key, key_new)

    def test_not_vacuous(self):
        """Vectors in one direction reach it: 2 * 3 - 1 * 1 = 3 * 1 + 1 * 2."""
        reaches("score_error_le", F(5), score_error_upper(F(3), F(1), F(1), F(2)), 1)

    def test_needs_its_hypothesis(self):
        """The old key's length in place of the new one breaks it."""
        assert F(5) > score_error_upper(F(1), F(1), F(1), F(2))
        with pytest.raises(DomainError):
            score_error_upper(F(1), F(-1), F(1), F(1))


def softmax_change(scores, changes):
    """Oracle: the sum of the absolute changes of the weights of a softmax, at two precisions that agree."""

    def at(context):
        old = [context.exp(as_mpf(context, s)) for s in scores]
        new = [context.exp(as_mpf(context, s + d)) for s, d in zip(scores, changes, strict=True)]
        return sum(abs(n / sum(new) - o / sum(old)) for n, o in zip(new, old, strict=True))

    return agreed(at)


def half_exponential(changes):
    """A number just above exp of half the spread of the changes."""
    spread = max(changes) - min(changes)
    return agreed(lambda context: context.exp(as_mpf(context, spread / 2))) * (1 + F(1, 10**30))


SOFTMAXES = [
    ([F(0), F(0)], [F(0), F(0)]),
    ([F(0), F(0)], [F(1), F(-1)]),
    ([F(0), F(1)], [F(2), F(0)]),
    ([F(0), F(0), F(0)], [F(8), F(0), F(-8)]),
    ([F(5)], [F(3)]),
]


class Test_softmax_change_le(Law):
    """The weights of a softmax move by at most 2 tanh(spread / 4) in all."""

    hard = list(SOFTMAXES)
    mutants = [
        lambda root: softmax_change_upper(root) * F(99, 100),
        lambda root: (root - 1) / (root + 1),
        lambda root: F(0),
    ]

    @staticmethod
    def check(function, scores, changes):
        """The change of the weights is within the answer."""
        assert softmax_change(scores, changes) <= function(half_exponential(changes)) + F(1, 10**25)

    @law
    @given(st.lists(st.tuples(rationals(-6, 6), rationals(-6, 6)), min_size=1, max_size=4))
    def test_holds(self, pairs):
        """Any scores and changes."""
        self.check(softmax_change_upper, [s for s, _ in pairs], [d for _, d in pairs])

    def test_hard_cases(self):
        """The hard cases hold as well."""
        for case in self.hard:
            self.check(softmax_change_upper, *case)

    def test_not_vacuous(self):
        """Two scores that change places reach it to within a rounding, and it is 2 tanh(spread / 4)."""
        scores, changes = SOFTMAXES[2]
        upper = softmax_change_upper(half_exponential(changes))
        reaches("softmax_change_le", softmax_change(scores, changes), upper, 1 - F(1, 10**25))
        with mpmath.workdps(40):
            assert abs(2 * mpmath.tanh(mpmath.mpf(1) / 2) - as_mpf(mpmath.mp, upper)) < mpmath.mpf(10) ** -25

    def test_needs_its_hypothesis(self):
        """Half the spread breaks it; a root below one is refused."""
        scores, changes = SOFTMAXES[2]
        assert softmax_change(scores, changes) > softmax_change_upper(half_exponential([d / 2 for d in changes]))
        with pytest.raises(DomainError):
            softmax_change_upper(1 - ULP)


def mixed(weights, values):
    """Oracle: the mixture of values by weights."""
    return [inner(weights, column) for column in zip(*values, strict=True)]


MIXTURES = [
    ([F(1), F(0)], [F(0), F(1)], [[F(1), F(0)], [F(-1), F(0)]], [[F(1), F(0)], [F(-3), F(0)]]),
    ([F(1, 2), F(1, 2)], [F(1, 2), F(1, 2)], [[F(1)], [F(1)]], [[F(4)], [F(4)]]),
    ([F(1), F(0)], [F(0), F(1)], [[F(5)], [F(-5)]], [[F(5)], [F(-5)]]),
]


class Test_mixture_error_le(Law):
    """When weights and values change, the mixture changes by at most the answer."""

    hard = list(MIXTURES)
    mutants = [
        lambda shift, total, size: shift,
        lambda shift, total, size: total * size,
        lambda shift, total, size: shift + total * size / 2,
    ]

    @staticmethod
    def check(function, weights, weights_new, values, values_new):
        """The change of the mixture is within the answer."""
        answer = function(
            max(length(minus(n, o)) for n, o in zip(values_new, values, strict=True)),
            sum((abs(n - o) for n, o in zip(weights_new, weights, strict=True)), F(0)),
            max(length(v) for v in values),
        )
        assert square(minus(mixed(weights_new, values_new), mixed(weights, values))) <= answer**2

    @law
    @given(vectors(2, 2), portions(), matrices(2, 2), matrices(2, 2))
    def test_holds(self, weights, part, values, values_new):
        """Any old weights, any new ones that sum to one, any values."""
        self.check(mixture_error_upper, weights, [part, 1 - part], values, values_new)

    def test_hard_cases(self):
        """The hard cases hold as well."""
        for case in self.hard:
            self.check(mixture_error_upper, *case)

    def test_not_vacuous(self):
        """All weight moved from a value to a far one reaches it: 1 - (-3) = 2 + 2 * 1."""
        reaches("mixture_error_le", F(4), mixture_error_upper(F(2), F(2), F(1)), 1)

    def test_needs_its_hypothesis(self):
        """New weights that sum to two break it."""
        old, new = mixed([F(1)], [[F(0)]]), mixed([F(2)], [[F(1)]])
        assert new[0] - old[0] > mixture_error_upper(F(1), F(1), F(0))
        with pytest.raises(DomainError):
            mixture_error_upper(F(1), F(-1), F(1))


HEADS = [
    (unit(3, 4), unit(6, 8), [F(0), F(0)], [F(3, 5), F(4, 5)]),
    (unit(1, 1), unit(1, 1), [F(0), F(0)], [F(1), F(1)]),
    (unit(0, 0), unit(1, 0), [F(2), F(0)], [F(2), F(0)]),
]


class Test_heads_error_le(Law):
    """The output of two heads of one value each changes by at most the answer."""

    hard = list(HEADS)
    mutants = [
        lambda change, size, norm, shift: change * size,
        lambda change, size, norm, shift: norm * shift,
        lambda change, size, norm, shift: change * (size - shift) + norm * shift,
    ]

    @staticmethod
    def check(function, o, o_new, mix, mix_new):
        """The change of the sum over heads is within the answer."""
        answer = function(norm(less(o_new, o)), length(mix_new), norm(o), length(minus(mix_new, mix)))
        heads = [[n * m for n, m in zip(row, mix_new, strict=True)] for row in o_new]
        old = [[n * m for n, m in zip(row, mix, strict=True)] for row in o]
        change = [sum(a, F(0)) - sum(b, F(0)) for a, b in zip(heads, old, strict=True)]
        assert square(change) <= max(answer, F(0)) ** 2

    @law
    @given(matrices(2, 2, SHORT), matrices(2, 2, SHORT), vectors(2, 2, SHORT), vectors(2, 2, SHORT))
    @hard_cases([case for case in hard if len(case[0]) == 2] or [([[F(1)] * 2] * 2, [[F(2)] * 2] * 2, *HEADS[1][2:])])
    def test_holds(self, o, o_new, mix, mix_new):
        """Any matrices and mixtures."""
        self.check(heads_error_upper, o, o_new, mix, mix_new)

    def test_not_vacuous(self):
        """Changes in one direction reach it: 10 - 0 = 5 * 1 + 5 * 1."""
        o, o_new, mix, mix_new = HEADS[0]
        change = image(o_new, mix_new)[0] - image(o, mix)[0]
        reaches("heads_error_le", change, heads_error_upper(F(5), F(1), F(5), F(1)), 1)

    def test_needs_its_hypothesis(self):
        """The norm of one head alone, in place of all together, breaks it."""
        o, _, mix, mix_new = HEADS[1]
        assert image(o, mix_new)[0] - image(o, mix)[0] == 2
        assert square([F(2)]) > heads_error_upper(F(0), F(1), F(1), length(mix_new)) ** 2
        with pytest.raises(DomainError):
            heads_error_upper(F(0), F(1), F(-1), F(1))


class Test_frobLe_of_heads(Law):
    """Mixtures that are bounded head by head are bounded together."""

    hard = [([[F(3)], [F(4)]],), ([[F(1), F(1)], [F(0), F(2)], [F(5), F(0)]],), ([[HUGE], [TINY]],)]
    mutants = [
        lambda sizes: max(size**2 for size in sizes),
        lambda sizes: sum(sizes, F(0)),
        lambda sizes: joint_sq_upper(sizes) / 2,
    ]

    @staticmethod
    def check(function, mixtures):
        """The squared length of all of them is within the answer."""
        answer = function([length(m) for m in mixtures])
        assert square([x for m in mixtures for x in m]) <= answer

    @law
    @given(st.lists(vectors(1, 3), min_size=1, max_size=4))
    @hard_cases(hard)
    def test_holds(self, mixtures):
        """Any mixtures."""
        self.check(joint_sq_upper, mixtures)

    def test_not_vacuous(self):
        """Lengths that are exact give the exact answer."""
        reaches("frobLe_of_heads", square([F(3), F(4)]), joint_sq_upper([F(3), F(4)]), 1)

    def test_needs_its_hypothesis(self):
        """A head that is longer than stated breaks it; no head and a negative size are refused."""
        assert square([F(3), F(4)]) > joint_sq_upper([F(3), 4 - ULP])
        with pytest.raises(ShapeError):
            joint_sq_upper([])
        with pytest.raises(DomainError):
            joint_sq_upper([F(-1)])


def mlp(down, up, u, d, z, act):
    """Oracle: a feed-forward layer without a gate."""
    return plus(image(down, act(plus(image(up, z), u))), d)


MLPS = [
    (unit(1), unit(2), unit(1), unit(3), [F(0)], [F(1)], [F(0)], [F(1)], [F(0)], [F(2)]),
    (unit(1), unit(1), unit(1), unit(1), [F(0)], [F(0)], [F(0)], [F(0)], [F(1)], [F(3)]),
    (unit(1), unit(4), unit(1), unit(1), [F(0)], [F(0)], [F(0)], [F(0)], [F(2)], [F(2)]),
    (unit(0), unit(0), unit(0), unit(0), [F(0)], [F(0)], [F(0)], [F(9)], [F(2)], [F(2)]),
]
"""Down old and new, up old and new, their biases old and new (up, then down), input old and new."""


class Test_mlp_error_le(Law):
    """A feed-forward layer changes by at most the answer when its weights and its input change."""

    hard = list(MLPS)
    mutants = [
        lambda dd, h, d, lip, dh, b: dd * h + b,
        lambda dd, h, d, lip, dh, b: d * lip * dh + b,
        lambda dd, h, d, lip, dh, b: dd * h + d * lip * dh,
        lambda dd, h, d, lip, dh, b: dd * (h - dh) + d * lip * dh + b,
    ]

    @staticmethod
    def check(function, down, down_new, up, up_new, u, u_new, d, d_new, z, z_new):
        """The change of the output is within the answer, for ReLU and for the identity."""
        hidden, hidden_new = plus(image(up, z), u), plus(image(up_new, z_new), u_new)
        answer = function(
            norm(less(down_new, down)),
            length(hidden_new),
            norm(down),
            F(1),
            length(minus(hidden_new, hidden)),
            length(minus(d_new, d)),
        )
        for act in (relu, list):
            change = minus(mlp(down_new, up_new, u_new, d_new, z_new, act), mlp(down, up, u, d, z, act))
            assert square(change) <= max(answer, F(0)) ** 2

    @law
    @given(
        matrices(4, 2, SHORT).map(lambda rows: (rows[:2], rows[2:])),
        matrices(4, 2, SHORT).map(lambda rows: (rows[:2], rows[2:])),
        matrices(6, 2, SHORT),
    )
    def test_holds(self, downs, ups, rest):
        """Any weights and inputs."""
        self.check(mlp_error_upper, *downs, *ups, *rest)

    def test_hard_cases(self):
        """The hard cases hold as well."""
        for case in self.hard:
            self.check(mlp_error_upper, *case)

    def test_not_vacuous(self):
        """Changes in one direction reach it: 2 (3 * 2 + 1) + 1 - 0 = 1 * 7 + 1 * 7 + 1."""
        down, down_new, up, up_new, u, u_new, d, d_new, z, z_new = MLPS[0]
        change = minus(mlp(down_new, up_new, u_new, d_new, z_new, relu), mlp(down, up, u, d, z, relu))
        reaches("mlp_error_le", change[0], mlp_error_upper(F(1), F(7), F(1), F(1), F(7), F(1)), 1)

    def test_needs_its_hypothesis(self):
        """An activation that doubles its input breaks it."""
        down, down_new, up, up_new, u, u_new, d, d_new, z, z_new = MLPS[0]

        def twice(x):
            return [2 * a for a in x]

        change = minus(mlp(down_new, up_new, u_new, d_new, z_new, twice), mlp(down, up, u, d, z, twice))
        assert change[0] > mlp_error_upper(F(1), F(7), F(1), F(1), F(7), F(1))
        with pytest.raises(DomainError):
            mlp_error_upper(F(1), F(1), F(1), F(-1), F(1), F(1))


def gated(down, gate, value, g, v, d, z, act):
    """Oracle: a feed-forward layer with a gate."""
    product = [a * b for a, b in zip(act(plus(image(gate, z), g)), plus(image(value, z), v), strict=True)]
    return plus(image(down, product), d)


GATED = [
    (unit(1), unit(2), unit(1), unit(3), unit(1), unit(2), [F(0)] * 6, [F(1)], [F(2)]),
    (unit(1), unit(1), unit(1), unit(2), unit(1), unit(1), [F(0)] * 6, [F(1)], [F(1)]),
    (unit(1), unit(1), unit(1), unit(1), unit(1), unit(2), [F(0)] * 6, [F(1)], [F(1)]),
    (unit(1), unit(5), unit(1), unit(1), unit(1), unit(1), [F(0)] * 6, [F(1)], [F(1)]),
    (unit(0), unit(0), unit(0), unit(0), unit(0), unit(0), [F(0)] * 5 + [F(7)], [F(1)], [F(1)]),
]
"""Down, gate and value, each old and new; their biases in the same order; input old and new."""


class Test_gatedMlp_error_le(Law):
    """A gated feed-forward layer changes by at most the answer when its weights and its input change."""

    hard = list(GATED)
    mutants = [
        lambda **k: gated_mlp_error_upper(**(k | {"down_change": F(0)})),
        lambda **k: gated_mlp_error_upper(**(k | {"gate_change": F(0)})),
        lambda **k: gated_mlp_error_upper(**(k | {"value_change": F(0)})),
        lambda **k: gated_mlp_error_upper(**(k | {"bias": F(0)})),
        lambda **k: gated_mlp_error_upper(**k) * F(99, 100),
    ]

    @staticmethod
    def sizes(down, down_new, gate, gate_new, value, value_new, biases, z, z_new):
        """What the function takes, from the weights."""
        g, g_new, v, v_new, d, d_new = ([b] * n for b, n in zip(biases, [len(gate)] * 4 + [len(down)] * 2, strict=True))
        gates, gates_new = plus(image(gate, z), g), plus(image(gate_new, z_new), g_new)
        values, values_new = plus(image(value, z), v), plus(image(value_new, z_new), v_new)
        named = {
            "down_change": norm(less(down_new, down)),
            "down": norm(down),
            "gate": max(map(abs, gates_new)),
            "value": max(map(abs, values)),
            "new_value": length(values_new),
            "lipschitz": F(1),
            "gate_change": length(minus(gates_new, gates)),
            "value_change": length(minus(values_new, values)),
            "bias": length(minus(d_new, d)),
        }
        return named, (g, v, d), (g_new, v_new, d_new)

    @classmethod
    def check(cls, function, down, down_new, gate, gate_new, value, value_new, biases, z, z_new):
        """The change of the output is within the answer, for ReLU and for the identity."""
        named, old, new = cls.sizes(down, down_new, gate, gate_new, value, value_new, biases, z, z_new)
        answer = function(**named)
        for act in (relu, list):
            change = minus(
                gated(down_new, gate_new, value_new, *new, z_new, act), gated(down, gate, value, *old, z, act)
            )
            assert square(change) <= answer**2

    @law
    @given(
        st.lists(matrices(2, 2, SHORT), min_size=6, max_size=6),
        vectors(6, 6, SHORT),
        vectors(2, 2, SHORT),
        vectors(2, 2, SHORT),
    )
    def test_holds(self, weights, biases, z, z_new):
        """Any weights and inputs."""
        self.check(gated_mlp_error_upper, *weights, biases, z, z_new)

    def test_hard_cases(self):
        """The hard cases hold as well."""
        for case in self.hard:
            self.check(gated_mlp_error_upper, *case)

    def test_not_vacuous(self):
        """Changes in one direction reach it: 2 * 6 * 4 - 1 = 1 * 6 * 4 + 1 (6 * 3 + 1 * 5)."""
        named, _, _ = self.sizes(*GATED[0])
        reaches("gatedMlp_error_le", F(47), gated_mlp_error_upper(**named), 1 - F(1, 10**12))

    def test_needs_its_hypothesis(self):
        """The old gate in place of the new one breaks it."""
        named, _, _ = self.sizes(*GATED[0])
        assert gated_mlp_error_upper(**(named | {"gate": F(1)})) < 47
        with pytest.raises(DomainError):
            gated_mlp_error_upper(**(named | {"gate": F(-1)}))


def normalised(y, eps):
    """A vector over its divisor, the root of mean square plus eps, which must be rational; and the divisor."""
    mean = square(y) / len(y) + eps
    root = F(isqrt(mean.numerator), isqrt(mean.denominator))
    assert root * root == mean, "the test needs a rational divisor"
    return [x / root for x in y], root


NORMS = [
    ([F(2), F(2)], [F(3), F(-3)], F(0)),
    ([F(1), F(1)], [F(5), F(5)], F(0)),
    ([F(3), F(5)], [F(4), F(0)], F(8)),
    ([F(0), F(0)], [F(3), F(3)], F(16)),
    ([F(1), F(1)], [F(1), F(-1)], F(0)),
    ([F(1, 2), F(1, 2)], [F(1, 2), F(-1, 2)], F(0)),
]


class Test_rmsNorm_lipschitz(Law):
    """An RMS norm carries an error on with a factor of at most one over the smaller divisor."""

    hard = list(NORMS)
    mutants = [
        lambda error, least: error / (2 * least),
        lambda error, least: error,
        lambda error, least: norm_shift_upper(error, least) * F(9, 10),
    ]

    @staticmethod
    def check(function, y, y_new, eps):
        """The change behind the norm is within the answer, for every smaller divisor as well."""
        (z, root), (z_new, root_new) = normalised(y, eps), normalised(y_new, eps)
        for least in (min(root, root_new), min(root, root_new) / 4):
            assert square(minus(z_new, z)) <= function(length(minus(y_new, y)), least) ** 2

    @law
    @given(st.tuples(rationals(1), rationals(-3, 3)), st.tuples(rationals(1), rationals(-3, 3)), rationals(0, 2))
    def test_holds(self, one, two, extra):
        """Vectors whose divisors are rational: multiples of (1 - t^2 - 2t, 1 - t^2 + 2t), with eps to fit."""
        found = []
        for size, t in (one, two):
            found.append([size * (1 - t * t - 2 * t), size * (1 - t * t + 2 * t)])
        assume(all(any(y) for y in found))
        self.check(norm_shift_upper, *found, F(0))
        # the same vector at two lengths, with a positive eps: 3^2 + 4^2 = 5^2
        self.check(norm_shift_upper, [3 * extra, 3 * extra], [F(0), F(0)], 16 * extra**2 if extra else F(1))

    def test_hard_cases(self):
        """The hard cases hold as well."""
        for case in self.hard:
            self.check(norm_shift_upper, *case)

    def test_not_vacuous(self):
        """Two vectors of the smaller length, across from each other, reach it."""
        y, y_new = [F(2), F(2)], [F(2), F(-2)]
        assert normalised(y, F(0)) == ([F(1), F(1)], F(2))
        assert normalised(y_new, F(0)) == ([F(1), F(-1)], F(2))
        reaches("rmsNorm_lipschitz", F(2), norm_shift_upper(F(4), F(2)), 1)

    def test_needs_its_hypothesis(self):
        """The larger divisor in place of the smaller breaks it; zero is refused."""
        (z, small), (z_new, large) = normalised([F(1), F(1)], F(0)), normalised([F(-5), F(-5)], F(0))
        error = length([F(6), F(6)])
        assert square(minus(z_new, z)) > norm_shift_upper(error, large) ** 2
        assert square(minus(z_new, z)) <= norm_shift_upper(error, small) ** 2
        with pytest.raises(DomainError):
            norm_shift_upper(F(1), F(0))


def scaled_block(attention, mlp, x, sequential):
    """Oracle: a block of one number whose parts multiply; its norm is the sign times two."""

    def norm_of(y):
        return F(2) if y >= 0 else F(-2)

    moved = x + attention
    return moved + mlp * norm_of(moved if sequential else x)


BLOCKS = [
    (F(1), F(2), F(3), F(5), F(1)),
    (F(1), F(-2), F(3), F(5), F(1)),
    (F(0), F(0), F(1), F(1), F(-1)),
    (F(-2), F(1), F(1), F(1), F(0)),
    (F(0), F(3), F(1), F(1), F(1)),
    (F(1), F(1), F(0), F(4), F(1)),
]
"""Attention old and new, feed-forward factor old and new, input."""


class Test_sequential_block_error_le(Law):
    """A sequential block changes by at most the two parts together."""

    hard = list(BLOCKS)
    mutants = [
        lambda attention, mlp: attention,
        lambda attention, mlp: mlp,
        lambda attention, mlp: max(attention, mlp),
    ]

    @staticmethod
    def check(function, a, a_new, m, m_new, x):
        """The change is within the answer; the feed-forward part covers a norm that changed its sign."""
        second = max(2 * abs(m_new - m), 2 * abs(m_new + m))
        change = scaled_block(a_new, m_new, x, True) - scaled_block(a, m, x, True)
        assert abs(change) <= function(abs(a_new - a), second)

    @law
    @given(rationals(), rationals(), rationals(), rationals(), rationals())
    @hard_cases(hard)
    def test_holds(self, a, a_new, m, m_new, x):
        """Any block, any input."""
        self.check(block_error_upper, a, a_new, m, m_new, x)

    def test_not_vacuous(self):
        """Both changes in one direction reach it."""
        change = scaled_block(F(2), F(3), F(1), True) - scaled_block(F(0), F(-3), F(1), True)
        reaches("sequential_block_error_le", change, block_error_upper(F(2), F(12)), 1)

    def test_needs_its_hypothesis(self):
        """A feed-forward bound for inputs that did not move is too small when the norm changes its sign."""
        a, a_new, m, m_new, x = F(-2), F(0), F(1), F(1), F(1)
        change = scaled_block(a_new, m_new, x, True) - scaled_block(a, m, x, True)
        assert change > block_error_upper(abs(a_new - a), 2 * abs(m_new - m))
        with pytest.raises(DomainError):
            block_error_upper(F(-1), F(1))


class Test_parallel_block_error_le(Law):
    """A parallel block changes by at most the two parts together, each on the same input."""

    hard = list(BLOCKS)
    mutants = Test_sequential_block_error_le.mutants

    @staticmethod
    def check(function, a, a_new, m, m_new, x):
        """The change is within the answer, with the feed-forward bound of an input that does not move."""
        change = scaled_block(a_new, m_new, x, False) - scaled_block(a, m, x, False)
        assert abs(change) <= function(abs(a_new - a), 2 * abs(m_new - m))

    @law
    @given(sizes(), sizes(), rationals(), rationals(), rationals())
    @hard_cases(hard)
    def test_holds(self, a, a_new, m, m_new, x):
        """Any block, any input."""
        self.check(block_error_upper, a, a_new, m, m_new, x)

    def test_not_vacuous(self):
        """Both changes in one direction reach it."""
        change = scaled_block(F(1), F(5), F(1), False) - scaled_block(F(0), F(3), F(1), False)
        reaches("parallel_block_error_le", change, block_error_upper(F(1), F(4)), 1)

    def test_needs_its_hypothesis(self):
        """In a sequential block the same numbers are too small."""
        a, a_new, m, m_new, x = F(-2), F(0), F(1), F(1), F(1)
        change = scaled_block(a_new, m_new, x, True) - scaled_block(a, m, x, True)
        assert change > block_error_upper(abs(a_new - a), 2 * abs(m_new - m))
