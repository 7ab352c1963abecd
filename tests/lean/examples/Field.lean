module

public import Proofs

/-! Numbers for the lemmas of `Proofs/Field.lean`. -/

noncomputable section

namespace PeelVerify.FieldExamples

open Lean.Grind

attribute [local instance] Semiring.natCast

section NonTrivial

example : (2 : Rat) * (1 / 3) ≤ 2 * (1 / 2) := mul_le_mul_left (by decide +kernel) (by decide +kernel)
example : (1 / 3 : Rat) ≤ 1 / 2 := le_of_mul_le_mul_left (c := 6) (by decide +kernel) (by decide +kernel)
example : (3 / 2 : Rat) * (3 / 2) ≤ 2 * 2 := mul_self_le_mul_self (by decide +kernel) (by decide +kernel)
-- the form is the square of b - 2 a
example : (2 : Rat) * 2 ≤ 1 * 4 :=
  sq_le_mul_of_quadratic_nonneg fun a b => by have := mul_self_nonneg (b - 2 * a); grind
example : (0 : Rat) ≤ (2 / 3) ^ 5 := pow_nonneg (by decide +kernel) 5
example : (0 : Rat) ≤ ((7 : Nat) : Rat) := natCast_nonneg 7
example : ((4 + 1 : Nat) : Rat) = ((4 : Nat) : Rat) + 1 := natCast_succ 4
example : ((3 : Nat) : Rat) ≤ ((5 : Nat) : Rat) := natCast_le_natCast (by decide)
example : 0 ≤ absVal (-3 / 2 : Rat) := absVal_nonneg _
example : (-3 / 2 : Rat) ≤ absVal (-3 / 2) := le_absVal _
example : -(-3 / 2 : Rat) ≤ absVal (-3 / 2) := neg_le_absVal _
example : -2 ≤ (-3 / 2 : Rat) ∧ (-3 / 2 : Rat) ≤ 2 := absVal_le_iff.mp (by decide +kernel)
example : absVal (-3 / 2 : Rat) ≤ 2 := absVal_le_iff.mpr (by decide +kernel)
example : absVal (3 / 2 : Rat) = 3 / 2 := absVal_of_nonneg (by decide +kernel)
example : absVal (-(3 / 2) : Rat) = absVal (3 / 2) := absVal_neg _
example : absVal (-3 * 2 : Rat) = absVal (-3) * absVal 2 := absVal_mul _ _
example : absVal (-3 + 2 : Rat) ≤ absVal (-3) + absVal 2 := absVal_add_le _ _
example : absVal (-3 : Rat) * absVal (-3) = -3 * -3 := absVal_mul_self _
example : (1 / 3 : Rat) ≤ maxVal (1 / 3) (1 / 2) := le_maxVal_left _ _
example : (1 / 2 : Rat) ≤ maxVal (1 / 3) (1 / 2) := le_maxVal_right _ _
example : maxVal (1 / 3 : Rat) (1 / 2) ≤ 1 := maxVal_le (by decide +kernel) (by decide +kernel)
example : minVal (1 / 3 : Rat) (1 / 2) ≤ 1 / 3 := minVal_le_left _ _
example : minVal (1 / 3 : Rat) (1 / 2) ≤ 1 / 2 := minVal_le_right _ _
example : (1 / 4 : Rat) ≤ minVal (1 / 3) (1 / 2) := le_minVal (by decide +kernel) (by decide +kernel)

end NonTrivial

section Smallest

example := pow_nonneg (n := 0) (a := (3 / 2 : Rat)) (by decide +kernel)
example := pow_nonneg (n := 1) (a := (3 / 2 : Rat)) (by decide +kernel)
example := pow_le_one (n := 0) (a := (1 / 2 : Rat)) (by decide +kernel) (by decide +kernel)
example := pow_le_one (n := 1) (a := (1 / 2 : Rat)) (by decide +kernel) (by decide +kernel)
example := natCast_nonneg (n := 0) (α := Rat)
example := natCast_nonneg (n := 1) (α := Rat)
example := natCast_succ (n := 0) (α := Rat)
example := natCast_succ (n := 1) (α := Rat)
example := natCast_le_natCast (m := 0) (n := 0) (α := Rat) (by decide)
example := natCast_le_natCast (m := 1) (n := 1) (α := Rat) (by decide)

end Smallest

end PeelVerify.FieldExamples
