"""Token weights for calibration: which tokens the statistics of a layer should serve.

Wherever inputs are summed over tokens, ``sum x x^T`` or ``sum x_j^2``, a token can count with a weight of its own:
``sum w x x^T``. A weight of two is the token seen twice.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from peelverify.errors import DomainError, InputError, ShapeError
from peelverify.evaluate.stream import as_view, batches, check_windows
from peelverify.models.view import ModelView
from peelverify.registry import measured
from peelverify.rho.measure import wide_state

__all__ = ["TOKEN_WEIGHTS", "refuse_weights", "resolve_token_weights", "token_weights", "weights_name"]

TOKEN_WEIGHTS = {
    "uniform": "every token counts once",
    "activation_norm": "by the norm of the state that enters the block [Sung2025]",
    "attention": "by the attention that the token receives, summed over heads and queries [Sung2025]",
}
"""Kind -> one line on it."""


def _attention(view: ModelView, batch: Tensor) -> list[Tensor]:
    """For each block (windows, length): attention each token receives, summed over heads and queries."""
    received: dict[int, Tensor] = {}
    path = view.family.attention_out.rpartition(".")[0]
    if not path:
        raise InputError(
            f"token_weights needs a family that names its attention for 'attention', got {view.config.model_type}; "
            "use 'activation_norm' or an array"
        )

    def hook(index: int) -> Any:
        def after(module: nn.Module, args: Any, output: Any) -> None:
            shares = output[1] if isinstance(output, tuple) and len(output) > 1 else None
            if shares is None or shares.ndim != 4:
                raise InputError(
                    f"token_weights needs attention weights for 'attention', got none from {view.config.model_type}; "
                    "use 'activation_norm' or an array"
                )
            received[index] = shares.double().sum(dim=(1, 2))

        return after

    handles = [attrgetter(path)(b).register_forward_hook(hook(i)) for i, b in enumerate(view.blocks)]
    before = view.config._attn_implementation
    try:
        view.model.set_attn_implementation("eager")  # the fused kernels do not form the weights
        view.model.base_model(input_ids=batch, use_cache=False)
    finally:
        view.model.set_attn_implementation(before)
        for handle in handles:
            handle.remove()
    return [received[i] for i in range(view.depth)]


def _norms(view: ModelView, batch: Tensor) -> list[Tensor]:
    return [wide_state(state).double().norm(dim=-1) for state in view.trace(batch).states[:-1]]


@measured("statistics of sampled text; which weights help is an empirical question")
@torch.no_grad()
def token_weights(
    model: ModelView | nn.Module, input_ids: Tensor, kind: str = "attention", *, least: float = 0.01
) -> Tensor:
    """Weights of calibration tokens, for each block, from the model as it is.

    A score s of each token is stretched over its window to ``r = least + (1 - least) (s - min) / (max - min)``, and
    the weight is ``r^2``: as if the token's inputs were multiplied by r. Equal scores give weight 1.

    Args:
        model: a decoder; it is not changed.
        input_ids: token ids (windows, length).
        kind: a key of `TOKEN_WEIGHTS`.
        least: smallest r, in (0, 1].

    Returns:
        (blocks, windows, length), float64, in (0, 1].

    Raises:
        InputError: unknown kind, ids that do not fit, a family that does not show its attention.
        DomainError: least out of range.

    Source:
        [Sung2025]. Deviations: (1) all scores come from the model before compression, not from blocks already
        compressed; (2) no rotation.
    """
    view = as_view(model)
    if kind not in TOKEN_WEIGHTS:
        raise InputError(
            f"token_weights needs a kind among {', '.join(TOKEN_WEIGHTS)}, got {kind!r}; name one, or give an array"
        )
    if not 0 < least <= 1:
        raise DomainError(f"token_weights needs 0 < least <= 1, got {least}; 0.01 is the default")
    input_ids = check_windows(view, input_ids, function="token_weights")
    if kind == "uniform":
        return torch.ones(view.depth, *input_ids.shape, dtype=torch.float64, device=view.device)
    measure = _attention if kind == "attention" else _norms
    parts = [torch.stack(measure(view, batch)) for batch in batches(input_ids, 2048)]
    score = torch.cat(parts, dim=1)
    low, high = score.amin(dim=2, keepdim=True), score.amax(dim=2, keepdim=True)
    spread = high - low
    below = (1 - least) * (high - score) / torch.where(spread > 0, spread, 1.0)
    return (1 - below).square()


def resolve_token_weights(
    view: ModelView, input_ids: Tensor, given: str | Tensor | np.ndarray | None, *, function: str
) -> Tensor | None:
    """Weights (blocks, windows, length) from a name or an array; None where every token counts once.

    Args:
        view: the decoder.
        input_ids: calibration ids (windows, length).
        given: a key of `TOKEN_WEIGHTS`, or an array (windows, length) of weights >= 0 for all blocks, or with a
            leading axis for each block, or None for "uniform".
        function: name of the public function, for messages.

    Raises:
        InputError: unknown name. ShapeError: an array of another shape.
        DomainError: weights that are negative, not finite, or zero for every token.
    """
    if given is None or (isinstance(given, str) and given == "uniform"):
        return None
    if isinstance(given, str):
        return token_weights(view, input_ids, given)
    found = torch.as_tensor(given, dtype=torch.float64).to(view.device)
    shape = tuple(input_ids.shape)
    if tuple(found.shape) not in (shape, (view.depth, *shape)):
        raise ShapeError(
            f"{function} needs token weights of shape {shape}, or with {view.depth} blocks in front, got "
            f"{tuple(found.shape)}; give one for each calibration token"
        )
    found = found.expand(view.depth, *shape)
    if not torch.isfinite(found).all() or bool((found < 0).any()) or not bool((found.sum(dim=(1, 2)) > 0).all()):
        raise DomainError(
            f"{function} needs finite token weights >= 0, not all zero, got others; a weight of 0 leaves a token out"
        )
    return found


def weights_name(given: str | Tensor | np.ndarray | None) -> str:
    """How a record names them: the kind, or "given" for an array."""
    return given if isinstance(given, str) else "uniform" if given is None else "given"


def refuse_weights(given: str | Tensor | np.ndarray | None, method: str, *, reads_text: bool, function: str) -> None:
    """Refuse token weights for a method that reads no calibration inputs.

    Raises:
        InputError: weights other than uniform for such a method.
    """
    if not reads_text and weights_name(given) != "uniform":
        raise InputError(f"{function} has no use for token weights with {method!r}, got some; leave them out")
