module

public import Proofs.Vector

/-!
# Error propagation through a chain of blocks

How the error of a compressed model grows from block to block: the recurrence
`e_t ≤ g_t e_{t-1} + δ_t`, what it adds up to, and which block each part comes from.

## Main results

* `le_chainBound`: the recurrence bounds the last error by `chainBound`.
* `chainBound_eq_closedForm`, `chainBound_eq_sum_shares`: the same number as a closed form and as
  a sum of one share for each block.
* `le_geometricBound`, `geometricBound_le_max`: one gain and one delta for all blocks.
* `sq_error_decomposition`: the exact squared error, cross term included.

## Assumptions

Gains are not negative. The recurrence is a hypothesis: the theorems say nothing about where the
gains and deltas come from.

## References

The recurrence is the one behind arXiv 2603.20991, which states its geometric case.
-/

@[expose] public noncomputable section

namespace PeelVerify

open Lean.Grind

set_option linter.unusedSectionVars false

universe u

variable {α : Type u}

section Definitions

variable [Field α]

/-- The error bound after a chain of blocks, each given as a pair of gain and introduced error, in
the order in which the signal meets them.

Python: `peelverify.bounds.propagation.chain_bound` -/
def chainBound (e0 : α) : List (α × α) → α
  | [] => e0
  | step :: rest => chainBound (step.1 * e0 + step.2) rest

/-- The product of the gains of a chain.

Python: `peelverify.bounds.propagation.gain_product` -/
def gainProd : List (α × α) → α
  | [] => 1
  | step :: rest => step.1 * gainProd rest

/-- The sum over blocks of the introduced error times the gains of all later blocks.

Python: none (the second summand of `chain_closed_form`) -/
def deltaSum : List (α × α) → α
  | [] => 0
  | step :: rest => step.2 * gainProd rest + deltaSum rest

/-- The closed form of the chain bound: the incoming error times all gains, plus each introduced
error times the gains of the blocks behind it.

Python: `peelverify.bounds.propagation.chain_closed_form` -/
def chainClosedForm (e0 : α) (steps : List (α × α)) : α := e0 * gainProd steps + deltaSum steps

/-- The sum of a list of numbers.

Python: none (the built-in `sum`) -/
def listSum : List α → α
  | [] => 0
  | x :: rest => x + listSum rest

/-- What each block's introduced error contributes to the chain bound.

Python: none (the tail of `chain_shares`) -/
def deltaShares : List (α × α) → List α
  | [] => []
  | step :: rest => (step.2 * gainProd rest) :: deltaShares rest

/-- What the incoming error (first entry) and each block's introduced error contribute to the
chain bound.

Python: `peelverify.bounds.propagation.chain_shares` -/
def chainShares (e0 : α) (steps : List (α × α)) : List α :=
  (e0 * gainProd steps) :: deltaShares steps

/-- The error bound after a number of blocks that all have the same gain and introduced error.

Python: `peelverify.bounds.propagation.geometric_bound` -/
def geometricBound (e0 gain delta : α) : Nat → α
  | 0 => e0
  | blocks + 1 => gain * geometricBound e0 gain delta blocks + delta

/-- The level at which a gain below one balances the introduced error.

Python: none (the second argument of the maximum in `geometric_limit`) -/
def balanceLevel (gain delta : α) : α := delta / (1 - gain)

/-- The larger of the incoming error and the level at which a gain below one balances the
introduced error.

Python: `peelverify.bounds.propagation.geometric_limit` -/
def geometricLimit [LE α] [DecidableLE α] (e0 gain delta : α) : α :=
  maxVal e0 (balanceLevel gain delta)

/-- A start value multiplied by a list of ratios.

Python: `peelverify.bounds.propagation.telescope` -/
def telescopeProd (v0 : α) : List α → α
  | [] => v0
  | ratio :: rest => telescopeProd (v0 * ratio) rest

/-- The squared error put together from the squared propagated error, the inner product and the
squared introduced error.

Python: `peelverify.bounds.propagation.squared_error_identity` -/
def squaredErrorIdentity (propagatedSq inner introducedSq : α) : α :=
  propagatedSq + 2 * inner + introducedSq

end Definitions

section Ring

variable [Field α]

/-- The chain bound equals its closed form.

Python: `peelverify.bounds.propagation.chain_closed_form` -/
theorem chainBound_eq_closedForm (e0 : α) (steps : List (α × α)) :
    chainBound e0 steps = chainClosedForm e0 steps := by
  induction steps generalizing e0 with
  | nil => simp only [chainBound, chainClosedForm, gainProd, deltaSum]; grind
  | cons step rest ih =>
    simp only [chainBound, ih]
    simp only [chainClosedForm, gainProd, deltaSum]
    grind

