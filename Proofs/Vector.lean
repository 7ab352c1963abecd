module

public import Proofs.Sum

/-!
# Vectors and their norms

Vectors are functions `Fin n → α`. An ordered field has no square roots, so a statement about a
2-norm is a predicate: `Norm2Le x c` says that `c` is not negative and that the sum of squares of
`x` is at most `c * c`. This is also what a certificate can check with rational numbers.

## Main results

* `dot_sq_le_normSq_mul_normSq`: Cauchy–Schwarz.
* `Norm2Le.add`, `Norm2Le.sum`, `Norm2Le.smul`: triangle inequality, finite sums, scaling.
* `abs_dot_le_norm1_mul_normInf`: the inner product against the 1-norm and the largest entry.

## Assumptions

A linearly ordered field. `norm1` and `normInf` decide `≤`.

## References

None.
-/

@[expose] public noncomputable section

namespace PeelVerify

open Lean.Grind

set_option linter.unusedSectionVars false

universe u

variable {α : Type u}

section Definitions

variable [Field α]

/-- The vector with the listed entries; entries beyond the end of the list are zero.

Python: none (a literal) -/
def vec {n : Nat} (entries : List α) : Fin n → α := fun i => entries.getD i 0

/-- The inner product of two vectors.

Python: `peelverify.bounds.vector.dot` -/
def dot {n : Nat} (x y : Fin n → α) : α := sum fun i => x i * y i

/-- The squared 2-norm of a vector: the sum of the squares of its entries.

Python: `peelverify.bounds.vector.norm_sq` -/
def normSq {n : Nat} (x : Fin n → α) : α := dot x x

/-- The 1-norm of a vector: the sum of the absolute values of its entries.

Python: `peelverify.bounds.vector.norm1` -/
def norm1 [LE α] [DecidableLE α] {n : Nat} (x : Fin n → α) : α := sum fun i => absVal (x i)

/-- The largest absolute value of an entry, and zero for the empty vector.

Python: `peelverify.bounds.vector.norm_inf` -/
def normInf [LE α] [DecidableLE α] : {n : Nat} → (Fin n → α) → α
  | 0, _ => 0
  | _ + 1, x => maxVal (absVal (x 0)) (normInf fun i => x i.succ)

/-- The 2-norm of `x` is at most `c`, said without a square root.

Python: `peelverify.bounds.vector.norm2_le` -/
def Norm2Le [LE α] {n : Nat} (x : Fin n → α) (c : α) : Prop := 0 ≤ c ∧ normSq x ≤ c * c

/-- The 2-norm of `x` is at least `c`, said without a square root.

Python: none (the mirror of `Norm2Le`) -/
def Norm2Ge [LE α] {n : Nat} (x : Fin n → α) (c : α) : Prop := 0 ≤ c ∧ c * c ≤ normSq x

end Definitions

section Ring

variable [Field α]

/-- The inner product does not depend on the order of its arguments.

Python: none (supporting lemma) -/
theorem dot_comm {n : Nat} (x y : Fin n → α) : dot x y = dot y x :=
  sum_congr fun i => CommSemiring.mul_comm (x i) (y i)

/-- The inner product is additive in its first argument.

Python: none (supporting lemma) -/
theorem dot_add_left {n : Nat} (x y z : Fin n → α) :
    dot (fun i => x i + y i) z = dot x z + dot y z := by
  unfold dot; rw [← sum_add]; exact sum_congr fun i => Semiring.right_distrib _ _ _

/-- The inner product is additive in its second argument.

Python: none (supporting lemma) -/
theorem dot_add_right {n : Nat} (x y z : Fin n → α) :
    dot x (fun i => y i + z i) = dot x y + dot x z := by
  unfold dot; rw [← sum_add]; exact sum_congr fun i => Semiring.left_distrib _ _ _

/-- The inner product respects differences in its first argument.

Python: none (supporting lemma) -/
theorem dot_sub_left {n : Nat} (x y z : Fin n → α) :
    dot (fun i => x i - y i) z = dot x z - dot y z := by
  unfold dot; rw [← sum_sub]; exact sum_congr fun i => by grind

/-- The inner product respects differences in its second argument.

Python: none (supporting lemma) -/
theorem dot_sub_right {n : Nat} (x y z : Fin n → α) :
    dot x (fun i => y i - z i) = dot x y - dot x z := by
  unfold dot; rw [← sum_sub]; exact sum_congr fun i => by grind

/-- A factor on the first vector moves out of the inner product.

