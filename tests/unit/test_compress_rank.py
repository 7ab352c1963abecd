"""Every ranking criterion against its formula in independent code, greedy against brute force, bad input."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from peelverify.compress import CRITERIA, delete_layers, mergekit_slices, rank_layers
from peelverify.compress.rank import Ranking, agreement
from peelverify.errors import DomainError, InputError, NonFiniteError
from peelverify.evaluate import perplexity
from peelverify.models import load_model
from peelverify.models.small import small_decoder
from peelverify.models.view import ModelView
from peelverify.rho import measure_rho

FAMILIES = ("llama", "gpt2", "qwen2")


@pytest.fixture(scope="module", params=FAMILIES)
def view(request, model_dirs):
    """A trained decoder of each family."""
    return load_model(model_dirs[request.param])


@pytest.fixture(scope="module")
def llama(model_dirs):
    """A trained Llama."""
    return load_model(model_dirs["llama"])


def states_of(view, ids):
    """Residual-stream states from the model's own hidden states and, for the last, a hook."""
    last = []
    handle = view.blocks[-1].register_forward_hook(
        lambda m, a, out: last.append(out[0] if isinstance(out, tuple) else out)
    )
    with torch.no_grad():
        out = view.model(input_ids=ids, use_cache=False, output_hidden_states=True)
    handle.remove()
    return [h.double().numpy() for h in (*out.hidden_states[:-1], last[0])]


def hooks_of(view):
    """Number of hooks on all modules; transformers keeps some of its own."""
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in view.model.modules())


def test_block_influence_is_its_formula(view, ids):
    """1 - mean over tokens of the cosine of input and output."""
    h = states_of(view, ids)
    wanted = []
    for a, b in zip(h, h[1:], strict=False):
        cosines = [
            float(a[w, i] @ b[w, i] / (np.linalg.norm(a[w, i]) * np.linalg.norm(b[w, i])))
            for w in range(a.shape[0]) for i in range(a.shape[1])
        ]
        wanted.append(1 - np.mean(cosines))
    assert rank_layers(view, ids, "block_influence").scores == pytest.approx(wanted, abs=1e-6)


def run_by_brute_force(h, count):
    """The published rule, from states: the run of ``count`` blocks whose input and output differ least in angle."""
    def distance(start):
        pairs = zip(h[start][:, -1], h[start + count][:, -1], strict=True)
        return np.mean([math.acos(float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))) / math.pi for x, y in pairs])

    start = min(range(len(h) - count), key=distance)
    return list(range(start, start + count))


