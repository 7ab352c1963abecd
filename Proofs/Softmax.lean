module

public import Proofs.Exponential
public import Proofs.Vector

/-!
# What is computed with a softmax

Enclosures of the sum of the terms of a softmax, of a mean under its weights, of a change of the
loss and of a divergence, all as they are computed, with rounding.

## Main results

* `raised_terms_error`: the terms of a softmax whose small arguments were raised.
* `weighted_mean_error`, `mean_computed_error`: a mean under computed weights.
* `loss_change_enclosure`, `kl_enclosure`: the change of the loss and the divergence.

## Assumptions

The exponential is an abstract one with base `e`. Roundings obey the stated bounds, which excludes
overflow.

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

/-- The error of a weighted mean relative to the largest value, from the share by which the weights
are off and the relative errors of numerator, sum and quotient.

Python: `peelverify.bounds.exponential.mean_error` -/
def meanError [Field α] (relative inNumerator inTotal unit : α) : α :=
  (2 * relative / (1 - relative) + inNumerator + inTotal + unit * (1 + inNumerator)) / (1 - inTotal)

section
attribute [local instance] Semiring.natCast

/-- The share of the sum of `n` exponentials by which computed terms are off, when each has a
relative error and small ones are raised to a number of exponential at most `above`.

Python: `peelverify.bounds.exponential.terms_error` -/
def termsError [Field α] (n : Nat) (relative above : α) : α :=
  relative + (1 + relative) * ((n : α) * above)
end

end Definitions

section Computed

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]
  [DecidableLE α] {valid : α → Prop} {E : α → α}

/-- The terms of a softmax whose small arguments are raised to `floor`: all of them together are
close, relative to the exact sum, when each is close to the exponential of the raised argument.

Python: `peelverify.bounds.exponential.terms_error` -/
theorem raised_terms_error (exp : IsNatExp valid E) {n : Nat} {x term : Fin n → α}
    {floor relative above : α}
    (x_valid : ∀ i, valid (x i)) (floor_valid : valid floor) (relative_nonneg : 0 ≤ relative)
    (close : ∀ i, absVal (term i - E (maxVal (x i) floor)) ≤ relative * E (maxVal (x i) floor))
    (floor_le : E floor ≤ above) (peak : Fin n) (peak_nonneg : 0 ≤ x peak) :
    (sum fun i => absVal (term i - E (x i))) ≤
      termsError n relative above * sum fun i => E (x i) := by
  have hf := exp.toIsExp.pos _ floor_valid
  have each : ∀ i, absVal (term i - E (x i)) ≤ relative * E (x i) + (1 + relative) * above := by
    intro i
    have h := close i
    have h1 := absVal_sub_le (term i) (E (maxVal (x i) floor)) (E (x i))
    have hx := exp.toIsExp.pos _ (x_valid i)
    have h2 : E (x i) ≤ E (maxVal (x i) floor) ∧ E (maxVal (x i) floor) ≤ E (x i) + above := by
      unfold maxVal
      split
      · have := exp.toIsExp.mono (x_valid i) floor_valid (by assumption)
        grind
      · grind
    rw [absVal_of_nonneg (OrderedAdd.sub_nonneg_iff.mpr h2.1)] at h1
    have h3 := mul_nonneg relative_nonneg
      (show 0 ≤ E (x i) + above - E (maxVal (x i) floor) by grind)
    clear close x_valid
    grind
  have total : 1 ≤ sum fun i => E (x i) := by
    have h1 := le_sum (f := fun i => E (x i))
      (fun i => Std.le_of_lt (exp.toIsExp.pos _ (x_valid i))) peak
    have h2 := exp.one_add_le _ (x_valid peak)
    clear x_valid close each
    grind
  have h := sum_le_sum each
  rw [sum_add, sum_mul_left, sum_const] at h
  have h4 := mul_nonneg (mul_nonneg (natCast_nonneg (α := α) n)
    (Std.le_trans (Std.le_of_lt hf) floor_le))
    (show 0 ≤ 1 + relative by grind)
  have h5 := mul_nonneg h4 (OrderedAdd.sub_nonneg_iff.mpr total)
  unfold termsError
  clear each close x_valid
  grind

