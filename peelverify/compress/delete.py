"""Delete whole blocks: a smaller ordinary model, not a masked one."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from peelverify.compress.copies import copy_view
from peelverify.errors import DomainError, InputError
from peelverify.evaluate.stream import as_view
from peelverify.models.view import ModelView
from peelverify.registry import measured

__all__ = ["delete_layers", "kept_layers"]

_PER_BLOCK = ("layer_types", "mlp_layer_types", "no_rope_layers", "layers_block_type")
"""Names of configuration lists that have one entry a block."""


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
    the last bit.

    Args:
        model: a decoder; it is copied.
        layers: indices of the blocks to delete, counting from 0.

    Raises:
        DomainError: indices outside the model, repeated, none, or all.
        InputError: a model whose attention depends on the block's number, which renumbering would change.

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
            if isinstance(getattr(module, "layer_idx", None), int):
                module.layer_idx = new
    config = copy.config
    for name in _PER_BLOCK:
        entries = getattr(config, name, None)
        if isinstance(entries, list) and len(entries) == depth:
            setattr(config, name, [entries[old] for old in kept])
    config.num_hidden_layers = len(kept)
    return ModelView(copy.model)
