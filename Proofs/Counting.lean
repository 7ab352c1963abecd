module

public import Proofs.Sum

/-!
# Unseen text: a counting theorem

Of `n + 1` errors, at most `k` are larger than the `k`-th largest of the other `n`. If the window
that was left out is drawn uniformly, its error exceeds the `k`-th largest calibration error with
probability at most `k / (n + 1)`. The theorem counts; the uniform draw makes it a probability.

## Main results

* `count_few_above_le`: at most `k` entries have at most `k` entries at least as large.
* `conformal_count`: at most `k` of the entries exceed the `k`-th largest of the others.

## Assumptions

A linear order that can be decided. Ties count against the claim, so nothing is assumed of them.

## References

V. Vovk, A. Gammerman, G. Shafer, Algorithmic Learning in a Random World.
-/

@[expose] public noncomputable section

namespace PeelVerify

set_option linter.unusedSectionVars false

universe u

variable {α : Type u} [LE α] [DecidableLE α]

/-- How many entries of a list are at least `x`.

Python: `peelverify.bounds.counting.count_at_least` -/
def countAtLeast (x : α) (l : List α) : Nat := l.countP fun y => decide (x ≤ y)

/-- Insert a number into a list that is sorted from large to small.

Python: none (the built-in `sorted`) -/
def insertDescending (x : α) : List α → List α
  | [] => [x]
  | y :: rest => if y ≤ x then x :: y :: rest else y :: insertDescending x rest

/-- Sort a list from large to small.

Python: none (the built-in `sorted`) -/
def sortDescending : List α → List α
  | [] => []
  | x :: rest => insertDescending x (sortDescending rest)

/-- The `k`-th largest entry of a list, counted from one; none if there is no such entry.

Python: `peelverify.bounds.counting.kth_largest` -/
def kthLargest (l : List α) (k : Nat) : Option α :=
  if k = 0 then none else (sortDescending l)[k - 1]?

section Theorems

variable [Std.IsLinearOrder α]

private theorem exists_min : ∀ l : List α, l ≠ [] → ∃ m ∈ l, ∀ x ∈ l, m ≤ x
  | [], h => absurd rfl h
  | [x], _ => ⟨x, List.mem_cons_self, fun y hy => by
      simp only [List.mem_cons, List.not_mem_nil, or_false] at hy
      rw [hy]
      exact Std.le_refl _⟩
  | x :: y :: rest, _ => by
    obtain ⟨m, hm, hmin⟩ := exists_min (y :: rest) (List.cons_ne_nil _ _)
    rcases Std.le_total (a := x) (b := m) with h | h
    · refine ⟨x, List.mem_cons_self, fun z hz => ?_⟩
      rcases List.mem_cons.mp hz with rfl | hz
      · exact Std.le_refl _
      · exact Std.le_trans h (hmin z hz)
    · refine ⟨m, List.mem_cons_of_mem _ hm, fun z hz => ?_⟩
      rcases List.mem_cons.mp hz with rfl | hz
      · exact h
      · exact hmin z hz

/-- In any list at most `k` entries have at most `k` entries that are at least as large, themselves
included.

Python: `peelverify.bounds.counting.count_at_least` -/
theorem count_few_above_le (l : List α) (k : Nat) :
    l.countP (fun x => decide (countAtLeast x l ≤ k)) ≤ k := by
  rw [List.countP_eq_length_filter]
  by_cases h : l.filter (fun x => decide (countAtLeast x l ≤ k)) = []
  · rw [h]
    exact Nat.zero_le k
  · obtain ⟨m, hm, hmin⟩ := exists_min _ h
    have hm' := (List.mem_filter.mp hm).2
    simp only [decide_eq_true_eq] at hm'
    refine Nat.le_trans ?_ hm'
    rw [← List.countP_eq_length_filter]
    unfold countAtLeast
    refine List.countP_mono_left fun x hx hp => ?_
    have := hmin x (List.mem_filter.mpr ⟨hx, hp⟩)
    simpa using this

private theorem countAtLeast_insert (x y : α) (l : List α) :
    countAtLeast x (insertDescending y l) = countAtLeast x (y :: l) := by
  induction l with
  | nil => rfl
  | cons z rest ih =>
    unfold insertDescending
    split
    · rfl
    · unfold countAtLeast at ih ⊢
      simp only [List.countP_cons] at ih ⊢
      omega

