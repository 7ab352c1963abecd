module

public import Proofs.Field

/-!
# The exponential, enclosed and as it is computed

An abstract exponential, and enclosures of the one with base `e` and of its logarithm. A change of
the loss, a divergence and a factor of the perplexity in a certificate rest on these.

## Main results

* `IsExp.mono`, `IsExp.le_of_le`: an exponential keeps and reflects the order.
* `expLower_le`, `le_expUpper`: repeated squares of the tangent enclose the exponential.
* `exp_taylor`: the Taylor polynomial of degree three and its error.
* `horner_step_error`, `exp_computed_error`: the rounding of the polynomial, and the whole
  computed exponential from a table entry, a polynomial and a rest of the argument.
* `log_enclosure`: a guess at a logarithm, checked by the exponential.

## Assumptions

`IsExp valid E`: on the numbers that are `valid`, `E` is positive, increasing and turns sums into
products. For the reals `E` is the exponential and every number is valid; the rationals have powers
on the whole multiples of a step. `IsNatExp valid E`: an exponential that lies above its tangent at zero, as the real one does and no
other real one. A Taylor series has no sum in a general ordered field, so the error of the
polynomial has a second term that shrinks with the number `k` of halvings, and every `k` may be
chosen. Roundings obey the stated bounds, which excludes overflow.

## References

N. Higham, Accuracy and Stability of Numerical Algorithms, chapter 5.
-/

@[expose] public noncomputable section

namespace PeelVerify

open Lean.Grind

set_option linter.unusedSectionVars false

universe u

variable {α : Type u}

section Definitions

/-- The function `E` behaves like an exponential on the valid numbers.

Python: none (an assumption about the exponential) -/
structure IsExp [Field α] [LE α] [LT α] (valid : α → Prop) (E : α → α) : Prop where
  /-- Valid numbers are closed under addition. -/
  valid_add : ∀ a b, valid a → valid b → valid (a + b)
  /-- Valid numbers are closed under negation. -/
  valid_neg : ∀ a, valid a → valid (-a)
  /-- Values are positive. -/
  pos : ∀ a, valid a → 0 < E a
  /-- Sums become products. -/
  map_add : ∀ a b, valid a → valid b → E (a + b) = E a * E b
  /-- Larger arguments have larger values. -/
  strictMono : ∀ a b, valid a → valid b → a < b → E a < E b

/-- `E` behaves like the exponential with base `e` on the valid numbers: it is an exponential and
lies above its tangent at zero.

Python: none (an assumption about the exponential) -/
structure IsNatExp [Field α] [LE α] [LT α] (valid : α → Prop) (E : α → α) : Prop where
  /-- It is an exponential. -/
  toIsExp : IsExp valid E
  /-- The tangent at zero lies below. -/
  one_add_le : ∀ a, valid a → 1 + a ≤ E a

/-- Square `k` times and round after each square.

Python: `peelverify.bounds.exponential.squared` -/
def squared [Field α] (round : α → α) : Nat → α → α
  | 0, x => x
  | k + 1, x => squared round k (round (x * x))

/-- A number below the exponential: the tangent at `x / 2 ^ k`, squared `k` times, rounded down
after each square.

Python: `peelverify.bounds.exponential.exp_lower` -/
def expLower [Field α] (down : α → α) (k : Nat) (x : α) : α :=
  squared down k (1 + x / 2 ^ k)

/-- A number above the exponential: the inverse of the tangent at `-x / 2 ^ k`, rounded up at
first and after each of `k` squares.

Python: `peelverify.bounds.exponential.exp_upper` -/
def expUpper [Field α] (up : α → α) (k : Nat) (x : α) : α :=
  squared up k (up (1 / (1 - x / 2 ^ k)))

/-- The Taylor polynomial of the exponential of degree three.

Python: `peelverify.bounds.exponential.exp_taylor` -/
def expTaylor [Field α] (x : α) : α := 1 + x * (1 + x * (1 / 2 + x * (1 / 6)))

/-- How far the polynomial of degree three is from the exponential, for every number `k` of
halvings.

Python: `peelverify.bounds.exponential.exp_taylor_error` -/
def expTaylorError [Field α] (k : Nat) (x : α) : α := x * x * (x * x) / 20 + 2 * (x * x) / 2 ^ k

/-- The error of one step `x v + c` of a polynomial in Horner's form, when `v` is off by `error`
and of size at most `size`, and product and sum are rounded.

Python: `peelverify.bounds.exponential.horner_error` -/
def hornerError [Field α] (unit eta x error size c : α) : α :=
  x * error + (unit * (x * size) + eta) + unit * (x * size + (unit * (x * size) + eta) + c)

/-- The relative error of a product of two factors that have relative errors `b` and `c`.

Python: `peelverify.bounds.exponential.relative_product` -/
def relativeProduct [Field α] (b c : α) : α := b + c + b * c

/-- The relative error of a computed exponential, from those of the table, the polynomial, the
last rounding and the size of what its argument leaves out.

Python: `peelverify.bounds.exponential.exp_error` -/
def expError [Field α] (table polynomial unit size : α) : α :=
  relativeProduct (relativeProduct (relativeProduct table polynomial) unit)
    (2 * size)

