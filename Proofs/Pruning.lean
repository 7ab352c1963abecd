module

public import Proofs.Matrix

/-!
# Pruning

What it costs to set weights to zero, and which weights to set to zero.

## Main results

* `prune_error_sq`, `prune_error_frobSq`: the error of pruning is what was dropped, exactly.
* `magnitude_prune_optimal`, `magnitudeMask_optimal`: keeping the largest weights is best among
  masks that keep no more.
* `keptCount_scoreMask`, `exists_mask`: there is such a mask for every number of kept weights.
* `wanda_optimal_of_orthogonal`, `wanda_error_le`: scores that weigh inputs as well.

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
      simp only [hb, Bool.false_eq_true, if_true, if_false]
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
    by_cases k : keep i <;> by_cases o : other i <;>
      simp only [k, o, forall_const, Bool.true_eq_false, Bool.false_eq_true, false_implies,
        reduceIte] at hk hd ⊢ <;> grind
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

private def comesBefore [DecidableLE α] {n : Nat} (score : Fin n → α) (i j : Fin n) : Bool :=
  !decide (score j ≤ score i) || (decide (score i ≤ score j) && decide (j < i))

private def rank [DecidableLE α] {n : Nat} (score : Fin n → α) (i : Fin n) : Nat :=
  keptCount (comesBefore score i)

private theorem scoreMask_eq [DecidableLE α] {n : Nat} (score : Fin n → α) (kept : Nat)
    (i : Fin n) : scoreMask score kept i = decide (rank score i < kept) := rfl

private theorem comesBefore_iff [DecidableLE α] {n : Nat} (score : Fin n → α) (i j : Fin n) :
    comesBefore score i j = true ↔
      ¬ score j ≤ score i ∨ (score i ≤ score j ∧ j < i) := by
  simp only [comesBefore, Bool.or_eq_true, Bool.not_eq_true', decide_eq_false_iff_not,
    Bool.and_eq_true, decide_eq_true_eq]

private theorem comesBefore_trans [DecidableLE α] {n : Nat} (score : Fin n → α) {i j k : Fin n}
    (hij : comesBefore score i j = true) (hjk : comesBefore score j k = true) :
    comesBefore score i k = true := by
  rw [comesBefore_iff] at *
  have h1 : score i ≤ score j := by
    rcases hij with h | h
    · rcases Std.le_total (a := score i) (b := score j) with h' | h'
      · exact h'
      · exact absurd h' h
    · exact h.1
  have h2 : score j ≤ score k := by
    rcases hjk with h | h
    · rcases Std.le_total (a := score j) (b := score k) with h' | h'
      · exact h'
      · exact absurd h' h
    · exact h.1
  by_cases h3 : score k ≤ score i
  · refine Or.inr ⟨Std.le_trans h1 h2, ?_⟩
    have h4 : j < i := by
      rcases hij with h | h
      · exact absurd (Std.le_trans h2 h3) h
      · exact h.2
    have h5 : k < j := by
      rcases hjk with h | h
      · exact absurd (Std.le_trans h3 h1) h
      · exact h.2
    exact Fin.lt_trans h5 h4
  · exact Or.inl h3

private theorem comesBefore_irrefl [DecidableLE α] {n : Nat} (score : Fin n → α) (i : Fin n) :
    comesBefore score i i = false := by
  have h : ¬ comesBefore score i i = true := by
    rw [comesBefore_iff]
    rintro (h | h)
    · exact h (Std.le_refl _)
    · exact absurd h.2 (Fin.lt_irrefl i)
  simpa using h

private theorem comesBefore_total [DecidableLE α] {n : Nat} (score : Fin n → α) {i j : Fin n}
    (h : i ≠ j) : comesBefore score i j = true ∨ comesBefore score j i = true := by
  rw [comesBefore_iff, comesBefore_iff]
  by_cases h1 : score j ≤ score i
  · by_cases h2 : score i ≤ score j
    · rcases Nat.lt_or_gt_of_ne (fun e => h (Fin.ext e)) with h3 | h3
      · exact Or.inr (Or.inr ⟨h1, h3⟩)
      · exact Or.inl (Or.inr ⟨h2, h3⟩)
    · exact Or.inr (Or.inl h2)
  · exact Or.inl (Or.inl h1)

