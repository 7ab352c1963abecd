"""Bounds on whole blocks for every input, from their weights alone, and how loose they are.

Claims about real arithmetic on the weights as converted to the dtype that is run: both blocks get the same input, any
input at all, and the bound is on the 2-norm of the change of the output at a token. A norm gives every token the
radius ``sqrt(d)`` once its scales are folded into the maps behind it. From there on each step is a theorem of
``Proofs/Universal.lean``: values, scores and attention weights, all heads through the output map, the shift of the
second norm's input, the feed-forward layer. Beside each bound stands the worst change that `search_block` finds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import nn

from peelverify.bounds import universal
from peelverify.bounds.exponential import exp_upper
from peelverify.certify.checker import round_up
from peelverify.certify.everyinput import _Affine, _affine, _change, _same, _value_rows
from peelverify.certify.layout import (
    LAYOUTS,
    Heads,
    Layout,
    activation_of,
    block_differences,
    buffers_around,
    differences,
    heads_of,
    norm_epsilon,
    own_forward,
    rotary_scale,
    unbounded_norm,
)
from peelverify.certify.measure import same_shape
from peelverify.certify.worst import Found, search_block
from peelverify.enclose import norm_fro_upper, norm_op2_upper, sqrt_lower, sqrt_upper
from peelverify.errors import InputError
from peelverify.models.blockwise import BlockSource
from peelverify.models.view import ModelView

__all__ = ["COVERED", "LIPSCHITZ", "BlockBound", "bound_block", "bound_blocks", "require_coverable"]

LIPSCHITZ = {
    "relu": Fraction(1),
    "tanh": Fraction(1),
    "silu": Fraction(11, 10),
    "swish": Fraction(11, 10),
    "quick_gelu": Fraction(11, 10),
    "gelu": Fraction(113, 100),
    "gelu_python": Fraction(113, 100),
    "gelu_new": Fraction(113, 100),
    "gelu_fast": Fraction(113, 100),
    "gelu_pytorch_tanh": Fraction(113, 100),
}
"""Lipschitz bounds of activations with ``|act z| <= |z|``; a hypothesis of the theorems, tested by intervals."""

_NOT_COVERED = {
    "gemma2": "it normalises the outputs of attention and feed-forward layers as well",
}

COVERED = tuple(family for family in LAYOUTS if family not in _NOT_COVERED)
"""Families whose whole blocks have a bound."""


@dataclass(frozen=True)
class BlockBound:
    """A certified bound on the change of one block's output at a token, for every input.

    Attributes:
        block: index in the original.
        kind: "sequential", "parallel" or "deleted".
        attention: bound on the change of the attention output.
        mlp: bound on the change of the feed-forward output.
        bound: their sum.
        weight_change: largest sum of changes of the attention weights of a head, at most 2.
        steady_attention: what the bound would be if no attention weight moved; shows what limits it.
        steady_norm: what it would be if the input of the second norm did not move; shows what limits it.
        theorem: the theorem of the last step.
    """

    block: int
    kind: str
    attention: Fraction
    mlp: Fraction
    bound: Fraction
    weight_change: Fraction
    steady_attention: Fraction
    steady_norm: Fraction
    theorem: str


@dataclass(frozen=True)
class _Head:
    """Bounds for one attention head."""

    old_value: Fraction
    new_value: Fraction
    value_change: Fraction
    weight_change: Fraction


@dataclass(frozen=True)
class _Parts:
    """Everything about a pair of blocks that the bounds need."""

    heads: tuple[_Head, ...]
    out_old: Fraction
    out_new: Fraction
    out_change: Fraction
    out_bias: Fraction
    out_bias_old: Fraction
    out_bias_new: Fraction


def _length(affine: _Affine) -> Fraction:
    """Bound on the length of the offset."""
    return affine.radius(Fraction(0))


def _operator(affine: _Affine) -> Fraction:
    """Bound on the operator norm, the rounding of the folding included."""
    fold = 4 * Fraction(1, 2**53) * norm_fro_upper(affine.matrix) + affine.underflow()
    return round_up(norm_op2_upper(affine.matrix) + fold)


def _root_of_exp(half: Fraction) -> Fraction:
    """A number at least exp(half), rounded up; ``half`` is between 0 and 40."""
    return round_up(exp_upper(half, 96, lambda x: round_up(x, 256)))


def _score_rows(layout: Layout, heads: Heads, which: int) -> list[tuple[str, Any]]:
    """For each query head, the map and the rows of its query (which = 0) or of its key (which = 1)."""
    found, size = [], heads.size
    for head in range(heads.count):
        at = head if which == 0 else head * heads.shared // heads.count
        if layout.interleaved:
            start = 3 * size * head + size * which
        elif len(layout.projections) == 1:
            start = size * at + (0 if which == 0 else size * heads.count)
        else:
            start = size * at
        name = layout.projections[0 if len(layout.projections) == 1 else which]
        found.append((name, np.arange(start, start + size)))
    return found


def _weight_changes(
    f: nn.Module, own: nn.Module, layout: Layout, view: ModelView, root: Fraction
) -> list[Fraction]:
    """For each query head, a bound on the sum of the changes of its attention weights."""
    heads = heads_of(f, layout)
    if any(name.endswith(("q_norm", "k_norm")) for name, _ in f.named_modules()):
        return [Fraction(2)] * heads.count  # the norm of queries and keys divides by a length that can be any
    queries, keys = _score_rows(layout, heads, 0), _score_rows(layout, heads, 1)
    maps: dict[str, tuple[_Affine, _Affine]] = {
        name: tuple(  # type: ignore[misc]
            _affine(m.get_submodule(name), m.get_submodule(layout.attention_norm), layout.unit_offset)
            for m in (f, own)
        )
        for name in {name for name, _ in (*queries, *keys)}
    }
    scale = round_up(heads.scale * rotary_scale(view) ** 2)
    same = {name: _same(*both) for name, both in maps.items()}
    sizes: dict[Any, tuple[Fraction, Fraction, Fraction]] = {}

    def ends(name: str, rows: Any) -> tuple[Fraction, Fraction, Fraction]:
        key = (name, int(rows[0]))
        if key not in sizes:
            old, new = (affine.rows(rows) for affine in maps[name])
            lengths = old.radius(root), new.radius(root)
            operator, shift = (Fraction(0), Fraction(0)) if same[name] else _change(old, new)
            sizes[key] = (*lengths, universal.affine_upper(operator, root, shift))
        return sizes[key]

    found = []
    for query, key in zip(queries, keys, strict=True):
        (old_q, new_q, dq), (old_k, new_k, dk) = ends(*query), ends(*key)
        rise = universal.score_error_upper(new_k, dq, old_q, dk)
        fall = universal.score_error_upper(old_k, dq, new_q, dk)
        half = round_up(scale * (rise + fall) / 2)
        found.append(Fraction(2) if half > 40 else round_up(universal.softmax_change_upper(_root_of_exp(half))))
    return found


def _attention_parts(
    f: nn.Module, own: nn.Module, layout: Layout, view: ModelView, root: Fraction
) -> _Parts:
    old, new = (
        _affine(m.get_submodule(layout.values), m.get_submodule(layout.attention_norm), layout.unit_offset)
        for m in (f, own)
    )
    shared = []
    same = _same(old, new)
    heads = heads_of(f, layout)
    for rows in _value_rows(layout, heads, len(old.weight)):
        one, two = old.rows(rows), new.rows(rows)
        lengths = one.radius(root), two.radius(root)
        operator, shift = (Fraction(0), Fraction(0)) if same else _change(one, two)
        shared.append((*lengths, universal.affine_upper(operator, root, shift)))
    moved = _weight_changes(f, own, layout, view, root)
    out, out_new = (_affine(m.get_submodule(layout.attention_out), None, False) for m in (f, own))
    ends = _operator(out), _operator(out_new), _length(out), _length(out_new)
    change, bias = _change(out, out_new)
    return _Parts(
        tuple(_Head(*shared[head * len(shared) // heads.count], moved[head]) for head in range(heads.count)),
        ends[0], ends[1], change, bias, ends[2], ends[3],
    )


def _joint(lengths: Sequence[Fraction]) -> Fraction:
    return sqrt_upper(universal.joint_sq_upper(lengths))


def _attention_bound(parts: _Parts) -> Fraction:
    """Bound on the change of the attention output, by change or by size, whichever is smaller."""
    shift = _joint([
        universal.mixture_error_upper(head.value_change, head.weight_change, head.old_value) for head in parts.heads
    ])
    size = _joint([head.new_value for head in parts.heads])
    moved = universal.heads_error_upper(parts.out_change, size, parts.out_old, shift) + parts.out_bias
    both = universal.affine_upper(parts.out_new, size, parts.out_bias_new) + _attention_size(parts)
    return round_up(min(moved, both))


def _attention_size(parts: _Parts) -> Fraction:
    """Bound on the length of the original's attention output."""
    size = _joint([head.old_value for head in parts.heads])
    return round_up(universal.affine_upper(parts.out_old, size, parts.out_bias_old))


