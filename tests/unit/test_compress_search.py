"""Search for blocks to remove: exact losses, shared prefixes, beams and swaps against brute force."""

from __future__ import annotations

import json
from itertools import combinations

import pytest
import torch

from peelverify.compress import delete_layers, rank_layers
from peelverify.compress.search import RemovalLosses, removal_path, removal_within_budget, search_removal
from peelverify.errors import DomainError, InputError
from peelverify.evaluate import perplexity
from peelverify.models.small import small_decoder


@pytest.fixture(scope="module")
def view():
    """Five blocks that matter to different degrees, with interactions."""
    made = small_decoder("llama", blocks=5, width=32, heads=4, length=64, seed=4)
    with torch.no_grad():
        for t, block in enumerate(made.blocks):
            block.mlp.down_proj.weight *= 15 * (1 + (3 * t) % 5)
            block.self_attn.o_proj.weight *= 10
    return made


def brute(view, ids, count):
    """Loss of every set of blocks, each really deleted."""
    return {gone: perplexity(delete_layers(view, gone), ids).loss for gone in combinations(range(5), count)}


def test_losses_are_those_of_deleted_models(view, ids):
    """Every set, in any order and with little memory, has the loss of the model really made."""
    for memory in (1, 4):
        losses = RemovalLosses(view, ids, memory=memory)
        for count in (3, 1, 2):
            for gone, wanted in brute(view, ids, count).items():
                assert losses(gone) == pytest.approx(wanted, rel=1e-6)
    assert losses(()) == pytest.approx(perplexity(view, ids).loss, rel=1e-6)


def test_every_block_run_is_counted_and_none_twice(view, ids):
    """The count is that of block calls, and asking again runs nothing."""
    view.trace(ids)
    runs = []
    handles = [b.register_forward_hook(lambda m, a, o: runs.append(1)) for b in view.blocks]
    losses = RemovalLosses(view, ids)
    for gone in ([1], [1, 3], [4]):
        losses(gone)
    before = losses.evaluations
    losses([1, 3])
    for handle in handles:
        handle.remove()
    assert losses.evaluations == before == len(runs) == 5 + 3 + 1 + 0


def test_shared_losses_save_runs_but_not_cost(view, ids):
    """Searches that share what they found give the same sets, losses and costs as alone, with fewer block runs."""
    view.trace(ids)  # the check of a first trace is not counted
    runs = []
    handles = [b.register_forward_hook(lambda m, a, o: runs.append(1)) for b in view.blocks]
    options = [{}, {"beam": 3}, {"swaps": 2}, {"step": 2}, {"within": [0, 2, 3, 4]}]
    alone = [removal_path(view, ids, 3, **o) for o in options]
    alone_runs = len(runs)
    runs.clear()
    known = {}
    shared = [removal_path(view, ids, 3, known=known, **o) for o in options]
    for handle in handles:
        handle.remove()
    assert shared == alone
    assert alone_runs == sum(path[-1].block_evaluations for path in alone)
    assert len(runs) < 0.7 * alone_runs
    losses = RemovalLosses(view, ids)
    assert all(losses(gone) == value for gone, value in known.items())


def test_greedy_is_the_ranking(view, ids):
    """A beam of one without swaps removes what the greedy criterion removes, for no more work."""
    ranking = rank_layers(view, ids, "greedy", count=3)
    found = search_removal(view, ids, 3)
    assert found.removed == tuple(ranking.first(3))
    assert found.block_evaluations <= ranking.block_evaluations
    assert len(found.path) == 3


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_wide_beams_find_the_best_set(view, ids, count):
    """A beam that holds all sets is exhaustive."""
    all_sets = brute(view, ids, count)
    found = search_removal(view, ids, count, beam=20)
    assert found.removed == min(all_sets, key=all_sets.get)
    assert found.loss == pytest.approx(min(all_sets.values()), rel=1e-6)


def test_more_work_never_hurts(view, ids):
    """Swaps start from the greedy set and only improve; costs are stated."""
    for count in (2, 3):
        greedy = search_removal(view, ids, count)
        swapped = search_removal(view, ids, count, swaps=5)
        assert swapped.loss <= greedy.loss
        assert swapped.block_evaluations >= greedy.block_evaluations
        assert list(swapped.path[count - 1 :]) == sorted(swapped.path[count - 1 :], reverse=True)
        losses = RemovalLosses(view, ids)
        for out in swapped.removed:
            for t in set(range(5)) - set(swapped.removed):
                assert losses({*swapped.removed} - {out} | {t}) >= swapped.loss - 1e-9


def test_budget_is_kept_and_used(view, ids):
    """The set stays within the budget and one block more would not; no budget, no block that costs."""
    base = perplexity(view, ids).loss
    greedy = [search_removal(view, ids, n) for n in (1, 2, 3, 4)]
    for budget in (0.0, 0.01, 0.05, 0.2, 1e9):
        found = removal_within_budget(view, ids, budget)
        n = len(found.removed)
        assert found.loss <= base + budget + 1e-9
        if n:
            assert found.removed == greedy[n - 1].removed
        if n < 4:
            assert greedy[n].loss > base + budget - 1e-9
    assert len(found.removed) == 4
    for options in ({"budget": -1.0}, {"budget": float("nan")}, {"budget": 1.0, "beam": 0}):
        with pytest.raises(DomainError, match="removal_within_budget needs"):
            removal_within_budget(view, ids, **options)


def test_json_and_bad_input(view, ids):
    """Plain data out; impossible calls refused."""
    json.dumps(search_removal(view, ids, 1).to_json(), allow_nan=False)
    for options in ({"count": 0}, {"count": 5}, {"count": 1, "beam": 0}, {"count": 1, "swaps": -1}):
        with pytest.raises(DomainError, match="search_removal needs"):
            search_removal(view, ids, **options)
    with pytest.raises(InputError):
        search_removal(view, ids[:, :1], 1)
