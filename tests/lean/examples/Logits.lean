module

public import Proofs

/-! Logits for the theorems of `Proofs/Logits.lean`; powers of two on whole numbers are the exponential. -/

noncomputable section

namespace PeelVerify.LogitExamples

open Lean.Grind

private abbrev z3 : Fin 3 → Rat := vec [1 / 2, -1 / 4, 3]

section NonTrivial

example : z3 0 ≤ maxEntry z3 := le_maxEntry z3 0
example : minEntry z3 ≤ z3 2 := minEntry_le z3 2
example : ∃ i, maxEntry z3 = z3 i := exists_eq_maxEntry z3
example : ∃ i, minEntry z3 = z3 i := exists_eq_minEntry z3

end NonTrivial

/-! A statement about `Fin (n + 1)` speaks of one logit at `n = 0` and of two at `n = 1`. Two powers of
two add up to a power of two only if they are equal, so in the examples with two logits both are equal. -/

private abbrev y1 : Fin 1 → Rat := vec [3]
private abbrev z1 : Fin 1 → Rat := vec [1]
private abbrev y2 : Fin 2 → Rat := vec [3, 3]
private abbrev z2 : Fin 2 → Rat := vec [1, 1]
private abbrev u2 : Fin 2 → Rat := vec [5, -1]

private theorem whole {n : Nat} (x : Fin n → Rat) (h : ∀ i, x i = (x i).num) : ∀ i, ∃ k : Int, x i = k :=
  fun i => ⟨_, h i⟩

private theorem y1_whole : ∀ i, ∃ k : Int, y1 i = k := whole y1 (by decide +kernel)
private theorem z1_whole : ∀ i, ∃ k : Int, z1 i = k := whole z1 (by decide +kernel)
private theorem y2_whole : ∀ i, ∃ k : Int, y2 i = k := whole y2 (by decide +kernel)
private theorem z2_whole : ∀ i, ∃ k : Int, z2 i = k := whole z2 (by decide +kernel)
private theorem u2_whole : ∀ i, ∃ k : Int, u2 i = k := whole u2 (by decide +kernel)

section Smallest

example := le_maxEntry (n := 0) y1 0
example := le_maxEntry (n := 1) u2 1
example := minEntry_le (n := 0) y1 0
example := minEntry_le (n := 1) u2 0
example := exists_eq_maxEntry (n := 0) y1
example := exists_eq_maxEntry (n := 1) u2
example := exists_eq_minEntry (n := 0) y1
example := exists_eq_minEntry (n := 1) u2
example := sub_le_osc (n := 0) y1 0 0
example := sub_le_osc (n := 1) u2 0 1
example := osc_nonneg (n := 0) y1
example := osc_nonneg (n := 1) u2
example := osc_add_const (n := 0) y1 (7 / 2)
example := osc_add_const (n := 1) u2 (7 / 2)
-- sizes argmax_unchanged: n = 1 and n = 2; there must be a top entry
example := argmax_unchanged (n := 1) (logits := z1) (changed := y1) (eps := 2) 0 (by decide +kernel)
  (by decide +kernel)
example := argmax_unchanged (n := 2) (logits := u2) (changed := vec [4, 1]) (eps := 2) 0
  (by decide +kernel) (by decide +kernel)
example := argmax_unchanged_of_osc (n := 0) (logits := z1) (changed := y1) 0 (by decide +kernel)
example := argmax_unchanged_of_osc (n := 1) (logits := u2) (changed := vec [9, 8]) 0 (by decide +kernel)
example := abs_loss_change_le_osc (n := 0) isExp_two (logits := z1) (changed := y1) z1_whole y1_whole 0
example := abs_loss_change_le_osc (n := 1) isExp_two (logits := u2) (changed := y2) u2_whole y2_whole 1
example := logPartition_sub_mem (n := 0) isExp_two z1_whole y1_whole (logSum := 1) (logSum' := 3) ⟨1, rfl⟩
  ⟨3, rfl⟩ (by decide +kernel) (by decide +kernel)
example := logPartition_sub_mem (n := 1) isExp_two z2_whole y2_whole (logSum := 2) (logSum' := 4) ⟨2, rfl⟩
  ⟨4, rfl⟩ (by decide +kernel) (by decide +kernel)
example := abs_loss_sub_le_osc (n := 0) isExp_two z1_whole y1_whole (logSum := 1) (logSum' := 3) ⟨1, rfl⟩
  ⟨3, rfl⟩ (by decide +kernel) (by decide +kernel) 0
example := abs_loss_sub_le_osc (n := 1) isExp_two z2_whole y2_whole (logSum := 2) (logSum' := 4) ⟨2, rfl⟩
  ⟨4, rfl⟩ (by decide +kernel) (by decide +kernel) 1
example := kl_le_osc (n := 0) isExp_two z1_whole y1_whole (logSum := 1) (logSum' := 3) ⟨1, rfl⟩ ⟨3, rfl⟩
  (by decide +kernel) (by decide +kernel) (prob := fun _ => 1) (by decide +kernel) (by decide +kernel)
example := kl_le_osc (n := 1) isExp_two z2_whole y2_whole (logSum := 2) (logSum' := 4) ⟨2, rfl⟩ ⟨4, rfl⟩
  (by decide +kernel) (by decide +kernel) (prob := fun _ => 1 / 2) (by decide +kernel) (by decide +kernel)

end Smallest

end PeelVerify.LogitExamples