end Definitions

section Exponential

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]
  {valid : α → Prop} {E : α → α}

/-- An exponential keeps `≤`.

Python: none (supporting lemma) -/
theorem IsExp.mono (exp : IsExp valid E) {a b : α} (ha : valid a) (hb : valid b)
    (hab : a ≤ b) : E a ≤ E b := by
  by_cases h : a = b
  · rw [h]; exact Std.le_refl _
  · refine Std.le_of_lt (exp.strictMono a b ha hb (Std.not_le.mp fun hba => h ?_))
    exact Std.le_antisymm hab hba

/-- An exponential reflects `≤`.

Python: none (supporting lemma) -/
theorem IsExp.le_of_le (exp : IsExp valid E) {a b : α} (ha : valid a) (hb : valid b)
    (hab : E a ≤ E b) : a ≤ b := by
  refine Std.not_lt.mp fun h => ?_
  exact Std.not_le.mpr (exp.strictMono b a hb ha h) hab

/-- Valid numbers are closed under subtraction.

Python: none (supporting lemma) -/
theorem IsExp.valid_sub (exp : IsExp valid E) {a b : α} (ha : valid a) (hb : valid b) :
    valid (a - b) := by
  rw [Ring.sub_eq_add_neg]
  exact exp.valid_add a (-b) ha (exp.valid_neg b hb)

/-- An exponential is one at zero.

Python: none (supporting lemma) -/
theorem IsExp.map_zero (exp : IsExp valid E) (zero_valid : valid 0) : E 0 = 1 := by
  have h := exp.map_add 0 0 zero_valid zero_valid
  rw [Semiring.add_zero] at h
  have := exp.pos 0 zero_valid
  grind

/-- The exponentials of a number and of its negation are inverse to each other.

Python: none (supporting lemma) -/
theorem IsExp.map_mul_map_neg (exp : IsExp valid E) {a : α} (ha : valid a) :
    E a * E (-a) = 1 := by
  have hn := exp.valid_neg a ha
  have e := AddCommGroup.add_neg_cancel (a := a)
  have hz := exp.valid_add a (-a) ha hn
  have h := exp.map_add a (-a) ha hn
  rw [e] at h hz
  rw [← h, exp.map_zero hz]

/-- The exponential lies below the inverse of the tangent at the negated number.

Python: none (supporting lemma) -/
theorem IsNatExp.mul_one_sub_le (exp : IsNatExp valid E) {a : α} (ha : valid a) :
    E a * (1 - a) ≤ 1 := by
  have h := exp.one_add_le (-a) (exp.toIsExp.valid_neg a ha)
  have h1 := mul_le_mul_left (Std.le_of_lt (exp.toIsExp.pos a ha)) h
  rwa [exp.toIsExp.map_mul_map_neg ha, ← Ring.sub_eq_add_neg] at h1

private theorem two_pow_pos (k : Nat) : (0 : α) < 2 ^ k := by
  induction k with
  | zero => rw [Semiring.pow_zero]; exact OrderedRing.zero_lt_one
  | succ k ih => rw [Semiring.pow_succ]; exact OrderedRing.mul_pos ih (by grind)

private theorem div_one (x : α) : x / 1 = x := by grind

private theorem one_div_two_pow (k : Nat) :
    (0 : α) ≤ 1 / 2 ^ k ∧ (1 : α) / 2 ^ k ≤ 1 ∧ (1 : α) / 2 ^ (k + 1) = 1 / 2 ^ k / 2 := by
  have h : (1 : α) ≤ 2 ^ k := by
    induction k with
    | zero => rw [Semiring.pow_zero]; exact Std.le_refl _
    | succ k ih => rw [Semiring.pow_succ]; grind
  have hp := two_pow_pos (α := α) k
  refine ⟨le_div_of_mul_le hp (by grind), div_le_of_le_mul hp (by grind), ?_⟩
  rw [Semiring.pow_succ]
  grind

private theorem half_div_pow (x : α) (k : Nat) : x / 2 ^ (k + 1) = (x / 2) / 2 ^ k := by
  have h := two_pow_pos (α := α) k
  rw [Semiring.pow_succ]
  grind

private theorem valid_of_halves (exp : IsExp valid E) {k : Nat} {x : α}
    (h : valid (x / 2 ^ k)) : valid x := by
  induction k generalizing x with
  | zero =>
    rw [Semiring.pow_zero] at h
    rwa [div_one] at h
  | succ k ih =>
    rw [half_div_pow] at h
    have h1 := exp.valid_add _ _ (ih h) (ih h)
    have e : x / 2 + x / 2 = x := by grind
    rwa [e] at h1

private theorem map_half (exp : IsExp valid E) {x : α} (h : valid (x / 2)) :
    E x = E (x / 2) * E (x / 2) := by
  rw [← exp.map_add _ _ h h]
  congr 1
  grind

private theorem double_div_pow (x : α) (k : Nat) :
    x / 2 ^ (k + 1) + x / 2 ^ (k + 1) = x / 2 ^ k := by
  have h := two_pow_pos (α := α) k
  rw [Semiring.pow_succ]
  grind

