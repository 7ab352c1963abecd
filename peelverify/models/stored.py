"""Refuse weight files that do not fit their configuration, or that loaders would read differently."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from peelverify.errors import ArtifactError, InputError
from peelverify.models.families import FAMILIES, Family

__all__ = ["OLD_NAMES", "check_sizes", "check_stored", "damaged", "one_line"]

OLD_NAMES = {"lm_head.weight": "embed_out.weight"}
"""Names of this release and of the first one, which GPT-NeoX files keep."""
_SIZES = (
    "hidden_size", "n_embd", "vocab_size", "intermediate_size", "n_inner", "ffn_dim", "word_embed_proj_dim",
    "num_attention_heads", "n_head", "num_key_value_heads", "head_dim", "n_positions",
)
_LAYERS = ("num_hidden_layers", "n_layer")
_FLOATING = ("F64", "F32", "F16", "BF16")


def one_line(error: object) -> str:
    """First line of an error's text."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]


def damaged(path: Path, error: object) -> ArtifactError:
    """The error for a weight file that cannot be read."""
    return ArtifactError(f"{path} is damaged ({one_line(error)}); copy or download it again", path=str(path))


def check_sizes(directory: Path, files: list[Path], config: dict[str, Any]) -> None:
    """Refuse a config that asks for far more than the weights hold, before anything of that size is built.

    Args:
        directory: model directory.
        files: its weight files.
        config: ``config.json`` as plain data.

    Raises:
        ArtifactError: that, a damaged file, or a tensor in two files.
    """
    from safetensors import safe_open

    largest = 1
    seen: dict[str, Path] = {}
    for path in files:
        try:
            with safe_open(path, framework="pt") as handle:
                shapes = {name: handle.get_slice(name).get_shape() for name in handle.keys()}  # noqa: SIM118
        except Exception as error:
            raise damaged(path, error) from error
        for name, shape in shapes.items():
            if name in seen:
                raise ArtifactError(
                    f"{directory} holds {name} twice, in {seen[name].name} and {path.name}, and loaders differ in "
                    "which they take; save the model again with save_pretrained"
                )
            seen[name] = path
            largest = max(largest, *shape, 1)
    for keys, most in ((_LAYERS, len(seen)), (_SIZES, largest)):
        for key in keys:
            value = config.get(key)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise ArtifactError(
                    f"{directory} does not fit its config.json: {key} is {str(value)[:40]}, and the weights lack what "
                    f"that needs (it has at most {most}; more would be missing weights, fewer surplus); "
                    "save the model again with save_pretrained",
                    path=str(directory),
                )


def check_stored(directory: Path, files: list[Path], model: Any, family: Family, held: Mapping[str, Any]) -> None:
    """Refuse what loaders read differently, now that the names of the model are known.

    Args:
        directory: model directory.
        files: its weight files.
        model: the ``...ForCausalLM`` module, with or without weights.
        family: where its parts are.
        held: its parameters and buffers by name.

    Raises:
        ArtifactError: one weight under two names, a tied head that differs from the embedding, or weights that are not
            floating-point numbers.
        InputError: layers with a sliding window of no size.
    """
    from safetensors import safe_open

    config = model.config
    reads_kinds = "layer_types" in getattr(type(config), "__dataclass_fields__", {})
    if reads_kinds and "sliding_attention" in (config.layer_types or ()) and config.sliding_window is None:
        raise InputError(
            f"{directory} has layers of sliding_attention and no sliding_window in effect; set sliding_window (and "
            "use_sliding_window) in config.json, or make the layers full_attention"
        )
    prefix, new = f"{model.base_model_prefix}.", {old: name for name, old in OLD_NAMES.items()}

    def plain(name: str) -> str:
        short = name.removeprefix(prefix)
        return new.get(short, short)

    wanted = {plain(name) for name, tensor in held.items() if tensor.is_floating_point()}
    ends = {plain(f"{part}.weight") for part in (family.embedding, family.head)}
    tied: list[torch.Tensor] = []
    stored: dict[str, str] = {}
    for path in files:
        with safe_open(path, framework="pt") as handle:
            for name in handle.keys():  # noqa: SIM118  (safe_open is no mapping)
                short, kind = plain(name), handle.get_slice(name).get_dtype()
                if kind not in _FLOATING and (short in wanted or short in ends):
                    raise ArtifactError(
                        f"{directory} stores {name} as {kind}, which is no floating-point type that stands alone; "
                        "convert it to float32, float16 or bfloat16"
                    )
                if config.model_type in FAMILIES and stored.setdefault(short, name) != name:
                    raise ArtifactError(
                        f"{directory} holds one weight under two names, {stored[short]} and {name}, and loaders differ "
                        "in which they take; remove one of them"
                    )
                if short in ends and getattr(config, "tie_word_embeddings", False):
                    tied.append(handle.get_tensor(name))
    if any(not torch.equal(tied[0], other) for other in tied[1:]):
        raise ArtifactError(
            f"{directory} stores a head that is not its embedding, although tie_word_embeddings says so; "
            "restore the config.json that belongs to the weights"
        )
