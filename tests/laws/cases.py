"""One call of every public function of `peelverify.bounds`, with numbers that are exact in every arithmetic.

Numbers to be converted are fractions with a power of two below; whole numbers that count something are ints.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from peelverify.bounds import (
    activations,
    certificate,
    compression,
    counting,
    matrix,
    peeling,
    propagation,
    rounding,
    vector,
)

H, Q, E = Fraction(1, 2), Fraction(1, 4), Fraction(1, 8)
ONE, TWO, THREE, FOUR, FIVE = (Fraction(n) for n in range(1, 6))
ZERO = Fraction(0)
A = [[ONE, H], [ZERO, -TWO]]
B = [[Q, ONE], [-ONE, THREE]]
X, Y = [THREE, -H], [Q, FIVE]
CHAIN = [(TWO, H), (Q, THREE)]

CASES: dict[Callable[..., Any], tuple[Any, ...]] = {
    vector.abs_val: (-H,),
    vector.dot: (X, Y),
    vector.norm_sq: (X,),
    vector.norm1: (X,),
    vector.norm_inf: (X,),
    vector.norm2_le: (X, FOUR),
    vector.dot_sq_upper: (X, Y),
    vector.dot_upper: (TWO, H),
    vector.norm2_sum_upper: ([TWO, H, Q],),
    vector.norm2_smul_upper: (-H, THREE),
    vector.dot_abs_upper: (X, Y),
    matrix.mul_vec: (A, X),
    matrix.mat_mul: (A, B),
    matrix.transpose: (A,),
    matrix.gram: (A,),
    matrix.frob_sq: (A,),
    matrix.frob_le: (A, THREE),
    matrix.mul_vec_sq_upper: (A, X),
    matrix.frob_sq_mul_upper: (A, B),
    matrix.frob_add_upper: (TWO, H),
    matrix.op_norm2_add_upper: (TWO, H),
    matrix.op_norm2_mul_upper: (TWO, H),
    matrix.residual_upper: (H,),
    matrix.schur_upper_sq: (A,),
    matrix.gram_iteration_check: (A, [THREE, FIVE]),
    matrix.diagonally_dominant: ([[TWO, -ONE], [-ONE, THREE]],),
    matrix.spectral_residual: (A, [[ONE, H]], THREE),
    matrix.spectral_check: (A, [[ONE, H]], THREE),
    propagation.chain_bound: (ONE, CHAIN),
    propagation.gain_product: (CHAIN,),
    propagation.chain_closed_form: (ONE, CHAIN),
    propagation.chain_shares: (ONE, CHAIN),
    propagation.geometric_bound: (ONE, H, Q, 3),
    propagation.geometric_limit: (ONE, H, Q),
    propagation.telescope: (ONE, [H, THREE]),
    propagation.squared_error_identity: (FOUR, -H, ONE),
    propagation.relative_step: (TWO, H, THREE, Q),
    propagation.contraction_factor_sq: (Q, H),
    propagation.argmax_is_stable: ([ONE, FIVE, H], ONE),
    propagation.oscillation: ([ONE, -H, Q],),
    compression.pruned: (X, [True, False]),
    compression.dropped_score: (X, [True, False]),
    compression.dropped_energy: (X, [True, False]),
    compression.score_mask: (X, 1),
    compression.magnitude_mask: (X, 1),
    compression.wanda_score: (X, [ONE, H]),
    compression.wanda_error_upper: (X, [ONE, H], [False, False]),
    compression.nearer_end: (Q, ZERO, ONE),
    compression.round_nearest: (THREE + E, H),
    compression.clip: (FIVE, -ONE, THREE),
    compression.quantize_frob_sq_upper: ([ONE, H], 3),
    compression.weight_error_upper: (H, THREE),
    compression.layer_error_upper: (TWO, H, Q, THREE),
    compression.product_error_upper: (TWO, H, Q, THREE),
    peeling.residual: (A, X, Y),
    peeling.normal_equation_residual: (A, X, Y),
    peeling.pythagorean_gap: (A, X, Y),
    peeling.ridge_loss: (A, X, H, Y),
    peeling.dual_lower_bound_sq: ([ONE, ONE], X),
    peeling.bounded_dual_lower_sq: ([ONE, ONE], X, H, Q),
    peeling.approximate_optimum_lower: (FIVE, ONE, TWO),
    peeling.best_scale: ([ONE, -ONE], X),
    peeling.flip_change: (H, -ONE, THREE, Q),
    peeling.sign_of: (-H,),
    peeling.ternary_of: (H, ONE, -THREE),
    peeling.relu: (X,),
    peeling.witness_gap: (FIVE, TWO),
    peeling.suite_min: ([THREE, H, ONE],),
    rounding.growth: (E, 3),
    rounding.gamma: (Q, 2),
    rounding.dot_error_upper: (X, Y, E, Q),
    rounding.mat_mul_error_upper: (A, B, E, Q),
    rounding.nonneg_sum_upper: (THREE, H, Q),
    rounding.nonneg_sum_lower: (THREE, ONE, Q),
    rounding.in_format: (H, rounding.FLOAT16),
    rounding.product_is_exact: (rounding.FLOAT16, rounding.FLOAT16, rounding.FLOAT32),
    activations.fold_scale: (A, X),
    activations.mixture: (X, A),
    activations.norm_radius_sq: (H, 3),
    activations.layer_norm_radius: (H, TWO, ONE),
    activations.every_input_upper: (H, THREE),
    activations.mixture_upper: (ONE, THREE),
    activations.gated_upper: (H, THREE),
    activations.gated_error_upper: (TWO, H, Q, ONE, THREE),
    counting.count_at_least: (ONE, X),
    counting.kth_largest: (X, 1),
    certificate.matrix_check: (A, [[ONE, H]], FOUR, TWO, FIVE + FIVE),
    certificate.dual_check: ([[ONE], [ONE]], X, [ONE, -ONE], TWO),
}
