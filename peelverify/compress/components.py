"""Which kind of matrix can least bear compression: q, k, v, o, gate, up, down, or a family's own names."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from peelverify.compress.copies import copy_view, weight_rows, write_rows
from peelverify.errors import InputError
from peelverify.evaluate.divergence import Divergence, divergence
from peelverify.evaluate.stream import as_view, check_windows
from peelverify.models.view import ModelView
from peelverify.registry import measured

__all__ = ["Sensitivity", "component_sensitivity", "sensitivity_json"]


@dataclass(frozen=True)
class Sensitivity:
    """Effect of compressing one kind of matrix in all blocks, or in one.

    Attributes:
        component: name of the linear map inside a block, e.g. ``mlp.up_proj``.
        block: block index, or None for all blocks.
        weights: number of weights that were changed.
        effect: divergence from the original on the same windows.
    """

    component: str
    block: int | None
    weights: int
    effect: Divergence

    @property
    def resolved(self) -> bool:
        """Whether the change of loss is more than two standard errors from zero."""
        error = self.effect.delta_loss_standard_error
        return not math.isnan(error) and abs(self.effect.delta_loss) > 2 * error


@measured("a comparison on sampled text")
def component_sensitivity(
    model: ModelView | nn.Module,
    input_ids: Tensor,
    compress: Callable[[Tensor], Tensor],
    *,
    by_block: bool = False,
    on_step: Callable[[int, int], None] | None = None,
) -> list[Sensitivity]:
    """Compress one kind of matrix at a time and compare with the original.

    Differences are taken window by window against the original on the same windows, so their standard errors
    are those of the difference. Report them with the differences: a *ratio* of two sensitivities divides by a
    number that may be rounding noise, and is not given.

    Args:
        model: a decoder; it is not changed.
        input_ids: token ids (windows, length).
        compress: takes a weight (outputs, inputs) and returns its replacement.
        by_block: also one block at a time, so that each matrix has its own row.
        on_step: called with (models evaluated, in all).

    Returns:
        One entry a component, in the order of the block; with ``by_block`` followed by one a matrix.

    Raises:
        InputError: ids that do not fit, or blocks whose linear maps differ in name.
    """
    view = as_view(model)
    input_ids = check_windows(view, input_ids, function="component_sensitivity", least=2)
    names = list(view.linears(0))
    for t in range(view.depth):
        if list(view.linears(t)) != names:
            raise InputError(
                f"component_sensitivity needs blocks with the same linear maps, got others in block {t}; "
                "hybrid models are not supported"
            )
    tasks: list[tuple[str, int | None]] = [(name, None) for name in names]
    if by_block:
        tasks += [(name, t) for t in range(view.depth) for name in names]
    small = copy_view(view)
    found = []
    for name, block in tasks:
        chosen = range(view.depth) if block is None else [block]
        weights = 0
        for t in chosen:
            rows = weight_rows(view.linears(t)[name])
            write_rows(small.linears(t)[name], compress(rows))
            weights += rows.numel()
        found.append(Sensitivity(name, block, weights, divergence(view, small, input_ids)))
        for t in chosen:
            write_rows(small.linears(t)[name], weight_rows(view.linears(t)[name]))
        if on_step is not None:
            on_step(len(found), len(tasks))
    return found


def sensitivity_json(rows: list[Sensitivity]) -> dict[str, Any]:
    """As plain data, schema ``peelverify.sensitivity/1``."""
    return {
        "schema": "peelverify.sensitivity/1",
        "rows": [
            {"component": r.component, "block": r.block, "weights": r.weights, "resolved": r.resolved}
            | {k: v for k, v in r.effect.to_json().items() if k != "schema"}
            for r in rows
        ],
    }
