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

private theorem keptCount_succ {n : Nat} (keep : Fin (n + 1) → Bool) :
    keptCount keep = (if keep 0 then 1 else 0) + keptCount fun i => keep i.succ := rfl

private theorem keptCount_cast {n : Nat} (keep : Fin n → Bool) :
    ((keptCount keep : Nat) : α) = sum fun i => if keep i then (1 : α) else 0 := by
  induction n with
  | zero => exact Semiring.natCast_zero
  | succ n ih =>
    rw [sum_succ, ← ih fun i => keep i.succ, keptCount_succ, Semiring.natCast_add]
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

private theorem keptCount_mono {n : Nat} {keep other : Fin n → Bool}
    (h : ∀ i, keep i = true → other i = true) : keptCount keep ≤ keptCount other := by
  induction n with
  | zero => exact Nat.le_refl _
  | succ n ih =>
    have h1 := ih (keep := fun i => keep i.succ) (other := fun i => other i.succ)
      fun i => h i.succ
    have h2 := h 0
    rw [keptCount_succ, keptCount_succ]
    by_cases k : keep 0 = true
    · rw [if_pos k, if_pos (h2 k)]; omega
    · rw [if_neg k]; omega

private theorem keptCount_const_false {n : Nat} : keptCount (fun _ : Fin n => false) = 0 := by
  induction n with
  | zero => rfl
  | succ n ih => unfold keptCount; rw [ih]; rfl

private theorem keptCount_insert {n : Nat} (keep : Fin n → Bool) (b : Fin n)
    (hb : keep b = false) :
    keptCount (fun i => if i = b then true else keep i) = keptCount keep + 1 := by
  induction n with
  | zero => exact b.elim0
  | succ n ih =>
    rw [keptCount_succ, keptCount_succ]
    cases b using Fin.cases with
    | zero =>
      have e : (fun i : Fin n => if i.succ = 0 then true else keep i.succ) =
          fun i => keep i.succ := funext fun i => if_neg (Fin.succ_ne_zero i)
      rw [e, if_pos rfl]
      simp [hb]
      omega
    | succ b =>
      have e : (fun i : Fin n => if i.succ = b.succ then true else keep i.succ) =
          fun i => if i = b then true else keep i.succ :=
        funext fun i => by simp only [Fin.succ_inj]
      rw [e, ih (fun i => keep i.succ) b hb, if_neg (Ne.symm (Fin.succ_ne_zero b))]
      omega

private theorem keptCount_le {n : Nat} (keep : Fin n → Bool) : keptCount keep ≤ n := by
  induction n with
  | zero => exact Nat.le_refl _
  | succ n ih =>
    have := ih fun i => keep i.succ
    unfold keptCount
    split <;> omega

private theorem keptCount_lt {n : Nat} (keep : Fin n → Bool) (j : Fin n) (hj : keep j = false) :
    keptCount keep < n := by
  have h1 := keptCount_insert keep j hj
  have h2 := keptCount_le fun i => if i = j then true else keep i
  omega

private theorem exists_best_dropped {n : Nat} (score : Fin n → α) (keep : Fin n → Bool)
    (h : keptCount keep < n) :
    ∃ b, keep b = false ∧ ∀ j, keep j = false → score j ≤ score b := by
  induction n with
  | zero => omega
  | succ n ih =>
    by_cases hr : keptCount (fun i : Fin n => keep i.succ) < n
    · obtain ⟨b, hb, hmax⟩ := ih (fun i => score i.succ) (fun i => keep i.succ) hr
      by_cases h0 : keep 0 = false ∧ score b.succ ≤ score 0
      · refine ⟨0, h0.1, fun j hj => ?_⟩
        cases j using Fin.cases with
        | zero => exact Std.le_refl _
        | succ j => exact Std.le_trans (hmax j hj) h0.2
      · refine ⟨b.succ, hb, fun j hj => ?_⟩
        cases j using Fin.cases with
        | zero =>
          rcases Std.le_total (a := score b.succ) (b := score 0) with h1 | h1
          · exact absurd ⟨hj, h1⟩ h0
          · exact h1
        | succ j => exact hmax j hj
    · unfold keptCount at h
      have hk : keep 0 = false := by
        cases hk : keep 0 with
        | false => rfl
        | true => rw [hk, if_pos rfl] at h; omega
      refine ⟨0, hk, fun j hj => ?_⟩
      cases j using Fin.cases with
      | zero => exact Std.le_refl _
      | succ j =>
        exfalso
        have := keptCount_lt (fun i : Fin n => keep i.succ) j hj
        omega

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
  have h2 : (sum fun i => (if keep i then 0 else score i) + t * if keep i then (1 : α) else 0) ≤
      sum fun i => (if other i then 0 else score i) + t * if other i then (1 : α) else 0 := by
    refine sum_le_sum fun i => ?_
    have hk := t_le i
    have hd := le_t i
    clear h1 count t_le le_t kept_ge_dropped score_nonneg
    by_cases k : keep i <;> by_cases o : other i <;> simp [k, o] at hk hd ⊢ <;> grind
  rw [sum_add, sum_add, sum_mul_left, sum_mul_left] at h2
  unfold droppedScore
  clear count t_le le_t kept_ge_dropped score_nonneg
  grind

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