private theorem listSum_deltaShares (steps : List (α × α)) :
    listSum (deltaShares steps) = deltaSum steps := by
  induction steps with
  | nil => rfl
  | cons step rest ih => simp only [deltaShares, listSum, deltaSum, ih]

/-- The shares of the incoming error and of each block add up to the chain bound.

Python: `peelverify.bounds.propagation.chain_shares` -/
theorem chainBound_eq_sum_shares (e0 : α) (steps : List (α × α)) :
    chainBound e0 steps = listSum (chainShares e0 steps) := by
  rw [chainBound_eq_closedForm]
  simp only [chainShares, listSum, listSum_deltaShares, chainClosedForm]

/-- There is one share for the incoming error and one for each block.

Python: `peelverify.bounds.propagation.chain_shares` -/
theorem length_chainShares (e0 : α) (steps : List (α × α)) :
    (chainShares e0 steps).length = steps.length + 1 := by
  have h : ∀ l : List (α × α), (deltaShares l).length = l.length := by
    intro l
    induction l with
    | nil => rfl
    | cons step rest ih => simp only [deltaShares, List.length_cons, ih]
  simp only [chainShares, List.length_cons, h]

/-- A chain may be cut in two: the bound of the first part is the incoming error of the second.

Python: `peelverify.bounds.propagation.chain_bound` -/
theorem chainBound_append (e0 : α) (first second : List (α × α)) :
    chainBound e0 (first ++ second) = chainBound (chainBound e0 first) second := by
  induction first generalizing e0 with
  | nil => rfl
  | cons step rest ih => simp only [List.cons_append, chainBound, ih]

/-- Blocks that all have the same gain and introduced error form a special chain.

Python: `peelverify.bounds.propagation.geometric_bound` -/
theorem geometricBound_eq_chainBound (e0 gain delta : α) (blocks : Nat) :
    geometricBound e0 gain delta blocks = chainBound e0 (List.replicate blocks (gain, delta)) := by
  have h : ∀ (n : Nat) (e : α), gain * geometricBound e gain delta n + delta =
      geometricBound (gain * e + delta) gain delta n := by
    intro n
    induction n with
    | zero => intro e; rfl
    | succ n ih => intro e; simp only [geometricBound, ih]
  induction blocks generalizing e0 with
  | zero => rfl
  | succ n ih => simp only [geometricBound, List.replicate_succ, chainBound, h]; exact ih _

/-- With `b = gain * b + delta`, the bound after `T` blocks is `gain ^ T * (e0 - b) + b`.

Python: `peelverify.bounds.propagation.geometric_bound` -/
theorem geometricBound_eq_closedForm (e0 gain delta b : α) (fixed_point : b = gain * b + delta)
    (blocks : Nat) :
    geometricBound e0 gain delta blocks = gain ^ blocks * (e0 - b) + b := by
  induction blocks with
  | zero => simp only [geometricBound, Semiring.pow_zero]; grind
  | succ n ih => simp only [geometricBound, ih, Semiring.pow_succ]; grind

/-- The balance level is a fixed point of the recurrence when the gain is not one.

Python: none (supporting lemma) -/
theorem balanceLevel_fixed_point {gain delta : α} (gain_ne_one : gain ≠ 1) :
    balanceLevel gain delta = gain * balanceLevel gain delta + delta := by
  unfold balanceLevel
  have h : 1 - gain ≠ 0 := by grind
  have h2 : delta / (1 - gain) * (1 - gain) = delta := by grind
  grind

/-- An energy after `T` blocks is the first energy times all the ratios between neighbours, when
no energy on the way is zero.

Python: `peelverify.bounds.propagation.telescope` -/
theorem energy_eq_mul_prod (energy : Nat → α) (ratios : List α)
    (ratio_eq : ∀ t (ht : t < ratios.length), ratios[t] = energy (t + 1) / energy t)
    (energy_ne_zero : ∀ t, t < ratios.length → energy t ≠ 0) :
    energy ratios.length = telescopeProd (energy 0) ratios := by
  induction ratios generalizing energy with
  | nil => rfl
  | cons ratio rest ih =>
    have h0 := ratio_eq 0 (Nat.zero_lt_succ _)
    have h1 := energy_ne_zero 0 (Nat.zero_lt_succ _)
    have h2 := ih (fun t => energy (t + 1))
      (fun t ht => ratio_eq (t + 1) (Nat.succ_lt_succ ht))
      (fun t ht => energy_ne_zero (t + 1) (Nat.succ_lt_succ ht))
    have h3 : energy 0 * ratio = energy 1 := by
      have e : ratio = energy 1 / energy 0 := h0
      rw [e]
      clear ih ratio_eq energy_ne_zero h2 h0 e
      grind
    simp only [telescopeProd, List.length_cons, h3]
    exact h2

