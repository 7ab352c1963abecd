module

public import Proofs

/-! Sums for the lemmas of `Proofs/Sum.lean`. -/

noncomputable section

namespace PeelVerify.SumExamples

open Lean.Grind

attribute [local instance] Semiring.natCast

private abbrev f3 : Fin 3 → Rat := vec [1, 1 / 2, 1 / 3]
private abbrev g3 : Fin 3 → Rat := vec [2, -1 / 2, 1 / 3]
private abbrev table : Fin 2 → Fin 3 → Rat := mat [[1, 2, 3], [-4, 5, 1 / 6]]

section NonTrivial

example : sum (fun i => f3 i + g3 i) = sum fun i => g3 i + f3 i := sum_congr (by decide +kernel)
example : sum (fun i => f3 i + g3 i) = sum f3 + sum g3 := sum_add f3 g3
example : sum (fun i => f3 i - g3 i) = sum f3 - sum g3 := sum_sub f3 g3
example : sum (fun i => -2 * f3 i) = -2 * sum f3 := sum_mul_left (-2) f3
example : sum (fun i => f3 i * -2) = sum f3 * -2 := sum_mul_right (-2) f3
example : sum (fun i => -f3 i) = -sum f3 := sum_neg f3
example : sum (fun _ : Fin 3 => (0 : Rat)) = 0 := sum_const_zero
example : (sum fun i => sum fun j => table i j) = sum fun j => sum fun i => table i j := sum_comm table
example : sum (fun i : Fin 3 => if i = 1 then (7 / 2 : Rat) else 0) = 7 / 2 := sum_ite_eq 1 (7 / 2)
example : sum f3 = (sum fun i : Fin 2 => f3 i.castSucc) + f3 (Fin.last 2) := sum_castSucc f3
example : sum f3 ≤ sum fun i => f3 i * f3 i + 1 / 4 := sum_le_sum (by decide +kernel)
example : 0 ≤ sum f3 := sum_nonneg (by decide +kernel)
example : sum (fun _ : Fin 3 => (1 / 2 : Rat)) = ((3 : Nat) : Rat) * (1 / 2) := sum_const (1 / 2)
example : sum f3 ≤ ((3 : Nat) : Rat) * 1 := sum_le_mul (by decide +kernel)

end NonTrivial

private abbrev f0 : Fin 0 → Rat := vec []
private abbrev f1 : Fin 1 → Rat := vec [2]
private abbrev f2 : Fin 2 → Rat := vec [2, 3]
private abbrev g1 : Fin 1 → Rat := vec [-1 / 3]
private abbrev t0 : Fin 0 → Fin 0 → Rat := mat []
private abbrev t1 : Fin 1 → Fin 1 → Rat := mat [[5]]

section Smallest

example := sum_succ (n := 0) f1
example := sum_succ (n := 1) f2
example := sum_congr (n := 0) (f := f0) (g := f0) (by decide +kernel)
example := sum_congr (n := 1) (f := f1) (g := fun _ => 2) (by decide +kernel)
example := sum_add (n := 0) f0 f0
example := sum_add (n := 1) f1 g1
example := sum_sub (n := 0) f0 f0
example := sum_sub (n := 1) f1 g1
example := sum_mul_left (n := 0) (-2) f0
example := sum_mul_left (n := 1) (-2) f1
example := sum_mul_right (n := 0) (-2) f0
example := sum_mul_right (n := 1) (-2) f1
example := sum_neg (n := 0) f0
example := sum_neg (n := 1) f1
example := sum_const_zero (n := 0) (α := Rat)
example := sum_const_zero (n := 1) (α := Rat)
example := sum_comm (m := 0) (n := 0) t0
example := sum_comm (m := 1) (n := 1) t1
-- sizes sum_ite_eq: n = 1 and n = 2; k picks a term
example := sum_ite_eq (n := 1) 0 (7 / 2 : Rat)
example := sum_ite_eq (n := 2) 1 (7 / 2 : Rat)
example := sum_castSucc (n := 0) f1
example := sum_castSucc (n := 1) f2
example := sum_le_sum (n := 0) (f := f0) (g := f0) (by decide +kernel)
example := sum_le_sum (n := 1) (f := g1) (g := f1) (by decide +kernel)
example := sum_nonneg (n := 0) (f := f0) (by decide +kernel)
example := sum_nonneg (n := 1) (f := f1) (by decide +kernel)
-- sizes le_sum: n = 1 and n = 2; k picks a term
example := le_sum (n := 1) (f := f1) (by decide +kernel) 0
example := le_sum (n := 2) (f := f2) (by decide +kernel) 1
example := sum_const (n := 0) (7 / 2 : Rat)
example := sum_const (n := 1) (7 / 2 : Rat)
example := sum_le_mul (n := 0) (f := f0) (c := 2) (by decide +kernel)
example := sum_le_mul (n := 1) (f := f1) (c := 2) (by decide +kernel)

end Smallest

end PeelVerify.SumExamples
