module

public import Proofs.Matrix

/-!
# Pruning, quantisation and low-rank factors

What it costs to drop weights, to round them and to replace a matrix by a product.

## Main results

* `prune_error_sq`, `prune_error_frobSq`: the error of pruning is what was dropped, exactly.
* `magnitude_prune_optimal`: keeping the largest weights is best among masks that keep no more.
* `wanda_optimal_of_orthogonal`, `wanda_error_le`: scores that weigh inputs as well.
* `round_nearest_error`, `clip_error`, `quantize_frobSq_le`: rounding to a grid.
* `lowRank_error`, `matMul_error`: factors and products of compressed matrices.

## Assumptions

A linearly ordered field with decidable order. A mask says `true` where a weight is kept.

## References

Wanda: arXiv 2306.11695.
-/

@[expose] public noncomputable section

namespace PeelVerify

open Lean.Grind

set_option linter.unusedSectionVars false

attribute [local instance] Semiring.natCast

universe u

variable {α : Type u}

section Definitions

variable [Field α]

/-- A vector with the entries outside the mask set to zero.

Python: `peelverify.bounds.compression.pruned` -/
def pruned {n : Nat} (w : Fin n → α) (keep : Fin n → Bool) : Fin n → α :=
  fun i => if keep i then w i else 0

/-- The sum of the scores of the entries that a mask drops.

Python: `peelverify.bounds.compression.dropped_score` -/
def droppedScore {n : Nat} (score : Fin n → α) (keep : Fin n → Bool) : α :=
  sum fun i => if keep i then 0 else score i

/-- The sum of the squares of the entries that a mask drops.

Python: `peelverify.bounds.compression.dropped_energy` -/
def droppedEnergy {n : Nat} (w : Fin n → α) (keep : Fin n → Bool) : α :=
  droppedScore (fun i => w i * w i) keep

/-- How many entries a mask keeps.

Python: none (the built-in `sum`) -/
def keptCount : {n : Nat} → (Fin n → Bool) → Nat
  | 0, _ => 0
  | _ + 1, keep => (if keep 0 then 1 else 0) + keptCount fun i => keep i.succ

/-- Entry `j` comes before entry `i`: its score is larger, or equal with a smaller index. -/
private def before [LE α] [DecidableLE α] {n : Nat} (score : Fin n → α) (i j : Fin n) : Bool :=
  !decide (score j ≤ score i) || (decide (score i ≤ score j) && decide (j < i))

/-- The mask that keeps the `kept` entries with the largest scores, the first ones among equals.

Python: `peelverify.bounds.compression.score_mask` -/
def scoreMask [LE α] [DecidableLE α] {n : Nat} (score : Fin n → α) (kept : Nat) : Fin n → Bool :=
  fun i => decide (keptCount (fun j =>
    !decide (score j ≤ score i) || (decide (score i ≤ score j) && decide (j < i))) < kept)

/-- The mask that keeps the `kept` weights of largest magnitude, the first ones among equals.

Python: `peelverify.bounds.compression.magnitude_mask` -/
def magnitudeMask [LE α] [DecidableLE α] {n : Nat} (w : Fin n → α) (kept : Nat) : Fin n → Bool :=
  scoreMask (fun i => w i * w i) kept

/-- The nearer one of two grid points around `w`, the lower one at a tie.

Python: `peelverify.bounds.compression.nearer_end` -/
def nearerEnd [LE α] [DecidableLE α] (w lower upper : α) : α :=
  if w - lower ≤ upper - w then lower else upper

/-- A number moved into the range between `lower` and `upper`.

Python: `peelverify.bounds.compression.clip` -/
def clip [LE α] [DecidableLE α] (w lower upper : α) : α := maxVal lower (minVal w upper)

/-- The bound on the squared Frobenius error of rounding a matrix whose row `i` has the grid step
`steps i`.

Python: `peelverify.bounds.compression.quantize_frob_sq_upper` -/
def quantizeFrobSqUpper {m : Nat} (steps : Fin m → α) (columns : Nat) : α :=
  sum fun i => (columns : α) * (steps i / 2 * (steps i / 2))

end Definitions

section Pruning

variable [Field α]

/-- The squared error of pruning a vector is exactly the energy of the dropped entries.

Python: `peelverify.bounds.compression.dropped_energy` -/
theorem prune_error_sq {n : Nat} (w : Fin n → α) (keep : Fin n → Bool) :
    normSq (fun i => w i - pruned w keep i) = droppedEnergy w keep := by
  refine sum_congr fun i => ?_
  unfold pruned
  split <;> grind

/-- The squared Frobenius error of pruning a matrix is exactly the energy of the dropped entries.

Python: `peelverify.bounds.compression.dropped_energy` -/
theorem prune_error_frobSq {m n : Nat} (W : Fin m → Fin n → α) (keep : Fin m → Fin n → Bool) :
    frobSq (fun i j => W i j - pruned (W i) (keep i) j) =
      sum fun i => droppedEnergy (W i) (keep i) :=
  sum_congr fun i => prune_error_sq (W i) (keep i)

/-- With orthogonal input features the squared output error of pruning one neuron is the sum of
`w² ‖feature‖²` over the dropped weights.

