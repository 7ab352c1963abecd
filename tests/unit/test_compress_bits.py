"""Bits within a budget, diagnostics of weights, ignore lists, paths of removal."""

from __future__ import annotations

import fnmatch
import json
import math
import re
from itertools import combinations

import numpy as np
import pytest
import torch

from peelverify.cli.app import main
from peelverify.compress import bits_within_budget, delete_layers, ignore_lists, rank_layers, removal_path
from peelverify.compress.copies import copy_view, weight_rows, write_rows
from peelverify.compress.quantize import round_to_nearest
from peelverify.compress.spectrum import powerlaw_alpha
from peelverify.errors import DomainError, PeelverifyError
from peelverify.evaluate.loss import perplexity
from peelverify.models import load_model
from peelverify.models.small import small_decoder
from tests.conftest import FAMILIES


@pytest.fixture(scope="module")
def view(model_dirs):
    """A small trained GPT-2."""
    return load_model(model_dirs["gpt2"])


@pytest.fixture(scope="module")
def five():
    """Five blocks that matter to different degrees, with interactions."""
    made = small_decoder("llama", blocks=5, width=32, heads=4, length=64, seed=4)
    with torch.no_grad():
        for t, block in enumerate(made.blocks):
            block.mlp.down_proj.weight *= 15 * (1 + (3 * t) % 5)
            block.self_attn.o_proj.weight *= 10
    return made


def rounded_loss(view, ids, bits) -> float:
    """Loss of a model really made with these bits."""
    small = copy_view(view)
    for t, b in enumerate(bits):
        for name, linear in view.linears(t).items():
            if b:
                write_rows(small.linears(t)[name], round_to_nearest(weight_rows(linear), b).weight)
    return perplexity(small, ids).loss


def test_bits_keep_the_budget(view, ids) -> None:
    """The loss reported is that of the model with those bits, and within the budget; more budget, fewer bits."""
    before = {name: p.clone() for name, p in view.model.named_parameters()}
    means = []
    for budget in (0.002, 0.05, 100.0):
        plan = bits_within_budget(view, ids, budget)
        assert plan.loss == pytest.approx(rounded_loss(view, ids, plan.by_block), abs=1e-9)
        assert plan.loss <= plan.loss_original + budget
        assert plan.evaluations <= 1 + 2 * view.depth * 4
        means.append(np.mean([b or 16 for b in plan.by_block]))
        json.dumps(plan.to_json(), allow_nan=False)
    assert means == sorted(means, reverse=True)
    assert plan.by_block == (2, 2, 2)
    assert plan.mean_bits == 2
    assert all(torch.equal(before[name], p) for name, p in view.model.named_parameters())


def greedy_bits(view, ids, budget, choices, *, per_bit=True):
    """The stated search in other words: steps by their own loss for each bit saved, kept while the whole is within."""
    original = perplexity(view, ids).loss
    steps = []
    for t in range(view.depth):
        worst, before = -math.inf, 16
        for bits in sorted(choices, reverse=True):
            alone = rounded_loss(view, ids, [bits if u == t else 0 for u in range(view.depth)]) - original
            worst = max(worst, alone / (before - bits) if per_bit else alone)
            steps.append((worst, t, -bits))
            before = bits
    plan, closed = [0] * view.depth, set()
    for _, t, negative in sorted(steps):
        trial = [-negative if u == t else b for u, b in enumerate(plan)]
        if t in closed:
            continue
        if rounded_loss(view, ids, trial) - original <= budget:
            plan = trial
        else:
            closed.add(t)
    return tuple(plan)


def test_steps_are_taken_by_the_loss_for_each_bit_saved(five, ids) -> None:
    """Against the same search written plainly; with the loss alone as the order some budget gives another plan."""
    choices, differ = (6, 5, 2), 0
    for budget in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3):
        found = bits_within_budget(five, ids, budget, choices=choices).by_block
        assert found == greedy_bits(five, ids, budget, choices)
        differ += found != greedy_bits(five, ids, budget, choices, per_bit=False)
    assert differ


def test_no_budget_is_no_loss(view, ids) -> None:
    """With budget 0 only steps that do not raise the loss are taken."""
    plan = bits_within_budget(view, ids, 0.0, choices=(2,))
    assert plan.loss <= plan.loss_original
    if not any(plan.by_block):
        assert math.isnan(plan.mean_bits)


@pytest.mark.parametrize(
    "options",
    [
        {"budget": -1.0}, {"budget": math.nan}, {"budget": 1.0, "choices": ()}, {"budget": 1.0, "choices": (1,)},
        {"budget": 1.0, "choices": (9,)}, {"budget": 1.0, "group": 5},
    ],
)
def test_impossible_bits_are_refused(view, ids, options, monkeypatch) -> None:
    """Before any work."""
    monkeypatch.setattr("peelverify.compress.bits.copy_view", lambda v: pytest.fail("work was done"))
    with pytest.raises(PeelverifyError):
        bits_within_budget(view, ids, **options)