@dataclass(frozen=True)
class _Feed:
    """A feed-forward layer: the maps before the activation as stored, the same cut into gate and value, the last."""

    whole: tuple[_Affine, ...]
    maps: tuple[_Affine, ...]
    down: _Affine


def _feed(m: nn.Module, layout: Layout) -> _Feed:
    norm = m.get_submodule(layout.mlp_norm)
    maps = [_affine(m.get_submodule(name), norm, layout.unit_offset) for name in layout.hidden]
    whole = tuple(maps)
    if layout.gated and len(maps) == 1:
        half = len(maps[0].matrix) // 2
        maps = [maps[0].rows(np.arange(half)), maps[0].rows(np.arange(half, 2 * half))]
    return _Feed(whole, tuple(maps), _affine(m.get_submodule(layout.mlp_out), None, False))


def _feed_size(feed: _Feed, layout: Layout, root: Fraction) -> Fraction:
    """Bound on the length of the output of a feed-forward layer."""
    if layout.gated:
        hidden = feed.maps[0].largest(root) * feed.maps[1].radius(root)
    else:
        hidden = feed.maps[0].radius(root)
    return round_up(universal.affine_upper(_operator(feed.down), hidden, _length(feed.down)))


class _FeedBound:
    """Bound on the change of a feed-forward layer for inputs that are at most ``shift`` apart."""

    def __init__(self, f: nn.Module, own: nn.Module, layout: Layout, root: Fraction, lipschitz: Fraction) -> None:
        old, new = _feed(f, layout), _feed(own, layout)
        self.root, self.lipschitz, self.gated = root, lipschitz, layout.gated
        self.sizes = _feed_size(old, layout, root) + _feed_size(new, layout, root)
        self.norms = [_operator(affine) for affine in old.maps]
        self.new_lengths = [affine.radius(root) for affine in new.maps]
        if layout.gated:
            self.new_gate, self.old_value = new.maps[0].largest(root), old.maps[1].largest(root)
        self.down = _operator(old.down)
        nothing = (Fraction(0), Fraction(0))
        same = all(_same(one, two) for one, two in zip(old.whole, new.whole, strict=True))
        self.changes = [
            nothing if same else _change(one, two) for one, two in zip(old.maps, new.maps, strict=True)
        ]
        self.down_change = _change(old.down, new.down)

    def __call__(self, shift: Fraction) -> Fraction:
        moved = [
            universal.affine_error_upper(operator, self.root, norm, shift, offset)
            for (operator, offset), norm in zip(self.changes, self.norms, strict=True)
        ]
        change, bias = self.down_change
        if self.gated:
            found = universal.gated_mlp_error_upper(
                change, self.down, self.new_gate, self.old_value, self.new_lengths[1], self.lipschitz, *moved, bias
            )
        else:
            found = universal.mlp_error_upper(change, self.new_lengths[0], self.down, self.lipschitz, moved[0], bias)
        return round_up(min(found, self.sizes))


