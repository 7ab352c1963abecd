module

public import Proofs

/-! Chains of blocks for the theorems of `Proofs/Propagation.lean`. -/

noncomputable section

namespace PeelVerify.PropagationExamples

open Lean.Grind

section NonTrivial

example : balanceLevel (1 / 2 : Rat) 3 = 1 / 2 * balanceLevel (1 / 2) 3 + 3 :=
  balanceLevel_fixed_point (by decide +kernel)

end NonTrivial

private abbrev x0 : Fin 0 → Rat := vec []

section Smallest

example := chainBound_eq_closedForm (steps := []) (2 : Rat)
example := chainBound_eq_closedForm (steps := [(3, 1 / 2)]) (2 : Rat)
example := chainBound_eq_sum_shares (steps := []) (2 : Rat)
example := chainBound_eq_sum_shares (steps := [(3, 1 / 2)]) (2 : Rat)
example := length_chainShares (steps := []) (2 : Rat)
example := length_chainShares (steps := [(3, 1 / 2)]) (2 : Rat)
example := chainBound_append (first := []) (second := []) (2 : Rat)
example := chainBound_append (first := [(3, 1 / 2)]) (second := [(1 / 4, 1)]) (2 : Rat)
example := geometricBound_eq_chainBound (blocks := 0) (2 : Rat) (1 / 2) 3
example := geometricBound_eq_chainBound (blocks := 1) (2 : Rat) (1 / 2) 3
example := geometricBound_eq_closedForm (blocks := 0) (2 : Rat) (1 / 2) 3 6 (by decide +kernel)
example := geometricBound_eq_closedForm (blocks := 1) (2 : Rat) (1 / 2) 3 6 (by decide +kernel)
example := energy_eq_mul_prod (ratios := []) (fun _ => (5 : Rat)) (by decide +kernel) (by decide +kernel)
example := energy_eq_mul_prod (ratios := [3]) (fun t => [2, 6].getD t (1 : Rat)) (by decide +kernel)
  (by decide +kernel)
example := sq_error_decomposition (n := 0) x0 x0 x0 (by decide +kernel)
example := sq_error_decomposition (n := 1) (vec [3] : Fin 1 → Rat) (vec [5]) (vec [-2]) (by decide +kernel)
example := le_chainBound (steps := []) (fun _ => (2 : Rat)) 2 (by decide +kernel) (by decide +kernel)
  (by decide +kernel)
example := le_chainBound (steps := [(1 / 2, 3)]) (fun t => [2, 4].getD t (0 : Rat)) 2 (by decide +kernel)
  (by decide +kernel) (by decide +kernel)
example := chainBound_mono (steps := []) (steps' := []) (e0 := (1 : Rat)) (e0' := 2) (by decide +kernel)
  (by decide +kernel) rfl (by decide +kernel) (by decide +kernel)
example := chainBound_mono (steps := [(1, 2)]) (steps' := [(3, 2)]) (e0 := (1 : Rat)) (e0' := 2)
  (by decide +kernel) (by decide +kernel) rfl (by decide +kernel) (by decide +kernel)
example := chainBound_nonneg (steps := []) (e0 := (1 : Rat)) (by decide +kernel) (by decide +kernel)
example := chainBound_nonneg (steps := [(3, 1 / 2)]) (e0 := (1 : Rat)) (by decide +kernel)
  (by decide +kernel)
example := chainShares_nonneg (steps := []) (e0 := (1 : Rat)) (by decide +kernel) (by decide +kernel)
example := chainShares_nonneg (steps := [(3, 1 / 2)]) (e0 := (1 : Rat)) (by decide +kernel)
  (by decide +kernel)
example := le_geometricBound (blocks := 0) (fun _ => (1 : Rat)) (gain := 1 / 2) (delta := 1 / 2)
  (by decide +kernel) (fun _ => by grind)
example := le_geometricBound (blocks := 1) (fun _ => (1 : Rat)) (gain := 1 / 2) (delta := 1 / 2)
  (by decide +kernel) (fun _ => by grind)
example := geometricBound_le_max (blocks := 0) (5 : Rat) (gain := 1 / 2) (delta := 1) (by decide +kernel)
  (by decide +kernel)
example := geometricBound_le_max (blocks := 1) (5 : Rat) (gain := 1 / 2) (delta := 1) (by decide +kernel)
  (by decide +kernel)

end Smallest

end PeelVerify.PropagationExamples
