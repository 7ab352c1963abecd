module

public import Proofs.Matrix

/-!
# Norms, attention and gates

Bounds on the inputs of linear layers that hold for every input text: after a normalisation, as a
mixture of values by attention weights, and as a product of gate and value.

## Main results

* `rmsNorm_radius`, `layerNorm_radius`: the length of a normalised vector.
* `every_input_error`: what a compressed layer behind a normalisation can change, scales folded in.
* `attention_norm_le`, `attention_error_le`, `attention_weight_error_le`: mixtures.
* `gated_norm_le`, `gated_error_le`: gated products.

## Assumptions

The statements are about exact normalisation and exact products. Attention weights are not
negative and their sum is bounded; activations obey `|act z| ≤ |z|` and a Lipschitz bound.

## References

None.
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

/-- Entries scaled one by one.

Python: none (a product of two arrays) -/
def scaled {n : Nat} (scale x : Fin n → α) : Fin n → α := fun i => scale i * x i

/-- A matrix with the scales of its inputs folded into its columns.

Python: `peelverify.bounds.activations.fold_scale` -/
def foldScale {m n : Nat} (W : Fin m → Fin n → α) (scale : Fin n → α) : Fin m → Fin n → α :=
  fun i j => W i j * scale j

/-- The mixture of values by attention weights.

Python: `peelverify.bounds.activations.mixture` -/
def mixture {k n : Nat} (weight : Fin k → α) (value : Fin k → Fin n → α) : Fin n → α :=
  fun i => sum fun s => weight s * value s i

/-- The mean of the entries of a vector.

Python: none (the built-in `sum`) -/
def mean {n : Nat} (x : Fin n → α) : α := sum x / (n : α)

end Definitions

section Norms

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]

/-- Scaling each entry by at most `g` scales a norm bound by `g`.

Python: `peelverify.bounds.vector.norm2_smul_upper` -/
theorem scaled_norm_le [DecidableLE α] {n : Nat} {scale x : Fin n → α} {g c : α}
    (scale_le : ∀ i, absVal (scale i) ≤ g) (g_nonneg : 0 ≤ g) (hx : Norm2Le x c) :
    Norm2Le (scaled scale x) (g * c) := by
  refine ⟨mul_nonneg g_nonneg hx.1, ?_⟩
  have h1 : normSq (scaled scale x) ≤ sum fun i => g * g * (x i * x i) := by
    refine sum_le_sum fun i => ?_
    have h := mul_self_le_mul_self (absVal_nonneg _) (scale_le i)
    rw [absVal_mul_self] at h
    have h2 := mul_le_mul h (Std.le_refl (x i * x i)) (mul_self_nonneg (x i)) (mul_self_nonneg g)
    unfold scaled
    clear scale_le
    grind
  rw [sum_mul_left] at h1
  have h2 := mul_le_mul_left (mul_self_nonneg g) hx.2
  have e : g * g * normSq x = g * g * sum fun i => x i * x i := rfl
  rw [← e] at h1
  clear scale_le e
  grind

/-- Dividing a vector by at least the root of its mean square leaves a squared norm of at most its
dimension; `inverse` is the inverse of the divisor `rms`.

Python: `peelverify.bounds.activations.norm_radius_sq` -/
theorem rmsNorm_radius_sq {n : Nat} {x : Fin n → α} {inverse rms : α}
    (is_inverse : inverse * rms = 1)
    (mean_square_le : normSq x ≤ rms * rms * (n : α)) :
    normSq (fun i => inverse * x i) ≤ (n : α) := by
  rw [normSq_smul]
  have h := mul_le_mul_left (mul_self_nonneg inverse) mean_square_le
  have e : inverse * inverse * (rms * rms * (n : α)) = (n : α) := by
    have : inverse * inverse * (rms * rms * (n : α)) =
        inverse * rms * (inverse * rms) * (n : α) := by grind
    rw [this, is_inverse]
    grind
  rw [e] at h
  exact h

/-- After an RMS norm with scales of at most `g`, a vector is no longer than `g` times every
`root` whose square is at least the dimension.

