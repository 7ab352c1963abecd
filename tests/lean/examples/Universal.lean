module

public import Proofs

/-! Attention, networks and whole blocks for the theorems of `Proofs/Universal.lean`. -/

noncomputable section

namespace PeelVerify.UniversalExamples

open Lean.Grind

attribute [local instance] Semiring.natCast

private abbrev A2 : Fin 2 → Fin 4 → Rat := mat [[3, 0, 1, 0], [0, 4, 0, -1]]

/-! Two heads of two entries each, laid out one after the other in four columns. -/

private theorem sum_four (f : Fin 4 → Rat) :
    sum f = sum fun s : Fin 2 => sum fun j : Fin 2 => f ⟨2 * s.val + j.val, by omega⟩ := by
  simp only [sum_succ, sum_zero]
  show f 0 + (f 1 + (f 2 + (f 3 + 0))) = (f 0 + (f 1 + 0)) + ((f 2 + (f 3 + 0)) + 0)
  grind

section NonTrivial

example : JointNorm2Le (fun (s : Fin 2) i (j : Fin 2) => A2 i ⟨2 * s.val + j.val, by omega⟩) 6 :=
  JointNorm2Le.of_opNorm2Le (fun s j => ⟨2 * s.val + j.val, by omega⟩)
    (fun c => (⟨c.val / 2, by omega⟩, ⟨c.val % 2, by omega⟩)) (by decide) sum_four
    (OpNorm2Le.of_frob ⟨by decide +kernel, by decide +kernel⟩)

end NonTrivial

private abbrev x0 : Fin 0 → Rat := vec []
private abbrev A0 : Fin 0 → Fin 0 → Rat := mat []
private abbrev x1 : Fin 1 → Rat := vec [2]
private abbrev y1 : Fin 1 → Rat := vec [3]
private abbrev A1 : Fin 1 → Fin 1 → Rat := mat [[2]]
private abbrev B1 : Fin 1 → Fin 1 → Rat := mat [[3]]

private theorem x0_le : Norm2Le x0 0 := ⟨by decide +kernel, by decide +kernel⟩
private theorem x0_sub : Norm2Le (fun i => x0 i - x0 i) 0 := ⟨by decide +kernel, by decide +kernel⟩
private theorem A0_le : OpNorm2Le A0 0 := OpNorm2Le.of_frob ⟨by decide +kernel, by decide +kernel⟩
private theorem A0_sub : OpNorm2Le (fun i j => A0 i j - A0 i j) 0 :=
  OpNorm2Le.of_frob ⟨by decide +kernel, by decide +kernel⟩
private theorem x1_le : Norm2Le x1 2 := ⟨by decide +kernel, by decide +kernel⟩
private theorem x1_sub : Norm2Le (fun i => x1 i - x1 i) 1 := ⟨by decide +kernel, by decide +kernel⟩
private theorem y1_le : Norm2Le y1 3 := ⟨by decide +kernel, by decide +kernel⟩
private theorem y1_sub_x1 : Norm2Le (fun i => y1 i - x1 i) 1 := ⟨by decide +kernel, by decide +kernel⟩
private theorem A1_le : OpNorm2Le A1 2 := OpNorm2Le.of_frob ⟨by decide +kernel, by decide +kernel⟩
private theorem B1_sub_A1 : OpNorm2Le (fun i j => B1 i j - A1 i j) 1 :=
  OpNorm2Le.of_frob ⟨by decide +kernel, by decide +kernel⟩
private theorem id_le (a : Rat) : absVal (id a) ≤ absVal a := Std.le_refl _
private theorem id_lipschitz (a b : Rat) : absVal (id a - id b) ≤ 1 * absVal (a - b) := by
  show absVal (a - b) ≤ 1 * absVal (a - b)
  grind

/-! No head, and one head of one entry. -/