private theorem weighted_sum_le {n : Nat} {term value : Fin n → α} {size : α}
    (term_nonneg : ∀ i, 0 ≤ term i) (value_le : ∀ i, absVal (value i) ≤ size) :
    absVal (sum fun i => term i * value i) ≤ size * sum term := by
  refine Std.le_trans (absVal_sum_le _) ?_
  rw [← sum_mul_left]
  refine sum_le_sum fun i => ?_
  rw [absVal_mul, absVal_of_nonneg (term_nonneg i)]
  rw [CommSemiring.mul_comm size]
  exact mul_le_mul_left (term_nonneg i) (value_le i)

private theorem mean_le {n : Nat} {weight value : Fin n → α} {size mean : α}
    (total_pos : 0 < sum weight) (weight_nonneg : ∀ i, 0 ≤ weight i)
    (value_le : ∀ i, absVal (value i) ≤ size)
    (mean_eq : mean * sum weight = sum fun i => weight i * value i) : absVal mean ≤ size := by
  refine le_of_mul_le_mul_left total_pos ?_
  have h := absVal_mul mean (sum weight)
  rw [absVal_of_nonneg (Std.le_of_lt total_pos), mean_eq] at h
  rw [CommSemiring.mul_comm, ← h, CommSemiring.mul_comm]
  exact weighted_sum_le weight_nonneg value_le

/-- A weighted mean with weights that are off by a share `relative` of their sum.

Python: `peelverify.bounds.exponential.mean_error` -/
theorem weighted_mean_error {n : Nat} {weight term value : Fin n → α} {relative size : α}
    (total_pos : 0 < sum weight)
    (close : (sum fun i => absVal (term i - weight i)) ≤ relative * sum weight)
    (weight_nonneg : ∀ i, 0 ≤ weight i) (value_le : ∀ i, absVal (value i) ≤ size)
    {mean : α} (mean_eq : mean * sum weight = sum fun i => weight i * value i) :
    absVal ((sum fun i => term i * value i) - mean * sum term) ≤
      2 * relative * size * sum weight := by
  have hm := mean_le total_pos weight_nonneg value_le mean_eq
  have e : (sum fun i => term i * value i) - mean * sum term =
      sum fun i => (term i - weight i) * (value i - mean) := by
    have h : (sum fun i => (term i - weight i) * (value i - mean)) = sum fun i =>
        (term i * value i - mean * term i) - (weight i * value i - mean * weight i) :=
      sum_congr fun i => by clear close weight_nonneg value_le mean_eq; grind
    rw [h, sum_sub, sum_sub, sum_sub, sum_mul_left, sum_mul_left, ← mean_eq]
    clear close weight_nonneg value_le mean_eq h
    grind
  have h1 := absVal_sum_le fun i => (term i - weight i) * (value i - mean)
  have h2 : (sum fun i => absVal ((term i - weight i) * (value i - mean))) ≤
      sum fun i => absVal (term i - weight i) * (2 * size) := by
    refine sum_le_sum fun i => ?_
    rw [absVal_mul]
    refine mul_le_mul_left (absVal_nonneg _) ?_
    have h3 := absVal_add_le (value i) (-mean)
    rw [absVal_neg, show value i + -mean = value i - mean by grind] at h3
    have h4 := value_le i
    clear value_le weight_nonneg close
    grind
  rw [sum_mul_right] at h2
  have h5 := mul_nonneg
    (OrderedAdd.sub_nonneg_iff.mpr close)
    (show 0 ≤ 2 * size by have := absVal_nonneg mean; grind)
  rw [e]
  clear e value_le weight_nonneg close mean_eq
  grind

