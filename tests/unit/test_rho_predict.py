"""Rank prediction against scipy, its baseline and partial, its p-values, and what it refuses."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peelverify.errors import InputError, NonFiniteError, ShapeError
from peelverify.rho import rank_prediction
from peelverify.rho.predict import _orders, partial_spearman, spearman

numbers = st.lists(st.tuples(*[st.integers(-5, 5)] * 3), min_size=4, max_size=12)


@given(numbers)
def test_spearman_is_that_of_scipy(rows):
    """Ties and all, and NaN where one side does not vary."""
    from scipy.stats import spearmanr

    a, b, _ = map(np.array, zip(*rows, strict=True))
    found = spearman(a, b)
    if len(set(a.tolist())) == 1 or len(set(b.tolist())) == 1:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)


@given(numbers)
def test_partial_is_the_textbook_formula(rows):
    """(r_ab - r_ad r_bd) / sqrt((1 - r_ad^2)(1 - r_bd^2)) wherever that is defined."""
    a, b, d = map(np.array, zip(*rows, strict=True))
    ab, ad, bd = spearman(a, b), spearman(a, d), spearman(b, d)
    found = partial_spearman(a, b, d)
    if any(map(math.isnan, (ab, ad, bd))) or min(1 - ad**2, 1 - bd**2) < 1e-6:
        return
    assert found == pytest.approx((ab - ad * bd) / math.sqrt((1 - ad**2) * (1 - bd**2)), abs=1e-6)


def test_perfect_prediction_beyond_depth():
    """A score that equals the drift has correlation one, and a partial of one given unrelated depth."""
    drift = [3.0, 1.0, 4.0, 1.5, 5.0, 9.0, 2.0, 6.0]
    found = rank_prediction(drift, drift, range(8), permutations=2000)
    assert found.spearman == pytest.approx(1) and found.partial == pytest.approx(1)
    assert found.p < 0.01 and found.partial_p < 0.01


def test_score_that_is_depth_adds_nothing():
    """A score that only restates depth correlates with drift and has no partial correlation."""
    rng = np.random.default_rng(0)
    depth = np.arange(12)
    found = rank_prediction(np.exp(depth), depth + rng.normal(0, 1, 12), depth, permutations=500)
    assert found.spearman > 0.8
    assert found.depth_spearman == pytest.approx(found.spearman)
    assert math.isnan(found.partial) and math.isnan(found.partial_p)
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["partial"] is None


def test_the_sign_is_kept():
    """A score that rises where drift falls has correlation minus one: the wrong sign, not a success."""
    found = rank_prediction([1, 2, 3, 4, 5], [5, 4, 3, 2, 1], [3, 1, 4, 2, 5], permutations=200)
    assert found.spearman == pytest.approx(-1)
    assert found.to_json()["expected_sign"] == 1


def test_groups_are_compared_within_themselves():
    """Two models of opposite scale: pooled ranks would mislead, ranks within each do not."""
    score, drift = [1, 2, 3, 4, 101, 102, 103, 104], [11, 12, 13, 14, 1, 2, 3, 4]
    found = rank_prediction(score, drift, [0, 2, 1, 3] * 2, groups=[0] * 4 + [1] * 4, permutations=500)
    assert found.spearman == pytest.approx(1) and found.groups == 2
    assert spearman(score, drift) < 0


def test_p_values_are_uniform_without_an_effect():
    """On unrelated numbers p is below 0.2 in about a fifth of the cases."""
    rng = np.random.default_rng(3)
    p = [
        rank_prediction(rng.normal(size=10), rng.normal(size=10), range(10), permutations=99, seed=i).p
        for i in range(100)
    ]
    share = np.mean(np.array(p) <= 0.2)
    assert abs(share - 0.2) < 4 * (0.2 * 0.8 / 100) ** 0.5


def _rejections(kind: str, cases: int) -> np.ndarray:
    """Shares of p <= 0.05 of the score, of the score given depth and of depth, where nothing but chance is behind them.

    8 blocks of 7 matrices; the drift has an effect of the block, a fifth of its variance.
    """
    rng = np.random.default_rng(17)
    block = np.repeat(np.arange(8), 7)
    found = []
    for i in range(cases):
        score = rng.normal(size=8)[block]
        if kind == "mixed":
            score = score + rng.normal(size=56)
        drift = 0.5 * rng.normal(size=8)[block] + rng.normal(size=56)
        test = rank_prediction(score, drift, block, permutations=99, seed=i)
        assert test.blocks == 8
        found.append((test.p, test.partial_p, test.depth_p))
    return (np.array(found) <= 0.05).mean(axis=0)


@pytest.mark.parametrize("kind", ["one value a block", "mixed"])
def test_the_level_holds_when_matrices_of_a_block_are_alike(kind):
    """At 5 % about 5 % are rejected; permuting single matrices rejects 19 % of the scores with one value a block.

    With 400 cases four standard errors are 4.4 %.
    """
    shares = _rejections(kind, 400)
    assert (np.abs(shares - 0.05) < 4 * (0.05 * 0.95 / 400) ** 0.5).all()


def test_the_level_holds_given_depth_where_drift_follows_depth():
    """Score and drift that both follow depth, and each other not beyond it: partial p rejects about 5 %."""
    rng = np.random.default_rng(5)
    block = np.repeat(np.arange(10), 4)
    p = []
    for i in range(300):
        score = (np.arange(10) / 3 + rng.normal(size=10))[block]
        drift = (np.arange(10) / 3 + rng.normal(size=10))[block] + rng.normal(size=40)
        p.append(rank_prediction(score, drift, block, permutations=99, seed=i).partial_p)
    assert abs(np.mean(np.array(p) <= 0.05) - 0.05) < 4 * (0.05 * 0.95 / 300) ** 0.5


def test_a_real_effect_of_blocks_is_found():
    """Power: the drift follows the score of its block, and 8 blocks suffice to see it."""
    rng = np.random.default_rng(2)
    block = np.repeat(np.arange(8), 7)
    score = rng.normal(size=8)[block]
    found = rank_prediction(score, score + 0.3 * rng.normal(size=56), block, permutations=999)
    assert found.p < 0.01 and found.partial_p < 0.01


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=3, max_size=30),
    st.integers(0, 2**32 - 1),
)
def test_permutations_move_whole_blocks_within_their_model(rows, seed):
    """Each order is a permutation; a point stays in its model, and a block lands whole on a block of its size."""
    groups, depth = map(np.array, zip(*rows, strict=True))
    for order in _orders(groups, depth, 3, np.random.default_rng(seed)):
        assert sorted(order.tolist()) == list(range(len(rows)))
        assert np.array_equal(groups[order], groups)
        for group in set(groups.tolist()):
            levels = sorted(set(depth[groups == group].tolist()))
            landed = [set(depth[order[(groups == group) & (depth == level)]].tolist()) for level in levels]
            assert all(len(x) == 1 for x in landed)
            assert sorted(x.pop() for x in landed) == levels


def test_every_order_of_blocks_and_within_blocks_comes_up():
    """Two models of two blocks of two points: 2 x 4 orders each, 64 in all, equally often."""
    groups, depth = np.repeat([0, 1], 4), np.tile([0, 0, 1, 1], 2)
    seen: dict[tuple[int, ...], int] = {}
    for order in _orders(groups, depth, 6400, np.random.default_rng(0)):
        seen[tuple(order.tolist())] = seen.get(tuple(order.tolist()), 0) + 1
    assert len(seen) == 64
    assert max(abs(n - 100) for n in seen.values()) < 5 * 10


def test_p_counts_orders_within_models_only():
    """Two models of three blocks: of 36 pairs of orders two are as far from zero as perfect ones, p tends to 1/18.

    Permuted across models, ranks being the same in both, it would tend to 16/720.
    """
    found = rank_prediction(
        [1, 2, 3, 11, 12, 13], [5, 6, 7, 1, 2, 3], [0, 1, 2] * 2, groups=[0, 0, 0, 1, 1, 1], permutations=4000
    )
    assert found.p == pytest.approx(1 / 18, abs=4 * (17 / 18**2 / 4000) ** 0.5)


def test_p_of_a_score_of_the_block_counts_orders_of_blocks():
    """Three blocks of five equal drifts: 15 points are no more evidence than 3, so p tends to 1/3."""
    block = np.repeat([0, 1, 2], 5)
    found = rank_prediction(block, np.repeat([1.0, 2.0, 3.0], 5), block, permutations=4000)
    assert found.p == pytest.approx(1 / 3, abs=4 * (2 / 9 / 4000) ** 0.5)
    assert found.depth_p == found.p


def test_p_is_exact_for_three_points():
    """Of six orders of three points two are as far from zero as a perfect one: p tends to 1/3."""
    found = rank_prediction([1, 2, 3], [1, 2, 3], [2, 1, 3], permutations=6000)
    assert found.p == pytest.approx(1 / 3, abs=4 * (2 / 9 / 6000) ** 0.5)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (([1, 2, 3], [1, 2], [1, 2, 3]), ShapeError),
        (([1, 2], [1, 2], [1, 2]), InputError),
        (([1, 2, math.nan], [1, 2, 3], [1, 2, 3]), NonFiniteError),
        (([1, 2, 3], [1, math.inf, 3], [1, 2, 3]), NonFiniteError),
    ],
)
def test_bad_input_is_refused(arguments, error):
    """Lengths, too few points, NaN and infinity."""
    with pytest.raises(error, match="rank_prediction needs"):
        rank_prediction(*arguments)