@pytest.mark.parametrize("family", FAMILIES)
def test_ignore_lists_match_the_modules_of_those_blocks_only(family, model_dirs) -> None:
    """The patterns select, among the real module names, the linear maps of the chosen blocks and the head."""
    view = load_model(model_dirs[family])
    lists = ignore_lists(view, [2, 0])
    names = {n for n, _ in view.model.named_modules()}
    prefix = f"{view.family.blocks}."
    wanted = {f"{prefix}{t}.{n}" for t in (0, 2) for n in view.linears(t)} | {view.family.head}
    every = {f"{prefix}{t}.{n}" for t in range(3) for n in view.linears(t)} | {view.family.head}
    assert every <= names
    patterns = json.loads(lists["llm-compressor"].removeprefix("ignore: "))

    def ignored(name: str) -> bool:
        return any(re.match(p[3:], name) if p.startswith("re:") else p == name for p in patterns)

    assert {n for n in every if ignored(n)} == wanted
    assert not ignored(f"{prefix}20.mlp.down_proj")
    entries = eval(lists["modelopt"], {"__builtins__": {}})
    assert all(v == {"enable": False} for v in entries.values())
    found = {n for n in every if any(fnmatch.fnmatch(f"{n}.weight_quantizer", p) for p in (*entries, "*lm_head*"))}
    assert found == wanted
    with pytest.raises(DomainError, match="blocks 0 to 2"):
        ignore_lists(view, [3])


def test_lim_zd_and_alpha_are_their_formulas(view, ids) -> None:
    """LIM and ZD by hand from states and weights; alpha by the fit of each matrix."""
    with torch.no_grad():
        states = [s.double() for s in view.trace(ids).states]
    lim = rank_layers(view, ids, "lim")
    for t in range(view.depth):
        a, b = states[t].flatten(0, 1).numpy(), states[t + 1].flatten(0, 1).numpy()
        cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        assert lim.scores[t] == pytest.approx(-cosines.mean(), rel=1e-9)
    assert lim.order == rank_layers(view, ids, "block_influence").order
    zd, alpha = rank_layers(view, None, "zd"), rank_layers(view, None, "alpha")
    for t in range(view.depth):
        flat = np.concatenate([weight_rows(m).double().numpy().ravel() for m in view.linears(t).values()])
        z = (flat - flat.mean()) / flat.std()
        assert zd.scores[t] == pytest.approx(-(z > 1).mean())
        assert alpha.scores[t] == pytest.approx(
            -np.mean([powerlaw_alpha(weight_rows(m)).alpha for m in view.linears(t).values()])
        )


def test_paths_hold_the_best_set_for_every_number(five, ids) -> None:
    """Wide beams and pairs reach brute force; every loss is that of the deleted model; cost never falls."""
    brute = {g: perplexity(delete_layers(five, g), ids).loss for n in (1, 2, 3) for g in combinations(range(5), n)}
    for options in ({"beam": 10}, {"step": 3}, {"beam": 2, "swaps": 3}, {}):
        path = removal_path(five, ids, 3, **options)
        assert [len(r.removed) for r in path] == [1, 2, 3]
        for r in path:
            assert r.loss == pytest.approx(brute[r.removed], rel=1e-6)
        costs = [r.block_evaluations for r in path]
        assert costs == sorted(costs)
        if options in ({"beam": 10}, {"step": 3}):
            for n, r in enumerate(path, 1):
                assert r.loss == pytest.approx(min(v for g, v in brute.items() if len(g) == n), rel=1e-6)
    greedy = removal_path(five, ids, 3)
    assert set(greedy[-1].removed) == set(rank_layers(five, ids, "greedy").order[:3])
    swapped = removal_path(five, ids, 3, swaps=2)
    assert swapped[0].loss <= greedy[0].loss


def test_shortlists_stay_within_themselves(five, ids) -> None:
    """Only named blocks go, for fewer block evaluations; the best set among them is found by a wide beam."""
    path = removal_path(five, ids, 2, within=[1, 3, 4], beam=5)
    assert set(path[-1].removed) <= {1, 3, 4}
    best = min(combinations((1, 3, 4), 2), key=lambda g: perplexity(delete_layers(five, g), ids).loss)
    assert path[-1].removed == best
    assert path[-1].block_evaluations < removal_path(five, ids, 2, beam=5)[-1].block_evaluations


@pytest.mark.parametrize(
    "options",
    [{"count": 0}, {"count": 5}, {"beam": 0}, {"swaps": -1}, {"step": 0}, {"within": [1]}, {"within": [4, 5, 6]}],
)
def test_impossible_paths_are_refused(five, ids, options) -> None:
    """Counts, widths and shortlists that cannot work."""
    with pytest.raises(DomainError, match="removal_path"):
        removal_path(five, ids, **({"count": 2} | options))


def test_rank_prints_ignore_lists_and_bits(model_dirs, capsys) -> None:
    """The command prints what can be pasted, and bits within a budget."""
    call = ["rank", str(model_dirs["llama"]), "--criterion", "zd,block_influence", "--tokens", "64", "--window", "32"]
    assert main([*call, "--budget", "0.05", "--bits", "8,3"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert 'ignore: ["lm_head", "re:model' in out
    assert '"*lm_head*": {"enable": False}' in out.replace("'", '"')
    assert "bits for each block: 0: " in out
    assert main([*call, "--bits", "8,3"]) == 2
    assert "--budget" in capsys.readouterr().err
    assert main([*call, "--budget", "0.05", "--bits", "9"]) == 2
    assert "--bits" in capsys.readouterr().err
