"""Sparsity schedules: how a total sparsity is shared among the blocks, at exactly matched totals.

A schedule is a preference, one number a block; `Schedule.counts` turns it into a number of zeros for each
matrix whose sum is ``round(total * weights)``, to the unit. Comparing schedules at unequal totals compares totals.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from peelverify.compress.calibrate import BlockWalk, input_energy
from peelverify.compress.copies import linear_maps, weight_rows
from peelverify.compress.prune import check_sparsity, wanda_score
from peelverify.compress.spectrum import Fit, powerlaw_alpha
from peelverify.errors import DomainError, InputError, NumericalError
from peelverify.evaluate.stream import as_view, check_windows
from peelverify.models.view import ModelView
from peelverify.registry import measured
from peelverify.rho.measure import measure_rho

__all__ = ["SCHEDULES", "Schedule", "apportion", "match_total", "sparsity_schedule"]

LEAST, MOST = 0.01, 0.99


@dataclass(frozen=True)
class Schedule:
    """A total sparsity shared among blocks.

    Attributes:
        kind: name of the rule.
        total: sparsity aimed at, over all linear maps of all blocks.
        by_block: sparsity of each block; their mean weighted by size is ``total`` up to rounding.
        scores: what the rule looked at, one a block; empty if nothing.
        sizes: weights of each matrix, by ``"block.name"``.
    """

    kind: str
    total: float
    by_block: tuple[float, ...]
    scores: tuple[float, ...]
    sizes: dict[str, int]

    def counts(self) -> dict[str, int]:
        """Zeros of each matrix, by ``"block.name"``; they sum to ``round(total * weights)`` exactly."""
        names = list(self.sizes)
        wanted = [self.by_block[int(n.partition(".")[0])] * self.sizes[n] for n in names]
        limits = [self.sizes[n] for n in names]
        counts = apportion(wanted, round(self.total * sum(limits)), limits)
        return dict(zip(names, counts, strict=True))

    def to_json(self) -> dict[str, Any]:
        """As plain data, schema ``peelverify.schedule/1``."""
        return {
            "schema": "peelverify.schedule/1", "kind": self.kind, "total_sparsity_fraction": self.total,
            "sparsity_fraction_by_block": list(self.by_block), "scores": list(self.scores),
        }


def apportion(wanted: list[float], total: int, limits: list[int]) -> list[int]:
    """Whole numbers near ``wanted`` with a given sum: floors first, the rest by largest remainder.

    Args:
        wanted: non-negative numbers whose sum is near ``total``.
        total: the sum to reach.
        limits: largest value of each.

    Raises:
        DomainError: a total outside 0..sum(limits).
    """
    if not 0 <= total <= sum(limits):
        raise DomainError(f"apportion needs a total from 0 to {sum(limits)}, got {total}; lower it")
    result = [min(math.floor(w), limit) for w, limit in zip(wanted, limits, strict=True)]
    order = sorted(range(len(wanted)), key=lambda i: (result[i] - wanted[i], i))
    missing = total - sum(result)
    while missing:
        step = 1 if missing > 0 else -1
        for i in order if step > 0 else reversed(order):
            if missing and 0 <= result[i] + step <= limits[i]:
                result[i] += step
                missing -= step
    return result


def match_total(preference: np.ndarray, sizes: np.ndarray, total: float) -> np.ndarray:
    """Shift a preference by one constant, clipped to [0.01, 0.99], until its weighted mean is ``total``.

    Args:
        preference: (L,) sparsities in any position; differences between blocks are kept where no clip acts.
        sizes: (L,) weights of each block.
        total: sparsity in (0.01, 0.99).

    Raises:
        DomainError: a total that the clips cannot reach.
        NumericalError: a preference that is not finite.
    """
    if not np.isfinite(preference).all():
        raise NumericalError("match_total needs finite preferences, got NaN or infinity; check the scores")
    if not LEAST < total < MOST:
        raise DomainError(f"match_total needs a total between {LEAST} and {MOST}, got {total}; choose another")
    share = sizes / sizes.sum()
    low, high = total - preference.max() - 1, total - preference.min() + 1
    for _ in range(200):  # bisection: the mean grows with the shift
        middle = (low + high) / 2
        if float(share @ np.clip(preference + middle, LEAST, MOST)) < total:
            low = middle
        else:
            high = middle
    return np.clip(preference + high, LEAST, MOST)


@dataclass(frozen=True)
class _Task:
    view: ModelView
    ids: Tensor | None
    total: float
    strength: float
    sizes: np.ndarray
    token_weights: str | Tensor | np.ndarray | None = None


_Preference = tuple[np.ndarray, np.ndarray]


def _uniform(task: _Task) -> _Preference:
    return np.zeros(task.view.depth), np.zeros(0)


def _increasing(task: _Task) -> _Preference:
    depth = task.view.depth
    return task.strength * np.linspace(-1, 1, depth) if depth > 1 else np.zeros(1), np.zeros(0)


def _decreasing(task: _Task) -> _Preference:
    return -_increasing(task)[0], np.zeros(0)


def _spread(scores: np.ndarray, strength: float) -> np.ndarray:
    """Map scores linearly to [-strength, strength]; zeros if they are equal."""
    width = scores.max() - scores.min()
    return strength * (2 * (scores - scores.min()) / width - 1) if width > 0 else np.zeros_like(scores)


def outlier_share(task: _Task, multiple: float = 5.0) -> np.ndarray:
    """Percentage of Wanda scores of a block above ``multiple`` times the block's mean, on the dense model."""
    assert task.ids is not None
    walk = BlockWalk(task.view, task.ids, task.token_weights)
    shares = []
    for index in range(task.view.depth):
        energies = input_energy(walk, index)
        scores = [wanda_score(weight_rows(m), energies[n]) for n, m in task.view.linears(index).items()]
        numel = sum(s.numel() for s in scores)
        mean = sum(float(s.sum()) for s in scores) / numel
        shares.append(100 * sum(int((s > multiple * mean).sum()) for s in scores) / numel)
        walk.advance(index)
    return np.array(shares)


