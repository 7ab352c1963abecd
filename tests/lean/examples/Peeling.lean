module

public import Proofs

/-! Least squares, duality and discrete weights for the theorems of `Proofs/Peeling.lean`. -/

noncomputable section

namespace PeelVerify.PeelingExamples

open Lean.Grind

private abbrev Z0 : Fin 0 → Fin 0 → Rat := mat []
private abbrev t0 : Fin 0 → Rat := vec []

/-! One feature and one sample: the weight 3 fits the target 6 exactly. -/

private abbrev Z1 : Fin 1 → Fin 1 → Rat := mat [[2]]
private abbrev t1 : Fin 1 → Rat := vec [6]
private abbrev w1 : Fin 1 → Rat := vec [5]
private abbrev best1 : Fin 1 → Rat := vec [3]
private abbrev none1 : Fin 1 → Fin 0 → Rat := mat []
private abbrev flat1 : Fin 0 → Fin 1 → Rat := mat []
private abbrev tall : Fin 2 → Fin 1 → Rat := mat [[1], [1]]
private abbrev broad : Fin 1 → Fin 2 → Rat := mat [[1, 2]]

section Smallest

example := least_squares_gap (m := 0) (n := 0) Z0 t0 t0 t0 (by decide +kernel)
example := least_squares_gap (m := 1) (n := 1) Z1 t1 w1 best1 (by decide +kernel)
example := ridge_gap (m := 0) (n := 0) Z0 t0 1 t0 t0 (by decide +kernel)
-- 2 * (6 - 2 * 2) = 2 * 2
example := ridge_gap (m := 1) (n := 1) Z1 t1 2 w1 (vec [2]) (by decide +kernel)
-- sizes flip_identity: m = 0, n = 1 and m = 1, n = 2; k picks the sign that flips
example := flip_identity (m := 0) (n := 1) flat1 t0 3 (vec [1]) (vec [-1]) 0 (by decide +kernel)
  (by decide +kernel) (by decide +kernel)
example := flip_identity (m := 1) (n := 2) broad t1 3 (vec [1, -1]) (vec [1, 1]) 1 (by decide +kernel)
  (by decide +kernel) (by decide +kernel)
example := normal_equations_optimal (m := 0) (n := 0) Z0 t0 t0 t0 (by decide +kernel)
example := normal_equations_optimal (m := 1) (n := 1) Z1 t1 w1 best1 (by decide +kernel)
example := weak_duality (m := 0) (n := 0) Z0 t0 t0 t0 (by decide +kernel)
-- every vector is orthogonal to a feature that is 0
example := weak_duality (m := 1) (n := 1) (mat [[0]]) t1 (vec [2]) w1 (by decide +kernel)
-- sizes dualLowerBoundSq_le: m = 1, n = 0 and m = 2, n = 1; the dual vector is not 0
example := dualLowerBoundSq_le (m := 1) (n := 0) none1 t1 (vec [1]) t0 (by decide +kernel)
  (by decide +kernel)
example := dualLowerBoundSq_le (m := 2) (n := 1) tall (vec [3, 1]) (vec [1, -1]) w1 (by decide +kernel)
  (by decide +kernel)
example := weak_duality_of_strong_convexity (m := 0) (n := 0) Z0 t0 t0 t0 (mu := 1) (by decide +kernel)
  (strong_convexity_of_convexityCheck (L := Z0) (by decide +kernel))
example := weak_duality_of_strong_convexity (m := 1) (n := 1) Z1 t1 w1 (vec [2]) (mu := 3)
  (by decide +kernel) (strong_convexity_of_convexityCheck (L := flat1) (by decide +kernel))
example := weak_duality_of_bounded (m := 0) (n := 0) Z0 t0 t0 t0 (radius := 0) (eps := 0)
  ⟨by decide +kernel, by decide +kernel⟩ ⟨by decide +kernel, by decide +kernel⟩ (by decide +kernel)
example := weak_duality_of_bounded (m := 1) (n := 1) Z1 t1 (vec [1]) (vec [1]) (radius := 2) (eps := 2)
  ⟨by decide +kernel, by decide +kernel⟩ ⟨by decide +kernel, by decide +kernel⟩ (by decide +kernel)
example := weak_duality_ridge (m := 0) (n := 0) Z0 t0 t0 t0 (lam := 1) (by decide +kernel)
example := weak_duality_ridge (m := 1) (n := 1) Z1 t1 w1 (vec [1]) (lam := 2) (by decide +kernel)
example := ridge_residual_gap_le (m := 0) (n := 0) Z0 t0 (lam := 1) (by decide +kernel) t0 t0
  (by decide +kernel)
example := ridge_residual_gap_le (m := 1) (n := 1) Z1 t1 (lam := 2) (by decide +kernel) (vec [2]) best1
  (by decide +kernel)
example := best_scale_gap (m := 0) t0 t0 2
example := best_scale_gap (m := 1) w1 t1 2
example := best_scale_optimal (m := 0) t0 t0 2
example := best_scale_optimal (m := 1) w1 t1 2
example := sign_optimal_of_orthogonal (m := 0) (n := 0) Z0 t0 (scale := 2) (by decide +kernel) t0
  (by decide +kernel) (by decide +kernel)
example := sign_optimal_of_orthogonal (m := 1) (n := 1) Z1 t1 (scale := 2) (by decide +kernel) (vec [-1])
  (by decide +kernel) (by decide +kernel)
example := ternary_optimal_of_orthogonal (m := 0) (n := 0) Z0 t0 (scale := 2) (by decide +kernel) t0
  (by decide +kernel) (by decide +kernel)
example := ternary_optimal_of_orthogonal (m := 1) (n := 1) Z1 t1 (scale := 2) (by decide +kernel) (vec [0])
  (by decide +kernel) (by decide +kernel)
example := relu_closer_of_nonneg (n := 0) t0 t0 (by decide +kernel)
example := relu_closer_of_nonneg (n := 1) (vec [-2]) t1 (by decide +kernel)
-- a suite has at least one witness, `first`
example := suiteMin_le (rest := []) (3 : Rat)
example := suiteMin_le (rest := [2]) (3 : Rat)
example := suiteMin_mem (rest := []) (3 : Rat)
example := suiteMin_mem (rest := [2]) (3 : Rat)
example := suiteMin_mono (rest := []) (rest' := []) (3 : Rat) 3 (by decide +kernel)
example := suiteMin_mono (rest := [2]) (rest' := [3]) (3 : Rat) 2 (by decide +kernel)

end Smallest

end PeelVerify.PeelingExamples