def _require_covered(view: ModelView, block: nn.Module) -> Layout:
    family = view.config.model_type
    if family not in COVERED:
        reason = _NOT_COVERED.get(family, "its block is not described")
        raise InputError(f"bound_blocks does not cover {family}: {reason}; use the every-input part of certify")
    layout = LAYOUTS[family]
    if getattr(block, "do_layer_norm_before", True) is False:
        raise InputError("bound_blocks needs norms before the maps, got a model that normalises after them")
    why = unbounded_norm(block, layout)
    if why is not None:
        raise InputError(f"bound_blocks needs norms of a known length: {why}; correct the configuration")
    act = activation_of(block, layout)
    if act not in LIPSCHITZ:
        raise InputError(
            f"bound_blocks needs an activation with a known Lipschitz bound ({', '.join(sorted(LIPSCHITZ))}), "
            f"got {act!r}; use the every-input part of certify"
        )
    return layout


def _require_alike(apart: list[str]) -> None:
    """Refuse a pair that differs in more than weights."""
    if apart:
        more = f" and {len(apart) - 1} more" if len(apart) > 1 else ""
        raise InputError(
            f"bound_blocks needs two models that differ in their weights only, got {apart[0]}{more}; "
            "use certify, which runs both"
        )


@torch.no_grad()
def bound_block(block: int, f: nn.Module, own: nn.Module | None, view: ModelView) -> BlockBound:
    """Bound the change of one block's output at a token, for every input.

    Args:
        block: index of the block in the original.
        f: the original's block, with its weights.
        own: the compressed block; None if it was deleted.
        view: the original model, for its family and its rotary embedding.

    Raises:
        InputError: a family whose blocks are not covered, an activation without a known Lipschitz bound, or blocks
            that differ in more than weights.

    Guarantee:
        In real arithmetic on the weights as converted to the dtype that is run, the 2-norm of the change at any token
        of any input is at most ``bound``. `PeelVerify.sequential_block_error_le`,
        `PeelVerify.parallel_block_error_le`.
    """
    layout = _require_covered(view, f)
    _require_alike(own_forward(f) if own is None else block_differences(f, own))
    root = sqrt_upper(Fraction(view.width))
    parts = _attention_parts(f, own if own is not None else f, layout, view, root)
    if own is None:
        feed = _feed(f, layout)
        attention, mlp = _attention_size(parts), _feed_size(feed, layout, root)
        total = round_up(universal.block_error_upper(attention, mlp))
        return BlockBound(
            block, "deleted", attention, mlp, total, Fraction(0), total, total, "PeelVerify.Norm2Le.add"
        )
    attention = _attention_bound(parts)
    still = replace(parts, heads=tuple(replace(head, weight_change=Fraction(0)) for head in parts.heads))
    change_of = _FeedBound(f, own, layout, root, LIPSCHITZ[activation_of(f, layout)])
    parallel = bool(getattr(f, "use_parallel_residual", False))
    least = sqrt_lower(Fraction(norm_epsilon(f.get_submodule(layout.mlp_norm))))

    def mlp_for(first: Fraction) -> Fraction:
        if parallel:
            return change_of(Fraction(0))
        moved = 2 * root if not least else min(2 * root, universal.norm_shift_upper(first, least))
        return change_of(round_up(moved))

    mlp = mlp_for(attention)
    calm = _attention_bound(still)
    return BlockBound(
        block,
        "parallel" if parallel else "sequential",
        attention,
        mlp,
        round_up(universal.block_error_upper(attention, mlp)),
        max(head.weight_change for head in parts.heads),
        round_up(calm + mlp_for(calm)),
        round_up(attention + change_of(Fraction(0))),
        f"PeelVerify.{'parallel' if parallel else 'sequential'}_block_error_le",
    )