private theorem squared_le (exp : IsExp valid E) {down : α → α}
    (down_mem : ∀ a, 0 ≤ a → 0 ≤ down a ∧ down a ≤ a) {x : α} (k : Nat) {start : α}
    (h : valid (x / 2 ^ k)) (start_nonneg : 0 ≤ start) (start_le : start ≤ E (x / 2 ^ k)) :
    squared down k start ≤ E x := by
  induction k generalizing start with
  | zero =>
    rw [Semiring.pow_zero] at start_le
    rwa [div_one] at start_le
  | succ k ih =>
    have hv := exp.valid_add _ _ h h
    have hm := exp.map_add _ _ h h
    rw [double_div_pow] at hv hm
    have h1 := mul_self_le_mul_self start_nonneg start_le
    have h2 := down_mem (start * start) (mul_self_nonneg start)
    exact ih hv h2.1 (by rw [hm]; exact Std.le_trans h2.2 h1)

private theorem le_squared (exp : IsExp valid E) {up : α → α} (le_up : ∀ a, a ≤ up a) {x : α}
    (k : Nat) {start : α} (h : valid (x / 2 ^ k)) (le_start : E (x / 2 ^ k) ≤ start) :
    E x ≤ squared up k start := by
  induction k generalizing start with
  | zero =>
    rw [Semiring.pow_zero] at le_start
    rwa [div_one] at le_start
  | succ k ih =>
    have hv := exp.valid_add _ _ h h
    have hm := exp.map_add _ _ h h
    rw [double_div_pow] at hv hm
    have h1 := mul_self_le_mul_self (Std.le_of_lt (exp.pos _ h)) le_start
    exact ih hv (by rw [hm]; exact Std.le_trans h1 (le_up _))

/-- Squaring the tangent at `x / 2 ^ k`, rounded down, stays below the exponential.

Python: `peelverify.bounds.exponential.exp_lower` -/
theorem expLower_le (exp : IsNatExp valid E) {down : α → α}
    (down_mem : ∀ a, 0 ≤ a → 0 ≤ down a ∧ down a ≤ a) {x : α} (k : Nat)
    (piece_valid : valid (x / 2 ^ k)) (piece_ge : -1 ≤ x / 2 ^ k) :
    expLower down k x ≤ E x :=
  squared_le exp.toIsExp down_mem k piece_valid (by grind) (exp.one_add_le _ piece_valid)

/-- Squaring the inverse of the tangent at `-x / 2 ^ k`, rounded up, stays above the exponential.

Python: `peelverify.bounds.exponential.exp_upper` -/
theorem le_expUpper (exp : IsNatExp valid E) {up : α → α} (le_up : ∀ a, a ≤ up a) {x : α}
    (k : Nat) (piece_valid : valid (x / 2 ^ k)) (piece_lt : x / 2 ^ k < 1) :
    E x ≤ expUpper up k x := by
  refine le_squared exp.toIsExp le_up k piece_valid (Std.le_trans ?_ (le_up _))
  exact le_div_of_mul_le (OrderedAdd.sub_pos_iff.mpr piece_lt) (exp.mul_one_sub_le piece_valid)


section Taylor

variable [DecidableLE α]

private theorem taylor_base (exp : IsNatExp valid E) {y : α} (h : valid y)
    (small : absVal y ≤ 1 / 16) :
    absVal (E y - expTaylor y) ≤ (1 + 2 * absVal y) * (y * y) := by
  have h1 := exp.one_add_le y h
  have h2 := exp.mul_one_sub_le h
  have h3 := mul_self_nonneg y
  have h0 := absVal_le_iff.mp small
  have h4 := mul_nonneg h3 (show 0 ≤ 1 / 16 - y by grind)
  have h5 := mul_nonneg h3 (show 0 ≤ y + 1 / 16 by grind)
  have h6 : E y ≤ 1 + y + 3 / 2 * (y * y) := by
    refine le_of_mul_le_mul_left (show 0 < 1 - y by grind) ?_
    grind
  have h7 := mul_nonneg h3 (OrderedAdd.sub_nonneg_iff.mpr (le_absVal y))
  have h8 := mul_nonneg h3 (show 0 ≤ absVal y + y by have := neg_le_absVal y; grind)
  clear small
  rw [absVal_le_iff]
  unfold expTaylor
  constructor <;> grind

