module

public import Proofs.Matrix
public import Proofs.Propagation

/-!
# Rounding errors

What floating-point sums and products can be off by, in any order of evaluation and with or
without fused multiply-add. A calculation is a tree: exact leaves, exact additions, and rounding
steps. One rounding moves a value `v` by at most `u * |v| + eta`, where `eta` covers underflow; an
addition of floating-point numbers never underflows, so it has `eta = 0`.

## Main results

* `computes_error`: the error of any tree of roundings.
* `growth_le_gamma`: `(1 + u) ^ n - 1` is at most `n u / (1 - n u)`.
* `sum_error`, `dot_error`, `matMul_rounding_error`: sums, inner products and matrix products.
* `InFormat.mul`, `float32_mul_exact`: products of narrow formats are exact in a wide one.
* `nonneg_enclosure`, `frobLe_of_computed`, `le_frobSq_of_computed`: enclosures of sums of terms
  that are not negative, and so of Frobenius norms.

## Assumptions

Every rounding obeys the stated bound, which excludes overflow. A fused multiply-add is a rounding
of an exact addition whose second term is an exact product.

## References

N. Higham, Accuracy and Stability of Numerical Algorithms, chapters 3 and 4.
-/

@[expose] public noncomputable section

namespace PeelVerify

open Lean.Grind

set_option linter.unusedSectionVars false

attribute [local instance] Semiring.natCast Ring.intCast

universe u

variable {α : Type u}

/-- A calculation: exact numbers, roundings with their underflow term, and exact additions.

Python: none (the shape of a calculation) -/
inductive RoundTree (α : Type u) where
  /-- A number that is known exactly, such as an input or an exact product. -/
  | leaf (x : α)
  /-- A rounding with its underflow term. -/
  | rnd (eta : α) (t : RoundTree α)
  /-- An addition before it is rounded. -/
  | add (l r : RoundTree α)

section Definitions

variable [Field α]

/-- The exact value of a calculation, without any rounding.

Python: none (the shape of a calculation) -/
def RoundTree.exact : RoundTree α → α
  | leaf x => x
  | rnd _ t => t.exact
  | add l r => l.exact + r.exact

/-- The largest number of roundings on a way from a leaf to the result.

Python: none (the shape of a calculation) -/
def RoundTree.depth : RoundTree α → Nat
  | leaf _ => 0
  | rnd _ t => t.depth + 1
  | add l r => max l.depth r.depth

/-- The sum of the absolute values of the leaves.

Python: none (the shape of a calculation) -/
def RoundTree.absSum [LE α] [DecidableLE α] : RoundTree α → α
  | leaf x => absVal x
  | rnd _ t => t.absSum
  | add l r => l.absSum + r.absSum

/-- The sum of the underflow terms.

Python: none (the shape of a calculation) -/
def RoundTree.etaSum : RoundTree α → α
  | leaf _ => 0
  | rnd eta t => t.etaSum + eta
  | add l r => l.etaSum + r.etaSum

/-- No underflow term is negative.

Python: none (the shape of a calculation) -/
def RoundTree.EtaNonneg [LE α] : RoundTree α → Prop
  | leaf _ => True
  | rnd eta t => 0 ≤ eta ∧ t.EtaNonneg
  | add l r => l.EtaNonneg ∧ r.EtaNonneg

/-- The leaves from left to right.

Python: none (the shape of a calculation) -/
def RoundTree.leaves : RoundTree α → List α
  | leaf x => [x]
  | rnd _ t => t.leaves
  | add l r => l.leaves ++ r.leaves

/-- Every leaf and every addition is rounded at most once.

Python: none (the shape of a calculation) -/
def RoundTree.RoundedOnce : RoundTree α → Prop
  | leaf _ => True
  | rnd _ (leaf _) => True
  | rnd _ (add l r) => l.RoundedOnce ∧ r.RoundedOnce
  | rnd _ (rnd _ _) => False
  | add _ _ => False

/-- Every addition is rounded once and no leaf is.

Python: none (the shape of a calculation) -/
def RoundTree.SumOfExact : RoundTree α → Prop
  | leaf _ => True
  | rnd _ (add l r) => l.SumOfExact ∧ r.SumOfExact
  | rnd _ _ => False
  | add _ _ => False

/-- The calculation may have the computed value `v` when each rounding moves its argument by at
most `unit` times its absolute value plus the underflow term.

Python: none (the shape of a calculation) -/
inductive Computes [LE α] [DecidableLE α] (unit : α) : RoundTree α → α → Prop where
  /-- A leaf is exact. -/
  | leaf (x : α) : Computes unit (.leaf x) x
  /-- A rounding moves the value a little. -/
  | rnd {eta : α} {t : RoundTree α} {v w : α} (h : Computes unit t v)
      (close : absVal (w - v) ≤ unit * absVal v + eta) : Computes unit (.rnd eta t) w
  /-- An addition is exact until it is rounded. -/
  | add {l r : RoundTree α} {v w : α} (hl : Computes unit l v) (hr : Computes unit r w) :
      Computes unit (.add l r) (v + w)

