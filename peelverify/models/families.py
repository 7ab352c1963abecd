"""Where each decoder family of `transformers` keeps its embedding, blocks, final norm and head.

Paths start at the ``...ForCausalLM`` module. A family is supported when a plain forward pass equals
embedding -> blocks in order -> ``norm`` -> ``project`` -> ``head`` (-> soft cap), which
`peelverify.models.view.ModelView` checks to the last bit on first use.
"""

from __future__ import annotations

from dataclasses import dataclass

from peelverify.errors import InputError

__all__ = ["FAMILIES", "Family", "family_of"]


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
    """

    embedding: str
    blocks: str
    norm: str
    head: str = "lm_head"
    attention_out: str = "self_attn.o_proj"
    mlp_out: str = "mlp.down_proj"
    project: str | None = None


_LLAMA = Family("model.embed_tokens", "model.layers", "model.norm")

FAMILIES: dict[str, Family] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "phi3": _LLAMA,
    "gemma2": _LLAMA,
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
