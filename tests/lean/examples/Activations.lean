module

public import Proofs

/-! Norms, attention and gates for the theorems of `Proofs/Activations.lean`. -/

noncomputable section

namespace PeelVerify.ActivationExamples

open Lean.Grind

attribute [local instance] Semiring.natCast

private abbrev x0 : Fin 0 → Rat := vec []
private abbrev x1 : Fin 1 → Rat := vec [3]
private abbrev y1 : Fin 1 → Rat := vec [2]
private abbrev scale1 : Fin 1 → Rat := vec [-2]
private abbrev A0 : Fin 0 → Fin 0 → Rat := mat []
private abbrev A1 : Fin 1 → Fin 1 → Rat := mat [[3]]
private abbrev B1 : Fin 1 → Fin 1 → Rat := mat [[4]]

private theorem x0_le : Norm2Le x0 0 := ⟨by decide +kernel, by decide +kernel⟩
private theorem x1_le : Norm2Le x1 3 := ⟨by decide +kernel, by decide +kernel⟩
private theorem id_le (a : Rat) : absVal (id a) ≤ absVal a := Std.le_refl _
private theorem id_lipschitz (a b : Rat) : absVal (id a - id b) ≤ 1 * absVal (a - b) := by
  show absVal (a - b) ≤ 1 * absVal (a - b)
  grind

section Smallest

example := scaled_norm_le (n := 0) (scale := x0) (g := 0) (by decide +kernel) (by decide +kernel) x0_le
example := scaled_norm_le (n := 1) (scale := scale1) (g := 2) (by decide +kernel) (by decide +kernel) x1_le
example := rmsNorm_radius_sq (n := 0) (x := x0) (inverse := 1 / 3) (rms := 3) (by decide +kernel)
  (by decide +kernel)
example := rmsNorm_radius_sq (n := 1) (x := x1) (inverse := 1 / 3) (rms := 3) (by decide +kernel)
  (by decide +kernel)
example := rmsNorm_radius (n := 0) (x := x0) (scale := x0) (inverse := 1 / 3) (rms := 3) (g := 0)
  (root := 0) (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel) (by decide +kernel)
example := rmsNorm_radius (n := 1) (x := x1) (scale := scale1) (inverse := 1 / 3) (rms := 3) (g := 2)
  (root := 1) (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel) (by decide +kernel)
-- the mean of no numbers is 0 / 0 = 0
example := centered_normSq_le (n := 0) x0
example := centered_normSq_le (n := 1) x1
example := layerNorm_radius (n := 0) (x := x0) (scale := x0) (bias := x0) (inverse := 2)
  (deviation := 1 / 2) (g := 0) (root := 0) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel) (by decide +kernel) (by decide +kernel) x0_le
-- one number lies on its mean
example := layerNorm_radius (n := 1) (x := x1) (scale := scale1) (bias := x1) (inverse := 2)
  (deviation := 1 / 2) (g := 2) (root := 1) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel) (by decide +kernel) (by decide +kernel) x1_le
example := mulVec_foldScale (m := 0) (n := 0) A0 x0 x0
example := mulVec_foldScale (m := 1) (n := 1) A1 scale1 x1
example := every_input_error (m := 0) (n := 0) (W := A0) (W' := A0) (scale := x0) (scale' := x0) (c := 0)
  (OpNorm2Le.of_frob ⟨by decide +kernel, by decide +kernel⟩) x0_le
example := every_input_error (m := 1) (n := 1) (W := A1) (W' := B1) (scale := scale1) (scale' := scale1)
  (c := 2) (OpNorm2Le.of_frob ⟨by decide +kernel, by decide +kernel⟩) x1_le
example := attention_norm_le (k := 0) (n := 0) (weight := x0) (value := A0) (total := 0) (c := 0)
  (by decide +kernel) (by decide +kernel) (by decide +kernel) (by unfold Norm2Le; decide +kernel)
example := attention_norm_le (k := 1) (n := 1) (weight := fun _ => 1) (value := A1) (total := 1) (c := 3)
  (by decide +kernel) (by decide +kernel) (by decide +kernel) (by unfold Norm2Le; decide +kernel)
example := attention_error_le (k := 0) (n := 0) (weight := x0) (value := A0) (value' := A0) (total := 0)
  (eps := 0) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by unfold Norm2Le; decide +kernel)
example := attention_error_le (k := 1) (n := 1) (weight := fun _ => 1) (value := A1) (value' := B1)
  (total := 1) (eps := 1) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by unfold Norm2Le; decide +kernel)
example := attention_weight_error_le (k := 0) (n := 0) (weight := x0) (weight' := x0) (value := A0)
  (c := 0) (by unfold Norm2Le; decide +kernel)
example := attention_weight_error_le (k := 1) (n := 1) (weight := fun _ => 1) (weight' := fun _ => 1 / 2)
  (value := A1) (c := 3) (by unfold Norm2Le; decide +kernel)
example := gated_norm_le (n := 0) (act := id) (gate := x0) (m := 0) id_le (by decide +kernel)
  (by decide +kernel) x0_le
example := gated_norm_le (n := 1) (act := id) (gate := scale1) (m := 2) id_le (by decide +kernel)
  (by decide +kernel) x1_le
example := gated_error_le (n := 0) (act := id) (gate := x0) (gate' := x0) (value := x0) (value' := x0)
  (m := 0) (lipschitz := 1) (largest := 0) (eGate := 0) (eValue := 0) id_le id_lipschitz
  (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  ⟨by decide +kernel, by decide +kernel⟩ ⟨by decide +kernel, by decide +kernel⟩
example := gated_error_le (n := 1) (act := id) (gate := x1) (gate' := y1) (value := y1) (value' := x1)
  (m := 2) (lipschitz := 1) (largest := 2) (eGate := 1) (eValue := 1) id_le id_lipschitz
  (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  ⟨by decide +kernel, by decide +kernel⟩ ⟨by decide +kernel, by decide +kernel⟩

end Smallest

end PeelVerify.ActivationExamples
