module

public import Proofs.Field

/-!
# Finite sums

Sums over `Fin n` by recursion on `n`, and the facts about them that the other files use.

## Main results

* `sum`: the sum of `n` numbers, executable.
* `sum_comm`: a double sum may be taken in either order.
* `sum_le_sum`: sums keep term-by-term inequalities.

## Assumptions

None beyond an ordered field.

## References

None.
-/

@[expose] public noncomputable section

namespace PeelVerify

open Lean.Grind

set_option linter.unusedSectionVars false

universe u

variable {α : Type u}

/-- The sum of the numbers `f 0`, …, `f (n - 1)`.

Python: none (the built-in `sum`) -/
def sum [Field α] : {n : Nat} → (Fin n → α) → α
  | 0, _ => 0
  | _ + 1, f => f 0 + sum fun i => f i.succ

section Ring

variable [Field α]

/-- An empty sum is zero.

Python: none (supporting lemma) -/
theorem sum_zero (f : Fin 0 → α) : sum f = 0 := rfl

/-- A sum is its first term plus the sum of the rest.

Python: none (supporting lemma) -/
theorem sum_succ {n : Nat} (f : Fin (n + 1) → α) :
    sum f = f 0 + sum fun i => f i.succ := rfl

/-- Sums of equal terms are equal.

Python: none (supporting lemma) -/
theorem sum_congr {n : Nat} {f g : Fin n → α} (h : ∀ i, f i = g i) : sum f = sum g := by
  have : f = g := funext h
  rw [this]

/-- The sum of term-by-term sums is the sum of the sums.

Python: none (supporting lemma) -/
theorem sum_add {n : Nat} (f g : Fin n → α) : sum (fun i => f i + g i) = sum f + sum g := by
  induction n with
  | zero => exact (Semiring.add_zero 0).symm
  | succ n ih => simp only [sum_succ, ih]; grind

/-- The sum of term-by-term differences is the difference of the sums.

Python: none (supporting lemma) -/
theorem sum_sub {n : Nat} (f g : Fin n → α) : sum (fun i => f i - g i) = sum f - sum g := by
  induction n with
  | zero => exact (AddCommGroup.sub_self 0).symm
  | succ n ih => simp only [sum_succ, ih]; grind

/-- A common factor on the left moves out of a sum.

Python: none (supporting lemma) -/
theorem sum_mul_left {n : Nat} (c : α) (f : Fin n → α) : sum (fun i => c * f i) = c * sum f := by
  induction n with
  | zero => exact (Semiring.mul_zero c).symm
  | succ n ih => simp only [sum_succ, ih, Semiring.left_distrib]

/-- A common factor on the right moves out of a sum.

Python: none (supporting lemma) -/
theorem sum_mul_right {n : Nat} (c : α) (f : Fin n → α) :
    sum (fun i => f i * c) = sum f * c := by
  induction n with
  | zero => exact (Semiring.zero_mul c).symm
  | succ n ih => simp only [sum_succ, ih, Semiring.right_distrib]

/-- The sum of negated terms is the negated sum.

Python: none (supporting lemma) -/
theorem sum_neg {n : Nat} (f : Fin n → α) : sum (fun i => -f i) = -sum f := by
  induction n with
  | zero => exact AddCommGroup.neg_zero.symm
  | succ n ih => simp only [sum_succ, ih, AddCommGroup.neg_add]

/-- A sum of zeros is zero.

Python: none (supporting lemma) -/
theorem sum_const_zero {n : Nat} : sum (fun _ : Fin n => (0 : α)) = 0 := by
  induction n with
  | zero => rfl
  | succ n ih => simp only [sum_succ, ih, Semiring.add_zero]

/-- A double sum may be taken in either order.

Python: none (supporting lemma) -/
theorem sum_comm {m n : Nat} (f : Fin m → Fin n → α) :
    (sum fun i => sum fun j => f i j) = sum fun j => sum fun i => f i j := by
  induction m with
  | zero => simp only [sum_zero, sum_const_zero]
  | succ m ih => simp only [sum_succ, ih, sum_add]

/-- A sum with one term that is not zero is that term.

