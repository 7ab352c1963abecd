"""YES chains of decoders: witnesses are complete models whose reloaded loss is the bound."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from peelverify.data import builtin_text, windows
from peelverify.errors import InputError, NumericalError
from peelverify.models import ModelView, load_model, save_model
from peelverify.models.small import byte_tokenizer, small_decoder
from peelverify.peel.maps import all_last, direct, staircases
from peelverify.peel.run import peel_checkpoints, step_of, thin
from peelverify.peel.solvers import ClosedForm, Gradient, solver_named
from peelverify.peel.transformer import TransformerYes, yes_chain
from peelverify.verdict import Status

FAMILIES = ("llama", "gpt2", "qwen2")


@pytest.fixture(scope="module")
def tokens() -> tuple[torch.Tensor, torch.Tensor]:
    """Windows to fit on and windows that decide."""
    return thin(windows(byte_tokenizer(), builtin_text(), length=32), 12)


@pytest.fixture(scope="module")
def found(model_dirs, tokens) -> dict[str, TransformerYes]:
    """All staircases of each family, closed form."""
    return {
        family: yes_chain(load_model(model_dirs[family]), tokens[0], held_out=tokens[1]) for family in FAMILIES
    }


def plain_loss(path: Path, ids: torch.Tensor) -> float:
    """Loss by plain `transformers`, without anything of this package."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(path), dtype=torch.float32).eval()
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
    return float(functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_staircase_is_a_witness(family: str, found, tokens) -> None:
    """Every map has a complete decoder of the same architecture that attains both stated losses."""
    result = found[family]
    assert list(result.chains) == staircases(3)
    for target, chain in result.chains.items():
        witness = result.witness(target)
        assert isinstance(witness, ModelView)
        ours = {name: tuple(p.shape) for name, p in witness.model.state_dict().items()}
        assert ours == {name: tuple(p.shape) for name, p in result._view.model.state_dict().items()}
        for ids, stated in ((tokens[0], chain.fitted), (tokens[1], chain.held_out)):
            logits = witness.trace(ids).logits[:, :-1]
            loss = functional.cross_entropy(logits.flatten(0, 1).double(), ids[:, 1:].flatten())
            assert float(loss) == pytest.approx(stated, rel=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_witness_reloads_to_its_loss(family: str, found, tokens, tmp_path: Path) -> None:
    """The best witness, saved and loaded by plain transformers, has the stated held-out loss."""
    result = found[family]
    save_model(result.witness(), tmp_path / "witness")
    assert plain_loss(tmp_path / "witness", tokens[1]) == pytest.approx(result.best, rel=1e-6)
    assert load_model(tmp_path / "witness").config.tie_word_embeddings == result._view.config.tie_word_embeddings


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_of_the_trained_blocks_is_reused(family: str, found) -> None:
    """Embeddings are those of the model; no matrix of a block is, and the head is its own unless tied."""
    result = found[family]
    model, witness = result._view, result.witness(direct(3))
    assert torch.equal(model.embedding.weight, witness.embedding.weight)
    for ours, theirs in zip(witness.blocks, model.blocks, strict=True):
        for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
            assert a.ndim < 2 or not torch.equal(a, b), name
    tied = model.config.tie_word_embeddings
    assert torch.equal(model.lm_head.weight, witness.lm_head.weight) == tied


def test_result_is_consistent(found) -> None:
    """YES-0 is the all-last chain, bounds fall with k, the gap is the difference of the stated losses."""
    for result in found.values():
        assert result.yes0 == result.chains[all_last(3)].loss
        assert result.best == min(c.loss for c in result.chains.values()) == result.chains[result.best_map].loss
        assert (result.yes0, *result.by_k) == tuple(sorted((result.yes0, *result.by_k), reverse=True))
        assert result.deciding_loss == result.held_out_loss
        for chain in result.chains.values():
            assert chain.gap == pytest.approx(result.deciding_loss - chain.loss, abs=1e-9)
            assert chain.gap_error is not None and chain.gap_error > 0
            assert len(chain.residuals) == 3 and all(r >= 0 for r in chain.residuals)


def test_an_untrained_model_is_red_and_one_with_a_broken_head_too(model_dirs, tokens) -> None:
    """Random weights, and a trained model whose head is damaged, lose against the chains."""
    fresh = yes_chain(small_decoder("llama", blocks=2, width=32, heads=2), tokens[0], held_out=tokens[1])
    assert fresh.status is Status.RED and fresh.fitted_status is Status.RED
    broken = load_model(model_dirs["llama"])
    with torch.no_grad():
        broken.lm_head.weight.mul_(-1.0)
    assert yes_chain(broken, tokens[0], held_out=tokens[1], maps=[]).status is Status.RED


def test_the_refit_never_raises_the_loss_on_its_own_tokens(found, model_dirs, tokens) -> None:
    """Moving head and norm from their trained values cannot hurt on the tokens they are moved on."""
    for family in FAMILIES:
        view = load_model(model_dirs[family])
        before = {name: p.clone() for name, p in view.model.state_dict().items()}
        result = yes_chain(view, tokens[0], maps=[])
        assert result.refit <= result.loss + 1e-6
        after = view.model.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_gradient_solver_lowers_its_residuals(model_dirs, tokens) -> None:
    """More Adam steps come closer to the targets; the result names its budget; the witness holds."""
    view = load_model(model_dirs["llama"])
    short, long = (
        yes_chain(view, tokens[0], maps=[direct(3)], solver=Gradient(steps=n, head_steps=5)) for n in (2, 40)
    )
    assert long.chains[direct(3)].residuals[0] < 0.8 * short.chains[direct(3)].residuals[0]
    assert (long.solver, long.budget["steps"]) == ("gradient", 40)
    chain = long.chains[direct(3)]
    logits = long.witness(direct(3)).trace(tokens[0]).logits[:, :-1]
    loss = functional.cross_entropy(logits.flatten(0, 1).double(), tokens[0][:, 1:].flatten())
    assert float(loss) == pytest.approx(chain.fitted, rel=1e-6)
    assert chain.held_out is None and long.status is long.fitted_status


def test_the_closed_form_is_a_least_squares_solution(model_dirs, tokens) -> None:
    """Damaging the MLP output raises the distance to the target; so does damaging attention with the MLP off."""
    view = load_model(model_dirs["llama"])
    solver = ClosedForm(ridge=0.0, head_steps=1)
    result = yes_chain(view, tokens[0], maps=[direct(3)], solver=solver)
    block = result.witness(direct(3)).blocks[0]
    trace = view.trace(tokens[0])
    with torch.no_grad():
        def distance() -> float:
            return float(((trace.run_module(block, 0, trace.states[0]) - trace.states[1]).double() ** 2).sum())

        generator = torch.Generator().manual_seed(0)
        for weight in (block.mlp.down_proj.weight, block.self_attn.o_proj.weight):
            best, solved = distance(), weight.clone()
            noise = torch.randn(weight.shape, generator=generator)
            for change in (noise, -noise, weight.clone(), -weight.clone()):  # the last two: wrong length
                weight.copy_(solved + 1e-2 * change)
                assert distance() > best
            weight.copy_(solved)
            block.mlp.down_proj.weight.zero_()  # attention was solved before there was an MLP output


def test_same_seed_same_bounds(model_dirs, tokens) -> None:
    """The result depends on the seed and on nothing else; the global generator is left alone."""
    view = load_model(model_dirs["qwen2"])
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again, other = (yes_chain(view, tokens[0], maps=[direct(3)], seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert first.chains == again.chains
    assert first.best != other.best


def test_a_shared_prefix_gives_the_same_chain(model_dirs, tokens, found) -> None:
    """A map alone has the bound that it has among all maps, up to rounding in stacked products."""
    view = load_model(model_dirs["llama"])
    alone = yes_chain(view, tokens[0], held_out=tokens[1], maps=[(2, 2, 3)])
    assert alone.chains[(2, 2, 3)].loss == pytest.approx(found["llama"].chains[(2, 2, 3)].loss, rel=1e-3)


def test_progress_and_kept_weights(model_dirs, tokens) -> None:
    """Progress counts to its total; with keep='best' only the best witness is there."""
    view = load_model(model_dirs["llama"])
    seen: list[tuple[int, int, str]] = []
    result = yes_chain(
        view, tokens[0], maps=[direct(3), (3, 3, 3)], keep="best", on_progress=lambda *a: seen.append(a)
    )
    assert [s[0] for s in seen] == list(range(1, seen[0][1] + 1))
    assert seen[-1][2] == "last-layer refit"
    result.witness()
    other = next(m for m in result.chains if m != result.best_map)
    with pytest.raises(InputError, match="keep='all'"):
        result.witness(other)


def test_families_with_a_norm_after_the_mlp_need_the_gradient_solver(tokens) -> None:
    """Gemma 2 puts norms after its outputs: the closed form refuses it, the gradient solver takes it."""
    from transformers import AutoModelForCausalLM, Gemma2Config

    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=256, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, head_dim=16, query_pre_attn_scalar=16, max_position_embeddings=64,
        bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )
    view = ModelView(AutoModelForCausalLM.from_config(config))
    with pytest.raises(InputError, match="gradient solver"):
        yes_chain(view, tokens[0], maps=[])


def test_bad_input(model_dirs, tokens) -> None:
    """Unknown solvers, budgets, maps, half precision and wrong ids are refused."""
    view = load_model(model_dirs["llama"])
    for options in ({"solver": "newton"}, {"budget": 0}, {"maps": [(1, 2)]}, {"keep": "some"},
                    {"solver": ClosedForm(), "budget": 3}):
        with pytest.raises(InputError):
            yes_chain(view, tokens[0], **options)
    with pytest.raises(InputError, match="float32"):
        yes_chain(load_model(model_dirs["llama"], dtype="bfloat16"), tokens[0])
    with pytest.raises(InputError):
        yes_chain(view, tokens[0][0])
    with pytest.raises(NumericalError, match="learning rate"):
        yes_chain(view, tokens[0], maps=[], solver=Gradient(steps=30, learning_rate=1e30))
    assert solver_named("gradient", 7).budget["steps"] == 7
    assert solver_named("closed-form", 7).head_steps == 7


def test_windows_are_disjoint_and_spread() -> None:
    """The two sets share no window, reach both ends of the text, and are refused where there are too few."""
    ids = torch.arange(100)[:, None].repeat(1, 4)
    fit, held = thin(ids, 10)
    assert len(fit) == len(held) == 10
    assert not set(fit[:, 0].tolist()) & set(held[:, 0].tolist())
    assert int(fit[0, 0]) == 0 and int(held[-1, 0]) == 99
    assert len(thin(ids[:2], 1)[0]) == 1
    with pytest.raises(InputError, match="windows"):
        thin(ids[:3], 2)


def test_a_series_of_checkpoints(model_dirs, tokens, tmp_path: Path) -> None:
    """Checkpoints become points with steps from their names; another architecture in the list is refused."""
    trained = load_model(model_dirs["llama"])
    fresh = ModelView(type(trained.model)(trained.config))
    save_model(fresh, tmp_path / "step-5")
    seen: list[str] = []
    series = peel_checkpoints(
        [tmp_path / "step-5", trained], tokens[0], held_out=tokens[1], maps=[direct(3)],
        on_point=lambda s, result: seen.append(s.points[-1].label),
    )
    assert seen == ["step-5", "checkpoint 1"] == [p.label for p in series.points]
    assert [p.step for p in series.points] == [0, 1]  # not every checkpoint has a step
    first, second = series.points
    assert second.best_running == min(first.best, second.best)
    with pytest.raises(InputError, match="one architecture"):
        peel_checkpoints([trained, small_decoder("llama", blocks=2, width=32, heads=2)], tokens[0], maps=[])
    with pytest.raises(InputError):
        peel_checkpoints([], tokens[0])
    assert step_of("x/step-0400") == 400 and step_of("checkpoint_7") == 7 and step_of("final") is None
