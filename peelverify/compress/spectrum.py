"""Heavy tails of weight spectra: the power-law exponent alpha, and two weight statistics used with it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from peelverify.errors import DomainError, InputError, NonFiniteError, ShapeError
from peelverify.registry import measured

__all__ = ["Fit", "PowerLaw", "outlier_fraction", "powerlaw_alpha", "powerlaw_fit"]

Fit = Literal["search", "median", "peak", "alphapruning"]


@dataclass(frozen=True)
class PowerLaw:
    """A power law ``p(x) ~ x^-alpha`` for x >= xmin, fitted to eigenvalues.

    Attributes:
        alpha: exponent, above 1; smaller means a heavier tail.
        xmin: start of the tail.
        distance: Kolmogorov-Smirnov distance between the tail and the fit.
        tail: number of eigenvalues in the tail.
        eigenvalues: number of eigenvalues used.
    """

    alpha: float
    xmin: float
    distance: float
    tail: int
    eigenvalues: int

    @property
    def standard_error(self) -> float:
        """Of alpha, for a tail that is a power law: (alpha - 1) / sqrt(tail)."""
        return (self.alpha - 1) / math.sqrt(self.tail)


def powerlaw_fit(
    values: np.ndarray, *, fit: Fit = "search", least_tail: int = 2
) -> PowerLaw:
    """Fit a power law to positive values.

    Args:
        values: (n,) positive.
        fit: "search" takes the start of the tail with the least Kolmogorov-Smirnov distance, "median" the (lower)
            median. With x the left edge of the fullest of 100 bins of log10, "peak" searches from 0.95 x to 1.5 x.
            "alphapruning" searches from log10(0.95 x) to 1.5 x, which is what the released code of [Lu2024] does: it
            compares eigenvalues with a logarithm, so that its lower limit hardly ever holds.
        least_tail: fewest values in a tail; a candidate start with fewer is not considered.

    Raises:
        InputError: fewer than 3 values or unknown fit. DomainError: values not positive and finite, or all equal.
    """
    x = np.sort(np.asarray(values, dtype=np.float64))
    if x.ndim != 1 or len(x) < 3:
        raise InputError(f"powerlaw_fit needs at least 3 values in a row, got shape {x.shape}; use a larger matrix")
    if not (np.isfinite(x).all() and x[0] > 0):
        raise DomainError("powerlaw_fit needs positive finite values, got others; drop zero eigenvalues first")
    if x[0] == x[-1]:
        raise DomainError(f"powerlaw_fit needs values that differ, got only {x[0]:.3g}; there is no tail")
    logs = np.log(x)
    n = len(x)
    starts = np.arange(n - max(2, least_tail) + 1)
    if fit == "median":
        starts = np.array([(n - 1) // 2])
    elif fit in ("peak", "alphapruning"):
        counts, edges = np.histogram(np.log10(x), bins=100)
        left = 10 ** edges[counts.argmax()]
        lower = 0.95 * left if fit == "peak" else math.log10(0.95 * left)
        near = starts[(x[starts] >= lower) & (x[starts] <= 1.5 * left)]
        starts = near if len(near) else starts
    elif fit != "search":
        raise InputError(f"powerlaw_fit needs fit 'search', 'median', 'peak' or 'alphapruning', got {fit!r}; name one")
    sums = np.cumsum(logs[::-1])[::-1]  # sum of logs from i on
    best: PowerLaw | None = None
    for i in starts:
        tail = n - i
        excess = sums[i] - tail * logs[i]
        if excess <= 0:
            continue
        alpha = 1 + tail / excess
        model = 1 - np.exp((1 - alpha) * (logs[i:] - logs[i]))
        distance = float(np.abs(model - np.arange(tail) / tail).max())
        if best is None or distance < best.distance:
            best = PowerLaw(float(alpha), float(x[i]), distance, int(tail), n)
    if best is None:
        raise DomainError("powerlaw_fit needs a tail that is not constant, got none; use more values")
    return best


@measured("a statistic of a spectrum; no theorem ties it to what a layer is worth")
@torch.no_grad()
def powerlaw_alpha(
    weight: Tensor, *, fit: Fit = "peak", threshold: float | None = None
) -> PowerLaw:
    """Power-law exponent of the eigenvalues of ``W^T W`` (squared singular values, not normalised).

    Args:
        weight: (outputs, inputs), finite.
        fit: see `powerlaw_fit`; "search" is the default of weightwatcher, "alphapruning" that of the released code of
            AlphaPruning, "peak" the same with a lower limit near the mode, as its name there says.
        threshold: eigenvalues at or below it are not used; if None 0 for "alphapruning", else 1e-5.

    Raises:
        ShapeError: not a matrix. NonFiniteError: NaN or infinity. InputError, DomainError: see `powerlaw_fit`.

    Not for:
        Matrices with fewer than about 50 eigenvalues: the standard error of alpha is then large.

    Source:
        [Lu2024], [Martin2021].
    """
    if weight.ndim != 2:
        raise ShapeError(f"powerlaw_alpha needs a matrix, got shape {tuple(weight.shape)}; reshape it")
    if not torch.isfinite(weight).all():
        raise NonFiniteError("powerlaw_alpha needs finite weights, got NaN or infinity; check the matrix")
    eigenvalues = torch.linalg.svdvals(weight.double()).square().cpu().numpy()
    if threshold is None:
        threshold = 0.0 if fit == "alphapruning" else 1e-5
    return powerlaw_fit(eigenvalues[eigenvalues > threshold], fit=fit)


@measured("a statistic of weights")
@torch.no_grad()
def outlier_fraction(weights: list[Tensor]) -> float:
    """Fraction of the weights of a block above one standard deviation over their mean (the ZD score).

    Args:
        weights: the matrices of one block, finite.

    Raises:
        NonFiniteError: NaN or infinity.

    Source:
        [Dumitru2024]; smaller is said to mean more important.
    """
    flat = torch.cat([w.double().flatten() for w in weights])
    if not torch.isfinite(flat).all():
        raise NonFiniteError("outlier_fraction needs finite weights, got NaN or infinity; check the matrices")
    return float(((flat - flat.mean()) / flat.std(unbiased=False) > 1).double().mean())