private theorem joint0 (A : Fin 0 → Fin 0 → Rat) (h : OpNorm2Le A 0) :
    JointNorm2Le (fun (s : Fin 0) i (_ : Fin 0) => A i s) 0 :=
  JointNorm2Le.of_opNorm2Le (fun s _ => s) (fun c => (c, c)) (fun s => s.elim0) (fun _ => rfl) h
private theorem joint1 (A : Fin 1 → Fin 1 → Rat) (c : Rat) (h : OpNorm2Le A c) :
    JointNorm2Le (fun (s : Fin 1) i (_ : Fin 1) => A i s) c :=
  JointNorm2Le.of_opNorm2Le (fun s _ => s) (fun s => (s, 0)) (by decide)
    (fun f => sum_congr fun s => by rw [sum_succ, sum_zero]; grind) h

section Smallest

example := affine_norm_le (m := 0) (n := 0) A0_le x0_le x0_le
example := affine_norm_le (m := 1) (n := 1) A1_le x1_le y1_le
example := affine_error_le (m := 0) (n := 0) A0_le A0_sub x0_le x0_sub x0_sub
example := affine_error_le (m := 1) (n := 1) A1_le B1_sub_A1 y1_le y1_sub_x1 y1_sub_x1
example := score_error_le (n := 0) x0_le x0_le x0_sub x0_sub
example := score_error_le (n := 1) x1_le y1_le y1_sub_x1 y1_sub_x1
example := weight_change_le_two (k := 0) (weight := x0) (weight' := x0) (by decide +kernel)
  (by decide +kernel) (by decide +kernel) (by decide +kernel)
example := weight_change_le_two (k := 1) (weight := vec [1]) (weight' := vec [(1 / 2 : Rat)])
  (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
-- sizes weight_change_le: k = 1 and k = 2; weights that add up to 1
example := weight_change_le (k := 1) (weight := vec [1]) (weight' := vec [1]) (least := (1 / 2 : Rat))
  (most := 3 / 2) (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel) (by decide +kernel)
example := weight_change_le (k := 2) (weight := vec [1 / 2, 1 / 2]) (weight' := vec [1 / 4, 3 / 4])
  (least := (1 / 2 : Rat)) (most := 3 / 2) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel) (by decide +kernel) (by decide +kernel)
-- one score, then two
example := softmax_change_le (k := 0) isExp_two (score := vec [0]) (score' := vec [2])
  (fun s => by match s with | 0 => exact ⟨0, rfl⟩) (fun s => by match s with | 0 => exact ⟨2, rfl⟩)
  (weight := vec [1]) (weight' := vec [1]) (by decide +kernel) (by decide +kernel) (spread := 0) (root := 1)
  ⟨0, rfl⟩ (by decide +kernel) (by decide +kernel) (by decide +kernel)
example := softmax_change_le (k := 1) isExp_two (score := vec [0, 0]) (score' := vec [2, 0])
  (fun s => by match s with | 0 => exact ⟨0, rfl⟩ | 1 => exact ⟨0, rfl⟩)
  (fun s => by match s with | 0 => exact ⟨2, rfl⟩ | 1 => exact ⟨0, rfl⟩) (weight := vec [1 / 2, 1 / 2])
  (weight' := vec [4 / 5, 1 / 5]) (by decide +kernel) (by decide +kernel) (spread := 2) (root := 2)
  ⟨2, rfl⟩ (by decide +kernel) (by decide +kernel) (by decide +kernel)
example := mixture_error_le (k := 0) (h := 0) (weight := x0) (weight' := x0) (value := A0) (value' := A0)
  (total := 0) (size := 0) (shift := 0) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel) (by unfold Norm2Le; decide +kernel) (by decide +kernel)
  (by unfold Norm2Le; decide +kernel)
example := mixture_error_le (k := 1) (h := 1) (weight := vec [1]) (weight' := vec [1 / 2]) (value := A1)
  (value' := B1) (total := 1 / 2) (size := 2) (shift := 1) (by decide +kernel) (by decide +kernel)
  (by decide +kernel) (by decide +kernel) (by unfold Norm2Le; decide +kernel) (by decide +kernel)
  (by unfold Norm2Le; decide +kernel)
example := heads_error_le (H := 0) (n := 0) (h := 0) (joint0 A0 A0_le) (joint0 _ A0_sub) (mix := A0)
  (mix' := A0) (size := 0) (shift := 0) ⟨by decide +kernel, by decide +kernel⟩
  ⟨by decide +kernel, by decide +kernel⟩
example := heads_error_le (H := 1) (n := 1) (h := 1) (joint1 A1 2 A1_le) (joint1 _ 1 B1_sub_A1)
  (mix := A1) (mix' := B1) (size := 3) (shift := 1) ⟨by decide +kernel, by decide +kernel⟩
  ⟨by decide +kernel, by decide +kernel⟩
example := JointNorm2Le.of_opNorm2Le (H := 0) (n := 0) (h := 0) (N := 0) (fun s _ => s) (fun c => (c, c))
  (fun s => s.elim0) (fun _ => rfl) A0_le
example := JointNorm2Le.of_opNorm2Le (H := 1) (n := 1) (h := 1) (N := 1) (fun s _ => s) (fun c => (c, 0))
  (by decide) (fun f => sum_congr fun s => by rw [sum_succ, sum_zero]; grind) A1_le
example := frobLe_of_heads (H := 0) (h := 0) (mix := A0) (size := x0) (total := 0)
  (by unfold Norm2Le; decide +kernel) (by decide +kernel) (by decide +kernel)
example := frobLe_of_heads (H := 1) (h := 1) (mix := A1) (size := x1) (total := 2)
  (by unfold Norm2Le; decide +kernel) (by decide +kernel) (by decide +kernel)
example := mlp_error_le (n := 0) (f := 0) (m := 0) (U := A0) (U' := A0) (u := x0) (u' := x0) (d := x0)
  (d' := x0) (z := x0) (z' := x0) (hidden := 0) (hiddenChange := 0) (bias := 0) id_le id_lipschitz
  (by decide +kernel) A0_le A0_sub ⟨by decide +kernel, by decide +kernel⟩
  ⟨by decide +kernel, by decide +kernel⟩ ⟨by decide +kernel, by decide +kernel⟩
-- the hidden entry goes from 2 * 2 + 2 = 6 to 3 * 3 + 3 = 12
example := mlp_error_le (n := 1) (f := 1) (m := 1) (U := A1) (U' := B1) (u := x1) (u' := y1) (d := x1)
  (d' := y1) (z := x1) (z' := y1) (hidden := 12) (hiddenChange := 6) (bias := 1) id_le id_lipschitz
  (by decide +kernel) A1_le B1_sub_A1 ⟨by decide +kernel, by decide +kernel⟩
  ⟨by decide +kernel, by decide +kernel⟩ ⟨by decide +kernel, by decide +kernel⟩
example := gatedMlp_error_le (n := 0) (f := 0) (m := 0) (G := A0) (G' := A0) (U := A0) (U' := A0)
  (g := x0) (g' := x0) (u := x0) (u' := x0) (d := x0) (d' := x0) (z := x0) (z' := x0) (gate := 0)
  (value := 0) (newValue := 0) (gateChange := 0) (valueChange := 0) (bias := 0) id_le id_lipschitz
  (by decide +kernel) A0_le A0_sub (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel) ⟨by decide +kernel, by decide +kernel⟩ ⟨by decide +kernel, by decide +kernel⟩
  ⟨by decide +kernel, by decide +kernel⟩ ⟨by decide +kernel, by decide +kernel⟩
example := gatedMlp_error_le (n := 1) (f := 1) (m := 1) (G := A1) (G' := B1) (U := A1) (U' := B1)
  (g := x1) (g' := y1) (u := x1) (u' := y1) (d := x1) (d' := y1) (z := x1) (z' := y1) (gate := 12)
  (value := 6) (newValue := 12) (gateChange := 6) (valueChange := 6) (bias := 1) id_le id_lipschitz
  (by decide +kernel) A1_le B1_sub_A1 (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel) ⟨by decide +kernel, by decide +kernel⟩ ⟨by decide +kernel, by decide +kernel⟩
  ⟨by decide +kernel, by decide +kernel⟩ ⟨by decide +kernel, by decide +kernel⟩
example := rmsNorm_lipschitz (n := 0) (y := x0) (y' := x0) (z := x0) (z' := x0) (rms := 2) (rms' := 3)
  (least := 2) (eps := 1) (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
example := rmsNorm_lipschitz (n := 1) (y := x1) (y' := y1) (z := vec [1]) (z' := vec [1]) (rms := 2)
  (rms' := 3) (least := 2) (eps := 0) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
example := centered_lipschitz (n := 0) x0 x0
example := centered_lipschitz (n := 1) x1 y1

/-! Blocks with a bounded norm: every state is replaced by one vector. -/

private abbrev first {k n : Nat} : (Fin (k + 1) → Fin n → Rat) → Fin n → Rat := fun x => x 0
private abbrev shifted {k n : Nat} : (Fin (k + 1) → Fin n → Rat) → Fin n → Rat := fun x i => x 0 i + 1

private theorem first_error (x : Fin 1 → Fin 0 → Rat) : Norm2Le (fun i => first x i - first x i) 0 :=
  ⟨by decide +kernel, show (0 : Rat) ≤ 0 * 0 by decide +kernel⟩
private theorem shifted_error (x : Fin 2 → Fin 1 → Rat) :
    Norm2Le (fun i => shifted x i - first x i) 1 := by
  have e : (fun i => shifted x i - first x i) = vec [1] := funext fun i => by
    match i with
    | 0 => show x 0 0 + 1 - x 0 0 = 1; grind
  rw [e]
  exact ⟨by decide +kernel, by decide +kernel⟩
private theorem zero_of_empty (x : Fin 0 → Rat) : Norm2Le x 0 :=
  ⟨by decide +kernel, show (0 : Rat) ≤ 0 * 0 by decide +kernel⟩

-- sizes sequential_block_error_le: k = 1, n = 0 and k = 2, n = 1; there is a position
example := sequential_block_error_le (k := 1) (n := 0) (position := 0) (radius := 0) (shift := 0)
  (second := 0) (norm := fun _ => x0) (mlp := id) (mlp' := id) first_error (fun _ => x0_le)
  (fun _ _ _ => x0_sub) (fun _ _ _ _ _ => zero_of_empty _) fun _ => x0
example := sequential_block_error_le (k := 2) (n := 1) (position := 1) (radius := 2) (shift := 1)
  (second := 1) (norm := fun _ => x1) (mlp := id) (mlp' := id) shifted_error (fun _ => x1_le)
  (fun _ _ _ => x1_sub) (fun _ _ _ _ h => h) (mat [[2], [5]])
-- sizes parallel_block_error_le: k = 1, n = 0 and k = 2, n = 1; there is a position
example := parallel_block_error_le (k := 1) (n := 0) (position := 0) (radius := 0) (second := 0)
  (norm := fun _ => x0) (mlp := id) (mlp' := id) first_error (fun _ => x0_le)
  (fun _ _ => zero_of_empty _) fun _ => x0
example := parallel_block_error_le (k := 2) (n := 1) (position := 1) (radius := 2) (second := 2)
  (norm := fun _ => x1) (mlp := fun _ _ => 0) (mlp' := id) shifted_error (fun _ => x1_le)
  (fun z h => by
    have e : (fun i => id z i - 0) = z := funext fun i => by show z i - 0 = z i; grind
    rw [e]
    exact h)
  (mat [[2], [5]])

end Smallest

end PeelVerify.UniversalExamples
