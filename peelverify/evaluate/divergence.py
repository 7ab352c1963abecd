"""How far a compressed model's predictions are from the original's, on the same windows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from peelverify.errors import InputError
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

__all__ = ["PERCENTILES", "Divergence", "divergence"]

PERCENTILES = (1.0, 5.0, 50.0, 90.0, 95.0, 99.0, 99.9)


@dataclass(frozen=True)
class Divergence:
    """Divergence of two models over the scored positions of given windows; measured numbers.

    Attributes:
        kl: mean of KL(original || compressed), nats a token.
        kl_standard_error: of ``kl``, windows as units; NaN for a single window. So for the other errors.
        kl_percentiles: percentile -> KL, nats a token.
        kl_max: largest KL of a position, nats.
        same_top_fraction: share of positions where both models rank the same token first, in [0, 1].
        same_top_standard_error: of that share.
        delta_loss: mean of loss(compressed) - loss(original), nats a token.
        delta_loss_standard_error: of ``delta_loss``, from the differences themselves.
        delta_p_rms: root mean square change of the probability of the true next token, in [0, 1].
        loss_original: mean loss of the original, nats a token.
        loss_compressed: mean loss of the compressed model, nats a token.
        windows: number of windows.
        length: tokens a window; all but the last position are compared.
        ids_sha256: digest of the token ids.
    """

    kl: float
    kl_standard_error: float
    kl_percentiles: dict[float, float]
    kl_max: float
    same_top_fraction: float
    same_top_standard_error: float
    delta_loss: float
    delta_loss_standard_error: float
    delta_p_rms: float
    loss_original: float
    loss_compressed: float
    windows: int
    length: int
    ids_sha256: str

    @property
    def tokens(self) -> int:
        """Number of compared positions."""
        return self.windows * (self.length - 1)

    @property
    def perplexity_factor(self) -> float:
        """perplexity(compressed) / perplexity(original) = exp(delta_loss)."""
        return math.exp(self.delta_loss) if self.delta_loss < 709 else math.inf

    def summary(self) -> str:
        """The figures in the form in which users of local models quote them."""

        def pm(error: float, digits: int, scale: float = 1.0) -> str:
            return "" if math.isnan(error) else f" ± {error * scale:.{digits}f}"

        tail = ", ".join(f"{p:g}% {v:.5f}" for p, v in self.kl_percentiles.items() if p >= 90)
        return (
            f"mean KL {self.kl:.6f}{pm(self.kl_standard_error, 6)} nats "
            f"(median {self.kl_percentiles[50.0]:.6f}, {tail}, max {self.kl_max:.5f}); same top token "
            f"{100 * self.same_top_fraction:.3f}{pm(self.same_top_standard_error, 3, 100)} %; "
            f"change of loss {self.delta_loss:+.6f}{pm(self.delta_loss_standard_error, 6)} nats; "
            f"RMS change of p {100 * self.delta_p_rms:.3f} %"
        )

    def to_json(self) -> dict[str, Any]:
        """As plain data, schema ``peelverify.divergence/1``; what cannot be computed is None."""

        def number(x: float) -> float | None:
            return x if math.isfinite(x) else None

        return {
            "schema": "peelverify.divergence/1",
            "kl_nats_per_token": number(self.kl),
            "kl_standard_error_nats": number(self.kl_standard_error),
            "kl_percentiles_nats": {f"{p:g}": number(v) for p, v in self.kl_percentiles.items()},
            "kl_max_nats": number(self.kl_max),
            "same_top_fraction": self.same_top_fraction,
            "same_top_standard_error_fraction": number(self.same_top_standard_error),
            "delta_loss_nats_per_token": number(self.delta_loss),
            "delta_loss_standard_error_nats": number(self.delta_loss_standard_error),
            "delta_p_rms_fraction": self.delta_p_rms,
            "loss_original_nats_per_token": self.loss_original,
            "loss_compressed_nats_per_token": self.loss_compressed,
            "perplexity_factor": number(self.perplexity_factor),
            "windows": self.windows,
            "window_tokens": self.length,
            "compared_tokens": self.tokens,
            "ids_sha256": self.ids_sha256,
        }


@measured("statistics over sampled text; the certificate bounds them from the change of the logits")
@torch.no_grad()
def divergence(
    original: ModelView | nn.Module,
    compressed: ModelView | nn.Module,
    input_ids: Tensor,
    *,
    on_step: OnStep | None = None,
) -> Divergence:
    """Compare the next-token distributions of two models on the same windows.

    Args:
        original: the reference.
        compressed: a model with the same vocabulary.
        input_ids: token ids (windows, length), length at least 2.
        on_step: called with (windows done, windows in all).

    Returns:
        KL(original || compressed) with percentiles, the share of positions with the same top token, and the
        change of loss, each mean with its standard error. Log-probabilities are formed in float64.

    Raises:
        InputError: different vocabularies, or ids that do not fit the models.
        NonFiniteError: NaN or infinite logits.
    """
    original, compressed = as_view(original), as_view(compressed)
    if original.vocabulary != compressed.vocabulary:
        raise InputError(
            f"divergence needs models with one vocabulary, got {original.vocabulary} and "
            f"{compressed.vocabulary} tokens; compare a model with its own compression"
        )
    input_ids = check_windows(original, input_ids, function="divergence", least=2)
    check_windows(compressed, input_ids, function="divergence", least=2)
    columns: list[Tensor] = []
    done = 0
    for batch in batches(input_ids):
        columns.append(_compare(original, compressed, batch))
        done += len(batch)
        if on_step is not None:
            on_step(done, len(input_ids))
    kl, same, before, after = torch.cat(columns, dim=1).cpu()  # each (windows, length - 1)
    points = np.percentile(kl.numpy(), PERCENTILES)
    delta = after - before
    return Divergence(
        kl=float(kl.mean()),
        kl_standard_error=standard_error(kl.mean(dim=1)),
        kl_percentiles=dict(zip(PERCENTILES, points.tolist(), strict=True)),
        kl_max=float(kl.max()),
        same_top_fraction=float(same.mean()),
        same_top_standard_error=standard_error(same.mean(dim=1)),
        delta_loss=float(delta.mean()),
        delta_loss_standard_error=standard_error(delta.mean(dim=1)),
        delta_p_rms=float((torch.exp(-after) - torch.exp(-before)).square().mean().sqrt()),
        loss_original=float(before.mean()),
        loss_compressed=float(after.mean()),
        windows=input_ids.shape[0],
        length=input_ids.shape[1],
        ids_sha256=ids_digest(input_ids),
    )


def _compare(original: ModelView, compressed: ModelView, batch: Tensor) -> Tensor:
    """Per position: KL, same top token (0 or 1), loss of both models; shape (4, windows, length - 1)."""
    shape = (batch.shape[0], batch.shape[1] - 1)
    targets = batch[:, 1:].flatten()
    pairs = zip(
        logit_chunks(original, last_states(original, batch)[:, :-1].flatten(0, 1)),
        logit_chunks(compressed, last_states(compressed, batch.to(compressed.device))[:, :-1].flatten(0, 1)),
        strict=True,
    )
    rows, start = [], 0
    for logp, there in pairs:
        logq = there.to(logp.device)
        part = targets[start : start + len(logp), None]
        start += len(logp)
        rows.append(
            torch.stack(
                [
                    (logp.exp() * (logp - logq)).sum(dim=-1),
                    (logp.argmax(dim=-1) == logq.argmax(dim=-1)).double(),
                    -logp.gather(1, part)[:, 0],
                    -logq.gather(1, part)[:, 0],
                ]
            )
        )
    return torch.cat(rows, dim=1).reshape(4, *shape)