def require_coverable(original: ModelView, compressed: ModelView, kept: Sequence[int]) -> None:
    """Refuse a pair whose blocks `bound_blocks` cannot bound, before any work.

    Raises:
        InputError: a family, a norm or an activation that is not covered; configurations that differ.
        ShapeError: models that cannot be compared block by block.
    """
    same_shape(original, compressed, kept)
    _require_covered(original, original.blocks[0])
    _require_alike(differences(original, compressed, kept) + buffers_around(original, compressed))


def bound_blocks(
    original: BlockSource,
    compressed: BlockSource,
    kept: Sequence[int],
    *,
    samples: int = 10_000,
    ascents: int = 100,
    length: int = 8,
    windows: int = 25,
    seed: int = 0,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> list[tuple[BlockBound, Found]]:
    """Bound every block of a compressed model for every input, and search for inputs that come near.

    Args:
        original: the reference model.
        compressed: the model under test.
        kept: indices of the original's blocks that the compressed model still has.
        samples, ascents, seed: see `search_block`; no samples and no ascents for no search.
        length: tokens of a searched window.
        windows: windows of one evaluation.
        on_progress: called with (blocks done, blocks, text).

    Returns:
        For each block of the original its bound and what the search found.

    Raises:
        InputError: see `require_coverable` and `bound_block`.
        ShapeError: models that cannot be compared block by block.
    """
    view = original.view
    require_coverable(view, compressed.view, kept)
    ids = torch.zeros((windows, length), dtype=torch.long, device=original.device)
    with original.front(ids) as embed:
        _, calls = embed(ids)

    def search(t: int, f: nn.Module, own: nn.Module | None) -> Found:
        shape = (windows, length, view.width)
        return search_block(f, own, calls[t], shape, samples=samples, ascents=ascents, seed=seed + t)

    found = []
    for t in range(view.depth):
        with original.block(t) as f:
            if t in kept:
                with compressed.block(list(kept).index(t)) as own:
                    pair = bound_block(t, f, own, view), search(t, f, own)
            else:
                pair = bound_block(t, f, None, view), search(t, f, None)
        found.append(pair)
        if on_progress is not None:
            on_progress(t + 1, view.depth, "blocks")
    return found
