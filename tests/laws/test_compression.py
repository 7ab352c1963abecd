"""Laws of ``Proofs/Compression.lean``: pruning, rounding, factors, compressed layers.

Longer than 500 lines because every theorem has its four tests in one place.
"""

from __future__ import annotations

from fractions import Fraction as F
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from peelverify.bounds.compression import (
    clip,
    dropped_energy,
    dropped_score,
    layer_error_upper,
    magnitude_mask,
    nearer_end,
    product_error_upper,
    pruned,
    quantize_frob_sq_upper,
    round_nearest,
    score_mask,
    wanda_error_upper,
    wanda_score,
    weight_error_upper,
)
from peelverify.bounds.matrix import op_norm2_add_upper
from peelverify.bounds.vector import dot, dot_upper
from peelverify.errors import DomainError, ShapeError

from .checking import EQUALITY, NO_HYPOTHESIS, Law, hard_cases, law, reaches
from .oracle import root_upper
from .strategies import (
    HUGE,
    TINY,
    ULP,
    aligned,
    matrices,
    numbers,
    rationals,
    signed_portions,
    sizes,
    vectors,
)


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


def table(function, a, b):
    """Oracle: two matrices combined entry by entry."""
    return [[function(p, q) for p, q in zip(r, s, strict=True)] for r, s in zip(a, b, strict=True)]


