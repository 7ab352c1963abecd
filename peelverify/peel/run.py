"""Checkpoints of a training run, one after another, to a status cloud."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from peelverify.compress.tokenweights import resolve_token_weights, weights_name
from peelverify.errors import InputError
from peelverify.models.load import load_model, model_files
from peelverify.models.view import ModelView
from peelverify.peel.cloud import CloudSeries
from peelverify.peel.maps import check_maps
from peelverify.peel.reuse import reused_chains
from peelverify.peel.solvers import Solver, check_weighted, solver_named
from peelverify.peel.ste import check_kind, yes_chain_low_bit
from peelverify.peel.substitute import Substitution, substitute
from peelverify.peel.transformer import TransformerYes, yes_chain

__all__ = ["peel_checkpoints", "step_of", "thin", "weights_digest"]


def weights_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 over the files of a model directory that decide what it computes, by name and content."""
    whole = hashlib.sha256()
    for file in model_files(path):
        with file.open("rb") as stream:
            whole.update(f"{file.name} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()


def _digest_tokens(ids: Tensor, held_out: Tensor | None) -> str:
    both = [ids.tolist(), None if held_out is None else held_out.tolist()]
    return hashlib.sha256(json.dumps(both).encode()).hexdigest()


def _name_of(given: str | Tensor | np.ndarray | None) -> str | None:
    """How a series names token weights: their kind, a hash of given ones, None where every token counts once."""
    name = weights_name(given)
    if name == "given":
        values = torch.as_tensor(given, dtype=torch.float64).cpu().numpy()
        return f"given, sha256 {hashlib.sha256(repr(values.shape).encode() + values.tobytes()).hexdigest()}"
    return None if name == "uniform" else name


def _continued(
    old: CloudSeries, new: CloudSeries, checkpoints: Sequence[str | os.PathLike[str] | ModelView],
    labels: Sequence[str],
) -> int:
    """Number of checkpoints that a series holds already; refuses a series of another run."""
    # a setting that a file lacks is one that was off
    other = sorted(k for k, v in new.about.items() if (old.about.get(k) or None) != (json.loads(json.dumps(v)) or None))
    if other or old.unit != new.unit:
        raise InputError(
            f"a series can only be continued with its own settings, got others for {', '.join(other) or 'the unit'}; "
            "repeat the options of the first run, or start again in another folder"
        )
    for index, point in enumerate(old.points):
        checkpoint = checkpoints[index] if index < len(checkpoints) else None
        digest = None if checkpoint is None or isinstance(checkpoint, ModelView) else weights_digest(checkpoint)
        if digest is None or point.label != labels[index] or point.extra.get("sha256") != digest:
            raise InputError(
                f"a series can only be continued if its checkpoints come first and are unchanged, got another one in "
                f"place of {point.label}; name the same checkpoints, then the new ones"
            )
    return len(old.points)


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
    substitution: bool = False,
    reuse: bool = False,
    bits: str | None = None,
    token_weights: str | Tensor | np.ndarray | None = None,
    resume: CloudSeries | None = None,
    on_progress: Callable[[int, int, str], None] | None = None,
    on_substitution: Callable[[int, Substitution], None] | None = None,
    on_point: Callable[[CloudSeries, TransformerYes], None] | None = None,
) -> CloudSeries:
    """Fit YES chains to each checkpoint, loading one at a time.

    Args:
        checkpoints: model directories in training order, or views of models in memory.
        ids: token ids to fit on (windows, length), the same for all.
        held_out: token ids that decide; see `yes_chain`.
        names: labels; the folder names if None.
        maps, solver, budget, seed: as for `yes_chain`.
        substitution: solve each block again on its own, see `peelverify.peel.substitute`; half of ``held_out``
            chooses the steps, the other half gives the reported gains.
        reuse: also fit the same maps from the model's own blocks, see `peelverify.peel.reuse`; a line of its own.
        bits: also fit chains whose block matrices have few bits, a kind of `peelverify.peel.ste`.
        token_weights: how much each fitted token counts in all of these fits, see `yes_chain`; names are read off each
            checkpoint anew.
        resume: a series of the same settings; its checkpoints must be the first ones here, and are not done again.
        on_progress: called with (done, total, what) over all checkpoints.
        on_substitution: called with the number of the checkpoint and its substitution.
        on_point: called with the series so far and the newest result after each checkpoint.

    Returns:
        The series; steps come from the folder names where all have one in ascending order, else they count from 0.

    Raises:
        InputError: no checkpoints, checkpoints of different shape, or a series of other settings or files; unknown or
            unfit token weights, or a solver that takes none.
    """
    maps = None if maps is None else [tuple(m) for m in maps]
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
    check_weighted(chosen, token_weights)
    if bits is not None:
        check_kind(bits)
    series = CloudSeries("nats_per_token", {
        "solver": chosen.name, "budget": dict(chosen.budget), "seed": seed,
        "fitted_tokens": ids[:, 1:].numel(),
        "deciding_tokens": (ids if held_out is None else held_out)[:, 1:].numel(),
        "window_tokens": int(ids.shape[1]),
        "decided_on": "fitted tokens" if held_out is None else "held-out tokens",
        "tokens_sha256": _digest_tokens(ids, held_out),
        "maps": None if maps is None else [list(m) for m in maps],
        "substitution": substitution,
        "reuse": reuse,
        "bits": bits,
        "token_weights": _name_of(token_weights),
    })
    if substitution and (held_out is None or len(held_out) < 4):
        raise InputError("substitution needs at least 4 held-out windows (2 choose, 2 decide); give a longer text")
    done_before = 0
    if resume is not None:
        done_before = _continued(resume, series, checkpoints, labels)
        series = resume
    shape: tuple[int, int, int] | None = None
    for index, checkpoint in enumerate(checkpoints):
        if index < done_before:
            continue
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

        weights = resolve_token_weights(view, ids, token_weights, function="peel_checkpoints")
        found = yes_chain(
            view, ids, maps=suite, solver=chosen, seed=seed, held_out=held_out, keep="best", token_weights=weights,
            on_progress=tick,
        )
        best = found.chains[found.best_map]
        more: dict[str, Any] = {}
        if not isinstance(checkpoint, ModelView):
            more["sha256"] = weights_digest(checkpoint)
        if substitution and held_out is not None:
            again = substitute(view, ids, held_out[::2], held_out[1::2], seed=seed, token_weights=weights)
            more["substitution"] = again.to_json()
            if on_substitution is not None:
                on_substitution(index, again)
        if reuse:
            more["reuse"] = reused_chains(
                view, ids, held_out=held_out, maps=suite, token_weights=weights
            ).to_json()
        if bits is not None:
            more["bits"] = yes_chain_low_bit(
                view, ids, bits, maps=suite, seed=seed, held_out=held_out, budget=chosen.head_steps,
                token_weights=weights,
            ).to_json()
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
                **found.per_layer(),
                "seconds": found.seconds,
                **more,
            },
        )
        if on_point is not None:
            on_point(series, found)
    return series
