"""What bounds from weights alone read from modules, and which pairs they refuse."""

from __future__ import annotations

import copy
import math
from fractions import Fraction

import pytest
import torch

from peelverify.certify import certify
from peelverify.certify.everyinput import every_input
from peelverify.certify.identity import open_model
from peelverify.certify.layout import (
    LAYOUTS,
    activation_of,
    block_differences,
    differences,
    heads_of,
    rotary_scale,
    unbounded_norm,
)
from peelverify.certify.wholeblock import bound_block, bound_blocks
from peelverify.compress import delete_layers, quantize_model
from peelverify.errors import InputError
from peelverify.models import FAMILIES, ModelView, blockwise
from peelverify.models.blockwise import WholeModel
from tests.families import small_family, untrained_family

ALL = sorted(FAMILIES)
NAMES = {"gpt2": "gelu_new", "gpt_neox": "gelu", "opt": "relu", "gemma2": "gelu_pytorch_tanh"}
UNREAD = {
    "head_dim": 1, "num_key_value_heads": 1, "hidden_activation": "tanh", "activation_function": "tanh",
    "hidden_act": "tanh", "use_parallel_residual": True, "scale_attn_weights": False,
    "scale_attn_by_inverse_layer_idx": True, "do_layer_norm_before": False, "n_head": 1,
}


@pytest.mark.parametrize("family", ALL)
def test_facts_come_from_the_modules_whatever_the_configuration_says(family) -> None:
    """Four heads of eight; two heads of keys where they are shared. Keys set afterwards change nothing."""
    view = ModelView(untrained_family(family, 0))
    for _ in range(2):
        for t, block in enumerate(view.blocks):
            heads = heads_of(block, LAYOUTS[family])
            assert (heads.count, heads.size) == (4, 8)
            assert heads.shared == (4 if family in ("gpt2", "gpt_neox", "opt") else 2)
            exact = 256 ** -0.5 if family == "gemma2" else 8 ** -0.5
            assert Fraction(exact) <= heads.scale <= Fraction(exact) * (1 + Fraction(1, 2**48)), t
            assert heads.scale**2 >= (Fraction(1, 256) if family == "gemma2" else Fraction(1, 8))
            assert activation_of(block, LAYOUTS[family]) == NAMES.get(family, "silu")
        assert rotary_scale(view) == 1
        for key, value in UNREAD.items():
            try:
                setattr(view.config, key, value)
            except Exception:
                assert key in type(view.config).__dataclass_fields__


def test_scales_that_a_family_reads_are_found() -> None:
    """GPT-2's two switches and the factor of YaRN."""
    plain = ModelView(untrained_family("gpt2", 0, scale_attn_weights=False))
    assert 1 <= heads_of(plain.blocks[1], LAYOUTS["gpt2"]).scale <= 1 + Fraction(1, 2**48)
    deep = ModelView(untrained_family("gpt2", 0, scale_attn_by_inverse_layer_idx=True))
    scales = [float(heads_of(block, LAYOUTS["gpt2"]).scale) for block in deep.blocks]
    assert scales == pytest.approx([1 / math.sqrt(8) / (t + 1) for t in range(3)])
    rope = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}
    found = rotary_scale(ModelView(untrained_family("llama", 0, rope_parameters=rope)))
    assert float(found) == pytest.approx(0.1 * math.log(4.0) + 1)
    less = ModelView(untrained_family("llama", 0, rope_parameters=rope | {"attention_factor": 0.5}))
    assert rotary_scale(less) == 1  # never below the entries that are not turned


@pytest.mark.parametrize("family", ALL)
def test_compressed_models_do_not_differ_in_more_than_weights(family, ids) -> None:
    """Copies, fewer bits, fewer blocks, other dtypes and names: nothing to refuse."""
    view = small_family(family, ids, steps=1)
    other = ModelView(copy.deepcopy(view.model).bfloat16())
    for key, value in (("use_cache", False), ("eos_token_id", 3), ("_name_or_path", "elsewhere"), ("dtype", None)):
        setattr(other.config, key, value)
    assert differences(view, other, range(3)) == []
    assert differences(view, quantize_model(view, 4).view, range(3)) == []
    assert differences(view, delete_layers(view, [1]), [0, 2]) == []


