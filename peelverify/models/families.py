"""Where each decoder family of `transformers` keeps its embedding, blocks, final norm and head.

Paths start at the ``...ForCausalLM`` module. A family is supported when a plain forward pass equals
embedding -> blocks in order -> ``norm`` -> ``project`` -> ``head`` (-> soft cap), which
`peelverify.models.view.ModelView` checks to the last bit on first use. What a configuration says beside that, such as
a scale of the logits that the architecture does not read, has no effect on the model and none here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from peelverify.errors import InputError

__all__ = ["FAMILIES", "Family", "family_of", "find_family", "refuse_kind"]


@dataclass(frozen=True)
class Family:
    """Module paths of one decoder family.

    Args:
        embedding: token-embedding module.
        blocks: the ``ModuleList`` of decoder blocks.
        norm: final norm.
        head: language-model head.
        attention_out: linear map that writes attention into the residual stream, relative to a block.
        mlp_out: linear map that writes the MLP into the residual stream, relative to a block.
        project: optional projection between final norm and head.
        soft_cap: key of the configuration with the size that logits are softly capped to, where the architecture
            reads one.
    """

    embedding: str
    blocks: str
    norm: str
    head: str = "lm_head"
    attention_out: str = "self_attn.o_proj"
    mlp_out: str = "mlp.down_proj"
    project: str | None = None
    soft_cap: str | None = None


_CAP = "final_logit_softcapping"
_LLAMA = Family("model.embed_tokens", "model.layers", "model.norm")

FAMILIES: dict[str, Family] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "phi3": _LLAMA,
    "gemma2": replace(_LLAMA, soft_cap=_CAP),
    "gpt2": Family(
        "transformer.wte", "transformer.h", "transformer.ln_f",
        attention_out="attn.c_proj", mlp_out="mlp.c_proj",
    ),
    "gpt_neox": Family(
        "gpt_neox.embed_in", "gpt_neox.layers", "gpt_neox.final_layer_norm",
        attention_out="attention.dense", mlp_out="mlp.dense_4h_to_h",
    ),
    "opt": Family(
        "model.decoder.embed_tokens", "model.decoder.layers", "model.decoder.final_layer_norm",
        attention_out="self_attn.out_proj", mlp_out="fc2", project="model.decoder.project_out",
    ),
}


def family_of(model_type: str) -> Family:
    """Look up a family by ``config.model_type``.

    Raises:
        InputError: if the architecture is not supported; the message names those that are.
    """
    if model_type not in FAMILIES:
        raise InputError(
            f"peelverify needs a decoder of a known family ({', '.join(sorted(FAMILIES))}), "
            f"got model_type {model_type!r}; use a model of one of these families",
            model_type=model_type,
            supported=tuple(sorted(FAMILIES)),
        )
    return FAMILIES[model_type]


_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
_MIXERS = ("mamba", "ssm", "rwkv", "conv_l_cache", "linear_num_value_heads", "layers_block_type", "lru_width")


def refuse_kind(config: Mapping[str, Any]) -> None:
    """Refuse configurations whose blocks are not attention and one MLP: mixtures of experts, state spaces, hybrids.

    Args:
        config: ``config.json`` as plain data.

    Raises:
        InputError: with the model type, what it is, and the families that are supported.
    """
    kind = str(config.get("model_type", ""))
    if kind in FAMILIES:
        return
    experts = next((name for name in _EXPERTS if (config.get(name) or 0) > 1), None)
    mixer = next((key for key in config for part in _MIXERS if key.startswith(part)), None)
    if experts is not None:
        found = f"a mixture of experts ({experts} {config[experts]})"
    elif mixer is not None or any(part in kind for part in ("mamba", "rwkv", "ssm")):
        found = f"a state-space or hybrid model ({mixer or kind})"
    else:
        return
    raise InputError(
        f"peelverify needs a decoder of attention and one MLP a block ({', '.join(sorted(FAMILIES))}, or built alike), "
        f"got model_type {kind!r}, {found}; use a dense attention decoder",
        model_type=kind,
        supported=tuple(sorted(FAMILIES)),
    )


def find_family(model: Any) -> Family:
    """Find the parts of a decoder of an unlisted family by their shape: for measuring, not for certificates.

    The blocks are the one ``ModuleList`` of as many equal members as the configuration has layers; the final norm is
    the module beside it whose class is called a norm; embedding and head are what the model itself names; logits
    are softly capped if those of a short pass are. Whether all this gives the model's own logits is checked by
    `peelverify.models.view.ModelView` on first use.

    Args:
        model: a ``...ForCausalLM`` module of `transformers`.

    Raises:
        InputError: experts or state spaces, or parts that cannot be told; the message says which.
    """
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    config = model.config
    refuse_kind(config.to_dict())
    named = dict(model.named_modules())
    names = {id(module): name for name, module in named.items()}

    def stop(part: str, why: str) -> InputError:
        return InputError(
            f"peelverify knows {', '.join(sorted(FAMILIES))} and looks for the parts of others, got model_type "
            f"{config.model_type!r} without {part} that can be told ({why}); use a model of a known family",
            model_type=config.model_type,
        )

    depth = getattr(config, "num_hidden_layers", None)
    lists = [
        name
        for name, module in named.items()
        if isinstance(module, nn.ModuleList) and len(module) == depth and len({type(m) for m in module}) == 1
        and any(isinstance(m, (nn.Linear, Conv1D)) for m in module[0].modules())
    ]
    if len(lists) != 1:
        raise stop("blocks", f"{len(lists)} lists of {depth} equal blocks")
    embedding, head = names.get(id(model.get_input_embeddings())), names.get(id(model.get_output_embeddings()))
    if embedding is None or head is None:
        raise stop("an embedding and a head", "the model names none")
    parent = lists[0].rpartition(".")[0]
    inner = f"{parent}." if parent else ""
    norms = [inner + n for n, m in named[parent].named_children() if "norm" in type(m).__name__.lower()]
    norms = [n for n in norms if "embed" not in n]
    if len(norms) != 1:
        raise stop("a final norm", f"{len(norms)} norms beside the blocks")
    out = {
        name: module.weight.shape[1 if isinstance(module, Conv1D) else 0]
        for name, module in named[lists[0]][0].named_modules()
        if isinstance(module, (nn.Linear, Conv1D))
    }
    writers = [name for name, size in out.items() if size == config.hidden_size]
    attention = [n for n in writers if "attn" in n or "attention" in n]
    others = [n for n in writers if n not in attention]
    if not attention or not others:
        raise stop("attention and MLP", f"linear maps {', '.join(out)}")
    found = Family(embedding, lists[0], norms[0], head, attention[-1], others[-1])
    return replace(found, soft_cap=_CAP) if _caps(model, named[head]) else found


def _caps(model: Any, head: Any) -> bool:
    """Whether the model's own logits are what its head gives, softly capped; told by a pass over two tokens."""
    import torch

    cap = getattr(model.config, _CAP, None)
    if not cap:
        return False
    seen: list[torch.Tensor] = []
    handle = head.register_forward_hook(lambda module, args, output: seen.append(output))
    try:
        with torch.no_grad():
            ids = torch.zeros((1, 2), dtype=torch.long, device=head.weight.device)
            logits = model(input_ids=ids, use_cache=False).logits
    finally:
        handle.remove()
    return not torch.equal(seen[-1], logits) and torch.equal(torch.tanh(seen[-1] / cap) * cap, logits)
