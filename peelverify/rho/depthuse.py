"""How a model uses its depth: what each sub-layer adds to the residual stream, and what a skipped block changes later.

With ``h`` entering a block, ``a`` what attention writes and ``m`` what the MLP writes, the block's output is
``h + a + m`` in the families where both are written by a linear map (`Family.attention_out`,
`Family.mlp_out`) and added as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from peelverify.errors import InputError
from peelverify.evaluate.stream import as_view, batches, check_windows
from peelverify.models.view import ModelView
from peelverify.registry import measured
from peelverify.rho.measure import wide_state

__all__ = ["DepthUse", "depth_use", "skip_effect"]

_SUM_TOLERANCE = 1e-3
"""Largest relative |h + a + m - h'| that rounding explains at half precision; beyond it the block is another kind."""


@dataclass(frozen=True, eq=False)
class DepthUse:
    """Means over tokens, one a block; measured.

    Attributes:
        attention: (L,) |a| / |h|.
        mlp: (L,) |m| / |h + a|; with parallel sub-layers still divided by |h + a|.
        update: (L,) |a + m| / |h|, the residual change.
        alignment: (L,) cosine of a + m and h: negative erases, positive strengthens.
    """

    attention: np.ndarray
    mlp: np.ndarray
    update: np.ndarray
    alignment: np.ndarray

    def to_json(self) -> dict[str, Any]:
        """As plain data, schema ``peelverify.depth_use/1``."""
        return {"schema": "peelverify.depth_use/1"} | {k: v.tolist() for k, v in vars(self).items()}


@measured("statistics over sampled text")
@torch.no_grad()
def depth_use(
    model: ModelView | nn.Module, input_ids: Tensor, *, on_step: Callable[[int, int], None] | None = None
) -> DepthUse:
    """Size of what attention and MLP of each block add, relative to the residual stream.

    Args:
        model: a decoder.
        input_ids: token ids (windows, length).
        on_step: called with (windows done, in all).

    Raises:
        InputError: ids that do not fit, or a family that does not add both sub-layers as they are (Gemma 2
            normalises them first).

    Source:
        [Csordas2025].
    """
    view = as_view(model)
    input_ids = check_windows(view, input_ids, function="depth_use")
    sums = np.zeros((4, view.depth))
    done = 0
    for batch in batches(input_ids, 2048):
        written: list[tuple[Tensor, Tensor]] = []
        handles = []
        for block in view.blocks:
            pair: list[Tensor] = []
            for path in (view.family.attention_out, view.family.mlp_out):
                linear = attrgetter(path)(block)
                handles.append(linear.register_forward_hook(lambda m, a, out, pair=pair: pair.append(out)))
            written.append(pair)  # type: ignore[arg-type]
        try:
            trace = view.trace(batch)
        finally:
            for handle in handles:
                handle.remove()
        for t in range(view.depth):
            h, after = (wide_state(trace.states[i]).double() for i in (t, t + 1))
            a, m = (wide_state(x).double().reshape(h.shape) for x in written[t][:2])
            gap = float((h + a + m - after).norm() / after.norm())
            if gap > _SUM_TOLERANCE:
                raise InputError(
                    f"depth_use needs blocks that add attention and MLP as they are, got a gap of {gap:.2g} in "
                    f"block {t} of {view.config.model_type}; this family is not supported here",
                    block=t, gap=gap,
                )
            size = h.norm(dim=-1)
            sums[:, t] += [
                float((a.norm(dim=-1) / size).sum()),
                float((m.norm(dim=-1) / (h + a).norm(dim=-1)).sum()),
                float(((a + m).norm(dim=-1) / size).sum()),
                float((((a + m) * h).sum(-1) / ((a + m).norm(dim=-1) * size)).sum()),
            ]
        done += len(batch)
        if on_step is not None:
            on_step(done, len(input_ids))
    return DepthUse(*(sums / input_ids.numel()))


@measured("a statistic over sampled text")
@torch.no_grad()
def skip_effect(
    model: ModelView | nn.Module, input_ids: Tensor, *, on_step: Callable[[int, int], None] | None = None
) -> np.ndarray:
    """Change of every later block's update when one block is skipped: does anything later build on it?

    Args:
        model: a decoder.
        input_ids: token ids (windows, length).
        on_step: called with (skips done, in all).

    Returns:
        (L, L) with entry (s, l), l > s: mean over tokens of ``|u'_l - u_l| / |u_l|``, where ``u_l`` is what block
        l adds and ``u'_l`` what it adds when block s is skipped; zero on and below the diagonal.

    Raises:
        InputError: ids that do not fit the model.

    Source:
        [Csordas2025], which takes the largest over tokens.
    """
    view = as_view(model)
    input_ids = check_windows(view, input_ids, function="skip_effect")
    sums = np.zeros((view.depth, view.depth))
    parts = list(batches(input_ids, 2048))
    for number, batch in enumerate(parts):
        trace = view.trace(batch)
        updates = [wide_state(b) - wide_state(a) for a, b in zip(trace.states, trace.states[1:], strict=False)]
        for skipped in range(view.depth):
            state = trace.states[skipped]
            for t in range(skipped + 1, view.depth):
                after = trace.block(t, state)
                changed = wide_state(after) - wide_state(state) - updates[t]
                sums[skipped, t] += float((changed.norm(dim=-1) / updates[t].norm(dim=-1)).double().sum())
                state = after
            if on_step is not None:
                on_step(number * view.depth + skipped + 1, len(parts) * view.depth)
    return sums / input_ids.numel()