Python: none (supporting lemma) -/
theorem dot_smul_left {n : Nat} (a : α) (x y : Fin n → α) :
    dot (fun i => a * x i) y = a * dot x y := by
  unfold dot; rw [← sum_mul_left]; exact sum_congr fun i => Semiring.mul_assoc _ _ _

/-- A factor on the second vector moves out of the inner product.

Python: none (supporting lemma) -/
theorem dot_smul_right {n : Nat} (a : α) (x y : Fin n → α) :
    dot x (fun i => a * y i) = a * dot x y := by
  unfold dot; rw [← sum_mul_left]; exact sum_congr fun i => by grind

/-- The inner product with the zero vector is zero.

Python: none (supporting lemma) -/
theorem dot_zero_right {n : Nat} (x : Fin n → α) : dot x (fun _ => 0) = 0 :=
  Eq.trans (sum_congr fun i => Semiring.mul_zero (x i)) sum_const_zero

/-- The inner product with a finite sum of vectors is the sum of the inner products.

Python: none (supporting lemma) -/
theorem dot_sum_right {n k : Nat} (x : Fin n → α) (v : Fin k → Fin n → α) :
    dot x (fun i => sum fun s => v s i) = sum fun s => dot x (v s) := by
  unfold dot
  rw [sum_comm]
  exact sum_congr fun i => by rw [sum_mul_left]

/-- The squared norm of a sum is the sum of the squared norms plus twice the inner product.

Python: none (supporting lemma) -/
theorem normSq_add {n : Nat} (x y : Fin n → α) :
    normSq (fun i => x i + y i) = normSq x + 2 * dot x y + normSq y := by
  unfold normSq
  rw [dot_add_left, dot_add_right, dot_add_right, dot_comm y x]
  grind

/-- The squared norm of a difference.

Python: none (supporting lemma) -/
theorem normSq_sub {n : Nat} (x y : Fin n → α) :
    normSq (fun i => x i - y i) = normSq x - 2 * dot x y + normSq y := by
  unfold normSq
  rw [dot_sub_left, dot_sub_right, dot_sub_right, dot_comm y x]
  grind

/-- A factor leaves a squared norm as its square.

Python: none (supporting lemma) -/
theorem normSq_smul {n : Nat} (a : α) (x : Fin n → α) :
    normSq (fun i => a * x i) = a * a * normSq x := by
  unfold normSq
  rw [dot_smul_left, dot_smul_right]
  grind

/-- The squared norm of the zero vector is zero.

Python: none (supporting lemma) -/
theorem normSq_zero {n : Nat} : normSq (fun _ : Fin n => (0 : α)) = 0 := dot_zero_right _

end Ring

section Order

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]

/-- A squared norm is not negative.

Python: none (supporting lemma) -/
theorem normSq_nonneg {n : Nat} (x : Fin n → α) : 0 ≤ normSq x :=
  sum_nonneg fun i => mul_self_nonneg (x i)

/-- A vector whose squared norm is zero has only zero entries.

Python: none (supporting lemma) -/
theorem eq_zero_of_normSq_eq_zero {n : Nat} {x : Fin n → α} (h : normSq x = 0) (i : Fin n) :
    x i = 0 := by
  have h1 : x i * x i ≤ normSq x :=
    le_sum (f := fun i => x i * x i) (fun i => mul_self_nonneg (x i)) i
  rw [h] at h1
  rcases Field.of_mul_eq_zero (Std.le_antisymm h1 (mul_self_nonneg _)) with h0 | h0 <;> exact h0

/-- Cauchy–Schwarz: the square of an inner product is at most the product of the squared norms.

Python: `peelverify.bounds.vector.dot_sq_upper` -/
theorem dot_sq_le_normSq_mul_normSq {n : Nat} (x y : Fin n → α) :
    dot x y * dot x y ≤ normSq x * normSq y := by
  refine sq_le_mul_of_quadratic_nonneg fun a b => ?_
  have h := normSq_nonneg fun i => b * x i - a * y i
  rw [normSq_sub, normSq_smul, normSq_smul, dot_smul_left, dot_smul_right] at h
  grind

/-- An inner product is at most the product of bounds on the two norms.

Python: `peelverify.bounds.vector.dot_upper` -/
theorem dot_le_of_norm2Le {n : Nat} {x y : Fin n → α} {a b : α}
    (hx : Norm2Le x a) (hy : Norm2Le y b) : dot x y ≤ a * b := by
  refine le_of_mul_self_le_mul_self (mul_nonneg hx.1 hy.1) ?_
  have h1 := dot_sq_le_normSq_mul_normSq x y
  have h2 := mul_le_mul hx.2 hy.2 (normSq_nonneg y) (mul_self_nonneg a)
  grind