/-- The squared error of a block is exactly the squared propagated error, plus twice the inner
product of both parts, plus the squared introduced error.

Python: `peelverify.bounds.propagation.squared_error_identity` -/
theorem sq_error_decomposition {n : Nat} (error propagated introduced : Fin n → α)
    (split : ∀ i, error i = propagated i + introduced i) :
    normSq error =
      squaredErrorIdentity (normSq propagated) (dot propagated introduced) (normSq introduced) := by
  have e : error = fun i => propagated i + introduced i := funext split
  rw [e, normSq_add, squaredErrorIdentity]

end Ring

section Order

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]

/-- If each error is at most its block's gain times the previous error plus the introduced error,
the last error is at most the chain bound.

Python: `peelverify.bounds.propagation.chain_bound` -/
theorem le_chainBound (steps : List (α × α)) (e : Nat → α) (e0 : α) (start : e 0 ≤ e0)
    (gain_nonneg : ∀ p ∈ steps, 0 ≤ p.1)
    (recurrence : ∀ t (ht : t < steps.length), e (t + 1) ≤ steps[t].1 * e t + steps[t].2) :
    e steps.length ≤ chainBound e0 steps := by
  induction steps generalizing e e0 with
  | nil => exact start
  | cons step rest ih =>
    refine ih (fun t => e (t + 1)) (step.1 * e0 + step.2) ?_
      (fun p hp => gain_nonneg p (List.mem_cons_of_mem _ hp))
      (fun t ht => recurrence (t + 1) (Nat.succ_lt_succ ht))
    have h0 : e 1 ≤ step.1 * e 0 + step.2 := recurrence 0 (Nat.zero_lt_succ _)
    have h1 := mul_le_mul_left (gain_nonneg step List.mem_cons_self) start
    show e 1 ≤ step.1 * e0 + step.2
    clear ih recurrence gain_nonneg
    grind

/-- The chain bound grows with the incoming error, with every gain and with every introduced
error, when none of them is negative.

Python: `peelverify.bounds.propagation.chain_bound` -/
theorem chainBound_mono {e0 e0' : α} (steps steps' : List (α × α)) (start_nonneg : 0 ≤ e0)
    (start_le : e0 ≤ e0') (same_length : steps.length = steps'.length)
    (nonneg : ∀ p ∈ steps, 0 ≤ p.1 ∧ 0 ≤ p.2)
    (step_le : ∀ t (ht : t < steps.length) (ht' : t < steps'.length),
      steps[t].1 ≤ steps'[t].1 ∧ steps[t].2 ≤ steps'[t].2) :
    chainBound e0 steps ≤ chainBound e0' steps' := by
  induction steps generalizing e0 e0' steps' with
  | nil =>
    cases steps' with
    | nil => exact start_le
    | cons => simp at same_length
  | cons p rest ih =>
    cases steps' with
    | nil => simp at same_length
    | cons q rest' =>
      have hp := nonneg p List.mem_cons_self
      have hs : p.1 ≤ q.1 ∧ p.2 ≤ q.2 :=
        step_le 0 (Nat.zero_lt_succ _) (Nat.zero_lt_succ _)
      have h1 := mul_nonneg hp.1 start_nonneg
      have h2 := mul_le_mul hs.1 start_le start_nonneg (Std.le_trans hp.1 hs.1)
      simp only [chainBound]
      refine ih rest' ?_ ?_ (by simpa using same_length)
        (fun r hr => nonneg r (List.mem_cons_of_mem _ hr))
        (fun t ht ht' => step_le (t + 1) (Nat.succ_lt_succ ht) (Nat.succ_lt_succ ht'))
      · clear ih nonneg step_le; grind
      · clear ih nonneg step_le; grind

/-- The chain bound is not negative when no input is.

