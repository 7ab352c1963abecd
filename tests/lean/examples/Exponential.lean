module

public import Proofs

/-! Exponentials for the theorems of `Proofs/Exponential.lean`: powers of `65 / 64`, on the multiples of `1 / 64`. -/

noncomputable section

namespace PeelVerify.ExponentialExamples

open Lean.Grind

private abbrev grid : Rat → Rat := gridExp (1 / 64)
private abbrev onGrid (a : Rat) : Prop := ∃ k : Int, a = k * (1 / 64)

private theorem isNatExp : IsNatExp onGrid grid := isNatExp_grid (by decide +kernel)

section NonTrivial

example : (2 : Rat) ^ (3 : Rat).num ≤ 2 ^ (5 : Rat).num :=
  IsExp.mono isExp_two ⟨3, rfl⟩ ⟨5, rfl⟩ (by decide +kernel)
example : (-1 : Rat) ≤ 2 :=
  IsExp.le_of_le isExp_two ⟨-1, rfl⟩ ⟨2, rfl⟩ (by decide +kernel)
example : ∃ k : Int, (3 - 5 : Rat) = k := IsExp.valid_sub isExp_two ⟨3, rfl⟩ ⟨5, rfl⟩
example : IsNatExp (fun a : Rat => ∃ k : Int, a = k * 3) (gridExp 3) := isNatExp_grid (by decide +kernel)

end NonTrivial

section Smallest

example := expLower_le (k := 0) isNatExp (x := 1 / 64) (fun _ h => ⟨h, Std.le_refl _⟩) ⟨1, by decide +kernel⟩
  (by decide +kernel)
example := expLower_le (k := 1) isNatExp (x := 1 / 32) (fun _ h => ⟨h, Std.le_refl _⟩) ⟨1, by decide +kernel⟩
  (by decide +kernel)
example := le_expUpper (k := 0) isNatExp (x := 1 / 64) (fun _ => Std.le_refl _) ⟨1, by decide +kernel⟩
  (by decide +kernel)
example := le_expUpper (k := 1) isNatExp (x := 1 / 32) (fun _ => Std.le_refl _) ⟨1, by decide +kernel⟩
  (by decide +kernel)
example := exp_taylor (k := 0) isNatExp (y := 1 / 32) ⟨2, by decide +kernel⟩ (by decide +kernel)
example := exp_taylor (k := 1) isNatExp (y := 1 / 32) ⟨1, by decide +kernel⟩ (by decide +kernel)

end Smallest

end PeelVerify.ExponentialExamples
