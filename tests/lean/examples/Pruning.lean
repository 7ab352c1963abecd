module

public import Proofs

/-! Masks for the theorems of `Proofs/Pruning.lean`. -/

noncomputable section

namespace PeelVerify.PruningExamples

open Lean.Grind

attribute [local instance] Semiring.natCast

private abbrev w0 : Fin 0 → Rat := vec []
private abbrev X0 : Fin 0 → Fin 0 → Rat := mat []
private abbrev all0 : Fin 0 → Bool := fun _ => true
private abbrev w1 : Fin 1 → Rat := vec [3]
private abbrev X1 : Fin 1 → Fin 1 → Rat := mat [[2]]
private abbrev all1 : Fin 1 → Bool := fun _ => true
private abbrev none1 : Fin 1 → Bool := fun _ => false

section Smallest

example := prune_error_sq (n := 0) w0 all0
example := prune_error_sq (n := 1) w1 none1
example := prune_error_frobSq (m := 0) (n := 0) X0 fun _ => all0
example := prune_error_frobSq (m := 1) (n := 1) X1 fun _ => none1
example := wanda_error_of_orthogonal (m := 0) (n := 0) X0 w0 all0 (by decide +kernel)
example := wanda_error_of_orthogonal (m := 1) (n := 1) X1 w1 none1 (by decide +kernel)
example := droppedScore_le_of_kept_ge (n := 0) w0 all0 all0 (by decide +kernel) (by decide +kernel)
  (by decide +kernel)
example := droppedScore_le_of_kept_ge (n := 1) w1 all1 none1 (by decide +kernel) (by decide +kernel)
  (by decide +kernel)
example := magnitude_prune_optimal (n := 0) w0 all0 all0 (by decide +kernel) (by decide +kernel)
example := magnitude_prune_optimal (n := 1) w1 all1 none1 (by decide +kernel) (by decide +kernel)
-- sizes scoreMask_kept_ge_dropped: n = 2, kept = 1 and n = 3, kept = 2; i is kept and j is dropped
example := scoreMask_kept_ge_dropped (n := 2) (kept := 1) (vec [1, 3] : Fin 2 → Rat) 1 0 (by decide +kernel)
  (by decide +kernel)
example := scoreMask_kept_ge_dropped (n := 3) (kept := 2) (vec [3, 1, 2] : Fin 3 → Rat) 2 1
  (by decide +kernel) (by decide +kernel)
example := keptCount_scoreMask (n := 0) (kept := 0) w0 (by decide)
example := keptCount_scoreMask (n := 1) (kept := 1) w1 (by decide)
example := magnitudeMask_optimal (n := 0) (kept := 0) w0 (by decide) all0 (by decide +kernel)
example := magnitudeMask_optimal (n := 1) (kept := 1) w1 (by decide) none1 (by decide +kernel)
example := exists_mask (n := 0) (kept := 0) w0 (by decide)
example := exists_mask (n := 1) (kept := 1) w1 (by decide)
example := wanda_optimal_of_orthogonal (m := 0) (n := 0) X0 w0 all0 all0 (by decide +kernel)
  (by decide +kernel) (by decide +kernel)
example := wanda_optimal_of_orthogonal (m := 1) (n := 1) X1 w1 all1 none1 (by decide +kernel)
  (by decide +kernel) (by decide +kernel)
example := wanda_error_le (m := 0) (n := 0) X0 w0 all0
example := wanda_error_le (m := 1) (n := 1) X1 w1 none1

end Smallest

end PeelVerify.PruningExamples