Python: `peelverify.bounds.propagation.chain_bound` -/
theorem chainBound_nonneg {e0 : α} (steps : List (α × α)) (start_nonneg : 0 ≤ e0)
    (nonneg : ∀ p ∈ steps, 0 ≤ p.1 ∧ 0 ≤ p.2) : 0 ≤ chainBound e0 steps := by
  induction steps generalizing e0 with
  | nil => exact start_nonneg
  | cons p rest ih =>
    have hp := nonneg p List.mem_cons_self
    have h1 := mul_nonneg hp.1 start_nonneg
    refine ih ?_ fun r hr => nonneg r (List.mem_cons_of_mem _ hr)
    clear ih nonneg
    grind

private theorem gainProd_nonneg (steps : List (α × α)) (nonneg : ∀ p ∈ steps, 0 ≤ p.1) :
    0 ≤ gainProd steps := by
  induction steps with
  | nil => unfold gainProd; grind
  | cons p rest ih =>
    exact mul_nonneg (nonneg p List.mem_cons_self)
      (ih fun r hr => nonneg r (List.mem_cons_of_mem _ hr))

/-- No share is negative when no input is.

Python: `peelverify.bounds.propagation.chain_shares` -/
theorem chainShares_nonneg {e0 : α} (steps : List (α × α)) (start_nonneg : 0 ≤ e0)
    (nonneg : ∀ p ∈ steps, 0 ≤ p.1 ∧ 0 ≤ p.2) : ∀ s ∈ chainShares e0 steps, 0 ≤ s := by
  have h : ∀ l : List (α × α), (∀ p ∈ l, 0 ≤ p.1 ∧ 0 ≤ p.2) → ∀ s ∈ deltaShares l, 0 ≤ s := by
    intro l hl
    induction l with
    | nil => intro s hs; simp [deltaShares] at hs
    | cons p rest ih =>
      have hr : ∀ r ∈ rest, 0 ≤ r.1 ∧ 0 ≤ r.2 := fun r hr => hl r (List.mem_cons_of_mem _ hr)
      intro s hs
      simp only [deltaShares, List.mem_cons] at hs
      rcases hs with rfl | hs
      · exact mul_nonneg (hl p List.mem_cons_self).2
          (gainProd_nonneg rest fun r h => (hr r h).1)
      · exact ih hr s hs
  intro s hs
  simp only [chainShares, List.mem_cons] at hs
  rcases hs with rfl | hs
  · exact mul_nonneg start_nonneg (gainProd_nonneg steps fun p hp => (nonneg p hp).1)
  · exact h steps nonneg s hs

/-- With one gain and one introduced error for all blocks, every error is at most the geometric
bound.

Python: `peelverify.bounds.propagation.geometric_bound` -/
theorem le_geometricBound (e : Nat → α) {gain delta : α} (gain_nonneg : 0 ≤ gain)
    (recurrence : ∀ t, e (t + 1) ≤ gain * e t + delta) (blocks : Nat) :
    e blocks ≤ geometricBound (e 0) gain delta blocks := by
  induction blocks with
  | zero => exact Std.le_refl _
  | succ n ih =>
    have h0 := recurrence n
    have h1 := mul_le_mul_left gain_nonneg ih
    simp only [geometricBound]
    clear recurrence
    grind

/-- With a gain below one, the error never exceeds the larger of the incoming error and the
balance level, however many blocks there are.

Python: `peelverify.bounds.propagation.geometric_limit` -/
theorem geometricBound_le_max [DecidableLE α] (e0 : α) {gain delta : α} (gain_nonneg : 0 ≤ gain)
    (gain_lt_one : gain < 1) (blocks : Nat) :
    geometricBound e0 gain delta blocks ≤ geometricLimit e0 gain delta := by
  unfold geometricLimit
  have hb : balanceLevel gain delta = gain * balanceLevel gain delta + delta :=
    balanceLevel_fixed_point (by grind)
  induction blocks with
  | zero => exact le_maxVal_left _ _
  | succ n ih =>
    have h1 := mul_le_mul_left gain_nonneg ih
    have h2 := le_maxVal_right e0 (balanceLevel gain delta)
    have h3 := mul_nonneg (show 0 ≤ 1 - gain by grind)
      (show 0 ≤ maxVal e0 (balanceLevel gain delta) - balanceLevel gain delta by grind)
    simp only [geometricBound]
    clear ih
    grind

end Order

section Examples

