"""One entry for all methods, so that commands, studies and tests name them in one way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from peelverify.compress.copies import Compressed
from peelverify.compress.delete import delete_layers, kept_layers
from peelverify.compress.lowbit import low_bit_model, low_rank_model
from peelverify.compress.prune import prune_model
from peelverify.compress.quantize import quantize_model
from peelverify.compress.rank import NO_TEXT, rank_layers
from peelverify.compress.record import compression_record
from peelverify.compress.schedule import sparsity_schedule
from peelverify.compress.tokenweights import refuse_weights
from peelverify.errors import InputError
from peelverify.models.view import ModelView
from peelverify.registry import measured

__all__ = ["METHODS", "Settings", "compress_model", "needs_text"]

OnStep = Callable[[int, int], None]


@dataclass(frozen=True)
class Settings:
    """Options of all methods; each method reads its own.

    Attributes:
        bits: rtn, gptq.
        group: rtn, gptq: inputs a group.
        per_row: binary, ternary: a scale for each row.
        rank_fraction: svd: share of the singular values to keep.
        sparsity: magnitude, wanda, sparsegpt.
        pattern: magnitude, wanda, sparsegpt: (N, M) in place of a sparsity.
        schedule: magnitude, wanda, sparsegpt: how the sparsity is shared among blocks; None rounds each row or
            matrix on its own, as published.
        strength: of the schedule.
        layers: delete: block indices.
        count: delete: how many blocks, in place of indices.
        criterion: delete with a count.
        seed: delete with a count.
        protect: delete with a count: blocks at the beginning and at the end that stay; see `rank_layers`.
        token_weights: gptq, wanda, sparsegpt, and the schedule owl: a name of
            `peelverify.compress.tokenweights.TOKEN_WEIGHTS`.
    """

    bits: int = 4
    group: int | None = None
    per_row: bool = False
    rank_fraction: float = 0.5
    sparsity: float = 0.5
    pattern: tuple[int, int] | None = None
    schedule: str | None = None
    strength: float = 0.08
    layers: tuple[int, ...] | None = None
    count: int | None = None
    criterion: str = "rho"
    seed: int = 0
    protect: tuple[int, int] = (0, 0)
    token_weights: str = "uniform"


def needs_text(method: str, settings: Settings) -> bool:
    """Whether a method reads calibration text under these settings."""
    return (
        method in ("wanda", "sparsegpt", "gptq")
        or (method == "magnitude" and settings.schedule in ("owl", "rho"))
        or (method == "delete" and settings.layers is None and settings.criterion not in NO_TEXT)
    )


def _quantize(method: str, view: ModelView, s: Settings, ids: Tensor | None, on_step: OnStep | None) -> Compressed:
    return quantize_model(
        view, s.bits, group=s.group, method=method, input_ids=ids, token_weights=s.token_weights, on_block=on_step
    )


def _low_bit(method: str, view: ModelView, s: Settings, ids: Tensor | None, on_step: OnStep | None) -> Compressed:
    return low_bit_model(view, method, per_row=s.per_row)


def _svd(method: str, view: ModelView, s: Settings, ids: Tensor | None, on_step: OnStep | None) -> Compressed:
    return low_rank_model(view, s.rank_fraction)


def _prune(method: str, view: ModelView, s: Settings, ids: Tensor | None, on_step: OnStep | None) -> Compressed:
    if s.schedule is not None and s.pattern is not None:
        raise InputError("compress_model needs a schedule or a pattern, got both; a pattern fixes every group")
    counts, schedule = None, None
    if s.schedule is not None:
        schedule = sparsity_schedule(
            view, s.sparsity, s.schedule, strength=s.strength, input_ids=ids, token_weights=s.token_weights
        )
        counts = schedule.counts()
    done = prune_model(
        view, s.sparsity, method=method, input_ids=ids, pattern=s.pattern, counts=counts,
        token_weights=None if method == "magnitude" else s.token_weights, on_block=on_step,
    )
    if schedule is not None:
        done.record["settings"]["schedule"] = schedule.to_json()
    return done


def _delete(method: str, view: ModelView, s: Settings, ids: Tensor | None, on_step: OnStep | None) -> Compressed:
    if (s.layers is None) == (s.count is None):
        raise InputError("compress_model needs layers or a count to delete, got both or neither; name one")
    details: dict[str, Any] = {}
    layers = list(s.layers or ())
    if s.count is not None:
        ranking = rank_layers(
            view, ids, s.criterion, seed=s.seed, count=s.count, protect=s.protect, on_step=on_step
        )
        layers = ranking.first(s.count)
        details = {"criterion": s.criterion, "scores": ranking.to_json()["scores"], "seed": s.seed}
        if any(s.protect):
            details["protect"] = list(s.protect)
    record = compression_record("delete", depth=view.depth, kept=kept_layers(view.depth, layers), **details)
    return Compressed(delete_layers(view, layers), record)


METHODS: dict[str, tuple[Callable[..., Compressed], str]] = {
    "rtn": (_quantize, "round to nearest on a symmetric grid"),
    "gptq": (_quantize, "rounding with compensation in later columns [Frantar2023a]"),
    "ternary": (_low_bit, "minus scale, zero or scale [Ma2024]"),
    "binary": (_low_bit, "minus scale or scale [Wang2023]"),
    "svd": (_svd, "truncated singular value decomposition"),
    "magnitude": (_prune, "zeroes the smallest weights of each matrix"),
    "wanda": (_prune, "zeroes the smallest |w| |x| of each row [Sun2024]"),
    "sparsegpt": (_prune, "pruning with compensation in later columns [Frantar2023b]"),
    "delete": (_delete, "removes whole blocks"),
}
"""Method -> (what runs it, one line on it)."""


@measured("an approximation; peelverify.certify bounds its effect on given text")
def compress_model(
    view: ModelView,
    method: str,
    settings: Settings | None = None,
    *,
    input_ids: Tensor | None = None,
    on_step: OnStep | None = None,
) -> Compressed:
    """Compress a copy of a model by a named method.

    Args:
        view: the decoder.
        method: a key of `METHODS`.
        settings: options; the defaults if None.
        input_ids: calibration ids (windows, length) where `needs_text` says so.
        on_step: called with (steps done, in all), by the methods that take long.

    Raises:
        InputError: unknown method, options that exclude each other, ids missing or unfit.
        DomainError, ShapeError: options out of range.
    """
    settings = settings or Settings()
    if method not in METHODS:
        raise InputError(f"compress_model needs a method among {', '.join(METHODS)}, got {method!r}; name one")
    weighted = method in ("wanda", "sparsegpt", "gptq") or settings.schedule == "owl"
    refuse_weights(settings.token_weights, method, reads_text=weighted, function="compress_model")
    return METHODS[method][0](method, view, settings, input_ids, on_step)
