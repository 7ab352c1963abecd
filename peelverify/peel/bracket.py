"""Two-sided brackets: how little any weights could leave of one local problem.

* `bracket_layer`: least squares with features and targets fixed. Both sides are *certified* for the arrays as
  stored: the upper side is the enclosed residual of explicit weights, the lower side weak duality.
* `bracket_head`: cross-entropy of a linear head on fixed features, in nats. The problem is convex, so a gradient
  bounds it from below; the exponential is evaluated in float64 and no theorem stands behind it: *measured*.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from scipy import linalg
from torch import Tensor
from torch.nn import functional

from peelverify.bounds.layers import bounded_layer_lower_sq
from peelverify.bounds.peeling import approximate_optimum_lower
from peelverify.enclose import inner_lower, norm_fro_upper
from peelverify.enclose.dyadic import round_down, round_up
from peelverify.enclose.frobenius import sum_sq
from peelverify.enclose.products import matmul_enclosed, residual_norm_fro_lower, residual_norm_fro_upper
from peelverify.errors import DomainError, InputError, InvariantError, ShapeError
from peelverify.peel.least_squares import Factor, as_matrix, one_thread
from peelverify.registry import measured, mirrors

__all__ = ["HeadBracket", "LayerBracket", "bracket_head", "bracket_layer", "convexity_lower"]


@dataclass(frozen=True)
class LayerBracket:
    """Squared residual of a linear map over the squared norm of its targets (certified, both sides).

    Attributes:
        upper: what the given weights leave; exact dyadic.
        lower: what all weights in the scope leave at least; exact dyadic, 0 if nothing could be shown.
        radius: the scope is all weights (bias included) of Frobenius norm up to this; None means all weights.
        samples, features, outputs: size of the problem; the constant feature of a bias is counted.
    """

    upper: Fraction
    lower: Fraction
    radius: Fraction | None
    samples: int
    features: int
    outputs: int

    def to_json(self) -> dict[str, Any]:
        """Plain values; floats are rounded outwards."""
        return {
            "upper_fraction": math.nextafter(float(self.upper), math.inf),
            "lower_fraction": max(0.0, math.nextafter(float(self.lower), -math.inf)),
            "scope": "all weights" if self.radius is None else f"weights of norm up to {float(self.radius):.6g}",
            "samples": self.samples, "features": self.features, "outputs": self.outputs,
            "word": "certified",
        }


@mirrors("PeelVerify.strong_convexity_of_certificate")
def convexity_lower(z: Any) -> Fraction | None:
    """A certified lower bound on the squared smallest singular value of features.

    Args:
        z: features (samples, features), float32 or float64.

    Returns:
        A positive dyadic mu with ``mu |v|^2 <= |z v|^2`` for every v, or None if none could be shown (features that
        are dependent or nearly so, or fewer samples than features).

    Guarantee:
        The check of `peelverify.bounds.layers.convexity_check`, with every rounding of both products enclosed.
        `PeelVerify.strong_convexity_of_certificate`.
    """
    gram, spread = matmul_enclosed(np.ascontiguousarray(z.T), z)
    smallest = float(linalg.eigvalsh((gram + gram.T) / 2, subset_by_index=[0, 0])[0])
    if not smallest > 0:
        return None
    own = np.arange(len(gram))
    for share in (0.9, 0.5, 0.1):
        mu = share * smallest
        shifted = gram.copy()
        shifted[own, own] -= (mu + smallest) / 2 if share > 0.5 else mu + (smallest - mu) / 4
        factor, trouble = linalg.lapack.dpotrf(shifted, lower=1, clean=1)
        if trouble:
            continue
        product, error = matmul_enclosed(factor, np.ascontiguousarray(factor.T))
        rest = np.abs(gram - product) + spread + error
        margin = 1.0 + (len(gram) + 16) * 2.0**-50
        off = (rest.sum(axis=1) - rest[own, own]).clip(0.0) * margin + rest.sum(axis=1) * len(gram) * 2.0**-50
        slack = (spread + error)[own, own] + 2.0**-50 * (np.abs(gram) + np.abs(product))[own, own] + 2.0**-50 * mu
        if bool((gram[own, own] - product[own, own] - mu - slack * margin > off).all()):
            return Fraction(mu)
    return None


@mirrors("PeelVerify.layer_weak_duality_of_bounded", "PeelVerify.layer_weak_duality_of_strong_convexity")
def bracket_layer(z: Any, t: Any, weight: Any, *, bias: Any = None, has_bias: bool = False,
                  radius_factor: float = 10.0) -> LayerBracket:
    """Bracket the least squared residual of a linear map between that of given weights and a dual bound.

    Args:
        z: features (samples, features).
        t: targets (samples, outputs), not zero.
        weight: weights that give the upper side (outputs, features).
        bias: (outputs,), with ``has_bias``; zero if None.
        has_bias: whether the map has a bias.
        radius_factor: where the features are too nearly dependent for a bound on all weights, the scope is this
            multiple of the larger of the norms of the given weights and of the least-squares solution.

    Returns:
        Fractions of the squared norm of the targets.

    Raises:
        DomainError: zero targets.
        ShapeError: sizes that do not fit.
        InvariantError: the two sides crossed.

    Guarantee:
        Certified for the stored arrays. `PeelVerify.layer_weak_duality_of_bounded` within a radius,
        `PeelVerify.layer_weak_duality_of_strong_convexity` for all weights.

    Not for:
        A statement about a whole network: features and targets are held fixed.
    """
    features, target = (as_matrix(a, name, function="bracket_layer") for a, name in ((z, "z"), (t, "t")))
    given = as_matrix(weight, "weight", function="bracket_layer").T
    if len(features) != len(target) or given.shape != (features.shape[1], target.shape[1]):
        raise ShapeError(
            f"bracket_layer needs z (samples, features), t (samples, outputs), weight (outputs, features), got "
            f"{features.shape}, {target.shape} and {given.T.shape}; align them first"
        )
    if has_bias:
        row = np.zeros((1, target.shape[1])) if bias is None else as_matrix(
            np.asarray(bias.detach().cpu() if hasattr(bias, "detach") else bias)[None], "bias",
            function="bracket_layer",
        )
        features = np.hstack([features, np.ones((len(features), 1))])
        given = np.vstack([given, row])
    given = np.ascontiguousarray(given)
    asked = sum_sq(target)
    if not asked.lo > 0:
        raise DomainError("bracket_layer needs targets that are not zero; nothing is asked of this map")
    with one_thread(features.shape[1]):
        upper = residual_norm_fro_upper(target, features, given) ** 2
        fit = Factor(features, bias=False).solve(target)
        best = np.ascontiguousarray(fit.weight.T)
        product, spread = matmul_enclosed(features, best)
        dual = target - product
        pull = residual_norm_fro_upper(
            np.zeros((features.shape[1], target.shape[1])), np.ascontiguousarray(features.T), dual
        )
        length = norm_fro_upper(dual)
        lower, radius = Fraction(0), None
        mu = convexity_lower(features)
        if mu is not None and length > 0:
            # the dual is the residual but for the rounding of the product and of one subtraction
            wrong = norm_fro_upper(spread) + length * Fraction(1, 2**52)
            gradient = pull + norm_fro_upper(features) * wrong
            left = residual_norm_fro_lower(target, features, best) ** 2
            lower = max(lower, Fraction(approximate_optimum_lower(left, gradient * gradient, mu)))
        if lower == 0 and length > 0:
            size = max(norm_fro_upper(given), norm_fro_upper(best))
            radius = round_up(Fraction(radius_factor) * size)
            overlap = inner_lower(dual, target)
            if overlap >= pull * radius:
                lower = Fraction(bounded_layer_lower_sq([[length]], [[overlap / length]], radius, pull))
    low, high = round_down(lower / asked.hi), round_up(upper / asked.lo)
    if low > high:
        raise InvariantError(f"bracket_layer found a lower side {float(low)} above the upper side {float(high)}")
    return LayerBracket(high, low, radius, len(target), features.shape[1], target.shape[1])


@dataclass(frozen=True)
class HeadBracket:
    """Cross-entropy of a linear head on fixed features, nats a token (measured in float64).

    Attributes:
        start: loss of the given head.
        upper: loss of the head that was found.
        lower: no head at most ``radius`` away from the given one has a smaller loss, by convexity.
        radius: Frobenius distance of the found head from the given one.
        steps: optimiser steps used.
    """

    start: float
    upper: float
    lower: float
    radius: float
    steps: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "start_nats_per_token": self.start, "upper_nats_per_token": self.upper,
            "lower_nats_per_token": self.lower, "scope": f"heads within {self.radius:.6g} of the trained one",
            "radius": self.radius, "steps": self.steps,
            "word": "measured: float64, first-order bound of a convex problem, no Lean theorem",
        }


@measured("float64 values of logarithms and exponentials; the lower side holds by convexity in exact arithmetic")
def bracket_head(
    features: Tensor, targets: Tensor, weight: Tensor, *, bias: Tensor | None = None, decay: float = 30.0,
    steps: int = 100,
) -> HeadBracket:
    """Bracket the best cross-entropy of linear heads near a given one.

    A head is fitted with a penalty on its distance from the given one. With its gradient G and its move M,
    convexity gives ``loss(M') >= loss(M) + <G, M' - M>`` for every other move, and at least
    ``loss(M) - <G, M> - radius |G|`` within the radius |M|.

    Args:
        features: (samples, width), float32 or float64.
        targets: classes (samples,), int64.
        weight: the given head (classes, width).
        bias: its bias, or None.
        decay: weight of the squared distance over the number of samples.
        steps: largest number of L-BFGS steps.

    Raises:
        InputError: no step, or a negative decay.
    """
    if steps < 1 or not decay >= 0:
        raise InputError(f"bracket_head needs steps >= 1 and decay >= 0, got {steps} and {decay}; change them")
    x = features.detach().double()
    base = weight.detach().double()
    shift = None if bias is None else bias.detach().double()
    count = len(x)
    chunk = max(1, (1 << 24) // len(base))
    move = torch.zeros_like(base)

    def loss_and_gradient(at: Tensor) -> tuple[float, Tensor]:
        value, gradient = 0.0, torch.zeros_like(at)
        for start in range(0, count, chunk):
            rows, goal = x[start : start + chunk], targets[start : start + chunk]
            logits = functional.linear(rows, base + at, shift)
            value += float(functional.cross_entropy(logits, goal, reduction="sum"))
            shares = torch.softmax(logits, dim=1)
            shares[torch.arange(len(goal), device=goal.device), goal] -= 1.0
            gradient += shares.T @ rows
        return value / count, gradient / count

    with torch.no_grad():
        begin, _ = loss_and_gradient(move)
        move.requires_grad_(True)
        optimiser = torch.optim.LBFGS(
            [move], max_iter=steps, max_eval=2 * steps, history_size=20, line_search_fn="strong_wolfe",
            tolerance_grad=1e-10, tolerance_change=1e-14,
        )

        def closure() -> float:
            value, gradient = loss_and_gradient(move.detach())
            move.grad = gradient + 2 * decay / count * move.detach()
            return value + decay / count * float((move.detach() ** 2).sum())

        optimiser.step(closure)
        used = int(optimiser.state[move].get("n_iter", steps))
        found = move.detach()
        end, gradient = loss_and_gradient(found)
        radius = float(found.norm())
        lower = end - float((gradient * found).sum()) - radius * float(gradient.norm())
    return HeadBracket(begin, end, lower, radius, used)
