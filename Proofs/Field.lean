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
  · have h' : 0 ≤ -a := by grind
    have := OrderedRing.mul_nonneg h' h'
    grind

/-- Products grow with both factors when the factors involved are not negative.

Python: none (supporting lemma) -/
theorem mul_le_mul {a b c d : α} (hab : a ≤ b) (hcd : c ≤ d) (hc : 0 ≤ c) (hb : 0 ≤ b) :
    a * c ≤ b * d := by
  have h1 := mul_nonneg hc (show 0 ≤ b - a by grind)
  have h2 := mul_nonneg hb (show 0 ≤ d - c by grind)
  grind

/-- Multiplying both sides of an inequality by a number that is not negative keeps it.

Python: none (supporting lemma) -/
theorem mul_le_mul_left {a b c : α} (hc : 0 ≤ c) (hab : a ≤ b) : c * a ≤ c * b := by
  have h1 := mul_nonneg hc (show 0 ≤ b - a by grind)
  grind

/-- A positive factor on the left can be cancelled from an inequality.

Python: none (supporting lemma) -/
theorem le_of_mul_le_mul_left {a b c : α} (hc : 0 < c) (h : c * a ≤ c * b) : a ≤ b := by
  rcases Std.le_total (a := a) (b := b) with hab | hab
  · exact hab
  · have h0 := mul_nonneg (show 0 ≤ c by grind) (show 0 ≤ a - b by grind)
    have h1 : c * (a - b) = 0 := by grind
    have h2 : a - b = 0 := by grind
    grind

/-- Squares keep the order of numbers that are not negative.

Python: none (supporting lemma) -/
theorem mul_self_le_mul_self {a b : α} (ha : 0 ≤ a) (hab : a ≤ b) : a * a ≤ b * b :=
  mul_le_mul hab hab ha (by grind)

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
theorem inv_pos {a : α} (ha : 0 < a) : 0 < a⁻¹ := by
  have h := mul_self_nonneg a⁻¹
  have h1 := mul_nonneg (show 0 ≤ a by grind) h
  have h2 : a * (a⁻¹ * a⁻¹) = a⁻¹ := by grind
  have h3 : a * a⁻¹ = 1 := by grind
  have h4 : a⁻¹ ≠ 0 := by grind
  grind

/-- A quotient is at least `c` when `c` times the positive denominator is at most the numerator.

Python: none (supporting lemma) -/
theorem le_div_of_mul_le {a b c : α} (hb : 0 < b) (h : c * b ≤ a) : c ≤ a / b := by
  refine le_of_mul_le_mul_left hb ?_
  have : b * (a / b) = a := by grind
  grind

/-- A quotient is at most `c` when the numerator is at most `c` times the positive denominator.

Python: none (supporting lemma) -/
theorem div_le_of_le_mul {a b c : α} (hb : 0 < b) (h : a ≤ c * b) : a / b ≤ c := by
  refine le_of_mul_le_mul_left hb ?_
  have : b * (a / b) = a := by grind
  grind

/-- A power of a number that is not negative is not negative.

Python: none (supporting lemma) -/
theorem pow_nonneg {a : α} (ha : 0 ≤ a) (n : Nat) : 0 ≤ a ^ n := by
  induction n with
  | zero => have := Semiring.pow_zero a; grind
  | succ n ih => rw [Semiring.pow_succ]; exact mul_nonneg ih ha

/-- A power of a number between zero and one is at most one.

Python: none (supporting lemma) -/
theorem pow_le_one {a : α} (ha : 0 ≤ a) (ha1 : a ≤ 1) (n : Nat) : a ^ n ≤ 1 := by
  induction n with
  | zero => have := Semiring.pow_zero a; grind
  | succ n ih =>
    rw [Semiring.pow_succ]
    have := mul_le_mul ih ha1 ha (by grind)
    grind

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
  rw [Semiring.natCast_add]
  have := natCast_nonneg (α := α) k
  grind

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
theorem absVal_nonneg (a : α) : 0 ≤ absVal a := by unfold absVal; split <;> grind

