module

public import Proofs.Matrix
public import Proofs.Propagation

/-!
# Blocks as functions

Where gains come from. A block is a function between vectors; `LipschitzLe f c` says that it moves
two outputs apart by no more than `c` times the distance of the inputs.

## Main results

* `LipschitzLe.comp`, `LipschitzLe.residual`, `LipschitzLe.of_opNorm2Le`: gains of composed,
  residual and linear blocks.
* `block_error`, `states_le_chainBound`: from gains and introduced errors to the whole model.
* `deletion_error`: deleting a block is compressing it to the identity.
* `residual_contraction`: when a residual block shrinks distances.
* `relative_le_chainBound`, `relative_states_le_chainBound`: the recurrence for errors relative to
  the size of the states.

## Assumptions

A linearly ordered field. Lipschitz bounds are hypotheses about the exact functions.

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

/-- The function `f` moves outputs apart by at most `c` times the distance of the inputs.

Python: none (a statement about every pair of inputs) -/
def LipschitzLe [LE α] {m n : Nat} (f : (Fin n → α) → Fin m → α) (c : α) : Prop :=
  0 ≤ c ∧ ∀ x y : Fin n → α,
    normSq (fun i => f x i - f y i) ≤ c * c * normSq fun j => x j - y j

/-- The relative error after a block, from its gain, the factor by which the reference shrinks,
the relative error before it and the relative error it introduces.

Python: `peelverify.bounds.propagation.relative_step` -/
def relativeStep (gain shrink before introduced : α) : α := gain * shrink * before + introduced

end Definitions

section Theorems

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]

/-- A Lipschitz bound turns a bound on the distance of inputs into one on the distance of outputs.

Python: none (supporting lemma) -/
theorem LipschitzLe.norm2Le {m n : Nat} {f : (Fin n → α) → Fin m → α} {c e : α} {x y : Fin n → α}
    (hf : LipschitzLe f c) (hxy : Norm2Le (fun j => x j - y j) e) :
    Norm2Le (fun i => f x i - f y i) (c * e) := by
  refine ⟨mul_nonneg hf.1 hxy.1, Std.le_trans (hf.2 x y) ?_⟩
  have h := mul_le_mul_left (mul_self_nonneg c) hxy.2
  grind

/-- A linear layer is Lipschitz with every bound on its operator norm.

Python: `peelverify.bounds.matrix.frob_le` -/
theorem LipschitzLe.of_opNorm2Le {m n : Nat} {A : Fin m → Fin n → α} {c : α}
    (hA : OpNorm2Le A c) : LipschitzLe (mulVec A) c := by
  refine ⟨hA.1, fun x y => ?_⟩
  have h := hA.2 fun j => x j - y j
  rw [mulVec_sub] at h
  exact h

/-- The gains of two layers in a row multiply.

Python: `peelverify.bounds.matrix.op_norm2_mul_upper` -/
theorem LipschitzLe.comp {m n p : Nat} {g : (Fin n → α) → Fin m → α} {f : (Fin p → α) → Fin n → α}
    {a b : α} (hg : LipschitzLe g a) (hf : LipschitzLe f b) :
    LipschitzLe (fun x => g (f x)) (a * b) := by
  refine ⟨mul_nonneg hg.1 hf.1, fun x y => Std.le_trans (hg.2 (f x) (f y)) ?_⟩
  have h := mul_le_mul_left (mul_self_nonneg a) (hf.2 x y)
  grind

/-- The gains of two parallel branches that are added up add up.