/-- Triangle inequality: bounds on the 2-norms of two vectors add up to a bound for their sum.

Python: `peelverify.bounds.vector.norm2_sum_upper` -/
theorem Norm2Le.add {n : Nat} {x y : Fin n → α} {a b : α}
    (hx : Norm2Le x a) (hy : Norm2Le y b) : Norm2Le (fun i => x i + y i) (a + b) := by
  have ha := hx.1
  have hb := hy.1
  have h := dot_le_of_norm2Le hx hy
  refine ⟨by grind, ?_⟩
  rw [normSq_add]
  have h1 := hx.2
  have h2 := hy.2
  grind

/-- Scaling a vector by `a` scales a bound on its 2-norm by the absolute value of `a`.

Python: `peelverify.bounds.vector.norm2_smul_upper` -/
theorem Norm2Le.smul [DecidableLE α] {n : Nat} {x : Fin n → α} {c : α} (a : α)
    (hx : Norm2Le x c) : Norm2Le (fun i => a * x i) (absVal a * c) := by
  refine ⟨mul_nonneg (absVal_nonneg a) hx.1, ?_⟩
  rw [normSq_smul]
  have h := mul_le_mul_left (mul_self_nonneg a) hx.2
  have h2 := absVal_mul_self a
  rw [← h2] at h
  rw [← h2]
  grind

/-- A vector and its negation have the same norm bounds.

Python: none (supporting lemma) -/
theorem Norm2Le.neg {n : Nat} {x : Fin n → α} {c : α} (hx : Norm2Le x c) :
    Norm2Le (fun i => -x i) c := by
  refine ⟨hx.1, ?_⟩
  have h : normSq (fun i => -x i) = normSq x := sum_congr fun i => by grind
  rw [h]
  exact hx.2

/-- Triangle inequality for a difference.

Python: `peelverify.bounds.vector.norm2_sum_upper` -/
theorem Norm2Le.sub {n : Nat} {x y : Fin n → α} {a b : α}
    (hx : Norm2Le x a) (hy : Norm2Le y b) : Norm2Le (fun i => x i - y i) (a + b) := by
  have h := hx.add hy.neg
  have e : (fun i => x i + -y i) = fun i => x i - y i := funext fun i => (Ring.sub_eq_add_neg _ _).symm
  rw [e] at h
  exact h

/-- The zero vector has norm at most zero.

Python: none (supporting lemma) -/
theorem Norm2Le.zero {n : Nat} : Norm2Le (fun _ : Fin n => (0 : α)) 0 := by
  refine ⟨Std.le_refl _, ?_⟩
  rw [normSq_zero, Semiring.mul_zero]
  exact Std.le_refl _

/-- A norm bound may be replaced by a larger one.

Python: none (supporting lemma) -/
theorem Norm2Le.mono {n : Nat} {x : Fin n → α} {a b : α} (hx : Norm2Le x a) (hab : a ≤ b) :
    Norm2Le x b :=
  ⟨Std.le_trans hx.1 hab, Std.le_trans hx.2 (mul_self_le_mul_self hx.1 hab)⟩

/-- Triangle inequality for finitely many vectors: their bounds add up.

Python: `peelverify.bounds.vector.norm2_sum_upper` -/
theorem Norm2Le.sum {n k : Nat} {x : Fin k → Fin n → α} {c : Fin k → α}
    (hx : ∀ s, Norm2Le (x s) (c s)) :
    Norm2Le (fun i => PeelVerify.sum fun s => x s i) (PeelVerify.sum c) := by
  induction k with
  | zero => simp only [sum_zero]; exact Norm2Le.zero
  | succ k ih =>
    simp only [sum_succ]
    exact (hx 0).add (ih fun s => hx s.succ)

/-- Two bounds on the same norm, one from below and one from above, are in order.

Python: none (supporting lemma) -/
theorem Norm2Ge.le {n : Nat} {x : Fin n → α} {a b : α} (lower : Norm2Ge x a)
    (upper : Norm2Le x b) : a ≤ b :=
  le_of_mul_self_le_mul_self upper.1 (Std.le_trans lower.2 upper.2)

/-- Each entry is at most a bound on the 2-norm.

Python: none (supporting lemma) -/
theorem Norm2Le.entry_le {n : Nat} {x : Fin n → α} {c : α} (hx : Norm2Le x c) (i : Fin n) :
    x i ≤ c := by
  refine le_of_mul_self_le_mul_self hx.1 ?_
  exact Std.le_trans (le_sum (f := fun i => x i * x i) (fun i => mul_self_nonneg (x i)) i) hx.2