/-- A number is at most its absolute value.

Python: none (supporting lemma) -/
theorem le_absVal (a : α) : a ≤ absVal a := by unfold absVal; split <;> grind

/-- A negated number is at most the absolute value of the number.

Python: none (supporting lemma) -/
theorem neg_le_absVal (a : α) : -a ≤ absVal a := by unfold absVal; split <;> grind

/-- An absolute value is at most `c` exactly when the number lies between `-c` and `c`.

Python: none (supporting lemma) -/
theorem absVal_le_iff {a c : α} : absVal a ≤ c ↔ -c ≤ a ∧ a ≤ c := by
  unfold absVal; split <;> grind

/-- The absolute value of a number that is not negative is the number.

Python: none (supporting lemma) -/
theorem absVal_of_nonneg {a : α} (ha : 0 ≤ a) : absVal a = a := by
  unfold absVal; split <;> grind

/-- A number and its negation have the same absolute value.

Python: none (supporting lemma) -/
theorem absVal_neg (a : α) : absVal (-a) = absVal a := by
  unfold absVal; split <;> split <;> grind

/-- The absolute value of a product is the product of the absolute values.

Python: none (supporting lemma) -/
theorem absVal_mul (a b : α) : absVal (a * b) = absVal a * absVal b := by
  have key : ∀ x y : α, 0 ≤ x → absVal (x * y) = absVal x * absVal y := by
    intro x y hx
    rcases Std.le_total (a := (0 : α)) (b := y) with hy | hy
    · rw [absVal_of_nonneg (mul_nonneg hx hy), absVal_of_nonneg hx, absVal_of_nonneg hy]
    · have hy' : 0 ≤ -y := by grind
      rw [← absVal_neg (x * y), ← absVal_neg y, absVal_of_nonneg hx, absVal_of_nonneg hy',
        absVal_of_nonneg (show 0 ≤ -(x * y) by have := mul_nonneg hx hy'; grind)]
      grind
  rcases Std.le_total (a := (0 : α)) (b := a) with ha | ha
  · exact key a b ha
  · have := key (-a) b (by grind)
    rw [absVal_neg a] at this
    rw [← this, ← absVal_neg]
    congr 1
    grind

/-- The absolute value of a sum is at most the sum of the absolute values.

Python: none (supporting lemma) -/
theorem absVal_add_le (a b : α) : absVal (a + b) ≤ absVal a + absVal b := by
  have h1 := le_absVal a
  have h2 := le_absVal b
  have h3 := neg_le_absVal a
  have h4 := neg_le_absVal b
  rw [absVal_le_iff]
  grind

/-- The square of the absolute value is the square of the number.

Python: none (supporting lemma) -/
theorem absVal_mul_self (a : α) : absVal a * absVal a = a * a := by
  unfold absVal; split <;> grind

/-- The first of two numbers is at most the larger one.

Python: none (supporting lemma) -/
theorem le_maxVal_left (a b : α) : a ≤ maxVal a b := by unfold maxVal; split <;> grind

/-- The second of two numbers is at most the larger one.

Python: none (supporting lemma) -/
theorem le_maxVal_right (a b : α) : b ≤ maxVal a b := by unfold maxVal; split <;> grind

/-- The larger of two numbers is at most every common upper bound.

Python: none (supporting lemma) -/
theorem maxVal_le {a b c : α} (ha : a ≤ c) (hb : b ≤ c) : maxVal a b ≤ c := by
  unfold maxVal; split <;> assumption

/-- The smaller of two numbers is at most the first one.

Python: none (supporting lemma) -/
theorem minVal_le_left (a b : α) : minVal a b ≤ a := by unfold minVal; split <;> grind

/-- The smaller of two numbers is at most the second one.

Python: none (supporting lemma) -/
theorem minVal_le_right (a b : α) : minVal a b ≤ b := by unfold minVal; split <;> grind

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
example : (0 : Rat) < (5 : Rat)⁻¹ := inv_pos (by decide +kernel)

end Examples

end PeelVerify