/-- The relative error of `depth` roundings: `(1 + unit) ^ depth - 1`.

Python: `peelverify.bounds.rounding.growth` -/
def growth (unit : α) (depth : Nat) : α := (1 + unit) ^ depth - 1

/-- The usual bound on the relative error of `n` roundings: `n unit / (1 - n unit)`.

Python: `peelverify.bounds.rounding.gamma` -/
def gamma (unit : α) (n : Nat) : α := (n : α) * unit / (1 - (n : α) * unit)

/-- A number is an integer with at most `precision` bits, times two to a power of at most
`maxShift`, times the smallest positive number of the format.

Python: `peelverify.bounds.rounding.in_format` -/
def InFormat (precision maxShift : Nat) (smallest x : α) : Prop :=
  ∃ (m : Int) (k : Nat), m.natAbs < 2 ^ precision ∧ k ≤ maxShift ∧
    x = (m : α) * (2 ^ k * smallest)

/-- The upper end for a sum of terms that are not negative, from its computed value.

Python: `peelverify.bounds.rounding.nonneg_sum_upper` -/
def nonnegSumUpper (computed relative underflow : α) : α :=
  (computed + underflow) / (1 - relative)

/-- The lower end for a sum of terms that are not negative, from its computed value.

Python: `peelverify.bounds.rounding.nonneg_sum_lower` -/
def nonnegSumLower (computed relative underflow : α) : α :=
  (computed - underflow) / (1 + relative)

end Definitions

section Lists

variable [Field α]

private theorem listSum_append (a b : List α) : listSum (a ++ b) = listSum a + listSum b := by
  induction a with
  | nil => simp only [List.nil_append, listSum]; grind
  | cons x a ih => simp only [List.cons_append, listSum, ih]; grind

private theorem listSum_perm {a b : List α} (h : a.Perm b) : listSum a = listSum b := by
  induction h with
  | nil => rfl
  | cons x _ ih => simp only [listSum, ih]
  | swap x y l => simp only [listSum]; grind
  | trans _ _ ih1 ih2 => rw [ih1, ih2]

private theorem listSum_ofFn {n : Nat} (f : Fin n → α) : listSum (List.ofFn f) = sum f := by
  induction n with
  | zero => simp only [List.ofFn_zero, listSum, sum_zero]
  | succ n ih => simp only [List.ofFn_succ, listSum, sum_succ, ih]

private theorem listSum_map_ofFn {n : Nat} (g : α → α) (f : Fin n → α) :
    listSum ((List.ofFn f).map g) = sum fun i => g (f i) := by
  induction n with
  | zero => simp only [List.ofFn_zero, List.map_nil, listSum, sum_zero]
  | succ n ih => simp only [List.ofFn_succ, List.map_cons, listSum, sum_succ, ih]

private theorem exact_eq_listSum (t : RoundTree α) : t.exact = listSum t.leaves := by
  induction t with
  | leaf x => simp only [RoundTree.exact, RoundTree.leaves, listSum]; grind
  | rnd eta t ih => simp only [RoundTree.exact, RoundTree.leaves, ih]
  | add l r ihl ihr => simp only [RoundTree.exact, RoundTree.leaves, ihl, ihr, listSum_append]

private theorem absSum_eq_listSum [LE α] [DecidableLE α] (t : RoundTree α) :
    t.absSum = listSum (t.leaves.map absVal) := by
  induction t with
  | leaf x => simp only [RoundTree.absSum, RoundTree.leaves, List.map, listSum]; grind
  | rnd eta t ih => simp only [RoundTree.absSum, RoundTree.leaves, ih]
  | add l r ihl ihr =>
    simp only [RoundTree.absSum, RoundTree.leaves, ihl, ihr, List.map_append, listSum_append]

private theorem leaves_length_pos (t : RoundTree α) : 0 < t.leaves.length := by
  induction t with
  | leaf x => simp [RoundTree.leaves]
  | rnd eta t ih => exact ih
  | add l r ihl ihr => simp only [RoundTree.leaves, List.length_append]; omega

/-- If every leaf and every addition is rounded at most once, no way to the result has more
roundings than there are leaves.

Python: none (the shape of a calculation) -/
theorem RoundTree.depth_le_of_roundedOnce (t : RoundTree α) (once : t.RoundedOnce) :
    t.depth ≤ t.leaves.length := by
  fun_induction RoundTree.RoundedOnce t with
  | case1 => simp [RoundTree.depth]
  | case2 => simp [RoundTree.depth, RoundTree.leaves]
  | case3 eta l r ihl ihr =>
    have h1 := ihl once.1
    have h2 := ihr once.2
    have h3 := leaves_length_pos l
    have h4 := leaves_length_pos r
    simp only [RoundTree.depth, RoundTree.leaves, List.length_append]
    omega
  | case4 => exact once.elim
  | case5 => exact once.elim