private theorem square_step {z e w t : α} (hw : absVal z = w) (small : w ≤ 1 / 32) (ht : 0 ≤ t)
    (ht1 : t ≤ 1)
    (close : absVal (e - expTaylor z) ≤ w * w * (w * w) / 20 + (1 + 2 * w) * (w * w) * t) :
    absVal (e * e - expTaylor (2 * z)) ≤
      16 * (w * w * (w * w)) / 20 + (1 + 4 * w) * (2 * (w * w)) * t := by
  have hw0 : 0 ≤ w := hw ▸ absVal_nonneg z
  have hzz : z * z = w * w := by rw [← hw, absVal_mul_self]
  have hz := absVal_le_iff.mp (show absVal z ≤ w from hw ▸ Std.le_refl _)
  have w2 := mul_nonneg hw0 hw0
  have w3 := mul_nonneg w2 hw0
  have w4 := mul_nonneg w2 w2
  have s2 := mul_nonneg hw0 (OrderedAdd.sub_nonneg_iff.mpr small)
  have s3 := mul_nonneg w2 (OrderedAdd.sub_nonneg_iff.mpr small)
  have s4 := mul_nonneg w3 (OrderedAdd.sub_nonneg_iff.mpr small)
  have bound : w * w * (w * w) / 20 + (1 + 2 * w) * (w * w) * t ≤ w / 16 := by
    have := mul_nonneg (mul_nonneg (show 0 ≤ 1 + 2 * w by grind) w2) (OrderedAdd.sub_nonneg_iff.mpr ht1)
    grind
  have size : absVal (2 * expTaylor z + (e - expTaylor z)) ≤ 2 + 3 * w := by
    have h1 := absVal_le_iff.mp (Std.le_trans close bound)
    have h2 : expTaylor z = 1 + z + w * w / 2 + w * w * z / 6 := by unfold expTaylor; grind
    have h3 := mul_nonneg w2 (OrderedAdd.sub_nonneg_iff.mpr hz.2)
    have h4 := mul_nonneg w2 (show 0 ≤ w + z by grind)
    rw [absVal_le_iff]
    clear close
    constructor <;> grind
  have product : absVal ((e - expTaylor z) * (2 * expTaylor z + (e - expTaylor z))) ≤
      (w * w * (w * w) / 20 + (1 + 2 * w) * (w * w) * t) * (2 + 3 * w) := by
    rw [absVal_mul]
    exact mul_le_mul close size (absVal_nonneg _) (Std.le_trans (absVal_nonneg _) close)
  have rest : absVal (w * w * (w * w) * (7 / 12 + z / 6 + z * z / 36)) ≤
      w * w * (w * w) * (6 / 10) := by
    rw [absVal_mul, absVal_of_nonneg w4]
    refine mul_le_mul_left w4 (absVal_le_iff.mpr ?_)
    constructor <;> grind
  have split : e * e - expTaylor (2 * z) =
      w * w * (w * w) * (7 / 12 + z / 6 + z * z / 36) +
        (e - expTaylor z) * (2 * expTaylor z + (e - expTaylor z)) := by
    rw [← hzz]; unfold expTaylor; grind
  have h1 := mul_nonneg w4 (OrderedAdd.sub_nonneg_iff.mpr small)
  have h2 := mul_nonneg (mul_nonneg w3 (show 0 ≤ 1 - 6 * w by grind)) ht
  rw [split]
  refine Std.le_trans (absVal_add_le _ _) ?_
  clear split close bound size
  grind

private theorem taylor_near (exp : IsNatExp valid E) (k : Nat) {y : α} (h : valid (y / 2 ^ k))
    (small : absVal y ≤ 1 / 16) :
    absVal (E y - expTaylor y) ≤
      y * y * (y * y) / 20 + (1 + 2 * absVal y) * (y * y) * (1 / 2 ^ k) := by
  induction k generalizing y with
  | zero =>
    rw [Semiring.pow_zero] at h
    rw [div_one] at h
    have h1 := taylor_base exp h small
    have h2 := mul_self_nonneg (y * y)
    have e1 : (1 : α) / 2 ^ 0 = 1 := by rw [Semiring.pow_zero, div_one]
    rw [e1]
    grind
  | succ k ih =>
    rw [half_div_pow] at h
    have e : absVal (y / 2) = absVal y / 2 := by
      have := absVal_mul y (1 / 2)
      rw [absVal_of_nonneg (show (0 : α) ≤ 1 / 2 by grind)] at this
      have e1 : y / 2 = y * (1 / 2) := by grind
      rw [e1, this]
      grind
    have hs := absVal_mul_self y
    have hp := one_div_two_pow (α := α) k
    have h1 := ih h (by grind)
    rw [e, show y / 2 * (y / 2) = absVal y / 2 * (absVal y / 2) by grind] at h1
    have h2 := square_step e (by grind) hp.1 hp.2.1 h1
    rw [← map_half exp.toIsExp (valid_of_halves exp.toIsExp h),
      show 2 * (y / 2) = y by grind] at h2
    rw [hp.2.2, ← hs]
    clear ih h1
    grind

/-- The exponential of a small number is close to its Taylor polynomial of degree three, for every
number of halvings.

Python: `peelverify.bounds.exponential.exp_taylor_error` -/
theorem exp_taylor (exp : IsNatExp valid E) (k : Nat) {y : α} (piece_valid : valid (y / 2 ^ k))
    (small : absVal y ≤ 1 / 16) : absVal (E y - expTaylor y) ≤ expTaylorError k y := by
  have h := taylor_near exp k piece_valid small
  have h1 := mul_nonneg (mul_nonneg (mul_self_nonneg y) (one_div_two_pow (α := α) k).1)
    (show 0 ≤ 1 - 2 * absVal y by grind)
  unfold expTaylorError
  have e : 2 * (y * y) / 2 ^ k = 2 * (y * y) * (1 / 2 ^ k) := by grind
  rw [e]
  clear small
  grind

