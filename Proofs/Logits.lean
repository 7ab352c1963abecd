module

public import Proofs.Exponential
public import Proofs.Vector

/-!
# Changes of logits in units of the user

What a change of the logits means for the top entry, for the loss and for the divergence between
the two predicted distributions. Softmax ignores a common shift of all logits, so what counts is
the oscillation: the largest change minus the smallest.

## Main results

* `argmax_unchanged`, `argmax_unchanged_of_osc`: a strict margin keeps the top entry.
* `abs_loss_change_le_osc`, `abs_loss_sub_le_osc`: the loss changes by at most the oscillation.
* `kl_le_osc`: so does the divergence of the two distributions.

## Assumptions

`IsExp valid E` says that `E` is an exponential on the numbers that are `valid`. For the reals every
number is valid; the rationals have powers of two on the integers.

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

/-- The largest entry of a vector that has at least one.

Python: none (the built-in `max`) -/
def maxEntry [LE α] [DecidableLE α] : {n : Nat} → (Fin (n + 1) → α) → α
  | 0, x => x 0
  | n + 1, x => maxVal (x 0) (maxEntry (n := n) fun i => x i.succ)

/-- The smallest entry of a vector that has at least one.

Python: none (the built-in `min`) -/
def minEntry [LE α] [DecidableLE α] : {n : Nat} → (Fin (n + 1) → α) → α
  | 0, x => x 0
  | n + 1, x => minVal (x 0) (minEntry (n := n) fun i => x i.succ)

/-- The oscillation of a vector: its largest entry minus its smallest.

Python: `peelverify.bounds.propagation.oscillation` -/
def osc [Field α] [LE α] [DecidableLE α] {n : Nat} (x : Fin (n + 1) → α) : α :=
  maxEntry x - minEntry x

end Definitions

section Entries

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]
  [DecidableLE α]

/-- No entry is larger than the largest entry.

Python: none (supporting lemma) -/
theorem le_maxEntry {n : Nat} (x : Fin (n + 1) → α) (i : Fin (n + 1)) : x i ≤ maxEntry x := by
  induction n with
  | zero => rw [Fin.fin_one_eq_zero i]; exact Std.le_refl _
  | succ n ih =>
    unfold maxEntry
    cases i using Fin.cases with
    | zero => exact le_maxVal_left _ _
    | succ i => exact Std.le_trans (ih (fun i => x i.succ) i) (le_maxVal_right _ _)

/-- No entry is smaller than the smallest entry.

Python: none (supporting lemma) -/
theorem minEntry_le {n : Nat} (x : Fin (n + 1) → α) (i : Fin (n + 1)) : minEntry x ≤ x i := by
  induction n with
  | zero => rw [Fin.fin_one_eq_zero i]; exact Std.le_refl _
  | succ n ih =>
    unfold minEntry
    cases i using Fin.cases with
    | zero => exact minVal_le_left _ _
    | succ i => exact Std.le_trans (minVal_le_right _ _) (ih (fun i => x i.succ) i)

/-- The largest entry is an entry.

Python: none (supporting lemma) -/
theorem exists_eq_maxEntry {n : Nat} (x : Fin (n + 1) → α) : ∃ i, maxEntry x = x i := by
  induction n with
  | zero => exact ⟨0, rfl⟩
  | succ n ih =>
    obtain ⟨i, hi⟩ := ih fun i => x i.succ
    unfold maxEntry maxVal
    split
    · exact ⟨i.succ, hi⟩
    · exact ⟨0, rfl⟩

/-- The smallest entry is an entry.

Python: none (supporting lemma) -/
theorem exists_eq_minEntry {n : Nat} (x : Fin (n + 1) → α) : ∃ i, minEntry x = x i := by
  induction n with
  | zero => exact ⟨0, rfl⟩
  | succ n ih =>
    obtain ⟨i, hi⟩ := ih fun i => x i.succ
    unfold minEntry minVal
    split
    · exact ⟨0, rfl⟩
    · exact ⟨i.succ, hi⟩

/-- The difference of two entries is at most the oscillation.

Python: `peelverify.bounds.propagation.oscillation` -/
theorem sub_le_osc {n : Nat} (x : Fin (n + 1) → α) (i j : Fin (n + 1)) : x i - x j ≤ osc x := by
  have h1 := le_maxEntry x i
  have h2 := minEntry_le x j
  unfold osc
  grind

