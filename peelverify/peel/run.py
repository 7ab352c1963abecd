"""Checkpoints of a training run, one after another, to a status cloud."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from torch import Tensor

from peelverify.errors import InputError
from peelverify.models.load import load_model
from peelverify.models.view import ModelView
from peelverify.peel.cloud import CloudSeries
from peelverify.peel.maps import check_maps
from peelverify.peel.solvers import Solver, solver_named
from peelverify.peel.transformer import TransformerYes, yes_chain

__all__ = ["peel_checkpoints", "step_of", "thin"]


def step_of(path: str | os.PathLike[str]) -> int | None:
    """Training step in the name of a checkpoint, such as ``step-0400``; None if there is none.

    Example:
        >>> step_of("runs/checkpoint-250")
        250
    """
    match = re.search(r"(?:step|checkpoint)[-_]?(\d+)$", Path(path).resolve().name)
    return int(match.group(1)) if match else None


def thin(ids: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Two disjoint sets of ``count`` windows, taken alternately at even distances over all windows.

    Args:
        ids: token ids (windows, length).
        count: windows in each set.

    Returns:
        Windows to fit on, windows that decide.
    """
    if count < 1 or len(ids) < 2 * count:
        raise InputError(
            f"peeling needs {2 * count} windows ({count} to fit, {count} to decide), got {len(ids)}; "
            "give a longer text, fewer tokens or a smaller window"
        )
    places = [round(i * (len(ids) - 1) / (2 * count - 1)) for i in range(2 * count)]
    return ids[places[::2]], ids[places[1::2]]


def peel_checkpoints(
    checkpoints: Sequence[str | os.PathLike[str] | ModelView],
    ids: Tensor,
    *,
    held_out: Tensor | None = None,
    names: Sequence[str] | None = None,
    maps: Iterable[Iterable[int]] | None = None,
    solver: str | Solver = "closed-form",
    budget: int | None = None,
    seed: int = 0,
    on_progress: Callable[[int, int, str], None] | None = None,
    on_point: Callable[[CloudSeries, TransformerYes], None] | None = None,
) -> CloudSeries:
    """Fit YES chains to each checkpoint, loading one at a time.

    Args:
        checkpoints: model directories in training order, or views of models in memory.
        ids: token ids to fit on (windows, length), the same for all.
        held_out: token ids that decide; see `yes_chain`.
        names: labels; the folder names if None.
        maps, solver, budget, seed: as for `yes_chain`.
        on_progress: called with (done, total, what) over all checkpoints.
        on_point: called with the series so far and the newest result after each checkpoint.

    Returns:
        The series; steps come from the folder names where all have one in ascending order, else they count from 0.

    Raises:
        InputError: no checkpoints, or checkpoints of different shape.
    """
    if not checkpoints:
        raise InputError("peel_checkpoints needs at least one checkpoint, got none; name model directories")
    labels = list(names) if names is not None else [
        f"checkpoint {i}" if isinstance(c, ModelView) else Path(c).resolve().name for i, c in enumerate(checkpoints)
    ]
    if len(labels) != len(checkpoints):
        raise InputError(f"peel_checkpoints needs one name a checkpoint, got {len(labels)} for {len(checkpoints)}")
    steps = [None if isinstance(c, ModelView) else step_of(c) for c in checkpoints]
    known = [s for s in steps if s is not None]
    counted = len(known) == len(steps) and all(a < b for a, b in zip(known, known[1:], strict=False))
    chosen = solver_named(solver, budget)
    series = CloudSeries("nats_per_token", {
        "solver": chosen.name, "budget": dict(chosen.budget), "seed": seed,
        "fitted_tokens": ids[:, 1:].numel(),
        "deciding_tokens": (ids if held_out is None else held_out)[:, 1:].numel(),
        "window_tokens": int(ids.shape[1]),
        "decided_on": "fitted tokens" if held_out is None else "held-out tokens",
    })
    shape: tuple[int, int, int] | None = None
    for index, checkpoint in enumerate(checkpoints):
        view = checkpoint if isinstance(checkpoint, ModelView) else load_model(checkpoint)
        if shape is not None and shape != (view.depth, view.width, view.vocabulary):
            raise InputError(
                f"peel_checkpoints needs checkpoints of one architecture, got {labels[index]} with depth, width, "
                f"vocabulary {(view.depth, view.width, view.vocabulary)} after {shape}; compare runs one at a time"
            )
        shape = (view.depth, view.width, view.vocabulary)
        suite = check_maps(maps, view.depth)

        def tick(done: int, total: int, what: str, *, at: int = index) -> None:
            if on_progress is not None:
                on_progress(at * total + done, total * len(checkpoints), f"{labels[at]}: {what}")

        found = yes_chain(
            view, ids, maps=suite, solver=chosen, seed=seed, held_out=held_out, keep="best", on_progress=tick
        )
        best = found.chains[found.best_map]
        series.add(
            labels[index], found.deciding_loss, found, step=known[index] if counted else index, refit=found.refit,
            extra={
                "loss_fitted_tokens": found.loss,
                "status_fitted_tokens": found.fitted_status.name,
                "gap_of_best": best.gap,
                "gap_of_best_standard_error": best.gap_error,
                "maps": [
                    {
                        "map": list(m), "loss": c.loss, "loss_fitted_tokens": c.fitted,
                        "block_residuals": list(c.residuals),
                    }
                    for m, c in found.chains.items()
                ],
                "seconds": found.seconds,
            },
        )
        if on_point is not None:
            on_point(series, found)
    return series
