"""Small decoders to try things on: byte-level tokenizer, configs of three families, a plain training loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from peelverify.errors import InputError
from peelverify.models.view import ModelView

__all__ = ["byte_tokenizer", "small_decoder", "train_decoder"]


def byte_tokenizer() -> Any:
    """A tokenizer with one token a byte (256 tokens), as a `transformers` fast tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=1 << 30)


def small_decoder(
    family: str = "llama",
    *,
    blocks: int = 4,
    width: int = 192,
    heads: int = 4,
    vocabulary: int = 256,
    length: int = 256,
    seed: int = 0,
) -> ModelView:
    """A freshly initialised decoder of one family, float32.

    Args:
        family: "llama", "gpt2" or "qwen2".
        blocks: number of decoder blocks.
        width: width of the residual stream, a multiple of ``heads``.
        heads: attention heads; Llama and Qwen2 share keys and values between pairs of heads where they can.
        vocabulary: number of tokens.
        length: longest window.
        seed: seed of the initialisation; the global generator is left as it was.

    Raises:
        InputError: unknown family, or a width that the heads do not divide.
    """
    from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen2Config

    if width % heads:
        raise InputError(f"small_decoder needs width divisible by heads, got {width} and {heads}; change one")
    shared: dict[str, Any] = {
        "vocab_size": vocabulary, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
    }
    gated = {
        "hidden_size": width, "intermediate_size": 64 * math.ceil(width * 8 / 3 / 64),
        "num_hidden_layers": blocks, "num_attention_heads": heads,
        "num_key_value_heads": heads // 2 if heads % 2 == 0 else heads, "max_position_embeddings": length,
    }
    if family == "llama":
        config: Any = LlamaConfig(**gated, **shared)
    elif family == "qwen2":
        config = Qwen2Config(**gated, **shared)
    elif family == "gpt2":
        config = GPT2Config(
            n_embd=width, n_layer=blocks, n_head=heads, n_positions=length,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, **shared,
        )
    else:
        raise InputError(f"small_decoder needs family 'llama', 'gpt2' or 'qwen2', got {family!r}; name one")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ModelView(AutoModelForCausalLM.from_config(config, attn_implementation="sdpa"))


def train_decoder(
    view: ModelView,
    ids: Tensor,
    *,
    steps: int,
    batch: int = 16,
    learning_rate: float = 1e-3,
    warmup: int = 20,
    seed: int = 0,
    on_step: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Train with AdamW, cosine decay and gradient clipping at 1.

    Args:
        view: decoder, trained in place; left in evaluation mode.
        ids: token ids (windows, length).
        steps: optimiser steps.
        batch: windows a step, drawn with replacement.
        learning_rate: peak rate.
        warmup: steps of linear warm-up.
        seed: seed of the draw of windows.
        on_step: called with (step, loss in nats a token) after each step; step counts from 1.

    Returns:
        Training loss of each step, nats a token.
    """
    model = view.model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.1)
    generator = torch.Generator().manual_seed(seed)
    losses: list[float] = []
    try:
        for step in range(1, steps + 1):
            rate = min(1.0, step / max(1, warmup)) * 0.5 * (1 + math.cos(math.pi * (step - 1) / steps))
            for group in optimiser.param_groups:
                group["lr"] = learning_rate * max(rate, 0.05)
            rows = torch.randint(len(ids), (batch,), generator=generator)
            x = ids[rows].to(view.device)
            logits = model(input_ids=x, use_cache=False).logits
            loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), x[:, 1:].flatten())
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            losses.append(float(loss.detach()))
            if on_step is not None:
                model.eval()
                on_step(step, losses[-1])
                model.train()
    finally:
        model.eval()
    return losses