Python: `peelverify.bounds.activations.norm_radius_sq` -/
theorem rmsNorm_radius [DecidableLE α] {n : Nat} {x scale : Fin n → α} {inverse rms g root : α}
    (is_inverse : inverse * rms = 1) (mean_square_le : normSq x ≤ rms * rms * (n : α))
    (scale_le : ∀ i, absVal (scale i) ≤ g) (g_nonneg : 0 ≤ g) (root_nonneg : 0 ≤ root)
    (le_root_sq : (n : α) ≤ root * root) :
    Norm2Le (scaled scale fun i => inverse * x i) (g * root) :=
  scaled_norm_le scale_le g_nonneg
    ⟨root_nonneg, Std.le_trans (rmsNorm_radius_sq is_inverse mean_square_le) le_root_sq⟩

/-- Subtracting the mean never makes a vector longer.

Python: none (supporting lemma) -/
theorem centered_normSq_le {n : Nat} (x : Fin n → α) :
    normSq (fun i => x i - mean x) ≤ normSq x := by
  cases n with
  | zero => exact Std.le_refl _
  | succ k =>
    have hn : 0 < ((k + 1 : Nat) : α) := by
      have h1 := natCast_nonneg (α := α) k
      have h2 := mul_self_nonneg (1 : α)
      rw [natCast_succ]
      grind
    have hm : ((k + 1 : Nat) : α) * mean x = sum x := by
      unfold mean
      grind
    have hd : dot x (fun _ => mean x) = mean x * sum x := by
      unfold dot
      rw [sum_mul_right]
      grind
    have hc : normSq (fun _ : Fin (k + 1) => mean x) = mean x * sum x := by
      unfold normSq dot
      rw [sum_const, ← hm]
      grind
    have h := normSq_sub x fun _ => mean x
    rw [hd, hc] at h
    have h3 : 0 ≤ mean x * sum x := by
      rw [← hm]
      have := mul_nonneg (show 0 ≤ ((k + 1 : Nat) : α) by grind) (mul_self_nonneg (mean x))
      grind
    rw [h]
    grind

/-- After a layer norm with scales of at most `g` and a bias of length at most `b`, a vector is no
longer than `g` times every `root` whose square is at least the dimension, plus `b`.

Python: `peelverify.bounds.activations.layer_norm_radius` -/
theorem layerNorm_radius [DecidableLE α] {n : Nat} {x scale bias : Fin n → α}
    {inverse deviation g root b : α} (is_inverse : inverse * deviation = 1)
    (variance_le : normSq (fun i => x i - mean x) ≤ deviation * deviation * (n : α))
    (scale_le : ∀ i, absVal (scale i) ≤ g) (g_nonneg : 0 ≤ g) (root_nonneg : 0 ≤ root)
    (le_root_sq : (n : α) ≤ root * root) (bias_le : Norm2Le bias b) :
    Norm2Le (fun i => scaled scale (fun i => inverse * (x i - mean x)) i + bias i)
      (g * root + b) :=
  (rmsNorm_radius (x := fun i => x i - mean x) is_inverse variance_le scale_le g_nonneg root_nonneg
    le_root_sq).add bias_le

/-- Scaling the input is the same as folding the scales into the matrix.

Python: `peelverify.bounds.activations.fold_scale` -/
theorem mulVec_foldScale {m n : Nat} (W : Fin m → Fin n → α) (scale z : Fin n → α) :
    mulVec (foldScale W scale) z = mulVec W (scaled scale z) :=
  funext fun i => sum_congr fun j => by unfold foldScale scaled; grind

/-- A layer behind a normalisation, compressed together with its scales: for every input of length
at most `radius` before the scales, the output changes by at most the operator norm of the
difference of the folded matrices times `radius`.

Python: `peelverify.bounds.activations.every_input_upper` -/
theorem every_input_error {m n : Nat} {W W' : Fin m → Fin n → α} {scale scale' z : Fin n → α}
    {c radius : α} (folded_close : OpNorm2Le
      (fun i j => foldScale W' scale' i j - foldScale W scale i j) c)
    (length_le : Norm2Le z radius) :
    Norm2Le (fun i => mulVec W' (scaled scale' z) i - mulVec W (scaled scale z) i)
      (c * radius) := by
  have h := folded_close.norm2Le_mulVec length_le
  rw [sub_mulVec, mulVec_foldScale, mulVec_foldScale] at h
  exact h