end Taylor

/-- The exponential of a small number is near one.

Python: `peelverify.bounds.exponential.exp_shift_error` -/
theorem exp_shift_error [DecidableLE α] (exp : IsNatExp valid E) {s size : α} (hs : valid s)
    (s_le : absVal s ≤ size) (small : size ≤ 1 / 2) :
    absVal (E s - 1) ≤ size + 2 * (size * size) := by
  have h1 := exp.one_add_le s hs
  have h2 := exp.mul_one_sub_le hs
  have h3 := absVal_le_iff.mp s_le
  have h4 := absVal_nonneg s
  have h0 := mul_self_nonneg size
  have h5 : E s ≤ 1 + size + 2 * (size * size) := by
    refine le_of_mul_le_mul_left (show 0 < 1 - size by grind) ?_
    have h6 := mul_nonneg (Std.le_of_lt (exp.toIsExp.pos s hs)) (OrderedAdd.sub_nonneg_iff.mpr h3.2)
    have h7 := mul_nonneg h0 (OrderedAdd.sub_nonneg_iff.mpr small)
    grind
  rw [absVal_le_iff]
  constructor <;> grind

section Relative

variable [DecidableLE α]

/-- Two numbers that are known up to relative errors have a product that is.

Python: `peelverify.bounds.exponential.relative_product` -/
theorem relative_product_error {v e w f b c : α} (e_nonneg : 0 ≤ e) (f_nonneg : 0 ≤ f)
    (left : absVal (v - e) ≤ b * e) (right : absVal (w - f) ≤ c * f) :
    absVal (v * w - e * f) ≤ relativeProduct b c * (e * f) := by
  have h : v * w - e * f = (v - e) * f + e * (w - f) + (v - e) * (w - f) := by grind
  have h1 := absVal_mul (v - e) f
  have h2 := absVal_mul e (w - f)
  have h3 := absVal_mul (v - e) (w - f)
  rw [absVal_of_nonneg f_nonneg] at h1
  rw [absVal_of_nonneg e_nonneg] at h2
  have h4 := mul_le_mul_left f_nonneg left
  have h5 := mul_le_mul_left e_nonneg right
  have h6 := mul_le_mul left right (absVal_nonneg _) (Std.le_trans (absVal_nonneg _) left)
  have h7 := absVal_add_le ((v - e) * f + e * (w - f)) ((v - e) * (w - f))
  have h8 := absVal_add_le ((v - e) * f) (e * (w - f))
  rw [h]
  unfold relativeProduct
  clear h left right
  grind

private theorem nonneg_of_relative {v e b : α} (e_pos : 0 < e) (close : absVal (v - e) ≤ b * e) :
    0 ≤ b := by
  refine le_of_mul_le_mul_left e_pos ?_
  rw [Semiring.mul_zero, CommSemiring.mul_comm]
  exact Std.le_trans (absVal_nonneg _) close

private theorem relative_trans {v e f b c : α} (b_nonneg : 0 ≤ b)
    (outer : absVal (f - e) ≤ c * e) (inner : absVal (v - f) ≤ b * f) :
    absVal (v - e) ≤ relativeProduct b c * e := by
  have h := absVal_sub_le v f e
  have h1 := absVal_le_iff.mp outer
  unfold relativeProduct
  have h2 := mul_nonneg b_nonneg (show 0 ≤ e + c * e - f by grind)
  grind

private theorem relative_rounding {v w e b unit : α} (inner : absVal (w - e) ≤ b * e)
    (unit_nonneg : 0 ≤ unit) (rounded : absVal (v - w) ≤ unit * absVal w) (e_nonneg : 0 ≤ e) :
    absVal (v - e) ≤ relativeProduct b unit * e := by
  have h := absVal_sub_le v w e
  have h1 := absVal_le_sub_add w e
  rw [absVal_of_nonneg e_nonneg] at h1
  have h2 := mul_nonneg unit_nonneg (show 0 ≤ b * e + e - absVal w by grind)
  unfold relativeProduct
  grind

/-- A step of a polynomial in Horner's form with a rounded product and a rounded sum.

Python: `peelverify.bounds.exponential.horner_error` -/
theorem horner_step_error {unit eta x v e c size error product result : α}
    (unit_nonneg : 0 ≤ unit) (close : absVal (v - e) ≤ error) (v_le : absVal v ≤ size)
    (product_rounded : absVal (product - x * v) ≤ unit * absVal (x * v) + eta)
    (sum_rounded : absVal (result - (product + c)) ≤ unit * absVal (product + c)) :
    absVal (result - (x * e + c)) ≤ hornerError unit eta (absVal x) error size (absVal c) := by
  have hx := absVal_nonneg x
  have h1 : absVal (x * v) ≤ absVal x * size := by
    rw [absVal_mul]; exact mul_le_mul_left hx v_le
  have h2 := mul_le_mul_left unit_nonneg h1
  have h3 : absVal (x * (v - e)) ≤ absVal x * error := by
    rw [absVal_mul]; exact mul_le_mul_left hx close
  have h4 : absVal (product + c) ≤
      absVal x * size + (unit * (absVal x * size) + eta) + absVal c := by
    have h5 := absVal_le_sub_add product (x * v)
    have h6 := absVal_add_le product c
    grind
  have h7 := mul_le_mul_left unit_nonneg h4
  have h8 := absVal_add_le (result - (product + c)) (product - x * v + x * (v - e))
  have h9 := absVal_add_le (product - x * v) (x * (v - e))
  rw [show result - (product + c) + (product - x * v + x * (v - e)) = result - (x * e + c) by
    grind] at h8
  unfold hornerError
  clear close v_le
  grind