/-- The mask of the largest scores keeps no entry with a smaller score than a dropped one.

Python: `peelverify.bounds.compression.score_mask` -/
theorem scoreMask_kept_ge_dropped [DecidableLE α] {n : Nat} (score : Fin n → α) (kept : Nat)
    (i j : Fin n) (is_kept : scoreMask score kept i = true)
    (is_dropped : scoreMask score kept j = false) : score j ≤ score i := by
  by_cases h : score j ≤ score i
  · exact h
  · exfalso
    simp only [scoreMask, decide_eq_true_eq, decide_eq_false_iff_not] at is_kept is_dropped
    refine is_dropped (Nat.lt_of_le_of_lt (keptCount_mono fun k hk => ?_) is_kept)
    simp only [Bool.or_eq_true, Bool.not_eq_true', decide_eq_false_iff_not, Bool.and_eq_true,
      decide_eq_true_eq] at hk ⊢
    refine Or.inl ?_
    rcases hk with hk | ⟨hk, _⟩ <;> grind

/-- For every number of kept entries there is a mask that keeps exactly that many and no entry
with a smaller score than a dropped one.

Python: `peelverify.bounds.compression.score_mask` -/
theorem exists_mask {n : Nat} (score : Fin n → α) (kept : Nat) (kept_le : kept ≤ n) :
    ∃ keep : Fin n → Bool, keptCount keep = kept ∧
      ∀ i j, keep i = true → keep j = false → score j ≤ score i := by
  induction kept with
  | zero =>
    refine ⟨fun _ => false, keptCount_const_false, fun i j hi => ?_⟩
    simp at hi
  | succ k ih =>
    obtain ⟨keep, hcount, hkeep⟩ := ih (Nat.le_of_succ_le kept_le)
    obtain ⟨b, hb, hmax⟩ := exists_best_dropped score keep (by omega)
    refine ⟨fun i => if i = b then true else keep i, ?_, fun i j hi hj => ?_⟩
    · rw [keptCount_insert keep b hb, hcount]
    · dsimp only at hi hj
      by_cases hjb : j = b
      · simp [hjb] at hj
      · rw [if_neg hjb] at hj
        by_cases hib : i = b
        · rw [hib]; exact hmax j hj
        · rw [if_neg hib] at hi
          exact hkeep i j hi hj

/-- Wanda's scores `w² ‖feature‖²` are optimal for one neuron when the features are orthogonal.

Python: `peelverify.bounds.compression.wanda_score` -/
theorem wanda_optimal_of_orthogonal {m n : Nat} (X : Fin m → Fin n → α) (w : Fin n → α)
    (keep other : Fin n → Bool)
    (orthogonal : ∀ j k, j ≠ k → dot (fun i => X i j) (fun i => X i k) = 0)
    (kept_ge_dropped : ∀ i j, keep i = true → keep j = false →
      (w j * w j * normSq fun r => X r j) ≤ w i * w i * normSq fun r => X r i)
    (keeps_no_more : keptCount other ≤ keptCount keep) :
    normSq (mulVec X fun j => w j - pruned w keep j) ≤
      normSq (mulVec X fun j => w j - pruned w other j) := by
  rw [wanda_error_of_orthogonal X w keep orthogonal,
    wanda_error_of_orthogonal X w other orthogonal]
  exact droppedScore_le_of_kept_ge _ keep other
    (fun j => mul_nonneg (mul_self_nonneg (w j)) (normSq_nonneg _)) kept_ge_dropped keeps_no_more

