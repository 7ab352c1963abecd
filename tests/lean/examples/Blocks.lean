module

public import Proofs

/-! Layers and chains of states for the theorems of `Proofs/Blocks.lean`. -/

noncomputable section

namespace PeelVerify.BlockExamples

open Lean.Grind

private abbrev A2 : Fin 2 → Fin 2 → Rat := mat [[3, 0], [0, 4]]
private abbrev B2 : Fin 2 → Fin 2 → Rat := mat [[0, 1], [-1, 0]]

private theorem A2_le : OpNorm2Le A2 5 := OpNorm2Le.of_frob ⟨by decide +kernel, by decide +kernel⟩
private theorem B2_le : OpNorm2Le B2 2 := OpNorm2Le.of_frob ⟨by decide +kernel, by decide +kernel⟩

section NonTrivial

example : LipschitzLe (mulVec A2) 5 := LipschitzLe.of_opNorm2Le A2_le
example : Norm2Le (fun i => mulVec A2 (vec [2, 1]) i - mulVec A2 (vec [-1, 5]) i) (5 * 5) :=
  LipschitzLe.norm2Le (LipschitzLe.of_opNorm2Le A2_le) ⟨by decide +kernel, by decide +kernel⟩
example : LipschitzLe (fun x => mulVec A2 (mulVec B2 x)) (5 * 2) :=
  LipschitzLe.comp (LipschitzLe.of_opNorm2Le A2_le) (LipschitzLe.of_opNorm2Le B2_le)
example : LipschitzLe (fun x i => mulVec A2 x i + mulVec B2 x i) (5 + 2) :=
  LipschitzLe.add (LipschitzLe.of_opNorm2Le A2_le) (LipschitzLe.of_opNorm2Le B2_le)
example : LipschitzLe (fun x i => x i + mulVec A2 x i) (1 + 5) :=
  LipschitzLe.residual (LipschitzLe.of_opNorm2Le A2_le)

end NonTrivial

private abbrev x0 : Fin 0 → Rat := vec []
private abbrev A0 : Fin 0 → Fin 0 → Rat := mat []
private abbrev A1 : Fin 1 → Fin 1 → Rat := mat [[1 / 2]]
private abbrev B1 : Fin 1 → Fin 1 → Rat := mat [[3 / 4]]
private abbrev x1 : Fin 1 → Rat := vec [3]
private abbrev y1 : Fin 1 → Rat := vec [4]

private theorem x0_le : Norm2Le x0 0 := ⟨by decide +kernel, by decide +kernel⟩
private theorem A0_le : OpNorm2Le A0 0 := OpNorm2Le.of_frob ⟨by decide +kernel, by decide +kernel⟩
private theorem A1_le : OpNorm2Le A1 (1 / 2) := OpNorm2Le.of_frob ⟨by decide +kernel, by decide +kernel⟩
private theorem B1_le : OpNorm2Le B1 (3 / 4) := OpNorm2Le.of_frob ⟨by decide +kernel, by decide +kernel⟩
private theorem f0 : LipschitzLe (mulVec A0) 0 := LipschitzLe.of_opNorm2Le A0_le
private theorem f1 : LipschitzLe (mulVec A1) (1 / 2) := LipschitzLe.of_opNorm2Le A1_le
private theorem g1 : LipschitzLe (mulVec B1) (3 / 4) := LipschitzLe.of_opNorm2Le B1_le

section Smallest

example := LipschitzLe.norm2Le (m := 0) (n := 0) (x := x0) (y := x0) (e := 0) f0
  ⟨by decide +kernel, by decide +kernel⟩
example := LipschitzLe.norm2Le (m := 1) (n := 1) (x := x1) (y := y1) (e := 1) f1
  ⟨by decide +kernel, by decide +kernel⟩
example := LipschitzLe.of_opNorm2Le (m := 0) (n := 0) A0_le
example := LipschitzLe.of_opNorm2Le (m := 1) (n := 1) A1_le
example := LipschitzLe.comp (m := 0) (n := 0) (p := 0) f0 f0
example := LipschitzLe.comp (m := 1) (n := 1) (p := 1) f1 g1
example := LipschitzLe.add (m := 0) (n := 0) f0 f0
example := LipschitzLe.add (m := 1) (n := 1) f1 g1
example := LipschitzLe.residual (n := 0) f0
example := LipschitzLe.residual (n := 1) f1
example := block_error (m := 0) (n := 0) (f' := mulVec A0) (x := x0) (x' := x0) (e := 0) (d := 0) f0
  ⟨by decide +kernel, by decide +kernel⟩ ⟨by decide +kernel, by decide +kernel⟩
