module

public import Proofs

/-! Matrices for the lemmas of `Proofs/Matrix.lean`. -/

noncomputable section

namespace PeelVerify.MatrixExamples

open Lean.Grind

private abbrev wide : Fin 2 → Fin 3 → Rat := mat [[1, 1 / 2, 0], [-1, 2, 3]]
private abbrev other : Fin 2 → Fin 3 → Rat := mat [[0, 1, 1], [2, -1 / 3, 0]]
private abbrev tall : Fin 3 → Fin 2 → Rat := mat [[1, 0], [2, -1], [0, 1 / 2]]
private abbrev x3 : Fin 3 → Rat := vec [1, -2, 1 / 2]
private abbrev y3 : Fin 3 → Rat := vec [0, 1, 3]
private abbrev y2 : Fin 2 → Rat := vec [2, -1]

section NonTrivial

example : mulVec wide (fun j => x3 j + y3 j) = fun i => mulVec wide x3 i + mulVec wide y3 i :=
  mulVec_add wide x3 y3
example : mulVec wide (fun j => x3 j - y3 j) = fun i => mulVec wide x3 i - mulVec wide y3 i :=
  mulVec_sub wide x3 y3
example : mulVec wide (fun j => -2 * x3 j) = fun i => -2 * mulVec wide x3 i := mulVec_smul wide (-2) x3
example : mulVec (fun i j => wide i j + other i j) x3 = fun i => mulVec wide x3 i + mulVec other x3 i :=
  add_mulVec wide other x3
example : mulVec (fun i j => wide i j - other i j) x3 = fun i => mulVec wide x3 i - mulVec other x3 i :=
  sub_mulVec wide other x3
example : dot (mulVec wide x3) y2 = dot x3 (mulVec (transpose wide) y2) := dot_mulVec wide x3 y2
example : mulVec (matMul wide tall) y2 = mulVec wide (mulVec tall y2) := mulVec_matMul wide tall y2
example : normSq (mulVec wide x3) = dot x3 (mulVec (gram wide) x3) := normSq_mulVec wide x3
example : 0 ≤ frobSq wide := frobSq_nonneg wide
example : OpNorm2Le tall 3 :=
  OpNorm2Le.mono (a := 5 / 2) (OpNorm2Le.of_frob ⟨by decide +kernel, by decide +kernel⟩) (by decide +kernel)

end NonTrivial

private abbrev x0 : Fin 0 → Rat := vec []
private abbrev x1 : Fin 1 → Rat := vec [5]
private abbrev y1 : Fin 1 → Rat := vec [-1 / 3]
private abbrev A0 : Fin 0 → Fin 0 → Rat := mat []
private abbrev A1 : Fin 1 → Fin 1 → Rat := mat [[2]]
private abbrev B1 : Fin 1 → Fin 1 → Rat := mat [[-3]]

private theorem x0_le : Norm2Le x0 0 := ⟨by decide +kernel, by decide +kernel⟩
private theorem x1_le : Norm2Le x1 5 := ⟨by decide +kernel, by decide +kernel⟩
private theorem A0_frob : FrobLe A0 0 := ⟨by decide +kernel, by decide +kernel⟩
private theorem A1_frob : FrobLe A1 2 := ⟨by decide +kernel, by decide +kernel⟩
private theorem B1_frob : FrobLe B1 3 := ⟨by decide +kernel, by decide +kernel⟩
private theorem A0_le : OpNorm2Le A0 0 := OpNorm2Le.of_frob A0_frob
private theorem A1_le : OpNorm2Le A1 2 := OpNorm2Le.of_frob A1_frob
private theorem B1_le : OpNorm2Le B1 3 := OpNorm2Le.of_frob B1_frob

section Smallest