@pytest.mark.parametrize("family", ("llama", "gpt2"))
@pytest.mark.parametrize("seed", (0, 1, 2))
def test_angular_removes_the_published_run(ids, family, seed):
    """For every number of blocks the run with the least angle across it, which differs from the least single angles."""
    view = small_decoder(family, blocks=6, width=32, heads=4, length=64, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():  # make blocks differ, and let some undo what others did
        for p in view.blocks.parameters():
            p.mul_(12 * torch.rand((), generator=generator) * torch.randn(p.shape[-1], generator=generator).sign())
    h = states_of(view, ids)
    ranking = rank_layers(view, ids, "angular")
    wanted = [run_by_brute_force(h, n) for n in range(1, 6)]
    assert [ranking.first(n) for n in range(1, 6)] == wanted
    assert ranking.block_evaluations == 6
    for n in range(1, 6):
        ordered = rank_layers(view, ids, "angular", count=n)
        assert list(ordered.order[:n]) == ordered.first(n) == wanted[n - 1]
        assert sorted(ordered.order) == list(range(6))


def test_angular_run_needs_not_be_the_single_blocks(ids):
    """Two blocks that undo each other go together, though each alone turns the state the most."""
    view = small_decoder("llama", blocks=4, width=32, heads=4, length=64, seed=3)
    with torch.no_grad():
        for t, block in enumerate(view.blocks):
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight *= 30
            if t in (1, 2):
                block.load_state_dict(view.blocks[1].state_dict())
        view.blocks[2].mlp.down_proj.weight *= -1
    single, run = rank_layers(view, ids, "angular_single"), rank_layers(view, ids, "angular")
    assert run.first(2) == run_by_brute_force(states_of(view, ids), 2)
    assert run.scores == pytest.approx(single.scores)
    assert run.first(2) != single.first(2)


def test_angular_single_is_its_formula(view, ids):
    """arccos of the cosine at the last token of each window, over pi, mean over windows."""
    h = states_of(view, ids)
    wanted = [
        np.mean([
            math.acos(float(x @ y / math.sqrt((x @ x) * (y @ y)))) / math.pi
            for x, y in zip(a[:, -1], b[:, -1], strict=True)
        ])
        for a, b in zip(h, h[1:], strict=False)
    ]
    assert rank_layers(view, ids, "angular_single").scores == pytest.approx(wanted, abs=1e-5)


def test_residual_change_is_its_formula(view, ids):
    """Mean over tokens of |f(h)| / |h|."""
    h = states_of(view, ids)
    wanted = [
        np.mean(np.linalg.norm(b - a, axis=-1) / np.linalg.norm(a, axis=-1))
        for a, b in zip(h, h[1:], strict=False)
    ]
    assert rank_layers(view, ids, "residual_change").scores == pytest.approx(wanted, rel=1e-5)


def test_rho_is_distance_from_one_in_both_readings(view, ids):
    """|rho into the block - 1|, or out of it with the last value repeated."""
    into = np.median(measure_rho(view, ids).rho_into, axis=0)
    assert rank_layers(view, ids, "rho").scores == pytest.approx(np.abs(into - 1))
    out = np.append(into[1:], into[-1])
    assert rank_layers(view, ids, "rho_out").scores == pytest.approx(np.abs(out - 1))


def test_blend_stretches_both_terms(view, ids):
    """(1 - w) of stretched block influence plus w of stretched rho; the ends are the criteria themselves."""
    def stretch(x):
        x = np.asarray(x)
        return (x - x.min()) / (x.max() - x.min())

    influence, rho = (rank_layers(view, ids, c) for c in ("block_influence", "rho"))
    wanted = 0.75 * stretch(influence.scores) + 0.25 * stretch(rho.scores)
    assert rank_layers(view, ids, "blend", weight=0.25).scores == pytest.approx(wanted)
    assert rank_layers(view, ids, "blend", weight=0).order == influence.order
    assert rank_layers(view, ids, "blend", weight=1).order == rho.order


def test_last_is_the_deepest_first(view):
    """Last needs no text."""
    assert rank_layers(view, criterion="last").order == (2, 1, 0)


def test_random_is_a_permutation_that_its_seed_decides(view):
    """Every block once, the same for the same seed, not always the same."""
    orders = [rank_layers(view, criterion="random", seed=s).order for s in range(20)]
    assert all(sorted(o) == [0, 1, 2] for o in orders)
    assert rank_layers(view, criterion="random", seed=7).order == orders[7]
    assert len(set(orders)) > 1


def loss_without(view, ids, removed):
    """Mean loss of the model with blocks physically deleted."""
    return perplexity(delete_layers(view, removed), ids).loss


def test_greedy_equals_brute_force(ids):
    """With every candidate really deleted and evaluated, the same blocks go in the same order."""
    view = small_decoder("llama", blocks=5, width=32, heads=4, length=64, seed=4)
    with torch.no_grad():  # untrained blocks hardly differ: make them matter, each to another degree
        for t, block in enumerate(view.blocks):
            block.mlp.down_proj.weight *= 20 * (t + 1)
    ranking = rank_layers(view, ids, "greedy")
    removed = []
    while len(removed) < 4:
        losses = {t: loss_without(view, ids, [*removed, t]) for t in range(5) if t not in removed}
        best = min(losses, key=losses.get)
        assert ranking.order[len(removed)] == best
        assert ranking.scores[best] == pytest.approx(losses[best], rel=1e-5)
        removed.append(best)
    assert ranking.scores[ranking.order[-1]] == math.inf


def test_greedy_counts_the_blocks_that_it_runs(ids):
    """The stated cost is the number of block calls, and shared prefixes make it half of the plain way."""
    view = small_decoder("gpt2", blocks=5, width=32, heads=4, length=64)
    view.trace(ids)  # the first trace checks the model once
    runs = []
    handles = [b.register_forward_hook(lambda m, a, o: runs.append(1)) for b in view.blocks]
    ranking = rank_layers(view, ids, "greedy")
    for handle in handles:
        handle.remove()
    assert ranking.block_evaluations == len(runs) == 5 + sum(n * (n - 1) // 2 for n in range(2, 6))


def test_greedy_can_stop_early(llama, ids):
    """With a count, the first removals are those of the full search."""
    full, one = rank_layers(llama, ids, "greedy"), rank_layers(llama, ids, "greedy", count=1)
    assert one.order[0] == full.order[0]
    assert one.block_evaluations < full.block_evaluations
    losses = [loss_without(llama, ids, [t]) for t in range(3)]
    assert one.scores == pytest.approx(losses, rel=1e-5)


def test_taylor_is_its_formula(view, ids):
    """Sum of |w dloss/dw| over all weights of a block, from ordinary backpropagation."""
    model = copy.deepcopy(view.model)
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
    functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
    blocks = model.transformer.h if hasattr(model, "transformer") else model.model.layers
    wanted = [
        sum(float((p * p.grad).detach().abs().sum()) for n, p in b.named_parameters() if not n.endswith("bias"))
        for b in blocks
    ]
    assert rank_layers(view, ids, "taylor").scores == pytest.approx(wanted, rel=1e-4)


def test_skip_score_is_the_derivative_of_the_loss(view, ids):
    """It equals the slope of the loss as a block's own change is faded out, by central differences."""
    view = copy.deepcopy(view)
    view.model.double()
    score = rank_layers(view, ids, "skip_score").scores
    trace = view.trace(ids)

    def loss(block, fade):
        h = trace.states[block]
        h = trace.run_from(block + 1, h + (1 - fade) * (trace.block(block, h) - h))
        logits = trace.head(h)[:, :-1].flatten(0, 1).float()  # the score's loss is float32 too
        return float(functional.cross_entropy(logits.double(), ids[:, 1:].flatten()))

    for t in range(view.depth):
        step = 1e-2
        slope = (loss(t, step) - loss(t, -step)) / (2 * step)
        assert score[t] == pytest.approx(slope, rel=2e-2, abs=1e-5)


@pytest.mark.parametrize("criterion", list(CRITERIA))
def test_every_criterion_orders_all_blocks_and_leaves_the_model(view, ids, criterion):
    """The order is a permutation by score, repeats, and no weight, gradient or hook is left behind."""
    before = copy.deepcopy(view.model.state_dict())
    hooks = hooks_of(view)
    seen = []
    ranking = rank_layers(view, ids, criterion, on_step=lambda done, total: seen.append((done, total)))
    assert sorted(ranking.order) == list(range(view.depth))
    if criterion != "greedy":
        assert [ranking.scores[t] for t in ranking.order] == sorted(ranking.scores)
    assert rank_layers(view, ids, criterion) == ranking
    assert all(torch.equal(before[k], v) for k, v in view.model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in view.model.parameters())
    assert hooks_of(view) == hooks
    assert all(done <= total for done, total in seen)
    json.dumps(ranking.to_json(), allow_nan=False)


@pytest.mark.parametrize("criterion", list(CRITERIA))
def test_one_block_models_can_be_ranked(ids, criterion):
    """One block: one place, and nothing to remove."""
    ranking = rank_layers(small_decoder("llama", blocks=1, width=32, heads=4, length=64), ids, criterion)
    assert ranking.order == (0,)
    with pytest.raises(DomainError, match="at least one block stays"):
        ranking.first(1)


def test_gradient_criteria_work_on_frozen_models(llama, ids):
    """A model whose weights are frozen gives the same scores and stays frozen."""
    frozen = copy.deepcopy(llama)
    frozen.model.requires_grad_(False)
    for criterion in ("taylor", "skip_score"):
        assert rank_layers(frozen, ids, criterion).scores == rank_layers(llama, ids, criterion).scores
    assert not any(p.requires_grad for p in frozen.model.parameters())


def test_first_names_the_blocks_to_delete():
    """The first of the order, ascending."""
    ranking = Ranking("rho", (0.3, 0.1, 0.2), (1, 2, 0), 0)
    assert ranking.first(2) == [1, 2]
    for count in (0, 3):
        with pytest.raises(DomainError, match="first needs a count from 1 to 2"):
            ranking.first(count)


def test_agreement_is_kendalls_tau():
    """Same order 1, reversed order -1."""
    a, b = Ranking("a", (0, 1, 2), (0, 1, 2), 0), Ranking("b", (2, 1, 0), (2, 1, 0), 0)
    assert agreement([a, a, b])[0] == pytest.approx([1, 1, -1])


@pytest.mark.parametrize(
    "name", ["org/name", "x #1", "a: b", "- dash", "quote\" and 'single'", "true", "1.0", "back\\slash", "\U0001f600 x"]
)
def test_mergekit_slices_cover_the_kept_blocks(name):
    """As YAML: consecutive blocks are one half-open range each, and name and dtype are read back as they are."""
    import yaml

    found = yaml.safe_load(mergekit_slices([0, 1, 4, 6, 7], name, dtype="bfloat16"))
    sources = [source for one in found["slices"] for source in one["sources"]]
    assert [source["layer_range"] for source in sources] == [[0, 2], [4, 5], [6, 8]]
    assert {source["model"] for source in sources} == {name}
    assert found["merge_method"] == "passthrough" and found["dtype"] == "bfloat16"


def five_blocks(seed=4):
    """Five blocks that matter, each to another degree; the first and the last least."""
    view = small_decoder("llama", blocks=5, width=32, heads=4, length=64, seed=seed)
    with torch.no_grad():
        for scale, block in zip((1, 40, 30, 50, 2), view.blocks, strict=True):
            block.mlp.down_proj.weight *= scale
            block.self_attn.o_proj.weight *= scale
    return view


def test_greedy_with_its_published_barrier_equals_brute_force(ids):
    """With the first and the last block kept, the order is that of really deleting every other block in turn."""
    view = five_blocks()
    free = rank_layers(view, ids, "greedy")
    assert set(free.order[:2]) & {0, 4}  # without the barrier one of them goes early
    ranking = rank_layers(view, ids, "greedy", protect=(1, 1))
    removed = []
    while len(removed) < 3:
        losses = {t: loss_without(view, ids, [*removed, t]) for t in (1, 2, 3) if t not in removed}
        removed.append(min(losses, key=losses.get))
        assert ranking.scores[removed[-1]] == pytest.approx(losses[removed[-1]], rel=1e-5)
    assert list(ranking.order) == [*removed, 0, 4] and ranking.protected == (0, 4)
    assert ranking.first(3) == [1, 2, 3]
    with pytest.raises(DomainError, match="from 1 to 3, got 4"):
        ranking.first(4)
    assert ranking.scores[0] == ranking.scores[4] == math.inf
    assert ranking.to_json()["protected"] == [0, 4]


def test_greedy_with_a_barrier_counts_the_blocks_that_it_runs(ids):
    """The stated cost is the number of block calls, also where blocks are kept."""
    view = five_blocks()
    view.trace(ids)
    runs = []
    handles = [b.register_forward_hook(lambda m, a, o: runs.append(1)) for b in view.blocks]
    steps = []
    ranking = rank_layers(view, ids, "greedy", protect=(1, 1), on_step=lambda done, total: steps.append((done, total)))
    for handle in handles:
        handle.remove()
    assert ranking.block_evaluations == len(runs)
    assert steps[-1] == (6, 6)


@pytest.mark.parametrize("criterion", list(CRITERIA))
def test_protected_blocks_never_go(ids, criterion):
    """By every criterion the kept blocks come last, with the measured scores of the others unchanged."""
    view = five_blocks()
    plain, kept = rank_layers(view, ids, criterion), rank_layers(view, ids, criterion, protect=(2, 1))
    assert kept.order[-3:] == (0, 1, 4)
    assert sorted(kept.order[:2]) == kept.first(2) == [2, 3]
    if criterion != "greedy":
        assert kept.scores == plain.scores
        assert kept.order[:2] == tuple(t for t in plain.order if t in (2, 3))


@pytest.mark.parametrize("protect", [(3, 2), (5, 0), (0, 6), (-1, 0), (1,), (1.5, 0)])
def test_impossible_protection_is_refused(ids, protect):
    """Two whole numbers from 0 on that leave a block."""
    with pytest.raises(DomainError, match="rank_layers needs protect"):
        rank_layers(five_blocks(), ids, "last", protect=protect)


@pytest.mark.parametrize("criterion", sorted(set(CRITERIA) - {"last", "random"}))
def test_blocks_are_not_ranked_by_nan(ids, criterion):
    """A weight that is NaN gives an error and no order, by every criterion that looks at weights or states."""
    view = five_blocks()
    with torch.no_grad():
        view.blocks[2].mlp.up_proj.weight[0, 0] = math.nan
    with pytest.raises(NonFiniteError):
        rank_layers(view, ids, criterion)


@pytest.mark.parametrize("criterion", list(CRITERIA))
def test_training_mode_is_that_of_the_caller(ids, criterion):
    """A model that was training goes on training, each part as it was; with dropout the scores are still those of
    evaluation."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=256, n_positions=64, n_embd=32, n_layer=3, n_head=4, bos_token_id=0, eos_token_id=0)
    )
    wanted = rank_layers(model.eval(), ids, criterion).scores
    model.train()
    model.transformer.h[1].eval()
    before = [m.training for m in model.modules()]
    assert rank_layers(model, ids, criterion).scores == wanted
    assert [m.training for m in model.modules()] == before
    view = ModelView(model)
    model.train()
    assert rank_layers(view, ids, criterion).scores == wanted and model.training


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"criterion": "best"}, InputError, "a criterion among rho"),
        ({"criterion": "blend", "weight": 1.5}, DomainError, "0 <= weight <= 1"),
        ({"criterion": "greedy", "count": 3}, DomainError, "1 <= count < 3"),
        ({"criterion": "greedy", "count": 0}, DomainError, "1 <= count < 3"),
    ],
)
def test_impossible_calls_are_refused(llama, ids, options, error, message):
    """Unknown criteria, weights and counts are refused."""
    with pytest.raises(error, match=message):
        rank_layers(llama, ids, **options)


def test_text_is_needed_where_it_matters(llama):
    """Criteria that look at states need ids, of at least two tokens a window."""
    with pytest.raises(InputError, match="needs input_ids for 'rho'"):
        rank_layers(llama)
    with pytest.raises(InputError, match="at least 2 tokens"):
        rank_layers(llama, torch.zeros(2, 1, dtype=torch.int64))