private theorem countAtLeast_sort (x : α) (l : List α) :
    countAtLeast x (sortDescending l) = countAtLeast x l := by
  induction l with
  | nil => rfl
  | cons y rest ih =>
    unfold sortDescending
    rw [countAtLeast_insert]
    unfold countAtLeast at ih ⊢
    simp only [List.countP_cons, ih]

private theorem sorted_insert (x : α) (l : List α) (h : l.Pairwise fun a b => b ≤ a) :
    (insertDescending x l).Pairwise fun a b => b ≤ a := by
  induction l with
  | nil => exact List.pairwise_singleton _ _
  | cons y rest ih =>
    have hy := List.pairwise_cons.mp h
    unfold insertDescending
    split
    · rename_i hle
      refine List.pairwise_cons.mpr ⟨fun z hz => ?_, h⟩
      rcases List.mem_cons.mp hz with rfl | hz
      · exact hle
      · exact Std.le_trans (hy.1 z hz) hle
    · rename_i hle
      refine List.pairwise_cons.mpr ⟨fun z hz => ?_, ih hy.2⟩
      have hz' : z = x ∨ z ∈ rest := by
        have : ∀ (l : List α), z ∈ insertDescending x l → z = x ∨ z ∈ l := by
          intro l
          induction l with
          | nil => intro h; simpa [insertDescending] using h
          | cons w l ih =>
            intro h
            unfold insertDescending at h
            split at h
            · simpa using h
            · rcases List.mem_cons.mp h with rfl | h
              · exact Or.inr List.mem_cons_self
              · rcases ih h with h | h
                · exact Or.inl h
                · exact Or.inr (List.mem_cons_of_mem _ h)
        exact this rest hz
      rcases hz' with rfl | hz'
      · rcases Std.le_total (a := z) (b := y) with h1 | h1
        · exact h1
        · exact absurd h1 hle
      · exact hy.1 z hz'

private theorem sorted_sort (l : List α) : (sortDescending l).Pairwise fun a b => b ≤ a := by
  induction l with
  | nil => exact List.Pairwise.nil
  | cons x rest ih => exact sorted_insert x _ ih

private theorem countP_lt_of_sorted (x : α) : ∀ (l : List α) (j : Nat) (b : α),
    (l.Pairwise fun a b => b ≤ a) → l[j]? = some b → ¬ x ≤ b → countAtLeast x l ≤ j
  | [], j, b, _, h, _ => by simp at h
  | y :: rest, 0, b, hs, h, hx => by
    have e : y = b := by simpa using h
    subst e
    have hall : ∀ z ∈ y :: rest, ¬ x ≤ z := by
      intro z hz
      rcases List.mem_cons.mp hz with rfl | hz
      · exact hx
      · exact fun hle => hx (Std.le_trans hle ((List.pairwise_cons.mp hs).1 z hz))
    unfold countAtLeast
    rw [List.countP_eq_zero.mpr]
    · exact Nat.le_refl 0
    · intro z hz
      simpa using hall z hz
  | y :: rest, j + 1, b, hs, h, hx => by
    have ih := countP_lt_of_sorted x rest j b (List.pairwise_cons.mp hs).2 (by simpa using h) hx
    unfold countAtLeast at ih ⊢
    rw [List.countP_cons]
    split <;> omega

/-- A number that is larger than the `k`-th largest entry of a list has fewer than `k` entries at
least as large.

Python: `peelverify.bounds.counting.kth_largest` -/
theorem countAtLeast_lt_of_kthLargest_lt {l : List α} {k : Nat} {x b : α}
    (kth : kthLargest l k = some b) (exceeds : ¬ x ≤ b) : countAtLeast x l < k := by
  unfold kthLargest at kth
  split at kth
  · exact absurd kth (by simp)
  · have h := countP_lt_of_sorted x (sortDescending l) (k - 1) b (sorted_sort l) kth exceeds
    rw [countAtLeast_sort] at h
    omega

/-- There is a `k`-th largest entry whenever `k` is between one and the length of the list.

Python: `peelverify.bounds.counting.kth_largest` -/
theorem exists_kthLargest (l : List α) {k : Nat} (pos : 1 ≤ k) (le_length : k ≤ l.length) :
    ∃ b, kthLargest l k = some b := by
  have hlen : ∀ l : List α, (sortDescending l).length = l.length := by
    have hins : ∀ (x : α) (l : List α), (insertDescending x l).length = l.length + 1 := by
      intro x l
      induction l with
      | nil => rfl
      | cons y rest ih =>
        unfold insertDescending
        split
        · rfl
        · simp only [List.length_cons, ih]
    intro l
    induction l with
    | nil => rfl
    | cons x rest ih =>
      unfold sortDescending
      rw [hins, ih, List.length_cons]
  unfold kthLargest
  rw [if_neg (by omega)]
  have h : k - 1 < (sortDescending l).length := by rw [hlen]; omega
  exact ⟨_, List.getElem?_eq_getElem h⟩