section Decidable

variable [DecidableLE α]

/-- Each entry is at most the largest absolute value.

Python: none (supporting lemma) -/
theorem absVal_le_normInf {n : Nat} (x : Fin n → α) (i : Fin n) : absVal (x i) ≤ normInf x := by
  induction n with
  | zero => exact i.elim0
  | succ n ih =>
    unfold normInf
    cases i using Fin.cases with
    | zero => exact le_maxVal_left _ _
    | succ i => exact Std.le_trans (ih (fun i => x i.succ) i) (le_maxVal_right _ _)

/-- The largest absolute value is not negative.

Python: none (supporting lemma) -/
theorem normInf_nonneg {n : Nat} (x : Fin n → α) : 0 ≤ normInf x := by
  cases n with
  | zero => exact Std.le_refl _
  | succ n => exact Std.le_trans (absVal_nonneg (x 0)) (absVal_le_normInf x 0)

/-- The absolute value of a sum is at most the sum of the absolute values.

Python: none (supporting lemma) -/
theorem absVal_sum_le {n : Nat} (f : Fin n → α) :
    absVal (PeelVerify.sum f) ≤ PeelVerify.sum fun i => absVal (f i) := by
  induction n with
  | zero =>
    simp only [sum_zero]
    rw [absVal_of_nonneg (Std.le_refl _)]
    exact Std.le_refl _
  | succ n ih =>
    exact Std.le_trans (absVal_add_le _ _)
      (OrderedAdd.add_le_add (Std.le_refl _) (ih fun i => f i.succ))

/-- Hölder for the 1-norm and the largest entry: they bound the inner product.

Python: `peelverify.bounds.vector.dot_abs_upper` -/
theorem abs_dot_le_norm1_mul_normInf {n : Nat} (x y : Fin n → α) :
    absVal (dot x y) ≤ norm1 x * normInf y := by
  refine Std.le_trans (absVal_sum_le _) ?_
  unfold norm1
  rw [← sum_mul_right]
  refine sum_le_sum fun i => ?_
  rw [absVal_mul]
  exact mul_le_mul_left (absVal_nonneg _) (absVal_le_normInf y i)

end Decidable

end Order

section Examples

private abbrev v34 : Fin 2 → Rat := vec [3, 4]
private abbrev v12 : Fin 2 → Rat := vec [1, -1 / 2]

example : dot v34 v12 = 1 := by decide +kernel
example : normSq v34 = 25 := by decide +kernel
example : norm1 v12 = 3 / 2 := by decide +kernel
example : normInf v12 = 1 := by decide +kernel
example : normInf (vec [] : Fin 0 → Rat) = 0 := by decide +kernel
example : Norm2Le v34 5 := by unfold Norm2Le; decide +kernel
example : ¬ Norm2Le v34 (49 / 10) := by unfold Norm2Le; decide +kernel
example : Norm2Ge v34 (49 / 10) := by unfold Norm2Ge; decide +kernel
example : Norm2Le (fun i => v34 i + v12 i) (5 + 6 / 5) :=
  Norm2Le.add (by unfold Norm2Le; decide +kernel) (by unfold Norm2Le; decide +kernel)
example : Norm2Le (fun i => v34 i - v12 i) (5 + 6 / 5) :=
  Norm2Le.sub (by unfold Norm2Le; decide +kernel) (by unfold Norm2Le; decide +kernel)
example : Norm2Le (fun i => -2 * v34 i) (absVal (-2) * 5) :=
  Norm2Le.smul (-2) (by unfold Norm2Le; decide +kernel)
example : dot v34 v12 ≤ 5 * (6 / 5) :=
  dot_le_of_norm2Le (by unfold Norm2Le; decide +kernel) (by unfold Norm2Le; decide +kernel)
example : Norm2Le (fun i => sum fun _ : Fin 3 => v34 i) (sum fun _ : Fin 3 => 5) :=
  Norm2Le.sum fun _ => by unfold Norm2Le; decide +kernel
example : Norm2Le (vec [] : Fin 0 → Rat) 0 := by unfold Norm2Le; decide +kernel
example : dot v34 v12 * dot v34 v12 ≤ normSq v34 * normSq v12 := dot_sq_le_normSq_mul_normSq v34 v12
example : absVal (dot v34 v12) ≤ norm1 v34 * normInf v12 := abs_dot_le_norm1_mul_normInf v34 v12

end Examples

end PeelVerify
