"""Loss and perplexity of a decoder on fixed windows of tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from peelverify.evaluate.stream import (
    OnStep,
    as_view,
    batches,
    check_windows,
    ids_digest,
    last_states,
    logit_chunks,
    standard_error,
)
from peelverify.models.view import ModelView
from peelverify.registry import measured

__all__ = ["Perplexity", "perplexity", "token_losses"]


@dataclass(frozen=True)
class Perplexity:
    """Mean next-token loss of a model on given windows; a measured number.

    Attributes:
        loss: nats a token, mean over all scored tokens.
        standard_error: of ``loss``, with windows as units; NaN for a single window.
        by_window: mean loss of each window, nats a token.
        windows: number of windows.
        length: tokens a window; the first of each is read but not scored.
        ids_sha256: digest of the token ids.
        dtype: dtype of the model's parameters; log-probabilities are formed in float64.
    """

    loss: float
    standard_error: float
    by_window: tuple[float, ...]
    windows: int
    length: int
    ids_sha256: str
    dtype: str

    @property
    def tokens(self) -> int:
        """Number of scored tokens."""
        return self.windows * (self.length - 1)

    @property
    def perplexity(self) -> float:
        """exp(loss)."""
        return math.exp(self.loss) if self.loss < 709 else math.inf

    @property
    def perplexity_standard_error(self) -> float:
        """Of ``perplexity``, to first order: perplexity times the error of the loss."""
        return self.perplexity * self.standard_error

    @property
    def protocol(self) -> str:
        """One sentence that says how the number came about."""
        return (
            f"{self.windows} separate windows of {self.length} tokens (stride {self.length}), "
            f"no special tokens added, {self.tokens} tokens scored, {self.dtype} forward pass"
        )

    def to_json(self) -> dict[str, Any]:
        """As plain data, schema ``peelverify.perplexity/1``; what cannot be computed is None."""
        return {
            "schema": "peelverify.perplexity/1",
            "loss_nats_per_token": self.loss,
            "standard_error_nats_per_token": None if math.isnan(self.standard_error) else self.standard_error,
            "perplexity": None if math.isinf(self.perplexity) else self.perplexity,
            "perplexity_standard_error": (
                self.perplexity_standard_error if math.isfinite(self.perplexity_standard_error) else None
            ),
            "windows": self.windows,
            "window_tokens": self.length,
            "scored_tokens": self.tokens,
            "ids_sha256": self.ids_sha256,
            "protocol": self.protocol,
        }


@torch.no_grad()
def token_losses(view: ModelView, input_ids: Tensor) -> Tensor:
    """Loss of each predicted token, nats, float64, shape (windows, length - 1); one batch, one pass."""
    states = last_states(view, input_ids)[:, :-1]
    targets = input_ids[:, 1:].flatten()
    losses, start = [], 0
    for logp in logit_chunks(view, states.flatten(0, 1)):
        part = targets[start : start + len(logp), None]
        losses.append(-logp.gather(1, part)[:, 0])
        start += len(logp)
    return torch.cat(losses).reshape(states.shape[:2])


@measured("a mean over sampled text; the certificate bounds how far compression moves it")
def perplexity(
    model: ModelView | nn.Module, input_ids: Tensor, *, on_step: OnStep | None = None
) -> Perplexity:
    """Mean next-token loss with its standard error and protocol.

    Args:
        model: a decoder.
        input_ids: token ids (windows, length), length at least 2; see `peelverify.data.windows`.
        on_step: called with (windows done, windows in all).

    Raises:
        InputError: ids outside the vocabulary, windows too short or too long for the model.
        NonFiniteError: NaN or infinite logits.

    Not for:
        Comparing two models: the standard error of a difference on the same text is far smaller than that
        of either loss; use `divergence`.
    """
    view = as_view(model)
    input_ids = check_windows(view, input_ids, function="perplexity", least=2)
    means: list[Tensor] = []
    done = 0
    for batch in batches(input_ids):
        means.append(token_losses(view, batch).mean(dim=1))
        done += len(batch)
        if on_step is not None:
            on_step(done, len(input_ids))
    by_window = torch.cat(means).cpu()
    return Perplexity(
        loss=float(by_window.mean()),
        standard_error=standard_error(by_window),
        by_window=tuple(by_window.tolist()),
        windows=input_ids.shape[0],
        length=input_ids.shape[1],
        ids_sha256=ids_digest(input_ids),
        dtype=str(view.dtype).removeprefix("torch."),
    )