end Norms

section Attention

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]
  [DecidableLE α]

private theorem mixture_abs_le {k n : Nat} {weight : Fin k → α} {value : Fin k → Fin n → α} {c : α}
    (value_le : ∀ s, Norm2Le (value s) c) :
    Norm2Le (mixture weight value) ((sum fun s => absVal (weight s)) * c) := by
  have h := Norm2Le.sum fun s => (value_le s).smul (weight s)
  rw [sum_mul_right] at h
  exact h

/-- A mixture with weights that are not negative and sum to at most `total` is no longer than
`total` times the longest value; exact attention has `total = 1`.

Python: `peelverify.bounds.activations.mixture_upper` -/
theorem attention_norm_le {k n : Nat} {weight : Fin k → α} {value : Fin k → Fin n → α}
    {total c : α} (weight_nonneg : ∀ s, 0 ≤ weight s) (weight_sum : sum weight ≤ total)
    (c_nonneg : 0 ≤ c) (value_le : ∀ s, Norm2Le (value s) c) :
    Norm2Le (mixture weight value) (total * c) := by
  have h := mixture_abs_le (weight := weight) value_le
  have e : (sum fun s => absVal (weight s)) = sum weight :=
    sum_congr fun s => absVal_of_nonneg (weight_nonneg s)
  rw [e] at h
  refine h.mono ?_
  have := mul_nonneg c_nonneg (show 0 ≤ total - sum weight by grind)
  clear weight_nonneg value_le
  grind

/-- With the same attention weights, the mixture changes by at most the largest change of a value.