def test_what_is_dropped_in_training_is_no_difference() -> None:
    """Rates of dropout act in training only."""
    for family, rates in (
        ("gpt2", {"resid_pdrop": 0.3, "attn_pdrop": 0.3, "embd_pdrop": 0.3}), ("opt", {"dropout": 0.3}),
        ("llama", {"attention_dropout": 0.3}), ("gpt_neox", {"hidden_dropout": 0.3, "attention_dropout": 0.3}),
        ("phi3", {"resid_pdrop": 0.3, "embd_pdrop": 0.3}),
    ):
        one, two = (ModelView(untrained_family(family, 0, **more)) for more in ({}, rates))
        assert differences(one, two, range(3)) == []


@pytest.mark.parametrize(
    ("family", "changes", "word"),
    [
        ("llama", {"rms_norm_eps": 1.0}, "rms_norm_eps"),
        ("llama", {"hidden_act": "relu"}, "hidden_act"),
        ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 9.0}}, "rope_parameters"),
        ("llama", {"max_position_embeddings": 8}, "max_position_embeddings"),
        ("mistral", {"sliding_window": 4}, "sliding_window"),
        ("gemma2", {"layer_types": ["full_attention"] * 3}, "layer_types"),
        ("gemma2", {"query_pre_attn_scalar": 1}, "query_pre_attn_scalar"),
        ("gpt2", {"num_attention_heads": 2}, "n_head"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ("gpt2", {"layer_norm_epsilon": 0.1}, "layer_norm_epsilon"),
        ("gpt_neox", {"use_parallel_residual": False}, "use_parallel_residual"),
        ("phi3", {"original_max_position_embeddings": 8}, "original_max_position_embeddings"),
        ("opt", {"do_layer_norm_before": False}, "do_layer_norm_before"),
    ],
)
def test_configurations_that_differ_are_named_and_get_no_bound(family, changes, word, ids) -> None:
    """Every input: not covered, with the reason. Whole blocks: refused."""
    one, two = (ModelView(untrained_family(family, 0, **more)) for more in ({}, changes))
    assert any(word in text for text in differences(one, two, range(3)))
    part, seen = every_input(WholeModel(one), WholeModel(two), range(3), ids[:1])
    assert (part["matrices"], seen) == ([], [])
    assert [row["block"] for row in part["not_covered"]] == [0, 1, 2, "head"]
    assert all("differ in more than weights" in row["reason"] for row in part["not_covered"])
    if family != "gemma2":  # its blocks have no bound at all
        with pytest.raises(InputError, match="weights only"):
            bound_blocks(WholeModel(one), WholeModel(two), range(3), samples=0, ascents=0)


def test_modules_that_differ_are_named_though_the_configurations_agree(ids) -> None:
    """In memory: another epsilon, another activation, another scale of the scores."""
    one = ModelView(untrained_family("llama", 0))
    for name, key, value in (
        ("input_layernorm", "variance_epsilon", 1.0), ("self_attn", "scaling", 1.0), ("self_attn", "layer_type", "x"),
    ):
        two = ModelView(copy.deepcopy(one.model))
        setattr(two.blocks[1].get_submodule(name), key, value)
        assert [text.split()[0] for text in block_differences(one.blocks[1], two.blocks[1])] == [f"{name}.{key}"]
        with pytest.raises(InputError, match=key):
            bound_block(1, one.blocks[1], two.blocks[1], one)
        part, _ = every_input(WholeModel(one), WholeModel(two), range(3), ids[:1])
        assert key in part["not_covered"][0]["reason"]
    two = ModelView(copy.deepcopy(one.model))
    two.norm.variance_epsilon = 1.0
    assert "final norm" in differences(one, two, range(3))[0]


def test_a_norm_without_a_longest_length_gets_no_bound(ids) -> None:
    """A negative epsilon in both models."""
    one, two = (ModelView(untrained_family("llama", seed, rms_norm_eps=-1e-9)) for seed in (0, 1))
    assert "-1e-09" in unbounded_norm(one.blocks[0], LAYOUTS["llama"])
    part, _ = every_input(WholeModel(one), WholeModel(two), range(3), ids[:1])
    assert part["matrices"] == [] and "-1e-09" in part["not_covered"][0]["reason"]
    with pytest.raises(InputError, match="-1e-09"):
        bound_block(0, one.blocks[0], two.blocks[0], one)


