"""Bounds on whole blocks for every input: never below what a search finds, zero for equal blocks."""

from __future__ import annotations

from fractions import Fraction as F

import mpmath
import numpy as np
import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, Phi3Config, Phi3ForCausalLM
from transformers.activations import ACT2FN

from peelverify.certify import wholeblock
from peelverify.certify.wholeblock import LIPSCHITZ, bound_block, bound_blocks, search_block
from peelverify.compress import delete_layers
from peelverify.errors import InputError
from peelverify.models.blockwise import WholeModel
from peelverify.models.small import small_decoder
from peelverify.models.view import ModelView


def neox() -> ModelView:
    """A decoder whose attention and feed-forward layers run side by side."""
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32,
    )
    return ModelView(GPTNeoXForCausalLM(config).eval())


def phi3() -> ModelView:
    """A decoder with one fused map for queries, keys and values, and one for gate and value."""
    torch.manual_seed(0)
    config = Phi3Config(
        vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=32, max_position_embeddings=32, pad_token_id=0,
    )
    return ModelView(Phi3ForCausalLM(config).eval())


FAMILIES = {
    "llama": lambda: small_decoder("llama", blocks=2, width=16, heads=2, vocabulary=64, length=32),
    "gpt2": lambda: small_decoder("gpt2", blocks=2, width=16, heads=2, vocabulary=64, length=32),
    "qwen2": lambda: small_decoder("qwen2", blocks=2, width=16, heads=2, vocabulary=64, length=32),
    "gpt_neox": neox,
    "phi3": phi3,
}


def pair(family: str, noise: float) -> tuple[ModelView, ModelView]:
    """A decoder and a copy whose weights carry noise; norm scales and biases too."""
    views = FAMILIES[family](), FAMILIES[family]()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for one, two in zip(views[0].model.parameters(), views[1].model.parameters(), strict=True):
            shared = one + 0.05 * torch.randn(one.shape, generator=generator)
            one.copy_(shared)
            two.copy_(shared + noise * torch.randn(one.shape, generator=generator))
    return views


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("noise", [1e-3, 0.3])
def test_no_input_exceeds_the_bound(family: str, noise: float) -> None:
    """Sampled inputs and gradient ascent stay below the bound, and the bound is finite and positive."""
    one, two = pair(family, noise)
    found = bound_blocks(
        WholeModel(one), WholeModel(two), range(2), samples=320, ascents=4, length=4, windows=4, seed=3
    )
    for bound, seen in found:
        assert bound.kind == ("parallel" if family == "gpt_neox" else "sequential")
        assert 0 < seen.sampled <= seen.ascended <= float(bound.bound)
        assert bound.steady_attention <= bound.bound and bound.steady_norm <= bound.bound
        assert bound.bound >= bound.attention + bound.mlp
        assert 0 < bound.weight_change <= 2


@pytest.mark.parametrize("family", FAMILIES)
def test_equal_blocks_have_the_bound_zero(family: str) -> None:
    """Nothing changed, nothing can change."""
    one, two = pair(family, 0.0)
    for t in range(2):
        assert bound_block(t, one.blocks[t], two.blocks[t], one).bound == 0


def test_a_deleted_block_is_bounded_by_its_size() -> None:
    """A block that is left out changes the state by what it would have added."""
    one, _ = pair("llama", 0.0)
    two = delete_layers(one, [0])
    (bound, seen), _ = bound_blocks(WholeModel(one), WholeModel(two), [1], samples=64, ascents=2, length=4, windows=2)
    assert bound.kind == "deleted"
    assert 0 < max(seen.sampled, seen.ascended) <= float(bound.bound)


