module

public import Proofs

/-! Computed numbers and what they enclose, for the theorems of `Proofs/Enclose.lean`. -/

noncomputable section

namespace PeelVerify.EncloseExamples

open Lean.Grind

attribute [local instance] Semiring.natCast

private abbrev skew : Fin 2 → Fin 2 → Rat := mat [[3, 1], [0, 4]]

section NonTrivial

example : OpNorm2Le (fun i j => -2 * skew i j) (absVal (-2) * 6) :=
  OpNorm2Le.smul (-2) (OpNorm2Le.of_frob ⟨by decide +kernel, by decide +kernel⟩)
example : growth (1 / 8 : Rat) (2 + 3) =
    growth (1 / 8) 2 + growth (1 / 8) 3 + growth (1 / 8) 2 * growth (1 / 8) 3 := growth_add (1 / 8) 2 3
-- the product of `skew` with itself is [[9, 7], [0, 16]]
example (i j : Fin 2) : absVal ((mat [[9, 29 / 4], [0, 16]] : Fin 2 → Fin 2 → Rat) i j -
    matMul skew skew i j) ≤ (mat [[2, 3], [1, 4]] : Fin 2 → Fin 2 → Rat) i j :=
  matMul_enclosure (relative := 1 / 8) (underflow := 1 / 8) (M := mat [[9, 7], [0, 16]])
    (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel) i j

end NonTrivial

private abbrev x0 : Fin 0 → Rat := vec []
private abbrev x1 : Fin 1 → Rat := vec [2]
private abbrev y1 : Fin 1 → Rat := vec [3]
private abbrev A0 : Fin 0 → Fin 0 → Rat := mat []
private abbrev A1 : Fin 1 → Fin 1 → Rat := mat [[2]]
private abbrev B1 : Fin 1 → Fin 1 → Rat := mat [[3]]
private abbrev flat1 : Fin 0 → Fin 1 → Rat := mat []
private abbrev flat2 : Fin 0 → Fin 2 → Rat := mat []
private abbrev broad : Fin 1 → Fin 2 → Rat := mat [[3, -4]]
private abbrev thin1 : Fin 1 → Fin 0 → Rat := mat []
private abbrev tall : Fin 2 → Fin 1 → Rat := mat [[3], [-4]]

private theorem A0_le : OpNorm2Le A0 0 := OpNorm2Le.of_frob ⟨by decide +kernel, by decide +kernel⟩
private theorem A1_frob : FrobLe A1 2 := ⟨by decide +kernel, by decide +kernel⟩
private theorem A1_le : OpNorm2Le A1 2 := OpNorm2Le.of_frob A1_frob
private theorem flat1_le : OpNorm2Le flat1 0 := OpNorm2Le.of_frob ⟨by decide +kernel, by decide +kernel⟩
private theorem broad_le : OpNorm2Le broad 5 := OpNorm2Le.of_frob ⟨by decide +kernel, by decide +kernel⟩
private theorem skew_frob : FrobLe skew 6 := ⟨by decide +kernel, by decide +kernel⟩

section Smallest

-- sizes le_of_opNorm2Le: m = 0, n = 1 and m = 1, n = 2; the witness is not 0
example := le_of_opNorm2Le (m := 0) (n := 1) (lower := 0) flat1_le x1 (by decide +kernel)
  (by decide +kernel)
example := le_of_opNorm2Le (m := 1) (n := 2) (lower := 5) broad_le (vec [3, -4]) (by decide +kernel)
  (by decide +kernel)