def times(a, b):
    """Oracle: the product of two matrices, column by column."""
    columns = [image(a, column) for column in zip(*b, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def frob_root(a):
    """A number just above the Frobenius norm, so above the operator norm."""
    return root_upper(sum(square(row) for row in a))


def without(w, keep):
    """Oracle: the weights times their mask."""
    return [a * k for a, k in zip(w, keep, strict=True)]


def masks(length):
    """Every mask of a length."""
    return list(product((False, True), repeat=length))


@st.composite
def masked(draw, entries=None, *, max_size=5):
    """Weights and a mask."""
    w = draw(vectors(1, max_size, entries))
    return w, draw(st.lists(st.booleans(), min_size=len(w), max_size=len(w)))


MASKED = [
    ([F(3), F(-1), F(2)], [True, False, True]),
    ([F(3), F(-1), F(2)], [False, False, False]),
    ([HUGE, TINY], [False, True]),
    ([F(1), F(2)], [True, True]),
    ([F(-5)], [False]),
]


class Test_prune_error_sq(Law):
    """The error of pruning is the energy of what was dropped."""

    not_applicable = {"test_not_vacuous": EQUALITY, "test_needs_its_hypothesis": NO_HYPOTHESIS}
    hard = list(MASKED)
    mutants = [
        lambda w, keep: dropped_energy(w, [not k for k in keep]),
        lambda w, keep: dropped_score(w, keep),
        lambda w, keep: dropped_energy(w[1:], keep[1:]) if w[1:] else 0,
        lambda w, keep: sum(a * a for a in w),
    ]

    @staticmethod
    def check(function, w, keep):
        """The answer is the squared distance to the pruned weights."""
        assert function(w, keep) == square(minus(w, without(w, keep)))

    @law
    @given(masked())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """The equality holds for every mask, and `pruned` multiplies by the mask."""
        self.check(dropped_energy, *case)
        assert list(pruned(*case)) == without(*case)


class Test_prune_error_frobSq(Law):
    """The error of pruning a matrix is the sum over its rows."""

    not_applicable = {"test_not_vacuous": EQUALITY, "test_needs_its_hypothesis": NO_HYPOTHESIS}
    hard = [([case],) for case in MASKED] + [([MASKED[0], MASKED[1]],)]
    mutants = [
        lambda w, keep: dropped_energy(w, keep) ** 2,
        lambda w, keep: abs(dropped_score(w, keep)),
        lambda w, keep: dropped_energy(w, [False] * len(w)),
    ]

    @staticmethod
    def check(function, rows):
        """The answers for the rows add up to the squared Frobenius distance."""
        kept = [without(w, keep) for w, keep in rows]
        distance = sum(a**2 for (w, _), v in zip(rows, kept, strict=True) for a in minus(w, v))
        assert sum(function(w, keep) for w, keep in rows) == distance

    @law
    @given(st.lists(masked(), min_size=1, max_size=3))
    @hard_cases(hard)
    def test_holds(self, rows):
        """The equality holds for a mask of any shape."""
        self.check(dropped_energy, rows)


SCORES = [
    [F(3), F(1), F(2)],
    [F(1), F(1), F(1)],
    [F(0), F(0), F(5)],
    [HUGE, TINY],
    [F(7)],
    [F(1), F(2), F(2), F(0)],
]


class Test_droppedScore_le_of_kept_ge(Law):
    """Keeping the largest scores drops the smallest sum."""

    hard = [(score, kept) for score in SCORES for kept in range(len(score) + 1)]
    mutants = [
        lambda score, kept: tuple(not k for k in score_mask(score, len(score) - kept)),
        lambda score, kept: tuple(i < kept for i in range(len(score))),
        lambda score, kept: score_mask([-s for s in score], kept),
        lambda score, kept: score_mask(score, max(kept - 1, 0)),
    ]

    @staticmethod
    def check(function, score, kept):
        """No mask that keeps at most as many entries drops less."""
        mine = sum(s for s, k in zip(score, function(score, kept), strict=True) if not k)
        for other in masks(len(score)):
            if sum(other) <= kept:
                assert mine <= sum(s for s, k in zip(score, other, strict=True) if not k)

    @law
    @given(vectors(entries=sizes()), st.integers(0, 5))
    @hard_cases(hard)
    def test_holds(self, score, kept):
        """Against every other mask, the largest scores are the best to keep."""
        self.check(score_mask, score, min(kept, len(score)))

    def test_not_vacuous(self):
        """The worst mask drops nine times as much where one score dominates."""
        score = [F(9), F(1)]
        assert dropped_score(score, score_mask(score, 1)) * 9 == dropped_score(score, [False, True])

    def test_needs_its_hypothesis(self):
        """With a negative score, keeping fewer entries drops less."""
        score = [F(-1), F(-2)]
        assert dropped_score(score, score_mask(score, 1)) > dropped_score(score, [False, False])
        with pytest.raises(DomainError):
            score_mask(score, 3)


class Test_scoreMask_kept_ge_dropped(Law):
    """No kept score is below a dropped one."""

    not_applicable = {"test_needs_its_hypothesis": NO_HYPOTHESIS}
    hard = Test_droppedScore_le_of_kept_ge.hard
    mutants = [
        lambda score, kept: tuple(i < kept for i in range(len(score))),
        lambda score, kept: score_mask([-s for s in score], kept),
        lambda score, kept: score_mask(score[::-1], kept),
    ]

    @staticmethod
    def check(function, score, kept):
        """Every kept score is at least every dropped one."""
        keep = function(score, kept)
        assert all(score[i] >= score[j] for i in range(len(keep)) for j in range(len(keep)) if keep[i] > keep[j])

    @law
    @given(vectors(), st.integers(0, 5))
    @hard_cases(hard)
    def test_holds(self, score, kept):
        """The mask respects the order of any scores, negative ones included."""
        self.check(score_mask, score, min(kept, len(score)))

    def test_not_vacuous(self):
        """Equal scores can be kept and dropped, the first ones are kept."""
        assert score_mask([F(2), F(2), F(2)], 2) == (True, True, False)


class Test_exists_mask(Law):
    """There is a mask of every size."""

    hard = Test_droppedScore_le_of_kept_ge.hard
    mutants = [
        lambda score, kept: tuple(s >= sorted(score)[-max(kept, 1)] for s in score),
        lambda score, kept: score_mask(score, max(kept - 1, 0)),
        lambda score, kept: (True,) * len(score),
    ]

    @staticmethod
    def check(function, score, kept):
        """The mask keeps exactly the number asked for."""
        assert sum(function(score, kept)) == kept

    @law
    @given(vectors(entries=st.sampled_from([F(0), F(1), HUGE])), st.integers(0, 5))
    @hard_cases(hard)
    def test_holds(self, score, kept):
        """Ties are broken so that the count is exact."""
        self.check(score_mask, score, min(kept, len(score)))

    def test_not_vacuous(self):
        """Both ends are reached: a mask that keeps nothing and one that keeps all."""
        assert score_mask([F(1), F(1)], 0) == (False, False)
        assert score_mask([F(1), F(1)], 2) == (True, True)

    def test_needs_its_hypothesis(self):
        """More entries than there are cannot be kept."""
        with pytest.raises(DomainError):
            score_mask([F(1)], 2)


class Test_keptCount_scoreMask(Test_exists_mask):
    """The mask of the largest scores keeps exactly as many entries as asked for."""

    @staticmethod
    def check(function, score, kept):
        """The mask keeps exactly the number asked for, also for scores of either sign."""
        assert sum(function(score, kept)) == kept
        assert sum(function([-s for s in score], kept)) == kept

    @law
    @given(vectors(), st.integers(0, 5))
    @hard_cases(Test_exists_mask.hard)
    def test_holds(self, score, kept):
        """Whatever the scores, the count is exact."""
        self.check(score_mask, score, min(kept, len(score)))


class Test_magnitude_prune_optimal(Law):
    """Keeping the largest magnitudes is best."""

    hard = [(w, kept) for w in [*SCORES, [F(-3), F(1), F(-2)], [F(-1), F(1)]] for kept in range(len(w) + 1)]
    mutants = [
        lambda w, kept: score_mask(w, kept),
        lambda w, kept: tuple(i < kept for i in range(len(w))),
        lambda w, kept: magnitude_mask(w, max(kept - 1, 0)),
    ]

    @staticmethod
    def check(function, w, kept):
        """No mask that keeps at most as many weights has a smaller error."""
        mine = square(minus(w, without(w, function(w, kept))))
        for other in masks(len(w)):
            if sum(other) <= kept:
                assert mine <= square(minus(w, without(w, other)))

    @law
    @given(vectors(), st.integers(0, 5))
    @hard_cases(hard)
    def test_holds(self, w, kept):
        """Against every other mask, the largest magnitudes are the best to keep."""
        self.check(magnitude_mask, w, min(kept, len(w)))

    def test_not_vacuous(self):
        """For equal magnitudes every mask of that size is as good."""
        w = [F(2), F(-2)]
        reaches("magnitude_prune_optimal", dropped_energy(w, magnitude_mask(w, 1)), dropped_energy(w, [False, True]), 1)

    def test_needs_its_hypothesis(self):
        """A mask that keeps a smaller weight is worse, and one that keeps more weights can be better."""
        w = [F(3), F(1)]
        best = dropped_energy(w, magnitude_mask(w, 1))
        assert dropped_energy(w, [False, True]) > best > dropped_energy(w, [True, True])


class Test_magnitudeMask_optimal(Test_magnitude_prune_optimal):
    """The mask that the function gives is best, for every number of kept weights."""

    @law
    @given(vectors(entries=st.sampled_from([F(0), F(1), F(-1), F(2), HUGE])), st.integers(0, 5))
    @hard_cases(Test_magnitude_prune_optimal.hard)
    def test_holds(self, w, kept):
        """Ties included, no other mask of that size is better."""
        self.check(magnitude_mask, w, min(kept, len(w)))

    def test_not_vacuous(self):
        """Keeping nothing costs everything, keeping all costs nothing."""
        w = [F(1), F(-2)]
        assert dropped_energy(w, magnitude_mask(w, 2)) == 0
        reaches("magnitudeMask_optimal", square(w), dropped_energy(w, magnitude_mask(w, 0)), 1)

    def test_needs_its_hypothesis(self):
        """A mask that keeps more weights can be better, and more than there are cannot be kept."""
        w = [F(3), F(1)]
        assert dropped_energy(w, [True, True]) < dropped_energy(w, magnitude_mask(w, 1))
        with pytest.raises(DomainError):
            magnitude_mask(w, 3)


@st.composite
def orthogonal_layers(draw):
    """Features with disjoint supports or from a Hadamard matrix, scaled, and weights for them."""
    scales = draw(vectors(2, 2, rationals()))
    basis = draw(st.sampled_from([[[1, 1], [1, -1]], [[1, 0], [0, 1]], [[2, -1], [1, 2], [0, 0]]]))
    features = [[entry * scale for entry, scale in zip(row, scales, strict=True)] for row in basis]
    return features, draw(vectors(2, 2, rationals()))


def feature_sq(features):
    """Squared norms of the columns."""
    return [square(column) for column in zip(*features, strict=True)]


ORTHOGONAL = [
    ([[F(1), F(1)], [F(1), F(-1)]], [F(2), F(1)]),
    ([[F(10), F(0)], [F(0), F(1)]], [F(1), F(5)]),
    ([[F(1), F(0)], [F(0), F(0)]], [F(1), F(5)]),
]
SKEWED = ([[F(1), F(1)], [F(0), F(1, 10)]], [F(1), F(-1)])


class Test_wanda_error_of_orthogonal(Law):
    """With orthogonal features the dropped scores are the output error."""

    not_applicable = {"test_not_vacuous": EQUALITY}
    hard = [(*case, keep) for case in ORTHOGONAL for keep in masks(2)]
    mutants = [
        lambda w, sq: [a * a for a in w],
        lambda w, sq: [abs(a) * s for a, s in zip(w, sq, strict=True)],
        lambda w, sq: wanda_score(w, sq)[::-1],
    ]

    @staticmethod
    def check(function, features, w, keep):
        """The dropped scores add up to the squared change of the outputs."""
        scores = function(w, feature_sq(features))
        assert dropped_score(scores, keep) == square(image(features, minus(w, without(w, keep))))

    @law
    @given(orthogonal_layers(), st.sampled_from(masks(2)))
    @hard_cases([((features, w), keep) for features, w, keep in hard])
    def test_holds(self, case, keep):
        """The equality holds for every mask."""
        self.check(wanda_score, *case, keep)

    def test_needs_its_hypothesis(self):
        """With correlated features the sum of scores is not the error."""
        features, w = SKEWED
        error = square(image(features, w))
        assert dropped_score(wanda_score(w, feature_sq(features)), [False, False]) > 100 * error


class Test_wanda_optimal_of_orthogonal(Law):
    """With orthogonal features keeping the largest scores is best for the neuron."""

    hard = [(*case, kept) for case in ORTHOGONAL for kept in range(3)]
    mutants = [
        lambda w, sq: [a * a for a in w],
        lambda w, sq: [1 / (1 + s) for s in sq],
        lambda w, sq: [-s for s in wanda_score(w, sq)],
    ]

    @staticmethod
    def check(function, features, w, kept):
        """No mask that keeps at most as many weights changes the outputs less."""
        keep = score_mask(function(w, feature_sq(features)), kept)
        mine = square(image(features, minus(w, without(w, keep))))
        for other in masks(len(w)):
            if sum(other) <= kept:
                assert mine <= square(image(features, minus(w, without(w, other))))

    @law
    @given(orthogonal_layers(), st.integers(0, 2))
    @hard_cases([((features, w), kept) for features, w, kept in hard])
    def test_holds(self, case, kept):
        """Against every other mask, the largest scores are the best to keep."""
        self.check(wanda_score, *case, kept)

    def test_not_vacuous(self):
        """Where inputs differ in size, magnitude alone loses four times as much."""
        features, w = ORTHOGONAL[1]
        by_score = score_mask(wanda_score(w, feature_sq(features)), 1)
        errors = [square(image(features, minus(w, without(w, k)))) for k in (by_score, magnitude_mask(w, 1))]
        assert errors == [25, 100]

    def test_needs_its_hypothesis(self):
        """With correlated features keeping the largest score can be worse than keeping nothing."""
        features, w = SKEWED
        keep = score_mask(wanda_score(w, feature_sq(features)), 1)
        kept_nothing = square(image(features, w))
        assert square(image(features, minus(w, without(w, keep)))) > 50 * kept_nothing


@st.composite
def neurons(draw):
    """Features of any kind, the weights of one neuron, and a mask."""
    w, keep = draw(masked(max_size=3))
    return draw(matrices(2, len(w))), w, keep


class Test_wanda_error_le(Law):
    """The number of dropped weights times their scores bounds the output error."""

    not_applicable = {"test_needs_its_hypothesis": NO_HYPOTHESIS}
    hard = [
        ([[F(1), F(1)], [F(1), F(1)]], [F(1), F(1)], [False, False]),
        ([[F(1), F(1), F(1)]], [F(1), F(1), F(1)], [False, False, False]),
        ([[HUGE, TINY]], [F(1), F(1)], [False, True]),
        (*SKEWED, [False, False]),
    ]
    mutants = [
        lambda w, sq, keep: dropped_score(wanda_score(w, sq), keep),
        lambda w, sq, keep: wanda_error_upper(w, sq, keep) * (1 - F(1, 10**30)),
        lambda w, sq, keep: 2 * dropped_score(wanda_score(w, sq), keep),
    ]

    @staticmethod
    def check(function, features, w, keep):
        """The squared change of the outputs is at most the answer."""
        error = square(image(features, minus(w, without(w, keep))))
        assert error <= function(w, feature_sq(features), keep)

    @law
    @given(neurons())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """No features make the error larger."""
        self.check(wanda_error_upper, *case)

    def test_not_vacuous(self):
        """Equal features with equal weights reach it; orthogonal ones reach one half."""
        for features, fraction in (([[F(1), F(1)]], 1), (ORTHOGONAL[0][0], F(1, 2))):
            w, keep = [F(1), F(1)], [False, False]
            error = square(image(features, w))
            reaches("wanda_error_le", error, wanda_error_upper(w, feature_sq(features), keep), fraction)


INTERVALS = [
    (F(7, 10), F(0), F(1)),
    (F(1, 2), F(0), F(1)),
    (F(0), F(0), F(0)),
    (F(-1), F(-1), HUGE),
    (1 - ULP, 1 - ULP, F(1)),
]


@st.composite
def intervals(draw):
    """A number and the ends of an interval around it."""
    lower, width, place = draw(numbers()), draw(sizes()), draw(st.fractions(0, 1))
    return lower + place * width, lower, lower + width


class Test_nearerEnd_error(Law):
    """The nearer end is at most half the interval away."""

    hard = list(INTERVALS)
    mutants = [
        lambda w, lower, upper: lower,
        lambda w, lower, upper: upper,
        lambda w, lower, upper: upper if w - lower <= upper - w else lower,
    ]

    @staticmethod
    def check(function, w, lower, upper):
        """The answer is an end, and twice its distance at most the length."""
        end = function(w, lower, upper)
        assert end in (lower, upper)
        assert 2 * abs(w - end) <= upper - lower

    @law
    @given(intervals())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """No number between the ends is moved further."""
        self.check(nearer_end, *case)

    def test_not_vacuous(self):
        """The middle reaches it, and goes to the lower end."""
        end = nearer_end(F(1, 2), F(0), F(1))
        assert end == 0
        reaches("nearerEnd_error", 2 * abs(F(1, 2) - end), 1, 1)

    def test_needs_its_hypothesis(self):
        """A number outside the interval is further than half from both ends, and is refused."""
        assert min(abs(F(2) - 0), abs(F(2) - 1)) > F(1, 2)
        for wrong in ((F(2), F(0), F(1)), (F(0), F(1), F(0))):
            with pytest.raises(DomainError):
                nearer_end(*wrong)


class Test_round_nearest_error(Law):
    """Rounding to a grid moves a number by at most half a step."""

    hard = [
        (F(9, 10), F(1, 2)),
        (F(-7, 10), F(1, 2)),
        (F(1, 4), F(1, 2)),
        (F(-1, 4), F(1, 2)),
        (F(0), HUGE),
        (HUGE, F(1, 3)),
        (TINY, F(1)),
    ]
    mutants = [
        lambda w, step: w // step * step,
        lambda w, step: int(w / step) * step,
        lambda w, step: round_nearest(w, 2 * step),
        lambda w, step: F(round(w)),
    ]

    @staticmethod
    def check(function, w, step):
        """The answer is a multiple of the step, at most half a step away."""
        q = function(w, step)
        assert (q / step).denominator == 1
        assert abs(w - q) <= step / 2

    @law
    @given(numbers(), rationals(1) | st.just(ULP) | st.just(HUGE))
    @hard_cases(hard)
    def test_holds(self, w, step):
        """No number is moved further than half a step."""
        self.check(round_nearest, w, step)

    def test_not_vacuous(self):
        """Half a step is reached, and goes down."""
        assert round_nearest(F(1, 4), F(1, 2)) == 0
        reaches("round_nearest_error", abs(F(1, 4) - round_nearest(F(1, 4), F(1, 2))), F(1, 4), 1)

    def test_needs_its_hypothesis(self):
        """A number beyond the next multiple is further than half a step from both; a step of 0 is refused."""
        assert min(abs(F(3, 2) - 0), abs(F(3, 2) - F(1, 2))) > F(1, 4)
        with pytest.raises(DomainError):
            round_nearest(F(1), F(0))


CLIPPED = [
    (F(7), F(-1), F(4)),
    (F(-7), F(-1), F(4)),
    (F(1), F(-1), F(4)),
    (F(3), F(2), F(2)),
    (HUGE, -TINY, TINY),
]


@st.composite
def ranges(draw):
    """A number and a range that is not empty."""
    lower = draw(numbers())
    return draw(numbers()), lower, lower + draw(sizes())


class Test_clip_mem(Law):
    """Clipping puts a number into the range."""

    hard = list(CLIPPED)
    mutants = [
        lambda w, lower, upper: w,
        lambda w, lower, upper: max(lower, w),
        lambda w, lower, upper: min(w, upper),
        lambda w, lower, upper: lower,
    ]

    @staticmethod
    def check(function, w, lower, upper):
        """The answer lies in the range, and is the number itself if that does."""
        q = function(w, lower, upper)
        assert lower <= q <= upper
        assert not lower <= w <= upper or q == w

    @law
    @given(ranges())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """No number leaves the range."""
        self.check(clip, *case)

    def test_not_vacuous(self):
        """Both ends are reached, and every number between them."""
        assert [clip(F(w), F(0), F(2)) for w in (-1, 0, 1, 2, 3)] == [0, 0, 1, 2, 2]

    def test_needs_its_hypothesis(self):
        """In an empty range nothing lies, and it is refused."""
        with pytest.raises(DomainError):
            clip(F(1), F(2), F(0))


class Test_clip_error(Law):
    """Rounding a clipped number errs by at most the clipped part plus the rounding error."""

    hard = [(case, move) for case in CLIPPED for move in (F(1), F(-1))]
    mutants = [
        lambda w, lower, upper: lower + upper - clip(w, lower, upper) + 9,
        lambda w, lower, upper: (lower + upper) / 2 + w / 2 + 1,
        lambda w, lower, upper: upper + 1,
    ]

    @staticmethod
    def check(function, case, move):
        """Moved by `move`, the answer is nowhere further than from the nearest number of the range."""
        w, lower, upper = case
        nearest = min(max(w, lower), upper)
        q = function(*case) + move
        assert abs(w - q) <= abs(w - nearest) + abs(move)

    @law
    @given(ranges(), numbers())
    @hard_cases(hard)
    def test_holds(self, case, move):
        """No rounding error adds more than itself."""
        self.check(clip, case, move)

    def test_not_vacuous(self):
        """Clipping and rounding in one direction reach it."""
        w, q = F(7), clip(F(7), F(-1), F(4)) - F(1, 2)
        reaches("clip_error", w - q, (7 - 4) + F(1, 2), 1)

    def test_needs_its_hypothesis(self):
        """A rounding error above the stated one breaks it."""
        stated = F(1, 4)
        q = clip(F(7), F(-1), F(4)) - F(1, 2)
        assert abs(7 - q) > (7 - 4) + stated


@st.composite
def rounded(draw):
    """A matrix, a step for each row, and the matrix moved by at most half a step in each entry."""
    w = draw(matrices(2, 3))
    steps = draw(vectors(2, 2, sizes()))
    parts = draw(matrices(2, 3, signed_portions()))
    q = [
        [x + part * step / 2 for x, part in zip(row, portion, strict=True)]
        for row, portion, step in zip(w, parts, steps, strict=True)
    ]
    return w, q, steps


class Test_quantize_frobSq_le(Law):
    """Rounding row by row has a squared error of at most columns (step / 2)^2 for each row."""

    hard = [
        ([[F(0)] * 3] * 2, [[F(1, 2)] * 3, [F(-1)] * 3], [F(1), F(2)]),
        ([[F(0)]], [[F(0)]], [F(0)]),
        ([[HUGE, F(0)]], [[HUGE + TINY, TINY]], [2 * TINY]),
    ]
    mutants = [
        lambda steps, columns: quantize_frob_sq_upper(steps, max(columns - 1, 0)),
        lambda steps, columns: quantize_frob_sq_upper(steps[:1], columns),
        lambda steps, columns: columns * max(steps) ** 2 / 4 * F(99, 100),
        lambda steps, columns: columns * sum(s * s for s in steps) / 12,
    ]

    @staticmethod
    def check(function, w, q, steps):
        """The squared Frobenius error is at most the answer."""
        error = sum(square(minus(a, b)) for a, b in zip(w, q, strict=True))
        assert error <= function(steps, len(w[0]))

    @law
    @given(rounded())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """No rounding within half a step costs more."""
        self.check(quantize_frob_sq_upper, *case)

    def test_not_vacuous(self):
        """Entries in the middle between grid points reach it; even spacing reaches a third."""
        bound = quantize_frob_sq_upper([F(1)], 100)
        reaches("quantize_frobSq_le", 100 * F(1, 4), bound, 1)
        spaced = [F(2 * i + 1, 200) for i in range(100)]
        error = square([w - round_nearest(w, F(1)) for w in spaced])
        reaches("quantize_frobSq_le", error, bound, F(33, 100))

    def test_needs_its_hypothesis(self):
        """An entry that moves by more than half a step breaks it; a negative step is refused."""
        assert (F(1, 2) + ULP) ** 2 > quantize_frob_sq_upper([F(1)], 1)
        with pytest.raises(DomainError):
            quantize_frob_sq_upper([F(-1)], 1)
        with pytest.raises(ShapeError):
            quantize_frob_sq_upper([], 1)


@st.composite
def compressed_layers(draw):
    """Weights, their change, an input, and its change."""
    m, n = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    return draw(matrices(m, n)), draw(matrices(m, n)), draw(vectors(n, n)), draw(vectors(n, n))


LAYERS = [
    ([[F(1)]], [[F(1)]], [F(1)], [F(1)]),
    ([[F(1), F(1)]], [[F(-2), F(-2)]], [F(1), F(1)], [F(-3), F(-3)]),
    ([[F(3), F(0)], [F(0), F(4)]], [[F(0), F(0)], [F(0), F(1)]], [F(0), F(1)], [F(0), F(1)]),
]


class Test_weight_error(Law):
    """The change of the weights times the length of the input bounds the change of the output."""

    hard = [(d, x) for _, d, x, _ in LAYERS]
    mutants = [
        lambda eps, radius: max(eps, radius),
        lambda eps, radius: weight_error_upper(eps, radius) * F(99, 100),
        lambda eps, radius: eps,
    ]

    @staticmethod
    def check(function, d, x):
        """The change of the output is at most the answer."""
        assert square(image(d, x)) <= function(frob_root(d), root_upper(square(x))) ** 2

    @law
    @given(compressed_layers())
    @hard_cases([(layer,) for layer in LAYERS])
    def test_holds(self, layer):
        """No input within the radius is changed more."""
        _, d, x, _ = layer
        self.check(weight_error_upper, d, x)

    def test_not_vacuous(self):
        """Rank one and an aligned input reach it."""
        reaches("weight_error", square(image([[F(3), F(4)]], [F(3), F(4)])), weight_error_upper(5, 5) ** 2, 1)

    def test_needs_its_hypothesis(self):
        """An input beyond the radius is changed more; negative numbers are refused."""
        assert square(image([[F(3), F(4)]], [F(6), F(8)])) > weight_error_upper(5, 5) ** 2
        with pytest.raises(DomainError):
            weight_error_upper(F(-1), F(-1))


class Test_layer_error(Law):
    """Weights and input change: gain times input error plus weight error times radius."""

    hard = list(LAYERS)
    mutants = [
        lambda gain, e, eps, radius: gain * e,
        lambda gain, e, eps, radius: eps * radius,
        lambda gain, e, eps, radius: layer_error_upper(gain, e, eps, radius) * F(4, 5),
        lambda gain, e, eps, radius: layer_error_upper(gain, eps, e, radius) / 2,
    ]

    @staticmethod
    def check(function, w, d, x, dx):
        """The change of the output is at most the answer."""
        x_new = [a + b for a, b in zip(x, dx, strict=True)]
        w_new = table(lambda p, q: p + q, w, d)
        change = minus(image(w_new, x_new), image(w, x))
        bounds = (frob_root(w), root_upper(square(dx)), frob_root(d), root_upper(square(x_new)))
        assert square(change) <= function(*bounds) ** 2

    @law
    @given(compressed_layers())
    @hard_cases([(layer,) for layer in LAYERS])
    def test_holds(self, layer):
        """No compressed layer on a compressed input changes its output more."""
        self.check(layer_error_upper, *layer)

    def test_not_vacuous(self):
        """Changes in one direction reach it."""
        change = (F(1) + 1) * (F(1) + 1) - 1
        reaches("layer_error", change, layer_error_upper(1, 1, 1, 2), 1)

    def test_needs_its_hypothesis(self):
        """With the radius of the original input the answer is too small."""
        assert (F(1) + 1) * (F(1) + 1) - 1 > layer_error_upper(1, 1, 1, 1)
        with pytest.raises(DomainError):
            layer_error_upper(F(1), F(1), F(1), F(-2))


@st.composite
def factors(draw):
    """Two matrices that can be multiplied, and a change of each."""
    m, n, p = (draw(st.integers(1, 2)) for _ in range(3))
    return draw(matrices(m, n)), draw(matrices(n, p)), draw(matrices(m, n)), draw(matrices(n, p))


FACTORS = [
    ([[F(1)]], [[F(1)]], [[F(1)]], [[F(1)]]),
    ([[F(2)]], [[F(-1)]], [[F(3)]], [[F(-5)]]),
    ([[F(1), F(1)]], [[F(1)], [F(1)]], [[F(1), F(1)]], [[F(0)], [F(0)]]),
]


class Test_matMul_error(Law):
    """The error of a product of two replaced factors."""

    hard = list(FACTORS)
    mutants = [
        lambda a, b, ea, eb: ea * b,
        lambda a, b, ea, eb: a * eb,
        lambda a, b, ea, eb: ea * eb,
        lambda a, b, ea, eb: product_error_upper(a, b, ea, eb) * F(9, 10),
    ]

    @staticmethod
    def check(function, a, b, da, db):
        """The product changes every unit vector, and their sum, by at most the answer."""
        new_a, new_b = table(lambda p, q: p + q, a, da), table(lambda p, q: p + q, b, db)
        error = table(lambda p, q: p - q, times(new_a, new_b), times(a, b))
        answer = function(frob_root(a), frob_root(new_b), frob_root(da), frob_root(db))
        width = len(error[0])
        for x in [[F(i == j) for j in range(width)] for i in range(width)] + [[F(1)] * width]:
            assert square(image(error, x)) <= answer**2 * square(x)

    @law
    @given(factors())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """No two replaced factors change the product more."""
        self.check(product_error_upper, *case)

    def test_not_vacuous(self):
        """Numbers of one sign reach it."""
        reaches("matMul_error", F(2) * 2 - F(1) * 1, product_error_upper(1, 2, 1, 1), 1)

    def test_needs_its_hypothesis(self):
        """With the norm of the original right factor the answer is too small."""
        assert F(2) * 2 - F(1) * 1 > product_error_upper(1, 1, 1, 1)
        with pytest.raises(DomainError):
            product_error_upper(F(1), F(1), F(-1), F(1))


@st.composite
def truncations(draw):
    """A matrix, a left and a right factor for it, and what truncation takes from the left factor."""
    m, n, p = (draw(st.integers(1, 2)) for _ in range(3))
    return draw(matrices(m, p)), draw(matrices(m, n)), draw(matrices(m, n)), draw(matrices(n, p))


class Test_lowRank_error(Law):
    """A truncated left factor adds its error times the norm of the right factor."""

    hard = [
        ([[F(7)]], [[F(2)]], [[F(1)]], [[F(3)]]),
        ([[F(7)]], [[F(2)]], [[F(2)]], [[F(3)]]),
        ([[F(1), F(0)], [F(0), F(1)]], [[F(1)], [F(0)]], [[F(0)], [F(0)]], [[F(1), F(0)]]),
    ]
    mutants = [lambda a, b: max(a, b), lambda a, b: a, lambda a, b: op_norm2_add_upper(a, b) * F(9, 10)]

    @staticmethod
    def check(function, w, u0, taken, v):
        """W - U V, with U = U0 - taken, changes every unit vector and their sum by at most the answer."""
        before = table(lambda p, q: p - q, w, times(u0, v))
        after = table(lambda p, q: p - q, w, times(table(lambda p, q: p - q, u0, taken), v))
        answer = function(frob_root(before), frob_root(taken) * frob_root(v))
        for x in [*([F(i == j) for j in range(len(w[0]))] for i in range(len(w[0]))), [F(1)] * len(w[0])]:
            assert square(image(after, x)) <= answer**2 * square(x)

    @law
    @given(truncations())
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """No truncation costs more than the sum of both errors."""
        self.check(op_norm2_add_upper, *case)

    def test_not_vacuous(self):
        """Errors of one sign reach it."""
        w, u0, u, v = F(7), F(2), F(1), F(3)
        reaches("lowRank_error", w - u * v, op_norm2_add_upper(w - u0 * v, (u0 - u) * v), 1)

    def test_needs_its_hypothesis(self):
        """Without the norm of the right factor the answer is too small."""
        w, u0, u, v = F(7), F(2), F(1), F(3)
        assert w - u * v > op_norm2_add_upper(w - u0 * v, u0 - u)


class Test_cache_score_error(Law):
    """A key that is off by eps changes a score by at most the query's length times eps."""

    hard = [([F(3), F(4)], [F(3), F(4)]), ([F(1)], [F(1)]), ([HUGE], [TINY]), ([F(0)], [F(1)])]
    mutants = [lambda q, eps: eps, lambda q, eps: max(q, eps), lambda q, eps: dot_upper(q, eps) * F(99, 100)]

    @staticmethod
    def check(function, query, change):
        """The change of the score is at most the answer, in both directions."""
        key = [F(1)] * len(query)
        moved = [k + c for k, c in zip(key, change, strict=True)]
        answer = function(root_upper(square(query)), root_upper(square(change)))
        assert abs(dot(query, moved) - dot(query, key)) <= answer

    @law
    @given(aligned(2))
    @hard_cases([(case,) for case in hard])
    def test_holds(self, case):
        """No rounded key changes a score more."""
        self.check(dot_upper, *case)

    def test_not_vacuous(self):
        """A key that is off along the query reaches it."""
        reaches("cache_score_error", dot([F(3), F(4)], [F(6), F(8)]), dot_upper(F(5), F(10)), 1)

    def test_needs_its_hypothesis(self):
        """A key that is further off changes the score more."""
        assert dot([F(3), F(4)], [F(6), F(8)]) > dot_upper(F(5), 10 - ULP)
