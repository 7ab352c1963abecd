"""What a change of the logits does to loss and divergence, enclosed from both sides in float64.

The exponential is computed here, from operations that IEEE 754 rounds correctly, because the error of a
library's ``exp`` is not known. With ``u = 2**-53`` and ``x = (1024 k + j) ln2 / 1024 + r``:

* ``n = 1024 k + j`` is at most ``2**20`` in size for ``x >= -700`` and ``ln2/1024`` is split into a part of 30
  bits, so that ``n`` times it is exact, and the rest; hence ``r`` is within ``1e-3 u`` and ``|r| <= 3.4e-4``;
* ``1 + r (1 + r (1/2 + r/6))`` misses ``e**r`` by at most ``r**4/24 (1 + |r|) <= 5.1 u`` and rounds by ``1.1 u``;
* the table of ``2**(j/1024)`` is correctly rounded from 40 digits, the product rounds once, scaling by ``2**k``
  is exact: ``9 u`` in all, relative. A logit minus the row's largest carries one rounding, ``|x| u <= 700 u``.

So each term of ``sum exp(z - max z)`` is within `EXP_ERROR` = ``2**-43`` relative; terms below ``e**-700`` are
raised to it, which is less than that in a sum that is at least 1. Tests compare with the balls of python-flint.
"""

from __future__ import annotations

from dataclasses import dataclass

import mpmath
import numpy as np

__all__ = ["EXP_ERROR", "LossChange", "exp_of_nonpositive", "loss_change"]

EXP_ERROR = 2.0**-43
_LOWEST = -700.0
_STEPS = 1024
_PIECE = 2048
with mpmath.workdps(40):
    _STEP = mpmath.log(2) / _STEPS
    _TABLE = np.array([float(mpmath.power(2, mpmath.mpf(j) / _STEPS)) for j in range(_STEPS)])
    _INVERSE = float(1 / _STEP)
    _HIGH = float(mpmath.floor(_STEP * mpmath.mpf(2) ** 40) / mpmath.mpf(2) ** 40)  # 30 bits: ln2/1024 < 2**-10
    _LOW = float(_STEP - _HIGH)


def exp_of_nonpositive(x: np.ndarray) -> np.ndarray:
    """Exponential of numbers <= 0, within ``9 * 2**-53`` relative of ``exp(max(x, -700))``.

    Args:
        x: float64 array, every entry <= 0 (-inf allowed).

    Returns:
        float64 array of the same shape; exactly 1 where ``x`` is 0.
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


def _log_of_sum(total: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logarithm of numbers >= 1 and a bound on its error, checked with `exp_of_nonpositive`.

    If ``total * exp(-guess) = 1 + d`` then ``log total = guess + log(1 + d)`` and ``|log(1 + d)| <= 2 |d|``.
    """
    guess = np.maximum(np.log(total), 0.0)
    rest = total * exp_of_nonpositive(-guess) - 1.0
    return guess, 2 * (np.abs(rest) + 2 * EXP_ERROR)


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
        `PeelVerify.logPartition_sub_mem` and `PeelVerify.abs_loss_sub_le_osc`; the sharp bounds by the
        exponential above.
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
    # terms within EXP_ERROR, then at most 2048 + vocabulary/2048 roundings on the path of a term
    roundings = (min(before.shape[1], _PIECE) + before.shape[1] // _PIECE + 4) * 2.0**-53
    in_sum = 1.01 * (EXP_ERROR + roundings)
    (log_b, error_b), (log_a, error_a) = _log_of_sum(sum_b), _log_of_sum(sum_a)
    shift = (peak_a - peak_b) + (log_a - log_b)
    size = np.abs(peak_a - peak_b) + log_a + log_b + largest + 1.0
    # the logarithm of a sum moves by at most 1.01 of the sum's relative error; six roundings of numbers <= size
    slack = error_b + error_a + 2.1 * in_sum + 8 * 2.0**-53 * size
    low, high = shift - at_target - slack, shift - at_target + slack
    mean = np.vecdot(terms_b, change) / sum_b
    # |sum p d| moves by at most max|d| times the relative errors of numerator and denominator
    kl_slack = slack + 1.01 * largest * (2.1 * in_sum + (before.shape[1] + 4) * 2.0**-53)
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