/-- If only additions are rounded, each once, every way to the result has fewer roundings than
there are leaves.

Python: none (the shape of a calculation) -/
theorem RoundTree.depth_lt_of_sumOfExact (t : RoundTree α) (exact_leaves : t.SumOfExact) :
    t.depth < t.leaves.length := by
  fun_induction RoundTree.SumOfExact t with
  | case1 => simp [RoundTree.depth, RoundTree.leaves]
  | case2 eta l r ihl ihr =>
    have h1 := ihl exact_leaves.1
    have h2 := ihr exact_leaves.2
    simp only [RoundTree.depth, RoundTree.leaves, List.length_append]
    omega
  | case3 => exact exact_leaves.elim
  | case4 => exact exact_leaves.elim

end Lists

section Growth

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]

/-- One more rounding: `(1 + unit) * growth + unit`.

Python: `peelverify.bounds.rounding.growth` -/
theorem growth_succ (unit : α) (depth : Nat) :
    growth unit (depth + 1) = (1 + unit) * growth unit depth + unit := by
  unfold growth
  rw [Semiring.pow_succ]
  grind

/-- The relative error of no rounding is zero.

Python: `peelverify.bounds.rounding.growth` -/
theorem growth_zero (unit : α) : growth unit 0 = 0 := by
  unfold growth
  rw [Semiring.pow_zero]
  grind

/-- The relative error bound is not negative.

Python: `peelverify.bounds.rounding.growth` -/
theorem growth_nonneg {unit : α} (unit_nonneg : 0 ≤ unit) (depth : Nat) :
    0 ≤ growth unit depth := by
  induction depth with
  | zero => rw [growth_zero]; exact Std.le_refl _
  | succ n ih =>
    rw [growth_succ]
    have := mul_nonneg (show 0 ≤ 1 + unit by have := mul_self_nonneg (1 : α); grind) ih
    grind

/-- More roundings have a larger error bound.

Python: `peelverify.bounds.rounding.growth` -/
theorem growth_mono {unit : α} (unit_nonneg : 0 ≤ unit) {m n : Nat} (h : m ≤ n) :
    growth unit m ≤ growth unit n := by
  induction n with
  | zero =>
    have : m = 0 := by omega
    rw [this]
    exact Std.le_refl _
  | succ n ih =>
    by_cases hm : m = n + 1
    · rw [hm]; exact Std.le_refl _
    · have h1 := ih (by omega)
      have h2 := mul_nonneg unit_nonneg (growth_nonneg unit_nonneg n)
      rw [growth_succ]
      grind

/-- The relative error of `n` roundings is at most `n unit / (1 - n unit)` while `n unit` is below
one.

Python: `peelverify.bounds.rounding.gamma` -/
theorem growth_le_gamma {unit : α} (unit_nonneg : 0 ≤ unit) (n : Nat)
    (small : (n : α) * unit < 1) : growth unit n ≤ gamma unit n := by
  have key : ∀ k : Nat, (1 + unit) ^ k * (1 - (k : α) * unit) ≤ 1 := by
    intro k
    induction k with
    | zero => rw [Semiring.pow_zero, Semiring.natCast_zero]; grind
    | succ k ih =>
      rw [Semiring.pow_succ, natCast_succ]
      have h1 : 0 ≤ (1 + unit) ^ k :=
        pow_nonneg (by have := mul_self_nonneg (1 : α); grind) k
      have h2 := mul_nonneg h1 (mul_nonneg (natCast_nonneg (α := α) k)
        (mul_nonneg unit_nonneg unit_nonneg))
      have h3 := mul_nonneg h1 (mul_nonneg unit_nonneg unit_nonneg)
      grind
  refine le_div_of_mul_le (by grind) ?_
  have h := key n
  unfold growth
  grind

end Growth

section Errors

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]
  [DecidableLE α]

private theorem absVal_exact_le (t : RoundTree α) : absVal t.exact ≤ t.absSum := by
  induction t with
  | leaf x => exact Std.le_refl _
  | rnd eta t ih => exact ih
  | add l r ihl ihr =>
    have := absVal_add_le l.exact r.exact
    simp only [RoundTree.exact, RoundTree.absSum]
    grind

private theorem absSum_nonneg (t : RoundTree α) : 0 ≤ t.absSum :=
  Std.le_trans (absVal_nonneg _) (absVal_exact_le t)

private theorem etaSum_nonneg (t : RoundTree α) (h : t.EtaNonneg) : 0 ≤ t.etaSum := by
  induction t with
  | leaf x => exact Std.le_refl _
  | rnd eta t ih =>
    have := ih h.2
    have := h.1
    simp only [RoundTree.etaSum]
    grind
  | add l r ihl ihr =>
    have := ihl h.1
    have := ihr h.2
    simp only [RoundTree.etaSum]
    grind

