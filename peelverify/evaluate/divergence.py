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
        same_top_standard_error: of that share; 0 where all windows agree, which tells nothing: see the interval.
        same_top_interval: 95 % interval of that share (Clopper-Pearson), as if positions were independent.
        delta_loss: mean of loss(compressed) - loss(original), nats a token.
        delta_loss_standard_error: of ``delta_loss``, from the differences themselves.
        delta_p_rms: root mean square change of the probability of the true next token, in [0, 1].
        delta_p_rms_standard_error: of that, to first order from its mean square.
        loss_original: mean loss of the original, nats a token.
        loss_compressed: mean loss of the compressed model, nats a token.
        loss_original_standard_error: of ``loss_original``.
        loss_compressed_standard_error: of ``loss_compressed``.
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
    same_top_interval: tuple[float, float]
    delta_loss: float
    delta_loss_standard_error: float
    delta_p_rms: float
    delta_p_rms_standard_error: float
    loss_original: float
    loss_compressed: float
    loss_original_standard_error: float
    loss_compressed_standard_error: float
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

    @property
    def perplexity_factor_standard_error(self) -> float:
        """Of ``perplexity_factor``, to first order: factor times the error of ``delta_loss``."""
        return self.perplexity_factor * self.delta_loss_standard_error

    def summary(self) -> str:
        """The figures in the form in which users of local models quote them."""

        def pm(error: float, digits: int, scale: float = 1.0) -> str:
            return "" if math.isnan(error) else f" ± {error * scale:.{digits}f}"

        low, high = (100 * x for x in self.same_top_interval)
        error = self.same_top_standard_error or math.nan  # 0: all windows agree, which tells nothing
        ppl = [
            f"{math.exp(min(loss, 709)):.4f}{pm(e, 4, math.exp(min(loss, 709)))}"
            for loss, e in (
                (self.loss_original, self.loss_original_standard_error),
                (self.loss_compressed, self.loss_compressed_standard_error),
            )
        ]
        tail = ", ".join(f"{p:g}% {v:.5f}" for p, v in self.kl_percentiles.items() if p >= 90)
        return (
            f"mean KL {self.kl:.6f}{pm(self.kl_standard_error, 6)} nats "
            f"(median {self.kl_percentiles[50.0]:.6f}, {tail}, max {self.kl_max:.5f}); same top token "
            f"{100 * self.same_top_fraction:.3f}{pm(error, 3, 100)} % "
            f"(95 % interval {low:.3f} to {high:.3f} %, Clopper-Pearson over {self.tokens} positions as if "
            "independent); "
            f"PPL {ppl[0]} -> {ppl[1]}, "
            f"ratio {self.perplexity_factor:.6f}{pm(self.perplexity_factor_standard_error, 6)}; "
            f"change of loss {self.delta_loss:+.6f}{pm(self.delta_loss_standard_error, 6)} nats; "
            f"RMS change of p {100 * self.delta_p_rms:.3f}{pm(self.delta_p_rms_standard_error, 3, 100)} %"
            + ("; ± is one standard error, windows as units" if self.windows > 1 else "")
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
            "same_top_interval_95_fraction": list(self.same_top_interval),
            "delta_loss_nats_per_token": number(self.delta_loss),
            "delta_loss_standard_error_nats": number(self.delta_loss_standard_error),
            "delta_p_rms_fraction": self.delta_p_rms,
            "delta_p_rms_standard_error_fraction": number(self.delta_p_rms_standard_error),
            "loss_original_nats_per_token": self.loss_original,
            "loss_compressed_nats_per_token": self.loss_compressed,
            "loss_original_standard_error_nats": number(self.loss_original_standard_error),
            "loss_compressed_standard_error_nats": number(self.loss_compressed_standard_error),
            "perplexity_factor": number(self.perplexity_factor),
            "perplexity_factor_standard_error": number(self.perplexity_factor_standard_error),
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
    change_sq = (torch.exp(-after) - torch.exp(-before)).square()
    rms = math.sqrt(float(change_sq.mean()))
    return Divergence(
        kl=float(kl.mean()),
        kl_standard_error=standard_error(kl.mean(dim=1)),
        kl_percentiles=dict(zip(PERCENTILES, points.tolist(), strict=True)),
        kl_max=float(kl.max()),
        same_top_fraction=float(same.mean()),
        same_top_standard_error=standard_error(same.mean(dim=1)),
        same_top_interval=_interval(int(same.sum()), same.numel()),
        delta_loss=float(delta.mean()),
        delta_loss_standard_error=standard_error(delta.mean(dim=1)),
        delta_p_rms=rms,
        delta_p_rms_standard_error=standard_error(change_sq.mean(dim=1)) / (2 * rms) if rms > 0 else math.nan,
        loss_original=float(before.mean()),
        loss_compressed=float(after.mean()),
        loss_original_standard_error=standard_error(before.mean(dim=1)),
        loss_compressed_standard_error=standard_error(after.mean(dim=1)),
        windows=input_ids.shape[0],
        length=input_ids.shape[1],
        ids_sha256=ids_digest(input_ids),
    )


def _interval(count: int, positions: int) -> tuple[float, float]:
    """95 % Clopper-Pearson interval of a share."""
    from scipy.stats import binomtest

    found = binomtest(count, positions).proportion_ci(0.95, method="exact")
    return float(found.low), float(found.high)


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