def test_every_part_of_the_bound_is_needed() -> None:
    """With one changed weight the bound of that part alone is not zero, and the search sees the change."""
    for name in (
        "self_attn.q_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
        "input_layernorm", "post_attention_layernorm",
    ):
        one, two = pair("llama", 0.0)
        with torch.no_grad():
            two.blocks[0].get_submodule(name).weight.mul_(1.5)
        bound = bound_block(0, one.blocks[0], two.blocks[0], one)
        ids = torch.zeros((2, 4), dtype=torch.long)
        with WholeModel(one).front(ids) as embed:
            _, calls = embed(ids)
        seen = search_block(one.blocks[0], two.blocks[0], calls[0], (2, 4, 16), samples=64, ascents=2)
        assert 0 < seen.ascended <= float(bound.bound), name


def test_one_rank_one_layer_is_sharp() -> None:
    """A block whose attention is still and whose feed-forward layer has no gate: the bound is reached to a tenth."""
    one, two = (small_decoder("gpt2", blocks=1, width=8, heads=1, vocabulary=16, length=8) for _ in range(2))
    with torch.no_grad():
        for view in (one, two):
            block = view.blocks[0]
            block.attn.c_proj.weight.zero_()
            block.mlp.c_fc.weight.zero_()
            block.mlp.c_fc.weight[0, 0] = 9.0  # far into the part where the activation is the identity
            block.mlp.c_fc.bias.zero_()
        two.blocks[0].mlp.c_proj.weight.copy_(one.blocks[0].mlp.c_proj.weight)
        two.blocks[0].mlp.c_proj.weight[0] += torch.tensor([0.5] + [0.0] * 7)
    bound = bound_block(0, one.blocks[0], two.blocks[0], one)
    ids = torch.zeros((4, 4), dtype=torch.long)
    with WholeModel(one).front(ids) as embed:
        _, calls = embed(ids)
    seen = search_block(one.blocks[0], two.blocks[0], calls[0], (4, 4, 8), samples=400, ascents=4, steps=300)
    assert 0.85 * float(bound.bound) <= seen.ascended <= float(bound.bound)


@pytest.mark.parametrize("name", sorted(LIPSCHITZ))
def test_activations_meet_their_hypotheses(name: str) -> None:
    """|act z| <= |z| and the Lipschitz bound, on a fine grid of float64 and its neighbours."""
    if name == "gelu_python":
        name = "gelu"
    z = torch.cat([torch.linspace(-30, 30, 600_001, dtype=torch.float64), torch.tensor([0.0], dtype=torch.float64)])
    z, _ = z.sort()
    act = ACT2FN[name](z)
    assert (act.abs() <= z.abs() * (1 + 1e-12)).all()
    slopes = (act[1:] - act[:-1]).abs() / (z[1:] - z[:-1]).clamp_min(1e-300)
    assert float(slopes[z[1:] > z[:-1]].max()) <= float(LIPSCHITZ[name])
    assert float(slopes[z[1:] > z[:-1]].max()) >= 0.95 * float(LIPSCHITZ[name])


def test_the_exponential_is_rounded_up() -> None:
    """Never below the exponential at 60 digits, and close to it."""
    rng = np.random.default_rng(0)
    for x in [0.0, 1e-12, 40.0, *rng.uniform(0, 40, 50)]:
        half = F(float(x))
        with mpmath.workdps(60):
            exact = mpmath.exp(mpmath.mpf(half.numerator) / half.denominator)
            found = wholeblock._root_of_exp(half)
            value = mpmath.mpf(found.numerator) / found.denominator
            assert exact <= value <= exact * (1 + mpmath.mpf(10) ** -15)


def test_what_is_not_covered_is_refused() -> None:
    """Another norm after the maps, another activation: refused by name."""
    one, _ = pair("llama", 0.0)
    one.blocks[0].mlp.act_fn = ACT2FN["mish"]
    with pytest.raises(InputError, match="mish"):
        bound_block(0, one.blocks[0], one.blocks[0], one)
    one.config.model_type = "gemma2"
    with pytest.raises(InputError, match="gemma2"):
        bound_block(0, one.blocks[0], one.blocks[0], one)