/-- The computed value of a calculation is off by at most `(1 + unit) ^ depth - 1` times the sum of
the absolute values of its leaves, plus the underflow terms grown by `(1 + unit) ^ depth`.

Python: `peelverify.bounds.rounding.growth` -/
theorem computes_error {unit : α} (unit_nonneg : 0 ≤ unit) {t : RoundTree α} {v : α}
    (eta_nonneg : t.EtaNonneg) (computed : Computes unit t v) :
    absVal (v - t.exact) ≤
      growth unit t.depth * t.absSum + (growth unit t.depth + 1) * t.etaSum := by
  -- more lines than usual: one case for each node of the tree
  induction computed with
  | leaf x =>
    simp only [RoundTree.exact, RoundTree.depth, RoundTree.etaSum, growth_zero]
    rw [absVal_le_iff]
    grind
  | @rnd eta t v w h close ih =>
    have ih := ih eta_nonneg.2
    have h1 := absVal_add_le (w - v) (v - t.exact)
    have e1 : w - v + (v - t.exact) = w - t.exact := by grind
    rw [e1] at h1
    have h2 := absVal_add_le (v - t.exact) t.exact
    have e2 : v - t.exact + t.exact = v := by grind
    rw [e2] at h2
    have h3 := absVal_exact_le t
    have h4 := mul_le_mul_left unit_nonneg (Std.le_trans h2 (Std.le_refl _))
    have h5 := mul_le_mul_left unit_nonneg ih
    have h6 := mul_le_mul_left unit_nonneg h3
    have h7 := mul_nonneg (growth_nonneg unit_nonneg t.depth) eta_nonneg.1
    have h8 := mul_nonneg unit_nonneg h7
    have h9 := mul_nonneg unit_nonneg eta_nonneg.1
    simp only [RoundTree.exact, RoundTree.depth, RoundTree.absSum, RoundTree.etaSum, growth_succ]
    clear h2 h3 h e1 e2
    grind
  | @add l r v w hl hr ihl ihr =>
    have ihl := ihl eta_nonneg.1
    have ihr := ihr eta_nonneg.2
    have h1 := absVal_add_le (v - l.exact) (w - r.exact)
    have e1 : v - l.exact + (w - r.exact) = v + w - (l.exact + r.exact) := by grind
    rw [e1] at h1
    have gl := growth_mono unit_nonneg (Nat.le_max_left l.depth r.depth)
    have gr := growth_mono unit_nonneg (Nat.le_max_right l.depth r.depth)
    have h2 := mul_le_mul gl (Std.le_refl l.absSum) (absSum_nonneg l) (growth_nonneg unit_nonneg _)
    have h3 := mul_le_mul gr (Std.le_refl r.absSum) (absSum_nonneg r) (growth_nonneg unit_nonneg _)
    have h4 := mul_le_mul gl (Std.le_refl l.etaSum) (etaSum_nonneg l eta_nonneg.1)
      (growth_nonneg unit_nonneg _)
    have h5 := mul_le_mul gr (Std.le_refl r.etaSum) (etaSum_nonneg r eta_nonneg.2)
      (growth_nonneg unit_nonneg _)
    simp only [RoundTree.exact, RoundTree.depth, RoundTree.absSum, RoundTree.etaSum]
    clear hl hr e1 gl gr
    grind

/-- Summing `n` numbers in any order, with each addition rounded once, errs by at most
`(1 + unit) ^ (n - 1) - 1` times the sum of their absolute values.

Python: `peelverify.bounds.rounding.growth` -/
theorem sum_error {unit : α} (unit_nonneg : 0 ≤ unit) {n : Nat} (x : Fin n → α) {t : RoundTree α}
    {v : α} (any_order : t.leaves.Perm (List.ofFn x)) (once : t.SumOfExact)
    (no_underflow : t.EtaNonneg ∧ t.etaSum = 0) (computed : Computes unit t v) :
    absVal (v - PeelVerify.sum x) ≤
      growth unit (n - 1) * PeelVerify.sum fun i => absVal (x i) := by
  have h := computes_error unit_nonneg no_underflow.1 computed
  rw [no_underflow.2, exact_eq_listSum, absSum_eq_listSum, listSum_perm any_order,
    listSum_perm (any_order.map absVal), listSum_map_ofFn, listSum_ofFn] at h
  have hd := t.depth_lt_of_sumOfExact once
  rw [any_order.length_eq, List.length_ofFn] at hd
  have h1 := mul_le_mul (growth_mono unit_nonneg (show t.depth ≤ n - 1 by omega))
    (Std.le_refl (PeelVerify.sum fun i => absVal (x i))) (sum_nonneg fun i => absVal_nonneg (x i))
    (growth_nonneg unit_nonneg _)
  grind

/-- An inner product of `n` pairs, in any order, with each product and each addition rounded at
most once and fused or not, errs by at most `(1 + unit) ^ n - 1` times `Σ |x i * y i|`, plus the
underflow terms grown by `(1 + unit) ^ n`. With exact products the underflow terms are zero.

