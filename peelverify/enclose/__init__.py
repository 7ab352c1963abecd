"""Rigorous one-sided bounds on norms, products and residuals of float arrays. Needs numpy and scipy, not torch."""

from peelverify.enclose.dyadic import exact_sum, round_down, round_up, sqrt_lower, sqrt_upper
from peelverify.enclose.frobenius import (
    Interval,
    error_sq,
    inner_lower,
    inner_of_differences,
    inner_upper,
    norm_fro_lower,
    norm_fro_upper,
    sum_sq,
)
from peelverify.enclose.operator import norm_op2_lower, norm_op2_upper
from peelverify.enclose.products import (
    Product,
    matmul_enclosed,
    residual_norm_fro_lower,
    residual_norm_fro_upper,
)
from peelverify.enclose.sums import (
    norm_max_lower,
    norm_max_upper,
    norm_op1_lower,
    norm_op1_upper,
    norm_opinf_lower,
    norm_opinf_upper,
)

__all__ = [
    "Interval",
    "Product",
    "error_sq",
    "exact_sum",
    "inner_lower",
    "inner_of_differences",
    "inner_upper",
    "matmul_enclosed",
    "norm_fro_lower",
    "norm_fro_upper",
    "norm_max_lower",
    "norm_max_upper",
    "norm_op1_lower",
    "norm_op1_upper",
    "norm_op2_lower",
    "norm_op2_upper",
    "norm_opinf_lower",
    "norm_opinf_upper",
    "residual_norm_fro_lower",
    "residual_norm_fro_upper",
    "round_down",
    "round_up",
    "sqrt_lower",
    "sqrt_upper",
    "sum_sq",
]
