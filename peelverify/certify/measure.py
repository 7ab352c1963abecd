"""Run an original and a compressed decoder on the same tokens and enclose how far they drift apart.

For block t, with ``h`` the original's states and ``g`` the compressed model's, both as really computed:
``propagated = f_t(g_{t-1}) - f_t(h_{t-1})`` and ``introduced = F_t(g_{t-1}) - f_t(g_{t-1})``, where ``F_t``
is the compressed block (the identity if it was deleted). Final norm and head count as the last block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from peelverify.enclose import Interval, error_sq, inner_of_differences
from peelverify.enclose.arrays import as_float64
from peelverify.errors import InputError, ShapeError
from peelverify.models.view import ModelView, Trace

__all__ = ["BlockEnergy", "PairEnergy", "WindowUnits", "logit_error_sq", "measure_pair", "same_shape"]

_ZERO = Interval(Fraction(0), Fraction(0))
Progress = Callable[[int, int, str], None]


@dataclass
class BlockEnergy:
    """Enclosed sums over all tokens for one block: squared norms and the inner product."""

    error_sq: Interval = _ZERO
    propagated_sq: Interval = _ZERO
    introduced_sq: Interval = _ZERO
    inner: Interval = _ZERO


@dataclass
class WindowUnits:
    """User units of one window of tokens.

    Attributes:
        oscillation_max: upper bound on the largest oscillation of the logit change at a position that has a
            next token; it bounds the change of the loss there (nats).
        oscillation_sum: upper bound on the sum of these oscillations.
        same_top: positions at which both models have the same top token (ties: lowest id wins).
        tied: positions at which either model has more than one top token.
        loss_original: measured mean loss, nats a token.
        loss_compressed: measured mean loss, nats a token.
    """

    oscillation_max: Fraction
    oscillation_sum: Fraction
    same_top: int
    tied: int
    loss_original: float
    loss_compressed: float


@dataclass
class PairEnergy:
    """What one run over all tokens gives; blocks of the original in order, then the head."""

    initial_sq: Interval = _ZERO
    blocks: list[BlockEnergy] = field(default_factory=list)
    windows: list[WindowUnits] = field(default_factory=list)


def same_shape(original: ModelView, compressed: ModelView, kept: Sequence[int]) -> None:
    """Refuse a pair that cannot be compared block by block.

    Raises:
        ShapeError: different family, width, vocabulary, or number of blocks.
        InputError: a list of kept blocks that is out of range or order.
    """
    for what, a, b in (
        ("family", original.config.model_type, compressed.config.model_type),
        ("width", original.width, compressed.width),
        ("vocabulary", original.vocabulary, compressed.vocabulary),
    ):
        if a != b:
            raise ShapeError(f"certify needs models of one {what}, got {a} and {b}; compare a model with its own copy")
    kept = list(kept)
    if kept != sorted(set(kept)) or any(not 0 <= k < original.depth for k in kept):
        raise InputError(
            f"certify needs kept blocks in increasing order within 0..{original.depth - 1}, got {kept}; correct --kept"
        )
    if len(kept) != compressed.depth:
        raise ShapeError(
            f"certify needs to know which {compressed.depth} of {original.depth} blocks were kept, "
            f"got {len(kept)}; give --kept 0,1,..."
        )


def _oscillations(change: np.ndarray) -> np.ndarray:
    """Upper bounds on max - min of each row of a float64 difference that carries one rounding."""
    up = np.nextafter(np.nextafter(change.max(axis=-1), np.inf), np.inf)
    down = np.nextafter(np.nextafter(change.min(axis=-1), -np.inf), -np.inf)
    osc = np.nextafter(up - down, np.inf)
    return np.where((change == 0).all(axis=-1), 0.0, osc)


def _units(ids: Tensor, original: Tensor, compressed: Tensor) -> WindowUnits:
    z, _ = as_float64(original, name="logits")
    w, _ = as_float64(compressed, name="logits")
    osc = _oscillations((w - z)[:-1])
    top_z, top_w = z.max(axis=-1, keepdims=True), w.max(axis=-1, keepdims=True)
    tied = ((z == top_z).sum(axis=-1) > 1) | ((w == top_w).sum(axis=-1) > 1)
    target = ids[1:].cpu().numpy()

    def loss(logits: np.ndarray) -> float:
        part = logits[:-1] - logits[:-1].max(axis=-1, keepdims=True)
        return float(np.mean(np.log(np.exp(part).sum(axis=-1)) - part[np.arange(len(target)), target]))

    return WindowUnits(
        oscillation_max=Fraction(float(osc.max())),
        oscillation_sum=sum((Fraction(float(o)) for o in osc), Fraction(0)),
        same_top=int((z.argmax(axis=-1) == w.argmax(axis=-1)).sum()),
        tied=int(tied.sum()),
        loss_original=loss(z),
        loss_compressed=loss(w),
    )


def _full_states(trace: Trace, kept: Sequence[int], depth: int) -> list[Tensor]:
    """States of the compressed model at the original's depths: a deleted block passes its input on."""
    states, position = [trace.states[0]], 0
    for t in range(depth):
        if t in kept:
            position += 1
        states.append(trace.states[position])
    return states


def measure_pair(
    original: ModelView,
    compressed: ModelView,
    kept: Sequence[int],
    ids: Tensor,
    *,
    batch: int,
    on_progress: Progress | None = None,
) -> PairEnergy:
    """Enclose every error, propagated and introduced change over all tokens.

    Args:
        original: the reference model.
        compressed: the model under test, same family, width and vocabulary.
        kept: indices of the original's blocks that the compressed model still has.
        ids: token ids (windows, length).
        batch: windows a forward pass.
        on_progress: called with (windows done, windows, text).

    Returns:
        Sums of squares with bounds; memory grows with ``batch * length``, not with the number of windows.
    """
    same_shape(original, compressed, kept)
    depth = original.depth
    found = PairEnergy(blocks=[BlockEnergy() for _ in range(depth + 1)])
    for start in range(0, len(ids), batch):
        part = ids[start : start + batch]
        reference, other = original.trace(part), compressed.trace(part)
        h, g = reference.states, _full_states(other, kept, depth)
        found.initial_sq += error_sq(g[0], h[0])
        for t in range(depth + 1):
            with torch.no_grad():
                middle = reference.block(t, g[t]) if t < depth else reference.head(g[t])
            before, after = (h[t + 1], g[t + 1]) if t < depth else (reference.logits, other.logits)
            block = found.blocks[t]
            block.error_sq += error_sq(after, before)
            block.propagated_sq += error_sq(middle, before)
            block.introduced_sq += error_sq(after, middle)
            block.inner += inner_of_differences(middle, before, after, middle)
        found.windows += [
            _units(row, z, w) for row, z, w in zip(part, reference.logits, other.logits, strict=True)
        ]
        if on_progress is not None:
            on_progress(min(start + batch, len(ids)), len(ids), "windows")
    return found


@torch.no_grad()
def logit_error_sq(original: ModelView, compressed: ModelView, ids: Tensor, *, batch: int) -> Interval:
    """Enclose the squared Frobenius error of the logits over all tokens by plain forward passes."""
    total = _ZERO
    for start in range(0, len(ids), batch):
        part = ids[start : start + batch]
        z = original.model(input_ids=part, use_cache=False).logits
        w = compressed.model(input_ids=part, use_cache=False).logits
        total += error_sq(w, z)
    return total