Python: `peelverify.bounds.rounding.dot_error_upper` -/
theorem dot_error {unit : α} (unit_nonneg : 0 ≤ unit) {n : Nat} (x y : Fin n → α)
    {t : RoundTree α} {v : α} (any_order : t.leaves.Perm (List.ofFn fun i => x i * y i))
    (once : t.RoundedOnce) (eta_nonneg : t.EtaNonneg) (computed : Computes unit t v) :
    absVal (v - dot x y) ≤
      growth unit n * dot (fun i => absVal (x i)) (fun i => absVal (y i)) +
        (growth unit n + 1) * t.etaSum := by
  have h := computes_error unit_nonneg eta_nonneg computed
  rw [exact_eq_listSum, absSum_eq_listSum, listSum_perm any_order,
    listSum_perm (any_order.map absVal), listSum_map_ofFn, listSum_ofFn] at h
  have hd := t.depth_le_of_roundedOnce once
  rw [any_order.length_eq, List.length_ofFn] at hd
  have e : (PeelVerify.sum fun i => absVal (x i * y i)) =
      dot (fun i => absVal (x i)) (fun i => absVal (y i)) :=
    sum_congr fun i => absVal_mul (x i) (y i)
  have e2 : (PeelVerify.sum fun i => x i * y i) = dot x y := rfl
  rw [e, e2] at h
  have hg := growth_mono unit_nonneg hd
  have h0 : 0 ≤ dot (fun i => absVal (x i)) (fun i => absVal (y i)) :=
    sum_nonneg fun i => mul_nonneg (absVal_nonneg (x i)) (absVal_nonneg (y i))
  have h1 := mul_le_mul hg (Std.le_refl _) h0 (growth_nonneg unit_nonneg n)
  have h2 := mul_le_mul hg (Std.le_refl _) (etaSum_nonneg t eta_nonneg)
    (growth_nonneg unit_nonneg n)
  clear e e2 hg
  grind

/-- A matrix product whose entries are computed in any order errs in each entry by at most
`(1 + unit) ^ n - 1` times the entry of `|A| |B|`, plus a bound on the underflow terms grown by
`(1 + unit) ^ n`.

Python: `peelverify.bounds.rounding.mat_mul_error_upper` -/
theorem matMul_rounding_error {unit : α} (unit_nonneg : 0 ≤ unit) {m n p : Nat}
    (A : Fin m → Fin n → α) (B : Fin n → Fin p → α) (C : Fin m → Fin p → α)
    (tree : Fin m → Fin p → RoundTree α) {underflow : α}
    (any_order : ∀ i j, (tree i j).leaves.Perm (List.ofFn fun k => A i k * B k j))
    (once : ∀ i j, (tree i j).RoundedOnce) (eta_nonneg : ∀ i j, (tree i j).EtaNonneg)
    (underflow_le : ∀ i j, (tree i j).etaSum ≤ underflow)
    (computed : ∀ i j, Computes unit (tree i j) (C i j)) (i : Fin m) (j : Fin p) :
    absVal (C i j - matMul A B i j) ≤
      growth unit n * matMul (fun i k => absVal (A i k)) (fun k j => absVal (B k j)) i j +
        (growth unit n + 1) * underflow := by
  have h := dot_error unit_nonneg (A i) (fun k => B k j) (any_order i j) (once i j)
    (eta_nonneg i j) (computed i j)
  have hg := growth_nonneg unit_nonneg n
  have h1 := mul_le_mul_left (show 0 ≤ growth unit n + 1 by
    have := mul_self_nonneg (1 : α); grind) (underflow_le i j)
  have e : matMul (fun i k => absVal (A i k)) (fun k j => absVal (B k j)) i j =
      dot (fun k => absVal (A i k)) (fun k => absVal (B k j)) := rfl
  have e2 : matMul A B i j = dot (A i) fun k => B k j := rfl
  rw [e, e2]
  clear any_order once eta_nonneg underflow_le computed e e2
  grind

end Errors

section Formats

variable [Field α]

/-- The product of two numbers of narrow formats has the sum of their precisions and ranges.

Python: `peelverify.bounds.rounding.in_format` -/
theorem InFormat.mul {p q K L : Nat} {s t x y : α} (hx : InFormat p K s x)
    (hy : InFormat q L t y) : InFormat (p + q) (K + L) (s * t) (x * y) := by
  obtain ⟨m, k, hm, hk, rfl⟩ := hx
  obtain ⟨n, l, hn, hl, rfl⟩ := hy
  refine ⟨m * n, k + l, ?_, by omega, ?_⟩
  · rw [Int.natAbs_mul, Nat.pow_add]
    exact Nat.mul_lt_mul'' hm hn
  · rw [Ring.intCast_mul, Semiring.pow_add]
    grind