def _owl(task: _Task) -> _Preference:
    shares = outlier_share(task)
    return -_spread(shares, task.strength), shares


def _alphas(task: _Task, fit: Fit) -> np.ndarray:
    return np.array(
        [
            np.mean([powerlaw_alpha(weight_rows(m), fit=fit).alpha for m in task.view.linears(t).values()])
            for t in range(task.view.depth)
        ]
    )


def _alpha(task: _Task) -> _Preference:
    alphas = _alphas(task, "peak")
    factor = 1 + _spread(alphas, task.strength)
    return task.total * factor, alphas


def _alphapruning(task: _Task) -> _Preference:
    """As released: factors scaled until their mean by size is 1. The shift that follows is then zero but for clips."""
    alphas = _alphas(task, "alphapruning")
    factor = 1 + _spread(alphas, task.strength)
    return task.total * factor * (task.sizes.sum() / float(task.sizes @ factor)), alphas


def _rho(task: _Task) -> _Preference:
    assert task.ids is not None
    logs = np.log(measure_rho(task.view, task.ids).amplification)
    return -_spread(logs, task.strength), logs


SCHEDULES: dict[str, tuple[Callable[[_Task], _Preference], str]] = {
    "uniform": (_uniform, "every block alike"),
    "increasing": (_increasing, "rises linearly with depth by 2 strength"),
    "decreasing": (_decreasing, "falls linearly with depth by 2 strength"),
    "owl": (_owl, "less where more Wanda scores are outliers; within strength of the mean [Yin2024]"),
    "alpha": (_alpha, "more where spectra are less heavy-tailed; factors 1 -+ strength, shifted, fit at the mode"),
    "alphapruning": (_alphapruning, "the same with the released fit and scaling [Lu2024]"),
    "rho": (_rho, "less where the product of later rho is large; within strength of the mean"),
}
"""Schedule -> (rule, one line on it)."""


@measured("a heuristic; which schedule is best is an empirical question")
def sparsity_schedule(
    model: ModelView | nn.Module,
    total: float,
    kind: str = "uniform",
    *,
    strength: float = 0.08,
    input_ids: Tensor | None = None,
    token_weights: str | Tensor | np.ndarray | None = None,
) -> Schedule:
    """Share a total sparsity among the blocks.

    Args:
        model: a decoder; it is not changed.
        total: sparsity over all linear maps of all blocks, in (0.01, 0.99).
        kind: a key of `SCHEDULES`.
        strength: half of the largest difference between blocks, before clipping; >= 0. Published: 0.08 for
            OWL; for "alpha" and "alphapruning" it is relative, 0.3 with Wanda.
        input_ids: calibration ids (windows, length), needed by "owl" and "rho".
        token_weights: how much each token counts in the input energies of "owl"; see `prune_model`.

    Raises:
        DomainError: total or strength out of range.
        InputError: unknown kind, or ids missing or unfit.

    Source:
        [Yin2024], [Lu2024]. Deviations: (1) totals match to the unit, where the published code leaves them to rounding;
        (2) block sparsities are clipped to [0.01, 0.99]; (3) "alpha" reaches the total by a shift, so that the
        differences between blocks are 2 strength total at most, and fits near the mode; "alphapruning" scales, and fits
        as released (`powerlaw_fit`), in float64 where that is float32; (4) eigenvalues that are zero are left out.
    """
    view = as_view(model)
    check_sparsity(total, function="sparsity_schedule")
    if not LEAST < total < MOST:
        raise DomainError(f"sparsity_schedule needs a total between {LEAST} and {MOST}, got {total}")
    if not (math.isfinite(strength) and strength >= 0):
        raise DomainError(f"sparsity_schedule needs strength >= 0, got {strength}; 0.08 is the default")
    if kind not in SCHEDULES:
        raise InputError(f"sparsity_schedule needs a kind among {', '.join(SCHEDULES)}, got {kind!r}; name one")
    if kind in ("owl", "rho"):
        if input_ids is None:
            raise InputError(f"sparsity_schedule needs input_ids for {kind!r}, got none; give token windows")
        input_ids = check_windows(view, input_ids, function="sparsity_schedule")
    sizes = {name: weight_rows(m).numel() for name, m in linear_maps(view).items()}
    by_block = np.zeros(view.depth)
    for name, size in sizes.items():
        by_block[int(name.partition(".")[0])] += size
    preference, scores = SCHEDULES[kind][0](_Task(view, input_ids, total, strength, by_block, token_weights))
    shares = match_total(preference, by_block, total)
    return Schedule(kind, float(total), tuple(shares.tolist()), tuple(np.asarray(scores).tolist()), sizes)
