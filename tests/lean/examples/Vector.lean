module

public import Proofs

/-! Vectors for the lemmas of `Proofs/Vector.lean`. -/

noncomputable section

namespace PeelVerify.VectorExamples

open Lean.Grind

private abbrev x2 : Fin 2 → Rat := vec [3, 4]
private abbrev y2 : Fin 2 → Rat := vec [1, -1 / 2]
private abbrev z2 : Fin 2 → Rat := vec [-2, 1 / 3]
private abbrev rows : Fin 3 → Fin 2 → Rat := mat [[1, 2], [0, -1], [1 / 2, 5]]

private theorem x2_le : Norm2Le x2 5 := ⟨by decide +kernel, by decide +kernel⟩

section NonTrivial

example : dot x2 y2 = dot y2 x2 := dot_comm x2 y2
example : dot (fun i => x2 i + y2 i) z2 = dot x2 z2 + dot y2 z2 := dot_add_left x2 y2 z2
example : dot x2 (fun i => y2 i + z2 i) = dot x2 y2 + dot x2 z2 := dot_add_right x2 y2 z2
example : dot (fun i => x2 i - y2 i) z2 = dot x2 z2 - dot y2 z2 := dot_sub_left x2 y2 z2
example : dot x2 (fun i => y2 i - z2 i) = dot x2 y2 - dot x2 z2 := dot_sub_right x2 y2 z2
example : dot (fun i => -2 * x2 i) y2 = -2 * dot x2 y2 := dot_smul_left (-2) x2 y2
example : dot x2 (fun i => -2 * y2 i) = -2 * dot x2 y2 := dot_smul_right (-2) x2 y2
example : dot x2 (fun _ => 0) = 0 := dot_zero_right x2
example : dot x2 (fun i => sum fun s => rows s i) = sum fun s => dot x2 (rows s) := dot_sum_right x2 rows
example : normSq (fun i => x2 i + y2 i) = normSq x2 + 2 * dot x2 y2 + normSq y2 := normSq_add x2 y2
example : normSq (fun i => x2 i - y2 i) = normSq x2 - 2 * dot x2 y2 + normSq y2 := normSq_sub x2 y2
example : normSq (fun i => -2 * x2 i) = -2 * -2 * normSq x2 := normSq_smul (-2) x2
example : normSq (fun _ : Fin 2 => (0 : Rat)) = 0 := normSq_zero
example : 0 ≤ normSq y2 := normSq_nonneg y2
example : (vec [0, 0, 0] : Fin 3 → Rat) 1 = 0 := eq_zero_of_normSq_eq_zero (by decide +kernel) 1
example : Norm2Le (fun i => -x2 i) 5 := Norm2Le.neg x2_le
example : Norm2Le x2 6 := Norm2Le.mono x2_le (by decide +kernel)
example : (49 / 10 : Rat) ≤ 5 := Norm2Ge.le (x := x2) ⟨by decide +kernel, by decide +kernel⟩ x2_le
example : x2 1 ≤ 5 := Norm2Le.entry_le x2_le 1
example : absVal (y2 1) ≤ normInf y2 := absVal_le_normInf y2 1
example : 0 ≤ normInf y2 := normInf_nonneg y2
example : absVal (sum y2) ≤ sum fun i => absVal (y2 i) := absVal_sum_le y2

end NonTrivial

private abbrev x0 : Fin 0 → Rat := vec []
private abbrev x1 : Fin 1 → Rat := vec [2]
private abbrev y1 : Fin 1 → Rat := vec [-1 / 3]
private abbrev z1 : Fin 1 → Rat := vec [5]
private abbrev v0 : Fin 0 → Fin 0 → Rat := mat []
private abbrev v1 : Fin 1 → Fin 1 → Rat := mat [[2]]

private theorem x0_le : Norm2Le x0 0 := ⟨by decide +kernel, by decide +kernel⟩
private theorem x1_le : Norm2Le x1 2 := ⟨by decide +kernel, by decide +kernel⟩
private theorem y1_le : Norm2Le y1 (1 / 2) := ⟨by decide +kernel, by decide +kernel⟩

section Smallest

