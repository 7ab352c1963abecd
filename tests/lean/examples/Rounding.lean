module

public import Proofs

/-! Trees of rounded additions and short formats for the theorems of `Proofs/Rounding.lean`. -/

noncomputable section

namespace PeelVerify.RoundingExamples

open Lean.Grind

attribute [local instance] Semiring.natCast

/-! `one` is a leaf. `two` adds 1 and 1/3 and rounds 4/3 to 3/2. -/

private abbrev one : RoundTree Rat := .leaf 3
private abbrev two : RoundTree Rat := .rnd 0 (.add (.leaf 1) (.leaf (1 / 3)))

private theorem one_computes : Computes (1 / 8) one 3 := .leaf 3
private theorem two_computes : Computes (1 / 8) two (3 / 2) := .rnd (.add (.leaf _) (.leaf _)) (by decide +kernel)
private theorem one_once : one.RoundedOnce := trivial
private theorem two_once : two.RoundedOnce := ⟨trivial, trivial⟩
private theorem one_exact : one.SumOfExact := trivial
private theorem two_exact : two.SumOfExact := ⟨trivial, trivial⟩
private theorem one_eta : one.EtaNonneg := trivial
private theorem two_eta : two.EtaNonneg := ⟨by decide +kernel, trivial, trivial⟩

section NonTrivial

example : two.depth ≤ two.leaves.length := RoundTree.depth_le_of_roundedOnce two two_once
example : two.depth < two.leaves.length := RoundTree.depth_lt_of_sumOfExact two two_exact

end NonTrivial

private abbrev A0 : Fin 0 → Fin 0 → Rat := mat []
private abbrev A1 : Fin 1 → Fin 1 → Rat := mat [[3]]
private abbrev x0 : Fin 0 → Rat := vec []

section Smallest

example : one.leaves.length = 1 := rfl
example : two.leaves.length = 2 := rfl

-- sizes RoundTree.depth_le_of_roundedOnce: t.leaves.length = 1 and t.leaves.length = 2; a tree has a leaf
example := RoundTree.depth_le_of_roundedOnce (t := one) one_once
example := RoundTree.depth_le_of_roundedOnce (t := two) two_once
-- sizes RoundTree.depth_lt_of_sumOfExact: t.leaves.length = 1 and t.leaves.length = 2; a tree has a leaf
example := RoundTree.depth_lt_of_sumOfExact (t := one) one_exact
example := RoundTree.depth_lt_of_sumOfExact (t := two) two_exact
example := growth_succ (depth := 0) (1 / 8 : Rat)
example := growth_succ (depth := 1) (1 / 8 : Rat)
example := growth_nonneg (depth := 0) (unit := (1 / 8 : Rat)) (by decide +kernel)
example := growth_nonneg (depth := 1) (unit := (1 / 8 : Rat)) (by decide +kernel)
example := growth_mono (m := 0) (n := 0) (unit := (1 / 8 : Rat)) (by decide +kernel) (by decide)
example := growth_mono (m := 1) (n := 1) (unit := (1 / 8 : Rat)) (by decide +kernel) (by decide)
example := growth_le_gamma (n := 0) (unit := (1 / 8 : Rat)) (by decide +kernel) (by decide +kernel)
example := growth_le_gamma (n := 1) (unit := (1 / 8 : Rat)) (by decide +kernel) (by decide +kernel)
-- sizes computes_error: t.leaves.length = 1 and t.leaves.length = 2; a tree has a leaf
example := computes_error (t := one) (by decide +kernel) one_eta one_computes
example := computes_error (t := two) (by decide +kernel) two_eta two_computes
-- sizes sum_error: n = 1, t.leaves.length = 1 and n = 2, t.leaves.length = 2; a tree has a leaf
example := sum_error (n := 1) (t := one) (by decide +kernel) (vec [3]) (by decide +kernel) one_exact
  ⟨one_eta, by decide +kernel⟩ one_computes
example := sum_error (n := 2) (t := two) (by decide +kernel) (vec [1, 1 / 3]) (by decide +kernel) two_exact
  ⟨two_eta, by decide +kernel⟩ two_computes
-- sizes dot_error: n = 1, t.leaves.length = 1 and n = 2, t.leaves.length = 2; a tree has a leaf
example := dot_error (n := 1) (t := one) (by decide +kernel) (vec [2]) (vec [3 / 2]) (by decide +kernel)
  one_once one_eta one_computes
example := dot_error (n := 2) (t := two) (by decide +kernel) (vec [2, 1]) (vec [1 / 2, 1 / 3])
  (by decide +kernel) two_once two_eta two_computes