example := OpNorm2Le.smul (m := 0) (n := 0) (-2) A0_le
example := OpNorm2Le.smul (m := 1) (n := 1) (-2) A1_le
example := DiagonallyDominant.of_close (n := 0) (D := A0) (D' := A0) (slack := x0) (by decide +kernel)
  (by decide +kernel)
example := DiagonallyDominant.of_close (n := 1) (D := A1) (D' := B1) (slack := fun _ => 1)
  (by decide +kernel) (by decide +kernel)
example := opNorm2Le_of_computed_certificate (m := 0) (n := 0) (p := 0) (A := A0) (L := A0) (D' := A0)
  (slack := x0) (c := 0) (by decide +kernel) (by decide +kernel) (by decide +kernel)
-- 16 - 2 * 2 - 3 * 3 = 3
example := opNorm2Le_of_computed_certificate (m := 1) (n := 1) (p := 1) (A := A1) (L := B1)
  (D' := fun _ _ => 7 / 2) (slack := fun _ => 1 / 2) (c := 4) (by decide +kernel) (by decide +kernel)
  (by decide +kernel)
-- sizes normInf_mulVec_le: m = 1, n = 0 and m = 2, n = 1; i picks a row
example := normInf_mulVec_le (m := 1) (n := 0) (A := thin1) (r := 0) (by decide +kernel) x0 0
example := normInf_mulVec_le (m := 2) (n := 1) (A := tall) (r := 4) (by decide +kernel) x1 1
example := norm1_mulVec_le (m := 0) (n := 0) (A := A0) (k := 0) (by decide +kernel) x0
example := norm1_mulVec_le (m := 1) (n := 1) (A := A1) (k := 2) (by decide +kernel) y1
example := growth_add (m := 0) (n := 0) (1 / 8 : Rat)
example := growth_add (m := 1) (n := 1) (1 / 8 : Rat)
example := rounded_product_error (p := 0) (q := 0) (unit := (1 / 8 : Rat)) (a := 2) (a' := 2) (b := 3)
  (b' := 3) (by decide +kernel) (by decide +kernel) (by decide +kernel)
example := rounded_product_error (p := 1) (q := 1) (unit := (1 / 8 : Rat)) (a := 2) (a' := 9 / 4) (b := 3)
  (b' := 11 / 4) (by decide +kernel) (by decide +kernel) (by decide +kernel)
example := dot_error_of_rounded_factors (n := 0) (p := 0) (q := 0) (unit := 1 / 8) (x := x0) (y := x0)
  (x' := x0) (y' := x0) (v := 0) (underflow := 0) (by decide +kernel) (by decide +kernel)
  (by decide +kernel) (by decide +kernel)
example := dot_error_of_rounded_factors (n := 1) (p := 1) (q := 1) (unit := 1 / 8) (x := x1) (y := y1)
  (x' := vec [9 / 4]) (y' := vec [11 / 4]) (v := 6) (underflow := 0) (by decide +kernel)
  (by decide +kernel) (by decide +kernel) (by decide +kernel)
example := partial_sums_enclosure (k := 0) (part := x0) (computed := x0) (relative := 1 / 8)
  (underflow := 0) (by decide +kernel) (by decide +kernel) (by decide +kernel)
example := partial_sums_enclosure (k := 1) (part := x1) (computed := vec [9 / 4]) (relative := 1 / 8)
  (underflow := 0) (by decide +kernel) (by decide +kernel) (by decide +kernel)
example := dot_le_of_computed (n := 0) (x := x0) (y := x0) (computed := 0) (computedMagnitude := 0)
  (relative := 1 / 8) (underflow := 0) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel)
example := dot_le_of_computed (n := 1) (x := x1) (y := y1) (computed := 13 / 2) (computedMagnitude := 11 / 2)
  (relative := 1 / 8) (underflow := 0) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel)
example := le_dot_of_computed (n := 0) (x := x0) (y := x0) (computed := 0) (computedMagnitude := 0)
  (relative := 1 / 8) (underflow := 0) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel)
example := le_dot_of_computed (n := 1) (x := x1) (y := y1) (computed := 13 / 2) (computedMagnitude := 11 / 2)
  (relative := 1 / 8) (underflow := 0) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel)
-- sizes spectral_slack: m = 0, n = 1, p = 0 and m = 1, n = 2, p = 1; i picks a row
example := spectral_slack (m := 0) (n := 1) (p := 0) (A := flat1) (L := flat1) (G := mat [[0]])
  (P := mat [[0]]) (D := mat [[4]]) (gramNorm := fun _ => 0) (factorNorm := fun _ => 0)
  (subtraction := fun _ => 0) (square := 4) (gramRelative := 1 / 8) (factorRelative := 1 / 8)
  (gramUnderflow := 0) (factorUnderflow := 0) (by decide +kernel) (by decide +kernel)
  (by unfold Norm2Le; decide +kernel) (by unfold Norm2Le; decide +kernel) (by decide +kernel)
  (by decide +kernel) (by decide +kernel) 0
-- the Gram matrix of [3, -4] is [[9, -12], [-12, 16]]; its first entry is computed as 10
example := spectral_slack (m := 1) (n := 2) (p := 1) (A := broad) (L := mat [[1, 0]])
  (G := mat [[10, -12], [-12, 16]]) (P := mat [[1, 0], [0, 0]]) (D := mat [[14, 12], [12, 9]])
  (gramNorm := vec [3, 4]) (factorNorm := vec [1, 0]) (subtraction := fun _ => 0) (square := 25)
  (gramRelative := 1 / 8) (factorRelative := 1 / 8) (gramUnderflow := 0) (factorUnderflow := 0)
  (by decide +kernel) (by decide +kernel) (by unfold Norm2Le; decide +kernel)
  (by unfold Norm2Le; decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel) 1
example := opNorm2Le_of_rounded_certificate (m := 0) (n := 0) (p := 0) (A := A0) (L := A0) (D := A0)
  (slack := x0) (square := 0) (c := 0) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel)
example := opNorm2Le_of_rounded_certificate (m := 1) (n := 1) (p := 1) (A := A1) (L := B1)
  (D := fun _ _ => 7 / 2) (slack := fun _ => 1 / 2) (square := 16) (c := 4) (by decide +kernel)
  (by decide +kernel) (by decide +kernel) (by decide +kernel)
-- sizes columnSum_le_of_bound: m = 0, n = 1 and m = 1, n = 2; j picks a column
example := columnSum_le_of_bound (m := 0) (n := 1) (A := flat1) (k := 0) (norm1_mulVec_le (by decide +kernel)) 0
example := columnSum_le_of_bound (m := 1) (n := 2) (A := broad) (k := 4) (norm1_mulVec_le (by decide +kernel)) 1
-- sizes rowSum_le_of_bound: m = 1, n = 0 and m = 2, n = 1; i picks a row
example := rowSum_le_of_bound (m := 1) (n := 0) (A := thin1) (r := 0) (by decide +kernel)
  (normInf_mulVec_le (by decide +kernel)) 0
example := rowSum_le_of_bound (m := 2) (n := 1) (A := tall) (r := 4) (by decide +kernel)
  (normInf_mulVec_le (by decide +kernel)) 1
-- sizes absVal_le_of_opNorm2Le: m = 1, n = 1 and m = 2, n = 2; i and j pick an entry
example := absVal_le_of_opNorm2Le (m := 1) (n := 1) A1_le 0 0
example := absVal_le_of_opNorm2Le (m := 2) (n := 2) (OpNorm2Le.of_frob skew_frob) 0 1
-- sizes absVal_le_of_frobLe: m = 1, n = 1 and m = 2, n = 2; i and j pick an entry
example := absVal_le_of_frobLe (m := 1) (n := 1) A1_frob 0 0
example := absVal_le_of_frobLe (m := 2) (n := 2) skew_frob 0 1
-- sizes matMul_enclosure: m = 1, n = 0, p = 1 and m = 2, n = 1, p = 2; i and j pick an entry
example := matMul_enclosure (m := 1) (n := 0) (p := 1) (A := thin1) (B := flat1) (C := mat [[1 / 8]])
  (M := mat [[0]]) (R := mat [[1 / 2]]) (relative := 1 / 8) (underflow := 1 / 8) (by decide +kernel)
  (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel) 0 0
-- the product is [[9, -12], [-12, 16]]
example := matMul_enclosure (m := 2) (n := 1) (p := 2) (A := tall) (B := broad)
  (C := mat [[10, -12], [-12, 16]]) (M := mat [[9, 12], [12, 15]]) (R := fun _ _ => 3)
  (relative := 1 / 8) (underflow := 1 / 8) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel) (by decide +kernel) 1 0
example := FrobLe.residual_of_computed (m := 0) (n := 0) (p := 0) (Z := A0) (W := A0) (T := A0) (C := A0)
  (R := A0) (c := 0) (r := 0) (by decide +kernel) ⟨by decide +kernel, by decide +kernel⟩
  ⟨by decide +kernel, by decide +kernel⟩
-- target 10, product 6, computed as 7
example := FrobLe.residual_of_computed (m := 1) (n := 1) (p := 1) (Z := A1) (W := B1) (T := fun _ _ => 10)
  (C := fun _ _ => 7) (R := fun _ _ => 1) (c := 3) (r := 1) (by decide +kernel)
  ⟨by decide +kernel, by decide +kernel⟩ ⟨by decide +kernel, by decide +kernel⟩
example := le_residual_of_computed (m := 0) (n := 0) (p := 0) (Z := A0) (W := A0) (T := A0) (C := A0)
  (R := A0) (c := 0) (r := 0) (d := 0) (by decide +kernel) (by decide +kernel)
  ⟨by decide +kernel, by decide +kernel⟩ ⟨by decide +kernel, by decide +kernel⟩
example := le_residual_of_computed (m := 1) (n := 1) (p := 1) (Z := A1) (W := B1) (T := fun _ _ => 10)
  (C := fun _ _ => 7) (R := fun _ _ => 1) (c := 3) (r := 1) (d := 4) (by decide +kernel)
  (by decide +kernel) ⟨by decide +kernel, by decide +kernel⟩ ⟨by decide +kernel, by decide +kernel⟩

private abbrev one : RoundTree Rat := .leaf (3 / 4)
private abbrev two : RoundTree Rat := .rnd 0 (.add (.leaf (3 / 4)) (.leaf (1 / 2)))

example : one.leaves.length = 1 := rfl
example : two.leaves.length = 2 := rfl

-- sizes computes_exact_on_grid: t.leaves.length = 1 and t.leaves.length = 2; a tree has a leaf
example := computes_exact_on_grid (t := one) (step := 1 / 4) (top := 4) (v := 3 / 4)
  (fun _ hx => ⟨3, by rw [List.mem_singleton.mp hx]; decide +kernel⟩) (by decide +kernel) (.leaf _)
example := computes_exact_on_grid (t := two) (step := 1 / 4) (top := 4) (v := 3 / 4 + 1 / 2)
  (fun _ hx => by
    rcases List.mem_cons.mp hx with h | h
    · exact ⟨3, by rw [h]; decide +kernel⟩
    · exact ⟨2, by rw [List.mem_singleton.mp h]; decide +kernel⟩)
  (by decide +kernel) (.rnd (.add (.leaf _) (.leaf _)) fun _ => rfl)

end Smallest

end PeelVerify.EncloseExamples
