"""Bits for each block within a loss budget, by round to nearest: which blocks bear fewer bits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from peelverify.compress.copies import copy_view, weight_rows, write_rows
from peelverify.compress.quantize import check_grid, round_to_nearest
from peelverify.errors import DomainError
from peelverify.evaluate.loss import perplexity
from peelverify.evaluate.stream import as_view, check_windows, ids_digest, keeps_mode
from peelverify.models.view import ModelView
from peelverify.registry import measured

__all__ = ["BitPlan", "bits_within_budget"]


@dataclass(frozen=True)
class BitPlan:
    """Bits for each block; measured on the text that the search saw.

    Attributes:
        by_block: bits of the linear maps of each block; 0 stands for the weights as they are.
        mean_bits: mean over the weights that were rounded; NaN if none was.
        loss: nats a token with these bits.
        loss_original: nats a token of the original.
        evaluations: losses of a whole model that were computed.
        ids_sha256: digest of the token ids.
    """

    by_block: tuple[int, ...]
    mean_bits: float
    loss: float
    loss_original: float
    evaluations: int
    ids_sha256: str

    def to_json(self) -> dict[str, Any]:
        """As plain data, schema ``peelverify.bit-plan/1``."""
        return {
            "schema": "peelverify.bit-plan/1", "bits_by_block": list(self.by_block),
            "mean_bits": None if math.isnan(self.mean_bits) else self.mean_bits, "loss_nats_per_token": self.loss,
            "loss_original_nats_per_token": self.loss_original, "evaluations": self.evaluations,
            "ids_sha256": self.ids_sha256,
        }


@measured("a search on sampled text; certify the model that comes out for a bound")
@keeps_mode
def bits_within_budget(
    model: ModelView | nn.Module,
    input_ids: Tensor,
    budget: float,
    *,
    choices: Sequence[int] = (8, 4, 3, 2),
    group: int | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> BitPlan:
    """As few bits as a greedy search finds while the loss rises by no more than a budget.

    Each block is tried alone at each number of bits. Then steps to fewer bits are taken in the order of the loss that
    they cost alone for each bit saved. Each is kept only if the loss of the whole model stays within the budget.

    Args:
        model: a decoder; it is not changed.
        input_ids: token ids (windows, length), at least two tokens a window.
        budget: allowed rise of the loss on these windows, nats a token, >= 0.
        choices: bits to choose from, each 2 to 8.
        group: inputs that share a scale; the whole row if None.
        on_step: called with (evaluations done, in all at most).

    Raises:
        DomainError: budget or choices out of range. ShapeError: a group that does not divide the inputs of a map.
        InputError: ids that do not fit the model.
    """
    view = as_view(model)
    if not (math.isfinite(budget) and budget >= 0):
        raise DomainError(f"bits_within_budget needs a finite budget >= 0, got {budget}; it is in nats a token")
    ladder = sorted(set(choices), reverse=True)
    if not ladder:
        raise DomainError("bits_within_budget needs choices of bits, got none; (8, 4, 3, 2) are the default")
    input_ids = check_windows(view, input_ids, function="bits_within_budget", least=2)
    for bits in ladder:
        for t in range(view.depth):
            for linear in view.linears(t).values():
                check_grid(bits, weight_rows(linear).shape[1], group, function="bits_within_budget")
    small = copy_view(view)
    most = 1 + 2 * view.depth * len(ladder)
    done = 0

    def put(block: int, bits: int) -> None:
        for name, linear in view.linears(block).items():
            rows = weight_rows(linear)
            write_rows(small.linears(block)[name], round_to_nearest(rows, bits, group=group).weight if bits else rows)

    def loss() -> float:
        nonlocal done
        done += 1
        if on_step is not None:
            on_step(done, most)
        return perplexity(small, input_ids).loss

    original = loss()
    steps = []
    for t in range(view.depth):
        before, dearest = 16, -math.inf
        for bits in ladder:
            put(t, bits)
            # a step never counts as cheaper than the one before it on the same block, so steps stay in order
            dearest = max(dearest, (loss() - original) / (before - bits))
            steps.append((dearest, t, -bits))
            before = bits
        put(t, 0)
    chosen, frozen, reached = [0] * view.depth, set(), original
    for _, t, negative in sorted(steps):
        if t in frozen:
            continue
        put(t, -negative)
        now = loss()
        if now - original <= budget:
            chosen[t], reached = -negative, now
        else:
            put(t, chosen[t])
            frozen.add(t)
    sizes = [sum(weight_rows(m).numel() for m in view.linears(t).values()) for t in range(view.depth)]
    rounded = sum(s for s, b in zip(sizes, chosen, strict=True) if b)
    mean = sum(s * b for s, b in zip(sizes, chosen, strict=True)) / rounded if rounded else math.nan
    return BitPlan(tuple(chosen), mean, reached, original, done, ids_digest(input_ids))