private theorem rank_lt_rank [DecidableLE α] {n : Nat} (score : Fin n → α) {i j : Fin n}
    (h : comesBefore score i j = true) : rank score j < rank score i := by
  have h1 := keptCount_insert (comesBefore score j) j (comesBefore_irrefl score j)
  have h2 := keptCount_mono (keep := fun k => if k = j then true else comesBefore score j k)
    (other := comesBefore score i) fun k hk => by
      dsimp only at hk
      by_cases e : k = j
      · rw [e]; exact h
      · rw [if_neg e] at hk; exact comesBefore_trans score h hk
  unfold rank
  omega

private theorem exists_least {n : Nat} (f : Fin n → Nat) (P : Fin n → Prop)
    (h : ∃ i, P i) : ∃ b, P b ∧ ∀ j, P j → f b ≤ f j := by
  obtain ⟨i, hi⟩ := h
  generalize hm : f i = m
  induction m using Nat.strongRecOn generalizing i with
  | ind m ih =>
    by_cases hex : ∃ j, P j ∧ f j < m
    · obtain ⟨j, hj, hlt⟩ := hex
      exact ih (f j) hlt j hj rfl
    · refine ⟨i, hi, fun j hj => ?_⟩
      rw [hm]
      refine Nat.le_of_not_lt fun hlt => hex ⟨j, hj, hlt⟩

private theorem exists_dropped {n : Nat} (keep : Fin n → Bool) (h : keptCount keep < n) :
    ∃ i, keep i = false := by
  induction n with
  | zero => omega
  | succ n ih =>
    cases h0 : keep 0 with
    | false => exact ⟨0, h0⟩
    | true =>
      rw [keptCount_succ, if_pos h0] at h
      obtain ⟨i, hi⟩ := ih (fun i => keep i.succ) (by omega)
      exact ⟨i.succ, hi⟩

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

/-- The mask of the largest scores keeps exactly as many entries as asked for.

Python: `peelverify.bounds.compression.score_mask` -/
theorem keptCount_scoreMask [DecidableLE α] {n : Nat} (score : Fin n → α) {kept : Nat}
    (kept_le : kept ≤ n) : keptCount (scoreMask score kept) = kept := by
  -- more lines than usual: induction over the entries kept, with one case for each way to pick
  induction kept with
  | zero =>
    have e : scoreMask score 0 = fun _ => false := funext fun i => by
      simp [scoreMask]
    rw [e, keptCount_const_false]
  | succ k ih =>
    have hk := ih (Nat.le_of_succ_le kept_le)
    obtain ⟨b, hb, hmin⟩ := exists_least (fun i => rank score i)
      (fun i => scoreMask score k i = false) (exists_dropped _ (by omega))
    have hrank : rank score b = k := by
      have h1 : k ≤ rank score b := by
        have h : ¬ rank score b < k := by simpa [scoreMask_eq] using hb
        omega
      have h2 : rank score b ≤ k := by
        rw [← hk]
        refine keptCount_mono fun j hj => ?_
        have h3 := rank_lt_rank score hj
        cases hm : scoreMask score k j with
        | true => rfl
        | false =>
          have := hmin j hm
          omega
      omega
    have e : scoreMask score (k + 1) = fun i => if i = b then true else scoreMask score k i := by
      funext i
      by_cases hib : i = b
      · rw [if_pos hib, hib, scoreMask_eq, hrank]
        simp
      · rw [if_neg hib, scoreMask_eq, scoreMask_eq]
        have hne : rank score i ≠ k := by
          rcases comesBefore_total score hib with h | h
          · have := rank_lt_rank score h
            omega
          · have := rank_lt_rank score h
            omega
        by_cases hlt : rank score i < k
        · simp [hlt, Nat.lt_succ_of_lt hlt]
        · have : ¬ rank score i < k + 1 := by omega
          simp [hlt, this]
    rw [e, keptCount_insert _ b hb, hk]

/-- The mask of the largest magnitudes loses no more than any mask that keeps no more weights.

