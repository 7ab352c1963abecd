"""Chains that reuse the model's blocks: the direct one is the model; the others are complete decoders."""

from __future__ import annotations

import pytest
import torch

from peelverify.data import builtin_text, windows
from peelverify.errors import InputError
from peelverify.models import ModelView, load_model, save_model
from peelverify.models.small import byte_tokenizer
from peelverify.peel.reuse import reused_chains
from peelverify.peel.run import thin


@pytest.fixture(scope="module")
def tokens() -> tuple[torch.Tensor, torch.Tensor]:
    """Windows to fit on and windows that decide."""
    return thin(windows(byte_tokenizer(), builtin_text(), length=32), 12)


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2"])
def test_direct_is_the_model_and_the_rest_are_witnesses(family: str, model_dirs, tokens, tmp_path) -> None:
    """Nothing is accepted on the direct map, something elsewhere; each stated loss is that of a saved decoder."""
    view = load_model(model_dirs[family])
    found = reused_chains(view, tokens[0], held_out=tokens[1])
    assert found.losses[1, 2, 3] == found.loss and found.accepted[1, 2, 3] == 0
    assert found.accepted[3, 3, 3] > 0
    save_model(found.witness((3, 3, 3)), tmp_path / "chain")
    logits = load_model(tmp_path / "chain").trace(tokens[1]).logits[:, :-1]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).double(), tokens[1][:, 1:].flatten())
    assert float(loss) == pytest.approx(found.losses[3, 3, 3], rel=1e-6)
    ours, theirs = found.witness((1, 2, 3)).model.state_dict(), view.model.state_dict()
    assert all(torch.equal(ours[n], theirs[n]) for n in ours)


def test_errors_only_fall(model_dirs, tokens) -> None:
    """On the fitted tokens the first block of a chain is nearer to its target than the model's own block."""
    view = load_model(model_dirs["llama"])
    found = reused_chains(view, tokens[0], maps=[(3, 3, 3)])
    trace = view.trace(tokens[0])
    chain = found.witness((3, 3, 3)).trace(tokens[0])
    before, after = ((t.states[1] - trace.states[3]).norm() for t in (trace, chain))
    assert after < before


def tiny(family: str, parallel: bool = True) -> ModelView:
    """A decoder of a family that the small models do not cover, 3 blocks, random weights of a size that matters."""
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, OPTConfig, OPTForCausalLM

    torch.manual_seed(0)
    if family == "gpt_neox":
        config = GPTNeoXConfig(
            vocab_size=256, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64,
            max_position_embeddings=32, use_parallel_residual=parallel, initializer_range=0.2,
        )
        return ModelView(GPTNeoXForCausalLM(config))
    config = OPTConfig(
        vocab_size=256, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, ffn_dim=64, word_embed_proj_dim=32,
        max_position_embeddings=32, init_std=0.2, dropout=0.0, pad_token_id=None, bos_token_id=None, eos_token_id=None,
    )
    return ModelView(OPTForCausalLM(config))


def test_parallel_blocks_are_solved_together(tokens) -> None:
    """In one step the error of the first block is that of a dense least-squares solution over both feature sets."""
    view = tiny("gpt_neox")
    found = reused_chains(view, tokens[0], maps=[(3, 3, 3)], ridge=0.0, rounds=1)
    assert found.joint and found.accepted[3, 3, 3] == 3, "one solution a block"
    trace, chain = view.trace(tokens[0]), found.witness((3, 3, 3)).trace(tokens[0])
    seen: list[torch.Tensor] = []
    block = view.blocks[0]
    handles = [block.get_submodule(n).register_forward_pre_hook(lambda m, a: seen.append(a[0]))
               for n in (view.family.attention_out, view.family.mlp_out)]
    trace.run_module(block, 0, trace.states[0])
    for handle in handles:
        handle.remove()
    wide = torch.cat([*(s.reshape(-1, s.shape[-1]) for s in seen), torch.ones(seen[0].shape[:2].numel(), 1)], dim=1)
    asked = (trace.states[3] - trace.states[1]).flatten(0, 1)
    wide = wide.detach()
    best = asked.double() - wide.double() @ torch.linalg.lstsq(wide.double(), asked.double(), driver="gelsd").solution
    reached = (trace.states[3] - chain.states[1]).norm()
    assert float(reached) == pytest.approx(float(best.norm()), rel=1e-3)
    one_by_one = tiny("gpt_neox", parallel=False)
    assert not reused_chains(one_by_one, tokens[0], maps=[(3, 3, 3)]).joint


@pytest.mark.parametrize("family", ["gpt_neox", "opt"])
def test_other_families(family: str, tokens, tmp_path) -> None:
    """Direct is the model; all-last lowers its errors and is the decoder that it says, biases included."""
    view = tiny(family)
    found = reused_chains(view, tokens[0], held_out=tokens[1])
    assert found.losses[1, 2, 3] == found.loss and found.joint == (family == "gpt_neox")
    save_model(found.witness((3, 3, 3)), tmp_path / "chain")
    logits = load_model(tmp_path / "chain").trace(tokens[1]).logits[:, :-1]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).double(), tokens[1][:, 1:].flatten())
    assert float(loss) == pytest.approx(found.losses[3, 3, 3], rel=1e-6)
    data = found.to_json()
    assert data["best_map"] != [1, 2, 3] and data["best"] == min(v for m, v in found.losses.items() if m != (1, 2, 3))


def test_bad_input_is_refused(model_dirs, tokens) -> None:
    """Half precision, no round, an unknown map."""
    view = load_model(model_dirs["llama"])
    with pytest.raises(InputError, match="one round"):
        reused_chains(view, tokens[0], rounds=0)
    with pytest.raises(InputError, match="float32"):
        reused_chains(load_model(model_dirs["llama"], dtype="bfloat16"), tokens[0])
    with pytest.raises(InputError, match="was tried"):
        reused_chains(view, tokens[0], maps=[(3, 3, 3)]).witness((1, 2, 3))
