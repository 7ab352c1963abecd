module

/-!
# Linearly ordered fields

The order and sign facts that the other files use, for every linearly ordered field given by the
algebra classes of Lean core. The rationals are an instance, and so are the reals wherever the
instances are provided.

## Main results

* `sq_le_mul_of_quadratic_nonneg`: a quadratic form that is never negative has
  `d * d ≤ x * y`; Cauchy–Schwarz, the Schur test and attention all follow from it.
* `absVal`, `maxVal`, `minVal`: executable absolute value, maximum and minimum.

## Assumptions

A linear order compatible with the field operations; deciding `≤` only where a definition branches.

## References

None.
-/

@[expose] public noncomputable section

namespace PeelVerify

open Lean.Grind

set_option linter.unusedSectionVars false

universe u

section Order

variable {α : Type u} [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α]
  [OrderedRing α]

/-- A product of two numbers that are not negative is not negative.

Python: none (supporting lemma) -/
theorem mul_nonneg {a b : α} (ha : 0 ≤ a) (hb : 0 ≤ b) : 0 ≤ a * b :=
  OrderedRing.mul_nonneg ha hb

/-- A number times itself is not negative.

Python: none (supporting lemma) -/
theorem mul_self_nonneg (a : α) : 0 ≤ a * a := by
  rcases Std.le_total (a := (0 : α)) (b := a) with h | h
  · exact OrderedRing.mul_nonneg h h
  · exact OrderedRing.mul_nonneg_of_nonpos_of_nonpos h h

/-- Products grow with both factors when the factors involved are not negative.

Python: none (supporting lemma) -/
theorem mul_le_mul {a b c d : α} (hab : a ≤ b) (hcd : c ≤ d) (hc : 0 ≤ c) (hb : 0 ≤ b) :
    a * c ≤ b * d :=
  Std.le_trans (OrderedRing.mul_le_mul_of_nonneg_right hab hc)
    (OrderedRing.mul_le_mul_of_nonneg_left hcd hb)

/-- Multiplying both sides of an inequality by a number that is not negative keeps it.

Python: none (supporting lemma) -/
theorem mul_le_mul_left {a b c : α} (hc : 0 ≤ c) (hab : a ≤ b) : c * a ≤ c * b :=
  OrderedRing.mul_le_mul_of_nonneg_left hab hc

/-- A positive factor on the left can be cancelled from an inequality.

Python: none (supporting lemma) -/
theorem le_of_mul_le_mul_left {a b c : α} (hc : 0 < c) (h : c * a ≤ c * b) : a ≤ b :=
  (Field.IsOrdered.mul_le_mul_iff_of_pos_left hc).mp h

/-- Squares keep the order of numbers that are not negative.

Python: none (supporting lemma) -/
theorem mul_self_le_mul_self {a b : α} (ha : 0 ≤ a) (hab : a ≤ b) : a * a ≤ b * b :=
  mul_le_mul hab hab ha (Std.le_trans ha hab)

/-- A square below the square of a number that is not negative comes from a smaller number.

Python: none (supporting lemma) -/
theorem le_of_mul_self_le_mul_self {a b : α} (hb : 0 ≤ b) (h : a * a ≤ b * b) : a ≤ b := by
  by_cases hab : a ≤ b
  · exact hab
  · have h0 := mul_nonneg (show 0 ≤ a - b by grind) hb
    have h1 : a - b ≤ 0 := le_of_mul_le_mul_left (show 0 < a - b by grind) (by grind)
    grind

/-- A quadratic form in two variables that is never negative has a discriminant that is not
positive.

Python: none (supporting lemma) -/
theorem sq_le_mul_of_quadratic_nonneg {x y d : α}
    (never_negative : ∀ a b : α, 0 ≤ b * b * x - 2 * (a * b * d) + a * a * y) :
    d * d ≤ x * y := by
  have hx : 0 ≤ x := by have := never_negative 0 1; grind
  have hy : 0 ≤ y := by have := never_negative 1 0; grind
  have h1 := never_negative x d
  have h2 := never_negative d y
  have h3 := never_negative d 1
  clear never_negative
  by_cases hx0 : x = 0
  · subst hx0
    by_cases hy0 : y = 0
    · subst hy0
      grind
    · have hy' : 0 < y := by grind
      exact le_of_mul_le_mul_left hy' (by grind)
  · have hx' : 0 < x := by grind
    exact le_of_mul_le_mul_left hx' (by grind)