example := dot_comm (n := 0) x0 x0
example := dot_comm (n := 1) x1 y1
example := dot_add_left (n := 0) x0 x0 x0
example := dot_add_left (n := 1) x1 y1 z1
example := dot_add_right (n := 0) x0 x0 x0
example := dot_add_right (n := 1) x1 y1 z1
example := dot_sub_left (n := 0) x0 x0 x0
example := dot_sub_left (n := 1) x1 y1 z1
example := dot_sub_right (n := 0) x0 x0 x0
example := dot_sub_right (n := 1) x1 y1 z1
example := dot_smul_left (n := 0) (-2) x0 x0
example := dot_smul_left (n := 1) (-2) x1 y1
example := dot_smul_right (n := 0) (-2) x0 x0
example := dot_smul_right (n := 1) (-2) x1 y1
example := dot_zero_right (n := 0) x0
example := dot_zero_right (n := 1) x1
example := dot_sum_right (n := 0) (k := 0) x0 v0
example := dot_sum_right (n := 1) (k := 1) x1 v1
example := normSq_add (n := 0) x0 x0
example := normSq_add (n := 1) x1 y1
example := normSq_sub (n := 0) x0 x0
example := normSq_sub (n := 1) x1 y1
example := normSq_smul (n := 0) (-2) x0
example := normSq_smul (n := 1) (-2) x1
example := normSq_zero (n := 0) (α := Rat)
example := normSq_zero (n := 1) (α := Rat)
example := normSq_nonneg (n := 0) x0
example := normSq_nonneg (n := 1) y1
-- sizes eq_zero_of_normSq_eq_zero: n = 1 and n = 2; i picks an entry
example := eq_zero_of_normSq_eq_zero (n := 1) (x := fun _ => (0 : Rat)) (by decide +kernel) 0
example := eq_zero_of_normSq_eq_zero (n := 2) (x := fun _ => (0 : Rat)) (by decide +kernel) 1
example := dot_sq_le_normSq_mul_normSq (n := 0) x0 x0
example := dot_sq_le_normSq_mul_normSq (n := 1) x1 y1
example := dot_le_of_norm2Le (n := 0) x0_le x0_le
example := dot_le_of_norm2Le (n := 1) x1_le y1_le
example := Norm2Le.add (n := 0) x0_le x0_le
example := Norm2Le.add (n := 1) x1_le y1_le
example := Norm2Le.smul (n := 0) (-2) x0_le
example := Norm2Le.smul (n := 1) (-2) x1_le
example := Norm2Le.neg (n := 0) x0_le
example := Norm2Le.neg (n := 1) x1_le
example := Norm2Le.sub (n := 0) x0_le x0_le
example := Norm2Le.sub (n := 1) x1_le y1_le
example := Norm2Le.zero (n := 0) (α := Rat)
example := Norm2Le.zero (n := 1) (α := Rat)
example := Norm2Le.mono (n := 0) (b := 1) x0_le (by decide +kernel)
example := Norm2Le.mono (n := 1) (b := 3) x1_le (by decide +kernel)
example := Norm2Le.sum (n := 0) (k := 0) (x := v0) (c := x0) (by unfold Norm2Le; decide +kernel)
example := Norm2Le.sum (n := 1) (k := 1) (x := v1) (c := x1) (by unfold Norm2Le; decide +kernel)
example := Norm2Ge.le (n := 0) (a := 0) ⟨by decide +kernel, by decide +kernel⟩ x0_le
example := Norm2Ge.le (n := 1) (a := 3 / 2) ⟨by decide +kernel, by decide +kernel⟩ x1_le
-- sizes Norm2Le.entry_le: n = 1 and n = 2; i picks an entry
example := Norm2Le.entry_le (n := 1) x1_le 0
example := Norm2Le.entry_le (n := 2) x2_le 1
-- sizes absVal_le_normInf: n = 1 and n = 2; i picks an entry
example := absVal_le_normInf (n := 1) y1 0
example := absVal_le_normInf (n := 2) y2 1
example := normInf_nonneg (n := 0) x0
example := normInf_nonneg (n := 1) y1
example := absVal_sum_le (n := 0) x0
example := absVal_sum_le (n := 1) y1
example := abs_dot_le_norm1_mul_normInf (n := 0) x0 x0
example := abs_dot_le_norm1_mul_normInf (n := 1) x1 y1

end Smallest

end PeelVerify.VectorExamples
