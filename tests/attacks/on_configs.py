"""Configurations that say what the model does not do. Each is given a maker of pairs and gives two directories.

``make(family)`` gives fresh copies of an original and of the same weights rounded to 4 bits.
"""

from __future__ import annotations

import json

import torch
from safetensors.torch import load_file, save_file

from tests.attacks.registry import attack


def _config(*paths, **changes) -> None:
    for path in paths:
        file = path / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def _weights(path, change) -> None:
    file = path / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def _noise(part: str, size: float):
    def change(tensors) -> None:
        generator = torch.Generator().manual_seed(0)
        for name, tensor in tensors.items():
            if part in name and tensor.ndim == 2:
                tensor += size * torch.randn(tensor.shape, generator=generator)

    return change


def _same(make, family):
    """Two directories with the weights of the original."""
    first, second = make(family)
    (second / "model.safetensors").write_bytes((first / "model.safetensors").read_bytes())
    return first, second


@attack("sound")
def soft_cap_that_the_model_ignores(make):
    """final_logit_softcapping in a Llama configuration, which Llama does not read: a capped error would be tiny."""
    first, second = make("llama")
    _config(first, second, final_logit_softcapping=1e-3)
    return first, second


@attack("sound")
def scale_of_the_logits_that_the_model_ignores(make):
    """logit_scale and logits_scaling, which other families read."""
    first, second = make("gpt2")
    _config(first, second, logit_scale=1e-3, logits_scaling=1e3, final_logit_softcapping=1e-3)
    return first, second


@attack("sound")
def another_epsilon_in_the_compressed_model(make):
    """The same weights, and rms_norm_eps 10 in the compressed configuration only: no map changed, every block did."""
    first, second = _same(make, "llama")
    _config(second, rms_norm_eps=10.0)
    return first, second


@attack("sound")
def another_activation_in_the_compressed_model(make):
    """The same weights, and another activation in the compressed configuration only."""
    first, second = _same(make, "llama")
    _config(second, hidden_act="relu")
    return first, second


@attack("sound")
def another_rope_base_in_the_compressed_model(make):
    """The same weights, and another base of the rotary embedding in the compressed configuration only."""
    first, second = _same(make, "llama")
    _config(second, rope_parameters={"rope_type": "default", "rope_theta": 7.0}, rope_theta=7.0)
    return first, second


@attack("sound")
def other_heads_in_the_compressed_model(make):
    """The same weights cut into fewer heads in the compressed configuration only."""
    first, second = _same(make, "gpt2")
    _config(second, n_head=2)
    return first, second


@attack("sound")
def unscaled_scores_in_the_compressed_model(make):
    """The same weights, and scale_attn_weights switched off in the compressed configuration only."""
    first, second = _same(make, "gpt2")
    _config(second, scale_attn_weights=False)
    return first, second


@attack("sound")
def a_sequential_block_in_the_compressed_model(make):
    """The same weights, and attention and feed-forward layer one after the other in the compressed model only."""
    first, second = _same(make, "gpt_neox")
    _config(second, use_parallel_residual=False)
    return first, second


@attack("sound")
def activation_named_in_a_key_that_is_ignored(make):
    """hidden_activation names one with a bound, hidden_act, which Llama reads, one that squares."""
    first, second = make("llama")
    _config(first, second, hidden_activation="relu", hidden_act="relu2")
    for path in (first, second):
        _weights(path, lambda tensors: [t.mul_(60) for name, t in tensors.items() if "gate_proj" in name])
    return first, second


@attack("sound")
def size_of_heads_named_in_a_key_that_is_ignored(make):
    """head_dim 1 in GPT-2, which does not read it: the bound would look at a few rows of the values only."""
    first, second = make("gpt2")
    _config(first, second, head_dim=1, num_key_value_heads=1)

    def change(tensors) -> None:
        for name, tensor in tensors.items():
            if name.endswith("attn.c_attn.weight"):
                tensor[:, 64:92] *= 100

    for path in (first, second):
        _weights(path, change)
    return first, second


@attack("sound")
def size_of_heads_of_opt_named_in_a_key_that_is_ignored(make):
    """The same in OPT, whose values have a map of their own."""
    first, second = make("opt")
    _config(first, second, head_dim=1)

    def change(tensors) -> None:
        for name, tensor in tensors.items():
            if name.endswith("v_proj.weight"):
                tensor[:28] *= 100

    for path in (first, second):
        _weights(path, change)
    return first, second


@attack("sound")
def parallel_blocks_that_the_model_does_not_have(make):
    """use_parallel_residual in Llama, which runs attention first: a change of it moves the second norm's input."""
    first, second = _same(make, "llama")
    _weights(second, lambda tensors: [t.mul_(1.2) for name, t in tensors.items() if "o_proj" in name])
    for path in (first, second):
        _weights(path, lambda tensors: [t.mul_(20) for name, t in tensors.items() if ".mlp." in name])
    _config(first, second, use_parallel_residual=True)
    return first, second


@attack("sound")
def rotary_embedding_that_lengthens(make):
    """An attention_factor of 10: the rotary embedding no longer keeps the length of queries and keys."""
    first, second = _same(make, "gpt_neox")

    def change(tensors) -> None:
        generator = torch.Generator().manual_seed(0)
        for name, tensor in tensors.items():
            if "query_key_value.weight" in name:
                rows = tensor.view(4, 3, 8, 32)[:, :2]
                rows += 1e-4 * torch.randn(rows.shape, generator=generator)

    _weights(second, change)
    rope = json.loads((first / "config.json").read_text())["rope_parameters"] | {
        "rope_type": "yarn", "factor": 1.0, "attention_factor": 10.0, "original_max_position_embeddings": 64,
    }
    _config(first, second, rope_parameters=rope)
    return first, second