/-- The logarithm of a number, checked by the exponential: if the number times the exponential of
`-guess` is known up to a relative error and computed within `distance` of one, then the guess is
near the logarithm.

Python: `peelverify.bounds.exponential.log_error` -/
theorem log_enclosure (exp : IsNatExp valid E) {log guess computed relative distance : α}
    (log_valid : valid log) (guess_valid : valid guess) (relative_nonneg : 0 ≤ relative)
    (close : absVal (computed - E log * E (-guess)) ≤ relative * (E log * E (-guess)))
    (near_one : absVal (computed - 1) ≤ distance) (small : 2 * (distance + relative) < 1) :
    absVal (log - guess) ≤ (distance + relative) / (1 - 2 * (distance + relative)) := by
  have hd := exp.toIsExp.valid_sub log_valid guess_valid
  have e : E log * E (-guess) = E (log - guess) := by
    rw [← exp.toIsExp.map_add _ _ log_valid (exp.toIsExp.valid_neg _ guess_valid)]
    congr 1
    grind
  rw [e] at close
  have h1 := exp.one_add_le _ hd
  have h2 := exp.mul_one_sub_le hd
  have hp := exp.toIsExp.pos _ hd
  have h3 := absVal_le_iff.mp close
  have h4 := absVal_le_iff.mp near_one
  have hd0 := Std.le_trans (absVal_nonneg _) near_one
  clear close near_one e
  refine absVal_le_iff.mpr ⟨?_, le_div_of_mul_le (by grind) ?_⟩
  · have h5 : -(log - guess) ≤ (distance + relative) / (1 - 2 * (distance + relative)) := by
      refine le_div_of_mul_le (by grind) ?_
      by_cases h : 0 ≤ log - guess
      · have := mul_nonneg h (show 0 ≤ 1 - 2 * (distance + relative) by grind)
        grind
      · have h6 := mul_nonneg (show 0 ≤ 1 - (log - guess) by grind)
          (show 0 ≤ E (log - guess) * (1 + relative) - (1 - distance) by grind)
        have h7 := mul_nonneg (show 0 ≤ 1 + relative by grind)
          (show 0 ≤ 1 - E (log - guess) * (1 - (log - guess)) by grind)
        have h8 := mul_nonneg (show 0 ≤ -(log - guess) by grind)
          (show 0 ≤ 2 * (distance + relative) - distance by grind)
        grind
    grind
  · by_cases h : log - guess ≤ 0
    · have := mul_nonneg (show 0 ≤ -(log - guess) by grind)
        (show 0 ≤ 1 - 2 * (distance + relative) by grind)
      grind
    · have h6 := mul_nonneg (show 0 ≤ E (log - guess) - 1 - (log - guess) by grind)
        (show 0 ≤ 1 - relative by grind)
      have h8 := mul_nonneg (show 0 ≤ log - guess by grind)
        (show 0 ≤ 2 * (distance + relative) - relative by grind)
      grind

/-- The exponential of a sum of a whole part, a small part and a rest, computed as a table entry
times a polynomial with one rounding.