/-- A number of a narrow format is a number of every format that has at least its precision, a
smallest number that is smaller by a power of two, and enough range.

Python: `peelverify.bounds.rounding.in_format` -/
theorem InFormat.widen {p q K L j : Nat} {s t x : α} (hx : InFormat p K s x) (precision : p ≤ q)
    (smallest : s = 2 ^ j * t) (range : K + j ≤ L) : InFormat q L t x := by
  obtain ⟨m, k, hm, hk, rfl⟩ := hx
  refine ⟨m, k + j, ?_, by omega, ?_⟩
  · exact Nat.lt_of_lt_of_le hm (Nat.pow_le_pow_right (by decide) precision)
  · rw [smallest, Semiring.pow_add]
    grind

/-- The product of two numbers of narrow formats is a number of a format with at least the sum of
their precisions and enough range, so computing it there is exact.

Python: `peelverify.bounds.rounding.product_is_exact` -/
theorem mul_exact_of_formats {p q P K L M j : Nat} {s t r x y : α} (hx : InFormat p K s x)
    (hy : InFormat q L t y) (precision : p + q ≤ P) (smallest : s * t = 2 ^ j * r)
    (range : K + L + j ≤ M) : InFormat P M r (x * y) :=
  (hx.mul hy).widen precision smallest range

/-- Products of float32 numbers are exact in float64.

Python: `peelverify.bounds.rounding.product_is_exact` -/
theorem float32_mul_exact {x y : Rat} (hx : InFormat 24 253 (1 / 2 ^ 149 : Rat) x)
    (hy : InFormat 24 253 (1 / 2 ^ 149 : Rat) y) :
    InFormat 53 2045 (1 / 2 ^ 1074 : Rat) (x * y) :=
  mul_exact_of_formats (j := 776) hx hy (by decide) (by decide +kernel) (by decide)

/-- Products of bfloat16 numbers are exact in float64.

Python: `peelverify.bounds.rounding.product_is_exact` -/
theorem bfloat16_mul_exact {x y : Rat} (hx : InFormat 8 253 (1 / 2 ^ 133 : Rat) x)
    (hy : InFormat 8 253 (1 / 2 ^ 133 : Rat) y) :
    InFormat 53 2045 (1 / 2 ^ 1074 : Rat) (x * y) :=
  mul_exact_of_formats (j := 808) hx hy (by decide) (by decide +kernel) (by decide)

/-- Products of float16 numbers are exact in float64.

Python: `peelverify.bounds.rounding.product_is_exact` -/
theorem float16_mul_exact {x y : Rat} (hx : InFormat 11 29 (1 / 2 ^ 24 : Rat) x)
    (hy : InFormat 11 29 (1 / 2 ^ 24 : Rat) y) :
    InFormat 53 2045 (1 / 2 ^ 1074 : Rat) (x * y) :=
  mul_exact_of_formats (j := 1026) hx hy (by decide) (by decide +kernel) (by decide)

end Formats

section Enclosures

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]
  [DecidableLE α]

/-- A sum of terms that are not negative lies between the ends computed from its rounded value.

Python: `peelverify.bounds.rounding.nonneg_sum_upper` -/
theorem nonneg_enclosure {exact computed relative underflow : α} (relative_nonneg : 0 ≤ relative)
    (relative_lt_one : relative < 1)
    (error : absVal (computed - exact) ≤ relative * exact + underflow) :
    nonnegSumLower computed relative underflow ≤ exact ∧
      exact ≤ nonnegSumUpper computed relative underflow := by
  rw [absVal_le_iff] at error
  constructor
  · exact div_le_of_le_mul (by grind) (by grind)
  · exact le_div_of_mul_le (by grind) (by grind)

/-- An upper bound on a Frobenius norm from a rounded sum of squares.

Python: `peelverify.enclose.frobenius.norm_fro_upper` -/
theorem frobLe_of_computed {m n : Nat} {A : Fin m → Fin n → α}
    {computed relative underflow c : α} (relative_nonneg : 0 ≤ relative)
    (relative_lt_one : relative < 1) (c_nonneg : 0 ≤ c)
    (error : absVal (computed - frobSq A) ≤ relative * frobSq A + underflow)
    (large_enough : nonnegSumUpper computed relative underflow ≤ c * c) : FrobLe A c :=
  ⟨c_nonneg, Std.le_trans (nonneg_enclosure relative_nonneg relative_lt_one error).2 large_enough⟩

/-- A lower bound on a Frobenius norm from a rounded sum of squares.

Python: `peelverify.enclose.frobenius.norm_fro_lower` -/
theorem le_frobSq_of_computed {m n : Nat} {A : Fin m → Fin n → α}
    {computed relative underflow c : α} (relative_nonneg : 0 ≤ relative)
    (relative_lt_one : relative < 1)
    (error : absVal (computed - frobSq A) ≤ relative * frobSq A + underflow)
    (small_enough : c * c ≤ nonnegSumLower computed relative underflow) : c * c ≤ frobSq A :=
  Std.le_trans small_enough (nonneg_enclosure relative_nonneg relative_lt_one error).1

