module

public import Proofs

/-! Terms and weights for the theorems of `Proofs/Softmax.lean`; the exponential is powers of `65 / 64`, on the multiples of `1 / 64`. -/

noncomputable section

namespace PeelVerify.SoftmaxExamples

open Lean.Grind

private abbrev grid : Rat → Rat := gridExp (1 / 64)
private abbrev onGrid (a : Rat) : Prop := ∃ k : Int, a = k * (1 / 64)

private theorem isNatExp : IsNatExp onGrid grid := isNatExp_grid (by decide +kernel)

private abbrev x1 : Fin 1 → Rat := vec [0]
private abbrev x2 : Fin 2 → Rat := vec [0, -(1 / 16)]
private abbrev ones1 : Fin 1 → Rat := vec [1]
private abbrev ones2 : Fin 2 → Rat := vec [1, 1]
private abbrev halves2 : Fin 2 → Rat := vec [1, 1 / 2]
private abbrev signs2 : Fin 2 → Rat := vec [1, -1]

private theorem onGrid1 : ∀ i, onGrid (x1 i) := fun i => ⟨0, by revert i; decide +kernel⟩
private theorem onGrid2 : ∀ i, onGrid (x2 i) := fun i => ⟨(x2 i * 64).num, by revert i; decide +kernel⟩

section Smallest

-- sizes raised_terms_error: n = 1 and n = 2; one of the arguments is the peak
example := raised_terms_error (n := 1) isNatExp (x := x1) (term := ones1) (floor := -(1 / 32)) (relative := 0)
  (above := 1) onGrid1 ⟨-2, by decide +kernel⟩ (by decide +kernel) (by decide +kernel) (by decide +kernel) 0
  (by decide +kernel)
example := raised_terms_error (n := 2) isNatExp (x := x2) (term := ones2) (floor := -(1 / 32)) (relative := 1 / 16)
  (above := 1) onGrid2 ⟨-2, by decide +kernel⟩ (by decide +kernel) (by decide +kernel) (by decide +kernel) 0
  (by decide +kernel)

-- sizes weighted_mean_error: n = 1 and n = 2; the weights have a positive sum
example := weighted_mean_error (n := 1) (weight := ones1) (term := ones1) (value := ones1) (relative := 0) (size := 1)
  (mean := 1) (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
example := weighted_mean_error (n := 2) (weight := ones2) (term := halves2) (value := signs2) (relative := 1 / 4)
  (size := 1) (mean := 0) (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel)

-- sizes mean_computed_error: n = 1 and n = 2; the weights have a positive sum
example := mean_computed_error (n := 1) (weight := ones1) (term := ones1) (value := ones1) (relative := 0) (size := 1)
  (numerator := 1) (total := 1) (quotient := 1) (inNumerator := 0) (inTotal := 0) (unit := 0) (mean := 1)
  (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel) (by decide +kernel)
example := mean_computed_error (n := 2) (weight := ones2) (term := halves2) (value := signs2) (relative := 1 / 4)
  (size := 1) (numerator := 1 / 2) (total := 3 / 2) (quotient := 1 / 3) (inNumerator := 0) (inTotal := 0)
  (unit := 0) (mean := 0) (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel) (by decide +kernel) (by decide +kernel)

-- sizes IsExp.map_log_sub: n = 1 and n = 2; a sum of exponentials is positive. Two of them have no logarithm on
-- the grid of `1 / 64`, but two powers of two that are equal have one.
example := IsExp.map_log_sub (n := 1) (E := grid) (x := x1) (log := 0) (peak := 1 / 64) isNatExp.toIsExp onGrid1
  ⟨0, by decide +kernel⟩ ⟨1, by decide +kernel⟩ (by decide +kernel)
example := IsExp.map_log_sub (n := 2) (x := ones2) (log := 2) (peak := 1) isExp_two
  (fun i => ⟨1, by revert i; decide +kernel⟩) ⟨2, rfl⟩ ⟨1, rfl⟩ (by decide +kernel)

-- sizes kl_enclosure: n = 1 and n = 2; the shares add up to one
example := kl_enclosure (n := 1) (prob := ones1) (logits := ones1) (changed := x1) (log := 1) (log' := 0) (guess := 0)
  (guess' := 0) (peak := 1) (peak' := 0) (computed := 0) (mean := -1) (error := 0) (error' := 0) (inMean := 0)
  (rounding := 0) (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
example := kl_enclosure (n := 2) (prob := fun _ => (1 / 2 : Rat)) (logits := x2) (changed := x2) (log := 0) (log' := 0)
  (guess := 0) (guess' := 0) (peak := 0) (peak' := 0) (computed := 0) (mean := 0) (error := 0) (error' := 0)
  (inMean := 0) (rounding := 0) (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel)

end Smallest

end PeelVerify.SoftmaxExamples