private theorem share_of_total {n : Nat} {weight term : Fin n → α} {relative : α}
    (total_pos : 0 < sum weight)
    (close : (sum fun i => absVal (term i - weight i)) ≤ relative * sum weight)
    (relative_lt_one : relative < 1) :
    0 < sum term ∧ 2 * relative * sum weight ≤ 2 * relative / (1 - relative) * sum term := by
  have h := absVal_sum_le fun i => term i - weight i
  rw [sum_sub] at h
  have h1 := neg_le_absVal (sum term - sum weight)
  have h2 : 0 ≤ relative := by
    refine le_of_mul_le_mul_left total_pos ?_
    have := sum_nonneg fun i => absVal_nonneg (term i - weight i)
    grind
  have h3 : (1 - relative) * sum weight ≤ sum term := by grind
  have h0 := OrderedAdd.sub_pos_iff.mpr relative_lt_one
  have h4 := OrderedRing.mul_pos h0 total_pos
  refine ⟨Std.lt_of_lt_of_le h4 h3, ?_⟩
  have h5 := mul_le_mul_left (c := 2 * relative / (1 - relative))
    (le_div_of_mul_le h0 (by grind)) h3
  have e : 2 * relative / (1 - relative) * ((1 - relative) * sum weight) =
      2 * relative * sum weight := by grind
  rwa [e] at h5

private theorem quotient_error {weighted terms mean size share numerator total quotient a b u : α}
    (terms_pos : 0 < terms) (mean_le : absVal mean ≤ size)
    (weighted_le : absVal weighted ≤ size * terms)
    (weighted_close : absVal (weighted - mean * terms) ≤ size * (share * terms))
    (numerator_close : absVal (numerator - weighted) ≤ a * (size * terms))
    (total_close : absVal (total - terms) ≤ b * terms) (b_lt_one : b < 1) (u_nonneg : 0 ≤ u)
    (rounded : absVal (quotient * total - numerator) ≤ u * absVal numerator) :
    absVal (quotient - mean) ≤ size * ((share + a + b + u * (1 + a)) / (1 - b)) := by
  have hs := Std.le_trans (absVal_nonneg _) mean_le
  have h1 := absVal_le_sub_add numerator weighted
  have h2 := mul_le_mul_left u_nonneg
    (show absVal numerator ≤ (1 + a) * (size * terms) by grind)
  have h3 := mul_le_mul mean_le total_close (absVal_nonneg _) hs
  rw [← absVal_mul] at h3
  have h4 := absVal_add_le (quotient * total - numerator) (numerator - weighted)
  have h5 := absVal_add_le (weighted - mean * terms) (-(mean * (total - terms)))
  rw [absVal_neg] at h5
  have h6 := absVal_add_le (quotient * total - numerator + (numerator - weighted))
    (weighted - mean * terms + -(mean * (total - terms)))
  rw [show quotient * total - numerator + (numerator - weighted) +
    (weighted - mean * terms + -(mean * (total - terms))) = (quotient - mean) * total by grind,
    absVal_mul] at h6
  have hb := OrderedAdd.sub_pos_iff.mpr b_lt_one
  have h7 := OrderedRing.mul_pos hb terms_pos
  have h8 := absVal_le_iff.mp total_close
  rw [absVal_of_nonneg (show 0 ≤ total by grind)] at h6
  have h9 := mul_le_mul_left (absVal_nonneg (quotient - mean))
    (show (1 - b) * terms ≤ total by grind)
  rw [show size * ((share + a + b + u * (1 + a)) / (1 - b)) =
    size * (share + a + b + u * (1 + a)) / (1 - b) by grind]
  refine le_div_of_mul_le hb (le_of_mul_le_mul_left terms_pos ?_)
  grind

/-- A mean under computed weights, from a computed numerator, a computed sum and a rounded
quotient.