/-- Partial sums with their own relative errors add up exactly to a sum with the same relative
error.

Python: `peelverify.bounds.rounding.nonneg_sum_upper` -/
theorem partial_sums_error {k : Nat} {part computed : Fin k → α} {relative underflow : α}
    (error : ∀ i, absVal (computed i - part i) ≤ relative * part i + underflow) :
    absVal (PeelVerify.sum computed - PeelVerify.sum part) ≤
      relative * PeelVerify.sum part + (k : α) * underflow := by
  rw [← sum_sub, ← sum_mul_left, ← sum_const, ← sum_add]
  exact Std.le_trans (absVal_sum_le _) (sum_le_sum error)

end Enclosures

section Examples

private abbrev threeTerms : RoundTree Rat :=
  .rnd 0 (.add (.rnd 0 (.add (.leaf 1) (.leaf (1 / 3)))) (.leaf (1 / 3)))

private theorem threeTerms_computes : Computes (1 / 8) threeTerms (7 / 4) :=
  .rnd (.add (.rnd (w := 3 / 2) (.add (.leaf _) (.leaf _)) (by decide +kernel)) (.leaf _))
    (by decide +kernel)

example : threeTerms.exact = 5 / 3 := by decide +kernel
example : threeTerms.depth = 2 := by decide +kernel
example : threeTerms.absSum = 5 / 3 := by decide +kernel
example : threeTerms.etaSum = 0 := by decide +kernel
example : threeTerms.leaves = [1, 1 / 3, 1 / 3] := by decide +kernel
example : growth (1 / 8 : Rat) 2 = 17 / 64 := by decide +kernel
example : gamma (1 / 8 : Rat) 2 = 1 / 3 := by decide +kernel
example : nonnegSumUpper (3 : Rat) (1 / 4) 0 = 4 := by decide +kernel
example : nonnegSumLower (5 : Rat) (1 / 4) 0 = 4 := by decide +kernel
example : growth (1 / 8 : Rat) 2 ≤ gamma (1 / 8) 2 :=
  growth_le_gamma (by decide +kernel) 2 (by decide +kernel)
example : absVal (7 / 4 - threeTerms.exact) ≤
    growth (1 / 8 : Rat) 2 * threeTerms.absSum + (growth (1 / 8) 2 + 1) * threeTerms.etaSum :=
  computes_error (by decide +kernel)
    ⟨by decide +kernel, ⟨by decide +kernel, trivial, trivial⟩, trivial⟩ threeTerms_computes
example : absVal (7 / 4 - sum (vec [1, 1 / 3, 1 / 3] : Fin 3 → Rat)) ≤
    growth (1 / 8) (3 - 1) * sum fun i => absVal ((vec [1, 1 / 3, 1 / 3] : Fin 3 → Rat) i) :=
  sum_error (by decide +kernel) (vec [1, 1 / 3, 1 / 3]) (t := threeTerms) (by decide +kernel)
    ⟨⟨trivial, trivial⟩, trivial⟩
    ⟨⟨by decide +kernel, ⟨by decide +kernel, trivial, trivial⟩, trivial⟩, by decide +kernel⟩
    threeTerms_computes
example : absVal (7 / 4 - dot (vec [1, 1 / 3, 1] : Fin 3 → Rat) (vec [1, 1, 1 / 3])) ≤
    growth (1 / 8) 3 * dot (fun i => absVal ((vec [1, 1 / 3, 1] : Fin 3 → Rat) i))
        (fun i => absVal ((vec [1, 1, 1 / 3] : Fin 3 → Rat) i)) +
      (growth (1 / 8) 3 + 1) * threeTerms.etaSum :=
  dot_error (by decide +kernel) (vec [1, 1 / 3, 1]) (vec [1, 1, 1 / 3]) (t := threeTerms)
    (by decide +kernel) ⟨⟨trivial, trivial⟩, trivial⟩
    ⟨by decide +kernel, ⟨by decide +kernel, trivial, trivial⟩, trivial⟩ threeTerms_computes
example : InFormat 53 2045 (1 / 2 ^ 1074 : Rat) (3 / 2 ^ 149 * (1 / 2 ^ 148)) :=
  float32_mul_exact ⟨3, 0, by decide +kernel, by decide +kernel, by decide +kernel⟩
    ⟨1, 1, by decide +kernel, by decide +kernel, by decide +kernel⟩
example : nonnegSumLower (7 / 4 : Rat) (1 / 3) 0 ≤ 5 / 3 ∧
    5 / 3 ≤ nonnegSumUpper (7 / 4 : Rat) (1 / 3) 0 :=
  nonneg_enclosure (by decide +kernel) (by decide +kernel) (by decide +kernel)
