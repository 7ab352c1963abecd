"""The stages of a study after training: measure, predict, rank, compress, measure again. Each returns plain data."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from peelverify.compress.copies import copy_view, weight_rows, write_rows
from peelverify.compress.prune import prune_model
from peelverify.compress.quantize import quantize_model, round_to_nearest
from peelverify.compress.rank import rank_layers
from peelverify.compress.schedule import SCHEDULES, sparsity_schedule
from peelverify.compress.search import RemovalLosses, removal_path
from peelverify.compress.spectrum import powerlaw_alpha
from peelverify.errors import InputError, PeelverifyError
from peelverify.evaluate.divergence import divergence
from peelverify.evaluate.loss import perplexity
from peelverify.evaluate.stream import batches
from peelverify.evaluate.study.counts import count_losses
from peelverify.evaluate.study.plan import Plan, Unit
from peelverify.evaluate.study.run import Subject
from peelverify.models.view import ModelView
from peelverify.rho.depthuse import depth_use
from peelverify.rho.inject import inject_noise
from peelverify.rho.lyapunov import lyapunov_report
from peelverify.rho.measure import PrecisionWarning, measure_rho, token_sq, wide_state
from peelverify.rho.predict import rank_prediction, spearman

__all__ = ["RUN", "one_matrix_drifts", "removal_losses"]

ONE_SHOT = (
    "rho", "rho_out", "block_influence", "blend", "angular", "angular_single", "residual_change", "last", "taylor",
    "skip_score",
)
FRESH = 10_000
"""Added to the seed for noise that no other stage drew."""
ALPHA_STRENGTH = 0.3
"""Published strength of the schedule "alphapruning", whose strength is relative to the total."""
TARGETS = ("relative", "absolute", "logit_rms", "delta_loss")
_CHUNK = 4096


def _numbers(values: Iterable[float]) -> list[float | None]:
    return [float(v) if math.isfinite(v) else None for v in values]


def _measure(plan: Plan, unit: Unit, subject: Subject, before: dict[str, Any]) -> dict[str, Any]:
    """Loss of the whole model, rho with intervals, noise put in at each block, use of depth, worst case, spectra."""
    view = subject.view
    profile = measure_rho(view, subject.rank, draws=plan.draws, seed=unit.seed)
    data = profile.to_json()
    for bulk in ("energy", "absolute_energy", "entry_energy", "rho"):
        data.pop(bulk)
    injected = inject_noise(view, subject.rank[: max(1, len(subject.rank) // 4)], draws=2, seed=unit.seed)
    report: dict[str, Any] = {
        "rank_loss": perplexity(view, subject.rank).to_json(),
        "final_loss": perplexity(view, subject.final).to_json(),
        "counts": count_losses(subject.train, subject.final, vocabulary=view.config.vocab_size)
        if len(subject.train)
        else None,
        "text": subject.facts,
        "rho": data | {"rho_into_median": np.median(profile.rho_into, axis=0).tolist()},
        "injected_amplification": np.median(injected.amplification, axis=0).tolist(),
        "injected_absolute_amplification": np.median(injected.absolute_amplification, axis=0).tolist(),
        "not_measured": {},
    }
    extra: dict[str, Callable[[], Any]] = {
        "depth_use": lambda: depth_use(view, subject.rank).to_json(),
        "lyapunov": lambda: lyapunov_report(view, subject.rank, profile).to_json(),
        "alpha": lambda: [
            float(np.mean([powerlaw_alpha(weight_rows(m)).alpha for m in view.linears(t).values()]))
            for t in range(view.depth)
        ],
    }
    for name, task in extra.items():
        try:
            report[name] = task()
        except InputError as error:  # a family or a size that this measure does not take, said by name
            report[name] = None
            report["not_measured"][name] = str(error)
    return report


@torch.no_grad()
def one_matrix_drifts(view: ModelView, input_ids: Tensor, bits: int) -> list[dict[str, Any]]:
    """Round one matrix at a time and follow its error to the logits, from the block where it arises.

    Args:
        view: a decoder; its weights are put back.
        input_ids: token ids (windows, length).
        bits: bits of round to nearest, a scale for each row.

    Returns:
        One row a matrix: block, name, ``introduced`` relative energy at the output of its block, and after the last
        block ``relative`` and ``absolute`` energy, ``logit_rms`` and ``delta_loss`` (nats a token).
    """
    small = copy_view(view)
    names = [(t, name) for t in range(view.depth) for name in small.linears(t)]
    sums = {key: np.zeros(6) for key in names}
    for batch in batches(input_ids, 2048):
        trace = small.trace(batch)
        targets = batch[:, 1:].flatten()

        def loss(logits: Tensor, targets: Tensor = targets) -> float:
            flat = logits[:, :-1].flatten(0, 1).double()
            return float(functional.cross_entropy(flat, targets, reduction="sum"))

        clean_loss = loss(trace.logits)
        last = wide_state(trace.states[-1])
        for t, name in names:
            linear = small.linears(t)[name]
            kept = weight_rows(linear).clone()
            write_rows(linear, round_to_nearest(kept, bits).weight)
            try:
                state = trace.block(t, trace.states[t])
                clean = wide_state(trace.states[t + 1])
                introduced = token_sq(wide_state(state) - clean) / token_sq(clean)
                state = trace.run_from(t + 1, state)
                logits = trace.head(state)
            finally:
                write_rows(linear, kept)
            error = token_sq(wide_state(state) - last)
            moved = (logits.double() - trace.logits.double()).pow(2).mean(dim=-1)
            sums[t, name] += [
                float(introduced.sum()),
                float((error / token_sq(last)).sum()),
                float(error.sum()),
                float(moved.sum()),
                loss(logits) - clean_loss,
                0.0,
            ]
    tokens, scored = input_ids.numel(), input_ids.shape[0] * (input_ids.shape[1] - 1)
    return [
        {
            "block": t,
            "matrix": name,
            "introduced": float(s[0]) / tokens,
            "relative": float(s[1]) / tokens,
            "absolute": float(s[2]) / tokens,
            "logit_rms": math.sqrt(float(s[3]) / tokens),
            "delta_loss": float(s[4]) / scored,
        }
        for (t, name), s in sums.items()
    ]


def _predict(plan: Plan, unit: Unit, subject: Subject, before: dict[str, Any]) -> dict[str, Any]:
    """Rank correlation of predicted and observed drift, matrix by matrix, within this model; expected sign +1."""
    rows = one_matrix_drifts(subject.view, subject.rank, plan.bits)
    measured = before["measure"]
    relative = np.array(measured["rho"]["amplification"])
    absolute = np.array(measured["injected_absolute_amplification"]) ** 2
    injected = np.array(measured["injected_amplification"])
    block = np.array([r["block"] for r in rows])
    introduced = np.array([r["introduced"] for r in rows])
    scores = {
        "product": relative[block],
        "introduced_times_product": introduced * relative[block],
        "introduced": introduced,
        "injected": injected[block],
        "injected_absolute": absolute[block],
        "introduced_times_injected": introduced * injected[block],
    }
    tests = {
        score: {
            target: rank_prediction(
                values, [r[target] for r in rows], block, permutations=plan.permutations, seed=unit.seed
            ).to_json()
            for target in TARGETS
        }
        for score, values in scores.items()
    }
    return {"bits": plan.bits, "matrices": rows, "tests": tests}


@torch.no_grad()
def removal_losses(
    view: ModelView, input_ids: Tensor, sets: Iterable[Iterable[int]]
) -> dict[frozenset[int], tuple[float, ...]]:
    """Loss without each set of blocks, nats a token, for each part of about 4,096 tokens.

    Args:
        view: a decoder.
        input_ids: token ids (windows, length).
        sets: block indices to leave out; repeated sets are run once.
    """
    wanted = sorted({frozenset(s) for s in sets}, key=lambda gone: [t in gone for t in range(view.depth)])
    size = max(1, _CHUNK // input_ids.shape[1])
    found: dict[frozenset[int], list[float]] = {gone: [] for gone in wanted}
    for part in input_ids.split(size):
        losses = RemovalLosses(view, part)
        for gone in wanted:
            found[gone].append(losses(gone))
    return {gone: tuple(values) for gone, values in found.items()}


def _mean(values: tuple[float, ...], input_ids: Tensor) -> float:
    size = max(1, _CHUNK // input_ids.shape[1])
    weights = [len(part) for part in input_ids.split(size)]
    return float(np.average(values, weights=weights))


def _rank(plan: Plan, unit: Unit, subject: Subject, before: dict[str, Any]) -> dict[str, Any]:
    """Each criterion's sets for k = 1 to half the depth, their loss on text that no criterion saw, and the cost."""
    view, ids, final = subject.view, subject.rank, subject.final
    most = max(1, view.depth // 2)
    sets: dict[str, list[list[int]]] = {}
    cost: dict[str, list[float]] = {}
    scores: dict[str, Any] = {}
    for name in ONE_SHOT:
        ranking = rank_layers(view, ids, name, seed=unit.seed)
        sets[name] = [ranking.first(k) for k in range(1, most + 1)]
        cost[name] = [ranking.block_evaluations] * most
        scores[name] = ranking.to_json()["scores"]
    short = [int(t) for t in np.argsort([math.inf if s is None else s for s in scores["skip_score"]], kind="stable")]
    searches: dict[str, dict[str, Any]] = {
        "greedy": {},
        "shortlist": {"within": short[: min(view.depth - 1, most + 1)]},
        "beam": {"beam": 3},
        "swaps": {"swaps": 2},
        "pairs": {"step": 2},
    }
    known: dict[frozenset[int], float] = {}
    for name, options in searches.items():
        path = removal_path(view, ids, most, known=known, **options)
        sets[name] = [list(r.removed) for r in path]
        extra = 3 * view.depth if name == "shortlist" else 0
        cost[name] = [r.block_evaluations + extra for r in path]
    # greedy's own choice on further windows: how much of its result is the luck of the windows that it saw
    redrawn = [[list(r.removed) for r in removal_path(view, more, most)] for more in subject.draws]
    every = [*sets.values(), *redrawn]
    losses = removal_losses(view, final, [[], *(s for each in every for s in each)])
    dense = _mean(losses[frozenset()], final)
    some = final[: max(1, plan.rank_tokens // final.shape[1])]
    orders = [rank_layers(view, None, "random", seed=1000 * unit.seed + i).order for i in range(plan.random_orders)]
    random = removal_losses(view, some, [[], *(o[:k] for o in orders for k in range(1, most + 1))])
    base = _mean(random[frozenset()], some)

    def rises(each: list[list[int]]) -> list[float]:
        return [_mean(losses[frozenset(s)], final) - dense for s in each]

    return {
        "most": most,
        "dense_loss": dense,
        "sets": sets,
        "block_evaluations": cost,
        "scores": scores,
        "delta_loss": {name: rises(each) for name, each in sets.items()},
        "greedy_draws": {
            "tokens": ids.numel(),
            "sets": [sets["greedy"], *redrawn],
            "delta_loss": [rises(each) for each in (sets["greedy"], *redrawn)],
        },
        "random_delta_loss": [
            [_mean(random[frozenset(o[:k])], some) - base for o in orders] for k in range(1, most + 1)
        ],
        "random_tokens": some.numel(),
        "final_tokens": final.numel(),
    }


def _compress(plan: Plan, unit: Unit, subject: Subject, before: dict[str, Any]) -> dict[str, Any]:
    """Schedules at exactly the same number of zeros, judged on the final text."""
    rows: list[dict[str, Any]] = []
    kinds = [(kind, kind, plan.strength) for kind in SCHEDULES] + [
        ("alphapruning_published", "alphapruning", ALPHA_STRENGTH)
    ]
    for total in plan.sparsities:
        for label, kind, strength in kinds:
            try:
                schedule = sparsity_schedule(subject.view, total, kind, strength=strength, input_ids=subject.rank)
            except PeelverifyError as error:
                rows.append({"schedule": label, "total": total, "strength": strength, "refused": str(error)})
                continue
            small = prune_model(subject.view, method=plan.pruner, input_ids=subject.rank, counts=schedule.counts())
            effect = perplexity(small.view, subject.final)
            rows.append(
                {
                    "schedule": label,
                    "total": total,
                    "strength": strength,
                    "zeros": sum(schedule.counts().values()),
                    "by_block": list(schedule.by_block),
                    "delta_loss": effect.loss - before["measure"]["final_loss"]["loss_nats_per_token"],
                }
            )
    return {"pruner": plan.pruner, "strength": plan.strength, "rows": rows}


def _again(plan: Plan, unit: Unit, subject: Subject, before: dict[str, Any]) -> dict[str, Any]:
    """Rho measured again on compressed models with the same noise and windows, against rho of the whole model.

    Beside it rho of the whole model with other noise on other windows: what changes when nothing is compressed.
    """
    view = subject.view
    dense = np.array(before["measure"]["rho"]["rho_median"])
    low = np.array(before["measure"]["rho"]["rho_interval_95_low"] or dense)
    high = np.array(before["measure"]["rho"]["rho_interval_95_high"] or dense)
    compressed = {
        "rtn4": lambda: quantize_model(view, 4).view,
        "rtn3": lambda: quantize_model(view, 3).view,
        "wanda50": lambda: prune_model(view, 0.5, method="wanda", input_ids=subject.rank).view,
        "magnitude50": lambda: prune_model(view, 0.5, method="magnitude").view,
    }

    def compared(again: np.ndarray) -> dict[str, Any]:
        return {
            "spearman": _numbers([spearman(dense, again)])[0],
            "largest_ratio": float(np.exp(np.abs(np.log(again / dense)).max())),
            "outside_interval": int(((again < low) | (again > high)).sum()),
            "steps": len(dense),
            "product_ratio": float(np.prod(again) / np.prod(dense)),
        }

    rows = {}
    some = subject.final[: max(1, plan.rank_tokens // subject.final.shape[1])]
    for name, make in compressed.items():
        small = make()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PrecisionWarning)
            profile = measure_rho(small, subject.rank, draws=plan.draws, seed=unit.seed)
        again = np.median(profile.rho, axis=0)
        rows[name] = {
            "rho_median": again.tolist(),
            **compared(again),
            "divergence": divergence(view, small, some).to_json(),
        }
    others = subject.draws[0] if len(subject.draws) else some
    fresh = np.median(measure_rho(view, others, draws=plan.draws, seed=unit.seed + FRESH).rho, axis=0)
    return {
        "compressions": rows,
        "unchanged": {
            "rho_median": fresh.tolist(),
            "windows": "a further draw for ranking" if len(subject.draws) else "of the final text",
            **compared(fresh),
        },
    }


RUN: dict[str, Callable[[Plan, Unit, Subject, dict[str, Any]], dict[str, Any]]] = {
    "measure": _measure,
    "predict": _predict,
    "rank": _rank,
    "compress": _compress,
    "again": _again,
}
"""Stage -> what it runs."""