Python: `peelverify.bounds.exponential.exp_error` -/
theorem exp_computed_error (exp : IsNatExp valid E)
    {whole part rest entry value result table polynomial unit size : α}
    (whole_valid : valid whole) (part_valid : valid part) (rest_valid : valid rest)
    (entry_close : absVal (entry - E whole) ≤ table * E whole)
    (value_close : absVal (value - E part) ≤ polynomial * E part)
    (rest_le : absVal rest ≤ size) (rest_small : size ≤ 1 / 2)
    (unit_nonneg : 0 ≤ unit)
    (rounded : absVal (result - entry * value) ≤ unit * absVal (entry * value)) :
    absVal (result - E (whole + part + rest)) ≤
      expError table polynomial unit size * E (whole + part + rest) := by
  have hw := exp.toIsExp.pos _ whole_valid
  have hp := exp.toIsExp.pos _ part_valid
  have hsum := exp.toIsExp.valid_add _ _ whole_valid part_valid
  have he := exp.toIsExp.pos _ (exp.toIsExp.valid_add _ _ hsum rest_valid)
  have h1 := relative_product_error (Std.le_of_lt hw) (Std.le_of_lt hp) entry_close value_close
  have h2 := relative_rounding h1 unit_nonneg rounded (Std.le_of_lt (OrderedRing.mul_pos hw hp))
  have e : E whole * E part = E (whole + part + rest) * E (-rest) := by
    rw [← exp.toIsExp.map_add _ _ whole_valid part_valid,
      ← exp.toIsExp.map_add _ _ (exp.toIsExp.valid_add _ _ hsum rest_valid)
        (exp.toIsExp.valid_neg _ rest_valid)]
    congr 1
    grind
  have h3 := exp_shift_error exp (exp.toIsExp.valid_neg _ rest_valid)
    (by rw [absVal_neg]; exact rest_le) rest_small
  have h4 := mul_nonneg (Std.le_trans (absVal_nonneg rest) rest_le) (OrderedAdd.sub_nonneg_iff.mpr rest_small)
  rw [e] at h2
  clear rounded h1 e
  have h5 : absVal (E (whole + part + rest) * E (-rest) - E (whole + part + rest)) ≤
      2 * size * E (whole + part + rest) := by
    have h6 := absVal_mul (E (whole + part + rest)) (E (-rest) - 1)
    rw [absVal_of_nonneg (Std.le_of_lt he)] at h6
    have h7 := mul_le_mul_left (Std.le_of_lt he)
      (show absVal (E (-rest) - 1) ≤ 2 * size by grind)
    have h8 : E (whole + part + rest) * E (-rest) - E (whole + part + rest) =
        E (whole + part + rest) * (E (-rest) - 1) := by grind
    rw [h8, h6]
    grind
  refine relative_trans ?_ h5 h2
  have hb := nonneg_of_relative hw entry_close
  have hc := nonneg_of_relative hp value_close
  have hbc := mul_nonneg hb hc
  have := mul_nonneg (show 0 ≤ table + polynomial + table * polynomial by grind) unit_nonneg
  unfold relativeProduct
  grind

end Relative

end Exponential

section Examples

private theorem bernoulli (x : Rat) (hx : -1 ≤ x) (n : Nat) : 1 + (n : Rat) * x ≤ (1 + x) ^ n := by
  induction n with
  | zero => rw [Semiring.pow_zero]; grind
  | succ n ih =>
    rw [Semiring.pow_succ, Rat.natCast_add]
    have h := mul_nonneg (show 0 ≤ 1 + x by grind)
      (show 0 ≤ (1 + x) ^ n - (1 + (n : Rat) * x) by grind)
    have h1 := mul_nonneg (natCast_nonneg (α := Rat) n) (mul_self_nonneg x)
    grind

private theorem one_add_le_zpow {s : Rat} (hs : 0 < s) (k : Int) :
    1 + (k : Rat) * s ≤ (1 + s) ^ k := by
  obtain ⟨n, rfl | rfl⟩ := Int.eq_nat_or_neg k
  · rw [Rat.zpow_natCast, Rat.intCast_natCast]
    exact bernoulli s (by grind) n
  · rw [Rat.zpow_neg, Rat.zpow_natCast, Rat.intCast_neg, Rat.intCast_natCast]
    have hp : 0 < (1 + s) ^ n := Rat.pow_pos (by grind)
    refine le_of_mul_le_mul_left hp ?_
    rw [Rat.mul_inv_cancel _ (by grind)]
    clear hp
    induction n with
    | zero => rw [Semiring.pow_zero]; simp only [Rat.natCast_ofNat]; grind
    | succ n ih =>
      rw [Semiring.pow_succ, Rat.natCast_add]
      have h := mul_nonneg (show 0 ≤ (1 + s) ^ n by
        have := Rat.pow_pos (n := n) (show 0 < 1 + s by grind); grind)
        (mul_nonneg (show 0 ≤ (n : Rat) + 1 by have := natCast_nonneg (α := Rat) n; grind)
          (mul_self_nonneg s))
      grind

/-- Powers of `1 + s`, as a function of the multiples of `s`.

Python: none (an example of an exponential) -/
def gridExp (s a : Rat) : Rat := (1 + s) ^ (a / s).num

private theorem gridExp_mul {s : Rat} (hs : 0 < s) (k : Int) :
    gridExp s (k * s) = (1 + s) ^ k := by
  have e : (k : Rat) * s / s = k := by grind
  rw [gridExp, e, Rat.num_intCast]

private theorem isExp_grid {s : Rat} (hs : 0 < s) :
    IsExp (fun a : Rat => ∃ k : Int, a = k * s) (gridExp s) where
  valid_add := by
    rintro _ _ ⟨k, rfl⟩ ⟨l, rfl⟩
    exact ⟨k + l, by rw [Rat.intCast_add]; grind⟩
  valid_neg := by
    rintro _ ⟨k, rfl⟩
    exact ⟨-k, by rw [Rat.intCast_neg]; grind⟩
  pos := by
    rintro _ ⟨k, rfl⟩
    rw [gridExp_mul hs]
    exact Rat.zpow_pos (by grind)
  map_add := by
    rintro _ _ ⟨k, rfl⟩ ⟨l, rfl⟩
    have e : (k : Rat) * s + l * s = ((k + l : Int) : Rat) * s := by
      rw [Rat.intCast_add]; grind
    rw [e, gridExp_mul hs, gridExp_mul hs, gridExp_mul hs]
    exact Rat.zpow_add (by grind) k l
  strictMono := by
    rintro _ _ ⟨k, rfl⟩ ⟨l, rfl⟩ h
    have h1 : (k : Rat) < l := by
      by_cases h0 : (k : Rat) < l
      · exact h0
      · have := mul_nonneg (show 0 ≤ (k : Rat) - l by grind) (show 0 ≤ s by grind)
        grind
    have e : l = k + (l - k) := by omega
    rw [gridExp_mul hs, gridExp_mul hs, e, Rat.zpow_add (by grind)]
    have h2 := one_add_le_zpow hs (l - k)
    rw [Rat.intCast_sub] at h2
    have h3 := OrderedRing.mul_pos (show 0 < (l : Rat) - k by grind) hs
    have h4 := OrderedRing.mul_pos (show 0 < (1 + s) ^ k from Rat.zpow_pos (by grind))
      (show 0 < (1 + s) ^ (l - k) - 1 by grind)
    grind