example : FrobLe (mat [[3, 0], [0, 4]] : Fin 2 → Fin 2 → Rat) 6 :=
  frobLe_of_computed (computed := 26) (relative := 1 / 8) (underflow := 0) (by decide +kernel)
    (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
example : 4 * 4 ≤ frobSq (mat [[3, 0], [0, 4]] : Fin 2 → Fin 2 → Rat) :=
  le_frobSq_of_computed (computed := 26) (relative := 1 / 8) (underflow := 0) (by decide +kernel)
    (by decide +kernel) (by decide +kernel) (by decide +kernel)
example : threeTerms.depth ≤ 3 :=
  threeTerms.depth_le_of_roundedOnce ⟨⟨trivial, trivial⟩, trivial⟩
example : threeTerms.depth < 3 :=
  threeTerms.depth_lt_of_sumOfExact ⟨⟨trivial, trivial⟩, trivial⟩
example : threeTerms.EtaNonneg :=
  ⟨by decide +kernel, ⟨by decide +kernel, trivial, trivial⟩, trivial⟩
example : threeTerms.RoundedOnce ∧ threeTerms.SumOfExact :=
  ⟨⟨⟨trivial, trivial⟩, trivial⟩, ⟨trivial, trivial⟩, trivial⟩
example : growth (1 / 8 : Rat) 0 = 0 := growth_zero _
example : growth (1 / 8 : Rat) 3 = (1 + 1 / 8) * growth (1 / 8) 2 + 1 / 8 := growth_succ _ 2
example : 0 ≤ growth (1 / 8 : Rat) 3 := growth_nonneg (by decide +kernel) 3
example : growth (1 / 8 : Rat) 2 ≤ growth (1 / 8) 3 := growth_mono (by decide +kernel) (by decide)
example (i j : Fin 1) :
    absVal ((fun _ _ => 7 / 4 : Fin 1 → Fin 1 → Rat) i j - matMul (mat [[1, 1 / 3, 1]] :
        Fin 1 → Fin 3 → Rat) (mat [[1], [1], [1 / 3]]) i j) ≤
      growth (1 / 8) 3 * matMul (fun i k => absVal ((mat [[1, 1 / 3, 1]] :
        Fin 1 → Fin 3 → Rat) i k)) (fun k j => absVal ((mat [[1], [1], [1 / 3]] :
        Fin 3 → Fin 1 → Rat) k j)) i j + (growth (1 / 8) 3 + 1) * 0 :=
  matMul_rounding_error (by decide +kernel) _ _ _ (fun _ _ => threeTerms) (by decide +kernel)
    (fun _ _ => ⟨⟨trivial, trivial⟩, trivial⟩)
    (fun _ _ => ⟨by decide +kernel, ⟨by decide +kernel, trivial, trivial⟩, trivial⟩)
    (by decide +kernel) (fun _ _ => threeTerms_computes) i j
example : InFormat (2 + 3) (1 + 0) (1 / 4 * (1 / 2) : Rat) (3 / 2 * (5 / 2)) :=
  InFormat.mul ⟨3, 1, by decide, by decide, by decide +kernel⟩
    ⟨5, 0, by decide, by decide, by decide +kernel⟩
example : InFormat 8 10 (1 / 16 : Rat) (3 / 2) :=
  InFormat.widen (p := 2) (K := 1) (s := 1 / 4) (j := 2)
    ⟨3, 1, by decide, by decide, by decide +kernel⟩ (by decide) (by decide +kernel) (by decide)
example : InFormat 5 3 (1 / 16 : Rat) (3 / 2 * (5 / 2)) :=
  mul_exact_of_formats (p := 2) (q := 3) (K := 1) (L := 0) (s := 1 / 4) (t := 1 / 2) (j := 1)
    ⟨3, 1, by decide, by decide, by decide +kernel⟩
    ⟨5, 0, by decide, by decide, by decide +kernel⟩ (by decide) (by decide +kernel) (by decide)
example : InFormat 53 2045 (1 / 2 ^ 1074 : Rat) (3 / 2 ^ 133 * (1 / 2 ^ 132)) :=
  bfloat16_mul_exact ⟨3, 0, by decide +kernel, by decide +kernel, by decide +kernel⟩
    ⟨1, 1, by decide +kernel, by decide +kernel, by decide +kernel⟩
example : InFormat 53 2045 (1 / 2 ^ 1074 : Rat) (3 / 2 ^ 24 * (1 / 2 ^ 23)) :=
  float16_mul_exact ⟨3, 0, by decide +kernel, by decide +kernel, by decide +kernel⟩
    ⟨1, 1, by decide +kernel, by decide +kernel, by decide +kernel⟩
example : absVal (sum (vec [9 / 8, 2] : Fin 2 → Rat) - sum (vec [1, 2] : Fin 2 → Rat)) ≤
    1 / 8 * sum (vec [1, 2] : Fin 2 → Rat) + (2 : Nat) * 0 :=
  partial_sums_error (by decide +kernel)

end Examples

end PeelVerify