example := mulVec_add (m := 0) (n := 0) A0 x0 x0
example := mulVec_add (m := 1) (n := 1) A1 x1 y1
example := mulVec_sub (m := 0) (n := 0) A0 x0 x0
example := mulVec_sub (m := 1) (n := 1) A1 x1 y1
example := mulVec_smul (m := 0) (n := 0) A0 (-2) x0
example := mulVec_smul (m := 1) (n := 1) A1 (-2) x1
example := add_mulVec (m := 0) (n := 0) A0 A0 x0
example := add_mulVec (m := 1) (n := 1) A1 B1 x1
example := sub_mulVec (m := 0) (n := 0) A0 A0 x0
example := sub_mulVec (m := 1) (n := 1) A1 B1 x1
example := dot_mulVec (m := 0) (n := 0) A0 x0 x0
example := dot_mulVec (m := 1) (n := 1) A1 x1 y1
example := mulVec_matMul (m := 0) (n := 0) (p := 0) A0 A0 x0
example := mulVec_matMul (m := 1) (n := 1) (p := 1) A1 B1 x1
example := normSq_mulVec (m := 0) (n := 0) A0 x0
example := normSq_mulVec (m := 1) (n := 1) A1 x1
example := frobSq_transpose (m := 0) (n := 0) A0
example := frobSq_transpose (m := 1) (n := 1) A1
example := frobSq_nonneg (m := 0) (n := 0) A0
example := frobSq_nonneg (m := 1) (n := 1) B1
example := normSq_mulVec_le (m := 0) (n := 0) A0 x0
example := normSq_mulVec_le (m := 1) (n := 1) A1 x1
example := frobSq_mul_le (m := 0) (n := 0) (p := 0) A0 A0
example := frobSq_mul_le (m := 1) (n := 1) (p := 1) A1 B1
example := FrobLe.add (m := 0) (n := 0) A0_frob A0_frob
example := FrobLe.add (m := 1) (n := 1) A1_frob B1_frob
example := OpNorm2Le.of_frob (m := 0) (n := 0) A0_frob
example := OpNorm2Le.of_frob (m := 1) (n := 1) A1_frob
example := OpNorm2Le.norm2Le_mulVec (m := 0) (n := 0) A0_le x0_le
example := OpNorm2Le.norm2Le_mulVec (m := 1) (n := 1) A1_le x1_le
example := OpNorm2Le.add (m := 0) (n := 0) A0_le A0_le
example := OpNorm2Le.add (m := 1) (n := 1) A1_le B1_le
example := OpNorm2Le.mul (m := 0) (n := 0) (p := 0) A0_le A0_le
example := OpNorm2Le.mul (m := 1) (n := 1) (p := 1) A1_le B1_le
example := OpNorm2Le.one_add (n := 0) A0_le x0
example := OpNorm2Le.one_add (n := 1) A1_le x1
example := OpNorm2Le.mono (m := 0) (n := 0) (b := 1) A0_le (by decide +kernel)
example := OpNorm2Le.mono (m := 1) (n := 1) (b := 3) A1_le (by decide +kernel)
example := OpNorm2Le.transpose (m := 0) (n := 0) A0_le
example := OpNorm2Le.transpose (m := 1) (n := 1) A1_le
example := opNorm2Le_of_gram (m := 0) (n := 0) (A := A0) (g := 0) (c := 0) (by decide +kernel)
  (OpNorm2Le.of_frob ⟨by decide +kernel, by decide +kernel⟩) (by decide +kernel)
example := opNorm2Le_of_gram (m := 1) (n := 1) (A := A1) (g := 4) (c := 2) (by decide +kernel)
  (OpNorm2Le.of_frob ⟨by decide +kernel, by decide +kernel⟩) (by decide +kernel)
example := opNorm2Le_of_gram_chain (n := 0) (steps := 0) (fun _ => A0) (fun _ => 0) (by decide +kernel)
  (fun k hk => absurd hk (Nat.not_lt_zero k)) A0_frob (by decide +kernel)
example := opNorm2Le_of_gram_chain (n := 1) (steps := 1) (fun k => [A1, gram A1].getD k A1)
  (fun k => [2, 4].getD k 0) (by decide +kernel)
  (fun k hk => by have e : k = 0 := by omega
                  subst e; rfl)
  ⟨by decide +kernel, by decide +kernel⟩ (by decide +kernel)
-- the list is `c :: rest`, so it is never empty
example := opNorm2Le_of_gramCheck (m := 0) (n := 0) (rest := []) (A := A0) (c := 0) (by decide +kernel)
example := opNorm2Le_of_gramCheck (m := 1) (n := 1) (rest := [4]) (A := A1) (c := 2) (by decide +kernel)
example := opNorm2Le_of_schur (m := 0) (n := 0) (A := A0) (r := 0) (k := 0) (c := 0) (by decide +kernel)
  (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
example := opNorm2Le_of_schur (m := 1) (n := 1) (A := B1) (r := 3) (k := 3) (c := 3) (by decide +kernel)
  (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
example := dot_mulVec_nonneg_of_diagonallyDominant (n := 0) (D := A0) (by decide +kernel)
  (by unfold DiagonallyDominant; decide +kernel) x0
example := dot_mulVec_nonneg_of_diagonallyDominant (n := 1) (D := A1) (by decide +kernel)
  (by unfold DiagonallyDominant; decide +kernel) y1
example := opNorm2Le_of_spectral_certificate (m := 0) (n := 0) (p := 0) (A := A0) (L := A0) (D := A0)
  (c := 0) (by decide +kernel) (by decide +kernel) (by unfold DiagonallyDominant; decide +kernel)
-- 9 - 2 * 2 = 2 * 2 + 1
example := opNorm2Le_of_spectral_certificate (m := 1) (n := 1) (p := 1) (A := A1) (L := A1)
  (D := fun _ _ => 1) (c := 3) (by decide +kernel) (by decide +kernel)
  (by unfold DiagonallyDominant; decide +kernel)
example := opNorm2Le_of_spectralCheck (m := 0) (n := 0) (p := 0) (A := A0) (L := A0) (c := 0)
  (by decide +kernel)
example := opNorm2Le_of_spectralCheck (m := 1) (n := 1) (p := 1) (A := A1) (L := A1) (c := 3)
  (by decide +kernel)

end Smallest

end PeelVerify.MatrixExamples