Python: `peelverify.bounds.exponential.mean_error` -/
theorem mean_computed_error {n : Nat} {weight term value : Fin n → α}
    {relative size numerator total quotient inNumerator inTotal unit : α}
    (total_pos : 0 < sum weight) (term_nonneg : ∀ i, 0 ≤ term i)
    (close : (sum fun i => absVal (term i - weight i)) ≤ relative * sum weight)
    (relative_lt_one : relative < 1) (weight_nonneg : ∀ i, 0 ≤ weight i)
    (value_le : ∀ i, absVal (value i) ≤ size)
    {mean : α} (mean_eq : mean * sum weight = sum fun i => weight i * value i)
    (inTotal_lt_one : inTotal < 1) (unit_nonneg : 0 ≤ unit)
    (numerator_close :
      absVal (numerator - sum fun i => term i * value i) ≤ inNumerator * (size * sum term))
    (total_close : absVal (total - sum term) ≤ inTotal * sum term)
    (rounded : absVal (quotient * total - numerator) ≤ unit * absVal numerator) :
    absVal (quotient - mean) ≤ size * meanError relative inNumerator inTotal unit := by
  have hm := mean_le total_pos weight_nonneg value_le mean_eq
  have h1 := weighted_mean_error total_pos close weight_nonneg value_le mean_eq
  have h2 := share_of_total total_pos close relative_lt_one
  have h3 := mul_le_mul_left (Std.le_trans (absVal_nonneg _) hm) h2.2
  refine quotient_error h2.1 hm (weighted_sum_le term_nonneg value_le) ?_ numerator_close
    total_close inTotal_lt_one unit_nonneg rounded
  clear close value_le weight_nonneg mean_eq term_nonneg numerator_close
  grind

/-- The logarithm of a sum of exponentials may be computed from arguments minus their peak.

Python: none (supporting lemma) -/
theorem IsExp.map_log_sub (exp : IsExp valid E) {n : Nat} {x : Fin n → α} {log peak : α}
    (x_valid : ∀ i, valid (x i)) (log_valid : valid log) (peak_valid : valid peak)
    (log_eq : E log = sum fun i => E (x i)) :
    E (log - peak) = sum fun i => E (x i - peak) := by
  have hn := exp.valid_neg peak peak_valid
  have h : ∀ a, valid a → E (a - peak) = E (-peak) * E a := by
    intro a ha
    rw [← exp.map_add _ _ hn ha]
    congr 1
    grind
  rw [h log log_valid, log_eq, ← sum_mul_left]
  exact sum_congr fun i => (h _ (x_valid i)).symm

/-- The change of the loss of a target, from guesses of both logarithms and a computed shift.

