module

public import Proofs

/-! Layers with several outputs for the theorems of `Proofs/Layers.lean`. -/

noncomputable section

namespace PeelVerify.LayerExamples

open Lean.Grind

private abbrev Z0 : Fin 0 → Fin 0 → Rat := mat []

/-! One feature, one sample, one output: the weight 3 fits the target 6 exactly. -/

private abbrev Z1 : Fin 1 → Fin 1 → Rat := mat [[2]]
private abbrev T1 : Fin 1 → Fin 1 → Rat := mat [[6]]
private abbrev W1 : Fin 1 → Fin 1 → Rat := mat [[5]]
private abbrev best1 : Fin 1 → Fin 1 → Rat := mat [[3]]
private abbrev one1 : Fin 1 → Fin 1 → Rat := mat [[1]]
private abbrev flat1 : Fin 0 → Fin 1 → Rat := mat []

private theorem convex0 : ∀ v : Fin 0 → Rat, 1 * normSq v ≤ normSq (mulVec Z0 v) :=
  strong_convexity_of_convexityCheck (L := Z0) (by decide +kernel)
private theorem convex1 : ∀ v : Fin 1 → Rat, 3 * normSq v ≤ normSq (mulVec Z1 v) :=
  strong_convexity_of_convexityCheck (L := flat1) (by decide +kernel)

section Smallest

example := frobSq_eq_sum_columns (m := 0) (n := 0) Z0
example := frobSq_eq_sum_columns (m := 1) (n := 1) Z1
example := layer_least_squares_gap (m := 0) (n := 0) (p := 0) Z0 Z0 Z0 Z0 (by decide +kernel)
example := layer_least_squares_gap (m := 1) (n := 1) (p := 1) Z1 T1 W1 best1 (by decide +kernel)
example := frobDot_sq_le (m := 0) (n := 0) Z0 Z0
example := frobDot_sq_le (m := 1) (n := 1) Z1 T1
example := layer_normal_equations_optimal (m := 0) (n := 0) (p := 0) Z0 Z0 Z0 Z0 (by decide +kernel)
example := layer_normal_equations_optimal (m := 1) (n := 1) (p := 1) Z1 T1 W1 best1 (by decide +kernel)
example := layer_weak_duality_of_bounded (m := 0) (n := 0) (p := 0) Z0 Z0 Z0 Z0 (radius := 0) (eps := 0)
  ⟨by decide +kernel, by decide +kernel⟩ ⟨by decide +kernel, by decide +kernel⟩ (by decide +kernel)
example := layer_weak_duality_of_bounded (m := 1) (n := 1) (p := 1) Z1 T1 one1 one1 (radius := 2)
  (eps := 2) ⟨by decide +kernel, by decide +kernel⟩ ⟨by decide +kernel, by decide +kernel⟩
  (by decide +kernel)
example := layer_weak_duality (m := 0) (n := 0) (p := 0) Z0 Z0 Z0 Z0 (by decide +kernel)
-- every vector is orthogonal to a feature that is 0
example := layer_weak_duality (m := 1) (n := 1) (p := 1) (mat [[0]]) T1 (mat [[2]]) W1 (by decide +kernel)
example := layer_weak_duality_of_strong_convexity (m := 0) (n := 0) (p := 0) Z0 Z0 Z0 Z0 (mu := 1)
  (by decide +kernel) convex0
example := layer_weak_duality_of_strong_convexity (m := 1) (n := 1) (p := 1) Z1 T1 W1 one1 (mu := 3)
  (by decide +kernel) convex1
example := strong_convexity_of_certificate (m := 0) (n := 0) (p := 0) (Z := Z0) (L := Z0) (D := Z0)
  (mu := 1) (by decide +kernel) (by unfold DiagonallyDominant; decide +kernel) (vec [])
-- 2 * 2 - 2 = 1 * 1 + 1
example := strong_convexity_of_certificate (m := 1) (n := 1) (p := 1) (Z := Z1) (L := one1) (D := one1)
  (mu := 2) (by decide +kernel) (by unfold DiagonallyDominant; decide +kernel) (vec [5])
example := strong_convexity_of_convexityCheck (m := 0) (n := 0) (p := 0) (Z := Z0) (L := Z0) (mu := 1)
  (by decide +kernel) (vec [])
example := strong_convexity_of_convexityCheck (m := 1) (n := 1) (p := 1) (Z := Z1) (L := one1) (mu := 2)
  (by decide +kernel) (vec [5])

end Smallest

end PeelVerify.LayerExamples
