module

public import Proofs.Activations
public import Proofs.Compression
public import Proofs.Logits

/-!
# Whole blocks, for every input

How much the output of one transformer block can change when its weights change, whatever the
input is: from bounds on the weights alone. A normalisation gives every input the same radius, so
each part of the block sees bounded vectors.

## Main results

* `heads_error_le`: the output of attention, with any change of the attention weights.
* `weight_change_le_two`, `weight_change_le`, `softmax_change_le`: how far attention weights can
  move, in general and when the scores change by a bounded amount.
* `score_error_le`: the change of a score when query and key both change.
* `gatedMlp_error_le`, `mlp_error_le`: the two kinds of feed-forward layers.
* `rmsNorm_lipschitz`, `centered_lipschitz`: how a normalisation carries an error on.
* `sequential_block_error_le`, `parallel_block_error_le`: the whole block.

## Assumptions

A linearly ordered field. The statements are about exact arithmetic on the given weights, not about
an executed forward pass. Activations enter by `|act z| ≤ |z|` and a Lipschitz bound.

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

/-- The output of attention at one position: each head mixes its values, and its own output matrix
maps the mixture back.

Python: none (the forward pass of a model) -/
def attentionOutput {H k n h : Nat} (O : Fin H → Fin n → Fin h → α) (weight : Fin H → Fin k → α)
    (value : Fin H → Fin k → Fin h → α) : Fin n → α :=
  fun i => sum fun s => mulVec (O s) (mixture (weight s) (value s)) i

/-- The output matrices of all heads together make no list of mixtures longer than `c` times its
length; as one matrix with the heads side by side, `c` bounds its operator norm.

Python: none (the operator norm of the output projection) -/
def JointNorm2Le [LE α] {H n h : Nat} (O : Fin H → Fin n → Fin h → α) (c : α) : Prop :=
  0 ≤ c ∧ ∀ m : Fin H → Fin h → α,
    normSq (fun i => sum fun s => mulVec (O s) (m s) i) ≤ c * c * frobSq m

/-- A feed-forward layer with a gate: `D (act (G z + g) * (U z + u)) + d`.

Python: none (the forward pass of a model) -/
def gatedMlp {n f m : Nat} (act : α → α) (D : Fin m → Fin f → α) (G U : Fin f → Fin n → α)
    (g u : Fin f → α) (d : Fin m → α) (z : Fin n → α) : Fin m → α :=
  fun i => mulVec D (fun j => act (mulVec G z j + g j) * (mulVec U z j + u j)) i + d i

/-- A feed-forward layer without a gate: `D act(U z + u) + d`.

Python: none (the forward pass of a model) -/
def plainMlp {n f m : Nat} (act : α → α) (D : Fin m → Fin f → α) (U : Fin f → Fin n → α)
    (u : Fin f → α) (d : Fin m → α) (z : Fin n → α) : Fin m → α :=
  fun i => mulVec D (fun j => act (mulVec U z j + u j)) i + d i

/-- A block that runs attention and the feed-forward layer one after the other, seen at one
position of the input `x`.

Python: none (the forward pass of a model) -/
def sequentialBlock {k n : Nat} (attention : (Fin k → Fin n → α) → Fin n → α)
    (norm mlp : (Fin n → α) → Fin n → α) (position : Fin k) (x : Fin k → Fin n → α) :
    Fin n → α :=
  fun i => x position i + attention x i +
    mlp (norm fun j => x position j + attention x j) i

/-- A block that runs attention and the feed-forward layer side by side.

Python: none (the forward pass of a model) -/
def parallelBlock {k n : Nat} (attention : (Fin k → Fin n → α) → Fin n → α)
    (norm mlp : (Fin n → α) → Fin n → α) (position : Fin k) (x : Fin k → Fin n → α) :
    Fin n → α :=
  fun i => x position i + attention x i + mlp (norm (x position)) i

end Definitions

section Affine

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]

private theorem mul_pos {a b : α} (ha : 0 < a) (hb : 0 < b) : 0 < a * b := by
  have h := mul_nonneg (show 0 ≤ a by grind) (show 0 ≤ b by grind)
  have h1 : a ≠ 0 := by grind
  have h2 : b ≠ 0 := by grind
  have h3 : a * b ≠ 0 := by grind
  grind

/-- A matrix with a bias makes a vector of length at most `radius` no longer than its operator norm
times `radius` plus the length of the bias.

Python: `peelverify.bounds.universal.affine_upper` -/
theorem affine_norm_le {m n : Nat} {A : Fin m → Fin n → α} {b : Fin m → α} {z : Fin n → α}
    {norm radius bias : α} (norm_le : OpNorm2Le A norm) (length_le : Norm2Le z radius)
    (bias_le : Norm2Le b bias) :
    Norm2Le (fun i => mulVec A z i + b i) (norm * radius + bias) :=
  (norm_le.norm2Le_mulVec length_le).add bias_le

/-- When matrix, bias and input all change, the output changes by at most the norm of the change
times the length of the new input, plus the norm of the matrix times the change of the input, plus
the change of the bias.

