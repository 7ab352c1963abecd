"""Small decoders of every supported family, built from configs and trained a few steps."""

from __future__ import annotations

from typing import Any

import torch

from peelverify.models import ModelView
from peelverify.models.small import train_decoder

SIZES = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 256, "max_position_embeddings": 64, "pad_token_id": None,
    "bos_token_id": None, "eos_token_id": None,
}
OWN = {
    "gpt2": {"num_key_value_heads": None}, "gpt_neox": {"num_key_value_heads": None},
    "opt": {"ffn_dim": 64, "num_key_value_heads": None, "intermediate_size": None, "word_embed_proj_dim": 32},
    "gemma2": {"head_dim": 8, "sliding_window": 16}, "qwen3": {"head_dim": 8}, "mistral": {"sliding_window": 16},
}


def untrained_family(family: str, seed: int, **changes: object) -> Any:
    """A freshly initialised `transformers` decoder of 3 blocks and width 32; Gemma-2 has sliding and full layers."""
    from transformers import AutoConfig, AutoModelForCausalLM

    options = {k: v for k, v in (SIZES | OWN.get(family, {})).items() if v is not None or k.endswith("_id")}
    config = AutoConfig.for_model(family, **(options | changes))
    attention = "eager" if family == "gemma2" else "sdpa"  # soft-capped attention has no fused kernel
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention)


def small_family(family: str, train: torch.Tensor, *, steps: int = 6, **changes: object) -> ModelView:
    """The same, trained for a few steps; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        model = untrained_family(family, 5, **changes)
        for parameter in model.parameters():  # shifts and scales that are not all 0 or 1
            if parameter.ndim == 1:
                parameter.data += 0.1 * torch.randn(parameter.shape)
        view = ModelView(model)
        train_decoder(view, train, steps=steps, batch=4, learning_rate=3e-3, warmup=2)
    return view