/-- An oscillation is not negative.

Python: `peelverify.bounds.propagation.oscillation` -/
theorem osc_nonneg {n : Nat} (x : Fin (n + 1) → α) : 0 ≤ osc x := by
  have := sub_le_osc x 0 0
  grind

/-- Adding the same number to every entry does not change the oscillation.

Python: `peelverify.bounds.propagation.oscillation` -/
theorem osc_add_const {n : Nat} (x : Fin (n + 1) → α) (c : α) :
    osc (fun i => x i + c) = osc x := by
  have hmax : maxEntry (fun i => x i + c) = maxEntry x + c := by
    obtain ⟨i, hi⟩ := exists_eq_maxEntry x
    obtain ⟨j, hj⟩ := exists_eq_maxEntry fun i => x i + c
    have h1 := le_maxEntry (fun i => x i + c) i
    have h2 := le_maxEntry x j
    grind
  have hmin : minEntry (fun i => x i + c) = minEntry x + c := by
    obtain ⟨i, hi⟩ := exists_eq_minEntry x
    obtain ⟨j, hj⟩ := exists_eq_minEntry fun i => x i + c
    have h1 := minEntry_le (fun i => x i + c) i
    have h2 := minEntry_le x j
    grind
  unfold osc
  rw [hmax, hmin]
  grind

/-- If no logit changes by more than `eps` and the top entry leads by more than `2 * eps`, it
stays strictly on top.

Python: `peelverify.bounds.propagation.argmax_is_stable` -/
theorem argmax_unchanged {n : Nat} {logits changed : Fin n → α} {eps : α} (top : Fin n)
    (change_le : ∀ i, absVal (changed i - logits i) ≤ eps)
    (strict_margin : ∀ i, i ≠ top → logits i + 2 * eps < logits top) :
    ∀ i, i ≠ top → changed i < changed top := by
  intro i hi
  have h1 := absVal_le_iff.mp (change_le i)
  have h2 := absVal_le_iff.mp (change_le top)
  have h3 := strict_margin i hi
  clear change_le strict_margin
  grind

/-- If the top entry leads by more than the oscillation of the change, it stays strictly on top.

Python: `peelverify.bounds.propagation.oscillation` -/
theorem argmax_unchanged_of_osc {n : Nat} {logits changed : Fin (n + 1) → α} (top : Fin (n + 1))
    (strict_margin :
      ∀ i, i ≠ top → logits i + osc (fun j => changed j - logits j) < logits top) :
    ∀ i, i ≠ top → changed i < changed top := by
  intro i hi
  have h1 := sub_le_osc (fun j => changed j - logits j) i top
  have h3 := strict_margin i hi
  clear strict_margin
  grind

end Entries

section Loss

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]
  [DecidableLE α] {valid : α → Prop} {E : α → α}

