"""Does the product of rho predict drift? Rank correlation with its sign stated, against depth alone.

A product that predicts must correlate *positively* with drift: a larger ``A_t`` means that an error made at
block t is amplified more. Depth is the rival: it often orders the drift by itself, and ``A_t`` is nearly monotone
in depth, so the partial correlation given depth is what the product adds.

``A_t`` is one number a block, and the matrices of a block share more than it. So the unit that is permuted is the
block: single matrices would pass for more evidence than there is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from peelverify.errors import InputError, NonFiniteError, ShapeError
from peelverify.registry import measured

__all__ = ["Prediction", "partial_spearman", "rank_prediction", "spearman"]


@dataclass(frozen=True)
class Prediction:
    """How well a score orders an observed drift; measured.

    Attributes:
        spearman: rank correlation of score and drift; the expected sign is +1.
        p: share of permutations with a correlation at least as far from zero.
        depth_spearman: rank correlation of depth and drift: the baseline.
        depth_p: its permutation p.
        partial: rank correlation of score and drift given depth.
        partial_p: its permutation p; drift residuals are permuted, and fitted on depth again each time.
        groups: number of independent units (trained models); nothing is permuted between two.
        blocks: number of blocks, summed over groups: what a score with one value a block has for evidence.
        points: number of (block, drift) pairs.
    """

    spearman: float
    p: float
    depth_spearman: float
    depth_p: float
    partial: float
    partial_p: float
    groups: int
    blocks: int
    points: int

    def to_json(self) -> dict[str, Any]:
        """As plain data, schema ``peelverify.prediction/1``; NaN becomes None."""
        return {"schema": "peelverify.prediction/1", "expected_sign": 1} | {
            k: (None if isinstance(v, float) and math.isnan(v) else v) for k, v in vars(self).items()
        }


def _ranks(x: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    return rankdata(x)


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = math.sqrt(float(a @ a) * float(b @ b))
    # ranks are multiples of one half: a spread below this is none
    return float(a @ b) / size if size > 1e-9 * len(a) else math.nan


@measured("a statistic")
def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Rank correlation, ties at their mean rank; NaN if one of the two does not vary."""
    return _pearson(_ranks(np.asarray(a, float)), _ranks(np.asarray(b, float)))


def _residual(ranks: np.ndarray, given: np.ndarray) -> np.ndarray:
    given = given - given.mean()
    ranks = ranks - ranks.mean()
    spread = float(given @ given)
    return ranks - (float(ranks @ given) / spread) * given if spread > 0 else ranks


@measured("a statistic")
def partial_spearman(a: Sequence[float], b: Sequence[float], given: Sequence[float]) -> float:
    """Correlation of the ranks of a and b after a linear fit on the ranks of ``given``; NaN if nothing is left."""
    ra, rb, rg = (_ranks(np.asarray(x, float)) for x in (a, b, given))
    return _pearson(_residual(ra, rg), _residual(rb, rg))


@measured("a statistic with a permutation test")
def rank_prediction(
    score: Sequence[float],
    drift: Sequence[float],
    depth: Sequence[float],
    *,
    groups: Sequence[int] | None = None,
    permutations: int = 10_000,
    seed: int = 0,
) -> Prediction:
    """Test whether a score orders an observed drift, and whether it does so beyond depth.

    Args:
        score: predicted size of the drift for each compressed block or matrix, e.g. ``A_t``.
        drift: observed drift: relative or absolute error energy, change of loss or of logits.
        depth: block index of each point; points of one model at one depth are one block.
        groups: the trained model of each point; permutations stay within a model. One group if None.
        permutations: random permutations for each p.
        seed: seed of the permutations.

    Raises:
        ShapeError: lengths differ. InputError: fewer than 3 points or permutations < 1. NonFiniteError: NaN.

    Not for:
        Inference about models not trained: permuting within models treats these models as given. Compare the
        coefficients of several independently trained models for that.

    A permutation of the drift moves whole blocks to the place of others of the same model with as many points, and
    then points within each block. That holds its level when matrices of one block are alike: a score with one value a
    block then has as many permutations as orders of blocks, and one that varies within blocks also those. Blocks with
    a number of points that no other block of the model has stay where they are.
    """
    a, b, d = (np.asarray(x, dtype=np.float64) for x in (score, drift, depth))
    g = np.zeros(len(a), dtype=int) if groups is None else np.asarray(groups)
    if not len(a) == len(b) == len(d) == len(g):
        raise ShapeError(f"rank_prediction needs lists of one length, got {len(a)}, {len(b)}, {len(d)}, {len(g)}")
    if len(a) < 3 or permutations < 1:
        raise InputError(f"rank_prediction needs 3 points and 1 permutation at least, got {len(a)}, {permutations}")
    if not all(np.isfinite(x).all() for x in (a, b, d)):
        raise NonFiniteError("rank_prediction needs finite scores and drifts, got NaN or infinity; drop them first")
    # ranks within each model, so that models of different scale can be joined
    ra, rb, rd = (_within(x, g) for x in (a, b, d))
    sa, sb = _residual(ra, rd), _residual(rb, rd)
    whole, part, deep = _pearson(ra, rb), _pearson(sa, sb), _pearson(rd, rb)
    above = above_part = above_deep = 0
    for order in _orders(g, d, permutations, np.random.default_rng(seed)):
        above += abs(_pearson(ra, rb[order])) >= abs(whole) - 1e-12
        above_part += abs(_pearson(sa, _residual(sb[order], rd))) >= abs(part) - 1e-12
        above_deep += abs(_pearson(rd, rb[order])) >= abs(deep) - 1e-12

    def share(value: float, count: int) -> float:
        return math.nan if math.isnan(value) else (1 + count) / (1 + permutations)

    return Prediction(
        spearman=whole,
        p=share(whole, above),
        depth_spearman=deep,
        depth_p=share(deep, above_deep),
        partial=part,
        partial_p=share(part, above_part),
        groups=len(np.unique(g)),
        blocks=len(_blocks(g, d)),
        points=len(a),
    )


def _within(x: np.ndarray, groups: np.ndarray) -> np.ndarray:
    ranks = np.empty(len(x))
    for group in np.unique(groups):
        here = groups == group
        ranks[here] = (_ranks(x[here]) - 0.5) / here.sum() - 0.5
    return ranks


def _blocks(groups: np.ndarray, depth: np.ndarray) -> list[np.ndarray]:
    """Indices of the points of each block: those of one group at one depth."""
    return [
        np.flatnonzero((groups == group) & (depth == level))
        for group in np.unique(groups)
        for level in np.unique(depth[groups == group])
    ]


def _orders(
    groups: np.ndarray, depth: np.ndarray, count: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Random permutations of the points: blocks of one group and size among themselves, then points within blocks."""
    alike: dict[tuple[Any, int], list[np.ndarray]] = {}
    for block in _blocks(groups, depth):
        alike.setdefault((groups[block[0]], len(block)), []).append(block)
    tables = [np.stack(blocks) for blocks in alike.values()]  # (blocks, points of each)
    for _ in range(count):
        order = np.arange(len(groups))
        for table in tables:
            order[table] = rng.permuted(rng.permutation(table), axis=1)
        yield order