Python: `peelverify.bounds.exponential.change_error` -/
theorem loss_change_enclosure {log log' guess guess' peak peak' before after computed error error'
    rounding : α} (log_close : absVal (log - peak - guess) ≤ error)
    (log'_close : absVal (log' - peak' - guess') ≤ error')
    (rounded : absVal (computed - ((peak' - peak) + (guess' - guess) - (after - before))) ≤
      rounding) :
    absVal (computed - ((log' - after) - (log - before))) ≤ error + error' + rounding := by
  rw [absVal_le_iff] at *
  grind

/-- The divergence of the changed distribution from the original one, from guesses of both
logarithms and of the mean change under the original distribution.

Python: `peelverify.bounds.exponential.change_error` -/
theorem kl_enclosure {n : Nat} {prob logits changed : Fin n → α} {log log' guess guess' peak peak'
    computed mean error error' inMean rounding : α} (prob_sum : sum prob = 1)
    (log_close : absVal (log - peak - guess) ≤ error)
    (log'_close : absVal (log' - peak' - guess') ≤ error')
    (mean_close : absVal (mean - sum fun i => prob i * (changed i - logits i)) ≤ inMean)
    (rounded : absVal (computed - ((peak' - peak) + (guess' - guess) - mean)) ≤ rounding) :
    absVal (computed - sum fun i => prob i * ((logits i - log) - (changed i - log'))) ≤
      error + error' + inMean + rounding := by
  have h : (sum fun i => prob i * ((logits i - log) - (changed i - log'))) =
      (log' - log) - sum fun i => prob i * (changed i - logits i) := by
    have e : (sum fun i => prob i * ((logits i - log) - (changed i - log'))) = sum fun i =>
        prob i * (log' - log) - prob i * (changed i - logits i) := sum_congr fun i => by grind
    rw [e, sum_sub, sum_mul_right, prob_sum]
    grind
  rw [h]
  clear h
  rw [absVal_le_iff] at *
  grind

end Computed

section Examples

private abbrev grid : Rat → Rat := gridExp (1 / 64)
private abbrev onGrid (a : Rat) : Prop := ∃ k : Int, a = k * (1 / 64)

private theorem isNatExp : IsNatExp onGrid grid := isNatExp_grid (by decide +kernel)

private abbrev arguments : Fin 2 → Rat := vec [0, -(1 / 16)]

private theorem arguments_valid : ∀ i, onGrid (arguments i) := by
  intro i; exact ⟨(arguments i * 64).num, by revert i; decide +kernel⟩

example : (sum fun i => absVal ((vec [1, 1] : Fin 2 → Rat) i - grid (arguments i))) ≤
    termsError 2 (1 / 16) 1 * sum fun i => grid (arguments i) :=
  raised_terms_error (floor := -(1 / 32)) isNatExp arguments_valid ⟨-2, by decide +kernel⟩
    (by decide +kernel) (by decide +kernel) (by decide +kernel) 0 (by decide +kernel)
private abbrev shares : Fin 2 → Rat := vec [3 / 4, 1 / 4]
private abbrev computedShares : Fin 2 → Rat := vec [5 / 8, 1 / 4]
private abbrev changes : Fin 2 → Rat := vec [1, -1]

example : absVal ((sum fun i => computedShares i * changes i) - 1 / 2 * sum computedShares) ≤
    2 * (1 / 8) * 1 * sum shares :=
  weighted_mean_error (by decide +kernel) (by decide +kernel) (by decide +kernel)
    (by decide +kernel) (by decide +kernel)
example : absVal (2 / 5 - 1 / 2 : Rat) ≤ 1 * meanError (1 / 8) 0 (1 / 4) (1 / 4) :=
  mean_computed_error (weight := shares) (term := computedShares) (value := changes)
    (numerator := 3 / 8) (total := 1) (by decide +kernel) (by decide +kernel) (by decide +kernel)
    (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
    (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
    (by decide +kernel)

example : grid (1 / 32 - 1 / 64) = sum fun i => grid ((vec [1 / 32] : Fin 1 → Rat) i - 1 / 64) :=
  IsExp.map_log_sub (E := grid) isNatExp.toIsExp
    (fun i => ⟨2, by revert i; decide +kernel⟩) ⟨2, by decide +kernel⟩ ⟨1, by decide +kernel⟩
    (by decide +kernel)
example : absVal (1 / 8 - ((3 - 1) - (2 - 1 / 4)) : Rat) ≤ 1 / 4 + 1 / 4 + 1 / 8 :=
  loss_change_enclosure (guess := 1) (guess' := 2) (peak := 1) (peak' := 1) (by decide +kernel)
    (by decide +kernel) (by decide +kernel)
example : absVal (1 / 4 - sum fun i => shares i * ((0 - 0) - (changes i - 1))) ≤
    (0 : Rat) + 0 + 1 / 4 + 0 :=
  kl_enclosure (logits := fun _ => 0) (log := 0) (log' := 1) (guess := 0) (guess' := 1) (peak := 0)
    (peak' := 0) (mean := 3 / 4) (by decide +kernel) (by decide +kernel) (by decide +kernel)
    (by decide +kernel) (by decide +kernel)

end Examples

end PeelVerify