private theorem sum_exp_le {n : Nat} (exp : IsExp valid E) {z z' : Fin n → α} {s : α}
    (hz : ∀ i, valid (z i)) (hz' : ∀ i, valid (z' i)) (hs : valid s)
    (hle : ∀ i, z' i ≤ z i + s) : (sum fun i => E (z' i)) ≤ E s * sum fun i => E (z i) := by
  rw [← sum_mul_left]
  refine sum_le_sum fun i => ?_
  have h1 := exp.mono (hz' i) (exp.valid_add _ _ (hz i) hs) (hle i)
  rw [exp.map_add _ _ (hz i) hs] at h1
  have h2 : E (z i) * E s = E s * E (z i) := by grind
  rw [← h2]
  exact h1

/-- The exponentiated loss of target `k`, `Σ E(z) / E(z k)`, grows by at most the factor
`E (osc Δz)`; exchanging the two logit vectors gives the other direction.

Python: `peelverify.bounds.propagation.oscillation` -/
theorem abs_loss_change_le_osc {n : Nat} (exp : IsExp valid E) {logits changed : Fin (n + 1) → α}
    (logits_valid : ∀ i, valid (logits i)) (changed_valid : ∀ i, valid (changed i))
    (target : Fin (n + 1)) :
    (sum fun i => E (changed i)) * E (logits target) ≤
        E (osc fun i => changed i - logits i) *
          ((sum fun i => E (logits i)) * E (changed target)) ∧
      (sum fun i => E (logits i)) * E (changed target) ≤
        E (osc fun i => changed i - logits i) *
          ((sum fun i => E (changed i)) * E (logits target)) := by
  have key : ∀ z z' : Fin (n + 1) → α, (∀ i, valid (z i)) → (∀ i, valid (z' i)) →
      ∀ w : α, valid w → (∀ i j, (z' i - z i) - (z' j - z j) ≤ w) →
      (sum fun i => E (z' i)) * E (z target) ≤
        E w * ((sum fun i => E (z i)) * E (z' target)) := by
    intro z z' hz hz' w hw hosc
    have hd : valid (z' target - z target) := exp.valid_sub (hz' target) (hz target)
    have h1 := sum_exp_le exp (s := w + (z' target - z target)) hz hz'
      (exp.valid_add _ _ hw hd) (fun i => by have := hosc i target; grind)
    have h2 : E (w + (z' target - z target)) * E (z target) = E w * E (z' target) := by
      rw [← exp.map_add _ _ (exp.valid_add _ _ hw hd) (hz target),
        ← exp.map_add _ _ hw (hz' target)]
      congr 1
      grind
    have h3 := exp.pos _ (hz target)
    have h4 := mul_le_mul_left (show 0 ≤ E (z target) by grind) h1
    have h5 : E (z target) * (E (w + (z' target - z target)) * sum fun i => E (z i)) =
        E w * ((sum fun i => E (z i)) * E (z' target)) := by grind
    rw [h5] at h4
    grind
  have hw : valid (osc fun i => changed i - logits i) := by
    obtain ⟨i, hi⟩ := exists_eq_maxEntry fun i => changed i - logits i
    obtain ⟨j, hj⟩ := exists_eq_minEntry fun i => changed i - logits i
    unfold osc
    rw [hi, hj]
    exact exp.valid_sub (exp.valid_sub (changed_valid i) (logits_valid i))
      (exp.valid_sub (changed_valid j) (logits_valid j))
  constructor
  · exact key logits changed logits_valid changed_valid _ hw
      fun i j => sub_le_osc (fun i => changed i - logits i) i j
  · refine key changed logits changed_valid logits_valid _ hw fun i j => ?_
    have := sub_le_osc (fun i => changed i - logits i) j i
    grind

/-- The logarithms of the two sums of exponentials differ by a number between the smallest and
the largest change of a logit.

Python: `peelverify.bounds.propagation.oscillation` -/
theorem logPartition_sub_mem {n : Nat} (exp : IsExp valid E) {logits changed : Fin (n + 1) → α}
    (logits_valid : ∀ i, valid (logits i)) (changed_valid : ∀ i, valid (changed i))
    {logSum logSum' : α} (logSum_valid : valid logSum) (logSum'_valid : valid logSum')
    (logSum_eq : E logSum = sum fun i => E (logits i))
    (logSum'_eq : E logSum' = sum fun i => E (changed i)) :
    minEntry (fun i => changed i - logits i) ≤ logSum' - logSum ∧
      logSum' - logSum ≤ maxEntry fun i => changed i - logits i := by
  obtain ⟨i, hi⟩ := exists_eq_maxEntry fun i => changed i - logits i
  obtain ⟨j, hj⟩ := exists_eq_minEntry fun i => changed i - logits i
  constructor
  · rw [hj]
    have hv := exp.valid_sub (logits_valid j) (changed_valid j)
    have h1 := sum_exp_le exp (z := changed) (z' := logits) (s := logits j - changed j)
      changed_valid logits_valid hv
      (fun k => by have := minEntry_le (fun i => changed i - logits i) k; grind)
    rw [← logSum_eq, ← logSum'_eq, ← exp.map_add _ _ hv logSum'_valid] at h1
    have h2 := exp.le_of_le logSum_valid (exp.valid_add _ _ hv logSum'_valid) h1
    grind
  · rw [hi]
    have hv := exp.valid_sub (changed_valid i) (logits_valid i)
    have h1 := sum_exp_le exp (z := logits) (z' := changed) (s := changed i - logits i)
      logits_valid changed_valid hv
      (fun k => by have := le_maxEntry (fun i => changed i - logits i) k; grind)
    rw [← logSum_eq, ← logSum'_eq, ← exp.map_add _ _ hv logSum_valid] at h1
    have h2 := exp.le_of_le logSum'_valid (exp.valid_add _ _ hv logSum_valid) h1
    grind

/-- The loss of target `k`, `log Σ E(z) - z k`, changes by at most the oscillation of the change
of the logits.

Python: `peelverify.bounds.propagation.oscillation` -/
theorem abs_loss_sub_le_osc {n : Nat} (exp : IsExp valid E) {logits changed : Fin (n + 1) → α}
    (logits_valid : ∀ i, valid (logits i)) (changed_valid : ∀ i, valid (changed i))
    {logSum logSum' : α} (logSum_valid : valid logSum) (logSum'_valid : valid logSum')
    (logSum_eq : E logSum = sum fun i => E (logits i))
    (logSum'_eq : E logSum' = sum fun i => E (changed i)) (target : Fin (n + 1)) :
    absVal ((logSum' - changed target) - (logSum - logits target)) ≤
      osc fun i => changed i - logits i := by
  have h := logPartition_sub_mem exp logits_valid changed_valid logSum_valid logSum'_valid
    logSum_eq logSum'_eq
  have h1 := le_maxEntry (fun i => changed i - logits i) target
  have h2 := minEntry_le (fun i => changed i - logits i) target
  rw [absVal_le_iff]
  unfold osc
  clear logits_valid changed_valid exp
  grind

/-- The divergence of the changed distribution from the original one,
`Σ p (log p - log p')` with `log p = z - log Σ E(z)`, is at most the oscillation of the change.

Python: `peelverify.bounds.propagation.oscillation` -/
theorem kl_le_osc {n : Nat} (exp : IsExp valid E) {logits changed : Fin (n + 1) → α}
    (logits_valid : ∀ i, valid (logits i)) (changed_valid : ∀ i, valid (changed i))
    {logSum logSum' : α} (logSum_valid : valid logSum) (logSum'_valid : valid logSum')
    (logSum_eq : E logSum = sum fun i => E (logits i))
    (logSum'_eq : E logSum' = sum fun i => E (changed i))
    {prob : Fin (n + 1) → α} (prob_nonneg : ∀ i, 0 ≤ prob i) (prob_sum : sum prob = 1) :
    (sum fun i => prob i * ((logits i - logSum) - (changed i - logSum'))) ≤
      osc fun i => changed i - logits i := by
  have h := logPartition_sub_mem exp logits_valid changed_valid logSum_valid logSum'_valid
    logSum_eq logSum'_eq
  have h1 : (sum fun i => prob i * ((logits i - logSum) - (changed i - logSum'))) ≤
      sum fun i => prob i * osc fun i => changed i - logits i := by
    refine sum_le_sum fun i => mul_le_mul_left (prob_nonneg i) ?_
    have h2 := minEntry_le (fun i => changed i - logits i) i
    unfold osc
    clear logits_valid changed_valid exp
    grind
  rw [sum_mul_right, prob_sum] at h1
  grind

end Loss

section Examples

private abbrev change : Fin 3 → Rat := vec [1 / 2, -1 / 4, 0]

example : maxEntry change = 1 / 2 := by decide +kernel
example : minEntry change = -1 / 4 := by decide +kernel
example : osc change = 3 / 4 := by decide +kernel
example : osc (vec [7] : Fin 1 → Rat) = 0 := by decide +kernel

example : ∀ i, i ≠ 0 → (vec [2, 1 / 2] : Fin 2 → Rat) i < (vec [2, 1 / 2] : Fin 2 → Rat) 0 :=
  argmax_unchanged (logits := (vec [3, 0] : Fin 2 → Rat)) (eps := 1) 0 (by decide +kernel)
    (by decide +kernel)
example : ∀ i, i ≠ 0 → (vec [9, 8] : Fin 2 → Rat) i < (vec [9, 8] : Fin 2 → Rat) 0 :=
  argmax_unchanged_of_osc (logits := (vec [3, 0] : Fin 2 → Rat)) 0 (by decide +kernel)
example : change 0 - change 2 ≤ osc change := sub_le_osc change 0 2
example : 0 ≤ osc change := osc_nonneg change
example : osc (fun i => change i + 7) = osc change := osc_add_const change 7

private theorem one_lt_two_pow (d : Nat) : (1 : Rat) < (2 : Rat) ^ (d + 1) := by
  have h : ∀ n : Nat, (1 : Rat) ≤ (2 : Rat) ^ n := by
    intro n
    induction n with
    | zero => rw [Semiring.pow_zero]; grind
    | succ n ih => rw [Semiring.pow_succ]; grind
  have := h d
  rw [Semiring.pow_succ]
  grind

/-- Powers of two, on the whole numbers, are an exponential.

Python: none (an example that the assumption can hold) -/
theorem isExp_two :
    IsExp (fun a : Rat => ∃ k : Int, a = k) (fun a : Rat => (2 : Rat) ^ a.num) where
  valid_add := by
    rintro _ _ ⟨k, rfl⟩ ⟨l, rfl⟩
    exact ⟨k + l, (Rat.intCast_add k l).symm⟩
  valid_neg := by
    rintro _ ⟨k, rfl⟩
    exact ⟨-k, (Rat.intCast_neg k).symm⟩
  pos := fun _ _ => Rat.zpow_pos (by decide +kernel)
  map_add := by
    rintro _ _ ⟨k, rfl⟩ ⟨l, rfl⟩
    rw [← Rat.intCast_add, Rat.num_intCast, Rat.num_intCast, Rat.num_intCast]
    exact Rat.zpow_add (by decide +kernel) k l
  strictMono := by
    rintro _ _ ⟨k, rfl⟩ ⟨l, rfl⟩ h
    have h1 : k < l := Rat.intCast_lt_intCast.mp h
    obtain ⟨d, hd⟩ := Int.le.dest (show k + 1 ≤ l by omega)
    have e : l = k + ((d + 1 : Nat) : Int) := by omega
    rw [Rat.num_intCast, Rat.num_intCast, e, Rat.zpow_add (by decide +kernel), Rat.zpow_natCast]
    have h2 : (0 : Rat) < (2 : Rat) ^ k := Rat.zpow_pos (by decide +kernel)
    have h3 := mul_nonneg (show (0 : Rat) ≤ 2 ^ k by grind)
      (show (0 : Rat) ≤ 2 ^ (d + 1) - 1 by have := one_lt_two_pow d; grind)
    have h4 := one_lt_two_pow d
    have h5 : (2 : Rat) ^ k * ((2 : Rat) ^ (d + 1) - 1) ≠ 0 := by
      intro h0
      rcases Rat.mul_eq_zero.mp h0 with h6 | h6 <;> grind
    grind

private abbrev before : Fin 3 → Rat := vec [1, 0, 0]
private abbrev after : Fin 3 → Rat := vec [0, 1, 0]

private theorem before_valid : ∀ i, ∃ k : Int, before i = k := by
  intro i; exact ⟨(before i).num, by revert i; decide +kernel⟩

private theorem after_valid : ∀ i, ∃ k : Int, after i = k := by
  intro i; exact ⟨(after i).num, by revert i; decide +kernel⟩

example : (sum fun i => (2 : Rat) ^ (after i).num) * 2 ^ (before 0).num ≤
    2 ^ (osc fun i => after i - before i).num *
      ((sum fun i => (2 : Rat) ^ (before i).num) * 2 ^ (after 0).num) :=
  (abs_loss_change_le_osc isExp_two before_valid after_valid 0).1
example : minEntry (fun i => after i - before i) ≤ 2 - 2 :=
  (logPartition_sub_mem isExp_two before_valid after_valid ⟨2, rfl⟩ ⟨2, rfl⟩ (by decide +kernel)
    (by decide +kernel)).1
example : absVal ((2 - after 0) - (2 - before 0)) ≤ osc fun i => after i - before i :=
  abs_loss_sub_le_osc isExp_two before_valid after_valid ⟨2, rfl⟩ ⟨2, rfl⟩ (by decide +kernel)
    (by decide +kernel) 0
example : (sum fun i => (vec [1 / 2, 1 / 4, 1 / 4] : Fin 3 → Rat) i *
    ((before i - 2) - (after i - 2))) ≤ osc fun i => after i - before i :=
  kl_le_osc isExp_two before_valid after_valid ⟨2, rfl⟩ ⟨2, rfl⟩ (by decide +kernel)
    (by decide +kernel) (by decide +kernel) (by decide +kernel)

end Examples

end PeelVerify