/-- The inverse of a positive number is positive.

Python: none (supporting lemma) -/
theorem inv_pos {a : α} (ha : 0 < a) : 0 < a⁻¹ :=
  Field.IsOrdered.inv_pos_iff.mpr ha

/-- A quotient is at least `c` when `c` times the positive denominator is at most the numerator.

Python: none (supporting lemma) -/
theorem le_div_of_mul_le {a b c : α} (hb : 0 < b) (h : c * b ≤ a) : c ≤ a / b := by
  rw [Field.div_eq_mul_inv]
  exact (Field.IsOrdered.le_mul_inv_iff_mul_le c a hb).mpr h

/-- A quotient is at most `c` when the numerator is at most `c` times the positive denominator.

Python: none (supporting lemma) -/
theorem div_le_of_le_mul {a b c : α} (hb : 0 < b) (h : a ≤ c * b) : a / b ≤ c := by
  rw [Field.div_eq_mul_inv]
  exact Std.not_lt.mp fun hlt =>
    Std.not_le.mpr ((Field.IsOrdered.lt_mul_inv_iff_mul_lt c a hb).mp hlt) h

/-- A power of a number that is not negative is not negative.

Python: none (supporting lemma) -/
theorem pow_nonneg {a : α} (ha : 0 ≤ a) (n : Nat) : 0 ≤ a ^ n := by
  induction n with
  | zero => rw [Semiring.pow_zero]; exact Std.le_of_lt OrderedRing.zero_lt_one
  | succ n ih => rw [Semiring.pow_succ]; exact mul_nonneg ih ha

/-- A power of a number between zero and one is at most one.

Python: none (supporting lemma) -/
theorem pow_le_one {a : α} (ha : 0 ≤ a) (ha1 : a ≤ 1) (n : Nat) : a ^ n ≤ 1 := by
  induction n with
  | zero => rw [Semiring.pow_zero]; exact Std.le_refl _
  | succ n ih =>
    have h := mul_le_mul ih ha1 ha (Std.le_of_lt OrderedRing.zero_lt_one)
    rwa [Semiring.one_mul, ← Semiring.pow_succ] at h

attribute [local instance] Semiring.natCast

/-- The copy of a natural number in the field is not negative.

Python: none (supporting lemma) -/
theorem natCast_nonneg (n : Nat) : (0 : α) ≤ (n : α) :=
  OrderedRing.natCast_nonneg

/-- The copy of `n + 1` in the field is the copy of `n` plus one.

Python: none (supporting lemma) -/
theorem natCast_succ (n : Nat) : ((n + 1 : Nat) : α) = (n : α) + 1 :=
  Semiring.natCast_succ n

/-- Natural numbers keep their order in the field.

Python: none (supporting lemma) -/
theorem natCast_le_natCast {m n : Nat} (h : m ≤ n) : (m : α) ≤ (n : α) := by
  obtain ⟨k, rfl⟩ := Nat.exists_eq_add_of_le h
  have h := OrderedAdd.add_le_add (Std.le_refl (m : α)) (natCast_nonneg (α := α) k)
  rwa [Semiring.add_zero, ← Semiring.natCast_add] at h

end Order

section Choice

variable {α : Type u} [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α]
  [OrderedRing α] [DecidableLE α]

/-- Absolute value, by deciding the sign.

Python: `peelverify.bounds.vector.abs_val` -/
def absVal (a : α) : α := if 0 ≤ a then a else -a

/-- The larger of two numbers.

Python: none (supporting definition) -/
def maxVal (a b : α) : α := if a ≤ b then b else a

/-- The smaller of two numbers.

Python: none (supporting definition) -/
def minVal (a b : α) : α := if a ≤ b then a else b

/-- An absolute value is not negative.