Python: `peelverify.bounds.matrix.op_norm2_add_upper` -/
theorem LipschitzLe.add {m n : Nat} {f g : (Fin n → α) → Fin m → α} {a b : α}
    (hf : LipschitzLe f a) (hg : LipschitzLe g b) :
    LipschitzLe (fun x i => f x i + g x i) (a + b) := by
  have ha := hf.1
  have hb := hg.1
  refine ⟨by grind, fun x y => ?_⟩
  have hs := normSq_nonneg fun j => x j - y j
  have e : (fun i => f x i + g x i - (f y i + g y i)) =
      fun i => (f x i - f y i) + (g x i - g y i) := funext fun i => by grind
  rw [e, normSq_add]
  have h1 := hf.2 x y
  have h2 := hg.2 x y
  have h3 := dot_sq_le_normSq_mul_normSq (fun i => f x i - f y i) fun i => g x i - g y i
  have h4 := mul_le_mul h1 h2 (normSq_nonneg _) (mul_nonneg (mul_self_nonneg a) hs)
  have h5 := mul_nonneg (mul_nonneg ha hb) hs
  have h6 : dot (fun i => f x i - f y i) (fun i => g x i - g y i) ≤
      a * b * normSq fun j => x j - y j := by
    refine le_of_mul_self_le_mul_self h5 (Std.le_trans h3 ?_)
    grind
  clear h3 h4 e
  grind

/-- A residual block `x + f x` has gain at most one plus the gain of `f`.

Python: `peelverify.bounds.matrix.residual_upper` -/
theorem LipschitzLe.residual {n : Nat} {f : (Fin n → α) → Fin n → α} {c : α}
    (hf : LipschitzLe f c) : LipschitzLe (fun x i => x i + f x i) (1 + c) := by
  have h1 : (0 : α) ≤ 1 := by have := mul_self_nonneg (1 : α); grind
  exact LipschitzLe.add (f := fun x => x) ⟨h1, fun x y => by grind⟩ hf

/-- One block: the error after it is at most its gain times the error before it plus the error it
introduces at the state that the compressed model reaches.