Python: `peelverify.bounds.activations.mixture_upper` -/
theorem attention_error_le {k n : Nat} {weight : Fin k → α} {value value' : Fin k → Fin n → α}
    {total eps : α} (weight_nonneg : ∀ s, 0 ≤ weight s) (weight_sum : sum weight ≤ total)
    (eps_nonneg : 0 ≤ eps) (value_close : ∀ s, Norm2Le (fun i => value' s i - value s i) eps) :
    Norm2Le (fun i => mixture weight value' i - mixture weight value i) (total * eps) := by
  have h := attention_norm_le weight_nonneg weight_sum eps_nonneg value_close
  have e : mixture weight (fun s i => value' s i - value s i) =
      fun i => mixture weight value' i - mixture weight value i := by
    funext i
    unfold mixture
    rw [← sum_sub]
    exact sum_congr fun s => by grind
  rw [e] at h
  exact h

/-- With other attention weights, the mixture changes by at most the sum of the absolute changes
of the weights times the longest value.

Python: `peelverify.bounds.activations.mixture_upper` -/
theorem attention_weight_error_le {k n : Nat} {weight weight' : Fin k → α}
    {value : Fin k → Fin n → α} {c : α} (value_le : ∀ s, Norm2Le (value s) c) :
    Norm2Le (fun i => mixture weight' value i - mixture weight value i)
      ((sum fun s => absVal (weight' s - weight s)) * c) := by
  have h := mixture_abs_le (weight := fun s => weight' s - weight s) value_le
  have e : mixture (fun s => weight' s - weight s) value =
      fun i => mixture weight' value i - mixture weight value i := by
    funext i
    unfold mixture
    rw [← sum_sub]
    exact sum_congr fun s => by grind
  rw [e] at h
  exact h

end Attention

section Gates

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]
  [DecidableLE α]

/-- A gated product is no longer than the largest gate input times the length of the value, for
every activation with `|act z| ≤ |z|`.

Python: `peelverify.bounds.activations.gated_upper` -/
theorem gated_norm_le {n : Nat} {act : α → α} {gate value : Fin n → α} {m c : α}
    (act_le : ∀ z, absVal (act z) ≤ absVal z) (gate_le : ∀ i, absVal (gate i) ≤ m)
    (m_nonneg : 0 ≤ m) (value_le : Norm2Le value c) :
    Norm2Le (fun i => act (gate i) * value i) (m * c) :=
  scaled_norm_le (scale := fun i => act (gate i))
    (fun i => Std.le_trans (act_le (gate i)) (gate_le i)) m_nonneg value_le

/-- When gate and value both change, a gated product changes by at most the largest new gate input
times the change of the value, plus the Lipschitz bound of the activation times the largest value
times the change of the gate.

Python: `peelverify.bounds.activations.gated_error_upper` -/
theorem gated_error_le {n : Nat} {act : α → α} {gate gate' value value' : Fin n → α}
    {m lipschitz largest eGate eValue : α} (act_le : ∀ z, absVal (act z) ≤ absVal z)
    (act_lipschitz : ∀ y z, absVal (act y - act z) ≤ lipschitz * absVal (y - z))
    (lipschitz_nonneg : 0 ≤ lipschitz) (gate_le : ∀ i, absVal (gate' i) ≤ m) (m_nonneg : 0 ≤ m)
    (value_le : ∀ i, absVal (value i) ≤ largest) (largest_nonneg : 0 ≤ largest)
    (gate_close : Norm2Le (fun i => gate' i - gate i) eGate)
    (value_close : Norm2Le (fun i => value' i - value i) eValue) :
    Norm2Le (fun i => act (gate' i) * value' i - act (gate i) * value i)
      (m * eValue + largest * (lipschitz * eGate)) := by
  have h1 := gated_norm_le act_le gate_le m_nonneg value_close
  have h2 : Norm2Le (fun i => act (gate' i) - act (gate i)) (lipschitz * eGate) := by
    refine ⟨mul_nonneg lipschitz_nonneg gate_close.1, ?_⟩
    have h : normSq (fun i => act (gate' i) - act (gate i)) ≤
        normSq fun i => lipschitz * (gate' i - gate i) := by
      refine sum_le_sum fun i => ?_
      have h := mul_self_le_mul_self (absVal_nonneg _) (act_lipschitz (gate' i) (gate i))
      rw [absVal_mul_self] at h
      have e := absVal_mul_self (gate' i - gate i)
      have e2 : lipschitz * absVal (gate' i - gate i) * (lipschitz * absVal (gate' i - gate i)) =
          lipschitz * (gate' i - gate i) * (lipschitz * (gate' i - gate i)) := by
        have e3 : lipschitz * absVal (gate' i - gate i) * (lipschitz * absVal (gate' i - gate i)) =
            lipschitz * lipschitz * (absVal (gate' i - gate i) * absVal (gate' i - gate i)) := by
          grind only
        rw [e3, e]
        grind only
      rw [e2] at h
      exact h
    rw [normSq_smul] at h
    have h3 := mul_le_mul_left (mul_self_nonneg lipschitz) gate_close.2
    clear act_lipschitz act_le gate_le value_le h1
    grind
  have h3 := scaled_norm_le value_le largest_nonneg h2
  have h4 := h1.add h3
  have e : (fun i => act (gate' i) * (value' i - value i) +
      scaled value (fun i => act (gate' i) - act (gate i)) i) =
      fun i => act (gate' i) * value' i - act (gate i) * value i := by
    funext i
    unfold scaled
    grind
  rw [e] at h4
  exact h4

end Gates

section Examples

private abbrev two : Fin 2 → Rat := vec [3, 4]
private abbrev level : Fin 2 → Rat := vec [3, 3]

example : ∀ i j, foldScale (mat [[1, 2]] : Fin 1 → Fin 2 → Rat) (vec [3, 4]) i j =
    (mat [[3, 8]] : Fin 1 → Fin 2 → Rat) i j := by decide +kernel
example : ∀ i, mixture (vec [1 / 2, 1 / 2]) (mat [[2, 0], [0, 4]] : Fin 2 → Fin 2 → Rat) i =
    (vec [1, 2] : Fin 2 → Rat) i := by decide +kernel
example : mean two = 7 / 2 := by decide +kernel
example : ∀ i, scaled two (vec [2, 1]) i = (vec [6, 4] : Fin 2 → Rat) i := by decide +kernel
example : normSq (fun i => two i - mean two) ≤ normSq two := centered_normSq_le two
example : Norm2Le (scaled (vec [1, -2]) fun i => 1 / 4 * two i) (2 * (3 / 2)) :=
  rmsNorm_radius (x := two) (scale := vec [1, -2]) (inverse := 1 / 4) (rms := 4)
    (by decide +kernel) (by decide +kernel) (by decide +kernel)
    (by decide +kernel) (by decide +kernel) (by decide +kernel)
example : Norm2Le (fun i =>
    scaled (vec [1, -2]) (fun i => 2 * (two i - mean two)) i + (vec [3, 4] : Fin 2 → Rat) i)
    (2 * (3 / 2) + 5) :=
  layerNorm_radius (x := two) (scale := vec [1, -2]) (bias := vec [3, 4]) (inverse := 2)
    (deviation := 1 / 2) (by decide +kernel) (by decide +kernel)
    (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
    (by unfold Norm2Le; decide +kernel)
example (z : Fin 2 → Rat) (hz : Norm2Le z 2) :
    Norm2Le (fun i => mulVec (mat [[1, 2]]) (scaled (vec [1, 1]) z) i -
      mulVec (mat [[1, 1]] : Fin 1 → Fin 2 → Rat) (scaled (vec [1, 1]) z) i) (1 * 2) :=
  every_input_error (OpNorm2Le.of_frob (by unfold FrobLe; decide +kernel)) hz
example : Norm2Le (mixture (vec [1 / 2, 1 / 2]) (mat [[3, 4], [0, 5]] : Fin 2 → Fin 2 → Rat))
    (1 * 5) :=
  attention_norm_le (by decide +kernel) (by decide +kernel) (by decide +kernel)
    (by unfold Norm2Le; decide +kernel)
example : Norm2Le (fun i => id (two i) * two i) (4 * 5) :=
  gated_norm_le (act := id) (gate := two) (value := two)
    (fun _ => Std.le_refl _) (by decide +kernel) (by decide +kernel)
    (by unfold Norm2Le; decide +kernel)
example : Norm2Le (fun i => id (two i) * two i - id (level i) * two i)
    (4 * 0 + 4 * (1 * 1)) :=
  gated_error_le (act := id) (gate := level) (gate' := two) (value := two) (value' := two)
    (fun _ => Std.le_refl _) (fun y z => by unfold id; grind) (by decide +kernel)
    (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
    (by unfold Norm2Le; decide +kernel) (by unfold Norm2Le; decide +kernel)
example : Norm2Le (scaled (vec [1, -2]) two) (2 * 5) :=
  scaled_norm_le (by decide +kernel) (by decide +kernel) (by unfold Norm2Le; decide +kernel)
example : normSq (fun i => 1 / 4 * two i) ≤ 2 :=
  rmsNorm_radius_sq (rms := 4) (by decide +kernel) (by decide +kernel)
example (z : Fin 2 → Rat) : mulVec (foldScale (mat [[1, 2]] : Fin 1 → Fin 2 → Rat) two) z =
    mulVec (mat [[1, 2]]) (scaled two z) := mulVec_foldScale _ two z
example : Norm2Le (fun i =>
    mixture (vec [1 / 2, 1 / 2]) (mat [[3, 4], [0, 5]] : Fin 2 → Fin 2 → Rat) i -
    mixture (vec [1 / 2, 1 / 2]) (mat [[3, 4], [0, 4]] : Fin 2 → Fin 2 → Rat) i) (1 * 1) :=
  attention_error_le (weight := vec [1 / 2, 1 / 2]) (value := mat [[3, 4], [0, 4]])
    (value' := mat [[3, 4], [0, 5]]) (by decide +kernel) (by decide +kernel) (by decide +kernel)
    (by unfold Norm2Le; decide +kernel)
example : Norm2Le (fun i => mixture (vec [1, 0]) (mat [[3, 4], [0, 5]] : Fin 2 → Fin 2 → Rat) i -
    mixture (vec [1 / 2, 1 / 2]) (mat [[3, 4], [0, 5]] : Fin 2 → Fin 2 → Rat) i)
    ((sum fun s => absVal ((vec [1, 0] : Fin 2 → Rat) s - (vec [1 / 2, 1 / 2] : Fin 2 → Rat) s)) *
      5) :=
  attention_weight_error_le (weight := vec [1 / 2, 1 / 2]) (weight' := vec [1, 0])
    (value := mat [[3, 4], [0, 5]]) (by unfold Norm2Le; decide +kernel)

end Examples

end PeelVerify