Python: none (supporting lemma) -/
theorem absVal_nonneg (a : α) : 0 ≤ absVal a := by
  unfold absVal
  split
  · assumption
  · exact OrderedAdd.neg_nonneg_iff.mpr (Std.le_of_not_ge (by assumption))

/-- A number is at most its absolute value.

Python: none (supporting lemma) -/
theorem le_absVal (a : α) : a ≤ absVal a := by
  unfold absVal
  split
  · exact Std.le_refl _
  · have h : a ≤ 0 := Std.le_of_not_ge (by assumption)
    exact Std.le_trans h (OrderedAdd.neg_nonneg_iff.mpr h)

/-- A negated number is at most the absolute value of the number.

Python: none (supporting lemma) -/
theorem neg_le_absVal (a : α) : -a ≤ absVal a := by
  unfold absVal
  split
  · exact Std.le_trans (OrderedAdd.neg_le_iff.mpr (by rwa [AddCommGroup.neg_zero])) (by assumption)
  · exact Std.le_refl _

/-- An absolute value is at most `c` exactly when the number lies between `-c` and `c`.

Python: none (supporting lemma) -/
theorem absVal_le_iff {a c : α} : absVal a ≤ c ↔ -c ≤ a ∧ a ≤ c := by
  refine ⟨fun h => ⟨OrderedAdd.neg_le_iff.mp (Std.le_trans (neg_le_absVal a) h),
    Std.le_trans (le_absVal a) h⟩, fun h => ?_⟩
  unfold absVal
  split
  · exact h.2
  · exact OrderedAdd.neg_le_iff.mp h.1

/-- The absolute value of a number that is not negative is the number.

Python: none (supporting lemma) -/
theorem absVal_of_nonneg {a : α} (ha : 0 ≤ a) : absVal a = a :=
  if_pos ha

/-- A number and its negation have the same absolute value.

Python: none (supporting lemma) -/
theorem absVal_neg (a : α) : absVal (-a) = absVal a := by
  have key : ∀ x : α, absVal (-x) ≤ absVal x := fun x => absVal_le_iff.mpr
    ⟨OrderedAdd.neg_le_iff.mpr (by rw [AddCommGroup.neg_neg]; exact le_absVal x),
      neg_le_absVal x⟩
  have h := key (-a)
  rw [AddCommGroup.neg_neg] at h
  exact Std.le_antisymm (key a) h

/-- The absolute value of a product is the product of the absolute values.

Python: none (supporting lemma) -/
theorem absVal_mul (a b : α) : absVal (a * b) = absVal a * absVal b := by
  have key : ∀ x y : α, 0 ≤ x → absVal (x * y) = absVal x * absVal y := by
    intro x y hx
    rcases Std.le_total (a := (0 : α)) (b := y) with hy | hy
    · rw [absVal_of_nonneg (mul_nonneg hx hy), absVal_of_nonneg hx, absVal_of_nonneg hy]
    · have hy' := OrderedAdd.neg_nonneg_iff.mpr hy
      rw [← absVal_neg (x * y), ← absVal_neg y, ← Ring.mul_neg, absVal_of_nonneg hx,
        absVal_of_nonneg hy', absVal_of_nonneg (mul_nonneg hx hy')]
  rcases Std.le_total (a := (0 : α)) (b := a) with ha | ha
  · exact key a b ha
  · have h := key (-a) b (OrderedAdd.neg_nonneg_iff.mpr ha)
    rwa [absVal_neg a, Ring.neg_mul, absVal_neg] at h

/-- The absolute value of a sum is at most the sum of the absolute values.

Python: none (supporting lemma) -/
theorem absVal_add_le (a b : α) : absVal (a + b) ≤ absVal a + absVal b := by
  have h := OrderedAdd.add_le_add (neg_le_absVal a) (neg_le_absVal b)
  rw [← AddCommGroup.neg_add] at h
  exact absVal_le_iff.mpr
    ⟨OrderedAdd.neg_le_iff.mp h, OrderedAdd.add_le_add (le_absVal a) (le_absVal b)⟩