example := block_error (m := 1) (n := 1) (f' := mulVec B1) (x := x1) (x' := y1) (e := 1) (d := 1) f1
  ⟨by decide +kernel, by decide +kernel⟩ ⟨by decide +kernel, by decide +kernel⟩
example := two_layer_error (m := 0) (n := 0) (p := 0) (g' := mulVec A0) (f := mulVec A0)
  (f' := mulVec A0) (x := x0) (d1 := 0) (d2 := 0) f0 ⟨by decide +kernel, by decide +kernel⟩
  ⟨by decide +kernel, by decide +kernel⟩
example := two_layer_error (m := 1) (n := 1) (p := 1) (g' := mulVec B1) (f := mulVec A1)
  (f' := mulVec B1) (x := y1) (d1 := 1) (d2 := 1) f1 ⟨by decide +kernel, by decide +kernel⟩
  ⟨by decide +kernel, by decide +kernel⟩
example := deletion_error (n := 0) (x := x0) (x' := x0) (e := 0) (d := 0) f0
  ⟨by decide +kernel, by decide +kernel⟩ ⟨by decide +kernel, by decide +kernel⟩
example := deletion_error (n := 1) (x := x1) (x' := y1) (e := 1) (d := 2) f1
  ⟨by decide +kernel, by decide +kernel⟩ ⟨by decide +kernel, by decide +kernel⟩
example := states_le_chainBound (n := 0) (steps := []) (fun _ => mulVec A0) (fun _ => mulVec A0)
  (fun _ => x0) (fun _ => x0) (e0 := 0) (fun t ht => absurd ht (Nat.not_lt_zero t))
  (fun t ht => absurd ht (Nat.not_lt_zero t)) ⟨by decide +kernel, by decide +kernel⟩
  (fun t ht => absurd ht (Nat.not_lt_zero t)) (fun t ht => absurd ht (Nat.not_lt_zero t))
-- 3 goes to 3 / 2 in the original, 4 goes to 2 in the compressed chain
example := states_le_chainBound (n := 1) (steps := [(1 / 2, 1 / 4)]) (fun _ => mulVec A1)
  (fun _ _ => vec [2]) (fun t => [vec [3], vec [3 / 2]].getD t (vec []))
  (fun t => [vec [4], vec [2]].getD t (vec [])) (e0 := 1)
  (fun t ht => funext fun i => by
    have e : t = 0 := by simpa using ht
    subst e
    revert i
    decide +kernel)
  (fun t ht => by
    have e : t = 0 := by simpa using ht
    subst e
    rfl)
  ⟨by decide +kernel, by decide +kernel⟩
  (fun t ht => by
    have e : t = 0 := by simpa using ht
    subst e
    exact f1)
  (by unfold Norm2Le; decide +kernel)
example := residual_contraction (n := 0) (difference := x0) (change := x0) (mu := 1 / 2) (gain := 1 / 2)
  (c := 1 / 2) (by decide +kernel) (by decide +kernel) (by decide +kernel)
example := residual_contraction (n := 1) (difference := y1) (change := vec [-2]) (mu := 1 / 2)
  (gain := 1 / 2) (c := 1 / 2) (by decide +kernel) (by decide +kernel) (by decide +kernel)
example := relative_le_chainBound (steps := []) (fun _ => (1 : Rat)) (fun _ => 1) (fun _ => 2) (fun _ => 0)
  (fun _ => 8) (r0 := 1 / 4) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
example := relative_le_chainBound (steps := [(1, 1 / 8)]) (fun _ => (2 : Rat)) (fun _ => 1 / 2)
  (fun t => [1, 3].getD t 0) (fun _ => 1) (fun t => [4, 8].getD t 0) (r0 := 1 / 4) (by decide +kernel)
  (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel) (by decide +kernel) (by decide +kernel)
-- two empty states: error and size are 0
example := relative_states_le_chainBound (m := 0) (steps := []) (fun _ => (1 : Rat)) (fun _ => 1)
  (fun _ => 0) (fun _ => 0) (fun _ => 0) (r0 := 1 / 4) (by decide +kernel) (by decide +kernel)
  (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel) (original := x0) (compressed := x0) ⟨by decide +kernel, by decide +kernel⟩
  ⟨by decide +kernel, by decide +kernel⟩
example := relative_states_le_chainBound (m := 1) (steps := [(1, 1 / 8)]) (fun _ => (2 : Rat))
  (fun _ => 1 / 2) (fun t => [1, 3].getD t 0) (fun _ => 1) (fun t => [4, 8].getD t 0) (r0 := 1 / 4)
  (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel) (by decide +kernel) (by decide +kernel) (original := vec [8])
  (compressed := vec [10]) ⟨by decide +kernel, by decide +kernel⟩ ⟨by decide +kernel, by decide +kernel⟩

end Smallest

end PeelVerify.BlockExamples