private theorem countP_eraseIdx (p : α → Bool) : ∀ (l : List α) (i : Nat), i < l.length →
    l.countP p ≤ (l.eraseIdx i).countP p + 1
  | [], _, h => absurd h (Nat.not_lt_zero _)
  | x :: rest, 0, _ => by
    rw [List.eraseIdx_cons_zero, List.countP_cons]
    split <;> omega
  | x :: rest, i + 1, h => by
    have ih := countP_eraseIdx p rest i (Nat.lt_of_succ_lt_succ h)
    rw [List.eraseIdx_cons_succ, List.countP_cons, List.countP_cons]
    omega

/-- Of all the entries of a list, at most `k` exceed the `k`-th largest of the other entries. So a
window drawn uniformly from `n + 1` exceeds the `k`-th largest error of the other `n` with
probability at most `k / (n + 1)`.

Python: `peelverify.bounds.counting.kth_largest` -/
theorem conformal_count (l : List α) (k : Nat) (exceeds : Fin l.length → Bool)
    (exceeds_spec : ∀ i, exceeds i = true →
      ∃ b, kthLargest (l.eraseIdx i) k = some b ∧ ¬ l[i] ≤ b) :
    ((List.finRange l.length).countP exceeds) ≤ k := by
  have h1 : ∀ i : Fin l.length, exceeds i = true → countAtLeast l[i] l ≤ k := by
    intro i hi
    obtain ⟨b, hb, hx⟩ := exceeds_spec i hi
    have h := countAtLeast_lt_of_kthLargest_lt hb hx
    have hc := countP_eraseIdx (fun y => decide (l[i] ≤ y)) l i i.isLt
    unfold countAtLeast at h ⊢
    omega
  have h2 : (List.finRange l.length).countP exceeds ≤
      (List.finRange l.length).countP fun i => decide (countAtLeast l[i] l ≤ k) :=
    List.countP_mono_left fun i _ hi => by simpa using h1 i hi
  refine Nat.le_trans h2 (Nat.le_trans (Nat.le_of_eq ?_) (count_few_above_le l k))
  have e : l = (List.finRange l.length).map fun i => l[i] := by
    apply List.ext_getElem
    · simp
    · intro i h1 h2
      simp
  have e2 : l.countP (fun x => decide (countAtLeast x l ≤ k)) =
      ((List.finRange l.length).map fun i => l[i]).countP
        fun x => decide (countAtLeast x l ≤ k) := by rw [← e]
  rw [e2, List.countP_map]
  rfl

end Theorems

section Examples

example : countAtLeast (2 : Rat) [3, 1, 2, 2] = 3 := by decide +kernel
example : sortDescending ([3, 1, 2] : List Rat) = [3, 2, 1] := by decide +kernel
example : kthLargest ([3, 1, 2] : List Rat) 2 = some 2 := by decide +kernel
example : kthLargest ([3, 1, 2] : List Rat) 4 = none := by decide +kernel
example : kthLargest ([3, 1, 2] : List Rat) 0 = none := by decide +kernel
example : ([3, 1, 2, 2] : List Rat).countP
    (fun x => decide (countAtLeast x [3, 1, 2, 2] ≤ 1)) ≤ 1 :=
  count_few_above_le [3, 1, 2, 2] 1
example : countAtLeast (3 : Rat) [1, 2] < 1 :=
  countAtLeast_lt_of_kthLargest_lt (b := 2) (by decide +kernel) (by decide +kernel)
example : (List.finRange 3).countP (fun i : Fin 3 => decide (i.val = 0)) ≤ 1 :=
  conformal_count ([3, 1, 2] : List Rat) 1 (fun i => decide (i.val = 0)) fun i hi => by
    have e : i = ⟨0, by decide⟩ := Fin.ext (by simpa using hi)
    subst e
    exact ⟨2, by decide +kernel, by decide +kernel⟩
example : insertDescending (2 : Rat) [3, 1] = [3, 2, 1] := by decide +kernel
example : ∃ b, kthLargest ([3, 1, 2] : List Rat) 3 = some b :=
  exists_kthLargest _ (by decide) (by decide)

end Examples

end PeelVerify