class _LouderSilu(torch.nn.SiLU):
    """An activation that `torch` did not write, named like one that it did."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 5 * super().forward(x)


def _hook(module: torch.nn.Module) -> None:
    module.register_forward_hook(lambda module, inputs, output: output * 3)


def _pre_hook(module: torch.nn.Module) -> None:
    module.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 3,))


def _another_forward(module: torch.nn.Module) -> None:
    own = module.forward
    module.forward = lambda *args, **named: own(*args, **named) * 3


def _another_class(module: torch.nn.Module) -> None:
    module.__class__ = type("Own", (type(module),), {"__module__": "elsewhere"})


def _compiled(module: torch.nn.Module) -> None:
    module._compiled_call_impl = lambda x: 3 * module.forward(x)


class _Louder(torch.Tensor):
    """A tensor that computes something of its own."""


def _another_tensor(module: torch.nn.Module) -> None:
    module.weight = torch.nn.Parameter(module.weight.detach().as_subclass(_Louder))


def _torch_of_another_kind(module: torch.nn.Module) -> None:
    module.__class__ = type("Linear", (type(module),), {"__module__": "torch.ao.nn.qat"})


@pytest.mark.parametrize(
    "change", [_hook, _pre_hook, _another_forward, _another_class, _compiled, _torch_of_another_kind]
)
@pytest.mark.parametrize("name", ["self_attn.q_proj", "mlp.down_proj", "input_layernorm", "mlp.act_fn"])
@pytest.mark.parametrize("both", [False, True])
def test_modules_that_compute_something_of_their_own_get_no_bound(change, name, both, ids) -> None:
    """A hook, another forward pass or another class; in one model, or alike in both, where nothing differs."""
    one, two = (ModelView(untrained_family("llama", 0)) for _ in range(2))
    for view in (one, two) if both else (two,):
        change(view.blocks[1].get_submodule(name))
    part, _ = every_input(WholeModel(one), WholeModel(two), range(3), ids[:1])
    assert part["matrices"] == []
    reason = f"{name}|a known Lipschitz bound"
    with pytest.raises(InputError, match=reason):
        bound_block(1, one.blocks[1], two.blocks[1], one)
    with pytest.raises(InputError, match=reason):
        bound_block(1, two.blocks[1], None, one)
    assert block_differences(one.blocks[0], two.blocks[0]) == []


def test_frequencies_that_no_file_holds_count() -> None:
    """Two models in memory that differ in a rotary embedding alone: another hash, and no bounds for whole blocks."""
    one, two = (ModelView(untrained_family("llama", 0)) for _ in range(2))
    assert open_model(one).facts["files"] == open_model(two).facts["files"]
    two.model.model.rotary_emb.inv_freq.mul_(3)
    assert open_model(one).facts["files"] != open_model(two).facts["files"]
    assert differences(one, two, range(3)) == []  # each matrix by itself does what it did
    with pytest.raises(InputError, match=r"rotary_emb\.inv_freq"):
        bound_blocks(WholeModel(one), WholeModel(two), range(3), samples=0, ascents=0)


def test_weights_that_are_no_plain_tensors_get_no_bound(ids) -> None:
    """A subclass of tensor may compute anything."""
    one, two = (ModelView(untrained_family("llama", 0)) for _ in range(2))
    _another_tensor(two.blocks[1].mlp.up_proj)
    assert every_input(WholeModel(one), WholeModel(two), range(3), ids[:1])[0]["matrices"] == []


def test_a_hook_on_all_modules_leaves_no_bound(ids) -> None:
    """A global hook of torch, and a forward pass that was exchanged in the class itself."""
    one, two = (ModelView(untrained_family("llama", 0)) for _ in range(2))
    handle = torch.nn.modules.module.register_module_forward_hook(lambda module, inputs, output: None)
    try:
        assert every_input(WholeModel(one), WholeModel(two), range(3), ids[:1])[0]["matrices"] == []
    finally:
        handle.remove()
    kind, own = type(one.norm), type(one.norm).forward
    try:
        kind.forward = lambda self, x: 3 * own(self, x)
        assert every_input(WholeModel(one), WholeModel(two), range(3), ids[:1])[0]["matrices"] == []
    finally:
        kind.forward = own
    assert every_input(WholeModel(one), WholeModel(two), range(3), ids[:1])[0]["matrices"]


@pytest.mark.parametrize("change", ["function", "head"])
def test_parts_of_another_kind_are_left_out(change, ids) -> None:
    """An activation that is a function, a head that is no linear map: no bounds, and no crash."""
    one, two = (ModelView(untrained_family("llama", 0)) for _ in range(2))
    for view in (one, two):
        if change == "head":
            view.model.lm_head = torch.nn.Sequential(view.lm_head)
        for block in view.blocks if change == "function" else ():
            del block.mlp.act_fn
            block.mlp.act_fn = torch.nn.functional.silu
    part = certify(one.model, two.model, ids[:2], lean=False).document["every_input"]
    names = {row["name"] for row in part["not_covered"]}
    assert names == ({"mlp.down_proj"} if change == "function" else {"all", "lm_head"})


@torch.no_grad()
def test_a_forward_pass_of_a_block_alone_is_run_and_kept(ids) -> None:
    """Somebody's own forward pass of one block counts in the certified error, and is there afterwards."""
    one, two = (ModelView(untrained_family("llama", 0)) for _ in range(2))
    _another_forward(two.blocks[1])
    mine = two.blocks[1].forward
    certificate = certify(one, two, ids[:2], lean=False)
    assert two.blocks[1].forward is mine
    truth = float((two.model(ids[:2]).logits.double() - one.model(ids[:2]).logits.double()).norm())
    assert float(certificate.direct) == pytest.approx(truth, rel=1e-4)
    assert truth > 0.1 and certificate.document["every_input"]["matrices"] == []