/-- Powers of `1 + s`, on the multiples of `s`, are an exponential with base `e` there.

Python: none (an example that the assumption can hold) -/
theorem isNatExp_grid {s : Rat} (hs : 0 < s) :
    IsNatExp (fun a : Rat => ∃ k : Int, a = k * s) (gridExp s) where
  toIsExp := isExp_grid hs
  one_add_le := by
    rintro _ ⟨k, rfl⟩
    rw [gridExp_mul hs]
    exact one_add_le_zpow hs k

private abbrev grid : Rat → Rat := gridExp (1 / 64)
private abbrev onGrid (a : Rat) : Prop := ∃ k : Int, a = k * (1 / 64)

private theorem isNatExp : IsNatExp onGrid grid := isNatExp_grid (by decide +kernel)

example : grid 0 = 1 := IsExp.map_zero (E := grid) isNatExp.toIsExp ⟨0, by decide +kernel⟩
example : grid (1 / 32) * grid (-(1 / 32)) = 1 :=
  IsExp.map_mul_map_neg (E := grid) isNatExp.toIsExp ⟨2, by decide +kernel⟩
example : grid (1 / 32) * (1 - 1 / 32) ≤ 1 :=
  IsNatExp.mul_one_sub_le (E := grid) isNatExp ⟨2, by decide +kernel⟩

example : squared id 3 (3 / 2 : Rat) = 6561 / 256 := by decide +kernel
example : expLower id 2 (1 : Rat) = 625 / 256 := by decide +kernel
example : expUpper id 2 (1 : Rat) = 256 / 81 := by decide +kernel
example : expLower id 3 (1 / 8) ≤ grid (1 / 8) :=
  expLower_le isNatExp (fun _ h => ⟨h, Std.le_refl _⟩) 3 ⟨1, by decide +kernel⟩
    (by decide +kernel)
example : grid (1 / 8) ≤ expUpper id 3 (1 / 8) :=
  le_expUpper isNatExp (fun _ => Std.le_refl _) 3 ⟨1, by decide +kernel⟩ (by decide +kernel)

example : expTaylor (1 / 2 : Rat) = 79 / 48 := by decide +kernel
example : expTaylorError 2 (1 / 2 : Rat) = 41 / 320 := by decide +kernel
example : absVal (grid (1 / 32) - expTaylor (1 / 32)) ≤ expTaylorError 1 (1 / 32) :=
  exp_taylor isNatExp 1 ⟨1, by decide +kernel⟩ (by decide +kernel)
example : absVal (grid (1 / 64) - 1) ≤ 1 / 64 + 2 * (1 / 64 * (1 / 64)) :=
  exp_shift_error isNatExp ⟨1, by decide +kernel⟩ (by decide +kernel) (by decide +kernel)

example : absVal (3 * 5 - 2 * 4 : Rat) ≤ relativeProduct (1 / 2) (1 / 4) * (2 * 4) :=
  relative_product_error (by decide +kernel) (by decide +kernel) (by decide +kernel)
    (by decide +kernel)
example : absVal (9 / 8 - (1 / 3 * (1 / 2) + 1) : Rat) ≤
    hornerError (1 / 8) 0 (absVal (1 / 3)) 0 (1 / 2) (absVal 1) :=
  horner_step_error (v := 1 / 2) (product := 3 / 16) (by decide +kernel) (by decide +kernel)
    (by decide +kernel) (by decide +kernel) (by decide +kernel)
example : absVal (1 - grid (1 / 32 + 1 / 64 + -(1 / 64))) ≤
    expError (1 / 16) (1 / 32) (1 / 8) (1 / 64) * grid (1 / 32 + 1 / 64 + -(1 / 64)) :=
  exp_computed_error (entry := 1) (value := 1) isNatExp ⟨2, by decide +kernel⟩
    ⟨1, by decide +kernel⟩ ⟨-1, by decide +kernel⟩ (by decide +kernel) (by decide +kernel)
    (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)

example : absVal (1 / 32 - 1 / 64 : Rat) ≤ (1 / 64 + 0) / (1 - 2 * (1 / 64 + 0)) :=
  log_enclosure (computed := 65 / 64) isNatExp ⟨2, by decide +kernel⟩ ⟨1, by decide +kernel⟩
    (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)

end Examples

end PeelVerify
