"""Bounds on whole blocks for every input: never below what a search finds, zero for equal blocks."""

from __future__ import annotations

import copy
from fractions import Fraction as F

import mpmath
import numpy as np
import pytest
import torch
from torch import nn
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, Phi3Config, Phi3ForCausalLM
from transformers.activations import ACT2FN

from peelverify.certify import wholeblock, worst
from peelverify.certify.wholeblock import COVERED, LIPSCHITZ, bound_block, bound_blocks, require_coverable
from peelverify.certify.worst import search_block
from peelverify.compress import delete_layers
from peelverify.errors import InputError
from peelverify.models.blockwise import Call, WholeModel
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


def calls_of(view: ModelView, windows: int, length: int) -> list[Call]:
    """What the model gives to its blocks for inputs of this shape."""
    ids = torch.zeros((windows, length), dtype=torch.long)
    with WholeModel(view).front(ids) as embed:
        return embed(ids)[1]


def plain_ascent(f: nn.Module, own: nn.Module, call: Call, start: torch.Tensor) -> float:
    """Largest change that sixty steps of Adam find, at the worst token of each window."""
    x = start.clone().requires_grad_(True)
    optimiser, best = torch.optim.Adam([x], lr=0.05 * float(start.std())), 0.0
    for _ in range(60):
        change = (call.run(own, x) - call.run(f, x)).norm(dim=-1).amax(dim=1)
        best = max(best, float(change.detach().max()))
        (x.grad,) = torch.autograd.grad(-change.sum(), x)
        optimiser.step()
    return best


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2"])
def test_the_search_beats_a_plain_ascent_and_hardly_depends_on_the_seed(family: str) -> None:
    """Windows of one scale and a step of one size miss inputs that a small token decides; a search must not."""
    one, two = pair(family, 1e-3)
    calls = calls_of(one, 16, 8)
    for t in range(2):
        f, own = one.blocks[t], two.blocks[t]
        starts = torch.randn(16, 8, 16, generator=torch.Generator().manual_seed(7))
        plain = max(plain_ascent(f, own, calls[t], starts * 10.0**power) for power in range(-3, 2))
        found = [
            search_block(f, own, calls[t], (16, 8, 16), samples=500, ascents=48, seed=seed).ascended for seed in (0, 1)
        ]
        assert min(found) >= max(1.1 * plain, 0.9 * max(found)), (plain, found)


def test_the_search_repeats_itself_and_leaves_no_gradients() -> None:
    """The same seed gives the same numbers; the blocks stay as they were."""
    one, two = pair("llama", 0.01)
    (call, _) = calls_of(one, 3, 4)
    found = [search_block(one.blocks[0], two.blocks[0], call, (3, 4, 16), samples=50, ascents=4) for _ in range(2)]
    assert found[0] == found[1]
    assert all(parameter.grad is None for view in (one, two) for parameter in view.model.parameters())


def test_as_many_token_states_are_drawn_as_were_asked_for() -> None:
    """The worst of n states is that of the first n, whether or not n fills a window or an evaluation."""
    one, two = pair("llama", 0.01)
    f, own = one.blocks[0], two.blocks[0]
    (call, _) = calls_of(one, 2, 3)
    inputs = []

    class Seen(Call):
        def run(self, block: nn.Module, state: torch.Tensor) -> torch.Tensor:
            inputs.append(state)
            return super().run(block, state)

    def search(samples: int, ascents: int = 0) -> worst.Found:
        return search_block(f, own, Seen(call.args, call.kwargs), (2, 3, 16), samples=samples, ascents=ascents, seed=5)

    search(18)
    drawn = torch.cat(inputs[::2])
    with torch.no_grad():
        pieces = drawn.split(2)
        each = torch.cat([(call.run(own, x) - call.run(f, x)).norm(dim=-1).flatten() for x in pieces])
    for samples in range(1, 19):
        found = search(samples)
        assert (found.samples, found.ascended) == (samples, None)
        assert found.worst == found.sampled == pytest.approx(float(each[:samples].max()), rel=1e-3)
    assert search(0) == worst.Found(None, None, 0, 0) and search(0).worst is None
    nothing = search(0, 3)
    assert (nothing.sampled, nothing.samples, nothing.ascents) == (None, 0, 3) and nothing.worst > 0


def test_what_was_found_is_computed_in_float64_throughout() -> None:
    """Norms that ask for float32 by name get float64, also at a token that attention all but cancels."""

    class Norm(nn.Module):
        def __init__(self, of: nn.Module) -> None:
            super().__init__()
            self.weight, self.least = of.weight.detach().double(), of.variance_epsilon

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.weight * (x / (x.square().mean(dim=-1, keepdim=True) + self.least).sqrt())

    one, _ = pair("llama", 0.0)
    f = one.blocks[0]
    (call, _) = calls_of(one, 2, 4)
    wide = Call(worst._double(call.args), {name: worst._double(value) for name, value in call.kwargs.items()})
    usual = copy.deepcopy(f).double()
    true = copy.deepcopy(usual)
    true.input_layernorm, true.post_attention_layernorm = Norm(f.input_layernorm), Norm(f.post_attention_layernorm)
    x = 0.01 * torch.randn(2, 4, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, expected = worst._double_answer(f, call, x), wide.run(true, x.double())
        assert found.dtype == torch.float64
        assert float((found - expected).abs().max()) <= 1e-13
        assert float((wide.run(usual, x.double()) - expected).abs().max()) >= 1e-9  # float32 inside


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
    assert "gemma2" not in COVERED
    with pytest.raises(InputError, match="gemma2"):
        bound_block(0, one.blocks[0], one.blocks[0], one)
    with pytest.raises(InputError, match="gemma2"):
        require_coverable(one, one, range(2))