/-- For any features, the squared output error of pruning one neuron is at most the number of
dropped weights times the sum of `w² ‖feature‖²` over them.

Python: `peelverify.bounds.compression.wanda_error_upper` -/
theorem wanda_error_le {m n : Nat} (X : Fin m → Fin n → α) (w : Fin n → α) (keep : Fin n → Bool) :
    normSq (mulVec X fun j => w j - pruned w keep j) ≤
      (keptCount (fun j => !keep j) : α) *
        droppedScore (fun j => w j * w j * normSq fun i => X i j) keep := by
  have row : ∀ i, mulVec X (fun j => w j - pruned w keep j) i *
      mulVec X (fun j => w j - pruned w keep j) i ≤
      (keptCount (fun j => !keep j) : α) *
        sum fun j => if keep j then 0 else w j * w j * (X i j * X i j) := by
    intro i
    have h := dot_sq_le_normSq_mul_normSq (fun j => if keep j then (0 : α) else 1)
      fun j => if keep j then 0 else w j * X i j
    have e1 : dot (fun j => if keep j then (0 : α) else 1)
        (fun j => if keep j then 0 else w j * X i j) =
        mulVec X (fun j => w j - pruned w keep j) i := by
      refine sum_congr fun j => ?_
      unfold pruned
      dsimp only
      split <;> grind
    have e2 : normSq (fun j => if keep j then (0 : α) else 1) =
        (keptCount (fun j => !keep j) : α) := by
      rw [keptCount_cast]
      refine sum_congr fun j => ?_
      by_cases k : keep j <;> simp [k] <;> grind
    have e3 : normSq (fun j => if keep j then 0 else w j * X i j) =
        sum fun j => if keep j then 0 else w j * w j * (X i j * X i j) := by
      refine sum_congr fun j => ?_
      dsimp only
      split <;> grind
    rw [e1, e2, e3] at h
    exact h
  have total := sum_le_sum row
  rw [sum_mul_left, sum_comm] at total
  have e : droppedScore (fun j => w j * w j * normSq fun i => X i j) keep =
      sum fun j => sum fun i => if keep j then 0 else w j * w j * (X i j * X i j) := by
    refine sum_congr fun j => ?_
    split
    · exact sum_const_zero.symm
    · rw [sum_mul_left]; rfl
  rw [e]
  exact total

end Optimal

section Rounding

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]
  [DecidableLE α]

/-- The nearer of two grid points around `w` is no further away than half their distance.

Python: `peelverify.bounds.compression.nearer_end` -/
theorem nearerEnd_error {w lower upper : α} (lower_le : lower ≤ w) (le_upper : w ≤ upper) :
    2 * absVal (w - nearerEnd w lower upper) ≤ upper - lower := by
  unfold nearerEnd absVal
  split <;> split <;> grind

/-- Rounding a number between two neighbouring multiples of a step to the nearer one moves it by
at most half a step.

Python: `peelverify.bounds.compression.round_nearest` -/
theorem round_nearest_error {w step k : α} (multiple_le : k * step ≤ w)
    (le_next : w ≤ (k + 1) * step) :
    absVal (w - nearerEnd w (k * step) ((k + 1) * step)) ≤ step / 2 := by
  have h := nearerEnd_error multiple_le le_next
  grind

/-- Clipping puts a number into the range.

Python: `peelverify.bounds.compression.clip` -/
theorem clip_mem {w lower upper : α} (ordered : lower ≤ upper) :
    lower ≤ clip w lower upper ∧ clip w lower upper ≤ upper := by
  refine ⟨le_maxVal_left _ _, maxVal_le ordered (minVal_le_right _ _)⟩

/-- Rounding a clipped number errs by at most the clipped part plus the rounding error.

Python: `peelverify.bounds.compression.clip` -/
theorem clip_error {w q lower upper half : α}
    (rounding : absVal (clip w lower upper - q) ≤ half) :
    absVal (w - q) ≤ absVal (w - clip w lower upper) + half := by
  have h := absVal_add_le (w - clip w lower upper) (clip w lower upper - q)
  have e : w - clip w lower upper + (clip w lower upper - q) = w - q := by grind
  rw [e] at h
  grind

/-- A matrix rounded row by row to grids with the given steps has a squared Frobenius error of at
most the sum over rows of `columns * (step / 2)²`.

