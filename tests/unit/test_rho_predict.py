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
from peelverify.rho.predict import partial_spearman, spearman

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
