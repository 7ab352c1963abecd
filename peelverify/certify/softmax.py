"""What a change of the logits does to loss and divergence, enclosed from both sides in float64.

The exponential is computed here, from operations that IEEE 754 rounds correctly, because the error of a
library's ``exp`` is not known. Every error bound is a function of `peelverify.bounds.exponential`, that is, a
theorem of ``Proofs/Exponential.lean`` or ``Proofs/Softmax.lean``; what the theorems assume of the code is,
with ``u = 2**-53``, ``h = ln2 / 1024`` and ``x = n h + r``:

* ``n`` is at most ``2**20`` in size for ``x >= -700``, and ``h`` is split into a part of 30 bits, so that ``n``
  times it is exact, and the rest, rounded to float64; so ``|r|`` is at most ``_PART``, and the three roundings
  of ``r`` together with that of the argument ``z - max z`` are at most ``_REST``;
* the table of ``2**(j/1024)`` is correctly rounded, and scaling by ``2**(n // 1024)`` is exact, since no result
  is below ``e**-700``. Tests compare split and table with exact integers.

Arguments below -700 are raised to -700, which is less than ``2**-1009`` of a sum that is at least 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import mpmath
import numpy as np

from peelverify.bounds import exponential as theory
from peelverify.bounds.rounding import gamma
from peelverify.enclose.dyadic import round_up

__all__ = ["EXP_ERROR", "LossChange", "exp_of_nonpositive", "loss_change"]

_UNIT = Fraction(1, 2**53)
_ETA = Fraction(1, 2**1075)
_LOWEST = -700.0
_STEPS = 1024
_PIECE = 2048
_HALVINGS = 80
_PART = Fraction(35, 100_000)
_REST = 701 * _UNIT
with mpmath.workdps(40):
    _STEP = mpmath.log(2) / _STEPS
    _TABLE = np.array([float(mpmath.power(2, mpmath.mpf(j) / _STEPS)) for j in range(_STEPS)])
    _INVERSE = float(1 / _STEP)
    _HIGH = float(mpmath.floor(_STEP * mpmath.mpf(2) ** 40) / mpmath.mpf(2) ** 40)  # 30 bits: ln2/1024 < 2**-10
    _LOW = float(_STEP - _HIGH)


def _polynomial_error() -> Fraction:
    """Relative error of the polynomial as evaluated below, for parts of at most `_PART`."""
    size, error = Fraction(1, 6) * (1 + _UNIT), Fraction(1, 6) * _UNIT
    for constant in (Fraction(1, 2), Fraction(1), Fraction(1)):
        error, size = theory.horner_error(_UNIT, _ETA, _PART, error, size, constant), constant + _PART * size
        size += error
    return (error + theory.exp_taylor_error(_PART, _HALVINGS)) / (1 - _PART)  # e**r is at least 1 - |r|


EXP_ERROR = theory.exp_error(_UNIT, _polynomial_error(), _UNIT, _REST)
"""Relative error of each computed ``exp(z - max z)``, an exact `Fraction`: about 2 * 701 units."""

_ABOVE_LOWEST = theory.exp_upper(Fraction(_LOWEST), 40, round_up)


def exp_of_nonpositive(x: np.ndarray) -> np.ndarray:
    """Exponential of numbers <= 0, nearly as exact as float64 allows.

    Args:
        x: float64 array, every entry <= 0 (-inf allowed).

    Returns:
        float64 array of the same shape, within `EXP_ERROR` relative of ``exp(max(x, -700))``, also if ``x``
        itself carries one rounding; exactly 1 where ``x`` is 0.
    """
    x = np.maximum(x, _LOWEST)
    n = np.rint(x * _INVERSE)
    r = x - n * _HIGH
    r -= n * _LOW
    value = r * (1 / 6)
    value += 0.5
    value *= r
    value += 1.0
    value *= r
    value += 1.0
    whole = n.astype(np.int64)
    value *= _TABLE[whole & (_STEPS - 1)]
    whole >>= 10
    whole += 1023
    whole <<= 52
    value *= whole.view(np.float64)
    return value


def _row_sums(values: np.ndarray) -> np.ndarray:
    """Sums of rows through pieces of at most 2048 terms, so that few roundings lie on each path."""
    return np.add.reduceat(values, range(0, values.shape[1], _PIECE), axis=1).sum(axis=1)


@dataclass(frozen=True)
class _Errors:
    """Error bounds that depend on the size of the vocabulary only, rounded up to float64.

    Attributes:
        log: relative error of a sum of terms times the exponential of a guess.
        mean: error of a mean under the softmax, for values of size one.
    """

    log: float
    mean: float


def _above(x: Fraction) -> float:
    return math.nextafter(float(x), math.inf)


@cache
def _errors(vocabulary: int) -> _Errors:
    """Compose the theorems: terms, their sum, the product with ``exp(-guess)``, and the mean."""
    in_terms = theory.terms_error(vocabulary, EXP_ERROR, _ABOVE_LOWEST)
    # at most 2048 + vocabulary/2048 roundings on the path of a term
    in_total = gamma(_UNIT, min(vocabulary, _PIECE) + vocabulary // _PIECE + 4)
    in_sum = theory.relative_product(in_terms, in_total)
    # a product rounds once on its own and once in each addition; its factor, a difference, once
    in_numerator = theory.relative_product(gamma(_UNIT, vocabulary + 1), _UNIT)
    return _Errors(
        _above(theory.relative_product(theory.relative_product(in_sum, EXP_ERROR), _UNIT)),
        _above(theory.mean_error(in_terms, in_numerator, in_total, _UNIT)),
    )


def _log_of_sum(total: np.ndarray, relative: float) -> tuple[np.ndarray, np.ndarray]:
    """Logarithm of numbers >= 1 and `theory.log_error` of it, outward; the exponential checks the guess."""
    guess = np.maximum(np.log(total), 0.0)
    off = (np.abs(total * exp_of_nonpositive(-guess) - 1.0) + relative) * (1 + 2.0**-50)
    return guess, np.where(off < 0.25, off / (1 - 2 * np.minimum(off, 0.25)) * (1 + 2.0**-50), np.inf)


@dataclass(frozen=True)
class LossChange:
    """Enclosures for each position of a batch; arrays of shape (positions,), float64.

    Attributes:
        low: the change of the loss is at least this, nats.
        high: and at most this.
        kl_low: KL(original || compressed) is at least this, nats, and at least 0.
        kl_high: and at most this.
        theorem_low: smallest logit change minus that of the target: never above the change of the loss.
        theorem_high: largest logit change minus that of the target: never below the change of the loss.
        oscillation: largest minus smallest logit change, rounded up.
        loss_before: loss of the original as computed, nats: a measured number.
    """

    low: np.ndarray
    high: np.ndarray
    kl_low: np.ndarray
    kl_high: np.ndarray
    theorem_low: np.ndarray
    theorem_high: np.ndarray
    oscillation: np.ndarray
    loss_before: np.ndarray


def _outward(x: np.ndarray, towards: float, times: int = 2) -> np.ndarray:
    for _ in range(times):
        x = np.nextafter(x, towards)
    return x


def loss_change(before: np.ndarray, after: np.ndarray, target: np.ndarray) -> LossChange:
    """Enclose the change of the loss and the divergence from the executed logits.

    Args:
        before: logits of the original, (positions, vocabulary), float64, finite.
        after: logits of the compressed model, same shape.
        target: next token of each position, (positions,), integers.

    Guarantee:
        Outward arithmetic on the stored logits. ``theorem_*`` and ``oscillation`` bound by
        `PeelVerify.logPartition_sub_mem` and `PeelVerify.abs_loss_sub_le_osc`; the sharp bounds by
        `PeelVerify.loss_change_enclosure` and `PeelVerify.kl_enclosure`, fed by `PeelVerify.exp_computed_error`,
        `PeelVerify.raised_terms_error`, `PeelVerify.log_enclosure` and `PeelVerify.mean_computed_error`.
    """
    rows = np.arange(len(before))
    change = after - before
    top, bottom = change.max(axis=1), change.min(axis=1)
    largest = np.maximum(np.abs(top), np.abs(bottom))
    at_target = change[rows, target]
    same = largest == 0
    parts = []
    for logits in (before, after):
        peak = logits.max(axis=1)
        terms = exp_of_nonpositive(logits - peak[:, None])
        parts.append((peak, terms, _row_sums(terms)))
    (peak_b, terms_b, sum_b), (peak_a, _, sum_a) = parts
    errors = _errors(before.shape[1])
    (log_b, error_b), (log_a, error_a) = (_log_of_sum(total, errors.log) for total in (sum_b, sum_a))
    shift = (peak_a - peak_b) + (log_a - log_b)
    size = np.abs(peak_a - peak_b) + log_a + log_b + largest + 1.0
    rounding = 8 * 2.0**-53 * size  # six roundings of numbers <= size, and products that underflow
    mean = np.vecdot(terms_b, change) / sum_b
    grow = 1 + 2.0**-50  # the bounds below are themselves sums of floats
    slack = (error_b + error_a + rounding) * grow  # `theory.change_error`, on arrays
    low, high = shift - at_target - slack, shift - at_target + slack
    kl_slack = (slack + largest * errors.mean) * grow
    kl_low, kl_high = np.maximum(shift - mean - kl_slack, 0.0), shift - mean + kl_slack
    theorem_low = _outward(_outward(bottom, -np.inf) - _outward(at_target, np.inf), -np.inf, 1)
    theorem_high = _outward(_outward(top, np.inf) - _outward(at_target, -np.inf), np.inf, 1)
    osc = _outward(_outward(top, np.inf) - _outward(bottom, -np.inf), np.inf, 1)
    low, high = np.maximum(low, theorem_low), np.minimum(high, theorem_high)
    kl_high = np.minimum(kl_high, osc)

    def cleared(x: np.ndarray) -> np.ndarray:
        return np.where(same, 0.0, x)

    return LossChange(*(cleared(x) for x in (
        low, high, np.minimum(kl_low, kl_high), kl_high, theorem_low, theorem_high, osc
    )), loss_before=peak_b + log_b - before[rows, target])
