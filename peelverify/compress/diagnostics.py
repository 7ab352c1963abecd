"""All layer diagnostics in one call, to be read beside rho. They are local and cheap; none is a bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor, nn

from peelverify.compress.copies import weight_rows
from peelverify.compress.rank import rank_layers
from peelverify.compress.spectrum import outlier_fraction, powerlaw_alpha
from peelverify.errors import InputError
from peelverify.evaluate.stream import as_view, check_windows
from peelverify.models.view import ModelView
from peelverify.registry import measured
from peelverify.rho.depthuse import depth_use, skip_effect
from peelverify.rho.updates import gradient_norms, tokenwise_fit

__all__ = ["DIAGNOSTICS", "layer_diagnostics"]

_PAIRWISE_TOKENS = 1024

DIAGNOSTICS: dict[str, str] = {
    "alpha": "power-law exponent of the spectra, mean over the matrices of the block [Martin2021]",
    "zd": "share of weights above one standard deviation over their mean [Dumitru2024]",
    "lim": "-mean cosine of input and output of the block [Dumitru2024]",
    "attention": "|a| / |h|, what attention adds [Csordas2025]",
    "mlp": "|m| / |h + a|, what the MLP adds [Csordas2025]",
    "update": "|f(h)| / |h|",
    "alignment": "cosine of f(h) and h",
    "skip_effect": "largest relative change of a later update when the block is skipped [Csordas2025]",
    "tokenwise_error": "what a map of single tokens misses of the update, relative to it [Yoo2026]",
    "gradient_norm": "norm of the gradient of the loss over the parameters of the block",
    "gradient_relative": "the same over the norm of the parameters",
}
"""Column -> formula. Every value is measured."""


@measured("statistics of weights and of sampled text")
def layer_diagnostics(
    model: ModelView | nn.Module, input_ids: Tensor, *, on_step: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Every diagnostic of `DIAGNOSTICS` for every block.

    Args:
        model: a decoder; it is not changed.
        input_ids: token ids (windows, length), at least two tokens a window. The tokenwise fit uses the first
            windows up to 1,024 tokens, since it compares all pairs.
        on_step: called with (diagnostics done, in all).

    Returns:
        Schema ``peelverify.layer_diagnostics/1``: ``columns`` with a list of one number a block, or None where the
        family or the size does not allow it; ``not_measured`` says why.

    Raises:
        InputError: ids that do not fit the model.
    """
    view = as_view(model)
    input_ids = check_windows(view, input_ids, function="layer_diagnostics", least=2)
    some = input_ids[: max(1, _PAIRWISE_TOKENS // input_ids.shape[1])]
    neighbours = min(16, some.numel() - 1)

    def use() -> dict[str, np.ndarray]:
        return dict(vars(depth_use(view, input_ids)))

    def gradients() -> dict[str, np.ndarray]:
        found = gradient_norms(view, input_ids)
        return {"gradient_norm": found.norm, "gradient_relative": found.relative}

    def matrices(statistic: Callable[[list[Tensor]], float]) -> list[float]:
        return [statistic([weight_rows(m) for m in view.linears(t).values()]) for t in range(view.depth)]

    tasks: list[tuple[tuple[str, ...], Callable[[], dict[str, Any]]]] = [
        (("alpha",), lambda: {"alpha": matrices(lambda ms: float(np.mean([powerlaw_alpha(m).alpha for m in ms])))}),
        (("zd",), lambda: {"zd": matrices(outlier_fraction)}),
        (("lim",), lambda: {"lim": rank_layers(view, input_ids, "lim").scores}),
        (("attention", "mlp", "update", "alignment"), use),
        (("skip_effect",), lambda: {"skip_effect": skip_effect(view, input_ids).max(axis=1)}),
        (("tokenwise_error",), lambda: {"tokenwise_error": tokenwise_fit(view, some, neighbours=neighbours).error}),
        (("gradient_norm", "gradient_relative"), gradients),
    ]
    columns: dict[str, list[float] | None] = {}
    missing: dict[str, str] = {}
    for done, (names, task) in enumerate(tasks, 1):
        try:
            found = task()
        except InputError as error:  # a family or a size that this diagnostic does not take, said by name
            found = {}
            missing |= dict.fromkeys(names, str(error))
        columns |= {n: [float(v) for v in found[n]] if n in found else None for n in names}
        if on_step is not None:
            on_step(done, len(tasks))
    return {
        "schema": "peelverify.layer_diagnostics/1", "tokens": input_ids.numel(), "pairwise_tokens": some.numel(),
        "columns": columns, "formulas": DIAGNOSTICS, "not_measured": missing,
    }