Python: `peelverify.bounds.compression.quantize_frob_sq_upper` -/
theorem quantize_frobSq_le {m n : Nat} {W Q : Fin m → Fin n → α} {steps : Fin m → α}
    (rounding : ∀ i j, absVal (W i j - Q i j) ≤ steps i / 2) :
    frobSq (fun i j => W i j - Q i j) ≤ quantizeFrobSqUpper steps n := by
  refine sum_le_sum fun i => sum_le_mul fun j => ?_
  have h := mul_self_le_mul_self (absVal_nonneg _) (rounding i j)
  rw [absVal_mul_self] at h
  exact h

end Rounding

section Factors

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]

/-- Replacing a matrix by a compressed one changes its output by at most the operator norm of the
difference times the length of the input.

Python: `peelverify.bounds.compression.weight_error_upper` -/
theorem weight_error {m n : Nat} {W W' : Fin m → Fin n → α} {x : Fin n → α} {eps r : α}
    (weight_close : OpNorm2Le (fun i j => W' i j - W i j) eps) (radius : Norm2Le x r) :
    Norm2Le (fun i => mulVec W' x i - mulVec W x i) (eps * r) := by
  have h := weight_close.norm2Le_mulVec radius
  rw [sub_mulVec] at h
  exact h

/-- A compressed layer on a compressed input: the output error is at most the layer's gain times
the input error plus the weight error times the length of the compressed input.

Python: `peelverify.bounds.compression.layer_error_upper` -/
theorem layer_error {m n : Nat} {W W' : Fin m → Fin n → α} {x x' : Fin n → α} {gain eps e r : α}
    (gain_bound : OpNorm2Le W gain) (weight_close : OpNorm2Le (fun i j => W' i j - W i j) eps)
    (input_close : Norm2Le (fun j => x' j - x j) e) (radius : Norm2Le x' r) :
    Norm2Le (fun i => mulVec W' x' i - mulVec W x i) (gain * e + eps * r) := by
  have h1 := gain_bound.norm2Le_mulVec input_close
  have h2 := (weight_error weight_close radius).add h1
  rw [mulVec_sub] at h2
  have e1 : (fun i => mulVec W' x' i - mulVec W x' i + (mulVec W x' i - mulVec W x i)) =
      fun i => mulVec W' x' i - mulVec W x i := funext fun i => by grind
  have e2 : eps * r + gain * e = gain * e + eps * r := by grind
  rw [e1, e2] at h2
  exact h2

/-- A low-rank product `U V` in place of `W`: truncating `U₀ V` to it costs the sum of the error
of `U₀ V` and the error of truncation.

Python: `peelverify.bounds.matrix.op_norm2_add_upper` -/
theorem lowRank_error {m n p : Nat} {W : Fin m → Fin n → α} {U U0 : Fin m → Fin p → α}
    {V : Fin p → Fin n → α} {a b v : α}
    (factor_error : OpNorm2Le (fun i j => W i j - matMul U0 V i j) a)
    (left_error : OpNorm2Le (fun i k => U0 i k - U i k) b) (right_bound : OpNorm2Le V v) :
    OpNorm2Le (fun i j => W i j - matMul U V i j) (a + b * v) := by
  have h := factor_error.add (left_error.mul right_bound)
  have e : (fun i j => W i j - matMul U0 V i j + matMul (fun i k => U0 i k - U i k) V i j) =
      fun i j => W i j - matMul U V i j := by
    funext i j
    have : matMul (fun i k => U0 i k - U i k) V i j = matMul U0 V i j - matMul U V i j :=
      dot_sub_left _ _ _
    grind
  rw [e] at h
  exact h

/-- Two compressed factors: the error of the product is at most one norm times the other error,
plus the first error times the compressed second norm.

Python: `peelverify.bounds.compression.product_error_upper` -/
theorem matMul_error {m n p : Nat} {A A' : Fin m → Fin n → α} {B B' : Fin n → Fin p → α}
    {a b eA eB : α} (left_bound : OpNorm2Le A a) (right_bound : OpNorm2Le B' b)
    (left_error : OpNorm2Le (fun i k => A' i k - A i k) eA)
    (right_error : OpNorm2Le (fun k j => B' k j - B k j) eB) :
    OpNorm2Le (fun i j => matMul A' B' i j - matMul A B i j) (eA * b + a * eB) := by
  have h := (left_error.mul right_bound).add (left_bound.mul right_error)
  have e : (fun i j => matMul (fun i k => A' i k - A i k) B' i j +
      matMul A (fun k j => B' k j - B k j) i j) =
      fun i j => matMul A' B' i j - matMul A B i j := by
    funext i j
    have h1 : matMul (fun i k => A' i k - A i k) B' i j = matMul A' B' i j - matMul A B' i j :=
      dot_sub_left _ _ _
    have h2 : matMul A (fun k j => B' k j - B k j) i j = matMul A B' i j - matMul A B i j :=
      dot_sub_right _ _ _
    grind
  rw [e] at h
  exact h

/-- A cached key that is off by `eps` changes an attention score by at most the query's length
times `eps`.

Python: `peelverify.bounds.vector.dot_upper` -/
theorem cache_score_error {n : Nat} {query key key' : Fin n → α} {q eps : α}
    (query_bound : Norm2Le query q) (key_close : Norm2Le (fun i => key' i - key i) eps) :
    dot query key' - dot query key ≤ q * eps := by
  rw [← dot_sub_right]
  exact dot_le_of_norm2Le query_bound key_close

end Factors

section Examples

private abbrev weights : Fin 4 → Rat := vec [3, -1, 2, 1 / 2]
private abbrev topTwo : Fin 4 → Bool := fun i => decide (i = 0 ∨ i = 2)
private abbrev firstTwo : Fin 4 → Bool := fun i => decide (i = 0 ∨ i = 1)
private abbrev features : Fin 2 → Fin 2 → Rat := mat [[1, 1], [1, -1]]

example : droppedEnergy weights topTwo = 5 / 4 := by decide +kernel
example : droppedScore weights topTwo = -1 / 2 := by decide +kernel
example : ∀ i, pruned weights topTwo i = (vec [3, 0, 2, 0] : Fin 4 → Rat) i := by decide +kernel
example : keptCount topTwo = 2 := by decide +kernel
example : ∀ i, magnitudeMask weights 2 i = topTwo i := by decide +kernel
example : ∀ i, scoreMask (vec [1, 1, 1] : Fin 3 → Rat) 2 i = decide (i.val < 2) := by
  decide +kernel
example : ∀ i, magnitudeMask weights 0 i = false := by decide +kernel
example : nearerEnd (7 / 10 : Rat) 0 1 = 1 := by decide +kernel
example : clip (7 / 2 : Rat) (-1) 1 = 1 := by decide +kernel
example : quantizeFrobSqUpper (vec [1, 1 / 2] : Fin 2 → Rat) 4 = 5 / 4 := by decide +kernel
example : normSq (fun i => weights i - pruned weights topTwo i) ≤
    normSq fun i => weights i - pruned weights firstTwo i :=
  magnitude_prune_optimal weights topTwo firstTwo (by decide +kernel) (by decide +kernel)
example : normSq (mulVec features fun j => (vec [2, 1] : Fin 2 → Rat) j -
      pruned (vec [2, 1]) (fun j => decide (j = 0)) j) ≤
    normSq (mulVec features fun j => (vec [2, 1] : Fin 2 → Rat) j -
      pruned (vec [2, 1]) (fun j => decide (j = 1)) j) :=
  wanda_optimal_of_orthogonal features _ _ _ (by decide +kernel) (by decide +kernel)
    (by decide +kernel)
example : absVal (7 / 10 - nearerEnd (7 / 10 : Rat) (1 * (1 / 2)) ((1 + 1) * (1 / 2))) ≤
    1 / 2 / 2 := round_nearest_error (by decide +kernel) (by decide +kernel)
example : absVal (7 / 2 - 5 / 4 : Rat) ≤ absVal (7 / 2 - clip (7 / 2) (-1) 1) + 1 / 4 :=
  clip_error (by decide +kernel)
example : frobSq (fun i j =>
      features i j - (mat [[1, 3 / 4], [1, -1]] : Fin 2 → Fin 2 → Rat) i j) ≤
    quantizeFrobSqUpper (vec [1 / 2, 1 / 2] : Fin 2 → Rat) 2 :=
  quantize_frobSq_le (by decide +kernel)
example (x : Fin 2 → Rat) (hx : Norm2Le x 3) : Norm2Le (fun i =>
    mulVec (mat [[1, 3 / 4], [1, -1]]) x i - mulVec features x i) (1 / 4 * 3) :=
  weight_error (OpNorm2Le.of_frob (by unfold FrobLe; decide +kernel)) hx

end Examples

end PeelVerify
