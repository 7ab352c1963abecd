"""Two diagnostics of layers beside rho: how far an update is a map of each token alone, and the size of gradients.

A block sends the states ``h`` of a window to ``h + u(h)``. If it only looked at one token at a time, ``u`` would be a
function of that token's state, and tokens with near states would get near updates. `tokenwise_fit` fits such a function
from the nearest neighbours and reports what it misses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from peelverify.errors import DomainError, InputError
from peelverify.evaluate.stream import as_view, batches, check_windows, summed_gradients
from peelverify.models.view import ModelView
from peelverify.registry import measured
from peelverify.rho.measure import wide_state

__all__ = ["GradientNorms", "TokenwiseFit", "gradient_norms", "tokenwise_fit"]


@dataclass(frozen=True, eq=False)
class TokenwiseFit:
    """How well each block's update is a function of single tokens; means over tokens, one a block; measured.

    Attributes:
        error: (L,) ``|u - T| / |u|`` with T the fitted update, ``|T|`` where u is zero; 0 if tokens alone decide it.
        alignment: (L,) cosine of u and T.
        neighbours: tokens that each fit used.
        form: "diagonal" or "low_rank".
        tokens: tokens fitted.
    """

    error: np.ndarray
    alignment: np.ndarray
    neighbours: int
    form: str
    tokens: int

    def to_json(self) -> dict[str, Any]:
        """As plain data, schema ``peelverify.tokenwise_fit/1``."""
        return {
            "schema": "peelverify.tokenwise_fit/1", "form": self.form, "neighbours": self.neighbours,
            "tokens": self.tokens, "error": self.error.tolist(), "alignment": self.alignment.tolist(),
        }


def _fit(states: Tensor, updates: Tensor, neighbours: int, form: str, ridge: float) -> Tensor:
    """Update of each token predicted from its nearest other tokens; all (tokens, width), float64."""
    distance = torch.cdist(states, states, compute_mode="donot_use_mm_for_euclid_dist")
    distance.fill_diagonal_(float("inf"))
    near = torch.sort(distance, dim=1, stable=True).indices[:, :neighbours]  # equal distances by position
    found = torch.empty_like(updates)
    for start in range(0, len(states), 256):
        part = slice(start, start + 256)
        x, y, here = states[near[part]], updates[near[part]], states[part]  # (tokens, neighbours, width) twice
        if form == "diagonal":
            size = (x * x).sum(dim=1)
            slope = (x * y).sum(dim=1) / torch.where(size > 0, size, 1.0)
            found[part] = slope * here
        else:
            kernel = x @ x.mT
            load = ridge * kernel.diagonal(dim1=-2, dim2=-1).mean(dim=-1)
            kernel = kernel + load[:, None, None] * torch.eye(neighbours, dtype=x.dtype, device=x.device)
            weights = torch.linalg.solve(kernel, (x @ here[:, :, None]))
            found[part] = (weights * y).sum(dim=1)
    return found


@measured("a fit to sampled states")
@torch.no_grad()
def tokenwise_fit(
    model: ModelView | nn.Module,
    input_ids: Tensor,
    *,
    neighbours: int = 16,
    form: Literal["diagonal", "low_rank"] = "low_rank",
    ridge: float = 1e-3,
    on_step: Callable[[int, int], None] | None = None,
) -> TokenwiseFit:
    """Fit each block's update by a linear map of the token's own state, and report what is left.

    For token i with state ``x_i`` and update ``u_i``, the map ``A(x_i)`` is fitted to the k nearest other tokens n by
    least squares, ``u_n ~ A x_n``, and applied to ``x_i``. "diagonal" fits one slope a coordinate. "low_rank" is the
    ridge solution ``A = Y^T (X X^T + load I)^-1 X`` of rank at most k, with load = ridge * mean of the diagonal.

    Args:
        model: a decoder.
        input_ids: token ids (windows, length); about a thousand tokens, time and memory grow with their square.
        neighbours: k, from 1 to tokens - 1.
        form: see above.
        ridge: relative load of "low_rank", > 0.
        on_step: called with (blocks done, in all).

    Raises:
        DomainError: neighbours or ridge out of range. InputError: unknown form, or ids that do not fit the model.

    Not for:
        Proof that a block uses no other token: a good fit needs near neighbours, and with few tokens there are none.

    Source:
        [Yoo2026]. Deviation: the number of neighbours, the rank and the ridge are choices made here.
    """
    view = as_view(model)
    if form not in ("diagonal", "low_rank"):
        raise InputError(f"tokenwise_fit needs form 'diagonal' or 'low_rank', got {form!r}; name one")
    input_ids = check_windows(view, input_ids, function="tokenwise_fit")
    if not 1 <= neighbours < input_ids.numel():
        raise DomainError(
            f"tokenwise_fit needs 1 <= neighbours < {input_ids.numel()} tokens, got {neighbours}; give more text"
        )
    if not 0 < ridge < float("inf"):
        raise DomainError(f"tokenwise_fit needs ridge > 0, got {ridge}; 1e-3 is the default")
    traces = [view.trace(batch).states for batch in batches(input_ids, 2048)]
    error, alignment = np.empty(view.depth), np.empty(view.depth)
    for t in range(view.depth):
        before, after = (
            torch.cat([wide_state(states[i]).flatten(0, 1) for states in traces]).double() for i in (t, t + 1)
        )
        update = after - before
        fitted = _fit(before, update, neighbours, form, ridge)
        size, fitted_size = update.norm(dim=-1), fitted.norm(dim=-1)
        error[t] = float(((update - fitted).norm(dim=-1) / torch.where(size > 0, size, 1.0)).mean())
        product = size * fitted_size
        alignment[t] = float(((update * fitted).sum(-1) / torch.where(product > 0, product, 1.0)).mean())
        if on_step is not None:
            on_step(t + 1, view.depth)
    return TokenwiseFit(error, alignment, neighbours, form, input_ids.numel())


@dataclass(frozen=True, eq=False)
class GradientNorms:
    """Size of the gradient of the mean loss (nats a token) with respect to each block's parameters; measured.

    Attributes:
        norm: (L,) Euclidean norm over all parameters of the block.
        relative: (L,) the same divided by the norm of the parameters.
        loss: mean loss, nats a token.
    """

    norm: np.ndarray
    relative: np.ndarray
    loss: float

    def to_json(self) -> dict[str, Any]:
        """As plain data, schema ``peelverify.gradient_norms/1``."""
        return {
            "schema": "peelverify.gradient_norms/1", "norm": self.norm.tolist(), "relative": self.relative.tolist(),
            "loss_nats_per_token": self.loss,
        }


@measured("a gradient on sampled text, in the dtype of the model")
def gradient_norms(
    model: ModelView | nn.Module, input_ids: Tensor, *, on_step: Callable[[int, int], None] | None = None
) -> GradientNorms:
    """Norm of the loss gradient of each block: one forward and one backward pass for all blocks.

    Args:
        model: a decoder; its parameters and their gradients are left as they were.
        input_ids: token ids (windows, length), at least two tokens a window.
        on_step: called with (windows done, in all).

    Raises:
        InputError: ids that do not fit the model.
    """
    view = as_view(model)
    input_ids = check_windows(view, input_ids, function="gradient_norms", least=2)
    parameters = [list(block.parameters()) for block in view.blocks]
    flat = [p for block in parameters for p in block]
    totals, loss_sum, scored = summed_gradients(view, input_ids, flat, on_step)
    gradients_left = iter(totals)
    norm, weight = np.empty(view.depth), np.empty(view.depth)
    for t, block in enumerate(parameters):
        norm[t] = sum(float(next(gradients_left).square().sum()) for _ in block) ** 0.5 / scored
        weight[t] = sum(float(p.detach().double().square().sum()) for p in block) ** 0.5
    return GradientNorms(norm, norm / weight, loss_sum / scored)