-- sizes matMul_rounding_error: m = 1, n = 1, p = 1 and m = 2, n = 2, p = 2;
-- i and j pick an entry, and the tree of an entry has a leaf
example := matMul_rounding_error (m := 1) (n := 1) (p := 1) (by decide +kernel) (fun _ _ => 2)
  (fun _ _ => 3 / 2) (fun _ _ => 3) (fun _ _ => one) (underflow := 0) (by decide +kernel)
  (fun _ _ => one_once) (fun _ _ => one_eta) (by decide +kernel) (fun _ _ => one_computes) 0 0
example := matMul_rounding_error (m := 2) (n := 2) (p := 2) (by decide +kernel) (mat [[2, 1], [2, 1]])
  (mat [[1 / 2, 1 / 2], [1 / 3, 1 / 3]]) (fun _ _ => 3 / 2) (fun _ _ => two) (underflow := 0)
  (by decide +kernel) (fun _ _ => two_once) (fun _ _ => two_eta) (by decide +kernel)
  (fun _ _ => two_computes) 1 0
-- a format of no bits holds 0 alone
example := InFormat.mul (p := 0) (q := 0) (K := 0) (L := 0) (s := (1 / 4 : Rat)) (t := 1 / 2) (x := 0)
  (y := 0) ⟨0, 0, by decide, by decide, by decide +kernel⟩ ⟨0, 0, by decide, by decide, by decide +kernel⟩
example := InFormat.mul (p := 1) (q := 1) (K := 1) (L := 1) (s := (1 / 4 : Rat)) (t := 1 / 2) (x := 1 / 2)
  (y := -1) ⟨1, 1, by decide, by decide, by decide +kernel⟩
  ⟨-1, 1, by decide, by decide, by decide +kernel⟩
-- sizes InFormat.widen: p = 0, q = 0, K = 0, L = 0, j = 0 and p = 1, q = 1, K = 1, L = 2, j = 1;
-- shifts add up
example := InFormat.widen (p := 0) (q := 0) (K := 0) (L := 0) (j := 0) (s := (1 / 4 : Rat)) (t := 1 / 4)
  (x := 0) ⟨0, 0, by decide, by decide, by decide +kernel⟩ (by decide) (by decide +kernel) (by decide)
example := InFormat.widen (p := 1) (q := 1) (K := 1) (L := 2) (j := 1) (s := (1 / 4 : Rat)) (t := 1 / 8)
  (x := 1 / 2) ⟨1, 1, by decide, by decide, by decide +kernel⟩ (by decide) (by decide +kernel) (by decide)
-- sizes mul_exact_of_formats: p = 0, q = 0, P = 0, K = 0, L = 0, M = 0, j = 0 and
-- p = 1, q = 1, P = 2, K = 1, L = 1, M = 3, j = 1; bits and shifts add up
example := mul_exact_of_formats (p := 0) (q := 0) (P := 0) (K := 0) (L := 0) (M := 0) (j := 0)
  (s := (1 / 4 : Rat)) (t := 1 / 2) (r := 1 / 8) (x := 0) (y := 0)
  ⟨0, 0, by decide, by decide, by decide +kernel⟩ ⟨0, 0, by decide, by decide, by decide +kernel⟩
  (by decide) (by decide +kernel) (by decide)
example := mul_exact_of_formats (p := 1) (q := 1) (P := 2) (K := 1) (L := 1) (M := 3) (j := 1)
  (s := (1 / 4 : Rat)) (t := 1 / 2) (r := 1 / 16) (x := 1 / 2) (y := -1)
  ⟨1, 1, by decide, by decide, by decide +kernel⟩ ⟨-1, 1, by decide, by decide, by decide +kernel⟩
  (by decide) (by decide +kernel) (by decide)
example := frobLe_of_computed (m := 0) (n := 0) (A := A0) (computed := 0) (relative := 1 / 8)
  (underflow := 0) (c := 0) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel) (by decide +kernel)
example := frobLe_of_computed (m := 1) (n := 1) (A := A1) (computed := 10) (relative := 1 / 8)
  (underflow := 0) (c := 4) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel) (by decide +kernel)
example := le_frobSq_of_computed (m := 0) (n := 0) (A := A0) (computed := 0) (relative := 1 / 8)
  (underflow := 0) (c := 0) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel)
example := le_frobSq_of_computed (m := 1) (n := 1) (A := A1) (computed := 10) (relative := 1 / 8)
  (underflow := 0) (c := 2) (by decide +kernel) (by decide +kernel) (by decide +kernel)
  (by decide +kernel)
example := partial_sums_error (k := 0) (part := x0) (computed := x0) (relative := 1 / 8) (underflow := 0)
  (by decide +kernel)
example := partial_sums_error (k := 1) (part := vec [1]) (computed := vec [9 / 8]) (relative := 1 / 8)
  (underflow := (0 : Rat)) (by decide +kernel)

end Smallest

end PeelVerify.RoundingExamples
