"""What the bounds for every input need to know about a block: where its parts are and how they compute.

Sizes, scales and activations are read from the modules that `transformers` built, not from the configuration: a
configuration may hold keys that its architecture does not read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

from torch import nn

from peelverify.enclose import round_up
from peelverify.errors import InputError
from peelverify.models.blockwise import EXACT_ATTENTION
from peelverify.models.plain import is_plain, sha256_of, unsaved_buffers
from peelverify.models.view import ModelView

__all__ = [
    "LAYOUTS", "Heads", "Layout", "activation_of", "block_differences", "buffers_around", "differences",
    "heads_of", "norm_epsilon", "own_forward", "rotary_scale", "unbounded_norm",
]


@dataclass(frozen=True)
class Layout:
    """Where a block of one family keeps its norms and linear maps, and how their rows are cut.

    Args:
        attention_norm: norm before the maps ``projections``.
        projections: maps behind it.
        values: which of them makes the values.
        attention_out: map behind attention.
        mlp_norm: norm before the maps ``hidden``.
        hidden: (gate, value) of a gated MLP, one fused map, or one plain map.
        mlp_out: map behind the activation.
        activation: module of the activation.
        gated: whether the MLP is gated.
        interleaved: whether query, key and value rows lie head by head.
        unit_offset: whether the norm multiplies by ``1 + weight``.
    """

    attention_norm: str
    projections: tuple[str, ...]
    values: str
    attention_out: str
    mlp_norm: str
    hidden: tuple[str, ...]
    mlp_out: str
    activation: str
    gated: bool = True
    interleaved: bool = False
    unit_offset: bool = False


_LLAMA = Layout(
    "input_layernorm", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), "self_attn.v_proj",
    "self_attn.o_proj", "post_attention_layernorm", ("mlp.gate_proj", "mlp.up_proj"), "mlp.down_proj", "mlp.act_fn",
)
LAYOUTS: dict[str, Layout] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3"), _LLAMA),
    "gemma2": Layout(
        "input_layernorm", _LLAMA.projections, _LLAMA.values, _LLAMA.attention_out, "pre_feedforward_layernorm",
        _LLAMA.hidden, _LLAMA.mlp_out, _LLAMA.activation, unit_offset=True,
    ),
    "phi3": Layout(
        "input_layernorm", ("self_attn.qkv_proj",), "self_attn.qkv_proj", "self_attn.o_proj",
        "post_attention_layernorm", ("mlp.gate_up_proj",), "mlp.down_proj", "mlp.activation_fn",
    ),
    "gpt2": Layout(
        "ln_1", ("attn.c_attn",), "attn.c_attn", "attn.c_proj", "ln_2", ("mlp.c_fc",), "mlp.c_proj", "mlp.act",
        gated=False,
    ),
    "gpt_neox": Layout(
        "input_layernorm", ("attention.query_key_value",), "attention.query_key_value", "attention.dense",
        "post_attention_layernorm", ("mlp.dense_h_to_4h",), "mlp.dense_4h_to_h", "mlp.act", gated=False,
        interleaved=True,
    ),
    "opt": Layout(
        "self_attn_layer_norm", _LLAMA.projections, _LLAMA.values, "self_attn.out_proj", "final_layer_norm",
        ("fc1",), "fc2", "activation_fn", gated=False,
    ),
}


@dataclass(frozen=True)
class Heads:
    """Attention heads of a block.

    Attributes:
        count: query heads.
        shared: heads of keys and values.
        size: entries of a head.
        scale: what scores are multiplied by, rounded up; its sign left out.
    """

    count: int
    shared: int
    size: int
    scale: Fraction


def heads_of(block: nn.Module, layout: Layout) -> Heads:
    """Heads as the attention module has them; weights may be without data.

    Raises:
        InputError: if the module does not say, or its maps have other sizes.
    """
    attention = block.get_submodule(layout.attention_out.rpartition(".")[0])
    size = getattr(attention, "head_dim", None) or getattr(attention, "head_size", None)
    scale = getattr(attention, "scaling", None)
    if not isinstance(size, int) or not isinstance(scale, (int, float)) or not math.isfinite(scale):
        raise InputError(f"bounds for every input need an attention with head_dim and scaling, got {type(attention)}")
    count = ModelView.weight(block.get_submodule(layout.attention_out)).shape[1] // size
    shared = count // int(getattr(attention, "num_key_value_groups", 1))
    outputs = ModelView.weight(block.get_submodule(layout.values)).shape[0]
    wanted = shared * size if len(layout.projections) > 1 else (count + 2 * shared) * size
    if outputs != wanted:
        raise InputError(
            f"bounds for every input need {layout.values} with {wanted} outputs for {count} heads, got {outputs}; "
            "use a model as transformers builds it"
        )
    # a root of the size was rounded to float64 once
    return Heads(count, shared, size, round_up(abs(Fraction(scale)) * (1 + Fraction(1, 2**50))))


def rotary_scale(view: ModelView) -> Fraction:
    """How much longer the rotary embedding can make a query or key, rounded up: 1 unless lengths are scaled (YaRN)."""
    found = []
    for module in view.model.modules():
        for key, value in vars(module).items():
            if key.endswith("attention_scaling"):
                if not isinstance(value, (int, float)) or not math.isfinite(value):
                    raise InputError(f"bounds for every input need {key} to be a number, got {_short(value)}")
                found.append(abs(Fraction(value)))
    return round_up(max([Fraction(1), *found]))  # with a partial embedding the other entries keep their size


@cache
def _activation_names() -> dict[type, str]:
    from transformers.activations import ACT2CLS

    found: dict[type, str] = {}
    for name, kind in ACT2CLS.items():
        found.setdefault(kind[0] if isinstance(kind, tuple) else kind, name)
    return found


def activation_of(block: nn.Module, layout: Layout) -> str:
    """Name of the activation that the block has, as `transformers` calls it; of its class if it has no name there."""
    owner, _, name = layout.activation.rpartition(".")
    module = getattr(block.get_submodule(owner), name)  # a plain function has no name there
    return _activation_names().get(type(module), type(module).__name__)


def norm_epsilon(norm: nn.Module | None) -> float:
    """What a norm adds to the mean square; 0 if it does not say."""
    return float(next((e for k in ("eps", "variance_epsilon") if (e := getattr(norm, k, None))), 0.0))


def unbounded_norm(block: nn.Module, layout: Layout) -> str | None:
    """Why a norm of the block has no radius: a negative epsilon; None if both have one."""
    for name in (layout.attention_norm, layout.mlp_norm):
        epsilon = norm_epsilon(block.get_submodule(name))
        if not 0 <= epsilon < math.inf:
            return f"{name} has the epsilon {epsilon}, and what it gives can be of any length"
    return None


_NO_FUNCTION = frozenset({
    "_name_or_path", "name_or_path", "transformers_version", "architectures", "torch_dtype", "dtype",
    "num_hidden_layers", "n_layer", "max_window_layers", "bos_token_id", "eos_token_id", "pad_token_id",
    "sep_token_id", "tie_word_embeddings", "use_cache", "return_dict", "output_hidden_states", "output_attentions",
    "id2label", "label2id", "num_labels", "problem_type", "task_specific_params", "initializer_range", "init_std",
    "pretraining_tp", "attention_dropout", "hidden_dropout", "classifier_dropout", "dropout", "layerdrop",
    "resid_pdrop", "embd_pdrop", "attn_pdrop", "_attn_implementation", "_attn_implementation_internal",
    "attn_implementation", "summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels",
    "summary_first_dropout",
})
"""Fields of a configuration that cannot change what a block computes from its weights, when nothing is dropped."""
_NO_FACTS = frozenset({"training", "layer_idx", "gradient_checkpointing"})


def _short(value: Any) -> str:
    return " ".join(str(value).split())[:40]


def own_forward(module: nn.Module) -> list[str]:
    """Modules that compute something else than `torch` or `transformers` wrote: hooks, another forward or class."""
    return [
        f"{name or 'the module'} ({type(part).__name__}) has a hook or a forward pass of its own"
        for name, part in module.named_modules() if not is_plain(part)
    ]


def _buffers(module: nn.Module) -> dict[str, Any]:
    """Hash of each buffer that no file holds, such as the frequencies of a rotary embedding."""
    return {name: sha256_of(tensor) for name, tensor in unsaved_buffers(module)}


def _facts(module: nn.Module) -> dict[str, Any]:
    """Classes, plain numbers and unsaved buffers of a module and all modules in it, weights aside."""
    found: dict[str, Any] = _buffers(module)
    for name, part in module.named_modules():
        found[f"{name}:class"] = type(part)
        for key, value in () if isinstance(part, nn.Dropout) else vars(part).items():
            hidden = key.startswith("_") or key in _NO_FACTS or "dropout" in key
            if isinstance(value, (bool, int, float, str, tuple)) and not hidden:
                found[f"{name}.{key}" if name else key] = value
    return found


def _apart(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    return [
        f"{key} ({_short(first.get(key, 'none'))} and {_short(second.get(key, 'none'))})"
        for key in sorted(first.keys() | second.keys()) if first.get(key) != second.get(key)
    ]


def block_differences(first: nn.Module, second: nn.Module) -> list[str]:
    """In what two blocks differ beside their weights: classes, sizes, scales, epsilons; empty if in nothing.

    A block whose forward pass was changed counts as different, also from one that was changed alike.
    """
    return _apart(_facts(first), _facts(second)) + own_forward(first) + own_forward(second)


def differences(original: ModelView, compressed: ModelView, kept: Sequence[int]) -> list[str]:
    """In what two models of one family differ beside their weights and the number of blocks.

    Bounds from the weights alone speak of two models that compute the same function of their weights.

    Args:
        original: the reference.
        compressed: the model under test; neither needs weights with data.
        kept: blocks of the original that the compressed model still has.

    Returns:
        Each field of the configurations, and each plain number, unsaved buffer or class of a module in the blocks,
        with both values, and each module with a hook or a forward pass of its own. Fields that cannot change a block
        are left out; lists with one entry a block may be cut as the blocks are.
    """
    first, second = (
        {key: value for key, value in view.config.to_dict().items() if key not in _NO_FUNCTION and value is not None}
        for view in (original, compressed)
    )
    for key, value in first.items():
        if isinstance(value, (list, tuple)) and len(value) == original.depth and key in second:
            cut = [value[k] for k in kept]
            first[key] = list(second[key]) if list(second[key]) == cut else value
    found = _apart(first, second)
    for own, t in enumerate(kept):
        apart = _apart(_facts(original.blocks[t]), _facts(compressed.blocks[own]))
        found += [f"{text} in block {t}" for text in apart]
    for name in ("norm", "project", "lm_head"):
        parts = [getattr(view, name) for view in (original, compressed)]
        facts = [{} if part is None else _facts(part) for part in parts]
        found += [f"{text} in the final {name}" for text in _apart(*facts)]
    for view in (original, compressed):
        if view.config._attn_implementation not in EXACT_ATTENTION:
            found.append(f"attention {_short(view.config._attn_implementation)}, which is none of {EXACT_ATTENTION}")
        if type(view.lm_head) is not nn.Linear:
            found.append(f"a head of the class {type(view.lm_head).__name__}")
        found += own_forward(view.model)
    return found


def buffers_around(original: ModelView, compressed: ModelView) -> list[str]:
    """Unsaved buffers outside the blocks that differ: what a block is given beside its state, such as rotations."""
    return _apart(*(
        {name: sha for name, sha in _buffers(view.model).items() if not name.startswith(f"{view.family.blocks}.")}
        for view in (original, compressed)
    ))
