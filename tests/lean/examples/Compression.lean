module

public import Proofs

/-! Rounded and factored weights for the theorems of `Proofs/Compression.lean`. -/

noncomputable section

namespace PeelVerify.CompressionExamples

open Lean.Grind

private abbrev x0 : Fin 0 → Rat := vec []
private abbrev W0 : Fin 0 → Fin 0 → Rat := mat []
private abbrev W1 : Fin 1 → Fin 1 → Rat := mat [[3]]
private abbrev Q1 : Fin 1 → Fin 1 → Rat := mat [[5 / 2]]
private abbrev x1 : Fin 1 → Rat := vec [2]
private abbrev y1 : Fin 1 → Rat := vec [-1]

private theorem x0_le : Norm2Le x0 0 := ⟨by decide +kernel, by decide +kernel⟩
private theorem x1_le : Norm2Le x1 2 := ⟨by decide +kernel, by decide +kernel⟩
private theorem y1_sub_x1 : Norm2Le (fun i => y1 i - x1 i) 3 := ⟨by decide +kernel, by decide +kernel⟩
private theorem W0_le : OpNorm2Le W0 0 := OpNorm2Le.of_frob ⟨by decide +kernel, by decide +kernel⟩
private theorem W0_sub : OpNorm2Le (fun i j => W0 i j - W0 i j) 0 :=
  OpNorm2Le.of_frob ⟨by decide +kernel, by decide +kernel⟩
private theorem W1_le : OpNorm2Le W1 3 := OpNorm2Le.of_frob ⟨by decide +kernel, by decide +kernel⟩
private theorem Q1_sub_W1 : OpNorm2Le (fun i j => Q1 i j - W1 i j) (1 / 2) :=
  OpNorm2Le.of_frob ⟨by decide +kernel, by decide +kernel⟩

section Smallest

example := quantize_frobSq_le (m := 0) (n := 0) (W := W0) (Q := W0) (steps := x0) (by decide +kernel)
example := quantize_frobSq_le (m := 1) (n := 1) (W := W1) (Q := Q1) (steps := fun _ => 1)
  (by decide +kernel)
example := weight_error (m := 0) (n := 0) W0_sub x0_le
example := weight_error (m := 1) (n := 1) Q1_sub_W1 x1_le
example := layer_error (m := 0) (n := 0) (x := x0) (x' := x0) (e := 0) W0_le W0_sub
  ⟨by decide +kernel, by decide +kernel⟩ x0_le
example := layer_error (m := 1) (n := 1) (x := y1) (x' := x1) (e := 3) W1_le Q1_sub_W1
  ⟨by decide +kernel, by decide +kernel⟩ x1_le
example := lowRank_error (m := 0) (n := 0) (p := 0) (W := W0) (U := W0) (U0 := W0) (V := W0) (a := 0)
  (b := 0) (v := 0) (OpNorm2Le.of_frob ⟨by decide +kernel, by decide +kernel⟩) W0_sub W0_le
-- 7 - 5 / 2 * 3 = -1 / 2
example := lowRank_error (m := 1) (n := 1) (p := 1) (W := mat [[7]]) (U := W1) (U0 := Q1) (V := W1)
  (a := 1 / 2) (b := 1 / 2) (v := 3) (OpNorm2Le.of_frob ⟨by decide +kernel, by decide +kernel⟩) Q1_sub_W1
  W1_le
example := matMul_error (m := 0) (n := 0) (p := 0) W0_le W0_le W0_sub W0_sub
example := matMul_error (m := 1) (n := 1) (p := 1) (B' := Q1) (b := 3) W1_le
  (OpNorm2Le.of_frob ⟨by decide +kernel, by decide +kernel⟩) Q1_sub_W1 Q1_sub_W1
example := cache_score_error (n := 0) (key := x0) (key' := x0) (eps := 0) x0_le
  ⟨by decide +kernel, by decide +kernel⟩
example := cache_score_error (n := 1) x1_le y1_sub_x1

end Smallest

end PeelVerify.CompressionExamples