Python: `peelverify.bounds.compression.magnitude_mask` -/
theorem magnitudeMask_optimal [DecidableLE α] {n : Nat} (w : Fin n → α) {kept : Nat}
    (kept_le : kept ≤ n) (other : Fin n → Bool) (keeps_no_more : keptCount other ≤ kept) :
    normSq (fun i => w i - pruned w (magnitudeMask w kept) i) ≤
      normSq fun i => w i - pruned w other i :=
  magnitude_prune_optimal w _ other
    (fun i j hi hj => scoreMask_kept_ge_dropped (fun i => w i * w i) kept i j hi hj)
    (by unfold magnitudeMask; rw [keptCount_scoreMask _ kept_le]; exact keeps_no_more)

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
      by_cases k : keep j <;>
        simp only [k, reduceIte, Bool.not_true, Bool.not_false, Bool.false_eq_true] <;> grind
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
example : normSq (fun i => weights i - pruned weights topTwo i) ≤
    normSq fun i => weights i - pruned weights firstTwo i :=
  magnitude_prune_optimal weights topTwo firstTwo (by decide +kernel) (by decide +kernel)
example : normSq (mulVec features fun j => (vec [2, 1] : Fin 2 → Rat) j -
      pruned (vec [2, 1]) (fun j => decide (j = 0)) j) ≤
    normSq (mulVec features fun j => (vec [2, 1] : Fin 2 → Rat) j -
      pruned (vec [2, 1]) (fun j => decide (j = 1)) j) :=
  wanda_optimal_of_orthogonal features _ _ _ (by decide +kernel) (by decide +kernel)
    (by decide +kernel)
example : normSq (fun i => weights i - pruned weights topTwo i) = droppedEnergy weights topTwo :=
  prune_error_sq weights topTwo
example : frobSq (fun i j => features i j - pruned (features i) (fun j => decide (j = 0)) j) =
    sum fun i => droppedEnergy (features i) fun j => decide (j = 0) :=
  prune_error_frobSq features fun _ j => decide (j = 0)
example : normSq (mulVec features fun j => (vec [2, 1] : Fin 2 → Rat) j -
      pruned (vec [2, 1]) (fun j => decide (j = 0)) j) =
    droppedScore (fun j => (vec [2, 1] : Fin 2 → Rat) j * (vec [2, 1] : Fin 2 → Rat) j *
      normSq fun i => features i j) fun j => decide (j = 0) :=
  wanda_error_of_orthogonal features _ _ (by decide +kernel)
example : normSq (mulVec features fun j => (vec [2, 1] : Fin 2 → Rat) j -
      pruned (vec [2, 1]) (fun _ => false) j) ≤
    (keptCount (fun _ : Fin 2 => !false) : Nat) *
      droppedScore (fun j => (vec [2, 1] : Fin 2 → Rat) j * (vec [2, 1] : Fin 2 → Rat) j *
        normSq fun i => features i j) fun _ => false :=
  wanda_error_le features (vec [2, 1]) fun _ => false
example : droppedScore (vec [3, 1, 2] : Fin 3 → Rat) (fun i => decide (i = 0)) ≤
    droppedScore (vec [3, 1, 2] : Fin 3 → Rat) (fun i => decide (i = 1)) :=
  droppedScore_le_of_kept_ge _ _ _ (by decide +kernel) (by decide +kernel) (by decide +kernel)
example : (vec [3, 1, 2] : Fin 3 → Rat) 1 ≤ (vec [3, 1, 2] : Fin 3 → Rat) 2 :=
  scoreMask_kept_ge_dropped _ 2 2 1 (by decide +kernel) (by decide +kernel)
example : keptCount (scoreMask (vec [1, 1, 1] : Fin 3 → Rat) 2) = 2 :=
  keptCount_scoreMask _ (by decide)
example : normSq (fun i => weights i - pruned weights (magnitudeMask weights 2) i) ≤
    normSq fun i => weights i - pruned weights firstTwo i :=
  magnitudeMask_optimal weights (by decide) firstTwo (by decide +kernel)
example : ∃ keep : Fin 4 → Bool, keptCount keep = 3 ∧
    ∀ i j, keep i = true → keep j = false → weights j ≤ weights i :=
  exists_mask weights 3 (by decide)

end Examples

end PeelVerify