Python: `peelverify.bounds.propagation.chain_bound` -/
theorem block_error {m n : Nat} {f f' : (Fin n → α) → Fin m → α} {x x' : Fin n → α} {gain e d : α}
    (gain_bound : LipschitzLe f gain) (before : Norm2Le (fun j => x' j - x j) e)
    (introduced : Norm2Le (fun i => f' x' i - f x' i) d) :
    Norm2Le (fun i => f' x' i - f x i) (gain * e + d) := by
  have h := (gain_bound.norm2Le before).add introduced
  have e1 : (fun i => f x' i - f x i + (f' x' i - f x' i)) = fun i => f' x' i - f x i :=
    funext fun i => by grind
  rw [e1] at h
  exact h

/-- Two compressed layers in a row: the first error is multiplied by the second gain, and the
second error is added.

Python: `peelverify.bounds.propagation.chain_bound` -/
theorem two_layer_error {m n p : Nat} {g g' : (Fin n → α) → Fin m → α}
    {f f' : (Fin p → α) → Fin n → α} {x : Fin p → α} {gain d1 d2 : α}
    (gain_bound : LipschitzLe g gain) (first : Norm2Le (fun j => f' x j - f x j) d1)
    (second : Norm2Le (fun i => g' (f' x) i - g (f' x) i) d2) :
    Norm2Le (fun i => g' (f' x) i - g (f x) i) (gain * d1 + d2) :=
  block_error gain_bound first second

/-- Deleting a block is replacing it by the identity; what it introduces is the distance between
its input and its output.

Python: `peelverify.bounds.propagation.chain_bound` -/
theorem deletion_error {n : Nat} {f : (Fin n → α) → Fin n → α} {x x' : Fin n → α} {gain e d : α}
    (gain_bound : LipschitzLe f gain) (before : Norm2Le (fun j => x' j - x j) e)
    (skipped : Norm2Le (fun i => x' i - f x' i) d) :
    Norm2Le (fun i => x' i - f x i) (gain * e + d) :=
  block_error (f' := fun y => y) gain_bound before skipped

/-- The states of two models stay within the chain bound of the gains of the original blocks and
the errors that the compressed blocks introduce at the states they meet.

Python: `peelverify.bounds.propagation.chain_bound` -/
theorem states_le_chainBound {n : Nat} (steps : List (α × α))
    (block block' : Nat → (Fin n → α) → Fin n → α) (state state' : Nat → Fin n → α) {e0 : α}
    (original : ∀ t, t < steps.length → state (t + 1) = block t (state t))
    (compressed : ∀ t, t < steps.length → state' (t + 1) = block' t (state' t))
    (start : Norm2Le (fun i => state' 0 i - state 0 i) e0)
    (gain_bound : ∀ t (ht : t < steps.length), LipschitzLe (block t) steps[t].1)
    (introduced : ∀ t (ht : t < steps.length),
      Norm2Le (fun i => block' t (state' t) i - block t (state' t) i) steps[t].2) :
    Norm2Le (fun i => state' steps.length i - state steps.length i) (chainBound e0 steps) := by
  induction steps generalizing block block' state state' e0 with
  | nil => exact start
  | cons p rest ih =>
    have h0 : Norm2Le (fun i => state' 1 i - state 1 i) (p.1 * e0 + p.2) := by
      rw [original 0 (Nat.zero_lt_succ _), compressed 0 (Nat.zero_lt_succ _)]
      exact block_error (gain_bound 0 (Nat.zero_lt_succ _)) start
        (introduced 0 (Nat.zero_lt_succ _))
    exact ih (fun t => block (t + 1)) (fun t => block' (t + 1)) (fun t => state (t + 1))
      (fun t => state' (t + 1)) (fun t ht => original (t + 1) (Nat.succ_lt_succ ht))
      (fun t ht => compressed (t + 1) (Nat.succ_lt_succ ht)) h0
      (fun t ht => gain_bound (t + 1) (Nat.succ_lt_succ ht))
      (fun t ht => introduced (t + 1) (Nat.succ_lt_succ ht))

/-- A residual block whose branch points back by at least `mu` and has gain at most `gain` brings
states closer by the factor `c` when `1 - 2 mu + gain²` is at most `c²`.

Python: `peelverify.bounds.propagation.contraction_factor_sq` -/
theorem residual_contraction {n : Nat} {difference change : Fin n → α} {mu gain c : α}
    (points_back : dot difference change ≤ -(mu * normSq difference))
    (change_le : normSq change ≤ gain * gain * normSq difference)
    (factor : 1 - 2 * mu + gain * gain ≤ c * c) :
    normSq (fun i => difference i + change i) ≤ c * c * normSq difference := by
  rw [normSq_add]
  have h := mul_le_mul factor (Std.le_refl (normSq difference)) (normSq_nonneg difference)
    (mul_self_nonneg c)
  grind

/-- One block of the relative recurrence: `e` is at most `before` times the size `n`, the size
shrinks at most by `shrink`, and the introduced error is at most `introduced` times the new size.

Python: `peelverify.bounds.propagation.relative_step` -/
theorem relative_step {e e' d n n' gain shrink before introduced : α} (gain_nonneg : 0 ≤ gain)
    (before_nonneg : 0 ≤ before) (recurrence : e' ≤ gain * e + d) (error_le : e ≤ before * n)
    (size_le : n ≤ shrink * n') (introduced_le : d ≤ introduced * n') :
    e' ≤ relativeStep gain shrink before introduced * n' := by
  have h1 := mul_le_mul_left gain_nonneg error_le
  have h2 := mul_le_mul_left (mul_nonneg gain_nonneg before_nonneg) size_le
  unfold relativeStep
  grind

/-- The relative recurrence over all blocks: errors relative to the size of the states obey the
chain bound with gains `gain * shrink`.

Python: `peelverify.bounds.propagation.relative_step` -/
theorem relative_le_chainBound (steps : List (α × α)) (gain shrink e d n : Nat → α) {r0 : α}
    (start : e 0 ≤ r0 * n 0) (r0_nonneg : 0 ≤ r0)
    (gain_nonneg : ∀ t, t < steps.length → 0 ≤ gain t)
    (step_nonneg : ∀ p ∈ steps, 0 ≤ p.1 ∧ 0 ≤ p.2)
    (step_eq : ∀ t (ht : t < steps.length), steps[t].1 = gain t * shrink t)
    (recurrence : ∀ t, t < steps.length → e (t + 1) ≤ gain t * e t + d t)
    (size_le : ∀ t, t < steps.length → n t ≤ shrink t * n (t + 1))
    (introduced_le : ∀ t (ht : t < steps.length), d t ≤ steps[t].2 * n (t + 1)) :
    e steps.length ≤ chainBound r0 steps * n steps.length := by
  induction steps generalizing gain shrink e d n r0 with
  | nil => exact start
  | cons p rest ih =>
    have h0 : e 1 ≤ (p.1 * r0 + p.2) * n 1 := by
      have h := relative_step (gain_nonneg 0 (Nat.zero_lt_succ _)) r0_nonneg
        (recurrence 0 (Nat.zero_lt_succ _)) start (size_le 0 (Nat.zero_lt_succ _))
        (introduced_le 0 (Nat.zero_lt_succ _))
      have hs : p.1 = gain 0 * shrink 0 := step_eq 0 (Nat.zero_lt_succ _)
      unfold relativeStep at h
      rw [← hs] at h
      exact h
    have hp := step_nonneg p List.mem_cons_self
    have h1 := mul_nonneg hp.1 r0_nonneg
    exact ih (fun t => gain (t + 1)) (fun t => shrink (t + 1)) (fun t => e (t + 1))
      (fun t => d (t + 1)) (fun t => n (t + 1)) h0 (by have := hp.2; clear ih; grind)
      (fun t ht => gain_nonneg (t + 1) (Nat.succ_lt_succ ht))
      (fun q hq => step_nonneg q (List.mem_cons_of_mem _ hq))
      (fun t ht => step_eq (t + 1) (Nat.succ_lt_succ ht))
      (fun t ht => recurrence (t + 1) (Nat.succ_lt_succ ht))
      (fun t ht => size_le (t + 1) (Nat.succ_lt_succ ht))
      (fun t ht => introduced_le (t + 1) (Nat.succ_lt_succ ht))

/-- What the relative recurrence says of the states themselves: when `e` bounds the length of the
last error and the last state is at least as long as `n`, the error's length is at most the chain
bound times the length of the state.

Python: `peelverify.bounds.propagation.relative_step` -/
theorem relative_states_le_chainBound (steps : List (α × α)) (gain shrink e d n : Nat → α) {r0 : α}
    (start : e 0 ≤ r0 * n 0) (r0_nonneg : 0 ≤ r0)
    (gain_nonneg : ∀ t, t < steps.length → 0 ≤ gain t)
    (step_nonneg : ∀ p ∈ steps, 0 ≤ p.1 ∧ 0 ≤ p.2)
    (step_eq : ∀ t (ht : t < steps.length), steps[t].1 = gain t * shrink t)
    (recurrence : ∀ t, t < steps.length → e (t + 1) ≤ gain t * e t + d t)
    (size_le : ∀ t, t < steps.length → n t ≤ shrink t * n (t + 1))
    (introduced_le : ∀ t (ht : t < steps.length), d t ≤ steps[t].2 * n (t + 1)) {m : Nat}
    {original compressed : Fin m → α}
    (error_le : Norm2Le (fun i => compressed i - original i) (e steps.length))
    (size_ge : Norm2Ge original (n steps.length)) :
    normSq (fun i => compressed i - original i) ≤
      chainBound r0 steps * chainBound r0 steps * normSq original := by
  have h := relative_le_chainBound steps gain shrink e d n start r0_nonneg gain_nonneg step_nonneg
    step_eq recurrence size_le introduced_le
  have h1 := mul_self_le_mul_self error_le.1 h
  have h2 := mul_le_mul_left (mul_self_nonneg (chainBound r0 steps)) size_ge.2
  refine Std.le_trans error_le.2 (Std.le_trans h1 (Std.le_trans ?_ h2))
  clear gain_nonneg step_nonneg step_eq recurrence size_le introduced_le h h1 h2
  grind

end Theorems

section Examples

private abbrev half : Fin 1 → Fin 1 → Rat := mat [[1 / 2]]

private theorem half_lipschitz : LipschitzLe (mulVec half) (1 / 2) :=
  LipschitzLe.of_opNorm2Le (OpNorm2Le.of_frob (by unfold FrobLe; decide +kernel))

example : relativeStep (2 : Rat) (1 / 2) (1 / 4) (1 / 8) = 3 / 8 := by decide +kernel
example : LipschitzLe (fun x => mulVec half (mulVec half x)) (1 / 2 * (1 / 2)) :=
  half_lipschitz.comp half_lipschitz
example : LipschitzLe (fun x i => x i + mulVec half x i) (1 + 1 / 2) := half_lipschitz.residual
example : Norm2Le (fun i => (vec [4] : Fin 1 → Rat) i - mulVec half (vec [3]) i)
    (1 / 2 * 1 + 2) :=
  deletion_error half_lipschitz (by unfold Norm2Le; decide +kernel)
    (by unfold Norm2Le; decide +kernel)
example : Norm2Le (fun i => (vec [2] : Fin 1 → Rat) i - (vec [3 / 2] : Fin 1 → Rat) i)
    (chainBound 1 [(1 / 2, 1 / 4)]) :=
  states_le_chainBound [(1 / 2, 1 / 4)] (fun _ => mulVec half) (fun _ _ => vec [2])
    (fun t => [vec [3], vec [3 / 2]].getD t (vec []))
    (fun t => [vec [4], vec [2]].getD t (vec []))
    (fun t ht => funext fun i => by
      have e : t = 0 := by simpa using ht
      subst e
      revert i
      decide +kernel)
    (fun t ht => by
      have e : t = 0 := by simpa using ht
      subst e
      rfl)
    (by unfold Norm2Le; decide +kernel)
    (fun t ht => by
      have e : t = 0 := by simpa using ht
      subst e
      exact half_lipschitz)
    (by unfold Norm2Le; decide +kernel)
example : normSq (fun i => (vec [1, 0] : Fin 2 → Rat) i + (vec [-1 / 2, 0] : Fin 2 → Rat) i) ≤
    1 / 2 * (1 / 2) * normSq (vec [1, 0] : Fin 2 → Rat) :=
  residual_contraction (mu := 1 / 2) (gain := 1 / 2) (by decide +kernel) (by decide +kernel)
    (by decide +kernel)
example : (3 : Rat) ≤ relativeStep 2 (1 / 2) (1 / 4) (1 / 8) * 8 :=
  relative_step (e := 1) (d := 1) (n := 4) (by decide +kernel) (by decide +kernel)
    (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
example : (3 : Rat) ≤ chainBound (1 / 4) [(1, 1 / 8)] * 8 :=
  relative_le_chainBound [(1, 1 / 8)] (fun _ => 2) (fun _ => 1 / 2)
    (fun t => [1, 3].getD t 0) (fun _ => 1) (fun t => [4, 8].getD t 0) (by decide +kernel)
    (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
    (by decide +kernel) (by decide +kernel) (by decide +kernel)
example : normSq (fun i => (vec [10] : Fin 1 → Rat) i - vec [8] i) ≤
    chainBound (1 / 4) [(1, 1 / 8)] * chainBound (1 / 4) [(1, 1 / 8)] *
      normSq (vec [8] : Fin 1 → Rat) :=
  relative_states_le_chainBound [(1, 1 / 8)] (fun _ => 2) (fun _ => 1 / 2)
    (fun t => [1, 3].getD t 0) (fun _ => 1) (fun t => [4, 8].getD t 0) (by decide +kernel)
    (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
    (by decide +kernel) (by decide +kernel) (by decide +kernel)
    (by unfold Norm2Le; decide +kernel) (by unfold Norm2Ge; decide +kernel)
example : LipschitzLe (fun x i => mulVec half x i + mulVec half x i) (1 / 2 + 1 / 2) :=
  half_lipschitz.add half_lipschitz
example : Norm2Le (fun i => mulVec half (vec [4]) i - mulVec half (vec [3]) i) (1 / 2 * 1 + 0) :=
  block_error (f' := mulVec half) half_lipschitz
    (by unfold Norm2Le; decide +kernel) (by unfold Norm2Le; decide +kernel)
example : Norm2Le (fun i => mulVec half (vec [5]) i - mulVec half (mulVec half (vec [8])) i)
    (1 / 2 * 1 + 0) :=
  two_layer_error (g' := mulVec half) (f := mulVec half) (f' := fun _ => vec [5]) half_lipschitz
    (by unfold Norm2Le; decide +kernel) (by unfold Norm2Le; decide +kernel)

end Examples

end PeelVerify
