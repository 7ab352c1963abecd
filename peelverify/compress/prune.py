"""Set weights to zero: by magnitude, by Wanda's score, whole matrices, rows, or N of every M.

Every rule is a score and a group: within each group the smallest scores go, ties by position, so that the
number of zeros is exactly what was asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from peelverify.compress.calibrate import BlockWalk, input_energy, input_gram
from peelverify.compress.copies import Compressed, copy_view, linear_maps, weight_rows, write_rows
from peelverify.compress.record import compression_record
from peelverify.compress.tokenweights import refuse_weights, weights_name
from peelverify.errors import DomainError, InputError, NonFiniteError, ShapeError
from peelverify.evaluate.stream import check_windows
from peelverify.models.view import ModelView
from peelverify.registry import measured

__all__ = ["PRUNERS", "Group", "check_sparsity", "drop_mask", "prune_model", "prune_weight", "sparsity_by_block",
           "wanda_score"]

Group = Literal["matrix", "row"]


def check_sparsity(sparsity: float, *, function: str) -> None:
    """Refuse a sparsity outside (0, 1): 0 does nothing and 1 deletes the map.

    Raises:
        DomainError: outside (0, 1) or not finite.
    """
    if not (math.isfinite(sparsity) and 0 < sparsity < 1):
        raise DomainError(
            f"{function} needs 0 < sparsity < 1, got {sparsity}; it is the fraction of weights set to zero"
        )


def wanda_score(weight: Tensor, energy: Tensor) -> Tensor:
    """|W_ij| * |x_j|: size of a weight times size of what it multiplies.

    Args:
        weight: (outputs, inputs).
        energy: (inputs,) mean over windows of the sum over tokens of x_j^2.

    Source:
        [Sun2024].
    """
    return weight.double().abs() * energy.sqrt()


def drop_mask(
    score: Tensor,
    sparsity: float = 0.5,
    *,
    group: Group = "row",
    pattern: tuple[int, int] | None = None,
    count: int | None = None,
) -> Tensor:
    """Mark the smallest scores of each group.

    Args:
        score: (outputs, inputs).
        sparsity: fraction to mark, rounded down to whole weights in each group; unused with pattern or count.
        group: "row" compares within a row of outputs, "matrix" within the whole matrix.
        pattern: (N, M): mark the N smallest of every M consecutive inputs instead.
        count: mark exactly so many in all; rows share them evenly, and what does not divide goes to the rows
            whose next score is smallest.

    Returns:
        Boolean (outputs, inputs), True where a weight goes. Ties go by position, the earlier first.

    Raises:
        DomainError: sparsity outside (0, 1), a count beyond the matrix, or a pattern without 0 < N < M.
        ShapeError: M does not divide the inputs.
    """
    rows, inputs = score.shape
    if pattern is not None:
        n, m = pattern
        if not 0 < n < m:
            raise DomainError(f"drop_mask needs a pattern N:M with 0 < N < M, got {n}:{m}; 2:4 is usual")
        if inputs % m:
            raise ShapeError(
                f"drop_mask needs M that divides the {inputs} inputs of a matrix, got {n}:{m}; "
                "choose another pattern",
                inputs=inputs, pattern=pattern,
            )
        return _smallest(score.reshape(rows * inputs // m, m), n).reshape(rows, inputs)
    groups = score if group == "row" else score.reshape(1, -1)
    if count is None:
        check_sparsity(sparsity, function="drop_mask")
        return _smallest(groups, int(groups.shape[1] * sparsity)).reshape(rows, inputs)
    if not 0 <= count <= score.numel():
        raise DomainError(f"drop_mask needs a count from 0 to {score.numel()}, got {count}; see the matrix")
    each, left = divmod(count, len(groups))
    mask = _smallest(groups, each)
    if left:
        following = torch.sort(groups, dim=1, stable=True).indices[:, each]
        chosen = torch.sort(groups[torch.arange(len(groups)), following], stable=True).indices[:left]
        mask[chosen, following[chosen]] = True
    return mask.reshape(rows, inputs)


def _smallest(groups: Tensor, count: int) -> Tensor:
    order = torch.sort(groups, dim=1, stable=True).indices[:, :count]
    return torch.zeros_like(groups, dtype=torch.bool).scatter_(1, order, True)


@measured("bound: the theorems on dropped entries; this computes the matrix they speak of")
def prune_weight(
    weight: Tensor,
    sparsity: float = 0.5,
    *,
    energy: Tensor | None = None,
    group: Group | None = None,
    pattern: tuple[int, int] | None = None,
    count: int | None = None,
) -> Tensor:
    """Zero a fraction of a matrix: by Wanda's score if ``energy`` is given, else by magnitude.

    Args:
        weight: (outputs, inputs), finite.
        sparsity: fraction in (0, 1) to zero.
        energy: (inputs,) input energies; see `wanda_score`.
        group: "row" or "matrix"; None takes the published choice: rows for Wanda, the matrix for magnitude.
        pattern: (N, M) zeroes N of every M consecutive inputs instead, (2, 4) for sparse tensor cores.
        count: zeros exactly so many weights instead; see `drop_mask`.

    Returns:
        A new matrix; weights that stay are not changed.

    Raises:
        DomainError, ShapeError: see `drop_mask`.
        NonFiniteError: NaN or infinite weights or energies.
    """
    score = weight.double().abs() if energy is None else wanda_score(weight, energy)
    if not torch.isfinite(score).all():
        raise NonFiniteError("prune_weight needs finite weights and inputs, got NaN or infinity; check them")
    group = group or ("matrix" if energy is None else "row")
    return weight.masked_fill(drop_mask(score, sparsity, group=group, pattern=pattern, count=count), 0.0)


@measured("an approximation; peelverify.certify bounds its effect on given text")
def prune_model(
    model: ModelView | nn.Module,
    sparsity: float | Mapping[int, float] = 0.5,
    *,
    method: str = "magnitude",
    input_ids: Tensor | None = None,
    pattern: tuple[int, int] | None = None,
    counts: Mapping[str, int] | None = None,
    token_weights: str | Tensor | np.ndarray | None = None,
    on_block: Callable[[int, int], None] | None = None,
) -> Compressed:
    """Prune every linear map inside the blocks; embedding, norms, biases and head stay.

    Wanda and SparseGPT go through the blocks in order. The inputs of all maps of a block are measured in one
    pass of the block as it was; the block is pruned; then its *pruned* output feeds the next block.

    Args:
        model: a decoder; it is copied.
        sparsity: fraction in (0, 1), one for all blocks or by block index.
        method: "magnitude" (each matrix by |W|), "wanda" (each row by |W| |x|) or "sparsegpt" (by second-order
            cost, with what stays shifted to make up for it).
        input_ids: calibration ids (windows, length), needed by all but magnitude.
        pattern: (N, M), for instance (2, 4), in place of a sparsity.
        counts: number of weights to zero in each matrix, by ``"block.name"``, in place of a sparsity; see
            `peelverify.compress.schedule.Schedule.counts`.
        token_weights: how much each calibration token counts: a name of
            `peelverify.compress.tokenweights.TOKEN_WEIGHTS`, or an array (windows, length); None is uniform.
        on_block: called with (blocks done, in all).

    Returns:
        The pruned model and its record, with the fraction of zeros that was reached.

    Raises:
        DomainError, ShapeError: a sparsity, pattern or count that does not fit; raised before any work.
        InputError: calibration ids missing or unfit, an unknown method.

    Source:
        [Sun2024], [Frantar2023b]. Deviations: (1) statistics are summed in float64; (2) magnitude drops
        exactly the count asked, where the published code drops one more and all ties.
    """
    view = copy_view(model)
    maps = linear_maps(view)
    if method not in PRUNERS:
        raise InputError(f"prune_model needs a method among {', '.join(PRUNERS)}, got {method!r}; name one")
    by_block = sparsity_by_block(sparsity, view.depth, function="prune_model")
    for linear in maps.values():
        if pattern is not None:
            drop_mask(torch.zeros(1, weight_rows(linear).shape[1]), pattern=pattern)
    if counts is not None and set(counts) != set(maps):
        raise DomainError(
            f"prune_model needs a count for each of the {len(maps)} matrices, got {len(counts)}; "
            "make them with Schedule.counts"
        )
    walk = None
    refuse_weights(token_weights, method, reads_text=method != "magnitude", function="prune_model")
    if method != "magnitude":
        if input_ids is None:
            raise InputError(f"prune_model needs input_ids for {method!r}, got none; give calibration windows")
        walk = BlockWalk(view, check_windows(view, input_ids, function="prune_model"), token_weights)
    for index in range(view.depth):
        measure = PRUNERS[method][0]
        statistics = measure(walk, index) if walk is not None else {}
        for name, linear in view.linears(index).items():
            drop = {
                "sparsity": by_block[index], "pattern": pattern,
                "count": None if counts is None else counts[f"{index}.{name}"],
            }
            write_rows(linear, PRUNERS[method][1](weight_rows(linear), statistics.get(name), drop))
        if walk is not None:
            walk.advance(index)
        if on_block is not None:
            on_block(index + 1, view.depth)
    zeros = sum(int((weight_rows(m) == 0).sum()) for m in maps.values())
    numel = sum(weight_rows(m).numel() for m in maps.values())
    record = compression_record(
        method, depth=view.depth,
        sparsity_by_block=None if pattern or counts else by_block,
        zeros_by_matrix=None if counts is None else dict(counts),
        pattern=f"{pattern[0]}:{pattern[1]}" if pattern else None,
        zero_fraction=zeros / numel,
        calibration_shape=list(input_ids.shape) if walk is not None and input_ids is not None else None,
        token_weights=weights_name(token_weights) if walk is not None else None,
    )
    return Compressed(view, record)


def _by_score(weight: Tensor, energy: Tensor | None, drop: dict[str, Any]) -> Tensor:
    return prune_weight(weight, energy=energy, **drop)


def _by_second_order(weight: Tensor, gram: Tensor, drop: dict[str, Any]) -> Tensor:
    from peelverify.compress.secondorder import sparsegpt_weight

    return sparsegpt_weight(weight, gram, **drop).weight


PRUNERS: dict[str, tuple[Callable[..., Any], Callable[..., Tensor]]] = {
    "magnitude": (lambda walk, index: {}, _by_score),
    "wanda": (input_energy, _by_score),
    "sparsegpt": (input_gram, _by_second_order),
}
"""Method -> (what it measures of a block's inputs, how it prunes a matrix with that)."""


def sparsity_by_block(sparsity: float | Mapping[int, float], depth: int, *, function: str) -> list[float]:
    """One sparsity a block.

    Raises:
        DomainError: a value outside (0, 1), or a mapping that does not name every block.
    """
    if isinstance(sparsity, Mapping):
        if set(sparsity) != set(range(depth)):
            raise DomainError(
                f"{function} needs a sparsity for each block 0 to {depth - 1}, got {sorted(sparsity)}"
            )
        values = [float(sparsity[i]) for i in range(depth)]
    else:
        values = [float(sparsity)] * depth
    for value in values:
        check_sparsity(value, function=function)
    return values