@torch.no_grad()
def test_one_module_may_be_several_blocks(ids) -> None:
    """Blocks that share their weights because they are one module, in one model and, alike, in the other."""
    views = [ModelView(untrained_family("llama", 0)) for _ in range(2)]
    for view in views:
        view.model.model.layers[2] = view.model.model.layers[1]
    one, two = (ModelView(view.model) for view in views)
    two.blocks[1].mlp.down_proj.weight += 0.01
    certificate = certify(one, two, ids[:2], lean=False)
    # without a cache, whose entries two blocks of one number would share
    z, w = (view.model(ids[:2], use_cache=False).logits.double() for view in (one, two))
    truth = float((w - z).norm())
    assert float(certificate.direct) == pytest.approx(truth, rel=1e-4)


@pytest.mark.parametrize("when", ["long", "token"])
def test_a_model_that_turns_other_on_the_certified_tokens_is_refused(when, ids) -> None:
    """A hook on the whole model that sleeps on short texts, or wakes at one token."""
    one, two = (ModelView(untrained_family("llama", 0)) for _ in range(2))
    token = int(ids[1, 3])

    def wake(module, args, kwargs):
        x = kwargs["input_ids"]
        if (x.shape[1] > 8) if when == "long" else bool((x == token).any() and x.shape[1] > 8):
            return args, {**kwargs, "input_ids": (x + 1) % 256}
        return None

    two.model.register_forward_pre_hook(wake, with_kwargs=True)
    with pytest.raises(InputError, match="own logits differ"):
        certify(one, two, ids[:2], lean=False)


@pytest.mark.parametrize("change", [_hook, _another_forward])
def test_rotations_that_were_changed_alike_leave_no_bound_of_a_block(change) -> None:
    """The rotary embedding is outside the blocks, but what it gives scales their scores; so does a scale of its own."""
    one, two = (ModelView(untrained_family("llama", 0)) for _ in range(2))
    for view in (one, two):
        if change is _hook:
            view.model.model.rotary_emb.register_forward_hook(lambda module, args, out: tuple(9 * x for x in out))
        else:
            view.model.model.rotary_emb.attention_scaling = torch.tensor(300.0)
    with pytest.raises(InputError, match=r"rotary_emb|attention_scaling"):
        bound_blocks(WholeModel(one), WholeModel(two), range(3), samples=0, ascents=0)


def test_attention_that_nobody_knows_is_refused() -> None:
    """An implementation that somebody registered: neither run as another one, nor believed."""
    from transformers import AttentionInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    AttentionInterface.register("mine", lambda *a, **k: tuple(3 * x if x is not None else x for x in
                                                             sdpa_attention_forward(*a, **k)))
    one, two = (ModelView(untrained_family("llama", 0)) for _ in range(2))
    two.model.set_attn_implementation("mine")
    with pytest.raises(InputError, match="set_attn_implementation"):
        open_model(two)
    with pytest.raises(InputError, match="attention mine"):
        bound_blocks(WholeModel(one), WholeModel(two), range(3), samples=0, ascents=0)


@pytest.mark.parametrize("change", [_hook, _pre_hook, _another_forward, _compiled])
@torch.no_grad()
def test_a_head_that_computes_something_of_its_own_is_not_cut_into_slices(change, ids, monkeypatch) -> None:
    """A head larger than a block is used in slices of its matrix, which know of no hook."""
    monkeypatch.setattr(blockwise, "_SLICE", 1 << 8)
    one, two = (ModelView(untrained_family("llama", 0, vocab_size=1024)) for _ in range(2))
    change(two.lm_head)
    certificate = certify(one, two, ids[:2], lean=False, every_input=False)
    truth = float((two.model(ids[:2]).logits.double() - one.model(ids[:2]).logits.double()).norm())
    assert truth > 1
    assert float(certificate.direct) == pytest.approx(truth, rel=1e-4)