Python: none (supporting lemma) -/
theorem sum_ite_eq {n : Nat} (k : Fin n) (c : α) :
    sum (fun i => if i = k then c else 0) = c := by
  induction n with
  | zero => exact k.elim0
  | succ n ih =>
    rw [sum_succ]
    cases k using Fin.cases with
    | zero =>
      have h : (sum fun i : Fin n => if i.succ = 0 then c else (0 : α)) = 0 :=
        Eq.trans (sum_congr fun i => if_neg (Fin.succ_ne_zero i)) sum_const_zero
      rw [h, if_pos rfl, Semiring.add_zero]
    | succ k =>
      have h : (sum fun i : Fin n => if i.succ = k.succ then c else (0 : α)) = c :=
        Eq.trans (sum_congr fun i => by simp only [Fin.succ_inj]) (ih k)
      rw [h, if_neg (Ne.symm (Fin.succ_ne_zero k)), AddCommMonoid.zero_add]

/-- A sum over `n + 1` indices, with the last term split off.

Python: none (supporting lemma) -/
theorem sum_castSucc {n : Nat} (f : Fin (n + 1) → α) :
    sum f = (sum fun i : Fin n => f i.castSucc) + f (Fin.last n) := by
  induction n with
  | zero => simp only [sum_succ, sum_zero]; grind
  | succ n ih =>
    rw [sum_succ, ih, sum_succ (fun i : Fin (n + 1) => f i.castSucc)]
    have h0 : (0 : Fin (n + 1)).castSucc = 0 := rfl
    have h1 : ∀ i : Fin n, i.succ.castSucc = i.castSucc.succ := fun _ => rfl
    have h2 : (Fin.last n).succ = Fin.last (n + 1) := rfl
    rw [h0, h2]
    simp only [h1, Semiring.add_assoc]

end Ring

section Order

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]

/-- Sums keep term-by-term inequalities.

Python: none (supporting lemma) -/
theorem sum_le_sum {n : Nat} {f g : Fin n → α} (h : ∀ i, f i ≤ g i) : sum f ≤ sum g := by
  induction n with
  | zero => exact Std.le_refl _
  | succ n ih => exact OrderedAdd.add_le_add (h 0) (ih fun i => h i.succ)

/-- A sum of terms that are not negative is not negative.

Python: none (supporting lemma) -/
theorem sum_nonneg {n : Nat} {f : Fin n → α} (h : ∀ i, 0 ≤ f i) : 0 ≤ sum f := by
  have := sum_le_sum (f := fun _ => 0) h
  rw [sum_const_zero] at this
  exact this

/-- Each term is at most the sum when no term is negative.

Python: none (supporting lemma) -/
theorem le_sum {n : Nat} {f : Fin n → α} (h : ∀ i, 0 ≤ f i) (k : Fin n) : f k ≤ sum f := by
  rw [← sum_ite_eq k (f k)]
  refine sum_le_sum fun i => ?_
  have := h i
  split
  · rename_i e; rw [e]; exact Std.le_refl _
  · exact this

attribute [local instance] Semiring.natCast

/-- A sum of `n` equal terms is `n` times the term.

Python: none (supporting lemma) -/
theorem sum_const {n : Nat} (c : α) : sum (fun _ : Fin n => c) = (n : α) * c := by
  induction n with
  | zero => simp only [sum_zero]; have := Semiring.natCast_zero (α := α); grind
  | succ n ih => simp only [sum_succ, ih, natCast_succ]; grind

/-- A sum of `n` terms that are at most `c` is at most `n` times `c`.

Python: none (supporting lemma) -/
theorem sum_le_mul {n : Nat} {f : Fin n → α} {c : α} (h : ∀ i, f i ≤ c) :
    sum f ≤ (n : α) * c := by
  rw [← sum_const]
  exact sum_le_sum h

end Order

section Examples

example : sum (fun i : Fin 3 => ([1, 1 / 2, 1 / 3] : List Rat).getD i 0) = 11 / 6 := by
  decide +kernel
example (f : Fin 0 → Rat) : sum f = 0 := rfl
example (f : Fin 1 → Rat) : sum f = f 0 := by rw [sum_succ, sum_zero, Semiring.add_zero]
example (f : Fin 4 → Rat) : f 2 * f 2 ≤ sum fun i => f i * f i :=
  le_sum (f := fun i => f i * f i) (fun i => mul_self_nonneg (f i)) 2

end Examples

end PeelVerify
