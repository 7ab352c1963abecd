module

public import Proofs

/-! Lists of scores for the theorems of `Proofs/Counting.lean`. -/

noncomputable section

namespace PeelVerify.CountingExamples

open Lean.Grind

section Smallest

example := count_few_above_le (l := ([] : List Rat)) (k := 0)
example := count_few_above_le (l := ([3] : List Rat)) (k := 1)
-- sizes countAtLeast_lt_of_kthLargest_lt: l = 1, k = 1 and l = 2, k = 2;
-- the list has a k-th largest entry
example := countAtLeast_lt_of_kthLargest_lt (l := ([3] : List Rat)) (k := 1) (x := 4) (b := 3)
  (by decide +kernel) (by decide +kernel)
example := countAtLeast_lt_of_kthLargest_lt (l := ([3, 1] : List Rat)) (k := 2) (x := 2) (b := 1)
  (by decide +kernel) (by decide +kernel)
-- sizes exists_kthLargest: l = 1, k = 1 and l = 2, k = 2; the list has a k-th largest entry
example := exists_kthLargest (l := ([3] : List Rat)) (k := 1) (by decide) (by decide)
example := exists_kthLargest (l := ([3, 1] : List Rat)) (k := 2) (by decide) (by decide)
example := conformal_count (l := ([] : List Rat)) (k := 0) (fun _ => true) fun i => i.elim0
-- what is left without the one score has no largest entry, so nothing can exceed it
example := conformal_count (l := ([3] : List Rat)) (k := 1) (fun _ => false) (by decide +kernel)

end Smallest

end PeelVerify.CountingExamples
