"""Rigorous one-sided bounds on norms, products and residuals of float arrays. Needs numpy, not torch."""

from peelverify.enclose.dyadic import exact_sum, round_down, round_up, sqrt_lower, sqrt_upper
from peelverify.enclose.frobenius import (
    Interval,
    error_sq,
    inner_of_differences,
    norm_fro_lower,
    norm_fro_upper,
    sum_sq,
)

__all__ = [
    "Interval",
    "error_sq",
    "exact_sum",
    "inner_of_differences",
    "norm_fro_lower",
    "norm_fro_upper",
    "round_down",
    "round_up",
    "sqrt_lower",
    "sqrt_upper",
    "sum_sq",
]