/-- A distance is at most the sum of the distances to a number between.

Python: none (supporting lemma) -/
theorem absVal_sub_le (a b c : α) : absVal (a - c) ≤ absVal (a - b) + absVal (b - c) := by
  have h := absVal_add_le (a - b) (b - c)
  rwa [show a - b + (b - c) = a - c by grind] at h

/-- A number is at most its distance from another and the size of that one.

Python: none (supporting lemma) -/
theorem absVal_le_sub_add (a b : α) : absVal a ≤ absVal (a - b) + absVal b := by
  have h := absVal_add_le (a - b) b
  rwa [AddCommGroup.sub_add_cancel] at h

/-- The square of the absolute value is the square of the number.

Python: none (supporting lemma) -/
theorem absVal_mul_self (a : α) : absVal a * absVal a = a * a := by
  rw [← absVal_mul, absVal_of_nonneg (mul_self_nonneg a)]

/-- The first of two numbers is at most the larger one.

Python: none (supporting lemma) -/
theorem le_maxVal_left (a b : α) : a ≤ maxVal a b := by
  unfold maxVal; split <;> first | assumption | exact Std.le_refl _

/-- The second of two numbers is at most the larger one.

Python: none (supporting lemma) -/
theorem le_maxVal_right (a b : α) : b ≤ maxVal a b := by
  unfold maxVal; split <;> first | exact Std.le_refl _ | exact Std.le_of_not_ge (by assumption)

/-- The larger of two numbers is at most every common upper bound.

Python: none (supporting lemma) -/
theorem maxVal_le {a b c : α} (ha : a ≤ c) (hb : b ≤ c) : maxVal a b ≤ c := by
  unfold maxVal; split <;> assumption

/-- The smaller of two numbers is at most the first one.

Python: none (supporting lemma) -/
theorem minVal_le_left (a b : α) : minVal a b ≤ a := by
  unfold minVal; split <;> first | exact Std.le_refl _ | exact Std.le_of_not_ge (by assumption)

/-- The smaller of two numbers is at most the second one.

Python: none (supporting lemma) -/
theorem minVal_le_right (a b : α) : minVal a b ≤ b := by
  unfold minVal; split <;> first | assumption | exact Std.le_refl _

/-- Every common lower bound is at most the smaller of two numbers.

Python: none (supporting lemma) -/
theorem le_minVal {a b c : α} (ha : c ≤ a) (hb : c ≤ b) : c ≤ minVal a b := by
  unfold minVal; split <;> assumption

end Choice

section Examples

example : absVal (-3 / 2 : Rat) = 3 / 2 := by decide +kernel
example : maxVal (1 / 3 : Rat) (1 / 2) = 1 / 2 := by decide +kernel
example : minVal (1 / 3 : Rat) (1 / 2) = 1 / 3 := by decide +kernel
example : absVal (-3 : Rat) * absVal 2 = 6 := by decide +kernel
example : (0 : Rat) ≤ 2 * 3 := mul_nonneg (by decide +kernel) (by decide +kernel)
example : (2 : Rat) * 3 ≤ 4 * 5 :=
  mul_le_mul (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
example : (2 : Rat) ≤ 3 :=
  le_of_mul_self_le_mul_self (by decide +kernel) (by decide +kernel)
example : (3 : Rat) ≤ 7 / 2 := le_div_of_mul_le (by decide +kernel) (by decide +kernel)
example : (7 / 2 : Rat) ≤ 4 := div_le_of_le_mul (by decide +kernel) (by decide +kernel)
example : (1 / 2 : Rat) ^ 7 ≤ 1 := pow_le_one (by decide +kernel) (by decide +kernel) 7
example : absVal (3 - (-1) : Rat) ≤ absVal (3 - 1) + absVal (1 - (-1)) := absVal_sub_le 3 1 (-1)
example : absVal (3 : Rat) ≤ absVal (3 - (-1)) + absVal (-1) := absVal_le_sub_add 3 (-1)
example : (0 : Rat) < (5 : Rat)⁻¹ := inv_pos (by decide +kernel)

end Examples

end PeelVerify