Python: `peelverify.bounds.universal.affine_error_upper` -/
theorem affine_error_le {m n : Nat} {A A' : Fin m → Fin n → α} {b b' : Fin m → α}
    {z z' : Fin n → α} {norm change radius shift bias : α} (norm_le : OpNorm2Le A norm)
    (change_le : OpNorm2Le (fun i j => A' i j - A i j) change) (length_le : Norm2Le z' radius)
    (shift_le : Norm2Le (fun j => z' j - z j) shift)
    (bias_le : Norm2Le (fun i => b' i - b i) bias) :
    Norm2Le (fun i => (mulVec A' z' i + b' i) - (mulVec A z i + b i))
      (change * radius + norm * shift + bias) := by
  have h1 := change_le.norm2Le_mulVec length_le
  have h2 := norm_le.norm2Le_mulVec shift_le
  rw [sub_mulVec] at h1
  rw [mulVec_sub] at h2
  have h := (h1.add h2).add bias_le
  have e : (fun i => (mulVec A' z' i + b' i) - (mulVec A z i + b i)) = fun i =>
      (mulVec A' z' i - mulVec A z' i) + (mulVec A z' i - mulVec A z i) + (b' i - b i) :=
    funext fun i => by grind
  rw [e]
  exact h

/-- The change of an attention score when query and key both change: the new key's length times the
change of the query, plus the query's length times the change of the key.

Python: `peelverify.bounds.universal.score_error_upper` -/
theorem score_error_le {n : Nat} {query query' key key' : Fin n → α} {q k eq ek : α}
    (query_le : Norm2Le query q) (key_le : Norm2Le key' k)
    (query_close : Norm2Le (fun i => query' i - query i) eq)
    (key_close : Norm2Le (fun i => key' i - key i) ek) :
    dot query' key' - dot query key ≤ k * eq + q * ek := by
  have h1 := dot_le_of_norm2Le query_close key_le
  have h2 := dot_le_of_norm2Le query_le key_close
  rw [dot_sub_left] at h1
  rw [dot_sub_right] at h2
  grind

end Affine

section Weights

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]
  [DecidableLE α]

/-- Attention weights that are not negative and sum to at most one change by at most two in all.

Python: none (the constant two) -/
theorem weight_change_le_two {k : Nat} {weight weight' : Fin k → α}
    (weight_nonneg : ∀ s, 0 ≤ weight s) (weight_sum : sum weight ≤ 1)
    (weight'_nonneg : ∀ s, 0 ≤ weight' s) (weight'_sum : sum weight' ≤ 1) :
    (sum fun s => absVal (weight' s - weight s)) ≤ 2 := by
  have h : (sum fun s => absVal (weight' s - weight s)) ≤ sum fun s => weight' s + weight s :=
    sum_le_sum fun s => by
      have h1 := weight_nonneg s
      have h2 := weight'_nonneg s
      rw [absVal_le_iff]
      clear weight_nonneg weight'_nonneg
      grind
  rw [sum_add] at h
  clear weight_nonneg weight'_nonneg
  grind

/-- If the new weights lie between `least` and `most` times the old ones and both sum to one, the
changes sum to at most `2 (most - 1) (1 - least) / (most - least)`.

Python: none (supporting lemma) -/
theorem weight_change_le {k : Nat} {weight weight' : Fin k → α} {least most : α}
    (least_le : least ≤ 1) (le_most : 1 ≤ most)
    (weight_sum : sum weight = 1) (weight'_sum : sum weight' = 1)
    (lower : ∀ s, least * weight s ≤ weight' s) (upper : ∀ s, weight' s ≤ most * weight s) :
    (most - least) * (sum fun s => absVal (weight' s - weight s)) ≤
      2 * ((most - 1) * (1 - least)) := by
  have chord : ∀ s, (most - least) * absVal (weight' s - weight s) ≤
      (1 - least) * (most * weight s - weight' s) + (most - 1) * (weight' s - least * weight s) := by
    intro s
    have h1 := lower s
    have h2 := upper s
    have h3 := mul_nonneg (show 0 ≤ 1 - least by grind)
      (show 0 ≤ most * weight s - weight' s by grind)
    have h4 := mul_nonneg (show 0 ≤ most - 1 by grind)
      (show 0 ≤ weight' s - least * weight s by grind)
    clear lower upper
    unfold absVal
    split <;> grind
  rw [← sum_mul_left]
  refine Std.le_trans (sum_le_sum chord) ?_
  rw [sum_add, sum_mul_left, sum_mul_left, sum_sub, sum_sub, sum_mul_left, sum_mul_left,
    weight_sum, weight'_sum]
  clear chord lower upper
  grind

private theorem tanh_form {least most root total : α} (least_pos : 0 < least)
    (most_eq : most = root * root * least)
    (h : (most - least) * total ≤ 2 * ((most - 1) * (1 - least))) (nonconstant : 1 < root) :
    total * (root + 1) ≤ 2 * (root - 1) := by
  have h1 : 0 < root - 1 := by grind
  have h3 := mul_pos least_pos h1
  refine le_of_mul_le_mul_left h3 ?_
  have e : least * (root - 1) * (total * (root + 1)) = (most - least) * total := by
    rw [most_eq]
    grind
  rw [e]
  have square := mul_self_nonneg (root * least - 1)
  have e2 : least * (root - 1) * (2 * (root - 1)) - 2 * ((most - 1) * (1 - least)) =
      2 * ((root * least - 1) * (root * least - 1)) := by
    rw [most_eq]
    grind
  clear e
  grind

private theorem weights_eq_of_no_spread {k : Nat} {weight weight' : Fin k → α}
    (lower : ∀ s, 1 * weight s ≤ weight' s) (upper : ∀ s, weight' s ≤ 1 * weight s) :
    (sum fun s => absVal (weight' s - weight s)) = 0 := by
  have h : ∀ s, absVal (weight' s - weight s) = 0 := by
    intro s
    have h1 := lower s
    have h2 := upper s
    have h3 : weight' s - weight s = 0 := by
      clear lower upper
      grind
    rw [h3]
    exact absVal_of_nonneg (Std.le_refl 0)
  rw [sum_congr h, sum_const_zero]

private theorem change_le_of_ratios {k : Nat} {weight weight' : Fin k → α} {least root : α}
    (least_pos : 0 < least) (root_ge : 1 ≤ root) (least_le : least ≤ 1)
    (le_most : 1 ≤ root * root * least) (weight_sum : sum weight = 1)
    (weight'_sum : sum weight' = 1) (lower : ∀ s, least * weight s ≤ weight' s)
    (upper : ∀ s, weight' s ≤ root * root * least * weight s) :
    (sum fun s => absVal (weight' s - weight s)) * (root + 1) ≤ 2 * (root - 1) := by
  by_cases h : root = 1
  · have e : least = 1 := by
      subst h
      grind
    subst h
    subst e
    rw [weights_eq_of_no_spread lower fun s => by have := upper s; clear upper lower; grind]
    grind
  · exact tanh_form least_pos rfl
      (weight_change_le least_le le_most weight_sum weight'_sum lower upper)
      (by grind)

private theorem softmax_pos {k : Nat} {E : α → α} {score : Fin (k + 1) → α}
    (pos : ∀ s, 0 < E (score s)) : 0 < sum fun r => E (score r) := by
  have h := le_sum (f := fun r => E (score r)) (fun s => by have := pos s; grind) 0
  have h1 := pos 0
  clear pos
  grind

private theorem softmax_eq {k : Nat} {E : α → α} {score weight : Fin (k + 1) → α}
    (pos : ∀ s, 0 < E (score s))
    (is_softmax : ∀ s, weight s * (sum fun r => E (score r)) = E (score s)) :
    sum weight = 1 := by
  have total_pos := softmax_pos pos
  have h : sum weight * (sum fun r => E (score r)) = sum fun r => E (score r) := by
    rw [← sum_mul_right]
    exact sum_congr is_softmax
  generalize (sum fun r => E (score r)) = total at *
  have total_ne : total ≠ 0 := by clear is_softmax pos; grind
  clear is_softmax pos
  grind

/-- If all scores of a softmax change by amounts that differ by at most `spread`, its weights
change by at most `2 (root - 1) / (root + 1)` in all, where `root * root` is the exponential of
`spread`; for the real exponential that is `2 tanh (spread / 4)`.

Python: `peelverify.bounds.universal.softmax_change_upper` -/
theorem softmax_change_le {valid : α → Prop} {E : α → α} {k : Nat} (exp : IsExp valid E)
    {score score' : Fin (k + 1) → α} (score_valid : ∀ s, valid (score s))
    (score'_valid : ∀ s, valid (score' s)) {weight weight' : Fin (k + 1) → α}
    (is_softmax : ∀ s, weight s * (sum fun r => E (score r)) = E (score s))
    (is_softmax' : ∀ s, weight' s * (sum fun r => E (score' r)) = E (score' s))
    {spread root : α} (spread_valid : valid spread)
    (spread_le : ∀ s r, (score' s - score s) - (score' r - score r) ≤ spread)
    (root_ge : 1 ≤ root) (is_root : root * root = E spread) :
    (sum fun s => absVal (weight' s - weight s)) * (root + 1) ≤ 2 * (root - 1) := by
  -- more lines than usual: four bounds on exponentials before the ratios can be used
  have pos : ∀ s, 0 < E (score s) := fun s => exp.pos _ (score_valid s)
  have pos' : ∀ s, 0 < E (score' s) := fun s => exp.pos _ (score'_valid s)
  have weight_sum := softmax_eq pos is_softmax
  have weight'_sum := softmax_eq pos' is_softmax'
  obtain ⟨j, hj⟩ := exists_eq_minEntry fun s => score' s - score s
  have smallest : ∀ s, score' j - score j ≤ score' s - score s := fun s => by
    rw [← hj]
    exact minEntry_le (fun s => score' s - score s) s
  have shift_valid : valid (score' j - score j) := exp.valid_sub (score'_valid j) (score_valid j)
  have shift_pos := exp.pos _ shift_valid
  have total_pos := softmax_pos pos
  have total'_pos := softmax_pos pos'
  -- every new exponential lies between `E shift` and `E spread * E shift` times the old one
  have below : ∀ s, E (score' j - score j) * E (score s) ≤ E (score' s) := fun s => by
    rw [← exp.map_add _ _ shift_valid (score_valid s)]
    exact exp.mono (exp.valid_add _ _ shift_valid (score_valid s)) (score'_valid s)
      (by have := smallest s; clear smallest spread_le; grind)
  have above : ∀ s, E (score' s) ≤ root * root * E (score' j - score j) * E (score s) := fun s => by
    rw [is_root, ← exp.map_add _ _ spread_valid shift_valid,
      ← exp.map_add _ _ (exp.valid_add _ _ spread_valid shift_valid) (score_valid s)]
    exact exp.mono (score'_valid s)
      (exp.valid_add _ _ (exp.valid_add _ _ spread_valid shift_valid) (score_valid s))
      (by have := spread_le s j; clear smallest spread_le; grind)
  have sum_below := sum_le_sum below
  have sum_above := sum_le_sum above
  rw [sum_mul_left] at sum_below sum_above
  generalize E (score' j - score j) = factor at *
  generalize (sum fun s => E (score s)) = total at *
  generalize (sum fun s => E (score' s)) = total' at *
  clear smallest spread_le
  obtain ⟨least, least_eq⟩ : ∃ least, total' * least = factor * total :=
    ⟨factor * total / total', by have : total' ≠ 0 := by grind
                                 grind⟩
  have scaled_pos := mul_pos shift_pos total_pos
  have least_pos : 0 < least := by
    by_cases h : least ≤ 0
    · have := mul_nonneg (show 0 ≤ total' by grind) (show 0 ≤ -least by grind)
      grind
    · grind
  have times : ∀ s, total' * (least * weight s) = factor * E (score s) := fun s => by
    rw [← is_softmax s]
    have e : total' * (least * weight s) = total' * least * weight s := by grind
    rw [e, least_eq]
    grind
  refine change_le_of_ratios least_pos root_ge ?_ ?_ weight_sum weight'_sum ?_ ?_
  · refine le_of_mul_le_mul_left total'_pos ?_
    rw [least_eq]
    grind
  · refine le_of_mul_le_mul_left total'_pos ?_
    have e : total' * (root * root * least) = root * root * (total' * least) := by grind
    rw [e, least_eq]
    grind
  · intro s
    refine le_of_mul_le_mul_left total'_pos ?_
    have h1 := below s
    have h3 := is_softmax' s
    rw [times s]
    clear below above is_softmax is_softmax' times pos pos'
    grind
  · intro s
    refine le_of_mul_le_mul_left total'_pos ?_
    have h1 := above s
    have h3 := is_softmax' s
    have e : total' * (root * root * least * weight s) = root * root * (total' * (least * weight s)) := by
      grind
    rw [e, times s]
    clear below above is_softmax is_softmax' times pos pos'
    grind

end Weights

section Attention

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]
  [DecidableLE α]

/-- One head's mixture changes by at most the largest change of a value plus the total change of
the weights times the longest old value.

Python: `peelverify.bounds.universal.mixture_error_upper` -/
theorem mixture_error_le {k h : Nat} {weight weight' : Fin k → α} {value value' : Fin k → Fin h → α}
    {total size shift : α} (weight'_nonneg : ∀ s, 0 ≤ weight' s) (weight'_sum : sum weight' ≤ 1)
    (weight_change : (sum fun s => absVal (weight' s - weight s)) ≤ total)
    (size_nonneg : 0 ≤ size) (value_le : ∀ s, Norm2Le (value s) size) (shift_nonneg : 0 ≤ shift)
    (value_close : ∀ s, Norm2Le (fun i => value' s i - value s i) shift) :
    Norm2Le (fun i => mixture weight' value' i - mixture weight value i)
      (shift + total * size) := by
  have h1 := attention_error_le weight'_nonneg weight'_sum shift_nonneg value_close
  have h2 := attention_weight_error_le (weight := weight) (weight' := weight') value_le
  have h3 := mul_nonneg size_nonneg
    (show 0 ≤ total - sum fun s => absVal (weight' s - weight s) by grind)
  have e : (fun i => mixture weight' value' i - mixture weight value i) = fun i =>
      (mixture weight' value' i - mixture weight' value i) +
        (mixture weight' value i - mixture weight value i) := funext fun i => by grind
  rw [e]
  refine (h1.add h2).mono ?_
  clear weight'_nonneg value_le value_close h1 h2 e
  grind

/-- The output of attention changes by at most the joint norm of the change of the output matrices
times the length of all new mixtures, plus the joint norm of the output matrices times the length
of all changes of mixtures.

Python: `peelverify.bounds.universal.heads_error_upper` -/
theorem heads_error_le {H n h : Nat} {O O' : Fin H → Fin n → Fin h → α} {mix mix' : Fin H → Fin h → α}
    {norm change size shift : α} (norm_le : JointNorm2Le O norm)
    (change_le : JointNorm2Le (fun s i j => O' s i j - O s i j) change)
    (size_le : FrobLe mix' size) (shift_le : FrobLe (fun s j => mix' s j - mix s j) shift) :
    Norm2Le (fun i => (sum fun s => mulVec (O' s) (mix' s) i) - sum fun s => mulVec (O s) (mix s) i)
      (change * size + norm * shift) := by
  have joint : ∀ {P : Fin H → Fin n → Fin h → α} {m : Fin H → Fin h → α} {c b : α},
      JointNorm2Le P c → FrobLe m b →
        Norm2Le (fun i => sum fun s => mulVec (P s) (m s) i) (c * b) := by
    intro P m c b hP hm
    refine ⟨mul_nonneg hP.1 hm.1, Std.le_trans (hP.2 m) ?_⟩
    have := mul_le_mul_left (mul_self_nonneg c) hm.2
    grind
  have h := (joint change_le size_le).add (joint norm_le shift_le)
  have e : (fun i => (sum fun s => mulVec (O' s) (mix' s) i) -
      sum fun s => mulVec (O s) (mix s) i) = fun i =>
        (sum fun s => mulVec (fun i j => O' s i j - O s i j) (mix' s) i) +
          sum fun s => mulVec (O s) (fun j => mix' s j - mix s j) i := by
    funext i
    rw [← sum_sub, ← sum_add]
    refine sum_congr fun s => ?_
    rw [sub_mulVec, mulVec_sub]
    grind
  rw [e]
  exact h

/-- The operator norm of the output matrix with all heads side by side is a joint norm of the heads;
`flat` says at which column a head's entry stands, and `split` takes the column apart again.

Python: none (the same number under another name) -/
theorem JointNorm2Le.of_opNorm2Le {H n h N : Nat} {P : Fin n → Fin N → α} {c : α}
    (flat : Fin H → Fin h → Fin N) (split : Fin N → Fin H × Fin h)
    (split_flat : ∀ s j, split (flat s j) = (s, j))
    (sum_flat : ∀ f : Fin N → α, sum f = sum fun s => sum fun j => f (flat s j))
    (norm_le : OpNorm2Le P c) : JointNorm2Le (fun s i j => P i (flat s j)) c := by
  refine ⟨norm_le.1, fun m => ?_⟩
  have h := norm_le.2 fun k => m (split k).1 (split k).2
  have e1 : normSq (fun k => m (split k).1 (split k).2) = frobSq m := by
    unfold normSq dot frobSq
    rw [sum_flat]
    exact sum_congr fun s => sum_congr fun j => by simp only [split_flat]
  have e2 : mulVec P (fun k => m (split k).1 (split k).2) =
      fun i => sum fun s => mulVec (fun i j => P i (flat s j)) (m s) i := by
    funext i
    unfold mulVec dot
    rw [sum_flat]
    exact sum_congr fun s => sum_congr fun j => by simp only [split_flat]
  rw [e1, e2] at h
  exact h

/-- Mixtures that are bounded head by head are bounded together.

Python: `peelverify.bounds.universal.joint_sq_upper` -/
theorem frobLe_of_heads {H h : Nat} {mix : Fin H → Fin h → α} {size : Fin H → α} {total : α}
    (each_le : ∀ s, Norm2Le (mix s) (size s)) (total_nonneg : 0 ≤ total)
    (total_sq : (sum fun s => size s * size s) ≤ total * total) : FrobLe mix total :=
  ⟨total_nonneg, Std.le_trans (sum_le_sum fun s => (each_le s).2) total_sq⟩

end Attention

section FeedForward

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]
  [DecidableLE α]

/-- A feed-forward layer without a gate, when all its weights and its input change.

Python: `peelverify.bounds.universal.mlp_error_upper` -/
theorem mlp_error_le {n f m : Nat} {act : α → α} {D D' : Fin m → Fin f → α}
    {U U' : Fin f → Fin n → α} {u u' : Fin f → α} {d d' : Fin m → α} {z z' : Fin n → α}
    {lipschitz down downChange hidden hiddenChange bias : α}
    (act_le : ∀ a, absVal (act a) ≤ absVal a)
    (act_lipschitz : ∀ a b, absVal (act a - act b) ≤ lipschitz * absVal (a - b))
    (lipschitz_nonneg : 0 ≤ lipschitz) (down_le : OpNorm2Le D down)
    (downChange_le : OpNorm2Le (fun i j => D' i j - D i j) downChange)
    (hidden_le : Norm2Le (fun j => mulVec U' z' j + u' j) hidden)
    (hiddenChange_le : Norm2Le
      (fun j => (mulVec U' z' j + u' j) - (mulVec U z j + u j)) hiddenChange)
    (bias_le : Norm2Le (fun i => d' i - d i) bias) :
    Norm2Le (fun i => plainMlp act D' U' u' d' z' i - plainMlp act D U u d z i)
      (downChange * hidden + down * (lipschitz * hiddenChange) + bias) := by
  have h1 : Norm2Le (fun j => act (mulVec U' z' j + u' j)) hidden := by
    refine ⟨hidden_le.1, Std.le_trans (sum_le_sum fun j => ?_) hidden_le.2⟩
    have h := mul_self_le_mul_self (absVal_nonneg _) (act_le (mulVec U' z' j + u' j))
    rw [absVal_mul_self, absVal_mul_self] at h
    exact h
  have h2 : Norm2Le (fun j => act (mulVec U' z' j + u' j) - act (mulVec U z j + u j))
      (lipschitz * hiddenChange) := by
    refine ⟨mul_nonneg lipschitz_nonneg hiddenChange_le.1, ?_⟩
    have h : normSq (fun j => act (mulVec U' z' j + u' j) - act (mulVec U z j + u j)) ≤
        normSq fun j => lipschitz * ((mulVec U' z' j + u' j) - (mulVec U z j + u j)) := by
      refine sum_le_sum fun j => ?_
      have h := mul_self_le_mul_self (absVal_nonneg _)
        (act_lipschitz (mulVec U' z' j + u' j) (mulVec U z j + u j))
      have e := absVal_mul lipschitz ((mulVec U' z' j + u' j) - (mulVec U z j + u j))
      rw [absVal_of_nonneg lipschitz_nonneg] at e
      rw [← e, absVal_mul_self, absVal_mul_self] at h
      exact h
    rw [normSq_smul] at h
    have h3 := mul_le_mul_left (mul_self_nonneg lipschitz) hiddenChange_le.2
    grind
  exact affine_error_le down_le downChange_le h1 h2 bias_le

/-- A feed-forward layer with a gate, when all its weights and its input change. `gate` bounds each
entry of the new gate input, `value` each entry of the old value.

Python: `peelverify.bounds.universal.gated_mlp_error_upper` -/
theorem gatedMlp_error_le {n f m : Nat} {act : α → α} {D D' : Fin m → Fin f → α}
    {G G' U U' : Fin f → Fin n → α} {g g' u u' : Fin f → α} {d d' : Fin m → α} {z z' : Fin n → α}
    {lipschitz down downChange gate value gateChange valueChange newValue bias : α}
    (act_le : ∀ a, absVal (act a) ≤ absVal a)
    (act_lipschitz : ∀ a b, absVal (act a - act b) ≤ lipschitz * absVal (a - b))
    (lipschitz_nonneg : 0 ≤ lipschitz) (down_le : OpNorm2Le D down)
    (downChange_le : OpNorm2Le (fun i j => D' i j - D i j) downChange)
    (gate_nonneg : 0 ≤ gate) (gate_le : ∀ j, absVal (mulVec G' z' j + g' j) ≤ gate)
    (value_nonneg : 0 ≤ value) (value_le : ∀ j, absVal (mulVec U z j + u j) ≤ value)
    (newValue_le : Norm2Le (fun j => mulVec U' z' j + u' j) newValue)
    (gateChange_le : Norm2Le
      (fun j => (mulVec G' z' j + g' j) - (mulVec G z j + g j)) gateChange)
    (valueChange_le : Norm2Le
      (fun j => (mulVec U' z' j + u' j) - (mulVec U z j + u j)) valueChange)
    (bias_le : Norm2Le (fun i => d' i - d i) bias) :
    Norm2Le (fun i => gatedMlp act D' G' U' g' u' d' z' i - gatedMlp act D G U g u d z i)
      (downChange * (gate * newValue) +
        down * (gate * valueChange + value * (lipschitz * gateChange)) + bias) :=
  affine_error_le down_le downChange_le
    (gated_norm_le act_le gate_le gate_nonneg newValue_le)
    (gated_error_le act_le act_lipschitz lipschitz_nonneg gate_le gate_nonneg value_le value_nonneg
      gateChange_le valueChange_le)
    bias_le

end FeedForward

section Norms

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]

private theorem quotient_energy_mono {a b A B D eps : α} (ha : 0 < a) (hb : 0 < b)
    (hA : A = D * (a * a - eps)) (hB : B = D * (b * b - eps)) (hD : 0 ≤ D) (heps : 0 ≤ eps) :
    0 ≤ (a - b) * (b * A - a * B) := by
  have e : (a - b) * (b * A - a * B) = (a - b) * (a - b) * (D * (a * b + eps)) := by
    rw [hA, hB]
    grind
  rw [e]
  have h1 := mul_nonneg (show 0 ≤ a by grind) (show 0 ≤ b by grind)
  exact mul_nonneg (mul_self_nonneg (a - b)) (mul_nonneg hD (by grind))

/-- An RMS norm whose divisors are at least `least` carries an error on with a factor of at most
`1 / least`: with `y = rms z` and `y' = rms' z'`, `least ‖z' - z‖ ≤ ‖y' - y‖`.

Python: `peelverify.bounds.universal.norm_shift_upper` -/
theorem rmsNorm_lipschitz {n : Nat} {y y' z z' : Fin n → α} {rms rms' least eps : α}
    (least_pos : 0 < least) (least_le : least ≤ rms) (least_le' : least ≤ rms') (eps_nonneg : 0 ≤ eps)
    (scaled_eq : ∀ i, y i = rms * z i) (scaled_eq' : ∀ i, y' i = rms' * z' i)
    (mean_square : normSq y = (n : α) * (rms * rms - eps))
    (mean_square' : normSq y' = (n : α) * (rms' * rms' - eps)) :
    least * least * normSq (fun i => z' i - z i) ≤ normSq fun i => y' i - y i := by
  have rms_pos : 0 < rms := by grind
  have rms'_pos : 0 < rms' := by grind
  have hy : y = fun i => rms * z i := funext scaled_eq
  have hy' : y' = fun i => rms' * z' i := funext scaled_eq'
  have s1 : normSq y = rms * rms * normSq z := by rw [hy, normSq_smul]
  have s2 : normSq y' = rms' * rms' * normSq z' := by rw [hy', normSq_smul]
  have s3 : normSq (fun i => y' i - y i) =
      normSq y' - 2 * (rms' * (rms * dot z' z)) + normSq y := by
    rw [normSq_sub, hy, hy', dot_smul_left, dot_smul_right]
  have s4 := normSq_sub z' z
  have h1 := quotient_energy_mono rms'_pos rms_pos mean_square' mean_square (natCast_nonneg n)
    eps_nonneg
  have h2 := mul_nonneg (show 0 ≤ rms - least by grind) (show 0 ≤ rms' by grind)
  have h3 := mul_nonneg (show 0 ≤ rms' - least by grind) (show 0 ≤ least by grind)
  have h4 := mul_nonneg (show 0 ≤ rms * rms' - least * least by grind)
    (normSq_nonneg fun i => z' i - z i)
  have h5 : rms * rms' * ((rms' - rms) * (rms' * normSq z' - rms * normSq z)) =
      (rms' - rms) * (rms * normSq y' - rms' * normSq y) := by
    rw [s1, s2]
    grind
  have h6 : 0 ≤ (rms' - rms) * (rms' * normSq z' - rms * normSq z) := by
    refine le_of_mul_le_mul_left (mul_pos rms_pos rms'_pos) ?_
    rw [h5]
    grind
  rw [s3, s1, s2]
  rw [s4] at h4 ⊢
  clear scaled_eq scaled_eq' hy hy' s1 s2 s3 s4 mean_square mean_square' h1 h5
  grind

/-- Subtracting the mean never moves two vectors apart.

Python: none (supporting lemma) -/
theorem centered_lipschitz {n : Nat} (y y' : Fin n → α) :
    normSq (fun i => (y' i - mean y') - (y i - mean y)) ≤ normSq fun i => y' i - y i := by
  have h := centered_normSq_le fun i => y' i - y i
  have e : mean (fun i => y' i - y i) = mean y' - mean y := by
    unfold mean
    rw [sum_sub]
    grind
  rw [e] at h
  have e2 : (fun i => (y' i - mean y') - (y i - mean y)) =
      fun i => y' i - y i - (mean y' - mean y) := funext fun i => by grind
  rw [e2]
  exact h

end Norms

section Blocks

variable [Field α] [LE α] [LT α] [Std.LawfulOrderLT α] [Std.IsLinearOrder α] [OrderedRing α]

/-- A block that runs attention and the feed-forward layer one after the other, compressed: for
every input, its output changes by at most the bound of attention plus the bound of the feed-forward
layer on normalised inputs that the change of attention can have moved.

Python: `peelverify.bounds.universal.block_error_upper` -/
theorem sequential_block_error_le {k n : Nat} {attention attention' : (Fin k → Fin n → α) → Fin n → α}
    {norm mlp mlp' : (Fin n → α) → Fin n → α} {position : Fin k} {first radius shift second : α}
    (attention_error : ∀ x, Norm2Le (fun i => attention' x i - attention x i) first)
    (norm_radius : ∀ y, Norm2Le (norm y) radius)
    (norm_shift : ∀ y y', Norm2Le (fun i => y' i - y i) first →
      Norm2Le (fun i => norm y' i - norm y i) shift)
    (mlp_error : ∀ z z', Norm2Le z radius → Norm2Le z' radius →
      Norm2Le (fun i => z' i - z i) shift → Norm2Le (fun i => mlp' z' i - mlp z i) second)
    (x : Fin k → Fin n → α) :
    Norm2Le (fun i => sequentialBlock attention' norm mlp' position x i -
      sequentialBlock attention norm mlp position x i) (first + second) := by
  have h1 := attention_error x
  have h2 := norm_shift (fun j => x position j + attention x j)
    (fun j => x position j + attention' x j) (by
      have e : (fun i => x position i + attention' x i - (x position i + attention x i)) =
          fun i => attention' x i - attention x i := funext fun i => by grind
      rw [e]
      exact h1)
  have h3 := mlp_error _ _ (norm_radius _) (norm_radius _) h2
  have e : (fun i => sequentialBlock attention' norm mlp' position x i -
      sequentialBlock attention norm mlp position x i) = fun i =>
        (attention' x i - attention x i) +
          (mlp' (norm fun j => x position j + attention' x j) i -
            mlp (norm fun j => x position j + attention x j) i) :=
    funext fun i => by unfold sequentialBlock; grind
  rw [e]
  exact h1.add h3

/-- A block that runs attention and the feed-forward layer side by side, compressed: for every
input, its output changes by at most the sum of the bounds of both.

Python: `peelverify.bounds.universal.block_error_upper` -/
theorem parallel_block_error_le {k n : Nat} {attention attention' : (Fin k → Fin n → α) → Fin n → α}
    {norm mlp mlp' : (Fin n → α) → Fin n → α} {position : Fin k} {first radius second : α}
    (attention_error : ∀ x, Norm2Le (fun i => attention' x i - attention x i) first)
    (norm_radius : ∀ y, Norm2Le (norm y) radius)
    (mlp_error : ∀ z, Norm2Le z radius → Norm2Le (fun i => mlp' z i - mlp z i) second)
    (x : Fin k → Fin n → α) :
    Norm2Le (fun i => parallelBlock attention' norm mlp' position x i -
      parallelBlock attention norm mlp position x i) (first + second) := by
  have h := (attention_error x).add (mlp_error _ (norm_radius (x position)))
  have e : (fun i => parallelBlock attention' norm mlp' position x i -
      parallelBlock attention norm mlp position x i) = fun i =>
        (attention' x i - attention x i) +
          (mlp' (norm (x position)) i - mlp (norm (x position)) i) :=
    funext fun i => by unfold parallelBlock; grind
  rw [e]
  exact h

end Blocks

section Examples

private abbrev old : Fin 2 → Fin 2 → Rat := mat [[3, 0], [0, 4]]
private abbrev new : Fin 2 → Fin 2 → Rat := mat [[3, 0], [0, 5]]
private abbrev input : Fin 2 → Rat := vec [3, 4]
private abbrev zero : Fin 2 → Rat := vec [0, 0]
private abbrev halves : Fin 2 → Rat := vec [1 / 2, 1 / 2]
private abbrev uneven : Fin 2 → Rat := vec [1 / 4, 3 / 4]

private theorem old_le : OpNorm2Le old 5 := OpNorm2Le.of_frob (by unfold FrobLe; decide +kernel)
private theorem new_sub_old_le : OpNorm2Le (fun i j => new i j - old i j) 1 :=
  OpNorm2Le.of_frob (by unfold FrobLe; decide +kernel)

example : Norm2Le (fun i => mulVec old input i + input i) (5 * 5 + 5) :=
  affine_norm_le old_le (by unfold Norm2Le; decide +kernel) (by unfold Norm2Le; decide +kernel)
example : Norm2Le (fun i => (mulVec new input i + input i) - (mulVec old zero i + zero i))
    (1 * 5 + 5 * 5 + 5) :=
  affine_error_le old_le new_sub_old_le (by unfold Norm2Le; decide +kernel)
    (by unfold Norm2Le; decide +kernel) (by unfold Norm2Le; decide +kernel)
example : dot input input - dot zero zero ≤ (5 * 5 + 0 * 5 : Rat) :=
  score_error_le (by unfold Norm2Le; decide +kernel) (by unfold Norm2Le; decide +kernel)
    (by unfold Norm2Le; decide +kernel) (by unfold Norm2Le; decide +kernel)
example : (sum fun s => absVal (uneven s - halves s)) ≤ 2 :=
  weight_change_le_two (by decide +kernel) (by decide +kernel) (by decide +kernel)
    (by decide +kernel)
example : (3 / 2 - 1 / 2) * (sum fun s => absVal (uneven s - halves s)) ≤
    2 * ((3 / 2 - 1) * (1 - 1 / 2)) :=
  weight_change_le (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
    (by decide +kernel) (by decide +kernel)
example : (sum fun s => absVal ((vec [4 / 5, 1 / 5] : Fin 2 → Rat) s - halves s)) * (2 + 1) ≤
    2 * (2 - 1) :=
  softmax_change_le isExp_two (score := zero) (score' := vec [2, 0]) (spread := 2)
    (fun s => by match s with | 0 => exact ⟨0, rfl⟩ | 1 => exact ⟨0, rfl⟩)
    (fun s => by match s with | 0 => exact ⟨2, rfl⟩ | 1 => exact ⟨0, rfl⟩)
    (by decide +kernel) (by decide +kernel) ⟨2, rfl⟩ (by decide +kernel) (by decide +kernel)
    (by decide +kernel)
example : Norm2Le (fun i => mixture uneven new i - mixture halves old i) (1 + 1 / 2 * 4) :=
  mixture_error_le (weight' := uneven) (weight := halves) (value := old) (value' := new)
    (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
    (by unfold Norm2Le; decide +kernel) (by decide +kernel) (by unfold Norm2Le; decide +kernel)

private theorem joint (A : Fin 2 → Fin 2 → Rat) (c : Rat) (hA : OpNorm2Le A c) :
    JointNorm2Le (fun (s : Fin 2) i (_ : Fin 1) => A i s) c :=
  JointNorm2Le.of_opNorm2Le (fun s (_ : Fin 1) => s) (fun s => (s, 0))
    (fun s j => by rw [Fin.fin_one_eq_zero j])
    (fun f => sum_congr fun s => by rw [sum_succ, sum_zero]; grind) hA

example : Norm2Le (fun i =>
    (sum fun s : Fin 2 => mulVec (fun i (_ : Fin 1) => new i s) (fun _ => (1 : Rat)) i) -
      sum fun s : Fin 2 => mulVec (fun i (_ : Fin 1) => old i s) (fun _ => (1 / 2 : Rat)) i)
    (1 * 2 + 5 * 1) :=
  heads_error_le (joint old 5 old_le) (joint _ 1 new_sub_old_le)
    (mix := fun _ _ => 1 / 2) (mix' := fun _ _ => 1) (by unfold FrobLe; decide +kernel)
    (by unfold FrobLe; decide +kernel)
example : FrobLe (mat [[3, 0], [0, 4]] : Fin 2 → Fin 2 → Rat) 5 :=
  frobLe_of_heads (size := vec [3, 4]) (by unfold Norm2Le; decide +kernel) (by decide +kernel)
    (by decide +kernel)
example : attentionOutput (fun (s : Fin 2) i (_ : Fin 1) => old i s) (fun _ => halves)
    (fun _ s (_ : Fin 1) => input s) 0 = 21 / 2 := by decide +kernel

private theorem id_le (a : Rat) : absVal (id a) ≤ absVal a := Std.le_refl _
private theorem id_lipschitz (a b : Rat) : absVal (id a - id b) ≤ 1 * absVal (a - b) := by
  show absVal (a - b) ≤ 1 * absVal (a - b)
  grind

example : plainMlp id old old zero zero input 1 = (64 : Rat) := by decide +kernel
example : gatedMlp id old old old zero zero zero input 0 = (243 : Rat) := by decide +kernel
example : Norm2Le (fun i => plainMlp id new new zero zero input i -
    plainMlp id old old zero zero input i) (1 * 22 + 5 * (1 * 4) + 0) :=
  mlp_error_le id_le id_lipschitz (by decide +kernel) old_le new_sub_old_le
    (by unfold Norm2Le; decide +kernel) (by unfold Norm2Le; decide +kernel)
    (by unfold Norm2Le; decide +kernel)
example : Norm2Le (fun i => gatedMlp id new new new zero zero zero input i -
    gatedMlp id old old old zero zero zero input i)
    (1 * (20 * 22) + 5 * (20 * 4 + 16 * (1 * 4)) + 0) :=
  gatedMlp_error_le id_le id_lipschitz (by decide +kernel) old_le new_sub_old_le
    (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
    (by unfold Norm2Le; decide +kernel) (by unfold Norm2Le; decide +kernel)
    (by unfold Norm2Le; decide +kernel) (by unfold Norm2Le; decide +kernel)
example : (2 : Rat) * 2 * normSq (fun i => (vec [1, -1] : Fin 2 → Rat) i - vec [1, 1] i) ≤
    normSq fun i => (vec [3, -3] : Fin 2 → Rat) i - vec [2, 2] i :=
  rmsNorm_lipschitz (rms := 2) (rms' := 3) (eps := 0) (by decide +kernel) (by decide +kernel)
    (by decide +kernel) (by decide +kernel) (by decide +kernel) (by decide +kernel)
    (by decide +kernel) (by decide +kernel)
example : normSq (fun i => (input i - mean input) - (zero i - mean zero)) ≤
    normSq fun i => input i - zero i := centered_lipschitz zero input

private abbrev sameNorm : (Fin 2 → Rat) → Fin 2 → Rat := fun _ => input
private abbrev keep : (Fin 1 → Fin 2 → Rat) → Fin 2 → Rat := fun x => x 0
private abbrev shifted : (Fin 1 → Fin 2 → Rat) → Fin 2 → Rat := fun x i => x 0 i + 1

private theorem input_le : Norm2Le input 5 := by unfold Norm2Le; decide +kernel
private theorem still : Norm2Le (fun i => input i - input i) 0 := by
  unfold Norm2Le
  decide +kernel

private theorem shifted_le (x : Fin 1 → Fin 2 → Rat) :
    Norm2Le (fun i => shifted x i - keep x i) 2 := by
  have e : (fun i => shifted x i - keep x i) = vec [1, 1] :=
    funext fun i => by
      match i with
      | 0 => show x 0 0 + 1 - x 0 0 = 1; grind
      | 1 => show x 0 1 + 1 - x 0 1 = 1; grind
  rw [e]
  unfold Norm2Le
  decide +kernel

private theorem double_le (z z' : Fin 2 → Rat) (hz : Norm2Le z' 5)
    (h : Norm2Le (fun i => z' i - z i) 0) : Norm2Le (fun i => 2 * z' i - z i) 5 := by
  have e : (fun i => 2 * z' i - z i) = fun i => z' i + (z' i - z i) := funext fun i => by grind
  rw [e]
  exact (hz.add h).mono (by grind)

example (x : Fin 1 → Fin 2 → Rat) : Norm2Le (fun i =>
    sequentialBlock shifted sameNorm (fun z i => 2 * z i) 0 x i -
      sequentialBlock keep sameNorm (fun z => z) 0 x i) (2 + 5) :=
  sequential_block_error_le (radius := 5) (shift := 0) shifted_le
    (fun _ => input_le) (fun _ _ _ => still) (fun z z' _ hz' h => double_le z z' hz' h) x
example (x : Fin 1 → Fin 2 → Rat) : Norm2Le (fun i =>
    parallelBlock shifted sameNorm (fun z i => 2 * z i) 0 x i -
      parallelBlock keep sameNorm (fun z => z) 0 x i) (2 + 5) :=
  parallel_block_error_le (radius := 5) shifted_le (fun _ => input_le)
    (fun z hz => double_le z z hz (by
      have e : (fun i => z i - z i) = fun _ => (0 : Rat) := funext fun i => by grind
      rw [e]
      exact Norm2Le.zero)) x

end Examples

end PeelVerify
