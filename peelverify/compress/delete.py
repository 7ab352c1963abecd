"""Delete whole blocks: a smaller ordinary model, not a masked one."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from peelverify.compress.copies import copy_view
from peelverify.errors import DomainError, InputError, NonFiniteError
from peelverify.evaluate.stream import as_view
from peelverify.models.view import ModelView
from peelverify.registry import measured

__all__ = ["delete_layers", "kept_layers"]

_PER_BLOCK = ("layer_types", "mlp_layer_types", "no_rope_layers", "layers_block_type", "attention_layers")
"""Names of configuration lists that have one entry a block."""
_NUMBERS = ("layer_idx", "layer_id")
"""Names under which modules keep the number of their block."""


def kept_layers(depth: int, layers: Iterable[int]) -> list[int]:
    """Indices that are left after deleting ``layers`` from ``depth`` blocks.

    Raises:
        DomainError: an index outside 0..depth-1, named twice, none named, or all.
    """
    layers = list(layers)
    if any(type(t) is bool or int(t) != t for t in layers):
        raise DomainError(f"delete_layers needs whole block indices, got {layers}; count from 0")
    layers = [int(t) for t in layers]
    if not layers:
        raise DomainError("delete_layers needs at least one block to delete, got none; name one")
    outside = [t for t in layers if not 0 <= t < depth]
    if outside:
        raise DomainError(
            f"delete_layers needs block indices from 0 to {depth - 1}, got {outside[0]}; blocks count from 0"
        )
    if len(set(layers)) != len(layers):
        raise DomainError(f"delete_layers needs each block once, got {layers}; remove the repetition")
    if len(layers) == depth:
        raise DomainError(f"delete_layers needs a block that is left, got all {depth} named; keep one")
    return [t for t in range(depth) if t not in set(layers)]


@measured("an approximation; peelverify.certify bounds its effect on given text")
def delete_layers(model: ModelView | nn.Module, layers: Iterable[int]) -> ModelView:
    """A copy of a decoder without some of its blocks.

    The copy is an ordinary model of the same family: fewer blocks, renumbered for the key-value cache, with a
    configuration that says so. Its logits equal those of the original with the blocks skipped in place, to
    the last bit, which is checked on a few tokens, as is that it reads the same with a key-value cache and that its
    configuration builds the same blocks.

    Args:
        model: a decoder; it is copied.
        layers: indices of the blocks to delete, counting from 0.

    Raises:
        DomainError: indices outside the model, repeated, none, or all.
        InputError: a model whose attention depends on the block's number, which renumbering would change, or whose
            blocks otherwise do not survive it.
        NonFiniteError: NaN or infinite weights.

    Example:
        >>> smaller = delete_layers(view, [2, 5])  # doctest: +SKIP
    """
    view = as_view(model)
    kept = kept_layers(view.depth, layers)
    if getattr(view.config, "scale_attn_by_inverse_layer_idx", False):
        raise InputError(
            "delete_layers needs attention that does not depend on the block number, got a model with "
            "scale_attn_by_inverse_layer_idx; fold that scale into the query weights first"
        )
    copy = copy_view(view)
    blocks = copy.blocks
    depth = len(blocks)
    left = [blocks[old] for old in kept]
    del blocks[:]
    blocks.extend(left)
    for new, block in enumerate(blocks):
        for module in block.modules():
            for name in _NUMBERS:
                if isinstance(getattr(module, name, None), int):
                    setattr(module, name, new)
    config = copy.config
    for name in _PER_BLOCK:
        entries = getattr(config, name, None)
        if isinstance(entries, list) and len(entries) == depth:
            setattr(config, name, [entries[old] for old in kept])
    if "attention_layers" in _PER_BLOCK and isinstance(getattr(config, "attention_types", None), list):
        config.attention_types = [[[kind], 1] for kind in config.attention_layers]  # GPT-Neo expands it again
    config.num_hidden_layers = len(kept)
    small = ModelView(copy.model)
    try:
        problem = _difference(view, small, kept)
    except NonFiniteError:
        raise
    except Exception as error:
        problem = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    if problem:
        raise InputError(
            f"delete_layers needs blocks that can go without changing the others, got {view.config.model_type}, where "
            f"{problem}; compress this family another way, e.g. by wanda or rtn",
            model_type=view.config.model_type,
        )
    return small


@torch.no_grad()
def _difference(view: ModelView, small: ModelView, kept: list[int]) -> str:
    """In which way a smaller model is not the original with blocks skipped; empty if in none."""
    longest = getattr(view.config, "max_position_embeddings", None) or 8
    ids = (torch.arange(min(8, int(longest)))[None] % view.vocabulary).to(view.device)
    trace = view.trace(ids)
    state = trace.states[0]
    for t in kept:
        state = trace.block(t, state)
    logits = small.model(input_ids=ids, use_cache=False).logits
    if not torch.equal(logits, trace.head(state)):
        return "the logits are not those of skipping in place"
    half = ids.shape[1] // 2
    if half:
        first = small.model(input_ids=ids[:, :half], use_cache=True)
        rest = small.model(input_ids=ids[:, half:], past_key_values=first.past_key_values, use_cache=True).logits
        # transformers computes norms, rotations and softmax in float32, also in a float64 model
        tolerance = 8 * max(torch.finfo(small.dtype).eps, torch.finfo(torch.float32).eps) ** 0.5
        if not torch.allclose(rest, logits[:, half:], rtol=0, atol=tolerance * float(logits.abs().max())):
            return "reading with a key-value cache gives other logits"
    return _rebuilt(small)


def _rebuilt(small: ModelView) -> str:
    """Whether a model made from the saved configuration has the same blocks: shapes and plain attributes."""
    with torch.device("meta"):
        fresh = type(small.model)(type(small.config).from_dict(small.config.to_dict()))
    wanted, found = (dict(model.named_modules()) for model in (small.model, fresh))
    shapes = [{n: p.shape for n, p in model.named_parameters()} for model in (small.model, fresh)]
    if list(wanted) != list(found) or shapes[0] != shapes[1]:
        return "the configuration describes other blocks"
    for name, module in wanted.items():
        for key, value in vars(module).items():
            if key.startswith("_") or key == "training" or not isinstance(value, (bool, int, str)):
                continue
            if getattr(found[name], key, value) != value:
                return f"the configuration gives {name}.{key} another value"
    return ""