example : chainBound (1 / 10 : Rat) [(2, 1 / 3)] = 8 / 15 := by decide +kernel
example : chainBound (1 / 10 : Rat) [] = 1 / 10 := by decide +kernel
example : chainClosedForm (1 : Rat) [(2, 1 / 3), (1 / 2, 1)] = 13 / 6 := by decide +kernel
example : chainShares (1 : Rat) [(2, 1 / 3), (1 / 2, 1)] = [1, 1 / 6, 1] := by decide +kernel
example : gainProd [(2, 1 / 3), (1 / 2, 1)] = (1 : Rat) := by decide +kernel
example : geometricBound (1 : Rat) (1 / 2) 1 3 = 15 / 8 := by decide +kernel
example : balanceLevel (1 / 2 : Rat) 1 = 2 := by decide +kernel
example : geometricLimit 1 (1 / 2 : Rat) 1 = 2 := by decide +kernel
example : telescopeProd (3 : Rat) [2, 1 / 6] = 1 := by decide +kernel
example : squaredErrorIdentity (9 : Rat) 0 16 = 25 := by decide +kernel

private abbrev twoSteps : List (Rat × Rat) := [(2, 1 / 3), (1 / 2, 1)]
private abbrev errors : Nat → Rat := fun t => [1, 2, 2].getD t 0

example : errors 2 ≤ chainBound 1 twoSteps :=
  le_chainBound twoSteps errors 1 (by decide +kernel) (by decide +kernel) (by decide +kernel)
example : 0 ≤ chainBound 1 twoSteps :=
  chainBound_nonneg twoSteps (by decide +kernel) (by decide +kernel)
example : chainBound 1 twoSteps ≤ chainBound 2 [(3, 1 / 3), (1, 1)] :=
  chainBound_mono twoSteps _ (by decide +kernel) (by decide +kernel) rfl (by decide +kernel)
    (by decide +kernel)
example (blocks : Nat) : (1 : Rat) ≤ geometricBound 1 (1 / 2) (1 / 2) blocks :=
  le_geometricBound (fun _ => 1) (by decide +kernel) (fun _ => by grind) blocks
example (blocks : Nat) :
    geometricBound (1 : Rat) (1 / 2) 1 blocks ≤ geometricLimit 1 (1 / 2) 1 :=
  geometricBound_le_max 1 (by decide +kernel) (by decide +kernel) blocks
example : (6 : Rat) = telescopeProd 1 [2, 3] :=
  energy_eq_mul_prod (fun t => [1, 2, 6].getD t (1 : Rat)) [2, 3]
    (by decide +kernel)
    (by decide +kernel)
example : normSq (vec [4, 6] : Fin 2 → Rat) = squaredErrorIdentity 25 9 9 := by
  have h := sq_error_decomposition (vec [4, 6] : Fin 2 → Rat) (vec [4, 3]) (vec [0, 3])
    (by decide +kernel)
  have h1 : normSq (vec [4, 3] : Fin 2 → Rat) = 25 := by decide +kernel
  have h2 : dot (vec [4, 3]) (vec [0, 3] : Fin 2 → Rat) = 9 := by decide +kernel
  have h3 : normSq (vec [0, 3] : Fin 2 → Rat) = 9 := by decide +kernel
  rw [h1, h2, h3] at h
  exact h
example : deltaSum twoSteps = 7 / 6 := by decide +kernel
example : listSum ([1, 2, 1 / 2] : List Rat) = 7 / 2 := by decide +kernel
example : deltaShares twoSteps = [1 / 6, 1] := by decide +kernel
example : chainBound 1 twoSteps = chainClosedForm 1 twoSteps := chainBound_eq_closedForm 1 twoSteps
example : chainBound 1 twoSteps = listSum (chainShares 1 twoSteps) :=
  chainBound_eq_sum_shares 1 twoSteps
example : (chainShares 1 twoSteps).length = 2 + 1 := length_chainShares 1 twoSteps
example : ∀ s ∈ chainShares 1 twoSteps, 0 ≤ s :=
  chainShares_nonneg twoSteps (by decide +kernel) (by decide +kernel)
example : chainBound 1 (twoSteps ++ [(3, 0)]) = chainBound (chainBound 1 twoSteps) [(3, 0)] :=
  chainBound_append 1 twoSteps [(3, 0)]
example : geometricBound (1 : Rat) 2 3 4 = chainBound 1 (List.replicate 4 (2, 3)) :=
  geometricBound_eq_chainBound 1 2 3 4
example : geometricBound (1 : Rat) (1 / 2) 1 5 = (1 / 2) ^ 5 * (1 - 2) + 2 :=
  geometricBound_eq_closedForm 1 (1 / 2) 1 2 (by decide +kernel) 5

end Examples

end PeelVerify