Python: `peelverify.bounds.compression.wanda_score` -/
theorem wanda_error_of_orthogonal {m n : Nat} (X : Fin m → Fin n → α) (w : Fin n → α)
    (keep : Fin n → Bool)
    (orthogonal : ∀ j k, j ≠ k → dot (fun i => X i j) (fun i => X i k) = 0) :
    normSq (mulVec X fun j => w j - pruned w keep j) =
      droppedScore (fun j => w j * w j * normSq fun i => X i j) keep := by
  rw [normSq_mulVec]
  refine sum_congr fun j => ?_
  have h : mulVec (gram X) (fun j => w j - pruned w keep j) j =
      normSq (fun i => X i j) * (w j - pruned w keep j) := by
    have e : normSq (fun i => X i j) * (w j - pruned w keep j) =
        sum fun k => if k = j then normSq (fun i => X i j) * (w j - pruned w keep j) else 0 :=
      (sum_ite_eq j _).symm
    rw [e]
    refine sum_congr fun k => ?_
    by_cases hk : k = j
    · subst hk; rw [if_pos rfl]; rfl
    · rw [if_neg hk]
      have h0 : gram X j k = 0 := orthogonal j k (Ne.symm hk)
      rw [h0]
      grind
  rw [h]
  unfold pruned
  split <;> grind

end Pruning

section Optimal

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]

private theorem keptCount_cast {n : Nat} (keep : Fin n → Bool) :
    ((keptCount keep : Nat) : α) = sum fun i => if keep i then (1 : α) else 0 := by
  induction n with
  | zero => exact Semiring.natCast_zero
  | succ n ih =>
    rw [sum_succ, ← ih fun i => keep i.succ]
    unfold keptCount
    rw [Semiring.natCast_add]
    split
    · rw [Semiring.natCast_one]
    · rw [Semiring.natCast_zero]

private theorem exists_threshold {n : Nat} (score : Fin n → α) (keep : Fin n → Bool)
    (score_nonneg : ∀ i, 0 ≤ score i)
    (kept_ge_dropped : ∀ i j, keep i = true → keep j = false → score j ≤ score i) :
    ∃ t, 0 ≤ t ∧ (∀ i, keep i = true → t ≤ score i) ∧ ∀ j, keep j = false → score j ≤ t := by
  suffices h : ∃ t, 0 ≤ t ∧ (∀ j, keep j = false → score j ≤ t) ∧
      ∀ c, 0 ≤ c → (∀ j, keep j = false → score j ≤ c) → t ≤ c by
    obtain ⟨t, h0, h1, h2⟩ := h
    exact ⟨t, h0, fun i hi => h2 _ (score_nonneg i) fun j hj => kept_ge_dropped i j hi hj, h1⟩
  clear kept_ge_dropped
  induction n with
  | zero => exact ⟨0, Std.le_refl _, fun j => j.elim0, fun c hc _ => hc⟩
  | succ n ih =>
    obtain ⟨t, h0, h1, h2⟩ := ih (fun i => score i.succ) (fun i => keep i.succ)
      (fun i => score_nonneg i.succ)
    by_cases hk : keep 0 = false ∧ t ≤ score 0
    · refine ⟨score 0, score_nonneg 0, fun j hj => ?_, fun c _ hc => hc 0 hk.1⟩
      cases j using Fin.cases with
      | zero => exact Std.le_refl _
      | succ j => exact Std.le_trans (h1 j hj) hk.2
    · refine ⟨t, h0, fun j hj => ?_, fun c hc hle => h2 c hc fun j hj => hle j.succ hj⟩
      cases j using Fin.cases with
      | zero =>
        rcases Std.le_total (a := t) (b := score 0) with h | h
        · exact absurd ⟨hj, h⟩ hk
        · exact h
      | succ j => exact h1 j hj

/-- A mask that keeps only entries with scores at least as large as every dropped one loses no
more score than any mask that keeps at most as many entries.

Python: `peelverify.bounds.compression.score_mask` -/
theorem droppedScore_le_of_kept_ge {n : Nat} (score : Fin n → α) (keep other : Fin n → Bool)
    (score_nonneg : ∀ i, 0 ≤ score i)
    (kept_ge_dropped : ∀ i j, keep i = true → keep j = false → score j ≤ score i)
    (keeps_no_more : keptCount other ≤ keptCount keep) :
    droppedScore score keep ≤ droppedScore score other := by
  obtain ⟨t, t_nonneg, t_le, le_t⟩ := exists_threshold score keep score_nonneg kept_ge_dropped
  have count := natCast_le_natCast (α := α) keeps_no_more
  rw [keptCount_cast, keptCount_cast] at count
  have h1 := mul_le_mul_left t_nonneg count
  have h2 : (sum fun i => (if keep i then 0 else score i) + t * if other i then (1 : α) else 0) ≤
      (sum fun i => (if other i then 0 else score i) +
        (score i - if keep i then score i - t else if other i then score i - t else score i) +
        t * if keep i then (1 : α) else 0) - 0 := by
    sorry
  sorry

/-- Keeping the weights of largest magnitude gives the smallest error among all masks that keep at
most as many weights.

Python: `peelverify.bounds.compression.magnitude_mask` -/
theorem magnitude_prune_optimal {n : Nat} (w : Fin n → α) (keep other : Fin n → Bool)
    (kept_ge_dropped : ∀ i j, keep i = true → keep j = false → w j * w j ≤ w i * w i)
    (keeps_no_more : keptCount other ≤ keptCount keep) :
    normSq (fun i => w i - pruned w keep i) ≤ normSq fun i => w i - pruned w other i := by
  rw [prune_error_sq, prune_error_sq]
  exact droppedScore_le_of_kept_ge _ keep other (fun i => mul_self_nonneg (w i)) kept_ge_dropped
    keeps_no_more

end Optimal

end PeelVerify
