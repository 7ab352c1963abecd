"""Statistics of a study against greedy, its tables of counts, and what its page says of them."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from peelverify.errors import DomainError, InputError
from peelverify.evaluate.study.counts import count_losses
from peelverify.evaluate.study.document import study_document
from peelverify.evaluate.study.plan import PRESETS
from peelverify.evaluate.study.tables import cost_share, gap_to_greedy, greedy_noise, study_tables, wilcoxon_p

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "study.json"


def model(losses: dict[str, list[float]], draws: list[list[float]], **cost: float) -> dict[str, Any]:
    """What the tables read of one model: rises for k = 1, 2, ..., and greedy's over its draws."""
    most = len(losses["greedy"])
    return {
        "train": {"family": "llama", "blocks": 4, "width": 8, "parameters": 9, "loss_curve_nats_per_token": []},
        "rank": {
            "most": most,
            "delta_loss": losses,
            "block_evaluations": {name: [cost.get(name, 10.0)] * most for name in losses},
            "random_delta_loss": [[1.0]] * most,
            "greedy_draws": {"tokens": 64, "sets": [[[i]] * most for i in range(len(draws))], "delta_loss": draws},
        },
    }


def several(gaps: list[float], spread: float) -> list[dict[str, Any]]:
    """Models in which the criterion "cheap" is by each gap above greedy; greedy's two draws differ by the spread."""
    return [
        model(
            {"cheap": [0.1 * i + gap], "greedy": [0.1 * i], "beam": [0.1 * i - gap]},
            [[0.1 * i], [0.1 * i + spread]],
            cheap=1.0,
            beam=15.0,
        )
        for i, gap in enumerate(gaps)
    ]


def page(models: list[dict[str, Any]]) -> str:
    """The page of results that hold these models."""
    results = json.loads(RESULTS.read_text())
    for i, one in enumerate(models):
        one |= {"unit": f"llama-{i}", "seconds": {}, "cpu_seconds": {}}
    return study_document(results | {"models": models})


def test_noise_is_within_models() -> None:
    """Far apart in level, alike in spread: the level of a model does not count. Pooled by degrees of freedom."""
    models = [
        model({"greedy": [0.0]}, [[5.0], [5.2], [5.4]]),
        model({"greedy": [0.0]}, [[-3.0], [-3.0], [-3.0]]),
        model({"greedy": [0.0]}, [[1.0], [1.1]]),
    ]
    assert greedy_noise(models, 1) == pytest.approx(math.sqrt((0.08 + 0 + 0.005) / 5))
    assert greedy_noise(models[:2], 1) == pytest.approx(
        math.sqrt(np.mean([np.var([5, 5.2, 5.4], ddof=1), 0.0]))
    )
    assert greedy_noise([model({"greedy": [0.0]}, [[5.0]])], 1) is None
    assert greedy_noise([{"rank": {}}], 1) is None


@given(st.lists(st.integers(-40, 40).filter(bool), min_size=1, max_size=8, unique_by=abs))
def test_wilcoxon_counts_all_signs(values) -> None:
    """Against all 2^n signs of the ranks, without ties; zeros are left out."""
    ranks = np.argsort(np.argsort(np.abs(values))) + 1
    total = ranks.sum()
    seen = sum(r for r, v in zip(ranks, values, strict=True) if v > 0)
    far = 0
    for signs in range(2 ** len(values)):
        positive = sum(int(r) for i, r in enumerate(ranks) if signs >> i & 1)
        far += abs(2 * positive - total) >= abs(2 * seen - total)
    assert wilcoxon_p([0.0, *values, 0.0]) == pytest.approx(min(1.0, far / 2 ** len(values)))


def test_wilcoxon_without_a_difference_has_no_p() -> None:
    """Nothing differs: there is nothing to test."""
    assert wilcoxon_p([0.0, 0.0]) is None


def test_gaps_are_paired_by_model() -> None:
    """Mean, counts, p and whether the mean is at most the noise; a gap of the other sign is within."""
    models = several([0.01, 0.02, 0.03, -0.004, 0.0], 0.02)
    gap = gap_to_greedy(models, "cheap", 1)
    assert gap.mean is not None and gap.mean.mean == pytest.approx(0.0112)
    assert (gap.worse, gap.better, gap.same) == (3, 1, 1)
    assert gap.p == pytest.approx(4 / 16)
    assert gap.noise == pytest.approx(0.02 / math.sqrt(2))
    assert gap.within
    assert not gap_to_greedy(several([0.01, 0.02, 0.03], 0.02), "cheap", 1).within
    assert gap_to_greedy(several([-0.01, -0.02, -0.03], 0.0), "cheap", 1).within
    assert cost_share(models, "cheap") == pytest.approx(0.1)
    tables = {t.name: t for t in study_tables({"models": models})}
    assert next(r for r in tables["paired"].rows if r[0] == "cheap")[1] == "3 / 1 / 1, p 0.25"
    assert tables["greedy_noise"].rows[0][1] == pytest.approx(0.02 / math.sqrt(2))
    assert tables["greedy_noise"].rows[0][-1] == "0 of 5"
    assert next(r for r in tables["against_greedy"].rows if r[0] == "cheap")[-2:] == ("1 of 1", pytest.approx(0.1))


def test_the_verdict_says_size_and_test_apart() -> None:
    """A gap within the noise that every model shows is both; one beyond it that few show is neither."""
    small = page(several([0.010, 0.011, 0.012, 0.013, 0.014, 0.015, 0.016], 0.1))
    assert "at most that at every k for cheap" in small and "not of equality" in small
    assert "worse in 7 of 7 models, better in 0, the same in 0 (Wilcoxon signed-rank p 0.016)" in small
    assert "at most the noise (0.071), but a difference over models is shown" in small
    assert "more than its cost** (1 criteria): by the interval of the mean: beam (1.5 times the cost) at k = 1" in small
    large = page(several([0.3, -0.1, 0.2], 0.01))
    assert "not met" in large
    assert "more than the noise (0.007), but over these models no difference is shown" in large
    clear = page(several([0.010, 0.011, 0.012, 0.013, 0.014, 0.015, 0.016], 0.001))
    assert "not met" in clear and "more than the noise (0.001), and a difference over models is shown" in clear
    assert "none is shown" in page(several([0.0, 0.0, 0.0], 0.01))


def test_without_further_draws_or_with_two_models_there_is_no_verdict() -> None:
    """The noise is not known, or there are too few models."""
    models = several([0.1, 0.2, 0.3], 0.01)
    assert "too few for an answer" in page(models[:2])
    for one in models:
        del one["rank"]["greedy_draws"]
    found = page(models)
    assert "Not judged" in found and "greedy_noise" not in found
    assert next(r for t in study_tables({"models": models}) if t.name == "against_greedy" for r in t.rows)[-2] is None


def test_the_page_states_the_plan() -> None:
    """Every option of the plan has its row and value, the published strength is named, and the interval is no test."""
    results = json.loads(RESULTS.read_text())
    plan = PRESETS["small"].changed(strength=0.0625, rank_draws=7).to_json()
    kept = {k: v for k, v in plan.items() if k not in ("models", "text")}
    found = study_document(results | {"plan": kept})
    rows = dict(line.strip("| ").rsplit(" | ", 1) for line in found.splitlines() if line.startswith("| "))
    assert rows["strength of the schedules: half of the largest difference of sparsity between blocks"] == "0.0625"
    assert len([v for v in rows.values() if v == "7"]) >= 1
    block = found[found.index("| option of the plan") : found.index("The code fixes the rest")]
    assert block.count("\n| ") == 1 + len(kept) - 1  # the rule below the head, and all options but the schema
    assert "not with the published 0.3" in found
    assert "this is not a test at 5 %" in found


windows_ = st.integers(2, 5).flatmap(
    lambda length: st.tuples(
        st.lists(st.lists(st.integers(0, 3), min_size=length, max_size=length), min_size=1, max_size=5),
        st.lists(st.lists(st.integers(0, 3), min_size=length, max_size=length), min_size=1, max_size=3),
    )
)


def _plain(train: list[list[int]], context: list[int], token: int) -> Fraction:
    """The smoothed share of a token after a context, from its definition, in fractions."""
    if not context:
        seen = [t for w in train for t in w]
        return (seen.count(token) + Fraction(1, 10)) / (len(seen) + 4 * Fraction(1, 10))
    n = len(context)
    follow = [w[i + n] for w in train for i in range(len(w) - n) if w[i : i + n] == context]
    return (follow.count(token) + 5 * _plain(train, context[1:], token)) / (len(follow) + 5)


@given(windows_)
def test_count_losses_are_their_definition(both) -> None:
    """Against counts in fractions, token by token."""
    train, judged = both
    found = count_losses(torch.tensor(train), torch.tensor(judged), vocabulary=4)
    for n, name in enumerate(("unigram", "bigram", "trigram")):
        shares = [_plain(train, w[max(0, i - n) : i], w[i]) for w in judged for i in range(1, len(w))]
        assert found[name] == pytest.approx(-np.mean([math.log(p) for p in shares]), rel=1e-9)
    assert found["judged_tokens"] == sum(len(w) - 1 for w in judged)


def test_counts_sum_to_one() -> None:
    """The shares of all tokens after one context sum to one, so that the loss is one of a distribution."""
    train = torch.tensor([[0, 1, 2, 0, 1, 1], [2, 2, 0, 1, 0, 3]])
    judged = torch.tensor([[0, 1, t] for t in range(4)])
    second = [count_losses(train, judged[i : i + 1, :2], vocabulary=4)["trigram"] for i in range(4)]
    both = [2 * count_losses(train, judged[i : i + 1], vocabulary=4)["trigram"] for i in range(4)]
    assert sum(math.exp(a - b) for a, b in zip(second, both, strict=True)) == pytest.approx(1)


@pytest.mark.parametrize(
    ("train", "judged", "error"),
    [
        (torch.zeros(0, 4, dtype=torch.int64), torch.zeros(1, 4, dtype=torch.int64), InputError),
        (torch.zeros(1, 4, dtype=torch.int64), torch.zeros(1, 1, dtype=torch.int64), InputError),
        (torch.full((1, 4), 4), torch.zeros(1, 4, dtype=torch.int64), DomainError),
        (torch.full((1, 4), -1), torch.zeros(1, 4, dtype=torch.int64), DomainError),
    ],
)
def test_bad_windows_are_refused(train, judged, error) -> None:
    """No windows, one token, ids outside the vocabulary."""
    with pytest.raises(error, match="count_losses needs"):
        count_losses(train, judged, vocabulary=4)
